#!/bin/sh
# Prepares what every Airflow component shares: keys, the login, the metadata database and the pool.
set -eu
keys=${1:?the folder of the keys}
umask 077

# Made once, here, so that no file of the project holds them.
[ -s "$keys/secret" ] || python -c 'import secrets; print(secrets.token_urlsafe(48), end="")' >"$keys/secret"
[ -s "$keys/fernet" ] ||
  python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode(), end="")' >"$keys/fernet"
[ -s "$keys/passwords.json" ] ||
  python -c 'import json, secrets; print(json.dumps({"admin": secrets.token_urlsafe(12)}))' >"$keys/passwords.json"

airflow db migrate
# As many as the account may run at a time; deferred tasks count.
airflow pools set sagemaker 4 "SageMaker jobs at a time" --include-deferred

"""What the tests' stand-ins are started with."""

from __future__ import annotations

from pathlib import Path

from local.credentials import CREDENTIALS_FILE, USERNAME, Credentials

CREDENTIALS = Credentials(
    access_key_id="AKIATESTTESTTESTTEST",
    secret_access_key="test/secret+access/key",
    x_bearer_token="AAAA-good",
    databricks_token="a-token",
    trino_key="dGhlIGtleSB0aGF0IHNpZ25zIHRva2VucyBvZiB0ZXN0cw==",
    control_token="a-control-token",
    password="a-password",
)
CONTROL = {"Authorization": f"Bearer {CREDENTIALS.control_token}"}
"""The header that opens ``/_local/``."""
LOGIN = (USERNAME, CREDENTIALS.password)
"""What people type in."""
AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key_id,
    "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_access_key,
    "AWS_DEFAULT_REGION": "us-east-1",
}


def written(folder: Path) -> Path:
    """The file of the credentials, in a stand-in's folder."""
    file = folder / CREDENTIALS_FILE
    CREDENTIALS.write(file)
    return file

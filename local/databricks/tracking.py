"""MLflow behind a gate, in the ml environment: ``python -m local.databricks.tracking --port P --state DIR``.

``mlflow server`` lets pages from any port of this machine read and change everything, and its login needs a
package that we do not have; its application is therefore served here, with the same login as every page.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from local.credentials import USERNAME, CredentialsError
from local.gate import Gate, Key, Message
from local.serving import ListenError, add_options, credentials_of, guard_of, listen, stoppable

_HEALTH = "/health"
_ARTIFACTS = "mlflow-artifacts:/"


def main() -> int:
    """Serves until SIGTERM or SIGINT; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.databricks.tracking", description=__doc__)
    add_options(parser)
    given = parser.parse_args()
    try:
        credentials = credentials_of(given)
        listener, url = listen(given.host, given.port)
    except (ListenError, CredentialsError) as error:
        print(error, file=sys.stderr)
        return 1
    state = given.state.resolve()
    backend = f"sqlite:///{state / 'mlflow.sqlite'}"
    # What `mlflow server` hands to its workers; they are read where the application is imported.
    os.environ |= {
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
        "_MLFLOW_SERVER_FILE_STORE": backend,
        "_MLFLOW_SERVER_REGISTRY_STORE": backend,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": _ARTIFACTS,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(state / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(backend, backend, _ARTIFACTS)
    keys = {"/": Key.login(USERNAME, credentials.password), _HEALTH: None}
    server = stoppable(Gate(app, guard_of(given), keys, _reject))
    print(f"MLflow at {url}", flush=True)
    server.run(sockets=[listener])
    return 0


def _reject(_scope: Message, status: int, reason: str) -> tuple[str, bytes]:
    code = "UNAUTHENTICATED" if status == 401 else "PERMISSION_DENIED"
    return "application/json", json.dumps({"error_code": code, "message": reason}).encode()


if __name__ == "__main__":
    sys.exit(main())

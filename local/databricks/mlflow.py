"""The MLflow server beside the stand-in: the real one, from the ml environment, small and for one machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.databricks.cluster import ROOT, python


def command(port: int, state: Path, options: Sequence[str] = ()) -> list[str]:
    """What starts it; runs, registry and artifacts lie under ``state``, which must exist.

    ``options`` are further ones of `local.serving.add_options`. Artifacts go through the server, so clients
    need no access to the folder. Healthy once ``/health`` answers. Raises `ClusterError` if the ml
    environment has not been set up.
    """
    program = [str(python()), "-m", "local.databricks.tracking"]
    return [*program, "--port", str(port), "--state", str(state.resolve()), *options]


def environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """``base`` with what keeps it small: without the job runner there are no seven workers of 225 MB each."""
    return {
        **base,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "PYTHONPATH": str(ROOT),
    }

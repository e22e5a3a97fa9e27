"""The MLflow server beside the local Databricks, asked by its own client in the environment that trains."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from local.databricks import cluster, mlflow
from local.processes import Processes, answers
from tests.credentials import CREDENTIALS, LOGIN, written
from tests.ports import free_ports

CLIENT = """
import json, mlflow
mlflow.set_experiment("student")
with mlflow.start_run() as run:
    with mlflow.start_run(nested=True):
        mlflow.log_metric("f1", 0.5)
    mlflow.log_text("kept", "notes.txt")
client, name, identity = mlflow.MlflowClient(), "main.x_opinion.student", run.info.run_id
client.create_registered_model(name)
version = client.create_model_version(name, f"runs:/{identity}/model", identity)
client.set_registered_model_alias(name, "champion", version.version)
children = client.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{identity}'")
print(json.dumps({
    "artifacts": run.info.artifact_uri.partition(":")[0],
    "children": [child.data.metrics for child in children],
    "champion": client.get_model_version_by_alias(name, "champion").version,
    "notes": mlflow.artifacts.load_text(run.info.artifact_uri + "/notes.txt"),
}))
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path / "logs", tmp_path / "processes.json") as started:
        yield started


def test_runs_models_and_artifacts_are_kept(processes: Processes, tmp_path: Path) -> None:
    port, state = free_ports(), tmp_path / "state"
    written(state)
    url = f"http://127.0.0.1:{port}"
    server = processes.start("mlflow", mlflow.command(port, state), mlflow.environment())
    server.wait_until(lambda: answers(f"{url}/health"), 120)
    variables = cluster.environment(
        tmp_path / "cluster", aws_endpoint="http://127.0.0.1:9", credentials=CREDENTIALS, mlflow_url=url
    )
    done = subprocess.run(
        [str(cluster.python()), "-c", CLIENT], env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    # Artifacts go through the server: a cluster does not see its folder.
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "artifacts": "mlflow-artifacts",
        "children": [{"f1": 0.5}],
        "champion": "1",
        "notes": "kept",
    }
    assert (state / "mlflow.sqlite").exists()
    assert list((state / "artifacts").rglob("notes.txt"))
    assert "<html" in requests.get(f"{url}/", auth=LOGIN, timeout=10).text.lower()

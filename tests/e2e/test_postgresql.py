"""PostgreSQL keeps Airflow's metadata in every deployment: an hour goes its way on it, and goes it again."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy

from local import postgresql
from local.endpoints import SERVICES
from local.parameters import POSTGRESQL
from local.run import Run, started
from local.world import RunOptions
from tests.ports import free_ports
from tests.postgresql import needs_postgresql

pytestmark = [pytest.mark.scheduler, needs_postgresql]


def states(run: Run) -> dict[str, set[str]]:
    """The states of all DAG runs by their DAG, as the database has them."""
    port, password = run.world.endpoints.port("postgresql"), run.world.endpoints.credentials.password
    engine = sqlalchemy.create_engine(postgresql.address(port, password))
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT dag_id, state FROM dag_run")).all()
    engine.dispose()
    found: dict[str, set[str]] = {}
    for dag_id, state in rows:
        found.setdefault(dag_id, set()).add(state)
    return found


def test_an_hour_is_recovered_labeled_and_labeled_again_on_postgresql(tmp_path: Path) -> None:
    options = RunOptions(
        hours=1, rate=900, first_port=free_ports(len(SERVICES)), database=POSTGRESQL, run_dir=tmp_path
    )
    with started(options) as run:
        run.dag_runs.run("provision", "provisioned")
        run.dag_runs.run("coverage", "recovered", {"dry_run": False})
        run.dag_runs.transform()
        [transformed, *_] = run.airflow.runs("transform", state=["success"])
        run.airflow.clear("transform", transformed["dag_run_id"])
        run.dag_runs.wait_for("transform", transformed["dag_run_id"])
        tasks = run.airflow.task_instances("transform", transformed["dag_run_id"])
        assert {task["try_number"] for task in tasks if task["state"] == "success"} == {2}
        found = states(run)
        assert set(found) >= {"provision", "coverage", "transform"}
        assert all("success" in found[dag_id] for dag_id in ("provision", "coverage", "transform"))
    assert not postgresql.is_ready(options.first_port + SERVICES.index(POSTGRESQL))

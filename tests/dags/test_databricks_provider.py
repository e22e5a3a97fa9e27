"""The provider's own hook and operators, unmodified, against the local Databricks; deferred ones too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest
from airflow.providers.databricks.hooks.databricks import DatabricksHook
from airflow.providers.databricks.operators.databricks import (
    DatabricksCreateJobsOperator,
    DatabricksRunNowOperator,
    DatabricksSubmitRunOperator,
    DatabricksTaskOperator,
)
from airflow.providers.databricks.operators.databricks_workflow import DatabricksWorkflowTaskGroup
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, TaskDeferred

from include.operators.databricks import upload
from include.settings import settings
from tests.local.support_databricks import (
    CLUSTER,
    TOKEN,
    WHEEL,
    LocalDatabricks,
    task,
    wheel,
    work,
)

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabricks]:
    started = LocalDatabricks(tmp_path_factory.mktemp("databricks")).start()
    yield started
    assert started.stop() == 0


@pytest.fixture(autouse=True)
def environment(server: LocalDatabricks, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "databricks", "host": "http://127.0.0.1", "schema": "http"}
    monkeypatch.setenv(
        "AIRFLOW_CONN_DATABRICKS_DEFAULT", json.dumps({**connection, "port": server.port, "password": TOKEN})
    )
    settings.cache_clear()
    upload(WHEEL, wheel())


class Instance:
    """What the provider asks of a task instance."""

    dag_id, run_id, task_id, map_index, try_number = "dag", "run", "task", -1, 1
    stats_tags: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def count(folder: Path, name: str, entry_point: str = "count") -> dict[str, Any]:
    return task(name, entry_point, parameters=[f"--folder={folder}", f"--name={name}"])


def execute(operator: Any, context: dict[str, Any] | None = None) -> Any:
    """The task from start to end, as the worker and the triggerer drive it."""
    context = context or {"ti": Instance()}
    try:
        return operator.execute(context)
    except TaskDeferred as deferred:
        event = asyncio.run(first(deferred.trigger))
        return getattr(operator, deferred.method_name)(context, event, **(deferred.kwargs or {}))


async def first(trigger: Any) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("the trigger ended without an event")


def test_the_connection_is_tested() -> None:
    assert DatabricksHook().test_connection() == (True, "Connection successfully tested")


def test_the_connection_s_test_fails_with_another_token(server: LocalDatabricks, monkeypatch: Any) -> None:
    connection = {"conn_type": "databricks", "host": "http://127.0.0.1", "schema": "http"}
    monkeypatch.setenv(
        "AIRFLOW_CONN_DATABRICKS_DEFAULT", json.dumps({**connection, "port": server.port, "password": "no"})
    )
    assert DatabricksHook().test_connection()[0] is False


@pytest.mark.parametrize("deferrable", [False, True])
def test_submit_run(tmp_path: Path, deferrable: bool) -> None:
    submit = DatabricksSubmitRunOperator(
        task_id="submit",
        json={**work(count(tmp_path, "done")), "timeout_seconds": 60},
        deferrable=deferrable,
        polling_period_seconds=1,
    )
    execute(submit)
    assert len((tmp_path / "done").read_text().splitlines()) == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_submit_run_fails_with_the_task_s_error(deferrable: bool) -> None:
    submit = DatabricksSubmitRunOperator(
        task_id="submit", json=work(task("bad", "fail")), deferrable=deferrable, polling_period_seconds=1
    )
    with pytest.raises(AirflowException, match="ValueError: told to"):
        execute(submit)


@pytest.mark.parametrize("deferrable", [False, True])
def test_run_now(tmp_path: Path, deferrable: bool) -> None:
    name = f"provider-{deferrable}"
    for _ in range(2):
        DatabricksCreateJobsOperator(task_id="create", name=name, json=work(count(tmp_path, "done"))).execute(
            cast("Context", {"ti": Instance()})
        )
    now = DatabricksRunNowOperator(
        task_id="now", job_name=name, deferrable=deferrable, polling_period_seconds=1
    )
    execute(now)
    assert len((tmp_path / "done").read_text().splitlines()) == 1


def test_killing_a_task_cancels_its_run(server: LocalDatabricks, tmp_path: Path) -> None:
    submit = DatabricksSubmitRunOperator(
        task_id="submit", json=work(count(tmp_path, "slow", "slow")), wait_for_termination=False
    )
    submit.execute(cast("Context", {"ti": Instance()}))
    submit.on_kill()
    assert server.wait(submit.run_id or 0)["state"]["result_state"] == "CANCELED"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_workflow_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deferrable: bool) -> None:
    # The provider looks again every five seconds.
    monkeypatch.setattr(
        "airflow.providers.databricks.operators.databricks_workflow.time.sleep", lambda _: None
    )
    with DAG(f"provider_{deferrable}", schedule=None) as dag:
        group = DatabricksWorkflowTaskGroup(
            group_id="group",
            databricks_conn_id="databricks_default",
            job_clusters=[{"job_cluster_key": "shared", "new_cluster": CLUSTER}],
        )
        with group:
            for name in ("one", "two"):
                DatabricksTaskOperator(
                    task_id=name,
                    databricks_task_key=name,
                    job_cluster_key="shared",
                    task_config=count(tmp_path, name),
                    deferrable=deferrable,
                    polling_period_seconds=1,
                )
    launched = cast("BaseOperator", dag.get_task("group.launch")).execute(
        cast("Context", {"ti": Instance(), "task_instance": Instance()})
    )
    for name in ("one", "two"):
        member: Any = dag.get_task(f"group.{name}")
        member.workflow_run_metadata = launched
        execute(member, {"ti": Instance(), "task_instance": Instance()})
        assert len((tmp_path / name).read_text().splitlines()) == 1

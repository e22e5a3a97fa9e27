"""A workflow's tasks against a local Databricks: what Airflow does to a task does real work there, once."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.providers.databricks.hooks.databricks import DatabricksHook
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import TaskDeferred

from include.operators import databricks as operators
from include.operators import inputs
from include.operators.databricks import (
    AttemptWatch,
    DatabricksRunError,
    DatabricksWorkflow,
    LaunchWorkflowOperator,
    WorkflowTaskOperator,
    upload,
)
from include.operators.polling import PollingTrigger
from include.settings import settings
from tests.local.support_databricks import CLUSTER, TOKEN, VOLUME, WHEEL, LocalDatabricks, wheel

if TYPE_CHECKING:
    from typing import BinaryIO

    from airflow.sdk import Context

RETRIES = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabricks]:
    started = LocalDatabricks(tmp_path_factory.mktemp("databricks")).start()
    yield started
    assert started.stop() == 0


@pytest.fixture(autouse=True)
def environment(server: LocalDatabricks, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    connection = {
        "conn_type": "databricks",
        "host": "http://127.0.0.1",
        "schema": "http",
        "port": server.port,
        "password": TOKEN,
    }
    monkeypatch.setenv("AIRFLOW_CONN_DATABRICKS_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(operators, "_FIRST_WAIT", 0.1)
    monkeypatch.setattr(operators, "_LONGEST_WAIT", 0.3)
    settings.cache_clear()
    yield
    settings.cache_clear()


class Store:
    """A task's state store: outlives tries and clearing, as Airflow's does."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        self.values[key] = json.dumps(value)


class Instance:
    """What an operator asks of its task instance."""

    dag_id = "train"

    def __init__(self, run: DagRun, task_id: str, try_number: int, max_tries: int) -> None:
        self.run_id = run.run_id
        self.try_number = try_number
        self.max_tries = max_tries
        self._run = run
        self.task_id = task_id

    def get_task_states(self, *, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        assert (dag_id, run_ids) == (self.dag_id, [self.run_id])
        return {self.run_id: {name: self._run.states[name] for name in task_ids if name in self._run.states}}


class DagRun:
    """One run of a DAG with the workflow ``first >> second >> third``, driven as Airflow drives it."""

    def __init__(
        self, folder: Path, entry_points: tuple[str, str, str] = ("count", "count", "count")
    ) -> None:
        self.folder = folder
        self.run_id = "manual__1"
        self.states: dict[str, str] = {}
        self.outputs: dict[str, Any] = {}
        self._stores: dict[str, Store] = {}
        self._tries: dict[str, tuple[int, int]] = {}
        self._entry_points = entry_points
        self._folder_name = folder.name

    def tasks(self) -> dict[str, BaseOperator]:
        """The DAG's tasks as a worker has them: made again from the DAG file for each try."""
        with (
            DAG("train", schedule=None, default_args={"retries": RETRIES}) as dag,
            DatabricksWorkflow(
                f"model-{self._folder_name}",
                package="tiny",
                wheel=WHEEL,
                cluster=CLUSTER,
                parameters={"folder": "{{ folder }}"},
            ),
        ):
            made = [
                WorkflowTaskOperator(
                    task_id=name, entry_point=entry_point, parameters={"name": "{{ prefix }}" + name}
                )
                for name, entry_point in zip(("first", "second", "third"), self._entry_points, strict=True)
            ]
            made[0] >> made[1] >> made[2]
        return {task.task_id.rpartition(".")[2]: task for task in dag.tasks if isinstance(task, BaseOperator)}

    def run(self, name: str, *, cleared: bool = False, lost: bool = False) -> Any:
        """One try of a task from start to end; with ``lost`` the worker is gone before Airflow hears."""
        operator, context = self.begin(name, cleared=cleared)
        try:
            try:
                result = operator.execute(context)
            except TaskDeferred as deferred:
                result = self.resume(operator, context, deferred)
        except DatabricksRunError:
            self.states[operator.task_id] = "up_for_retry"
            raise
        if not lost:
            self.states[operator.task_id] = "success"
            self.outputs[name] = result
        return result

    def begin(self, name: str, *, cleared: bool = False) -> tuple[Any, Any]:
        """What a worker does before it calls the operator."""
        operator: Any = self.tasks()[name]
        try_number, max_tries = self._tries.get(name, (0, RETRIES))
        if cleared:
            max_tries = try_number + RETRIES
        self._tries[name] = (try_number + 1, max_tries)
        self.states.pop(operator.task_id, None)
        context = {
            "ti": Instance(self, operator.task_id, try_number + 1, max_tries),
            "task_state_store": self._stores.setdefault(name, Store()),
            "folder": str(self.folder),
            "prefix": "of-",
        }
        if isinstance(operator, LaunchWorkflowOperator):
            operator.render_template_fields(cast("Context", context))
        else:
            operator.launched = self.outputs["launch"]
        return operator, context

    def resume(self, operator: Any, context: Any, deferred: TaskDeferred) -> Any:
        """The triggerer's part, and the worker's after it, as often as the task defers."""
        while True:
            path, arguments = deferred.trigger.serialize()
            assert path.endswith(".PollingTrigger")
            event = asyncio.run(first(PollingTrigger(**arguments)))
            try:
                return getattr(operator, deferred.method_name)(context, event, **(deferred.kwargs or {}))
            except TaskDeferred as again:
                deferred = again

    def clear(self, *names: str) -> None:
        """Airflow clears tasks: their states are gone at once, before any of them runs."""
        for name in names:
            self.states.pop(next(each for each in self.states if each.endswith(f".{name}")), None)

    def forget(self, name: str) -> None:
        """Airflow deletes what a task that succeeded has stored, where it is configured so."""
        self._stores[name].values.clear()

    def all(self) -> None:
        for name in ("launch", "first", "second", "third"):
            self.run(name)

    def counts(self) -> list[int]:
        """How often each task's work was really done."""
        files = [self.folder / f"of-{name}" for name in ("first", "second", "third")]
        return [len(file.read_text().splitlines()) if file.exists() else 0 for file in files]


async def first(trigger: PollingTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("the trigger ended without an event")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nothing is staged twice: the file that is there stays."""
    upload(WHEEL, wheel())
    return tmp_path


def test_templates_reach_the_tasks_and_each_task_works_once(folder: Path, server: LocalDatabricks) -> None:
    run = DagRun(folder)
    run.all()
    assert run.counts() == [1, 1, 1]
    assert {run.outputs[name]["run_id"] for name in ("launch", "first", "second", "third")} == {
        run.outputs["launch"]["run_id"]
    }
    assert run.outputs["third"]["attempt"] == 0
    assert server.run(run.outputs["launch"]["run_id"])["state"]["result_state"] == "SUCCESS"


def test_the_group_launches_first_and_links_lead_to_the_run(folder: Path) -> None:
    run = DagRun(folder)
    tasks = run.tasks()
    launch = tasks["launch"]
    assert not launch.upstream_task_ids
    assert tasks["first"].task_id in launch.downstream_task_ids
    result = run.run("launch")
    assert result["run_page_url"].endswith(f"/runs/{result['run_id']}")
    operator, context = run.begin("first")
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    run.resume(operator, context, deferred.value)
    (link,) = operator.operator_extra_links
    assert link.get_link(operator, ti_key=None).startswith(result["run_page_url"])


def test_a_cleared_task_does_its_work_again_and_only_its_own(folder: Path) -> None:
    run = DagRun(folder)
    run.all()
    before = run.outputs["second"]
    run.clear("second")
    run.run("second", cleared=True)
    assert run.counts() == [1, 2, 1]
    after = run.outputs["second"]
    assert after["run_id"] == before["run_id"]
    assert after["task_run_id"] != before["task_run_id"]
    assert after["attempt"] == 1
    run.clear("second")
    run.run("second", cleared=True)
    assert run.counts() == [1, 3, 1]


def test_a_task_cleared_with_those_behind_it_repairs_them_together(
    folder: Path, server: LocalDatabricks
) -> None:
    run = DagRun(folder)
    run.all()
    run.clear("second", "third")
    run.run("second", cleared=True)
    run.run("third", cleared=True)
    assert run.counts() == [1, 2, 2]
    history = server.run(run.outputs["launch"]["run_id"])["repair_history"]
    assert [len(entry["task_run_ids"]) for entry in history] == [3, 2]


def test_a_retry_after_a_failure_is_new_work_and_so_is_what_waits_behind(folder: Path) -> None:
    run = DagRun(folder, ("count", "fail_once", "count"))
    run.run("launch")
    run.run("first")
    with pytest.raises(DatabricksRunError, match="ValueError: the first time") as failed:
        run.run("second")
    assert "/runs/" in str(failed.value)
    run.run("second")
    run.run("third")
    assert run.counts() == [1, 2, 1]


def test_a_cleared_launch_is_a_new_run(folder: Path, server: LocalDatabricks) -> None:
    run = DagRun(folder)
    run.all()
    before = run.outputs["launch"]["run_id"]
    run.clear("first", "second", "third")
    run.run("launch", cleared=True)
    for name in ("first", "second", "third"):
        run.run(name, cleared=True)
    assert run.outputs["launch"]["run_id"] != before
    assert run.counts() == [2, 2, 2]
    assert run.outputs["third"]["attempt"] == 0
    assert len(server.run(run.outputs["launch"]["run_id"])["repair_history"]) == 1


def test_a_launch_cleared_while_its_run_is_going_cancels_that(folder: Path, server: LocalDatabricks) -> None:
    run = DagRun(folder, ("slow_once", "count", "count"))
    before = run.run("launch")["run_id"]
    wait_for(folder / "of-first")
    run.run("launch", cleared=True)
    assert server.wait(before)["state"]["result_state"] == "CANCELED"
    for name in ("first", "second", "third"):
        run.run(name)
    assert run.counts() == [2, 1, 1]


def test_a_worker_lost_after_launching_joins_its_run(folder: Path) -> None:
    run = DagRun(folder)
    lost = run.run("launch", lost=True)["run_id"]
    assert run.run("launch")["run_id"] == lost
    for name in ("first", "second", "third"):
        run.run(name)
    assert run.counts() == [1, 1, 1]


@pytest.mark.parametrize("forgets", [False, True])
def test_a_try_killed_before_it_began_leaves_the_finished_run_to_the_next(
    folder: Path, server: LocalDatabricks, monkeypatch: pytest.MonkeyPatch, forgets: bool
) -> None:
    monkeypatch.setattr(operators, "_store_forgets", lambda: forgets)
    run = DagRun(folder)
    run_id = run.run("launch")["run_id"]
    server.wait(run_id)
    for name in ("first", "second", "third"):
        run.begin(name)  # the worker is killed before it calls the operator
        run.run(name)
    assert run.counts() == [1, 1, 1]
    assert len(server.run(run_id)["repair_history"]) == 1
    run.clear("second")
    run.run("second", cleared=True)
    assert run.counts() == [1, 2, 1]


def test_a_task_whose_only_try_was_killed_before_it_began_takes_the_finished_run_when_cleared(
    folder: Path, server: LocalDatabricks
) -> None:
    run = DagRun(folder)
    server.wait(run.run("launch")["run_id"])
    run.begin("first")
    run.run("first", cleared=True)
    assert run.counts()[0] == 1


def test_a_try_killed_before_it_began_leaves_a_failed_attempt_to_be_made_anew(
    folder: Path, server: LocalDatabricks
) -> None:
    run = DagRun(folder, ("fail_once", "count", "count"))
    server.wait(run.run("launch")["run_id"])
    run.begin("first")
    run.run("first")
    assert run.counts()[0] == 2


def test_a_cleared_task_works_again_where_airflow_forgets_what_succeeded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    run = DagRun(folder)
    run.all()
    run.forget("second")
    run.clear("second")
    run.run("second", cleared=True)
    assert run.counts() == [1, 2, 1]


def test_a_run_that_databricks_skips_fails_the_launch_with_its_message(
    folder: Path, server: LocalDatabricks
) -> None:
    run = DagRun(folder)
    launched = run.run("launch")
    server.wait(launched["run_id"])
    # All new runs of such a job are skipped.
    unlimited = {"max_concurrent_runs": 1, "queue": {"enabled": True}}
    none = {"max_concurrent_runs": 0, "queue": {"enabled": False}}
    change = {"job_id": launched["job_id"], "new_settings": none}
    server.answer("POST", "2.2/jobs/update", **change)
    for cleared in (True, False):
        with pytest.raises(DatabricksRunError, match=r"skipped run .* limit of 0 maximum concurrent runs"):
            run.run("launch", cleared=cleared)
    server.answer("POST", "2.2/jobs/update", **{**change, "new_settings": unlimited})
    assert run.run("launch")["run_id"] != launched["run_id"]
    for name in ("first", "second", "third"):
        run.run(name, cleared=True)
    assert run.counts() == [2, 2, 2]


def test_a_task_of_a_run_that_was_skipped_while_it_waited_tells_databricks_message(folder: Path) -> None:
    run = DagRun(folder)
    (task, *_) = (each for each in run.tasks().values() if isinstance(each, WorkflowTaskOperator))
    state = {"life_cycle_state": "SKIPPED", "state_message": "The queue's limit was reached."}
    with pytest.raises(DatabricksRunError, match="skipped run 7: The queue's limit was reached"):
        task._attempt({"run_id": 7, "state": state})
    with pytest.raises(DatabricksRunError, match="clear 'launch'"):
        task._attempt({"run_id": 7, "state": {"life_cycle_state": "PENDING"}})


def test_a_launch_tried_again_after_its_run_failed_is_a_new_run(
    folder: Path, server: LocalDatabricks
) -> None:
    run = DagRun(folder, ("fail_once", "count", "count"))
    lost = run.run("launch", lost=True)["run_id"]
    server.wait(lost)
    assert run.run("launch")["run_id"] != lost
    for name in ("first", "second", "third"):
        run.run(name)
    assert run.counts() == [2, 1, 1]


def test_a_worker_lost_while_waiting_joins_the_attempt(folder: Path) -> None:
    run = DagRun(folder)
    run.run("launch")
    operator, context = run.begin("first")
    with pytest.raises(TaskDeferred):
        operator.execute(context)
    run.run("first")
    assert run.counts()[0] == 1
    assert run.outputs["first"]["attempt"] == 0


def test_a_killed_task_cancels_the_run_and_its_next_try_repairs_it(
    folder: Path, server: LocalDatabricks
) -> None:
    run = DagRun(folder, ("count", "slow_once", "count"))
    run_id = run.run("launch")["run_id"]
    run.run("first")
    operator, context = run.begin("second")
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    wait_for(folder / "of-second")
    _, arguments = deferred.value.trigger.serialize()
    asyncio.run(PollingTrigger(**arguments).on_kill())
    run.run("second", cleared=True)
    run.run("third")
    assert run.counts() == [1, 2, 1]
    assert server.run(run_id)["state"]["result_state"] == "SUCCESS"


def test_a_launch_killed_before_it_ends_cancels_its_run(folder: Path, server: LocalDatabricks) -> None:
    run = DagRun(folder, ("slow", "count", "count"))
    operator, context = run.begin("launch")
    result = operator.execute(context)
    operator.on_kill()
    assert server.wait(result["run_id"])["state"]["result_state"] == "CANCELED"


def test_a_watch_uses_a_changed_connection_at_a_later_look(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def get_run(hook: DatabricksHook, _: int) -> dict[str, Any]:
        used.append(str(hook.databricks_conn.password))
        return {"state": {"life_cycle_state": "RUNNING"}}

    monkeypatch.setattr(DatabricksHook, "get_run", get_run)
    moment = 1_000 * inputs.CONNECTION_SECONDS
    monkeypatch.setattr("include.operators.inputs.time.monotonic", lambda: moment)
    watch = AttemptWatch(1, "first", None)
    for token, seconds in (("one", 0), ("two", 0), ("two", inputs.CONNECTION_SECONDS)):
        connection = {"conn_type": "databricks", "host": "http://127.0.0.1", "password": token}
        monkeypatch.setenv("AIRFLOW_CONN_DATABRICKS_DEFAULT", json.dumps(connection))
        moment += seconds
        watch.look()
    assert used == ["one", "one", "two"]


def test_a_lost_cluster_fails_the_task_with_its_reason_and_a_retry_works(
    tmp_path: Path, monkeypatch: Any
) -> None:
    own = LocalDatabricks(tmp_path / "own").start()
    connection = {"conn_type": "databricks", "host": "http://127.0.0.1", "schema": "http"}
    monkeypatch.setenv(
        "AIRFLOW_CONN_DATABRICKS_DEFAULT", json.dumps({**connection, "port": own.port, "password": TOKEN})
    )
    inputs._databricks_hook.cache_clear()
    try:
        upload(WHEEL, wheel())
        run = DagRun(tmp_path, ("slow_once", "count", "count"))
        run.run("launch")
        wait_for(tmp_path / "of-first")
        own.stop(by=signal.SIGKILL)
        own.start()
        with pytest.raises(DatabricksRunError, match="Cluster was lost"):
            run.run("first")
        for name in ("first", "second", "third"):
            run.run(name)
        assert run.counts() == [2, 1, 1]
    finally:
        own.stop()


def test_a_job_is_changed_only_where_the_dag_has_changed(folder: Path, server: LocalDatabricks) -> None:
    run = DagRun(folder)
    job_id = run.run("launch")["job_id"]
    kept = server.answer("GET", "2.2/jobs/get", job_id=job_id)["settings"]
    assert run.run("launch", cleared=True)["job_id"] == job_id
    assert server.answer("GET", "2.2/jobs/get", job_id=job_id)["settings"] == kept
    changed = DagRun(folder, ("echo", "count", "count"))
    assert changed.run("launch")["job_id"] == job_id
    now = server.answer("GET", "2.2/jobs/get", job_id=job_id)["settings"]
    assert now["tasks"][0]["python_wheel_task"]["entry_point"] == "echo"


def test_what_is_staged_is_left_alone(server: LocalDatabricks) -> None:
    path = f"{VOLUME}/staged/file-1.bin"
    for content in (b"first", b"second"):
        upload(path, content)
    assert cast("BinaryIO", server.client.files.download(path).contents).read() == b"first"
    with pytest.raises(Exception, match=r"Volume 'main\.x_opinion\.other' does not exist"):
        upload("/Volumes/main/x_opinion/other/file", b"")


def test_only_its_own_tasks_may_stand_in_the_group() -> None:
    with DAG("strange", schedule=None):
        group = DatabricksWorkflow("model", package="tiny", wheel=WHEEL, cluster=CLUSTER)
        with pytest.raises(ValueError, match="holds WorkflowTaskOperators only"), group:
            BaseOperator(task_id="stranger")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("state", "lost"),
    [
        ({"life_cycle_state": "RUNNING"}, False),
        ({"life_cycle_state": "QUEUED"}, False),
        ({"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"}, False),
        ({"life_cycle_state": "TERMINATED", "result_state": "FAILED"}, True),
        ({"life_cycle_state": "TERMINATING"}, True),
        ({"life_cycle_state": "INTERNAL_ERROR"}, True),
    ],
)
def test_a_run_that_is_about_to_end_without_success_is_joined_no_more(
    state: dict[str, str], lost: bool
) -> None:
    assert operators._is_lost({"state": state}) is lost

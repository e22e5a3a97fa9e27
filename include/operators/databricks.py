"""A Databricks workflow as a task group: a run of one job, whose tasks Airflow shows, awaits and repairs.

    with DatabricksWorkflow(
        group_id="model",
        package="x_opinion_training",           # the wheel's distribution
        wheel=stage_wheel(),                    # its path in a Unity Catalog volume; templated
        cluster={"spark_version": …},           # the job cluster that all tasks share
        parameters={"hours": "{{ params.hours }}"},  # every task gets --hours=…; templated
    ) as model:
        prepare = WorkflowTaskOperator(task_id="prepare", entry_point="prepare")
        train = WorkflowTaskOperator(task_id="train", entry_point="train", parameters={"trials": "12"})
        prepare >> train

The group adds a first task ``launch``, which brings the job up to date with the DAG file and starts a run;
the other tasks wait for theirs in the triggerer, without a worker. A task's key on Databricks is its task id
without the group. A task's entry point finds its own and the group's parameters in ``sys.argv`` as
``--name=value``.

What Airflow's actions mean on Databricks:

- clear ``launch``: a new run; an earlier one of this DAG run that is still going is canceled.
- retry ``launch``: joins the run that the lost attempt has started, unless that has failed.
- clear or retry another task: repairs the run, that is a new attempt of this task, and of those behind it
  that Airflow will rerun too; while other tasks of the run are going, after their end.
- mark failed or clear while it runs: cancels the attempt; what is behind it does not run.
- worker or triggerer lost: joins the attempt that is going, and takes one that succeeded meanwhile.

The provider's `DatabricksWorkflowTaskGroup` does otherwise: a cleared task polls the old run and succeeds
without work, and templates in a child's configuration go out unrendered (provider 7.23). Here a task takes no
attempt for its own that it has already seen end: Airflow's task state store keeps the last one.

What needs the provider is imported by the methods: a DAG file's parsing must not pay for it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator, BaseOperatorLink, TaskGroup
from airflow.sdk.exceptions import AirflowException

from include.operators.inputs import databricks_hook
from include.operators.polling import PollingTrigger, Seen, Watch

if TYPE_CHECKING:
    from airflow.providers.databricks.hooks.databricks import DatabricksHook
    from airflow.sdk import Context

LAUNCH = "launch"
CLUSTER = "workflow"
"""The key of the job cluster that a workflow's tasks share."""

_FIRST_WAIT, _GROWTH, _LONGEST_WAIT = 3.0, 1.1, 30.0
_SKIPPED = "SKIPPED"
_ENDED = ("TERMINATED", _SKIPPED, "INTERNAL_ERROR")
_NEVER_RAN = ("UPSTREAM_FAILED", "UPSTREAM_CANCELED", "CANCELED", "EXCLUDED")
"""Results of attempts that did not run, through no fault of their own."""
_FINISHED = ("success", "failed", "skipped", "upstream_failed", "removed")
"""States of Airflow's tasks that will not run again by themselves."""
_STATE_KEY = "databricks"
_LONGEST_ERROR = 2000


class DatabricksRunError(AirflowException):
    """A run or one of its tasks did not succeed; the message says why and where to look."""


def upload(path: str, content: bytes) -> None:
    """Uploads a file to a Unity Catalog volume (Files API), unless it exists.

    ``path`` is ``/Volumes/catalog/schema/volume/…`` and must identify the content by a version or a digest:
    an existing file is not changed. Raises `requests.HTTPError` if Databricks rejects it.
    """
    import requests

    databricks = databricks_hook()
    # The hook only has calls for JSON, so its address and token are used directly.
    url = databricks._endpoint_url(f"api/2.0/fs/files{path}")
    token = databricks._get_token(raise_error=True)
    headers = {**databricks.user_agent_header, "Authorization": f"Bearer {token}"}
    found = requests.head(url, headers=headers, timeout=60)
    if found.status_code == requests.codes.ok:
        return
    answer = requests.put(url, params={"overwrite": "true"}, data=content, headers=headers, timeout=600)
    if not answer.ok:
        raise requests.HTTPError(f"{path}: {answer.status_code} {answer.text[:500]}", response=answer)


class RunPageLink(BaseOperatorLink):
    """Links a task to its page on Databricks."""

    name = "Databricks run"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """The address that the task found, empty if none."""
        return str(getattr(operator, "run_page_url", ""))


class DatabricksWorkflow(TaskGroup):
    """The group; see the module. ``timeout_seconds`` limits a run; 0 means no limit.

    Besides the wheel its tasks need the libraries ``maven``, by coordinates.
    """

    def __init__(
        self,
        group_id: str,
        *,
        package: str,
        wheel: Any,
        cluster: Mapping[str, Any],
        maven: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        timeout_seconds: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(group_id, **kwargs)
        self._package = package
        self._wheel = wheel
        self._maven = maven
        self._cluster = cluster
        self._parameters = parameters or {}
        self._timeout_seconds = timeout_seconds

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _tb: TracebackType | None
    ) -> None:
        """Puts ``launch`` before the tasks that the block has created."""
        try:
            if _value is None:
                self._add_launch()
        finally:  # a group that is not left would take in the next DAG's tasks
            super().__exit__(_type, _value, _tb)

    def _add_launch(self) -> None:
        tasks = list(self.children.values())
        strangers = [task.node_id for task in tasks if not isinstance(task, WorkflowTaskOperator)]
        if strangers:
            raise ValueError(
                f"{self.group_id}: a workflow holds WorkflowTaskOperators only, not {strangers[0]}"
            )
        members: dict[str, WorkflowTaskOperator] = {
            task.task_id: task for task in tasks if isinstance(task, WorkflowTaskOperator)
        }
        launch = LaunchWorkflowOperator(
            task_id=LAUNCH,
            package=self._package,
            wheel=self._wheel,
            maven=list(self._maven),
            cluster=dict(self._cluster),
            parameters=dict(self._parameters),
            timeout_seconds=self._timeout_seconds,
            tasks=[
                {
                    "task_key": task.task_key,
                    "entry_point": task.entry_point,
                    "parameters": task.parameters,
                    "depends_on": sorted(
                        members[other].task_key for other in task.upstream_task_ids & members.keys()
                    ),
                }
                for task in members.values()
            ],
        )
        for task in members.values():
            task.launched = launch.output


class LaunchWorkflowOperator(BaseOperator):
    """Brings a workflow's job up to date with the DAG file, and starts a run of it.

    Returns ``{"job_id", "run_id", "run_page_url"}``. Made by `DatabricksWorkflow`.
    """

    template_fields = ("wheel", "cluster", "parameters", "tasks")
    operator_extra_links = (RunPageLink(),)
    ui_color = "#ffd9c7"

    def __init__(
        self,
        *,
        package: str,
        wheel: Any,
        maven: list[str],
        cluster: dict[str, Any],
        parameters: dict[str, Any],
        tasks: list[dict[str, Any]],
        timeout_seconds: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.package = package
        self.wheel = wheel
        self.maven = maven
        self.cluster = cluster
        self.parameters = parameters
        self.tasks = tasks
        self.timeout_seconds = timeout_seconds
        self.run_page_url = ""
        self._started: int | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Starts a run, or joins the one that a lost attempt of this task started.

        Raises `DatabricksRunError`, with Databricks' message, if it skips the run.
        """
        databricks = databricks_hook()
        store, generation = context["task_state_store"], context["ti"].max_tries
        state: Any = store.get(_STATE_KEY) or {}
        # Airflow increases max_tries whenever a task is cleared; automatic retries do not change it.
        first = state.get("generation") != generation
        if first:
            self._cancel(databricks, state.get("run_id"))
            state = {"generation": generation, "token": uuid.uuid4().hex}
            _keep(store, state)
        job_id = self._keep_job(databricks)
        run = self._run(databricks, job_id, state["token"])
        if _is_lost(run) and not first:
            self.log.info("run_id=%d has ended or is about to: starting another", run["run_id"])
            state = {"generation": generation, "token": uuid.uuid4().hex}
            _keep(store, state)
            run = self._run(databricks, job_id, state["token"])
        _keep(store, {**state, "run_id": run["run_id"]})
        self.run_page_url = run["run_page_url"]
        _reject_skipped(run)
        self.log.info("job_id=%d run_id=%d page=%s", job_id, run["run_id"], self.run_page_url)
        return {"job_id": job_id, "run_id": run["run_id"], "run_page_url": self.run_page_url}

    def on_kill(self) -> None:
        """Cancels the run when the task is killed right after starting it."""
        if self._started is not None:
            databricks_hook().cancel_run(self._started)

    def _run(self, databricks: DatabricksHook, job_id: int, token: str) -> dict[str, Any]:
        parameters = {name: str(value) for name, value in self.parameters.items()}
        self._started = databricks.run_now(
            {"job_id": job_id, "job_parameters": parameters, "idempotency_token": token}
        )
        return databricks.get_run(self._started)

    def _keep_job(self, databricks: DatabricksHook) -> int:
        """Creates the job or brings it up to date; returns its id."""
        wanted = self._job()
        digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
        wanted["tags"] = {"x-opinion-settings": digest}
        found = databricks.list_jobs(job_name=wanted["name"])
        if not found:
            return databricks.create_job(wanted)
        job_id = int(found[0]["job_id"])
        if found[0]["settings"].get("tags") != wanted["tags"]:
            self.log.info("job_id=%d settings have changed", job_id)
            databricks.reset_job(str(job_id), wanted)
        return job_id

    def _job(self) -> dict[str, Any]:
        shared = {name: f"{{{{job.parameters.{name}}}}}" for name in self.parameters}
        group = self.task_group.group_id if self.task_group and self.task_group.group_id else self.task_id
        return {
            "name": f"{self.dag_id}.{group}",
            "max_concurrent_runs": 1,
            "queue": {"enabled": True},
            "timeout_seconds": self.timeout_seconds,
            "parameters": [{"name": name, "default": ""} for name in self.parameters],
            "job_clusters": [{"job_cluster_key": CLUSTER, "new_cluster": self.cluster}],
            "tasks": [
                {
                    "task_key": task["task_key"],
                    "depends_on": [{"task_key": other} for other in task["depends_on"]],
                    "job_cluster_key": CLUSTER,
                    "libraries": [
                        {"whl": self.wheel},
                        *({"maven": {"coordinates": each}} for each in self.maven),
                    ],
                    "python_wheel_task": {
                        "package_name": self.package,
                        "entry_point": task["entry_point"],
                        "named_parameters": {
                            **shared,
                            **{name: str(value) for name, value in task["parameters"].items()},
                        },
                    },
                }
                for task in self.tasks
            ],
        }

    def _cancel(self, databricks: DatabricksHook, run_id: int | None) -> None:
        if run_id is not None and not _has_ended(databricks.get_run(run_id)):
            self.log.info("run_id=%d is canceled: this task was cleared", run_id)
            databricks.cancel_run(run_id)


class WorkflowTaskOperator(BaseOperator):
    """One task of a workflow: awaits its attempt, or has a new one made if it has seen that one end.

    ``entry_point`` is the wheel's, ``parameters`` are this task's own (templates in them are rendered when
    the run is launched). Returns ``{"run_id", "task_run_id", "attempt", "run_page_url"}``.
    """

    template_fields = ("launched",)
    operator_extra_links = (RunPageLink(),)
    ui_color = "#ffc7b2"

    def __init__(
        self,
        *,
        entry_point: str,
        parameters: Mapping[str, Any] | None = None,
        launched: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.entry_point = entry_point
        self.parameters = dict(parameters or {})
        self.launched = launched
        self.task_key = self.task_id.rpartition(".")[2]
        self.run_page_url = ""

    def execute(self, context: Context) -> dict[str, Any]:
        """Finds this task's attempt in the run, or creates one, and awaits it."""
        databricks = databricks_hook()
        store = context["task_state_store"]
        if store.get(_STATE_KEY) is None:
            _keep(store, {"seen": "" if self._is_unseen(context, databricks) else "lost"})
        return self._advance(context, databricks)

    def resume(
        self,
        context: Context,
        event: dict[str, Any],  # noqa: ARG002 - Airflow's signature
        awaited: int | None,
        made: bool = False,
    ) -> dict[str, Any]:
        """Continues once the attempt ``awaited`` or, without one, the whole run has ended.

        ``made`` says that this try created the attempt. One that was found in progress may end because of
        what killed the previous try: that is not a result.
        """
        databricks = databricks_hook()
        attempt = self._attempt(databricks.get_run(self.launched["run_id"]))
        if attempt["run_id"] == awaited and _has_ended(attempt):
            killed = attempt["state"].get("result_state") in _NEVER_RAN
            if made or not killed or context["ti"].try_number == 1:
                return self._settle(context, databricks, attempt)
        return self._advance(context, databricks)

    def _is_unseen(self, context: Context, databricks: DatabricksHook) -> bool:
        """Whether no earlier try saw this task's attempt end, if the task state store has no record.

        Earlier tries were then killed before they got here, unless Airflow deletes the state of a task that
        succeeded, which was then cleared. An attempt that did not succeed is not worth adopting.
        """
        ti = context["ti"]
        if ti.try_number == 1:
            return True
        if ti.max_tries > (self.retries or 0) and _store_forgets():
            return False
        attempt = self._attempt(databricks.get_run(self.launched["run_id"]))
        return bool(attempt["state"].get("result_state") == "SUCCESS")

    def _advance(self, context: Context, databricks: DatabricksHook) -> dict[str, Any]:
        run = databricks.get_run(self.launched["run_id"])
        attempt = self._attempt(run)
        if not _has_ended(attempt):
            return self._await(run["run_id"], attempt["run_id"])
        state: Any = context["task_state_store"].get(_STATE_KEY)
        never_ran = attempt["state"].get("result_state") in _NEVER_RAN
        if not never_ran and state["seen"] not in ("lost", attempt["run_id"]):
            return self._settle(context, databricks, attempt)
        if not _has_ended(run):
            self.log.info("run_id=%d is active: it is repaired after its end", run["run_id"])
            return self._await(run["run_id"], None)
        _keep(context["task_state_store"], {"seen": attempt["run_id"]})
        self._repair(context, databricks, run["run_id"])
        attempt = self._attempt(databricks.get_run(run["run_id"]))
        return self._await(run["run_id"], attempt["run_id"], made=True)

    def _repair(self, context: Context, databricks: DatabricksHook, run_id: int) -> None:
        tasks = [self.task_key, *self._rerun_behind(context)]
        request: dict[str, Any] = {"run_id": run_id, "rerun_tasks": tasks}
        latest = databricks.get_latest_repair_id(run_id)
        if latest is not None:
            request["latest_repair_id"] = latest
        repair_id = databricks.repair_run(request)
        self.log.info("run_id=%d repair_id=%d tasks=%s", run_id, repair_id, ",".join(tasks))

    def _rerun_behind(self, context: Context) -> list[str]:
        """The keys of the workflow's tasks downstream of this one that Airflow will run after it."""
        dag, ti = self.get_dag(), context["ti"]
        behind = {
            task_id: task.task_key
            for task_id in self.get_flat_relative_ids(upstream=False)
            if dag
            and isinstance(task := dag.get_task(task_id), WorkflowTaskOperator)
            and task.task_group is self.task_group
        }
        if not behind:
            return []
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=sorted(behind), run_ids=[ti.run_id])
        of_run = states.get(ti.run_id, {})
        return sorted(key for task_id, key in behind.items() if of_run.get(task_id) not in _FINISHED)

    def _settle(
        self, context: Context, databricks: DatabricksHook, attempt: dict[str, Any]
    ) -> dict[str, Any]:
        """Adopts an ended attempt as this task's own: returns its result or raises `DatabricksRunError`."""
        _keep(context["task_state_store"], {"seen": attempt["run_id"]})
        self.run_page_url = attempt["run_page_url"]
        state = attempt["state"]
        if state.get("result_state") == "SUCCESS":
            return {
                "run_id": self.launched["run_id"],
                "task_run_id": attempt["run_id"],
                "attempt": attempt["attempt_number"],
                "run_page_url": self.run_page_url,
            }
        output = databricks.get_run_output(attempt["run_id"])
        reason = output.get("error") or state.get("state_message") or "no reason given"
        raise DatabricksRunError(
            f"{self.task_key}, attempt {attempt['attempt_number']} of run {self.launched['run_id']}, is"
            f" {state.get('result_state') or state['life_cycle_state']}: {reason[:_LONGEST_ERROR]}; see"
            f" {self.run_page_url}"
        )

    def _await(self, run_id: int, awaited: int | None, *, made: bool = False) -> NoReturn:
        """Defers until the attempt or, without one, the run has ended."""
        self.defer(
            trigger=PollingTrigger.of(
                AttemptWatch,
                {"run_id": run_id, "task_key": self.task_key, "awaited": awaited},
                first_wait=_FIRST_WAIT,
                growth=_GROWTH,
                longest_wait=_LONGEST_WAIT,
            ),
            method_name="resume",
            kwargs={"awaited": awaited, "made": made},
        )

    def _attempt(self, run: dict[str, Any]) -> dict[str, Any]:
        """This task's latest attempt in a run."""
        if attempt := _latest(run, self.task_key):
            self.run_page_url = attempt.get("run_page_url", "")
            return attempt
        _reject_skipped(run)
        raise DatabricksRunError(
            f"run {run['run_id']} has no task {self.task_key}: the DAG has changed since; clear '{LAUNCH}'"
        )


class AttemptWatch(Watch):
    """Watches the attempt ``awaited``, without one the run; the event is ``{"run_id", "awaited"}``."""

    def __init__(self, run_id: int, task_key: str, awaited: int | None) -> None:
        self._run_id = run_id
        self._task_key = task_key
        self._awaited = awaited

    def look(self) -> Seen:
        """Asks Databricks once."""
        over = self._is_over(databricks_hook().get_run(self._run_id))
        return Seen({"run_id": self._run_id, "awaited": self._awaited} if over else None)

    def _is_over(self, run: dict[str, Any]) -> bool:
        """Also if another attempt has replaced the awaited one."""
        if self._awaited is None or _has_ended(run):
            return _has_ended(run)
        latest = _latest(run, self._task_key)
        return latest is None or latest["run_id"] != self._awaited or _has_ended(latest)

    def stop(self) -> None:
        """Cancels the attempt, or the run."""
        databricks_hook().cancel_run(self._awaited or self._run_id)


def _keep(store: Any, state: dict[str, Any]) -> None:
    """Saves what the task's next try must know in Airflow's task state store."""
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    store.set(_STATE_KEY, state, retention=NEVER_EXPIRE)


def _store_forgets() -> bool:
    """Whether Airflow is configured to delete a task's state when the task succeeds."""
    from airflow.sdk.configuration import conf

    return bool(conf.getboolean("state_store", "clear_on_success"))


def _reject_skipped(run: Mapping[str, Any]) -> None:
    """Raises `DatabricksRunError` if Databricks skipped the run, which then has no task to wait for."""
    state = run["state"]
    if state["life_cycle_state"] == _SKIPPED:
        raise DatabricksRunError(
            f"Databricks skipped run {run['run_id']}: {state.get('state_message') or 'no reason given'}; see"
            f" {run.get('run_page_url', 'its page')}, and clear '{LAUNCH}' for another run"
        )


def _latest(run: Mapping[str, Any], task_key: str) -> dict[str, Any] | None:
    """A task's latest attempt: a repaired run lists the earlier ones too, in any order."""
    attempts: list[dict[str, Any]] = [task for task in run.get("tasks", ()) if task["task_key"] == task_key]
    return max(attempts, key=lambda task: (task["attempt_number"], task["start_time"]), default=None)


def _has_ended(document: Mapping[str, Any]) -> bool:
    return document["state"]["life_cycle_state"] in _ENDED


def _is_lost(run: Mapping[str, Any]) -> bool:
    """Whether a run ends, or has ended, without success."""
    state = run["state"]
    return state["life_cycle_state"] in ("TERMINATING", *_ENDED) and state.get("result_state") != "SUCCESS"

"""Checks the settings of jobs and one-time runs before anything is stored, with Databricks' errors.

Limits and names: docs.databricks.com/api/workspace/jobs/create (2.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import Any

from local.artifacts import read_lock
from local.databricks.errors import invalid, not_offered

OFFERED_TASKS = ("python_wheel_task", "spark_python_task")
OTHER_TASKS = (
    "clean_rooms_notebook_task",
    "condition_task",
    "dashboard_task",
    "dbt_task",
    "for_each_task",
    "notebook_task",
    "pipeline_task",
    "power_bi_task",
    "run_job_task",
    "spark_jar_task",
    "spark_submit_task",
    "sql_task",
)
RUN_IF = (
    "ALL_SUCCESS",
    "ALL_DONE",
    "ALL_FAILED",
    "AT_LEAST_ONE_FAILED",
    "AT_LEAST_ONE_SUCCESS",
    "NONE_FAILED",
)
MAXIMUM_TASKS = 1000
MAXIMUM_NAME = 4096
MAXIMUM_TOKEN = 64
MAXIMUM_PARAMETERS_BYTES = 10_000

_TASK_KEY = re.compile(r"[\w-]{1,100}")


def check_job(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A job's settings with what Databricks fills in; raises `ApiError` at the first thing that is wrong."""
    name = _text(settings.get("name", "Untitled"), "name")
    if len(name) > MAXIMUM_NAME:
        raise invalid(f"The job name must have at most {MAXIMUM_NAME} characters.")
    checked = {**settings, "name": name, "format": "MULTI_TASK"}
    checked["max_concurrent_runs"] = whole(settings.get("max_concurrent_runs", 1), "max_concurrent_runs")
    if not 0 <= checked["max_concurrent_runs"] <= 1000:
        raise invalid("max_concurrent_runs must be between 0 and 1000.")
    for parameter in settings.get("parameters") or []:
        if not isinstance(parameter, Mapping) or not {"name", "default"} <= parameter.keys():
            raise invalid("Every job parameter needs a name and a default.")
    for unsupported in ("schedule", "trigger", "continuous", "git_source"):
        if settings.get(unsupported):
            raise not_offered(f"a job's {unsupported}")
    checked.update(_check_work(settings))
    return checked


def check_submit(request: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a one-time run, in the form of a job's; raises `ApiError`.

    One task may be in the request itself, as before version 2.1.
    """
    settings = dict(request)
    single = [kind for kind in (*OFFERED_TASKS, *OTHER_TASKS) if kind in settings]
    if single and not settings.get("tasks"):
        of_task = (*single, "new_cluster", "existing_cluster_id", "libraries")
        task = {name: settings.pop(name) for name in of_task if name in settings}
        settings["tasks"] = [{"task_key": "main", **task}]
    settings["name"] = _text(settings.pop("run_name", None) or "Untitled", "run_name")
    if settings.get("git_source"):
        raise not_offered("a run's git_source")
    return {**settings, "format": "MULTI_TASK", **_check_work(settings)}


def check_token(token: object) -> str | None:
    """An idempotency token, or None; raises `ApiError` for one that is too long."""
    if token is None or token == "":
        return None
    text = _text(token, "idempotency_token")
    if len(text) > MAXIMUM_TOKEN:
        raise invalid(
            f"The provided idempotency token is too long: it must have at most {MAXIMUM_TOKEN} characters."
        )
    return text


def whole(value: object, name: str) -> int:
    """A whole number, also from its decimal text: clients send both; raises `ApiError` for all else."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not re.fullmatch(r"-?\d+", str(value)):
        raise invalid(f"Invalid value for {name}: expected a whole number.")
    return int(value)


def truth(value: object, name: str) -> bool:
    """A boolean, also from its text; raises `ApiError` for all else."""
    if value in (True, False):
        return bool(value)
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise invalid(f"Invalid value for {name}: expected true or false.")


def _check_work(settings: Mapping[str, Any]) -> dict[str, Any]:
    tasks = settings.get("tasks")
    if not isinstance(tasks, Sequence) or isinstance(tasks, str) or not tasks:
        raise invalid("At least one task must be specified.")
    if len(tasks) > MAXIMUM_TASKS:
        raise invalid(f"A job may have at most {MAXIMUM_TASKS} tasks.")
    clusters = _keyed(settings.get("job_clusters") or [], "job_cluster_key", "job cluster")
    for key, cluster in clusters.items():
        _check_cluster(cluster.get("new_cluster"), f"job cluster {key}")
    environments = _keyed(settings.get("environments") or [], "environment_key", "environment")
    checked = [_check_task(task, clusters, environments) for task in tasks]
    by_key = _keyed(checked, "task_key", "task")
    graph = {key: [edge["task_key"] for edge in task["depends_on"]] for key, task in by_key.items()}
    for key, upstream in graph.items():
        for other in upstream:
            if other not in graph:
                raise invalid(f"Task '{key}' depends on task '{other}', which does not exist.")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise invalid(f"The tasks' dependencies form a cycle: {', '.join(error.args[1])}.") from error
    timeout = whole(settings.get("timeout_seconds") or 0, "timeout_seconds")
    return {"tasks": checked, "timeout_seconds": timeout}


def _check_task(
    task: object, clusters: Mapping[str, object], environments: Mapping[str, object]
) -> dict[str, Any]:
    if not isinstance(task, Mapping):
        raise invalid("A task must be an object.")
    key = task.get("task_key")
    if not isinstance(key, str) or not _TASK_KEY.fullmatch(key):
        raise invalid(f"Invalid task_key {key!r}: 1 to 100 letters, digits, hyphens and underscores.")
    kinds = [kind for kind in (*OFFERED_TASKS, *OTHER_TASKS) if task.get(kind) is not None]
    if len(kinds) != 1:
        raise invalid(f"Task '{key}' must have exactly one task type, but has {len(kinds)}.")
    if kinds[0] not in OFFERED_TASKS:
        raise not_offered(f"Task '{key}': a {kinds[0]}")
    _check_program(key, kinds[0], task[kinds[0]])
    _check_place(key, task, clusters, environments)
    for library in task.get("libraries") or []:
        _check_library(key, library)
    depends_on = task.get("depends_on") or []
    if any(not isinstance(edge, Mapping) or "task_key" not in edge for edge in depends_on):
        raise invalid(f"Task '{key}': every entry of depends_on needs a task_key.")
    run_if = task.get("run_if") or "ALL_SUCCESS"
    if run_if not in RUN_IF:
        raise invalid(f"Task '{key}': run_if must be one of {', '.join(RUN_IF)}.")
    numbers = {
        name: whole(task.get(name) or 0, name)
        for name in ("timeout_seconds", "max_retries", "min_retry_interval_millis")
    }
    return {**task, **numbers, "run_if": run_if, "depends_on": [dict(edge) for edge in depends_on]}


def _check_library(key: str, library: object) -> None:
    if not isinstance(library, Mapping) or set(library) not in ({"whl"}, {"maven"}):
        raise not_offered(f"Task '{key}': a library other than a wheel (whl) or Maven's (maven)")
    if "maven" in library and library["maven"] not in [{"coordinates": each} for each in _installed()]:
        raise not_offered(f"Task '{key}': the Maven library {library['maven']!r}")


@cache
def _installed() -> frozenset[str]:
    """The coordinates of what every cluster here has, without the packaging, as Databricks takes them."""
    found = (artifact.coordinate.split(":") for artifact in read_lock() if artifact.group == "spark")
    return frozenset(f"{group}:{name}:{version}" for group, name, _, version in found)


def _check_program(key: str, kind: str, program: object) -> None:
    if not isinstance(program, Mapping):
        raise invalid(f"Task '{key}': {kind} must be an object.")
    needed = {"python_wheel_task": ("package_name", "entry_point"), "spark_python_task": ("python_file",)}
    for name in needed[kind]:
        if not program.get(name):
            raise invalid(f"Task '{key}': {kind}.{name} must be specified.")
    if program.get("parameters") and program.get("named_parameters"):
        raise invalid(f"Task '{key}': only one of parameters and named_parameters may be specified.")
    if any(not isinstance(value, str) for value in program.get("parameters") or []):
        raise invalid(f"Task '{key}': parameters must be text.")


def _check_place(
    key: str, task: Mapping[str, Any], clusters: Mapping[str, object], environments: Mapping[str, object]
) -> None:
    places = [
        name
        for name in ("job_cluster_key", "new_cluster", "existing_cluster_id", "environment_key")
        if task.get(name)
    ]
    if len(places) != 1:
        raise invalid(
            f"Task '{key}': exactly one of job_cluster_key, new_cluster, existing_cluster_id and"
            " environment_key must be specified."
        )
    if places == ["existing_cluster_id"]:
        raise invalid(f"Cluster {task['existing_cluster_id']} does not exist")
    if places == ["job_cluster_key"] and task["job_cluster_key"] not in clusters:
        raise invalid(f"Task '{key}': job cluster '{task['job_cluster_key']}' is not defined.")
    if places == ["environment_key"]:
        if task["environment_key"] not in environments:
            raise invalid(f"Task '{key}': environment '{task['environment_key']}' is not defined.")
        if task.get("libraries"):
            raise invalid(f"Task '{key}': libraries of serverless tasks belong into the environment.")
    if places == ["new_cluster"]:
        _check_cluster(task["new_cluster"], f"task {key}")


def _check_cluster(cluster: object, where: str) -> None:
    if not isinstance(cluster, Mapping):
        raise invalid(f"new_cluster of {where} must be an object.")
    if not cluster.get("spark_version"):
        raise invalid(f"spark_version of the new cluster of {where} must be specified.")
    if cluster["spark_version"] not in SPARK_VERSIONS:
        raise invalid(f"Invalid spark version {cluster['spark_version']}.")
    if not any(cluster.get(name) for name in ("node_type_id", "instance_pool_id", "policy_id")):
        raise invalid(f"node_type_id of the new cluster of {where} must be specified.")
    if cluster.get("init_scripts") or cluster.get("docker_image"):
        raise not_offered(f"init_scripts and docker_image of the new cluster of {where}")


SPARK_VERSIONS = {
    "16.4.x-scala2.12": "16.4 LTS (includes Apache Spark 3.5.2, Scala 2.12)",
    "16.4.x-cpu-ml-scala2.12": "16.4 LTS ML (includes Apache Spark 3.5.2, Scala 2.12)",
}
"""The runtimes whose code runs here: the ml environment has their versions."""


def _keyed(entries: object, name: str, kind: str) -> dict[str, dict[str, Any]]:
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise invalid(f"The list of every {kind} must be a list.")
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        key = entry.get(name) if isinstance(entry, Mapping) else None
        if not isinstance(key, str) or not key:
            raise invalid(f"Every {kind} needs a {name}.")
        if key in found:
            raise invalid(f"Duplicate {name} '{key}'.")
        found[key] = dict(entry)
    return found


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise invalid(f"Invalid value for {name}: expected text.")
    return value

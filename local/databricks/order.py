"""What the driver is told to do for one attempt of a task: its program, parameters, wheels and log."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.databricks.files import Files

_REFERENCE = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


def order_of(
    run: Mapping[str, Any], settings: Mapping[str, Any], task: Mapping[str, Any], files: Files, log: Path
) -> dict[str, Any]:
    """The driver's order; raises `ApiError` if a file that the task names is missing."""
    values = _references(run, task)

    def filled(text: object) -> str:
        return _REFERENCE.sub(lambda found: values.get(found[1], found[0]), str(text))

    libraries = [each["whl"] for each in settings.get("libraries") or [] if "whl" in each]
    for environment in run["settings"].get("environments") or []:
        if environment["environment_key"] == settings.get("environment_key"):
            libraries += (environment.get("spec") or {}).get("dependencies") or []
    wheels = [files.file(path) for path in libraries]
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    order: dict[str, Any] = {
        "log": str(log),
        "wheels": [(str(wheel), hashlib.sha256(wheel.read_bytes()).hexdigest()) for wheel in wheels],
    }
    overriding = run["overriding"].get("python_params")
    if program := settings.get("spark_python_task"):
        parameters = overriding or program.get("parameters") or []
        file = str(files.file(program["python_file"]))
        return {
            **order,
            "kind": "file",
            "file": file,
            "parameters": [filled(each) for each in parameters],
        }
    program = settings["python_wheel_task"]
    named = {
        **(program.get("named_parameters") or {}),
        **run["overriding"].get("python_named_params", {}),
    }
    parameters = overriding or program.get("parameters") or []
    if not parameters:
        named = {**run["job_parameters"], **named}
    words = [filled(each) for each in parameters] + [f"--{key}={filled(named[key])}" for key in named]
    names = {name: program[name] for name in ("package_name", "entry_point")}
    return {**order, **names, "kind": "wheel", "parameters": words}


def _references(run: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, str]:
    """Dynamic value references (docs.databricks.com/en/jobs/dynamic-value-references.html)."""
    started = time.gmtime(run["start_time"] / 1000)
    values = {
        "job.id": run["job_id"],
        "job.name": run["settings"]["name"],
        "job.run_id": run["run_id"],
        "job.repair_count": len(run["repairs"]) - 1,
        "job.start_time.iso_date": time.strftime("%Y-%m-%d", started),
        "job.start_time.iso_datetime": time.strftime("%Y-%m-%dT%H:%M:%S", started),
        "task.name": task["task_key"],
        "task.run_id": task["run_id"],
        "task.execution_count": task["attempt_number"] + 1,
        "job_id": run["job_id"],
        "run_id": task["run_id"],
        "parent_run_id": run["run_id"],
        **{f"job.parameters.{name}": value for name, value in run["job_parameters"].items()},
    }
    return {name: str(value) for name, value in values.items()}

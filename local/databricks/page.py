"""The page of a run: what its address in the API leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from local.front_page import page


def render_runs(runs: Sequence[Mapping[str, Any]]) -> str:
    """HTML with the latest runs of all jobs, each leading to its page."""
    rows = "".join(
        f'<tr><td><a href="/jobs/{run["job_id"]}/runs/{run["run_id"]}">{escape(run["run_name"])}</a></td>'
        f"<td>{_state(run)}</td><td>{_time(run['start_time'])}</td></tr>"
        for run in runs
    )
    head = "<thead><tr><th>Run</th><th>State</th><th>Started</th></tr></thead>"
    table = f"<table>{head}<tbody>{rows}</tbody></table>"
    return page("Runs", f"<h1>The latest runs of jobs</h1>{table if runs else '<p>No job has run yet.</p>'}")


def render(run: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], logs: Mapping[int, str]) -> str:
    """HTML with the run's state, one row per attempt, and the end of each attempt's output."""
    rows = "".join(_row(task) for task in attempts)
    outputs = "".join(
        f'<details id="{task["run_id"]}"><summary>{escape(task["task_key"])}, attempt'
        f" {task['attempt_number']}</summary><pre>{escape(logs[task['run_id']]) or 'no output'}</pre>"
        "</details>"
        for task in attempts
    )
    return page(
        f"Run {run['run_id']}",
        f"<h1>{escape(run['run_name'])}</h1>"
        f"<p>Run {run['run_id']} of job {run['job_id']}: <strong>{_state(run)}</strong>, started"
        f" {_time(run['start_time'])}, {run['run_duration'] / 1000:.1f} s"
        f"{_message(run)}</p>"
        "<table><thead><tr><th>Task</th><th>Attempt</th><th>State</th><th>Started</th><th>Setup</th>"
        f"<th>Execution</th><th>Cluster</th></tr></thead><tbody>{rows}</tbody></table>"
        f"<h2>Output</h2>{outputs}",
    )


def _row(task: Mapping[str, Any]) -> str:
    cluster = task.get("cluster_instance", {}).get("cluster_id", "")
    cells = [
        f'<a href="#{task["run_id"]}">{escape(task["task_key"])}</a>',
        str(task["attempt_number"]),
        _state(task) + _message(task),
        _time(task["start_time"]),
        f"{task['setup_duration'] / 1000:.1f} s",
        f"{task['execution_duration'] / 1000:.1f} s",
        escape(cluster),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _state(document: Mapping[str, Any]) -> str:
    state = document["state"]
    return escape(state.get("result_state") or state["life_cycle_state"])


def _message(document: Mapping[str, Any]) -> str:
    message = document["state"]["state_message"]
    return f"<br>{escape(message)}" if message else ""


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

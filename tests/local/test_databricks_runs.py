"""Runs do real work on a cluster of their own, end as Databricks says they do, and outlive the server."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.credentials import LOGIN
from tests.local.support_databricks import (
    CLUSTER,
    VOLUME,
    WHEEL,
    LocalDatabricks,
    latest,
    results,
    task,
    wheel,
)


@pytest.fixture(scope="module")
def databricks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabricks]:
    server = LocalDatabricks(tmp_path_factory.mktemp("databricks")).start()
    put(server, WHEEL, wheel())
    yield server
    assert server.stop() == 0


def put(server: LocalDatabricks, path: str, content: bytes) -> None:
    answer = requests.put(
        f"{server.url}/api/2.0/fs/files{path}",
        params={"overwrite": "true"},
        data=content,
        headers={"Authorization": "Bearer a-token"},
        timeout=10,
    )
    assert answer.status_code == 204, answer.text


def output(server: LocalDatabricks, run: dict[str, Any], key: str) -> dict[str, Any]:
    run_id = next(each["run_id"] for each in run["tasks"] if each["task_key"] == key)
    return server.answer("GET", "2.2/jobs/runs/get-output", run_id=run_id)


def counted(folder: Path, name: str) -> int:
    file = folder / name
    return len(file.read_text().splitlines()) if file.exists() else 0


def count(folder: Path, key: str, *after: str, entry_point: str = "count", **more: Any) -> dict[str, Any]:
    return task(key, entry_point, *after, parameters=[f"--folder={folder}", f"--name={key}"], **more)


def test_tasks_of_one_run_share_one_cluster_in_the_order_of_their_dependencies(
    databricks: LocalDatabricks, tmp_path: Path
) -> None:
    def one(key: str, *after: str) -> dict[str, Any]:
        return task(key, "count", *after, parameters=[f"--folder={tmp_path}", "--name=all"])

    run = databricks.wait(
        databricks.submit(one("last", "left", "right"), one("left"), one("right"), run_name="x")
    )
    assert run["state"]["result_state"] == "SUCCESS"
    assert run["run_name"] == "x"
    processes = (tmp_path / "all").read_text().split()
    assert len(processes) == 3
    assert len(set(processes)) == 1
    ends = {each["task_key"]: each["end_time"] for each in run["tasks"]}
    starts = {each["task_key"]: each["start_time"] + each["setup_duration"] for each in run["tasks"]}
    assert starts["last"] >= max(ends["left"], ends["right"])
    assert not psutil.pid_exists(int(processes[0]))


def test_a_task_sees_its_arguments_and_the_cluster_s_services_and_its_output_is_kept(
    databricks: LocalDatabricks,
) -> None:
    parameters = ["plain", "{{job.run_id}}", "{{task.name}}", "{{ ds }}"]
    run = databricks.wait(
        databricks.submit(task("say", "echo", parameters=parameters), task("again", "echo", "say"))
    )
    logs = output(databricks, run, "say")["logs"]
    assert f"arguments plain {run['run_id']} say {{{{ ds }}}}\n" in logs
    assert "to standard error" in logs
    assert "aws=http://127.0.0.1:9 mlflow=http://127.0.0.1:8" in logs
    # A log handler that the first task has set up writes to the second task's output.
    assert "aws=http://127.0.0.1:9" in output(databricks, run, "again")["logs"]


def test_a_failed_task_tells_its_error_and_those_behind_it_do_not_run(
    databricks: LocalDatabricks, tmp_path: Path
) -> None:
    run = databricks.wait(
        databricks.submit(
            task("bad", "fail"),
            count(tmp_path, "behind", "bad"),
            count(tmp_path, "beside"),
            count(tmp_path, "cleanup", "behind", run_if="ALL_DONE"),
        )
    )
    assert results(run) == {
        "bad": "FAILED",
        "behind": "UPSTREAM_FAILED",
        "beside": "SUCCESS",
        "cleanup": "SUCCESS",
    }
    assert run["state"]["result_state"] == "SUCCESS_WITH_FAILURES"
    assert counted(tmp_path, "behind") == 0
    told = output(databricks, run, "bad")
    assert told["error"] == "ValueError: told to"
    assert told["error_trace"].rstrip().endswith("ValueError: told to")
    assert told["logs"] == "about to fail\n"
    single = databricks.wait(databricks.submit(task("bad", "fail"), count(tmp_path, "never", "bad")))
    assert single["state"]["result_state"] == "FAILED"
    assert "Task bad failed with message: Workload failed" in single["state"]["state_message"]


def test_a_driver_that_dies_is_told_with_the_last_lines(databricks: LocalDatabricks) -> None:
    run = databricks.wait(
        databricks.submit(task("dead", "die"), task("next", "echo", "dead", run_if="ALL_DONE"))
    )
    state = run["tasks"][0]["state"]
    assert (state["life_cycle_state"], state["result_state"]) == ("INTERNAL_ERROR", "FAILED")
    assert "status 3" in state["state_message"]
    assert "these are | last words" in state["state_message"]
    # What comes after it has a new driver.
    assert results(run)["next"] == "SUCCESS"


def test_a_canceled_run_s_process_ends(databricks: LocalDatabricks, tmp_path: Path) -> None:
    run_id = databricks.submit(count(tmp_path, "slow", entry_point="slow"), count(tmp_path, "behind", "slow"))
    databricks.wait(run_id, "RUNNING", key="slow")
    wait_for(tmp_path / "slow")
    process = psutil.Process(int((tmp_path / "slow").read_text()))
    assert process.is_running()
    databricks.answer("POST", "2.2/jobs/runs/cancel", run_id=run_id)
    run = databricks.wait(run_id)
    assert run["state"]["result_state"] == "CANCELED"
    assert run["state"]["user_cancelled_or_timedout"]
    assert results(run) == {"slow": "CANCELED", "behind": "CANCELED"}
    assert not process.is_running()
    assert output(databricks, run, "slow")["logs"] == "sleeping\n"
    databricks.answer("POST", "2.2/jobs/runs/cancel", run_id=run_id)
    assert databricks.run(run_id)["state"] == run["state"]


def test_one_task_is_canceled_alone(databricks: LocalDatabricks, tmp_path: Path) -> None:
    run_id = databricks.submit(
        count(tmp_path, "slow", entry_point="slow"),
        count(tmp_path, "behind", "slow"),
        count(tmp_path, "beside", run_if="ALL_DONE"),
    )
    run = databricks.wait(run_id, "RUNNING", key="slow")
    wait_for(tmp_path / "slow")
    databricks.answer("POST", "2.2/jobs/runs/cancel", run_id=latest(run)["slow"]["run_id"])
    run = databricks.wait(run_id)
    assert results(run) == {"slow": "CANCELED", "behind": "UPSTREAM_CANCELED", "beside": "SUCCESS"}
    assert run["state"]["result_state"] == "CANCELED"


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("where", ["task", "run"])
def test_what_takes_too_long_is_ended(databricks: LocalDatabricks, tmp_path: Path, where: str) -> None:
    bounded = count(
        tmp_path, "slow", entry_point="slow", **({"timeout_seconds": 1} if where == "task" else {})
    )
    # The provider turns numbers into text.
    run_id = databricks.submit(bounded, **({"timeout_seconds": "1"} if where == "run" else {}))
    run = databricks.wait(run_id)
    assert run["state"]["result_state"] == "TIMEDOUT"
    assert "timed out after 1 seconds" in run["state"]["state_message"]


def test_a_task_is_tried_again_as_often_as_it_says(databricks: LocalDatabricks, tmp_path: Path) -> None:
    run_id = databricks.submit(count(tmp_path, "flaky", entry_point="fail_once", max_retries=2))
    run = databricks.wait(run_id)
    assert run["state"]["result_state"] == "SUCCESS"
    assert sorted(each["attempt_number"] for each in run["tasks"]) == [0, 1]
    assert counted(tmp_path, "flaky") == 2


def test_the_same_token_is_the_same_run(databricks: LocalDatabricks, tmp_path: Path) -> None:
    given = [databricks.submit(count(tmp_path, "once"), idempotency_token="t" * 64) for _ in range(2)]
    databricks.wait(given[0])
    assert databricks.submit(count(tmp_path, "once"), idempotency_token="t" * 64) == given[0] == given[1]
    assert counted(tmp_path, "once") == 1
    job_id = databricks.create("tokens", count(tmp_path, "twice"))
    first, second = (
        databricks.answer("POST", "2.2/jobs/run-now", job_id=job_id, idempotency_token=token)["run_id"]
        for token in ("a", "b")
    )
    assert first != second


def test_a_repair_makes_new_attempts_of_what_it_names_and_keeps_the_old_ones(
    databricks: LocalDatabricks, tmp_path: Path
) -> None:
    tasks = [
        count(tmp_path, "first"),
        count(tmp_path, "flaky", "first", entry_point="fail_once"),
        count(tmp_path, "last", "flaky"),
    ]
    job_id = databricks.create("repaired", *tasks)
    run_id = databricks.answer("POST", "2.2/jobs/run-now", job_id=job_id)["run_id"]
    failed = databricks.wait(run_id)
    assert results(failed) == {"first": "SUCCESS", "flaky": "FAILED", "last": "UPSTREAM_FAILED"}
    repair = {"run_id": run_id, "rerun_tasks": ["flaky"], "rerun_dependent_tasks": True}
    repair_id = databricks.answer("POST", "2.2/jobs/runs/repair", **repair)["repair_id"]
    run = databricks.wait(run_id)
    assert run["state"]["result_state"] == "SUCCESS"
    assert [counted(tmp_path, name) for name in ("first", "flaky", "last")] == [1, 2, 1]
    assert {key: each["attempt_number"] for key, each in latest(run).items()} == {
        "first": 0,
        "flaky": 1,
        "last": 1,
    }
    assert [entry.get("id") for entry in run["repair_history"]] == [None, repair_id]
    old = next(each["run_id"] for each in failed["tasks"] if each["task_key"] == "flaky")
    assert databricks.run(old)["state"]["result_state"] == "FAILED"
    assert output(databricks, failed, "flaky")["error"] == "ValueError: the first time"

    again = {"run_id": run_id, "rerun_tasks": ["last"]}
    stale = databricks.call("POST", "2.2/jobs/runs/repair", **again)
    assert (stale.status_code, stale.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "latest_repair_id" in stale.json()["message"]
    databricks.answer("POST", "2.2/jobs/runs/repair", **again, latest_repair_id=repair_id)
    databricks.wait(run_id)
    assert [counted(tmp_path, name) for name in ("first", "flaky", "last")] == [1, 2, 2]


def test_a_run_beyond_the_job_s_limit_waits_or_is_skipped(
    databricks: LocalDatabricks, tmp_path: Path
) -> None:
    slow = count(tmp_path, "slow", entry_point="slow_once")
    job_id = databricks.create("limited", slow)
    first = databricks.answer("POST", "2.2/jobs/run-now", job_id=job_id)["run_id"]
    wait_for(tmp_path / "slow")
    skipped = databricks.run(databricks.answer("POST", "2.2/jobs/run-now", job_id=job_id)["run_id"])
    assert skipped["state"]["life_cycle_state"] == "SKIPPED"
    assert skipped["state"]["result_state"] == "MAXIMUM_CONCURRENT_RUNS_REACHED"
    databricks.answer("POST", "2.2/jobs/update", job_id=job_id, new_settings={"queue": {"enabled": True}})
    queued = databricks.answer("POST", "2.2/jobs/run-now", job_id=job_id)["run_id"]
    assert databricks.run(queued)["state"]["life_cycle_state"] == "QUEUED"
    databricks.answer("POST", "2.2/jobs/runs/cancel-all", job_id=job_id)
    assert databricks.wait(first)["state"]["result_state"] == "CANCELED"
    assert databricks.wait(queued)["state"]["result_state"] == "CANCELED"
    third = databricks.answer("POST", "2.2/jobs/run-now", job_id=job_id)["run_id"]
    assert databricks.wait(third)["state"]["result_state"] == "SUCCESS"


def test_a_wheel_that_cannot_be_installed_is_the_task_s_failure(databricks: LocalDatabricks) -> None:
    path = f"{VOLUME}/needy/tiny-1.0-py3-none-any.whl"
    put(databricks, path, wheel(requires="no-such-thing>=2"))
    run = databricks.wait(databricks.submit({**task("needy", "echo"), "libraries": [{"whl": path}]}))
    state = run["tasks"][0]["state"]
    assert state["life_cycle_state"] == "INTERNAL_ERROR"
    assert "Library installation failed" in state["state_message"]
    assert "no-such-thing>=2" in state["state_message"]
    missing = {**task("lost", "echo"), "libraries": [{"whl": f"{VOLUME}/none.whl"}]}
    assert (
        "none.whl does not exist"
        in databricks.wait(databricks.submit(missing))["tasks"][0]["state"]["state_message"]
    )


def test_a_script_runs_from_a_volume_on_a_cluster_of_its_own(databricks: LocalDatabricks) -> None:
    put(databricks, f"{VOLUME}/script.py", b"import sys\nprint('script', __name__, *sys.argv[1:])\n")
    program = {"python_file": f"{VOLUME}/script.py", "parameters": ["a"]}
    run_id = databricks.submit({"task_key": "script", "new_cluster": CLUSTER, "spark_python_task": program})
    assert output(databricks, databricks.wait(run_id), "script")["logs"] == "script __main__ a\n"


def test_a_restart_keeps_everything_and_fails_what_was_under_way(tmp_path: Path) -> None:
    server = LocalDatabricks(tmp_path / "state").start()
    put(server, WHEEL, wheel())
    job_id = server.create("kept", count(tmp_path, "slow", entry_point="slow_once"))
    done = server.wait(server.submit(task("say", "echo", parameters=["kept"]), idempotency_token="token"))
    run_id = server.answer("POST", "2.2/jobs/run-now", job_id=job_id)["run_id"]
    wait_for(tmp_path / "slow")
    process = psutil.Process(int((tmp_path / "slow").read_text()))
    server.stop(by=signal.SIGKILL)
    server.start()
    try:
        run = server.run(run_id)
        assert (run["state"]["life_cycle_state"], run["state"]["result_state"]) == (
            "INTERNAL_ERROR",
            "FAILED",
        )
        assert "Cluster was lost" in run["state"]["state_message"]
        psutil.wait_procs([process], timeout=60)
        assert not process.is_running()
        assert server.run(done["run_id"])["state"] == done["state"]
        assert output(server, done, "say")["logs"].startswith("arguments kept")
        assert server.submit(task("say", "echo"), idempotency_token="token") == done["run_id"]
        server.answer("POST", "2.2/jobs/runs/repair", run_id=run_id, rerun_all_failed_tasks=True)
        assert server.wait(run_id)["state"]["result_state"] == "SUCCESS"
        assert counted(tmp_path, "slow") == 2
    finally:
        assert server.stop() == 0


def test_the_run_s_page_shows_tasks_and_output_and_no_secrets(databricks: LocalDatabricks) -> None:
    script = "<script>alert(1)</script>"
    run = databricks.wait(
        databricks.submit(task("say", "echo", parameters=[script]), task("bad", "fail", "say"))
    )
    assert requests.get(run["run_page_url"], timeout=5).status_code == 401
    page = requests.get(run["run_page_url"], auth=LOGIN, timeout=5)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for text in ("say", "SUCCESS", "FAILED", "about to fail", "&lt;script&gt;"):
        assert text in page.text
    assert script not in page.text
    assert "a-token" not in page.text
    assert requests.get(f"{databricks.url}/jobs/1/runs/2", auth=LOGIN, timeout=5).status_code == 404


def test_health_needs_no_token(databricks: LocalDatabricks) -> None:
    assert requests.get(f"{databricks.url}/_local/health", timeout=5).json() == {"status": "ok"}

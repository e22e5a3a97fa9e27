"""`make run` rejects what it cannot do in one sentence, and ends without leaving anything behind."""

import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local.endpoints import SERVICES
from local.parameters import POSTGRESQL, SQLITE
from local.processes import port_is_free
from tests.ports import free_ports
from tests.postgresql import needs_postgresql

ROOT = Path(__file__).parents[2]
PORT = free_ports(len(SERVICES))


def run(run_dir: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable,
        "-m",
        "local",
        "run",
        "--run-dir",
        str(run_dir),
        "--port",
        str(PORT),
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_unknown_parameter_of_make_is_named() -> None:
    result = make("run", "HUORS=3")
    assert result.returncode != 0
    assert "Unknown parameter HUORS" in result.stderr


def test_a_parameters_value_may_hold_blanks() -> None:
    result = make("--dry-run", "run", "ARCHIVE=/nowhere/my tweets.ndjson", "TOPICS=a = b.yaml")
    assert result.returncode == 0, result.stderr
    assert '--archive "/nowhere/my tweets.ndjson" --topics "a = b.yaml"' in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--hours", "0"], "0: not a whole number from 1 to 160"),
        (["--rate", "many"], "many: not a whole number"),
        (["--archive", "/nowhere/tweets.ndjson"], "/nowhere/tweets.ndjson: cannot be read: No such file"),
    ],
)
def test_a_wrong_value_is_rejected_with_the_reason(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    result = run(tmp_path, *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr


def test_a_topics_file_with_a_mistake_is_rejected_with_its_line(tmp_path: Path) -> None:
    topics = tmp_path / "topics.yaml"
    topics.write_text(
        "collection: {start: 2026-11-01T00:00:00Z, monthly_posts: 10, sample: 100}\ntopic: []\n"
    )
    result = run(tmp_path / "run", "--topics", str(topics))
    assert result.returncode == 1
    assert "topics.yaml" in result.stderr
    assert "2" in result.stderr


@pytest.mark.parametrize(
    "content", [b"", gzip.compress(b"", mtime=0), b"no json\nat all\n", b"\x1f\x8b broken gzip"], ids=repr
)
def test_an_archive_without_tweets_is_rejected_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "tweets.ndjson.gz"
    archive.write_bytes(content)
    result = run(tmp_path / "run", "--once", "--archive", str(archive))
    assert result.returncode == 1
    assert "x_api ended" in result.stderr
    assert str(archive) in result.stderr
    assert_nothing_is_left()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", PORT + 2))
        holder.listen()
        result = run(tmp_path)
    assert result.returncode == 1
    assert f"port {PORT + 2} (aws) is taken" in result.stderr
    assert "PORT=" in result.stderr


@pytest.mark.parametrize(
    ("service", "database"),
    [
        ("x_api", SQLITE),
        ("trino", SQLITE),
        pytest.param("airflow-triggerer", POSTGRESQL, marks=needs_postgresql),
    ],
)
def test_ctrl_c_ends_everything_and_a_second_run_is_rejected_meanwhile(
    tmp_path: Path, service: str, database: str
) -> None:
    """At several moments: each when the service has just been started."""
    command = [
        *(sys.executable, "-m", "local", "run", "--run-dir", str(tmp_path), "--port", str(PORT)),
        *("--database", database),
    ]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: (tmp_path / "lock").exists() and (tmp_path / "lock").read_text() != "")
        second = run(tmp_path)
        assert second.returncode == 1
        assert f"another run is active here (process {first.pid}" in second.stderr
        wait_until(lambda: any(tmp_path.glob(f"worlds/*/logs/{service}.log")))
        assert any(tmp_path.glob("worlds/*/logs/postgresql.log")) == (database == POSTGRESQL)
        children = psutil.Process(first.pid).children(recursive=True)
        first.send_signal(signal.SIGINT)
        assert first.wait(timeout=300) == 130
        assert not [child for child in children if child.is_running() and child.status() != "zombie"]
        assert_nothing_is_left()
    finally:
        end(first)


def test_ctrl_c_before_anything_is_started_says_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local", "run", "--run-dir", str(tmp_path), "--port", str(PORT)]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        # One of the modules that are imported first.
        wait_until(lambda: "pydantic_core" in Path(f"/proc/{first.pid}/maps").read_text())
        first.send_signal(signal.SIGINT)
        output, _ = first.communicate(timeout=300)
        assert first.returncode in (-signal.SIGINT, 130)
        assert b"Traceback" not in output
        assert_nothing_is_left()
    finally:
        end(first)


def test_what_a_killed_run_has_left_is_ended_by_the_next(tmp_path: Path) -> None:
    leftover = subprocess.Popen(["sleep", "300"], start_new_session=True)
    started = psutil.Process(leftover.pid).create_time()
    (tmp_path / "processes.json").write_text(json.dumps([{"pid": leftover.pid, "started": started}]))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", PORT))
        holder.listen()
        run(tmp_path)
    assert leftover.wait(timeout=5) == -signal.SIGTERM


def test_a_process_id_that_was_given_to_another_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "processes.json").write_text(json.dumps([{"pid": os.getpid(), "started": 0.0}]))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", PORT))
        holder.listen()
        assert run(tmp_path).returncode == 1


def end(first: "subprocess.Popen[bytes]") -> None:
    """Whatever a failed test has left, services too: they would fail the tests after it."""
    if first.poll() is None:
        for process in [*psutil.Process(first.pid).children(recursive=True), psutil.Process(first.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    first.wait()


def assert_nothing_is_left() -> None:
    assert all(port_is_free(PORT + offset) for offset in range(len(SERVICES)))


def wait_until(condition) -> None:  # pyrefly: ignore[implicit-any-parameter]
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)

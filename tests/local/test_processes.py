"""Children of a run: all ended, in the order of their needs, whatever they and the user do meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.processes import Process, ProcessError, Processes, end_leftovers

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "300"], preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
print(child.pid, flush=True)
time.sleep(300)
"""

TOLD = """
import pathlib, signal, sys, time

def end(*_):
    with pathlib.Path(sys.argv[1]).open("a") as file:
        file.write(sys.argv[2] + "\\n")
    sys.exit()

signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(300)
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path / "logs", tmp_path / "processes.json", stop_seconds=1.0) as started:
        yield started


def started(processes: Processes, name: str, code: str, *arguments: str, ends_last: bool = False) -> Process:
    command = [sys.executable, "-c", code, *arguments]
    process = processes.start(name, command, os.environ, ends_last=ends_last)
    process.wait_until(lambda: bool(process.log.read_text()), 60)
    return process


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_process_that_ignores_its_end_is_killed_with_its_children(processes: Processes) -> None:
    process = started(processes, "stubborn", STUBBORN)
    family = [psutil.Process(process.popen.pid), psutil.Process(int(process.log.read_text()))]
    processes.stop_all()
    assert not any(map(alive, family))
    assert not processes.registry.exists()


LEADER = """
import os, signal, subprocess, sys, time
ignore = lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)
environment = {} if "unmarked" in sys.argv else None
session = "own-session" in sys.argv
child = subprocess.Popen(["sleep", "300"], preexec_fn=ignore, env=environment, start_new_session=session)
print(child.pid, flush=True)
time.sleep(300)
"""


def orphan(process: Process) -> psutil.Process:
    """Kills a leader; returns the worker that it leaves, which ignores SIGTERM."""
    worker = psutil.Process(int(process.log.read_text()))
    process.popen.kill()
    process.popen.wait()
    assert alive(worker)
    return worker


@pytest.mark.parametrize("kind", ["marked own-session", "unmarked same-session"])
def test_workers_of_a_leader_that_was_killed_are_ended(processes: Processes, kind: str) -> None:
    """Those of its session, and those that have left it: neither is its child any longer."""
    worker = orphan(started(processes, "scheduler", LEADER, *kind.split()))
    processes.stop_all()
    assert not alive(worker)


@pytest.mark.parametrize("kind", ["marked own-session", "unmarked same-session"])
def test_workers_that_a_killed_run_has_left_are_ended_by_the_next(
    processes: Processes, tmp_path: Path, kind: str
) -> None:
    process = started(processes, "scheduler", LEADER, *kind.split())
    entries = processes.registry.read_text()
    worker = orphan(process)
    processes.running.clear()
    left = tmp_path / "left.json"
    left.write_text(entries)
    assert end_leftovers(left) == 1
    assert not alive(worker)


def test_a_session_of_the_same_id_elsewhere_is_left_alone(tmp_path: Path) -> None:
    """Its leader has ended, as shells do; a killed run had a process with that id before."""
    shell = subprocess.Popen(
        ["sh", "-c", "sleep 300 & echo $!"], cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True
    )
    assert shell.stdout is not None
    sleeper = psutil.Process(int(shell.stdout.readline()))
    shell.wait()
    left = tmp_path / "left.json"
    left.write_text(json.dumps([{"pid": shell.pid, "started": 1.0, "mark": "another"}]))
    try:
        assert end_leftovers(left) == 0
        assert alive(sleeper)
    finally:
        sleeper.kill()


TALKATIVE = """
import sys, time
print("ERROR    the database is locked" if "error" in sys.argv else "INFO     ready")
print('INFO     127.0.0.1:4242 - "GET /api/v2/monitor/health HTTP/1.1" 200 OK', flush=True)
if "exits" in sys.argv:
    sys.exit("no room left")
time.sleep(300)
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["error"], "service was killed by SIGKILL: its last error was ERROR    the database is locked"),
        ([], "service was killed by SIGKILL: its log shows no error"),
        (["exits"], "service ended with status 1: no room left"),
    ],
)
def test_a_service_s_last_words_are_its_own(processes: Processes, arguments: list[str], words: str) -> None:
    (processes.logs / "service.log").write_text("ERROR    of an earlier run\n")
    process = processes.start("service", [sys.executable, "-c", TALKATIVE, *arguments], os.environ)
    if arguments != ["exits"]:
        process.wait_until(lambda: "health" in process.log.read_text(), 60)
        process.popen.kill()
    process.popen.wait()
    with pytest.raises(ProcessError, match=f"{re.escape(words)} .see .*service.log"):
        process.check()


HOLDING = """
import subprocess, sys, time
held = b"x" * 40_000_000
if sys.argv[1:]:
    child = [sys.executable, "-c", sys.argv[1]]
    subprocess.Popen(child, start_new_session=True, stdout=sys.stdout)
else:
    print("held", flush=True)
time.sleep(300)
"""


def test_memory_counts_descendants_that_have_left_the_session_too(processes: Processes) -> None:
    assert processes.memory() == 0
    started(processes, "parent", HOLDING, HOLDING)
    assert 80_000_000 < processes.memory() < 160_000_000


def test_what_others_depend_on_ends_after_them(processes: Processes, tmp_path: Path) -> None:
    order = tmp_path / "order"
    started(processes, "aws", TOLD, str(order), "aws", ends_last=True)
    started(processes, "streamer", TOLD, str(order), "streamer")
    started(processes, "trino", TOLD, str(order), "trino", ends_last=True)
    processes.stop_all()
    first, *rest = order.read_text().split()
    assert (first, sorted(rest)) == ("streamer", ["aws", "trino"])


def test_an_impatient_ctrl_c_leaves_nothing_half_stopped(processes: Processes) -> None:
    stubborn = [psutil.Process(started(processes, name, STUBBORN).popen.pid) for name in ("one", "two")]
    before = signal.getsignal(signal.SIGINT)
    impatient = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    impatient.start()
    processes.stop_all()
    impatient.join()
    assert not any(map(alive, stubborn))
    assert signal.getsignal(signal.SIGINT) is before


INTERRUPTED = """
import os, pathlib, signal, sys
from local.processes import Processes

folder = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)
os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGINT))
with Processes(folder / "logs", folder / "processes.json") as processes:
    try:
        processes.start("sleep", ["sleep", "300"], os.environ)
    except KeyboardInterrupt:
        print(processes.running[0].popen.pid)
"""


def test_a_ctrl_c_while_a_process_is_started_is_heard(tmp_path: Path) -> None:
    """In the middle of its fork, where Python drops what a signal's handler raises."""
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert run.stderr == ""
    assert not psutil.pid_exists(int(run.stdout))


def test_a_process_has_time_as_long_as_it_reports_progress(processes: Processes, tmp_path: Path) -> None:
    code = """
import pathlib, sys, time
for number in range(4):
    print("line", number, flush=True)
    time.sleep(0.6)
pathlib.Path(sys.argv[1]).touch()
time.sleep(300)
"""
    done = tmp_path / "done"
    heard: list[str] = []
    process = started(processes, "slow", code, str(done))
    process.wait_until(done.exists, 2, heard.append)
    assert heard[-1] == "line 3"
    with pytest.raises(ProcessError, match="was not ready"):
        process.wait_until(lambda: False, 0.3, heard.append)


SLOW = """
import sys, time
while time.process_time() < float(sys.argv[1]):
    pass
print("ready", flush=True)
time.sleep(300)
"""


def test_a_service_that_works_on_its_start_is_waited_for(processes: Processes) -> None:
    process = processes.start("slow", [sys.executable, "-c", SLOW, "3"], os.environ)
    # Less than it works; ten times as long, on a busy machine, is enough.
    process.wait_until(lambda: "ready" in process.log.read_text(), 2)


def test_a_service_that_gets_nowhere_is_given_up(processes: Processes) -> None:
    process = processes.start("stuck", [sys.executable, "-c", "import time; time.sleep(300)"], os.environ)
    with pytest.raises(ProcessError, match=r"stuck was not ready after .*: it wrote nothing .see"):
        process.wait_until(lambda: False, 2)


ORPHAN = """
import os, signal, sys, time
from local.processes import dies_with_parent

ask = dies_with_parent(signal.SIGKILL)
parent = os.getpid()
if os.fork() == 0:
    print(os.getpid(), flush=True)
    while os.getppid() == parent:
        time.sleep(0.01)
    ask()
    print("lives", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system ends orphans on Linux alone")
def test_a_child_whose_parent_ends_before_it_has_asked_for_the_signal_dies_too() -> None:
    ran = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+\n", ran.stdout)

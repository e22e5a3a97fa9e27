"""Children of a run: all ended, in the order of their needs, whatever they and the user do meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.processes import Process, Processes

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


def test_what_ignores_its_end_is_killed_with_its_children(processes: Processes) -> None:
    process = started(processes, "stubborn", STUBBORN)
    family = [psutil.Process(process.popen.pid), psutil.Process(int(process.log.read_text()))]
    processes.stop_all()
    assert not any(map(alive, family))
    assert not processes.registry.exists()


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

"""Child processes: started in a group of their own, watched, and all ended together."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import psutil
import requests

_PR_SET_PDEATHSIG = 1


class ProcessError(RuntimeError):
    """A process that did not start, ended early or did not become healthy."""


@dataclass
class Process:
    """One child and everything that it starts."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    ends_last: bool = False

    def last_words(self) -> str:
        """The last line that it wrote."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it wrote nothing"

    def check(self) -> None:
        """Raises `ProcessError` where the process has ended."""
        if (status := self.popen.poll()) is not None:
            raise ProcessError(
                f"{self.name} ended with status {status}: {self.last_words()} (see {self.log})"
            )

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Waits until ``ready()``; raises `ProcessError` when the process ends or time is up."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{self.name} was not ready after {seconds:.0f} s: {self.last_words()} (see {self.log})"
                )
            time.sleep(0.1)

    def stop(self, seconds: float) -> None:
        """SIGTERM to the group, SIGKILL to what is left of it after ``seconds``."""
        _end([self], seconds)


@dataclass
class Processes:
    """All children of one run; as a context manager it ends them, those last that others depend on.

    ``registry`` is a file with what is running, so that `end_leftovers` can clean up after a run that was
    itself killed.
    """

    logs: Path
    registry: Path
    stop_seconds: float = 5.0
    running: list[Process] = field(default_factory=list)

    def __enter__(self) -> Processes:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop_all()

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, ends_last: bool = False
    ) -> Process:
        """Starts a command whose output goes to ``<logs>/<name>.log``; ``ends_last`` if others need it.

        A signal that comes meanwhile is handled once the process is among those that are to be ended.
        """
        log = self.logs / f"{name}.log"
        came: list[int] = []
        # What a handler raises inside a fork's hooks is printed and lost: so Ctrl-C would be.
        with _signals(lambda number, _: came.append(number)), log.open("ab") as output:
            popen = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_parent(signal.SIGTERM),
            )
            process = Process(name, popen, log, ends_last)
            self.running.append(process)
            self._register()
        if came:
            signal.raise_signal(came[0])
        return process

    def stop(self, process: Process, seconds: float | None = None) -> None:
        """Ends one process."""
        process.stop(self.stop_seconds if seconds is None else seconds)
        self.running.remove(process)
        self._register()

    def stop_all(self) -> None:
        """Ends every process: first, all at once, those that depend on others, then the others.

        Twice ``stop_seconds`` and a few seconds at most; signals that come meanwhile change nothing: a second
        Ctrl-C would leave half of the work undone.
        """
        with _signals(signal.SIG_IGN):
            for last in (False, True):
                _end([process for process in self.running if process.ends_last is last], self.stop_seconds)
            self.running.clear()
            self.registry.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises `ProcessError` where any process has ended."""
        for process in self.running:
            process.check()

    def memory(self) -> int:
        """Proportional set size of all children together, in bytes."""
        return sum(
            _proportional_set_size(member)
            for process in self.running
            for member in _family(process.popen.pid)
        )

    def _register(self) -> None:
        entries = []
        for process in self.running:
            with contextlib.suppress(psutil.NoSuchProcess):
                entries.append(
                    {"pid": process.popen.pid, "started": psutil.Process(process.popen.pid).create_time()}
                )
        self.registry.write_text(json.dumps(entries))


def end_leftovers(registry: Path) -> int:
    """Ends what a killed run has left, told by process id and start time; returns how many."""
    try:
        entries = json.loads(registry.read_text())
    except (FileNotFoundError, ValueError):
        return 0
    leftovers = []
    for entry in entries:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(entry["pid"])
            if abs(process.create_time() - entry["started"]) < 1:
                leftovers += [process, *process.children(recursive=True)]
    _terminate(leftovers, 5)
    registry.unlink(missing_ok=True)
    return len(leftovers)


def dies_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What asks the system, in a child, for a signal when its parent is gone (Linux: prctl(2))."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, number)


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def answers(url: str) -> bool:
    """Whether an HTTP GET gives 200."""
    try:
        return requests.get(url, timeout=2).status_code == 200
    except requests.RequestException:
        return False


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> Iterator[None]:
    """Has Ctrl-C and SIGTERM handled so for a while, in the main thread: no other handles any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler_before in former.items():
            signal.signal(number, handler_before)


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _proportional_set_size(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))
    return 0


def _end(processes: Iterable[Process], seconds: float) -> None:
    processes = list(processes)
    members = [member for process in processes for member in _family(process.popen.pid)]
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.popen.pid, signal.SIGTERM)
    _terminate(members, seconds, signal_first=False)
    for process in processes:
        process.popen.wait()


def _terminate(members: list[psutil.Process], seconds: float, *, signal_first: bool = True) -> None:
    if signal_first:
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.terminate()
    _, alive = psutil.wait_procs(members, timeout=seconds)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=2)

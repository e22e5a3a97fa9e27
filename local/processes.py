"""Child processes: started in separate groups, watched, and ended together."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import psutil
import requests

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_MARK = "X_OPINION_PROCESS"
"""The variable that identifies what a child has started, even after it lost its parent."""


_TAIL_BYTES, _QUOTED = 65_536, 500
_WORKING = 0.05
"""The least share of a processor that a starting process uses unless it is stuck."""
_ANSWERED = re.compile(
    r"""\b(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)\b.*\bHTTP/\d|method=[A-Z]+ .*path=|"status_code":"""
)
"""A line about a request that was answered."""
_ERROR = re.compile(r"error|exception|traceback|fatal|critical|out of memory", re.IGNORECASE)


class ProcessError(RuntimeError):
    """A process that did not start, ended early or did not become healthy."""


@dataclass
class Process:
    """One child and everything that it starts."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    mark: str
    ends_last: bool = False
    offset: int = 0
    """Where its output begins in the log, which earlier runs have written to."""

    @cached_property
    def started(self) -> float:
        """Its start time by the system; 0 if it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return float(psutil.Process(self.popen.pid).create_time())
        return 0.0

    def members(self) -> list[psutil.Process]:
        """It and everything that it has started, also after its own end."""
        return _members(self.popen.pid, self.mark)

    def last_words(self) -> str:
        """Its last error, or its last line that is not about an answered request.

        For a killed process only an error counts.
        """
        with self.log.open("rb") as log:
            log.seek(max(self.offset, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        own = [line.strip() for line in lines if line.strip() and not _ANSWERED.search(line)]
        errors = [line for line in own if _ERROR.search(line)]
        killed = (self.popen.poll() or 0) < 0
        if killed:
            return f"its last error was {errors[-1][:_QUOTED]}" if errors else "its log shows no error"
        return own[-1][:_QUOTED] if own else "it wrote nothing"

    def check(self) -> None:
        """Raises `ProcessError` if the process has ended."""
        if (status := self.popen.poll()) is not None:
            how = f"was killed by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
            raise ProcessError(f"{self.name} {how}: {self.last_words()} (see {self.log})")

    def wait_until(
        self, ready: Callable[[], bool], seconds: float, told: Callable[[str], None] | None = None
    ) -> None:
        """Waits until ``ready()``; raises `ProcessError` if the process ends or is stuck.

        It is stuck after ``seconds`` with hardly any work: on a slow or busy machine a process that works has
        up to ten times as long. With ``told``, which is called with the last line of its log whenever there
        is a new one, it has as long as it reports progress.
        """
        begin = time.monotonic()
        deadline, last = begin + seconds, begin + 10 * seconds
        worked, written = self._cpu_seconds(), 0
        while not ready():
            self.check()
            now = time.monotonic()
            if told and (size := self.log.stat().st_size) != written:
                written = size
                deadline, last = now + seconds, now + 10 * seconds
                told(self.last_words())
            if now > deadline:
                before, worked = worked, self._cpu_seconds()
                if worked - before < _WORKING * seconds or now > last:
                    raise ProcessError(
                        f"{self.name} was not ready after {now - begin:.0f} s: {self.last_words()}"
                        f" (see {self.log})"
                    )
                deadline = now + seconds
            time.sleep(0.1)

    def _cpu_seconds(self) -> float:
        total = 0.0
        for member in _members(self.popen.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                total += times.user + times.system
        return total

    def stop(self, seconds: float) -> None:
        """SIGTERM to the group, SIGKILL to the rest of it after ``seconds``."""
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

        A signal that comes in the meantime is handled once the process is among those that are to be ended.
        """
        log = self.logs / f"{name}.log"
        mark = uuid.uuid4().hex
        came: list[int] = []
        # An exception of a handler inside a fork's hooks is printed and lost: Ctrl-C would be, too.
        with _signals(lambda number, _: came.append(number)), log.open("ab") as output:
            offset = output.tell()
            popen = subprocess.Popen(
                command,
                env={**environment, _MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_parent(signal.SIGTERM),
            )
            process = Process(name, popen, log, mark, ends_last, offset)
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

        Twice ``stop_seconds`` and a few seconds at most; signals in the meantime are ignored: a second Ctrl-C
        would leave half of the work undone.
        """
        with _signals(signal.SIG_IGN):
            for last in (False, True):
                _end([process for process in self.running if process.ends_last is last], self.stop_seconds)
            self.running.clear()
            self.registry.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises `ProcessError` if any process has ended."""
        for process in self.running:
            process.check()

    def memory(self) -> int:
        """Proportional set size of all children and their descendants together, in bytes.

        Looks at every process of the machine once: it is asked every few seconds.
        """
        leaders = {process.popen.pid for process in self.running}
        present = {process.pid: process for process in psutil.process_iter(["ppid"])}

        def belongs(process: psutil.Process | None) -> bool:
            return process is not None and (
                process.pid in leaders
                or _session(process) in leaders
                or belongs(present.get(process.info["ppid"]))
            )

        return sum(_proportional_set_size(process) for process in present.values() if belongs(process))

    def _register(self) -> None:
        entries = [
            {"pid": process.popen.pid, "started": process.started, "mark": process.mark}
            for process in self.running
        ]
        new = self.registry.with_suffix(".new")
        new.write_text(json.dumps(entries))
        new.replace(self.registry)


def end_leftovers(registry: Path) -> int:
    """Ends what a killed run has left and returns how many processes that were.

    They are identified by their mark, or as members of the session of a process with that id and start time.
    If that process is gone, its id may have been reused: then only members with this process's working folder
    are ended, which all processes of a run have.
    """
    try:
        entries = json.loads(registry.read_text())
    except (FileNotFoundError, ValueError):
        return 0
    leftovers = []
    for entry in entries:
        leftovers += _leftovers(entry["pid"], entry["started"], entry.get("mark", ""))
    for member in leftovers:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _kill_after(leftovers, 5)
    registry.unlink(missing_ok=True)
    return len(leftovers)


def dies_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Returns a function for a child to call: it requests a signal when the caller of this one ends."""
    return partial(die_with, os.getpid(), number)


def die_with(parent: int, number: signal.Signals) -> None:
    """Requests a signal for this process when its parent ends (Linux: prctl(2)).

    A process whose parent ended before the request would never get the signal: it sends it to itself.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


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
    """Handles Ctrl-C and SIGTERM with this for a while, in the main thread, the only one that can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler_before in former.items():
            signal.signal(number, handler_before)


def _members(leader: int, mark: str | None = None) -> list[psutil.Process]:
    """The members of the session that ``leader`` leads or led, its descendants, and all that bear the mark.

    A session outlives its leader; the mark finds those that have left the session. Both are needed, since
    some programs overwrite their environment, and so the mark, with their title.
    """
    found: dict[int, psutil.Process] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(leader)
        found = {member.pid: member for member in (parent, *parent.children(recursive=True))}
    for process in psutil.process_iter():
        if process.pid not in found and (_session(process) == leader or (mark and _bears(process, mark))):
            found[process.pid] = process
    found.pop(os.getpid(), None)
    return list(found.values())


def _leftovers(leader: int, started: float, mark: str) -> list[psutil.Process]:
    members = _members(leader, mark)
    ours = [member for member in members if _bears(member, mark)]
    try:
        known = abs(psutil.Process(leader).create_time() - started) < 1
    except psutil.NoSuchProcess:
        here = str(Path.cwd())
        return ours + [member for member in members if member not in ours and _folder(member) == here]
    return members if known else ours


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None


def _bears(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(_MARK) == mark
    except (psutil.Error, OSError):
        return False


def _folder(process: psutil.Process) -> str | None:
    try:
        return str(process.cwd())
    except psutil.Error:
        return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _proportional_set_size(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))
    return 0


def _end(processes: Iterable[Process], seconds: float) -> None:
    processes = list(processes)
    members = [member for process in processes for member in process.members()]
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.popen.pid, signal.SIGTERM)
    _kill_after(members, seconds)
    # Processes started in the meantime have not received the signal.
    _kill_after([member for process in processes for member in process.members()], 0)
    for process in processes:
        process.popen.wait()


def _kill_after(members: list[psutil.Process], seconds: float) -> None:
    """Waits this long for them to end, and kills the rest."""
    _, alive = psutil.wait_procs(members, timeout=seconds)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=2)

"""A Docker engine to build and run with: the one that answers here, else one in namespaces of its own.

The private engine needs root and Debian's packages, but neither systemd nor a network of the machine's: it
runs in its own network, mount and process namespaces, and ``slirp4netns`` is its way out. When the first
process of the namespaces ends, however it ends, the kernel ends everything in them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.processes import Process, ProcessError, Processes, end_leftovers

PROGRAMS = ("dockerd", "slirp4netns", "mmdebstrap", "unshare", "setpriv", "iptables")
"""What the private engine and its base images are made with."""
_PACKAGES = "docker.io slirp4netns mmdebstrap iptables"
_PREFIX = "x-opinion-engine-"
_DNS = "10.0.2.3"
"""The name server that slirp4netns gives to its namespace."""
_CGROUPS = Path("/sys/fs/cgroup")
_READY_SECONDS = 60.0
_STOP_SECONDS = 60.0


class EngineError(RuntimeError):
    """No engine can be had, or it failed; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers."""

    private: bool
    """Whether it was started here, and ends here; it reaches no registry that this machine does not."""
    environment: Mapping[str, str] = field(repr=False)
    """What the command ``docker`` finds the engine by."""

    def run(self, *arguments: str, log: Path | None = None, seconds: float = 120.0) -> str:
        """Runs ``docker`` and returns what it wrote; raises `EngineError` with its last words.

        With ``log`` its output goes there instead.
        """
        command = ["docker", *arguments]
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("ab")) if log else subprocess.PIPE
            try:
                done = subprocess.run(
                    command,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT if log else subprocess.PIPE,
                    timeout=seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise EngineError(f"{' '.join(command)} took more than {seconds:.0f} s.") from error
        if done.returncode:
            said = log.read_bytes() if log else done.stderr
            last = said.decode(errors="replace").strip().splitlines()[-1:]
            where = f" (see {log})" if log else ""
            raise EngineError(f"{' '.join(command)} failed: {''.join(last)}{where}")
        return "" if log else done.stdout.decode()

    def version(self) -> str:
        """The engine's version and storage driver."""
        return self.run("info", "--format", "{{.ServerVersion}}, {{.Driver}}").strip()


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Yields the engine that answers, else a private one that keeps its images in ``folder``.

    Meanwhile this thread is in the private engine's network namespace: what containers publish on loopback is
    reached from here, and from nowhere else. Raises `EngineError` if no engine can be had.
    """
    if shutil.which("docker") is None:
        raise EngineError("There is no command docker; install Docker Engine with its Compose v2 plugin.")
    environment = dict(os.environ)
    _require_compose(environment)
    if _answers(environment):
        yield Engine(private=False, environment=environment)
        return
    if missing := _missing():
        raise EngineError(f"No Docker engine answers, and none can be started here: {missing}.")
    with _private(folder, environment) as started:
        yield started


def _require_compose(environment: Mapping[str, str]) -> None:
    command = ["docker", "compose", "version", "--short"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or done.stdout.lstrip("v").split(".")[0] in ("", "1"):
        raise EngineError(
            "The command docker has no plugin compose of version 2; install Docker's docker-compose-plugin,"
            " or docker-compose of Debian 13 or later."
        )


def _answers(environment: Mapping[str, str]) -> bool:
    done = subprocess.run(["docker", "info"], env=environment, capture_output=True, check=False, timeout=60)
    return done.returncode == 0


def _missing() -> str | None:
    """Why no private engine can be started here."""
    if sys.platform != "linux":
        return "start Docker Desktop or another engine"
    if os.geteuid() != 0:
        return "start one, or run this as root"
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"{', '.join(absent)} missing; on Debian: apt-get install {_PACKAGES}"
    return None


@contextlib.contextmanager
def _private(folder: Path, environment: Mapping[str, str]) -> Iterator[Engine]:
    folder.mkdir(parents=True, exist_ok=True)
    registry = folder / "processes.json"
    end_leftovers(registry)
    _remove_cgroups(f"{_PREFIX}*")
    with contextlib.ExitStack() as ending:
        # The address of a socket has 107 bytes at most, and a checkout may lie deep.
        short = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX)))
        socket = short / "docker.sock"
        started = Engine(private=True, environment={**environment, "DOCKER_HOST": f"unix://{socket}"})
        ending.callback(_remove_cgroups, short.name)
        processes = ending.enter_context(Processes(folder / "logs", registry, _STOP_SECONDS))
        try:
            daemon = processes.start("dockerd", _daemon(folder / "images", socket, short.name), environment)
            namespace = Path(f"/proc/{daemon.popen.pid}/ns/net")
            daemon.wait_until(lambda: not namespace.samefile("/proc/self/ns/net"), _READY_SECONDS)
            way_out = _start_way_out(processes, daemon, environment)
            daemon.wait_until(lambda: _answers(started.environment), _READY_SECONDS)
            way_out.check()
        except ProcessError as error:
            raise EngineError(f"The private engine did not start: {error}.") from error
        ending.enter_context(_inside(namespace))
        yield started


def _daemon(images: Path, socket: Path, group: str) -> list[str]:
    """The engine's command: in namespaces that end with their first process, which ends with this one."""
    inside = 'mount -t tmpfs tmpfs /run && exec dockerd "$@"'
    return [
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
        *("sh", "-c", inside, "dockerd"),
        *("--data-root", str(images), "--host", f"unix://{socket}", "--group", "root"),
        *("--storage-driver", "overlay2", "--cgroup-parent", f"/{group}", "--dns", _DNS),
    ]


def _start_way_out(processes: Processes, daemon: Process, environment: Mapping[str, str]) -> Process:
    command = ["slirp4netns", "--configure", "--mtu=1500", "--disable-host-loopback"]
    return processes.start(
        "slirp4netns", [*command, str(daemon.popen.pid), "tap0"], environment, ends_last=True
    )


@contextlib.contextmanager
def _inside(namespace: Path) -> Iterator[None]:
    """Puts this thread, and what it starts, into a network namespace for a while."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        with namespace.open("rb") as there:
            os.setns(there.fileno(), os.CLONE_NEWNET)
        yield
    finally:
        os.setns(before, os.CLONE_NEWNET)
        os.close(before)


def _remove_cgroups(name: str) -> None:
    """Removes the control groups of ended engines: they outlive their processes."""
    for top in (*_CGROUPS.glob(f"*/{name}"), *_CGROUPS.glob(name)):
        for found in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                found.rmdir()
        # Whoever still runs in it keeps it.
        with contextlib.suppress(OSError):
            top.rmdir()


def end_on_sigterm() -> None:
    """Has SIGTERM end the program as Ctrl-C does: so that what was started is ended.

    Ctrl-C too is handled again: a program started in a shell's background ignores it.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)

"""Rows of the benchmarks' table, and work measured in a separate process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.error import URLError

ROOT = Path(__file__).parents[1]
REPETITIONS = 5
"""Turns that ours and its peer take where single runs differ by much: the median of each counts."""
_START_SECONDS = 60


class MeasureError(RuntimeError):
    """A measured process failed."""


@dataclass(frozen=True)
class Row:
    """One line of the table; ``ratio``: how many times better ours is; ``note``: what it is compared with."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str
    peak_mib: float
    note: str = ""


@dataclass(frozen=True)
class Runs:
    """Several runs of one side in tweets per CPU-second, ``rate`` their median; ``peak_mib``: the largest."""

    rate: float
    lowest: float
    highest: float
    peak_mib: float

    @classmethod
    def of(cls, runs: Sequence[Mapping[str, Any]]) -> Runs:
        """The runs, each with the ``tweets``, ``cpu_s`` and ``peak_mib`` of `report`."""
        rates = [run["tweets"] / run["cpu_s"] for run in runs]
        return cls(median(rates), min(rates), max(rates), max(run["peak_mib"] for run in runs))

    @property
    def spread(self) -> str:
        """The lowest and the highest, for a row's note."""
        return f"{self.lowest:,.0f} to {self.highest:,.0f}"


def in_own_process(
    module: str,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    python: str | Path = sys.executable,
) -> dict[str, Any]:
    """Runs ``python -m module arguments`` and returns the JSON object at the end of its output.

    Raises `MeasureError` with the end of its messages if it fails.
    """
    done = subprocess.run(
        [str(python), "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MeasureError(f"{module} {' '.join(map(str, arguments))} failed: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.rfind("\n{") + 1 :])
    return result


def report(work: Callable[[], dict[str, Any]]) -> None:
    """Does the work and prints its result with the CPU seconds it took and the process's peak memory.

    CPU seconds are user and system time of all threads, from after the imports to the end of the work.
    """
    before = time.process_time()
    result = work()
    print(json.dumps({**result, "cpu_s": time.process_time() - before, "peak_mib": peak_mib()}))


@contextlib.contextmanager
def local_s3() -> Iterator[dict[str, str]]:
    """An empty moto S3 in a separate process; yields the environment for its clients."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _await(address, server)
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.terminate()
        server.wait()


def _await(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/moto-api/data.json", timeout=5):  # noqa: S310 - loopback
                return
        except (URLError, ConnectionError):
            time.sleep(0.2)
    raise MeasureError(f"moto did not answer at {address} within {_START_SECONDS} s")


def used(pid: int) -> tuple[float, float]:
    """CPU seconds so far and MiB of a process and all below it, of CPU those that have ended too.

    Memory that processes share counts once, where the system tells (Linux's proportional set size).
    """
    import psutil  # the ml environment has none, and what runs there needs none

    seconds = memory = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for each in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
                held = each.memory_full_info()
                memory += (getattr(held, "pss", 0) or held.rss) / 2**20
    return seconds, memory


def peak_mib(pid: int | None = None) -> float:
    """The most memory that was resident at once in a process (None: this one), in MiB.

    Of another process on a system that does not keep it: what is resident now.
    """
    status = Path(f"/proc/{pid or 'self'}/status")
    if status.exists():
        # Not getrusage's: on Linux it starts at the parent's peak.
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) / 1024
    if pid is not None:
        return used(pid)[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10

"""Free ports for the servers that a test starts."""

import fcntl
import functools
import tempfile
from pathlib import Path
from typing import IO

from local.processes import port_is_free

FIRST, LAST, SHARE = 20_000, 32_000, 1_000
"""Below the ports that the system gives to clients: a client that polls such a port can meet itself there."""

_next = 0


def free_ports(count: int = 1) -> int:
    """The first of ``count`` free neighbors; never those of another test process."""
    global _next
    begin, _ = _share()
    for _ in range(SHARE):
        first, _next = begin + _next, (_next + count) % (SHARE - count)
        if all(port_is_free(first + offset) for offset in range(count)):
            return first
    raise RuntimeError(f"no {count} free ports from {begin} on")


@functools.cache
def _share() -> tuple[int, IO[str]]:
    """The first port of this process's share, and the locked file that keeps others away until it ends."""
    locks = Path(tempfile.gettempdir()) / "opinion-test-ports"
    locks.mkdir(exist_ok=True)
    for begin in range(FIRST, LAST, SHARE):
        lock = (locks / str(begin)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return begin, lock
    raise RuntimeError(f"no share of ports between {FIRST} and {LAST} is free; end other test processes")

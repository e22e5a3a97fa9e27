"""Free ports for the servers that a test starts."""

import os

from local.processes import port_is_free

FIRST, LAST, SHARE = 20_000, 32_000, 4_000
"""Below the ports that the system gives to clients: a client that polls such a port can meet itself there."""

_next = 0


def free_ports(count: int = 1) -> int:
    """The first of ``count`` free neighbors; never those of a test process beside this one."""
    global _next
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    begin = FIRST + worker * SHARE % (LAST - FIRST)
    for _ in range(SHARE):
        first, _next = begin + _next, (_next + count) % (SHARE - count)
        if all(port_is_free(first + offset) for offset in range(count)):
            return first
    raise RuntimeError(f"no {count} free ports from {begin} on")

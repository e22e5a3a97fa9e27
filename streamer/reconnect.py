"""When to ask X for a stream again.

X's documentation of reconnecting: at once the first time; after network errors 250 ms more each time up to 16
s; after HTTP errors 5 s, doubling up to 320 s; after 429 a minute, doubling, or when its header says so. A
back-off ends only after a healthy minute, and X allows 50 connects in 15 minutes: we stay at 40. A connection
that we cut ourselves is restored as soon as the reason is gone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

HEALTHY_SECONDS = 60.0
CONNECTS = 40
CONNECTS_SECONDS = 900.0

_NETWORK_STEP, _NETWORK_LONGEST = 0.25, 16.0
_HTTP_FIRST, _HTTP_LONGEST = 5.0, 320.0
_LIMITED_FIRST, _LIMITED_LONGEST = 60.0, 900.0


class Cause(Enum):
    """Why a connection ended, as far as it determines the wait."""

    STOPPED = "stopped"
    PAUSED = "paused"
    NETWORK = "network"
    HTTP = "http"
    RATE_LIMITED = "rate_limited"
    TOO_MANY = "too_many_connections"
    NO_RULES = "no_rules"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Ended:
    """The end of one attempt: ``reason`` in words, seconds connected, X's reset time if it sent one."""

    cause: Cause
    reason: str
    connected_seconds: float | None = None
    reset_at: float | None = None


class BackOff:
    """Turns the ends of attempts into seconds to wait. Jitter only ever lengthens a wait."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._failures: dict[Cause, int] = {}

    def delay(self, ended: Ended, now: float) -> float:
        """Seconds until the next attempt after ``ended``; ``now`` as in `time.time`."""
        if (ended.connected_seconds or 0) >= HEALTHY_SECONDS:
            self._failures.clear()
        count = self._failures.get(ended.cause, 0)
        self._failures[ended.cause] = count + 1
        if ended.cause is Cause.PAUSED:
            wait = 0.0
        elif ended.cause is Cause.NETWORK:
            wait = min(_NETWORK_STEP * count, _NETWORK_LONGEST)
        elif ended.cause in (Cause.RATE_LIMITED, Cause.TOO_MANY):
            wait = min(_LIMITED_FIRST * 2**count, _LIMITED_LONGEST)
            if ended.reset_at is not None and ended.reset_at > now:
                wait = min(ended.reset_at - now, _LIMITED_LONGEST) + 1
        elif ended.cause is Cause.NO_RULES and not count:
            # Restoring the rules helps, waiting does not.
            wait = 0.0
        else:
            wait = min(_HTTP_FIRST * 2**count, _HTTP_LONGEST)
        return wait * (1 + 0.1 * self._jitter())


def connect_delay(connects: Sequence[float], now: float) -> float:
    """Seconds until one more connect keeps to `CONNECTS` in any `CONNECTS_SECONDS`, given those before."""
    recent = sorted(at for at in connects if now - at < CONNECTS_SECONDS)
    if len(recent) < CONNECTS:
        return 0.0
    return recent[-CONNECTS] + CONNECTS_SECONDS - now

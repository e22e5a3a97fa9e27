"""X's rate limits: so many requests to an endpoint in a window that starts with the first of them.

Source: X's documentation "Rate limits" (2026-08), per app.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from local.x_api.problems import Problem, plain

_QUARTER = 15 * 60


@dataclass(frozen=True)
class Limit:
    """``requests`` in ``seconds``."""

    requests: int
    seconds: int


PROJECT_CAP = 2_000_000
"""Posts that the project may read in a month."""

LIMITS: dict[str, tuple[Limit, ...]] = {
    "stream": (Limit(50, _QUARTER),),
    "rules.get": (Limit(450, _QUARTER),),
    "rules.post": (Limit(100, _QUARTER),),
    "rules.counts": (Limit(450, _QUARTER),),
    "search.recent": (Limit(450, _QUARTER),),
    "search.all": (Limit(300, _QUARTER), Limit(1, 1)),
    "counts.recent": (Limit(300, _QUARTER),),
    "counts.all": (Limit(300, _QUARTER), Limit(1, 1)),
    "usage": (Limit(50, _QUARTER),),
    "compliance.list": (Limit(150, _QUARTER),),
    "compliance.get": (Limit(150, _QUARTER),),
    "compliance.create": (Limit(150, _QUARTER),),
    "connections.get": (Limit(450, _QUARTER),),
    "connections.delete": (Limit(100, _QUARTER),),
}
"""Every endpoint's limits; the first is the one that the headers tell."""


class RateLimits:
    """Counts the requests of one process; nothing is kept across restarts."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, Limit], tuple[float, int]] = {}

    def take(self, endpoint: str) -> dict[str, str]:
        """Counts one request; returns the ``x-rate-limit-*`` headers or raises `Problem` 429 with them."""
        now = self._clock()
        headers: dict[str, str] = {}
        exceeded = False
        for limit in LIMITS[endpoint]:
            started, used = self._windows.get((endpoint, limit), (now, 0))
            if now >= started + limit.seconds:
                started, used = now, 0
            spent = used >= limit.requests
            if not spent:
                self._windows[endpoint, limit] = (started, used + 1)
            if spent or not headers:
                headers = {
                    "x-rate-limit-limit": str(limit.requests),
                    "x-rate-limit-remaining": str(0 if spent else limit.requests - used - 1),
                    "x-rate-limit-reset": str(math.ceil(started + limit.seconds)),
                }
            exceeded = exceeded or spent
        if exceeded:
            problem = plain(429, "Too Many Requests")
            raise Problem(problem.status, problem.body, headers)
        return headers

    def forget(self) -> None:
        """Starts all windows again, as if their time were over."""
        self._windows.clear()

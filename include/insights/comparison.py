"""A period's figures beside those of the period before: the difference with its interval, and what differs.

The interval of a difference is recovered from the intervals of both (MOVER: G. Zou, A. Donner, Construction
of confidence limits about effect measures, Statistics in Medicine 27, 2008), which need not be symmetric.
Ratios are compared by their quotient, on the logarithmic scale. Both periods count as independent: where one
audit rectifies both, its error cancels out in part, and the interval is wider than it has to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

type TileFigures = Mapping[str, Any]


def compared(now: TileFigures, before: TileFigures) -> dict[str, Any]:
    """``before`` with what has changed since: ``change`` with ``change_low`` and ``change_high``.

    The change is a difference, and of ratios a quotient. A bound is None where there is none; ``audit`` is
    what the interval knows, as a measure's: of both figures the one that knows less.
    """
    change = low = high = None
    if now["value"] is not None and before["value"] is not None:
        if now["format"] == "ratio":
            if now["value"] > 0 and before["value"] > 0:
                change, low, high = _difference(now, before, _logarithm)
                change, low, high = (None if each is None else math.exp(each) for each in (change, low, high))
        else:
            change, low, high = _difference(now, before, lambda value: value)
    return {**before, "change": change, "change_low": low, "change_high": high, "audit": _audit(now, before)}


def _logarithm(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _difference(
    now: TileFigures, before: TileFigures, scale: Callable[[float], float]
) -> tuple[float, float | None, float | None]:
    value, former = scale(now["value"]), scale(before["value"])
    change = value - former

    def bound(own: str, other: str) -> float | None:
        if now[own] is None or before[other] is None:
            return None
        reach = math.hypot(scale(now[own]) - value, scale(before[other]) - former)
        return reach if math.isfinite(reach) else None

    below, above = bound("low", "high"), bound("high", "low")
    low = None if below is None else change - below
    return change, low, None if above is None else change + above


def _audit(now: TileFigures, before: TileFigures) -> int | None:
    kinds = [tile["audit"] for tile in (now, before) if tile["audit"] is not None]
    if not kinds:
        return None
    return 0 if 0 in kinds else max(kinds)

"""Spends the month's posts evenly: projects the month's use and decides which sample to request from X.

Pure: the caller reports what was streamed and asks for the sample. The volume is modeled as a level (posts
per hour without sampling) times a day/night curve, both learned from the stream itself; the curve starts with
an evening peak (UTC). A burst far above the level is expected to fade within hours.
"""

from __future__ import annotations

import calendar
import json
import math
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

TARGET = 0.99
"""The share of the cap to aim at; the rest is a reserve for the unforeseen."""

_LONG_HOURS, _SHORT_HOURS, _FADING_HOURS = 72.0, 1.0, 3.0
_CURVE_HOURS = 5 * 24.0
_CREDIBLE = 3.0
"""The level and the curve learn from a rate at most this far above the level."""
_LEARNED_HOURS = 1 / 12
"""What must have been observed before the sample is changed."""

_DEADBAND = 0.06
_STEP_UP, _STEP_DOWN, _STEP_DOWN_FAST = 1.15, 0.8, 0.5
_FAR_ABOVE = 1.5
_PAUSE, _PAUSE_FAST = timedelta(minutes=20), timedelta(minutes=5)


def _usual_curve() -> list[float]:
    return [1 + 0.4 * math.cos(2 * math.pi * (hour - 17.5) / 24) for hour in range(24)]


def month_end(moment: datetime) -> datetime:
    """The first moment of the next calendar month, UTC."""
    days = calendar.monthrange(moment.year, moment.month)[1]
    return datetime(moment.year, moment.month, 1, tzinfo=UTC) + timedelta(days=days)


@dataclass
class _Memory:
    """The state that is saved. Posts are those of an unsampled stream; hours are weighted by the curve."""

    curve: list[float] = field(default_factory=_usual_curve)
    long_posts: float = 0.0
    long_hours: float = 0.0
    short_posts: float = 0.0
    short_hours: float = 0.0
    changed_at: str | None = None


class Pacer:
    """Decides the sample; ``memory`` is from `remember` (None or unreadable: it starts from nothing)."""

    def __init__(self, memory: str | None = None) -> None:
        self._memory = _Memory()
        try:
            kept = _Memory(**json.loads(memory)) if memory else self._memory
            if len(kept.curve) == 24 and min(kept.curve) > 0:
                self._memory = kept
        except (ValueError, TypeError):
            self._memory = _Memory()

    def remember(self) -> str:
        """The state for the next process, as text."""
        return json.dumps(asdict(self._memory))

    def observe(self, now: datetime, seconds: float, posts: int, sample: int) -> None:
        """Learns from the ``posts`` of ``seconds`` of connection up to ``now``; ``sample`` in percent."""
        if seconds <= 0:
            return
        memory, hours = self._memory, seconds / 3600
        weighted = hours * memory.curve[now.hour]
        natural = posts * 100 / sample
        short = math.exp(-hours / _SHORT_HOURS)
        memory.short_posts = memory.short_posts * short + natural
        memory.short_hours = memory.short_hours * short + weighted
        level = self._level()
        learned = memory.long_hours >= 24
        if learned and level > 0:
            rate = min(natural / hours / level, _CREDIBLE)
            memory.curve[now.hour] += (rate - memory.curve[now.hour]) * (
                1 - math.exp(-hours * 24 / _CURVE_HOURS)
            )
            memory.curve[now.hour] = max(memory.curve[now.hour], 0.05)
            mean = sum(memory.curve) / 24
            memory.curve = [weight / mean for weight in memory.curve]
            natural = min(natural, _CREDIBLE * level * weighted)
        long = math.exp(-hours / _LONG_HOURS)
        memory.long_posts = memory.long_posts * long + natural
        memory.long_hours = memory.long_hours * long + weighted

    def projected(self, now: datetime, used: int, sample: int) -> float:
        """Posts used at the end of the month if ``sample`` stays the same."""
        return used + self._expected(now) * sample / 100

    def sample(self, now: datetime, used: int, current: int, cap: int, highest: int) -> int:
        """The sample to request: ``current`` or one step from it, from 1 to ``highest`` percent.

        ``used`` is what the month has used of ``cap`` so far. Steps are small and rare, unless the remaining
        posts would end long before the month does.
        """
        if current > highest:
            return self._changed(now, highest)
        expected = self._expected(now)
        if self._memory.long_hours < _LEARNED_HOURS or expected <= 0:
            return current
        far_above = expected * current / 100 > _FAR_ABOVE * (cap - used)
        if self._memory.changed_at is not None:
            since = now - datetime.fromisoformat(self._memory.changed_at)
            if since < (_PAUSE_FAST if far_above else _PAUSE):
                return current
        wanted = min(max((TARGET * cap - used) / expected * 100, 1.0), float(highest))
        if abs(wanted - current) < max(_DEADBAND * current, 1.0) and wanted not in (1.0, highest):
            return current
        if wanted < current:
            floor = math.floor(current * (_STEP_DOWN_FAST if far_above else _STEP_DOWN))
            step = max(math.floor(wanted), floor, 1)
        else:
            step = min(math.floor(wanted), max(math.floor(current * _STEP_UP), current + 1), highest)
        return current if step == current else self._changed(now, step)

    def _changed(self, now: datetime, sample: int) -> int:
        self._memory.changed_at = now.isoformat()
        return sample

    def _level(self) -> float:
        return self._memory.long_posts / self._memory.long_hours if self._memory.long_hours else 0.0

    def _expected(self, now: datetime) -> float:
        """Posts that an unsampled stream would bring until the month's end."""
        memory, level, end = self._memory, self._level(), month_end(now)
        lately = memory.short_posts / memory.short_hours if memory.short_hours else level
        whole_days, rest = divmod((end - now).total_seconds() / 3600, 24)
        expected = whole_days * 24 * level
        # Whole days are counted at once, the rest hour by hour.
        at, passed = now, 0.0
        while passed < rest:
            hours = min(1 - (at.minute * 60 + at.second) / 3600, rest - passed) or rest - passed
            expected += level * memory.curve[at.hour] * hours
            at, passed = at + timedelta(hours=hours), passed + hours
        left = (end - now).total_seconds() / 3600
        fading = _FADING_HOURS * (1 - math.exp(-left / _FADING_HOURS))
        return max(expected + (lately - level) * memory.curve[now.hour] * fading, 0.0)

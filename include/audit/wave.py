"""The wave: the days that are drawn from together, one ISO week cut where the month changes."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from include.x.snowflake import moment

_DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class Wave:
    """The days ``first`` to ``last``, both included, of one ISO week and one month (UTC).

    Every day lies in just one wave, so a tweet's id alone says which wave it belongs to.
    """

    first: date
    last: date

    @classmethod
    def of(cls, day: date) -> Wave:
        """The wave of a day."""
        monday = day - timedelta(days=day.weekday())
        month_end = day.replace(day=calendar.monthrange(day.year, day.month)[1])
        return cls(max(monday, day.replace(day=1)), min(monday + 6 * _DAY, month_end))

    @classmethod
    def of_tweet(cls, tweet_id: int) -> Wave:
        """The wave of a tweet, by its id."""
        return cls.of(moment(tweet_id).date())

    @classmethod
    def between(cls, first: date, last: date) -> Iterator[Wave]:
        """Every wave with a day from ``first`` to ``last``, in order."""
        day = first
        while day <= last:
            wave = cls.of(day)
            yield wave
            day = wave.last + _DAY

    @property
    def label(self) -> str:
        """The wave's name in the lake: its first day, such as ``2026-11-16``."""
        return self.first.isoformat()

    @property
    def days(self) -> tuple[date, ...]:
        """All its days, in order."""
        return tuple(self.first + number * _DAY for number in range((self.last - self.first).days + 1))

    @property
    def month(self) -> str:
        """The first day of its month, such as ``2026-11-01``."""
        return self.first.replace(day=1).isoformat()

    @property
    def share_of_month(self) -> float:
        """Its days out of those of its month, 0 to 1."""
        return len(self.days) / calendar.monthrange(self.first.year, self.first.month)[1]


class PeriodError(ValueError):
    """Days that cannot be drawn from; the message says why."""


def requested(
    first: str | None, last: str | None, today: date, retention_days: int, *, scheduled: bool
) -> list[Wave]:
    """The waves that a run draws, by its first and last day (``2026-11-20``), in order.

    Without a last day it is yesterday for a scheduled run, which leaves the week that has just begun to the
    next, and else today; without a first day it is six days earlier. Raises `PeriodError` for days that have
    not come, that do not exist, or whose tweets have expired.
    """
    try:
        end = date.fromisoformat(last) if last else today - _DAY * scheduled
        start = date.fromisoformat(first) if first else end - 6 * _DAY
    except ValueError as error:
        raise PeriodError(f"not a date: {error}") from error
    oldest = today - timedelta(days=retention_days)
    if start > end or end > today:
        raise PeriodError(f"{start} to {end} is not a period that has begun")
    if end < oldest or (first and start < oldest):
        raise PeriodError(f"tweets are drawn from {oldest} on: those of {start} have expired")
    return list(Wave.between(max(start, oldest), end))

"""Stretches of time and what is left when others are taken out of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, order=True)
class Stretch:
    """A stretch of time ``[start, end)``, aware and in UTC, never empty: an empty one raises `ValueError`."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(
                f"a stretch ends after its start: {self.start.isoformat()} {self.end.isoformat()}"
            )

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return (self.end - self.start).total_seconds()

    def clipped(self, start: datetime, end: datetime) -> Stretch | None:
        """Its part inside ``[start, end)``."""
        low, high = max(self.start, start), min(self.end, end)
        return Stretch(low, high) if low < high else None

    def without(self, others: Iterable[Stretch]) -> list[Stretch]:
        """Its parts that lie in none of ``others``, in order."""
        left: list[Stretch] = []
        at = self.start
        for other in sorted(others):
            if other.end <= at or other.start >= self.end:
                continue
            if at < other.start:
                left.append(Stretch(at, other.start))
            at = max(at, other.end)
        if at < self.end:
            left.append(Stretch(at, self.end))
        return left

    def __str__(self) -> str:
        if self.start.date() == self.end.date():
            return f"{self.start:%H:%M:%S}-{self.end:%H:%M:%S}"
        return f"{self.start:%H:%M:%S}-{self.end:%Y-%m-%d %H:%M:%S}"


def overlap_seconds(stretches: Iterable[Stretch], start: datetime, end: datetime) -> float:
    """How many seconds of ``[start, end)`` lie in ``stretches``, which must not overlap each other."""
    parts = (stretch.clipped(start, end) for stretch in stretches)
    return sum(part.seconds for part in parts if part)

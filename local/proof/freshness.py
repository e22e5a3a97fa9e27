"""How long a post takes from its creation until a page shows it, and where it waits.

A page shows counts, no ids. But its count of a topic's hour is that of one version of the labeled object,
whose ids are known: a post is seen with the first reading of the page that shows a version with the post.
Times of objects are S3's, in whole seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

type Hour = tuple[str, str]
"""A topic and the label of its hour."""
type Seconds = float
"""Since 1970."""

WAITS = {
    "stream": "X's stream, until the streamer has the post",
    "firehose": "the streamer's spool and Firehose's buffer, until it is in raw",
    "turn": "for the run that lists it",
    "run": "the run, until it has published the hour",
    "aggregate": "the check of the hour, and the day's aggregate",
    "page": "for the page to read it",
}
"""The waits of a post, in their order, and what each is for."""
PARTS = (50, 95)
"""The percentiles that are told."""


class FreshnessError(RuntimeError):
    """The page or an aggregate counts more tweets of an hour than any version of its labeled object had."""


@dataclass(frozen=True)
class Version:
    """A labeled object as one run has published it: ``shown`` are the ids of its tweets with a sentiment."""

    listed: Seconds
    published: Seconds
    shown: frozenset[int]


@dataclass(frozen=True)
class Sight:
    """What was read somewhere at a time: how many tweets with a sentiment each topic's hour has."""

    at: Seconds
    counts: Mapping[Hour, int]


@dataclass(frozen=True)
class Landing:
    """When a post was created, received by the streamer, and in raw."""

    created: Seconds
    received: Seconds
    landed: Seconds


@dataclass(frozen=True)
class Freshness:
    """The waits of each post that was seen, in the order of `WAITS`, and how many others were labeled."""

    waits: np.ndarray[Any, Any]
    unseen: int

    @property
    def posts(self) -> int:
        """How many were seen."""
        return len(self.waits)

    def total(self) -> list[float]:
        """`PARTS` of the whole, in seconds."""
        return _parts(self.waits.sum(axis=1))

    def by_wait(self) -> dict[str, list[float]]:
        """`PARTS` of each wait, in seconds."""
        return {name: _parts(self.waits[:, number]) for number, name in enumerate(WAITS)}


def measure(
    posts: Mapping[int, Landing],
    versions: Mapping[Hour, Sequence[Version]],
    aggregates: Sequence[Sight],
    pages: Sequence[Sight],
) -> Freshness:
    """The waits of ``posts`` that have a sentiment in any version; everything in the order of time.

    Raises `FreshnessError`.
    """
    rows: list[tuple[float, ...]] = []
    unseen = 0
    for hour, published in versions.items():
        aggregated = _first(_versions_seen(hour, published, aggregates))
        seen = _first(_versions_seen(hour, published, pages))
        first: dict[int, Version] = {}
        for version in published:
            for post in version.shown & posts.keys():
                first.setdefault(post, version)
        for post, version in first.items():
            if post not in seen:
                unseen += 1
                continue
            landing = posts[post]
            moments = (
                landing.created,
                landing.received,
                landing.landed,
                version.listed,
                version.published,
                aggregated[post],
                seen[post],
            )
            rows.append(tuple(np.diff(moments)))
    return Freshness(np.array(rows, dtype=float).reshape(len(rows), len(WAITS)), unseen)


def _versions_seen(
    hour: Hour, published: Sequence[Version], sights: Iterable[Sight]
) -> Iterable[tuple[Seconds, Version]]:
    """The version that each sight shows of an hour: the largest with at most as many tweets."""
    by_count = sorted({len(version.shown): version for version in published}.items())
    counts = [count for count, _ in by_count]
    for sight in sights:
        if count := sight.counts.get(hour):
            if count > counts[-1]:
                raise FreshnessError(f"{count} tweets of {hour} were shown; no labeled object had as many")
            if place := bisect_right(counts, count):
                yield sight.at, by_count[place - 1][1]


def _first(seen: Iterable[tuple[Seconds, Version]]) -> dict[int, Seconds]:
    """When each post was seen first."""
    found: dict[int, Seconds] = {}
    last: Version | None = None
    for at, version in seen:
        if version is not last:
            found = dict.fromkeys(version.shown, at) | found
            last = version
    return found


def _parts(seconds: Any) -> list[float]:
    if not len(seconds):
        return [float("nan")] * len(PARTS)
    return [round(float(value), 1) for value in np.percentile(seconds, PARTS)]

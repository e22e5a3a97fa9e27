"""Which hours of the lake are new, changed or gone, and the notes of what was done.

An hour here is one topic's hour, written ``ukraine/2026-11-20T05``; its state is its object's ETag, after
`BLOCKED` where its check blocks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from include.lake import layout, storage
from include.training.errors import StateError
from include.window import Window

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

Hours = Mapping[str, str]
"""States by hour."""
BLOCKED = "blocked "
"""Begins the state of an hour whose check blocks, before the ETag: the table has older rows of it."""


@dataclass(frozen=True)
class Difference:
    """What has to be done to update the processed hours to the existing ones; each sorted."""

    changed: tuple[str, ...]
    """New, or with another ETag."""
    gone: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.gone)


@dataclass(frozen=True)
class Synced:
    """What the Delta table holds."""

    hours: Hours

    @property
    def digest(self) -> str:
        """The digest of the data, 16 hexadecimal digits: the same for the same hours in the same state."""
        return hashlib.sha256(json.dumps(sorted(self.hours.items())).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Predicted:
    """What the champion has predicted: ``hours`` in the state in which they were read, and by hour the
    ``counts`` of rows in the order of `SENTIMENTS`.
    """

    model: str
    version: int
    hours: Hours = field(default_factory=dict)
    counts: Mapping[str, Sequence[int]] = field(default_factory=dict)


def difference(done: Hours, there: Hours) -> Difference:
    """The hours of ``there`` not done in their present state, and those done that no longer exist."""
    return Difference(
        tuple(sorted(hour for hour, etag in there.items() if done.get(hour) != etag)),
        tuple(sorted(done.keys() - there.keys())),
    )


def changed_since(synced: Hours, labeled: Hours) -> set[str]:
    """The synced hours whose labeled object is gone, or not the one that was read."""
    return {hour for hour, state in synced.items() if labeled.get(hour) != state.removeprefix(BLOCKED)}


def name(topic: str, window: Window) -> str:
    """``ukraine/2026-11-20T05``."""
    return f"{topic}/{window.label}"


def parse(hour: str) -> tuple[str, Window]:
    """The inverse of `name`."""
    topic, _, label = hour.rpartition("/")
    return topic, Window.parse(label)


def days(hours: Iterable[str]) -> list[str]:
    """The days of some hours, sorted."""
    return sorted({parse(hour)[1].date for hour in hours})


def labeled(s3: S3Client, bucket: str) -> dict[str, str]:
    """Every hour of the labeled layer now."""
    listing = storage.list_objects(s3, bucket, layout.LABELED_PREFIX)
    found = ((layout.labeled_hour(each.key), each.etag) for each in listing.objects)
    return {name(*hour): etag for hour, etag in found if hour}


def find_synced(s3: S3Client, bucket: str) -> Synced | None:
    """The note of the last sync; None if none has ended."""
    found = _read(s3, bucket, layout.SYNCED_KEY)
    return Synced(**found) if found else None


def read_synced(s3: S3Client, bucket: str) -> Synced:
    """As `find_synced`; raises `StateError` if there is none."""
    found = find_synced(s3, bucket)
    if found is None:
        raise StateError(f"s3://{bucket}/{layout.SYNCED_KEY} does not exist: run the step sync first")
    return found


def write_synced(s3: S3Client, bucket: str, synced: Synced) -> None:
    """Writes the note of the Delta table's hours."""
    _write(s3, bucket, layout.SYNCED_KEY, asdict(synced))


def find_predicted(s3: S3Client, bucket: str) -> Predicted | None:
    """What the champion has predicted so far; None before the first time."""
    found = _read(s3, bucket, layout.CHAMPION_KEY)
    return Predicted(**found) if found else None


def read_predicted(s3: S3Client, bucket: str) -> Predicted:
    """As `find_predicted`; raises `StateError` before the first time."""
    found = find_predicted(s3, bucket)
    if found is None:
        raise StateError(f"s3://{bucket}/{layout.CHAMPION_KEY} does not exist: run the step predict first")
    return found


def write_predicted(s3: S3Client, bucket: str, predicted: Predicted) -> None:
    """Writes the note of the champion's predictions."""
    _write(s3, bucket, layout.CHAMPION_KEY, asdict(predicted))


def find_outcome(s3: S3Client, bucket: str, step: str) -> dict[str, Any] | None:
    """A step's last result; None if it has never ended."""
    return _read(s3, bucket, layout.outcome_key(step))


def read_outcome(s3: S3Client, bucket: str, step: str) -> dict[str, Any]:
    """As `find_outcome`; raises `StateError` if there is none."""
    found = find_outcome(s3, bucket, step)
    if found is None:
        raise StateError(f"the step {step} has never ended: run it first")
    return found


def write_outcome(s3: S3Client, bucket: str, step: str, outcome: Mapping[str, Any]) -> None:
    """Stores a step's result for downstream steps and tasks."""
    _write(s3, bucket, layout.outcome_key(step), outcome)


def _read(s3: S3Client, bucket: str, key: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(storage.read(s3, bucket, key))
    except storage.ObjectMissingError:
        return None
    return found


def _write(s3: S3Client, bucket: str, key: str, value: object) -> None:
    body = json.dumps(value, indent=1, sort_keys=True).encode()
    storage.compare_and_swap(s3, bucket, key, lambda _: storage.Content(body))

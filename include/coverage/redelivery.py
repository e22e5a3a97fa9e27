"""Delivers again what Firehose could not: each line goes where Firehose would have put it.

Firehose leaves a record that it cannot place under ``delivery-errors/``, in an envelope of its own. Its
lines were paid for, so they go where the query of ``infra/delivery_stream.yaml`` would have put them; what
nobody can place goes to quarantine. Coverage then finds the tweets late and has their hours labeled.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.compliance import lines, tombstones
from include.compliance.purge import purge_written
from include.compliance.tombstones import Tombstones
from include.lake import storage
from include.lake.layout import (
    DELIVERY_ERRORS_PREFIX,
    NO_TOPIC,
    REDELIVERIES_PREFIX,
    heartbeats_prefix,
    quarantine_prefix,
    raw_prefix,
)
from include.lake.pseudonyms import Pseudonyms
from include.window import Window, possible_day
from include.x.payload import QUARANTINED_CHARACTERS, is_payload
from include.x.snowflake import from_milliseconds, moment
from include.x.text import loads

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_LONGEST_WAIT = timedelta(days=7)
"""How long a line may have waited in the streamer's spool; an id that tells of more is not believed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Redelivery:
    """How many lines went to each layer, and the objects that cannot be read and so stay."""

    counts: Mapping[str, int]
    unreadable: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For people."""
        told = ", ".join(f"{count} to {layer}" for layer, count in sorted(self.counts.items()))
        return f"Lines that Firehose could not deliver, delivered again: {told or 'none'}"

    @property
    def alarms(self) -> list[str]:
        """What a person has to look at."""
        return [f"{key} cannot be read whole" for key in self.unreadable]


def redeliver(
    s3: S3Client, bucket: str, topics: Collection[str], key: Callable[[], bytes], now: datetime
) -> Redelivery:
    """Delivers every object of ``delivery-errors/`` again, then deletes it.

    ``key`` gives the secret that ids are hashed with, for what was removed on request must not come back; it
    is asked for only if there is something. The new objects are named by the old one, so a run that was
    killed, or another one beside it, does no harm. A note says beforehand which objects that are: a removal
    may take lines out of the old one, and then it no longer tells what a killed run has written. Needs local
    disk for one unpacked object.
    """
    counts: Counter[str] = Counter()
    unreadable = []
    for found in storage.list_objects(s3, bucket, DELIVERY_ERRORS_PREFIX).objects:
        with tempfile.TemporaryDirectory(prefix="redeliver-") as folder:
            try:
                placed = _placed(s3, bucket, found, topics, now, Path(folder))
            except storage.CorruptObjectError as error:
                log.error("not delivered again: %s", error)
                unreadable.append(found.key)
                continue
            except (storage.ObjectMissingError, storage.ObjectChangedError):
                continue  # another run has delivered it, or a removal rewrote it: the next run looks again
            pseudonyms = Pseudonyms(key())
            digest = sha256(found.key.encode()).hexdigest()[:16]
            name, note = f"redelivered-{digest}.json.gz", f"{REDELIVERIES_PREFIX}{digest}.json"
            keys = sorted({*_noted(s3, bucket, note), *(f"{prefix}{name}" for prefix in placed)})
            storage.overwrite(s3, bucket, note, json.dumps(keys).encode())
            for prefix, path in placed.items():
                kept = _left(path, tombstones.read_for(s3, bucket, pseudonyms, prefix))
                if kept:
                    storage.put(s3, bucket, f"{prefix}{name}", path)
                counts[prefix.partition("/")[0]] += kept
            purge_written(s3, bucket, pseudonyms, keys)
        storage.delete(s3, bucket, note)
        storage.delete(s3, bucket, found.key)
        log.warning("delivered again object=%s", found.key)
    return Redelivery(counts, tuple(unreadable))


def _noted(s3: S3Client, bucket: str, note: str) -> list[str]:
    """The keys under which a run that was killed may have written."""
    try:
        keys: list[str] = json.loads(storage.read(s3, bucket, note))
    except storage.ObjectMissingError:
        return []
    return keys


def _placed(
    s3: S3Client, bucket: str, found: storage.Object, topics: Collection[str], now: datetime, folder: Path
) -> dict[str, Path]:
    """Writes the lines of an object into local files, and gives these by the prefix of their lines."""
    placed: dict[str, Path] = {}
    for envelope in storage.read_lines(s3, bucket, found.key, found.etag):
        for prefix, line in _opened(envelope, found, topics, now):
            path = placed.setdefault(prefix, folder / str(len(placed)))
            # Opened for each line: a spool's lines may belong to more hours than a process may open files.
            with path.open("ab") as file:
                file.write(line + b"\n")
    return placed


def _left(path: Path, stones: Tombstones) -> int:
    """Packs the lines of a local file without what must go; how many are left."""
    packed = path.with_suffix(".gz")
    kept = 0
    with path.open("rb") as read, gzip.GzipFile(packed, "wb", mtime=0) as file:
        for line in read:
            if (rest := lines.left(line.removesuffix(b"\n"), stones, lambda *_: None)) is not None:
                file.write(rest + b"\n")
                kept += 1
    packed.replace(path)
    return kept


def _opened(
    envelope: bytes, found: storage.Object, topics: Collection[str], now: datetime
) -> Iterator[tuple[str, bytes]]:
    """The lines of an envelope, each with the prefix that it belongs under."""
    try:
        content = loads(envelope)
        record = base64.b64decode(content["rawData"], validate=True)
        code, arrived = str(content.get("errorCode")), _arrival(content.get("arrivalTimestamp"), found, now)
    except (ValueError, TypeError, KeyError, AttributeError):
        record, code, arrived = envelope, "unknown", Window.containing(found.last_modified)
    for line in record.split(b"\n"):
        if not line.strip():
            continue
        if prefix := _prefix(line, topics, now):
            yield prefix, line
            continue
        text = line.decode("utf-8", errors="replace")[:QUARANTINED_CHARACTERS]
        row = {"stage": "firehose", "reason": "undelivered", "origin": code, "tweet_id": None, "line": text}
        yield quarantine_prefix(NO_TOPIC, _hour(line, arrived)), json.dumps(row).encode()


def _arrival(milliseconds: Any, found: storage.Object, now: datetime) -> Window:
    """The hour in which a record arrived; that of its object where the envelope names none that can be."""
    try:
        window = Window.containing(from_milliseconds(milliseconds))
        possible_day(window.start.date(), now)
    except (TypeError, ValueError, OverflowError):
        return Window.containing(found.last_modified)
    return window


def _hour(line: bytes, arrived: Window) -> Window:
    """The hour of the tweet in a line that ``arrived`` after waiting in the spool, else when it arrived.

    A removal looks for a tweet in the hour of its id.
    """
    try:
        window = Window.containing(moment(int(loads(line)["data"]["id"])))
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):
        return arrived
    return window if arrived.start - _LONGEST_WAIT <= window.start <= arrived.start else arrived


def _prefix(line: bytes, topics: Collection[str], now: datetime) -> str | None:
    """Where the query of the delivery stream puts a line of the streamer; None for any other line.

    What was rejected of a topic that is none any more has no topic. A line whose hour cannot hold posts yet
    at ``now`` is none: the tables would not show it.
    """
    try:
        content = loads(line)
        kind = content.get("kind")
        at = content["at"] if kind else content["data"]["created_at"]
        window = Window.parse(at[:13])
        possible_day(window.start.date(), now)
        match kind:
            case None if content.pop("ingest", None) and is_payload(content):
                topic = content["matching_rules"][0]["tag"]
                return raw_prefix(topic, window) if topic in topics else None
            case "quarantine":
                topic = content.get("topic")
                return quarantine_prefix(topic if topic in topics else NO_TOPIC, window)
            case "heartbeat" | "session":
                return heartbeats_prefix(window)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return None

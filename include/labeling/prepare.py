"""Turns an hour's raw lines into the models' inputs and the rows to publish.

Two passes in bounded memory. The first (`slices.py`) streams every line, flattens it and writes it to local
disk: its columns to slices of the hour by tweet id, the line itself to one file. The second (`shards.py`)
processes one slice at a time: duplicates collapse, unusable lines are quarantined with their reasons, and the
rest is sorted by id and written as a shard.

Everything is written under a prefix that names its input by digest, and the same input gives the same bytes.
A run that was killed, started twice or runs at the same time as another therefore leaves nothing wrong
behind.

A late object does not bring back what was removed on request (`include/compliance`): raw and quarantine are
purged of it before raw is listed, and what arrives in between is left out.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from include.compliance import lines, listing, tombstones
from include.compliance.purge import Purge, Purged
from include.labeling.garbage import loaded_left_alone
from include.labeling.prepared import Prepared
from include.labeling.shards import ShardWriter
from include.labeling.slices import RawSlices
from include.lake import layout, storage
from include.lake.pseudonyms import Pseudonyms
from include.settings import Settings
from include.window import Window
from include.x.compliance import ComplianceAction

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

_FORMAT = "2"
"""Incremented when the format of the objects under the prefix changes, so that old ones are not reused."""

_BYTES_PER_SLICE = 6 * 1024 * 1024
"""Raw bytes as stored (gzip) per slice: some 25,000 tweets."""


@loaded_left_alone()
def prepare(s3: S3Client, settings: Settings, topics: Sequence[str], window: Window, key: bytes) -> Prepared:
    """Reads the raw lines of all topics of an hour and writes what the next steps read; see the module.

    ``key`` is the secret that ids are hashed with, of authors and of what was removed. Needs local disk for
    the hour's unpacked raw lines and removes them at the end. Raises `storage.ObjectChangedError` if a raw
    object was replaced in the meantime.
    """
    pseudonyms = Pseudonyms(key)
    stones = tombstones.read(s3, settings.bucket, pseudonyms, [window])
    if stones:
        _purge_late(s3, settings.bucket, window, stones)
    listings, edits = _listings(s3, settings.bucket, topics, window)
    objects = [entry for listing in listings for entry in listing.objects]
    listed_at = min(listing.at for listing in (*listings, edits))
    count = max(1, -(-sum(entry.size for entry in objects) // _BYTES_PER_SLICE))
    with tempfile.TemporaryDirectory(prefix="prepare-") as folder:
        slices = RawSlices(Path(folder), topics, window, count, pseudonyms)
        removed: set[str] = set()
        with slices:
            for topic, listing in zip(topics, listings, strict=True):
                for entry in listing.objects:
                    read = _lines(s3, settings.bucket, entry)
                    slices.add_object(topic, entry.key, _left(read, stones, removed) if stones else read)
        _bury(s3, settings.bucket, window, removed)
        for entry in edits.objects:
            named = orjson.loads(storage.read(s3, settings.bucket, entry.key, entry.etag))
            slices.edited[window].update(map(int, named))
        digest = storage.manifest([*objects, *edits.objects])
        prefix, model_prefix = (
            _prefix(window, topics, each, removed) for each in (digest, storage.manifest(objects))
        )
        writer = ShardWriter(s3, settings.bucket, prefix, model_prefix, slices, topics)
        writer.add_edits(window)
        with writer:
            for number in range(count):
                writer.add_slice(number)
            writer.add_lines_without_id()

    prepared = Prepared(
        window=window,
        manifest=digest,
        listed_at=listed_at,
        objects=len(objects) + len(edits.objects),
        edits=storage.manifest(edits.objects) if edits.objects else "",
        prefix=prefix,
        model_prefix=model_prefix,
        **writer.counts(),
    )
    logger.info(
        "prepared window=%s manifest=%s objects=%d shards=%d raw=%s accepted=%s quarantined=%s",
        window.label,
        digest[:16],
        prepared.objects,
        prepared.shards,
        prepared.raw,
        prepared.accepted,
        prepared.quarantined,
    )
    return prepared


def has_news(s3: S3Client, settings: Settings, topics: Sequence[str], window: Window) -> bool:
    """Whether anything has landed in an hour that not all of its labeled objects are made from."""
    listings, edits = _listings(s3, settings.bucket, topics, window)
    objects = [entry for listing in (*listings, edits) for entry in listing.objects]
    standing = (storage.current(s3, settings.bucket, layout.labeled_key(topic, window)) for topic in topics)
    made_from = {found.metadata.get("manifest") if found else None for found in standing}
    return bool(objects) and made_from != {storage.manifest(objects)}


def _listings(
    s3: S3Client, bucket: str, topics: Sequence[str], window: Window
) -> tuple[list[storage.Listing], storage.Listing]:
    """The raw objects of each topic, and those that name the hour's edited posts."""
    raw = [storage.list_objects(s3, bucket, layout.raw_prefix(topic, window)) for topic in topics]
    return raw, storage.list_objects(s3, bucket, layout.edits_key(window, window).rpartition("/")[0] + "/")


def _prefix(window: Window, topics: Sequence[str], manifest: str, removed: Set[str]) -> str:
    """Where what is made of some objects lies, less what was ``removed``; named by all that decides it."""
    decisive = "\0".join([_FORMAT, manifest, *sorted(topics), *sorted(removed)])
    return f"{layout.work_prefix(window)}{hashlib.sha256(decisive.encode()).hexdigest()[:16]}/"


def _purge_late(s3: S3Client, bucket: str, window: Window, stones: tombstones.Tombstones) -> None:
    """Removes again what has come since it was removed, of whatever topic."""
    purged, purge = Purged(window), Purge(s3, bucket, stones)
    for places in (listing.raw, listing.quarantine, listing.damaged):
        purge.apply(purged, places(s3, bucket, [window])[window])
    if purged.tweets:
        logger.info("removed again window=%s tweets=%d", window.label, len(purged.tweets))


def _left(
    read: Iterator[bytes | None], stones: tombstones.Tombstones, removed: set[str]
) -> Iterator[bytes | None]:
    """The lines without what must go; ``removed`` is told the markers of what did."""

    def note(tweet_id: int, action: ComplianceAction) -> None:
        removed.add(f"{stones.pseudonyms.marker(tweet_id)} {action}")

    for line in read:
        if line is None:
            yield None
        elif (rest := lines.left(line, stones, note)) is not None:
            yield rest


def _bury(s3: S3Client, bucket: str, window: Window, removed: Set[str]) -> None:
    """Tells removals that raw holds what was left out: of a user's tweets labeled no longer tells."""
    if removed:
        markers = {marker: ComplianceAction(action) for marker, action in map(str.split, removed)}
        tombstones.bury_markers(s3, bucket, window, markers)


def _lines(s3: S3Client, bucket: str, entry: storage.Object) -> Iterator[bytes | None]:
    """The object's lines; None in place of a remainder that could not be unpacked."""
    try:
        yield from storage.read_lines(s3, bucket, entry.key, entry.etag)
    except storage.CorruptObjectError as error:
        logger.warning("raw object is damaged: %s", error)
        yield None

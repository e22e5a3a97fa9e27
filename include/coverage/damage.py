"""Damaged objects: detected when an Athena statement fails on them, excluded, then moved aside.

A truncated or overwritten gzip object fails every statement that reads it. Moving it aside leaves in its
place whatever could be unpacked, so the lake stays readable. The original is kept under ``damaged/`` with its
former key; as long as it is there, its hour is judged unreadable.
"""

from __future__ import annotations

import gzip
import logging
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from include.lake import storage
from include.lake.athena import Athena, ResultRow, UnreadDataError
from include.lake.layout import DAMAGED_PREFIX
from include.lake.storage import Object

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_READERS = 8
"""How many objects are read in parallel."""

log = logging.getLogger(__name__)


def run_all(
    database: Athena,
    statements: Callable[[Collection[str]], Mapping[str, str]],
    s3: S3Client,
    bucket: str,
    candidates: Callable[[], Iterable[Object]],
) -> tuple[dict[str, list[ResultRow]], dict[str, str]]:
    """Runs statements without the objects that make them fail; returns the rows, and why each was excluded.

    ``statements`` gives the statements that leave out the addresses that it is given, ``candidates`` the
    objects that they read: these are unpacked only once Athena has failed. Raises `AthenaError` if no
    object is the cause.
    """
    damaged: dict[str, str] = {}
    verified = False
    while True:
        try:
            return database.run_all(statements([f"s3://{bucket}/{key}" for key in damaged])), damaged
        except UnreadDataError as error:
            found = {} if verified else find(s3, bucket, list(candidates()))
            verified = True
            found = {key: str(error) for key in named(error, bucket)} | found
            if found.keys() <= damaged.keys():
                raise
            damaged |= found
            for key, reason in sorted(found.items()):
                log.error("object cannot be read: %s: %s", key, reason)


def named(error: UnreadDataError, bucket: str) -> list[str]:
    """The keys of the objects that Athena's reason names."""
    found = re.findall(rf"s3://{re.escape(bucket)}/([^\s,;()\[\]\\]+)", str(error))
    return [key.rstrip(":.") for key in found]


def find(s3: S3Client, bucket: str, objects: Sequence[Object]) -> dict[str, str]:
    """The objects that cannot be unpacked, and why, by key."""

    def problem(found: Object) -> str | None:
        try:
            storage.verify(s3, bucket, found.key, found.etag)
        except storage.CorruptObjectError as error:
            return str(error)
        except (storage.ObjectChangedError, storage.ObjectMissingError):
            return None  # the next measurement reads what is there then
        return None

    with ThreadPoolExecutor(_READERS) as readers:
        problems = list(readers.map(problem, objects))
    return {found.key: reason for found, reason in zip(objects, problems, strict=True) if reason}


def aside(s3: S3Client, bucket: str) -> list[str]:
    """The former keys of the originals that were moved aside."""
    objects = storage.list_objects(s3, bucket, DAMAGED_PREFIX).objects
    return [found.key.removeprefix(DAMAGED_PREFIX) for found in objects]


def set_aside(s3: S3Client, bucket: str, keys: Iterable[str]) -> list[str]:
    """Moves damaged gzip objects aside, leaves what can be unpacked in their place; returns their keys.

    The original is copied first, and the object replaced only if it is still the one that was read: if killed
    at any moment, this loses nothing and can be run again. An object that can be unpacked is left alone, and
    so is one that S3 does not let be replaced: coverage continues to exclude it.
    """
    done = []
    for key in keys:
        found = storage.current(s3, bucket, key)
        if found is None or not key.endswith(".gz"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "readable.gz"
            try:
                if not _salvage(s3, bucket, key, found.etag, path):
                    continue
                _replace(s3, bucket, key, found.etag, path)
            except (ClientError, storage.StorageError) as error:
                log.error("not set aside: s3://%s/%s: %s", bucket, key, error)
                continue
        log.error(
            "set aside: s3://%s/%s%s; what can be read of it stays in its place", bucket, DAMAGED_PREFIX, key
        )
        done.append(key)
    return done


def _replace(s3: S3Client, bucket: str, key: str, etag: str, path: Path) -> None:
    def decide(found: storage.ObjectVersion | None) -> storage.Content | None:
        return storage.Content(path) if found and found.etag == etag else None

    storage.copy(s3, bucket, key, f"{DAMAGED_PREFIX}{key}", etag)
    if not storage.compare_and_swap(s3, bucket, key, decide).written:
        raise storage.ObjectChangedError(f"s3://{bucket}/{key} was replaced in the meantime; measure again")


def _salvage(s3: S3Client, bucket: str, key: str, etag: str, path: Path) -> bool:
    """Writes the complete lines of a damaged object into ``path``; returns False if it is not damaged."""
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        try:
            for line in storage.read_lines(s3, bucket, key, etag):
                file.write(line + b"\n")
        except storage.CorruptObjectError:
            return True
    return False

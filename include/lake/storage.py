"""The operations on S3 that all packages share, on a boto3 client that the caller passes.

Objects are written whole or not at all, and not if the object already has the same bytes and metadata: under
SSE-KMS every write changes the ETag, and jobs named by ETags would be paid for again although nothing has
changed. Contents are compared by the SHA-256 that S3 checks at every write and stores. If two writers may
write the same key, `compare_and_swap` decides which object stays.
"""

from __future__ import annotations

import base64
import hashlib
import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import (
        CopySourceTypeDef,
        GetObjectOutputTypeDef,
        HeadObjectOutputTypeDef,
        ListObjectsV2OutputTypeDef,
    )

LONGEST_LINE = 4 * 1024 * 1024
"""Bytes kept of a line; Firehose accepts at most 1,000 KiB per record, so a longer line is not a record."""

_CHUNK = 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS

_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_LOST = frozenset({"PreconditionFailed", "ConditionalRequestConflict", *_ABSENT})


class StorageError(RuntimeError):
    """An object in the lake is not as expected."""


class ObjectMissingError(StorageError):
    """The object does not exist (any more)."""


class ObjectChangedError(StorageError):
    """The object was replaced after it was listed: list again."""


class CorruptObjectError(StorageError):
    """The object's gzip stream is damaged or truncated."""


class LostRaceError(StorageError):
    """Other writers replaced the object between every read and write."""


@dataclass(frozen=True, order=True)
class Object:
    """One object of a listing; ``etag`` as S3 returns it (in quotes), ``size`` in bytes as stored."""

    key: str
    etag: str
    size: int
    last_modified: datetime


@dataclass(frozen=True)
class Listing:
    """The objects under a prefix, sorted by key, and S3's own time when it began to list them."""

    at: datetime
    objects: tuple[Object, ...]


@dataclass(frozen=True)
class ObjectVersion:
    """The object under a key now.

    ``checksum`` is the SHA-256 of the content as checked by S3, in base64; for an object uploaded in parts,
    the one over those of its parts with their number (``…-3``). None if S3 has no SHA-256.
    """

    etag: str
    size: int
    last_modified: datetime
    metadata: Mapping[str, str]
    checksum: str | None


@dataclass(frozen=True)
class Content:
    """The content to write under a key: bytes, or a local file that is streamed.

    Metadata named in ``passing`` do not cause another write if all else is the same.
    """

    body: bytes | Path
    metadata: Mapping[str, str] = field(default_factory=dict)
    passing: frozenset[str] = frozenset()

    def stands(self, found: ObjectVersion | None) -> bool:
        """Whether an object already has this content."""
        if found is None or found.checksum is None:
            return False
        return self._decisive(found.metadata) == self._decisive(self.metadata) and (
            found.checksum == checksum(self.body)
        )

    def _decisive(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in metadata.items() if name not in self.passing}


@dataclass(frozen=True)
class Swap:
    """The outcome of `compare_and_swap`: whether the object is the decided one, and its ETag."""

    written: bool
    etag: str


def split_address(address: str) -> tuple[str, str]:
    """``s3://bucket/key`` as bucket and key; raises `ValueError` for anything else."""
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise ValueError(f"{address!r} is not an S3 address; write it as s3://bucket/key")
    return bucket, key


def objects(s3: S3Client, bucket: str, prefix: str, after: str = "") -> Iterator[Object]:
    """Every object under ``prefix`` whose key is greater than ``after``, in key order, page by page."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, StartAfter=after):
        yield from _objects(page)


def folders(s3: S3Client, bucket: str, prefix: str) -> set[str]:
    """The names of the folders in which objects under ``prefix`` lie; ``prefix`` ends in a slash."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    return {
        each["Prefix"].removeprefix(prefix).rstrip("/")
        for page in pages
        for each in page.get("CommonPrefixes", ())
    }


def list_objects(s3: S3Client, bucket: str, prefix: str) -> Listing:
    """Every object under ``prefix``.

    `Listing.at` comes from the `Date` header of the first page (whole seconds): an object written before that
    time is in the listing, whatever the worker's clock says.
    """
    at: datetime | None = None
    found: list[Object] = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        at = at or parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)
        found += _objects(page)
    if at is None:
        raise StorageError(f"S3 answered no page for s3://{bucket}/{prefix}")
    return Listing(at, tuple(sorted(found)))


def _objects(page: ListObjectsV2OutputTypeDef) -> Iterator[Object]:
    for entry in page.get("Contents", ()):
        yield Object(entry["Key"], entry["ETag"], entry["Size"], entry["LastModified"].astimezone(UTC))


def manifest(objects: Iterable[Object]) -> str:
    """The digest of a set of objects: SHA-256 over their sorted keys and ETags, in hex."""
    digest = hashlib.sha256()
    for key, etag in sorted((entry.key, entry.etag) for entry in objects):
        digest.update(f"{key}\0{etag}\n".encode())
    return digest.hexdigest()


def current(s3: S3Client, bucket: str, key: str) -> ObjectVersion | None:
    """The object under ``key``, None if there is none."""
    try:
        head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    except ClientError as error:
        if _code(error) in _ABSENT:
            return None
        raise
    return _version(head)


def _version(answer: HeadObjectOutputTypeDef | GetObjectOutputTypeDef) -> ObjectVersion:
    return ObjectVersion(
        answer["ETag"],
        answer["ContentLength"],
        answer["LastModified"].astimezone(UTC),
        dict(answer["Metadata"]),
        answer.get("ChecksumSHA256"),
    )


def checksum(body: bytes | Path) -> str:
    """The SHA-256 of bytes or of a local file, in base64, as S3 returns it."""
    if isinstance(body, bytes):
        digest = hashlib.sha256(body)
    else:
        with body.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    return base64.b64encode(digest.digest()).decode()


def read_checksum(s3: S3Client, bucket: str, key: str, etag: str | None = None) -> str:
    """As `checksum`, for an object, which is read to compute it; raises as `read` does."""
    digest = hashlib.sha256()
    for chunk in _chunks(s3, bucket, key, etag):
        digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()


def read(s3: S3Client, bucket: str, key: str, etag: str | None = None, start: int = 0) -> bytes:
    """The object's bytes as stored, from the byte ``start``.

    Raises `ObjectMissingError`, and `ObjectChangedError` if ``etag`` is given and the object has another.
    """
    return b"".join(_chunks(s3, bucket, key, etag, start))


@contextmanager
def opened(s3: S3Client, bucket: str, key: str) -> Iterator[IO[bytes]]:
    """The object as a file that is downloaded only as far as it is read; raises as `read` does."""
    with closing(_got(s3, bucket, key, {})["Body"]) as body:
        yield cast("IO[bytes]", body)


def download(s3: S3Client, bucket: str, key: str, path: Path, etag: str | None = None) -> ObjectVersion:
    """Writes the object's bytes into a local file, and says what they are; raises as `read` does."""
    answer = _got(s3, bucket, key, {"ChecksumMode": "ENABLED", **({"IfMatch": etag} if etag else {})})
    with path.open("wb") as file, closing(answer["Body"]) as body:
        for chunk in body.iter_chunks(_CHUNK):
            file.write(chunk)
    return _version(answer)


def read_lines(
    s3: S3Client, bucket: str, key: str, etag: str | None = None, longest: int = LONGEST_LINE
) -> Iterator[bytes]:
    """The lines of an NDJSON object, without their line ends and without blank lines, in bounded memory.

    A key that ends in ``.gz`` is unpacked; several gzip members in a row are one text. A line of more than
    ``longest`` bytes is truncated. Raises `ObjectMissingError` and `ObjectChangedError` (see `read`), and
    `CorruptObjectError` after the last complete line.
    """
    return _lines(_content(s3, bucket, key, etag), longest)


def file_lines(path: Path, key: str, longest: int = LONGEST_LINE) -> Iterator[bytes]:
    """As `read_lines`, of the object under ``key`` that was downloaded into a local file."""
    with path.open("rb") as file:
        chunks = iter(partial(file.read, _CHUNK), b"")
        yield from _lines(_unpacked(chunks, key) if key.endswith(".gz") else chunks, longest)


def _lines(chunks: Iterator[bytes], longest: int) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line and not line.isspace():
                yield line[:longest].removesuffix(b"\r")
        if len(rest) > longest:
            # Keeps enough of the line to show that it is too long.
            rest = rest[: longest + 1]
    if rest and not rest.isspace():
        yield rest[:longest].removesuffix(b"\r")


def verify(s3: S3Client, bucket: str, key: str, etag: str | None = None) -> None:
    """Reads an object to its end, unpacked where its key ends in ``.gz``; raises as `read_lines` does."""
    for _ in _content(s3, bucket, key, etag):
        pass


def put(s3: S3Client, bucket: str, key: str, content: Content | bytes | Path) -> str:
    """Writes an object, whatever was under the key, unless it is the same already; returns its ETag.

    For objects whose key determines their content (by digest); use `compare_and_swap` for others.
    """
    if not isinstance(content, Content):
        content = Content(content)
    try:
        # Nearly always there is nothing yet: one request instead of two.
        return _put(s3, bucket, key, content, {"IfNoneMatch": "*"})
    except ClientError as error:
        if _code(error) not in _LOST:
            raise
    found = current(s3, bucket, key)
    return found.etag if found and content.stands(found) else _put(s3, bucket, key, content, {})


def overwrite(s3: S3Client, bucket: str, key: str, content: Content | bytes | Path) -> str:
    """Writes an object without reading what is under the key; returns its ETag.

    For an object with one writer that changes every time, and for writers without permission to read it.
    """
    return _put(s3, bucket, key, content if isinstance(content, Content) else Content(content), {})


def copy(s3: S3Client, bucket: str, key: str, target: str, etag: str) -> None:
    """Copies an object to the key ``target``; raises `ObjectChangedError` if its ETag has changed."""
    source: CopySourceTypeDef = {"Bucket": bucket, "Key": key}
    try:
        s3.copy_object(Bucket=bucket, Key=target, CopySource=source, CopySourceIfMatch=etag)
    except ClientError as error:
        if told := _storage_error(error, bucket, key):
            raise told from error
        raise


def delete(s3: S3Client, bucket: str, key: str, etag: str | None = None) -> None:
    """Deletes an object; it is not an error if it does not exist.

    Raises `ObjectChangedError` if ``etag`` is given and the object has another.
    """
    condition: Any = {"IfMatch": etag} if etag else {}
    try:
        s3.delete_object(Bucket=bucket, Key=key, **condition)
    except ClientError as error:
        told = _storage_error(error, bucket, key)
        if isinstance(told, ObjectMissingError):
            return
        if told:
            raise told from error
        raise


def keeps_versions(s3: S3Client, bucket: str) -> bool:
    """Whether the bucket keeps, or once kept, old versions of objects: what is deleted there is not gone."""
    return "Status" in s3.get_bucket_versioning(Bucket=bucket)


def compare_and_swap(
    s3: S3Client,
    bucket: str,
    key: str,
    decide: Callable[[ObjectVersion | None], Content | None],
    attempts: int = 10,
) -> Swap:
    """Replaces an object; decides again if another writer replaced it in the meantime.

    ``decide`` receives the object under the key (None: there is none) and returns the content to write, or
    None to leave the object as it is. Nothing is written if the object already has that content. The write
    carries `If-Match` or `If-None-Match: *`, so it succeeds only on the object that ``decide`` saw. Raises
    `LostRaceError` after ``attempts`` lost races.
    """

    def look() -> tuple[ObjectVersion | None, Content | None]:
        found = current(s3, bucket, key)
        return found, decide(found)

    return _swap(s3, bucket, key, look, attempts)


def update(
    s3: S3Client, bucket: str, key: str, change: Callable[[bytes | None], bytes | None], attempts: int = 10
) -> Swap:
    """As `compare_and_swap`, of a small object without metadata: ``change`` receives its bytes, which one
    request brings together with the look at it."""

    def look() -> tuple[ObjectVersion | None, Content | None]:
        found, body = None, None
        try:
            answer = _got(s3, bucket, key, {"ChecksumMode": "ENABLED"})
        except ObjectMissingError:
            pass
        else:
            with closing(answer["Body"]) as stream:
                found, body = _version(answer), stream.read()
        changed = change(body)
        return found, None if changed is None else Content(changed)

    return _swap(s3, bucket, key, look, attempts)


def replace(s3: S3Client, bucket: str, key: str, content: Content, found: ObjectVersion | None) -> str | None:
    """Writes an object in place of just the one that was ``found`` (None: where there is none).

    Returns its ETag, or None if another writer was faster. Nothing is written if what was found is the same.
    """
    if found and content.stands(found):
        return found.etag
    condition = {"IfMatch": found.etag} if found else {"IfNoneMatch": "*"}
    try:
        return _put(s3, bucket, key, content, condition)
    except ClientError as error:
        if _code(error) not in _LOST:
            raise
        # botocore repeats a write whose answer was lost, and finds the object that it has written itself.
        repeated = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
        if repeated and (standing := current(s3, bucket, key)) and content.stands(standing):
            return standing.etag
    return None


def _swap(
    s3: S3Client,
    bucket: str,
    key: str,
    look: Callable[[], tuple[ObjectVersion | None, Content | None]],
    attempts: int,
) -> Swap:
    for attempt in range(attempts):
        found, content = look()
        if content is None:
            return Swap(False, found.etag if found else "")
        if etag := replace(s3, bucket, key, content, found):
            return Swap(True, etag)
        time.sleep(random.uniform(0, min(0.05 * 2**attempt, 2)))  # noqa: S311 - jitter, no secret
    raise LostRaceError(
        f"s3://{bucket}/{key} was replaced by others {attempts} times in a row; run the task again when they "
        "are done"
    )


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _put(s3: S3Client, bucket: str, key: str, content: Content, condition: Mapping[str, Any]) -> str:
    arguments: dict[str, Any] = {
        "Bucket": bucket,
        "Key": key,
        "Metadata": dict(content.metadata),
        "ChecksumAlgorithm": "SHA256",
        **condition,
    }
    if isinstance(content.body, bytes):
        return s3.put_object(Body=content.body, **arguments)["ETag"]
    with content.body.open("rb") as file:
        return s3.put_object(Body=file, **arguments)["ETag"]


def _chunks(s3: S3Client, bucket: str, key: str, etag: str | None, start: int = 0) -> Iterator[bytes]:
    asked: dict[str, Any] = {"IfMatch": etag} if etag else {}
    if start:
        asked["Range"] = f"bytes={start}-"
    with closing(_got(s3, bucket, key, asked)["Body"]) as body:
        yield from body.iter_chunks(_CHUNK)


def _got(s3: S3Client, bucket: str, key: str, asked: Mapping[str, Any]) -> GetObjectOutputTypeDef:
    try:
        return s3.get_object(Bucket=bucket, Key=key, **asked)
    except ClientError as error:
        if told := _storage_error(error, bucket, key):
            raise told from error
        raise


def _storage_error(error: ClientError, bucket: str, key: str) -> StorageError | None:
    """The error for S3's response about an object that was listed; None if it is another response."""
    if _code(error) in _ABSENT:
        return ObjectMissingError(f"s3://{bucket}/{key} does not exist; it may have expired")
    if _code(error) == "PreconditionFailed":
        return ObjectChangedError(f"s3://{bucket}/{key} was replaced since it was listed; run the task again")
    return None


def _content(s3: S3Client, bucket: str, key: str, etag: str | None) -> Iterator[bytes]:
    chunks = _chunks(s3, bucket, key, etag)
    return _unpacked(chunks, f"s3://{bucket}/{key}") if key.endswith(".gz") else chunks


def _unpacked(chunks: Iterator[bytes], address: str) -> Iterator[bytes]:
    member = None
    for chunk in chunks:
        packed = chunk
        while packed:
            if member is None or member.eof:
                member = zlib.decompressobj(_GZIP)
            try:
                text = member.decompress(packed, _CHUNK)
            except zlib.error as error:
                raise CorruptObjectError(f"{address} is not a complete gzip stream: {error}") from error
            if text:
                yield text
            packed = member.unused_data if member.eof else member.unconsumed_tail
    if member and not member.eof:
        raise CorruptObjectError(f"{address} ends in the middle of its gzip stream")

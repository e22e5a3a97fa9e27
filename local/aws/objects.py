"""S3's objects on disk: moto's S3 keeps every value in memory or in an anonymous file; ours are files.

A value is a file of its own under ``<state>/s3/values``; a SQLite database has the value and metadata of each
object, and is written before the request is answered. An acknowledged object therefore survives ``kill -9``,
and a large one is never held in memory as a whole.
"""

from __future__ import annotations

import base64
import hashlib
import mmap
import pickle
import secrets
import sqlite3
import sys
import threading
import time
import uuid
from bisect import bisect_left, bisect_right, insort
from collections.abc import Buffer, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

import moto.s3.models as models
import moto.s3.responses as responses
from moto.s3 import exceptions
from moto.s3.utils import _VersionedKeyStore, compute_checksum
from moto.settings import S3_UPLOAD_PART_MIN_SIZE

from local.aws.context import patch

_BLOCK = 1 << 20
_LAST = "\U0010ffff"
_CHECKED = frozenset({"CRC32", "SHA1", "SHA256"})
"""Checksums of a content that are compared with it; the others need libraries of their own."""
_KMS = frozenset({"aws:kms", "aws:kms:dsse"})
_TRASH_SECONDS = 10.0
"""How long a replaced value's file stays for readers that found it just before."""


class ObjectStore:
    """The values and the index of every bucket's objects.

    `commit` makes the changes since the last call durable; whoever changes objects calls it while holding
    `lock`, before anybody is told of the change.
    """

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self._values = folder / "values"
        self._values.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / "objects.db", check_same_thread=False, isolation_level=None)
        # Without fsync: what must be survived is the death of the process, not of the machine.
        self._database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
            "CREATE TABLE IF NOT EXISTS objects (bucket TEXT, name TEXT, versions BLOB,"
            " PRIMARY KEY (bucket, name)) WITHOUT ROWID;"
        )
        self._dirty: set[tuple[str, str]] = set()
        self._trash: list[tuple[float, Path]] = []
        self._closed = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="s3-trash", daemon=True)
        self._sweeper.start()

    def write(self, value: Buffer) -> Path:
        """Stores a value under a new name; no object refers to the file until `commit`."""
        path = self._values / uuid.uuid4().hex
        path.write_bytes(value)
        return path

    def discard(self, path: Path) -> None:
        """Deletes a value's file in `_TRASH_SECONDS`, also if nothing else changes: deleted is gone."""
        self._trash.append((time.monotonic() + _TRASH_SECONDS, path))

    def touch(self, bucket: str, name: str) -> None:
        """Records that an object was added, changed or deleted."""
        self._dirty.add((bucket, name))

    def commit(self) -> None:
        """Writes what was touched in one transaction."""
        with self.lock:
            if self._dirty:
                rows = [(bucket, name, self._versions(bucket, name)) for bucket, name in self._dirty]
                with closing(self._database.cursor()) as cursor:
                    cursor.execute("BEGIN")
                    cursor.executemany(
                        "DELETE FROM objects WHERE bucket = ? AND name = ?",
                        [row[:2] for row in rows if not row[2]],
                    )
                    cursor.executemany(
                        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", [row for row in rows if row[2]]
                    )
                    cursor.execute("COMMIT")
                self._dirty.clear()

    def _sweep(self) -> None:
        while not self._closed.wait(_TRASH_SECONDS / 10):
            with self.lock:
                now = time.monotonic()
                while self._trash and self._trash[0][0] <= now:
                    self._trash.pop(0)[1].unlink(missing_ok=True)

    def _versions(self, bucket: str, name: str) -> bytes | None:
        found = find_bucket(bucket)
        versions = found.keys.getlist(name) if found is not None else None
        return pickle.dumps(versions, 5) if versions else None

    def restore(self) -> None:
        """Fills the restored buckets with their objects and deletes the files that belong to nobody."""
        used: set[Path] = set()
        for bucket in _buckets():
            for upload in bucket.multiparts.values():
                used.update(part.path for part in upload.parts.values())
            rows = self._database.execute(
                "SELECT name, versions FROM objects WHERE bucket = ?", (bucket.name,)
            )
            for name, versions in rows:
                restored = pickle.loads(versions)  # noqa: S301 - our own file
                bucket.keys.restore(name, restored)
                used.update(version.path for version in restored if isinstance(version, StoredKey))
        for path in self._values.iterdir():
            if path not in used:
                path.unlink()

    def close(self) -> None:
        """Commits and closes the database."""
        self._closed.set()
        self._sweeper.join()
        with self.lock:
            self.commit()
            self._database.close()


def _buckets() -> Iterator[Any]:
    for _, _, backend in list(models.s3_backends.iter_backends()):
        yield from list(cast(models.S3Backend, backend).buckets.values())


def _check_match(response: Any, key: str) -> None:
    """If-Match on a completed upload, which moto ignores."""
    wanted = response.headers.get("If-Match")
    if not wanted:
        return
    present = response.backend.get_object(response.bucket_name, key)
    if present is None:
        raise exceptions.MissingKey(key=key)
    if present.etag.strip('"') != wanted.strip('"'):
        raise exceptions.PreconditionFailed("If-Match")


class BadDigestError(exceptions.S3ClientError):
    """A checksum that does not match the content; moto would store it unchecked."""

    def __init__(self, algorithm: str) -> None:
        message = f"The {algorithm} you specified did not match the calculated checksum."
        super().__init__("BadDigest", message)


def _check_checksum(response: Any, algorithm: str, value: str | None) -> None:
    if algorithm in _CHECKED and value:
        calculated = compute_checksum(response.body or b"", algorithm=algorithm)
        if calculated.decode() != value:
            raise BadDigestError(algorithm)


def find_bucket(name: str) -> Any | None:
    """The bucket of that name, or None."""
    owner = models.s3_backends.bucket_accounts.get(name)
    if owner is None:
        return None
    partition, account = owner
    return models.s3_backends[account][partition].buckets.get(name)


_store: ObjectStore | None = None


def store() -> ObjectStore:
    """The store in use; `install` sets it."""
    if _store is None:
        raise RuntimeError("the object store is not installed")
    return _store


class Value:
    """A large value: opened at once, so a deletion does not cut it short, but read only as it is used."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._map)

    def __getitem__(self, part: slice) -> bytes:
        return self._map[part]

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self), _BLOCK):
            yield self._map[start : start + _BLOCK]

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(self._map)


class StoredKey(models.FakeKey):
    """An S3 object, or one part of an upload, whose value is a file."""

    path: Path

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.encryption in _KMS:
            # Under SSE-KMS the ETag is no digest of the content, and another at each write (S3's API
            # reference, "Object").
            parts = str(self._etag).partition("-")
            self._etag = "".join((secrets.token_hex(16), *parts[1:]))

    @property
    def value(self) -> bytes | Value:
        """The value: bytes where it is small, else a view of the file that can be used like bytes."""
        return self.path.read_bytes() if self.contentsize <= _BLOCK else Value(self.path)

    @value.setter
    def value(self, new_value: str | Buffer) -> None:
        data = memoryview(new_value.encode() if isinstance(new_value, str) else new_value)
        self._value_buffer.close()
        self.path = store().write(data)
        self.contentsize = len(data)
        known: str | None = self._etag
        if known is None:
            self._etag = hashlib.md5(data, usedforsecurity=False).hexdigest()

    @property
    def etag(self) -> str:
        """The quoted etag."""
        return f'"{self._etag}"'

    def dispose(self, garbage: bool = False) -> None:
        """Called by moto when the object is replaced or deleted, and by Python when it is collected."""
        if garbage or self.disposed:
            return
        self.disposed = True
        store().discard(self.path)
        if self.multipart:
            self.multipart.dispose()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_value_buffer", None)
        del state["lock"]
        # The upload's parts are gone once it is completed; its id makes the completion idempotent.
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.lock = threading.Lock()


class KeyStore(_VersionedKeyStore):
    """A bucket's objects by name, in order, written through to the object store.

    Its own content is not pickled with the bucket: it stands in the database.
    """

    def __init__(self, bucket: str) -> None:
        super().__init__()
        self._bucket = bucket
        self._names: list[str] = []

    def __reduce__(self) -> tuple[type[KeyStore], tuple[str]]:
        return (KeyStore, (self._bucket,))

    def restore(self, name: str, versions: list[Any]) -> None:
        """Puts back what was read from disk, in ascending order of names."""
        dict.__setitem__(self, name, versions)
        insort(self._names, name)

    def _changed(self, name: str, known: bool) -> None:
        if not known and name in self:
            insort(self._names, name)
        elif known and name not in self:
            del self._names[bisect_left(self._names, name)]
        store().touch(self._bucket, name)

    def __setitem__(self, name: str, value: Any) -> None:
        known = name in self
        super().__setitem__(name, value)
        self._changed(name, known)

    def setlist(self, name: str, versions: Any) -> None:
        """Replaces all versions of an object."""
        known = name in self
        super().setlist(name, versions)
        self._changed(name, known)

    def pop(self, name: str) -> None:
        """Removes an object with all its versions."""
        known = name in self
        super().pop(name)
        self._changed(name, known)

    def names(self, prefix: str) -> list[str]:
        """The names that start with ``prefix``, in order."""
        names = self._names
        start = bisect_left(names, prefix)
        end = bisect_right(names, prefix + _LAST) if prefix else len(names)
        return names[start:end]


def page(
    keys: KeyStore, prefix: str, delimiter: str, after: str, limit: int
) -> tuple[list[StoredKey | str], bool]:
    """The next objects and common prefixes behind ``after``, in order, and whether there are more."""
    names = keys.names(prefix)
    position = bisect_right(names, after) if after else 0
    found: list[StoredKey | str] = []
    while position < len(names):
        name = names[position]
        position += 1
        item: Any = keys.get(name)
        if item is None or isinstance(item, models.FakeDeleteMarker):
            continue
        if delimiter:
            head, divided, _ = name[len(prefix) :].partition(delimiter)
            if divided:
                item = f"{prefix}{head}{delimiter}"
                position = bisect_right(names, item + _LAST, lo=position)
                if item <= after:
                    continue
        if len(found) == limit:
            return found, True
        found.append(item)
    return found, False


def _list_objects(
    _backend: Any,
    bucket: Any,
    prefix: str | None,
    delimiter: str | None,
    marker: str | None,
    max_keys: int | None,
) -> tuple[list[StoredKey], list[str], bool, str | None]:
    """What moto's own code asks for when it lists."""
    limit = sys.maxsize if max_keys is None else max_keys
    found, truncated = page(bucket.keys, prefix or "", delimiter or "", marker or "", limit)
    keys = [item for item in found if not isinstance(item, str)]
    return (
        keys,
        [item for item in found if isinstance(item, str)],
        truncated,
        _name(found[-1]) if truncated else None,
    )


def _name(item: StoredKey | str) -> str:
    return item if isinstance(item, str) else str(item.name)


def _list(response: Any) -> tuple[int, dict[str, str], str]:
    """ListObjects and ListObjectsV2, written straight as XML: moto takes a millisecond an object for it.

    Continuation tokens say where to go on, so that they outlive a restart.
    """
    bucket = response.backend.get_bucket(response.bucket_name)
    query = parse_qs(urlsplit(response.uri).query, keep_blank_values=True)

    def given(name: str, default: str = "") -> str:
        values: list[str] = query.get(name, [default])
        return values[0]

    second = given("list-type") == "2"
    prefix, delimiter, url = given("prefix"), given("delimiter"), given("encoding-type") == "url"
    if not given("max-keys", "1000").isdecimal():
        raise exceptions.InvalidMaxPartArgument("max-keys", 0, 2147483647)
    limit = min(int(given("max-keys", "1000")), 1000)
    after = given("start-after") if second else given("marker")
    if "continuation-token" in query:
        after = _decode_token(given("continuation-token"))
    found, truncated = page(bucket.keys, prefix, delimiter, after, limit) if limit else ([], False)

    def text(value: str) -> str:
        return quote(value, safe="/") if url else escape(value)

    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
        f"<Name>{bucket.name}</Name><Prefix>{text(prefix)}</Prefix><MaxKeys>{limit}</MaxKeys>",
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>",
    ]
    if delimiter:
        parts.append(f"<Delimiter>{text(delimiter)}</Delimiter>")
    if url:
        parts.append("<EncodingType>url</EncodingType>")
    if second:
        parts.append(f"<KeyCount>{len(found)}</KeyCount>")
        if given("start-after"):
            parts.append(f"<StartAfter>{text(given('start-after'))}</StartAfter>")
        if "continuation-token" in query:
            parts.append(f"<ContinuationToken>{escape(given('continuation-token'))}</ContinuationToken>")
        if truncated:
            token = base64.urlsafe_b64encode(_name(found[-1]).encode()).decode()
            parts.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
    else:
        parts.append(f"<Marker>{text(given('marker'))}</Marker>")
        if truncated and delimiter:
            parts.append(f"<NextMarker>{text(_name(found[-1]))}</NextMarker>")
    owner = f"<Owner><ID>{models.OWNER}</ID></Owner>" if not second or given("fetch-owner") == "true" else ""
    for item in found:
        if isinstance(item, str):
            parts.append(f"<CommonPrefixes><Prefix>{text(item)}</Prefix></CommonPrefixes>")
            continue
        algorithm = item.checksum_algorithm
        checksum = f"<ChecksumAlgorithm>{algorithm}</ChecksumAlgorithm>" if algorithm else ""
        parts.append(
            f"<Contents><Key>{text(item.name)}</Key><LastModified>{item.last_modified_ISO8601}</LastModified>"
            f"<ETag>{escape(item.etag)}</ETag>{checksum}<Size>{item.size}</Size>"
            f"<StorageClass>{item.storage_class}</StorageClass>{owner}</Contents>"
        )
    parts.append("</ListBucketResult>")
    return 200, {"content-type": "application/xml"}, "".join(parts)


def _decode_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode() or _reject_token()
    except ValueError:
        return _reject_token()


def _reject_token() -> NoReturn:
    raise exceptions.InvalidContinuationToken


def _complete(self: Any, body: Iterator[tuple[int, str]]) -> tuple[bytearray, str, Any]:
    """As moto's, but a value that is put together once: moto makes three copies of it."""
    parts: list[StoredKey] = []
    for number, etag in body:
        part = self.parts.get(number)
        if part is None or part.etag.strip('"') != etag.strip('"'):
            raise exceptions.InvalidPart()
        if parts and parts[-1].contentsize < S3_UPLOAD_PART_MIN_SIZE:
            raise exceptions.EntityTooSmall()
        parts.append(part)
    if not parts:
        raise exceptions.MalformedXML
    value = bytearray()
    digests = bytearray()
    checksum = models.MultipartChecksumBuilder(
        self.metadata.get("x-amz-checksum-algorithm"), self.metadata.get("x-amz-checksum-type")
    )
    # The builder wants the object whole, unless it makes a checksum of checksums.
    composite = checksum.checksum_type == "COMPOSITE"
    for part in parts:
        data = part.value
        value += data
        digests += bytes.fromhex(part.etag.strip('"'))
        if composite:
            checksum.addPart(bytes(data))
    if not composite:
        checksum.complete_object = value
    etag = hashlib.md5(digests, usedforsecurity=False).hexdigest()
    return value, f"{etag}-{len(parts)}", checksum.build()


def find(name: str, key: str) -> StoredKey | None:
    """An object, or None if the bucket or the object is missing."""
    found = find_bucket(name)
    version = found.keys.get(key) if found is not None else None
    return version if isinstance(version, StoredKey) else None


def put(name: str, key: str, value: Buffer, content_type: str = "application/octet-stream") -> None:
    """Puts an object from inside the server; raises moto's `MissingBucket`. Durable when it returns."""
    with store().lock:
        found = find_bucket(name)
        if found is None:
            raise exceptions.MissingBucket(bucket=name)
        backend: Any = models.s3_backends[found.account_id][found.partition]
        added = backend.put_object(name, key, value)
        added.set_metadata({"Content-Type": content_type})
        store().commit()


def install(folder: Path) -> ObjectStore:
    """Makes moto keep its S3 objects under ``folder``."""
    global _store
    _store = ObjectStore(folder)
    patch(models, FakeKey=StoredKey)
    patch(responses, FakeKey=StoredKey)
    make_bucket: Any = models.FakeBucket.__init__

    def make(self: Any, name: str, *args: Any, **kwargs: Any) -> None:
        make_bucket(self, name, *args, **kwargs)
        self.keys = KeyStore(name)

    post = responses.S3Response._key_response_post

    def key_response_post(self: Any, request: Any, body: bytes, name: str, query: Any, key: str) -> Any:
        if query.get("uploadId"):
            _check_match(self, key)
        return post(self, request, body, name, query, key)

    get_checksum = responses.S3Response._get_checksum

    def checked(self: Any, response_headers: dict[str, Any]) -> tuple[str, str | None]:
        algorithm, value = get_checksum(self, response_headers)
        _check_checksum(self, algorithm.upper(), value)
        return algorithm, value

    tag: Any = models.S3Backend.put_object_tagging

    def put_object_tagging(self: Any, key: Any, tags: dict[str, str] | None) -> Any:
        # moto would keep an empty entry for every object that was ever put.
        if tags:
            return tag(self, key, tags)
        self.tagger.delete_all_tags_for_resource(key.arn)
        return key

    patch(models.FakeBucket, __init__=make)
    patch(models.S3Backend, list_objects=_list_objects, put_object_tagging=put_object_tagging)
    patch(models.FakeMultipart, complete=_complete)
    patch(
        responses.S3Response,
        list_objects=_list,
        list_objects_v2=_list,
        _key_response_post=key_response_post,
        _get_checksum=checked,
    )
    return _store

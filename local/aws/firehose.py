"""Firehose that really buffers, partitions and delivers to S3; moto keeps the streams themselves.

Facts (limits, object names, expressions, dynamic partitioning) are from the Amazon Data Firehose developer
guide and the API's service model. The names of the error types of dynamic partitioning are those that users
report from their buckets.
"""

from __future__ import annotations

import base64
import copy
import gzip
import json
import logging
import re
import struct
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jq
import orjson
from moto.firehose import models
from moto.firehose.exceptions import (
    InvalidArgumentException,
    ResourceNotFoundException,
    ValidationException,
)
from moto.s3.exceptions import S3ClientError

from local.aws import objects
from local.aws.context import Context, patch
from local.aws.firehose_faults import FAULTS, UnavailableError, decide

MAX_RECORDS = 500
MAX_BATCH_BYTES = 4 * 2**20
MAX_RECORD_BYTES = 1_024_000
MAX_SUBRECORDS = 500
"""Beyond so many a record stays whole: "de-aggregation doesn't work as expected" (PutRecord's reference)."""
MAX_PARTITIONS = 500
MIN_DYNAMIC_MEBIBYTES = 64
RETENTION_SECONDS = 24 * 3600
"""How long Direct PUT data is retried if S3 rejects it."""

_RETRY_SECONDS = 2.0
_FRAME = struct.Struct(">I")
_EXPRESSION = re.compile(r"!\{([^}:]*):?([^}]*)\}")
_TIMESTAMP = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_OFFERED = {
    "RoleARN",
    "BucketARN",
    "Prefix",
    "ErrorOutputPrefix",
    "BufferingHints",
    "CompressionFormat",
    "EncryptionConfiguration",
    "CloudWatchLoggingOptions",
    "ProcessingConfiguration",
    "DynamicPartitioningConfiguration",
    "S3BackupMode",
    "FileExtension",
    "CustomTimeZone",
}

log = logging.getLogger(__name__)


class RecordError(Exception):
    """A record that cannot be partitioned; it goes to the error prefix."""

    def __init__(self, code: str, output_type: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.output_type = output_type


def _not_extracted(message: str) -> RecordError:
    return RecordError("DynamicPartitioning.MetadataExtractionFailed", "metadata-extraction-failed", message)


class Destination:
    """A stream's S3 destination, checked and compiled.

    Raises moto's `InvalidArgumentException` for what Firehose rejects or this stand-in does not offer.
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        beyond = sorted(set(configuration) - _OFFERED)
        if beyond:
            raise InvalidArgumentException(f"{', '.join(beyond)} is not offered by the local AWS")
        if configuration.get("S3BackupMode", "Disabled") != "Disabled":
            raise InvalidArgumentException("S3BackupMode Enabled is not offered by the local AWS")
        if configuration.get("CustomTimeZone", "UTC") != "UTC":
            raise InvalidArgumentException("A CustomTimeZone is not offered by the local AWS")
        hints = configuration.get("BufferingHints") or {}
        self.interval = float(hints.get("IntervalInSeconds", 300))
        self.mebibytes = int(hints.get("SizeInMBs", 5))
        if not 0 <= self.interval <= 900 or not 1 <= self.mebibytes <= 128:
            raise ValidationException("BufferingHints must be 0 to 900 seconds and 1 to 128 MiB")
        compression = configuration.get("CompressionFormat", "UNCOMPRESSED")
        if compression not in ("UNCOMPRESSED", "GZIP"):
            raise InvalidArgumentException(f"CompressionFormat {compression} is not offered by the local AWS")
        self.gzip = compression == "GZIP"
        self.extension: str = configuration.get("FileExtension") or (".gz" if self.gzip else "")
        self.bucket = str(configuration["BucketARN"]).rpartition(":")[2]
        self.prefix: str = configuration.get("Prefix") or ""
        self.error_prefix: str = configuration.get("ErrorOutputPrefix") or ""
        self.dynamic = bool((configuration.get("DynamicPartitioningConfiguration") or {}).get("Enabled"))
        self.delimiter = b""
        self.deaggregates = False
        self._query: Any = None
        self._extracted: set[str] = set()
        self._keys: set[str] = set()
        self._read_processors(configuration.get("ProcessingConfiguration") or {})
        self._check()

    def _read_processors(self, processing: Mapping[str, Any]) -> None:
        if not processing.get("Enabled"):
            return
        for processor in processing.get("Processors", []):
            parameters = {
                parameter["ParameterName"]: parameter["ParameterValue"]
                for parameter in processor.get("Parameters", [])
            }
            if processor["Type"] == "AppendDelimiterToRecord":
                delimiter = parameters.get("Delimiter", "\\n")
                self.delimiter = delimiter.encode().decode("unicode_escape").encode()
            elif processor["Type"] == "RecordDeAggregation":
                if parameters.get("SubRecordType") != "JSON":
                    raise InvalidArgumentException("Only the SubRecordType JSON is offered by the local AWS")
                self.deaggregates = True
            elif processor["Type"] == "MetadataExtraction":
                if parameters.get("JsonParsingEngine") != "JQ-1.6":
                    raise InvalidArgumentException("MetadataExtraction needs the JsonParsingEngine JQ-1.6")
                query = parameters.get("MetadataExtractionQuery", "")
                try:
                    self._query = jq.compile(query)
                except ValueError as error:
                    raise InvalidArgumentException(f"MetadataExtractionQuery is not JQ: {error}") from error
                self._extracted = set(re.findall(r"[{,]\s*\"?(\w+)\"?\s*:", query))
            else:
                raise InvalidArgumentException(
                    f"Processor type {processor['Type']} is not offered by the local AWS"
                )

    def _check(self) -> None:
        used = _expressions(self.prefix)
        in_errors = _expressions(self.error_prefix)
        keys = {name for namespace, name in used if namespace == "partitionKeyFromQuery"}
        for namespace, name in [*used, *in_errors]:
            if namespace == "timestamp":
                _java_format(name)
        if ("firehose", "error-output-type") in used:
            raise InvalidArgumentException("Prefix cannot contain !{firehose:error-output-type}")
        if any(namespace.startswith("partitionKeyFrom") for namespace, _ in in_errors):
            raise InvalidArgumentException("ErrorOutputPrefix cannot contain partition keys")
        for namespace, name in [*used, *in_errors]:
            if namespace not in ("timestamp", "partitionKeyFromQuery") and (namespace, name) not in (
                ("firehose", "random-string"),
                ("firehose", "error-output-type"),
            ):
                raise InvalidArgumentException(f"Unknown expression !{{{namespace}:{name}}} in a prefix")
        if used and ("firehose", "error-output-type") not in in_errors:
            raise InvalidArgumentException(
                "ErrorOutputPrefix with !{firehose:error-output-type} is needed where Prefix has expressions"
            )
        if not self.dynamic:
            if keys:
                raise InvalidArgumentException("Partition keys in Prefix need dynamic partitioning")
            if self.deaggregates:
                raise InvalidArgumentException("RecordDeAggregation needs dynamic partitioning")
            return
        if not keys or self._query is None:
            raise InvalidArgumentException(
                "Dynamic partitioning needs a MetadataExtraction processor and partition keys in Prefix"
            )
        if missing := ", ".join(sorted(keys - self._extracted)):
            raise InvalidArgumentException(
                f"Prefix names partition keys that the query does not give: {missing}"
            )
        self._keys = keys
        if self.mebibytes < MIN_DYNAMIC_MEBIBYTES:
            raise InvalidArgumentException(
                f"BufferingHints.SizeInMBs must be at least {MIN_DYNAMIC_MEBIBYTES} with dynamic partitioning"
            )
        if self.interval == 0:
            raise InvalidArgumentException("Zero buffering is not supported with dynamic partitioning")

    def parts(self, record: bytes) -> list[bytes]:
        """The parts of a de-aggregated record: its JSON objects, and lines that are not JSON.

        Firehose does not document whether a newline between them is kept: it is while `newline-kept` is on.
        """
        if not self.deaggregates:
            return [record]
        parts = _objects(record)
        if len(parts) > MAX_SUBRECORDS:
            return [record]
        return [part + b"\n" for part in parts] if FAULTS.present("newline-kept") else parts

    def partition(self, data: bytes) -> dict[str, str]:
        """The record's partition keys, {} without dynamic partitioning; raises `RecordError`."""
        if not self.dynamic:
            return {}
        try:
            text = data.decode()
            json.loads(text)
        except ValueError as error:
            raise _not_extracted("Non JSON record provided") from error
        try:
            found = self._query.input_text(text).first()
        except (ValueError, StopIteration) as error:
            raise _not_extracted(f"JQ expression failed: {error}") from error
        if not isinstance(found, dict):
            raise _not_extracted("JQ expression does not return an object")
        keys = {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}
        if any(found[name] is None or keys[name] == "" for name in keys) or not self._keys <= set(keys):
            raise _not_extracted("Partition key values must not be null or empty")
        return {name: keys[name] for name in self._keys}

    def key_prefix(self, keys: Mapping[str, str], arrived: datetime, error_type: str | None) -> str:
        """The evaluated prefix of an object whose oldest record arrived at ``arrived``."""
        template = self.prefix if error_type is None else self.error_prefix

        def evaluate(match: re.Match[str]) -> str:
            namespace, name = match.groups()
            if namespace == "timestamp":
                return arrived.strftime(_java_format(name))
            if namespace == "partitionKeyFromQuery":
                return keys[name]
            return error_type or "" if name == "error-output-type" else uuid.uuid4().hex[:11]

        evaluated = _EXPRESSION.sub(evaluate, template)
        return evaluated if _expressions(template) else f"{evaluated}{arrived:%Y/%m/%d/%H}/"


_BLANKS = " \t\n\r\v\f"
"""The separators of objects: whitespace in bytes. Text has more, such as U+001C."""


def _objects(record: bytes) -> list[bytes]:
    """The JSON objects of a record, consecutive or one per line; what is none goes up to the line's end."""
    lines = [line for line in record.split(b"\n") if line.strip()]
    if all(map(_is_object, lines)):
        return lines
    text = record.decode("utf-8", "surrogateescape")
    decoder = json.JSONDecoder()
    parts: list[str] = []
    start = 0
    while start < len(text):
        if text[start] in _BLANKS:
            start += 1
            continue
        try:
            end = decoder.raw_decode(text, start)[1] if text[start] == "{" else -1
        except ValueError:
            end = -1
        if end < 0:
            end = (text.find("\n", start) + 1 or len(text) + 1) - 1
        parts.append(text[start:end])
        start = end
    return [part.encode("utf-8", "surrogateescape") for part in parts]


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _expressions(prefix: str) -> list[tuple[str, str]]:
    return _EXPRESSION.findall(prefix)


def _java_format(pattern: str) -> str:
    """A Java date pattern as `strftime` has it; raises `InvalidArgumentException` beyond plain fields."""
    if not pattern:
        raise InvalidArgumentException("An empty !{timestamp:} expression")
    result = ""
    for part in re.findall(r"'[^']*'|y+|M+|d+|H+|m+|s+|[A-Za-z]+|[^A-Za-z']", pattern):
        if part in _TIMESTAMP:
            result += _TIMESTAMP[part]
        elif part[0].isalpha():
            raise InvalidArgumentException(f"!{{timestamp:{pattern}}} is not offered by the local AWS")
        else:
            result += part.strip("'").replace("%", "%%")
    return result


@dataclass
class Buffer:
    """Records that will be one object. The file holds this header and then the records, each framed."""

    stream: str
    bucket: str
    key: str
    gzip: bool
    due: float
    """Seconds since 1970."""
    limit: int
    """Bytes of records at which the buffer is delivered before it is due."""
    opened: float
    path: Path = field(default_factory=Path)
    size: int = 0

    def append(self, records: Sequence[bytes]) -> None:
        """Adds records; what was written is there after the process's death.

        Raises `OSError` if there is no space for all of them; then none is added.
        """
        frames = memoryview(b"".join(_FRAME.pack(len(record)) + record for record in records))
        with self.path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                while frames:
                    frames = frames[file.write(frames) :]
            except OSError:
                file.truncate(end)
                raise
        self.size += sum(map(len, records))

    @classmethod
    def create(cls, folder: Path, **header: Any) -> Buffer:
        """A new, empty buffer."""
        buffer = cls(**header, path=folder / f"{uuid.uuid4().hex}.buffer")
        line = {name: value for name, value in asdict(buffer).items() if name not in ("path", "size")}
        buffer.path.write_bytes(json.dumps(line).encode() + b"\n")
        return buffer

    @classmethod
    def load(cls, path: Path) -> Buffer | None:
        """A buffer that an earlier process left; None if it died before the first record."""
        line, newline, _ = path.read_bytes().partition(b"\n")
        if not newline:
            return None
        buffer = cls(**json.loads(line), path=path)
        buffer.size = sum(map(len, buffer.records()))
        return buffer if buffer.size else None

    def records(self) -> Iterator[bytes]:
        """The records, in order; one cut short by the process's death was never acknowledged."""
        data = self.path.read_bytes()
        position = data.index(b"\n") + 1
        while position + _FRAME.size <= len(data):
            (length,) = _FRAME.unpack_from(data, position)
            position += _FRAME.size
            if position + length > len(data):
                return
            yield data[position : position + length]
            position += length

    def deliver(self) -> None:
        """Writes the object; its key was fixed when the buffer was opened, so doing it twice is harmless."""
        if data := b"".join(self.records()):
            media = "application/octet-stream"
            objects.put(self.bucket, self.key, gzip.compress(data, 6, mtime=0) if self.gzip else data, media)
        self.path.unlink()


class Delivery:
    """Every stream's buffers and the thread that delivers them when they are due or full."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._changed = threading.Condition()
        self._open: dict[tuple[str, str, str], Buffer] = {}
        self._ready: list[Buffer] = []
        self._closing = False
        for path in sorted(folder.glob("*.buffer")):
            buffer = Buffer.load(path)
            if buffer is None:
                path.unlink()
            else:
                # Never appended to again: a new record opens a new buffer.
                self._ready.append(buffer)

    def put(self, stream: str, version: str, destination: Destination, records: Sequence[bytes]) -> None:
        """Accepts records; they are on disk when it returns. Raises `OSError` if the disk is full."""
        now = datetime.now(UTC)
        groups: dict[tuple[str, str], tuple[Mapping[str, str], list[bytes]]] = {}
        with self._changed:
            partitions = {key[2] for key in self._open if key[0] == stream and key[1] == ""}
            for record in records:
                for placed in _placed(record, destination, partitions, now):
                    place = (placed.error_type, placed.partition)
                    groups.setdefault(place, (placed.keys, []))[1].append(placed.data)
            for (error_type, identity), (keys, group) in groups.items():
                self._append((stream, error_type, identity), version, destination, keys, group, now)
            self._changed.notify()

    def _append(
        self,
        key: tuple[str, str, str],
        version: str,
        destination: Destination,
        keys: Mapping[str, str],
        records: Sequence[bytes],
        now: datetime,
    ) -> None:
        buffer = self._open.get(key)
        if buffer is None:
            prefix = destination.key_prefix(keys, now, key[1] or None)
            name = f"{key[0]}-{version}-{now:%Y-%m-%d-%H-%M-%S}-{uuid.uuid4()}{destination.extension}"
            buffer = self._open[key] = Buffer.create(
                self._folder,
                stream=key[0],
                bucket=destination.bucket,
                key=prefix + name,
                gzip=destination.gzip,
                due=now.timestamp() + destination.interval,
                limit=destination.mebibytes * 2**20,
                opened=now.timestamp(),
            )
        buffer.append(records)
        if buffer.size >= buffer.limit:
            self._ready.append(self._open.pop(key))

    def start(self) -> None:
        """Starts delivering."""
        threading.Thread(target=self._run, name="firehose", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closing:
                    return
                now = time.time()
                for key in [key for key, buffer in self._open.items() if buffer.due <= now]:
                    self._ready.append(self._open.pop(key))
                full = {
                    id(buffer) for buffer in self._ready if buffer.due <= now or buffer.size >= buffer.limit
                }
                batch = [buffer for buffer in self._ready if id(buffer) in full]
                self._ready = [buffer for buffer in self._ready if id(buffer) not in full]
                if not batch:
                    due = [buffer.due for buffer in (*self._open.values(), *self._ready)]
                    self._changed.wait(max(min(due) - now, 0.01) if due else None)
                    continue
            for buffer in batch:
                self._deliver(buffer)

    def _deliver(self, buffer: Buffer) -> None:
        try:
            if FAULTS.present("s3-down"):
                raise S3ClientError("ServiceUnavailable", "Please reduce your request rate.")
            buffer.deliver()
        except Exception as error:
            # Whatever it is, the other buffers must not wait for it.
            now = time.time()
            if now - buffer.opened > RETENTION_SECONDS:
                log.error(
                    "dropped after 24 h stream=%s key=%s bytes=%d", buffer.stream, buffer.key, buffer.size
                )
                buffer.path.unlink()
                return
            log.warning(
                "not delivered stream=%s bucket=%s: %s",
                buffer.stream,
                buffer.bucket,
                error,
                exc_info=not isinstance(error, S3ClientError),
            )
            buffer.due, buffer.limit = now + _RETRY_SECONDS, buffer.size + 1
            with self._changed:
                self._ready.append(buffer)
        else:
            log.info("delivered stream=%s key=%s bytes=%d", buffer.stream, buffer.key, buffer.size)

    def close(self) -> None:
        """Ends the thread; what is buffered stays on disk and is delivered by the next server."""
        with self._changed:
            self._closing = True
            self._changed.notify()


class _Placed(NamedTuple):
    """The destination of a record: a partition, or the error prefix of a type."""

    error_type: str
    partition: str
    keys: Mapping[str, str]
    data: bytes


def _placed(record: bytes, destination: Destination, partitions: set[str], now: datetime) -> list[_Placed]:
    """Where the parts of a record go; ``partitions`` are those in use, and gain new ones.

    Firehose does not document whether a bad part goes to the error prefix alone or with its whole record:
    with its record while `whole-record-fails` is on.
    """
    placed: list[_Placed] = []
    for part in destination.parts(record):
        try:
            if FAULTS.strike("jq-failure"):
                raise _not_extracted("JQ expression failed: on purpose")
            keys = destination.partition(part)
            partition = json.dumps(keys, sort_keys=True)
            if partition not in partitions and len(partitions) >= MAX_PARTITIONS:
                raise RecordError(
                    "DynamicPartitioning.ActivePartitionsLimitExceeded",
                    "active-partitions-limit-exceeded",
                    f"The limit of {MAX_PARTITIONS} active partitions is exceeded",
                )
            partitions.add(partition)
            placed.append(_Placed("", partition, keys, part + destination.delimiter))
        except RecordError as error:
            if FAULTS.present("whole-record-fails"):
                return [_Placed(error.output_type, "{}", {}, _envelope(record, error, now))]
            placed.append(_Placed(error.output_type, "{}", {}, _envelope(part, error, now)))
    return placed


def _envelope(record: bytes, error: RecordError, now: datetime) -> bytes:
    """A failed record as Firehose writes it under the error prefix, one JSON document a line."""
    milliseconds = int(now.timestamp() * 1000)
    document = {
        "attemptsMade": 1,
        "arrivalTimestamp": milliseconds,
        "errorCode": error.code,
        "errorMessage": str(error),
        "attemptEndingTimestamp": milliseconds,
        "rawData": base64.b64encode(record).decode(),
    }
    return json.dumps(document).encode() + b"\n"


def _check_batch(records: Sequence[bytes]) -> None:
    if not 1 <= len(records) <= MAX_RECORDS:
        raise ValidationException(
            "1 validation error detected: Value at 'records' failed to satisfy constraint: "
            f"Member must have length between 1 and {MAX_RECORDS}"
        )
    for number, record in enumerate(records, 1):
        if len(record) > MAX_RECORD_BYTES:
            raise ValidationException(
                f"1 validation error detected: Value at 'records.{number}.member.data' failed to satisfy "
                f"constraint: Member must have length less than or equal to {MAX_RECORD_BYTES}"
            )
    if sum(map(len, records)) > MAX_BATCH_BYTES:
        raise InvalidArgumentException("Records size exceeds 4 MB limit")


def _with_defaults(configuration: dict[str, Any]) -> dict[str, Any]:
    """What DescribeDeliveryStream gives back where the creator left it out."""
    return {
        "BufferingHints": {"SizeInMBs": 5, "IntervalInSeconds": 300},
        "CompressionFormat": "UNCOMPRESSED",
        "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"},
        "S3BackupMode": "Disabled",
        **copy.deepcopy(configuration),
    }


def install(context: Context) -> None:
    """Replaces moto's immediate writing by buffering and delivery."""
    backend = models.FirehoseBackend
    delivery: list[Delivery] = []
    compiled: dict[tuple[str, str], Destination] = {}
    create, update = backend.create_delivery_stream, backend.update_destination

    def create_delivery_stream(self: Any, *args: Any, **kwargs: Any) -> str:
        # moto passes its thirteen parameters by position: the destinations are the 6th to the 13th.
        given = list(args)
        name, kind, configuration = given[1], given[2], given[6]
        if kind not in (None, "DirectPut") or any(given[index] for index in (5, 7, 8, 9, 10, 11, 12)):
            raise InvalidArgumentException(
                "Only DirectPut with an ExtendedS3DestinationConfiguration is offered by the local AWS"
            )
        if not configuration:
            raise InvalidArgumentException(
                "Exactly one destination configuration is supported for a Firehose"
            )
        if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name):
            raise ValidationException(
                "1 validation error detected: Value at 'deliveryStreamName' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
            )
        given[6] = _with_defaults(configuration)
        Destination(given[6])
        return create(self, *given, **kwargs)

    def update_destination(self: Any, *args: Any, **kwargs: Any) -> None:
        given = list(args)
        name, extended = given[0], given[4]
        if not extended or any(given[index] for index in (3, 6, 7, 8, 9, 10, 11)):
            raise InvalidArgumentException("Only ExtendedS3DestinationUpdate is offered by the local AWS")
        before = _configuration(self, name)
        after = Destination({**before, **extended})
        if after.dynamic != Destination(before).dynamic:
            raise InvalidArgumentException("Dynamic partitioning cannot be switched on an existing stream")
        update(self, *given, **kwargs)

    def put_record_batch(
        self: Any, delivery_stream_name: str, records: list[dict[str, bytes]]
    ) -> dict[str, Any]:
        configuration = _configuration(self, delivery_stream_name)
        version = self.delivery_streams[delivery_stream_name].version_id
        data = [bytes(record["Data"]) for record in records]
        _check_batch(data)
        key = (delivery_stream_name, json.dumps(configuration, sort_keys=True))
        if key not in compiled:
            compiled[key] = Destination(configuration)
        rejections = decide(delivery_stream_name, data)
        taken = [record for record, rejected in zip(data, rejections, strict=True) if rejected is None]
        if taken:
            try:
                delivery[0].put(delivery_stream_name, version, compiled[key], taken)
            except OSError as error:
                log.exception("records not taken stream=%s", delivery_stream_name)
                raise UnavailableError("ServiceUnavailableException") from error
        return {
            "FailedPutCount": len(data) - len(taken),
            "Encrypted": False,
            "RequestResponses": [
                {"RecordId": uuid.uuid4().hex + uuid.uuid4().hex}
                if rejected is None
                else {"ErrorCode": rejected.code, "ErrorMessage": rejected.message}
                for rejected in rejections
            ],
        }

    def put_record(self: Any, delivery_stream_name: str, record: dict[str, bytes]) -> dict[str, Any]:
        answer = put_record_batch(self, delivery_stream_name, [record])["RequestResponses"][0]
        if "ErrorCode" in answer:
            raise UnavailableError(answer["ErrorCode"])
        return {**answer, "Encrypted": False}

    def start() -> None:
        delivery.append(Delivery(context.state / "firehose"))
        delivery[0].start()

    patch(
        backend,
        create_delivery_stream=create_delivery_stream,
        update_destination=update_destination,
        put_record_batch=put_record_batch,
        put_record=put_record,
    )
    context.on_start(start)
    context.on_close(lambda: delivery[0].close() if delivery else None)


def _configuration(backend: Any, name: str) -> dict[str, Any]:
    stream = backend.delivery_streams.get(name)
    if stream is None:
        raise ResourceNotFoundException(f"Firehose {name} under account {backend.account_id} not found.")
    return stream.destinations[0]["ExtendedS3"]  # pyrefly: ignore[no-any-return-explicit]

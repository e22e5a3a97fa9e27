"""From an hour's raw lines to what the models read and what will be published.

Two passes in bounded memory. The first streams every line, flattens it and spools it to local disk: its
columns into slices of the hour by tweet id, the line itself into one file. The second takes one slice at a
time: duplicates collapse, what cannot be used is quarantined with its reason, the rest is sorted by id and
written as a shard.

Everything is written under a prefix that names its input by digest, and the same input gives the same bytes.
So a run that was killed, started twice or runs beside another leaves nothing wrong behind.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.labeling import payload
from include.labeling.jobs import LONGEST_INPUT_LINE
from include.lake import layout, storage
from include.lake.schemas import LABELED, UNNAMED_LANGUAGES
from include.settings import Settings
from include.window import Window
from include.x import snowflake
from include.x.text import loads

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

STAGE = "transform"
"""The stage that quarantined rows and the quarantine object name."""

_FORMAT = "2"
"""Raised when the objects under the prefix change their form, so that old ones are not taken for new."""

_BYTES_A_SLICE = 6 * 1024 * 1024
"""Raw bytes as stored (gzip) for which one slice is cut: some 25,000 tweets."""

_BATCH = 4_096
"""Lines that are turned into columns at once."""

_LABELS = frozenset(
    {
        "translated_text",
        "sentiment",
        "score",
        "p_negative",
        "p_neutral",
        "p_positive",
        "unlabeled_reason",
        "translation_engine",
        "sentiment_engine",
    }
)

ROWS = pa.schema([column for column in LABELED if column.name not in _LABELS])
"""The columns of ``rows/NNN.parquet``: the labeled table's as far as they are known before labeling."""

_SPOOL = pa.schema(
    [
        ("topic", pa.int16()),
        ("reason", pa.int8()),
        ("origin", pa.int32()),
        ("offset", pa.int64()),
        ("length", pa.int32()),
        *(column for column in ROWS if column.name != "tag"),
    ]
)
"""One row a raw line that has an id: where its line lies (object, place in the spool), and its columns."""

NOT_TRANSLATED = UNNAMED_LANGUAGES | {"en"}
"""Of a tweet in one of these languages no translation is asked."""

_DICTIONARY = ["lang", "country_code", "tag", "rule_hash", "source"]
_TWEET_ID = re.compile(r"[0-9]{1,19}")
_USABLE = -1
_OVERLAP = payload.REASONS.index(payload.OVERLAP)
_OUTSIDE = payload.REASONS.index(payload.OUTSIDE_WINDOW)
_NOT_A_PAYLOAD = payload.REASONS.index(payload.NOT_A_PAYLOAD)
_EDITED = payload.REASONS.index(payload.EDITED)
_TOO_LARGE = payload.REASONS.index(payload.TOO_LARGE)

_ASKED = ["tweet_id", "text", "lang"]
"""What a model is asked of a tweet."""

_ESCAPED = 6
"""Bytes of JSON that one byte of a text may take."""


@dataclass(frozen=True)
class Prepared:
    """What `prepare` made of an hour; counts and keys only, so it may pass through XCom.

    For every topic ``raw[topic] == accepted[topic] + sum(quarantined[topic].values())``: distinct ids.
    """

    window: Window
    manifest: str
    """SHA-256 over the keys and ETags of the raw objects, and of those that name edited posts."""
    listed_at: datetime
    """S3's own time when the objects were listed."""
    objects: int
    """Objects read."""
    edits: str
    """The digest of the objects that name edited posts; empty where there are none."""
    prefix: str
    """Key prefix of what was made of these objects, ending in a slash."""
    model_prefix: str
    """Key prefix of what models are asked: made of the raw objects alone, so an edit asks no model again."""
    shards: int
    """Objects ``rows/000.parquet`` and following."""
    shards_with_edits: list[int] = field(default_factory=list)
    """Those beside which ``edited/NNN.parquet`` holds tweets that models are asked about in vain."""
    raw: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, dict[str, int]] = field(default_factory=dict)
    lines_without_id: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    """Lines beyond the first of an id."""
    to_translate: int = 0
    """Accepted tweets in a named language other than English; with 0 there is no translation input."""
    to_label: int = 0
    """Accepted tweets in a named language; with 0 there is no sentiment input."""

    @property
    def translation_input(self) -> str:
        """Key prefix of the translation job's input."""
        return f"{self.model_prefix}translation/input/"

    def rows_key(self, shard: int) -> str:
        """The accepted tweets of one shard."""
        return f"{self.prefix}rows/{shard:03}.parquet"

    def edited_key(self, shard: int) -> str:
        """The tweets of one shard that were edited later."""
        return f"{self.prefix}edited/{shard:03}.parquet"

    def edits_key(self, window: Window) -> str:
        """The posts of the hour before or after that were edited later."""
        return f"{self.prefix}edits/{window.label}.json"

    def quarantine_key(self, topic: str) -> str:
        """What was rejected of one topic."""
        return f"{self.prefix}quarantine/{topic}.json.gz"

    def to_json(self) -> dict[str, Any]:
        """As a dict of JSON's types."""
        return {**vars(self), "window": self.window.label, "listed_at": self.listed_at.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Prepared:
        """The inverse of `to_json`."""
        return cls(
            **{
                **value,
                "window": Window.parse(value["window"]),
                "listed_at": datetime.fromisoformat(value["listed_at"]),
            }
        )


def prepare(s3: S3Client, settings: Settings, topics: Sequence[str], window: Window, key: bytes) -> Prepared:
    """Reads the raw lines of an hour, all topics, and writes what the next steps read; see the module.

    ``key`` is the secret that authors' ids are hashed with. Needs local disk for the hour's unpacked raw and
    removes it in the end. Raises `storage.ObjectChangedError` where a raw object was replaced meanwhile.
    """
    listings = [
        storage.list_objects(s3, settings.bucket, layout.raw_prefix(topic, window)) for topic in topics
    ]
    objects = [entry for listing in listings for entry in listing.objects]
    edits = storage.list_objects(
        s3, settings.bucket, layout.edits_key(window, window).rpartition("/")[0] + "/"
    )
    listed_at = min(listing.at for listing in (*listings, edits))
    digest = storage.manifest([*objects, *edits.objects])
    prefix, model_prefix = (
        layout.work_prefix(window)
        + hashlib.sha256("\0".join([_FORMAT, each, *sorted(topics)]).encode()).hexdigest()[:16]
        + "/"
        for each in (digest, storage.manifest(objects))
    )

    slices = max(1, -(-sum(entry.size for entry in objects) // _BYTES_A_SLICE))
    with tempfile.TemporaryDirectory(prefix="prepare-") as folder:
        with _Spool(Path(folder), topics, window, slices, payload.Pseudonyms(key)) as spool:
            for topic, listing in zip(topics, listings, strict=True):
                for entry in listing.objects:
                    spool.add_object(topic, entry.key, _lines(s3, settings.bucket, entry))
            spool.flush()
        for entry in edits.objects:
            named = orjson.loads(storage.read(s3, settings.bucket, entry.key, entry.etag))
            spool.edited[window].update(map(int, named))
        writer = _Writer(s3, settings.bucket, prefix, model_prefix, Path(folder), topics)
        writer.add_edits(spool, window)
        with writer:
            for number in range(slices):
                writer.add_slice(spool, number)
            writer.add_lines_without_id(spool)

    prepared = Prepared(
        window=window,
        manifest=digest,
        listed_at=listed_at,
        objects=len(objects) + len(edits.objects),
        edits=storage.manifest(edits.objects) if edits.objects else "",
        prefix=prefix,
        model_prefix=model_prefix,
        shards=writer.shards,
        shards_with_edits=writer.shards_with_edits,
        raw={topic: writer.raw[topic] for topic in topics},
        accepted={topic: writer.accepted[topic] for topic in topics},
        quarantined={topic: dict(sorted(writer.quarantined[topic].items())) for topic in topics},
        lines_without_id=dict(sorted(writer.lines_without_id.items())),
        duplicates={topic: writer.duplicates[topic] for topic in topics},
        to_translate=writer.to_translate,
        to_label=writer.to_label,
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


def compose_sentiment_input(
    s3: S3Client, settings: Settings, prepared: Prepared, translation_output: str | None
) -> str:
    """Writes the sentiment job's input and gives its key prefix.

    One JSON line per accepted tweet in a named language: the translation where ``translation_output`` (a key
    prefix or S3 address) holds one, then with ``lang`` "en", else the original. The prefix carries the digest
    of the lines, so that the same text gives the same job.
    """
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="compose-") as folder:
        files = []
        for shard in range(prepared.shards):
            table = _asked(s3, settings, prepared, shard)
            translations = read_translations(s3, settings, shard, table, translation_output)
            body = _model_input(table, UNNAMED_LANGUAGES, translations)
            if body:
                digest.update(body)
                path = Path(folder, f"{shard:03}.jsonl")
                path.write_bytes(body)
                files.append(path)
        prefix = f"{prepared.model_prefix}sentiment/input-{digest.hexdigest()[:16]}/"
        for path in files:
            storage.put(s3, settings.bucket, prefix + path.name, path)
    return prefix


def read_shard(
    s3: S3Client, settings: Settings, prepared: Prepared, shard: int, columns: list[str] | None = None
) -> pa.Table:
    """The accepted tweets of one shard, sorted by id; raises `storage.ObjectMissingError` once expired."""
    return _read_table(s3, settings.bucket, prepared.rows_key(shard), columns)


def _asked(s3: S3Client, settings: Settings, prepared: Prepared, shard: int) -> pa.Table:
    """What models are asked of one shard, by id: also of tweets that were edited later.

    So the question, and with it the job that was paid for, stays the same when an edit becomes known.
    """
    table = read_shard(s3, settings, prepared, shard, _ASKED)
    if shard not in prepared.shards_with_edits:
        return table
    edited = _read_table(s3, settings.bucket, prepared.edited_key(shard), _ASKED)
    return pa.concat_tables([table, edited]).sort_by("tweet_id")


def _read_table(s3: S3Client, bucket: str, key: str, columns: list[str] | None) -> pa.Table:
    body = storage.read(s3, bucket, key)
    # Not `pq.read_table`: that one loads pyarrow's dataset and file system modules, 100 MiB of them.
    return pq.ParquetFile(pa.BufferReader(body)).read(columns)


def read_answers(
    s3: S3Client,
    settings: Settings,
    shard: int,
    table: pa.Table,
    output: str | None,
    left_out: Set[str] = UNNAMED_LANGUAGES,
) -> Iterator[dict[str, Any]]:
    """The model's answers for one shard with the rows ``table``: the JSON objects of ``NNN.jsonl.out``.

    ``output`` is a key prefix or an S3 address, None where the stage was skipped; nothing was asked about
    tweets in the languages ``left_out``. What is no JSON object is skipped and counted in the log: the tweets
    that it may have been about show up as unanswered. Raises `storage.ObjectMissingError` where something was
    asked and the answers are not there: they expire.
    """
    if output is None or not is_asked(table.column("lang"), left_out).any():
        return
    bucket, prefix = storage.split_address(output) if "://" in output else (settings.bucket, output)
    key = f"{prefix.rstrip('/')}/{shard:03}.jsonl.out"
    unreadable = 0
    for line in storage.read_lines(s3, bucket, key):
        try:
            answer = loads(line)
        except ValueError:
            unreadable += 1
            continue
        if isinstance(answer, dict) and _TWEET_ID.fullmatch(str(answer.get("id"))):
            yield answer
        else:
            unreadable += 1
    if unreadable:
        logger.warning("unreadable answers key=%s lines=%d", key, unreadable)


def read_translations(
    s3: S3Client, settings: Settings, shard: int, table: pa.Table, output: str | None
) -> dict[str, str]:
    """The translations of one shard by tweet id, without the failed ones; raises as `read_answers`.

    One that the next model could not be asked about, for its length, counts as failed.
    """
    return {
        answer["id"]: answer["translated_text"]
        for answer in read_answers(s3, settings, shard, table, output, NOT_TRANSLATED)
        if isinstance(answer.get("translated_text"), str)
        and answer["translated_text"]
        and _fits(answer["id"], answer["translated_text"], "en")
    }


def is_asked(lang: pa.ChunkedArray, left_out: Set[str] = UNNAMED_LANGUAGES) -> Any:
    """For each tweet whether a model is asked about it, by its language, as a NumPy array of booleans."""
    unasked = pc.is_in(lang.fill_null(""), value_set=pa.array(sorted(left_out), pa.string()))
    return ~unasked.to_numpy()


def _model_input(table: pa.Table, left_out: Set[str], translations: Mapping[str, str]) -> bytearray:
    """JSON Lines for a model: the tweets whose language is known and none of ``left_out``.

    They go straight into one buffer: each line by itself would hold on to the serializer's larger one.
    """
    body = bytearray()
    columns = (table.column(name).to_pylist() for name in ("tweet_id", "text", "lang"))
    for tweet_id, text, lang in zip(*columns, strict=True):
        if lang is not None and lang not in left_out:
            translation = translations.get(str(tweet_id))
            body += _line(tweet_id, translation, "en") if translation else _line(tweet_id, text, lang)
    return body


def _line(tweet_id: int | str, text: str, lang: str) -> bytes:
    """What a model is asked about one tweet."""
    return orjson.dumps({"id": str(tweet_id), "text": text, "lang": lang}, option=orjson.OPT_APPEND_NEWLINE)


def _fits(tweet_id: int | str, text: str, lang: str) -> bool:
    """Whether a model can be asked about a tweet at all."""
    # A character takes at most 12 bytes of JSON, so that most texts need no look.
    return len(text) < LONGEST_INPUT_LINE // 16 or len(_line(tweet_id, text, lang)) <= LONGEST_INPUT_LINE


def _lines(s3: S3Client, bucket: str, entry: storage.Object) -> Iterator[bytes | None]:
    """The object's lines; None in the place of a rest that could not be unpacked."""
    try:
        yield from storage.read_lines(s3, bucket, entry.key, entry.etag)
    except storage.CorruptObjectError as error:
        logger.warning("raw object is damaged: %s", error)
        yield None


class _Spool:
    """The first pass: raw lines on local disk, by slice."""

    def __init__(
        self, folder: Path, topics: Sequence[str], window: Window, slices: int, pseudonyms: payload.Pseudonyms
    ) -> None:
        self.folder = folder
        self.origins: list[str] = []
        self.orphans: list[tuple[int, bytes, int, int, int, int]] = []
        """Lines without an id: topic, digest of the line, reason, origin, offset, length."""
        self.edited: dict[Window, set[int]] = {hour: set() for hour in (window.previous, window, window.next)}
        """The ids of versions that are not the newest, by their hour: X lets a post be edited for an hour."""
        self._topics = {topic: number for number, topic in enumerate(topics)}
        self._names = frozenset(topics)
        self._start = int(window.start.timestamp() * 1000)
        self._length = int((window.end - window.start).total_seconds() * 1000)
        self._slices = slices
        self._pseudonyms = pseudonyms
        self._rows: list[tuple[Any, ...]] = []
        self._offset = 0

    def __enter__(self) -> _Spool:
        self._stack = ExitStack()
        self._text = self._stack.enter_context((self.folder / "lines").open("wb", buffering=1 << 20))
        self._writers: dict[int, Any] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add_object(self, topic: str, origin: str, lines: Iterator[bytes | None]) -> None:
        """Takes every line of one raw object."""
        number = self._topics[topic]
        place = len(self.origins)
        self.origins.append(origin)
        names, rows = self._names, self._rows
        for line in lines:
            if line is None:
                row, line = payload.TweetRow(None, payload.CORRUPT_OBJECT), b""
            else:
                row = payload.parse(line, topic, names)
            reason = _USABLE if row.reason is None else payload.REASONS.index(row.reason)
            if row.tweet_id is None:
                digest = hashlib.sha256(line).digest()
                self.orphans.append((number, digest, reason, place, self._offset, len(line)))
            else:
                if row.superseded:
                    self._note_edit(row)
                rows.append((number, reason, place, self._offset, len(line), *row))
                if len(rows) == _BATCH:
                    self.flush()
            self._text.write(line)
            self._offset += len(line)

    def _note_edit(self, row: payload.TweetRow) -> None:
        if row.reason in (None, payload.OVERLAP) and row.tweet_id and self._is_inside(row.tweet_id):
            for version in row.superseded:
                named = self.edited.get(Window.containing(snowflake.moment(version)))
                if named is not None:
                    named.add(version)

    def _is_inside(self, tweet_id: int) -> bool:
        return 0 <= snowflake.milliseconds(tweet_id) - self._start < self._length

    def flush(self) -> None:
        """Writes what was taken so far to its slices."""
        for batch in self._batches(self._rows):
            self._write(batch)
        self._rows.clear()

    def slice(self, number: int) -> pa.Table | None:
        """The rows of one slice; None where it has none. Only after the spool was closed."""
        path = self._path(number)
        if not path.exists():
            return None
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_stream(source).read_all().combine_chunks()

    def _path(self, number: int) -> Path:
        return self.folder / f"slice-{number:04}"

    def _batches(self, rows: list[tuple[Any, ...]]) -> Iterator[pa.RecordBatch]:
        """The rows as columns; a row with a field of the wrong type is halved out and rejected."""
        if not rows:
            return
        try:
            yield self._batch(rows)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
            if len(rows) > 1:
                middle = len(rows) // 2
                yield from self._batches(rows[:middle])
                yield from self._batches(rows[middle:])
            else:
                ((number, _, place, offset, length, tweet_id, *_),) = rows
                rejected = payload.TweetRow(tweet_id, payload.NOT_A_PAYLOAD)
                yield self._batch([(number, _NOT_A_PAYLOAD, place, offset, length, *rejected)])

    def _batch(self, rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
        topic, reason, origin, offset, length, *fields = zip(*rows, strict=True)
        columns = dict(zip(payload.TweetRow._fields, fields, strict=True))
        tweet_id = np.array(columns["tweet_id"], dtype=np.int64)
        ts = _milliseconds(columns["created_at"])
        milliseconds = (tweet_id >> snowflake.LOW_BITS) + snowflake.EPOCH_MS
        created = ts.fill_null(-1).cast(pa.int64()).to_numpy()
        inside = self._inside(milliseconds) & self._inside(created)
        reasons = np.array(reason, dtype=np.int8)
        reasons[(reasons == _USABLE) & ~inside] = _OUTSIDE
        pseudonym = self._pseudonyms.of
        author_id = pa.array([None if a is None else pseudonym(a) for a in columns["author_id"]], pa.int64())
        known = {
            "topic": pa.array(topic, pa.int16()),
            "reason": pa.array(reasons),
            "origin": pa.array(origin, pa.int32()),
            "offset": pa.array(offset, pa.int64()),
            "length": pa.array(length, pa.int32()),
            "ts": ts,
            "tweet_id": pa.array(tweet_id),
            "author_id": author_id,
            "received_at": _milliseconds(columns["received_at"]),
        }
        arrays = [
            known[column.name] if column.name in known else pa.array(columns[column.name], column.type)
            for column in _SPOOL
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=_SPOOL)

    def _inside(self, milliseconds: Any) -> Any:
        return (milliseconds >= self._start) & (milliseconds < self._start + self._length)

    def _write(self, batch: pa.RecordBatch) -> None:
        tweet_id = batch.column("tweet_id").to_numpy()
        elapsed = (tweet_id >> snowflake.LOW_BITS) + snowflake.EPOCH_MS - self._start
        numbers = np.clip(elapsed, 0, self._length - 1) * self._slices // self._length
        order = np.argsort(numbers, kind="stable")
        present, starts = np.unique(numbers[order], return_index=True)
        if len(present) > 1:
            batch = batch.take(pa.array(order))
        ends = [*starts[1:].tolist(), len(order)]
        for number, start, end in zip(present.tolist(), starts.tolist(), ends, strict=True):
            if number not in self._writers:
                sink = self._stack.enter_context(self._path(number).open("wb"))
                self._writers[number] = self._stack.enter_context(pa.ipc.new_stream(sink, _SPOOL))
            self._writers[number].write_batch(batch.slice(start, end - start))


def _milliseconds(texts: Sequence[str | None]) -> pa.Array:
    """ISO texts with a zone as `timestamp[ms]` in UTC; raises pyarrow's error where one is no time."""
    moments = pa.array(texts, pa.string()).cast(pa.timestamp("us", "UTC"))
    return moments.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.timestamp("ms"))


class _Writer:
    """The second pass: shards, quarantine and translation input, slice by slice."""

    def __init__(
        self, s3: S3Client, bucket: str, prefix: str, model_prefix: str, folder: Path, topics: Sequence[str]
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix
        self._model_prefix = model_prefix
        self._edited = np.array([], dtype=np.int64)
        self.shards_with_edits: list[int] = []
        self._folder = folder
        self._topics = topics
        self.shards = 0
        self.raw: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.duplicates: Counter[str] = Counter()
        self.quarantined: dict[str, Counter[str]] = {topic: Counter() for topic in topics}
        self.lines_without_id: Counter[str] = Counter()
        self.to_translate = 0
        self.to_label = 0

    def __enter__(self) -> _Writer:
        self._stack = ExitStack()
        self._text = self._stack.enter_context((self._folder / "lines").open("rb"))
        self._quarantine: dict[str, gzip.GzipFile] = {}
        for topic in self._topics:
            file = self._stack.enter_context((self._folder / f"quarantine-{topic}").open("wb"))
            # Neither name nor time in the header: the same rows are the same bytes.
            self._quarantine[topic] = self._stack.enter_context(
                gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if kind is None:
            for topic in self._topics:
                self._put(f"quarantine/{topic}.json.gz", self._folder / f"quarantine-{topic}")

    def add_edits(self, spool: _Spool, window: Window) -> None:
        """Takes the posts of this hour that were edited later, and hands on those of the hours around it."""
        self._edited = np.array(sorted(spool.edited[window]), dtype=np.int64)
        for hour in (window.previous, window.next):
            body = orjson.dumps([str(version) for version in sorted(spool.edited[hour])])
            storage.put(self._s3, self._bucket, f"{self._prefix}edits/{hour.label}.json", body)

    def add_slice(self, spool: _Spool, number: int) -> None:
        """Collapses, rejects and writes the rows of one slice."""
        table = spool.slice(number)
        if table is None:
            return
        chosen, overlapping = self._collapse(table)
        reason = table.column("reason").to_numpy()[chosen]
        reason[overlapping] = _OVERLAP
        self._reject_large(table, chosen, reason)
        reason[(reason == _USABLE) & np.isin(table.column("tweet_id").to_numpy()[chosen], self._edited)] = (
            _EDITED
        )
        topic = table.column("topic").to_numpy()[chosen]
        for index, name in enumerate(self._topics):
            mine = topic == index
            self.raw[name] += int(mine.sum())
            self.accepted[name] += int((mine & (reason == _USABLE)).sum())
        self._reject(spool, table, chosen[reason != _USABLE], reason[reason != _USABLE])
        asked = (reason == _USABLE) | (reason == _EDITED)
        if asked.any():
            self._write_shard(table.take(pa.array(chosen[asked])), reason[asked] == _EDITED)

    def add_lines_without_id(self, spool: _Spool) -> None:
        """Quarantines every line that no tweet can be told from."""
        for topic, _, reason, origin, offset, length in sorted(spool.orphans):
            name = payload.REASONS[reason]
            self.lines_without_id[name] += 1
            self._write_rejected(self._topics[topic], name, spool.origins[origin], None, offset, length)

    def _reject_large(self, table: pa.Table, chosen: Any, reason: Any) -> None:
        """Marks, in place, the usable tweets that do not fit into a request to a model."""
        sizes = [
            pc.binary_length(table.column(name)).fill_null(0).to_numpy()[chosen] for name in ("text", "lang")
        ]
        for index in np.flatnonzero(
            (reason == _USABLE) & (sum(sizes) > LONGEST_INPUT_LINE // _ESCAPED - 100)
        ).tolist():
            row = int(chosen[index])
            tweet_id, text, lang = (table.column(name)[row].as_py() for name in _ASKED)
            if len(_line(tweet_id, text, lang or "")) > LONGEST_INPUT_LINE:
                reason[index] = _TOO_LARGE

    def _collapse(self, table: pa.Table) -> tuple[Any, Any]:
        """The row kept of each (id, topic), by id; and which of them belong to ids in more than one topic.

        Of several lines the one is kept that says most: an overlap before a usable tweet before a broken one,
        then the earliest received, then stream before search, then by the line's bytes. So neither the order
        of the objects nor how often a line came makes a difference.
        """
        tweet_id = table.column("tweet_id").to_numpy()
        topic = table.column("topic").to_numpy()
        reason = table.column("reason").to_numpy()
        rank = np.where(reason == _OVERLAP, 0, np.where(reason == _USABLE, 1, 2))
        received = table.column("received_at").cast(pa.int64()).fill_null(np.iinfo(np.int64).max).to_numpy()
        source = pc.equal(table.column("source"), "stream").fill_null(False).to_numpy()
        order = np.lexsort((~source, received, rank, topic, tweet_id))
        first = _changes(tweet_id[order], topic[order])
        tied = ~_changes(*(values[order] for values in (tweet_id, topic, rank, received, source)))
        if tied.any():
            self._order_tied(order, tied, table)
        sizes = np.diff(np.append(np.flatnonzero(first), len(order)))
        chosen = order[first]
        for index, name in enumerate(self._topics):
            self.duplicates[name] += int((sizes - 1)[topic[chosen] == index].sum())
        starts = np.flatnonzero(_changes(tweet_id[chosen]))
        topics = np.diff(np.append(starts, len(chosen)))
        return chosen, np.repeat(topics > 1, topics)

    def _order_tied(self, order: Any, tied: Any, table: pa.Table) -> None:
        """Sorts, in place, rows that only their lines tell apart."""
        offset = table.column("offset").to_numpy()
        length = table.column("length").to_numpy()
        starts = np.flatnonzero(~tied)
        ends = np.append(starts[1:], len(order))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if end - start > 1:
                rows = order[start:end].tolist()
                order[start:end] = sorted(rows, key=lambda row: (self._line(offset[row], length[row]), row))

    def _reject(self, spool: _Spool, table: pa.Table, rows: Any, reasons: Any) -> None:
        columns = (
            table.column(name).to_numpy()[rows].tolist()
            for name in ("topic", "origin", "tweet_id", "offset", "length")
        )
        for reason, topic, origin, tweet_id, offset, length in zip(reasons.tolist(), *columns, strict=True):
            name = self._topics[topic]
            self.quarantined[name][payload.REASONS[reason]] += 1
            self._write_rejected(
                name, payload.REASONS[reason], spool.origins[origin], tweet_id, offset, length
            )

    def _write_rejected(
        self, topic: str, reason: str, origin: str, tweet_id: int | None, offset: int, length: int
    ) -> None:
        row = {
            "stage": STAGE,
            "reason": reason,
            "origin": origin,
            "tweet_id": None if tweet_id is None else str(tweet_id),
            "line": self._line(offset, length).decode(errors="backslashreplace"),
        }
        self._quarantine[topic].write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def _line(self, offset: int, length: int) -> bytes:
        self._text.seek(offset)
        return self._text.read(length)

    def _write_shard(self, table: pa.Table, edited: Any) -> None:
        tag = pa.DictionaryArray.from_arrays(table.column("topic").combine_chunks(), pa.array(self._topics))
        rows = pa.table(
            [tag.cast(pa.string()) if name == "tag" else table.column(name) for name in ROWS.names],
            schema=ROWS,
        )
        path = self._folder / "rows"
        parts = {"rows": rows}
        if edited.any():
            parts = {"rows": rows.filter(pa.array(~edited)), "edited": rows.filter(pa.array(edited))}
            self.shards_with_edits.append(self.shards)
        for name, part in parts.items():
            pq.write_table(part, path, compression="lz4", use_dictionary=_DICTIONARY, write_statistics=False)
            self._put(f"{name}/{self.shards:03}.parquet", path)
        self.to_label += int(is_asked(rows.column("lang")).sum())
        body = _model_input(rows, NOT_TRANSLATED, {})
        if body:
            self.to_translate += body.count(b"\n")
            key = f"{self._model_prefix}translation/input/{self.shards:03}.jsonl"
            storage.put(self._s3, self._bucket, key, bytes(body))
        self.shards += 1

    def _put(self, name: str, path: Path) -> None:
        storage.put(self._s3, self._bucket, self._prefix + name, path)


def _changes(*keys: Any) -> Any:
    """Where any of the sorted columns differs from the row before; True for the first row."""
    new = np.zeros(len(keys[0]), dtype=bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return new

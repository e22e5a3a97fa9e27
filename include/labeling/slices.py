"""The first pass over an hour: raw lines, flattened and sliced by tweet id, on local disk.

Memory is bounded, however large the hour: it holds the columns of one slice, and the lines themselves are in
one file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from include.labeling import payload
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import LABELED
from include.window import Window
from include.x import snowflake

USABLE = -1
"""Instead of an index of `payload.REASONS`: there is no reason to reject the line."""

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
"""The columns of ``rows/NNN.parquet``: those of the labeled table that are known before labeling."""

_BATCH = 4_096
"""Lines converted to columns at a time."""

_SLICE = pa.schema(
    [
        ("topic", pa.int16()),
        ("reason", pa.int8()),
        ("origin", pa.int32()),
        ("offset", pa.int64()),
        ("length", pa.int32()),
        *(column for column in ROWS if column.name != "tag"),
    ]
)
"""One row per raw line with an id: its object, its place in `RawSlices.lines`, and its columns."""

_OUTSIDE = payload.REASONS.index(payload.OUTSIDE_WINDOW)
_NOT_A_PAYLOAD = payload.REASONS.index(payload.NOT_A_PAYLOAD)


class RawSlices:
    """An hour's raw lines on local disk: add all objects within a `with` block, then read slice by slice."""

    def __init__(
        self, folder: Path, topics: Sequence[str], window: Window, slices: int, pseudonyms: Pseudonyms
    ) -> None:
        self.folder = folder
        self.lines = folder / "lines"
        """The lines themselves, one after another; a slice holds the position of each."""
        self.origins: list[str] = []
        self.orphans: list[tuple[int, bytes, int, int, int, int]] = []
        """Lines without an id: topic, digest of the line, reason, origin, offset, length."""
        self.edited: dict[Window, set[int]] = {hour: set() for hour in (window.previous, window, window.next)}
        """The ids of older versions of posts, by hour: X allows edits for an hour."""
        self._topics = {topic: number for number, topic in enumerate(topics)}
        self._names = frozenset(topics)
        self._start = int(window.start.timestamp() * 1000)
        self._length = int((window.end - window.start).total_seconds() * 1000)
        self._slices = slices
        self._pseudonyms = pseudonyms
        self._rows: list[tuple[Any, ...]] = []
        self._offset = 0

    def __enter__(self) -> RawSlices:
        self._stack = ExitStack()
        self._text = self._stack.enter_context(self.lines.open("wb", buffering=1 << 20))
        self._writers: dict[int, Any] = {}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._stack.close()

    def add_object(self, topic: str, origin: str, lines: Iterator[bytes | None]) -> None:
        """Adds every line of one raw object."""
        number = self._topics[topic]
        place = len(self.origins)
        self.origins.append(origin)
        names, rows = self._names, self._rows
        for line in lines:
            if line is None:
                row, line = payload.TweetRow(None, payload.CORRUPT_OBJECT), b""
            else:
                row = payload.parse(line, topic, names)
            reason = USABLE if row.reason is None else payload.REASONS.index(row.reason)
            if row.tweet_id is None:
                digest = hashlib.sha256(line).digest()
                self.orphans.append((number, digest, reason, place, self._offset, len(line)))
            else:
                if row.superseded:
                    self._note_edit(row)
                rows.append((number, reason, place, self._offset, len(line), *row))
                if len(rows) == _BATCH:
                    self._flush()
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

    def _flush(self) -> None:
        for batch in self._batches(self._rows):
            self._write(batch)
        self._rows.clear()

    def slice(self, number: int) -> pa.Table | None:
        """The rows of one slice, None if it has none. Call it only after the `with` block."""
        path = self._path(number)
        if not path.exists():
            return None
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_stream(source).read_all().combine_chunks()

    def _path(self, number: int) -> Path:
        return self.folder / f"slice-{number:04}"

    def _batches(self, rows: list[tuple[Any, ...]]) -> Iterator[pa.RecordBatch]:
        """The rows as columns; a row with a field of the wrong type is found by halving and rejected."""
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
        reasons[(reasons == USABLE) & ~inside] = _OUTSIDE
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
            for column in _SLICE
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=_SLICE)

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
                self._writers[number] = self._stack.enter_context(pa.ipc.new_stream(sink, _SLICE))
            self._writers[number].write_batch(batch.slice(start, end - start))


def _milliseconds(texts: Sequence[str | None]) -> pa.Array:
    """ISO texts with a zone as `timestamp[ms]` in UTC; raises pyarrow's error if one is not a time."""
    moments = pa.array(texts, pa.string()).cast(pa.timestamp("us", "UTC"))
    return moments.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.timestamp("ms"))

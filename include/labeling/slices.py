"""The first pass over an hour: raw lines, flattened and sliced by tweet id, on local disk.

Memory is bounded, however large the hour: it holds the columns of one slice, and the lines themselves are in
one file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct

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

_PLACE = ("topic", "origin", "offset", "length")
_CODES: dict[str | None, int] = {None: USABLE, **{name: code for code, name in enumerate(payload.REASONS)}}
_OUTSIDE = _CODES[payload.OUTSIDE_WINDOW]


class _Line(Struct, gc=False):
    """A raw line with an id: its row, the index of its object, and its place in `RawSlices.lines`."""

    row: payload.TweetRow
    topic: int
    origin: int
    offset: int
    length: int


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
        self._pending: list[_Line] = []
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
        names, pending = self._names, self._pending
        for line in lines:
            if line is None:
                row, line = payload.TweetRow(None, payload.CORRUPT_OBJECT), b""
            else:
                row = payload.parse(line, topic, names)
            if row.tweet_id is None:
                digest = hashlib.sha256(line).digest()
                self.orphans.append((number, digest, _CODES[row.reason], place, self._offset, len(line)))
            else:
                if row.superseded:
                    self._note_edit(row)
                pending.append(_Line(row, number, place, self._offset, len(line)))
                if len(pending) == _BATCH:
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
        for batch in self._batches(self._pending):
            self._write(batch)
        self._pending.clear()

    def slice(self, number: int) -> pa.Table | None:
        """The rows of one slice, None if it has none. Call it only after the `with` block."""
        path = self._path(number)
        if not path.exists():
            return None
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_stream(source).read_all().combine_chunks()

    def _path(self, number: int) -> Path:
        return self.folder / f"slice-{number:04}"

    def _batches(self, lines: list[_Line]) -> Iterator[pa.RecordBatch]:
        """The lines as columns; one with a time that is none is found by halving and rejected."""
        if not lines:
            return
        try:
            yield self._batch(lines)
        except (pa.ArrowException, ValueError):
            if len(lines) > 1:
                middle = len(lines) // 2
                yield from self._batches(lines[:middle])
                yield from self._batches(lines[middle:])
            else:
                (line,) = lines
                line.row = payload.TweetRow(line.row.tweet_id, payload.NOT_A_PAYLOAD)
                yield self._batch([line])

    def _batch(self, lines: list[_Line]) -> pa.RecordBatch:
        rows = [line.row for line in lines]
        tweet_id = np.array([row.tweet_id for row in rows], dtype=np.int64)
        ts = _milliseconds([row.created_at for row in rows])
        milliseconds = (tweet_id >> snowflake.LOW_BITS) + snowflake.EPOCH_MS
        created = ts.fill_null(-1).cast(pa.int64()).to_numpy()
        inside = self._inside(milliseconds) & self._inside(created)
        reasons = np.array([_CODES[row.reason] for row in rows], dtype=np.int8)
        reasons[(reasons == USABLE) & ~inside] = _OUTSIDE
        pseudonym = self._pseudonyms.of
        known = {
            "reason": reasons,
            "ts": ts,
            "tweet_id": tweet_id,
            "author_id": [None if row.author_id is None else pseudonym(row.author_id) for row in rows],
            "received_at": _milliseconds([row.received_at for row in rows]),
            **{name: list(map(attrgetter(name), lines)) for name in _PLACE},
        }
        arrays = [
            pa.array(known[name] if name in known else list(map(attrgetter(name), rows)), kind)
            for name, kind in zip(_SLICE.names, _SLICE.types, strict=True)
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

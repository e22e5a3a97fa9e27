"""The second pass over an hour: decides, slice by slice, what is published and what is rejected.

One line of each tweet is kept; unusable lines are quarantined with their reasons; the rest is sorted by id
and written as a shard, with the translator's input.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.labeling import payload
from include.labeling.jobs import LONGEST_INPUT_LINE
from include.labeling.model_io import ASKED, NOT_TRANSLATED, fits, is_asked, model_input
from include.labeling.slices import ROWS, USABLE, RawSlices
from include.lake import storage
from include.window import Window

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

STAGE = "transform"
"""The stage that quarantined rows and the quarantine object name."""

_DICTIONARY = ["lang", "country_code", "tag", "rule_hash", "source"]
_OVERLAP = payload.REASONS.index(payload.OVERLAP)
_EDITED = payload.REASONS.index(payload.EDITED)
_TOO_LARGE = payload.REASONS.index(payload.TOO_LARGE)

_ESCAPED = 6
"""Most bytes of JSON for one byte of a text."""


class ShardWriter:
    """Writes shards, quarantine and translation input from ``slices``: use it in a `with` block.

    ``prefix`` and ``model_prefix`` are those of `Prepared`, and so are the names of `counts`. The quarantine
    is uploaded when the block ends without an error.
    """

    def __init__(
        self,
        s3: S3Client,
        bucket: str,
        prefix: str,
        model_prefix: str,
        slices: RawSlices,
        topics: Sequence[str],
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix
        self._model_prefix = model_prefix
        self._slices = slices
        self._folder = slices.folder
        self._topics = topics
        self._edited = np.array([], dtype=np.int64)
        self._shards = 0
        self._shards_with_edits: list[int] = []
        self._raw: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._duplicates: Counter[str] = Counter()
        self._quarantined: dict[str, Counter[str]] = {topic: Counter() for topic in topics}
        self._lines_without_id: Counter[str] = Counter()
        self._to_translate = 0
        self._to_label = 0

    def __enter__(self) -> ShardWriter:
        self._stack = ExitStack()
        self._lines = self._stack.enter_context(self._slices.lines.open("rb"))
        self._quarantine: dict[str, gzip.GzipFile] = {}
        for topic in self._topics:
            file = self._stack.enter_context((self._folder / f"quarantine-{topic}").open("wb"))
            # No name or time in the header: the same rows make the same bytes.
            self._quarantine[topic] = self._stack.enter_context(
                gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if kind is None:
            for topic in self._topics:
                self._put(f"quarantine/{topic}.json.gz", self._folder / f"quarantine-{topic}")

    def counts(self) -> dict[str, Any]:
        """What was written and rejected, by the names in `Prepared`."""
        return {
            "shards": self._shards,
            "shards_with_edits": self._shards_with_edits,
            "raw": {topic: self._raw[topic] for topic in self._topics},
            "accepted": {topic: self._accepted[topic] for topic in self._topics},
            "quarantined": {topic: dict(sorted(self._quarantined[topic].items())) for topic in self._topics},
            "lines_without_id": dict(sorted(self._lines_without_id.items())),
            "duplicates": {topic: self._duplicates[topic] for topic in self._topics},
            "to_translate": self._to_translate,
            "to_label": self._to_label,
        }

    def add_edits(self, window: Window) -> None:
        """Adds the posts of this hour that were edited later, and records those of the neighboring hours."""
        self._edited = np.array(sorted(self._slices.edited[window]), dtype=np.int64)
        for hour in (window.previous, window.next):
            body = orjson.dumps([str(version) for version in sorted(self._slices.edited[hour])])
            storage.put(self._s3, self._bucket, f"{self._prefix}edits/{hour.label}.json", body)

    def add_slice(self, number: int) -> None:
        """Collapses, rejects and writes the rows of one slice."""
        table = self._slices.slice(number)
        if table is None:
            return
        chosen, overlapping = self._collapse(table)
        reason = table.column("reason").to_numpy()[chosen]
        reason[overlapping] = _OVERLAP
        self._reject_large(table, chosen, reason)
        reason[(reason == USABLE) & np.isin(table.column("tweet_id").to_numpy()[chosen], self._edited)] = (
            _EDITED
        )
        topic = table.column("topic").to_numpy()[chosen]
        for index, name in enumerate(self._topics):
            mine = topic == index
            self._raw[name] += int(mine.sum())
            self._accepted[name] += int((mine & (reason == USABLE)).sum())
        self._reject(table, chosen[reason != USABLE], reason[reason != USABLE])
        asked = (reason == USABLE) | (reason == _EDITED)
        if asked.any():
            self._write_shard(table.take(pa.array(chosen[asked])), reason[asked] == _EDITED)

    def add_lines_without_id(self) -> None:
        """Quarantines every line without a readable tweet id."""
        for topic, _, reason, origin, offset, length in sorted(self._slices.orphans):
            name = payload.REASONS[reason]
            self._lines_without_id[name] += 1
            self._write_rejected(
                self._topics[topic], name, self._slices.origins[origin], None, offset, length
            )

    def _reject_large(self, table: pa.Table, chosen: Any, reason: Any) -> None:
        """Marks, in place, the usable tweets that are too long for a request to a model."""
        sizes = [
            pc.binary_length(table.column(name)).fill_null(0).to_numpy()[chosen] for name in ("text", "lang")
        ]
        for index in np.flatnonzero(
            (reason == USABLE) & (sum(sizes) > LONGEST_INPUT_LINE // _ESCAPED - 100)
        ).tolist():
            row = int(chosen[index])
            tweet_id, text, lang = (table.column(name)[row].as_py() for name in ASKED)
            if not fits(tweet_id, text, lang or ""):
                reason[index] = _TOO_LARGE

    def _collapse(self, table: pa.Table) -> tuple[Any, Any]:
        """The row to keep of each (id, topic), by id, and which of them belong to ids in more than one topic.

        Of several lines the most informative is kept: an overlap before a usable tweet before a broken one,
        then the earliest received, then stream before search, then by the line's bytes. Neither the order of
        the objects nor the number of duplicates therefore makes a difference.
        """
        tweet_id = table.column("tweet_id").to_numpy()
        topic = table.column("topic").to_numpy()
        reason = table.column("reason").to_numpy()
        rank = np.where(reason == _OVERLAP, 0, np.where(reason == USABLE, 1, 2))
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
            self._duplicates[name] += int((sizes - 1)[topic[chosen] == index].sum())
        starts = np.flatnonzero(_changes(tweet_id[chosen]))
        topics = np.diff(np.append(starts, len(chosen)))
        return chosen, np.repeat(topics > 1, topics)

    def _order_tied(self, order: Any, tied: Any, table: pa.Table) -> None:
        """Sorts, in place, rows that differ only in their lines."""
        offset = table.column("offset").to_numpy()
        length = table.column("length").to_numpy()
        starts = np.flatnonzero(~tied)
        ends = np.append(starts[1:], len(order))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if end - start > 1:
                rows = order[start:end].tolist()
                order[start:end] = sorted(rows, key=lambda row: (self._line(offset[row], length[row]), row))

    def _reject(self, table: pa.Table, rows: Any, reasons: Any) -> None:
        columns = (
            table.column(name).to_numpy()[rows].tolist()
            for name in ("topic", "origin", "tweet_id", "offset", "length")
        )
        for reason, topic, origin, tweet_id, offset, length in zip(reasons.tolist(), *columns, strict=True):
            name = self._topics[topic]
            self._quarantined[name][payload.REASONS[reason]] += 1
            self._write_rejected(
                name, payload.REASONS[reason], self._slices.origins[origin], tweet_id, offset, length
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
        self._lines.seek(offset)
        return self._lines.read(length)

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
            self._shards_with_edits.append(self._shards)
        for name, part in parts.items():
            pq.write_table(part, path, compression="lz4", use_dictionary=_DICTIONARY, write_statistics=False)
            self._put(f"{name}/{self._shards:03}.parquet", path)
        self._to_label += int(is_asked(rows.column("lang")).sum())
        # By language: the translator loads one after another, and no request needs all of them.
        asked = rows.select(ASKED).sort_by([("lang", "ascending"), ("tweet_id", "ascending")])
        body = model_input(asked, NOT_TRANSLATED, {})
        if body:
            self._to_translate += body.count(b"\n")
            key = f"{self._model_prefix}translation/input/{self._shards:03}.jsonl"
            storage.put(self._s3, self._bucket, key, body)
        self._shards += 1

    def _put(self, name: str, path: Path) -> None:
        storage.put(self._s3, self._bucket, self._prefix + name, path)


def _changes(*keys: Any) -> Any:
    """Whether any of the sorted columns differs from the previous row; True for the first row."""
    new = np.zeros(len(keys[0]), dtype=bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    return new

"""Applies tombstones to all objects of an hour: each is rewritten without what must go, by compare-and-swap.

Others may write beside it, and it may be killed at any moment and run again: an object from which nothing
must go is read and left as it is, ETag and all. Nothing is decided by what an earlier run has done.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import logging
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.compliance import lines, tombstones
from include.compliance.tombstones import Tombstones
from include.lake import layout, storage
from include.lake.labeled_file import LabeledFile
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import LABELED
from include.window import Window
from include.x.compliance import ComplianceAction

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

REMOVED = "removed"
"""The metadata of an object of rows: how many were removed since the hour was prepared, by topic, as JSON."""

_ATTEMPTS = 10
_DELETE = ComplianceAction.DELETE
_PLACES = ("country_code", "location", "place")
_PREDICTED = re.compile(
    r"predictions/model=[^/]+/topic=(?P<topic>[^/]+)/dt=(?P<date>\d{4}-\d\d-\d\d)/tweets-(?P<hour>\d\d)\.parquet"
)

log = logging.getLogger(__name__)


@dataclass
class Purged:
    """What went of an hour, or would go: lines and rows by layer and topic; ids only ever in memory."""

    window: Window
    deleted: Counter[tuple[str, str]] = field(default_factory=Counter)
    scrubbed: Counter[tuple[str, str]] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    """Objects rewritten, by layer."""
    unreadable: set[str] = field(default_factory=set)
    """Keys of objects of rows that cannot be read: what they hold nobody can tell."""
    tweets: dict[int, ComplianceAction] = field(default_factory=dict, repr=False)
    topics: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set), repr=False)
    """In which topics' raw each was found."""

    def note(self, layer: str, topic: str, tweet_id: int, action: ComplianceAction) -> None:
        """Counts one line or row."""
        (self.deleted if action is _DELETE else self.scrubbed)[layer, topic] += 1
        if self.tweets.get(tweet_id) is not _DELETE:
            self.tweets[tweet_id] = action
        if layer == "raw":
            self.topics[tweet_id].add(topic)


class Purge:
    """Applies ``tombstones`` to the lake; without ``write`` it only counts what would go."""

    def __init__(self, s3: S3Client, bucket: str, tombstones: Tombstones, *, write: bool = True) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._tombstones = tombstones
        self._write = write

    def hour(self, purged: Purged, topics: Sequence[str], predictions: Iterable[str] = ()) -> None:
        """Purges every layer of an hour; ``predictions`` are the keys of its predictions (see
        `predictions_by_hour`)."""
        window = purged.window
        self.raw(purged, topics)
        self.published(purged, topics)
        for key in predictions:
            if found := _PREDICTED.fullmatch(key):
                self._rows(purged, "predictions", key, found["topic"])
        self._edits(purged, layout.edits_key(window, window).rpartition("/")[0] + "/")
        self._work(purged, layout.work_prefix(window), layout.ALL_TOPICS)

    def raw(self, purged: Purged, topics: Sequence[str]) -> None:
        """Purges the raw objects of an hour, and the originals of its damaged ones."""
        for topic in topics:
            prefix = layout.raw_prefix(topic, purged.window)
            for found in storage.list_objects(self._s3, self._bucket, prefix).objects:
                self.lines(purged, "raw", found.key, topic)
        self._damaged(purged, [layout.raw_prefix(topic, purged.window) for topic in topics])

    def quarantine(self, purged: Purged, topics: Sequence[str]) -> None:
        """Purges the quarantined lines of an hour.

        What the streamer rejects lies under the hour in which it was received, which may be the next one.
        """
        for topic in (*topics, layout.NO_TOPIC):
            for window in (purged.window, purged.window.next):
                prefix = layout.quarantine_prefix(topic, window)
                for found in storage.list_objects(self._s3, self._bucket, prefix).objects:
                    self.lines(purged, "quarantine", found.key, topic)
                self._damaged(purged, [prefix])

    def published(self, purged: Purged, topics: Sequence[str]) -> None:
        """Purges what a run of transform writes last: quarantine and labeled."""
        self.quarantine(purged, topics)
        for topic in topics:
            self._rows(purged, "labeled", layout.labeled_key(topic, purged.window), topic)

    def beside(self, window: Window, topics: Sequence[str]) -> Purged:
        """Purges what lies by no hour of the tweet: pages of searches and what Firehose could not deliver."""
        purged = Purged(window)
        for topic in topics:
            self._work(purged, layout.recoveries_prefix(topic), topic)
        for found in storage.objects(self._s3, self._bucket, layout.DELIVERY_ERRORS):
            self.lines(purged, "delivery-errors", found.key, layout.ALL_TOPICS)
        return purged

    def lines(self, purged: Purged, layer: str, key: str, topic: str) -> None:
        """Purges one object of lines."""
        with tempfile.TemporaryDirectory(prefix="purge-") as folder:
            path = Path(folder) / "lines"

            def change(version: storage.ObjectVersion) -> _Changed | None:
                gone: list[_Gone] = []
                told = lambda tweet_id, action: gone.append((tweet_id, action, topic))  # noqa: E731
                read = partial(storage.read_lines, self._s3, self._bucket, key, version.etag)
                unchanged, damaged = 0, False
                with contextlib.ExitStack() as stack:
                    file: Any = None

                    def begin() -> Any:
                        """Most objects stay as they are, so nothing is written before the first change."""
                        begun = stack.enter_context(_packed(stack.enter_context(path.open("wb")), key))
                        begun.writelines(line + b"\n" for line in islice(read(), unchanged))
                        return begun

                    try:
                        for line in read():
                            rest = lines.left(line, self._tombstones, told)
                            if file is None and rest == line:
                                unchanged += 1
                                continue
                            file = file or begin()
                            if rest is not None:
                                file.write(rest + b"\n")
                    except storage.CorruptObjectError as error:
                        damaged = True
                        file = file or begin()
                        log.error("the rest of a damaged object goes as a whole: %s", error)
                if damaged and self._write:
                    # What the rest held nobody can tell. An empty original says that the hour lost something.
                    storage.put(self._s3, self._bucket, layout.DAMAGED + key, b"")
                if file is None:
                    return None
                return _Changed(storage.Content(path, version.metadata), gone)

            self._replace(purged, layer, key, change)

    def _damaged(self, purged: Purged, prefixes: Iterable[str]) -> None:
        """Empties the originals of damaged objects: what can be read of them lies in their places already.

        An empty one stays, as it says that the hour has lost something (`include/coverage/damage.py`).
        """
        for prefix in prefixes:
            for found in storage.list_objects(self._s3, self._bucket, layout.DAMAGED + prefix).objects:
                if found.size:
                    purged.objects["damaged"] += 1
                    if self._write:
                        storage.overwrite(self._s3, self._bucket, found.key, b"")

    def _work(self, purged: Purged, prefix: str, topic: str) -> None:
        for found in storage.list_objects(self._s3, self._bucket, prefix).objects:
            if found.key.endswith(".parquet"):
                self._rows(purged, "work", found.key, topic)
            elif "/edits/" in found.key:
                self._edits(purged, found.key)
            elif not found.key.endswith("/state.json"):
                self.lines(purged, "work", found.key, topic)

    def _edits(self, purged: Purged, prefix: str) -> None:
        """Purges lists of the ids of posts that were edited later."""
        for found in storage.list_objects(self._s3, self._bucket, prefix).objects:

            def change(version: storage.ObjectVersion, key: str = found.key) -> _Changed | None:
                ids = json.loads(storage.read(self._s3, self._bucket, key, version.etag))
                kept = [each for each in ids if self._tombstones.of(int(each), None) is not _DELETE]
                if kept == ids:
                    return None
                body = json.dumps(kept, separators=(",", ":")).encode()
                metadata = dict(version.metadata)
                if "content" in metadata:
                    metadata["content"] = hashlib.sha256(body).hexdigest()
                gone = [(int(each), _DELETE, layout.ALL_TOPICS) for each in set(ids) - set(kept)]
                return _Changed(storage.Content(body, metadata), gone)

            self._replace(purged, "edits", found.key, change)

    def _rows(self, purged: Purged, layer: str, key: str, topic: str) -> None:
        with tempfile.TemporaryDirectory(prefix="purge-") as folder:
            path, rest = Path(folder) / "rows", Path(folder) / "rest"

            def change(version: storage.ObjectVersion) -> _Changed | None:
                storage.download(self._s3, self._bucket, key, path, version.etag)
                try:
                    gone = self._filtered(path, rest, topic)
                except pa.ArrowException as error:
                    log.error("cannot be read as Parquet: s3://%s/%s: %s", self._bucket, key, error)
                    purged.unreadable.add(key)
                    return None
                if not gone:
                    return None
                counts = Counter(of_topic for _, action, of_topic in gone if action is _DELETE)
                counts.update(json.loads(version.metadata.get(REMOVED, "{}")))
                metadata = {**version.metadata, REMOVED: json.dumps(dict(sorted(counts.items())))}
                return _Changed(storage.Content(rest, metadata), gone)

            self._replace(purged, layer, key, change)

    def _filtered(self, path: Path, rest: Path, topic: str) -> list[_Gone]:
        """Writes the rows that stay into ``rest``; what went, or lost its place."""
        gone: list[_Gone] = []
        source = pq.ParquetFile(path)
        is_labeled = source.schema_arrow.equals(LABELED)
        writer: Any = LabeledFile(rest) if is_labeled else None
        parts = []
        for group in range(source.num_row_groups):
            table, of_group = without(source.read_row_group(group), self._tombstones, topic)
            gone += of_group
            if writer:
                writer.add(table)
            else:
                parts.append(table)
        if writer:
            writer.close()
        elif gone:
            pq.write_table(pa.concat_tables(parts), rest, compression="zstd")
        return gone

    def _replace(
        self,
        purged: Purged,
        layer: str,
        key: str,
        change: Callable[[storage.ObjectVersion], _Changed | None],
    ) -> None:
        """Replaces an object by what ``change`` leaves of it, and counts what went."""
        for attempt in range(_ATTEMPTS):
            made: list[_Changed | None] = []

            def decide(
                version: storage.ObjectVersion | None, made: list[_Changed | None] = made
            ) -> storage.Content | None:
                made[:] = [change(version) if version else None]
                return made[0].content if made[0] and self._write else None

            try:
                storage.compare_and_swap(self._s3, self._bucket, key, decide)
            except (storage.ObjectChangedError, storage.ObjectMissingError):
                # Replaced between the look and the read: look again.
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            if made and made[0]:
                purged.objects[layer] += 1
                for tweet_id, action, topic in made[0].gone:
                    purged.note(layer, topic, tweet_id, action)
            return


_Gone = tuple[int, ComplianceAction, str]
"""A tweet, what was done about it, and its topic."""


@dataclass(frozen=True)
class _Changed:
    content: storage.Content
    gone: Sequence[_Gone]


def without(table: pa.Table, tombstones: Tombstones, topic: str) -> tuple[pa.Table, list[_Gone]]:
    """The rows that tombstones leave, places emptied, and what was done about which tweet.

    Rows have a `tweet_id`, and where known an `author_id` (a pseudonym) and a `tag`, which is their topic.
    """
    ids = table.column("tweet_id").to_pylist()
    authors = (
        table.column("author_id").to_pylist() if "author_id" in table.column_names else [None] * len(ids)
    )
    tags = table.column("tag").to_pylist() if "tag" in table.column_names else [topic] * len(ids)
    actions = [tombstones.of(own, author) for own, author in zip(ids, authors, strict=True)]
    if not any(actions):
        return table, []
    scrub = pa.array([action is ComplianceAction.SCRUB_GEO for action in actions])
    had_place = [False] * len(ids)
    for name in set(_PLACES) & set(table.column_names):
        column = table.column(name)
        had_place = [
            had or (scrubbed and value is not None)
            for had, scrubbed, value in zip(had_place, scrub.to_pylist(), column.to_pylist(), strict=True)
        ]
        place = table.schema.get_field_index(name)
        emptied = pc.if_else(scrub, pa.scalar(None, column.type), column)
        table = table.set_column(place, table.schema.field(name), emptied)
    kept = table.filter(pa.array([action is not _DELETE for action in actions]))
    gone = [
        (own, action, tag)
        for own, action, tag, had in zip(ids, actions, tags, had_place, strict=True)
        if action is _DELETE or (action and had)
    ]
    return kept, gone


def purge_written(s3: S3Client, bucket: str, pseudonyms: Pseudonyms, keys: Iterable[str]) -> None:
    """Removes what is buried by now from objects of lines that were just written, by their keys.

    For who has read the tombstones before: a removal that began after that may have looked before the
    objects stood. The keys include those under which only a run that was killed has written.
    """
    for key in keys:
        stones = tombstones.read_for(s3, bucket, pseudonyms, key)
        if stones and (place := layout.partition(key)):
            layer, topic, window = place
            Purge(s3, bucket, stones).lines(Purged(window), layer, key, topic)


def predictions_by_hour(s3: S3Client, bucket: str) -> dict[Window, list[str]]:
    """The keys of all predictions, by their hour."""
    found: dict[Window, list[str]] = defaultdict(list)
    for each in storage.objects(s3, bucket, "predictions/"):
        if named := _PREDICTED.fullmatch(each.key):
            found[Window.parse(f"{named['date']}T{named['hour']}")].append(each.key)
    return found


def removed_rows(metadata: Mapping[str, str]) -> Mapping[str, int]:
    """How many rows were removed from an object since its hour was prepared, by topic."""
    found: dict[str, int] = json.loads(metadata.get(REMOVED, "{}"))
    return found


def _packed(file: Any, key: str) -> Any:
    """The file itself, or one that packs what is written where the key says that it is packed."""
    if key.endswith(".gz"):
        return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
    return contextlib.nullcontext(file)

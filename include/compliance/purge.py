"""Applies tombstones to objects of an hour: each is rewritten without what must go, by compare-and-swap.

Others may write beside it, and it may be killed at any moment and run again: an object from which nothing
must go is read and left as it is, ETag and all. Nothing is decided by what an earlier run has done.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import logging
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.compliance import lines, tombstones
from include.compliance.listing import Place
from include.compliance.tombstones import Tombstones
from include.lake import layout, storage
from include.lake.labeled_file import LabeledFile
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import LABELED
from include.window import Window
from include.x.compliance import ComplianceAction
from include.x.snowflake import moment

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

REMOVED = "removed"
"""The metadata of an object of rows: how many were removed since the hour was prepared, by topic, as JSON."""

_ATTEMPTS = 10
_DELETE = ComplianceAction.DELETE
_NAMES = ("tweet_id", "author_id")
_PLACES = ("country_code", "location", "place")

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

    def note(self, layer: str, topic: str, tweet_id: int, action: ComplianceAction) -> None:
        """Counts one line or row."""
        (self.deleted if action is _DELETE else self.scrubbed)[layer, topic] += 1
        if self.tweets.get(tweet_id) is not _DELETE:
            self.tweets[tweet_id] = action


_Gone = tuple[int, ComplianceAction, str]
"""A tweet, what was done about it, and its topic."""


@dataclass(frozen=True)
class _Change:
    """What an object becomes, and what goes of it."""

    place: Place
    found: storage.ObjectVersion
    content: storage.Content
    gone: Sequence[_Gone]


class Purge:
    """Applies ``tombstones`` to the lake; without ``write`` it only counts what would go."""

    def __init__(self, s3: S3Client, bucket: str, tombstones: Tombstones, *, write: bool = True) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._tombstones = tombstones
        self._write = write

    def apply(self, purged: Purged, places: Sequence[Place]) -> None:
        """Purges some objects of an hour; needs local disk for those that change.

        Not every object says whose a tweet is: the ids of users' tweets become tombstones before any goes,
        and the objects are read again with them; what is purged afterward is purged of them too. The
        tombstones also keep in which topics' raw each tweet was found. Raises `storage.LostRaceError` if
        others replace an object again and again.
        """
        todo = places
        for _ in range(_ATTEMPTS):
            with tempfile.TemporaryDirectory(prefix="purge-") as folder:
                changes = [
                    change
                    for number, place in enumerate(todo)
                    if (change := self._change(purged, place, Path(folder) / str(number)))
                ]
                known = self._tombstones
                self._tombstones = known.with_tweets(_actions(changes))
                if self._tombstones.tweets != known.tweets:
                    self._bury(changes)
                    todo = places
                    continue
                self._bury([change for change in changes if change.place.layer == "raw"])
                todo = [change.place for change in changes if not self._done(purged, change)]
                if not todo:
                    return
        raise storage.LostRaceError(
            f"{len(todo)} objects of {purged.window.label} were replaced by others {_ATTEMPTS} times in a "
            "row; run the task again when they are done"
        )

    def _bury(self, changes: Sequence[_Change]) -> None:
        """Keeps what goes as tombstones, under the hour of each tweet, and under that in whose raw it lay."""
        hours: dict[Window, dict[int, ComplianceAction]] = defaultdict(dict)
        topics: dict[Window, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        actions = _actions(changes)
        for tweet_id, action in actions.items():
            hours[Window.containing(moment(tweet_id))][tweet_id] = action
        for change in changes:
            if change.place.layer == "raw" and (place := layout.partition(change.place.key)):
                _, topic, window = place
                for tweet_id, _, _ in change.gone:
                    hours[window][tweet_id] = actions[tweet_id]
                    topics[window][tweet_id].add(topic)
        for window, tweets in hours.items() if self._write else ():
            pseudonyms = self._tombstones.pseudonyms
            tombstones.bury(self._s3, self._bucket, pseudonyms, window, tweets, topics[window])

    def _done(self, purged: Purged, change: _Change) -> bool:
        """Writes and counts a change; whether the object was still the one that was read."""
        place = change.place
        if self._write and not storage.replace(
            self._s3, self._bucket, place.key, change.content, change.found
        ):
            return False
        purged.objects[place.layer] += 1
        for tweet_id, action, topic in change.gone:
            purged.note(place.layer, topic, tweet_id, action)
        return True

    def _change(self, purged: Purged, place: Place, path: Path) -> _Change | None:
        """What must change in an object; None where nothing must, or it does not exist (any more)."""
        if place.layer == "damaged":
            # What can be read of it lies in its place already. An empty one stays, as it says that the hour
            # has lost something (`include/coverage/damage.py`).
            original = storage.current(self._s3, self._bucket, place.key)
            return _Change(place, original, storage.Content(b""), ()) if original and original.size else None
        try:
            found = storage.download(self._s3, self._bucket, place.key, path)
        except storage.ObjectMissingError:
            return None
        rest = path.with_suffix(".rest")
        if place.layer == "edits":
            changed = self._edits(place, found, path)
        elif place.key.endswith(".parquet"):
            changed = self._rows(purged, place, found, path, rest)
        else:
            changed = self._lines(place, found, path, rest)
        path.unlink()
        return changed

    def _lines(self, place: Place, found: storage.ObjectVersion, path: Path, rest: Path) -> _Change | None:
        gone: list[_Gone] = []
        told = lambda tweet_id, action: gone.append((tweet_id, action, place.topic))  # noqa: E731
        unchanged, damaged = 0, False
        with contextlib.ExitStack() as stack:
            file: Any = None

            def begin() -> Any:
                """Most objects stay as they are, so nothing is written before the first change."""
                begun = stack.enter_context(_packed(stack.enter_context(rest.open("wb")), place.key))
                begun.writelines(line + b"\n" for line in islice(read(), unchanged))
                return begun

            def read() -> Iterator[bytes]:
                return storage.file_lines(path, place.key)

            try:
                for line in read():
                    left = lines.left(line, self._tombstones, told)
                    if file is None and left == line:
                        unchanged += 1
                        continue
                    file = file or begin()
                    if left is not None:
                        file.write(left + b"\n")
            except storage.CorruptObjectError as error:
                damaged = True
                file = file or begin()
                log.error("the rest of a damaged object goes as a whole: %s", error)
        if damaged and self._write:
            # What the rest held nobody can tell. An empty original says that the hour lost something.
            storage.put(self._s3, self._bucket, layout.DAMAGED_PREFIX + place.key, b"")
        return _Change(place, found, storage.Content(rest, found.metadata), gone) if file else None

    def _edits(self, place: Place, found: storage.ObjectVersion, path: Path) -> _Change | None:
        """Of lists of the ids of posts that were edited later."""
        listed = path.read_bytes()
        body = edits_left(listed, self._tombstones)
        if body == listed:
            return None
        metadata = dict(found.metadata)
        if "content" in metadata:
            metadata["content"] = hashlib.sha256(body).hexdigest()
        went = set(json.loads(listed)) - set(json.loads(body))
        gone = [(int(each), _DELETE, place.topic) for each in went]
        return _Change(place, found, storage.Content(body, metadata), gone)

    def _rows(
        self, purged: Purged, place: Place, found: storage.ObjectVersion, path: Path, rest: Path
    ) -> _Change | None:
        try:
            gone = self._filtered(path, rest, place.topic)
        except pa.ArrowException as error:
            log.error("cannot be read as Parquet: s3://%s/%s: %s", self._bucket, place.key, error)
            purged.unreadable.add(place.key)
            return None
        if not gone:
            return None
        counts = Counter(of_topic for _, action, of_topic in gone if action is _DELETE)
        counts.update(json.loads(found.metadata.get(REMOVED, "{}")))
        metadata = {**found.metadata, REMOVED: json.dumps(dict(sorted(counts.items())))}
        return _Change(place, found, storage.Content(rest, metadata), gone)

    def _filtered(self, path: Path, rest: Path, topic: str) -> list[_Gone]:
        """Writes the rows that stay into ``rest``; what went, or lost its place."""
        gone: list[_Gone] = []
        source = pq.ParquetFile(path)
        named = source.read(columns=[name for name in _NAMES if name in source.schema_arrow.names])
        if not any(_actions_of(named, self._tombstones)):
            return gone
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


def edits_left(listed: bytes, tombstones: Tombstones) -> bytes:
    """A list of the ids of edited posts without those that must go; the same bytes where none must."""
    ids = json.loads(listed)
    kept = [each for each in ids if tombstones.of(int(each), None) is not _DELETE]
    return listed if kept == ids else json.dumps(kept, separators=(",", ":")).encode()


def _actions(changes: Iterable[_Change]) -> dict[int, ComplianceAction]:
    """What is done about each tweet; a deletion outweighs the removal of a place."""
    actions: dict[int, ComplianceAction] = {}
    for change in changes:
        for tweet_id, action, _ in change.gone:
            if actions.get(tweet_id) is not _DELETE:
                actions[tweet_id] = action
    return actions


def without(table: pa.Table, tombstones: Tombstones, topic: str) -> tuple[pa.Table, list[_Gone]]:
    """The rows that tombstones leave, places emptied, and what was done about which tweet.

    Rows have a `tweet_id`, and where known an `author_id` (a pseudonym) and a `tag`, which is their topic.
    """
    actions = _actions_of(table, tombstones)
    if not any(actions):
        return table, []
    ids = table.column("tweet_id").to_pylist()
    tags = table.column("tag").to_pylist() if "tag" in table.column_names else [topic] * len(ids)
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


def _actions_of(table: pa.Table, tombstones: Tombstones) -> list[ComplianceAction | None]:
    """What must be done about the tweet of each row."""
    ids = table.column("tweet_id").to_pylist()
    authors = (
        table.column("author_id").to_pylist() if "author_id" in table.column_names else [None] * len(ids)
    )
    return [tombstones.of(own, author) for own, author in zip(ids, authors, strict=True)]


def purge_written(s3: S3Client, bucket: str, pseudonyms: Pseudonyms, keys: Iterable[str]) -> None:
    """Removes what is buried by now from objects of lines that were just written, by their keys.

    For who has read the tombstones before: a removal that began after that may have looked before the
    objects stood. The keys include those under which only a run that was killed has written.
    """
    for key in keys:
        stones = tombstones.read_for(s3, bucket, pseudonyms, key)
        if stones and (place := layout.partition(key)):
            layer, topic, window = place
            Purge(s3, bucket, stones).apply(Purged(window), [Place(layer, topic, key)])


def removed_rows(metadata: Mapping[str, str]) -> Mapping[str, int]:
    """How many rows were removed from an object since its hour was prepared, by topic."""
    found: dict[str, int] = json.loads(metadata.get(REMOVED, "{}"))
    return found


def _packed(file: Any, key: str) -> Any:
    """The file itself, or one that packs what is written where the key says that it is packed."""
    if key.endswith(".gz"):
        return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
    return contextlib.nullcontext(file)

"""Joins prepared rows and the models' answers into the labeled table: one whole object per topic and hour.

If two runs write the same hour, S3 decides by compare-and-swap on what the object was made from: the run that
listed the raw objects later wins, whenever it ends.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.compliance import lines, listing, tombstones
from include.compliance.purge import REMOVED, Purge, Purged, edits_left, without
from include.compliance.tombstones import Tombstones
from include.labeling.garbage import loaded_left_alone
from include.labeling.model_io import is_asked, read_answers, read_shard_and_removed, read_translations
from include.labeling.models import NO_ENGINE
from include.labeling.prepared import Prepared
from include.labeling.shards import STAGE
from include.lake import layout, storage
from include.lake.labeled_file import LabeledFile
from include.lake.pseudonyms import Pseudonyms
from include.lake.schemas import LABELED, SENTIMENTS
from include.settings import Settings
from include.window import Window
from include.x.compliance import ComplianceAction

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

LANGUAGE_UNKNOWN = "language_unknown"
"""X could not identify the language, so no model was asked."""
MODEL_ERROR = "model_error"
"""The model reported an error for this tweet."""
NO_ANSWER = "no_answer"
"""The model's output has no line for this tweet."""
INVALID_ANSWER = "invalid_answer"
"""The answer does not have three probabilities that add up to one."""

UNLABELED_REASONS = (LANGUAGE_UNKNOWN, MODEL_ERROR, NO_ANSWER, INVALID_ANSWER)

_PROBABILITIES = ("p_negative", "p_neutral", "p_positive")
_TOLERANCE = 0.01
_NO_EDITS = b"[]"
_LABELED = -1


@dataclass(frozen=True)
class Published:
    """The state of the lake after `publish`: counts and keys only, so it may pass through XCom.

    For every topic ``rows[topic] == sum(labeled[topic].values()) + sum(unlabeled[topic].values())``.
    """

    window: Window
    manifest: str
    superseded: bool
    """Whether an object from a newer listing was found and kept."""
    keys: dict[str, str] = field(default_factory=dict)
    quarantine_keys: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    labeled: dict[str, dict[str, int]] = field(default_factory=dict)
    """By topic and sentiment."""
    unlabeled: dict[str, dict[str, int]] = field(default_factory=dict)
    """By topic and `unlabeled_reason`."""
    quarantined: dict[str, dict[str, int]] = field(default_factory=dict)
    """By topic and reason, as `Prepared` counted them."""

    def to_json(self) -> dict[str, Any]:
        """As a dict of JSON's types."""
        return {**vars(self), "window": self.window.label}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Published:
        """The inverse of `to_json`."""
        fields: dict[str, Any] = {**value, "window": Window.parse(value["window"])}
        return cls(**fields)


@loaded_left_alone()
def publish(
    s3: S3Client,
    settings: Settings,
    prepared: Prepared,
    key: bytes,
    sentiment_output: str | None,
    sentiment_engine: str,
    translation_output: str | None,
    translation_engine: str,
) -> Published:
    """Joins rows with answers by id and writes, per topic, the labeled and the quarantine object.

    The outputs are key prefixes or S3 addresses of ``NNN.jsonl.out``. A tweet without a usable answer is kept
    with its `unlabeled_reason`; without a translation its `translated_text` is null. Both objects are written
    even if empty, which proves that the hour was processed. The labeled object is written last. ``key`` is
    the secret that ids are hashed with: what was removed since the hour was prepared is left out.
    """
    engines = f"sentiment={sentiment_engine} translation={translation_engine}"
    superseded = False
    pseudonyms = Pseudonyms(key)
    stones = tombstones.read(s3, settings.bucket, pseudonyms, [prepared.window])
    left_out: dict[int, ComplianceAction] = {}
    with tempfile.TemporaryDirectory(prefix="publish-") as name:
        folder = Path(name)
        files = {topic: _TopicFile(folder / f"labeled-{number}") for number, topic in enumerate(prepared.raw)}
        for shard in range(prepared.shards):
            rows, removed_before = read_shard_and_removed(s3, settings, prepared, shard)
            table = _labeled(
                rows,
                list(read_answers(s3, settings, shard, rows, sentiment_output)),
                sentiment_engine,
                read_translations(s3, settings, shard, rows, translation_output),
                translation_engine,
            )
            for topic, file in files.items():
                of_topic = table.filter(pc.equal(table.column("tag"), topic))
                if stones:
                    of_topic, gone = without(of_topic, stones, topic)
                    left_out |= {own: action for own, action, _ in gone}
                    file.removed += sum(action is ComplianceAction.DELETE for _, action, _ in gone)
                file.removed += removed_before.get(topic, 0)
                file.add(of_topic)
        if left_out:
            # Of a user's tweets labeled no longer tells, and other layers hold them.
            tombstones.bury(s3, settings.bucket, pseudonyms, prepared.window, left_out)
            stones = stones.with_tweets(left_out)
        for topic, file in files.items():
            file.close()
            quarantine = folder / "quarantine"
            storage.download(s3, settings.bucket, prepared.quarantine_key(topic), quarantine)
            removed = {REMOVED: json.dumps({topic: file.removed})} if file.removed else {}
            for object_key, path, metadata in (
                (layout.quarantine_key(topic, prepared.window, STAGE), _left(quarantine, stones), {}),
                (layout.labeled_key(topic, prepared.window), file.path, removed),
            ):
                superseded |= not _replace(
                    s3, settings.bucket, object_key, path, prepared, {"engines": engines, **metadata}
                )
    if tombstones.read(s3, settings.bucket, pseudonyms, [prepared.window]).digest != stones.digest:
        # Removed in the meantime: the removal may not have seen the objects that were just written.
        _purge_published(s3, settings.bucket, pseudonyms, prepared)
    # Only after the newest versions are in labeled: at no time is a post without a version.
    for hour in (prepared.window.previous, prepared.window.next):
        _tell_edits(s3, settings.bucket, pseudonyms, prepared, hour)

    published = Published(
        window=prepared.window,
        manifest=prepared.manifest,
        superseded=superseded,
        keys={topic: layout.labeled_key(topic, prepared.window) for topic in files},
        quarantine_keys={topic: layout.quarantine_key(topic, prepared.window, STAGE) for topic in files},
        rows={topic: file.rows for topic, file in files.items()},
        labeled={topic: dict(sorted(file.labeled.items())) for topic, file in files.items()},
        unlabeled={topic: dict(sorted(file.unlabeled.items())) for topic, file in files.items()},
        quarantined=prepared.quarantined,
    )
    logger.info(
        "published window=%s manifest=%s superseded=%s rows=%s unlabeled=%s",
        prepared.window.label,
        prepared.manifest[:16],
        superseded,
        published.rows,
        published.unlabeled,
    )
    return published


def _left(path: Path, stones: Tombstones) -> Path:
    """The packed lines of a local file without what must go."""
    if not stones:
        return path
    rest = path.with_name(f"{path.name}-left")
    # As in `ShardWriter`: the same rows are the same bytes.
    with (
        gzip.open(path) as read,
        rest.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
    ):
        for line in read:
            if (kept := lines.left(line.rstrip(b"\n"), stones, lambda *_: None)) is not None:
                packed.write(kept + b"\n")
    return rest


def _purge_published(s3: S3Client, bucket: str, pseudonyms: Pseudonyms, prepared: Prepared) -> None:
    stones = tombstones.read(s3, bucket, pseudonyms, [prepared.window])
    window = prepared.window
    places = [
        *listing.quarantine(s3, bucket, [window])[window],
        *listing.labeled(s3, bucket, [window])[window],
    ]
    Purge(s3, bucket, stones).apply(Purged(window), places)


def _replace(
    s3: S3Client, bucket: str, key: str, path: Path, prepared: Prepared, about: Mapping[str, str]
) -> bool:
    """Uploads the file unless the object under the key is newer; returns whether it did."""

    def decide(found: storage.ObjectVersion | None) -> storage.Content | None:
        listed_at = prepared.listed_at
        if found and found.metadata.keys() >= {"manifest", "listed-at", "objects"}:
            theirs = _age(found.metadata)
            if found.metadata["manifest"] == prepared.manifest:
                listed_at = max(listed_at, theirs[0])
            elif (prepared.listed_at, prepared.objects, prepared.manifest) < theirs:
                return None
        metadata = {
            "manifest": prepared.manifest,
            "listed-at": listed_at.isoformat(),
            "objects": str(prepared.objects),
            **about,
            **({"edits": prepared.edits} if prepared.edits else {}),
        }
        return storage.Content(path, metadata, passing=frozenset({"listed-at"}))

    written = storage.compare_and_swap(s3, bucket, key, decide).written
    if not written:
        logger.info("superseded key=%s manifest=%s", key, prepared.manifest[:16])
    return written


def _tell_edits(s3: S3Client, bucket: str, pseudonyms: Pseudonyms, prepared: Prepared, hour: Window) -> None:
    """Records for another hour which of its posts were edited later; `coverage` reruns it if this is new.

    An object with the same content is kept with its ETag: otherwise two hours could trigger each other
    forever.
    """
    body = storage.read(s3, bucket, prepared.edits_key(hour))
    stones = Tombstones(pseudonyms)
    if body != _NO_EDITS:
        stones = tombstones.read(s3, bucket, pseudonyms, [hour])
        body = edits_left(body, stones)
    content = hashlib.sha256(body).hexdigest()

    def decide(found: storage.ObjectVersion | None) -> storage.Content | None:
        if found is None:
            told = body != _NO_EDITS
        else:
            told = found.metadata.get("content") != content and not (
                found.metadata.keys() >= {"manifest", "listed-at", "objects"}
                and (prepared.listed_at, prepared.objects, prepared.manifest) < _age(found.metadata)
            )
        metadata = {
            "manifest": prepared.manifest,
            "listed-at": prepared.listed_at.isoformat(),
            "objects": str(prepared.objects),
            "content": content,
        }
        return storage.Content(body, metadata) if told else None

    key = layout.edits_key(hour, prepared.window)
    storage.compare_and_swap(s3, bucket, key, decide)
    if body != _NO_EDITS:
        later = tombstones.read(s3, bucket, pseudonyms, [hour])
        if later.digest != stones.digest:
            place = listing.Place("edits", layout.ALL_TOPICS, key)
            Purge(s3, bucket, later).apply(Purged(hour), [place])


def _age(metadata: Mapping[str, str]) -> tuple[datetime, int, str]:
    """Orders manifests by the time of their listing; within a second, by the number of raw objects."""
    return datetime.fromisoformat(metadata["listed-at"]), int(metadata["objects"]), metadata["manifest"]


class _TopicFile:
    """Writes the labeled rows of one topic to a Parquet file, and counts what was removed from them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.labeled: Counter[str] = Counter()
        self.unlabeled: Counter[str] = Counter()
        self.removed = 0
        self._file = LabeledFile(path)

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._file.rows

    def add(self, table: pa.Table) -> None:
        """Appends rows, sorted by id and greater than all before."""
        self.labeled.update(_counts(table.column("sentiment")))
        self.unlabeled.update(_counts(table.column("unlabeled_reason")))
        self._file.add(table)

    def close(self) -> None:
        """Writes the remaining rows."""
        self._file.close()


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {
        entry["values"]: entry["counts"]
        for entry in column.value_counts().to_pylist()
        if entry["values"] is not None
    }


def _labeled(
    rows: pa.Table,
    answers: list[dict[str, Any]],
    sentiment_engine: str,
    translations: Mapping[str, str],
    translation_engine: str,
) -> pa.Table:
    """The rows of one shard in the labeled table's columns."""
    tweet_id = rows.column("tweet_id").to_numpy()
    asked = is_asked(rows.column("lang"))
    reasons = np.full(len(rows), UNLABELED_REASONS.index(LANGUAGE_UNKNOWN), dtype=np.int8)
    probabilities = np.full((len(rows), len(SENTIMENTS)), np.nan)
    reasons[asked], probabilities[asked] = _aligned(tweet_id[asked], answers)
    labeled = reasons == _LABELED
    best = np.where(labeled[:, None], probabilities, -1).argmax(axis=1)
    score = probabilities[np.arange(len(rows)), best]

    translated = None
    if translations:
        translated = [translations.get(str(identifier)) for identifier in tweet_id.tolist()]
    translated_text = pa.array(translated or [None] * len(rows), pa.string())
    columns = {
        "translated_text": translated_text,
        "sentiment": _texts(SENTIMENTS, best, labeled),
        "score": pa.array(score, mask=~labeled),
        **{
            name: pa.array(probabilities[:, number], mask=~labeled)
            for number, name in enumerate(_PROBABILITIES)
        },
        "unlabeled_reason": _texts(UNLABELED_REASONS, reasons, ~labeled),
        "translation_engine": pc.if_else(translated_text.is_valid(), translation_engine, NO_ENGINE),
        "sentiment_engine": _texts([sentiment_engine], np.zeros(len(rows), dtype=np.int8), asked),
    }
    arrays = [
        columns.get(name, rows.column(name) if name in rows.column_names else None) for name in LABELED.names
    ]
    return pa.table(arrays, schema=LABELED)


def _texts(values: tuple[str, ...] | list[str], indices: Any, valid: Any) -> pa.Array:
    """``values[index]`` for each index, null if the index is not valid."""
    taken = pa.array(indices.astype(np.int32), mask=~valid)
    return pa.DictionaryArray.from_arrays(taken, pa.array(values, pa.string())).cast(pa.string())


def _aligned(tweet_id: Any, answers: list[dict[str, Any]]) -> tuple[Any, Any]:
    """The reason code and the three probabilities for each tweet asked about, in the tweets' order.

    Models answer in the order of their input, so the ids usually match; otherwise they are looked up, and the
    first of two answers for one tweet counts.
    """
    identifiers = np.array([int(answer["id"]) for answer in answers], dtype=np.uint64).astype(np.int64)
    given = _numbers([answer.get(name) for answer in answers for name in _PROBABILITIES])
    failed = np.array(["error" in answer for answer in answers], dtype=bool)
    with np.errstate(invalid="ignore"):
        valid = (given >= 0).all(axis=1) & (np.abs(given.sum(axis=1) - 1) <= _TOLERANCE)
    codes = np.where(
        failed, UNLABELED_REASONS.index(MODEL_ERROR), UNLABELED_REASONS.index(INVALID_ANSWER)
    ).astype(np.int8)
    codes[valid & ~failed] = _LABELED
    if np.array_equal(identifiers, tweet_id):
        return codes, given

    reasons = np.full(len(tweet_id), UNLABELED_REASONS.index(NO_ANSWER), dtype=np.int8)
    probabilities = np.full((len(tweet_id), len(SENTIMENTS)), np.nan)
    if len(identifiers):
        order = np.argsort(identifiers, kind="stable")
        found = np.minimum(np.searchsorted(identifiers[order], tweet_id), len(order) - 1)
        answered = identifiers[order][found] == tweet_id
        rows = order[found[answered]]
        reasons[answered] = codes[rows]
        probabilities[answered] = given[rows]
    return reasons, probabilities


def _numbers(values: list[Any]) -> Any:
    """The values as float64, three in a row; NaN for anything that is not a number."""
    if not set(map(type, values)) <= {float, int}:
        values = [value if type(value) is float or type(value) is int else np.nan for value in values]
    return np.array(values, dtype=np.float64).reshape(-1, len(SENTIMENTS))

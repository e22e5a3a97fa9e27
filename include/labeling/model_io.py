"""The models' inputs for an hour, and their answers.

One JSON line per tweet, in files numbered like the hour's shards: ``NNN.jsonl``; SageMaker writes the answers
to ``NNN.jsonl.out``.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct

from include.compliance.purge import removed_rows
from include.labeling.jobs import LONGEST_INPUT_LINE
from include.labeling.prepared import Prepared
from include.lake import storage
from include.lake.schemas import UNNAMED_LANGUAGES
from include.settings import Settings
from include.x.text import loads

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

NOT_TRANSLATED = UNNAMED_LANGUAGES | {"en"}
"""Tweets in these languages are not translated."""

ASKED = ["tweet_id", "text", "lang"]
"""One tweet in a model's input."""

_LONGEST_ID = 19
"""Digits of a tweet's id at most."""


class _Question(Struct, gc=False):
    """One tweet in a model's input."""

    id: str
    text: str
    lang: str


_encoder = msgspec.json.Encoder()


def compose_sentiment_input(
    s3: S3Client, settings: Settings, prepared: Prepared, translation_output: str | None
) -> str:
    """Writes the sentiment job's input and returns its key prefix.

    One JSON line per accepted tweet in a named language: the translation if ``translation_output`` (a key
    prefix or S3 address) has one, then with ``lang`` "en", else the original. The prefix contains the digest
    of the lines, so the same text makes the same job.
    """
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="compose-") as folder:
        files = []
        for shard in range(prepared.shards):
            table = _asked(s3, settings, prepared, shard)
            translations = read_translations(s3, settings, shard, table, translation_output)
            body = model_input(table, UNNAMED_LANGUAGES, translations)
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


def read_shard_and_removed(
    s3: S3Client, settings: Settings, prepared: Prepared, shard: int
) -> tuple[pa.Table, Mapping[str, int]]:
    """As `read_shard`, and how many rows, by topic, were removed from the shard since the hour was prepared.

    Raises `storage.ObjectChangedError` where that happens just now.
    """
    key = prepared.rows_key(shard)
    found = storage.current(s3, settings.bucket, key)
    etag, removed = (found.etag, removed_rows(found.metadata)) if found else (None, {})
    return _read_table(s3, settings.bucket, key, None, etag), removed


def _asked(s3: S3Client, settings: Settings, prepared: Prepared, shard: int) -> pa.Table:
    """The tweets of one shard that models are asked about, by id, including those that were edited later.

    The input, and with it the job that was paid for, therefore stays the same when an edit becomes known.
    """
    table = read_shard(s3, settings, prepared, shard, ASKED)
    if shard not in prepared.shards_with_edits:
        return table
    edited = _read_table(s3, settings.bucket, prepared.edited_key(shard), ASKED)
    return pa.concat_tables([table, edited]).sort_by("tweet_id")


def _read_table(
    s3: S3Client, bucket: str, key: str, columns: list[str] | None, etag: str | None = None
) -> pa.Table:
    body = storage.read(s3, bucket, key, etag)
    # Not `pq.read_table`: it loads pyarrow's dataset and file system modules, which take 100 MiB.
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

    ``output`` is a key prefix or an S3 address, None if the stage was skipped; tweets in the languages
    ``left_out`` were not in its input. A line that is not a JSON object is skipped and counted in the log;
    its tweet then counts as unanswered. Raises `storage.ObjectMissingError` if there was an input and its
    answers have expired.
    """
    if output is None or not is_asked(table.column("lang"), left_out).any():
        return
    bucket, prefix = storage.split_address(output) if "://" in output else (settings.bucket, output)
    key = f"{prefix.rstrip('/')}/{shard:03}.jsonl.out"
    yield from parse_answers(storage.read_lines(s3, bucket, key), key)


def parse_answers(lines: Iterable[bytes], origin: str) -> Iterator[dict[str, Any]]:
    """The answers in a model's output; lines that are none are counted in the log, blank ones are not."""
    unreadable = 0
    for line in lines:
        if not line or line.isspace():
            continue
        try:
            answer = loads(line)
        except ValueError:
            unreadable += 1
            continue
        if isinstance(answer, dict) and _is_id(str(answer.get("id"))):
            yield answer
        else:
            unreadable += 1
    if unreadable:
        logger.warning("unreadable answers origin=%s lines=%d", origin, unreadable)


def _is_id(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= _LONGEST_ID


def read_translations(
    s3: S3Client, settings: Settings, shard: int, table: pa.Table, output: str | None
) -> dict[str, str]:
    """The translations of one shard by tweet id, without the failed ones; raises as `read_answers`.

    A translation too long for the next model's input counts as failed.
    """
    return {
        answer["id"]: answer["translated_text"]
        for answer in read_answers(s3, settings, shard, table, output, NOT_TRANSLATED)
        if isinstance(answer.get("translated_text"), str)
        and answer["translated_text"]
        and fits(answer["id"], answer["translated_text"], "en")
    }


def is_asked(lang: pa.ChunkedArray, left_out: Set[str] = UNNAMED_LANGUAGES) -> Any:
    """Whether a model is asked about each tweet, by its language, as a NumPy array of booleans."""
    unasked = pc.is_in(lang.fill_null(""), value_set=pa.array(sorted(left_out), pa.string()))
    return ~unasked.to_numpy()


def model_input(table: pa.Table, left_out: Set[str], translations: Mapping[str, str]) -> bytes:
    """JSON Lines for a model: the tweets whose language is known and not in ``left_out``."""
    asked = table.select(ASKED).filter(pa.array(is_asked(table.column("lang"), left_out)))
    # By NumPy: `to_pylist` makes an Arrow scalar out of every value first, which takes three times as long.
    columns = [column.to_numpy().tolist() for column in asked.columns]
    questions = list(map(_Question, map(str, columns[0]), *columns[1:]))
    for question in questions if translations else ():
        if translation := translations.get(question.id):
            question.text, question.lang = translation, "en"
    return _encoder.encode_lines(questions)


def _line(tweet_id: int | str, text: str, lang: str) -> bytes:
    """One tweet as a line of a model's input."""
    return _encoder.encode_lines([_Question(str(tweet_id), text, lang)])


def fits(tweet_id: int | str, text: str, lang: str) -> bool:
    """Whether a tweet fits into a model's input."""
    # A character takes at most 12 bytes of JSON, so most texts need no closer check.
    return len(text) < LONGEST_INPUT_LINE // 16 or len(_line(tweet_id, text, lang)) <= LONGEST_INPUT_LINE

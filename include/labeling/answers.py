"""The answers of one model about the tweets of one hour, kept so that no question is paid for twice.

A question is a line of a model's input; its digest covers the id and the text that the model is asked about.
Answers are kept under the model's name, which is a digest of all that decides them: another model, or another
translation of the same tweet, is asked again. They lie among the hour's work files, so they expire with them
and removals reach them (`include/compliance`).

What is sent is recorded before: a batch job whose answers nobody has kept, because its task was killed or is
still waiting, is found by the next run of the hour, which waits for that job instead of asking again. What an
endpoint answers is written at once, as an object of its own, and merged with the others later: their objects
are large, and many invocations come one after the other.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from include.labeling.model_io import parse_answers
from include.lake import layout, storage
from include.window import HOUR, Window
from include.x import snowflake

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BATCH = "batch"
ENDPOINT = "endpoint"

PARTS = 12
"""Objects of kept answers an hour and model, by the tweets' time: at X's 250 posts a second, one has 75,000
answers and takes some 25 MB of memory."""

_DIGITS = 16
_HOUR_MS = int(HOUR.total_seconds() * 1000)
_ASKED, _KEPT, _ANSWERED = "asked.json", "kept.json", "answered.jsonl.gz"
_LEVEL = 1
"""Of the compression: most of these objects are soon replaced."""

log = logging.getLogger(__name__)

_Key = tuple[int, str]
"""A question: the tweet's id and the digest of the question."""


@dataclass(frozen=True)
class Ask:
    """Questions that were written for one batch job: its inputs are the objects ``files``."""

    prefix: str
    files: tuple[str, ...]

    @property
    def input_prefix(self) -> str:
        """Key prefix of the job's input."""
        return f"{self.prefix}input/"


@dataclass(frozen=True)
class Sent:
    """What was sent to models in one mode: jobs or invocations, and tweets."""

    calls: int
    tweets: int


class KeptAnswers:
    """The kept answers of the model ``model`` (its name in SageMaker) about the tweets of ``window``.

    Memory is bounded by one object of questions, which is a shard of the hour, and one or a few of its
    `PARTS`.
    """

    def __init__(self, s3: S3Client, bucket: str, window: Window, model: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._start = snowflake.to_milliseconds(window.start)
        self._prefix = f"{layout.answers_prefix(window)}{model}/"
        self._model = model

    def pending(self) -> list[Ask]:
        """What was written for a job and is not kept yet."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        asks = f"{self._prefix}asks/"
        for entry in storage.objects(self._s3, self._bucket, asks):
            digest, _, name = entry.key.removeprefix(asks).partition("/")
            found[digest].add(name)
        written = [
            Ask(f"{asks}{digest}/", tuple(sorted(name for name in names if name.startswith("input/"))))
            for digest, names in sorted(found.items())
            if _ASKED in names and _KEPT not in names
        ]
        return [ask for ask in written if ask.files]

    def ask(self, input_prefix: str) -> Ask | None:
        """Writes the questions under ``input_prefix`` that have no answer for a job; None if there are none.

        Raises `storage.ObjectMissingError` if the questions have expired.
        """
        digest = hashlib.sha256()
        with tempfile.TemporaryDirectory(prefix="ask-") as folder:
            files: list[Path] = []
            tweets = 0
            for name, questions in self.unanswered(input_prefix):
                path = Path(folder, name)
                with path.open("wb") as file:
                    file.writelines(question + b"\n" for question in questions)
                digest.update(b"%s\0%s\n" % (name.encode(), storage.checksum(path).encode()))
                files.append(path)
                tweets += len(questions)
            if not files:
                return None
            ask = Ask(self._ask_prefix(digest.hexdigest()), tuple(f"input/{path.name}" for path in files))
            for path in files:
                storage.put(self._s3, self._bucket, f"{ask.input_prefix}{path.name}", path)
        # Last: questions that were written in part only are no ask.
        body = orjson.dumps({"tweets": tweets, "objects": len(files)})
        storage.put(self._s3, self._bucket, ask.prefix + _ASKED, body)
        log.info("asking model=%s tweets=%d", self._model, tweets)
        return ask

    def unanswered(self, input_prefix: str) -> Iterator[tuple[str, list[bytes]]]:
        """For each object under ``input_prefix`` with questions that have no answer: its name, and those.

        `keep_invocation` may be called meanwhile.
        """
        self._merge_invocations()
        for name, questions in self._questions(input_prefix):
            answers = self._read(questions)
            if left := [question for key, question in questions.items() if key not in answers]:
                yield name, left
                self._merge_invocations()

    def keep(self, ask: Ask, output_prefix: str) -> None:
        """Keeps the answers of a completed job; a question that it has left out counts as answered."""
        tweets = 0
        for file in ask.files:
            try:
                lines = [*storage.read_lines(self._s3, self._bucket, ask.prefix + file)]
            except storage.ObjectMissingError:
                continue  # it has expired, and nothing of the hour is complete any more
            output = f"{output_prefix}{file.removeprefix('input/')}.out"
            self._merge(_kept(lines, storage.read_lines(self._s3, self._bucket, output), output))
            tweets += len(lines)
        self._record(ask.prefix, BATCH, 1, tweets)

    def keep_invocation(self, questions: list[bytes], answer: bytes) -> None:
        """Keeps the body with which an endpoint has answered ``questions``; see `keep`."""
        prefix = self._ask_prefix(hashlib.sha256(b"\n".join(questions)).hexdigest())
        lines = _kept(questions, answer.split(b"\n"), f"{self._model}'s endpoint")
        storage.put(self._s3, self._bucket, prefix + _ANSWERED, _packed(lines))
        self._record(prefix, ENDPOINT, 1, len(questions))

    def assemble(self, input_prefix: str) -> str:
        """Writes the kept answers to the questions under ``input_prefix`` beside them, as a job would.

        Returns their key prefix. A question whose answer is missing has no line.
        """
        self._merge_invocations()
        folder, _, own = input_prefix.rstrip("/").rpartition("/")
        digest = hashlib.sha256(f"{own}\0{self._model}".encode()).hexdigest()
        output = f"{folder}/output-{digest[:_DIGITS]}/"
        for name, questions in self._questions(input_prefix):
            answers = self._read(questions)
            body = bytearray()
            for key in questions:
                if (answer := orjson.loads(answers[key])["answer"] if key in answers else None) is not None:
                    body += orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE)
            storage.put(self._s3, self._bucket, f"{output}{name}.out", bytes(body))
        return output

    def _ask_prefix(self, digest: str) -> str:
        return f"{self._prefix}asks/{digest[:_DIGITS]}/"

    def _record(self, prefix: str, mode: str, calls: int, tweets: int) -> None:
        body = orjson.dumps({"mode": mode, "calls": calls, "tweets": tweets})
        storage.put(self._s3, self._bucket, prefix + _KEPT, body)

    def _questions(self, input_prefix: str) -> Iterator[tuple[str, dict[_Key, bytes]]]:
        for entry in storage.objects(self._s3, self._bucket, input_prefix):
            lines = storage.read_lines(self._s3, self._bucket, entry.key)
            yield entry.key.removeprefix(input_prefix), {_key(line): line for line in lines}

    def _merge_invocations(self) -> None:
        """Puts what endpoints have answered beside the other answers."""
        found: dict[_Key, bytes] = {}
        merged: list[str] = []
        for entry in storage.objects(self._s3, self._bucket, f"{self._prefix}asks/"):
            if entry.key.endswith(f"/{_ANSWERED}"):
                found = self._lines(entry.key) | found
                merged.append(entry.key)
        self._merge(found)
        for key in merged:
            storage.delete(self._s3, self._bucket, key)

    def _merge(self, lines: Mapping[_Key, bytes]) -> None:
        parts: defaultdict[int, dict[_Key, bytes]] = defaultdict(dict)
        for key, line in lines.items():
            parts[self._part(key[0])][key] = line
        for part, added in parts.items():
            self._merge_part(self._part_key(part), added)

    def _merge_part(self, part_key: str, added: Mapping[_Key, bytes]) -> None:
        def decide(found: storage.ObjectVersion | None) -> storage.Content | None:
            # The first answer stays: two parallel runs publish the same.
            return storage.Content(_packed({**added, **(self._lines(part_key) if found else {})}))

        storage.compare_and_swap(self._s3, self._bucket, part_key, decide)

    def _read(self, questions: Iterable[_Key]) -> dict[_Key, bytes]:
        answers: dict[_Key, bytes] = {}
        for part in sorted({self._part(tweet_id) for tweet_id, _ in questions}):
            answers |= self._lines(self._part_key(part))
        return answers

    def _lines(self, key: str) -> dict[_Key, bytes]:
        """The kept answers in an object; none if there is no such object."""
        lines: dict[_Key, bytes] = {}
        try:
            for line in storage.read_lines(self._s3, self._bucket, key):
                kept = orjson.loads(line)
                lines[int(kept["id"]), kept["question"]] = line
        except storage.ObjectMissingError:
            return {}
        return lines

    def _part(self, tweet_id: int) -> int:
        elapsed = snowflake.milliseconds(tweet_id) - self._start
        return min(max(elapsed, 0), _HOUR_MS - 1) * PARTS // _HOUR_MS

    def _part_key(self, part: int) -> str:
        return f"{self._prefix}part-{part:02}.jsonl.gz"


def _key(question: bytes) -> _Key:
    return int(orjson.loads(question)["id"]), hashlib.sha256(question).hexdigest()[:_DIGITS]


def _kept(questions: Iterable[bytes], answers: Iterable[bytes], origin: str) -> dict[_Key, bytes]:
    """The lines to keep: what was answered to each question, and null where nothing was."""
    given: dict[int, object] = {}
    for answer in parse_answers(answers, origin):
        given.setdefault(int(answer["id"]), answer)
    lines: dict[_Key, bytes] = {}
    for question in questions:
        key = _key(question)
        kept = {"id": str(key[0]), "question": key[1], "answer": given.get(key[0])}
        lines[key] = orjson.dumps(kept)
    return lines


def _packed(lines: Mapping[_Key, bytes]) -> bytes:
    """In one order, whatever came first: the same answers are the same bytes."""
    return gzip.compress(b"".join(lines[key] + b"\n" for key in sorted(lines)), _LEVEL, mtime=0)


def sent(s3: S3Client, bucket: str, windows: Iterable[Window]) -> dict[str, Sent]:
    """What was sent to models about some hours so far, by mode, while their work files have not expired."""
    calls: Counter[str] = Counter()
    tweets: Counter[str] = Counter()
    for window in windows:
        for entry in storage.objects(s3, bucket, layout.answers_prefix(window)):
            if entry.key.endswith(f"/{_KEPT}"):
                record = json.loads(storage.read(s3, bucket, entry.key))
                calls[record["mode"]] += record["calls"]
                tweets[record["mode"]] += record["tweets"]
    return {mode: Sent(calls[mode], tweets[mode]) for mode in sorted(calls)}

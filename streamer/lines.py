"""Reads the lines of X's stream and makes packs of them.

Everything travels through one delivery stream: tweets as X sent them plus ``ingest``; unusable lines,
heartbeats and session events with a ``kind``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import orjson
from msgspec import Struct

from include.window import Window, WindowError, possible_day
from include.x.matching import Matcher
from include.x.payload import CREATED_AT, QUARANTINED_CHARACTERS, Shape, is_payload
from include.x.records import Ingest, iso
from include.x.snowflake import to_milliseconds
from include.x.text import loads, may_escape_surrogates
from include.x.topics import Topics
from streamer.packs import MARKS, RECORD_BYTES, RECORD_LINES, Pack, records


class _Rule(Struct, gc=False):
    tag: str
    id: str | None = None


class _Usual(Shape, forbid_unknown_fields=True, gc=False):
    """The usual form of X's payloads; rare ones differ."""

    matching_rules: list[_Rule | None] | None = None
    errors: Any = None


_USUAL = msgspec.json.Decoder(_Usual)


_TWEET, _QUARANTINE = MARKS["tweet"], MARKS["quarantine"]
_CARRIAGE_RETURN, _BACKSLASH = 0x0D, 0x5C


@dataclass(frozen=True)
class StreamError:
    """X reported in the stream that something is wrong, usually before it closes it."""

    reason: str


class Tweet(NamedTuple):
    """A tweet's line, with its topic and whether that comes from our own rules, for the counts."""

    body: bytes
    topic: str
    evaluated: bool


class Rejected(NamedTuple):
    """The line to send instead of an unusable one, the reason, and whether X bills it as a post."""

    body: bytes
    reason: str
    bought: bool


class LinesRead(NamedTuple):
    """The result of reading lines: packs to deliver, usually one, and counts.

    ``tweets`` by topic, of which ``evaluated`` have it from our own rules; ``rejected`` has the reasons of
    unusable lines, ``announced`` what X reports instead of sending tweets.
    """

    packs: list[Pack]
    tweets: Counter[str]
    evaluated: int
    rejected: list[str]
    announced: list[str]


@dataclass(frozen=True)
class Identity:
    """What every record of a session has: the rule set and the sample (in percent) in force."""

    session: str
    rule_hash: str
    sample: int


@dataclass(frozen=True)
class RuleSet:
    """The rules by which lines are read: ``identities`` has the rule set of each rule, by X's id.

    While X switches rules, a tweet matched by an old rule therefore has the old set's hash and sample. A
    tweet with an unknown rule id has ``identity``.
    """

    identity: Identity
    topics: Topics
    identities: Mapping[str, Identity] = field(default_factory=dict)


class _Reading:
    """A rule set in use, and what it adds to a tweet's line."""

    def __init__(self, rule_set: RuleSet) -> None:
        self.rule_set = rule_set
        self.matcher = Matcher(rule_set.topics)
        self.tags = frozenset(rule_set.topics.names)

    def ingest(self, rule_id: str | None, received: datetime) -> bytes:
        """The end of a tweet's line, in place of the payload's last brace.

        The payload's own bytes stay unchanged.
        """
        identity = self.rule_set.identities.get(rule_id or "", self.rule_set.identity)
        ingest = Ingest(
            received_at=iso(received),
            session=identity.session,
            rule_hash=identity.rule_hash,
            sample=identity.sample,
            source="stream",
        )
        return b"," + _line({"ingest": ingest})[1:]

    def loosest(self, rules: list[dict[str, Any]]) -> str:
        """The id of the rule of a topic with the largest sample, which counts if there are several."""
        identities = self.rule_set.identities
        known = [rule["id"] for rule in rules if rule.get("id") in identities]

        def leaves_in(rule_id: str) -> tuple[int, bool]:
            identity = identities[rule_id]
            return identity.sample, identity == self.rule_set.identity

        return max(known, key=leaves_in, default="")


class Reader:
    """Turns lines into packs, by the rule set that was last `adopt`-ed."""

    def __init__(self, rule_set: RuleSet) -> None:
        self.adopt(rule_set)

    def adopt(self, rule_set: RuleSet) -> None:
        """Uses another rule set from the next lines on; thread-safe."""
        self._reading = _Reading(rule_set)

    def read(self, lines: Sequence[bytes], received: datetime) -> LinesRead:
        """Reads lines that are not empty and have no newline. Never raises, whatever X sends."""
        reading = self._reading
        tags, decode = reading.tags, _USUAL.decode
        ingests: dict[str | None, bytes] = {}
        marks: list[str] = []
        bodies: list[bytes] = []
        topics: list[str] = []
        rejected: list[Rejected] = []
        announced: list[str] = []
        evaluated = 0
        is_dated = _dated_by(received.date())
        # The decoder does not check texts that it skips.
        checked = _is_utf8(lines)
        for line in lines:
            try:
                if not checked:
                    line.decode()
                payload = decode(line)
                (rule,) = payload.matching_rules or []
            except (ValueError, RecursionError):
                rule = None
            if (
                rule
                and rule.tag in tags
                and payload.data.created_at  # pyrefly: ignore[unbound-name] - it has given the rule
                and is_dated(payload.data.created_at)
                and _CARRIAGE_RETURN not in line
                and (_BACKSLASH not in line or not may_escape_surrogates(line))
            ):
                ingest = ingests.get(rule.id)
                if ingest is None:
                    ingest = ingests[rule.id] = reading.ingest(rule.id, received)
                body = line[:-1] + ingest
                if len(body) <= RECORD_BYTES:
                    marks.append(_TWEET)
                    bodies.append(body)
                    topics.append(rule.tag)
                    continue
            found = self._read_thoroughly(reading, line, received)
            if isinstance(found, StreamError):
                announced.append(found.reason)
                continue
            bodies.append(found.body)
            if isinstance(found, Tweet):
                marks.append(_TWEET)
                topics.append(found.topic)
                evaluated += found.evaluated
            else:
                marks.append(_QUARANTINE)
                rejected.append(found)
        bought = len(topics) + sum(line.bought for line in rejected)
        packs = _packs(to_milliseconds(received), marks, bodies, bought)
        return LinesRead(packs, Counter(topics), evaluated, [line.reason for line in rejected], announced)

    def _read_thoroughly(
        self, reading: _Reading, line: bytes, received: datetime
    ) -> Tweet | Rejected | StreamError:
        """Reads any line, including a usual tweet, at several times the cost."""
        try:
            payload: Any = orjson.loads(line)
            if _CARRIAGE_RETURN in line:
                # In JSON it is whitespace; a reader of raw by line would see two lines.
                line = orjson.dumps(payload)
        except (orjson.JSONDecodeError, TypeError):
            try:
                payload = loads(line)
                line = orjson.dumps(payload)
            except (ValueError, TypeError):
                # A TypeError: orjson reads deeper nesting than it writes.
                return self._rejected(line, received, "malformed_json")
        if isinstance(payload, dict) and "data" not in payload and payload.get("errors"):
            return StreamError(_reason(payload["errors"]))
        if not is_payload(payload):
            bought = isinstance(payload, dict) and isinstance(payload.get("data"), dict)
            return self._rejected(line, received, "not_a_payload", bought=bought)
        data = payload["data"]
        rules = [rule for rule in _dicts(payload.get("matching_rules")) if _names(rule, reading.tags)]
        topics = list(dict.fromkeys(rule["tag"] for rule in rules))
        topic = topics[0] if topics else reading.matcher.topic(payload)
        dated = _dated_by(received.date())(data.get("created_at") or "")
        problem = None
        if topic is None:
            problem = "unknown_topic"
        elif not dated:
            problem = "missing_created_at"
        elif len(topics) > 1:
            problem = "overlap"
        else:
            if not topics or payload["matching_rules"] != rules:
                # Adds what X left out, and corrects what the table raw could not read.
                payload["matching_rules"] = rules or [{"tag": topic}]
                try:
                    line = orjson.dumps(payload)
                except TypeError:
                    return self._rejected(line, received, "malformed_json", bought=True)
            body = line[:-1] + reading.ingest(reading.loosest(rules), received)
            if len(body) <= RECORD_BYTES:
                return Tweet(body, topic, not topics)
            problem = "too_large"
        # A rejected tweet is stored under its topic and its own hour, as it would be in raw.
        at = data["created_at"] if topic is not None and dated else None
        return self._rejected(line, received, problem, topic, at, data.get("id"), bought=True, topics=topics)

    def _rejected(
        self,
        line: bytes,
        received: datetime,
        reason: str,
        topic: str | None = None,
        at: str | None = None,
        tweet_id: str | None = None,
        *,
        bought: bool = False,
        topics: Sequence[str] = (),
    ) -> Rejected:
        text = line[: 4 * QUARANTINED_CHARACTERS].decode("utf-8", errors="replace")
        content: dict[str, Any] = {
            "kind": "quarantine",
            "at": at or iso(received),
            "topic": topic,
            "stage": "streamer",
            "reason": reason,
            "origin": self._reading.rule_set.identity.session,
            "tweet_id": tweet_id,
            "line": text[:QUARANTINED_CHARACTERS],
        }
        if len(topics) > 1:
            content["topics"] = topics
        return Rejected(_line(content), reason, bought)


def control(kind: str, identity: Identity, at: datetime, content: Mapping[str, Any]) -> Pack:
    """A line about the streamer: ``kind`` is heartbeat or session; times in ``content`` become text."""
    texts = {name: iso(value) if isinstance(value, datetime) else value for name, value in content.items()}
    whole = {
        "kind": kind,
        "at": iso(at),
        "session": identity.session,
        **texts,
        "rule_hash": identity.rule_hash,
        "sample": identity.sample,
    }
    return Pack(to_milliseconds(at), MARKS[kind], _line(whole))


def _packs(received_ms: int, marks: Sequence[str], bodies: Sequence[bytes], bought: int) -> list[Pack]:
    """Lines as packs, in order; the posts billed for all of them are counted with the first pack."""
    whole = records(b"".join(bodies), len(marks), RECORD_LINES)
    if len(whole) == 1:
        return [Pack(received_ms, "".join(marks), whole[0], bought)]
    packs: list[Pack] = []
    letters = iter(marks)
    for record in whole:
        of_record = "".join(islice(letters, record.count(b"\n")))
        packs.append(Pack(received_ms, of_record, record, 0 if packs else bought))
    return packs


def _is_utf8(lines: Sequence[bytes]) -> bool:
    """Whether all of these lines are UTF-8; at once, because that takes half the time."""
    try:
        b"\n".join(lines).decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=2)
def _dated_by(today: date) -> Callable[[str], bool]:
    """Whether a time is in X's format, and names an hour that can hold posts ``today``.

    The delivery stream takes day and hour as they are. Cached, since many tweets share a second.
    """
    now = datetime.combine(today, time.min, UTC)

    @lru_cache(maxsize=4096)
    def is_dated(created_at: str) -> bool:
        if not CREATED_AT.fullmatch(created_at):
            return False
        try:
            possible_day(Window.parse(created_at[:13]).start.date(), now)
        except WindowError:
            return False
        return True

    return is_dated


def _dicts(rules: Any) -> list[dict[str, Any]]:
    return [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []


def _names(rule: dict[str, Any], tags: frozenset[str]) -> bool:
    """Whether X's rule names one of our topics; its id, if there is one, must be a text."""
    tag = rule.get("tag")
    return isinstance(tag, str) and tag in tags and isinstance(rule.get("id"), str | None)


def _line(content: Mapping[str, Any]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def _reason(errors: Any) -> str:
    """X's own name for the first of its errors."""
    first = errors[0] if isinstance(errors, list) else errors
    if not isinstance(first, dict):
        return "unknown"
    return str(first.get("disconnect_type") or first.get("title") or first.get("type") or "unknown")

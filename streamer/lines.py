"""What a line of X's stream is, and the records that are made of it.

Everything travels through one delivery stream: tweets as X sent them plus ``ingest``; what is no usable
tweet, heartbeats and session events with a ``kind``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import orjson
from msgspec import Struct

from include.x.matching import Matcher
from include.x.payload import CREATED_AT, QUARANTINED_CHARACTERS, Shape, is_payload
from include.x.records import Ingest, iso
from include.x.snowflake import to_milliseconds
from include.x.text import loads, may_escape_surrogates
from include.x.topics import Topics
from streamer.delivery import RECORD_BYTES
from streamer.spool import Record


class _Rule(Struct):
    tag: str
    id: str | None = None


class _Usual(Shape, forbid_unknown_fields=True):
    """A payload as X sends it but for rare cases."""

    matching_rules: list[_Rule | None] | None = None
    errors: Any = None


_USUAL = msgspec.json.Decoder(_Usual)


@dataclass(frozen=True)
class StreamError:
    """X said in the stream that something is wrong, mostly before it closes it."""

    reason: str


class Tweet(NamedTuple):
    """A tweet's record, with what is counted of it: its topic, and whether that comes from our own rules."""

    record: Record
    topic: str
    evaluated: bool


class Rejected(NamedTuple):
    """The record of a line that is no usable tweet, and why it is none."""

    record: Record
    reason: str


@dataclass(frozen=True)
class Identity:
    """What every record of one session carries: the rule set and the sample (in percent) then in force."""

    session: str
    rule_hash: str
    sample: int


@dataclass(frozen=True)
class RuleSet:
    """The rules that lines are read by: ``identities`` tells by X's id of a rule which set it belongs to.

    So a tweet that an old rule brought, in the moments in which X changes over, carries the old set's hash
    and sample. A tweet of an id that is not there carries ``identity``.
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
        self._received: datetime | None = None
        self._received_ms = 0
        self._ends: dict[str, bytes] = {}

    def ingest(self, rule_id: str, received: datetime) -> tuple[int, bytes]:
        """The time of receipt in milliseconds, and what stands at the end of a tweet of that rule.

        The payload's own bytes stay as they are: `ingest` goes in before the last brace.
        """
        if received is not self._received:
            # Lines come by chunk, and all of a chunk have one time.
            self._received, self._received_ms, self._ends = received, to_milliseconds(received), {}
        end = self._ends.get(rule_id)
        if end is None:
            identity = self.rule_set.identities.get(rule_id, self.rule_set.identity)
            ingest = Ingest(
                received_at=iso(received),
                session=identity.session,
                rule_hash=identity.rule_hash,
                sample=identity.sample,
                source="stream",
            )
            end = self._ends[rule_id] = b"," + _line({"ingest": ingest})[1:]
        return self._received_ms, end

    def loosest(self, rules: list[dict[str, Any]]) -> str:
        """The id of the rule, of several of one topic, that leaves out least: that one counts."""
        identities = self.rule_set.identities
        known = [rule["id"] for rule in rules if rule.get("id") in identities]

        def leaves_in(rule_id: str) -> tuple[int, bool]:
            identity = identities[rule_id]
            return identity.sample, identity == self.rule_set.identity

        return max(known, key=leaves_in, default="")


class Reader:
    """Turns lines into records, by the rule set that was last `adopt`-ed."""

    def __init__(self, rule_set: RuleSet) -> None:
        self.adopt(rule_set)

    def adopt(self, rule_set: RuleSet) -> None:
        """Reads by another rule set from the next line on; any thread may say so."""
        self._reading = _Reading(rule_set)

    def read(self, line: bytes, received: datetime) -> Tweet | Rejected | StreamError:
        """What a line that is not empty holds; a `StreamError` if X reports a problem. Never raises."""
        reading = self._reading
        line = line.strip()
        try:
            if not line.isascii():
                # The decoder does not look into texts that it passes over.
                line.decode()
            payload = _USUAL.decode(line)
            (rule,) = payload.matching_rules or []
        except (ValueError, RecursionError):
            return self._read_thoroughly(reading, line, received)
        created_at = payload.data.created_at
        if (
            rule
            and rule.tag in reading.tags
            and created_at
            and CREATED_AT.fullmatch(created_at)
            and not may_escape_surrogates(line)
        ):
            received_ms, ingest = reading.ingest(rule.id or "", received)
            body = line[:-1] + ingest
            if len(body) <= RECORD_BYTES:
                return Tweet(Record(received_ms, "tweet", body, True), rule.tag, False)
        return self._read_thoroughly(reading, line, received)

    def _read_thoroughly(
        self, reading: _Reading, line: bytes, received: datetime
    ) -> Tweet | Rejected | StreamError:
        """What any line holds: a usual tweet too, at several times the cost."""
        try:
            payload: Any = orjson.loads(line)
        except orjson.JSONDecodeError:
            try:
                payload = loads(line)
                line = orjson.dumps(payload)
            except (ValueError, TypeError):
                # A TypeError: orjson reads more levels than it writes.
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
        dated = CREATED_AT.fullmatch(data.get("created_at") or "") is not None
        problem = None
        if topic is None:
            problem = "unknown_topic"
        elif not dated:
            problem = "missing_created_at"
        elif len(topics) > 1:
            problem = "overlap"
        else:
            if not topics or payload["matching_rules"] != rules:
                # What X left out, or what the table of raw could not read, is put right.
                payload["matching_rules"] = rules or [{"tag": topic}]
                try:
                    line = orjson.dumps(payload)
                except TypeError:
                    return self._rejected(line, received, "malformed_json", bought=True)
            received_ms, ingest = reading.ingest(reading.loosest(rules), received)
            body = line[:-1] + ingest
            if len(body) <= RECORD_BYTES:
                return Tweet(Record(received_ms, "tweet", body, True), topic, not topics)
            problem = "too_large"
        # Under its topic a rejected tweet lies in its own hour, as it would in raw.
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
        return Rejected(Record(to_milliseconds(received), "quarantine", _line(content), bought), reason)


def control(kind: str, identity: Identity, at: datetime, content: Mapping[str, Any]) -> Record:
    """A record about the streamer: ``kind`` is heartbeat or session; times in ``content`` become text."""
    texts = {name: iso(value) if isinstance(value, datetime) else value for name, value in content.items()}
    whole = {
        "kind": kind,
        "at": iso(at),
        "session": identity.session,
        **texts,
        "rule_hash": identity.rule_hash,
        "sample": identity.sample,
    }
    return Record(to_milliseconds(at), kind, _line(whole))


def _dicts(rules: Any) -> list[dict[str, Any]]:
    return [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []


def _names(rule: dict[str, Any], tags: frozenset[str]) -> bool:
    """Whether X's rule names a topic of ours; its id, if there is one, must be a text."""
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

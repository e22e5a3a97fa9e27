"""Reads a raw line: X's payload as one flat row, or the reason why it cannot be used. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from include.x.payload import Geo, Includes, Note
from include.x.text import loads, shown_text

MALFORMED_JSON = "malformed_json"
"""The line is not JSON, or is nested too deeply to be read."""
NOT_A_PAYLOAD = "not_a_payload"
"""JSON, but not in the payload's shape: not an object, or a field has the wrong type."""
MISSING_ID = "missing_id"
"""No id, or an id that is not a snowflake."""
MISSING_TEXT = "missing_text"
UNKNOWN_TOPIC = "unknown_topic"
"""The matching rules do not name the topic under which the line is stored."""
OVERLAP = "overlap"
"""The tweet matched two topics, so it counts for neither."""
OUTSIDE_WINDOW = "outside_window"
"""By its id or its `created_at` the tweet belongs to another hour."""
EDITED = "edited"
"""The author has edited the post since; only the newest version, which has its own id, counts."""
TOO_LARGE = "too_large"
"""The text does not fit into a request to a model."""
CORRUPT_OBJECT = "corrupt_object"
"""The rest of a raw object could not be unpacked."""

REASONS = (
    MALFORMED_JSON,
    NOT_A_PAYLOAD,
    MISSING_ID,
    MISSING_TEXT,
    UNKNOWN_TOPIC,
    OVERLAP,
    OUTSIDE_WINDOW,
    EDITED,
    TOO_LARGE,
    CORRUPT_OBJECT,
)

_INT64 = 1 << 63
_INT32 = 1 << 31


class TweetRow(Struct, gc=False):
    """One raw line. Times are X's ISO text; ``tweet_id`` is None if it cannot be read.

    With a ``reason`` the fields after it may be empty.
    """

    tweet_id: int | None
    reason: str | None
    received_at: str | None = None
    source: str | None = None
    created_at: str | None = None
    author_id: str | None = None
    text: str | None = None
    lang: str | None = None
    country_code: str | None = None
    location: str | None = None
    rule_hash: str | None = None
    sample: int | None = None
    place: str | None = None
    author_followers: int | None = None
    context: list[str] | None = None
    superseded: tuple[int, ...] = ()
    """The ids of the post's versions that are not its newest one, as far as the payload knows them."""


class _Entity(Struct, gc=False):
    name: str | None = None


class _Annotation(Struct, gc=False):
    entity: _Entity | None = None


class _Data(Struct, gc=False):
    created_at: str
    id: str | int | None = None
    text: str | None = None
    note_tweet: Note | None = None
    edit_history_tweet_ids: list[str | int | None] | None = None
    author_id: str | None = None
    lang: str | None = None
    geo: Geo | None = None
    context_annotations: list[_Annotation | None] | None = None


class _Rule(Struct, gc=False):
    tag: str | None = None


class _Ingest(Struct, gc=False):
    received_at: str | None = None
    source: str | None = None
    rule_hash: str | None = None
    sample: Annotated[int, Meta(ge=-_INT32, lt=_INT32)] | None = None


class _Payload(Struct, gc=False):
    """What is read of a payload; null means absent, and what else is in it does not matter."""

    data: _Data
    includes: Includes | None = None
    matching_rules: list[_Rule | None] | None = None
    ingest: _Ingest | None = None


_decode = msgspec.json.Decoder(_Payload).decode


def parse(line: bytes, topic: str, topics: Set[str]) -> TweetRow:
    """The row of a raw line stored under ``topic``, one of ``topics``.

    The author's location and followers come from `includes.users`, country and place from `includes.places`
    by `geo.place_id` (X API v2, expansions `author_id` and `geo.place_id`). The text is what people read
    (`include.x.text`); null means absent. The caller checks the times.
    """
    try:
        payload = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_unusual(line, topic, topics)
    tweet_id = _snowflake(payload.data.id)
    return TweetRow(None, MISSING_ID) if tweet_id is None else _row(payload, tweet_id, topic, topics)


def _parse_unusual(line: bytes, topic: str, topics: Set[str]) -> TweetRow:
    """As `parse`, of a line that is not in the payload's shape, or has text that UTF-8 cannot encode."""
    try:
        payload = loads(line)
    except ValueError:
        return TweetRow(None, MALFORMED_JSON)
    try:
        identifier = payload["data"].get("id")
    except (KeyError, TypeError, AttributeError):
        return TweetRow(None, NOT_A_PAYLOAD)
    tweet_id = _snowflake(identifier)
    if tweet_id is None:
        return TweetRow(None, MISSING_ID)
    try:
        return _row(msgspec.convert(payload, _Payload), tweet_id, topic, topics)
    except msgspec.ValidationError:
        return TweetRow(tweet_id, NOT_A_PAYLOAD)


def _snowflake(identifier: Any) -> int | None:
    if type(identifier) is str and identifier.isdecimal() and identifier.isascii():
        identifier = int(identifier)
    if type(identifier) is int and 0 < identifier < _INT64:
        return identifier
    return None


def _row(payload: _Payload, tweet_id: int, topic: str, topics: Set[str]) -> TweetRow:
    data, includes, ingest = payload.data, payload.includes, payload.ingest
    reason = None
    rules = payload.matching_rules or ()
    if len(rules) != 1 or not rules[0] or rules[0].tag != topic:
        tags = {rule.tag for rule in rules if rule}
        if len(tags & topics) > 1:
            reason = OVERLAP
        elif topic not in tags:
            reason = UNKNOWN_TOPIC
    note = data.note_tweet
    text = shown_text(data.text, note.text if note else None)
    if not text and reason is None:
        reason = MISSING_TEXT

    author_id = data.author_id
    location = followers = country_code = place = None
    if includes:
        for user in includes.users or ():
            if user and user.id == author_id:
                location = user.location
                if user.public_metrics:
                    followers = user.public_metrics.followers_count
                break
        if data.geo:
            place_id = data.geo.place_id
            for candidate in includes.places or ():
                if candidate and candidate.id == place_id:
                    country_code, place = candidate.country_code, candidate.full_name
                    break

    history, annotations = data.edit_history_tweet_ids, data.context_annotations
    return TweetRow(
        tweet_id,
        reason,
        ingest.received_at if ingest else None,
        ingest.source if ingest else None,
        data.created_at,
        author_id,
        text,
        data.lang,
        country_code,
        location,
        ingest.rule_hash if ingest else None,
        ingest.sample if ingest else None,
        place,
        followers,
        _names(annotations) if annotations else None,
        _superseded(history, tweet_id) if history and len(history) > 1 else (),
    )


def _superseded(history: Iterable[str | int | None], tweet_id: int) -> tuple[int, ...]:
    """All but the newest id of an edit history: each edit has a new, larger id (X's documentation)."""
    versions = {version for version in map(_snowflake, history) if version}
    return tuple(sorted(versions - {max(versions)})) if tweet_id in versions else ()


def _names(annotations: Iterable[_Annotation | None]) -> list[str]:
    """The distinct names of the annotated entities, in X's order."""
    entities = [annotation.entity for annotation in annotations if annotation]
    return list({entity.name: None for entity in entities if entity and entity.name})

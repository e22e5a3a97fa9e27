"""Reads a raw line: X's payload as one flat row, or the reason why it cannot be used. Pure."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, NamedTuple

from include.x.text import loads, shown

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


class TweetRow(NamedTuple):
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


def parse(line: bytes, topic: str, topics: Set[str]) -> TweetRow:
    """The row of a raw line stored under ``topic``, one of ``topics``.

    The author's location and followers come from `includes.users`, country and place from `includes.places`
    by `geo.place_id` (X API v2, expansions `author_id` and `geo.place_id`). The text is what people read
    (`include.x.text`); null means absent. The caller checks the types of the other scalar fields by column.
    """
    try:
        payload = loads(line)
    except ValueError:
        return TweetRow(None, MALFORMED_JSON)
    try:
        data = payload["data"]
        identifier = data.get("id")
    except (KeyError, TypeError, AttributeError):
        return TweetRow(None, NOT_A_PAYLOAD)
    tweet_id = _snowflake(identifier)
    if tweet_id is None:
        return TweetRow(None, MISSING_ID)
    try:
        return _row(payload, data, tweet_id, topic, topics)
    except (KeyError, TypeError, AttributeError):
        return TweetRow(tweet_id, NOT_A_PAYLOAD)


def _snowflake(identifier: Any) -> int | None:
    if type(identifier) is str and identifier.isdecimal() and identifier.isascii():
        identifier = int(identifier)
    if type(identifier) is int and 0 < identifier < _INT64:
        return identifier
    return None


def _row(
    payload: dict[str, Any], data: dict[str, Any], tweet_id: int, topic: str, topics: Set[str]
) -> TweetRow:
    reason = None
    rules = payload.get("matching_rules") or []
    if len(rules) != 1 or not rules[0] or rules[0].get("tag") != topic:
        tags = {rule.get("tag") for rule in rules if rule}
        if len(tags & topics) > 1:
            reason = OVERLAP
        elif topic not in tags:
            reason = UNKNOWN_TOPIC
    text = shown(data)
    if not text and reason is None:
        reason = MISSING_TEXT

    author_id = data.get("author_id")
    location = followers = country_code = place = None
    includes = payload.get("includes")
    if includes:
        for user in includes.get("users") or ():
            if user and user.get("id") == author_id:
                location = user.get("location")
                metrics = user.get("public_metrics")
                followers = metrics.get("followers_count") if metrics else None
                break
        geo = data.get("geo")
        if geo:
            place_id = geo.get("place_id")
            for candidate in includes.get("places") or ():
                if candidate and candidate.get("id") == place_id:
                    country_code, place = candidate.get("country_code"), candidate.get("full_name")
                    break

    history = data.get("edit_history_tweet_ids")
    created_at = data["created_at"]
    if created_at is None:
        raise KeyError("created_at")
    annotations = data.get("context_annotations")
    ingest = payload.get("ingest") or {}
    return TweetRow(
        tweet_id,
        reason,
        ingest.get("received_at"),
        ingest.get("source"),
        created_at,
        author_id,
        text,
        data.get("lang"),
        country_code,
        location,
        ingest.get("rule_hash"),
        ingest.get("sample"),
        place,
        followers,
        _names(annotations) if annotations else None,
        _superseded(history, tweet_id) if history and len(history) > 1 else (),
    )


def _superseded(history: list[Any], tweet_id: int) -> tuple[int, ...]:
    """All but the newest id of an edit history: each edit has a new, larger id (X's documentation)."""
    versions = {version for version in map(_snowflake, history) if version}
    return tuple(sorted(versions - {max(versions)})) if tweet_id in versions else ()


def _names(annotations: list[dict[str, Any] | None]) -> list[str]:
    """The distinct names of the annotated entities, in X's order."""
    entities = [annotation.get("entity") for annotation in annotations if annotation]
    names = [entity.get("name") for entity in entities if entity]
    return [name for name in dict.fromkeys(names) if name]

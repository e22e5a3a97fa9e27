"""Checks X's payloads before they go to raw, in the same way for the stream and for search.

A payload that does not fit the table raw (sql/tables/raw.sql) would fail every query over it, so it is
quarantined.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

CREATED_AT = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d(\.\d+)?Z")
"""X's time format, the only one from which the delivery stream can read day and hour."""

QUARANTINED_CHARACTERS = 65_536
"""The part that is kept of a line that is not a tweet."""

_INTEGER = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class Geo(Struct, gc=False):
    """Where a post was made: the id of one of the included places."""

    place_id: str | None = None


class _TweetMetrics(Struct, gc=False):
    retweet_count: _INTEGER | None = None
    reply_count: _INTEGER | None = None
    like_count: _INTEGER | None = None
    quote_count: _INTEGER | None = None


class Note(Struct, gc=False):
    """The whole text of a long post."""

    text: str | None = None


class _Data(Struct, gc=False):
    id: str | None = None
    text: str | None = None
    note_tweet: Note | None = None
    edit_history_tweet_ids: list[str | None] | None = None
    created_at: str | None = None
    author_id: str | None = None
    lang: str | None = None
    geo: Geo | None = None
    public_metrics: _TweetMetrics | None = None


class _UserMetrics(Struct, gc=False):
    followers_count: _INTEGER | None = None


class _User(Struct, gc=False):
    id: str | None = None
    location: str | None = None
    public_metrics: _UserMetrics | None = None


class _Place(Struct, gc=False):
    id: str | None = None
    full_name: str | None = None
    country_code: str | None = None


class Includes(Struct, gc=False):
    """What a payload includes beside its post."""

    users: list[_User | None] | None = None
    places: list[_Place | None] | None = None


class Shape(Struct, gc=False):
    """The columns of raw that X fills; null means absent."""

    data: _Data
    includes: Includes | None = None


_OURS = frozenset(("ingest", "kind", "at"))
_COLUMNS = frozenset(Shape.__struct_fields__)


def is_payload(payload: Any) -> bool:
    """Whether the table raw can read ``payload``, and none of its keys is one that we add."""
    if not isinstance(payload, dict):
        return False
    # The table's reader ignores the case of keys, and X's payloads have no `kind` and no time of ours.
    if any(key in _OURS or (key.lower() in _COLUMNS and key not in _COLUMNS) for key in payload):
        return False
    try:
        msgspec.convert({key: payload[key] for key in _COLUMNS & payload.keys()}, Shape)
    except msgspec.ValidationError:
        return False
    return True


def is_dated(data: dict[str, Any]) -> bool:
    """Whether the post of a payload says when it was created, in X's form."""
    return CREATED_AT.fullmatch(data.get("created_at") or "") is not None

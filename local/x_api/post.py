"""A post as the stand-in keeps it, and what rules and searches may ask of it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Protocol

from include.x.snowflake import milliseconds
from include.x.text import shown

Json = dict[str, Any]
"""An object of X's payload."""

# Vowel signs and other marks belong to the word that they stand in, but are no `\w` to Python.
_MARKS = "".join(chr(code) for code in range(0x300, 0x3100) if unicodedata.category(chr(code))[0] == "M")
EMOJI = "\u2600-\u27bf\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff"
_TOKEN = re.compile(rf"[\w{_MARKS}]+|[{EMOJI}]")
_ACCENTS = re.compile("[\u0300-\u036f]")
_HASHTAG = re.compile(rf"(?<![\w&])[#＃]([\w{_MARKS}]+)")
_CASHTAG = re.compile(r"(?<!\w)\$([A-Za-z]{1,6})\b")
_MENTION = re.compile(r"(?<![\w@])@([A-Za-z0-9_]{1,15})\b")
_LINK = re.compile(r"https?://[^\s…]+")


def objects(holder: Json, name: str) -> list[Json]:
    """The objects of a list; what is null is as good as absent."""
    return [item for item in holder.get(name) or () if item is not None]


def part(holder: Json, name: str) -> Json:
    """An object inside another; empty where it is absent or null."""
    found: Json | None = holder.get(name)
    return found or {}


def names(text: str) -> frozenset[str]:
    """The names in a text, set apart by spaces."""
    return frozenset(text.split())


def instant(at: datetime) -> str:
    """A time as X writes it: ``2026-11-20T05:00:00.000Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def folded(text: str) -> str:
    """Lower case, composed: how the stream compares texts (it minds accents)."""
    return unicodedata.normalize("NFC", text.lower())


def unaccented(text: str) -> str:
    """The same without accents: how search compares texts."""
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text.lower())))


def tokens(comparable: str) -> str:
    """The words and emoji of a folded text, each with a space on both sides: `` ' so easy 🎉 ' ``.

    A phrase lies in a text just if its tokens lie in the text's tokens.
    """
    return f" {' '.join(_TOKEN.findall(comparable))} "


class Post:
    """One post: ``data`` and ``includes`` hold all that is known, whoever asks for which fields."""

    def __init__(self, data: Json, includes: dict[str, list[Json]]) -> None:
        self.id = int(data["id"])
        self.data = data
        self.includes = includes

    @property
    def milliseconds(self) -> int:
        """When it was posted, in milliseconds since 1970."""
        return milliseconds(self.id)

    @property
    def text(self) -> str:
        """The text as the payload has it."""
        return str(self.data["text"])

    @cached_property
    def shown(self) -> str:
        """The text as people read it, and as rules and searches see it."""
        return shown(self.data) or ""

    @cached_property
    def author(self) -> Json:
        """The author as far as the payload tells; at least the id."""
        return self.user(self.data.get("author_id"))

    def user(self, user_id: str | None) -> Json:
        """A user of the payload by id; an object with the id alone if the payload has no more."""
        for user in objects(self.includes, "users"):
            if user.get("id") == user_id:
                return user
        return {"id": user_id} if user_id else {}

    @cached_property
    def references(self) -> dict[str, str]:
        """Ids of the referenced posts by the kind of the reference: retweeted, quoted, replied_to."""
        return {reference["type"]: reference["id"] for reference in objects(self.data, "referenced_tweets")}

    @cached_property
    def quoted_text(self) -> str:
        """The text of the post that this one quotes, if the payload has it."""
        quoted = self.references.get("quoted")
        others = objects(self.includes, "tweets")
        return next((shown(other) or "" for other in others if other.get("id") == quoted), "")

    @cached_property
    def comparable(self) -> str:
        """The text as the stream compares it; the stream matches quoted text too."""
        return folded(f"{self.shown} {self.quoted_text}")

    @cached_property
    def comparable_unaccented(self) -> str:
        """The text as search compares it."""
        return unaccented(self.shown)

    @cached_property
    def tokens(self) -> str:
        """`tokens` of `comparable`."""
        return tokens(self.comparable)

    @cached_property
    def tokens_unaccented(self) -> str:
        """`tokens` of `comparable_unaccented`."""
        return tokens(self.comparable_unaccented)

    @cached_property
    def place(self) -> Json:
        """The tagged place, or an empty object."""
        place_id = part(self.data, "geo").get("place_id")
        places = objects(self.includes, "places")
        return next((place for place in places if place_id and place.get("id") == place_id), {})

    def entities(self, kind: str) -> set[str]:
        """Lower-case hashtags, cashtags, mentions or urls; read from the text where X gave no entities."""
        if self.data.get("entities") is not None:
            return set(_from_entities(self.data["entities"], kind))
        pattern = {"hashtags": _HASHTAG, "cashtags": _CASHTAG, "mentions": _MENTION, "urls": _LINK}[kind]
        return {found.lower() for found in pattern.findall(self.shown)}


def _from_entities(entities: Json, kind: str) -> Iterator[str]:
    for entity in objects(entities, kind):
        for name in ("tag", "username", "url", "expanded_url", "unwound_url"):
            if entity.get(name) is not None:
                yield str(entity[name]).lower()


class Corpus(Protocol):
    """All posts there are, past and future, in the order of their ids."""

    def posts(self, lowest: int, below: int, newest_first: bool = False) -> Iterator[Post]:
        """The posts whose ids lie in ``[lowest, below)``."""
        ...

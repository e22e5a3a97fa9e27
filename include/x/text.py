"""The text of X's payloads: JSON that UTF-8 cannot encode, and a post's text as people read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

# Begins with a plain character, which is found many times faster than an alternation.
_ESCAPED_SURROGATE = re.compile(
    rb"""\\(?:
          \\u[dD]                                                # an escaped backslash: look closer
        | u[dD](?: [89abAB][0-9a-fA-F]{2} (?!\\u[dD][c-fC-F])    # the first half of a pair, alone
                 | (?<! \\u[dD][89abAB][0-9a-fA-F]{2} \\u[dD] ) [c-fC-F] ))  # the second half, alone
    """,
    re.VERBOSE,
)
_BACKSLASH = 0x5C
_ENTITY = re.compile("&(amp|lt|gt);")
_CHARACTERS = {"amp": "&", "lt": "<", "gt": ">"}
_INT64, _UINT64 = -(1 << 63), 1 << 64


def may_escape_surrogates(line: bytes) -> bool:
    r"""Whether a line of JSON may contain an escaped half of a surrogate pair; never False if it does."""
    return _BACKSLASH in line and _ESCAPED_SURROGATE.search(line) is not None


def loads(line: bytes) -> Any:
    """The value of a line of JSON, with every text encodable as UTF-8.

    JSON allows half a surrogate pair (half an emoji: ``"\\ud83d"``), UTF-8 does not: U+FFFD replaces that one
    character, in keys too. Raises `ValueError` if the line is not JSON or is nested too deeply to be read
    (more than 1,024 levels).
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        if not may_escape_surrogates(line) and b"\xed" not in line:
            raise
    try:
        value = json.loads(
            line.decode("utf-8", "surrogatepass"), parse_constant=_no_number, parse_int=_integer
        )
        return well_formed(value)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def well_formed(value: Any) -> Any:
    """A decoded JSON value with U+FFFD in place of every lone surrogate, in keys and texts.

    For values from other parsers: `requests` and tweepy keep lone surrogates. `loads` does this itself.
    """
    if isinstance(value, str):
        # UTF-16 also joins the two halves of a pair that were escaped separately.
        if value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value):
            return value
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {well_formed(key): well_formed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [well_formed(item) for item in value]
    return value


def unescaped(text: str) -> str:
    """X's text as its author wrote it: X sends ``&``, ``<`` and ``>`` as ``&amp;``, ``&lt;`` and ``&gt;``.

    Other entities (``&copy;``) stay: an author who types one is sent as ``&amp;copy;``.
    """
    return _ENTITY.sub(lambda found: _CHARACTERS[found[1]], text) if "&" in text else text


def shown(data: Mapping[str, Any]) -> str | None:
    """The whole text of a post (``data`` of its payload) as people read it; None without one.

    X truncates a long post's ``text`` at 280 characters and sends all of it in ``note_tweet`` (its
    documentation of fields). Raises `TypeError` if the text is not a string.
    """
    note = data.get("note_tweet")
    if note is not None and type(note) is not dict:
        raise TypeError(f"a post's note_tweet is an object, not {type(note).__name__}")
    text = data.get("text")
    whole = note.get("text") if note else None
    for each in (text, whole):
        if each is not None and type(each) is not str:
            raise TypeError(f"the text of a post is a string, not {type(each).__name__}")
    return shown_text(text, whole)


def shown_text(text: str | None, whole: str | None) -> str | None:
    """As `shown`, of a post's ``text`` and that of its ``note_tweet``."""
    chosen = whole or text
    return chosen and unescaped(chosen)


def _integer(text: str) -> int | float:
    """As orjson does: an integer beyond 64 bits is a float."""
    number = int(text)
    return number if _INT64 <= number < _UINT64 else float(text)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")

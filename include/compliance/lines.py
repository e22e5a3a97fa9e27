"""One stored line, and what tombstones leave of it; pure.

The lake has lines of several forms: X's payload with `ingest` (raw), a quarantined row that holds such a line
as a text, what a model is asked and answers, a page of a search, and Firehose's envelope around records.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

from include.compliance.tombstones import Tombstones
from include.x.compliance import ComplianceAction
from include.x.text import loads

_DELETE = ComplianceAction.DELETE
_NUMBER = re.compile(rb"(?<![0-9])[1-9][0-9]{0,18}(?![0-9])")
_PLACES = ("country_code", "location", "place")

Removed = Callable[[int, ComplianceAction], None]
"""Told of each tweet that something was done about."""


def left(line: bytes, tombstones: Tombstones, removed: Removed) -> bytes | None:
    """What stays of a line: the line itself, one without a place, or None.

    A line that is no whole JSON is removed where any number in it names a removed tweet, or a removed user.
    """
    try:
        content = loads(line)
    except ValueError:
        return None if _names_removed(line, tombstones, removed) else line
    if not isinstance(content, dict):
        return None if _names_removed(line, tombstones, removed) else line
    if "rawData" in content:
        return _of_envelope(line, content, tombstones, removed)
    if "answer" in content and "request" in content:
        return _of_page(line, content, tombstones, removed)
    if "stage" in content and "line" in content:
        return _of_quarantine(line, content, tombstones, removed)
    post = content["data"] if isinstance(content.get("data"), dict) else content
    return _of_post(line, content, post, tombstones, removed)


def _of_post(
    line: bytes, content: dict[str, Any], post: dict[str, Any], tombstones: Tombstones, removed: Removed
) -> bytes | None:
    tweet_id = _identifier(post.get("id"))
    if tweet_id is None:
        return None if _names_removed(line, tombstones, removed) else line
    author_id = post.get("author_id")
    action = tombstones.of_author(tweet_id, author_id if isinstance(author_id, str) else None)
    if action is None:
        return line
    removed(tweet_id, action)
    if action is _DELETE:
        return None
    return _written(content) if _without_place(content, post) else line


def _of_quarantine(
    line: bytes, content: dict[str, Any], tombstones: Tombstones, removed: Removed
) -> bytes | None:
    tweet_id = _identifier(content.get("tweet_id"))
    action = tombstones.of(tweet_id, None) if tweet_id is not None else None
    text = content["line"]
    inner = text.encode() if isinstance(text, str) else b""
    if action is _DELETE and tweet_id is not None:
        removed(tweet_id, action)
        return None
    rest = left(inner, tombstones, removed) if inner else inner
    if rest is None:
        # Of a cut line whose place must go nobody can tell where that stands: its text goes as a whole.
        if action is not ComplianceAction.SCRUB_GEO:
            return None
        rest = b""
    return line if rest == inner else _written({**content, "line": rest.decode()})


def _of_page(line: bytes, content: dict[str, Any], tombstones: Tombstones, removed: Removed) -> bytes:
    """A page of search: its posts go one by one, and with them their authors and places where unused."""
    answer = content["answer"]
    posts = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(posts, list):
        return line
    kept = []
    for post in posts:
        body = _written(post)
        rest = left(body, tombstones, removed)
        if rest is not None:
            kept.append(post if rest == body else loads(rest))
    if kept == posts:
        return line
    changed = {**answer, "data": kept}
    if isinstance(includes := answer.get("includes"), dict):
        used = _written(kept)
        changed["includes"] = {
            kind: [each for each in items if isinstance(each, dict) and str(each.get("id")).encode() in used]
            for kind, items in includes.items()
            if isinstance(items, list)
        }
    return _written({**content, "answer": changed})


def _of_envelope(
    line: bytes, content: dict[str, Any], tombstones: Tombstones, removed: Removed
) -> bytes | None:
    """Firehose's envelope: a record holds one line or several."""
    try:
        record = base64.b64decode(content["rawData"], validate=True)
    except (ValueError, TypeError):
        return None if _names_removed(line, tombstones, removed) else line
    lines = record.splitlines(keepends=True)
    rest = []
    for each in lines:
        body = each.rstrip(b"\r\n")
        kept = left(body, tombstones, removed) if body else body
        if kept is not None:
            rest.append(kept + each[len(body) :])
    if rest == lines:
        return line
    if not any(each.strip() for each in rest):
        return None
    return _written({**content, "rawData": base64.b64encode(b"".join(rest)).decode()})


def _names_removed(line: bytes, tombstones: Tombstones, removed: Removed) -> bool:
    """Whether a number in what cannot be parsed names a removed tweet or user."""
    found = False
    for number in set(_NUMBER.findall(line)):
        tweet_id = int(number)
        action = tombstones.of(tweet_id, None)
        if action is not None:
            removed(tweet_id, action)
        found = found or action is not None or bool(tombstones.of_author(0, number.decode()))
    return found


def _without_place(content: dict[str, Any], post: dict[str, Any]) -> bool:
    """Empties place, country and location, in place; whether there was any."""
    had = post.pop("geo", None) is not None
    for name in _PLACES:
        had = post.pop(name, None) is not None or had
    includes = content.get("includes")
    if isinstance(includes, dict):
        had = bool(includes.pop("places", None)) or had
        for user in includes.get("users") or ():
            if isinstance(user, dict):
                had = user.pop("location", None) is not None or had
    return had


def _identifier(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    return value if type(value) is int and 0 < value < 1 << 63 else None


def _written(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

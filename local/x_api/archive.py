"""Real posts from a file, moved in time so that the last one falls on the moment of the first start.

The file is NDJSON, plain or gzip: lines as the stream sends them (``{"data": {...}, "includes": {...}}``)
or twarc's pages (``{"data": [...], "includes": {...}}``). The shift is kept in the state folder under the
content's digest, so that later starts give the same posts under the same ids. The file's own time is the
first cycle; behind it the posts come again and again under new ids, each cycle a span later, for the stream.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import time
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from include.x.snowflake import EPOCH_MS, LOW_BITS, milliseconds
from local.x_api.post import Json, Post
from local.x_api.selection import EVERYTHING

_GZIP_MAGIC = b"\x1f\x8b"
_LOW_MASK = (1 << LOW_BITS) - 1
_SECOND = 1000
_LONE_POST_SPAN = 60 * _SECOND

log = logging.getLogger(__name__)


class ArchiveError(ValueError):
    """A file from which no post can be had; the message says why in one sentence."""


@dataclass(frozen=True)
class _Original:
    """A post as it stands in the file; ``at`` is in milliseconds since 1970."""

    id: str
    at: int
    low: int
    payload: bytes

    @property
    def snowflake(self) -> int:
        """The id that agrees with ``at``."""
        return (self.at - EPOCH_MS << LOW_BITS) | self.low


class Archive:
    """A `Corpus` of the posts of one file."""

    def __init__(self, path: Path, state: Path, clock: Callable[[], float] = time.time) -> None:
        """Reads the file; raises `ArchiveError` if it cannot be read or holds no post."""
        self.skipped = 0
        self.duplicates = 0
        self._digest = hashlib.sha256()
        self._originals = self._read(path)
        if not self._originals:
            raise ArchiveError(f"the archive {path} holds no tweets ({self.skipped} lines were skipped)")
        first, last = self._originals[0].at, self._originals[-1].at
        mean_gap = (
            (last - first) // (len(self._originals) - 1) if len(self._originals) > 1 else _LONE_POST_SPAN
        )
        self._span = _whole_seconds(last - first + max(mean_gap, _SECOND)) + _SECOND
        self._shift = self._kept_shift(state / "archive.json", _whole_seconds(int(clock() * 1000) - last))
        self._by_id = {original.id: original for original in self._originals}
        self._ids = [original.snowflake + (self._shift << LOW_BITS) for original in self._originals]
        log.info(
            "archive read tweets=%d skipped=%d duplicates=%d", len(self._ids), self.skipped, self.duplicates
        )

    def describe(self) -> Json:
        """What was read, by how much it was moved, and between which times its first cycle lies."""
        return {
            "tweets": len(self._ids),
            "skipped": self.skipped,
            "duplicates": self.duplicates,
            "shift_seconds": self._shift // _SECOND,
            "first": _iso(milliseconds(self._ids[0])),
            "last": _iso(milliseconds(self._ids[-1])),
        }

    def posts(self, lowest: int, below: int, newest_first: bool = False) -> Iterator[Post]:
        """The posts whose ids lie in ``[lowest, below)``, of whatever cycle."""
        if below <= max(lowest, self._ids[0]):
            return
        start = milliseconds(self._ids[0])
        first = max(0, (milliseconds(lowest) - start) // self._span - 1)
        last = (milliseconds(below) - start) // self._span
        cycles = range(first, last + 1)
        for cycle in reversed(cycles) if newest_first else cycles:
            moved = cycle * self._span << LOW_BITS
            places = range(bisect_left(self._ids, lowest - moved), bisect_left(self._ids, below - moved))
            for place in reversed(places) if newest_first else places:
                yield self._post(place, self._shift + cycle * self._span)

    def _read(self, path: Path) -> list[_Original]:
        found: dict[str, _Original] = {}
        taken: set[tuple[int, int]] = set()
        for data, includes in self._payloads(path):
            original = _original(data, includes)
            if original is None:
                self.skipped += 1
            elif original.id in found:
                self.duplicates += 1
            else:
                low = original.low
                while (original.at, low) in taken:
                    low = (low + 1) & _LOW_MASK
                taken.add((original.at, low))
                found[original.id] = _Original(original.id, original.at, low, original.payload)
        return sorted(found.values(), key=lambda original: original.snowflake)

    def _payloads(self, path: Path) -> Iterator[tuple[object, Json]]:
        """Every post's object with the includes that belong to it; counts the lines that hold none."""
        try:
            with path.open("rb") as file:
                compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            with gzip.open(path) if compressed else path.open("rb") as lines:
                for line in lines:
                    self._digest.update(line)
                    if not line.strip():
                        continue
                    try:
                        content = json.loads(line)
                    except ValueError:
                        self.skipped += 1
                        continue
                    data = content.get("data") if isinstance(content, dict) else None
                    includes = content.get("includes", {}) if isinstance(content, dict) else {}
                    if isinstance(data, list):
                        yield from ((item, _belonging(item, includes)) for item in data)
                    else:
                        yield data, includes
        except (OSError, EOFError, zlib.error) as error:
            raise ArchiveError(f"the archive {path} cannot be read: {error}") from error

    def _kept_shift(self, path: Path, shift: int) -> int:
        """The shift of the first start with this content; now is the first if there was none."""
        kept: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        digest = self._digest.hexdigest()
        if digest not in kept:
            kept[digest] = shift
            written = path.with_suffix(".new")
            written.write_text(json.dumps(kept))
            written.replace(path)
        return kept[digest]

    def _post(self, place: int, shift: int) -> Post:
        original = self._originals[place]
        payload = json.loads(original.payload)
        data, includes = payload["data"], payload["includes"]
        for item in (data, *includes.get("tweets", ())):
            _move(item, shift, lambda post_id: self._moved(post_id, shift))
        data["created_at"] = _iso(_whole_seconds(original.at + shift))
        return Post(data, includes)

    def _moved(self, post_id: str, shift: int) -> str:
        """The id after the shift; a post that is not in the file moves by the same time."""
        original = self._by_id.get(post_id)
        snowflake = original.snowflake if original else int(post_id)
        return str(max(1, snowflake + (shift << LOW_BITS)))


def _original(data: object, includes: Json) -> _Original | None:
    """The post, or None if the object is none: without id or text, or with parts unlike X's."""
    if not isinstance(data, dict) or not isinstance(data.get("text"), str) or not isinstance(includes, dict):
        return None
    post_id = data.get("id")
    if not isinstance(post_id, str) or not (post_id.isascii() and post_id.isdigit()):
        return None
    by_id = milliseconds(int(post_id))
    created_at = _at(data.get("created_at"))
    at = by_id if created_at is None or abs(by_id - created_at) < _SECOND else created_at
    if at <= EPOCH_MS:
        return None
    payload = json.dumps({"data": data, "includes": includes}).encode()
    return _Original(post_id, at, int(post_id) & _LOW_MASK, payload) if _is_sound(payload) else None


def _is_sound(payload: bytes) -> bool:
    """Whether all that is ever asked of a post can be asked of this one."""
    content = json.loads(payload)
    post = Post(content["data"], content["includes"])
    try:
        for item in (post.data, *post.includes.get("tweets", ())):
            _move(item, 0, lambda post_id: str(int(post_id)))
        EVERYTHING.includes([post])
        for annotation in post.data.get("context_annotations", ()):
            str(annotation["domain"]["id"] + annotation["entity"]["id"])
        return bool(post.tokens) and isinstance(post.author | post.place, dict)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _move(data: Json, shift: int, moved: Callable[[str], str]) -> None:
    """Gives a post the ids (by ``moved``) and times that it has after the shift (in milliseconds)."""
    data["id"] = moved(data["id"])
    edits = [moved(edit) for edit in data.get("edit_history_tweet_ids", ())]
    data["edit_history_tweet_ids"] = edits or [data["id"]]
    if "conversation_id" in data:
        data["conversation_id"] = moved(data["conversation_id"])
    for reference in data.get("referenced_tweets", ()):
        reference["id"] = moved(reference["id"])
    created_at = _at(data.get("created_at"))
    if created_at is not None:
        data["created_at"] = _iso(created_at + shift)


def _belonging(data: object, includes: Json) -> Json:
    """Of a page's includes those that one of its posts refers to."""
    if not isinstance(data, dict) or not isinstance(includes, dict):
        return {}
    references = {reference.get("id") for reference in data.get("referenced_tweets", ())}
    others = [other for other in includes.get("tweets", ()) if other.get("id") in references]
    mentions = data.get("entities", {}).get("mentions", ())
    mentioned = {mention.get("username", "").lower() for mention in mentions}
    users = {
        data.get("author_id"),
        data.get("in_reply_to_user_id"),
        *(other.get("author_id") for other in others),
    }
    attached = data.get("attachments", {})
    chosen = {
        "users": [
            user
            for user in includes.get("users", ())
            if user.get("id") in users or user.get("username", "").lower() in mentioned
        ],
        "tweets": others,
        "places": [
            place
            for place in includes.get("places", ())
            if place.get("id") == data.get("geo", {}).get("place_id")
        ],
        "media": [
            media
            for media in includes.get("media", ())
            if media.get("media_key") in attached.get("media_keys", ())
        ],
        "polls": [
            poll for poll in includes.get("polls", ()) if poll.get("id") in attached.get("poll_ids", ())
        ],
    }
    return {kind: objects for kind, objects in chosen.items() if objects}


def _at(created_at: object) -> int | None:
    """Milliseconds since 1970 of a payload's time, or None if it is none."""
    if not isinstance(created_at, str):
        return None
    try:
        parsed = datetime.fromisoformat(created_at)
    except ValueError:
        return None
    return round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def _whole_seconds(at: int) -> int:
    return at // _SECOND * _SECOND


def _iso(at: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

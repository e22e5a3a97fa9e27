"""Real posts from files, moved in time so that the last one falls on the moment of the first start.

What `local.x_api.archive_files` reads holds lines as the stream sends them (``{"data": {...}, "includes":
{...}}``), pages of search as twarc keeps them (``{"data": [...], "includes": {...}}``) or posts that twarc
has flattened. The shift is kept in the state folder under the content's digest, so that later starts give
the same posts under the same ids.
The file's own time is the first cycle; behind it the posts come again and again under new ids, each cycle a
span later, for the stream.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from include.x.snowflake import EPOCH_MS, LOW_BITS, milliseconds
from local.x_api.archive_files import READING, ChangedError, FileError, values
from local.x_api.post import Json, Post, objects, part

_LOW_MASK = (1 << LOW_BITS) - 1
_SECOND = 1000
_LONE_POST_SPAN = 60 * _SECOND
_TOLD_EVERY_SECONDS = 1.0
_LARGEST_ID = 1 << 63
_NULL = re.compile(rb"[:,\[]null[,}\]]")
_NO_TWEET = "no id and text of a tweet"
_UNSOUND = "parts unlike those of X API v2"

log = logging.getLogger(__name__)


class ArchiveError(ValueError):
    """A file from which no post can be had; the message says why in one sentence."""


class Archive:
    """A `Corpus` of the posts of one file or folder.

    The payloads lie in a nameless file in the state folder; in memory are 32 bytes a post, and some 200 while
    the file is read.
    """

    def __init__(self, path: Path, state: Path, clock: Callable[[], float] = time.time) -> None:
        """Reads the file.

        Raises `ArchiveError` if it cannot be read, if most of it is no post, if it changes meanwhile, or if
        the state folder cannot be written to.
        """
        self.skipped: Counter[str] = Counter()
        self.duplicates = 0
        try:
            self._payloads = tempfile.TemporaryFile(dir=state)  # noqa: SIM115 - open as long as the archive
        except OSError as error:
            raise _unwritable(state, error) from error
        self._other_ids: dict[int, int] = {}
        """By the ids in the file that disagree with their posts' times: the ids that agree."""
        self._snowflakes, self._offsets, self._sizes = array("Q"), array("Q"), array("L")
        self._read(path, state)
        first, last = milliseconds(self._snowflakes[0]), milliseconds(self._snowflakes[-1])
        count = len(self._snowflakes)
        mean_gap = (last - first) // (count - 1) if count > 1 else _LONE_POST_SPAN
        self._span = _whole_seconds(last - first + max(mean_gap, _SECOND)) + _SECOND
        self._shift = self._kept_shift(state / "archive.json", _whole_seconds(int(clock() * 1000) - last))
        self._ids = array("Q", (snowflake + (self._shift << LOW_BITS) for snowflake in self._snowflakes))
        log.info(
            "archive read tweets=%d skipped=%d duplicates=%d damaged=%d",
            count,
            self.skipped.total(),
            self.duplicates,
            len(self._damaged),
        )

    def describe(self) -> Json:
        """What was read, by how much it was moved, and between which times its first cycle lies."""
        return {
            "tweets": len(self._ids),
            "skipped": self.skipped.total(),
            "reasons": dict(self.skipped.most_common()),
            "damaged": self._damaged,
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

    def _read(self, path: Path, state: Path) -> None:
        told = 0.0

        def tell() -> None:
            nonlocal told
            if time.monotonic() - told >= _TOLD_EVERY_SECONDS:
                told = time.monotonic()
                share = reading.done * 100 // max(reading.total, 1)
                log.info("%s: %d %%, %d tweets", READING, share, len(self._snowflakes))

        def skip(reason: str) -> None:
            self.skipped[reason] += 1

        try:
            reading, found = values(path, tell, skip)
            self._keep(found, state)
        except ChangedError as error:
            raise ArchiveError(str(error)) from error
        except (FileError, OSError) as error:
            raise ArchiveError(f"the archive {path} cannot be read: {error}") from error
        self._damaged = dict(reading.damaged)
        self._reject_most(path)
        self._digest = reading.digest.hexdigest()
        by_time = sorted(range(len(self._snowflakes)), key=self._snowflakes.__getitem__)
        self._snowflakes = array("Q", map(self._snowflakes.__getitem__, by_time))
        self._offsets = array("Q", map(self._offsets.__getitem__, by_time))
        self._sizes = array("L", map(self._sizes.__getitem__, by_time))

    def _keep(self, found: Iterator[Any], state: Path) -> None:
        """Writes the payloads down: every post's id by its time, and where its payload lies."""
        seen: set[int] = set()
        taken: set[int] = set()
        offset = 0
        for value in found:
            for data, includes in self._posts(value):
                original = _original(data, includes)
                if isinstance(original, str):
                    self.skipped[original] += 1
                    continue
                post_id, snowflake, payload = original
                if post_id in seen:
                    self.duplicates += 1
                    continue
                while snowflake in taken:
                    low = (snowflake + 1) & _LOW_MASK
                    snowflake = (snowflake >> LOW_BITS << LOW_BITS) | low
                seen.add(post_id)
                if snowflake == post_id:
                    # One object for both sets.
                    taken.add(post_id)
                else:
                    taken.add(snowflake)
                    self._other_ids[post_id] = snowflake
                try:
                    self._payloads.write(payload)
                except OSError as error:
                    raise _unwritable(state, error) from error
                self._snowflakes.append(snowflake)
                self._offsets.append(offset)
                self._sizes.append(len(payload))
                offset += len(payload)
        try:
            self._payloads.flush()
        except OSError as error:
            raise _unwritable(state, error) from error

    def _posts(self, value: object) -> Iterator[tuple[object, object]]:
        """Every post's object with the includes that belong to it; counts what holds none."""
        if not isinstance(value, dict):
            self.skipped[_NO_TWEET] += 1
        elif reason := _foreign(value):
            self.skipped[reason] += 1
        elif isinstance(value.get("data"), list):
            includes = _Includes(value.get("includes"))
            for data in value["data"]:
                yield data, includes.of(data)
        elif "data" in value:
            yield value["data"], value.get("includes")
        elif "id" in value and "text" in value:
            yield _unflattened(value)
        elif _is_page_without_tweets(value):
            return
        else:
            self.skipped[_NO_TWEET] += 1

    def _reject_most(self, path: Path) -> None:
        """Raises `ArchiveError` where there are no posts, or fewer than what is none."""
        read, skipped = len(self._snowflakes) + self.duplicates, self.skipped.total()
        if read and skipped <= read:
            return
        reasons = [f"{count:,} × {reason}" for reason, count in self.skipped.most_common(4)]
        reasons += [f"{name} is damaged ({reason})" for name, reason in list(self._damaged.items())[:4]]
        why = "; ".join(reasons) or "there is nothing in it"
        if read:
            message = f"most of the archive {path} is no tweets ({skipped:,} skipped, {read:,} read)"
        else:
            message = f"the archive {path} holds no tweets of X API v2"
        raise ArchiveError(f"{message}: {why}")

    def _kept_shift(self, path: Path, shift: int) -> int:
        """The shift of the first start with this content; now is the first if there was none."""
        try:
            kept: dict[str, int] = json.loads(path.read_bytes()) if path.exists() else {}
        except ValueError as error:
            raise ArchiveError(
                f"{path}, which says by how much archives are moved, is damaged ({error}): delete it, and the"
                " tweets come again under new ids"
            ) from error
        digest = self._digest
        if digest not in kept:
            kept[digest] = shift
            written = path.with_suffix(".new")
            try:
                written.write_text(json.dumps(kept))
                written.replace(path)
            except OSError as error:
                raise _unwritable(path.parent, error) from error
        return kept[digest]

    def _post(self, place: int, shift: int) -> Post:
        descriptor = self._payloads.fileno()
        payload = orjson.loads(os.pread(descriptor, self._sizes[place], self._offsets[place]))
        data, includes = payload["data"], payload["includes"]
        for item in (data, *includes.get("tweets", ())):
            _move(item, shift, lambda post_id: self._moved(post_id, shift))
        data["created_at"] = _iso(_whole_seconds(milliseconds(self._snowflakes[place]) + shift))
        return Post(data, includes)

    def _moved(self, post_id: str, shift: int) -> str:
        """The id after the shift; a post that is not in the file moves by the same time."""
        number = int(post_id)
        return str(max(1, self._other_ids.get(number, number) + (shift << LOW_BITS)))


def _unwritable(state: Path, error: OSError) -> ArchiveError:
    return ArchiveError(
        f"{state} cannot be written to ({error.strerror}): it takes as many bytes as the unpacked archive"
    )


def _original(data: object, includes: object) -> tuple[int, int, bytes] | str:
    """The post's id, the id that agrees with its time, and its payload; or why it is none."""
    if not isinstance(data, dict) or not isinstance(data.get("text"), str):
        return _NO_TWEET
    post_id = data.get("id")
    if not isinstance(post_id, str) or not (post_id.isascii() and post_id.isdigit()):
        return _NO_TWEET
    number = int(post_id)
    if number >= _LARGEST_ID:
        return _NO_TWEET
    by_id = milliseconds(number)
    created_at = _at(data.get("created_at"))
    at = by_id if created_at is None or abs(by_id - created_at) < _SECOND else created_at
    if at <= EPOCH_MS:
        return "a tweet without a time: neither its id nor created_at has one"
    if not isinstance(includes, dict):
        if includes is not None:
            return _UNSOUND
        includes = {}
    whole: Json = {"data": data, "includes": includes}
    payload = orjson.dumps(whole)
    if _NULL.search(payload):
        whole = _without_nulls(whole)
        payload = orjson.dumps(whole)
    if not _is_sound(whole["data"], whole["includes"]):
        return _UNSOUND
    return number, (at - EPOCH_MS << LOW_BITS) | (number & _LOW_MASK), payload


def _is_sound(data: Json, includes: Json) -> bool:
    """Whether all that is ever asked of a post can be asked of this one."""
    try:
        for item in (data, *includes.get("tweets", ())):
            for post_id in _references(item):
                int(post_id)
            for reference in item.get("referenced_tweets", ()):
                str.isascii(reference["type"])
            str.isascii(item.get("text", ""))
        for kind in ("users", "places", "polls"):
            for item in includes.get(kind, ()):
                str.isascii(item["id"])
        for item in includes.get("media", ()):
            str.isascii(item["media_key"])
        for annotation in data.get("context_annotations", ()):
            for name in ("domain", "entity"):
                part(annotation, name).get("id")
        for entities in data.get("entities", {}).values():
            for entity in entities:
                entity.get("url")
        attached = data.get("attachments", {})
        for name in ("media_keys", "poll_ids"):
            for key in attached.get(name, ()):
                str.isascii(key)
        data.get("geo", {}).get("place_id")
        data.get("public_metrics", {}).get("like_count")
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return True


def _references(data: Json) -> Iterator[str]:
    """Every id of a post that `_move` rewrites."""
    yield data["id"]
    yield from data.get("edit_history_tweet_ids", ())
    if "conversation_id" in data:
        yield data["conversation_id"]
    for reference in data.get("referenced_tweets", ()):
        yield reference["id"]


def _without_nulls(value: Any) -> Any:
    """A value without members that are null: null is as good as absent."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value


def _foreign(value: Json) -> str | None:
    """What a payload is that is none of X API v2's, and what to do; None for those of X API v2."""
    if "id_str" in value or "full_text" in value:
        return (
            "a payload of Twitter's API v1.1: look the ids up with"
            " `twarc2 dehydrate` and `twarc2 hydrate ids.txt tweets.jsonl`"
        )
    if isinstance(value.get("tweet"), dict) and "id_str" in value["tweet"]:
        return (
            "X's own download of an account's data: look the ids up with"
            " `twarc2 hydrate ids.txt tweets.jsonl`"
        )
    if "__import_meta" in value or "rest_id" in value or "author_user" in value:
        return (
            "an item of 4CAT or Zeeschuimer, not X's payload: look the ids up with"
            " `twarc2 hydrate ids.txt tweets.jsonl`"
        )
    return None


def _is_page_without_tweets(value: Json) -> bool:
    """Whether it is X's answer to a search that finds nothing."""
    return part(value, "meta").get("result_count") == 0 if isinstance(value.get("meta"), dict) else False


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
    controls = data.get("edit_controls")
    if isinstance(controls, dict) and (until := _at(controls.get("editable_until"))) is not None:
        controls["editable_until"] = _iso(until + shift)


class _Includes:
    """A page's includes, found by what its posts refer to them by."""

    def __init__(self, includes: object) -> None:
        page = includes if isinstance(includes, dict) else {}
        self._tweets = _by(page, "tweets", "id")
        self._users = _by(page, "users", "id")
        self._places = _by(page, "places", "id")
        self._media = _by(page, "media", "media_key")
        self._polls = _by(page, "polls", "id")
        self._named = {
            username.lower(): user
            for user in self._users.values()
            if isinstance(username := user.get("username"), str)
        }

    def of(self, data: object) -> Json:
        """Those that a post refers to; none for what is no post."""
        if not isinstance(data, dict):
            return {}
        try:
            references = [reference.get("id") for reference in objects(data, "referenced_tweets")]
            others = _chosen(self._tweets, references)
            attached = part(data, "attachments")
            users = [data.get("author_id"), data.get("in_reply_to_user_id")]
            users += [other.get("author_id") for other in others]
            mentions = objects(part(data, "entities"), "mentions")
            mentioned = [(mention.get("username") or "").lower() for mention in mentions]
            by_id = {user["id"]: user for user in _chosen(self._users, users)}
            by_id |= {user["id"]: user for user in _chosen(self._named, mentioned)}
            found = {
                "users": list(by_id.values()),
                "tweets": others,
                "places": _chosen(self._places, [part(data, "geo").get("place_id")]),
                "media": _chosen(self._media, attached.get("media_keys") or ()),
                "polls": _chosen(self._polls, attached.get("poll_ids") or ()),
            }
        except (AttributeError, TypeError):
            # `_is_sound` says so of the post.
            return {}
        return {kind: chosen for kind, chosen in found.items() if chosen}


def _by(page: Json, kind: str, key: str) -> dict[str, Json]:
    items = page.get(kind)
    if not isinstance(items, list):
        return {}
    return {item[key]: item for item in items if isinstance(item, dict) and isinstance(item.get(key), str)}


def _chosen(items: dict[str, Json], keys: Iterable[Any]) -> list[Json]:
    """The objects that there are, each once."""
    return [items[key] for key in dict.fromkeys(keys) if key in items]


def _unflattened(tweet: Json) -> tuple[Json, Json]:
    """A post as X sends it, from `twarc2 flatten`, which moves what is included into the post.

    Source: twarc 2.14.0, `twarc.expansions.flatten`.
    """
    found: dict[str, dict[str, Json]] = {"users": {}, "tweets": {}, "places": {}, "media": {}, "polls": {}}
    try:
        data = _taken_apart(tweet, found)
    except (AttributeError, TypeError, ValueError):
        # `_original` tells what it is.
        return {}, {}
    return data, {kind: list(items.values()) for kind, items in found.items() if items}


_ADDED = ("author", "in_reply_to_user", "pinned_tweet", "__twarc", "matching_rules")
_REFERENCE = ("type", "id")
_GEO = ("place_id", "coordinates")
_MENTION = ("start", "end", "username", "id")


def _taken_apart(tweet: Json, found: dict[str, dict[str, Json]]) -> Json:
    """The post alone; what was moved into it goes to ``found``."""
    data = {name: value for name, value in tweet.items() if name not in _ADDED}
    for name in ("author", "in_reply_to_user"):
        _keep(found["users"], part(tweet, name), "id")
    if geo := part(tweet, "geo"):
        data["geo"] = {name: geo[name] for name in _GEO if geo.get(name) is not None}
        place = {name: value for name, value in geo.items() if name not in _GEO}
        if geo.get("place_id") and place:
            _keep(found["places"], {"id": geo["place_id"], **place}, "id")
    if attachments := part(tweet, "attachments"):
        data["attachments"] = {
            name: value for name, value in attachments.items() if name not in ("media", "poll")
        }
        for media in objects(attachments, "media"):
            _keep(found["media"], media, "media_key")
        _keep(found["polls"], part(attachments, "poll"), "id")
    if mentions := objects(part(tweet, "entities"), "mentions"):
        data["entities"] = {
            **tweet["entities"],
            "mentions": [
                {name: mention[name] for name in _MENTION if name in mention} for mention in mentions
            ],
        }
        for mention in mentions:
            if len(mention) > len(_MENTION):
                user = {name: value for name, value in mention.items() if name not in ("start", "end")}
                _keep(found["users"], user, "id")
    if references := objects(tweet, "referenced_tweets"):
        data["referenced_tweets"] = [
            {name: reference[name] for name in _REFERENCE if name in reference} for reference in references
        ]
        for reference in references:
            if "text" in reference:
                other = {name: value for name, value in reference.items() if name != "type"}
                _keep(found["tweets"], _taken_apart(other, found), "id")
    return data


def _keep(items: dict[str, Json], item: Json, key: str) -> None:
    if isinstance(item.get(key), str):
        items.setdefault(item[key], item)


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

"""What was removed, and must not come back: by hour of the tweet, as keyed hashes, never an id in clear.

Whoever removes writes the tombstone first and rewrites the objects then; whoever writes tweets into raw,
quarantine or labeled reads the tombstones before and, once the object stands, again. So whichever comes
second sees the other, and no order of the two leaves a removed tweet there. What Firehose brings late goes
when `transform` reads it. Predictions and the audit are made from labeled, and removed from after it: whoever
writes them looks at labeled again once they stand. Labeled also tells a removal in which hours a user wrote:
whoever leaves tweets out of it buries them, and every removal goes through the hours of lately buried ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from include.lake import layout, storage
from include.lake.pseudonyms import Pseudonyms
from include.window import Window
from include.x.compliance import ComplianceAction
from include.x.snowflake import lowest_id

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_DELETE = ComplianceAction.DELETE

Users = Mapping[int, Mapping[ComplianceAction, int]]
"""What must be done about users, by pseudonym: all that they posted below an id. What a user posts after a
request is another matter."""


def with_bounds(users: Users, added: Users) -> dict[int, dict[ComplianceAction, int]]:
    """Both, with the higher bound where both have one."""
    merged = {user: dict(bounds) for user, bounds in users.items()}
    for user, bounds in added.items():
        mine = merged.setdefault(user, {})
        for action, until in bounds.items():
            mine[action] = max(until, mine.get(action, 0))
    return merged


@dataclass(frozen=True)
class Tombstones:
    """What must go of some hours: tweets by marker, and users by pseudonym."""

    pseudonyms: Pseudonyms = field(repr=False)
    tweets: Mapping[str, ComplianceAction] = field(default_factory=dict)
    users: Users = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.tweets or self.users)

    @property
    def digest(self) -> str:
        """Differs where anything else must go."""
        users = sorted((user, sorted(bounds.items())) for user, bounds in self.users.items())
        facts = [sorted(self.tweets.items()), users]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def with_tweets(self, tweets: Mapping[int, ComplianceAction]) -> Tombstones:
        """These, and ``tweets``; a deletion outweighs the removal of a place."""
        return self.with_markers({self.pseudonyms.marker(own): action for own, action in tweets.items()})

    def with_markers(self, added: Mapping[str, ComplianceAction]) -> Tombstones:
        """As `with_tweets`, of tweets by marker."""
        kept = {marker: action for marker, action in self.tweets.items() if action is _DELETE}
        return replace(self, tweets={**self.tweets, **added, **kept})

    def of(self, tweet_id: int, author: int | None) -> ComplianceAction | None:
        """What must be done about a tweet whose author has the pseudonym ``author``."""
        bounds = self.users.get(author, {}) if author is not None else {}
        if tweet_id < bounds.get(_DELETE, 0):
            return _DELETE
        own = self.tweets.get(self.pseudonyms.marker(tweet_id)) if self.tweets else None
        if own is None and tweet_id < bounds.get(ComplianceAction.SCRUB_GEO, 0):
            return ComplianceAction.SCRUB_GEO
        return own

    def of_author(self, tweet_id: int, author_id: str | None) -> ComplianceAction | None:
        """As `of`, with the author's id as X writes it."""
        author = self.pseudonyms.of(author_id) if author_id is not None and self.users else None
        return self.of(tweet_id, author)


def read(s3: S3Client, bucket: str, pseudonyms: Pseudonyms, windows: Iterable[Window]) -> Tombstones:
    """The tombstones of some hours, with those of users that reach as far back."""
    hours = list(windows)
    tweets: dict[str, ComplianceAction] = {}
    for window in hours:
        tweets |= _of_tweets(s3, bucket, window)
    return Tombstones(pseudonyms, tweets, _reaching(_of_users(s3, bucket), hours))


def read_each(
    s3: S3Client, bucket: str, pseudonyms: Pseudonyms, windows: Iterable[Window]
) -> dict[Window, Tombstones]:
    """As `read`, of each hour alone."""
    users = _of_users(s3, bucket)
    return {
        window: Tombstones(pseudonyms, _of_tweets(s3, bucket, window), _reaching(users, [window]))
        for window in windows
    }


def _of_tweets(s3: S3Client, bucket: str, window: Window) -> dict[str, ComplianceAction]:
    stones = _read(s3, bucket, layout.tombstones_key(window))
    return {marker: ComplianceAction(stone["action"]) for marker, stone in stones.items()}


def _of_users(s3: S3Client, bucket: str) -> Users:
    stones = _read(s3, bucket, layout.TOMBSTONES_OF_USERS_KEY)
    return {
        int(user): {ComplianceAction(each): until for each, until in bounds.items()}
        for user, bounds in stones.items()
    }


def _reaching(users: Users, hours: Collection[Window]) -> Users:
    """Those of users that reach as far back as some hours."""
    earliest = lowest_id(min(hours).start) if hours else 0
    return {
        user: found
        for user, bounds in users.items()
        if (found := {action: until for action, until in bounds.items() if until > earliest})
    }


def read_for(s3: S3Client, bucket: str, pseudonyms: Pseudonyms, key: str) -> Tombstones:
    """The tombstones of what may lie in an object of lines, by its key or prefix.

    What the streamer rejects is quarantined under the hour in which it was received, which may be the next.
    """
    place = layout.partition(key)
    if place is None:
        raise ValueError(f"{key} lies under no hour of raw, heartbeats or quarantine")
    layer, _, window = place
    return read(s3, bucket, pseudonyms, [window.previous, window] if layer == "quarantine" else [window])


def bury(
    s3: S3Client,
    bucket: str,
    pseudonyms: Pseudonyms,
    window: Window,
    tweets: Mapping[int, ComplianceAction],
    topics: Mapping[int, Iterable[str]] | None = None,
) -> None:
    """Adds tombstones of tweets of one hour, and in which topics' raw each was found so far.

    A deletion outweighs the removal of a place. Twice changes nothing.
    """
    markers = {pseudonyms.marker(tweet_id): action for tweet_id, action in tweets.items()}
    found_in = {pseudonyms.marker(tweet_id): found for tweet_id, found in (topics or {}).items()}
    bury_markers(s3, bucket, window, markers, found_in)


def bury_markers(
    s3: S3Client,
    bucket: str,
    window: Window,
    markers: Mapping[str, ComplianceAction],
    topics: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """As `bury`, of tweets by marker."""
    found_in = topics or {}

    def merge(stones: dict[str, Any]) -> None:
        for marker, action in markers.items():
            stone = stones.setdefault(marker, {"action": action.value, "topics": []})
            if action is _DELETE:
                stone["action"] = action.value
            stone["topics"] = sorted({*stone["topics"], *found_in.get(marker, ())})

    _merge(s3, bucket, layout.tombstones_key(window), merge)


def bury_users(s3: S3Client, bucket: str, users: Users) -> None:
    """Adds tombstones of users, by pseudonym; the higher bound counts. Twice changes nothing."""

    def merge(stones: dict[str, Any]) -> None:
        for user, bounds in users.items():
            mine = stones.setdefault(str(user), {})
            for action, until in bounds.items():
                mine[action.value] = max(until, mine.get(action.value, 0))

    if users:
        _merge(s3, bucket, layout.TOMBSTONES_OF_USERS_KEY, merge)


def removed_by_topic(s3: S3Client, bucket: str, key: str) -> dict[str, int]:
    """How many distinct tweets were removed from raw, by topic, from the tombstones under ``key``."""
    counts: dict[str, int] = {}
    for stone in _read(s3, bucket, key).values():
        if stone["action"] == _DELETE:
            for topic in stone["topics"]:
                counts[topic] = counts.get(topic, 0) + 1
    return counts


def _read(s3: S3Client, bucket: str, key: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(storage.read(s3, bucket, key))
    except storage.ObjectMissingError:
        return {}
    return found


def _merge(s3: S3Client, bucket: str, key: str, change: Callable[[dict[str, Any]], None]) -> None:
    def changed(body: bytes | None) -> bytes | None:
        stones = json.loads(body) if body else {}
        former = json.dumps(stones, sort_keys=True)
        change(stones)
        wanted = json.dumps(stones, sort_keys=True)
        return wanted.encode() if wanted != former else None

    storage.update(s3, bucket, key, changed)

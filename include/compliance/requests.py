"""What is to be removed and is not removed yet: one object a request, with keyed hashes and never an id.

A request is made by the page Removals, or by what X answers; it is kept until every layer is done. An id must
not stay in clear anywhere, so a run of the DAG `compliance` is given the name of a request alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.compliance.tombstones import Users, with_bounds
from include.lake import layout, storage
from include.lake.pseudonyms import Pseudonyms
from include.window import Window
from include.x.compliance import ComplianceAction
from include.x.snowflake import lowest_id, moment

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

OVERDUE = timedelta(hours=12)
"""A request that is open for so long needs a person: X's terms give 24 hours."""

_DELETE = ComplianceAction.DELETE
_ID = re.compile(r"[1-9][0-9]{0,18}")


class RequestError(ValueError):
    """A request that cannot be made or found; the message says why, without an id."""


@dataclass(frozen=True)
class RemovalRequest:
    """What must go: tweets by hour and marker, and all that users posted below an id, by pseudonym.

    Hours without a marker are those in which users' tweets were found: once labeled has lost them, nothing
    else tells.

    ``name`` names the request, and its object in the ledger, so it is the same when the request is carried
    out again. One that is not ``confirmed`` has only been asked for: dry runs count what it would remove,
    and nothing is removed before a person starts a run for it that is none.
    """

    name: str
    reason: str
    requested_at: datetime
    tweets: Mapping[Window, Mapping[str, ComplianceAction]] = field(default_factory=dict, repr=False)
    users: Users = field(default_factory=dict, repr=False)
    confirmed: bool = True

    @classmethod
    def of(
        cls,
        pseudonyms: Pseudonyms,
        name: str,
        reason: str,
        requested_at: datetime,
        tweets: Mapping[int, ComplianceAction],
        users: Mapping[str, ComplianceAction],
        *,
        confirmed: bool = True,
    ) -> RemovalRequest:
        """From ids in clear; of users goes what they posted up to ``requested_at``."""
        by_hour: dict[Window, dict[str, ComplianceAction]] = {}
        for tweet_id, action in tweets.items():
            by_hour.setdefault(Window.containing(moment(tweet_id)), {})[pseudonyms.marker(tweet_id)] = action
        until = lowest_id(requested_at)
        bounds = {pseudonyms.of(user): {action: until} for user, action in users.items()}
        return cls(name, reason, requested_at, by_hour, bounds, confirmed)

    @classmethod
    def again(cls, now: datetime, hours: Iterable[Window]) -> RemovalRequest:
        """One that asks for nothing new: what was removed lately is removed again where it has come back.

        Each is another one, as no run may end that of a run beside it, which may concern more ``hours``.
        """
        return cls(f"again-{uuid.uuid4()}", "what was removed lately", now).with_hours(hours)

    @property
    def tweets_count(self) -> int:
        """How many tweets it names."""
        return sum(map(len, self.tweets.values()))

    @property
    def digest(self) -> str:
        """Differs where anything else is asked for."""
        return hashlib.sha256(_content(self)).hexdigest()

    def with_hours(self, hours: Iterable[Window]) -> RemovalRequest:
        """This one, and hours that hold users' tweets."""
        return replace(self, tweets={**{window: {} for window in hours}, **self.tweets})

    def merged(self, other: RemovalRequest) -> RemovalRequest:
        """Both in one, under this name; a deletion outweighs the removal of a place."""
        tweets = {window: dict(stones) for window, stones in self.tweets.items()}
        for window, stones in other.tweets.items():
            mine = tweets.setdefault(window, {})
            for marker, action in stones.items():
                if mine.get(marker) is not _DELETE:
                    mine[marker] = action
        return replace(
            self,
            requested_at=min(self.requested_at, other.requested_at),
            tweets=tweets,
            users=with_bounds(self.users, other.users),
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON's types."""
        return {
            "name": self.name,
            "reason": self.reason,
            "requested_at": self.requested_at.astimezone(UTC).isoformat(),
            "confirmed": self.confirmed,
            "tweets": {window.label: dict(stones) for window, stones in sorted(self.tweets.items())},
            "users": {str(user): dict(bounds) for user, bounds in sorted(self.users.items())},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RemovalRequest:
        """The inverse of `to_json`."""
        return cls(
            name=data["name"],
            reason=data["reason"],
            requested_at=datetime.fromisoformat(data["requested_at"]),
            tweets={
                Window.parse(label): {marker: ComplianceAction(action) for marker, action in stones.items()}
                for label, stones in data["tweets"].items()
            },
            users={
                int(user): {ComplianceAction(action): until for action, until in bounds.items()}
                for user, bounds in data["users"].items()
            },
            confirmed=data["confirmed"],
        )


def asked_for(
    pseudonyms: Pseudonyms, reason: str, at: datetime, tweet_ids: Iterable[str], user_ids: Iterable[str]
) -> RemovalRequest:
    """What a person asks for, not confirmed yet; raises `RequestError` for what is no id, or nothing."""
    tweets, users = list(tweet_ids), list(user_ids)
    wrong = sum(not (_ID.fullmatch(own) and int(own) < 1 << 63) for own in (*tweets, *users))
    if wrong:
        raise RequestError(f"{wrong} of the ids are no ids of X: they are numbers of at most 19 digits")
    early = sum(moment(int(own)) >= at for own in tweets)
    if early:
        raise RequestError(f"{early} of the tweets would be made in the future: are they users' ids?")
    if not (tweets or users):
        raise RequestError("the request names no tweet and no user")
    return RemovalRequest.of(
        pseudonyms,
        str(uuid.uuid4()),
        reason,
        at,
        dict.fromkeys(map(int, tweets), _DELETE),
        dict.fromkeys(users, _DELETE),
        confirmed=False,
    )


def add(s3: S3Client, bucket: str, request: RemovalRequest) -> None:
    """Keeps a request, merged with what is kept under its name. Twice changes nothing."""

    def merged(body: bytes | None) -> bytes | None:
        former = _parsed(body) if body else None
        wanted = former.merged(request) if former else request
        return _content(wanted) if wanted != former else None

    storage.update(s3, bucket, layout.request_key(request.name), merged)


def confirm(s3: S3Client, bucket: str, name: str) -> None:
    """Marks a request as one to carry out; raises `RequestError` where there is none."""

    def confirmed(body: bytes | None) -> bytes | None:
        if body is None:
            raise _not_there(name)
        former = _parsed(body)
        return None if former.confirmed else _content(replace(former, confirmed=True))

    storage.update(s3, bucket, layout.request_key(name), confirmed)


def remember_hours(s3: S3Client, bucket: str, name: str, hours: Iterable[Window]) -> None:
    """Keeps with an open request which hours it concerns."""
    found = list(hours)

    def merged(body: bytes | None) -> bytes | None:
        if body is None:
            return None  # a run beside this one has carried it out
        former = _parsed(body)
        wanted = former.with_hours(found)
        return _content(wanted) if wanted != former else None

    storage.update(s3, bucket, layout.request_key(name), merged)


def find(s3: S3Client, bucket: str, name: str) -> RemovalRequest:
    """An open request; raises `RequestError` where there is none, as after its end."""
    try:
        return _parsed(storage.read(s3, bucket, layout.request_key(name)))
    except storage.ObjectMissingError as error:
        raise _not_there(name) from error


def pending(s3: S3Client, bucket: str) -> list[RemovalRequest]:
    """All open requests, the oldest first."""
    found = []
    for each in storage.objects(s3, bucket, layout.REQUESTS_PREFIX):
        try:
            found.append(_parsed(storage.read(s3, bucket, each.key)))
        except storage.ObjectMissingError:
            continue  # done meanwhile
    return sorted(found, key=lambda request: (request.requested_at, request.name))


def overdue(s3: S3Client, bucket: str, now: datetime) -> list[str]:
    """An alarm for each request that is open for longer than `OVERDUE`."""
    late = [request for request in pending(s3, bucket) if request.requested_at < now - OVERDUE]
    return [
        f"the removal request {each.name}, made at {each.requested_at.astimezone(UTC):%Y-%m-%dT%H:%MZ}, is "
        "not carried out"
        for each in late
    ]


def drop(s3: S3Client, bucket: str, name: str) -> None:
    """Forgets a request that a person takes back."""
    storage.delete(s3, bucket, layout.request_key(name))


def end(s3: S3Client, bucket: str, name: str, digest: str) -> bool:
    """Forgets a request that was carried out as its ``digest`` says; False where it asks for more by now."""
    key = layout.request_key(name)
    standing = storage.current(s3, bucket, key)
    if standing is None:
        return True  # a run beside this one has ended it
    try:
        if _parsed(storage.read(s3, bucket, key, standing.etag)).digest != digest:
            return False
        storage.delete(s3, bucket, key, standing.etag)
    except storage.ObjectMissingError:
        return True
    except storage.ObjectChangedError:
        return False
    return True


def _parsed(body: bytes) -> RemovalRequest:
    return RemovalRequest.from_json(json.loads(body))


def _content(request: RemovalRequest) -> bytes:
    return json.dumps(request.to_json(), sort_keys=True).encode()


def _not_there(name: str) -> RequestError:
    return RequestError(
        f"there is no open request {name}: it was carried out (table removals), taken back or never made"
    )

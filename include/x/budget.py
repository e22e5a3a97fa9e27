"""The ledger of posts bought from X in a calendar month, by stream and search together.

X bills posts, whichever program reads them. Each writer replaces only its own object, so no count is lost if
two write at the same time; the month's use is the sum over the objects.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import tweepy
from botocore.exceptions import BotoCoreError, ClientError

from include.lake import layout, storage
from include.settings import Settings
from include.x.topics import Topics

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_LONGEST_USAGE_DAYS = 90
_FIRST_PROJECTION = timedelta(days=1)
"""The first day is too short to project a month from."""
_ATTEMPTS = 6
_SOURCES = ("stream", "search")
_WRITER = re.compile(r"(stream|search)-[A-Za-z0-9_.:-]+")


class PostsLedgerError(RuntimeError):
    """The ledger cannot be read or written, so the number of posts bought is unknown."""


class BudgetError(RuntimeError):
    """No more posts may be bought."""


@dataclass(frozen=True)
class Bought:
    """The posts that one writer has bought in a month, and when it said so last."""

    source: str
    posts: int
    written: datetime


def monthly_posts(settings: Settings, topics: Topics) -> int:
    """Posts that may be bought in a calendar month."""
    return settings.monthly_posts or topics.collection.monthly_posts


def month_of(moment: datetime) -> str:
    """The ledger's month, ``2026-11``, of an aware UTC ``moment``."""
    return f"{moment:%Y-%m}"


def month_before(month: str) -> str:
    """The month before ``month``, as the ledger names both."""
    return month_of(datetime.strptime(month, "%Y-%m") - timedelta(days=1))  # noqa: DTZ007 - a month's name


def projected(used: int, now: datetime, since: datetime | None = None) -> int | None:
    """Posts projected to the end of the month of ``now`` at the rate so far; None on the first day.

    ``used`` were bought since the month's start, or since ``since``, the collection's start, if that is
    later.
    """
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=31)).replace(day=1)
    elapsed = now - (max(first, since) if since else first)
    if elapsed < _FIRST_PROJECTION:
        return None
    return used + round(used * ((following - now) / elapsed))


def usage_of(client: tweepy.Client, month: str) -> int | None:
    """Posts that X has billed the project in ``month``, by day; None if X does not offer the endpoint.

    Source: X's reference of `GET /2/usage/tweets` (OpenAPI 2.167); its days are UTC, and it goes back 90
    days. Raises tweepy's and requests' exceptions, and `ValueError` if the answer has another shape.
    """
    params = {"days": str(_LONGEST_USAGE_DAYS), "usage.fields": "daily_project_usage"}
    try:
        answer = client.request("GET", "/2/usage/tweets", params=params).json()
    except (tweepy.NotFound, tweepy.Forbidden):
        return None
    try:
        days = answer["data"]["daily_project_usage"]["usage"]
        return sum(int(day["usage"]) for day in days if str(day["date"]).startswith(month))
    except (KeyError, TypeError) as error:
        raise ValueError("X's answer about usage has an unexpected shape") from error


class PostsLedger:
    """Counts of posts under ``posts/month=YYYY-MM/<writer>.json``; raises `PostsLedgerError`.

    A writer is named ``stream-<spool>`` or ``search-<topic>-<from>-<to>-<attempt>``. An instance remembers
    objects by their ETags, so a repeated call costs one listing.
    """

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._known: dict[str, tuple[str, int]] = {}

    def record(self, month: str, writer: str, posts: int) -> None:
        """Records how many posts ``writer`` has bought in ``month`` so far; replaces its earlier figure."""
        if not _WRITER.fullmatch(writer) or posts < 0:
            raise PostsLedgerError(f"'{writer}' with {posts} posts is not an entry of the ledger")
        key = f"{layout.posts_prefix(month)}{writer}.json"
        body = json.dumps({"posts": posts}).encode()
        try:
            storage.overwrite(self._s3, self._bucket, key, body)
        except (ClientError, BotoCoreError) as error:
            raise PostsLedgerError(f"the posts ledger cannot be written at {key}: {error}") from error

    def entry(self, month: str, writer: str) -> int:
        """The posts that ``writer`` has recorded in ``month``; 0 if none."""
        key = f"{layout.posts_prefix(month)}{writer}.json"
        try:
            found = storage.objects(self._s3, self._bucket, key)
            return sum(self._posts(each) for each in found if each.key == key)
        except (ClientError, BotoCoreError, storage.StorageError) as error:
            raise PostsLedgerError(f"the posts ledger cannot be read at {key}: {error}") from error

    def used(self, month: str) -> int:
        """Posts bought in ``month`` by all writers."""
        return sum(self.by_source(month).values())

    def by_source(self, month: str) -> dict[str, int]:
        """Posts bought in ``month``: ``{"stream": n, "search": n}``."""
        counts: Counter[str] = Counter(dict.fromkeys(_SOURCES, 0))
        for found in self.entries(month):
            counts[found.source] += found.posts
        return dict(counts)

    def entries(self, month: str) -> list[Bought]:
        """What each writer has bought in ``month``, by its name."""
        prefix = layout.posts_prefix(month)
        entries = []
        try:
            for found in storage.objects(self._s3, self._bucket, prefix):
                source = found.key.removeprefix(prefix).partition("-")[0]
                if source not in _SOURCES:
                    raise PostsLedgerError(f"{found.key} is not an entry of the posts ledger")
                entries.append(Bought(source, self._posts(found), found.last_modified))
        except (ClientError, BotoCoreError, storage.StorageError) as error:
            raise PostsLedgerError(f"the posts ledger of {month} cannot be read: {error}") from error
        return entries

    def _posts(self, found: storage.Object) -> int:
        known = self._known.get(found.key)
        if known is None or known[0] != found.etag:
            content: Any = None
            try:
                content = json.loads(storage.read(self._s3, self._bucket, found.key))
                known = (found.etag, int(content["posts"]))
            except (ValueError, KeyError, TypeError) as error:
                raise PostsLedgerError(
                    f"{found.key} holds {content!r} instead of a number of posts"
                ) from error
            self._known[found.key] = known
        return known[1]


class Reservations:
    """A purse of one writer: a request's posts are in the ledger before the request is sent.

    A reservation that is never settled stays counted, so a killed process leaves no bought post out of the
    ledger. Several writers may use one budget at the same time: each writes its reservation before it reads
    the sum, so if two together exceed the budget, at least one sees it and withdraws its own. ``month`` says
    which month it is: a request's posts belong to the one in which it is sent. ``writer`` must be new at
    every attempt. Without a ``budget`` there is no limit.
    """

    def __init__(
        self,
        ledger: PostsLedger,
        month: Callable[[], str],
        writer: str,
        budget: int | None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._present = month
        self._month = month()
        self._writer = writer
        self._budget = budget
        self._sleep = sleep
        self._spent = 0
        self._reserved = 0

    def reserve(self, smallest: int, largest: int) -> int:
        """Reserves from ``smallest`` to ``largest`` posts and returns how many; raises `BudgetError`.

        If others hold reservations, it tries again a few times: most of them are settled for less.
        """
        self._spent, self._reserved = self._spent + self._reserved, 0
        if (month := self._present()) != self._month:
            self._month, self._spent = month, 0
        for attempt in range(_ATTEMPTS):
            wanted = largest
            if self._budget is not None:
                wanted = min(largest, self._budget - self._ledger.used(self._month))
            if wanted >= smallest:
                self._write(wanted)
                if self._budget is None or self._ledger.used(self._month) <= self._budget:
                    return wanted
                self._write(0)
            self._sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311 - jitter, no secret
        raise BudgetError(f"fewer than {smallest} posts are left of the month's budget of {self._budget}")

    def settle(self, posts: int) -> None:
        """Counts ``posts`` instead of what was reserved."""
        self._spent += posts
        self._write(0)

    def _write(self, reserved: int) -> None:
        self._ledger.record(self._month, self._writer, self._spent + reserved)
        self._reserved = reserved

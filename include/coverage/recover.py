"""Recovers one stretch of one topic by search, into one object that is replaced on a rerun.

Every page that was paid for is kept among the work files until the stretch is filled: whatever fails, the
next attempt continues after the last page.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from include.compliance import lines, tombstones
from include.compliance.purge import purge_written
from include.coverage.judge import GapState
from include.coverage.plan import Recovery
from include.coverage.stretch import Stretch
from include.lake import storage
from include.lake.layout import (
    quarantine_key,
    raw_prefix,
    recovered_key,
    recovered_stretch,
    recoveries_prefix,
    recovery_prefix,
    recovery_stage,
)
from include.lake.pseudonyms import Pseudonyms
from include.settings import Settings
from include.x.budget import BudgetError, PostsLedger, Reservations, month_of, monthly_posts
from include.x.payload import QUARANTINED_CHARACTERS
from include.x.search import REACH, Page, Search, digest
from include.x.topics import Topics

if TYPE_CHECKING:
    import tweepy
    from types_boto3_s3 import S3Client

_LEASE = timedelta(minutes=20)
"""How long an attempt that tells nothing of itself is believed to be alive: longer than a wait for X."""

log = logging.getLogger(__name__)


class LeaseError(RuntimeError):
    """Another run is recovering the same stretch."""


@dataclass(frozen=True)
class RecoveryOutcome:
    """The result of a recovery: ``bought`` posts were paid now, ``found`` in all attempts, ``kept`` written.

    ``reason`` says why the gap is not filled, or what a filled one lacks.
    """

    state: GapState
    bought: int
    kept: int
    reason: str | None = None
    found: int = 0


@dataclass(frozen=True)
class RecoveryState:
    """What is known of a stretch's recovery: the attempts that failed, and who is at it (until when)."""

    failed: int = 0
    owner: str | None = None
    until: datetime | None = None
    stretch: Stretch | None = None

    def to_json(self) -> bytes:
        """As it is kept."""
        until = self.until.isoformat() if self.until else None
        ends = [self.stretch.start.isoformat(), self.stretch.end.isoformat()] if self.stretch else None
        value = {"failed": self.failed, "owner": self.owner, "until": until, "stretch": ends}
        return json.dumps(value).encode()

    def is_held(self, owner: str, now: datetime) -> bool:
        """Whether another ``owner`` than this one is at it."""
        return self.owner not in (None, owner) and self.until is not None and self.until > now

    @classmethod
    def from_json(cls, content: bytes) -> RecoveryState:
        """Reads what `to_json` gave."""
        value = json.loads(content)
        until = datetime.fromisoformat(value["until"]) if value["until"] else None
        ends = [datetime.fromisoformat(end) for end in value["stretch"] or ()]
        return cls(int(value["failed"]), value["owner"], until, Stretch(*ends) if ends else None)


class Store:
    """The pages and the state of one stretch's recovery, as objects; a `Shelf`.

    Pages are written as ASCII, so that no text can keep one from being kept.
    """

    def __init__(self, s3: S3Client, bucket: str, prefix: str, stretch: Stretch) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix
        self._stretch = stretch
        self._state = f"{prefix}state.json"
        self._count = 0

    def pages(self) -> Iterator[Page]:
        """See `include.x.search.Shelf`."""
        for key in self._keys():
            content = json.loads(gzip.decompress(storage.read(self._s3, self._bucket, key)))
            self._count = int(key.removeprefix(self._prefix).removeprefix("page-").partition(".")[0]) + 1
            yield Page(content["query"], content["request"], content["answer"], content["again"])

    def keep(self, page: Page) -> None:
        """See `include.x.search.Shelf`."""
        content = {
            "query": page.query,
            "request": dict(page.request),
            "again": page.again,
            "answer": page.answer,
        }
        body = gzip.compress(json.dumps(content).encode("ascii"), mtime=0)
        storage.put(self._s3, self._bucket, f"{self._prefix}page-{self._count:06}.json.gz", body)
        self._count += 1

    def state(self) -> RecoveryState:
        """The state as it is kept."""
        try:
            return RecoveryState.from_json(storage.read(self._s3, self._bucket, self._state))
        except storage.ObjectMissingError:
            return RecoveryState()

    def lease(self, owner: str, now: datetime, *, begins: bool = False) -> bool:
        """Takes the recovery, or keeps it, for ``owner``; False while another's lease lasts.

        An attempt that ``begins`` counts as failed until it is said how it ended: a kill says nothing.
        """
        taken = False

        def decide(_: Any) -> storage.Content | None:
            nonlocal taken
            found = self.state()
            taken = not found.is_held(owner, now)
            state = RecoveryState(found.failed + begins, owner, now + _LEASE, self._stretch)
            return storage.Content(state.to_json()) if taken else None

        storage.compare_and_swap(self._s3, self._bucket, self._state, decide)
        return taken

    def release(self, *, failed: bool) -> None:
        """Gives the lease back; an attempt that has not ``failed`` is not counted."""
        storage.compare_and_swap(
            self._s3,
            self._bucket,
            self._state,
            lambda _: storage.Content(RecoveryState(max(self.state().failed - (not failed), 0)).to_json()),
        )

    def clear(self) -> None:
        """Removes pages and state: the stretch is filled."""
        for key in [*self._keys(), self._state]:
            storage.delete(self._s3, self._bucket, key)

    def _keys(self) -> list[str]:
        listing = storage.list_objects(self._s3, self._bucket, f"{self._prefix}page-")
        return [found.key for found in listing.objects]


class _Leased:
    """A store whose lease is renewed by every page that is kept."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner

    def pages(self) -> Iterator[Page]:
        """See `include.x.search.Shelf`."""
        return self._store.pages()

    def keep(self, page: Page) -> None:
        """See `include.x.search.Shelf`."""
        self._store.keep(page)
        if not self._store.lease(self._owner, datetime.now(UTC)):
            raise LeaseError(
                "another run has taken over this recovery; it continues after the pages already bought"
            )


def store(s3: S3Client, bucket: str, topics: Topics, topic: str, stretch: Stretch) -> Store:
    """What is kept of a stretch's recovery."""
    named = digest(topics, topic, stretch.start, stretch.end)
    return Store(s3, bucket, recovery_prefix(topic, named), stretch)


def _held_in_part(s3: S3Client, bucket: str, topic: str, stretch: Stretch, owner: str, now: datetime) -> bool:
    """Whether another owner is at a stretch that overlaps this one: gaps grow while they are open."""
    for found in storage.list_objects(s3, bucket, recoveries_prefix(topic)).objects:
        if not found.key.endswith("/state.json"):
            continue
        try:
            state = RecoveryState.from_json(storage.read(s3, bucket, found.key))
        except storage.ObjectMissingError:
            continue  # filled meanwhile
        if state.stretch and state.stretch.clipped(stretch.start, stretch.end) and state.is_held(owner, now):
            return True
    return False


def _left(s3: S3Client, bucket: str, recovery: Recovery) -> list[Stretch]:
    """The parts of the stretch that no recovery has filled yet."""
    listing = storage.list_objects(s3, bucket, raw_prefix(recovery.topic, recovery.window))
    recovered = (recovered_stretch(found.key) for found in listing.objects)
    return recovery.stretch.without(Stretch(*ends) for ends in recovered if ends)


def too_many_attempts(
    s3: S3Client, settings: Settings, topics: Topics, topic: str, stretch: Stretch
) -> str | None:
    """Why buying more of a stretch needs an approval; None if it does not."""
    failed = store(s3, settings.bucket, topics, topic, stretch).state().failed
    if failed < settings.max_recovery_attempts:
        return None
    return f"{failed} attempts have failed; nothing more is bought until a person approves it"


@dataclass(frozen=True)
class _Attempt:
    """One attempt at a stretch: it is claimed first, and then searched."""

    s3: S3Client
    settings: Settings
    topics: Topics
    recovery: Recovery
    pseudonyms: Pseudonyms
    name: str
    owner: str
    kept: Store

    def claim(self, moment: datetime) -> RecoveryOutcome | None:
        """Takes the lease; the outcome where nothing is to be searched, and the lease is given back."""
        recovery, bucket = self.recovery, self.settings.bucket
        stretch = recovery.stretch
        if stretch.start < moment - REACH:
            return RecoveryOutcome(
                GapState.UNRECOVERABLE, 0, 0, f"search reaches back {REACH.days} days only"
            )
        exhausted = too_many_attempts(self.s3, self.settings, self.topics, recovery.topic, stretch)
        if exhausted and not recovery.approved:
            return RecoveryOutcome(GapState.OPEN, 0, 0, exhausted)
        if not self.kept.lease(self.owner, moment, begins=True):
            return RecoveryOutcome(GapState.FILLING, 0, 0, "another run is recovering it")
        # In this order: a run that ends in between has written its object.
        if _held_in_part(self.s3, bucket, recovery.topic, stretch, self.owner, moment):
            self.kept.release(failed=False)
            return RecoveryOutcome(GapState.FILLING, 0, 0, "another run is recovering a part of it")
        left = _left(self.s3, bucket, recovery)
        if not left:
            # A run that was killed may have written, and not looked again.
            purge_written(self.s3, bucket, self.pseudonyms, _keys(recovery))
            self.kept.clear()
            return RecoveryOutcome(GapState.FILLED, 0, 0)
        if left != [stretch]:
            self.kept.release(failed=False)
            reason = "a part of it was recovered since it was planned; the next run plans the rest"
            return RecoveryOutcome(GapState.OPEN, 0, 0, reason)
        return None

    def search(self, client: tweepy.Client) -> RecoveryOutcome:
        """Searches what was claimed, writes what it finds, and gives the lease back."""
        recovery, stretch = self.recovery, self.recovery.stretch
        stones = tombstones.read(self.s3, self.settings.bucket, self.pseudonyms, [recovery.window])
        rejected: list[bytes] = []

        def reject(reason: str, post: Any) -> None:
            line = json.dumps(post, separators=(",", ":"))[:QUARANTINED_CHARACTERS]
            number = post.get("id") if isinstance(post, dict) and isinstance(post.get("id"), str) else None
            row = {"stage": "search", "reason": reason, "origin": self.name, "tweet_id": number, "line": line}
            if (rest := lines.left(json.dumps(row).encode(), stones, lambda *_: None)) is not None:
                rejected.append(rest)

        found = Search(
            client,
            self.topics,
            recovery.topic,
            stretch.start,
            stretch.end,
            sample=recovery.sample,
            expected=recovery.posts,
            shelf=_Leased(self.kept, self.owner),
            purse=self._purse(),
            reject=reject,
        )
        try:
            self._write(found, stones, rejected)
        except BudgetError as error:
            self.kept.release(failed=False)
            reason = f"above the month's budget: {error}; what was bought is kept; a person may approve more"
            return RecoveryOutcome(GapState.OPEN, found.bought, 0, reason, found.found)
        except Exception:
            # If this fails too, the lease runs out by itself, and the attempt is counted already.
            with contextlib.suppress(ClientError, BotoCoreError, storage.StorageError):
                self.kept.release(failed=True)
            raise
        self.kept.clear()
        log.info(
            "recovered topic=%s hour=%s stretch=%s bought=%d found=%d kept=%d rejected=%d",
            recovery.topic,
            recovery.window,
            stretch,
            found.bought,
            found.found,
            found.kept,
            found.rejected,
        )
        return RecoveryOutcome(
            GapState.FILLED, found.bought, found.kept, _shortfall(recovery, found.found), found.found
        )

    def _purse(self) -> Reservations:
        """Pays from the month's budget, or from any if a person has approved it."""
        stretch, topic = self.recovery.stretch, self.recovery.topic
        budget = None if self.recovery.approved else monthly_posts(self.settings, self.topics)
        writer = f"search-{topic}-{stretch.start:%Y%m%dT%H%M%S}-{stretch.end:%Y%m%dT%H%M%S}-{self.name}"
        ledger = PostsLedger(self.s3, self.settings.bucket)
        return Reservations(ledger, lambda: month_of(datetime.now(UTC)), writer, budget)

    def _write(self, found: Search, stones: tombstones.Tombstones, rejected: list[bytes]) -> None:
        """Writes what is found, and meanwhile ``rejected``, without what is to be removed."""
        bucket, (place, written) = self.settings.bucket, _keys(self.recovery)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "recovered.json.gz"
            with gzip.GzipFile(path, "wb", mtime=0) as file:
                for record in found:
                    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
                    if (rest := lines.left(line, stones, lambda *_: None)) is not None:
                        file.write(rest + b"\n")
            if rejected:
                storage.put(self.s3, bucket, place, gzip.compress(b"\n".join(rejected) + b"\n", mtime=0))
            storage.put(self.s3, bucket, written, path)
        purge_written(self.s3, bucket, self.pseudonyms, [place, written])


def recover(
    s3: S3Client,
    client: tweepy.Client,
    settings: Settings,
    topics: Topics,
    recovery: Recovery,
    key: bytes,
    attempt: str,
    owner: str,
) -> RecoveryOutcome:
    """Searches for the stretch and writes what it finds, even nothing: that shows that it was searched.

    ``key`` is the secret that ids are hashed with: what was removed on request does not come back by search.
    ``attempt`` must be new at every attempt, ``owner`` the same for attempts that follow each other: while
    one owner is at a stretch, another leaves alone what overlaps it. What was recovered is not bought again.
    What is bought is recorded in the ledger of posts before it is asked for. Without approval nothing is
    bought beyond the month's budget, nor after `Settings.max_recovery_attempts` that failed. Raises what
    search raises: the gap is then as open as before, and what was bought is kept.
    """
    kept = store(s3, settings.bucket, topics, recovery.topic, recovery.stretch)
    made = _Attempt(s3, settings, topics, recovery, Pseudonyms(key), attempt, owner, kept)
    settled = made.claim(datetime.now(UTC))
    return made.search(client) if settled is None else settled


def _keys(recovery: Recovery) -> tuple[str, str]:
    """Where the posts go that were rejected, and those that were recovered."""
    start, end = recovery.stretch.start, recovery.stretch.end
    return (
        quarantine_key(recovery.topic, recovery.window, recovery_stage(start, end)),
        recovered_key(recovery.topic, recovery.window, start, end),
    )


def _shortfall(recovery: Recovery, found: int) -> str | None:
    """What a recovery lacks according to X's own count."""
    if found >= recovery.posts:
        return None
    return f"X counted {recovery.posts} posts, and search returned {found} of them, asked twice"

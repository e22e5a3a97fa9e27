"""Intake: budget, rules, one connection to X after another, and every line into the spool."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import requests
import tweepy

from include.settings import Settings
from include.x.budget import month_of, monthly_posts
from include.x.snowflake import from_milliseconds, to_milliseconds
from streamer.accounting import Accounting
from streamer.database import SpoolUnwritableError
from streamer.intake import Intake
from streamer.journal import Journal
from streamer.lines import Identity, Reader
from streamer.quiet import Quiet
from streamer.reconnect import CONNECTS_SECONDS, BackOff, Cause, Ended, connect_delay
from streamer.rulebook import Rulebook
from streamer.spool import Spool
from streamer.zombies import free_own

SAMPLE = "sample"
"""The note with the last sample of X's rules."""

_GRANTED, _ASKED = "granted_ms", "asked_ms"

log = logging.getLogger(__name__)


class TokenRejectedError(RuntimeError):
    """X rejects the token: only another one helps."""


class Collector:
    """Collects in the thread that calls `run`; everything else is thread-safe.

    ``state`` says what it does, ``received`` counts X's lines, ``quarantined`` unusable ones by reason,
    ``evaluated`` the tweets whose topic our own rules found, ``connects`` the streams requested from X, and
    ``disconnects`` their ends by reason.
    """

    def __init__(
        self,
        settings: Settings,
        token: str,
        api: tweepy.Client,
        spool: Spool,
        rulebook: Rulebook,
        accounting: Accounting,
        journal: Journal,
        quiet: Quiet,
        on_connected: Callable[[], None],
    ) -> None:
        self.intake = Intake(settings, token, self._on_lines, self._on_connected)
        self.state = "starting"
        self.received = 0
        self.quarantined: Counter[str] = Counter()
        self.evaluated = 0
        self.connects = 0
        self.disconnects: Counter[str] = Counter()
        self.last_tweet_at: dict[str, datetime] = {}
        self._settings = settings
        self._api = api
        self._spool = spool
        self._notes = spool.notes
        self._rulebook = rulebook
        self._reader = Reader(rulebook.rule_set)
        self._accounting = accounting
        self._journal = journal
        self._quiet = quiet
        self._tell_connected = on_connected
        self._asked_before = self._notes.state(_ASKED)
        self._back_off = BackOff()
        self._stop = threading.Event()

    @property
    def _identity(self) -> Identity:
        return self._rulebook.rule_set.identity

    def stop(self) -> None:
        """Ends the connection, and `run` soon after."""
        self.state = "stopping"
        self._stop.set()
        self.intake.stop()

    def run(self) -> None:
        """Collects until `stop`: budget, rules, connect, and again after the back-off.

        Raises `TokenRejectedError`, `RulesError` if X rejects the first rules, and `SpoolError`.
        """
        month = month_of(datetime.now(UTC))
        self._accounting.recount(self._api, month)
        self._accounting.settle(month)
        reconciled = False
        while not self._stop.is_set():
            try:
                hindrance = self._hindrance()
                if hindrance:
                    self.state = hindrance
                    self._stop.wait(1.0)
                    continue
                self.state = "connecting" if reconciled else "reconciling"
                ended = self._stream() if reconciled else self.reconcile()
            except SpoolUnwritableError as error:
                log.warning("waiting for the disk", extra={"fields": {"error": str(error)}})
                self._stop.wait(1.0)
                continue
            if ended is None:
                reconciled = True
                continue
            reconciled = reconciled and ended.cause is not Cause.NO_RULES
            if self._stop.is_set():
                return
            if ended.cause is Cause.REJECTED:
                raise TokenRejectedError(
                    f"X rejects the token ({ended.reason}): put a valid one in its secret"
                )
            wait = self._back_off.delay(ended, time.time())
            log.info("waiting", extra={"fields": {"reason": ended.reason, "seconds": round(wait, 3)}})
            self._stop.wait(wait)

    def reconcile(self) -> Ended | None:
        """Updates X's rules to ours, also while the stream runs; returns how that failed, if it did.

        Raises `RulesError` and `SpoolError`.
        """
        before = self._identity
        try:
            self._rulebook.reconcile()
        except tweepy.TooManyRequests as error:
            return Ended(Cause.RATE_LIMITED, "rules: http 429", reset_at=error.reset_time)
        except (tweepy.Unauthorized, tweepy.Forbidden) as error:
            return Ended(Cause.REJECTED, f"rules: http {error.response.status_code}")
        except tweepy.HTTPException as error:
            return Ended(Cause.HTTP, f"rules: http {error.response.status_code}")
        except (requests.RequestException, ValueError) as error:
            return Ended(Cause.NETWORK, f"rules: {type(error).__name__}")
        self._adopt(before)
        return None

    def _hindrance(self) -> str | None:
        """Why nothing may be received at the moment."""
        if self._accounting.left(month_of(datetime.now(UTC))) <= 0:
            return "budget_exhausted"
        return self._spool.obstacle()

    def _adopt(self, before: Identity) -> None:
        """Reads lines by X's current rules, and records what changed."""
        self._reader.adopt(self._rulebook.rule_set)
        self._accounting.cap = monthly_posts(self._settings, self._rulebook.rule_set.topics)
        now = self._identity
        if now.sample != before.sample:
            self._journal.event("sample", f"{before.sample} to {now.sample} percent")
        if now.rule_hash != before.rule_hash:
            self._journal.event("rules", f"{before.rule_hash} to {now.rule_hash}")
        if now != before:
            self._notes.set_state(SAMPLE, str(now.sample))
            self._quiet.forget()

    def _stream(self) -> Ended:
        """One connection to X, from its beginning to its end."""
        now = time.time()
        connects = self._notes.connects_since(int((now - CONNECTS_SECONDS) * 1000))
        if self._stop.wait(connect_delay([at / 1000 for at in connects], now)):
            return Ended(Cause.STOPPED, "stopped")
        asked = str(int(time.time() * 1000))
        self._notes.add_connect(int(asked))
        self._notes.set_state(_ASKED, asked)
        self.connects += 1
        ended = self.intake.attempt()
        if ended.cause is Cause.TOO_MANY and self._freed(ended):
            ended = Ended(Cause.NETWORK, ended.reason)
        self.state = "too_many_connections" if ended.cause is Cause.TOO_MANY else "disconnected"
        if ended.connected_seconds is not None:
            self.disconnects[ended.reason] += 1
            self._journal.event("disconnect", ended.reason, self.intake.last_byte_at)
        log.info(
            "stream ended",
            extra={
                "fields": {
                    "reason": ended.reason,
                    "cause": ended.cause.value,
                    "connected_seconds": ended.connected_seconds,
                    "reset_at": ended.reset_at,
                }
            },
        )
        self._notes.set_state(_ASKED, None)
        return ended

    def _freed(self, ended: Ended) -> bool:
        """Whether X, which counts too many connections, has room after a dead one of ours was ended."""
        kept = (self._notes.state(_GRANTED), self._asked_before)
        try:
            return free_own(self._api, [from_milliseconds(int(made)) for made in kept if made])
        except (tweepy.TweepyException, requests.RequestException, ValueError) as error:
            log.warning(
                "connections unknown",
                extra={"fields": {"reason": ended.reason, "error": type(error).__name__}},
            )
            return False

    def _on_connected(self, at: datetime, last_byte_before: datetime | None) -> None:
        self.state = "connected"
        self._notes.set_state(_GRANTED, str(to_milliseconds(at)))
        self._journal.event("connect", last_byte_at=last_byte_before)
        self._tell_connected()
        log.info("connected")

    def _on_lines(self, lines: list[bytes], received: datetime) -> str | None:
        read = self._reader.read(lines, received)
        for topic, came in read.tweets.items():
            self.last_tweet_at[topic] = received
            self._quiet.tweets(topic, came)
        self.evaluated += read.evaluated
        self.quarantined.update(read.rejected)
        for reason in read.announced:
            log.warning("x reports a problem", extra={"fields": {"reason": reason}})
        bought = sum(pack.bought for pack in read.packs)
        within_budget = self._accounting.buy(month_of(received), bought) if bought else True
        for pack in read.packs:
            self._spool.put(pack)
            self.received += len(pack.marks)
        obstacle = None if within_budget else "budget_exhausted"
        if obstacle or (obstacle := self._spool.obstacle()):
            self.intake.cut(obstacle)
        return read.announced[-1] if read.announced else None

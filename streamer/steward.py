"""Maintains what changes slowly: the ledger of posts, the sample, the rules, silent topics."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import requests
import tweepy

from include.x import rules
from include.x.budget import month_of
from include.x.client import RequestRejectedError
from include.x.pacing import Pacer
from include.x.search import SEARCH_DELAY, SearchError, count
from streamer.accounting import Accounting
from streamer.collector import Collector
from streamer.database import SpoolUnwritableError
from streamer.intake import SILENCE_SECONDS
from streamer.notes import Notes
from streamer.quiet import Quiet
from streamer.reconnect import Cause
from streamer.rulebook import Rulebook

STEWARD_SECONDS = 30.0
RECONCILE_SECONDS = 300.0
"""How often X's rules are checked without a change of ours: X or a person may have removed some."""

_COUNTS_SECONDS = 600.0
_HEARABLE = 5
"""This many tweets that X counted and did not send prove that the topic is not really silent."""
_PACE = "pace"

log = logging.getLogger(__name__)


class Steward:
    """Works in the thread that calls `run`.

    ``silent`` has the seconds of each implausibly silent topic, ``rejected`` why X rejects the changed rules.
    """

    def __init__(
        self,
        api: tweepy.Client,
        notes: Notes,
        rulebook: Rulebook,
        accounting: Accounting,
        collector: Collector,
        quiet: Quiet,
    ) -> None:
        self.silent: dict[str, float] = {}
        self.rejected: str | None = None
        self._api = api
        self._notes = notes
        self._rulebook = rulebook
        self._accounting = accounting
        self._collector = collector
        self._quiet = quiet
        self._pacer = Pacer(notes.state(_PACE))
        self._counted_at: dict[str, float] = {}
        self._paced: dict[str, int] = {}

    def projected(self, now: datetime) -> int:
        """How many posts all writers will have bought by the end of the month."""
        used = self._accounting.used(month_of(now))
        return round(self._pacer.projected(now, used, self._rulebook.rule_set.identity.sample))

    def run(self, stop: threading.Event) -> None:
        """Maintains everything periodically, until ``stop``."""
        looked = reconciled = time.monotonic()
        while not stop.wait(STEWARD_SECONDS):
            now = time.monotonic()
            intake = self._collector.intake
            connected = min(intake.connected_seconds, now - looked)
            looked = now
            if intake.unheard_seconds > SILENCE_SECONDS:
                # Bytes without a complete line prevent the socket's own time-out.
                intake.cut("no_line", Cause.NETWORK)
            with suppress(SpoolUnwritableError):
                self._accounting.settle(month_of(datetime.now(UTC)))
                self._pace(connected)
            deaf = self._listen(connected)
            changed = self._rulebook.reread()
            if deaf or changed or self._rulebook.behind or now - reconciled >= RECONCILE_SECONDS:
                reconciled = now
                self._follow()
            if deaf:
                intake.cut("deaf", Cause.NETWORK)

    def _pace(self, connected: float) -> None:
        """Adapts the sample to the budget."""
        now = datetime.now(UTC)
        month = month_of(now)
        posts = self._accounting.bought(month)
        sample = self._rulebook.rule_set.identity.sample
        self._pacer.observe(now, connected, posts - self._paced.get(month, 0), sample)
        self._paced = {month: posts}
        self._rulebook.sample = self._pacer.sample(
            now,
            self._accounting.used(month),
            sample,
            self._accounting.cap,
            self._rulebook.topics.collection.sample,
        )
        self._notes.set_state(_PACE, self._pacer.remember())

    def _listen(self, connected: float) -> bool:
        """Looks for implausibly silent topics; True if X has tweets and sends none."""
        self.silent = self._quiet.look(connected)
        deaf = False
        for topic, seconds in self.silent.items():
            now = time.monotonic()
            if now - self._counted_at.get(topic, -_COUNTS_SECONDS) < _COUNTS_SECONDS:
                continue
            self._counted_at[topic] = now
            there = self._counted(topic, seconds)
            log.warning(
                "topic is silent",
                extra={"fields": {"topic": topic, "seconds": round(seconds), "on_x": there}},
            )
            deaf |= there is not None and there * self._rulebook.rule_set.identity.sample / 100 >= _HEARABLE
        return deaf

    def _counted(self, topic: str, seconds: float) -> int | None:
        """How many tweets X counts in the silence; None if it does not say."""
        end = datetime.now(UTC) - SEARCH_DELAY
        start = end + SEARCH_DELAY - timedelta(seconds=seconds)
        try:
            return count(self._api, self._rulebook.topics, topic, start, end, sleep=_never_waiting)
        except (
            tweepy.TweepyException,
            requests.RequestException,
            RequestRejectedError,
            SearchError,
            ValueError,
            KeyError,
        ) as error:
            log.warning("no counts", extra={"fields": {"topic": topic, "error": type(error).__name__}})
            return None

    def _follow(self) -> None:
        """Updates X's rules while the stream runs; a failure is tried again at the next look."""
        try:
            ended = self._collector.reconcile()
        except rules.RulesError as error:
            self.rejected = str(error)
            log.error("rules not changed", extra={"fields": {"reason": str(error)}})
        else:
            self.rejected = None
            if ended is not None:
                log.warning("rules not compared", extra={"fields": {"reason": ended.reason}})


def _never_waiting(seconds: float) -> None:
    """Instead of sleeping until X's rate limit resets: the silence can be checked again later."""
    raise ValueError(f"X's limit is reached for {seconds:.0f} s")

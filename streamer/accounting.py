"""Posts bought by the stream: counted in the spool, published in the ledger, limited by the budget."""

from __future__ import annotations

import logging
import threading
from collections import Counter

import requests
import tweepy

from include.x.budget import PostsLedger, PostsLedgerError, month_before, usage_of
from streamer.notes import Notes

RECOUNT = "stream-recount"
"""The ledger's entry for posts that X has billed and no writer has recorded."""

_RECOUNTED = "recounted"

log = logging.getLogger(__name__)


class Accounting:
    """Knows how many posts may still be bought; thread-safe.

    ``cap`` is the month's budget and may be changed. Other writers' posts are as of the last `settle`.
    """

    def __init__(self, ledger: PostsLedger, notes: Notes, cap: int) -> None:
        self.cap = cap
        self._ledger = ledger
        self._notes = notes
        self._writer = f"stream-{notes.identity}"
        self._published: dict[str, int] = {}
        self._before = Counter(notes.bought())
        self._bought: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._lock = threading.Lock()

    def buy(self, month: str, posts: int = 1) -> bool:
        """Counts posts; returns False if they use up the month's budget."""
        with self._lock:
            self._bought[month] += posts
            return self._used(month) < self.cap

    def left(self, month: str) -> int:
        """Posts that may still be bought in ``month``; 0 or less if the budget is used up."""
        return self.cap - self.used(month)

    def used(self, month: str) -> int:
        """Posts that all writers have bought in ``month``."""
        with self._lock:
            return self._used(month)

    def bought(self, month: str) -> int:
        """Posts that this process has bought in ``month``."""
        with self._lock:
            return self._bought[month]

    def settle(self, month: str) -> bool:
        """Publishes changes and reads what others bought; False if the ledger could not be reached.

        Of a past month the ledger keeps the count. The spool's own is dropped a month later: its last posts
        are committed after its end, and the ledger takes a writer's whole count.
        """
        try:
            for owned, posts in self._notes.bought().items():
                if self._published.get(owned) != posts:
                    self._ledger.record(owned, self._writer, posts)
                    self._published[owned] = posts
                if owned < month_before(month):
                    self._notes.forget_bought(owned)
            used = self._ledger.used(month)
        except PostsLedgerError as error:
            log.warning("posts ledger out of reach, counting on", extra={"fields": {"error": str(error)}})
            return False
        with self._lock:
            self._others[month] = used - self._published.get(month, 0)
        return True

    def recount(self, client: tweepy.Client, month: str) -> None:
        """Once per spool: records what X has billed beyond the ledger, as a lost disk loses its count.

        If X does not say, the ledger is used as it is: it lacks at most the lost disk's last half minute.
        """
        if self._notes.state(_RECOUNTED) is not None:
            return
        try:
            billed = usage_of(client, month)
            known = self._ledger.used(month) - self._ledger.entry(month, RECOUNT)
            if billed is not None:
                self._ledger.record(month, RECOUNT, max(billed - known, 0))
        except (PostsLedgerError, tweepy.TweepyException, requests.RequestException, ValueError) as error:
            log.warning("no recount", extra={"fields": {"error": type(error).__name__}})
            return
        self._notes.set_state(_RECOUNTED, month)
        log.info("recounted", extra={"fields": {"billed": billed, "known": known}})

    def _used(self, month: str) -> int:
        return self._others[month] + self._before[month] + self._bought[month]

"""Posts bought by the stream: counted in the spool, published in the ledger, stopped at the budget."""

from __future__ import annotations

import logging
import threading
from collections import Counter

import requests
import tweepy

from include.x.budget import PostsLedger, PostsLedgerError, usage_of
from streamer.notes import Notes

RECOUNT = "stream-recount"
"""The ledger's entry for posts that X has billed and no writer knows of."""

_RECOUNTED = "recounted"

log = logging.getLogger(__name__)


class Accounting:
    """Knows how many posts may still be bought; any thread may ask.

    ``cap`` is the month's budget and may be changed. What others have bought is as of the last `settle`.
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
        """Counts posts; False when the month's budget is used up with them."""
        with self._lock:
            self._bought[month] += posts
            return self._used(month) < self.cap

    def left(self, month: str) -> int:
        """Posts that may still be bought in ``month``; 0 or less when the budget is used up."""
        return self.cap - self.used(month)

    def used(self, month: str) -> int:
        """Posts that everybody has bought in ``month``."""
        with self._lock:
            return self._used(month)

    def bought(self, month: str) -> int:
        """Posts that this process has bought in ``month``."""
        with self._lock:
            return self._bought[month]

    def settle(self, month: str) -> bool:
        """Publishes what changed and reads what others bought; False if the ledger could not be reached.

        A month that is over is forgotten once it is published: the ledger keeps it.
        """
        try:
            for owned, posts in self._notes.bought().items():
                if self._published.get(owned) != posts:
                    self._ledger.record(owned, self._writer, posts)
                    self._published[owned] = posts
                if owned < month:
                    self._notes.forget_bought(owned)
            used = self._ledger.used(month)
        except PostsLedgerError as error:
            log.warning("posts ledger out of reach, counting on", extra={"fields": {"error": str(error)}})
            return False
        with self._lock:
            self._others[month] = used - self._published.get(month, 0)
        return True

    def recount(self, client: tweepy.Client, month: str) -> None:
        """Once in a spool's life: what X has billed beyond the ledger, when a lost disk took its count along.

        Where X does not tell, the ledger stands: it lacks the lost disk's last half minute at most.
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

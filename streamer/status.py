"""The state of a running streamer: its numbers, its warnings, whether it is alive and whether it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from include.x.budget import month_of
from include.x.price import cost
from include.x.records import iso
from include.x.snowflake import from_milliseconds, to_milliseconds
from streamer.accounting import Accounting
from streamer.collector import Collector
from streamer.delivery import Delivery
from streamer.rulebook import Rulebook
from streamer.spool import Spool
from streamer.steward import Steward

LATE_SECONDS = 120.0
"""A delivery lag that batching does not explain."""

_LINES = ("tweet", "quarantine")


@dataclass(frozen=True)
class Status:
    """Asks the streamer's parts; ``collecting`` says whether the collector's thread is alive."""

    spool: Spool
    delivery: Delivery
    rulebook: Rulebook
    accounting: Accounting
    collector: Collector
    steward: Steward
    collecting: Callable[[], bool]

    def numbers(self) -> dict[str, Any]:
        """Numbers, texts and counts by name, for people and monitors."""
        now = datetime.now(UTC)
        identity = self.rulebook.rule_set.identity
        intake = self.collector.intake
        month = month_of(now)
        last_byte_at = intake.last_byte_at
        watermark = from_milliseconds(self.spool.watermark(to_milliseconds(now)))
        used = self.accounting.used(month)
        projected = self.steward.projected(now)
        return {
            "session": identity.session,
            "state": self.collector.state,
            "connected": intake.connected,
            "warnings": self.warnings(),
            **self.counts(),
            "received_bytes": intake.received_bytes,
            "spool_bytes": self.spool.pending_bytes(),
            "quarantined": dict(self.collector.quarantined),
            "attributed": self.collector.evaluated,
            "connects": self.collector.connects,
            "disconnects": dict(self.collector.disconnects),
            "delivery_failures": dict(self.delivery.failures),
            "watermark": iso(watermark),
            "lag_seconds": round((now - watermark).total_seconds(), 3),
            "last_byte_at": iso(last_byte_at) if last_byte_at else None,
            "last_tweet_at": {topic: iso(at) for topic, at in sorted(self.collector.last_tweet_at.items())},
            "silent_seconds": {topic: round(silent) for topic, silent in sorted(self.steward.silent.items())},
            "clock_skew_seconds": intake.skew_seconds,
            "rule_hash": identity.rule_hash,
            "sample": identity.sample,
            "posts_bought": self.accounting.bought(month),
            "budget_used": used,
            "budget_projected": projected,
            "budget_cap": self.accounting.cap,
            "budget_used_dollars": cost(used),
            "budget_projected_dollars": cost(projected),
            "budget_cap_dollars": cost(self.accounting.cap),
        }

    def counts(self) -> dict[str, int]:
        """X's lines: received, spooled, pending, delivered, read in an order that misses none of them.

        Always received <= delivered + pending; more where an earlier session left something in the spool.
        """
        received = self.collector.received
        waiting = self.spool.waiting()
        pending = self.spool.pending()
        return {
            "received": received,
            "spooled": max(received - sum(waiting[kind] for kind in _LINES), 0),
            "pending": sum(pending[kind] for kind in _LINES),
            "delivered": sum(self.delivery.delivered[kind] for kind in _LINES),
        }

    def warnings(self) -> list[str]:
        """What needs a person's attention although all threads run."""
        found = {
            "topics_file": self.rulebook.problem,
            "rules_rejected": self.steward.rejected,
            "quiet": self.steward.silent,
            "delivery": self.delivery.failing,
        }
        obstacle = self.spool.obstacle()
        return [*([obstacle] if obstacle else []), *(name for name, there in found.items() if there)]

    def unhealthy(self) -> str | None:
        """Why the process should be restarted; None if it is alive."""
        if not self.delivery.alive:
            return "delivery has ended"
        return None if self.collecting() else "intake has ended"

    def unready(self) -> str | None:
        """Why tweets do not get from X to Firehose at the moment; None if they do."""
        unhealthy = self.unhealthy()
        if unhealthy or not self.collector.intake.connected:
            return unhealthy or f"not receiving: {self.collector.state}"
        now = to_milliseconds(datetime.now(UTC))
        if self.delivery.failing:
            return f"not delivering: {self.delivery.failing}"
        lag = (now - self.spool.watermark(now)) / 1000
        return f"not delivering: {lag:.0f} s behind" if lag > LATE_SECONDS else None

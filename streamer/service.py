"""The streamer as a whole: its parts, their threads, start and stop.

Two loops that never wait for each other: X's socket to the spool (`streamer.collector`), and the spool to
Firehose (`streamer.delivery`). A heartbeat also reports how far both are, and a steward maintains what
changes slowly (`streamer.steward`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.settings import Settings
from include.x import rules
from include.x.budget import PostsLedger, month_of, monthly_posts
from include.x.client import api_client
from include.x.records import iso
from include.x.snowflake import from_milliseconds, to_milliseconds
from include.x.topics import Topics
from streamer.accounting import Accounting
from streamer.collector import SAMPLE, Collector, TokenRejectedError
from streamer.database import SpoolError, SpoolUnwritableError
from streamer.delivery import Delivery
from streamer.health import HealthServer, Watched, embedded_metrics
from streamer.journal import Journal
from streamer.quiet import Quiet
from streamer.rulebook import Rulebook
from streamer.spool import Spool
from streamer.status import Status
from streamer.steward import Steward

if TYPE_CHECKING:
    from types_boto3_firehose import FirehoseClient

EXIT_STOPPED, EXIT_FAILED, EXIT_MISUSED, EXIT_REJECTED, EXIT_IN_USE = range(5)
"""Exit statuses: stopped as asked, failed, wrong topics or rules, X rejects the token, spool in use."""

DRAIN_SECONDS = 30.0

_METRICS_SECONDS = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How the streamer is monitored: its HTTP server's address and names, seconds between heartbeats."""

    http_host: str
    http_port: int
    heartbeat_seconds: float
    http_names: tuple[str, ...] = ()


class Streamer:
    """Collects until `stop`; `run` returns the exit status."""

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        token: str,
        session: str,
        spool: Spool,
        firehose: FirehoseClient,
        ledger: PostsLedger,
        options: Options,
    ) -> None:
        api = api_client(settings, token)
        highest = topics.collection.sample
        kept = spool.notes.state(SAMPLE)
        sample = min(int(kept), highest) if kept and kept.isdigit() and int(kept) else highest
        quiet = Quiet()
        self._stop = threading.Event()
        self._beat_now = threading.Event()
        self._exit_status = EXIT_STOPPED
        self._settings = settings
        self._session = session
        self._options = options
        self._spool = spool
        rulebook = Rulebook(api, settings.topics_file, topics, session, sample)
        self._journal = Journal(spool, rulebook)
        self._accounting = Accounting(ledger, spool.notes, monthly_posts(settings, topics))
        self._delivery = Delivery(
            firehose, settings.delivery_stream, spool, lambda error: self._fail(EXIT_FAILED, str(error))
        )
        self._collector = Collector(
            settings,
            token,
            api,
            spool,
            rulebook,
            self._accounting,
            self._journal,
            quiet,
            self._beat_now.set,
        )
        self._steward = Steward(api, spool.notes, rulebook, self._accounting, self._collector, quiet)
        self._collecting = threading.Thread(
            target=self._guarded, args=(self._collector.run,), name="intake", daemon=True
        )
        self._status = Status(
            spool,
            self._delivery,
            rulebook,
            self._accounting,
            self._collector,
            self._steward,
            self._collecting.is_alive,
        )

    def stop(self) -> None:
        """Asks the streamer to stop."""
        self._stop.set()
        self._beat_now.set()

    def run(self) -> int:
        """Runs until `stop` or a permanent failure; then drains, and returns the status."""
        try:
            health = HealthServer(
                self._options.http_host,
                self._options.http_port,
                Watched(self._status.numbers, self._status.unhealthy, self._status.unready),
                self._options.http_names,
            )
        except OSError as error:
            log.error("port %s cannot be used: %s", self._options.http_port, error.strerror)
            return EXIT_FAILED
        log.info("started", extra={"fields": {"session": self._session, "http_port": health.port}})
        workers = [
            threading.Thread(target=self._guarded, args=(loop,), name=name, daemon=True)
            for name, loop in (
                ("heartbeat", self._beat),
                ("steward", lambda: self._steward.run(self._stop)),
                ("metrics", self._publish),
            )
        ]
        try:
            self._delivery.start()
            self._journal.event("start")
            if self._spool.salvaged is not None:
                self._journal.event("salvage", f"{self._spool.salvaged} lines salvaged from a corrupt spool")
            for worker in workers:
                worker.start()
            self._collecting.start()
            self._stop.wait()
            self._finish()
        except SpoolError as error:
            self._fail(EXIT_FAILED, str(error))
        finally:
            health.close()
        return self._exit_status

    def status(self) -> dict[str, Any]:
        """Numbers, texts and counts by name, for people and monitors."""
        return self._status.numbers()

    def _fail(self, status: int, sentence: str) -> None:
        log.error(sentence)
        self._exit_status = status
        self.stop()

    def _guarded(self, loop: Callable[[], None]) -> None:
        """Ends the process if a thread ends unexpectedly, so that the supervisor restarts it."""
        try:
            loop()
        except TokenRejectedError as error:
            self._fail(EXIT_REJECTED, str(error))
        except rules.RulesError as error:
            self._fail(EXIT_MISUSED, str(error))
        except SpoolError as error:
            self._fail(EXIT_FAILED, str(error))
        except Exception as error:
            name = threading.current_thread().name
            log.exception("%s ended", name)
            self._fail(EXIT_FAILED, f"{name} ended by {type(error).__name__}")

    def _heartbeat(self) -> None:
        now = datetime.now(UTC)
        intake = self._collector.intake
        tweets = dict(self._collector.last_tweet_at)
        content = {
            "watermark": from_milliseconds(self._spool.watermark(to_milliseconds(now))),
            "connected": intake.connected,
            "last_byte_at": intake.last_byte_at,
            "last_tweet_at": max(tweets.values(), default=None),
            "last_tweets": {topic: iso(at) for topic, at in tweets.items()},
            **self._status.counts(),
        }
        self._journal.heartbeat(content)

    def _beat(self) -> None:
        while not self._stop.is_set():
            self._heartbeat()
            if self._beat_now.wait(self._options.heartbeat_seconds):
                self._beat_now.clear()

    def _publish(self) -> None:
        """CloudWatch reads metrics from the log if a namespace is set."""
        before: dict[str, Any] = {}
        while self._settings.metrics_namespace and not self._stop.wait(_METRICS_SECONDS):
            now = self.status()
            print(
                embedded_metrics(
                    self._settings.metrics_namespace, self._settings.delivery_stream, now, before
                ),
                flush=True,
            )
            before = now

    def _finish(self) -> None:
        """Stops intake first, delivers the spool, then records the stop and delivers that too."""
        deadline = time.monotonic() + DRAIN_SECONDS
        self._collector.stop()
        if self._collecting.is_alive():
            self._collecting.join(2.0)
        self._delivery.drain(deadline)
        reason = None if self._exit_status == EXIT_STOPPED else f"exit {self._exit_status}"
        self._journal.event("stop", reason, self._collector.intake.last_byte_at)
        self._heartbeat()
        self._spool.flush(deadline - time.monotonic())
        drained = self._delivery.drain(deadline)
        with suppress(SpoolUnwritableError):
            self._accounting.settle(month_of(datetime.now(UTC)))
        self._delivery.stop(max(deadline - time.monotonic(), 1.0))
        log.info(
            "stopped",
            extra={
                "fields": {
                    "drained": drained,
                    "received": self._collector.received,
                    "pending": sum(self._spool.pending().values()),
                }
            },
        )

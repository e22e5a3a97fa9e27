"""The streamer as a whole: intake and delivery beside each other, heartbeats, the budget, start and stop.

Two loops that never wait for each other: X's socket to the spool, and the spool to Firehose. Beside them a
heartbeat tells how far both are, and a steward looks after what changes slowly: the ledger of posts, the
sample, the rules, topics that have fallen silent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import requests
import tweepy

from include.settings import Settings
from include.x import rules
from include.x.budget import PostsLedger, month_of, monthly_posts
from include.x.client import RequestRefusedError, api_client
from include.x.pacing import Pacer
from include.x.price import cost
from include.x.records import iso
from include.x.search import SEARCH_DELAY, SearchError, count
from include.x.snowflake import from_milliseconds, to_milliseconds
from include.x.topics import Topics
from streamer.accounting import Accounting
from streamer.delivery import Delivery
from streamer.health import HealthServer, Watched, embedded_metrics
from streamer.intake import SILENCE_SECONDS, Intake
from streamer.lines import Identity, Reader, control
from streamer.quiet import Quiet
from streamer.reconnect import CONNECTS_SECONDS, BackOff, Cause, Ended, connect_delay
from streamer.rulebook import Rulebook
from streamer.spool import Spool, SpoolError, SpoolUnwritableError
from streamer.zombies import free_own

if TYPE_CHECKING:
    from types_boto3_firehose import FirehoseClient

STOPPED, FAILED, MISUSED, REFUSED, IN_USE = range(5)
"""Exit statuses: stopped as asked, failed, wrong topics or rules, X refuses the token, spool in use."""

STEWARD_SECONDS = 30.0
RECONCILE_SECONDS = 300.0
"""How often X's rules are looked at although nothing was changed: X, or a person, may have lost some."""
DRAIN_SECONDS = 30.0
LATE_SECONDS = 120.0
"""A lag of delivery that is no longer plain batching."""

_METRICS_SECONDS = 60.0
_COUNTS_SECONDS = 600.0
_HEARABLE = 5
"""So many tweets that X counts and did not send prove that a silence is none of the topic's."""
_GRANTED, _ASKED, _PACE, _SAMPLE = "granted_ms", "asked_ms", "pace", "sample"
_LINES = ("tweet", "quarantine")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How the streamer is watched: its HTTP server's address and names, seconds between heartbeats."""

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
        self._api = api_client(settings, token)
        highest = topics.collection.sample
        kept = spool.state(_SAMPLE)
        sample = min(int(kept), highest) if kept and kept.isdigit() and int(kept) else highest
        self._rulebook = Rulebook(self._api, settings.topics_file, topics, session, sample)
        self._intake = Intake(settings, token, self._on_lines, self._on_connected)
        self._reader = Reader(self._rulebook.rule_set)
        self._spool = spool
        self._delivery = Delivery(
            firehose, settings.delivery_stream, spool, lambda error: self._fail(FAILED, str(error))
        )
        self._accounting = Accounting(ledger, spool, monthly_posts(settings, topics))
        self._pacer = Pacer(spool.state(_PACE))
        self._quiet = Quiet()
        self._silent: dict[str, float] = {}
        self._counted_at: dict[str, float] = {}
        self._paced: dict[str, int] = {}
        self._refused: str | None = None
        self._asked_before = spool.state(_ASKED)
        self._settings = settings
        self._options = options
        self._back_off = BackOff()
        self._stop = threading.Event()
        self._beat_now = threading.Event()
        self._exit_status = STOPPED
        self._state = "starting"
        self._received = 0
        self._quarantined: Counter[str] = Counter()
        self._evaluated = 0
        self._connects = 0
        self._disconnects: Counter[str] = Counter()
        self._last_tweet_at: dict[str, datetime] = {}
        self._collector = threading.Thread(
            target=self._guarded, args=(self._collect,), name="intake", daemon=True
        )

    def stop(self) -> None:
        """Asks for the end."""
        self._stop.set()
        self._beat_now.set()

    def run(self) -> int:
        """Runs until `stop` or a failure that waiting does not mend; then drains, and returns the status."""
        try:
            health = HealthServer(
                self._options.http_host,
                self._options.http_port,
                Watched(self.status, self._ill, self._unready),
                self._options.http_names,
            )
        except OSError as error:
            log.error("port %s cannot be used: %s", self._options.http_port, error.strerror)
            return FAILED
        log.info("started", extra={"fields": {"session": self._identity.session, "http_port": health.port}})
        workers = [
            threading.Thread(target=self._guarded, args=(loop,), name=name, daemon=True)
            for name, loop in (
                ("heartbeat", self._beat),
                ("steward", self._steward),
                ("metrics", self._publish),
            )
        ]
        try:
            self._delivery.start()
            self._event("start")
            if self._spool.salvaged is not None:
                self._event("salvage", f"{self._spool.salvaged} records salvaged from a corrupt spool")
            for worker in workers:
                worker.start()
            self._collector.start()
            self._stop.wait()
            self._finish()
        except SpoolError as error:
            self._fail(FAILED, str(error))
        finally:
            health.close()
        return self._exit_status

    def status(self) -> dict[str, Any]:
        """Numbers, texts and counts by name, for people and monitors."""
        now = datetime.now(UTC)
        month = month_of(now)
        last_byte_at = self._intake.last_byte_at
        watermark = from_milliseconds(self._spool.watermark(to_milliseconds(now)))
        used = self._accounting.used(month)
        projected = round(self._pacer.projected(now, used, self._identity.sample))
        return {
            "session": self._identity.session,
            "state": self._state,
            "connected": self._intake.connected,
            "warnings": self._warnings(),
            **self._counts(),
            "received_bytes": self._intake.received_bytes,
            "spool_bytes": self._spool.pending_bytes(),
            "quarantined": dict(self._quarantined),
            "attributed": self._evaluated,
            "connects": self._connects,
            "disconnects": dict(self._disconnects),
            "delivery_failures": dict(self._delivery.failures),
            "watermark": iso(watermark),
            "lag_seconds": round((now - watermark).total_seconds(), 3),
            "last_byte_at": iso(last_byte_at) if last_byte_at else None,
            "last_tweet_at": {topic: iso(at) for topic, at in sorted(self._last_tweet_at.items())},
            "silent_seconds": {topic: round(silent) for topic, silent in sorted(self._silent.items())},
            "clock_skew_seconds": self._intake.skew_seconds,
            "rule_hash": self._identity.rule_hash,
            "sample": self._identity.sample,
            "posts_bought": self._accounting.bought(month),
            "budget_used": used,
            "budget_projected": projected,
            "budget_cap": self._accounting.cap,
            "budget_used_dollars": cost(used),
            "budget_projected_dollars": cost(projected),
            "budget_cap_dollars": cost(self._accounting.cap),
        }

    @property
    def _identity(self) -> Identity:
        return self._rulebook.rule_set.identity

    def _counts(self) -> dict[str, int]:
        """X's lines: received, spooled, pending, delivered, read in an order that hides none of them.

        Always received <= delivered + pending; more where an earlier session left something in the spool.
        """
        received = self._received
        waiting = self._spool.waiting()
        pending = self._spool.pending()
        return {
            "received": received,
            "spooled": max(received - sum(waiting[kind] for kind in _LINES), 0),
            "pending": sum(pending[kind] for kind in _LINES),
            "delivered": sum(self._delivery.delivered[kind] for kind in _LINES),
        }

    def _warnings(self) -> list[str]:
        """What a person should look at although all threads run."""
        found = {
            "topics_file": self._rulebook.problem,
            "rules_refused": self._refused,
            "quiet": self._silent,
            "delivery": self._delivery.failing,
        }
        obstacle = self._spool.obstacle()
        return [*([obstacle] if obstacle else []), *(name for name, there in found.items() if there)]

    def _ill(self) -> str | None:
        """Why the process should be replaced; None if it lives."""
        if not self._delivery.alive:
            return "delivery has ended"
        return None if self._collector.is_alive() else "intake has ended"

    def _unready(self) -> str | None:
        """Why tweets do not get from X to Firehose at the moment; None if they do."""
        ill = self._ill()
        if ill or not self._intake.connected:
            return ill or f"not receiving: {self._state}"
        now = to_milliseconds(datetime.now(UTC))
        if self._delivery.failing:
            return f"not delivering: {self._delivery.failing}"
        lag = (now - self._spool.watermark(now)) / 1000
        return f"not delivering: {lag:.0f} s behind" if lag > LATE_SECONDS else None

    def _fail(self, status: int, sentence: str) -> None:
        log.error(sentence)
        self._exit_status = status
        self.stop()

    def _guarded(self, loop: Callable[[], None]) -> None:
        """No thread ends unseen: what nobody expected ends the process, and its keeper starts another."""
        try:
            loop()
        except rules.RulesError as error:
            self._fail(MISUSED, str(error))
        except SpoolError as error:
            self._fail(FAILED, str(error))
        except Exception as error:
            name = threading.current_thread().name
            log.exception("%s ended", name)
            self._fail(FAILED, f"{name} ended by {type(error).__name__}")

    def _collect(self) -> None:
        """The intake's life: budget, rules, connect, and again after the back-off."""
        month = month_of(datetime.now(UTC))
        self._accounting.recount(self._api, month)
        self._accounting.settle(month)
        reconciled = False
        while not self._stop.is_set():
            try:
                hindrance = self._hindrance()
                if hindrance:
                    self._state = hindrance
                    self._stop.wait(1.0)
                    continue
                self._state = "connecting" if reconciled else "reconciling"
                ended = self._stream() if reconciled else self._reconcile()
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
            if ended.cause is Cause.REFUSED:
                self._fail(REFUSED, f"X refuses the token ({ended.reason}): put a valid one in its secret")
                return
            wait = self._back_off.delay(ended, time.time())
            log.info("waiting", extra={"fields": {"reason": ended.reason, "seconds": round(wait, 3)}})
            self._stop.wait(wait)

    def _hindrance(self) -> str | None:
        """Why nothing should be received at the moment."""
        if self._accounting.left(month_of(datetime.now(UTC))) <= 0:
            return "budget_exhausted"
        return self._spool.obstacle()

    def _reconcile(self) -> Ended | None:
        """Makes X's rules ours; how it failed if it did. Raises `RulesError` and `SpoolError`."""
        before = self._identity
        try:
            self._rulebook.reconcile()
        except tweepy.TooManyRequests as error:
            return Ended(Cause.RATE_LIMITED, "rules: http 429", reset_at=error.reset_time)
        except (tweepy.Unauthorized, tweepy.Forbidden) as error:
            return Ended(Cause.REFUSED, f"rules: http {error.response.status_code}")
        except tweepy.HTTPException as error:
            return Ended(Cause.HTTP, f"rules: http {error.response.status_code}")
        except (requests.RequestException, ValueError) as error:
            return Ended(Cause.NETWORK, f"rules: {type(error).__name__}")
        self._adopt(before)
        return None

    def _adopt(self, before: Identity) -> None:
        """Reads lines by the rules that X now has, and records what changed."""
        self._reader.adopt(self._rulebook.rule_set)
        self._accounting.cap = monthly_posts(self._settings, self._rulebook.rule_set.topics)
        now = self._identity
        if now.sample != before.sample:
            self._event("sample", f"{before.sample} to {now.sample} percent")
        if now.rule_hash != before.rule_hash:
            self._event("rules", f"{before.rule_hash} to {now.rule_hash}")
        if now != before:
            self._spool.set_state(_SAMPLE, str(now.sample))
            self._quiet.forget()

    def _stream(self) -> Ended:
        """One connection to X, from its beginning to its end."""
        now = time.time()
        connects = self._spool.connects_since(int((now - CONNECTS_SECONDS) * 1000))
        if self._stop.wait(connect_delay([at / 1000 for at in connects], now)):
            return Ended(Cause.STOPPED, "stopped")
        asked = str(int(time.time() * 1000))
        self._spool.add_connect(int(asked))
        self._spool.set_state(_ASKED, asked)
        self._connects += 1
        ended = self._intake.attempt()
        if ended.cause is Cause.TOO_MANY and self._freed(ended):
            ended = Ended(Cause.NETWORK, ended.reason)
        self._state = "too_many_connections" if ended.cause is Cause.TOO_MANY else "disconnected"
        if ended.connected_seconds is not None:
            self._disconnects[ended.reason] += 1
            self._event("disconnect", ended.reason, self._intake.last_byte_at)
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
        self._spool.set_state(_ASKED, None)
        return ended

    def _freed(self, ended: Ended) -> bool:
        """Whether X, that counts too many connections, has room after all: for want of a dead one of ours."""
        kept = (self._spool.state(_GRANTED), self._asked_before)
        try:
            return free_own(self._api, [from_milliseconds(int(made)) for made in kept if made])
        except (tweepy.TweepyException, requests.RequestException, ValueError) as error:
            log.warning(
                "connections unknown",
                extra={"fields": {"reason": ended.reason, "error": type(error).__name__}},
            )
            return False

    def _on_connected(self, at: datetime, last_byte_before: datetime | None) -> None:
        self._state = "connected"
        self._spool.set_state(_GRANTED, str(to_milliseconds(at)))
        self._event("connect", last_byte_at=last_byte_before)
        self._beat_now.set()
        log.info("connected")

    def _on_lines(self, lines: list[bytes], received: datetime) -> str | None:
        read = self._reader.read(lines, received)
        for topic, came in read.tweets.items():
            self._last_tweet_at[topic] = received
            self._quiet.tweets(topic, came)
        self._evaluated += read.evaluated
        self._quarantined.update(read.rejected)
        for reason in read.announced:
            log.warning("x reports a problem", extra={"fields": {"reason": reason}})
        bought = sum(pack.bought for pack in read.packs)
        within_budget = self._accounting.buy(month_of(received), bought) if bought else True
        for pack in read.packs:
            self._spool.put(pack)
            self._received += len(pack.marks)
        obstacle = None if within_budget else "budget_exhausted"
        if obstacle or (obstacle := self._spool.obstacle()):
            self._intake.cut(obstacle)
        return read.announced[-1] if read.announced else None

    def _event(self, event: str, reason: str | None = None, last_byte_at: datetime | None = None) -> None:
        """A session record; for a connect the last byte is that of the connection before."""
        content = {"event": event, "reason": reason, "last_byte_at": last_byte_at}
        self._spool.put(control("session", self._identity, datetime.now(UTC), content))

    def _heartbeat(self) -> None:
        now = datetime.now(UTC)
        tweets = dict(self._last_tweet_at)
        content = {
            "watermark": from_milliseconds(self._spool.watermark(to_milliseconds(now))),
            "connected": self._intake.connected,
            "last_byte_at": self._intake.last_byte_at,
            "last_tweet_at": max(tweets.values(), default=None),
            "last_tweets": {topic: iso(at) for topic, at in tweets.items()},
            **self._counts(),
        }
        self._spool.put(control("heartbeat", self._identity, now, content))

    def _beat(self) -> None:
        while not self._stop.is_set():
            self._heartbeat()
            if self._beat_now.wait(self._options.heartbeat_seconds):
                self._beat_now.clear()

    def _steward(self) -> None:
        """Looks after what changes slowly."""
        looked = reconciled = time.monotonic()
        while not self._stop.wait(STEWARD_SECONDS):
            now = time.monotonic()
            connected = min(self._intake.connected_seconds, now - looked)
            looked = now
            if self._intake.unheard_seconds > SILENCE_SECONDS:
                # Bytes that never make a line keep the socket's own time-out from striking.
                self._intake.cut("no_line", Cause.NETWORK)
            with suppress(SpoolUnwritableError):
                self._accounting.settle(month_of(datetime.now(UTC)))
                self._pace(connected)
            deaf = self._listen(connected)
            changed = self._rulebook.reread()
            if deaf or changed or self._rulebook.behind or now - reconciled >= RECONCILE_SECONDS:
                reconciled = now
                self._follow()
            if deaf:
                self._intake.cut("deaf", Cause.NETWORK)

    def _pace(self, connected: float) -> None:
        """Lets the sample follow the budget."""
        now = datetime.now(UTC)
        month = month_of(now)
        posts = self._accounting.bought(month)
        sample = self._identity.sample
        self._pacer.observe(now, connected, posts - self._paced.get(month, 0), sample)
        self._paced = {month: posts}
        self._rulebook.sample = self._pacer.sample(
            now,
            self._accounting.used(month),
            sample,
            self._accounting.cap,
            self._rulebook.topics.collection.sample,
        )
        self._spool.set_state(_PACE, self._pacer.remember())

    def _listen(self, connected: float) -> bool:
        """Looks for topics that are silent beyond what is plausible; True if X has tweets and sends none."""
        self._silent = self._quiet.look(connected)
        deaf = False
        for topic, seconds in self._silent.items():
            now = time.monotonic()
            if now - self._counted_at.get(topic, -_COUNTS_SECONDS) < _COUNTS_SECONDS:
                continue
            self._counted_at[topic] = now
            there = self._counted(topic, seconds)
            log.warning(
                "topic is silent",
                extra={"fields": {"topic": topic, "seconds": round(seconds), "on_x": there}},
            )
            deaf |= there is not None and there * self._identity.sample / 100 >= _HEARABLE
        return deaf

    def _counted(self, topic: str, seconds: float) -> int | None:
        """How many tweets X counts in the silence; None where it does not say."""
        end = datetime.now(UTC) - SEARCH_DELAY
        start = end + SEARCH_DELAY - timedelta(seconds=seconds)
        try:
            return count(self._api, self._rulebook.topics, topic, start, end, sleep=_never_waiting)
        except (
            tweepy.TweepyException,
            requests.RequestException,
            RequestRefusedError,
            SearchError,
            ValueError,
            KeyError,
        ) as error:
            log.warning("no counts", extra={"fields": {"topic": topic, "error": type(error).__name__}})
            return None

    def _follow(self) -> None:
        """Has X's rules follow while the stream runs; what fails is tried again at the next look."""
        try:
            ended = self._reconcile()
        except rules.RulesError as error:
            self._refused = str(error)
            log.error("rules not changed", extra={"fields": {"reason": str(error)}})
        else:
            self._refused = None
            if ended is not None:
                log.warning("rules not compared", extra={"fields": {"reason": ended.reason}})

    def _publish(self) -> None:
        """CloudWatch reads metrics from the log, where a namespace is set."""
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
        """Stops intake first, delivers what is spooled, says that it stopped, delivers that too."""
        self._state = "stopping"
        deadline = time.monotonic() + DRAIN_SECONDS
        self._intake.stop()
        if self._collector.is_alive():
            self._collector.join(2.0)
        self._delivery.drain(deadline)
        reason = None if self._exit_status == STOPPED else f"exit {self._exit_status}"
        self._event("stop", reason, self._intake.last_byte_at)
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
                    "received": self._received,
                    "pending": sum(self._spool.pending().values()),
                }
            },
        )


def _never_waiting(seconds: float) -> None:
    """Instead of sleeping until X's limit is over: the silence can be looked at again later."""
    raise ValueError(f"X's limit is reached for {seconds:.0f} s")

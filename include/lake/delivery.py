"""Decides whether all tweets of a window have come through Firehose.

Firehose buffers each partition separately, so an object of a later hour proves little. A heartbeat carries a
low watermark: the receive time of the oldest line that Firehose has not acknowledged. A window is complete
when a heartbeat whose watermark is at its end or later (plus lateness) has landed and the buffering interval
has passed since that heartbeat was sent.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from include.lake import storage
from include.lake.layout import heartbeats_prefix
from include.settings import Settings
from include.window import Window

WATERMARK, GRACE, OPEN = "watermark", "grace", "open"

_LONGEST_BUFFERING = 1.5
"""With dynamic partitioning a batch may take 1.5 times the buffering hint
(https://docs.aws.amazon.com/firehose/latest/dev/buffering.html)."""

log = logging.getLogger(__name__)


class DeliveryError(Exception):
    """The pipeline cannot wait for this delivery stream."""


@dataclass(frozen=True)
class Heartbeat:
    """When the streamer sent it, and the time up to which everything received was acknowledged (both UTC)."""

    at: datetime
    watermark: datetime


@dataclass(frozen=True)
class DeliveryStatus:
    """Whether to continue.

    ``reason`` is ``watermark`` (proved), ``grace`` (not proved, but the grace time is over) or ``open`` (the
    hour has not ended, so the tweets so far are used); it is empty as long as the sensor has to wait, at most
    until ``look_again``.
    """

    reason: str
    look_again: datetime
    proof: Heartbeat | None = None

    @property
    def through(self) -> bool:
        """True if the window can be processed."""
        return bool(self.reason)


def heartbeats(lines: bytes) -> Iterator[Heartbeat]:
    """The heartbeats among NDJSON lines; session records, without watermarks, and blank lines are skipped."""
    for line in lines.splitlines():
        if not line.strip():
            continue
        record = orjson.loads(line)
        if record["kind"] == "heartbeat":
            yield Heartbeat(_moment(record["at"]), _moment(record["watermark"]))


def proves(heartbeat: Heartbeat, window: Window, lateness: timedelta) -> bool:
    """True if Firehose acknowledged all tweets of the window that X delivered at most ``lateness`` late."""
    return heartbeat.watermark >= window.end + lateness


def assess(
    window: Window,
    now: datetime,
    proof: Heartbeat | None,
    buffering: timedelta,
    settings: Settings,
    poll: timedelta = timedelta(seconds=15),
) -> DeliveryStatus:
    """Decides whether ``window`` is complete at ``now``.

    ``proof`` is a heartbeat that `proves` it and has landed, if there is one; ``buffering`` is the longest
    time that Firehose buffers a record.
    """
    if now < window.end:
        return DeliveryStatus(OPEN, now, proof)
    grace = window.end + timedelta(seconds=settings.delivery_grace_seconds)
    if proof:
        due = proof.at + buffering + timedelta(seconds=settings.delivery_margin_seconds)
        if now >= due:
            return DeliveryStatus(WATERMARK, now, proof)
    else:
        due = now + poll
    if now >= grace:
        return DeliveryStatus(GRACE, now, proof)
    return DeliveryStatus("", min(due, grace), proof)


class DeliveryWatch:
    """Watches one window; remembers what it has read, so that another look costs one listing."""

    def __init__(self, client: Callable[[str], Any], settings: Settings, window: Window) -> None:
        """``client`` gives the client of a service; it is asked at each look, as credentials may change."""
        self._client = client
        self._settings = settings
        self._window = window
        self._read_up_to = heartbeats_prefix(window.next)
        self._proof: Heartbeat | None = None
        self._buffering: timedelta | None = None

    def look(self, now: datetime) -> DeliveryStatus:
        """Reads what has landed since the last look and decides; raises `DeliveryError`."""
        if now < self._window.end:
            return assess(self._window, now, None, timedelta(), self._settings)
        if self._proof is None:
            self._proof = self._find_proof()
        if self._proof is not None and self._buffering is None:
            self._buffering = self._buffering_interval()
        return assess(self._window, now, self._proof, self._buffering or timedelta(), self._settings)

    def _find_proof(self) -> Heartbeat | None:
        """The first heartbeat, in the order of keys and therefore of time, that proves the window.

        A heartbeat is stored under the hour in which it was sent, so a proof is found in a later hour.
        """
        lateness = timedelta(seconds=self._settings.lateness_seconds)
        bucket = self._settings.bucket
        prefix = heartbeats_prefix(self._window).partition("dt=")[0]
        for found in storage.objects(self._client("s3"), bucket, prefix, after=self._read_up_to):
            body = storage.read(self._client("s3"), bucket, found.key)
            try:
                for heartbeat in heartbeats(gzip.decompress(body)):
                    if proves(heartbeat, self._window, lateness):
                        return heartbeat
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                # It proves nothing; a later one may, and otherwise the grace time ends the wait.
                log.warning("unreadable heartbeats key=%s error=%r", found.key, error)
            self._read_up_to = found.key
        return None

    def _buffering_interval(self) -> timedelta:
        """The longest time that Firehose buffers a record."""
        answer = self._client("firehose").describe_delivery_stream(
            DeliveryStreamName=self._settings.delivery_stream, Limit=1
        )
        try:
            destination = answer["DeliveryStreamDescription"]["Destinations"][0]
            hints = destination["ExtendedS3DestinationDescription"]["BufferingHints"]
            return _LONGEST_BUFFERING * timedelta(seconds=hints["IntervalInSeconds"])
        except (LookupError, TypeError) as error:
            raise DeliveryError(
                f"delivery stream {self._settings.delivery_stream} has no S3 destination with buffering hints"
            ) from error


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)

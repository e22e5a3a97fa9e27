"""Delivers the spool to Firehose: batches within its limits, retries of failed records, back-off."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from streamer.database import SpoolError, SpoolUnwritableError
from streamer.firehose import lines_per_record
from streamer.packs import Group, kinds, records
from streamer.spool import Spool

if TYPE_CHECKING:
    from types_boto3_firehose import FirehoseClient

BATCH_RECORDS = 500
"""A limit of PutRecordBatch (Firehose's API reference)."""
BATCH_BYTES = 3000 * 1024
"""A request stays within PutRecordBatch's 4 MiB even if these are counted in base64."""

LINGER_SECONDS = 0.25
"""How long a request waits to be full: each costs as much CPU as a hundred tweets."""

ASK_SECONDS = 60.0
"""How often the delivery stream is asked how many lines a record may have."""

FAILING_SECONDS = 30.0
"""A failure that lasts longer is not temporary."""

_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 30.0
_UNSENT = "unsent"

log = logging.getLogger(__name__)


@dataclass
class _Sending:
    """A group in progress, and its records that Firehose has not accepted yet."""

    group: Group
    left: list[bytes]


class Delivery:
    """Delivers in its own thread until `stop`; ``on_failure`` is called if the spool fails.

    ``delivered`` counts the lines of delivered groups by kind, ``failures`` counts failed records by error
    code. A group leaves the spool when Firehose has accepted all of it: after a crash, lines may arrive
    twice.
    """

    def __init__(
        self,
        firehose: FirehoseClient,
        stream: str,
        spool: Spool,
        on_failure: Callable[[SpoolError], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.delivered: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._firehose = firehose
        self._stream = stream
        self._spool = spool
        self._on_failure = on_failure
        self._jitter = jitter
        # One line per record is right for any stream.
        self._most_lines = 1
        self._ask_at = 0.0
        self._unanswered: str | None = None
        self._taken = 0
        self._sending: list[_Sending] = []
        self._sent_at = -LINGER_SECONDS
        self._done: list[Group] = []
        self._failing: tuple[str, float] | None = None
        self._stop = threading.Event()
        self._attempts = 0
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        """Starts delivering."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def failing(self) -> str | None:
        """The error code if Firehose has been rejecting records for `FAILING_SECONDS`."""
        failing = self._failing
        return failing[0] if failing and time.monotonic() - failing[1] >= FAILING_SECONDS else None

    def drain(self, deadline: float) -> bool:
        """Waits for an empty spool, at most until ``deadline`` (`time.monotonic`); False if it is not."""
        while sum(self._spool.pending().values()):
            if time.monotonic() >= deadline or not self.alive:
                return False
            self._stop.wait(0.05)
        return True

    def stop(self, timeout: float) -> None:
        """Ends the thread after its current request; undelivered lines stay in the spool."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._deliver()
        except SpoolError as error:
            self._on_failure(error)
        except Exception as error:
            log.exception("delivery ended")
            self._on_failure(SpoolError(f"delivery ended by {type(error).__name__}"))

    def _deliver(self) -> None:
        while not self._stop.is_set():
            self._ask()
            batch = self._batch()
            if not batch:
                self._settle([])
                self._acknowledge()
                self._spool.wait_beyond(self._taken, 0.25)
                continue
            full = len(batch) == BATCH_RECORDS or len(batch) < sum(len(each.left) for each in self._sending)
            lingering = self._sent_at + LINGER_SECONDS - time.monotonic()
            if not full and lingering > 0:
                self._spool.wait_beyond(self._taken, lingering)
                continue
            self._sent_at = time.monotonic()
            rejected = self._put(batch)
            self._settle(rejected)
            self._acknowledge()
            if any(rejected):
                self._stop.wait(self._delay())
            else:
                self._attempts = 0
                self._failing = None

    def _ask(self) -> None:
        """Asks the delivery stream from time to time how many lines a record may have."""
        if time.monotonic() < self._ask_at:
            return
        self._ask_at = time.monotonic() + ASK_SECONDS
        try:
            most_lines = lines_per_record(self._firehose, self._stream, datetime.now(UTC))
        except (ClientError, BotoCoreError) as error:
            code = _code(error)
            if code != self._unanswered:
                log.warning(
                    "stream does not say how many lines a record may hold",
                    extra={"fields": {"code": code, "lines": self._most_lines}},
                )
            self._unanswered = code
            return
        self._unanswered = None
        if most_lines != self._most_lines:
            log.info("lines a record", extra={"fields": {"lines": most_lines}})
            self._most_lines = most_lines
            for sending in self._sending:
                left = b"".join(sending.left)
                sending.left = records(left, left.count(b"\n"), most_lines)

    def _batch(self) -> list[bytes]:
        """Records left over and new ones, as many as fit into a request."""
        count = sum(len(sending.left) for sending in self._sending)
        size = sum(len(record) for sending in self._sending for record in sending.left)
        while count < BATCH_RECORDS and size < BATCH_BYTES and (group := self._spool.take(self._taken)):
            self._taken = group.number
            left = records(group.lines, len(group.marks), self._most_lines)
            self._sending.append(_Sending(group, left))
            count += len(left)
            size += len(group.lines)
        batch: list[bytes] = []
        size = 0
        for sending in self._sending:
            for record in sending.left:
                size += len(record)
                if len(batch) == BATCH_RECORDS or (batch and size > BATCH_BYTES):
                    return batch
                batch.append(record)
        return batch

    def _put(self, batch: list[bytes]) -> list[str | None]:
        """Sends records; returns the error code of each, None if Firehose accepted it."""
        try:
            answer = self._firehose.put_record_batch(
                DeliveryStreamName=self._stream, Records=[{"Data": record} for record in batch]
            )
        except (ClientError, BotoCoreError) as error:
            codes: list[str | None] = [_code(error)] * len(batch)
        else:
            if not answer["FailedPutCount"]:
                return [None] * len(batch)
            codes = [entry.get("ErrorCode") for entry in answer["RequestResponses"]]
        rejections = [code for code in codes if code is not None]
        told = ",".join(sorted(set(rejections)))
        self.failures[told] += len(rejections)
        self._failing = (told, self._failing[1] if self._failing else time.monotonic())
        log.warning(
            "firehose rejected records",
            extra={"fields": {"records": len(batch), "failed": len(rejections), "code": told}},
        )
        return codes

    def _settle(self, rejected: list[str | None]) -> None:
        """Records what Firehose accepted of the last batch."""
        told = iter(rejected)
        for sending in self._sending:
            sending.left = [record for record in sending.left if next(told, _UNSENT) is not None]
        done = [sending.group for sending in self._sending if not sending.left]
        self._sending = [sending for sending in self._sending if sending.left]
        # Counted before they leave the spool, so that no line is ever neither delivered nor pending.
        for group in done:
            self.delivered.update(kinds(group.marks))
        self._done += done

    def _acknowledge(self) -> None:
        """Removes delivered groups from the spool; later, if the disk cannot be written now."""
        try:
            if self._done:
                self._spool.acknowledge(self._done)
                self._done = []
        except SpoolUnwritableError as error:
            log.warning("not acknowledged yet", extra={"fields": {"error": str(error)}})
            self._stop.wait(_FIRST_DELAY_SECONDS)

    def _delay(self) -> float:
        longest = min(_FIRST_DELAY_SECONDS * 2.0**self._attempts, _LONGEST_DELAY_SECONDS)
        self._attempts = min(self._attempts + 1, 16)
        return longest * (0.5 + self._jitter() / 2)


def _code(error: ClientError | BotoCoreError) -> str:
    """AWS's code of the error, or how the request failed."""
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code", "unknown")
    return type(error).__name__

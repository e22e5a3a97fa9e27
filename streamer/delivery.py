"""From the spool to Firehose: batches within its limits, only what failed again, slower while it fails."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from streamer.spool import Spool, Spooled, SpoolError, SpoolUnwritableError

if TYPE_CHECKING:
    from types_boto3_firehose import FirehoseClient

BATCH_RECORDS = 500
RECORD_BYTES = 1000 * 1024
"""Limits of PutRecordBatch (Firehose's API reference); a larger record must not reach the spool."""
BATCH_BYTES = 1024 * 1024
"""A quarter of what PutRecordBatch takes: 500 tweets are seldom more, and memory stays low if they are."""

FAILING_SECONDS = 30.0
"""A failure that lasts longer is no passing one."""

_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 30.0

log = logging.getLogger(__name__)


class Delivery:
    """Delivers in a thread of its own until `stop`; ``on_failure`` is called if the spool lets it down.

    ``delivered`` counts acknowledged records by kind, ``failures`` counts failed entries by error code.
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
        self._taken = 0
        self._failed: list[Spooled] = []
        self._done: list[Spooled] = []
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
        """The error code where Firehose has refused everything, or something, for `FAILING_SECONDS`."""
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
        """Ends the thread after its current request; what is not delivered stays in the spool."""
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
            batch = self._batch()
            if not batch:
                self._acknowledge()
                self._spool.wait_beyond(self._taken, 0.25)
                continue
            done, self._failed = self._sent(batch)
            # Counted first, so that no record is ever neither delivered nor pending.
            for records in done:
                self.delivered.update(records.kinds)
            self._done += done
            self._acknowledge()
            if self._failed:
                self._stop.wait(self._delay())
            else:
                self._attempts = 0
                self._failing = None

    def _acknowledge(self) -> None:
        """Takes what is delivered out of the spool; later, where the disk does not play along now."""
        try:
            if self._done:
                self._spool.acknowledge(self._done)
                self._done = []
        except SpoolUnwritableError as error:
            log.warning("not acknowledged yet", extra={"fields": {"error": str(error)}})
            self._stop.wait(_FIRST_DELAY_SECONDS)

    def _batch(self) -> list[Spooled]:
        """What failed before, and what is new as far as there is room.

        Only the first new group may be cut: the spool writes the rest of a cut group once more.
        """
        room = BATCH_RECORDS - sum(len(records.bodies) for records in self._failed)
        size = BATCH_BYTES - sum(sum(map(len, records.bodies)) for records in self._failed)
        fresh: list[Spooled] = []
        while room and (more := self._spool.take(self._taken, room, size, whole=bool(fresh))):
            fresh.append(more)
            self._taken = more.numbers[-1]
            room -= len(more.bodies)
            size -= sum(map(len, more.bodies))
        return [*self._failed, *fresh]

    def _sent(self, batch: list[Spooled]) -> tuple[list[Spooled], list[Spooled]]:
        """Sends a batch; returns the records that Firehose took, and those that it did not take."""
        count = sum(len(records.bodies) for records in batch)
        try:
            answer = self._firehose.put_record_batch(
                DeliveryStreamName=self._stream,
                Records=[{"Data": body} for records in batch for body in records.bodies],
            )
        except ClientError as error:
            self._refused(count, count, error.response.get("Error", {}).get("Code", "unknown"))
            return [], batch
        except BotoCoreError as error:
            self._refused(count, count, type(error).__name__)
            return [], batch
        if not answer["FailedPutCount"]:
            return batch, []
        entries = iter(answer["RequestResponses"])
        codes = [
            [entry.get("ErrorCode") for entry in islice(entries, len(records.bodies))] for records in batch
        ]
        done, failed = (
            [
                records.only(places)
                for records, told in zip(batch, codes, strict=True)
                if (places := [place for place, code in enumerate(told) if (code is not None) == refused])
            ]
            for refused in (False, True)
        )
        refusals = [code for told in codes for code in told if code is not None]
        self._refused(count, len(refusals), ",".join(sorted(set(refusals))))
        return done, failed

    def _refused(self, count: int, failed: int, code: str) -> None:
        self.failures[code] += failed
        self._failing = (code, self._failing[1] if self._failing else time.monotonic())
        log.warning(
            "firehose refused records", extra={"fields": {"records": count, "failed": failed, "code": code}}
        )

    def _delay(self) -> float:
        longest = min(_FIRST_DELAY_SECONDS * 2.0**self._attempts, _LONGEST_DELAY_SECONDS)
        self._attempts = min(self._attempts + 1, 16)
        return longest * (0.5 + self._jitter() / 2)

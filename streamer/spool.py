"""The durable queue between X and Firehose: SQLite in WAL mode, one row per group of lines.

Committed lines survive `kill -9` and a power failure (synchronous=FULL). Only one process may write: a lock
on the folder rejects a second. If the disk is full or cannot be written, no line that was put is lost: it
waits in memory until the disk can be written again, and `Spool.obstacle` says that no more should be
received.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamer.database import INSERT, Database, SpoolError, SpoolUnwritableError, locked
from streamer.notes import Notes
from streamer.packs import RECORD_BYTES, RECORD_LINES, Group, Pack, kinds, split
from streamer.salvage import is_sound, salvage

COMMIT_LINES = 3 * RECORD_LINES
COMMIT_SECONDS = 0.5
"""Lines are committed when there are this many, or after this time: each commit waits for the disk."""

MOST_BYTES = 1024**3
"""The default limit of a spool."""

ROOM = 0.9
"""A spool that was full accepts lines again at this share of its limit."""

RESERVE_BYTES = 64 * 1024**2
"""Bytes left free on the disk: acknowledgements and heartbeats need space too."""

SPOOL_FULL, DISK_FULL, UNWRITABLE = "spool_full", "disk_full", "spool_unwritable"

_MOST_WAITING = 2_000
"""Lines in memory at which `Spool.put` waits for the disk."""

_HOUR_MS = 3_600_000
_RETRY_SECONDS = 1.0
_FREE_SECONDS = 1.0

_ACKNOWLEDGED = "."
"""The mark of a line that is acknowledged, and empty, while others of its group are not."""

log = logging.getLogger(__name__)


class Spool:
    """A folder with the queue and the streamer's state (``notes``).

    Thread-safe. ``most_bytes`` limits what may wait in it: callers check `obstacle`, `put` does not. Raises
    `SpoolUnwritableError` if the disk cannot be written, `SpoolError` if waiting does not help. On opening, a
    corrupt database is moved aside and its readable part copied to a new one: ``salvaged`` is the number of
    lines, None if all was well.
    """

    def __init__(
        self, folder: Path, most_bytes: int = MOST_BYTES, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._reserve_bytes = reserve_bytes
        self._lock_file = locked(folder)
        try:
            path = folder / "spool.sqlite3"
            self.salvaged = None if is_sound(path) else salvage(path)
            self._database = Database(path)
            self.notes = Notes(self._database)
            self._last = self._bytes = 0
            self._counts: Counter[str] = Counter()
            for last, size, marks in self._database.rows("SELECT last, size, kinds FROM record_group"):
                self._last = max(self._last, last)
                self._bytes += size
                self._counts.update(kinds(marks))
        except (sqlite3.Error, SpoolError, OSError) as error:
            self._lock_file.close()
            raise SpoolError(f"the spool in {folder} cannot be opened: {error}") from error
        self._changed = threading.Condition(threading.RLock())
        self._incoming: list[Pack] = []
        self._incoming_lines = 0
        self._committing: list[Pack] = []
        self._entering_ms: int | None = None
        self._trouble: str | None = None
        self._full = False
        self._free = (0.0, 0)
        self._failure: SpoolError | None = None
        self._closing = False
        self._hurried = 0
        self._committer = threading.Thread(target=self._commit_lines, name="spool", daemon=True)
        self._committer.start()

    def put(self, pack: Pack) -> None:
        """Adds lines to the next group; blocks while too many are waiting already."""
        with self._changed:
            if self._incoming_lines >= _MOST_WAITING:
                self._entering_ms = pack.received_ms
                self._changed.wait_for(
                    lambda: self._incoming_lines < _MOST_WAITING or self._failure or self._closing
                )
                self._entering_ms = None
            if self._failure:
                raise self._failure
            before = self._incoming_lines
            self._incoming.append(pack)
            self._incoming_lines += len(pack.marks)
            self._bytes += len(pack.lines)
            if not before or before < COMMIT_LINES <= self._incoming_lines:
                self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Commits everything that was put; returns False if that took too long or failed."""
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._incoming and not self._committing, timeout)
            finally:
                self._hurried -= 1

    def obstacle(self) -> str | None:
        """Why nothing more should be received: `SPOOL_FULL`, `DISK_FULL`, `UNWRITABLE`; else None."""
        with self._changed:
            if self._trouble:
                return UNWRITABLE
            self._full = self._bytes >= self._most_bytes * (ROOM if self._full else 1.0)
            if self._full:
                return SPOOL_FULL
            now = time.monotonic()
            if now - self._free[0] >= _FREE_SECONDS:
                self._free = (now, _free_bytes(self._folder))
            return DISK_FULL if self._free[1] < self._reserve_bytes else None

    def take(self, after: int) -> Group | None:
        """The next group after number ``after``; None if none is committed."""
        rows = self._database.rows(
            "SELECT last, kinds, lines FROM record_group WHERE last > ? ORDER BY last LIMIT 1", after
        )
        return _unacknowledged(*rows[0]) if rows else None

    def wait_beyond(self, after: int, timeout: float) -> None:
        """Waits until a group after number ``after`` is committed, at most ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._last > after, timeout)

    def acknowledge(self, delivered: Sequence[Group]) -> None:
        """Deletes delivered groups."""
        with self._database.writing(synced=False) as connection:
            connection.executemany(
                "DELETE FROM record_group WHERE last = ?", [(group.number,) for group in delivered]
            )
        with self._changed:
            for group in delivered:
                self._counts.subtract(kinds(group.marks))
                self._bytes -= len(group.lines)

    def waiting(self) -> Counter[str]:
        """Lines put and not yet committed, by kind."""
        with self._changed:
            return kinds("".join(pack.marks for pack in (*self._committing, *self._incoming)))

    def pending(self) -> Counter[str]:
        """Lines put and not yet acknowledged, by kind."""
        with self._changed:
            return self._counts + self.waiting()

    def pending_bytes(self) -> int:
        """Bytes of the lines put and not yet acknowledged."""
        with self._changed:
            return self._bytes

    def watermark(self, now_ms: int) -> int:
        """The receive time of the oldest line not yet acknowledged, else ``now_ms``; in milliseconds."""
        # Memory before disk: a line that is committed in between is then found on the disk.
        with self._changed:
            waiting = [pack.received_ms for pack in (*self._committing, *self._incoming)]
            if self._entering_ms is not None:
                waiting.append(self._entering_ms)
        ((oldest,),) = self._database.rows("SELECT min(oldest_ms) FROM record_group")
        return min([now_ms, *waiting, *([] if oldest is None else [int(oldest)])])

    def close(self) -> None:
        """Commits what is waiting and releases the folder."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._committer.join()
        self._database.close()
        self._lock_file.close()

    def _commit_lines(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._incoming or self._closing)
                if not self._incoming:
                    return
                full = time.monotonic() + COMMIT_SECONDS
                while self._incoming_lines < COMMIT_LINES and not (self._closing or self._hurried):
                    left = full - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
                self._committing, self._incoming = self._incoming, []
                self._incoming_lines = 0
                self._changed.notify_all()
            last = self._committed_at_last(self._committing)
            if last is None:
                return
            with self._changed:
                self._counts.update(kinds("".join(pack.marks for pack in self._committing)))
                self._committing = []
                self._last = last
                self._changed.notify_all()

    def _committed_at_last(self, packs: Sequence[Pack]) -> int | None:
        """Commits, repeatedly while the disk cannot be written; None if that does not help."""
        while True:
            try:
                last = self._commit(packs)
            except SpoolError as error:
                with self._changed:
                    if self._closing or not isinstance(error, SpoolUnwritableError):
                        lost = sum(len(pack.marks) for pack in packs)
                        log.error("lines are lost", extra={"fields": {"lines": lost, "error": str(error)}})
                        self._failure = error
                        self._changed.notify_all()
                        return None
                    if self._trouble is None:
                        log.error("spool cannot be written", extra={"fields": {"error": str(error)}})
                    self._trouble = str(error)
                    self._changed.wait_for(lambda: self._closing, _RETRY_SECONDS)
            else:
                with self._changed:
                    if self._trouble is not None:
                        log.info("spool can be written again")
                    self._trouble = None
                return last

    def _commit(self, packs: Sequence[Pack]) -> int:
        last = self._last
        groups = []
        for group in _grouped(packs):
            marks = "".join([pack.marks for pack in group])
            lines = b"".join([pack.lines for pack in group])
            last += len(marks)
            groups.append((last, min([pack.received_ms for pack in group]), len(lines), marks, lines))
        hours: Counter[int] = Counter()
        for pack in packs:
            hours[pack.received_ms // _HOUR_MS] += pack.bought
        bought: Counter[str] = Counter()
        for hour, posts in hours.items():
            if posts:
                bought[_month(hour * _HOUR_MS)] += posts
        with self._database.writing() as connection:
            connection.executemany(INSERT, groups)
            connection.executemany(
                "INSERT INTO bought VALUES (?, ?) "
                "ON CONFLICT (month) DO UPDATE SET posts = posts + excluded.posts",
                bought.items(),
            )
        return last


def _month(at_ms: int) -> str:
    return time.strftime("%Y-%m", time.gmtime(at_ms / 1000))


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _grouped(packs: Sequence[Pack]) -> Iterator[list[Pack]]:
    """Packs in groups as large as a record of Firehose may be, in order."""
    group: list[Pack] = []
    lines = size = 0
    for pack in packs:
        lines += len(pack.marks)
        size += len(pack.lines)
        if group and (lines > RECORD_LINES or size > RECORD_BYTES):
            yield group
            group, lines, size = [], len(pack.marks), len(pack.lines)
        group.append(pack)
    if group:
        yield group


def _unacknowledged(number: int, marks: str, lines: bytes) -> Group:
    """A group from the database, without those of its lines that are acknowledged."""
    if _ACKNOWLEDGED in marks:
        lines = b"".join(line for line in split(lines) if line != b"\n")
        marks = marks.replace(_ACKNOWLEDGED, "")
    return Group(number, marks, lines)

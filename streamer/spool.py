"""The durable queue between X and Firehose: SQLite in WAL mode, a row a group of lines.

What is committed here survives `kill -9` and a power cut (synchronous=FULL). One process may write: a lock on
the folder refuses a second. A disk that is full or cannot be written costs no line that was put: it waits
in memory until the disk can be written again, and `Spool.obstacle` says that no more should come.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson

from streamer.packs import MARKS, RECORD_BYTES, RECORD_LINES, Group, Pack, kinds, split

GROUP_SECONDS = 0.5
"""A group is committed when it is as large as a record of Firehose may be, or after so long."""

MOST_BYTES = 1024**3
"""What may wait in a spool unless said otherwise."""

ROOM = 0.9
"""A spool that was full has room again at this share of what may wait in it."""

RESERVE_BYTES = 64 * 1024**2
"""What is left free on the disk: acknowledging takes room too, and so do heartbeats."""

SPOOL_FULL, DISK_FULL, UNWRITABLE = "spool_full", "disk_full", "spool_unwritable"

_MOST_WAITING = 2_000
"""Lines in memory at which `Spool.put` waits for the disk."""

_HOUR_MS = 3_600_000
_RETRY_SECONDS = 1.0
_FREE_SECONDS = 1.0

_PAGE_BYTES = 16_384
"""Larger than SQLite's own: a group is hundreds of kilobytes."""

_LOG_BYTES = 4 * 1024**2
"""How far SQLite's write-ahead log grows before it goes over into the database."""

_ACKNOWLEDGED = "."
"""The mark of a line that an earlier version acknowledged by itself; it left an empty line in its place."""

# A row is a group of lines, whose numbers end with `last`, and a mark for the kind of each.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record_group (
    last INTEGER PRIMARY KEY,
    oldest_ms INTEGER NOT NULL,
    size INTEGER NOT NULL,
    kinds TEXT NOT NULL,
    lines BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS record_group_oldest ON record_group (oldest_ms);
CREATE TABLE IF NOT EXISTS bought (month TEXT PRIMARY KEY, posts INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS connect (at_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_INSERT = "INSERT INTO record_group VALUES (?, ?, ?, ?, ?)"

log = logging.getLogger(__name__)


class SpoolError(RuntimeError):
    """The spool cannot be used."""


class SpoolInUseError(SpoolError):
    """Another streamer has this spool."""


class SpoolUnwritableError(SpoolError):
    """The disk cannot be written at the moment; nothing was changed, and trying again may help."""


class Spool:
    """A folder with the queue, the count of posts bought, the times of past connects and what is to be kept.

    Every method may be called from any thread. ``most_bytes`` is what may wait in it: a limit for those who
    put, who ask `obstacle`, not for `put`. Raises `SpoolUnwritableError` where the disk cannot be written,
    `SpoolError` where waiting does not help. A corrupt database is moved aside at the opening, and what can
    be read of it goes into a new one: ``salvaged`` is the number of lines, None if all was well.
    """

    def __init__(
        self, folder: Path, most_bytes: int = MOST_BYTES, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._reserve_bytes = reserve_bytes
        self._lock_file = _locked(folder)
        try:
            path = folder / "spool.sqlite3"
            self.salvaged = None if _sound(path) else _salvage(path)
            self._writer = _opened(path, "FULL")
            self._writer.executescript(_SCHEMA)
            self._writer.execute(
                "INSERT OR IGNORE INTO state VALUES ('identity', ?)", (secrets.token_hex(6),)
            )
            # Losing an acknowledgement costs a duplicate, no gap: that needs no sync of its own.
            self._acknowledger = _opened(path, "NORMAL")
            self._reader = _opened(path, "NORMAL")
            self._last = self._bytes = 0
            self._counts: Counter[str] = Counter()
            for last, size, marks in self._reader.execute("SELECT last, size, kinds FROM record_group"):
                self._last = max(self._last, last)
                self._bytes += size
                self._counts.update(kinds(marks))
        except (sqlite3.Error, OSError) as error:
            self._lock_file.close()
            raise SpoolError(f"the spool in {folder} cannot be opened: {error}") from error
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
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
        self._committer = threading.Thread(target=self._commit_groups, name="spool", daemon=True)
        self._committer.start()

    def put(self, pack: Pack) -> None:
        """Hands lines over to the next group; waits while too many are waiting already."""
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
            if not before or before < RECORD_LINES <= self._incoming_lines:
                self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Has everything that was put committed at once; False when that took too long or failed."""
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._incoming and not self._committing, timeout)
            finally:
                self._hurried -= 1

    def obstacle(self) -> str | None:
        """Why nothing more should be received: `SPOOL_FULL`, `DISK_FULL`, `UNWRITABLE`; None if it may."""
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
        """The next group behind the one of number ``after``; None where none is committed."""
        with self._reading():
            row: tuple[int, str, bytes] | None = self._reader.execute(
                "SELECT last, kinds, lines FROM record_group WHERE last > ? ORDER BY last LIMIT 1", (after,)
            ).fetchone()
        return None if row is None else _unacknowledged(*row)

    def wait_beyond(self, after: int, timeout: float) -> None:
        """Waits until a group behind number ``after`` is committed, at most ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._last > after, timeout)

    def acknowledge(self, delivered: Sequence[Group]) -> None:
        """Forgets delivered groups."""
        with self._write_lock, _transaction(self._acknowledger):
            self._acknowledger.executemany(
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
        # Memory before disk: a line that is committed in between is then seen on the disk.
        with self._changed:
            waiting = [pack.received_ms for pack in (*self._committing, *self._incoming)]
            if self._entering_ms is not None:
                waiting.append(self._entering_ms)
        with self._reading():
            (oldest,) = self._reader.execute("SELECT min(oldest_ms) FROM record_group").fetchone()
        return min([now_ms, *waiting, *([] if oldest is None else [int(oldest)])])

    @property
    def identity(self) -> str:
        """A name that this spool keeps as long as it lives, and no other has."""
        name = self.state("identity")
        assert name is not None
        return name

    def bought(self) -> dict[str, int]:
        """Posts bought, committed, by month: by every session that had this spool."""
        with self._reading():
            return dict(self._reader.execute("SELECT month, posts FROM bought").fetchall())

    def forget_bought(self, month: str) -> None:
        """Drops the count of a month that is over and published."""
        self._write("DELETE FROM bought WHERE month = ?", month)

    def add_connect(self, at_ms: int) -> None:
        """Remembers that X was asked for a stream, also for the next process."""
        self._write("INSERT INTO connect VALUES (?)", at_ms)

    def connects_since(self, since_ms: int) -> list[int]:
        """The times of connects from ``since_ms`` on, in order; forgets older ones."""
        self._write("DELETE FROM connect WHERE at_ms < ?", since_ms)
        with self._reading():
            rows = self._reader.execute("SELECT at_ms FROM connect ORDER BY at_ms").fetchall()
        return [at for (at,) in rows]

    def set_state(self, name: str, value: str | None) -> None:
        """Keeps a text for the next process under a name; None forgets it."""
        if value is None:
            self._write("DELETE FROM state WHERE name = ?", name)
        else:
            self._write("INSERT OR REPLACE INTO state VALUES (?, ?)", name, value)

    def state(self, name: str) -> str | None:
        """What was kept under a name, also by an earlier process."""
        with self._reading():
            row = self._reader.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def close(self) -> None:
        """Commits what is waiting and lets go of the folder."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._committer.join()
        for connection in (self._reader, self._acknowledger, self._writer):
            with suppress(sqlite3.Error):
                connection.close()
        self._lock_file.close()

    def _write(self, statement: str, *values: Any) -> None:
        with self._write_lock, _transaction(self._writer):
            self._writer.execute(statement, values)

    def _reading(self) -> _Reading:
        return _Reading(self._read_lock)

    def _commit_groups(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._incoming or self._closing)
                if not self._incoming:
                    return
                full = time.monotonic() + GROUP_SECONDS
                while self._incoming_lines < RECORD_LINES and not (self._closing or self._hurried):
                    left = full - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
                self._committing = _next_group(self._incoming)
                self._incoming_lines -= sum(len(pack.marks) for pack in self._committing)
            last = self._committed_at_last(self._committing)
            if last is None:
                return
            with self._changed:
                self._counts.update(kinds("".join(pack.marks for pack in self._committing)))
                self._committing = []
                self._last = last
                self._changed.notify_all()

    def _committed_at_last(self, group: Sequence[Pack]) -> int | None:
        """Commits, again and again while the disk cannot be written; None where that does not help."""
        while True:
            try:
                last = self._commit(group)
            except SpoolError as error:
                with self._changed:
                    if self._closing or not isinstance(error, SpoolUnwritableError):
                        lost = sum(len(pack.marks) for pack in group)
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

    def _commit(self, group: Sequence[Pack]) -> int:
        marks = "".join([pack.marks for pack in group])
        lines = b"".join([pack.lines for pack in group])
        last = self._last + len(marks)
        oldest = min([pack.received_ms for pack in group])
        hours: Counter[int] = Counter()
        for pack in group:
            hours[pack.received_ms // _HOUR_MS] += pack.bought
        bought: Counter[str] = Counter()
        for hour, posts in hours.items():
            if posts:
                bought[_month(hour * _HOUR_MS)] += posts
        with self._write_lock, _transaction(self._writer):
            self._writer.execute(_INSERT, (last, oldest, len(lines), marks, lines))
            self._writer.executemany(
                "INSERT INTO bought VALUES (?, ?) "
                "ON CONFLICT (month) DO UPDATE SET posts = posts + excluded.posts",
                bought.items(),
            )
        return last


class _Reading:
    """Holds the reader's lock, and turns what SQLite raises into a `SpoolError`."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._lock.release()
        if isinstance(error, sqlite3.Error):
            raise SpoolError(f"the spool cannot be read: {error}") from error


def _month(at_ms: int) -> str:
    return time.strftime("%Y-%m", time.gmtime(at_ms / 1000))


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _locked(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock_file = (folder / "lock").open("a+")
    except OSError as error:
        raise SpoolError(f"the spool's folder {folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock_file.seek(0)
        holder = lock_file.read().strip() or "unknown"
        lock_file.close()
        raise SpoolInUseError(f"the spool in {folder} belongs to a running streamer, pid {holder}") from error
    try:
        lock_file.truncate(0)
        lock_file.write(str(os.getpid()))
        lock_file.flush()
    except OSError as error:
        raise SpoolError(f"the spool in {folder} cannot be written: {error.strerror}") from error
    return lock_file


def _opened(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_BYTES // _PAGE_BYTES}")
    # Some systems' SQLite overwrites what is deleted, which is to write everything twice.
    connection.execute("PRAGMA secure_delete=OFF")
    return connection


def _corrupt(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _failed(error: sqlite3.Error) -> SpoolError:
    kind = SpoolError if _corrupt(error) else SpoolUnwritableError
    return kind(f"the spool cannot be written: {error}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; raises `SpoolError`."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise _failed(error) from error


def _sound(path: Path) -> bool:
    """Whether the database at ``path`` can be trusted; raises `sqlite3.Error` where it cannot be judged."""
    if not path.exists():
        return True
    try:
        with closing(_opened(path, "NORMAL")) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error as error:
        if _corrupt(error):
            return False
        raise


def _salvage(path: Path) -> int:
    """Moves a corrupt database aside and puts what can be read of it into a new one; returns the records."""
    aside = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    salvaged = 0
    with closing(_opened(path, "FULL")) as new, closing(sqlite3.connect(aside)) as old:
        new.executescript(_SCHEMA)
        for last, oldest, marks, lines in _readable_groups(old):
            with _transaction(new):
                new.execute(_INSERT, (last, oldest, len(lines), marks, lines))
            salvaged += len(marks)
        for table, columns in (("bought", 2), ("connect", 1), ("state", 2)):
            try:
                found = old.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own names
            except sqlite3.Error as error:
                log.error("nothing salvaged", extra={"fields": {"table": table, "error": str(error)}})
            else:
                marks = ", ".join("?" * columns)
                with _transaction(new):
                    new.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", found)  # noqa: S608
    log.error("spool was corrupt", extra={"fields": {"moved_to": aside.name, "salvaged": salvaged}})
    return salvaged


def _readable_groups(old: sqlite3.Connection) -> Iterator[tuple[int, int, str, bytes]]:
    """What a corrupt database still gives, in order: last number, oldest time, marks and lines of a group.

    Jumps further each time it fails. A line that is no JSON any more is left out.
    """
    after, jump, most = 0, 1, 1 << 62
    statement = "SELECT last, oldest_ms, kinds, lines FROM record_group WHERE last > ? ORDER BY last"
    while after < most:
        try:
            for last, oldest, marks, lines in old.execute(statement, (after,)):
                after, jump = last, 1
                if isinstance(oldest, int) and isinstance(marks, str) and isinstance(lines, bytes):
                    readable, whole = _readable(marks, lines)
                    if readable:
                        yield last, oldest, readable, whole
        except sqlite3.Error:
            after += jump
            jump *= 2
        else:
            return


def _readable(marks: str, lines: bytes) -> tuple[str, bytes]:
    """The marks and lines of a group that are still whole; none where they do not fit together."""
    found = split(lines)
    if len(found) != len(marks):
        return "", b""
    known = MARKS.values()
    whole = [
        (mark, line) for mark, line in zip(marks, found, strict=True) if mark in known and _is_json(line)
    ]
    return "".join(mark for mark, _ in whole), b"".join(line for _, line in whole)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _next_group(incoming: list[Pack]) -> list[Pack]:
    """Takes the packs of the next group out of what is waiting."""
    lines = size = fitting = 0
    for pack in incoming:
        lines += len(pack.marks)
        size += len(pack.lines)
        if lines > RECORD_LINES or size > RECORD_BYTES:
            break
        fitting += 1
    group = incoming[: max(fitting, 1)]
    del incoming[: len(group)]
    return group


def _unacknowledged(number: int, marks: str, lines: bytes) -> Group:
    """A group as it lies in the database, without what an earlier version acknowledged of it."""
    if _ACKNOWLEDGED in marks:
        lines = b"".join(line for line in split(lines) if line != b"\n")
        marks = marks.replace(_ACKNOWLEDGED, "")
    return Group(number, marks, lines)

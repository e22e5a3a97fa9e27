"""The database of the spool: SQLite in WAL mode in a folder that one process may use at a time."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_PAGE_BYTES = 16_384
"""Larger than SQLite's default: a group is hundreds of kilobytes."""

_LOG_BYTES = 4 * 1024**2
"""How far SQLite's write-ahead log grows before it is written to the database."""

# A row is a group of lines, numbered up to `last`, with a mark for the kind of each.
SPOOL_SCHEMA = """
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

INSERT = "INSERT INTO record_group VALUES (?, ?, ?, ?, ?)"


class SpoolError(RuntimeError):
    """The spool cannot be used."""


class SpoolInUseError(SpoolError):
    """Another streamer has this spool."""


class SpoolUnwritableError(SpoolError):
    """The disk cannot be written at the moment; nothing was changed, and another try may help."""


class Database:
    """Three connections to one file: any thread may write or read through them.

    Raises `SpoolUnwritableError` if the disk cannot be written, `SpoolError` if waiting does not help.
    """

    def __init__(self, path: Path) -> None:
        self._writer = opened(path, "FULL")
        self._writer.executescript(SPOOL_SCHEMA)
        # A lost acknowledgement causes duplicates but no gap, so it needs no sync.
        self._acknowledger = opened(path, "NORMAL")
        self._reader = opened(path, "NORMAL")
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()

    @contextmanager
    def writing(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction; if not ``synced``, it may be lost with the machine, but not with the process."""
        connection = self._writer if synced else self._acknowledger
        with self._write_lock, transaction(connection):
            yield connection

    def write(self, statement: str, *values: Any) -> None:
        """One statement in a transaction of its own."""
        with self.writing() as connection:
            connection.execute(statement, values)

    def rows(self, statement: str, *values: Any) -> list[Any]:
        """The rows of a query."""
        try:
            with self._read_lock:
                return self._reader.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise SpoolError(f"the spool cannot be read: {error}") from error

    def close(self) -> None:
        """Closes the connections."""
        for connection in (self._reader, self._acknowledger, self._writer):
            with suppress(sqlite3.Error):
                connection.close()


def locked(folder: Path) -> IO[str]:
    """The folder's lock, held by this process until the file is closed.

    Raises `SpoolInUseError` if another process has it, `SpoolError` if the folder cannot be used.
    """
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


def opened(path: Path, synchronous: str) -> sqlite3.Connection:
    """A connection; raises `sqlite3.Error`."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_BYTES // _PAGE_BYTES}")
    # Some systems' SQLite overwrites deleted data, which writes everything twice.
    connection.execute("PRAGMA secure_delete=OFF")
    return connection


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether SQLite reports that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _failed(error: sqlite3.Error) -> SpoolError:
    kind = SpoolError if is_corrupt(error) else SpoolUnwritableError
    return kind(f"the spool cannot be written: {error}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
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

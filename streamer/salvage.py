"""Moves the readable part of a corrupt spool to a new one."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import orjson

from streamer.database import INSERT, SPOOL_SCHEMA, is_corrupt, opened, transaction
from streamer.packs import MARKS, split

log = logging.getLogger(__name__)


def is_sound(path: Path) -> bool:
    """Whether the database at ``path`` is intact; raises `sqlite3.Error` if that cannot be determined."""
    if not path.exists():
        return True
    try:
        with closing(opened(path, "NORMAL")) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error as error:
        if is_corrupt(error):
            return False
        raise


def salvage(path: Path) -> int:
    """Moves a corrupt database aside and copies its readable part to a new one; returns the records."""
    aside = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    salvaged = 0
    with closing(opened(path, "FULL")) as new, closing(sqlite3.connect(aside)) as old:
        new.executescript(SPOOL_SCHEMA)
        for last, oldest, marks, lines in _readable_groups(old):
            with transaction(new):
                new.execute(INSERT, (last, oldest, len(lines), marks, lines))
            salvaged += len(marks)
        for table, columns in (("bought", 2), ("connect", 1), ("state", 2)):
            try:
                found = old.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own names
            except sqlite3.Error as error:
                log.error("nothing salvaged", extra={"fields": {"table": table, "error": str(error)}})
            else:
                marks = ", ".join("?" * columns)
                with transaction(new):
                    new.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", found)  # noqa: S608
    log.error("spool was corrupt", extra={"fields": {"moved_to": aside.name, "salvaged": salvaged}})
    return salvaged


def _readable_groups(old: sqlite3.Connection) -> Iterator[tuple[int, int, str, bytes]]:
    """The readable groups of a corrupt database, in order: last number, oldest time, marks and lines.

    Jumps further after each failure. Lines that are no longer JSON are left out.
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
    """The intact marks and lines of a group; none if they do not match."""
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

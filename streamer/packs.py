"""Lines on their way from X to Firehose, many at a time.

A pack holds the lines of one chunk of X's stream; the spool commits packs in groups; a record of Firehose
holds one line or, where the stream de-aggregates records, a whole group.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

RECORD_LINES = 500
RECORD_BYTES = 1000 * 1024
"""The limits of one record of Firehose if the stream de-aggregates it (API reference of PutRecord)."""

MARKS = {"tweet": "t", "quarantine": "q", "heartbeat": "h", "session": "s"}
"""The kinds of lines, and the letter by which each is marked in a pack."""


class Pack(NamedTuple):
    """Lines that were received together: at most `RECORD_LINES`, of at most `RECORD_BYTES`.

    ``received_ms`` is milliseconds since 1970, ``marks`` has one of `MARKS` per line, each line ends with its
    only newline, and ``bought`` is how many of them X bills as posts.
    """

    received_ms: int
    marks: str
    lines: bytes
    bought: int = 0


class Group(NamedTuple):
    """Lines that were committed together, within the limits of a pack; ``number`` rises from group to group.

    A spool may also hold larger groups, of up to a mebibyte, which `records` divides.
    """

    number: int
    marks: str
    lines: bytes


def kinds(marks: str) -> Counter[str]:
    """The number of lines of each kind."""
    return Counter({kind: found for kind, mark in MARKS.items() if (found := marks.count(mark))})


def records(lines: bytes, count: int, most_lines: int) -> list[bytes]:
    """The ``count`` lines as records of Firehose, in order: at most ``most_lines`` and `RECORD_BYTES` each.

    A single line is never split.
    """
    if len(lines) <= RECORD_BYTES and count <= most_lines:
        return [lines] if lines else []
    whole: list[bytes] = []
    record: list[bytes] = []
    size = 0
    for line in split(lines):
        if record and (len(record) == most_lines or size + len(line) > RECORD_BYTES):
            whole.append(b"".join(record))
            record, size = [], 0
        record.append(line)
        size += len(line)
    return [*whole, b"".join(record)]


def split(lines: bytes) -> list[bytes]:
    """The single lines, each with its newline."""
    return [line + b"\n" for line in lines.split(b"\n")[:-1]]

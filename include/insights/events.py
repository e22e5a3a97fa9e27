"""Events that the time charts show, from a file beside the topics: CSV with the columns date, title and link.

`OPINION_EVENTS_FILE` names it. A file with a bad row is rejected as a whole.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlparse

COLUMNS = ("date", "title", "link")
LONGEST_TITLE = 80


class EventsError(ValueError):
    """The events' file cannot be used; the message names it and what is wrong with each row."""


@dataclass(frozen=True)
class Event:
    """What happened on a day, UTC; ``link`` leads to more, and may be empty."""

    day: date
    title: str
    link: str


def load(path: Path | None) -> tuple[Event, ...]:
    """The events of a file, by day; none without a file. Raises `EventsError`."""
    if path is None:
        return ()
    try:
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise EventsError(f"{path}: the file cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise EventsError(f"{path}: this is not CSV in UTF-8: {error}") from error
    if not rows or tuple(rows[0][1]) != COLUMNS:
        raise EventsError(f"{path}: the first line has to be {','.join(COLUMNS)}")
    problems = [f"line {line}: {problem}" for line, row in rows[1:] if (problem := _problem(row))]
    if problems:
        raise EventsError(f"{path}: {'; '.join(problems)}")
    found = [
        Event(date.fromisoformat(day), title.strip(), link.strip()) for _, (day, title, link) in rows[1:]
    ]
    return tuple(sorted(found, key=lambda event: (event.day, event.title)))


def _problem(row: list[str]) -> str:
    """What is wrong with a row; empty if nothing is."""
    if len(row) != len(COLUMNS):
        return f"{len(row)} columns, not {len(COLUMNS)}; a text with a comma needs quotes"
    day, title, link = row
    try:
        if date.fromisoformat(day).isoformat() != day:
            raise ValueError
    except ValueError:
        return f"{day!r} is not a day such as 2026-11-20"
    if not 0 < len(title.strip()) <= LONGEST_TITLE:
        return f"a title has 1 to {LONGEST_TITLE} characters, not {len(title.strip())}"
    address = urlparse(link.strip())
    if link.strip() and (address.scheme not in ("http", "https") or not address.netloc):
        return f"{link!r} is no address that begins with https://"
    return ""

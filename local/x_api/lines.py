"""The stream's lines: what stands in them, and the journal of what was sent."""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import orjson

from local.x_api.post import Json

END = b"\r\n"

LineKind = Literal["post", "keep_alive", "message", "garbage"]


@dataclass(frozen=True)
class Line:
    """One line as it goes out, its end included; ``whole`` is False where a fault damaged a post."""

    body: bytes
    kind: LineKind
    id: int | None = None
    payload: Json = field(default_factory=dict, repr=False)
    whole: bool = True

    @classmethod
    def post(cls, payload: Json) -> Line:
        """A post's line."""
        return cls(rendered(payload), "post", int(payload["data"]["id"]), payload)

    @property
    def tags(self) -> list[str | None]:
        """The tags of the rules that the post met."""
        return [rule.get("tag") for rule in self.payload.get("matching_rules", ())]


KEEP_ALIVE = Line(END, "keep_alive")


def rendered(payload: Json) -> bytes:
    """A payload as a line."""
    return written(payload) + END


def written(value: Json) -> bytes:
    """JSON as X sends it, in UTF-8; half a surrogate pair, which UTF-8 cannot hold, is escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")


class Journal:
    """Every line that was sent, as NDJSON in a file that outlives the process, and what it adds up to.

    An entry of the stream has ``at`` (milliseconds since 1970), ``connection``, ``kind`` (post, keep_alive,
    message, garbage), ``id`` and ``tags`` of a post, ``bytes`` as sent and ``whole``: whether all the post's
    bytes, unharmed, were given to the socket. One of a search has ``kind`` search and its posts' ``ids``.
    """

    def __init__(self, path: Path) -> None:
        self._consumed: dict[str, set[int]] = defaultdict(set)
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        size = self._read_back()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        # A line that the process's death cut was never answered for.
        os.ftruncate(self._file, size)

    def sent(self, at_ms: int, connection: str, lines: Iterable[Line]) -> None:
        """Takes down lines that were given to the socket."""
        lines = list(lines)
        entries = [
            {
                "at": at_ms,
                "connection": connection,
                "kind": line.kind,
                **({"id": str(line.id), "tags": line.tags} if line.id is not None else {}),
                "bytes": len(line.body),
                "whole": line.whole,
            }
            for line in lines
        ]
        self._write(at_ms, entries, [line.id for line in lines if line.id is not None])

    def searched(self, at_ms: int, ids: Sequence[str]) -> None:
        """Takes down a page of a search."""
        if ids:
            self._write(at_ms, [{"at": at_ms, "kind": "search", "ids": list(ids)}], map(int, ids))

    def read(self, offset: int, limit: int) -> tuple[bytes, int]:
        """At most ``limit`` entries from a byte offset on, and the offset behind them."""
        with self._path.open("rb") as file:
            file.seek(offset)
            lines: list[bytes] = []
            while len(lines) < limit and (line := file.readline()).endswith(b"\n"):
                lines.append(line)
        page = b"".join(lines)
        return page, offset + len(page)

    def consumed(self) -> dict[str, int]:
        """Posts by UTC day; the same post counts once a day, as X bills it."""
        with self._lock:
            return {day: len(ids) for day, ids in sorted(self._consumed.items())}

    def close(self) -> None:
        """Lets go of the file."""
        os.close(self._file)

    def _write(self, at_ms: int, entries: Sequence[Json], ids: Iterable[int]) -> None:
        content = b"".join(map(_entry, entries))
        with self._lock:
            os.write(self._file, content)
            self._consumed[_day(at_ms)].update(ids)

    def _read_back(self) -> int:
        if not self._path.exists():
            return 0
        size = 0
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                size += len(line)
                entry = orjson.loads(line)
                ids = entry.get("ids") or ([entry["id"]] if "id" in entry else [])
                self._consumed[_day(entry["at"])].update(map(int, ids))
        return size


def _entry(entry: Json) -> bytes:
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")

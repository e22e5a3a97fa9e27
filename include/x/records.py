"""The records that go from X to the lake, as the stream and search both write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, TypedDict


class Ingest(TypedDict):
    """The origin of a payload, added to X's own keys as ``ingest``.

    ``received_at`` is in X's form (`iso`), ``sample`` in percent.
    """

    received_at: str
    session: str
    rule_hash: str
    sample: int
    source: Literal["stream", "search"]


def iso(moment: datetime) -> str:
    """An aware time in X's own form, UTC to the millisecond: ``2026-11-20T05:00:00.123Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

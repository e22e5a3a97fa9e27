"""The streamer's session records, which go to the lake in the same way as the tweets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from streamer.lines import control
from streamer.rulebook import Rulebook
from streamer.spool import Spool


class Journal:
    """Puts records about the streamer into the spool; each names the rules and the sample in force."""

    def __init__(self, spool: Spool, rulebook: Rulebook) -> None:
        self._spool = spool
        self._rulebook = rulebook

    def event(self, event: str, reason: str | None = None, last_byte_at: datetime | None = None) -> None:
        """A session record; for a connect, the last byte is that of the previous connection."""
        self._put("session", {"event": event, "reason": reason, "last_byte_at": last_byte_at})

    def heartbeat(self, content: Mapping[str, Any]) -> None:
        """A heartbeat."""
        self._put("heartbeat", content)

    def _put(self, kind: str, content: Mapping[str, Any]) -> None:
        self._spool.put(control(kind, self._rulebook.rule_set.identity, datetime.now(UTC), content))

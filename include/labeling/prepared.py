"""The result of preparing an hour: counts and the keys of its objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from include.window import Window


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare.prepare`: counts and keys only, so it may pass through XCom.

    For every topic ``raw[topic] == accepted[topic] + sum(quarantined[topic].values())``: distinct ids.
    """

    window: Window
    manifest: str
    """SHA-256 over the keys and ETags of the raw objects and of the objects that name edited posts."""
    listed_at: datetime
    """S3's own time when the objects were listed."""
    objects: int
    """Objects read."""
    edits: str
    """The digest of the objects that name edited posts; empty if there are none."""
    prefix: str
    """Key prefix of what was made from these objects, ending in a slash."""
    model_prefix: str
    """Key prefix of the models' inputs: made from the raw objects alone, so an edit causes no new job."""
    shards: int
    """Objects ``rows/000.parquet`` and following."""
    shards_with_edits: list[int] = field(default_factory=list)
    """Those with an ``edited/NNN.parquet``: tweets that the models answer although they were edited later."""
    raw: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, dict[str, int]] = field(default_factory=dict)
    lines_without_id: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    """Lines with an id that an earlier line has."""
    to_translate: int = 0
    """Accepted tweets in a named language other than English; if 0, there is no translation input."""
    to_label: int = 0
    """Accepted tweets in a named language; if 0, there is no sentiment input."""

    @property
    def translation_input(self) -> str:
        """Key prefix of the translation job's input."""
        return f"{self.model_prefix}translation/input/"

    def rows_key(self, shard: int) -> str:
        """The accepted tweets of one shard."""
        return f"{self.prefix}rows/{shard:03}.parquet"

    def edited_key(self, shard: int) -> str:
        """The tweets of one shard that were edited later."""
        return f"{self.prefix}edited/{shard:03}.parquet"

    def edits_key(self, window: Window) -> str:
        """The posts of the hour before or after that were edited later."""
        return f"{self.prefix}edits/{window.label}.json"

    def quarantine_key(self, topic: str) -> str:
        """What was rejected of one topic."""
        return f"{self.prefix}quarantine/{topic}.json.gz"

    def to_json(self) -> dict[str, Any]:
        """As a dict of JSON's types."""
        return {**vars(self), "window": self.window.label, "listed_at": self.listed_at.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Prepared:
        """The inverse of `to_json`."""
        fields: dict[str, Any] = {
            **value,
            "window": Window.parse(value["window"]),
            "listed_at": datetime.fromisoformat(value["listed_at"]),
        }
        return cls(**fields)

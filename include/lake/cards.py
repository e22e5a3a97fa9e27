"""The model cards of all engines that were ever used, kept in the lake.

A model's card is packed with it. Rows name the engine that labeled them, so its card describes its rows,
whatever model is in use today.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.lake import layout, storage

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client


@dataclass(frozen=True)
class Measured:
    """Every engine with every language that it was measured on, as ``<engine> <language>``, sorted.

    ``sentiment`` are those of classifiers, ``translation`` those of translators.
    """

    sentiment: tuple[str, ...]
    translation: tuple[str, ...]


def keep(s3: S3Client, bucket: str, stage: str, engine: str, card: Mapping[str, Any]) -> None:
    """Stores an engine's card; the engine's name includes its digest, so it never changes."""
    storage.put(s3, bucket, layout.model_card_key(stage, engine), json.dumps(card, sort_keys=True).encode())


def is_kept(s3: S3Client, bucket: str, stage: str, engine: str) -> bool:
    """Whether the lake has an engine's card."""
    return storage.current(s3, bucket, layout.model_card_key(stage, engine)) is not None


def measured(s3: S3Client, bucket: str) -> Measured:
    """What the engines were measured on, according to their cards."""
    return Measured(*(tuple(_measured(s3, bucket, stage)) for stage in ("sentiment", "translation")))


def scores(s3: S3Client, bucket: str, engine: str) -> dict[str, float]:
    """What a classifier scored on public tweets, by language: macro-F1, 0 to 1; nothing without a card."""
    try:
        card = json.loads(storage.read(s3, bucket, layout.model_card_key("sentiment", engine)))
    except storage.ObjectMissingError:
        return {}
    found = card.get("measured", {}).items()
    return {language: values["macro_f1"] for language, values in found if "macro_f1" in values}


def _measured(s3: S3Client, bucket: str, stage: str) -> Iterator[str]:
    prefix = layout.model_card_key(stage, "").removesuffix(".json")
    for found in storage.list_objects(s3, bucket, prefix).objects:
        engine = found.key.removeprefix(prefix).removesuffix(".json")
        card = json.loads(storage.read(s3, bucket, found.key))
        yield from (f"{engine} {language}" for language in sorted(card.get("measured", {})))

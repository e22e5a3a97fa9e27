"""The ledger of usage: what was used on a day, one Parquet object a day and service, replaced as a whole.

An object is derived from what the services and the lake say at the time, so a rerun replaces it and never
adds to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from include.lake import layout, storage, tables
from include.lake.schemas import USAGE
from include.prices import Prices, PricesError

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

MEASURED, MODELED = "measured", "modeled"
"""Whether a quantity was counted, or follows from assumptions that ``origin`` names."""

GB, TB = 1e9, 1e12


@dataclass(frozen=True)
class Usage:
    """How much of one item of the price list a stage of the pipeline has used on a day.

    ``unit`` is the price's; ``basis`` is `MEASURED` or `MODELED`; ``origin`` says how the quantity is known.
    """

    stage: str
    service: str
    item: str
    unit: str
    quantity: float
    basis: str
    origin: str


def write(s3: S3Client, bucket: str, day: date, service: str, used: Iterable[Usage], prices: Prices) -> int:
    """Replaces what is known of a day and service, with the prices as they are listed now; the rows.

    Raises `PricesError` if the list prices an item by another unit; an item that it lacks has no price.
    """
    rows = [_priced(each, prices) for each in sorted(used, key=lambda each: (each.stage, each.item))]
    table = pa.Table.from_pylist(rows, schema=USAGE)
    storage.put(s3, bucket, layout.usage_key(day.isoformat(), service), tables.encode(table))
    return len(rows)


def is_written(s3: S3Client, bucket: str, day: date, service: str) -> bool:
    """Whether a day and service have been measured."""
    return storage.current(s3, bucket, layout.usage_key(day.isoformat(), service)) is not None


def read(s3: S3Client, bucket: str, day: date, service: str) -> list[dict[str, Any]]:
    """The rows of a day and service; none if they were not measured."""
    key = layout.usage_key(day.isoformat(), service)
    rows: list[dict[str, Any]] = tables.read(s3, bucket, key, USAGE).to_pylist()
    return rows


def _priced(used: Usage, prices: Prices) -> dict[str, Any]:
    price = prices.find(used.service, used.item)
    if price and price.unit != used.unit:
        raise PricesError(
            f"the price list prices {used.service}'s {used.item!r} by {price.unit!r};"
            f" it is used by {used.unit!r}"
        )
    return {
        **asdict(used),
        "usd": price.usd if price else None,
        "price_date": price.date.isoformat() if price else None,
        "confirmed": int(bool(price.confirmed)) if price else None,
    }

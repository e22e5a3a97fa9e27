"""A month's costs, pure: so far, projected, for a million tweets, and beside endpoints that are always up."""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from include.lake import sql
from include.prices import Prices
from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

    from include.lake.athena import Athena

ENDPOINTS = 2
"""A translator's and a classifier's, for comparison with what labeling has cost."""
HOURS_PER_DAY = 24
_MILLION = 1_000_000


@dataclass(frozen=True)
class Month:
    """The costs of the days ``first`` to ``last`` of one month.

    ``rows`` are those of the statement `costs/month`, ``tweets`` the tweets that were labeled meanwhile, and
    ``endpoint_usd`` the list price of an endpoint's hour (None if the list has none).
    """

    first: date
    last: date
    rows: tuple[Mapping[str, Any], ...]
    tweets: int
    endpoint_usd: float | None

    @property
    def dollars(self) -> float:
        """US dollars so far."""
        return sum(row["dollars"] or 0 for row in self.rows)

    @property
    def days(self) -> int:
        """Days on which anything was measured: the most of any item."""
        return max((int(row["days"]) for row in self.rows), default=0)

    @property
    def unpriced(self) -> list[str]:
        """What was used and has no price in the list."""
        return sorted({f"{row['service']} {row['item']}" for row in self.rows if row["dollars"] is None})

    @property
    def projected(self) -> float | None:
        """US dollars of the whole month, if its other days cost what its measured days cost on average."""
        if not self.days:
            return None
        return self.dollars / self.days * calendar.monthrange(self.first.year, self.first.month)[1]

    def per_million(self, dollars: float) -> float | None:
        """What ``dollars`` are for a million of the tweets; None without tweets."""
        return dollars / self.tweets * _MILLION if self.tweets else None

    @property
    def labeling(self) -> float:
        """What labeling has cost: SageMaker's part."""
        return sum(row["dollars"] or 0 for row in self.rows if row["service"] == "sagemaker")

    @property
    def always_on(self) -> float | None:
        """What labeling these tweets would cost on two real-time endpoints that are always up."""
        if self.endpoint_usd is None:
            return None
        return ENDPOINTS * HOURS_PER_DAY * self.days * self.endpoint_usd

    def to_json(self) -> dict[str, Any]:
        """The figures, for pages and for the summary."""
        always_on = self.always_on
        return {
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "days": self.days,
            "tweets": self.tweets,
            "dollars": self.dollars,
            "projected": self.projected,
            "per_million": self.per_million(self.dollars),
            "labeling": self.labeling,
            "labeling_per_million": self.per_million(self.labeling),
            "always_on": always_on,
            "always_on_per_million": None if always_on is None else self.per_million(always_on),
            "unpriced": self.unpriced,
        }


def statements(first: date, last: date) -> dict[str, str]:
    """The statements whose rows `of` takes, by name."""
    days = {"first_day": first.isoformat(), "last_day": last.isoformat()}
    return {name: sql.render(f"costs/{name}", **days) for name in ("month", "tweets")}


def of(
    first: date,
    last: date,
    rows: Iterable[Mapping[str, Any]],
    tweets: int,
    settings: Settings,
    prices: Prices,
) -> Month:
    """The month of what the statements have answered."""
    endpoint = prices.find("sagemaker", f"endpoint {settings.sagemaker_instance_type}")
    return Month(first, last, tuple(rows), tweets, endpoint.usd if endpoint else None)


def read(athena: Athena, s3: S3Client, settings: Settings, prices: Prices, last: date) -> Month:
    """The costs of the month of ``last``, up to that day. Raises `AthenaError`."""
    first = last.replace(day=1)
    found = athena.tables(s3, statements(first, last))
    rows, tweets = found["month"].to_pylist(), int(found["tweets"].to_pylist()[0]["tweets"])
    return of(first, last, rows, tweets, settings, prices)

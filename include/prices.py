"""The list prices of everything that the pipeline buys, from the one file that the settings name."""

from __future__ import annotations

import datetime
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

_Text = Annotated[str, Field(min_length=1)]
_Source = Annotated[str, Field(pattern=r"^https://\S+$")]


class PricesError(ValueError):
    """The price list cannot be used, or lacks a price; the message names the file and what is wrong."""


class _Line(BaseModel):
    """What every line of the list says of its figure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: datetime.date
    source: _Source
    confirmed: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _says_that_nothing_confirms_it(self) -> Self:
        if not self.confirmed and not self.note:
            raise ValueError("without 'confirmed' a line needs a 'note' that says so")
        return self


class Price(_Line):
    """US dollars for one ``unit`` of an item; ``date`` is the price's (see the comment at the list's top)."""

    service: Annotated[str, Field(pattern=r"^[a-z0-9]+$")]
    item: _Text
    unit: _Text
    usd: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    region: _Text


class Dbus(_Line):
    """How many DBUs Databricks counts for an hour of an instance type."""

    item: _Text
    dbus: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Prices(BaseModel):
    """The whole list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prices: Annotated[tuple[Price, ...], Field(min_length=1)]
    dbus_per_hour: tuple[Dbus, ...] = ()

    @model_validator(mode="after")
    def _has_each_item_once(self) -> Self:
        named = Counter(f"{price.service} {price.item}" for price in self.prices)
        named.update(f"the DBUs of {each.item}" for each in self.dbus_per_hour)
        if twice := sorted(name for name, count in named.items() if count > 1):
            raise ValueError(f"{', '.join(twice)}: listed more than once")
        return self

    def find(self, service: str, item: str) -> Price | None:
        """The price of an item; None if the list has none."""
        return next((each for each in self.prices if (each.service, each.item) == (service, item)), None)

    def of(self, service: str, item: str) -> Price:
        """As `find`; raises `PricesError` if the list has none."""
        if (found := self.find(service, item)) is None:
            raise PricesError(
                f"the price list has no price of {service}'s item {item!r}: add a line to a copy of"
                " include/prices.yaml and name the copy in OPINION_PRICES_FILE"
            )
        return found

    def dbus(self, instance: str) -> float | None:
        """DBUs an hour of an instance type; None if the list does not say."""
        return next((each.dbus for each in self.dbus_per_hour if each.item == instance), None)


@cache
def load(file: Path) -> Prices:
    """Reads a price list, once; raises `PricesError`."""
    try:
        return Prices.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise PricesError(f"the price list {file} cannot be read: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{_place(each['loc'])}{each['msg'].removeprefix('Value error, ')}" for each in error.errors()
        )
        raise PricesError(f"the price list {file} is not valid: {wrong}") from error


def _place(location: tuple[int | str, ...]) -> str:
    parts = [f"line {part + 1}" if isinstance(part, int) else part for part in location]
    return f"{', '.join(parts)}: " if parts else ""

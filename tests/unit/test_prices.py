"""The price list: every line has its date and its source, and says whether anything confirms it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from include import prices
from include.prices import Prices, PricesError
from include.settings import Settings

LINE: dict[str, Any] = {
    "service": "s3",
    "item": "storage",
    "unit": "GB-month",
    "usd": 0.023,
    "region": "us-east-1",
    "date": "2026-11-29",
    "source": "https://aws.amazon.com/s3/pricing/",
    "confirmed": "the source",
}


def load(tmp_path: Path, *lines: dict[str, Any], **more: Any) -> Prices:
    file = tmp_path / "prices.yaml"
    file.write_text(yaml.safe_dump({"prices": list(lines), **more}))
    prices.load.cache_clear()
    return prices.load(file)


def test_the_list_has_every_item_that_the_default_settings_buy() -> None:
    settings = Settings()
    listed = prices.load(settings.prices_file)
    for service, item in [
        ("x", "post"),
        *(("firehose", item) for item in ("ingestion", "dynamic partitioning", "partitioned objects")),
        *(("sagemaker", f"{mode} {settings.sagemaker_instance_type}") for mode in ("batch", "endpoint")),
        ("athena", "scanned"),
        ("databricks", "jobs compute"),
        ("ec2", settings.training_node_type),
        *(("s3", item) for item in ("storage", "writes")),
        *(("quicksight", item) for item in ("reader", "author")),
    ]:
        assert listed.of(service, item).usd > 0
    assert listed.dbus(settings.training_node_type)
    assert len({price.region for price in listed.prices} - {"global"}) == 1, "one list is of one region"


def test_a_figure_that_nothing_confirms_says_so() -> None:
    listed = prices.load(Settings().prices_file)
    for line in (*listed.prices, *listed.dbus_per_hour):
        assert line.confirmed or line.note.startswith("Not confirmed"), line


@pytest.mark.parametrize("missing", ["service", "item", "unit", "usd", "region", "date", "source"])
def test_a_line_that_lacks_something_is_rejected_and_named(missing: str, tmp_path: Path) -> None:
    cut = {name: value for name, value in LINE.items() if name != missing}
    with pytest.raises(PricesError, match=rf"prices, line 2, {missing}: Field required"):
        load(tmp_path, LINE, {**cut, **({} if missing == "item" else {"item": "writes"})})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"date": "lately"}, "line 1, date"),
        ({"source": "a colleague"}, "line 1, source"),
        ({"usd": -1}, "line 1, usd"),
        ({"usd": float("inf")}, "line 1, usd"),
        ({"euro": 1}, "line 1, euro"),
        ({"confirmed": ""}, "needs a 'note'"),
    ],
)
def test_a_line_that_is_wrong_is_rejected(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(PricesError, match=says):
        load(tmp_path, {**LINE, **change})


def test_an_item_that_is_listed_twice_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match="s3 storage: listed more than once"):
        load(tmp_path, LINE, {**LINE, "usd": 1})


def test_a_file_that_is_no_list_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match="cannot be read"):
        prices.load(tmp_path / "absent.yaml")
    (tmp_path / "prices.yaml").write_text("prices: [")
    prices.load.cache_clear()
    with pytest.raises(PricesError, match="cannot be read"):
        prices.load(tmp_path / "prices.yaml")


def test_a_price_that_the_list_lacks_says_where_to_add_it(tmp_path: Path) -> None:
    listed = load(tmp_path, LINE)
    assert listed.find("s3", "writes") is None
    with pytest.raises(PricesError, match=r"no price of s3's item 'writes'.*OPINION_PRICES_FILE"):
        listed.of("s3", "writes")

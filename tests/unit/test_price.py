"""Posts in dollars, and the budget that is in force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from include.coverage.plan import Recovery
from include.coverage.stretch import Stretch
from include.settings import Settings, settings
from include.window import Window
from include.x.budget import monthly_posts
from include.x.price import cost, dollars, priced
from include.x.topics import load

HOUR = Window.parse("2026-11-20T05")
TOPICS = load(Settings().topics_file)


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_posts_cost_what_x_bills_by_default() -> None:
    assert (cost(12_000), dollars(300_000), priced(2)) == (60.0, "$1,500.00", "2 posts ($0.01)")


def test_the_price_is_that_of_the_list_which_the_settings_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = tmp_path / "prices.yaml"
    ours.write_text(Settings().prices_file.read_text().replace("usd: 0.005", "usd: 0.01", 1))
    monkeypatch.setenv("OPINION_PRICES_FILE", str(ours))
    assert priced(12_000) == "12,000 posts ($120.00)"


def test_the_default_budget_is_one_that_a_test_account_survives() -> None:
    assert cost(monthly_posts(Settings(), TOPICS)) == 500


def test_the_setting_overrides_the_topics_file_s_budget() -> None:
    changed = replace(TOPICS, collection=replace(TOPICS.collection, monthly_posts=7))
    assert monthly_posts(Settings(), changed) == 7
    assert monthly_posts(Settings(monthly_posts=9), changed) == 9


def test_a_recovery_says_what_it_costs() -> None:
    recovery = Recovery("ukraine", HOUR, Stretch(HOUR.start, HOUR.end), 100, 4_000)
    assert "about 4,000 posts ($20.00)" in str(recovery)
    assert recovery.to_json()["dollars"] == 20.0

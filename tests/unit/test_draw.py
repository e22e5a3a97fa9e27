"""The draw: a random sample that each tweet has a known chance of being in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest

from include.audit.draw import OTHER, Drawn, DrawPlan, Urn
from tests.unit.support_audit import KEY

PLAN = DrawPlan(tweets=100, language_tweets=20, language_share=0.02, twice=0.2)


def drawn(
    languages: Mapping[str, int], plan: DrawPlan = PLAN, key: bytes = KEY, first: int = 1
) -> list[Drawn]:
    urn = Urn(key, plan)
    for language, count in languages.items():
        urn.add(language, range(first, first + count))
        first += count
    return urn.draw()


def test_each_language_has_its_share_and_small_ones_enough() -> None:
    found = Counter(each.stratum for each in drawn({"en": 9_000, "de": 700, "pl": 250, "tl": 30, "ja": 20}))
    assert found == {"en": 59, "de": 20, "pl": 20, OTHER: 1}


def test_what_is_drawn_stands_for_all_there_are() -> None:
    found = drawn({"en": 9_000, "de": 700, "pl": 250, "tl": 30, "ja": 20})
    assert sum(1 / each.chance for each in found) == pytest.approx(10_000)
    assert all(0 < each.chance <= 1 for each in found)


def test_where_there_are_few_all_are_drawn() -> None:
    assert [each.chance for each in drawn({"en": 7})] == [1.0] * 7
    assert drawn({}) == []


def test_the_same_tweets_are_drawn_again_in_whatever_order_they_come() -> None:
    once, again = Urn(KEY, PLAN), Urn(KEY, PLAN)
    once.add("en", range(1, 2_001))
    for number in range(2_000, 0, -1):
        again.add("en", [number])
    assert once.draw() == again.draw()
    assert once.draw() != drawn({"en": 2_000}, key=b"another")


def test_one_more_tweet_changes_at_most_one_drawn_tweet() -> None:
    former = {each.tweet_id for each in drawn({"en": 2_000})}
    assert len(former - {each.tweet_id for each in drawn({"en": 2_001})}) <= 1


def test_a_larger_draw_holds_the_smaller() -> None:
    small = {each.tweet_id for each in drawn({"en": 2_000})}
    assert small < {each.tweet_id for each in drawn({"en": 2_000}, replace(PLAN, tweets=200))}


def test_a_share_is_judged_by_two_people() -> None:
    found = drawn({"en": 50_000}, replace(PLAN, tweets=5_000))
    assert sum(each.people == 2 for each in found) / 5_000 == pytest.approx(0.2, abs=0.03)


def test_every_tweet_is_as_likely_as_any_other() -> None:
    """Over many keys each of 50 tweets is drawn as often, within four standard deviations."""
    counts = Counter(
        each.tweet_id
        for key in range(2_000)
        for each in drawn({"en": 50}, DrawPlan(10, 10, 0.02, 0.2), key=b"%d" % key)
    )
    assert all(abs(counts[number] - 400) < 4 * (2_000 * 0.2 * 0.8) ** 0.5 for number in range(1, 51))

"""The freshness of posts: which version a page shows, and where each post has waited."""

from __future__ import annotations

import numpy as np
import pytest

from local.proof.freshness import WAITS, FreshnessError, Landing, Sight, Version, measure
from local.proof.live_test import faultless, page_section

HOUR = ("ukraine", "2026-11-20T05")
OLD = Version(listed=20, published=30, shown=frozenset({1}))
NEW = Version(listed=140, published=150, shown=frozenset({1, 2, 3}))
POSTS = {1: Landing(0, 1, 6), 2: Landing(100, 101, 106), 3: Landing(110, 111, 116)}
AGGREGATES = [Sight(40, {HOUR: 1}), Sight(160, {HOUR: 3})]


def page(at: float, count: int) -> Sight:
    return Sight(at, {HOUR: count})


def test_a_post_is_seen_with_the_first_reading_that_counts_a_version_with_it() -> None:
    pages = [page(35, 0), page(60, 1), page(120, 1), page(180, 3), page(240, 3)]
    found = measure(POSTS, {HOUR: [OLD, NEW]}, AGGREGATES, pages)
    assert (found.posts, found.unseen) == (3, 0)
    assert sorted(found.waits.sum(axis=1).tolist()) == [60, 70, 80]


def test_the_waits_are_named_and_add_up() -> None:
    found = measure({1: POSTS[1]}, {HOUR: [OLD, NEW]}, AGGREGATES, [page(60, 1)])
    assert dict(zip(WAITS, found.waits[0].tolist(), strict=True)) == {
        "stream": 1,
        "firehose": 5,
        "turn": 14,
        "run": 10,
        "aggregate": 10,
        "page": 20,
    }
    assert found.by_wait()["page"] == [20, 20]
    assert found.total() == [60, 60]


def test_a_post_that_no_reading_has_is_unseen() -> None:
    found = measure(POSTS, {HOUR: [OLD, NEW]}, AGGREGATES, [page(60, 1)])
    assert (found.posts, found.unseen) == (1, 2)


def test_a_reading_between_two_versions_has_what_the_smaller_one_has() -> None:
    found = measure(POSTS, {HOUR: [OLD, NEW]}, AGGREGATES, [page(155, 2), page(200, 3)])
    assert np.sort(found.waits[:, -1]).tolist() == [40, 40, 115]


def test_a_page_that_counts_more_than_was_ever_labeled_is_no_measurement() -> None:
    with pytest.raises(FreshnessError):
        measure(POSTS, {HOUR: [OLD, NEW]}, AGGREGATES, [page(200, 4)])


FIGURES = {
    "same_lake": True,
    "rows_compared": 9,
    "hours_compared": ["2026-11-20T05"],
    "posts": 9,
    "unseen": 0,
    "p95_s": 210.0,
    "goal_s": 210,
    "models": {"endpoint": {"calls": 1, "tweets": 9}},
    "models_alone": {"batch": {"calls": 1, "tweets": 9}},
    "waits": {name: [1.0, 2.0] for name in WAITS},
    "tasks": {"label": [1.0, 2.0]},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [("same_lake", False), ("rows_compared", 0), ("posts", 0), ("unseen", 1), ("p95_s", 210.1)],
)
def test_another_lake_an_unseen_post_or_a_late_one_is_a_fault(name: str, value: object) -> None:
    assert faultless(FIGURES)
    assert not faultless({**FIGURES, name: value})


def test_the_section_names_every_wait() -> None:
    section = page_section(FIGURES)
    assert all(f"| `{name}` |" in section for name in WAITS)
    assert "| tweets sent by endpoint | 9 in 1 calls |" in section
    assert "| tweets sent by batch, scheduled runs alone | 9 in 1 calls |" in section

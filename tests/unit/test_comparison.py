"""Two periods beside each other: the difference and its interval, by the intervals of both."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.insights.comparison import compared

Z = 1.959963984540054


def tile(
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    audit: int | None = 1,
    format: str = "percent",
) -> dict[str, Any]:
    return {"id": "a", "format": format, "value": value, "low": low, "high": high, "audit": audit, "n": 9}


def wilson(positive: int, n: int) -> dict[str, Any]:
    p = positive / n
    root = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    low, high = ((p + Z * Z / (2 * n) + side * root) / (1 + Z * Z / n) for side in (-1, 1))
    return tile(p, low, high)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((0, 10), (0, 10), -0.2775, 0.2775),
    ],
)
def test_the_interval_of_a_difference_is_the_one_that_newcombe_published(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    """R. Newcombe, Interval estimation for the difference of independent proportions, 1998, method 10."""
    found = compared(wilson(*one), wilson(*other))
    assert found["change"] == pytest.approx(one[0] / one[1] - other[0] / other[1])
    assert (found["change_low"], found["change_high"]) == (
        pytest.approx(low, abs=1e-4),
        pytest.approx(high, abs=1e-4),
    )
    assert found["value"] == other[0] / other[1], "what is told beside it is the former figure"


def test_ratios_are_compared_by_their_quotient() -> None:
    found = compared(tile(3, 2, 4.5, format="ratio"), tile(1.5, 1, 2.25, format="ratio"))
    assert found["change"] == pytest.approx(2)
    reach = math.hypot(math.log(1.5), math.log(1.5))
    assert (found["change_low"], found["change_high"]) == (
        pytest.approx(2 / math.exp(reach)),
        pytest.approx(2 * math.exp(reach)),
    )
    for high, low in ((None, 1), (4, 0)):
        unbounded = compared(tile(3, 2, high, format="ratio"), tile(2, low, 3, format="ratio"))
        assert unbounded["change_high"] is None
        assert unbounded["change_low"] is not None


@pytest.mark.parametrize("format", ["percent", "ratio", "number"])
def test_what_has_no_value_has_not_changed(format: str) -> None:
    for now, before in ((None, 1.0), (1.0, None), (None, None)):
        assert compared(tile(now, format=format), tile(before, format=format))["change"] is None
    assert compared(tile(0.0, format="ratio"), tile(1.0, format="ratio"))["change"] is None
    plain = compared(tile(5, format="number"), tile(2, format="number"))
    assert (plain["change"], plain["change_low"], plain["change_high"]) == (3, None, None)


@pytest.mark.parametrize(
    ("one", "other", "known"),
    [(1, 1, 1), (0, 1, 0), (1, 0, 0), (2, 1, 2), (2, 0, 0), (None, 1, 1), (None, None, None)],
)
def test_a_difference_knows_no_more_than_the_figure_that_knows_less(
    one: int | None, other: int | None, known: int | None
) -> None:
    assert compared(tile(0.5, 0.4, 0.6, one), tile(0.5, 0.4, 0.6, other))["audit"] == known


INTERVALS = st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(sorted)


@given(INTERVALS, INTERVALS)
def test_the_interval_holds_the_difference_and_turned_around_it_is_the_mirror_image(
    one: list[float], other: list[float]
) -> None:
    now, before = (tile(value, low, high) for low, value, high in (one, other))
    there, back = compared(now, before), compared(before, now)
    assert there["change_low"] <= there["change"] <= there["change_high"]
    assert there["change_low"] == pytest.approx(-back["change_high"])
    assert there["change_high"] - there["change_low"] >= max(one[2] - one[0], other[2] - other[0]) - 1e-12

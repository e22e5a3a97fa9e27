"""Rectifiers: what an audit makes of a share."""

from __future__ import annotations

import random

import pytest

from include.audit.rectify import Audited, Rectifier, rectifier


def judged_tweets() -> tuple[list[float], list[float], list[float]]:
    """What people say, what the model says, and the weights of 60 tweets."""
    choose = random.Random(3)
    said, predicted, weights = [], [], []
    for _ in range(60):
        predicted.append(round(choose.random(), 3))
        said.append(1.0 if choose.random() < 0.2 + 0.6 * predicted[-1] else 0.0)
        weights.append(choose.choice([1.0, 2.0]))
    return said, predicted, weights


def taught(weights: list[float], slope: float | None = None) -> Rectifier:
    said, predicted, _ = judged_tweets()
    rows = [Audited("en", w, 0.0, f, y) for y, f, w in zip(said, predicted, weights, strict=True)]
    found = rectifier(rows, slope)
    assert found
    return found


MEAN, SPREAD, ALL = 0.4914228, 0.2864490182216724, 5000
"""Mean and standard deviation of the model's probabilities of all tweets, and how many these are."""


@pytest.mark.parametrize(
    ("slope", "share", "weighted_share", "low", "high"),
    [
        (0.0, 0.55, 0.5268817204301076, 0.42411903386387895, 0.6758809661361211),
        (0.5, 0.5054030666666667, 0.4875877440860215, 0.38558169935713327, 0.6252244339762001),
        (1.0, 0.4608061333333333, 0.44829376774193547, 0.3366312286331535, 0.5849810380335132),
    ],
)
def test_an_audit_gives_the_figures_of_ppi_python(
    slope: float, share: float, weighted_share: float, low: float, high: float
) -> None:
    """Figures of ppi-python 0.2.3: `ppi_mean_pointestimate` and `ppi_mean_ci` with `lam`, alpha 0.05.

    It divides variances by n, a sample's is divided by n - 1.
    """
    _, _, weights = judged_tweets()
    even = taught([1.0] * 60, slope)
    assert slope * MEAN + even.offset == pytest.approx(share, abs=1e-9)
    assert slope * MEAN + taught(weights, slope).offset == pytest.approx(weighted_share, abs=1e-9)
    margin = 1.959963984540054 * (slope**2 * SPREAD**2 / ALL + even.error**2 * 59 / 60) ** 0.5
    assert (share - margin, share + margin) == pytest.approx((low, high), abs=1e-9)


def test_the_slope_that_is_tuned_gives_what_ppi_python_tunes_to() -> None:
    """Its `lam` is estimated from all probabilities, ours from those of the audited tweets."""
    found = taught([1.0] * 60)
    assert found.slope * MEAN + found.offset == pytest.approx(0.5036608389046398, abs=0.005)
    margin = 1.959963984540054 * (found.slope**2 * SPREAD**2 / ALL + found.error**2 * 59 / 60) ** 0.5
    assert 2 * margin == pytest.approx(0.6234555539570737 - 0.3838661238522057, rel=0.005)
    assert all(found.error <= taught([1.0] * 60, slope / 10).error for slope in range(11))


def test_a_model_that_knows_nothing_leaves_what_people_say() -> None:
    rows = [Audited("en", 1.0, 0.01, 0.5, float(number % 2)) for number in range(100)]
    found = rectifier(rows)
    assert found
    assert (found.slope, found.offset) == (0.0, 0.5)


def test_a_model_that_is_always_right_leaves_what_no_sample_can_rule_out() -> None:
    rows = [Audited("en", 1.0, 0.01, float(number % 2), float(number % 2)) for number in range(100)]
    found = rectifier(rows)
    assert found
    assert (found.slope, found.offset) == (1.0, 0.0)
    assert found.error == pytest.approx(0, abs=1e-12)
    assert 1.96 * found.safe_error == pytest.approx(3 / 100, rel=0.03)


def test_strata_weigh_what_they_stand_for_also_where_not_all_was_judged() -> None:
    """Ten tweets stand for 900 and ten for 100; of the first half were judged."""
    large = [Audited("en", 90.0, 0.01, 0.5, 1.0 if number < 5 else None) for number in range(10)]
    small = [Audited("de", 10.0, 0.1, 0.5, 0.0) for _ in range(10)]
    found = rectifier([*large, *small])
    assert found
    assert found.audited == 15
    assert found.share == pytest.approx(0.9)


def test_a_tweet_that_was_drawn_for_certain_leaves_nothing_open() -> None:
    found = rectifier([Audited("en", 1.0, 1.0, 0.3, float(number % 2)) for number in range(10)])
    assert found
    assert found.error == 0


def test_without_judgments_there_is_no_rectifier() -> None:
    assert rectifier([Audited("en", 1.0, 0.1, 0.5, None)]) is None

"""The month's budget: spent evenly, to its end and never above, whatever the volume does."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from include.x.pacing import Pacer, month_end

CAP = 2_000_000
START = datetime(2026, 11, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)


def day_and_night(at: datetime) -> float:
    return 1 + 0.6 * math.sin(2 * math.pi * (at.hour + at.minute / 60 - 9) / 24)


def month(
    volume: float,
    bursts: list[datetime],
    seed: int = 1,
    down: Callable[[datetime], bool] = lambda _: False,
) -> tuple[int, list[tuple[datetime, int]]]:
    """Streams a month whose natural volume is ``volume`` × the cap; returns its use and the samples."""
    chance = random.Random(seed)
    hourly = volume * CAP / (30 * 24)
    pacer, used, sample, changes = Pacer(), 0, 100, [(START, 100)]
    at = START
    while at < month_end(START):
        now = at + STEP
        rate = hourly * day_and_night(at)
        if any(start <= at < start + timedelta(hours=3) for start in bursts):
            rate *= 10
        mean = rate / 12 * sample / 100
        posts = max(round(chance.gauss(mean, math.sqrt(mean))), 0)
        posts = 0 if down(at) else min(posts, CAP - used)
        used += posts
        at = now
        if at >= month_end(START):
            break
        pacer.observe(now, 0 if down(at) else STEP.total_seconds(), posts, sample)
        chosen = pacer.sample(now, used, sample, CAP, 100)
        if chosen != sample:
            sample = chosen
            changes.append((now, sample))
            if len(changes) % 50 == 0:
                pacer = Pacer(pacer.remember())
    return used, changes


BURSTS = {
    "in the middle": (6, 20),
    "in the first hour and the last day": (0, 29),
    "twice near the end": (28, 29),
}


@pytest.mark.parametrize("days", BURSTS.values(), ids=BURSTS.keys())
def test_three_times_the_cap_with_two_bursts_ends_just_below_the_cap(days: tuple[int, int]) -> None:
    bursts = [START + timedelta(days=day, hours=hour) for day, hour in zip(days, (3, 18), strict=True)]
    used, changes = month(3, bursts)
    assert 0.97 * CAP <= used <= CAP
    assert used < CAP, "the hard stop was not needed"
    assert len(changes) < 30 * 24


def test_a_burst_up_to_the_months_last_moment_is_met_in_time() -> None:
    used, _ = month(3, [START + timedelta(days=29, hours=18), START + timedelta(days=29, hours=21)])
    assert 0.97 * CAP <= used < CAP


def test_what_an_outage_of_days_left_over_is_spent() -> None:
    used, _ = month(3, [], down=lambda at: at.day in (10, 11))
    assert 0.97 * CAP <= used < CAP


def test_a_volume_within_the_cap_is_never_sampled() -> None:
    _, changes = month(0.8, [])
    assert changes == [(START, 100)]


def test_the_sample_moves_in_small_steps_and_does_not_flap() -> None:
    _, changes = month(3, [START + timedelta(days=6)])
    settled = [sample for at, sample in changes if at > START + timedelta(days=2)]
    assert len(settled) < 60
    for before, after in pairwise(settled):
        assert 0.5 * before - 1 <= after <= max(1.15 * before, before + 1)
    turns = sum((b - a) * (c - b) < 0 for a, b, c in zip(settled, settled[1:], settled[2:], strict=False))
    assert turns < 15


def test_a_lower_sample_in_the_topics_file_is_followed_at_once() -> None:
    assert Pacer().sample(START, 0, 80, CAP, 50) == 50


def test_nothing_is_decided_before_anything_was_seen() -> None:
    pacer = Pacer()
    assert pacer.sample(START, 0, 100, CAP, 100) == 100
    pacer.observe(START, 60, 10_000, 100)
    assert pacer.sample(START, 0, 100, CAP, 100) == 100
    pacer.observe(START, 600, 100_000, 100)
    assert pacer.sample(START, 0, 100, CAP, 100) == 50


def test_the_projection_counts_what_is_used_and_what_the_sample_leaves() -> None:
    pacer = Pacer()
    for hour in range(240):
        pacer.observe(START + timedelta(hours=hour + 1), 3600, 100, 50)
    now = START + timedelta(hours=240)
    assert pacer.projected(now, 24_000, 50) == pytest.approx(72_000, rel=0.02)
    assert pacer.projected(now, 24_000, 25) == pytest.approx(48_000, rel=0.02)


@pytest.mark.parametrize("memory", ["", "{}", "[]", "no json", '{"curve": [1]}', '{"curve": 5}', '{"x": 1}'])
def test_a_memory_that_cannot_be_read_is_a_new_start(memory: str) -> None:
    assert Pacer(memory).remember() == Pacer().remember()


def test_a_month_ends_where_the_next_begins() -> None:
    assert month_end(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert month_end(datetime(2028, 2, 1, tzinfo=UTC)) == datetime(2028, 3, 1, tzinfo=UTC)

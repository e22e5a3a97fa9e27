"""Waves: the days that an audit draws from together."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.audit.wave import PeriodError, Wave, requested


@given(st.dates(date(2020, 1, 1), date(2030, 12, 31)))
def test_every_day_lies_in_one_wave_of_its_week_and_month(day: date) -> None:
    wave = Wave.of(day)
    assert day in wave.days
    assert {Wave.of(each) for each in wave.days} == {wave}
    assert {each.month for each in wave.days} == {day.month}
    assert {each.isocalendar()[:2] for each in wave.days} == {day.isocalendar()[:2]}


def test_the_waves_of_a_month_share_it_out() -> None:
    waves = list(Wave.between(date(2026, 11, 1), date(2026, 11, 30)))
    assert [wave.label for wave in waves] == [
        "2026-11-01",
        "2026-11-02",
        "2026-11-09",
        "2026-11-16",
        "2026-11-23",
        "2026-11-30",
    ]
    assert sum(wave.share_of_month for wave in waves) == pytest.approx(1)


def test_a_scheduled_run_draws_the_week_before_and_a_manual_run_up_to_now() -> None:
    monday = date(2026, 11, 23)
    assert requested(None, None, monday, 30, scheduled=True) == [Wave.of(date(2026, 11, 16))]
    assert requested(None, None, monday, 30, scheduled=False)[-1] == Wave.of(monday)
    assert requested("2026-11-20", "2026-11-20", monday, 30, scheduled=False) == [Wave.of(date(2026, 11, 20))]


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [
        ("2026-11-31", None, "not a date"),
        ("2026-11-22", "2026-11-20", "not a period"),
        (None, "2026-11-24", "not a period"),
        ("2026-10-01", None, "expired"),
        (None, "2026-10-01", "expired"),
    ],
)
def test_days_that_cannot_be_drawn_from_are_rejected(
    first: str | None, last: str | None, reason: str
) -> None:
    with pytest.raises(PeriodError, match=reason):
        requested(first, last, date(2026, 11, 23), 30, scheduled=False)

"""The window: one UTC hour, by label, by moment and in sequence."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.window import FIRST_DAY, HOUR, LABEL_PATTERN, Window, WindowError, possible_day, requested

zones = st.timezones() | st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))
moments = st.datetimes(datetime(2015, 1, 1), datetime(2060, 1, 1), timezones=zones)  # noqa: DTZ001


@given(moments)
def test_every_moment_lies_in_its_window_whatever_its_zone(moment: datetime) -> None:
    window = Window.containing(moment)
    assert moment in window
    assert window.end - window.start == HOUR
    assert window.end not in window


@given(moments)
def test_a_label_names_its_window(moment: datetime) -> None:
    window = Window.containing(moment)
    assert Window.parse(window.label) == window
    assert Window.parse(window.start.isoformat()) == window
    assert str(window) == f"{window.date}T{window.hour}"


@given(moments, st.timedeltas(timedelta(0), timedelta(hours=30)))
def test_the_windows_between_two_moments_cover_them_without_gap(start: datetime, length: timedelta) -> None:
    end = start.astimezone(UTC) + length
    windows = list(Window.between(start, end))
    assert [window.next for window in windows[:-1]] == windows[1:]
    if start.astimezone(UTC) < end:
        assert start in windows[0]
        assert windows[-1].start < end <= windows[-1].end
    else:
        assert all(window.start < end for window in windows)


def test_a_label_without_a_zone_is_utc() -> None:
    assert Window.parse("2026-11-20T05").start == datetime(2026, 11, 20, 5, tzinfo=UTC)
    assert Window.parse("2026-11-20T05:00:00").start == datetime(2026, 11, 20, 5, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-20", "2026-11-20T25", "2026-11-20T05:30Z"])
def test_what_names_no_hour_is_rejected(text: str) -> None:
    with pytest.raises(WindowError):
        Window.parse(text).label  # noqa: B018


def test_a_window_needs_an_aware_utc_start_on_the_hour() -> None:
    for start in (
        datetime(2026, 11, 20, 5),  # noqa: DTZ001
        datetime(2026, 11, 20, 5, tzinfo=timezone(timedelta(hours=2))),
        datetime(2026, 11, 20, 5, 1, tzinfo=UTC),
    ):
        with pytest.raises(WindowError):
            Window(start)
    with pytest.raises(WindowError):
        Window.containing(datetime(2026, 11, 20, 5))  # noqa: DTZ001


@given(st.dates())
def test_a_day_is_possible_from_xs_first_to_tomorrow(day: date) -> None:
    now = datetime(2026, 11, 20, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    if FIRST_DAY <= day <= date(2026, 11, 22):
        assert possible_day(day, now) == day
    else:
        with pytest.raises(WindowError, match="choose a day from 2006-03-21 to 2026-11-22"):
            possible_day(day, now)


labels = st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}", fullmatch=True) | st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001
    datetime(2099, 12, 31),  # noqa: DTZ001
).map(lambda moment: f"{moment:%Y-%m-%dT%H}")


@given(labels)
def test_a_param_takes_the_labels_that_name_an_hour_and_29_february(label: str) -> None:
    try:
        named = 2000 <= Window.parse(label).start.year < 2100
    except WindowError:
        named = label[5:10] == "02-29" and label[:2] == "20" and int(label[11:]) < 24
    assert bool(re.search(LABEL_PATTERN, label)) == named


@pytest.mark.parametrize(
    "label", ["9999-99-99T99", "2026-11-31T00", "2026-11-20T24", "2026-11-20", "1999-01-01T00"]
)
def test_a_param_rejects_what_names_no_hour(label: str) -> None:
    assert not re.search(LABEL_PATTERN, label)


@pytest.mark.parametrize("label", ["2001-01-01T00", "2027-02-28T00", "2025-02-29T00"])
def test_an_hour_that_cannot_hold_posts_cannot_be_asked_for(label: str) -> None:
    with pytest.raises(WindowError):
        requested(label, None, None, now=datetime(2026, 11, 20, 5, tzinfo=UTC))

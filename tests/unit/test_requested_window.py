from __future__ import annotations

from datetime import UTC, datetime

import pendulum
import pytest

from include.window import Window, WindowError, requested

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
START, END = pendulum.datetime(2026, 11, 20, 5), pendulum.datetime(2026, 11, 20, 6)


def test_a_label_goes_before_the_data_interval() -> None:
    assert requested("2026-11-20T09", START, END, now=NOW).label == "2026-11-20T09"


def test_without_a_label_the_data_interval_is_the_window() -> None:
    assert requested(None, START, END, now=NOW).label == "2026-11-20T05"


def test_pendulums_times_give_the_same_window_as_plain_ones() -> None:
    window = requested(None, START, END, now=NOW)
    assert window == Window.parse("2026-11-20T05")
    assert window.end == END
    assert type(window.end) is datetime
    assert window.end.tzinfo is UTC


def test_the_open_hour_may_be_asked_for_and_a_later_one_may_not() -> None:
    assert requested("2026-11-20T12", None, None, now=NOW).label == "2026-11-20T12"
    with pytest.raises(WindowError, match="has not begun"):
        requested("2026-11-20T13", None, None, now=NOW)


@pytest.mark.parametrize("interval", [(None, None), (START, START), (START, None)])
def test_a_run_without_an_interval_is_told_to_name_a_window(interval: tuple[datetime, datetime]) -> None:
    with pytest.raises(WindowError, match="give it a window"):
        requested(None, *interval, now=NOW)


@pytest.mark.parametrize("end", [pendulum.datetime(2026, 11, 20, 7), pendulum.datetime(2026, 11, 20, 5, 30)])
def test_an_interval_that_is_not_an_hour_is_rejected(end: datetime) -> None:
    with pytest.raises(WindowError, match="not one hour"):
        requested(None, START, end, now=NOW)


@pytest.mark.parametrize("label", ["yesterday", "2026-11-20T25", "2026-11-20T05:30"])
def test_a_label_that_is_no_hour_is_rejected(label: str) -> None:
    with pytest.raises(WindowError, match=r"is not an hour|on the hour"):
        requested(label, START, END, now=NOW)

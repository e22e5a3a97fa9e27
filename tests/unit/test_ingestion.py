"""When QuickSight is asked to read a data set: never twice for the same data, never beyond its limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.insights.ingestion import (
    COMPLETED,
    DAY,
    UNDER_WAY,
    Action,
    Ingestion,
    IngestionDecision,
    decide_ingestion,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
STATES = (COMPLETED, "FAILED", "CANCELLED", *sorted(UNDER_WAY))


def ingestion(
    name: str, state: str = COMPLETED, ago: timedelta = 2 * HOUR, by_hand: bool = True
) -> Ingestion:
    return Ingestion(name, state, NOW - ago, by_hand)


def decided(*found: Ingestion, per_day: int = 32) -> IngestionDecision:
    return decide_ingestion("lake-a", found, NOW, HOUR, per_day)


def test_new_data_is_read() -> None:
    assert decided() == IngestionDecision(Action.START, "lake-a")
    assert decided(ingestion("lake-b")) == IngestionDecision(Action.START, "lake-a")


def test_data_that_was_read_is_not_read_again_however_long_ago() -> None:
    assert decided(ingestion("lake-a", ago=30 * DAY)) == IngestionDecision(Action.REUSE, "lake-a")
    assert decided(ingestion("lake-a", ago=timedelta(seconds=1))).action is Action.REUSE


def test_a_cleared_task_joins_the_ingestion_that_it_has_started() -> None:
    for state in UNDER_WAY:
        assert decided(ingestion("lake-a", state)) == IngestionDecision(Action.JOIN, "lake-a")


def test_after_the_first_failure_the_next_suffix_is_taken_at_once() -> None:
    failed = ingestion("lake-a", "FAILED", timedelta(seconds=5))
    assert decided(failed) == IngestionDecision(Action.START, "lake-a-2")
    assert decided(ingestion("lake-b"), failed) == IngestionDecision(Action.START, "lake-a-2")
    canceled = ingestion("lake-a-2", "CANCELLED", timedelta(seconds=1))
    assert decided(failed, canceled) == IngestionDecision(Action.START, "lake-a-3")
    assert decided(failed, ingestion("lake-a-2")) == IngestionDecision(Action.REUSE, "lake-a-2")


def test_from_the_second_failure_in_a_row_on_they_are_spaced() -> None:
    failed = [ingestion("lake-a", "FAILED", timedelta(minutes=21))]
    failed.append(ingestion("lake-a-2", "FAILED", timedelta(minutes=20)))
    decision = decided(*failed)
    assert (decision.action, decision.until) == (Action.WAIT, failed[1].created + HOUR)
    assert decision.reason == "2 in a row have failed"
    assert decided(*failed, ingestion("lake-b", ago=HOUR)).action is Action.WAIT
    old = [ingestion(each.identity, "FAILED", HOUR + timedelta(minutes=n)) for n, each in enumerate(failed)]
    assert decided(*old) == IngestionDecision(Action.START, "lake-a-3")
    assert (
        decided(ingestion("lake-z", "FAILED", 3 * HOUR), ingestion("lake-b"), failed[1]).action
        is Action.START
    )


@pytest.mark.parametrize("every", [timedelta(hours=1), timedelta(minutes=5)])
def test_nine_hours_of_a_full_spice_leave_the_day_its_ingestions(every: timedelta) -> None:
    """Each run tries four times, and finds new data; the lake changes every hour, or with every live run."""
    spacing, begin, full = timedelta(seconds=2700), NOW, timedelta(hours=9)
    found: list[Ingestion] = []
    first_good = None
    for run in range(int(DAY / every)):
        for retry in range(4):
            now = begin + run * every + retry * timedelta(seconds=20)
            decision = decide_ingestion(f"lake-{run}", found, now, spacing, 32)
            if decision.action is not Action.START:
                assert first_good or "24 hours" not in decision.reason
                break
            state = "FAILED" if now < begin + full else COMPLETED
            found.append(Ingestion(decision.identity, state, now))
            if state == COMPLETED:
                first_good = first_good or now
                break
    assert first_good
    assert first_good - (begin + full) <= HOUR


def test_other_data_waits_until_an_hour_after_the_last() -> None:
    last = ingestion("lake-b", ago=timedelta(minutes=20))
    decision = decided(last, ingestion("lake-c", ago=3 * HOUR))
    assert (decision.action, decision.until) == (Action.WAIT, last.created + HOUR)
    assert decided(ingestion("lake-b", "FAILED", timedelta(minutes=20))).action is Action.START
    assert decided(ingestion("lake-b", ago=HOUR)).action is Action.START


def test_what_a_data_set_begins_with_and_schedules_count_for_nothing() -> None:
    assert decided(ingestion("first", ago=timedelta(0), by_hand=False)).action is Action.START


def test_beyond_the_days_limit_it_waits_until_the_oldest_is_a_day_old() -> None:
    found = [ingestion(f"lake-{n}", "FAILED", HOUR + timedelta(minutes=n)) for n in range(1, 9)]
    decision = decided(*found, per_day=8)
    assert (decision.action, decision.until) == (Action.WAIT, found[-1].created + DAY)
    assert decided(*found[:-1], per_day=8).action is Action.START
    assert decided(*found[:-1], ingestion("lake-old", ago=DAY), per_day=8).action is Action.START


lists = st.lists(
    st.builds(
        ingestion,
        st.sampled_from(("lake-a", "lake-a-2", "lake-b", "lake-c", "other")),
        st.sampled_from(STATES),
        st.timedeltas(timedelta(0), 2 * DAY),
        st.booleans(),
    ),
    max_size=40,
    unique_by=lambda each: (each.identity, each.created),
)


@given(lists, st.integers(1, 32))
def test_what_is_started_keeps_both_limits_and_what_waits_may_start_then(
    found: Sequence[Ingestion], per_day: int
) -> None:
    decision = decide_ingestion("lake-a", found, NOW, HOUR, per_day)
    by_hand = [each for each in found if each.by_hand]
    if decision.action is Action.START:
        assert decision.identity not in {each.identity for each in found}
        assert sum(each.created > NOW - DAY for each in by_hand) < per_day
        shown = [each for each in by_hand if each.state == COMPLETED or each.state in UNDER_WAY]
        assert all(each.created <= NOW - HOUR for each in shown)
    if decision.action is Action.WAIT:
        assert decision.until
        assert NOW < decision.until <= NOW + DAY
        later = decide_ingestion("lake-a", found, decision.until, HOUR, per_day)
        # The other limit may still hold it up, but never the same one again.
        assert later.action is Action.START or later.reason != decision.reason

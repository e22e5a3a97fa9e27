from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.coverage import plan
from include.coverage.judge import Gap, GapState, Measures, deadline
from include.coverage.ledger import CoverageRow
from include.coverage.measure import RangeError, windows
from include.coverage.plan import Recovery, Rerun, Runs, Way
from include.coverage.stretch import Stretch
from include.lake.verdict import Verdict
from include.settings import Settings
from include.window import HOUR, Window, WindowError
from include.x.price import cost

TEN = Window.parse("2026-11-20T10")
NOW = datetime(2026, 11, 20, 12, 20, tzinfo=UTC)
NOTHING = Runs(scheduled=False, active=False, next_scheduled=None)

COMPLETE = CoverageRow(
    topic="ukraine",
    window=TEN,
    measures=Measures(raw_ids=10, labeled_ids=10),
    alive_s=3600.0,
    judged_until=TEN.end,
    verdict=Verdict.COMPLETE,
    evidence="every tweet labeled or quarantined",
    evidence_digest="digest",
    inputs_digest="inputs",
    measured_at=NOW,
)
UNLABELED = replace(
    COMPLETE, verdict=Verdict.UNLABELED, measures=Measures(raw_ids=10, labeled_ids=8, missing_ids=2)
)


def gap(window: Window, state: GapState = GapState.OPEN, approved: bool = False) -> Gap:
    stretch = Stretch(window.start, window.start + timedelta(minutes=5))
    return Gap(stretch, state, deadline(stretch), approved)


def outage(window: Window, **options: Any) -> CoverageRow:
    return replace(COMPLETE, window=window, verdict=Verdict.OUTAGE, gaps=(gap(window, **options),))


def recoveries(rows: list[CoverageRow], left: int = 1_000_000, posts: int = 100) -> list[Recovery]:
    return plan.recoveries(rows, TEN.start - HOUR, left, lambda *_: posts, lambda _: 50)


def test_an_active_run_is_left_alone() -> None:
    assert plan.way(TEN, replace(NOTHING, scheduled=True, active=True)) == Rerun(TEN, Way.ACTIVE)


def test_a_scheduled_run_is_cleared_under_the_id_that_airflow_gave_it() -> None:
    found = plan.way(TEN, replace(NOTHING, scheduled=True))
    assert found == Rerun(TEN, Way.CLEAR, "scheduled__2026-11-20T11:00:00+00:00")


@pytest.mark.parametrize("earlier", [0, 3])
def test_an_hour_that_the_schedule_will_still_reach_is_left_to_it(earlier: int) -> None:
    runs = replace(NOTHING, next_scheduled=TEN.start - earlier * HOUR)
    assert plan.way(TEN, runs) == Rerun(TEN, Way.SCHEDULE)


def test_an_hour_that_the_schedule_has_passed_gets_a_run_for_its_window() -> None:
    runs = replace(NOTHING, next_scheduled=TEN.end)
    assert plan.way(TEN, runs) == Rerun(TEN, Way.START, "window__2026-11-20T10")


def test_without_a_schedule_an_hour_gets_a_run_for_its_window() -> None:
    assert plan.way(TEN, NOTHING).way is Way.START


def test_hours_with_missing_tweets_are_transformed_again_and_counted() -> None:
    other = replace(COMPLETE, topic="russia")
    steps, changed = plan.reruns([UNLABELED, other], {TEN: NOTHING}, max_reruns=3, run_id="now")
    assert [step.way for step in steps] == [Way.START]
    assert changed == [replace(UNLABELED, reruns=1, rerun_by="now")]


def test_a_run_of_coverage_that_decides_again_asks_for_the_same_and_counts_it_once() -> None:
    last = replace(UNLABELED, reruns=2)
    steps, changed = plan.reruns([last], {TEN: NOTHING}, max_reruns=3, run_id="now")
    assert plan.reruns(changed, {TEN: NOTHING}, max_reruns=3, run_id="now") == (steps, changed)
    (later,), _ = plan.reruns(changed, {TEN: NOTHING}, max_reruns=3, run_id="later")
    assert later.way is Way.ALARM


def test_an_open_hour_is_not_transformed_again() -> None:
    row = replace(UNLABELED, judged_until=TEN.start + timedelta(minutes=20))
    assert plan.reruns([row], {TEN: NOTHING}, max_reruns=3, run_id="now") == ([], [])


def test_after_so_many_reruns_on_the_same_evidence_there_is_an_alarm_instead() -> None:
    steps, changed = plan.reruns([replace(UNLABELED, reruns=3)], {TEN: NOTHING}, max_reruns=3, run_id="now")
    assert [step.way for step in steps] == [Way.ALARM]
    assert changed[0].alarm == "transform was rerun 3 times, and the same tweets are still missing"
    assert changed[0].reruns == 3


@pytest.mark.parametrize(
    "runs",
    [replace(NOTHING, scheduled=True, active=True), replace(NOTHING, next_scheduled=TEN.start)],
)
def test_what_is_left_alone_is_not_counted_as_a_rerun(runs: Runs) -> None:
    _, changed = plan.reruns([replace(UNLABELED, reruns=3)], {TEN: runs}, max_reruns=3, run_id="now")
    assert changed == []


def test_an_hour_whose_objects_have_changed_since_it_was_measured_is_left_for_the_next_time() -> None:
    steps, changed = plan.reruns([UNLABELED], {TEN: NOTHING}, max_reruns=3, run_id="now", changed_since={TEN})
    assert [step.way for step in steps] == [Way.CHANGED]
    assert [step.run_id for step in steps] == [None]
    assert changed == []


def test_reruns_end() -> None:
    row, started = UNLABELED, 0
    for run in range(10):
        steps, changed = plan.reruns([row], {TEN: NOTHING}, max_reruns=3, run_id=f"run {run}")
        started += sum(1 for step in steps if step.run_id)
        row = changed[0]
    assert started == 3


def test_every_unfilled_gap_is_recovered_oldest_first() -> None:
    rows = [outage(TEN.next), outage(TEN), replace(COMPLETE, gaps=(gap(TEN, GapState.FILLED),))]
    assert [found.stretch.start for found in recoveries(rows)] == [TEN.start, TEN.end]
    assert all(found.approval is None and found.sample == 50 for found in recoveries(rows))


def test_what_is_older_than_the_unapproved_hours_needs_a_person() -> None:
    early = Window(TEN.start - 2 * HOUR)
    found = recoveries([outage(early), outage(TEN)])
    assert [one.approval is None for one in found] == [False, True]
    assert "older than OPINION_UNAPPROVED_HOURS" in str(found[0])


def test_what_a_person_has_approved_is_not_asked_again() -> None:
    early = Window(TEN.start - 2 * HOUR)
    assert recoveries([outage(early, approved=True)])[0].approved


def test_what_no_longer_fits_into_the_budget_needs_a_person() -> None:
    found = recoveries([outage(TEN), outage(TEN.next)], left=150)
    assert [one.approval for one in found] == [None, "50 posts ($0.25) are left of the month's budget"]


def test_what_waits_for_approval_takes_nothing_from_the_budget() -> None:
    early = Window(TEN.start - 2 * HOUR)
    found = recoveries([outage(early), outage(TEN)], left=100)
    assert [one.approval is None for one in found] == [False, True]


@given(
    st.builds(
        Recovery,
        topic=st.sampled_from(["ukraine", "russia"]),
        window=st.just(TEN),
        stretch=st.integers(1, 3_600_000).map(
            lambda length: Stretch(TEN.start, TEN.start + timedelta(milliseconds=length))
        ),
        sample=st.none() | st.integers(1, 100),
        posts=st.integers(0, 10**6),
        approval=st.none() | st.text(),
        approved=st.booleans(),
    )
)
def test_a_recovery_goes_through_json_unchanged(recovery: Recovery) -> None:
    assert Recovery.from_json(recovery.to_json()) == recovery


def test_an_empty_measure_gives_an_empty_plan() -> None:
    assert recoveries([]) == []
    assert plan.reruns([], {}, 3, "now") == ([], [])
    assert plan.describe([], [], [], dry_run=True) == (
        "No hour of the collection's period lies in the range: nothing to do."
    )


def test_hours_without_a_fault_give_an_empty_plan() -> None:
    assert recoveries([COMPLETE]) == []
    assert plan.reruns([COMPLETE], {}, 3, "now") == ([], [])


def test_the_plan_can_be_read() -> None:
    rows = [UNLABELED, outage(TEN.next)]
    steps = [plan.way(TEN, replace(NOTHING, scheduled=True)), Rerun(TEN.next, Way.SCHEDULE)]
    assert plan.describe(rows, recoveries(rows), steps, dry_run=True).splitlines() == [
        "Coverage from 2026-11-20T10:00 to 2026-11-20T12:00 UTC",
        "  2026-11-20T10 ukraine: unlabeled: every tweet labeled or quarantined",
        "  2026-11-20T11 ukraine: outage: every tweet labeled or quarantined",
        "To recover by search:",
        "  ukraine 2026-11-20 11:00:00-11:05:00, about 100 posts ($0.50)",
        "To transform again:",
        "  2026-11-20T10: clear its scheduled run (scheduled__2026-11-20T11:00:00+00:00)",
        "  2026-11-20T11: the schedule will run it",
        "Alarms:",
        "  nothing",
        "Recoveries in all: about 100 posts ($0.50)",
        "This was a dry run: nothing was changed.",
    ]


SETTINGS = Settings(unapproved_hours=2)
LONG_AGO = NOW - timedelta(days=90)


def labels(start: str | None, end: str | None, collected_from: datetime = LONG_AGO) -> list[str]:
    return [window.label for window in windows(start, end, NOW, collected_from)]


def test_without_a_range_the_last_eight_days_are_planned() -> None:
    found = labels(None, None)
    assert (found[0], found[-1], len(found)) == ("2026-11-12T12", "2026-11-20T12", 8 * 24 + 1)


def test_a_range_ends_before_its_end() -> None:
    assert labels("2026-11-20T05", "2026-11-20T07") == ["2026-11-20T05", "2026-11-20T06"]


def test_hours_before_the_collection_are_left_out_but_not_the_one_in_which_it_starts() -> None:
    assert labels(None, None, NOW - timedelta(minutes=40)) == ["2026-11-20T11", "2026-11-20T12"]


@pytest.mark.parametrize(
    ("start", "end", "error", "says"),
    [
        ("2026-11-20T07", "2026-11-20T07", RangeError, "holds no hour"),
        ("2026-11-20T07", "2026-11-20T14", RangeError, "in the future"),
        ("2026-10-01T00", None, RangeError, "at most 744 hours"),
        ("yesterday", None, WindowError, "is not an hour"),
    ],
)
def test_a_range_that_cannot_be_looked_at_is_rejected(
    start: str, end: str | None, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        labels(start, end)


def test_what_is_proposed_is_the_plan_in_plain_values_with_its_money() -> None:
    stretch = Stretch(TEN.start, TEN.start + timedelta(minutes=5))
    planned = [
        Recovery("ukraine", TEN, stretch, None, 1200),
        Recovery("russia", TEN, stretch, None, 800, approval="it is older than OPINION_UNAPPROVED_HOURS"),
        Recovery(
            "poland",
            TEN,
            stretch,
            None,
            400,
            approval="it is older than OPINION_UNAPPROVED_HOURS",
            approved=True,
        ),
    ]
    found = plan.propose([TEN.next, TEN], planned, [Rerun(TEN, Way.START, "window__x")])
    assert json.loads(json.dumps(found)) == found
    assert found["hours"] == [TEN.label, TEN.next.label]
    assert [one["approval"] for one in found["recoveries"]] == [
        None,
        "it is older than OPINION_UNAPPROVED_HOURS",
        None,
    ]
    assert found["reruns"] == [{"hour": TEN.label, "way": Way.START.value, "run_id": "window__x"}]
    assert found["posts"] == 2400
    assert found["dollars"] == cost(2400) > 0
    assert found["dollars"] == pytest.approx(sum(one["dollars"] for one in found["recoveries"]))


def test_a_plan_asks_about_the_hours_that_need_transform_also_after_their_recovery() -> None:
    rows = [UNLABELED, outage(TEN.next), replace(COMPLETE, window=TEN.previous)]
    planned = recoveries(rows)
    asked: list[Window] = []

    def runs(windows: Sequence[Window]) -> dict[Window, Runs]:
        asked.extend(windows)
        return dict.fromkeys(windows, NOTHING)

    made = plan.compose(
        [row.window for row in rows], rows, planned, runs, dry_run=False, redelivered="2 lines"
    )
    assert asked == [TEN, TEN.next]
    assert made.text.startswith("2 lines\nCoverage from ")
    assert [step["hour"] for step in made.proposal["reruns"]] == [TEN.label, TEN.next.label]
    assert made.recoveries == planned


def test_a_dry_run_proposes_and_starts_nothing() -> None:
    rows = [outage(TEN)]
    planned = recoveries(rows)
    made = plan.compose([TEN], rows, planned, lambda hours: dict.fromkeys(hours, NOTHING), dry_run=True)
    assert len(made.proposal["recoveries"]) == 1
    assert made.recoveries == []


def test_a_gap_can_be_filled_also_beside_one_that_cannot() -> None:
    lost, found = gap(TEN, GapState.UNRECOVERABLE), gap(TEN.next)
    assert plan.unfilled([replace(COMPLETE, gaps=(lost, found))]) == [found.stretch]

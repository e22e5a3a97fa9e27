from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from types_boto3_s3 import S3Client

from include.coverage import ledger
from include.coverage.evidence import HourInputs
from include.coverage.judge import Evidence, Gap, GapState, Measures, deadline, judge
from include.coverage.ledger import CoverageRow
from include.coverage.plan import Runs, reruns
from include.coverage.stretch import Stretch
from include.lake import sql
from include.lake.layout import coverage_key
from include.lake.verdict import Verdict
from include.window import Window

BUCKET = "lake"
HOUR = Window.parse("2026-11-20T23")
NOW = datetime(2026, 11, 21, 0, 30, tzinfo=UTC)
SILENCE = Stretch(HOUR.start, HOUR.start + timedelta(minutes=3))
INPUTS = HourInputs("all", "raw", NOW, NOW, ())

ROW = CoverageRow(
    topic="ukraine",
    window=HOUR,
    measures=Measures(raw_ids=3, labeled_ids=1, missing_ids=2, first_ts=HOUR.start, longest_silence_s=2.5),
    alive_s=3420.0,
    judged_until=HOUR.end,
    verdict=Verdict.UNLABELED,
    evidence="2 tweets neither labeled nor quarantined",
    evidence_digest="digest",
    inputs_digest="all",
    measured_at=NOW,
    gaps=(Gap(SILENCE, GapState.FILLED, deadline(SILENCE), approved=True, reason=None),),
    reruns=2,
    rerun_by="scheduled__2026-11-21T00:15",
    alarm="look",
)


def test_a_row_is_read_back_as_it_was_written(s3: S3Client) -> None:
    ledger.write(s3, BUCKET, [ROW])
    assert ledger.read_day(s3, BUCKET, "2026-11-20") == {ROW.key: ROW}


def test_a_day_without_a_ledger_has_no_rows(s3: S3Client) -> None:
    assert ledger.read_day(s3, BUCKET, "2026-11-20") == {}


def test_rows_lie_in_the_ledgers_of_their_days(s3: S3Client) -> None:
    later = replace(ROW, window=HOUR.next)
    ledger.write(s3, BUCKET, [ROW, later])
    assert ledger.read_day(s3, BUCKET, "2026-11-21") == {later.key: later}
    assert ledger.read_days(s3, BUCKET, [HOUR, HOUR.next]) == {ROW.key: ROW, later.key: later}


def test_writing_twice_changes_no_byte(s3: S3Client) -> None:
    ledger.write(s3, BUCKET, [ROW])
    first = s3.head_object(Bucket=BUCKET, Key=coverage_key("2026-11-20"))["ETag"]
    ledger.write(s3, BUCKET, [ROW])
    assert s3.head_object(Bucket=BUCKET, Key=coverage_key("2026-11-20"))["ETag"] == first


def test_writers_beside_each_other_lose_no_row(s3: S3Client) -> None:
    rows = [replace(ROW, topic=f"topic{number}") for number in range(6)]
    others = rows[1:]

    def overtake(**_: object) -> None:
        if others:
            ledger.write(s3, BUCKET, [others.pop()])

    # Every writer is overtaken by the next one between its read and its write.
    s3.meta.events.register("before-call.s3.PutObject", overtake)
    ledger.write(s3, BUCKET, rows[:1])
    assert ledger.read_day(s3, BUCKET, "2026-11-20") == {row.key: row for row in rows}


def test_a_gap_is_changed_alone(s3: S3Client) -> None:
    other = Gap(Stretch(SILENCE.end, HOUR.end), GapState.OPEN, deadline(SILENCE))
    ledger.write(s3, BUCKET, [replace(ROW, gaps=(*ROW.gaps, other))])
    ledger.change(
        s3, BUCKET, ROW.key, lambda row: ledger.with_gap(row, other.stretch, state=GapState.FILLING)
    )
    row = ledger.read_day(s3, BUCKET, "2026-11-20")[ROW.key]
    assert row.gaps == (*ROW.gaps, replace(other, state=GapState.FILLING))
    assert row.gap_state is GapState.FILLING


def test_a_row_that_was_never_measured_cannot_be_changed(s3: S3Client) -> None:
    with pytest.raises(ledger.CoverageLedgerError, match="measure it first"):
        ledger.change(s3, BUCKET, ROW.key, lambda row: row)


def test_the_table_declares_just_the_columns_that_are_written() -> None:
    statement = sql.render("tables/coverage", location="s3://lake/coverage/", days="x", definition="x")
    declared = [line.split("`")[1] for line in statement.splitlines() if line.startswith("  `")]
    assert declared == [*ledger.LEDGER_SCHEMA.names, "dt"]


rows = st.builds(
    replace,
    st.just(ROW),
    topic=st.sampled_from(["ukraine", "russia"]),
    window=st.sampled_from([HOUR, HOUR.next]),
    measured_at=st.integers(0, 3).map(lambda minutes: NOW + timedelta(minutes=minutes)),
)
many = st.lists(rows, max_size=6)


@given(many, many)
def test_merging_again_changes_nothing(former: list[CoverageRow], new: list[CoverageRow]) -> None:
    once = ledger.merge(ledger.merge({}, former), new)
    assert ledger.merge(once, new) == once


@given(many, many)
def test_the_later_measure_stands_in_whichever_order_they_come(
    first: list[CoverageRow], second: list[CoverageRow]
) -> None:
    one = ledger.merge(ledger.merge({}, first), second)
    other = ledger.merge(ledger.merge({}, second), first)
    assert {key: row.measured_at for key, row in one.items()} == {
        key: row.measured_at for key, row in other.items()
    }


EVIDENCE = Evidence(
    topic="ukraine",
    window=HOUR,
    expected=Stretch(HOUR.start, HOUR.end),
    measures=ROW.measures,
    alive_s=3600.0,
    heartbeats=240,
    silences=(),
    recovered=(),
    former_gaps=(),
    raw_digest="raw",
    raw_newest=None,
    labeled_at=None,
    active=False,
    searchable_from=HOUR.start - timedelta(days=6),
)


def test_the_count_of_reruns_goes_on_only_on_unchanged_evidence() -> None:
    first = ledger.row(EVIDENCE, judge(EVIDENCE), INPUTS, None, NOW)
    counted = replace(first, reruns=2)
    assert ledger.row(EVIDENCE, judge(EVIDENCE), INPUTS, counted, NOW).reruns == 2
    changed = replace(EVIDENCE, raw_digest="other")
    assert ledger.row(changed, judge(changed), INPUTS, counted, NOW).reruns == 0


def test_the_alarm_of_an_hour_that_no_rerun_mends_stands_until_its_evidence_changes() -> None:
    counted = replace(ledger.row(EVIDENCE, judge(EVIDENCE), INPUTS, None, NOW), reruns=3)
    runs = {HOUR: Runs(scheduled=False, active=False, next_scheduled=None)}
    _, (alarmed,) = reruns([counted], runs, max_reruns=3, run_id="now")
    assert alarmed.alarm
    measured = ledger.row(EVIDENCE, judge(EVIDENCE), INPUTS, alarmed, NOW)
    assert measured.alarm == alarmed.alarm
    assert reruns([measured], runs, max_reruns=3, run_id="now")[1] == [measured]
    changed = replace(EVIDENCE, raw_digest="other")
    assert ledger.row(changed, judge(changed), INPUTS, alarmed, NOW).alarm is None


def test_the_alarm_of_reruns_is_raised_once_also_where_tweets_match_two_topics() -> None:
    both = replace(EVIDENCE, measures=replace(EVIDENCE.measures, overlap=2))
    counted = replace(ledger.row(both, judge(both), INPUTS, None, NOW), reruns=3)
    runs = {HOUR: Runs(scheduled=False, active=False, next_scheduled=None)}
    _, (alarmed,) = reruns([counted], runs, max_reruns=3, run_id="now")
    assert alarmed.alarm
    assert "the rules are not exclusive; transform was rerun 3 times" in alarmed.alarm
    measured = ledger.row(both, judge(both), INPUTS, alarmed, NOW)
    assert reruns([measured], runs, max_reruns=3, run_id="later")[1] == [alarmed], "nothing is new"


def test_an_open_gap_keeps_why_it_was_not_filled() -> None:
    evidence = replace(EVIDENCE, silences=(SILENCE,))
    rejected = Gap(SILENCE, GapState.OPEN, deadline(SILENCE), reason="above the month's budget")
    former = replace(ROW, gaps=(rejected,))
    assert ledger.row(evidence, judge(evidence), INPUTS, former, NOW).gaps == (rejected,)


def test_a_gap_that_was_being_filled_when_its_task_died_is_open_again() -> None:
    former = replace(ROW, gaps=(Gap(SILENCE, GapState.FILLING, deadline(SILENCE)),))
    evidence = replace(EVIDENCE, silences=(SILENCE,), former_gaps=former.gaps)
    row = ledger.row(evidence, judge(evidence), INPUTS, former, NOW)
    assert [gap.state for gap in row.gaps] == [GapState.OPEN]


def test_tweets_of_both_topics_raise_an_alarm() -> None:
    evidence = replace(EVIDENCE, measures=Measures(raw_ids=1, quarantined=1, overlap=1))
    row = ledger.row(evidence, judge(evidence), INPUTS, None, NOW)
    assert row.alarm == "1 tweets match two topics: the rules are not exclusive"


def test_a_row_is_settled_until_an_object_of_its_hour_changes() -> None:
    complete = replace(ROW, verdict=Verdict.COMPLETE)
    assert complete.settled(INPUTS)
    assert not complete.settled(replace(INPUTS, digest="other"))
    assert not replace(complete, judged_until=HOUR.start).settled(INPUTS)
    assert not ROW.settled(INPUTS)

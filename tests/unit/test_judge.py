from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.coverage.judge import Evidence, Gap, GapState, Measures, deadline, gaps, judge
from include.coverage.stretch import Stretch, overlap_seconds
from include.lake.verdict import Verdict
from include.window import Window

HOUR = Window.parse("2026-11-20T10")
LONG_AGO = HOUR.start - timedelta(days=6)


def at(minute: float) -> datetime:
    return HOUR.start + timedelta(minutes=minute)


def stretch(start: float, end: float) -> Stretch:
    return Stretch(at(start), at(end))


ALIVE = Evidence(
    topic="ukraine",
    window=HOUR,
    expected=stretch(0, 60),
    measures=Measures(raw_ids=10, labeled_ids=9, quarantined=1),
    alive_s=3600.0,
    heartbeats=240,
    silences=(),
    recovered=(),
    former_gaps=(),
    raw_digest="abc",
    raw_newest=at(61),
    labeled_at=at(65),
    active=False,
    searchable_from=LONG_AGO,
)
MISSING = Measures(raw_ids=10, labeled_ids=7, quarantined=1, missing_ids=2)


@pytest.mark.parametrize(
    ("evidence", "verdict", "says"),
    [
        (ALIVE, Verdict.COMPLETE, "raw 10 = labeled 9 + quarantined 1 + missing 0; alive 3600 of 3600 s"),
        (replace(ALIVE, measures=Measures(), labeled_at=None), Verdict.QUIET, "no tweets"),
        (
            replace(ALIVE, measures=Measures(raw_ids=9, labeled_ids=9, removed=1)),
            Verdict.COMPLETE,
            "missing 0; alive 3600 of 3600 s; 1 tweets removed on request",
        ),
        (replace(ALIVE, measures=Measures(removed=10)), Verdict.COMPLETE, "10 tweets removed on request"),
        (replace(ALIVE, measures=MISSING, labeled_at=None), Verdict.UNLABELED, "there is no labeled object"),
        (replace(ALIVE, measures=MISSING), Verdict.UNLABELED, "labeled is not older than raw"),
        (
            replace(ALIVE, measures=MISSING, raw_newest=at(70)),
            Verdict.LATE,
            "raw of 2026-11-20T11:10:00Z is newer than labeled of 2026-11-20T11:05:00Z",
        ),
        (
            replace(ALIVE, silences=(stretch(5, 8),)),
            Verdict.OUTAGE,
            "nothing proves that tweets arrived of 10:05:00-10:08:00",
        ),
        (
            replace(ALIVE, heartbeats=0, alive_s=0.0, silences=(stretch(0, 60),), measures=Measures()),
            Verdict.NEVER_COLLECTED,
            "no heartbeat in the hour, nothing collected 10:00:00-11:00:00",
        ),
        (
            replace(ALIVE, measures=replace(ALIVE.measures, overlap=2)),
            Verdict.OVERLAP,
            "2 tweets match two topics",
        ),
        (replace(ALIVE, edits_unread=True), Verdict.LATE, "edited later, which labeled does not know"),
        (replace(ALIVE, edits_unread=True, active=True), Verdict.IN_PROGRESS, "edited later"),
        (
            replace(ALIVE, edits_unread=True, expected=stretch(0, 20)),
            Verdict.IN_PROGRESS,
            "edited later, which labeled does not know, the hour is open",
        ),
        (
            replace(ALIVE, measures=Measures(overlap=3), labeled_at=None),
            Verdict.OVERLAP,
            "3 tweets match two topics",
        ),
        (
            replace(ALIVE, measures=MISSING, silences=(stretch(5, 8),), unreadable=("raw/a.gz",)),
            Verdict.UNREADABLE,
            "raw/a.gz cannot be read whole",
        ),
        (replace(ALIVE, expected=stretch(0, 20)), Verdict.IN_PROGRESS, "judged up to 10:20:00"),
        (replace(ALIVE, expected=None), Verdict.IN_PROGRESS, "not to be judged yet"),
        (
            replace(ALIVE, measures=MISSING, active=True),
            Verdict.IN_PROGRESS,
            "a run of transform is under way",
        ),
        (replace(ALIVE, measures=MISSING, expected=stretch(0, 20)), Verdict.IN_PROGRESS, "the hour is open"),
        (
            replace(ALIVE, silences=(stretch(5, 8),), searchable_from=at(30)),
            Verdict.UNRECOVERABLE,
            "10:05:00-10:08:00 lost: search reaches back 7 days only",
        ),
    ],
)
def test_the_verdict_follows_the_table_and_names_its_evidence(
    evidence: Evidence, verdict: Verdict, says: str
) -> None:
    judged = judge(evidence)
    assert judged.verdict is verdict
    assert says in judged.evidence


def test_the_reason_of_every_alarming_verdict_that_fits_is_an_alarm_whichever_comes_first() -> None:
    overlap = replace(ALIVE, measures=replace(MISSING, overlap=2))
    assert judge(overlap).verdict is Verdict.UNLABELED
    assert judge(overlap).alarm == "2 tweets match two topics: the rules are not exclusive"
    both = judge(replace(overlap, unreadable=("raw/a.gz",)))
    assert both.verdict is Verdict.UNREADABLE
    assert both.alarm == (
        "raw/a.gz cannot be read whole, the rest was; 2 tweets match two topics: the rules are not exclusive"
    )
    assert judge(replace(ALIVE, measures=MISSING)).alarm is None


def test_an_outage_of_the_open_hour_is_an_outage_already() -> None:
    judged = judge(replace(ALIVE, expected=stretch(0, 20), silences=(stretch(5, 8),)))
    assert judged.verdict is Verdict.OUTAGE


def test_a_recovered_outage_leaves_a_complete_hour_with_a_filled_gap() -> None:
    judged = judge(replace(ALIVE, silences=(stretch(5, 8),), recovered=(stretch(5, 8),)))
    assert judged.verdict is Verdict.COMPLETE
    assert [(gap.stretch, gap.state) for gap in judged.gaps] == [(stretch(5, 8), GapState.FILLED)]
    assert judged.gaps[0].deadline == at(5) + timedelta(days=7)


def test_only_what_is_left_of_an_outage_is_open() -> None:
    judged = judge(replace(ALIVE, silences=(stretch(5, 20),), recovered=(stretch(5, 8),)))
    assert [(gap.stretch, gap.state) for gap in judged.gaps] == [
        (stretch(5, 8), GapState.FILLED),
        (stretch(8, 20), GapState.OPEN),
    ]


def test_a_stretch_that_was_given_up_is_never_tried_again() -> None:
    lost = Gap(stretch(5, 8), GapState.UNRECOVERABLE, deadline(stretch(5, 8)), reason="X rejected it")
    judged = judge(replace(ALIVE, silences=(stretch(5, 8),), former_gaps=(lost,)))
    assert judged.verdict is Verdict.UNRECOVERABLE
    assert judged.gaps == (lost,)
    assert "X rejected it" in judged.evidence


def test_tweets_that_are_there_are_labeled_although_others_are_lost_for_good() -> None:
    judged = judge(replace(ALIVE, silences=(stretch(5, 8),), searchable_from=at(30), measures=MISSING))
    assert judged.verdict is Verdict.UNLABELED


def test_an_outage_is_cut_where_search_stops_reaching() -> None:
    judged = judge(replace(ALIVE, silences=(stretch(5, 20),), searchable_from=at(10)))
    assert judged.verdict is Verdict.OUTAGE
    assert [(gap.stretch, gap.state) for gap in judged.gaps] == [
        (stretch(5, 10), GapState.UNRECOVERABLE),
        (stretch(10, 20), GapState.OPEN),
    ]


def test_an_approval_holds_for_what_is_left_of_the_gap() -> None:
    former = Gap(stretch(5, 8), GapState.OPEN, deadline(stretch(5, 8)), approved=True)
    judged = judge(replace(ALIVE, silences=(stretch(5, 12),), former_gaps=(former,)))
    assert [gap.approved for gap in judged.gaps] == [True]


def test_the_digest_changes_with_what_could_make_a_rerun_worth_while_and_with_nothing_else() -> None:
    evidence = replace(ALIVE, measures=MISSING)
    same = replace(evidence, labeled_at=at(90), active=True, heartbeats=7)
    assert judge(same).digest == judge(evidence).digest
    for changed in (
        replace(evidence, raw_digest="abd"),
        replace(evidence, measures=replace(MISSING, labeled_ids=8, missing_ids=1)),
        replace(evidence, silences=(stretch(5, 8),)),
    ):
        assert judge(changed).digest != judge(evidence).digest


minutes = st.integers(0, 60)
stretches = st.lists(
    st.tuples(minutes, minutes).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: stretch(*pair)),
    max_size=4,
)


def apart(found: list[Stretch]) -> tuple[Stretch, ...]:
    """Stretches as SQL gives them: none overlaps another."""
    kept: list[Stretch] = []
    for one in sorted(found):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return tuple(kept)


evidences = st.builds(
    replace,
    st.just(ALIVE),
    expected=st.none() | stretches.filter(bool).map(lambda found: found[0]),
    measures=st.builds(
        Measures,
        raw_ids=st.integers(0, 3),
        missing_ids=st.integers(0, 2),
        overlap=st.integers(0, 1),
    ),
    alive_s=st.sampled_from([0.0, 1800.0]),
    heartbeats=st.sampled_from([0, 120]),
    silences=stretches.map(apart),
    recovered=stretches.map(apart),
    raw_newest=st.none() | st.just(at(70)),
    labeled_at=st.none() | st.just(at(65)),
    active=st.booleans(),
    unreadable=st.sampled_from([(), ("raw/a.gz",)]),
    searchable_from=st.sampled_from([LONG_AGO, at(15), at(120)]),
)


@given(evidences)
def test_any_evidence_has_one_verdict_that_names_its_counts(evidence: Evidence) -> None:
    judged = judge(evidence)
    assert isinstance(judged.verdict, Verdict)
    assert judged.alarm or not judged.verdict.alarming
    assert f"raw {evidence.measures.raw_ids} =" in judged.evidence
    assert judge(evidence) == judged


@given(evidences)
def test_gaps_cover_every_silence_and_open_ones_nothing_else(evidence: Evidence) -> None:
    found = gaps(evidence)
    for silence in evidence.silences:
        assert silence.without([gap.stretch for gap in found]) == []
    for gap in found:
        if gap.state is GapState.OPEN:
            assert gap.stretch.without(evidence.silences) == []
            assert gap.stretch.without(evidence.recovered) == [gap.stretch]
            assert gap.stretch.start >= evidence.searchable_from


@given(evidences)
def test_no_hour_is_complete_or_quiet_while_something_is_missing(evidence: Evidence) -> None:
    judged = judge(evidence)
    if judged.verdict in (Verdict.COMPLETE, Verdict.QUIET):
        assert not evidence.measures.missing_ids
        assert all(gap.state is GapState.FILLED for gap in judged.gaps)
        assert not evidence.open
        assert not evidence.active


@given(evidences)
def test_what_was_judged_is_judged_the_same_with_its_own_gaps_as_the_former_ones(evidence: Evidence) -> None:
    first = judge(evidence)
    again = judge(replace(evidence, former_gaps=first.gaps))
    assert [(gap.stretch, gap.state) for gap in again.gaps] == [
        (gap.stretch, gap.state) for gap in first.gaps
    ]
    assert again.verdict is first.verdict


@given(stretches, stretches)
def test_a_stretch_without_others_and_its_parts_inside_them_add_up(
    wholes: list[Stretch], others: list[Stretch]
) -> None:
    for whole in wholes:
        left = sum(part.seconds for part in whole.without(others))
        inside = overlap_seconds(apart_merged(others), whole.start, whole.end)
        assert left + inside == pytest.approx(whole.seconds)


def apart_merged(found: list[Stretch]) -> list[Stretch]:
    merged: list[Stretch] = []
    for one in sorted(found):
        if merged and one.start <= merged[-1].end:
            merged[-1] = Stretch(merged[-1].start, max(merged[-1].end, one.end))
        else:
            merged.append(one)
    return merged


def test_an_empty_stretch_is_rejected() -> None:
    with pytest.raises(ValueError, match="ends after its start"):
        Stretch(datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC))

"""Whom people are asked about, and that nobody is asked twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from include.coverage import approvals
from include.coverage.plan import Recovery
from include.coverage.stretch import Stretch
from include.window import Window

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET = "lake"
WINDOW = Window.parse("2026-11-20T05")
NOW = datetime(2026, 11, 21, tzinfo=UTC)
STRETCH = Stretch(WINDOW.start, WINDOW.start + timedelta(minutes=20))
ONE = Recovery("ukraine", WINDOW, STRETCH, 100, 10, "it is older than OPINION_UNAPPROVED_HOURS")
OTHER = replace(ONE, topic="russia")


def ask(
    s3: S3Client,
    run: str,
    *wanted: Recovery,
    kind: str = "scheduled",
    now: datetime = NOW,
    is_active: Callable[[str], bool] = lambda run: True,
) -> list[Recovery]:
    return approvals.ask(s3, BUCKET, kind, run, wanted, now, is_active)


def test_a_run_asks_and_asks_the_same_again_when_it_is_tried_again(s3: S3Client) -> None:
    assert ask(s3, "a", ONE, OTHER) == [ONE, OTHER]
    assert ask(s3, "a", ONE, OTHER) == [ONE, OTHER]
    assert approvals.asked(s3, BUCKET, "a", [ONE, OTHER, replace(ONE, topic="none")]) == [ONE, OTHER]


def test_while_one_scheduled_run_waits_another_asks_nothing(s3: S3Client) -> None:
    ask(s3, "a", ONE)
    assert ask(s3, "b", OTHER) == []
    assert approvals.asked(s3, BUCKET, "b", [ONE, OTHER]) == []


def test_a_manual_run_asks_too_but_not_about_any_part_of_the_same_stretch(s3: S3Client) -> None:
    ask(s3, "a", ONE)
    longer = replace(ONE, stretch=Stretch(STRETCH.start, STRETCH.end + timedelta(minutes=5)))
    assert ask(s3, "b", longer, OTHER, kind="manual") == [OTHER]


def test_once_it_is_answered_the_next_run_may_ask(s3: S3Client) -> None:
    ask(s3, "a", ONE)
    approvals.answered(s3, BUCKET, "a", NOW, rejected=False)
    assert approvals.asked(s3, BUCKET, "a", [ONE]) == []
    assert ask(s3, "b", ONE) == [ONE]


def test_the_question_of_a_run_that_has_ended_holds_up_nobody(s3: S3Client) -> None:
    ask(s3, "killed", ONE)
    assert ask(s3, "b", ONE, is_active=lambda run: run != "killed") == [ONE]


def test_after_a_rejection_scheduled_runs_ask_again_only_a_day_later(s3: S3Client) -> None:
    ask(s3, "a", ONE)
    approvals.answered(s3, BUCKET, "a", NOW, rejected=True)
    assert ask(s3, "b", ONE, OTHER) == [OTHER]
    approvals.answered(s3, BUCKET, "b", NOW, rejected=False)
    assert ask(s3, "by hand", ONE, kind="manual") == [ONE]
    approvals.answered(s3, BUCKET, "by hand", NOW, rejected=False)
    assert ask(s3, "c", ONE, now=NOW + approvals.REJECTED_FOR) == [ONE]

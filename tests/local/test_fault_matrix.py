"""The fault matrix: it knows every fault, and its replay asks X as often as the streamer would."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from local.aws.firehose_faults import KINDS as FIREHOSE_KINDS
from local.faults import Faults
from local.proof import recovery_matrix
from local.proof.bench import FIREHOSE, X
from local.proof.fault_matrix import CASES, Attempt, Row, attempts_in, connects_within
from local.x_api.faults import KINDS as X_KINDS
from local.x_api.faults import STATUSES
from streamer.reconnect import CONNECTS, CONNECTS_SECONDS, Cause

KINDS = {X: X_KINDS, FIREHOSE: FIREHOSE_KINDS}
RIGHT = Row(
    side=X,
    fault="close",
    lasted_seconds=8.0,
    struck=9,
    state="disconnected",
    exit_status=0,
    right_exit_status=0,
    reasons={"closed": 9},
    connects=9,
    connects_replayed=9,
    connects_in_quarter=40,
    recovery_seconds=2.1,
    sent=10,
    in_lake=8,
    set_aside=1,
    declared_missing=2,
    undeclared_missing=0,
    duplicated=0,
    delivered_twice=3,
)


class TestCases:
    @pytest.mark.parametrize("side", [X, FIREHOSE])
    def test_every_fault_that_a_stand_in_knows_has_its_row(self, side: str) -> None:
        rows = {case.faults[0]["kind"] for case in CASES if case.side == side}
        if side == X:
            rows |= {case.fault["kind"] for case in recovery_matrix.CASES}
        assert rows == set(KINDS[side])

    @pytest.mark.parametrize("case", recovery_matrix.CASES, ids=lambda case: case.name)
    def test_the_stand_in_of_x_understands_a_fault_of_search(self, case: recovery_matrix.Case) -> None:
        assert Faults(X_KINDS).add([dict(case.fault)])

    def test_every_status_has_its_row_and_429_has_two(self) -> None:
        rejections = [case.faults[0] for case in CASES if case.faults[0]["kind"] == "http"]
        streamed = sorted(fault["status"] for fault in rejections if fault["on"] == "stream")
        assert streamed == sorted([*STATUSES, 429])

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_the_stand_in_understands_it(self, case: object) -> None:
        assert Faults(KINDS[case.side]).add(list(case.faults))  # pyrefly: ignore[missing-attribute]


class TestReplay:
    def test_a_fault_that_ends_no_attempt_costs_no_connect(self) -> None:
        assert connects_within(CONNECTS_SECONDS, []) == 0

    def test_a_fault_that_spares_the_next_connection_costs_just_that_one(self) -> None:
        closed = Attempt(Cause.NETWORK, "closed", 0.1)
        assert connects_within(CONNECTS_SECONDS, [closed], ours=1) == 1
        assert connects_within(CONNECTS_SECONDS, [closed, closed], ours=1) == CONNECTS

    def test_a_fault_that_ends_every_connection_at_once_meets_the_limit(self) -> None:
        assert connects_within(CONNECTS_SECONDS, [Attempt(Cause.NETWORK, "closed", 0.1)]) == CONNECTS

    def test_http_errors_double_the_wait(self) -> None:
        """At once, then after 5, 10, 20, 40, 80, 160 and 320 seconds: 635 in all, and 955 is too late."""
        attempts = [Attempt(Cause.NETWORK, "closed", 0.0), Attempt(Cause.HTTP, "http 503", 0.0)]
        assert connects_within(CONNECTS_SECONDS, attempts) == 8
        assert connects_within(10.0, attempts) == 2

    def test_the_seconds_that_attempts_last_count(self) -> None:
        """Each connection dies after 25 seconds of silence; the waits between them grow by a quarter."""
        assert connects_within(100.0, [Attempt(Cause.NETWORK, "silence", 25.0)]) == 3

    def test_a_reset_time_is_waited_for_anew_by_each_attempt(self) -> None:
        """Each connect takes 100 seconds and one more."""
        attempts = [
            Attempt(Cause.NETWORK, "closed", 0.0),
            Attempt(Cause.RATE_LIMITED, "http 429", 0.0, 100.0),
        ]
        assert connects_within(CONNECTS_SECONDS, attempts) == 9

    def test_a_rejected_token_is_the_end(self) -> None:
        attempts = [Attempt(Cause.NETWORK, "closed", 0.0), Attempt(Cause.REJECTED, "http 401", 0.0)]
        assert connects_within(CONNECTS_SECONDS, attempts) == 1


def test_attempts_are_read_from_the_streamers_log() -> None:
    def ended(second: int, cause: Cause, seconds: float | None, reset_at: float | None = None) -> str:
        fields = {"cause": cause.value, "connected_seconds": seconds, "reset_at": reset_at}
        at = f"1970-01-01T00:00:{second:02}.000Z"
        return json.dumps({"at": at, "message": "stream ended", "reason": "r", **fields})

    log = [
        ended(5, Cause.NETWORK, 1.0),
        '{"at": "1970-01-01T00:00:11.000Z", "message": "connected"}',
        "no JSON",
        ended(12, Cause.NETWORK, 7.0),
        ended(14, Cause.RATE_LIMITED, None, 44.0),
        ended(20, Cause.HTTP, None),
    ]
    assert attempts_in(log, begin=10.0, end=20.0) == [
        Attempt(Cause.NETWORK, "r", 2.0),
        Attempt(Cause.RATE_LIMITED, "r", 0.0, 30.0),
    ]


class TestVerdict:
    def test_losses_that_are_declared_are_right(self) -> None:
        assert RIGHT.wrong == []

    @pytest.mark.parametrize(
        "figures",
        [
            {"undeclared_missing": 1},
            {"duplicated": 1},
            {"connects_in_quarter": CONNECTS + 1},
            {"connects_replayed": 8},
            {"exit_status": 1},
            {"recovery_seconds": None},
            {"struck": 0},
            {"sent": 0},
        ],
        ids=str,
    )
    def test_each_figure_can_be_wrong(self, figures: dict[str, int | None]) -> None:
        assert len(replace(RIGHT, **figures).wrong) == 1  # pyrefly: ignore[bad-argument-type]

    def test_a_streamer_that_must_end_need_not_recover(self) -> None:
        assert replace(RIGHT, exit_status=3, right_exit_status=3, recovery_seconds=None).wrong == []

    @pytest.mark.parametrize(
        "figures",
        [
            {"struck": 0},
            {"state": "open"},
            {"bought": 9},
            {"sold": 11, "bought": 11},
            {"in_lake": 9},
            {"duplicated": 1},
        ],
        ids=str,
    )
    def test_each_figure_of_a_recovery_can_be_wrong(self, figures: dict[str, Any]) -> None:
        right = recovery_matrix.Row("search", 1, 1, "filled", 10, 10, 10, 10, 0)
        assert right.wrong == []
        assert len(replace(right, **figures).wrong) == 1

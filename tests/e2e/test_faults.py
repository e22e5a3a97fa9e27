"""A short form of the fault matrix: what is cut, too long or half rejected, and every post accounted for."""

from __future__ import annotations

from pathlib import Path

from local.proof import recovery_matrix
from local.proof.bench import bench
from local.proof.fault_matrix import CASES, matrix
from tests.ports import free_ports

NAMES = ("end-in-tweet", "sizes, 1 byte to 1 MiB", "partial")


def test_under_a_fault_the_streamer_recovers_and_owes_nothing_that_it_did_not_declare(tmp_path: Path) -> None:
    cases = [case for case in CASES if case.name in NAMES]
    rows = matrix(cases, tmp_path, free_ports(3), rate=120_000, lanes=1, tell=lambda _: None)
    assert {row.fault: row.wrong for row in rows} == {name: [] for name in NAMES}
    assert all(row.sent == row.in_lake + row.declared_missing for row in rows)


def test_under_a_fault_of_search_a_stretch_is_filled_and_every_post_bought_once(tmp_path: Path) -> None:
    with bench(tmp_path, free_ports(3), rate=recovery_matrix.RATE) as this:
        rows = list(recovery_matrix.rows(this, recovery_matrix.CASES))
    assert {row.fault: row.wrong for row in rows} == {case.name: [] for case in recovery_matrix.CASES}

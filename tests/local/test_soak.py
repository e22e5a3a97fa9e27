"""The soak: its mishaps are real faults, the same for a seed, and memory is judged by its course."""

from __future__ import annotations

import random

import pytest

from local.aws.firehose_faults import KINDS as FIREHOSE_KINDS
from local.faults import Faults
from local.proof.bench import FIREHOSE, BenchError, X
from local.proof.soak import faultless, growth, mishap
from local.x_api.faults import KINDS as X_KINDS

KINDS = {X: X_KINDS, FIREHOSE: FIREHOSE_KINDS}


def test_in_time_every_fault_comes_and_the_stand_ins_understand_it() -> None:
    dice, seen = random.Random(1), set[tuple[str, str]]()
    for _ in range(1000):
        side, faults = mishap(dice)
        assert Faults(KINDS[side]).add(faults)
        seen.add((side, faults[0]["kind"]))
        assert faults[0].get("status") not in (401, 403), "those end the streamer for good"
    assert seen == {(side, kind) for side, kinds in KINDS.items() for kind in kinds}


def test_a_seed_gives_the_same_mishaps_again() -> None:
    first, second = random.Random(7), random.Random(7)
    assert [mishap(first) for _ in range(50)] == [mishap(second) for _ in range(50)]


def test_memory_is_held_against_its_first_third_without_the_warm_up() -> None:
    memory = [(0.0, 10.0), (30.0, 20.0), *((float(at), 100.0) for at in range(60, 600, 30)), (600.0, 118.0)]
    assert growth(memory) == pytest.approx((100.0, 100 + 18 / 7))


def test_a_soak_of_nothing_but_warm_up_judges_nothing() -> None:
    with pytest.raises(BenchError):
        growth([(0.0, 10.0), (100.0, 10.0)])


@pytest.mark.parametrize(
    ("name", "value"), [("undeclared_missing", 1), ("duplicated", 1), ("sent", 0), ("memory_growth", 1.06)]
)
def test_a_loss_a_duplicate_or_growing_memory_is_a_fault(name: str, value: float) -> None:
    figures = {"undeclared_missing": 0, "duplicated": 0, "sent": 9, "memory_growth": 1.05}
    assert faultless(figures)
    assert not faultless({**figures, name: value})

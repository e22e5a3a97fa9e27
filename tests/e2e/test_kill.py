"""A short form of the kill test: the streamer dies three times, and every post is accounted for."""

from __future__ import annotations

import random
from pathlib import Path

from local.proof.bench import bench
from local.proof.kill_test import faultless, kill_often, settle
from tests.ports import free_ports


def test_killed_three_times_the_streamer_owes_nothing_that_it_did_not_declare(tmp_path: Path) -> None:
    with bench(tmp_path / "run", free_ports(3), rate=120_000) as this:
        figures = settle(this, kill_often(this, 3, 3.0, random.Random()))
    assert figures["kills"] == 3
    assert figures["in_lake"] > 0
    assert figures["sent"] == figures["in_lake"] + figures["declared_missing"]
    assert faultless(figures), figures

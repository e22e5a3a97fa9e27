"""The measurement of the dashboards' intervals, on tweets that are made up here, in the real engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import truth
from tests.local.support_athena import LocalAthena

pytestmark = pytest.mark.trino


def labeled(folder: Path, *languages: str, classes: tuple[int, ...] = (0, 1, 2)) -> Path:
    """A file a language: tweets whose words say what their label is, most of the time."""
    words = ("terrible awful hate", "table chair window", "wonderful great love")
    for language in languages:
        rows = [
            {"text": f"{words[label if number % 4 else number % 3]} {number}", "label": label}
            for number in range(60)
            for label in classes
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"tweets_{language}.parquet")
    return folder


def test_intervals_are_measured_by_the_products_own_draw_and_sql(athena: LocalAthena, tmp_path: Path) -> None:
    told: list[str] = []
    found = truth.measure(athena.aws.client, labeled(tmp_path, "en", "de"), 8, 200, told.append)
    assert {name: case.topics for name, case in found.items()} == {"model": 8, "useless": 2, "perfect": 2}
    assert {round(case.audited) for case in found.values()} == {200}
    # A model that is always right leaves the sampling error and what 200 tweets cannot rule out.
    assert found["perfect"].width_ratio < 0.5
    assert found["useless"].width_ratio == pytest.approx(1, abs=0.1)
    assert found["model"].holds >= 0.5
    assert found["model"].mean_error < 0.1
    assert "2026-11-10 aggregated" in told
    text = truth.section(found, {case.name: case.title for case in truth.cases(8, 200)})
    assert "**the n-gram model: rectified by these**" in text


def test_a_topics_truth_is_that_of_what_it_was_made_with() -> None:
    choose = np.random.default_rng(1)
    classes = np.tile(np.arange(3), 100)
    tweets = truth.Labeled(np.repeat(["en", "de"], 150), classes, np.eye(3)[classes])
    errors = []
    for _ in range(200):
        rows, days, true = truth.made_up(choose, tweets, 4_000)
        assert len(rows) == len(days) == 4_000
        found = classes[rows]
        errors.append(np.mean(found == 2) - np.mean(found == 0) - true)
    assert abs(np.mean(errors)) < 0.003
    assert np.std(errors) < 0.02


def test_what_cannot_make_up_a_topic_is_left_out_or_rejected(tmp_path: Path) -> None:
    labeled(tmp_path, "en", "tl")
    assert {row["lang"] for row in truth.read(tmp_path, ("en", "de"))} == {"en"}
    with pytest.raises(truth.TruthError, match="20 labeled tweets of each class in any of ru"):
        truth.read(labeled(tmp_path, "ru", classes=(0, 2)), ("ru",))
    (tmp_path / "broken_en.parquet").write_bytes(b"no parquet")
    with pytest.raises(truth.TruthError, match="cannot be read"):
        truth.read(tmp_path, ("en",))


def test_a_topic_that_no_audit_rectifies_is_no_measurement() -> None:
    case = truth.cases(1, 200)[0]
    shown = {topic: {"value": 0.0, "low": -1.0, "high": 1.0, "audit": 0} for topic in case.topics}
    with pytest.raises(truth.TruthError, match="rectifies nothing of model0000"):
        truth.figures(case, dict.fromkeys(case.topics, 0.0), shown, shown, shown)

"""The artifact that is packed and shipped: small, whole, and described by the figures that it carries."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ARTIFACT = Path(__file__).parents[2] / "include" / "labeling" / "ngram"
MIB = 2**20


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    with np.load(ARTIFACT / "weights.npz", allow_pickle=False) as weights:
        return json.loads(weights["metadata"].tobytes())


def test_the_artifact_stays_below_three_mebibytes() -> None:
    files = [path for path in ARTIFACT.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 3 * MIB


def test_serving_imports_only_numpy_the_standard_library_and_itself() -> None:
    allowed = {"numpy", "ngram_features", "ngram_model", "serving"} | sys.stdlib_module_names
    for path in (ARTIFACT / "code").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            else:
                continue
            assert {name.partition(".")[0] for name in imported} <= allowed, path.name


def test_the_card_tells_the_figures_that_the_weights_carry(metadata: dict[str, Any]) -> None:
    card = (ARTIFACT / "MODEL_CARD.md").read_text()
    eight = ("ar", "de", "en", "es", "fr", "hi", "it", "pt")
    for lang in (*eight, "ru", "pl"):
        assert f"| {lang} | {metadata['dev'][lang]:.2f} | {metadata['cross_validated'][lang]:.2f} |" in card
    for part in ("dev", "cross_validated"):
        assert f"**{sum(metadata[part][lang] for lang in eight) / 8:.2f}**" in card
    for source, rows in metadata["rows"].items():
        assert f"| {source} | {rows:,} |" in card


def test_the_shipped_model_reaches_its_promised_quality(metadata: dict[str, Any]) -> None:
    eight = ("ar", "de", "en", "es", "fr", "hi", "it", "pt")
    assert sum(metadata["dev"][lang] for lang in eight) / 8 >= 57


def test_the_card_is_what_the_training_program_writes(metadata: dict[str, Any]) -> None:
    from tools.train_ngram import card

    assert (ARTIFACT / "MODEL_CARD.md").read_text() == card(metadata)


def test_languages_that_nobody_measured_are_named_as_such() -> None:
    card = (ARTIFACT / "MODEL_CARD.md").read_text()
    unmeasured = card.partition("**Unmeasured**: ")[2].partition("and every other")[0]
    assert {"uk", "tr", "tl", "nl", "cs", "zh", "ja"} <= set(unmeasured.replace(" ", "").split(","))


def test_the_card_for_programs_names_the_languages_that_it_reads_better_than_chance(
    metadata: dict[str, Any],
) -> None:
    from tools.train_ngram import described

    card = (ARTIFACT / "card.json").read_text()
    assert card == described(metadata)
    assert set(json.loads(card)["measured"]) == {"ar", "de", "en", "es", "fr", "it", "pl", "pt", "ru"}

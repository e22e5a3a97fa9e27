"""The recipes pin what they name, and a wrong recipe says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.models import recipes
from tools.models.errors import PackError


def test_seventeen_languages_have_a_translator() -> None:
    languages = "ar cs da de es fr hi it ja nl pl pt ru tl tr uk zh"
    assert " ".join(sorted(set(recipes.of("opus-mt").languages))) == languages


def test_every_recipe_that_ships_is_usable() -> None:
    assert set(recipes.read()) == {"opus-mt", "twitter-roberta", "twitter-xlm-roberta", "e5"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"revision": "main"}, "is not a commit of 40 digits"),
        ({"sha256": {"pytorch_model.bin": "abc"}}, "the sha256 of pytorch_model.bin"),
        ({"labels": ["bad", "good"]}, "its labels are not negative, neutral, positive"),
        ({"task": "summary"}, "its task is 'summary'"),
        ({"package": {}}, "it needs either checkpoints or a package|not usable"),
        ({"encoder": {"max_tokens": 1}}, "not usable"),
    ],
)
def test_a_wrong_recipe_is_rejected(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    content = yaml.safe_load(recipes.RECIPES.read_bytes())
    recipe = content["twitter-roberta"]
    checkpoint = recipe["checkpoints"]["all"]
    for name, value in change.items():
        (checkpoint if name in checkpoint else recipe)[name] = value
    path = tmp_path / "recipes.yaml"
    path.write_text(yaml.safe_dump({"twitter-roberta": recipe}))
    with pytest.raises(PackError, match=reason):
        recipes.read(path)

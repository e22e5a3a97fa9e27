"""A packed model counts as packed only where its answers are what they must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import yaml

from tools.models import recipes, verification
from tools.models.errors import PackError
from tools.models.recipes import LABELS
from tools.models.serving import Served

type Record = Mapping[str, str]


class Stub(Served):
    """Stands for a served model: answers each record by a function."""

    def __init__(self, answer: Callable[[Record], dict[str, Any]]) -> None:
        self._answer = answer

    def answer(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        return [{"id": record["id"], **self._answer(record)} for record in records]


def truth() -> dict[str, str]:
    """The label of each sentence beyond doubt."""
    texts = yaml.safe_load(verification.TEXTS.read_bytes())
    return {
        sentence: label
        for by_label in texts["doubtless"].values()
        for label, sentences in by_label.items()
        for sentence in sentences
    }


def labeled(record: Record, label: str) -> dict[str, Any]:
    return {f"p_{name}": 0.8 if name == label else 0.1 for name in LABELS}


def right(record: Record) -> dict[str, Any]:
    text = record["text"]
    return labeled(record, next(label for sentence, label in truth().items() if sentence in text))


def echo(record: Record) -> dict[str, Any]:
    return {"translated_text": record["text"].replace("&amp;", "&")}


RECIPE = recipes.of("twitter-xlm-roberta")


def test_right_answers_pass_and_are_counted() -> None:
    found = verification.classifier(RECIPE, Stub(right), Stub(right))
    assert (found.disagreement, found.similarity) == (0, 1)
    assert found.texts > 300


def test_another_order_of_the_labels_is_found() -> None:
    other = {"positive": "negative", "negative": "positive", "neutral": "neutral"}

    def swapped(record: Record) -> dict[str, Any]:
        return {f"p_{other[name]}": right(record)[f"p_{name}"] for name in LABELS}

    with pytest.raises(PackError, match="not in the recipe's order"):
        verification.classifier(RECIPE, Stub(swapped), Stub(swapped))


def test_a_quantization_that_changes_answers_is_found() -> None:
    def changed(record: Record) -> dict[str, Any]:
        return labeled(record, "neutral") if record["text"].startswith("@some_body") else right(record)

    with pytest.raises(PackError, match=r"Quantization changes 1\d\.\d% of the answers to \d+ fixed texts"):
        verification.classifier(RECIPE, Stub(changed), Stub(right))


def test_probabilities_that_do_not_sum_to_one_are_found() -> None:
    def logits(record: Record) -> dict[str, Any]:
        return {name: 3 * value for name, value in right(record).items()}

    with pytest.raises(PackError, match=r"sum to 3\.0000"):
        verification.classifier(RECIPE, Stub(logits), Stub(logits))


def test_what_comes_through_a_translation_passes() -> None:
    languages = tuple(recipes.of("opus-mt").languages)
    found = verification.translator(languages, Stub(echo), Stub(echo))
    assert found.disagreement == 0
    assert found.texts >= 15 * len(languages)


@pytest.mark.parametrize("lost", ["@one", "https://t.co/aB3dE5fG7h", "#два", "😀", "🇺🇦", "b=1&c=2"])
def test_what_a_translation_loses_is_named(lost: str) -> None:
    def without(record: Record) -> dict[str, Any]:
        return {"translated_text": echo(record)["translated_text"].replace(lost, "")}

    with pytest.raises(PackError, match="A translation from uk loses"):
        verification.translator(("uk",), Stub(without), Stub(without))


def test_a_translator_that_answers_an_error_is_found() -> None:
    def missing(record: Record) -> dict[str, Any]:
        return {"error": "no model for uk"}

    with pytest.raises(PackError, match="the error 'no model for uk'"):
        verification.translator(("uk",), Stub(missing), Stub(echo))


def test_every_language_of_the_recipes_has_sentences_to_verify_it_with() -> None:
    texts = yaml.safe_load(verification.TEXTS.read_bytes())
    translated = texts["doubtless"].keys() | texts["translated"].keys()
    assert set(recipes.of("opus-mt").languages) <= translated
    for recipe in recipes.read().values():
        if recipe.task == recipes.SENTIMENT:
            assert set(recipe.languages) & texts["doubtless"].keys()

"""The cascade: n-grams read every text, the encoder those that they are not sure of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.models.support_artifacts import JSON_LINES, LABELING, encoder, handler, lines

TEXTS = ["I love this, what a wonderful day :)", "I hate you, terrible!", "a day", "good", "bad", "x y z"] * 5
BIAS = [0.1, -0.2, 0.1]
MIXTURE: dict[str, Any] = {"margin": 0.2, "ngram_weight": 0.8, "encoder_weight": 0.5, "bias": BIAS}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, hub: Path) -> Path:
    target = encoder(tmp_path_factory.mktemp("cascade") / "artifact", hub)
    shutil.rmtree(target / "code")
    shutil.copytree(LABELING / "e5" / "code", target / "code")
    shutil.copyfile(LABELING / "ngram" / "weights.npz", target / "weights.npz")
    (target / "cascade.json").write_text(json.dumps(MIXTURE))
    return target


@pytest.fixture(scope="module")
def inference(artifact: Path) -> ModuleType:
    return handler(artifact)


@pytest.fixture
def model(inference: ModuleType, artifact: Path) -> Any:
    return inference.model_fn(str(artifact))


def with_margin(inference: ModuleType, model: Any, margin: float) -> Any:
    return inference.Cascade(model.ngram, model.encoder, margin, model.weights, model.bias)


def test_the_encoder_reads_only_texts_of_which_the_n_grams_are_not_sure(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap = model.ngram.probabilities(TEXTS, [""] * len(TEXTS))
    ordered = np.sort(cheap, axis=1)
    close = ordered[:, 2] - ordered[:, 1] < MIXTURE["margin"]
    assert 0 < close.sum() < len(TEXTS)
    read: list[str] = []
    encode = type(model.encoder).probabilities
    monkeypatch.setattr(
        type(model.encoder),
        "probabilities",
        lambda self, texts: read.extend(texts) or encode(self, texts),
    )
    found = model.probabilities(TEXTS, [""] * len(TEXTS))
    assert read == [text for text, own in zip(TEXTS, close, strict=True) if own]
    np.testing.assert_array_equal(found[~close], cheap[~close])
    assert (found[close] != cheap[close]).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_both_answers_are_mixed_by_the_weights_of_their_logarithms(model: Any, inference: ModuleType) -> None:
    every = with_margin(inference, model, 2.0)
    cheap, good = model.ngram.probabilities(TEXTS, [""] * len(TEXTS)), model.encoder.probabilities(TEXTS)
    expected = cheap**0.8 * good**0.5 * np.exp(BIAS)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(every.probabilities(TEXTS, [""] * len(TEXTS)), expected, atol=1e-4)


def test_without_a_margin_the_n_grams_answer_alone(model: Any, inference: ModuleType) -> None:
    never = with_margin(inference, model, 0.0)
    languages = ["en"] * len(TEXTS)
    np.testing.assert_array_equal(
        never.probabilities(TEXTS, languages), model.ngram.probabilities(TEXTS, languages)
    )


def test_a_broken_line_costs_no_other_its_answer(model: Any, inference: ModuleType) -> None:
    body = lines([{"id": "1", "lang": "en", "text": "a day"}]) + b"no json\n" + lines([{"id": "2"}])
    answers = inference.predict_fn(inference.input_fn(bytearray(body), JSON_LINES), model)
    assert [answer["id"] for answer in answers] == ["1", None, "2"]
    assert set(answers[0]) == {"id", "p_negative", "p_neutral", "p_positive"}
    assert all("error" in answer for answer in answers[1:])


def test_a_request_without_a_usable_line_is_answered(model: Any, inference: ModuleType) -> None:
    assert inference.predict_fn([], model) == []

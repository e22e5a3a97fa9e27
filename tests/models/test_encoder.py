"""The encoder classifier reads a text as its model was trained to, and says three probabilities."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.support_artifacts import JSON_LINES, encoder, handler, lines

NAMES = ["p_negative", "p_neutral", "p_positive"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, hub: Path) -> Path:
    return encoder(tmp_path_factory.mktemp("encoder") / "artifact", hub)


@pytest.fixture(scope="module")
def inference(artifact: Path) -> ModuleType:
    return handler(artifact)


@pytest.fixture(scope="module")
def model(inference: ModuleType, artifact: Path) -> Any:
    return inference.model_fn(str(artifact))


@pytest.fixture(scope="module")
def answers(inference: ModuleType, model: Any) -> Any:
    def answers(*texts: str) -> list[dict[str, Any]]:
        records = [{"id": str(number), "lang": "en", "text": text} for number, text in enumerate(texts)]
        prediction = inference.predict_fn(inference.input_fn(bytearray(lines(records)), JSON_LINES), model)
        return [json.loads(line) for line in inference.output_fn(prediction, JSON_LINES).splitlines()]

    return answers


def label(answer: dict[str, Any]) -> str:
    return max(NAMES, key=lambda name: float(answer[name]))


def test_each_text_has_three_probabilities_in_the_order_asked(answers: Any) -> None:
    texts = ["a good day", "a bad, terrible day", "a day", "good " * 300, "x"] * 40
    found = answers(*texts)
    assert [answer["id"] for answer in found] == [str(number) for number in range(200)]
    for answer in found:
        assert list(answer) == ["id", *NAMES]
        assert sum(answer[name] for name in NAMES) == pytest.approx(1, abs=2e-6)
    assert [label(answer) for answer in found[:3]] == ["p_positive", "p_negative", "p_neutral"]


def test_logits_in_another_order_are_read_by_the_labels_that_the_artifact_names(
    tmp_path: Path, hub: Path, inference: ModuleType
) -> None:
    folder = encoder(tmp_path / "artifact", hub, labels=["positive", "neutral", "negative"])
    turned = inference.model_fn(str(folder))
    [row] = turned.probabilities(["a good day"])
    assert row.argmax() == 0


def test_labels_of_another_kind_are_rejected(tmp_path: Path, hub: Path, inference: ModuleType) -> None:
    folder = encoder(tmp_path / "artifact", hub, labels=["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(sys.modules["encoder_model"].ModelFormatError, match="negative, neutral, positive"):
        inference.model_fn(str(folder))


def test_handles_and_links_are_read_as_the_model_was_trained_to_see_them(
    model: Any, inference: ModuleType
) -> None:
    text = "(@anna)\n so @Borys_99: &lt;b&gt; https://t.co/AbC?x=1 me@home.org"
    assert model.normalized(text) == "(@user) so @user: <b> http me@home.org"


def test_what_the_artifact_does_not_replace_stays_and_a_prefix_goes_before_it(
    tmp_path: Path, hub: Path, inference: ModuleType
) -> None:
    folder = encoder(tmp_path / "artifact", hub, handle=None, link=None, prefix="query: ")
    assert (
        inference.model_fn(str(folder)).normalized("@anna  https://t.co/a") == "query: @anna https://t.co/a"
    )


def test_the_end_of_a_post_of_900_characters_decides_and_what_lies_beyond_the_limit_does_not(
    tmp_path: Path, hub: Path, inference: ModuleType, answers: Any
) -> None:
    whole = "good bad " * 100 + "terrible awful worst sad hate"
    assert len(whole) > 900
    assert label(answers(whole)[0]) == "p_negative"
    short = inference.model_fn(str(encoder(tmp_path / "artifact", hub, max_tokens=64)))
    assert short.probabilities([whole])[0].argmax() == 1


def test_one_answer_does_not_depend_on_what_else_is_asked_nor_on_its_order(answers: Any) -> None:
    texts = [f"{'good' if n % 3 else 'bad'} day {'x ' * n}" for n in range(50)]
    one, other = answers(*texts), answers(*texts[::-1])
    assert [answer["p_positive"] for answer in one] == [answer["p_positive"] for answer in other[::-1]]
    alone = [answers(text)[0]["p_positive"] for text in texts[::10]]
    assert alone == [answer["p_positive"] for answer in one[::10]]


def test_a_worker_uses_its_share_of_the_containers_cpus(
    artifact: Path, inference: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    shares = {None: 1, "1": 8, "2": 4, "16": 1}
    for workers, share in shares.items():
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.delenv("SAGEMAKER_MODEL_SERVER_WORKERS", raising=False)
        if workers:
            monkeypatch.setenv("SAGEMAKER_MODEL_SERVER_WORKERS", workers)
        assert sys.modules["serving"].threads() == share
    monkeypatch.setenv("SAGEMAKER_MODEL_SERVER_WORKERS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert inference.model_fn(str(artifact)).pool._max_workers == 3


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(min_size=1, max_size=40) | st.just("cut \ud83d"), min_size=1, max_size=20))
def test_any_text_is_answered(answers: Any, texts: list[str]) -> None:
    found = answers(*texts)
    assert [answer["id"] for answer in found] == [str(number) for number in range(len(texts))]
    for text, answer in zip(texts, found, strict=True):
        assert ("error" in answer) == (not text.strip())

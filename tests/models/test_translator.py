"""The translator translates what is language and leaves everything else as it is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models import support_hub
from tests.models.support_artifacts import JSON_LINES, handler, lines, translator


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, hub: Path) -> Path:
    return translator(tmp_path_factory.mktemp("translator") / "artifact", hub, ["ru", "uk", "de"])


@pytest.fixture(scope="module")
def inference(artifact: Path) -> ModuleType:
    return handler(artifact)


@pytest.fixture
def model(inference: ModuleType, artifact: Path) -> Any:
    return inference.model_fn(str(artifact))


def answers(inference: ModuleType, model: Any, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    body = bytearray(lines(records))
    prediction = inference.predict_fn(inference.input_fn(body, JSON_LINES), model)
    return [json.loads(line) for line in inference.output_fn(prediction, JSON_LINES).splitlines()]


@pytest.fixture
def english(inference: ModuleType, model: Any) -> Any:
    """The translation of one text."""

    def english(text: str, lang: str = "ru") -> str:
        (answer,) = answers(inference, model, [{"id": "1", "lang": lang, "text": text}])
        return str(answer["translated_text"])

    return english


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("люблю мир", "love peace"),
        (
            "@anna @borys люблю мир https://t.co/AbC1 #мир 🇺🇦😀",
            "@anna @borys love peace https://t.co/AbC1 #мир 🇺🇦😀",
        ),
        ("люблю 😀 мир", "love 😀 peace"),
        ("люблю😀мир", "love😀peace"),
        ("люблю мир.\n\nэто война!\r\n", "love peace.\n\nthis war!\r\n"),
        ("  люблю\tмир  ", "  love peace  "),
        ("это &amp; мир", "this & peace"),
        ("«мир» — война…", '"мир" - war...'),
        ("мир. мир! мир", "peace. peace! peace"),
        ("1️⃣ мир ✅", "1️⃣ peace ✅"),
        ("😂 https://t.co/x @anna", "😂 https://t.co/x @anna"),
        ("...!!!", "...!!!"),
        ("это @anna мир", "this @anna peace"),
    ],
)
def test_words_are_translated_and_everything_else_stays(english: Any, text: str, expected: str) -> None:
    assert english(text) == expected


def test_a_handle_that_the_model_would_mangle_is_kept_whole_in_its_place(
    tmp_path: Path, inference: ModuleType, hub: Path
) -> None:
    """This model cannot spell @ and / and loses them: what is inside a sentence comes back damaged."""
    letters = "".join(each for each in support_hub.LETTERS if each not in "@/:#")
    support_hub.opus_mt(tmp_path / "hub" / "opus-mt-ru-en", letters=letters)
    folder = translator(tmp_path / "artifact", tmp_path / "hub", ["ru"])
    model = inference.model_fn(str(folder))
    text = "это @anna мир https://t.co/AbC очень #мир люблю"
    (answer,) = answers(inference, model, [{"id": "1", "lang": "ru", "text": text}])
    assert answer["translated_text"] == "this @anna peace https://t.co/AbC very #мир love"


def test_a_language_without_a_model_is_answered_by_name_and_costs_the_others_nothing(
    inference: ModuleType, model: Any
) -> None:
    records = [
        {"id": "1", "lang": "hi", "text": "नमस्ते"},
        {"id": "2", "lang": "uk", "text": "люблю"},
        {"id": "3", "text": "люблю"},
        {"id": "4", "lang": "uk", "text": ""},
    ]
    assert answers(inference, model, records) == [
        {"id": "1", "error": "no model for hi"},
        {"id": "2", "translated_text": "love"},
        {"id": "3", "error": "no model for a text without a language"},
        {"id": "4", "error": "text is missing, blank or no string"},
    ]


def test_no_language_is_loaded_twice_for_a_request_and_none_before_it_is_asked(
    inference: ModuleType, model: Any
) -> None:
    model.limit = 0  # room for one at a time
    assert model.loads == 0
    mixed = [{"id": str(n), "lang": ("ru", "uk", "de")[n % 3], "text": "люблю frieden"} for n in range(30)]
    assert [answer["id"] for answer in answers(inference, model, mixed)] == [str(n) for n in range(30)]
    assert (model.loads, list(model.loaded)) == (3, ["uk"])
    answers(inference, model, mixed[1:3])
    assert (model.loads, list(model.loaded)) == (4, ["de"]), "the loaded one comes first"


def test_within_the_limit_of_memory_languages_stay_loaded_and_those_longest_unused_make_room(
    inference: ModuleType, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPINION_TRANSLATOR_MIB", "1000")
    model = inference.model_fn(str(artifact))
    for name in ("ru", "uk", "de", "ru"):
        model.language(name)
    assert model.loads == 3
    model.limit = model.size("ru") + model.size("uk")
    del model.loaded["uk"]
    model.language("uk")
    assert list(model.loaded) == ["ru", "uk"], "de was unused for longer"


def test_a_long_post_is_translated_to_its_end(english: Any) -> None:
    sentence = "это очень война. "
    whole = sentence * 1400 + "люблю мир"
    assert len(whole) > 23_000
    translated = english(whole)
    assert translated.count("this very") == 1400
    assert translated.endswith("love peace")
    endless = english("мир " * 6000)
    assert endless.split() == ["peace"] * 6000, "a sentence beyond what the model takes at once"


def test_a_model_that_never_ends_is_stopped_in_proportion_to_the_source(
    tmp_path: Path, inference: ModuleType
) -> None:
    """Its word for everything is another word, its end of a sentence too."""
    hub = tmp_path / "hub" / "opus-mt-ru-en"
    support_hub.opus_mt(hub, dictionary={"мир": "peace"})
    folder = translator(tmp_path / "artifact", tmp_path / "hub", ["ru"])
    model = inference.model_fn(str(folder))
    language = model.language("ru")
    language._prefix = ["▁peace"] * 30  # the source goes on where the sentence has no more to say
    (answer,) = answers(inference, model, [{"id": "1", "lang": "ru", "text": "мир"}])
    assert len(answer["translated_text"].split()) <= 2 * 2 + 10


def test_a_model_without_one_of_its_files_is_not_started(artifact: Path, inference: ModuleType) -> None:
    vocabulary = artifact / "opus-mt-de-en" / "shared_vocabulary.json"
    away = vocabulary.rename(artifact / "elsewhere")
    try:
        with pytest.raises(FileNotFoundError, match=r"of de has no shared_vocabulary\.json in opus-mt-de-en"):
            inference.model_fn(str(artifact))
    finally:
        away.rename(vocabulary)


KEPT = [
    "@anna",
    "@Borys_99",
    "https://t.co/AbC1",
    "#мир",
    "#СлаваУкраїні",
    "😀",
    "👩‍👩‍👧",
    "🇺🇦",
    "✌🏽",
    "\n",
    "\n\n",
]
WORDS = [*support_hub.DICTIONARIES["ru"], "слово", "x", ".", "!", ",", "(", '"', "&amp;", "\u200d", "\ud83d"]


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(KEPT) | st.sampled_from(WORDS) | st.text(max_size=6), min_size=1, max_size=12
    )
)
def test_handles_links_hashtags_emoji_and_line_breaks_come_through_in_any_text(
    inference: ModuleType, artifact: Path, parts: list[str]
) -> None:
    text = " ".join(parts)
    (answer,) = answers(
        inference, inference.model_fn(str(artifact)), [{"id": "1", "lang": "ru", "text": text}]
    )
    if not text.strip():
        assert "error" in answer
        return
    for kept, times in Counter(part for part in parts if part in KEPT).items():
        assert answer["translated_text"].count(kept) >= times

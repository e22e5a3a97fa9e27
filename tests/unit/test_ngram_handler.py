"""The n-gram model answers as SageMaker's transform and our lake expect it to."""

from __future__ import annotations

import importlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.labeling.model_io import compose_sentiment_input
from tests.unit import support_hour as hour
from tests.unit.support_hour import SETTINGS, tweet, tweet_id

ARTIFACT = Path(__file__).parents[2] / "include" / "labeling" / "ngram"
JSON_LINES = "application/jsonlines"
FIELDS = ["id", "p_negative", "p_neutral", "p_positive"]


@pytest.fixture(scope="module")
def handler() -> Any:
    """The handler as the container imports it: by its bare name, from the artifact's `code/`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ARTIFACT / "code"))
        return importlib.import_module("inference")


@pytest.fixture(scope="module")
def model(handler: Any) -> Any:
    return handler.model_fn(str(ARTIFACT))


@pytest.fixture
def answer(handler: Any, model: Any) -> Any:
    def answer(body: str | bytes) -> list[dict[str, Any]]:
        predictions = handler.predict_fn(handler.input_fn(body, JSON_LINES), model)
        return [json.loads(line) for line in handler.output_fn(predictions, JSON_LINES).splitlines()]

    return answer


def lines(*texts: str, lang: str = "en") -> str:
    records = ({"id": str(number), "text": text, "lang": lang} for number, text in enumerate(texts))
    return "".join(json.dumps(record) + "\n" for record in records)


def test_every_line_is_answered_in_order_with_its_id_and_three_probabilities(answer: Any) -> None:
    answers = answer(lines("good morning", "terrible news", "a bus"))
    assert [row["id"] for row in answers] == ["0", "1", "2"]
    for row in answers:
        assert list(row) == FIELDS
        probabilities = [row[name] for name in FIELDS[1:]]
        assert all(0 <= p <= 1 and p == round(p, 6) for p in probabilities)
        assert sum(probabilities) == pytest.approx(1, abs=2e-6)


@pytest.mark.parametrize(
    ("line", "identifier", "reason"),
    [
        (b"{broken", None, "not JSON"),
        (b"\xff\xfe", None, "not JSON"),
        (b"[1, 2]", None, "not a JSON object"),
        (b'{"text": "no id"}', None, "id is missing"),
        (b'{"id": 7, "text": "a number as id"}', None, "id is missing"),
        (b'{"id": "7"}', "7", "text is missing"),
        (b'{"id": "7", "text": null}', "7", "text is missing"),
        (b'{"id": "7", "text": " \\n"}', "7", "text is missing"),
        (b'{"id": "7", "text": 12}', "7", "text is missing"),
    ],
)
def test_a_line_that_cannot_be_scored_costs_only_itself(
    answer: Any, line: bytes, identifier: str | None, reason: str
) -> None:
    good = b'{"id": "a", "text": "lovely"}', b'{"id": "b", "text": "awful"}'
    first, broken, last = answer(b"\n".join([good[0], line, good[1]]))
    assert (first["id"], last["id"]) == ("a", "b")
    assert list(first) == list(last) == FIELDS
    assert broken["id"] == identifier
    assert reason in broken["error"]


def test_blank_lines_and_an_empty_request_are_no_records(answer: Any) -> None:
    assert answer("") == []
    assert len(answer("\n" + lines("hello") + "\n \n")) == 1


def test_separators_that_json_allows_inside_a_string_do_not_split_a_line(answer: Any) -> None:
    body = '{"id": "1", "text": "one\u2028two\u0085three", "lang": "en"}\r\n'
    assert [row["id"] for row in answer(body)] == ["1"]


@pytest.mark.parametrize("content_type", ["text/csv", "application/json", ""])
def test_another_content_type_is_rejected_by_name(handler: Any, content_type: str) -> None:
    with pytest.raises(ValueError, match="application/jsonlines"):
        handler.input_fn(lines("hello"), content_type)


def test_an_answer_in_another_format_is_rejected_and_any_format_means_json_lines(handler: Any) -> None:
    with pytest.raises(ValueError, match="text/csv"):
        handler.output_fn([], "text/csv")
    assert handler.output_fn([{"id": "1", "error": "x"}], "*/*") == '{"id": "1", "error": "x"}\n'
    assert handler.input_fn(lines("hello"), "application/jsonlines; charset=utf-8")


def test_a_folder_without_weights_is_no_model(handler: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="weights"):
        handler.model_fn(str(tmp_path))


TWEETS = st.lists(
    st.tuples(
        st.text() | st.sampled_from(["I love it 😍", "так плохо(((", "😡", "مرحبا", "cut \ud83d"]),
        st.sampled_from(["en", "ru", "ar", "uk", ""]),
    )
)


@given(tweets=TWEETS, cuts=st.lists(st.integers(0, 20), max_size=3))
@settings(max_examples=60)
def test_batches_never_change_an_answer(
    handler: Any, model: Any, tweets: list[tuple[str, str]], cuts: list[int]
) -> None:
    def probabilities(part: list[tuple[str, str]]) -> list[list[float]]:
        return model.probabilities([text for text, _ in part], [lang for _, lang in part]).tolist()

    whole = probabilities(tweets)
    parts = [tweets[start:stop] for start, stop in pairwise([0, *sorted(cuts), max(20, len(tweets))])]
    assert [row for part in parts for row in probabilities(part)] == whole
    assert [probabilities([tweet])[0] for tweet in tweets] == whole


@pytest.mark.parametrize("lang", ["uk", "und", "", None, 7, "x" * 40])
def test_a_language_that_was_never_trained_is_read_by_what_all_languages_share(
    answer: Any, lang: Any
) -> None:
    (row,) = answer(json.dumps({"id": "1", "text": "Дякую, люблю вас 😍 :)", "lang": lang}))
    (without,) = answer(json.dumps({"id": "1", "text": "Дякую, люблю вас 😍 :)"}))
    assert row == without
    assert max(FIELDS[1:], key=lambda name: row[name]) == "p_positive"


def test_more_texts_than_are_hashed_at_a_time_keep_their_order_and_answers(answer: Any) -> None:
    texts = [f"tweet {n} {'good' if n % 3 else 'bad'}" for n in range(1100)]
    answers = answer(lines(*texts))
    assert [row["id"] for row in answers] == [str(n) for n in range(1100)]
    assert answers[777] == {**answer(lines(texts[777]))[0], "id": "777"}


def test_handles_and_links_tell_nothing(answer: Any) -> None:
    one, other = answer(lines("@anna so sad https://t.co/abc", "@Borys99 so sad https://t.co/XYZ1"))
    assert {**one, "id": ""} == {**other, "id": ""}


OBVIOUS = {
    "ar": ("أحبك جدا، يوم جميل ورائع", "خبر حزين جدا، هذا أسوأ يوم"),
    "de": ("Das ist wunderbar, ich freue mich sehr!", "So eine Schande, das ist einfach schrecklich"),
    "en": ("I love this, what a wonderful day!", "This is awful, I hate it so much"),
    "es": ("Me encanta, qué día tan feliz, gracias", "Qué asco, odio esto, es horrible"),
    "fr": ("Merci beaucoup, c'est magnifique, bravo", "C'est honteux, quelle horreur, je déteste"),
    "it": ("Grazie mille, bellissimo, che bella giornata", "Che schifo, è una vergogna"),
    "pl": ("Super, dziękuję, kocham was :)", "To jest straszne, nienawidzę tego :("),
    "pt": ("Eu amo isso, que lindo, parabéns", "Que horror, odeio isso, muito ruim"),
    "ru": ("Спасибо, люблю вас, это прекрасно!", "Ненавижу, как же всё плохо и грустно"),
}


@pytest.mark.parametrize("lang", OBVIOUS)
def test_obvious_sentences_are_labeled_right(answer: Any, lang: str) -> None:
    glad, angry = answer(lines(*OBVIOUS[lang], lang=lang))
    assert max(FIELDS[1:], key=lambda name: glad[name]) == "p_positive"
    assert max(FIELDS[1:], key=lambda name: angry[name]) == "p_negative"


def test_a_plain_statement_is_neutral(answer: Any) -> None:
    (row,) = answer(lines("The bus leaves from the station on Monday at 9 am"))
    assert max(FIELDS[1:], key=lambda name: row[name]) == "p_neutral"


def test_a_long_post_gets_the_label_of_its_whole_text(answer: Any) -> None:
    begun = "The hall opens at nine and the bus stops in front of it. " * 15
    whole = begun + "I love it so much, what a wonderful, beautiful day, thank you, this is the best! " * 2
    cut = tweet(tweet_id(1), text=whole[:279] + "…", note_tweet={"text": whole})
    with hour.lake() as s3:
        hour.put_raw(s3, "ukraine", [hour.line(cut)])
        prepared = hour.prepare(s3)
        asked = hour.json_lines_under(s3, compose_sentiment_input(s3, SETTINGS, prepared, None))
    (judged,) = answer("".join(json.dumps(each) + "\n" for each in asked))
    (of_whole,), (of_cut,) = answer(lines(whole)), answer(lines(cut["data"]["text"]))
    assert len(whole) > 900
    assert [judged[name] for name in FIELDS[1:]] == [of_whole[name] for name in FIELDS[1:]]
    assert judged["p_positive"] > 0.5 > of_cut["p_positive"]

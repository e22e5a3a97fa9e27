"""The models' inputs: JSON Lines, whatever a text contains."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from include.labeling.jobs import LONGEST_INPUT_LINE
from include.labeling.model_io import NOT_TRANSLATED, fits, model_input

# As Arrow holds them: any text that UTF-8 can encode.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ids = st.integers(1, (1 << 63) - 1)


@given(
    rows=st.dictionaries(ids, st.tuples(texts, st.sampled_from(["en", "ru", "pl", "und"]))), data=st.data()
)
def test_a_tweet_is_a_line_of_compact_json_with_its_translation_if_there_is_one(
    rows: dict[int, tuple[str, str]], data: st.DataObject
) -> None:
    translated = data.draw(st.dictionaries(st.sampled_from([*rows] or [1]), texts.filter(bool)))
    columns = (
        [list(rows), *(list(each) for each in zip(*rows.values(), strict=True))] if rows else [[], [], []]
    )
    table = pa.table(columns, pa.schema([("tweet_id", pa.int64()), ("text", "string"), ("lang", "string")]))
    body = model_input(table, {"und"}, {str(tweet_id): text for tweet_id, text in translated.items()})
    expected = [
        {
            "id": str(tweet_id),
            "text": translated.get(tweet_id, text),
            "lang": "en" if tweet_id in translated else lang,
        }
        for tweet_id, (text, lang) in rows.items()
        if lang != "und"
    ]
    # Byte for byte: the digest of the lines names the job, and another name would be paid for again.
    lines = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in expected)
    assert body.decode() == "".join(lines)


def test_english_and_unnamed_languages_are_not_translated() -> None:
    table = pa.table({"tweet_id": [1, 2, 3], "text": ["a", "b", "c"], "lang": ["en", "und", "ru"]})
    assert model_input(table, NOT_TRANSLATED, {}) == b'{"id":"3","text":"c","lang":"ru"}\n'


def test_a_tweet_fits_as_long_as_its_line_does() -> None:
    longest = LONGEST_INPUT_LINE - len('{"id":"7","text":"","lang":"en"}\n')
    assert fits(7, "x" * longest, "en")
    assert not fits(7, "x" * (longest + 1), "en")
    assert not fits(7, "\x00" * (longest // 6 + 1), "en")

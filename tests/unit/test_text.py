"""The text of X's payloads: nothing that JSON allows loses a post, and people's texts are read as written."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.x.text import loads, may_escape_surrogates, unescaped, well_formed

characters = st.one_of(
    st.characters(),
    st.characters(categories=["Cs"]),
    st.sampled_from(["\\", "u", "d83d", "😀", "\ud83d", "\ude00", '"']),
)
texts = st.lists(characters, max_size=12).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=8,
)


@given(values, st.booleans())
@example("\\ud83d\ude00", True)
@example("\ud83d\ud83d\ude00", True)
def test_every_value_of_json_is_read_and_can_be_written_as_utf_8(value: Any, escaped: bool) -> None:
    line = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    read = loads(line)
    assert read == well_formed(json.loads(line.decode("utf-8", "surrogatepass")))
    assert orjson.loads(orjson.dumps(read)) == read


@given(texts)
def test_no_escaped_half_of_a_pair_is_overlooked(text: str) -> None:
    line = json.dumps(text).encode()
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        assert may_escape_surrogates(line)


@given(texts)
def test_one_character_is_replaced_and_the_others_stay(text: str) -> None:
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    expected = "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in joined)
    assert well_formed(text) == expected


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (rb'{"a\ud83d": ["x\ude00y"]}', {"a\ufffd": ["x\ufffdy"]}),
        (rb'"\ud83d\ude00"', "😀"),
        (b'"\xed\xa0\xbd"', "\ufffd"),
        (b'"\xed\xa0\xbd\xed\xb8\x80"', "😀"),
        (
            rb'["\ud83d", 1e400, 123456789012345678901234567890]',
            ["\ufffd", float("inf"), 1.2345678901234568e29],
        ),
    ],
)
def test_a_lone_surrogate_becomes_the_replacement_character(line: bytes, value: Any) -> None:
    assert loads(line) == value


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b'"\xff"',
        b"NaN",
        rb'["\ud83d", NaN]',
        rb'["\ud83d"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        rb'["\ud83d",' + b"[" * 100_000,
        rb'["\ud83d",' + b"[" * 100_000 + b"]" * 100_001,
    ],
    ids=lambda line: line[:12].decode(errors="replace"),
)
def test_what_is_no_json_or_too_deep_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(line)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("AT&amp;T", "AT&T"),
        ("1 &lt; 2 &gt; 0", "1 < 2 > 0"),
        ("&amp;copy; &amp;amp;", "&copy; &amp;"),
        ("&copy; &#39; & &", "&copy; &#39; & &"),
    ],
)
def test_html_entities_of_x_are_read_once(text: str, read: str) -> None:
    assert unescaped(text) == read

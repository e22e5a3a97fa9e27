"""Our own evaluation of the rules: it must agree with X's, here with the stand-in's own reading of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.settings import Settings
from include.x.matching import Matcher
from include.x.rules import compile_rules
from include.x.topics import Collection, Topic, Topics, load
from local.x_api.post import Post
from local.x_api.query import RULE, parse

PROJECT = load(Settings().topics_file)
TOPICS = Topics(
    Collection(datetime(2026, 11, 1, tzinfo=UTC), 1000, 100),
    (
        Topic("tea", "", {"en": ("tea", "green leaf", "d'orange"), "ja": ("お茶",)}),
        Topic("coffee", "", {"fr": ("café",), "ko": ("커피",), "en": ("iced-coffee",)}),
    ),
)


def topic_of(text: str, topics: Topics = TOPICS, **data: Any) -> str | None:
    return Matcher(topics).topic({"data": {"text": text, **data}})


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("TEA!", "tea"),
        ("steady tease", None),
        ("a green, leaf", "tea"),
        ("a leaf so green", None),
        ("#tea", "tea"),
        ("thé d’orange? d'orange", "tea"),
        ("un café", "coffee"),
        ("un cafe", None),
        ("cafe\u0301", "coffee"),
        ("熱いお茶を飲む", "tea"),
        ("커피를", "coffee"),
        ("tea and café", None),
        ("", None),
    ],
)
def test_keywords_match_whole_words_with_their_accents_and_topics_exclude_each_other(
    text: str, topic: str | None
) -> None:
    assert topic_of(text) == topic


def test_a_retweet_meets_no_rule() -> None:
    assert topic_of("tea", referenced_tweets=[{"type": "retweeted", "id": "1"}]) is None
    assert topic_of("tea", referenced_tweets=[{"type": "quoted", "id": "1"}]) == "tea"


words = st.sampled_from(
    [term for topic in (*PROJECT.topics, *TOPICS.topics) for term in topic.terms]
    + ["and", "so", ",", "#", "'", "-", "🎉", "x"]
)


@given(st.sampled_from([PROJECT, TOPICS]), st.lists(words, max_size=4), st.sampled_from([" ", "", ", "]))
def test_the_evaluation_agrees_with_another_reading_of_the_compiled_rules(
    topics: Topics, chosen: list[str], joint: str
) -> None:
    text = joint.join(chosen)
    post = Post({"id": "1", "text": text}, {})
    matching = [rule.tag for rule in compile_rules(topics, 100) if parse(rule.value, RULE).matches(post)]
    assert topic_of(text, topics) == (matching[0] if matching else None)

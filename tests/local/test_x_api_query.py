"""X's query language: what matches, what is rejected and with which words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.x_api.post import Post
from local.x_api.query import ALL_SEARCH, RECENT_SEARCH, RULE, Dialect, QueryError, parse, sampled
from local.x_api.selection import EVERYTHING, Selection


def post(text: str = "", **data: Any) -> Post:
    includes = data.pop("includes", {})
    return Post({"id": "2124570328981865044", "author_id": "7", "text": text, **data}, includes)


def matches(query: str, tweet: Post, dialect: Dialect = RULE) -> bool:
    return parse(query, dialect).matches(tweet)


def rejection(query: str, dialect: Dialect = RULE) -> list[str]:
    with pytest.raises(QueryError) as rejected:
        parse(query, dialect)
    return rejected.value.details


def test_rules_and_searches_see_html_entities_as_people_read_them() -> None:
    for dialect in (RULE, RECENT_SEARCH):
        assert matches('"AT&T"', post("why AT&amp;T?"), dialect)
        assert not matches("amp", post("why AT&amp;T?"), dialect)
    quoting = post(
        "so",
        referenced_tweets=[{"type": "quoted", "id": "5"}],
        includes={"tweets": [None, {"id": "5", "text": "AT&amp;T"}]},
    )
    assert matches('"AT&T"', quoting)


def test_rules_match_the_whole_of_a_long_post_and_payloads_cut_it_unless_note_tweet_is_asked() -> None:
    whole = "x " * 450 + "cat"
    long = post(whole, note_tweet={"text": whole})
    for dialect in (RULE, RECENT_SEARCH):
        assert matches("cat", long, dialect)
    bare = Selection.read({}).data(long)
    assert bare == {"id": long.data["id"], "text": whole[:279] + "…"}
    asked = Selection.read({"tweet.fields": "note_tweet"}).data(long)
    assert asked == {**bare, "note_tweet": {"text": whole}}
    assert Selection.read({}).data(post("y" * 300))["text"] == "y" * 300, (
        "X counts links and handles otherwise"
    )


NULLS = post(
    "cat",
    lang=None,
    geo=None,
    entities=None,
    attachments=None,
    referenced_tweets=None,
    context_annotations=None,
    in_reply_to_user_id=None,
    includes={"users": None, "places": None, "tweets": [None], "media": None},
)
NO_ENTITY = post("cat", context_annotations=[None, {"domain": {"id": "1"}}, {"entity": None}])


@pytest.mark.parametrize("tweet", [NULLS, NO_ENTITY])
@pytest.mark.parametrize(
    "condition",
    [
        *("has:geo", "has:media", "has:hashtags", "is:reply", "is:retweet", "is:quote", "is:verified"),
        *(
            "to:a",
            "retweets_of:a",
            "url:a",
            "context:1.2",
            "entity:a",
            "place:a",
            "place_country:ua",
            "bio:a",
        ),
    ],
)
def test_a_null_is_as_good_as_an_absent_field(tweet: Post, condition: str) -> None:
    assert not matches(f"cat {condition}", tweet)
    assert matches("cat lang:und", tweet)
    assert EVERYTHING.includes([tweet]) == {}
    assert EVERYTHING.data(tweet) == tweet.data


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("cat", "A Cat, at last!", True),
        ("cat", "concatenate", False),
        ("cat dog", "dog and cat", True),
        ("cat dog", "cat only", False),
        ('"hot dog"', "a hot dog please", True),
        ('"hot dog"', "a dog so hot", False),
        ('"hot sun"~2', "hot and bright sun", True),
        ('"hot sun"~1', "hot and very bright sun", False),
        ("cat -dog", "cat and dog", False),
        ("apple OR iphone ipad", "only an apple", True),
        ("apple OR iphone ipad", "only an iphone", False),
        ("(apple OR iphone) ipad", "apple without", False),
        ("(apple OR iphone) ipad", "iphone, ipad", True),
        ("don't", "I don't know", True),
        ("#música", "oh #Música!", True),
        ("#music", "oh #musical", False),
        ("music", "oh #music", True),
        ("@xdev", "thanks @XDev", True),
        ("$twtr", "buy $TWTR now", True),
        ("$twtr", "twtr", False),
        ("🎉", "so good🎉🎉", True),
        ("यूक्रेन", "यूक्रेन की खबर", True),
        ("यूक", "यूक्रेन की खबर", False),
        ("ウクライナ", "今日のウクライナの話", True),
        ("أوكرانيا", "خبر عن أوكرانيا اليوم", True),
        ("cat has:links", "cat https://t.co/abc", True),
        ("cat has:hashtags", "cat", False),
        ("cat -has:mentions", "@you cat", False),
    ],
)
def test_terms_match_the_text_as_x_documents_it(query: str, text: str, expected: bool) -> None:
    assert matches(query, post(text)) is expected


def test_the_stream_minds_accents_and_search_does_not() -> None:
    assert not matches("musica", post("la música"))
    assert matches("música", post("La MÚSICA"))
    assert matches("musica", post("la música"), RECENT_SEARCH)
    assert matches("música", post("la musica"), RECENT_SEARCH)


def test_the_stream_matches_quoted_text_and_search_does_not() -> None:
    quote = post(
        "look",
        referenced_tweets=[{"type": "quoted", "id": "5"}],
        includes={"tweets": [{"id": "5", "text": "a cat"}]},
    )
    assert matches("cat", quote)
    assert not matches("cat", quote, RECENT_SEARCH)
    assert matches("look is:quote", quote)


def test_operators_look_at_author_place_language_and_references() -> None:
    retweet = post(
        "RT @other: cat",
        lang="en",
        geo={"place_id": "p"},
        referenced_tweets=[{"type": "retweeted", "id": "5"}],
        includes={
            "users": [{"id": "7", "username": "Me", "location": "New York, NY", "verified": True}],
            "places": [{"id": "p", "full_name": "Kyiv, Ukraine", "country_code": "UA"}],
        },
    )
    for query in (
        "from:me",
        "from:7",
        "cat lang:en",
        "cat is:retweet",
        "cat has:geo",
        "cat is:verified",
        "place:kyiv",
        "place_country:ua",
        'bio_location:"new york"',
        "cat -lang:de -is:reply -is:nullcast",
    ):
        assert matches(query, retweet), query
    for query in ("from:other", "cat -is:retweet", "cat lang:uk", "cat -has:geo", "retweets_of:me"):
        assert not matches(query, retweet), query


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("cat )", "missing EOF at ')' (at position 5)"),
        ("(cat OR dog", "missing ')' at '<EOF>' (at position 12)"),
        ("cat OR", "no viable alternative at input '<EOF>' (at position 7)"),
        ("cat OR OR dog", "no viable alternative at input 'OR' (at position 8)"),
        ("'cat'", "no viable alternative at character ''' (at position 1)"),
        ("[cat]", "no viable alternative at character '[' (at position 1)"),
        ("cat - dog", "no viable alternative at character '-' (at position 5)"),
        ("cat --dog", "no viable alternative at input '-' (at position 5)"),
        ("cat -(dog OR cow)", "Negating a group is not supported: negate terms (at position 5)"),
        ("h:m", "Reference to invalid operator 'h' (at position 1)"),
        ("cat has:polls", "Reference to invalid operator 'has:polls' (at position 5)"),
        ("cat lang:xx", "Reference to invalid operator 'lang:xx' (at position 5)"),
        ("cat is:nullcast", "is:nullcast must be negated (at position 5)"),
        ("lang:en", "is/has/lang cannot be used as a standalone operator (at position 1)"),
        ("has:links OR is:retweet", "is/has/lang cannot be used as a standalone operator (at position 1)"),
        ("-cat", "Rules must contain a non-negation term (at position 1)"),
        ("cat OR -dog", "Rules must contain at least one positive, non-stopword clause (at position 1)"),
        ("cat -sample:5", "The sample operator must not be negated (at position 6)"),
        ("cat sample:0", "Invalid sample '0': it must be from 1 to 100 (at position 5)"),
        ("cat sample:5 sample:6", "The sample operator may be used once (at position 14)"),
    ],
)
def test_a_faulty_rule_is_rejected_with_the_place_of_the_fault(query: str, detail: str) -> None:
    assert detail in rejection(query)


def test_lower_case_or_and_any_and_are_called_ambiguous() -> None:
    for word in ("and", "AND", "or"):
        assert rejection(f"cat {word} dog")[0].startswith(f"Ambiguous use of {word.lower()} as a keyword.")


def test_sample_belongs_to_the_whole_rule_so_or_needs_parentheses() -> None:
    assert rejection("cat OR dog sample:10")[0].startswith("The sample operator applies to the whole rule")
    assert parse("(cat OR dog) sample:10", RULE)


@pytest.mark.parametrize("dialect", [RECENT_SEARCH, ALL_SEARCH])
def test_search_does_not_know_sample(dialect: Dialect) -> None:
    assert rejection("cat sample:10", dialect)[0].startswith("Reference to invalid operator 'sample'")


def test_every_dialect_has_its_length() -> None:
    for dialect, length in ((RULE, 1024), (RECENT_SEARCH, 512), (ALL_SEARCH, 1024)):
        assert parse("c" * length, dialect)
        assert rejection("c" * (length + 1), dialect)[0].startswith(
            f"Rules must be {length} characters or less"
        )


def test_an_empty_rule_is_rejected() -> None:
    assert rejection("  ") == ["Rule must not be empty (at position 1)"]


WORDS = st.sampled_from(["cat", "dog", "cow", "hen"])


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> tuple[str, Any]:
    """A rule's text beside what Python thinks of it, written by the order of operations that X documents."""
    kind = draw(st.sampled_from(["word", "not", "and", "or", "group"])) if depth else "word"
    if kind in ("word", "not"):
        word = draw(WORDS)
        return (
            (word, lambda words: word in words)
            if kind == "word"
            else (f"-{word}", lambda words: word not in words)
        )
    left_text, left = draw(expressions(depth - 1))
    if kind == "group":
        return f"({left_text})", left
    right_text, right = draw(expressions(depth - 1))
    if kind == "or":
        return f"{left_text} OR {right_text}", lambda words: left(words) or right(words)
    # AND binds tighter than OR: a part that has OR in it keeps its sense only in parentheses.
    left_text, right_text = (f"({text})" if " OR " in text else text for text in (left_text, right_text))
    return f"{left_text} {right_text}", lambda words: left(words) and right(words)


@given(expressions(), st.sets(WORDS))
def test_a_rule_matches_just_what_its_logic_says(expression: tuple[str, Any], words: set[str]) -> None:
    text, meaning = expression
    # `cow OR …` would lift the need for a positive term; a conjunct that always holds does it for every rule.
    query = parse(f"always ({text})", RULE)
    assert query.matches(post(" ".join(["always", *words]))) is meaning(words)


@given(st.integers(1, 2**62), st.integers(1, 99))
def test_a_smaller_sample_lies_in_a_larger_one(post_id: int, percent: int) -> None:
    assert not sampled(post_id, percent) or sampled(post_id, percent + 1)
    assert sampled(post_id, 100)


def test_a_sample_keeps_about_its_share_and_always_the_same() -> None:
    ids = [(1_700_000_000_000 + number * 977 << 22) + number for number in range(20_000)]
    kept = [post_id for post_id in ids if sampled(post_id, 15)]
    assert 0.14 < len(kept) / len(ids) < 0.16
    rule = parse("cat sample:15", RULE)
    for post_id in ids[:500]:
        assert rule.matches(post("cat", id=str(post_id))) is (post_id in kept)

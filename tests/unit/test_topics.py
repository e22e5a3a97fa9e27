"""The topics file: what is read from it and what is rejected."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.settings import Settings
from include.x.matching import Matcher
from include.x.query import search_queries, stream_rule
from include.x.topics import TopicsError, load
from local.x_api.post import Post
from local.x_api.query import RECENT_SEARCH, RULE, parse

VALID = """\
collection:
  start: 2026-11-01T00:00:00Z
  monthly_posts: 1000
  sample: 100
topics:
  - name: tea
    title: Tea
    keywords:
      en: [tea, green tea]
      "no": [te]
  - name: coffee
    title: Coffee
    keywords:
      en: [coffee]
      fr: [café]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "topics.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_projects_own_file_holds_two_topics_in_a_dozen_languages() -> None:
    topics = load(Settings().topics_file)
    assert topics.names == ("ukraine", "russia")
    assert topics.collection.monthly_posts == 100_000
    assert topics.collection.start == datetime(2026, 11, 1, tzinfo=UTC)
    for topic in topics.topics:
        assert len(topic.keywords) >= 12


def test_the_topics_for_real_tweets_are_valid_too() -> None:
    file = Path(__file__).parents[1] / "e2e" / "football_vs_music.yaml"
    assert load(file).names == ("football", "music")


def test_a_valid_file_is_read_whole(tmp_path: Path) -> None:
    topics = load(written(tmp_path, VALID))
    tea, coffee = topics.topics
    assert (tea.name, tea.title) == ("tea", "Tea")
    assert tea.keywords == {"en": ("tea", "green tea"), "no": ("te",)}
    assert topics.excluded("tea") == coffee.terms == ("coffee", "café")
    assert topics.topic("coffee") is coffee
    assert topics.collection.sample == 100


def test_norwegian_may_be_written_without_quotes(tmp_path: Path) -> None:
    assert load(written(tmp_path, VALID.replace('"no"', "no"))).topics[0].keywords["no"] == ("te",)


def test_a_word_of_several_languages_is_one_term(tmp_path: Path) -> None:
    topics = load(written(tmp_path, VALID.replace("fr: [café]", "fr: [café, Coffee]")))
    assert topics.topic("coffee").terms == ("coffee", "café")


MANY = ", ".join(f"word{number:04d}" for number in range(90))
LONG = ", ".join(f"thing{number:04d}" for number in range(45))

REJECTED = {
    "a keyword of two topics": ("en: [coffee]", "en: [TEA]", 14, "keyword 'TEA' is in two topics: 'tea'"),
    "a keyword that differs by an accent only": (
        "en: [coffee]",
        "en: [té]",
        14,
        "keyword 'té' is in two topics: 'tea'",
    ),
    "a phrase around the other topic's keyword": (
        "en: [coffee]",
        "en: [coffee, iced tea glass]",
        14,
        "keyword 'iced tea glass' of topic 'coffee' holds 'tea' of topic 'tea', so it could never match",
    ),
    "another topic's keyword behind a hyphen": (
        "en: [coffee]",
        "en: [coffee, anti-tea]",
        14,
        (
            "holds 'tea' of topic 'tea', so it could never match: the rule of 'coffee' excludes every "
            "post with 'tea'; delete one of the two keywords"
        ),
    ),
    "another topic's keyword before an apostrophe": ("en: [coffee]", "en: [tea's end]", 14, "holds 'tea'"),
    "another topic's keyword beside a slash": ("en: [coffee]", "en: [milk/tea]", 14, "holds 'tea'"),
    "a phrase of another topic, divided otherwise": (
        "en: [coffee]",
        "en: [a green/tea bag]",
        14,
        "keyword 'a green/tea bag' of topic 'coffee' holds 'tea'",
    ),
    "an invisible character": (
        "en: [coffee]",
        'en: ["cof\\u200bfee"]',
        14,
        (
            "keyword 'coffee' holds the invisible character U+200B, so it could never match what people "
            "write; delete that character"
        ),
    ),
    "a joiner that joins nothing": (
        "en: [coffee]",
        'en: ["coffee\\u200d"]',
        14,
        "the invisible character U+200D",
    ),
    "a letter that nobody sees": ("en: [coffee]", 'en: ["\\u3164"]', 14, "the invisible character U+3164"),
    "a keyword without a word": (
        "en: [coffee]",
        "en: ['!!!']",
        14,
        "keyword '!!!' has no letter, digit or emoji, so X rejects it; write a word",
    ),
    "a keyword that is more than its word": (
        "en: [coffee]",
        "en: [C++]",
        14,
        (
            "keyword 'C++' would match every 'c': X compares words and drops the signs at the edges of "
            "'C++'; write a word or phrase that does not need them"
        ),
    ),
    "a phrase with such a word": ("en: [coffee]", "en: [C++ code]", 14, "would match every 'c code'"),
    "a phrase that begins with a sign": (
        "en: [coffee]",
        "en: ['& coffee']",
        14,
        "would match every 'coffee'",
    ),
    "a rule over X's length": ("en: [coffee]", f"en: [{MANY}]", 11, "topic 'coffee': the stream rule has"),
    "negations that leave no room for a search": (
        "en: [coffee]",
        f"en: [{LONG}]",
        6,
        "topic 'tea': 'tea' and the excluded keywords have more than the 512 characters",
    ),
    "a topic without keywords": (
        "      en: [coffee]\n      fr: [café]",
        "      en: []",
        11,
        "has no keyword",
    ),
    "an unknown key": (
        "    title: Coffee",
        "    titel: Coffee",
        12,
        "unknown key 'titel'; known here: keywords",
    ),
    "an unknown key at the top": ("topics:", "topix:", 5, "unknown key 'topix'"),
    "a missing key": ("    title: Coffee\n", "", 11, "key 'title' is missing"),
    "a key that stands twice": ("fr: [café]", "en: [café]", 15, "key 'en' is defined twice"),
    "a name that cannot be a partition": ("name: coffee", "name: _coffee", 11, "name '_coffee' must be"),
    "a name in capitals": ("name: coffee", "name: Coffee", 11, "name 'Coffee' must be"),
    "two topics of one name": ("name: coffee", "name: tea", 11, "two topics are named 'tea'"),
    "a sample of nothing": (
        "sample: 100",
        "sample: 0",
        4,
        "sample must be a whole number from 1 to 100, not '0'",
    ),
    "a sample of a word": ("sample: 100", "sample: all", 4, "sample must be a whole number from 1 to 100"),
    "a budget of nothing": (
        "monthly_posts: 1000",
        "monthly_posts: -5",
        3,
        "monthly_posts must be a whole number",
    ),
    "a start without a zone": ("00:00Z", "00:00", 2, "start must be a time such as 2026-11-01T00:00:00Z"),
    "a quoted keyword": ("en: [coffee]", "en: ['\"coffee\"']", 14, "holds an operator or a quote"),
    "a keyword with an operator": ("en: [coffee]", "en: ['lang:en']", 14, "holds an operator or a quote"),
    "a negated keyword": ("en: [coffee]", "en: [coffee, -milk]", 14, "keyword '-milk' holds an operator"),
    "a keyword that is an operator": ("en: [coffee]", "en: [OR]", 14, "keyword 'OR' holds an operator"),
    "a hashtag": ("en: [coffee]", "en: ['#coffee']", 14, "keyword '#coffee' holds an operator"),
    "an empty keyword": ("en: [coffee]", "en: ['']", 14, "a text is expected here"),
    "a keyword instead of a list": ("en: [coffee]", "en: coffee", 14, "a list is expected here"),
    "an unknown language": ("fr: [café]", "french: [café]", 15, "'french' is not one of X's language codes"),
    "broken YAML": ("en: [coffee]", "en: [coffee", 15, "this is not YAML"),
}


@pytest.mark.parametrize(("found", "replaced", "line", "reason"), REJECTED.values(), ids=REJECTED.keys())
def test_what_is_wrong_is_rejected_with_its_line(
    tmp_path: Path, found: str, replaced: str, line: int, reason: str
) -> None:
    assert VALID.count(found) == 1
    with pytest.raises(TopicsError) as rejection:
        load(written(tmp_path, VALID.replace(found, replaced)))
    assert str(rejection.value).startswith(f"topics.yaml:{line}: ")
    assert reason in str(rejection.value)


@pytest.mark.parametrize(
    ("longer", "shorter"),
    [("日本人", "日本"), ("ประเทศไทย", "ไทย"), ("러시아인", "러시아"), ("お茶会", "茶")],
)
def test_a_keyword_inside_another_topics_is_rejected_in_scripts_without_spaces(
    tmp_path: Path, longer: str, shorter: str
) -> None:
    text = VALID.replace("en: [coffee]", f"ja: [{longer}]").replace('"no": [te]', f"ko: [{shorter}]")
    with pytest.raises(TopicsError, match=f"14: keyword '{longer}' of topic 'coffee' holds '{shorter}'"):
        load(written(tmp_path, text))


VALID_KEYWORDS = [
    "AT&T",
    "iced-coffee",
    "d'orange",
    "Marks & Spencer",
    "می\u200cخواهم",
    "क्\u200dष",
    "❤️",
    "👩\u200d💻",
    "🇺🇦",
    "café",
    "cafe\u0301 noir",
    "日本",
    "straße",
    "strasse",
    "a_b",
    "24/7",
]


@pytest.mark.parametrize("keyword", VALID_KEYWORDS)
def test_what_x_and_this_project_compare_alike_is_taken(tmp_path: Path, keyword: str) -> None:
    topics = load(written(tmp_path, VALID.replace("en: [coffee]", f'en: ["{keyword}"]')))
    assert keyword in topics.topic("coffee").terms


characters = st.sampled_from(
    [*"aßİσ ç-'/&+!._日本ไท한", "\u0301", "\u200b", "\u200d", "\ufe0f", "❤", "👩", "ı"]
)
keywords = st.lists(characters, min_size=1, max_size=5).map("".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(keywords, min_size=2, max_size=4), st.integers(1, 3))
def test_whatever_is_accepted_every_keyword_can_match_by_our_own_rules_and_by_xs(
    tmp_path: Path, chosen: list[str], first: int
) -> None:
    tea, coffee = (json.dumps(part) for part in (chosen[:first], chosen[first:] or ["coffee"]))
    text = VALID.replace("[tea, green tea]", tea).replace('      "no": [te]\n', "")
    text = text.replace("[coffee]", coffee).replace("      fr: [café]\n", "")
    try:
        topics = load(written(tmp_path, text))
    except TopicsError:
        return
    matcher = Matcher(topics)
    for topic in topics.topics:
        rule = stream_rule(topic.terms, topics.excluded(topic.name), 100)
        queries = search_queries(topic.terms, topics.excluded(topic.name))
        for keyword in topic.terms:
            data = {"id": "1", "text": escape(keyword, quote=False)}
            assert matcher.topic({"data": data}) == topic.name
            assert parse(rule, RULE).matches(Post(data, {}))
            assert any(parse(query, RECENT_SEARCH).matches(Post(data, {})) for query in queries)


def test_a_single_topic_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TopicsError, match=r"topics\.yaml:6: there must be two topics or more, not 1"):
        load(written(tmp_path, VALID[: VALID.index("  - name: coffee")]))


def test_an_empty_and_a_missing_file_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TopicsError, match="the file is empty"):
        load(written(tmp_path, "# nothing\n"))
    with pytest.raises(TopicsError, match="the file cannot be read: No such file"):
        load(tmp_path / "absent.yaml")

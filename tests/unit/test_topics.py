"""The topics file: what is read from it and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from include.settings import Settings
from include.x.topics import TopicsError, load

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
    assert topics.collection.monthly_posts == 2_000_000
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

REFUSED = {
    "a keyword of two topics": ("en: [coffee]", "en: [TEA]", 14, "keyword 'TEA' stands in two topics: 'tea'"),
    "a keyword that differs by an accent only": (
        "en: [coffee]",
        "en: [té]",
        14,
        "keyword 'té' stands in two topics: 'tea'",
    ),
    "a phrase around the other topic's keyword": (
        "en: [coffee]",
        "en: [coffee, iced tea glass]",
        14,
        "keyword 'iced tea glass' of topic 'coffee' holds 'tea' of topic 'tea', so it could never match",
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
    "a key that stands twice": ("fr: [café]", "en: [café]", 15, "key 'en' stands twice"),
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
    "an unknown language": ("fr: [café]", "french: [café]", 15, "'french' is no language code of X"),
    "broken YAML": ("en: [coffee]", "en: [coffee", 15, "this is no YAML"),
}


@pytest.mark.parametrize(("found", "replaced", "line", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_is_refused_with_its_line(
    tmp_path: Path, found: str, replaced: str, line: int, reason: str
) -> None:
    assert VALID.count(found) == 1
    with pytest.raises(TopicsError) as refusal:
        load(written(tmp_path, VALID.replace(found, replaced)))
    assert str(refusal.value).startswith(f"topics.yaml:{line}: ")
    assert reason in str(refusal.value)


def test_a_single_topic_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TopicsError, match=r"topics\.yaml:6: there must be two topics or more, not 1"):
        load(written(tmp_path, VALID[: VALID.index("  - name: coffee")]))


def test_an_empty_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TopicsError, match="the file is empty"):
        load(written(tmp_path, "# nothing\n"))
    with pytest.raises(TopicsError, match="the file cannot be read: No such file"):
        load(tmp_path / "absent.yaml")

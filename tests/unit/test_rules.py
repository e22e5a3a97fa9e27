"""Stream rules and search queries: what they match, how they fit X's limits, how they are reconciled."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
import tweepy
from hypothesis import given
from hypothesis import strategies as st

from include.settings import Settings
from include.x.query import RULE_LENGTH, SEARCH_LENGTH, stream_rule
from include.x.rules import (
    PresentRule,
    RulesError,
    StreamRule,
    apply,
    compile_rules,
    plan,
    present_rules,
    rule_hash,
    topic_queries,
)
from include.x.topics import Collection, Topic, Topics, load

WORDS = ["tea", "coffee", "milk", "cup", "чай", "кава", "sugar", "bean", "leaf", "お茶", "water", "pot"]


def matches(rule: str, text: str) -> bool:
    """A reader of just the shape that we write: one group of OR terms, then negated terms."""
    parsed = re.fullmatch(r"\((?P<wanted>[^()]+)\)(?P<rest>( -\S+| -\"[^\"]+\"| sample:\d+)*)", rule)
    assert parsed, rule
    spoken = f" {text.casefold()} "

    def holds(term: str) -> bool:
        return f" {term.strip('"').casefold()} " in spoken

    excluded = re.findall(r'-("[^"]+"|\S+)', parsed["rest"])
    return any(map(holds, parsed["wanted"].split(" OR "))) and not any(map(holds, excluded))


@st.composite
def topic_sets(draw: st.DrawFn) -> Topics:
    words = draw(st.permutations(WORDS))
    keywords = [(word,) for word in words] + [(words[0], words[1])]
    count = draw(st.integers(2, 4))
    groups: list[list[str]] = [[] for _ in range(count)]
    for index, keyword in enumerate(keywords[:-1]):
        groups[index % count].append(" ".join(keyword))
    groups[0].append(f"{words[0]} {draw(st.sampled_from(['house', 'party']))}")
    return Topics(
        Collection(datetime(2026, 11, 1, tzinfo=UTC), 1000, draw(st.integers(1, 100))),
        tuple(Topic(f"topic{index}", "", {"en": tuple(group)}) for index, group in enumerate(groups)),
    )


@given(topic_sets(), st.lists(st.sampled_from([*WORDS, "house", "party", "and", "so"]), max_size=8))
def test_no_text_matches_the_rules_of_two_topics(topics: Topics, words: list[str]) -> None:
    text = " ".join(words)
    matching = [
        rule.tag for rule in compile_rules(topics, topics.collection.sample) if matches(rule.value, text)
    ]
    assert len(matching) <= 1


@given(topic_sets(), st.lists(st.sampled_from([*WORDS, "house", "party", "and", "so"]), max_size=8))
def test_the_queries_of_a_topic_find_what_its_rule_matches(topics: Topics, words: list[str]) -> None:
    text = " ".join(words)
    for rule in compile_rules(topics, 100):
        found = any(matches(query, text) for query in topic_queries(topics, rule.tag))
        assert found == matches(rule.value, text)


def test_a_rule_groups_its_keywords_negates_one_by_one_and_samples_last() -> None:
    assert (
        stream_rule(["tea", "green tea", "d'orange"], ["café", "iced coffee"], 7)
        == '(tea OR "green tea" OR "d\'orange") -café -"iced coffee" -is:retweet sample:7'
    )


def test_a_whole_sample_is_not_written() -> None:
    assert "sample:" not in stream_rule(["tea"], ["coffee"], 100)


def test_the_projects_rules_and_queries_fit_xs_limits() -> None:
    topics = load(Settings().topics_file)
    for rule in compile_rules(topics, 99):
        assert len(rule.value) <= RULE_LENGTH
        queries = topic_queries(topics, rule.tag)
        assert len(queries) > 1, "the file is meant to exercise split queries"
        for query in queries:
            assert len(query) <= SEARCH_LENGTH
            assert "sample:" not in query
            assert query.endswith("-is:retweet")
        for term in topics.topic(rule.tag).terms:
            assert any(term in query.partition(") -")[0] for query in queries)


def test_the_hash_names_the_keywords_and_nothing_else() -> None:
    def topics(tea: tuple[str, ...], coffee: tuple[str, ...], sample: int = 100) -> Topics:
        return Topics(
            Collection(datetime(2026, 11, 1, tzinfo=UTC), 1000, sample),
            (Topic("tea", "", {"en": tea}), Topic("coffee", "", {"fr": coffee})),
        )

    same = rule_hash(topics(("tea", "te"), ("café",)))
    assert re.fullmatch("[0-9a-f]{16}", same)
    assert rule_hash(topics(("te", "TEA"), ("café",), sample=5)) == same
    assert rule_hash(topics(("tea",), ("café",))) != same
    assert rule_hash(topics(("tea", "te"), ("cafe",))) != same


rule_lists = st.lists(st.builds(StreamRule, st.sampled_from("abc"), st.sampled_from("uvwxyz")), unique=True)


@given(rule_lists, rule_lists)
def test_a_plan_carried_out_leaves_nothing_to_do(wanted: list[StreamRule], had: list[StreamRule]) -> None:
    present = [PresentRule(str(number), rule) for number, rule in enumerate(had)]
    changes = plan(wanted, present)
    left = [existing for existing in present if existing not in changes.delete]
    after = left + [PresentRule(f"new{number}", rule) for number, rule in enumerate(changes.add)]
    assert {existing.rule for existing in after} == set(wanted)
    assert not plan(wanted, after)
    assert not {existing.rule for existing in changes.delete} & set(wanted)


class RecordingX:
    """X's rules endpoint in memory; answers as the API's reference says."""

    def __init__(self, rules: list[PresentRule], rejected: str | None = None) -> None:
        self.rules = {existing.id: existing.rule for existing in rules}
        self.rejected = rejected
        self.calls: list[str] = []

    def request(self, method: str, route: str, params: Any = None, json: Any = None) -> Any:
        params = params or {}
        if method == "GET":
            return self._page(params)
        if "delete" in json:
            self.calls.append(f"delete {len(json['delete']['ids'])}")
            for found in json["delete"]["ids"]:
                del self.rules[found]
            return Answer({"meta": {"summary": {"deleted": len(json["delete"]["ids"])}}})
        self.calls.append(f"{'try' if params.get('dry_run') else 'add'} {len(json['add'])}")
        for added in json["add"]:
            if added["value"] == self.rejected:
                return Answer({"errors": [{"title": "Invalid Rule", "details": ["no viable alternative"]}]})
            if added["value"] in {rule.value for rule in self.rules.values()}:
                return Answer({"errors": [{"title": "DuplicateRule", "value": added["value"]}]})
            if not params.get("dry_run"):
                self.rules[f"id{len(self.calls)}-{len(self.rules)}"] = StreamRule(
                    added["tag"], added["value"]
                )
        return Answer({"meta": {}})

    def _page(self, params: Any) -> Any:
        first = int(params.get("pagination_token", 0))
        found = [{"id": key, "tag": rule.tag, "value": rule.value} for key, rule in self.rules.items()]
        meta = {"next_token": str(first + 2)} if first + 2 < len(found) else {}
        return Answer({"data": found[first : first + 2], "meta": meta} if found else {"meta": {}})


class Answer:
    def __init__(self, body: Any) -> None:
        self.body = body

    def json(self) -> Any:
        return self.body


OLD = [PresentRule(str(number), StreamRule("tea", f"old{number}")) for number in range(5)]


def test_rules_are_added_before_others_are_deleted_and_wanted_ones_stay() -> None:
    x = RecordingX(OLD)
    wanted = [OLD[3].rule, StreamRule("coffee", "new")]
    apply(x, plan(wanted, present_rules(x)))
    assert x.calls == ["try 1", "add 1", "delete 4"]
    assert set(x.rules.values()) == set(wanted)
    assert "3" in x.rules
    assert not plan(wanted, present_rules(x))


def test_a_rule_that_x_rejects_changes_nothing_and_says_why() -> None:
    x = RecordingX(OLD, rejected="bad")
    with pytest.raises(RulesError, match="Invalid Rule: no viable alternative"):
        apply(x, plan([StreamRule("tea", "bad")], present_rules(x)))
    assert x.calls == ["try 1"]
    assert len(x.rules) == 5


def test_a_tag_that_changes_makes_room_first_because_x_takes_no_text_twice() -> None:
    x = RecordingX(OLD[:1])
    apply(x, plan([StreamRule("coffee", "old0")], present_rules(x)))
    assert x.calls == ["delete 1", "add 1"]
    assert list(x.rules.values()) == [StreamRule("coffee", "old0")]


def test_a_bad_request_tells_xs_reasons() -> None:
    class Rejecting:
        def request(self, *args: Any, **kwargs: Any) -> Any:
            class Response:
                status_code = 400
                reason = "Bad Request"

                def json(self) -> Any:
                    return {"errors": [{"title": "Invalid Request", "detail": "too long"}]}

            raise tweepy.BadRequest(Response())

    with pytest.raises(RulesError, match="Invalid Request: too long"):
        apply(Rejecting(), plan([StreamRule("tea", "x")], []))

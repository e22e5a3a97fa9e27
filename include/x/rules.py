"""The rules of X's filtered stream: compiled from the topics and reconciled with those that X has.

Rules are reconciled, never replaced as a whole, so that no wanted rule is ever missing.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

import tweepy

from include.x import query
from include.x.topics import Topics

_ROUTE = "/2/tweets/search/stream/rules"
_BATCH = 100
"""Rules in one request."""


class RulesError(RuntimeError):
    """X rejects a rule; the message has X's reasons."""


@dataclass(frozen=True, order=True)
class StreamRule:
    """A stream rule; two rules with the same text and tag are the same rule."""

    tag: str
    value: str


@dataclass(frozen=True)
class PresentRule:
    """A rule that X has, with the id by which it is deleted."""

    id: str
    rule: StreamRule


@dataclass(frozen=True)
class Plan:
    """The changes to X's rules: first ``add``, then ``delete``; ``keep`` are wanted and unchanged."""

    add: tuple[StreamRule, ...]
    delete: tuple[PresentRule, ...]
    keep: tuple[PresentRule, ...]

    def __bool__(self) -> bool:
        """Whether any change is needed."""
        return bool(self.add or self.delete)


def compile_rules(topics: Topics, sample: int) -> tuple[StreamRule, ...]:
    """One rule per topic, tagged with its name, each excluding every other topic; ``sample`` in percent."""
    return tuple(
        StreamRule(topic.name, query.stream_rule(topic.terms, topics.excluded(topic.name), sample))
        for topic in topics.topics
    )


def topic_queries(topics: Topics, name: str) -> tuple[str, ...]:
    """The queries that together find the posts that one topic's unsampled rule matches."""
    return query.search_queries(topics.topic(name).terms, topics.excluded(name))


def rule_hash(topics: Topics) -> str:
    """16 hex digits that identify the rule set: which keywords belong to which topic.

    The keywords' order, case and language do not matter, nor does the sample, which is stored beside the
    hash.
    """
    canonical = sorted(
        (topic.name, sorted(unicodedata.normalize("NFC", term).casefold() for term in topic.terms))
        for topic in topics.topics
    )
    return hashlib.sha256(json.dumps(canonical, ensure_ascii=False).encode()).hexdigest()[:16]


def plan(wanted: Sequence[StreamRule], present: Iterable[PresentRule]) -> Plan:
    """Compares rules. Unwanted rules of X are deleted: their posts would be bought for nothing."""
    missing = dict.fromkeys(wanted)
    keep: list[PresentRule] = []
    delete: list[PresentRule] = []
    for existing in present:
        if existing.rule in missing:
            del missing[existing.rule]
            keep.append(existing)
        else:
            delete.append(existing)
    return Plan(tuple(missing), tuple(delete), tuple(keep))


def present_rules(client: tweepy.Client) -> list[PresentRule]:
    """Every rule that X has for this token; raises tweepy's exceptions."""
    return list(_present(client))


def rejections(client: tweepy.Client, added: Iterable[StreamRule]) -> dict[StreamRule, str]:
    """X's reasons against each rule in a dry run; empty if X accepts it.

    One request per rule, since X identifies a rejected rule only by its text. Raises tweepy's exceptions.
    """
    said = {}
    for rule in added:
        try:
            _add(client, [rule], dry_run=True)
            said[rule] = ""
        except RulesError as error:
            said[rule] = str(error)
    return said


def apply(client: tweepy.Client, changes: Plan) -> None:
    """Makes X's rules the wanted ones: a dry run first, then additions, then deletions.

    Raises `RulesError` with X's reasons if it rejects a rule (nothing is changed then), and tweepy's
    exceptions for everything else.
    """
    # X rejects a second rule with the same text and another tag, so the old one is deleted first.
    doomed = {existing.rule.value for existing in changes.delete}
    renamed = tuple(rule for rule in changes.add if rule.value in doomed)
    added = tuple(rule for rule in changes.add if rule.value not in doomed)
    _add(client, added, dry_run=True)
    _add(client, added)
    for batch in batched(changes.delete, _BATCH):
        _post(client, {"delete": {"ids": [existing.id for existing in batch]}})
    _add(client, renamed)


def _present(client: tweepy.Client) -> Iterator[PresentRule]:
    params: dict[str, str] = {"max_results": "1000"}
    while True:
        answer = client.request("GET", _ROUTE, params=params).json()
        for found in answer.get("data", ()):
            yield PresentRule(str(found["id"]), StreamRule(found.get("tag", ""), found["value"]))
        token = answer.get("meta", {}).get("next_token")
        if not token:
            return
        params["pagination_token"] = token


def _add(client: tweepy.Client, rules: Sequence[StreamRule], *, dry_run: bool = False) -> None:
    for batch in batched(rules, _BATCH):
        _post(client, {"add": [{"value": rule.value, "tag": rule.tag} for rule in batch]}, dry_run=dry_run)


def _post(client: tweepy.Client, body: dict[str, Any], *, dry_run: bool = False) -> None:
    params = {"dry_run": "true"} if dry_run else None
    try:
        answer = client.request("POST", _ROUTE, params=params, json=body).json()
    except tweepy.BadRequest as error:
        raise RulesError(f"X rejects the rules: {_reasons(error.api_errors) or error}") from error
    if answer.get("errors"):
        raise RulesError(f"X rejects the rules: {_reasons(answer['errors'])}")


def _reasons(problems: Iterable[Any]) -> str:
    texts = []
    for problem in problems:
        if isinstance(problem, dict):
            details = problem.get("details") or [problem.get("detail") or problem.get("message") or ""]
            texts.append(f"{problem.get('title', 'error')}: {' '.join(map(str, details))}".strip())
        else:
            texts.append(str(problem))
    return "; ".join(texts)

"""The rules of the filtered stream: checked as X checks them, kept in a file across restarts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from include.x.snowflake import EPOCH_MS, LOW_BITS
from local.x_api import problems
from local.x_api.post import Json, Post
from local.x_api.query import RULE, Query, QueryError, parse

CAP = 1000
"""Rules that an app of the pay-per-use tier may have."""


@dataclass(frozen=True)
class Rule:
    """A rule in force; ``id`` is X's, ``tag`` the owner's own name for it."""

    id: str
    value: str
    tag: str | None
    query: Query = field(repr=False, compare=False)

    def to_json(self) -> Json:
        """As X lists it: no ``tag`` where none was given."""
        return {"id": self.id, "value": self.value} | ({} if self.tag is None else {"tag": self.tag})


class Rules:
    """All rules in force; every change is on disk before the answer is given."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sequence = 0
        self._rules: dict[str, Rule] = {}
        if path.exists():
            for entry in json.loads(path.read_text(encoding="utf-8")):
                rule = Rule(entry["id"], entry["value"], entry.get("tag"), parse(entry["value"], RULE))
                self._rules[rule.id] = rule

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Iterator[Rule]:
        return iter(tuple(self._rules.values()))

    def matching(self, post: Post) -> list[Json]:
        """What stands in ``matching_rules``: id and tag of every rule that the post meets."""
        return [
            {"id": rule.id} | ({} if rule.tag is None else {"tag": rule.tag})
            for rule in self
            if rule.query.matches(post)
        ]

    def add(self, wanted: Sequence[tuple[str, str | None]], dry_run: bool) -> tuple[list[Json], list[Json]]:
        """Adds what is valid of ``wanted`` (value and tag); returns the rules made and the errors.

        A dry run answers the same and changes nothing.
        """
        rules = dict(self._rules)
        known = {rule.value: rule.id for rule in rules.values()}
        created: list[Json] = []
        errors: list[Json] = []
        for value, tag in wanted:
            if value in known:
                errors.append(problems.duplicate_rule(value, known[value]))
                continue
            try:
                query = parse(value, RULE)
            except QueryError as error:
                errors.append(problems.invalid_rule(value, error.details))
                continue
            if len(rules) >= CAP:
                errors.append(problems.rule_cap(value, CAP))
                continue
            rule = Rule(self._new_id(), value, tag, query)
            rules[rule.id] = rule
            known[value] = rule.id
            created.append(rule.to_json())
        if not dry_run:
            self._replace(rules)
        return created, errors

    def delete(self, ids: Iterable[str], values: Iterable[str], dry_run: bool) -> tuple[int, list[Json]]:
        """Deletes by id and by value; returns how many were deleted, and an error for each other."""
        rules = dict(self._rules)
        errors: list[Json] = []
        deleted = 0
        by_value = {rule.value: rule.id for rule in rules.values()}
        named = [({"id": rule_id}, rule_id) for rule_id in ids]
        named += [({"value": value}, by_value.get(value, "")) for value in values]
        for parameters, rule_id in named:
            if rules.pop(rule_id, None) is None:
                errors.append(problems.missing_rule(parameters))
            else:
                deleted += 1
        if not dry_run:
            self._replace(rules)
        return deleted, errors

    def delete_all(self, dry_run: bool) -> int:
        """Deletes every rule; returns how many there were."""
        return self.delete([rule.id for rule in self], [], dry_run)[0]

    def _new_id(self) -> str:
        self._sequence = (self._sequence + 1) % (1 << LOW_BITS)
        return str((int(time.time() * 1000) - EPOCH_MS << LOW_BITS) + self._sequence)

    def _replace(self, rules: dict[str, Rule]) -> None:
        if rules == self._rules:
            return
        written = self._path.with_suffix(".new")
        written.write_text(
            json.dumps([rule.to_json() for rule in rules.values()], ensure_ascii=False), encoding="utf-8"
        )
        written.replace(self._path)
        self._rules = rules

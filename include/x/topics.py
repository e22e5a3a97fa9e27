"""Reads the topics file: the topics with their keywords, the start of collection and the monthly posts.

Errors are reported with their line, so that a mistake costs seconds and no posts. A keyword that X would
accept but that could never match, or would match something else, is an error too: keywords are compared here
as they are with posts (`include.x.matching`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

import yaml

from include.x.matching import Comparable, Keyword, is_whole, tokens
from include.x.query import WHOLE_SAMPLE, QueryError, search_queries, stream_rule

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-zA-Z]+)?")
_OPERATOR = re.compile(r'["“”()\\:#@$*?]|^-|\s-|^(or|and|not)$', re.IGNORECASE)

_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Invisible characters that Unicode classifies as letters, marks or symbols."""
_JOINERS = frozenset("\u200c\u200d")
"""Joiners, which shape the characters on both sides: Persian and Hindi words and many emoji use them."""


class TopicsError(ValueError):
    """The topics file cannot be used; the message names file, line and reason."""


@dataclass(frozen=True)
class Collection:
    """The settings of the collection as a whole.

    ``start`` (UTC) is the time from which a missing hour counts as a gap, ``monthly_posts`` the posts that
    may be bought from X per calendar month, ``sample`` the percentage of matching posts that is streamed.
    """

    start: datetime
    monthly_posts: int
    sample: int


@dataclass(frozen=True)
class Topic:
    """One topic; ``name`` is the rules' tag and the lake's partition value, ``keywords`` go by language."""

    name: str
    title: str
    keywords: Mapping[str, tuple[str, ...]] = field(hash=False)

    @property
    def terms(self) -> tuple[str, ...]:
        """The keywords of all languages, each once (X ignores case, but not accents), in the file's order."""
        terms: dict[str, str] = {}
        for words in self.keywords.values():
            for word in words:
                terms.setdefault(Comparable(word).form, word)
        return tuple(terms.values())


@dataclass(frozen=True)
class Topics:
    """The whole file."""

    collection: Collection
    topics: tuple[Topic, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The topics' names in the file's order."""
        return tuple(topic.name for topic in self.topics)

    def topic(self, name: str) -> Topic:
        """The topic with that name; raises `KeyError`."""
        for topic in self.topics:
            if topic.name == name:
                return topic
        raise KeyError(name)

    def excluded(self, name: str) -> tuple[str, ...]:
        """The keywords of every other topic, which the rule of ``name`` negates."""
        return tuple(word for topic in self.topics if topic.name != name for word in topic.terms)


def load(path: Path | str) -> Topics:
    """Reads and checks a topics file; raises `TopicsError` with line and reason."""
    return _Reader(Path(path)).topics()


class _Reader:
    """Walks the YAML nodes rather than the values: only nodes know their lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def topics(self) -> Topics:
        root = self._mapping(self._document(), {"collection", "topics"})
        collection = self._collection(root["collection"])
        nodes = self._sequence(root["topics"])
        topics = tuple(self._topic(node) for node in nodes)
        if len(topics) < 2:
            self._reject(root["topics"], f"there must be two topics or more, not {len(topics)}")
        self._reject_shared_names(topics, nodes)
        self._reject_shared_keywords(topics, nodes)
        result = Topics(collection, topics)
        # A rule's length is checked with the longest possible sample: the budget may change it at any time.
        for compiled in (partial(stream_rule, sample=WHOLE_SAMPLE - 1), search_queries):
            for topic, node in zip(topics, nodes, strict=True):
                try:
                    compiled(topic.terms, result.excluded(topic.name))
                except QueryError as error:
                    self._reject(node, f"topic '{topic.name}': {error}; use fewer or shorter keywords")
        return result

    def _document(self) -> yaml.Node:
        try:
            root = yaml.compose(self._path.read_text(encoding="utf-8"), yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise TopicsError(f"{self._path.name}{line}: this is not YAML: {error.problem}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise TopicsError(f"{self._path.name}: this is not YAML: {error}") from error
        except OSError as error:
            raise TopicsError(f"{self._path}: the file cannot be read: {error.strerror}") from error
        if root is None:
            raise TopicsError(f"{self._path.name}:1: the file is empty")
        return root

    def _reject(self, node: yaml.Node, reason: str) -> NoReturn:
        raise TopicsError(f"{self._path.name}:{node.start_mark.line + 1}: {reason}")

    def _items(self, node: yaml.Node) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self._reject(node, "a mapping (key: value) is expected here")
        seen: set[str] = set()
        for key, value in node.value:
            name = self._text(key)
            if name in seen:
                self._reject(key, f"key '{name}' is defined twice")
            seen.add(name)
            yield name, key, value

    def _mapping(self, node: yaml.Node, keys: set[str]) -> dict[str, yaml.Node]:
        result: dict[str, yaml.Node] = {}
        for name, key, value in self._items(node):
            if name not in keys:
                self._reject(key, f"unknown key '{name}'; known here: {', '.join(sorted(keys))}")
            result[name] = value
        for missing in sorted(keys - result.keys()):
            self._reject(node, f"key '{missing}' is missing")
        return result

    def _sequence(self, node: yaml.Node) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            self._reject(node, "a list is expected here")
        return list(node.value)

    def _text(self, node: yaml.Node) -> str:
        # Any scalar's own text: `no`, Norwegian, must not become a boolean.
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            self._reject(node, "a text is expected here")
        return str(node.value).strip()

    def _integer(self, node: yaml.Node, name: str, low: int, high: int | None = None) -> int:
        text = self._text(node)
        bounds = f"a whole number from {low} to {high}" if high else f"a whole number from {low}"
        if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) < low or (high and int(text) > high):
            self._reject(node, f"{name} must be {bounds}, not '{text}'")
        return int(text)

    def _collection(self, node: yaml.Node) -> Collection:
        values = self._mapping(node, {"start", "monthly_posts", "sample"})
        text = self._text(values["start"])
        try:
            start = datetime.fromisoformat(text)
        except ValueError:
            start = None
        if start is None or start.tzinfo is None:
            self._reject(values["start"], f"start must be a time such as 2026-11-01T00:00:00Z, not '{text}'")
        return Collection(
            start=start.astimezone(UTC),
            monthly_posts=self._integer(values["monthly_posts"], "monthly_posts", 1),
            sample=self._integer(values["sample"], "sample", 1, WHOLE_SAMPLE),
        )

    def _topic(self, node: yaml.Node) -> Topic:
        values = self._mapping(node, {"name", "title", "keywords"})
        name = self._text(values["name"])
        if not _NAME.fullmatch(name):
            self._reject(
                values["name"],
                f"name '{name}' must be made of a-z, 0-9 and _ and not start with _ (it names partitions)",
            )
        keywords: dict[str, tuple[str, ...]] = {}
        for language, key, words in self._items(values["keywords"]):
            if not _LANGUAGE.fullmatch(language):
                self._reject(key, f"'{language}' is not one of X's language codes, such as en, uk, in, zh")
            keywords[language] = tuple(self._keyword(word) for word in self._sequence(words))
        if not any(keywords.values()):
            self._reject(node, f"topic '{name}' has no keyword")
        return Topic(name=name, title=self._text(values["title"]), keywords=keywords)

    def _keyword(self, node: yaml.Node) -> str:
        keyword = " ".join(self._text(node).split())
        if _OPERATOR.search(keyword):
            self._reject(node, f"keyword '{keyword}' holds an operator or a quote; write words only")
        if hidden := _invisible(keyword):
            self._reject(
                node,
                f"keyword '{keyword.replace(hidden, '')}' holds the invisible character U+{ord(hidden):04X}, "
                "so it could never match what people write; delete that character",
            )
        if not tokens(keyword, search=True):
            self._reject(
                node, f"keyword '{keyword}' has no letter, digit or emoji, so X rejects it; write a word"
            )
        words = keyword.split()
        for word in words:
            # A sign between two words is ignored too, but it means nothing by itself.
            alone = not tokens(word) and word not in (words[0], words[-1])
            if not alone and not is_whole(word):
                self._reject(
                    node,
                    f"keyword '{keyword}' would match every '{' '.join(tokens(keyword))}': X compares words "
                    f"and drops the signs at the edges of '{word}'; write a word or phrase that does not "
                    "need them",
                )
        return keyword

    def _reject_shared_names(self, topics: tuple[Topic, ...], nodes: list[yaml.Node]) -> None:
        seen: set[str] = set()
        for topic, node in zip(topics, nodes, strict=True):
            if topic.name in seen:
                self._reject(node, f"two topics are named '{topic.name}'")
            seen.add(topic.name)

    def _reject_shared_keywords(self, topics: tuple[Topic, ...], nodes: list[yaml.Node]) -> None:
        """No keyword may belong to two topics or contain another topic's keyword: it could never match."""
        if not any(_may_share(topics, search=search) for search in (False, True)):
            return
        keywords = []
        for topic, topic_node in zip(topics, nodes, strict=True):
            for node in self._keyword_nodes(topic_node):
                text = " ".join(self._text(node).split())
                # The stream distinguishes accents, search does not: a keyword must be able to match in both.
                keywords.append((topic.name, text, node, (Keyword(text), Keyword(text, search=True))))
        for place, (topic_name, text, node, forms) in enumerate(keywords):
            for owner, _, _, others in keywords[:place]:
                if owner != topic_name and any(map(_is_same, forms, others)):
                    self._reject(
                        node,
                        f"keyword '{text}' is in two topics: '{owner}' and '{topic_name}'; delete it "
                        "from one of them",
                    )
        for topic_name, text, node, forms in keywords:
            for owner, other, _, others in keywords:
                if owner != topic_name and any(map(_is_held, forms, others)):
                    self._reject(
                        node,
                        f"keyword '{text}' of topic '{topic_name}' holds '{other}' of topic '{owner}', so it "
                        f"could never match: the rule of '{topic_name}' excludes every post with '{other}'; "
                        "delete one of the two keywords",
                    )

    def _keyword_nodes(self, topic: yaml.Node) -> Iterator[yaml.Node]:
        for name, _, value in self._items(topic):
            if name == "keywords":
                for _, _, words in self._items(value):
                    yield from self._sequence(words)


def _invisible(keyword: str) -> str | None:
    """A keyword's first invisible character, except for a joiner between two characters."""
    for place, character in enumerate(keyword):
        if (
            character in _JOINERS
            and _is_seen(keyword[place - 1 : place])
            and _is_seen(keyword[place + 1 :][:1])
        ):
            continue
        if character in _FILLERS or unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs"):
            return character
    return None


def _may_share(topics: tuple[Topic, ...], *, search: bool) -> bool:
    """Whether a keyword may be part of another topic's: a quick check, since DAG files are parsed often."""
    for topic in topics:
        all_of_topic = Comparable("\n".join(topic.terms), search=search)
        others = (term for other in topics if other is not topic for term in other.terms)
        if any(Keyword(term, search=search).is_in(all_of_topic) for term in others):
            return True
    return False


def _is_same(keyword: Keyword, other: Keyword) -> bool:
    return keyword.needle == other.needle


def _is_held(keyword: Keyword, other: Keyword) -> bool:
    """Whether every text with the keyword has the other one too."""
    return other.is_in(keyword.text)


def _is_seen(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LMNS"

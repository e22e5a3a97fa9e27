"""X's query language: parses rules and search queries, says what is wrong with them, matches posts.

Sources: X's documentation "Build a rule", "Build a query" and the two lists of operators (2026-08): AND
(a space) binds before OR; all operators but ``sample:`` may be negated, groups must not; operators such as
``is:``, ``has:`` and ``lang:`` need a stand-alone one beside them. The errors are worded as the service's
users have published them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from local.x_api.post import EMOJI, Post, folded, names, objects, part, tokens, unaccented

Predicate = Callable[[Post], bool]


@dataclass(frozen=True)
class Dialect:
    """Where the language of stream rules and that of search differ."""

    name: str
    maximum_length: int
    sampling: bool
    minds_accents: bool
    fields: frozenset[str]


class QueryError(ValueError):
    """A rule or query that X rejects; ``details`` are its sentences, with positions counted from 1."""

    def __init__(self, details: list[str]) -> None:
        super().__init__(", ".join(details))
        self.details = details


@dataclass(frozen=True)
class Term:
    """One operator, perhaps negated: ``-lang:en`` is ``Term("lang", "en", True, …)``."""

    operator: str
    value: str
    negated: bool
    position: int
    predicate: Predicate = field(compare=False, repr=False)

    def matches(self, post: Post) -> bool:
        """Whether the post meets the term."""
        return self.predicate(post) is not self.negated


@dataclass(frozen=True)
class Conjunction:
    """Terms joined by spaces."""

    parts: tuple[Node, ...]

    def matches(self, post: Post) -> bool:
        """Whether the post meets every part."""
        return all(part.matches(post) for part in self.parts)


@dataclass(frozen=True)
class Disjunction:
    """Terms joined by OR."""

    parts: tuple[Node, ...]

    def matches(self, post: Post) -> bool:
        """Whether the post meets at least one part."""
        return any(part.matches(post) for part in self.parts)


Node = Term | Conjunction | Disjunction


@dataclass(frozen=True)
class Query:
    """A rule or query that X accepts."""

    text: str
    root: Node = field(repr=False)

    def matches(self, post: Post) -> bool:
        """Whether X would find the post by it."""
        return self.root.matches(post)


def parse(text: str, dialect: Dialect) -> Query:
    """Reads a rule or query; raises `QueryError` with all that X would say about it."""
    if not text.strip():
        raise QueryError(["Rule must not be empty (at position 1)"])
    if len(text) > dialect.maximum_length:
        raise QueryError(
            [f"Rules must be {dialect.maximum_length} characters or less, not {len(text)} (at position 1)"]
        )
    parser = _Parser(text, dialect)
    root = parser.parse()
    details = parser.details or list(_faults(root))
    if details:
        raise QueryError(details)
    return Query(text, root)


def sampled(post_id: int, percent: int) -> bool:
    """Whether the post belongs to the ``percent`` of all posts that a sample keeps.

    Decided by a hash of the id alone: the same posts every time, and a smaller sample lies in a larger one.
    """
    mixed = (post_id ^ (post_id >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 31)) % 100 < percent


_LANGUAGES = names(
    "am ar bg bn bo ca ckb cs cy da de dv el en es et eu fa fi fr gu hi hi-latn ht hu hy in is it iw ja ka "
    "km kn ko lo lt lv ml mr my ne nl no or pa pl ps pt ro ru sd si sk sl sr sv ta te th tl tr ug uk und ur "
    "vi zh zh-cn zh-tw qam qct qht qme qst zxx"
)
_IS = frozenset({"retweet", "reply", "quote", "verified", "nullcast"})
_HAS = frozenset({"hashtags", "cashtags", "links", "mentions", "media", "images", "video_link", "geo"})
_NEEDS_COMPANY = frozenset({"is", "has", "lang", "sample"})

_SHARED_FIELDS = names(
    "from to retweets_of url context entity conversation_id place place_country is has lang "
    "in_reply_to_tweet_id retweets_of_tweet_id"
)
RULE = Dialect("rule", 1024, True, True, _SHARED_FIELDS | {"bio", "bio_name", "bio_location", "sample"})
RECENT_SEARCH = Dialect("recent search", 512, False, False, _SHARED_FIELDS)
ALL_SEARCH = Dialect("all search", 1024, False, False, _SHARED_FIELDS)

# Scripts that are written without spaces, or (Hangul) with particles joined to the word.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LEXEME = re.compile(
    r"""(?P<space>\s+)
      | (?P<open>\() | (?P<close>\))
      | (?P<minus>-(?=\S))
      | (?P<field>[A-Za-z_]+:(?=[^\s()]))(?:"(?P<quoted_value>[^"]*)"|(?P<value>[^\s()"]+))
      | "(?P<phrase>[^"]*)"(?:~(?P<distance>[0-9]+))?
      | (?P<mark>[#@$])(?P<name>[^\s()"#@$:]+)
      | (?P<word>(?:\w|[EMOJI\u0300-\u036f\u0900-\u0dff\u200c]|(?<=\w)[-.'’&/](?=\w))+)""".replace(
        "EMOJI", EMOJI
    ),
    re.VERBOSE,
)


class _Parser:
    """Recursive descent over the lexemes; ``details`` gathers faults that do not end the parse."""

    def __init__(self, text: str, dialect: Dialect) -> None:
        self._dialect = dialect
        self._text = text
        self._lexemes = [match for match in self._scan() if match.lastgroup != "space"]
        self._next = 0
        self.details: list[str] = []

    def _scan(self) -> Iterator[re.Match[str]]:
        offset, strange = 0, []
        while offset < len(self._text):
            match = _LEXEME.match(self._text, offset)
            if match is None:
                strange.append(
                    f"no viable alternative at character '{self._text[offset]}' (at position {offset + 1})"
                )
                offset += 1
                continue
            yield match
            offset = match.end()
        if strange:
            raise QueryError(strange)

    def parse(self) -> Node:
        root = self._any()
        if (rest := self._peek()) is not None:
            raise QueryError([f"missing EOF at '{rest.group()}' (at position {rest.start() + 1})"])
        return root

    def _peek(self) -> re.Match[str] | None:
        return self._lexemes[self._next] if self._next < len(self._lexemes) else None

    def _any(self) -> Node:
        parts = [self._all()]
        while (lexeme := self._peek()) is not None and lexeme.group() == "OR":
            self._next += 1
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Disjunction(tuple(parts))

    def _all(self) -> Node:
        parts: list[Node] = []
        while (lexeme := self._peek()) is not None and lexeme.group() not in ("OR", ")"):
            parts.append(self._term(lexeme))
        if not parts:
            found = self._peek()
            what = f"'{found.group()}'" if found else "'<EOF>'"
            position = found.start() + 1 if found else len(self._text) + 1
            raise QueryError([f"no viable alternative at input {what} (at position {position})"])
        return parts[0] if len(parts) == 1 else Conjunction(tuple(parts))

    def _term(self, lexeme: re.Match[str]) -> Node:
        self._next += 1
        negated = lexeme["minus"] is not None
        if negated:
            following = self._peek()
            if following is None or following.start() != lexeme.end() or following["minus"] is not None:
                raise QueryError([f"no viable alternative at input '-' (at position {lexeme.start() + 1})"])
            if following["open"] is not None:
                raise QueryError(
                    [f"Negating a group is not supported: negate terms (at position {lexeme.start() + 1})"]
                )
            lexeme = following
            self._next += 1
        if lexeme["open"] is None:
            return self._operator(lexeme, negated)
        group = self._any()
        closing = self._peek()
        if closing is None:
            raise QueryError([f"missing ')' at '<EOF>' (at position {len(self._text) + 1})"])
        self._next += 1
        return group

    def _operator(self, lexeme: re.Match[str], negated: bool) -> Term:
        position = lexeme.start() + 1
        if lexeme["field"] is not None:
            operator = lexeme["field"][:-1].lower()
            value = lexeme["quoted_value"] if lexeme["quoted_value"] is not None else lexeme["value"]
            predicate = self._field(operator, value, negated, position)
        elif lexeme["mark"] is not None:
            operator, value = lexeme["mark"], lexeme["name"]
            kind = {"#": "hashtags", "@": "mentions", "$": "cashtags"}[operator]
            predicate = partial(_has_entity, kind, value.lower())
        elif lexeme["phrase"] is not None:
            operator, value = "phrase", lexeme["phrase"]
            predicate = self._phrase(value, lexeme["distance"], position)
        else:
            operator, value = "keyword", lexeme["word"]
            if value.lower() in ("and", "or"):
                self.details.append(_ambiguous(value.lower(), position))
            predicate = self._words(value)
        return Term(operator, value, negated, position, predicate)

    def _words(self, value: str) -> Predicate:
        fold = folded if self._dialect.minds_accents else unaccented
        wanted = fold(value)
        if _UNSPACED.search(wanted):
            if self._dialect.minds_accents:
                return lambda post: wanted in post.comparable
            return lambda post: wanted in post.comparable_unaccented
        wanted = tokens(wanted)
        if self._dialect.minds_accents:
            return lambda post: wanted in post.tokens
        return lambda post: wanted in post.tokens_unaccented

    def _phrase(self, value: str, distance: str | None, position: int) -> Predicate:
        words = tokens((folded if self._dialect.minds_accents else unaccented)(value)).split()
        if not words:
            self.details.append(f"no viable alternative at input '\"{value}\"' (at position {position})")
        if distance is None:
            return self._words(value)
        if not 0 < int(distance) <= 6 or len(words) < 2:
            self.details.append(
                f"Proximity takes two words or more and a distance from 1 to 6 (at position {position})"
            )
        return partial(_near, words, int(distance), self._dialect.minds_accents)

    def _field(self, operator: str, value: str, negated: bool, position: int) -> Predicate:
        if operator not in self._dialect.fields:
            product = (
                ". Operator is not available in current product or product packaging. Please refer to "
                "complete available operator list at https://docs.x.com/x-api/posts/search/integrate/operators"
                if operator == "sample"
                else ""
            )
            self.details.append(
                f"Reference to invalid operator '{operator}'{product} (at position {position})"
            )
            self.details.append(f"Reference to invalid field '{operator}' (at position {position})")
            return _never
        known = {"is": _IS, "has": _HAS, "lang": _LANGUAGES}.get(operator)
        if known is not None and value.lower() not in known:
            self.details.append(
                f"Reference to invalid operator '{operator}:{value}' (at position {position})"
            )
            return _never
        if operator == "is" and value.lower() == "nullcast" and not negated:
            self.details.append(f"is:nullcast must be negated (at position {position})")
        if operator == "sample":
            if negated:
                self.details.append(f"The sample operator must not be negated (at position {position})")
            if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 100):
                self.details.append(
                    f"Invalid sample '{value}': it must be from 1 to 100 (at position {position})"
                )
                return _never
            return lambda post: sampled(post.id, int(value))
        return partial(_FIELDS[operator], value.lower())


def _ambiguous(word: str, position: int) -> str:
    advice = (
        "Use a space to logically join two clauses"
        if word == "and"
        else "Use OR to logically join two clauses"
    )
    return (
        f'Ambiguous use of {word} as a keyword. {advice}, or "{word}" to find occurrences of {word} in text '
        f"(at position {position})"
    )


def _faults(root: Node) -> Iterator[str]:
    """What X says about a query that parses."""
    terms = list(_terms(root))
    if all(term.negated for term in terms):
        yield "Rules must contain a non-negation term (at position 1)"
    if not _selective(root):
        for term in terms:
            if term.operator in _NEEDS_COMPANY:
                yield f"is/has/lang cannot be used as a standalone operator (at position {term.position})"
                break
        else:
            yield "Rules must contain at least one positive, non-stopword clause (at position 1)"
    samples = [term for term in terms if term.operator == "sample"]
    top = root.parts if isinstance(root, Conjunction) else (root,)
    for term in samples:
        if not any(term is part for part in top):
            yield (
                "The sample operator applies to the whole rule: put the terms that OR joins into parentheses "
                f"(at position {term.position})"
            )
    if len(samples) > 1:
        yield f"The sample operator may be used once (at position {samples[1].position})"


def _terms(node: Node) -> Iterator[Term]:
    if isinstance(node, Term):
        yield node
    else:
        for part in node.parts:
            yield from _terms(part)


def _selective(node: Node) -> bool:
    """Whether every post that matches meets a positive stand-alone operator."""
    if isinstance(node, Term):
        return not node.negated and node.operator not in _NEEDS_COMPANY
    return (any if isinstance(node, Conjunction) else all)(map(_selective, node.parts))


def _never(_: Post) -> bool:
    return False


def _has_entity(kind: str, value: str, post: Post) -> bool:
    return value in post.entities(kind)


def _near(words: list[str], distance: int, minds_accents: bool, post: Post) -> bool:
    found = (post.tokens if minds_accents else post.tokens_unaccented).split()
    width = len(words) + distance
    return any(set(words) <= set(found[start : start + width]) for start in range(len(found)))


def _is(value: str, post: Post) -> bool:
    match value:
        case "retweet":
            return "retweeted" in post.references
        case "quote":
            return "quoted" in post.references
        case "reply":
            return "replied_to" in post.references or bool(post.data.get("in_reply_to_user_id"))
        case "verified":
            return bool(post.author.get("verified"))
    return False


def _has(value: str, post: Post) -> bool:
    match value:
        case "hashtags" | "cashtags" | "mentions":
            return bool(post.entities(value))
        case "links":
            return bool(post.entities("urls"))
        case "geo":
            return bool(post.data.get("geo"))
    kinds = {media.get("type") for media in objects(post.includes, "media")}
    if value == "media":
        return bool(kinds or part(post.data, "attachments").get("media_keys"))
    return ("photo" if value == "images" else "video") in kinds


def _user(value: str, user: dict[str, object]) -> bool:
    return value.removeprefix("@") in (str(user.get("username", "")).lower(), user.get("id"))


def _contains(value: str, text: object) -> bool:
    return tokens(folded(value)) in tokens(folded(str(text or "")))


def _retweeted_author(post: Post) -> dict[str, object]:
    retweeted = post.references.get("retweeted")
    for other in objects(post.includes, "tweets"):
        if retweeted and other.get("id") == retweeted:
            return post.user(other.get("author_id"))
    return {}


def _context(value: str, post: Post) -> bool:
    pairs = {
        (part(annotation, "domain").get("id"), part(annotation, "entity").get("id"))
        for annotation in objects(post.data, "context_annotations")
    }
    domain, _, entity = value.partition(".")
    return any((domain in ("*", pair[0])) and (entity in ("*", pair[1])) for pair in pairs)


_FIELDS: dict[str, Callable[[str, Post], bool]] = {
    "is": _is,
    "has": _has,
    "lang": lambda value, post: str(post.data.get("lang") or "und").lower() == value,
    "from": lambda value, post: _user(value, post.author),
    "to": lambda value, post: _user(value, post.user(post.data.get("in_reply_to_user_id"))),
    "retweets_of": lambda value, post: _user(value, _retweeted_author(post)),
    "url": lambda value, post: any(_contains(value, url) for url in post.entities("urls")),
    "context": _context,
    "entity": lambda value, post: any(
        _contains(value, part(annotation, "entity").get("name"))
        for annotation in objects(post.data, "context_annotations")
    ),
    "conversation_id": lambda value, post: post.data.get("conversation_id") == value,
    "in_reply_to_tweet_id": lambda value, post: post.references.get("replied_to") == value,
    "retweets_of_tweet_id": lambda value, post: post.references.get("retweeted") == value,
    "place": lambda value, post: (
        post.place.get("id") == value or _contains(value, post.place.get("full_name"))
    ),
    "place_country": lambda value, post: (
        value in (str(post.place.get("country_code", "")).lower(), str(post.place.get("country", "")).lower())
    ),
    "bio": lambda value, post: _contains(value, post.author.get("description")),
    "bio_name": lambda value, post: _contains(value, post.author.get("name")),
    "bio_location": lambda value, post: _contains(value, post.author.get("location")),
}

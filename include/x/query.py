"""The text of stream rules and search queries, and X's limits on it.

Sources: X's documentation of filtered-stream rules and of building queries (OpenAPI 2.167): AND binds
before OR, a group must not be negated (so each term is), `sample:` applies to the whole rule.
"""

from __future__ import annotations

from collections.abc import Sequence

RULE_LENGTH = 1024
"""Characters that one stream rule may have."""

SEARCH_LENGTH = 512
"""Characters that one query of recent search may have."""

WHOLE_SAMPLE = 100
"""The sample, in percent, that keeps all posts."""

_NO_RETWEETS = "-is:retweet"


class QueryError(ValueError):
    """The terms do not fit into a rule or query within X's limits."""


def term(keyword: str) -> str:
    """A keyword in X's query language: bare if it is one plain word, else quoted."""
    return keyword if keyword.replace("_", "a").isalnum() else f'"{keyword}"'


def stream_rule(keywords: Sequence[str], excluded: Sequence[str], sample: int) -> str:
    """The rule that matches any of ``keywords``, none of ``excluded``, no retweet, ``sample`` percent.

    Raises `QueryError` above `RULE_LENGTH` characters.
    """
    rule = _query(keywords, excluded)
    if sample != WHOLE_SAMPLE:
        rule += f" sample:{sample}"
    if len(rule) > RULE_LENGTH:
        raise QueryError(f"the stream rule has {len(rule)} characters, X allows {RULE_LENGTH}")
    return rule


def search_queries(keywords: Sequence[str], excluded: Sequence[str]) -> tuple[str, ...]:
    """The fewest queries that together match the same as the unsampled rule, each within `SEARCH_LENGTH`.

    Every query has all negations; keywords that do not fit go into a further query, so a tweet with keywords
    of two queries is found twice. Raises `QueryError` if a single keyword is too long.
    """
    queries: list[str] = []
    group: list[str] = []
    for keyword in keywords:
        if len(_query([keyword], excluded)) > SEARCH_LENGTH:
            raise QueryError(
                f"'{keyword}' and the excluded keywords have more than the {SEARCH_LENGTH} characters "
                "that X allows in a search query"
            )
        if len(_query([*group, keyword], excluded)) > SEARCH_LENGTH:
            queries.append(_query(group, excluded))
            group = []
        group.append(keyword)
    return (*queries, _query(group, excluded))


def _query(keywords: Sequence[str], excluded: Sequence[str]) -> str:
    wanted = " OR ".join(map(term, keywords))
    return " ".join([f"({wanted})", *(f"-{term(keyword)}" for keyword in excluded), _NO_RETWEETS])

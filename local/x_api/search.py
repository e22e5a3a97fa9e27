"""Search and counts over the corpus, within the windows and with the rejections of X.

Sources: X's documentation of recent and full-archive search and of counts (OpenAPI 2.167); the wording of
the errors as users have published it. Results are newest first; ``start_time`` is inclusive, ``end_time``,
``since_id`` and ``until_id`` are exclusive.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from include.window import Window
from include.x.snowflake import LOW_BITS, lowest_id, moment
from local.x_api.post import Corpus, Json, Post, instant
from local.x_api.problems import Problem, invalid_request
from local.x_api.query import ALL_SEARCH, RECENT_SEARCH, Dialect, Query, QueryError, parse
from local.x_api.selection import PARAMETERS, Selection

_RANGE = ("start_time", "end_time", "since_id", "until_id")
_FRESHEST = timedelta(seconds=10)
_DEFAULT_LAG = timedelta(seconds=30)
_RECENT = timedelta(days=7)
_INDEX_DELAY = timedelta(minutes=1)
"""How long after its end an hour may still get posts."""
_COUNTED_KEPT = 20_000
_FIRST_POST = datetime(2006, 3, 21, tzinfo=UTC)
_ID = re.compile(r"[0-9]{1,19}")
_GRANULARITIES = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True)
class Product:
    """What recent search and full-archive search allow."""

    dialect: Dialect
    reach: timedelta | None
    default_reach: timedelta
    maximum_results: int
    pages_of: timedelta | None = None
    """What one page of counts spans; None: they come on one page."""


RECENT = Product(RECENT_SEARCH, _RECENT, _RECENT, 100)
ALL = Product(ALL_SEARCH, None, timedelta(days=30), 500, timedelta(days=31))


class Search:
    """Answers searches and counts over ``corpus``."""

    def __init__(
        self,
        corpus: Corpus,
        clock: Callable[[], float] = time.time,
        left: Callable[[Post], Post | None] = lambda post: post,
    ) -> None:
        self._corpus = corpus
        self._clock = clock
        self._left = left
        self._counted: OrderedDict[tuple[Dialect, str, Window], tuple[int, ...]] = OrderedDict()
        self._counting = threading.Lock()

    def page(self, product: Product, parameters: Mapping[str, str]) -> Json:
        """One page of a search; raises `Problem` 400 for whatever X rejects."""
        reject_unknown(
            parameters,
            ("query", *_RANGE, "max_results", "next_token", "pagination_token", "sort_order", *PARAMETERS),
        )
        query = _query(parameters, product.dialect)
        limit = _whole(parameters, "max_results", 10, 10, product.maximum_results)
        if (order := parameters.get("sort_order", "recency")) != "recency":
            message = f"The `sort_order` query parameter value [{order}] is not one of [recency]"
            raise invalid_request([({"sort_order": order}, message)])
        selection = Selection.read(parameters)
        lowest, below = self._range(product, parameters)
        token = parameters.get("next_token") or parameters.get("pagination_token")
        if token:
            below = min(below, _Token.read(token, query.text))
        matching = self._matching(query, lowest, below, newest_first=True)
        found = list(islice(filter(None, map(self._left, matching)), limit + 1))
        posts = found[:limit]
        if not posts:
            return {"meta": {"result_count": 0}}
        answer: Json = {"data": [selection.data(post) for post in posts]}
        if includes := selection.includes(posts):
            answer["includes"] = includes
        answer["meta"] = {
            "newest_id": posts[0].data["id"],
            "oldest_id": posts[-1].data["id"],
            "result_count": len(posts),
        }
        if len(found) > limit:
            answer["meta"]["next_token"] = _Token.write(posts[-1].id, query.text)
        return answer

    def counts(self, product: Product, parameters: Mapping[str, str]) -> Json:
        """How many posts match, by minute, hour or day, oldest first; raises `Problem` 400."""
        paged = ("next_token", "pagination_token") if product.pages_of else ()
        reject_unknown(parameters, ("query", *_RANGE, "granularity", "search_count.fields", *paged))
        query = _query(parameters, product.dialect)
        granularity = parameters.get("granularity", "hour")
        if granularity not in _GRANULARITIES:
            message = (
                f"The `granularity` query parameter value [{granularity}] is not one of "
                f"[{','.join(_GRANULARITIES)}]"
            )
            raise invalid_request([({"granularity": granularity}, message)])
        lowest, below = self._range(product, parameters)
        if token := parameters.get("next_token") or parameters.get("pagination_token"):
            below = min(below, _Token.read(token, query.text))
        meta: Json = {}
        if product.pages_of and (page := lowest_id(moment(below) - product.pages_of)) > lowest:
            lowest = page
            meta["next_token"] = _Token.write(lowest, query.text)
        step = _GRANULARITIES[granularity]
        start, end = moment(lowest), moment(max(below - 1, lowest)) + timedelta(milliseconds=1)
        edges = [start, *_edges(start, end, step), end]
        starts = [lowest_id(edge) for edge in edges[:-1]]
        numbers = [0] * len(starts)
        for post_id, number in self._counts(product.dialect, query, lowest, below):
            numbers[bisect_right(starts, post_id) - 1] += number
        return {
            "data": [
                {
                    "end": instant(edges[place + 1]),
                    "start": instant(edges[place]),
                    "tweet_count": number,
                    "post_count": number,
                }
                for place, number in enumerate(numbers)
            ],
            # OpenAPI 2.168 names posts; clients from before (tweepy 4, twarc 2) read tweets.
            "meta": {"total_tweet_count": sum(numbers), "total_post_count": sum(numbers), **meta},
        }

    def _counts(self, dialect: Dialect, query: Query, lowest: int, below: int) -> Iterator[tuple[int, int]]:
        """Numbers of matching posts, each with the lowest id of what it counts: a post or a minute."""
        if below <= lowest:
            return
        settled = datetime.fromtimestamp(self._clock(), UTC) - _INDEX_DELAY
        for window in Window.between(moment(lowest), moment(below - 1) + timedelta(milliseconds=1)):
            first, end = lowest_id(window.start), lowest_id(window.end)
            if first < lowest or end > below or window.end > settled:
                posts = self._matching(query, max(first, lowest), min(end, below), newest_first=False)
                yield from ((post.id, 1) for post in posts)
            else:
                minutes = self._by_minute(dialect, query, window)
                yield from (
                    (first + (minute * 60_000 << LOW_BITS), number) for minute, number in enumerate(minutes)
                )

    def _by_minute(self, dialect: Dialect, query: Query, window: Window) -> tuple[int, ...]:
        """The counts of an hour that will not change any more: what was counted once is known."""
        key = (dialect, query.text, window)
        # Whoever asks for the same again, being out of patience, waits for what is counted already.
        with self._counting:
            if key in self._counted:
                self._counted.move_to_end(key)
                return self._counted[key]
            numbers = [0] * 60
            first = lowest_id(window.start)
            for post in self._matching(query, first, lowest_id(window.end), newest_first=False):
                numbers[((post.id - first) >> LOW_BITS) // 60_000] += 1
            self._counted[key] = tuple(numbers)
            if len(self._counted) > _COUNTED_KEPT:
                self._counted.popitem(last=False)
            return self._counted[key]

    def _matching(self, query: Query, lowest: int, below: int, newest_first: bool) -> Iterator[Post]:
        return (post for post in self._corpus.posts(lowest, below, newest_first) if query.matches(post))

    def _range(self, product: Product, parameters: Mapping[str, str]) -> tuple[int, int]:
        """The ids ``[lowest, below)`` that are searched; ids take precedence over times."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        oldest = _minute(now - product.reach) if product.reach else _FIRST_POST
        since_id, until_id = _identifier(parameters, "since_id"), _identifier(parameters, "until_id")
        start, end = _moment(parameters, "start_time"), _moment(parameters, "end_time")
        latest = now - _FRESHEST
        for name, value in (("start_time", start), ("end_time", end)):
            if value is not None and value > latest:
                raise _rejection(
                    name,
                    parameters[name],
                    f"'{name}' must be a minimum of 10 seconds prior to the request time.",
                )
            if value is not None and value < oldest:
                raise _rejection(name, parameters[name], f"'{name}' must be on or after {_to_minute(oldest)}")
        if start is not None and end is not None and end <= start:
            raise _rejection("end_time", parameters["end_time"], "'end_time' must be after 'start_time'.")
        if since_id is not None and since_id < lowest_id(oldest) - 1:
            message = (
                f"'since_id' must be a tweet id created after {_to_minute(oldest)}. Please use a 'since_id' "
                f"that is larger than {lowest_id(oldest)}"
            )
            raise invalid_request([({"since_id": parameters["since_id"]}, message)])
        if since_id is not None:
            lowest = since_id + 1
        elif start is not None:
            lowest = lowest_id(start)
        else:
            lowest = lowest_id(max(oldest, (end or now) - product.default_reach))
        if until_id is not None:
            below = min(until_id, lowest_id(latest))
        elif end is not None:
            below = lowest_id(end)
        else:
            below = lowest_id(now - (_DEFAULT_LAG if since_id is None and start is None else _FRESHEST))
        return lowest, below


class _Token:
    """Names the place after a page: the id of its last post, tied to the query by a digest."""

    @staticmethod
    def write(post_id: int, query: str) -> str:
        packed = post_id.to_bytes(8, "big") + _digest(query)
        return base64.b32hexencode(packed).decode().rstrip("=").lower()

    @staticmethod
    def read(token: str, query: str) -> int:
        padded = token.upper() + "=" * (-len(token) % 8)
        try:
            packed = base64.b32hexdecode(padded)
        except ValueError:
            packed = b""
        if len(packed) != 14 or packed[8:] != _digest(query):
            raise _rejection("next_token", token, "'next_token' does not belong to this query.")
        return int.from_bytes(packed[:8], "big")


def _digest(query: str) -> bytes:
    return hashlib.sha256(query.encode()).digest()[:6]


def reject_unknown(parameters: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Raises `Problem` 400 naming every parameter that the endpoint does not know."""
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise invalid_request(
            [
                (
                    {name: parameters[name]},
                    f"The query parameter [{name}] is not one of [{','.join(sorted(known))}]",
                )
                for name in unknown
            ]
        )


def _query(parameters: Mapping[str, str], dialect: Dialect) -> Query:
    text = parameters.get("query")
    if text is None:
        raise invalid_request([({"query": ""}, "The `query` query parameter can not be empty")])
    if not text.strip():
        raise _rejection("query", text, "'query' must be a non-empty string")
    if len(text) > dialect.maximum_length:
        message = (
            f"The `query` query parameter value length [{len(text)}] is not between 1 and "
            f"{dialect.maximum_length}"
        )
        raise invalid_request([({"query": text}, message)])
    try:
        return parse(text, dialect)
    except QueryError as error:
        message = f"There were errors processing your request: {error}"
        raise invalid_request([({"query": text}, message)]) from error


def _rejection(name: str, value: str, reason: str) -> Problem:
    return invalid_request([({name: value}, f"Invalid '{name}':'{value}'. {reason}")])


def _whole(parameters: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = parameters.get(name, str(default))
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        message = f"The `{name}` query parameter value [{text}] is not between {low} and {high}"
        raise invalid_request([({name: text}, message)])
    return int(text)


def _identifier(parameters: Mapping[str, str], name: str) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    if not _ID.fullmatch(text):
        message = f"The `{name}` query parameter value [{text}] does not match ^[0-9]{{1,19}}$"
        raise invalid_request([({name: text}, message)])
    return int(text)


def _moment(parameters: Mapping[str, str], name: str) -> datetime | None:
    text = parameters.get(name)
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None or "T" not in text:
        message = f"The `{name}` query parameter value [{text}] is not a valid RFC3339 date-time"
        raise invalid_request([({name: text}, message)])
    return parsed.astimezone(UTC)


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _to_minute(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%MZ")


def _edges(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    edge = start - (start - _FIRST_POST) % step + step
    while edge < end:
        yield edge
        edge += step

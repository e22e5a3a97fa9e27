"""What the stand-in of X can be told to do wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local.faults import Fault, Faults, Kind, Option, is_number, number
from local.x_api.limits import LIMITS

STATUSES = (401, 402, 403, 409, 429, 500, 501, 502, 503, 504)
_PLACES = sorted({*LIMITS, *(name.partition(".")[0] for name in LIMITS), "all"})
_GARBAGE = ["no json", "[]", "null", '{"data":5}', '{"data":{}}', '"text"']


def _list_of(default: list[Any], wanted: str, good: Callable[[Any], bool]) -> Option:
    def check(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(map(good, value))

    return Option(default, f"a list of {wanted}", check)


def _whole(value: Any, high: int) -> bool:
    return type(value) is int and 1 <= value <= high


KINDS: dict[str, Kind] = {
    # An error message in the stream, then the end of the connection.
    "operational-disconnect": Kind("moment"),
    # The end of the connection in good order, without a message.
    "close": Kind("moment"),
    # A TCP reset in the middle of a chunk, in the middle of a post.
    "reset": Kind("moment"),
    # The end of the connection in good order, but in the middle of a post.
    "end-in-tweet": Kind("moment"),
    # The compressed stream ends in the middle; strikes only clients that take gzip.
    "gzip-cut": Kind("moment"),
    # So many posts at once, beyond the stream's rate; searches find them too.
    "burst": Kind(
        "moment",
        {"count": Option(10_000, "a whole number from 1 to 100000", lambda value: _whole(value, 100_000))},
    ),
    # Posts whose texts have so many bytes, one of each; searches find those that still meet the query.
    "sizes": Kind(
        "moment",
        {
            "bytes": _list_of(
                [1, 280, 4_000, 65_536, 2**20],
                "whole numbers from 1 to 4194304",
                lambda value: _whole(value, 4 * 2**20),
            )
        },
    ),
    # A new connection first gets again what was sent in the last ``back`` seconds.
    "redelivery": Kind("moment", {"back": number(60.0)}),
    # The connection that ends next goes on counting until it is freed; a ``foreign`` one is another client's.
    "zombie": Kind(
        "period", {"foreign": Option(False, "true or false", lambda value: isinstance(value, bool))}
    ),
    # Every rule is deleted.
    "rules-lost": Kind("moment"),
    # A post's line is cut, and then the next line comes.
    "cut-line": Kind("line"),
    # A line that is no post, before a post's line; these in turn.
    "garbage": Kind("line", {"lines": _list_of(_GARBAGE, "texts", lambda value: isinstance(value, str))}),
    # A post's line holds bytes that are no UTF-8.
    "bad-utf8": Kind("line"),
    # A post comes twice.
    "duplicates": Kind("line"),
    # `matching_rules` without tags, and no `matching_rules` at all.
    "untagged": Kind("line"),
    "unmatched": Kind("line"),
    # Posts come up to ``spread`` seconds late, in another order.
    "disorder": Kind("period", {"spread": number(5.0)}),
    # Posts are lost, keep-alives come.
    "keep-alives-only": Kind("period"),
    # Posts are lost, nothing comes.
    "silence": Kind("period"),
    # So many bytes a second and no more.
    "slow-drip": Kind("period", {"rate": number(200.0)}),
    # Requests to ``on`` (an endpoint, a group of them, or all) are rejected; 429 tells its reset in ``reset``
    # seconds, or not at all (null).
    "http": Kind(
        "request",
        {
            "status": Option(503, f"one of {', '.join(map(str, STATUSES))}", lambda value: value in STATUSES),
            "on": Option("stream", f"one of {', '.join(_PLACES)}", lambda value: value in _PLACES),
            "reset": Option(
                None,
                "null or a number of seconds",
                lambda value: value is None or (is_number(value) and value >= 0),
            ),
        },
    ),
    # Requests to ``on`` are rejected because the month's cap is used up: 429, as for a rate limit, and yet
    # nothing that passes within minutes.
    "usage-cap": Kind(
        "request", {"on": Option("search", f"one of {', '.join(_PLACES)}", lambda value: value in _PLACES)}
    ),
    # A page of a search: its texts end in half an emoji; it names itself as the page that follows (of pages
    # that were asked for by a token); it is empty and the last one, though there are posts; it has null where
    # a field or a list may be absent.
    "page-surrogates": Kind("request"),
    "page-repeated": Kind("request"),
    "page-empty": Kind("request"),
    "page-nulls": Kind("request"),
    # X's clock is ``offset`` seconds ahead, as far as its headers tell.
    "clock-skew": Kind("period", {"offset": Option(300.0, "a number of seconds", is_number)}),
}
"""All faults there are, beside what holds for every kind (`local.faults`)."""


def strike_request(faults: Faults, endpoint: str) -> Fault | None:
    """The `usage-cap` or `http` fault that rejects a request to the endpoint."""
    places = (endpoint, endpoint.partition(".")[0], "all")
    for kind in ("usage-cap", "http"):
        if fault := faults.strike(kind, lambda fault: fault.options["on"] in places):
            return fault
    return None

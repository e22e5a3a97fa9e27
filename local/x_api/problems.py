"""X's errors as problem objects (RFC 7807 with X's additions).

Sources: OpenAPI 2.167 of X's API v2; the wording as its users have published it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from local.gate import Message
from local.x_api.post import Json

_TYPES = "https://api.twitter.com/2/problems/"
_ACCOUNT_ID = 1234567890123456
"""Of nobody: X names the account that it rejects."""


class Problem(Exception):  # noqa: N818 - an answer in X's terms, not only an error
    """An answer other than success: HTTP status, body and further headers."""

    def __init__(self, status: int, body: Json, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body.get('title')}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


def plain(status: int, title: str, detail: str | None = None) -> Problem:
    """A problem that says no more than its HTTP status: 401, 404, 429 …"""
    return Problem(
        status, {"title": title, "detail": detail or title, "type": "about:blank", "status": status}
    )


def rejected(_scope: Message, status: int, reason: str) -> tuple[str, bytes]:
    """The media type and the body of the gate's rejections."""
    problem = plain(status, HTTPStatus(status).phrase, reason)
    return "application/problem+json", json.dumps(problem.body).encode()


def invalid_request(errors: Sequence[tuple[Mapping[str, str], str]]) -> Problem:
    """400 for parameters: pairs of the parameters (name to value) and the sentence about them."""
    return Problem(
        400,
        {
            "errors": [
                {"parameters": {name: [value] for name, value in parameters.items()}, "message": message}
                for parameters, message in errors
            ],
            "title": "Invalid Request",
            "detail": "One or more parameters to your request was invalid.",
            "type": f"{_TYPES}invalid-request",
        },
    )


def credits_depleted() -> Problem:
    """402: the account has no credits; title and type as the API's users name them (2026)."""
    return Problem(
        402,
        {
            "account_id": _ACCOUNT_ID,
            "title": "CreditsDepleted",
            "detail": "Your enrolled account does not have any credits to fulfill this request.",
            "type": f"{_TYPES}credits",
        },
    )


def usage_capped() -> Problem:
    """429 because the month's cap is used up, as published in xdevplatform/xdk issue 25 (February 2026)."""
    return Problem(
        429,
        {
            "account_id": _ACCOUNT_ID,
            "product_name": "standard-basic",
            "title": "UsageCapExceeded",
            "period": "Monthly",
            "scope": "Product",
            "detail": "Usage cap exceeded: Monthly product cap",
            "type": f"{_TYPES}usage-capped",
        },
    )


def connection(status: int, issue: str, detail: str) -> Problem:
    """A stream that cannot be connected to; ``issue`` is TooManyConnections, RuleConfigurationIssue …"""
    return Problem(
        status,
        {
            "title": "ConnectionException",
            "detail": detail,
            "connection_issue": issue,
            "type": f"{_TYPES}streaming-connection",
        },
    )


def operational_disconnect(detail: str) -> Json:
    """What stands in the stream itself before X ends it."""
    return {
        "errors": [
            {
                "title": "operational-disconnect",
                "disconnect_type": "UpstreamOperationalDisconnect",
                "detail": detail,
                "type": f"{_TYPES}operational-disconnect",
            }
        ]
    }


def invalid_rule(value: str, details: Sequence[str]) -> Json:
    """An entry of ``errors`` for a rule that does not parse or breaks a limit."""
    return {
        "value": value,
        "details": list(details),
        "title": "UnprocessableEntity",
        "type": f"{_TYPES}invalid-rules",
    }


def duplicate_rule(value: str, rule_id: str) -> Json:
    """An entry of ``errors`` for a rule that is there already, under ``rule_id``."""
    return {
        "value": value,
        "id": rule_id,
        "title": "DuplicateRule",
        "type": f"{_TYPES}duplicate-rules",
    }


def rule_cap(value: str, cap: int) -> Json:
    """An entry of ``errors`` for a rule beyond the number that the product allows."""
    return {
        "value": value,
        "title": "RulesCapExceeded",
        "detail": f"You have exceeded the maximum number of rules: {cap}.",
        "type": f"{_TYPES}rule-cap",
    }


def missing_rule(parameters: Mapping[str, str]) -> Json:
    """An entry of ``errors`` for a rule that was to be deleted but does not exist."""
    return {
        "errors": [
            {
                "parameters": {name: [value] for name, value in parameters.items()},
                "message": "Rule does not exist",
            }
        ],
        "title": "Invalid Request",
        "detail": "One or more parameters to your request was invalid.",
        "type": f"{_TYPES}invalid-request",
    }

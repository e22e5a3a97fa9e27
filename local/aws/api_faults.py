"""Errors that can be injected into any service of the local AWS, under ``/_local/aws/faults``."""

from __future__ import annotations

import re
from typing import Any

from local.faults import Faults, Kind, Option

PATH = "/_local/aws/faults"


def _is_pattern(value: object) -> bool:
    try:
        re.compile(value if isinstance(value, str) else "(")
    except re.error:
        return False
    return True


def _text(default: str) -> Option:
    return Option(default, "a text", lambda value: isinstance(value, str) and bool(value))


KINDS: dict[str, Kind] = {
    # One request of ``service`` (moto's name) is answered by the error ``code``, without being carried out.
    # ``request`` is a regular expression that the operation matches from its start; of S3 and QuickSight,
    # whose paths tell it, method and path: "PUT /bucket/labeled/".
    "reject": Kind(
        "request",
        {
            "service": _text("s3"),
            "request": Option("", "a regular expression", _is_pattern),
            "code": _text("ThrottlingException"),
            "status": Option(
                400, "an error's HTTP status", lambda value: isinstance(value, int) and 400 <= value < 600
            ),
            "message": _text("Told to."),
        },
    ),
}
"""All faults; `local.faults` describes what they have in common."""

FAULTS = Faults(KINDS)
"""The faults of this process."""


def strike(service: str, asked: str) -> dict[str, Any] | None:
    """The ``code``, ``status`` and ``message`` that a request is rejected with; None: it is carried out."""
    fault = FAULTS.strike(
        "reject",
        lambda fault: (
            fault.options["service"] == service and re.match(fault.options["request"], asked) is not None
        ),
    )
    return {name: fault.options[name] for name in ("code", "status", "message")} if fault else None

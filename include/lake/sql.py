"""The statements of ``sql/``: one per file, in Athena's dialect, with named parameters.

A parameter is written ``${name}`` and is always rendered as a whole literal with its quotes, so a file never
puts quotes around it. ``${fragments/name}`` inserts text that several statements share, from
``sql/fragments/<name>.sql``; a fragment may insert others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from string import Template

STATEMENTS = Path(__file__).parents[2] / "sql"
"""The folder of all statements."""

Value = str | int | datetime | Sequence[str]

# Athena's DDL and DML escape quotes differently, and none of our names, days or addresses has one.
_PLAIN = re.compile(r"[^'\"\\`\x00-\x1f\x7f]*")
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)
_FRAGMENTS = "fragments/"
_SHARED = re.compile(rf"\$\{{({_FRAGMENTS}\w+)\}}")


class StatementError(ValueError):
    """A statement cannot be rendered: no such file, a missing or unknown parameter, an unsafe value."""


def names(folder: str = "") -> list[str]:
    """The names of all statements below ``folder``, such as ``coverage/measures``, sorted."""
    files = (STATEMENTS / folder).rglob("*.sql")
    found = (path.relative_to(STATEMENTS).with_suffix("").as_posix() for path in files)
    return sorted(name for name in found if not name.startswith(_FRAGMENTS))


@cache
def _template(name: str) -> Template:
    if name not in names():
        raise StatementError(f"there is no statement {name!r}; there are {', '.join(names())}")
    return Template(_whole(name))


def _whole(name: str) -> str:
    """The statement with what it shares, which may share more."""
    return _SHARED.sub(lambda found: _whole(found[1]), text(name))


def text(name: str) -> str:
    """The statement ``sql/<name>.sql`` without its comments, before its parameters are inserted."""
    path = STATEMENTS / f"{name}.sql"
    return _COMMENT.sub("", path.read_text(encoding="utf-8")).strip()


def parameters(name: str) -> set[str]:
    """The names of a statement's parameters."""
    return set(_template(name).get_identifiers())


def literal(value: Value) -> str:
    """The value as a literal: text and times in quotes, a sequence of texts joined by commas for ``IN (…)``.

    An aware datetime becomes a UTC ``TIMESTAMP`` in milliseconds. Raises `StatementError` for a text with
    quotes, backslashes or control characters, an empty sequence, or a type that has no literal.
    """
    if isinstance(value, str):
        if not _PLAIN.fullmatch(value):
            raise StatementError(f"{value!r} holds a quote, a backslash or a control character")
        return f"'{value}'"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise StatementError(f"a time needs a time zone: {value!r}")
        utc = value.astimezone(UTC)
        return f"TIMESTAMP '{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d}'"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Sequence) and value and all(isinstance(item, str) for item in value):
        return ", ".join(literal(item) for item in value)
    raise StatementError(f"{value!r} has no literal")


def render(name: str, **values: Value) -> str:
    """The statement ``sql/<name>.sql`` without its comments, with every parameter inserted.

    Raises `StatementError` if a parameter is missing or unknown, or a value is unsafe.
    """
    known = parameters(name)
    if known != values.keys():
        missing = ", ".join(sorted(known - values.keys())) or "none"
        unknown = ", ".join(sorted(values.keys() - known)) or "none"
        raise StatementError(f"statement {name!r}: missing parameters: {missing}; unknown: {unknown}")
    return _template(name).substitute({key: literal(value) for key, value in values.items()})

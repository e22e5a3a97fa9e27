"""Statements are rendered strictly: every parameter, no other, and only values that cannot break out."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lake import sql
from include.lake.sql import StatementError, literal, render

BOUNDS = {
    "days": ["2026-11-20"],
    "hours": ["2026-11-20T05", "2026-11-20T06"],
    "unreadable": [""],
}


def test_every_parameter_is_put_in_as_a_literal_and_comments_go() -> None:
    statement = render("coverage/heartbeats", **BOUNDS)
    assert "dt IN ('2026-11-20')" in statement
    assert "IN ('2026-11-20T05', '2026-11-20T06')" in statement
    assert "${" not in statement
    assert "--" not in statement
    assert statement.startswith("SELECT")


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        (
            "coverage/heartbeats",
            {},
            "missing parameters: days, hours, unreadable; unknown: none",
        ),
        ("coverage/heartbeats", {**BOUNDS, "topic": "a"}, "missing parameters: none; unknown: topic"),
        (
            "coverage/nothing",
            {},
            "there is no statement 'coverage/nothing'; there are audit",
        ),
        ("coverage/heartbeats", {**BOUNDS, "days": ["2026' OR '1'='1"]}, "holds a quote"),
    ],
)
def test_what_does_not_fit_is_rejected(name: str, values: dict[str, Any], says: str) -> None:
    with pytest.raises(StatementError, match=says):
        render(name, **values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "'x'"),
        (-7, "-7"),
        (["a", "b"], "'a', 'b'"),
        (
            datetime(2026, 11, 20, 7, 0, 0, 123_999, timezone(timedelta(hours=2))),
            "TIMESTAMP '2026-11-20 05:00:00.123'",
        ),
    ],
)
def test_values_become_literals(value: Any, text: str) -> None:
    assert literal(value) == text


@pytest.mark.parametrize(
    "value",
    [True, None, 1.5, [], [1], "a\\", "a\nb", 'a"', "a`", datetime(2026, 1, 1), b"x"],  # noqa: DTZ001
)
def test_values_without_a_safe_literal_are_rejected(value: Any) -> None:
    with pytest.raises(StatementError):
        literal(value)


@given(st.text())
def test_no_text_ends_its_literal_early(text: str) -> None:
    try:
        found = literal(text)
    except StatementError:
        return
    assert found == f"'{text}'"
    assert not set(text) & set("'\"\\`\n\r")


def test_what_statements_share_is_put_in_and_is_no_statement_itself() -> None:
    shared = sorted(path.stem for path in (sql.STATEMENTS / "fragments").glob("*.sql"))
    assert shared
    assert not [name for name in sql.names() if name.startswith("fragments/")]
    for fragment in shared:
        users = [
            path
            for path in sql.STATEMENTS.rglob("*.sql")
            if f"${{fragments/{fragment}}}" in path.read_text(encoding="utf-8")
        ]
        assert len(users) > 1, f"{fragment} is shared by nobody"
    view = render("views/opinion_by_hour")
    assert "intervals AS (" in view
    assert "AS ratio_high" in view
    assert "${" not in view
    assert "FROM all_quarantine" in render("compliance/counts"), "a fragment of a fragment"
    with pytest.raises(StatementError, match="there is no statement"):
        render("fragments/intervals")


def test_statements_are_found_by_folder() -> None:
    assert "tables/raw" in sql.names()
    assert sql.names("tables") == [name for name in sql.names() if name.startswith("tables/")]

"""The measures' language: what it takes, what it rejects, and that all translations mean the same."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.insights import page
from include.insights.expressions import (
    Aggregate,
    Condition,
    ExpressionError,
    Function,
    Numbers,
    evaluate,
    parse,
    resolved,
    restricted,
    to_quicksight,
    to_sql,
)
from include.insights.quicksight import calculated_fields, field_name
from tests.unit.support_dashboards import (
    as_quicksight_reads,
    generated_definition,
    generated_rows,
    same,
    table,
)


def value(text: str, **aggregates: float) -> float | None:
    """The value of an expression in which ``sum(name)`` is what ``aggregates`` says."""

    def known(wanted: Aggregate) -> Numbers:
        return np.array(aggregates[wanted.column])

    found = float(evaluate(resolved(parse(text), {}), known))
    return None if np.isnan(found) else found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("8 - 2 - 1", 5),
        ("8 / 2 / 2", 2),
        ("2 - -1", 3),
        ("sqrt(9)", 3),
        ("ifelse(1 < 2, 5, 6)", 5),
        ("sum(x) / sum(y)", 1.5),
        ("sum(x) / sum(zero)", None),
        ("1 + sum(x) / sum(zero)", None),
        ("sqrt(0 - sum(x))", None),
        ("ifelse(sum(x) / sum(zero) <> 1, 5, 6)", 6),
    ],
)
def test_arithmetic_is_as_everywhere_and_what_has_no_value_is_null(text: str, expected: float | None) -> None:
    assert value(text, x=3, y=2, zero=0) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sum(a", r"'\)' is expected, not 'the end'"),
        ("1 +", "a number, a name or '\\(' is expected, not 'the end'"),
        ("sum(a) sum(b)", "'sum' is not expected here"),
        ("sum(1)", "sum takes a column's name, not '1'"),
        ("sum(a, topic)", "a comparison is expected"),
        ("sum(a, topic = b)", "compares with a text in quotes or a number, not 'b'"),
        ("nothing(1)", "there is no function 'nothing'; there are sum, max, sqrt, ifelse, twice"),
        ("twice(1, 2)", "'twice' takes 1 arguments, not 2"),
        ("ifelse(1, 2, 3)", "ifelse starts with a comparison"),
        ("a ; b", "';' is not understood \\(character 3"),
    ],
)
def test_what_cannot_be_read_is_rejected_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        parse(text, {"twice": Function(("x",), parse("x + x"))})


def test_references_are_put_in_and_circles_rejected() -> None:
    names = {"a": parse("b + 1"), "b": parse("sum(x)"), "c": parse("d"), "d": parse("c")}
    assert resolved(parse("a * 2"), names) == parse("(sum(x) + 1) * 2")
    with pytest.raises(ExpressionError, match="'c' refers to itself: c → d → c"):
        resolved(parse("c"), names)
    with pytest.raises(ExpressionError, match="unknown measure or term 'e'; the measures are a, b, c, d"):
        resolved(parse("e"), names)


def test_a_restriction_reaches_every_aggregate_and_every_reference() -> None:
    condition = Condition("topic", "=", "music")
    found = restricted(parse("sum(x, lang = 'en') / total"), (condition,))
    whole = resolved(found, {"total": parse("max(y)")})
    assert whole == parse("sum(x, lang = 'en', topic = 'music') / max(y, topic = 'music')")


def test_quicksights_expressions_and_sql_look_as_their_languages_want_it() -> None:
    expression = parse("sum(x, topic = 'music', n > 0.5) / sum(y)")
    assert (
        to_quicksight(expression)
        == "(coalesce(sumIf({x}, {topic} = 'music' AND {n} > 0.5), 0) / nullIf(coalesce(sum({y}), 0), 0))"
    )
    assert to_sql(expression) == (
        """(CAST(COALESCE(SUM(CASE WHEN "topic" = 'music' AND "n" > 0.5 THEN "x" END), 0) AS DOUBLE)"""
        """ / NULLIF(CAST(COALESCE(SUM("y"), 0) AS DOUBLE), 0e0))"""
    )
    # QuickSight knows no exponents.
    assert to_quicksight(parse("0.0000000001")) == "0.0000000001"


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), count=st.integers(0, 12))
def test_page_and_quicksight_agree_on_every_measure_of_any_definition(
    tmp_path: Path, seed: int, count: int
) -> None:
    choose = random.Random(seed)
    definition = generated_definition(choose, tmp_path / "dashboards.yaml")
    rows = generated_rows(choose, count)
    dashboard = definition.dashboards["one"]
    found = page.evaluate(dashboard, table(definition.data_sets["facts"], rows))
    fields = {name: expression for (_, name), expression in calculated_fields(dashboard).items()}
    for tile, shown in zip(dashboard.tiles, found["tiles"], strict=True):
        for role in ("value", "low", "high"):
            read = as_quicksight_reads(field_name(tile.measure, role), fields, rows)
            assert same(shown[role], read), (tile.measure.name, role)
    (visual,) = found["visuals"]
    for line in visual["rows"]:
        own = [row for row in rows if row["topic"] == line[0]]
        for column, figure in list(zip(visual["columns"], line, strict=True))[1:]:
            if column["role"] != "n":
                measure, _, role = column["name"].partition(".")
                name = f"{measure} ({role})" if role else measure
                assert same(figure, as_quicksight_reads(name, fields, own)), column

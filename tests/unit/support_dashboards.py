"""Topics, rows and generated measures for the dashboards' tests, and QuickSight's reading of a measure."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from include.insights import page
from include.insights.definition import DataSet, Definition, load
from include.x.topics import Collection, Topic, Topics
from local.aws.quicksight import expressions as quicksight

type Row = Mapping[str, Any]

NUMBERS = ("integer", "decimal")

FUNCTIONS = """
functions:
  half(x): x / 2
  low(p, n): (p + 2 / n - 1.96 * sqrt(p * (1 - p) / n + 1 / (n * n))) / (1 + 4 / n)
  guarded(x, y): ifelse(x < y, x / y, y - x)
"""


def topics(*names: str) -> Topics:
    """Topics of these names; the title is the name in capitals."""
    found = tuple(Topic(name, name.upper(), {"en": (name,)}) for name in names)
    return Topics(Collection(datetime(2026, 11, 1, tzinfo=UTC), 1000, 100), found)


@cache
def _counts() -> dict[str, int]:
    columns = load(topics("football", "music")).data_sets["opinion"].columns.values()
    return {column.name: 0 for column in columns if column.sql == column.name and column.type in NUMBERS}


def nothing_counted() -> dict[str, Any]:
    """The figures of a row of the view `opinion`, all 0: tests name those that they are about."""
    return dict(_counts())


def audit_columns(
    judged: float = 0.0, negative: float = 0.0, positive: float = 0.0, error: float = 0.0
) -> dict[str, float]:
    """A row's columns by which audits rectify it: shares and one error, of ``judged`` weighted rows.

    The topic's, the language's and the country's audit are the same; without figures nobody has judged.
    """
    found = {
        "audited": judged,
        "rectified_negative": negative * judged,
        "rectified_positive": positive * judged,
        "error_negative": error * judged,
        "error_positive": error * judged,
        "error_net": error * judged,
    }
    borrowed = {"language_borrowed": 0.0, "country_borrowed": 0.0}
    return borrowed | {
        f"{scope}{name}": value for scope in ("", "language_", "country_") for name, value in found.items()
    }


def generated_expression(choose: random.Random, depth: int = 2, terms: Sequence[str] = ()) -> str:
    """An expression over the columns ``a`` and ``b`` and, on topics and languages, conditions."""
    if depth == 0 or choose.random() < 0.2:
        column = choose.choice("ab")
        conditions = choose.sample(
            ["topic = 'football'", "topic <> 'music'", "lang = 'en'", "a >= 2", "b <> 0"],
            choose.randint(0, 2),
        )
        aggregate = f"{choose.choice(['sum', 'sum', 'max'])}({', '.join([column, *conditions])})"
        return choose.choice([aggregate, aggregate, str(choose.randint(0, 3)), "0.5", *terms])
    parts = [generated_expression(choose, depth - 1, terms) for _ in range(4)]
    return choose.choice(
        [
            f"({parts[0]} + {parts[1]})",
            f"({parts[0]} - {parts[1]})",
            f"{parts[0]} * ({parts[1]})",
            f"{parts[0]} / ({parts[1]})",
            f"-{parts[0]}",
            f"sqrt({parts[0]})",
            f"half({parts[0]})",
            f"low({parts[0]}, {parts[1]})",
            f"guarded({parts[0]}, {parts[1]})",
            f"ifelse({parts[0]} {choose.choice(['=', '<>', '<', '>='])} {parts[1]}, {parts[2]}, {parts[3]})",
        ]
    )


def generated_definition(choose: random.Random, path: Path, measures: int = 4) -> Definition:
    """A definition of one dashboard with generated terms and measures, written to ``path``."""
    expression: Callable[..., str] = lambda *terms: generated_expression(choose, 2, terms)  # noqa: E731
    lines = [
        FUNCTIONS,
        "data_sets:",
        "  facts:",
        "    title: Facts",
        "    view: facts",
        "    columns: {hour: time, topic: text, lang: text, a: integer, b: decimal}",
        "    terms:",
        f"      first_term: {expression()}",
        f"      second_term: {expression('first_term')}",
        "    measures:",
    ]
    for number in range(measures):
        lines.append(f"      m{number}:")
        lines += [
            f"        {role}: {expression('first_term', 'second_term')}"
            for role in ("value", "low", "high", "n")
        ]
        lines += ["        title: A measure", "        format: ratio"]
    names = ", ".join(f"m{number}" for number in range(measures))
    lines += ["dashboards:", "  one:", "    title: One", "    filters: [topic]", "    tiles:"]
    lines += [f"      - {{measure: m{number}}}" for number in range(measures)]
    lines += [f"      - {{measure: m{number}, each: topic}}" for number in range(measures)]
    lines += [
        "    visuals:",
        f"      - {{id: all, kind: table, title: All, measures: [{names}], by: [topic]}}",
    ]
    path.write_text("\n".join(lines))
    return load(topics("football", "music"), path)


def generated_rows(choose: random.Random, count: int) -> list[dict[str, Any]]:
    """Rows of the generated definition's data set, whose sums are exact; some values are null."""
    return [
        {
            "hour": datetime(2026, 11, 22, choose.randint(0, 3)),  # noqa: DTZ001 - the lake's times are naive
            "topic": choose.choice(["football", "music"]),
            "lang": choose.choice(["en", "de", None]),
            "a": choose.choice([0, 1, 2, 3, None]),
            "b": choose.choice([0.0, 0.5, 1.0, -2.0, None]),
        }
        for _ in range(count)
    ]


def table(data_set: DataSet, rows: Sequence[Row]) -> pa.Table:
    """Rows as a page has them once they were selected."""
    return page.table(data_set, pa.table({name: [row[name] for row in rows] for name in data_set.columns}))


def as_quicksight_reads(name: str, fields: Mapping[str, str], rows: Sequence[Row]) -> float | None:
    """The value of a calculated field over rows, by QuickSight's rules; ``fields`` are the expressions."""
    found: float | None = _over(quicksight.Field(name), fields, rows)
    return found


_parsed = cache(quicksight.parse)


def _over(node: quicksight.Node, fields: Mapping[str, str], rows: Sequence[Row]) -> Any:
    match node:
        case quicksight.Literal(value):
            return value
        case quicksight.Field(name):
            return _over(_parsed(fields[name]), fields, rows)
        case quicksight.Operation(sign, left, right):
            return _operated(sign, _over(left, fields, rows), _over(right, fields, rows))
        case quicksight.Call(function, (quicksight.Field(column), *condition)) if (
            function in quicksight.AGGREGATES
        ):
            taken = [row for row in rows if not condition or _in_row(condition[0], row)]
            values = [row[column] for row in taken if row[column] is not None]
            if not values:
                return None
            return max(values) if function.startswith("max") else math.fsum(values)
        case quicksight.Call("ifelse", (condition_, then, otherwise)):
            return _over(then if _over(condition_, fields, rows) else otherwise, fields, rows)
        case quicksight.Call(function, arguments):
            return _called(function, [_over(argument, fields, rows) for argument in arguments])
    raise AssertionError(node)


def _in_row(node: quicksight.Node, row: Row) -> Any:
    match node:
        case quicksight.Literal(value):
            return value
        case quicksight.Field(name):
            return row[name]
        case quicksight.Operation(sign, left, right):
            return _operated(sign, _in_row(left, row), _in_row(right, row))
    raise AssertionError(node)


def _called(function: str, values: list[Any]) -> Any:
    match function:
        case "coalesce":
            return next((value for value in values if value is not None), None)
        case "nullIf":
            return None if values[0] == values[1] else values[0]
        case "sqrt":
            return None if values[0] is None else math.sqrt(values[0])
    raise AssertionError(function)


def _operated(sign: str, left: Any, right: Any) -> Any:
    if sign == "and":
        return bool(left) and bool(right)
    if left is None or right is None:
        return None
    match sign:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right
        case "=":
            return left == right
        case "<>":
            return left != right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case ">=":
            return left >= right
    raise AssertionError(sign)


def same(ours: float | None, theirs: float | None) -> bool:
    """Whether two figures are one; what is beyond all numbers is none."""
    if theirs is not None and not math.isfinite(theirs):
        theirs = None
    if ours is None or theirs is None:
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)

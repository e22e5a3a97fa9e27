"""The language of measures: parsed once, then translated to QuickSight, to Athena's SQL, or evaluated.

    share_positive:  sum(weighted_positive) / sum(weighted_judged)
    first_share:     sum(weighted_judged, topic = 'football') / sum(weighted_judged)

An expression is made of numbers, ``sum(column, condition, …)`` and ``max(…)`` (conditions are joined by
*and*; over no rows both are 0), names of other expressions, calls of the definition's own functions,
``+ - * /``, ``sqrt(x)`` and ``ifelse(a < b, then, else)``. In all three translations a division by zero and
the root of a negative number are null, null makes arithmetic null, and a comparison with null does not hold.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn

import numpy as np
import numpy.typing as npt

type Numbers = npt.NDArray[np.float64]
"""One number per group; NaN stands for null."""

AGGREGATE_FUNCTIONS = ("sum", "max")
COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<text>'[^']*')|(?P<sign><>|<=|>=|[-+*/(),=<>]))"
)
_NUMPY: Mapping[str, Callable[[Numbers, Numbers], npt.NDArray[np.bool_]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: Mapping[str, Callable[[Numbers, Numbers], Numbers]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


class ExpressionError(ValueError):
    """An expression cannot be parsed; the message says where and why."""


@dataclass(frozen=True)
class Condition:
    """``column = 'text'`` or ``column >= 1``: which rows an aggregate includes; null never meets it."""

    column: str
    comparison: str
    value: str | float


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Aggregate:
    """``sum`` or ``max`` of a column over a group's rows that meet all conditions; 0 if there are none."""

    function: str
    column: str
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Reference:
    """Another named expression, with ``conditions`` added to each of its aggregates."""

    name: str
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Arithmetic:
    """``left sign right``, sign being one of ``+ - * /``."""

    sign: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Root:
    """The square root."""

    of: Expression


@dataclass(frozen=True)
class Choice:
    """``ifelse(left comparison right, then, otherwise)``."""

    comparison: str
    left: Expression
    right: Expression
    then: Expression
    otherwise: Expression


type Expression = Number | Aggregate | Reference | Arithmetic | Root | Choice


@dataclass(frozen=True)
class Function:
    """A function of the definition: its parameters' names are references in ``body``."""

    parameters: tuple[str, ...]
    body: Expression


def parse(text: str, functions: Mapping[str, Function] | None = None) -> Expression:
    """Parses an expression and expands calls of ``functions``; raises `ExpressionError`."""
    return _Parser(text, functions or {}).whole()


def parse_condition(text: str) -> Condition:
    """Parses a condition such as ``country_code <> '--'``; raises `ExpressionError`."""
    return _Parser(text, {}).condition()


def parse_head(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and parameters of a function's signature such as ``low(p, n)``; raises `ExpressionError`."""
    found = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*\(\s*(\w+(?:\s*,\s*\w+)*)\s*\)\s*", text)
    if not found:
        raise ExpressionError(f"'{text}' is not a function signature; write it like low(p, n)")
    name, names = found[1], tuple(part.strip() for part in found[2].split(","))
    if name in (*AGGREGATE_FUNCTIONS, "sqrt", "ifelse"):
        raise ExpressionError(f"'{name}' is a function of the language itself")
    if len(set(names)) != len(names):
        raise ExpressionError(f"two parameters of '{name}' have the same name")
    return name, names


class _Parser:
    def __init__(self, text: str, functions: Mapping[str, Function]) -> None:
        self._text = text
        self._functions = functions
        self._tokens: list[tuple[str, str, int]] = []
        position = 0
        while position < len(text.rstrip()):
            found = _TOKEN.match(text, position)
            if not found or not found.lastgroup:
                rest = text[position:].lstrip()
                self._reject(f"'{rest[0]}' is not understood", len(text) - len(rest))
            self._tokens.append((found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
            position = found.end()
        self._tokens.append(("end", "the end", len(text)))
        self._at = 0

    def _reject(self, reason: str, position: int | None = None) -> NoReturn:
        column = (self._tokens[self._at][2] if position is None else position) + 1
        raise ExpressionError(f"{reason} (character {column} of '{' '.join(self._text.split())}')")

    def _next(self) -> tuple[str, str]:
        kind, text, _ = self._tokens[self._at]
        self._at += kind != "end"
        return kind, text

    def _peek(self, *signs: str) -> bool:
        kind, text, _ = self._tokens[self._at]
        return kind == "sign" and text in signs

    def _expect(self, sign: str) -> None:
        if not self._peek(sign):
            self._reject(f"'{sign}' is expected, not {self._tokens[self._at][1]!r}")
        self._at += 1

    def whole(self) -> Expression:
        result = self._sum()
        self._expect_end()
        return result

    def _expect_end(self) -> None:
        if self._tokens[self._at][0] != "end":
            self._reject(f"{self._tokens[self._at][1]!r} is not expected here")

    def _sum(self) -> Expression:
        result = self._product()
        while self._peek("+", "-"):
            sign = self._next()[1]
            result = Arithmetic(sign, result, self._product())
        return result

    def _product(self) -> Expression:
        result = self._factor()
        while self._peek("*", "/"):
            sign = self._next()[1]
            result = Arithmetic(sign, result, self._factor())
        return result

    def _factor(self) -> Expression:
        if self._peek("-"):
            self._at += 1
            return Arithmetic("-", Number(0.0), self._factor())
        if self._peek("("):
            self._at += 1
            result = self._sum()
            self._expect(")")
            return result
        kind, text, position = self._tokens[self._at]
        if kind == "number":
            self._at += 1
            return Number(float(text))
        if kind != "name":
            self._reject(f"a number, a name or '(' is expected, not {text!r}")
        self._at += 1
        if not self._peek("("):
            return Reference(text)
        self._at += 1
        if text in AGGREGATE_FUNCTIONS:
            return self._aggregate(text)
        if text == "sqrt":
            result = Root(self._sum())
            self._expect(")")
            return result
        if text == "ifelse":
            return self._choice()
        return self._call(text, position)

    def _aggregate(self, function: str) -> Expression:
        kind, column = self._next()
        if kind != "name":
            self._at -= 1
            self._reject(f"{function} takes a column's name, not {column!r}")
        conditions = []
        while self._peek(","):
            self._at += 1
            conditions.append(self._condition())
        self._expect(")")
        return Aggregate(function, column, tuple(conditions))

    def condition(self) -> Condition:
        result = self._condition()
        self._expect_end()
        return result

    def _condition(self) -> Condition:
        kind, name = self._next()
        if kind != "name":
            self._reject(f"a condition such as topic = 'name' is expected, not {name!r}")
        if not self._peek(*COMPARISONS):
            self._reject("a comparison is expected")
        comparison = self._next()[1]
        kind, value = self._next()
        if kind not in ("text", "number"):
            self._reject(f"a condition compares with a text in quotes or a number, not {value!r}")
        return Condition(name, comparison, value[1:-1] if kind == "text" else float(value))

    def _choice(self) -> Expression:
        left = self._sum()
        if not self._peek(*COMPARISONS):
            self._reject("ifelse starts with a comparison")
        comparison = self._next()[1]
        right = self._sum()
        self._expect(",")
        then = self._sum()
        self._expect(",")
        otherwise = self._sum()
        self._expect(")")
        return Choice(comparison, left, right, then, otherwise)

    def _call(self, name: str, position: int) -> Expression:
        if name not in self._functions:
            known = ", ".join([*AGGREGATE_FUNCTIONS, "sqrt", "ifelse", *self._functions])
            self._reject(f"there is no function '{name}'; there are {known}", position)
        function = self._functions[name]
        arguments = [self._sum()]
        while self._peek(","):
            self._at += 1
            arguments.append(self._sum())
        self._expect(")")
        if len(arguments) != len(function.parameters):
            self._reject(
                f"'{name}' takes {len(function.parameters)} arguments, not {len(arguments)}", position
            )
        values = dict(zip(function.parameters, arguments, strict=True))
        return substitute(function.body, lambda reference: values.get(reference.name, reference))


def substitute(
    expression: Expression,
    reference: Callable[[Reference], Expression] = lambda found: found,
    aggregate: Callable[[Aggregate], Expression] = lambda found: found,
) -> Expression:
    """``expression`` with its references and aggregates replaced; a part that is one object stays one."""
    done: dict[int, Expression] = {}

    def of(part: Expression) -> Expression:
        if id(part) not in done:
            match part:
                case Reference():
                    done[id(part)] = reference(part)
                case Aggregate():
                    done[id(part)] = aggregate(part)
                case _:
                    done[id(part)] = _made_of(part, tuple(map(of, _parts(part))))
        return done[id(part)]

    return of(expression)


def restricted(expression: Expression, conditions: tuple[Condition, ...]) -> Expression:
    """``expression`` over only those rows that also meet ``conditions``."""
    if not conditions:
        return expression
    return substitute(
        expression,
        lambda found: Reference(found.name, found.conditions + conditions),
        lambda found: Aggregate(found.function, found.column, found.conditions + conditions),
    )


def resolved(expression: Expression, names: Mapping[str, Expression]) -> Expression:
    """``expression`` with every reference replaced by the expression it names; raises `ExpressionError`.

    Equal parts of the result are one object, so `evaluate` computes each once.
    """
    return interned(_resolved(expression, names, ()))


def _resolved(expression: Expression, names: Mapping[str, Expression], path: tuple[str, ...]) -> Expression:
    def reference(found: Reference) -> Expression:
        if found.name not in names:
            known = ", ".join(names) or "none"
            raise ExpressionError(f"unknown measure or term '{found.name}'; the measures are {known}")
        if found.name in path:
            raise ExpressionError(f"'{found.name}' refers to itself: {' → '.join((*path, found.name))}")
        return restricted(_resolved(names[found.name], names, (*path, found.name)), found.conditions)

    return substitute(expression, reference)


def interned(expression: Expression) -> Expression:
    """``expression`` with equal parts made one object."""
    known: dict[Hashable, Expression] = {}
    done: dict[int, Expression] = {}

    def of(part: Expression) -> Expression:
        if id(part) not in done:
            parts = tuple(map(of, _parts(part)))
            # Its parts are interned already: they are equal if they are the same.
            key = (_sign(part), *map(id, parts)) if parts else part
            if key not in known:
                known[key] = _made_of(part, parts)
            done[id(part)] = known[key]
        return done[id(part)]

    return of(expression)


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and all its parts, one that is the same object once."""
    seen: set[int] = set()

    def of(part: Expression) -> Iterator[Expression]:
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            for inner in _parts(part):
                yield from of(inner)

    return of(expression)


def columns(expression: Expression) -> set[str]:
    """The columns that a resolved expression reads."""
    found = set()
    for part in walk(expression):
        if isinstance(part, Aggregate):
            found |= {part.column, *(condition.column for condition in part.conditions)}
    return found


def to_quicksight(
    expression: Expression, label: Callable[[Reference], str] = lambda found: found.name
) -> str:
    """The expression as QuickSight's calculated field; a reference becomes the field named by ``label``.

    Functions: https://docs.aws.amazon.com/quicksight/latest/user/functions-by-category.html.
    """
    match expression:
        case Number(value):
            return _number(value)
        case Reference():
            return f"{{{label(expression)}}}"
        case Aggregate(function, column, ()):
            return f"coalesce({function}({{{column}}}), 0)"
        case Aggregate(function, column, conditions):
            rows = " AND ".join(f"{{{c.column}}} {c.comparison} {_literal(c.value)}" for c in conditions)
            return f"coalesce({function}If({{{column}}}, {rows}), 0)"
        case Arithmetic("/", left, right):
            return f"({to_quicksight(left, label)} / nullIf({to_quicksight(right, label)}, 0))"
        case Arithmetic(sign, left, right):
            return f"({to_quicksight(left, label)} {sign} {to_quicksight(right, label)})"
        case Root(of):
            inner = to_quicksight(of, label)
            return f"ifelse({inner} >= 0, sqrt({inner}), NULL)"
        case Choice(comparison, left, right, then, otherwise):
            return (
                f"ifelse({to_quicksight(left, label)} {comparison} {to_quicksight(right, label)}, "
                f"{to_quicksight(then, label)}, {to_quicksight(otherwise, label)})"
            )


def to_sql(expression: Expression) -> str:
    """A resolved expression as Athena's SQL, a double."""
    match expression:
        case Number(value):
            return f"{value!r}e0" if "e" not in repr(value) else repr(value)
        case Aggregate(function, column, conditions):
            rows = " AND ".join(f'"{c.column}" {c.comparison} {_literal(c.value)}' for c in conditions)
            taken = f'CASE WHEN {rows} THEN "{column}" END' if rows else f'"{column}"'
            return f"CAST(COALESCE({function.upper()}({taken}), 0) AS DOUBLE)"
        case Arithmetic("/", left, right):
            return f"({to_sql(left)} / NULLIF({to_sql(right)}, 0e0))"
        case Arithmetic(sign, left, right):
            return f"({to_sql(left)} {sign} {to_sql(right)})"
        case Root(of):
            inner = to_sql(of)
            return f"CASE WHEN {inner} >= 0e0 THEN SQRT({inner}) END"
        case Choice(comparison, left, right, then, otherwise):
            return (
                f"CASE WHEN {to_sql(left)} {comparison} {to_sql(right)} "
                f"THEN {to_sql(then)} ELSE {to_sql(otherwise)} END"
            )
        case Reference(name):
            raise ExpressionError(f"'{name}' is not resolved")


def evaluate(
    expression: Expression,
    aggregate: Callable[[Aggregate], Numbers],
    known: dict[int, Numbers] | None = None,
) -> Numbers:
    """A resolved expression's value for each group; ``aggregate`` returns those of its aggregates.

    ``known`` caches values by the identity of the part, for expressions that share parts.
    """
    values = {} if known is None else known
    if id(expression) not in values:
        values[id(expression)] = _evaluate(expression, aggregate, values)
    return values[id(expression)]


def _evaluate(
    expression: Expression, aggregate: Callable[[Aggregate], Numbers], known: dict[int, Numbers]
) -> Numbers:
    match expression:
        case Number(value):
            return np.array(value)
        case Aggregate():
            return aggregate(expression)
        case Root(of):
            inner = evaluate(of, aggregate, known)
            return np.sqrt(np.where(inner >= 0, inner, np.nan))
        case Choice(comparison):
            left, right, then, otherwise = (evaluate(part, aggregate, known) for part in _parts(expression))
            holds = _NUMPY[comparison](left, right) & ~np.isnan(left) & ~np.isnan(right)
            return np.where(holds, then, otherwise)
        case Arithmetic(sign):
            left = evaluate(expression.left, aggregate, known)
            right = evaluate(expression.right, aggregate, known)
            return _ARITHMETIC[sign](left, np.where(right == 0, np.nan, right) if sign == "/" else right)
        case Reference(name):
            raise ExpressionError(f"'{name}' is not resolved")


def _parts(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Arithmetic(_, left, right):
            return left, right
        case Root(of):
            return (of,)
        case Choice():
            return expression.left, expression.right, expression.then, expression.otherwise
    return ()


def _made_of(expression: Expression, parts: tuple[Expression, ...]) -> Expression:
    """``expression`` with other parts."""
    match expression:
        case Arithmetic(sign):
            return Arithmetic(sign, *parts)
        case Root():
            return Root(*parts)
        case Choice(comparison):
            return Choice(comparison, *parts)
    return expression


def _sign(expression: Expression) -> str:
    match expression:
        case Arithmetic(sign):
            return sign
        case Choice(comparison):
            return comparison
    return "sqrt"


def _number(value: float) -> str:
    return format(Decimal(str(int(value)) if value.is_integer() else repr(value)), "f")


def _literal(value: str | float) -> str:
    return f"'{value}'" if isinstance(value, str) else _number(value)

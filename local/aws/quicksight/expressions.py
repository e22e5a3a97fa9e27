"""QuickSight's calculated fields: their syntax, functions and levels of aggregation.

Functions and operators: "Functions by category" and "Arithmetic and comparison operators" of the user guide,
https://docs.aws.amazon.com/quicksight/latest/user/functions-by-category.html. Table calculations and
level-aware aggregations are not offered here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

type Node = Literal | Field | Call | Operation

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<field>\{[^{}]+\})|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<parameter>\$\{\w+\})|(?P<name>[A-Za-z_]\w*)|(?P<sign><>|!=|<=|>=|[-+*/%^(),=<>]))"
)
_INVALID = "Your calculated field expression contains invalid syntax. Correct the syntax and try again."

_OF_ONE = ("sum", "avg", "min", "max", "count", "distinct_count", "median", "stdev", "stdevp", "var", "varp")

AGGREGATES: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(_OF_ONE, (1, 1)),
    **dict.fromkeys((f"{name}If" for name in _OF_ONE), (2, 2)),
    "percentile": (2, 2),
}
"""Functions over rows, with the least and the most arguments."""

FUNCTIONS: Mapping[str, tuple[int, int]] = {
    "ifelse": (2, 99),
    "coalesce": (2, 99),
    "nullIf": (2, 2),
    "isNull": (1, 1),
    "isNotNull": (1, 1),
    "sqrt": (1, 1),
    "abs": (1, 1),
    "ceil": (1, 1),
    "floor": (1, 1),
    "round": (1, 2),
    "exp": (1, 1),
    "ln": (1, 1),
    "log": (1, 1),
    "mod": (2, 2),
    "intToDecimal": (1, 1),
    "decimalToInt": (1, 1),
    "concat": (2, 99),
    "strlen": (1, 1),
    "toLower": (1, 1),
    "toUpper": (1, 1),
    "toString": (1, 1),
    "contains": (2, 3),
    "startsWith": (2, 3),
    "parseInt": (1, 1),
    "parseDecimal": (1, 1),
    "truncDate": (2, 2),
    "extract": (2, 2),
    "formatDate": (1, 3),
    "addDateTime": (3, 3),
    "dateDiff": (2, 3),
    "now": (0, 0),
}
"""Functions of single values, likewise."""


class SyntaxProblemError(ValueError):
    """An expression that QuickSight rejects; the message is QuickSight's."""


@dataclass(frozen=True)
class Literal:
    """A number, a text, or NULL."""

    value: float | str | None


@dataclass(frozen=True)
class Field:
    """A column or another calculated field."""

    name: str


@dataclass(frozen=True)
class Call:
    """A function with its arguments."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Operation:
    """An operator between two operands (``not`` has its operand on the right)."""

    sign: str
    left: Node
    right: Node


def parse(text: str) -> Node:
    """Reads an expression; raises `SyntaxProblemError`."""
    return _Parser(text).whole()


def fields(node: Node) -> Iterator[str]:
    """The names of the fields in an expression."""
    match node:
        case Field(name):
            yield name
        case Call(_, arguments):
            for argument in arguments:
                yield from fields(argument)
        case Operation(_, left, right):
            yield from fields(left)
            yield from fields(right)


def aggregated(node: Node, calculated: Mapping[str, Node]) -> bool | None:
    """Whether an expression is aggregated (True), of single rows (False) or constant (None).

    ``calculated`` are the other calculated fields; they must not go in circles (`cycle`). Raises
    `SyntaxProblemError` if levels are mixed or nested.
    """
    match node:
        case Literal():
            return None
        case Field(name):
            return aggregated(calculated[name], calculated) if name in calculated else False
        case Call(function, arguments) if function in AGGREGATES:
            if any(aggregated(argument, calculated) for argument in arguments):
                raise SyntaxProblemError(
                    "Nesting of aggregate functions like "
                    f"{function.upper()}(SUM(...)) is not allowed in a calculated field."
                )
            return True
        case Call(_, parts):
            levels = {aggregated(part, calculated) for part in parts} - {None}
        case Operation(_, left, right):
            levels = {aggregated(left, calculated), aggregated(right, calculated)} - {None}
    if len(levels) > 1:
        raise SyntaxProblemError(
            "Mismatched aggregation. Custom aggregations can't contain both aggregate and non-aggregated "
            "fields, in any combination."
        )
    return levels.pop() if levels else None


def cycle(name: str, calculated: Mapping[str, Node], path: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """The circle of references that a calculated field is on or leads to."""
    if name in path:
        return (*path, name)
    for other in fields(calculated[name]):
        if other in calculated and (found := cycle(other, calculated, (*path, name))):
            return found
    return None


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(text.rstrip()):
            found = _TOKEN.match(text, position)
            if not found or not found.lastgroup:
                raise SyntaxProblemError(f"{_INVALID} (character {position + 1})")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        self._tokens.append(("end", ""))
        self._at = 0

    def _reject(self, detail: str) -> NoReturn:
        raise SyntaxProblemError(f"{_INVALID} ({detail})")

    def _take(self, *texts: str) -> str | None:
        """The next token if it is one of these signs or words."""
        kind, text = self._tokens[self._at]
        lowered = text.lower() if kind == "name" else text
        if kind in ("sign", "name") and lowered in texts:
            self._at += 1
            return lowered
        return None

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            self._reject(f"'{sign}' is expected before '{self._tokens[self._at][1]}'")

    def whole(self) -> Node:
        node = self._either()
        if self._tokens[self._at][0] != "end":
            self._reject(f"'{self._tokens[self._at][1]}' is not expected")
        return node

    def _either(self) -> Node:
        node = self._both()
        while self._take("or"):
            node = Operation("or", node, self._both())
        return node

    def _both(self) -> Node:
        node = self._not()
        while self._take("and"):
            node = Operation("and", node, self._not())
        return node

    def _not(self) -> Node:
        if self._take("not"):
            return Operation("not", Literal(None), self._not())
        node = self._sum()
        if sign := self._take("=", "<>", "!=", "<", "<=", ">", ">="):
            node = Operation("<>" if sign == "!=" else sign, node, self._sum())
        return node

    def _sum(self) -> Node:
        node = self._product()
        while sign := self._take("+", "-"):
            node = Operation(sign, node, self._product())
        return node

    def _product(self) -> Node:
        node = self._power()
        while sign := self._take("*", "/", "%"):
            node = Operation(sign, node, self._power())
        return node

    def _power(self) -> Node:
        node = self._single()
        return Operation("^", node, self._power()) if self._take("^") else node

    def _single(self) -> Node:
        if self._take("-"):
            return Operation("-", Literal(0.0), self._single())
        if self._take("("):
            node = self._either()
            self._expect(")")
            return node
        kind, text = self._tokens[self._at]
        self._at += kind != "end"
        if kind == "number":
            return Literal(float(text))
        if kind == "text":
            return Literal(text[1:-1])
        if kind == "field":
            return Field(text[1:-1])
        if kind != "name":
            self._reject(f"'{text}' is not expected" if text else "it ends too early")
        if self._take("("):
            return self._call(text)
        return Literal(None) if text.lower() == "null" else Field(text)

    def _call(self, function: str) -> Node:
        bounds = AGGREGATES.get(function) or FUNCTIONS.get(function)
        if bounds is None:
            raise SyntaxProblemError(f"Syntax Error: unknown function '{function}'. {_INVALID}")
        arguments: list[Node] = []
        if not self._take(")"):
            arguments.append(self._either())
            while self._take(","):
                arguments.append(self._either())
            self._expect(")")
        if not bounds[0] <= len(arguments) <= bounds[1]:
            raise SyntaxProblemError(f"The function '{function}' has a wrong number of arguments. {_INVALID}")
        return Call(function, tuple(arguments))

"""Athena's query results: columns, values as text, CSV, and reading them by pages."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

type Row = Sequence[str | None]


@dataclass(frozen=True)
class ColumnInfo:
    """A column as `GetQueryResults` describes it (API reference, ColumnInfo)."""

    Name: str
    Label: str
    Type: str
    Precision: int
    Scale: int
    CaseSensitive: bool
    Nullable: str = "UNKNOWN"
    CatalogName: str = "hive"
    SchemaName: str = ""
    TableName: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The column as JSON holds it."""
        return asdict(self)


_PRECISION = {
    "tinyint": 3,
    "smallint": 5,
    "integer": 10,
    "bigint": 19,
    "float": 17,
    "double": 17,
    "varchar": 2147483647,
    "varbinary": 1073741824,
    "timestamp": 3,
    "timestamp with time zone": 3,
}
_ATHENA_NAMES = {"real": "float"}
"""Types by Trino's name whose name differs in Athena."""


def trino_column(name: str, trino_type: str) -> ColumnInfo:
    """The column of a query, from its type in Trino such as ``decimal(10,2)`` or ``row(a bigint)``."""
    match = re.match(r"([a-z ]+?)(?:\((.*)\))?( with time zone)?$", trino_type, re.DOTALL)
    base = f"{match[1]}{match[3] or ''}" if match else trino_type
    arguments = match[2] if match else None
    base = _ATHENA_NAMES.get(base, base)
    precision, scale = _PRECISION.get(base, 0), 0
    if base == "decimal" and arguments:
        precision, scale = (int(number) for number in arguments.split(","))
    elif base in ("varchar", "char") and arguments:
        precision = int(arguments)
    return ColumnInfo(name, name, base, precision, scale, CaseSensitive=base in ("varchar", "char"))


def text_column(name: str) -> ColumnInfo:
    """A column of a result of Hive's DDL."""
    return ColumnInfo(name, name, "string", 0, 0, CaseSensitive=False)


def to_text(value: object, trino_type: str) -> str | None:
    """A value of Trino's JSON as Athena writes it in a CSV; None for NULL."""
    if value is None:
        return None
    if trino_type == "boolean":
        return "true" if value else "false"
    if trino_type in ("double", "real"):
        return _float_text(value)
    if trino_type == "varbinary":
        return base64.b64decode(str(value)).hex(" ")
    if trino_type.startswith("array(") and isinstance(value, list):
        inner = trino_type[6:-1]
        return f"[{', '.join(_nested(item, inner) for item in value)}]"
    if trino_type.startswith("map(") and isinstance(value, dict):
        key, item = _split(trino_type[4:-1])
        pairs = (f"{_nested(k, key)}={_nested(v, item)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if trino_type.startswith("row(") and isinstance(value, (list, tuple)):
        fields = [_field(field, number) for number, field in enumerate(_split(trino_type[4:-1]))]
        pairs = (f"{name}={_nested(v, kind)}" for (name, kind), v in zip(fields, value, strict=True))
        return f"{{{', '.join(pairs)}}}"
    if match := re.match(r"timestamp\(([0-2])\)", trino_type):
        return _milliseconds(str(value), int(match[1]))
    return str(value)


def _milliseconds(text: str, digits: int) -> str:
    """A timestamp with three fractional digits, as Athena always writes it."""
    seconds = 19 if digits == 0 else 20 + digits
    filling = ("." if digits == 0 else "") + "0" * (3 - digits)
    return text[:seconds] + filling + text[seconds:]


def _nested(value: object, trino_type: str) -> str:
    text = to_text(value, trino_type)
    return "null" if text is None else text


def _field(text: str, number: int) -> tuple[str, str]:
    """Name and type of a row's field; Trino leaves out the name if there is none."""
    match = re.match(r'("(?:[^"]|"")*"|\w+) (.+)$', text, re.DOTALL)
    if not match or match[0].startswith("timestamp(") or match[2].startswith("with time zone"):
        return f"field{number}", text
    return match[1].strip('"'), match[2]


def _split(text: str) -> list[str]:
    """Splits a list of types at its commas, not at those of nested types."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def _float_text(value: object) -> str:
    """As Java's Double.toString: plain between 1e-3 and 1e7, else with an exponent (its specification)."""
    number = float(str(value))
    if number != number or number in (float("inf"), float("-inf")):
        return str(value)
    if number == 0 or 1e-3 <= abs(number) < 1e7:
        text = format(Decimal(repr(number)), "f")
        return text if "." in text else f"{text}.0"
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    figures = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) + int(exponent) - 1
    return f"{'-' if sign else ''}{figures[0]}.{figures[1:] or '0'}E{power}"


def csv_line(row: Row) -> bytes:
    """One line of a result file: every value quoted, NULL as nothing."""
    cells = ("" if value is None else '"' + value.replace('"', '""') + '"' for value in row)
    return (",".join(cells) + "\n").encode()


def csv_rows(blocks: Iterable[bytes]) -> Iterator[tuple[list[str | None], int]]:
    """The rows of a result file that comes in blocks, each with the number of bytes up to its end."""
    pending, consumed = b"", 0
    for block in blocks:
        pending += block
        while (length := _line_length(pending)) is not None:
            consumed += length
            yield _cells(pending[:length].decode()), consumed
            pending = pending[length:]
    if pending:
        raise ValueError("the result file ends within a row")


def _line_length(data: bytes) -> int | None:
    """The length of the first row with its line end, None if it is not complete."""
    end = -1
    while (end := data.find(b"\n", end + 1)) >= 0:
        if data.count(b'"', 0, end) % 2 == 0:
            return end + 1
    return None


_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\n]*))(,|\n)')


def _cells(line: str) -> list[str | None]:
    cells: list[str | None] = []
    for match in _CELL.finditer(line):
        cells.append(None if match[1] is None else match[1].replace('""', '"'))
        if match[3] == "\n":
            break
    return cells

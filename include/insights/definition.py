"""Reads `dashboards.yaml`, whose comments explain it: checks it as a whole and expands it for the topics.

Errors are reported with their line and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from include.insights.expressions import (
    Aggregate,
    Condition,
    Expression,
    ExpressionError,
    Function,
    Reference,
    columns,
    parse,
    parse_condition,
    parse_head,
    resolved,
    restricted,
    walk,
)
from include.x.topics import Topics

FILE = Path(__file__).parent / "dashboards.yaml"

type Json = dict[str, Any]
type VisualKind = Literal["line", "bar", "map", "table", "marks"]
type Format = Literal["percent", "ratio", "number"]
type FilterName = Literal["period", "topic", "language", "unmeasured"]
type ColumnType = Literal["text", "integer", "decimal", "time", "country"]

FILTER_COLUMNS: Mapping[FilterName, str] = {
    "period": "hour",
    "topic": "topic",
    "language": "lang",
    "unmeasured": "language_model",
}
"""The column of each filter; data sets without it are not filtered."""

MEASURED_LANGUAGE = "measured"
"""The value of the filter ``unmeasured``'s column if the labeling model was measured."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]*")
_NUMERIC = ("integer", "decimal")

ROLES = ("value", "low", "high", "n", "audit")
"""The roles of a measure's formulas; `dashboards.yaml` explains each."""

type _Path = tuple[str | int, ...]


class DefinitionError(ValueError):
    """The dashboards' file cannot be used; the message names file, line and reason."""


@dataclass(frozen=True)
class Column:
    """A column of a data set; ``sql`` is the expression that selects it."""

    name: str
    type: ColumnType
    sql: str


@dataclass(frozen=True)
class Formula:
    """An expression as written in the file, and with every reference resolved."""

    # Far too long for errors and logs.
    expression: Expression = field(repr=False)
    resolved: Expression = field(repr=False)

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns that are read."""
        return frozenset(columns(self.resolved))

    def restricted(self, conditions: tuple[Condition, ...]) -> Formula:
        """The formula over the rows that meet ``conditions``."""
        return Formula(restricted(self.expression, conditions), restricted(self.resolved, conditions))


@dataclass(frozen=True)
class Measure:
    """A figure with its interval (null if there is none) and the number of rows it is based on.

    ``topics`` are those that it is about, empty if it is about the selected ones.
    """

    name: str
    title: str
    description: str
    format: Format
    formulas: Mapping[str, Formula]
    """``value`` and, if defined, ``low``, ``high``, ``n`` and ``audit``."""
    topics: tuple[str, ...] = ()
    of_language: Measure | None = None
    """The measure to use instead if languages are selected: the same figure, based on other audits."""

    @property
    def columns(self) -> frozenset[str]:
        """The columns that any of its formulas reads."""
        own = frozenset().union(*(formula.columns for formula in self.formulas.values()))
        return own | self.of_language.columns if self.of_language else own

    def of_topic(self, name: str, title: str) -> Measure:
        """The same measure of one topic."""
        conditions = (Condition("topic", "=", name),)
        return Measure(
            name=f"{self.name}-{name}",
            title=f"{self.title}: {title}",
            description=self.description,
            format=self.format,
            formulas={role: formula.restricted(conditions) for role, formula in self.formulas.items()},
            topics=(name,),
            of_language=self.of_language.of_topic(name, title) if self.of_language else None,
        )


@dataclass(frozen=True)
class DataSet:
    """A view's columns and the measures on them."""

    name: str
    title: str
    view: str
    columns: Mapping[str, Column]
    terms: Mapping[str, Formula]

    def statement(self, database: str | None = None) -> str:
        """The SELECT of all columns, in Athena's SQL; without a database the session's own is read."""
        chosen = ", ".join(
            f'"{column.name}"' if column.sql == column.name else f'{column.sql} AS "{column.name}"'
            for column in self.columns.values()
        )
        source = f'"{database}"."{self.view}"' if database else f'"{self.view}"'
        return f"SELECT {chosen} FROM {source}"  # noqa: S608 - every part is the definition's own


@dataclass(frozen=True)
class Visual:
    """A chart or table: measures by columns; ``top`` keeps only the categories with the most rows.

    ``topic`` is the one that it is about, None if it is about the selected ones.
    """

    id: str
    title: str
    kind: VisualKind
    data_set: DataSet
    measures: tuple[Measure, ...]
    by: tuple[str, ...]
    where: tuple[Condition, ...]
    top: int | None
    topic: str | None = None

    def of_topic(self, name: str, title: str) -> Visual:
        """The same visual of one topic."""
        return replace(
            self,
            id=f"{self.id}-{name}",
            title=f"{self.title}: {title}",
            measures=tuple(measure.of_topic(name, title) for measure in self.measures),
            topic=name,
        )


@dataclass(frozen=True)
class Tile:
    """One figure; its measure's name is its id."""

    data_set: DataSet
    measure: Measure


@dataclass(frozen=True)
class Dashboard:
    """One sheet of tiles and visuals."""

    id: str
    title: str
    filters: tuple[FilterName, ...]
    tiles: tuple[Tile, ...]
    visuals: tuple[Visual, ...]

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """The data sets shown, each once."""
        shown = [tile.data_set for tile in self.tiles] + [visual.data_set for visual in self.visuals]
        return tuple({data_set.name: data_set for data_set in shown}.values())


@dataclass(frozen=True)
class Definition:
    """The whole file for the topics of one topics file."""

    data_sets: Mapping[str, DataSet]
    dashboards: Mapping[str, Dashboard]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class _Column(_Model):
    type: ColumnType
    sql: str | None = None


def _column(value: Any) -> Any:
    return value if isinstance(value, dict) else {"type": value}


class _Measure(_Model):
    title: str
    description: str = ""
    value: str
    low: str | None = None
    high: str | None = None
    n: str | None = None
    audit: str | None = None
    of_language: str | None = None
    format: Format
    each: Literal["topic_pair"] | None = None


class _DataSet(_Model):
    title: str
    view: str
    columns: dict[str, Annotated[_Column, BeforeValidator(_column)]] = Field(min_length=1)
    terms: dict[str, str] = {}
    measures: dict[str, _Measure] = Field(min_length=1)


class _Tile(_Model):
    measure: str
    each: Literal["topic"] | None = None


class _Visual(_Model):
    id: str
    kind: VisualKind
    title: str | None = None
    measure: str | None = None
    measures: tuple[str, ...] = ()
    by: tuple[str, ...] = Field(min_length=1)
    where: str | None = None
    top: int | None = Field(None, ge=1)
    each: Literal["topic"] | None = None


class _Dashboard(_Model):
    title: str
    filters: tuple[FilterName, ...] = ()
    tiles: tuple[_Tile, ...] = ()
    visuals: tuple[_Visual, ...] = Field(min_length=1)


class _File(_Model):
    functions: dict[str, str] = {}
    data_sets: dict[str, _DataSet] = Field(min_length=1)
    dashboards: dict[str, _Dashboard] = Field(min_length=1)


def load(topics: Topics, path: Path = FILE) -> Definition:
    """Reads, checks and expands the dashboards' file; raises `DefinitionError` with line and reason."""
    return _Reader(topics, path).definition()


class _RejectedError(Exception):
    def __init__(self, path: _Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path


class _Reader:
    def __init__(self, topics: Topics, path: Path) -> None:
        self._topics = topics
        self._file = path
        self._lines: dict[_Path, int] = {}

    def definition(self) -> Definition:
        try:
            content = _File.model_validate(self._content())
        except ValidationError as error:
            # An unknown key is often a misspelling of the missing one.
            first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
            raise self._error(first["loc"], _reason(first)) from error
        except _RejectedError as error:
            raise self._error(error.path, str(error)) from error
        try:
            return self._unfolded(content)
        except _RejectedError as error:
            raise self._error(error.path, str(error)) from error

    def _error(self, path: _Path, reason: str) -> DefinitionError:
        while path and path not in self._lines:
            path = path[:-1]
        where = ".".join(str(part) for part in path)
        return DefinitionError(
            f"{self._file.name}:{self._lines.get(path, 1)}: {where + ': ' if where else ''}{reason}"
        )

    def _content(self) -> Any:
        try:
            root = yaml.compose(self._file.read_text(encoding="utf-8"), yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise DefinitionError(f"{self._file.name}:{line}: this is not YAML: {error.problem}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DefinitionError(f"{self._file.name}:1: this is not YAML: {error}") from error
        except OSError as error:
            raise DefinitionError(f"{self._file}: the file cannot be read: {error.strerror}") from error
        return self._value(root, ()) if root else None

    def _value(self, node: yaml.Node, path: _Path) -> Any:
        """The node's value, with its texts as written: `no`, Norwegian, is not a boolean."""
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return node.value
        result: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            self._lines[(*path, name)] = key.start_mark.line + 1
            if name in result:
                raise _RejectedError((*path, name), f"'{name}' is defined twice")
            result[name] = self._value(value, (*path, name))
        return result

    def _unfolded(self, content: _File) -> Definition:
        functions = self._functions(content.functions)
        data_sets: dict[str, DataSet] = {}
        measures: dict[str, tuple[DataSet, tuple[Measure, ...]]] = {}
        for name, given in content.data_sets.items():
            path: _Path = ("data_sets", name)
            self._named(name, path, _NAME)
            data_sets[name], own = self._data_set(name, given, functions, path)
            for measure, unfolded in own.items():
                if measure in measures:
                    raise _RejectedError((*path, "measures", measure), "another data set has such a measure")
                measures[measure] = data_sets[name], unfolded
        dashboards = {}
        for name, dashboard in content.dashboards.items():
            self._named(name, ("dashboards", name), _IDENTIFIER)
            dashboards[name] = self._dashboard(name, dashboard, measures, ("dashboards", name))
        return Definition(data_sets, dashboards)

    def _named(self, name: str, path: _Path, pattern: re.Pattern[str]) -> None:
        if not pattern.fullmatch(name):
            raise _RejectedError(path, f"'{name}' is not a name; names consist of a-z, 0-9 and _")

    def _functions(self, given: Mapping[str, str]) -> dict[str, Function]:
        functions: dict[str, Function] = {}
        for head, body in given.items():
            path: _Path = ("functions", head)
            try:
                name, parameters = parse_head(head)
                parsed = parse(body, functions)
            except ExpressionError as error:
                raise _RejectedError(path, str(error)) from error
            for part in walk(parsed):
                if isinstance(part, Aggregate):
                    raise _RejectedError(path, "a function has no aggregates; give them as arguments")
                if isinstance(part, Reference) and part.name not in parameters:
                    raise _RejectedError(path, f"'{part.name}' is not a parameter of {name}")
            functions[name] = Function(parameters, parsed)
        return functions

    def _data_set(
        self, name: str, given: _DataSet, functions: Mapping[str, Function], path: _Path
    ) -> tuple[DataSet, dict[str, tuple[Measure, ...]]]:
        columns = {}
        for column, described in given.columns.items():
            self._named(column, (*path, "columns", column), _NAME)
            columns[column] = Column(column, described.type, described.sql or column)
        names: dict[str, Expression] = {}
        for term, text in given.terms.items():
            self._named(term, (*path, "terms", term), _NAME)
            names[term] = self._parsed(text, functions, (*path, "terms", term))
        terms = {
            term: self._formula(expression, names, columns, (*path, "terms", term))
            for term, expression in names.items()
        }
        data_set = DataSet(name, given.title, given.view, columns, terms)
        measures: dict[str, tuple[Measure, ...]] = {}
        for measure, described_measure in given.measures.items():
            place = (*path, "measures", measure)
            self._named(measure, place, _NAME)
            if measure in terms:
                raise _RejectedError(place, f"there is a term named '{measure}' too")
            if measure in given.columns:
                raise _RejectedError(place, f"there is a column named '{measure}' too")
            if (described_measure.low is None) != (described_measure.high is None):
                raise _RejectedError(place, "'low' and 'high' go together")
            measures[measure] = tuple(
                self._measure(measure, described_measure, pair, functions, names, columns, place)
                for pair in (combinations(self._topics.names, 2) if described_measure.each else [()])
            )
        for measure, described_measure in given.measures.items():
            if other := described_measure.of_language:
                place = (*path, "measures", measure, "of_language")
                if len(measures.get(other, ())) != 1 or described_measure.each:
                    raise _RejectedError(place, f"unknown single measure '{other}' in this data set")
                (own,), (standing_in,) = measures[measure], measures[other]
                measures[measure] = (replace(own, of_language=standing_in),)
        return data_set, measures

    def _measure(
        self,
        name: str,
        given: _Measure,
        topics: tuple[str, ...],
        functions: Mapping[str, Function],
        names: Mapping[str, Expression],
        columns: Mapping[str, Column],
        path: _Path,
    ) -> Measure:
        formulas = {}
        for role in ROLES:
            text = getattr(given, role)
            if text is None:
                continue
            for place, topic in zip(("$first", "$second"), topics, strict=False):
                text = text.replace(place, f"'{topic}'")
            place_path = (*path, role)
            formulas[role] = self._formula(
                self._parsed(text, functions, place_path), names, columns, place_path
            )
        titles = dict(
            zip(("first", "second"), (self._topics.topic(topic).title for topic in topics), strict=False)
        )
        return Measure(
            name="-".join((name, *topics)),
            title=_filled(given.title, titles),
            description=_filled(given.description, titles),
            format=given.format,
            formulas=formulas,
            topics=topics,
        )

    def _parsed(self, text: str, functions: Mapping[str, Function], path: _Path) -> Expression:
        try:
            return parse(text, functions)
        except ExpressionError as error:
            raise _RejectedError(path, str(error)) from error

    def _formula(
        self,
        expression: Expression,
        names: Mapping[str, Expression],
        columns: Mapping[str, Column],
        path: _Path,
    ) -> Formula:
        try:
            whole = resolved(expression, names)
        except ExpressionError as error:
            raise _RejectedError(path, str(error)) from error
        for part in walk(whole):
            if not isinstance(part, Aggregate):
                continue
            column = self._column(part.column, columns, path)
            if column.type not in _NUMERIC:
                raise _RejectedError(
                    path, f"{part.function} of column '{column.name}', which is {column.type}"
                )
            for condition in part.conditions:
                self._compared(condition, columns, path)
        return Formula(expression, whole)

    def _column(self, name: str, columns: Mapping[str, Column], path: _Path) -> Column:
        if name not in columns:
            raise _RejectedError(path, f"unknown column '{name}'; the columns are {', '.join(columns)}")
        return columns[name]

    def _compared(self, condition: Condition, columns: Mapping[str, Column], path: _Path) -> None:
        column = self._column(condition.column, columns, path)
        numeric = column.type in _NUMERIC
        if column.type == "time" or numeric != isinstance(condition.value, float):
            raise _RejectedError(
                path,
                f"column '{column.name}' is {column.type}; it cannot be compared with {condition.value!r}",
            )
        if not numeric and condition.comparison not in ("=", "<>"):
            raise _RejectedError(path, f"texts are compared by = or <>, not by {condition.comparison}")

    def _dashboard(
        self,
        name: str,
        given: _Dashboard,
        measures: Mapping[str, tuple[DataSet, tuple[Measure, ...]]],
        path: _Path,
    ) -> Dashboard:
        tiles: list[Tile] = []
        for index, entry in enumerate(given.tiles):
            for tile in self._tiles(entry, measures, (*path, "tiles", index)):
                if tile.measure.name in [other.measure.name for other in tiles]:
                    raise _RejectedError((*path, "tiles", index), f"'{tile.measure.name}' is defined twice")
                tiles.append(tile)
        visuals: list[Visual] = []
        for index, shown in enumerate(given.visuals):
            for visual in self._visuals(shown, measures, (*path, "visuals", index)):
                if visual.id in [other.id for other in visuals]:
                    raise _RejectedError((*path, "visuals", index), f"'{visual.id}' is defined twice")
                visuals.append(visual)
        dashboard = Dashboard(name, given.title, given.filters, tuple(tiles), tuple(visuals))
        for index, chosen in enumerate(given.filters):
            if not any(FILTER_COLUMNS[chosen] in data_set.columns for data_set in dashboard.data_sets):
                reason = f"no data set has the column '{FILTER_COLUMNS[chosen]}', which the filter looks at"
                raise _RejectedError((*path, "filters", index), reason)
        return dashboard

    def _measures(
        self, name: str, measures: Mapping[str, tuple[DataSet, tuple[Measure, ...]]], path: _Path
    ) -> tuple[DataSet, tuple[Measure, ...]]:
        if name not in measures:
            raise _RejectedError(path, f"unknown measure '{name}'; the measures are {', '.join(measures)}")
        return measures[name]

    def _tiles(
        self,
        given: _Tile,
        measures: Mapping[str, tuple[DataSet, tuple[Measure, ...]]],
        path: _Path,
    ) -> Iterator[Tile]:
        data_set, found = self._measures(given.measure, measures, (*path, "measure"))
        for measure in found:
            if given.each is None:
                yield Tile(data_set, measure)
                continue
            if measure.topics:
                raise _RejectedError((*path, "each"), "this measure is one of each pair of topics already")
            self._column("topic", data_set.columns, (*path, "each"))
            for topic in self._topics.topics:
                yield Tile(data_set, measure.of_topic(topic.name, topic.title))

    def _visuals(
        self,
        given: _Visual,
        measures: Mapping[str, tuple[DataSet, tuple[Measure, ...]]],
        path: _Path,
    ) -> Iterator[Visual]:
        visual = self._visual(given, measures, path)
        if given.each is None:
            if given.kind == "map":
                raise _RejectedError(path, "a map of several topics shows their mix: give it 'each: topic'")
            yield visual
            return
        if "topic" in visual.by or any(measure.topics for measure in visual.measures):
            raise _RejectedError((*path, "each"), "this visual tells topics apart already")
        self._column("topic", visual.data_set.columns, (*path, "each"))
        for topic in self._topics.topics:
            yield visual.of_topic(topic.name, topic.title)

    def _visual(
        self,
        given: _Visual,
        measures: Mapping[str, tuple[DataSet, tuple[Measure, ...]]],
        path: _Path,
    ) -> Visual:
        self._named(given.id, (*path, "id"), _IDENTIFIER)
        if (given.measure is None) == (not given.measures):
            raise _RejectedError(path, "a visual has either 'measure' or 'measures'")
        shown = given.measures or (str(given.measure),)
        found = [self._measures(name, measures, path) for name in shown]
        data_set = found[0][0]
        if any(other is not data_set for other, _ in found):
            raise _RejectedError(path, "the measures of a visual come from one data set")
        by = [self._column(name, data_set.columns, (*path, "by")) for name in given.by]
        unfolded = tuple(measure for _, each in found for measure in each)
        self._shaped(given, by, len(unfolded), path)
        where: tuple[Condition, ...] = ()
        if given.where:
            try:
                where = (parse_condition(given.where),)
            except ExpressionError as error:
                raise _RejectedError((*path, "where"), str(error)) from error
            self._compared(where[0], data_set.columns, (*path, "where"))
            if not isinstance(where[0].value, str):
                raise _RejectedError((*path, "where"), "a visual's rows are chosen by a text")
        return Visual(
            id=given.id,
            title=given.title or unfolded[0].title,
            kind=given.kind,
            data_set=data_set,
            measures=unfolded,
            by=given.by,
            where=where,
            top=given.top,
        )

    def _shaped(self, given: _Visual, by: list[Column], measures: int, path: _Path) -> None:
        """Whether a chart of that kind can show these columns."""
        place = (*path, "by")
        if given.kind in ("line", "marks") and by[0].type != "time":
            raise _RejectedError(place, f"a visual of kind {given.kind} starts with a time")
        if given.kind == "map" and [column.type for column in by] != ["country"]:
            raise _RejectedError(place, "a map shows one column of type country")
        if given.kind == "marks" and len(by) > 1:
            raise _RejectedError(place, "marks belong to a time axis only")
        if given.kind in ("line", "bar") and len(by) > 2:
            raise _RejectedError(place, f"a {given.kind} chart has two columns at most: axis and series")
        if given.kind in ("line", "bar") and len(by) == 2 and measures > 1:
            raise _RejectedError(place, "a chart with several measures has no second column")
        if given.kind == "map" and measures > 1:
            raise _RejectedError(path, "a map shows one measure")
        if given.kind in ("table", "bar") and any(column.type in (*_NUMERIC, "time") for column in by):
            raise _RejectedError(place, f"a {given.kind} needs a text or country column")


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _reason(error: Any) -> str:
    match error["type"]:
        case "missing":
            return f"'{error['loc'][-1]}' is missing"
        case "extra_forbidden":
            return f"unknown key '{error['loc'][-1]}'"
        case "literal_error":
            return f"{error['input']!r} is not one of {error['ctx']['expected']}"
    return str(error["msg"])

"""The content of a page: a dashboard's description, and its figures computed from rows of its data sets.

Rows come as pyarrow tables with the columns of the data set (`statement` selects them on Athena, `table` sets
their types). Figures are computed with numpy over group codes: some milliseconds for a month of hours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.insights.definition import (
    FILTER_COLUMNS,
    MEASURED_LANGUAGE,
    ROLES,
    Dashboard,
    DataSet,
    Json,
    Measure,
    Visual,
)
from include.insights.expressions import Aggregate, Condition, Numbers
from include.insights.expressions import evaluate as value_of
from include.lake.verdict import Verdict
from include.x.topics import Topics

type PageFilters = Mapping[str, Any]

DAYS_AT_HOURS = 14
"""Above this many days a time axis has one point per day instead of one per hour."""

_COUNTS = ("n", "audit")
"""The roles that are whole numbers, whatever the measure is."""
_TYPES = {
    "text": pa.string(),
    "country": pa.string(),
    "integer": pa.int64(),
    "decimal": pa.float64(),
    "time": pa.timestamp("ms"),
}
_COMPARE = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_HOUR = timedelta(hours=1)
_MARKING = ("hour", "topic", "verdict", "gap", "searched", "change")
"""The columns that marks are made from."""
_METHODS = ("engine", "sample", "tweets", "change", "searched")
"""The columns that tell of methods."""
SEARCHED = "brought by search alone, another method: no quoted texts, and the sample is taken by a hash"
"""What the mark of an hour says that search alone brought."""


def statement(data_set: DataSet, first: datetime, last: datetime) -> str:
    """The SELECT of the data set's rows with ``first`` ≤ hour < ``last`` (both aware)."""
    bounds = [f"hour >= {_timestamp(first)}", f"hour < {_timestamp(last)}"]
    if "dt" in data_set.columns:
        # Partitions are days: without this every object of the table is read.
        final = last.astimezone(UTC) - timedelta(milliseconds=1)
        bounds.append(f"dt BETWEEN '{first.astimezone(UTC):%Y-%m-%d}' AND '{final:%Y-%m-%d}'")
    return f"{data_set.statement()} WHERE {' AND '.join(bounds)}"


def table(data_set: DataSet, found: pa.Table) -> pa.Table:
    """The selected rows, with the data set's columns and types."""
    schema = pa.schema([(column.name, _TYPES[column.type]) for column in data_set.columns.values()])
    return found.select(schema.names).cast(schema)


def describe(dashboard: Dashboard, topics: Topics) -> Json:
    """The page without figures: filters with the topics' titles, tiles and visuals with formats.

    Visuals of kind ``marks`` are left out: on a page each line carries its own marks.
    """
    return {
        "id": dashboard.id,
        "title": dashboard.title,
        "filters": [
            {"id": name, "options": _topic_options(topics)} if name == "topic" else {"id": name}
            for name in dashboard.filters
        ],
        "tiles": [{**_described(tile.measure), "data_set": tile.data_set.name} for tile in dashboard.tiles],
        "visuals": [
            {
                "id": visual.id,
                "kind": visual.kind,
                "title": visual.title,
                "by": list(visual.by),
                "data_set": visual.data_set.name,
                "measures": [_described(measure) for measure in visual.measures],
            }
            for visual in dashboard.visuals
            if visual.kind != "marks"
        ],
    }


def _topic_options(topics: Topics) -> list[Json]:
    return [{"value": topic.name, "title": topic.title} for topic in topics.topics]


def _described(measure: Measure) -> Json:
    return {
        "id": measure.name,
        "title": measure.title,
        "description": measure.description,
        "format": measure.format,
        "topics": list(measure.topics),
        "interval": "low" in measure.formulas,
        "audit": "audit" in measure.formulas,
    }


def evaluate(
    dashboard: Dashboard, tables: pa.Table | Mapping[str, pa.Table], filters: PageFilters | None = None
) -> Json:
    """The figures: ``{"as_of", "tiles", "visuals"}``, ready for JSON.

    ``tables`` are rows by data set (a table alone is the first data set's); tiles and visuals of other data
    sets are left out. ``filters`` may hold ``from`` and ``to`` (ISO times, UTC unless they say otherwise;
    ``to`` is exclusive, a day alone is included), ``topics`` and ``languages`` (none: all) and ``unmeasured``
    (default off: languages on which the labeling model was never measured are excluded).

    A tile has ``value``, ``low``, ``high`` (the interval), ``n`` and ``audit`` (what the interval is based
    on, see `dashboards.yaml`), a visual ``columns`` with their role, ``rows`` in their order, its ``topic``
    where it shows one alone, and ``hours``: how many a point over time stands for; a line also ``marks``:
    stretches ``from`` ≤ hour < ``to`` of kind ``gap`` or ``search``, with the reason, or ``change``.
    ``as_of`` is the end of each topic's latest hour with labeled tweets, empty without any. Missing figures
    are null.
    """
    given = {dashboard.data_sets[0].name: tables} if isinstance(tables, pa.Table) else dict(tables)
    wanted = dict(filters or {})
    rows = {
        name: _Rows(_filtered(dashboard, found, wanted), _hours_per_point(found, wanted))
        for name, found in given.items()
    }
    chosen = set(wanted.get("topics") or ())
    # An hour without tweets has no language, and a change concerns all languages.
    everyone = {**wanted, "languages": None, "unmeasured": True}
    marks = {
        name: _marks(_filtered(dashboard, found.select(_marking(found)), everyone))
        for name, found in given.items()
    }
    return {
        "as_of": _as_of(given[dashboard.data_sets[0].name], chosen),
        "tiles": [
            {
                "id": tile.measure.name,
                "title": tile.measure.title,
                "format": tile.measure.format,
                **{
                    role: figures[0]
                    for role, figures in _figures(
                        rows[tile.data_set.name], _chosen(tile.measure, wanted)
                    ).items()
                },
            }
            for tile in dashboard.tiles
            if tile.data_set.name in rows and (not chosen or chosen.issuperset(tile.measure.topics))
        ],
        "visuals": [
            {
                **_visual(visual, rows[visual.data_set.name], chosen, wanted),
                "marks": marks[visual.data_set.name] if visual.kind == "line" else [],
                "hours": rows[visual.data_set.name].hours,
            }
            for visual in dashboard.visuals
            if visual.kind != "marks"
            and visual.data_set.name in rows
            and (not chosen or visual.topic in (None, *chosen))
        ],
    }


def methods(dashboard: Dashboard, found: pa.Table, filters: PageFilters) -> dict[str, tuple[str, ...]]:
    """By what a period's figures came about: models, samples, changes of either or of rules, search alone.

    ``found`` are rows of the dashboard's first data set.
    """
    rows = _filtered(dashboard, found, {**filters, "languages": None, "unmeasured": True})
    rows = rows.filter(pc.greater(rows["tweets"], 0))
    changes = {part for change in pc.unique(rows["change"]).to_pylist() for part in change.split(",") if part}
    return {
        "models": tuple(sorted(set(rows["engine"].to_pylist()) - {"none"})),
        "sample": tuple(sorted({str(sample) for sample in pc.unique(rows["sample"]).to_pylist()})),
        "changes": tuple(sorted(changes)),
        "search": ("search alone",) if pc.any(pc.equal(rows["searched"], 1)).as_py() else (),
    }


type _Groups = tuple[tuple[str, ...], tuple[Condition, ...]]
"""The columns that rows are grouped by, and which rows are left out before."""

_ALL: _Groups = ((), ())


class _Rows:
    """Filtered rows; what several measures or visuals need is computed once."""

    def __init__(self, table: pa.Table, hours: int) -> None:
        self.table = table
        self.hours = hours
        self._numbers: dict[str, Numbers] = {}
        self._held: dict[Condition, npt.NDArray[np.bool_]] = {}
        self._ranks: dict[str, tuple[list[Any], npt.NDArray[np.int64]]] = {}
        self._groups: dict[_Groups, tuple[list[tuple[Any, ...]], npt.NDArray[np.int64]]] = {}
        self._aggregates: dict[tuple[_Groups, Aggregate], Numbers] = {}

    def _column(self, name: str) -> Numbers:
        """A column as numbers, NaN for null."""
        if name not in self._numbers:
            column = self.table[name].cast(pa.float64())
            values = pc.fill_null(column, float("nan")) if column.null_count else column
            self._numbers[name] = values.to_numpy()
        return self._numbers[name]

    def _holds(self, condition: Condition) -> npt.NDArray[np.bool_]:
        if condition not in self._held:
            found = _COMPARE[condition.comparison](self.table[condition.column], condition.value)
            self._held[condition] = pc.fill_null(found, False).to_numpy()
        return self._held[condition]

    def _ranked(self, name: str) -> tuple[list[Any], npt.NDArray[np.int64]]:
        """A column's sorted values, null last, and each row's index among them."""
        if name not in self._ranks:
            column = self.table[name]
            if pa.types.is_timestamp(column.type) and self.hours == 24:
                column = pc.floor_temporal(column, multiple=1, unit="day")
            encoded = column.unify_dictionaries().combine_chunks().dictionary_encode()
            values = encoded.dictionary.to_pylist()
            order = sorted(range(len(values)), key=values.__getitem__)
            rank = np.empty(len(values) + 1, dtype=np.int64)
            rank[order] = np.arange(len(values))
            rank[-1] = len(values)
            places = rank[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)]
            self._ranks[name] = [_label(values[place]) for place in order] + [None], places
        return self._ranks[name]

    def grouped(self, groups: _Groups) -> tuple[list[tuple[Any, ...]], npt.NDArray[np.int64]]:
        """The groups' labels in order, and each row's group (-1: none); one group without columns."""
        if groups in self._groups:
            return self._groups[groups]
        by, where = groups
        codes = np.zeros(self.table.num_rows, dtype=np.int64)
        if not by:
            return self._groups.setdefault(groups, ([()], codes))
        ranked = [self._ranked(name) for name in by]
        for values, places in ranked:
            codes = codes * len(values) + places
        taken = np.ones(len(codes), dtype=bool)
        for condition in where:
            taken &= self._holds(condition)
        # Counting is faster than sorting, and there are few enough codes for a bincount.
        found = np.flatnonzero(np.bincount(codes[taken]))
        place_of = np.zeros(found[-1] + 1 if len(found) else 1, dtype=np.int64)
        place_of[found] = np.arange(len(found))
        places = np.full(len(codes), -1, dtype=np.int64)
        places[taken] = place_of[codes[taken]]
        labels = []
        for code in found.tolist():
            label: list[Any] = []
            for values, _ in reversed(ranked):
                code, place = divmod(code, len(values))
                label.append(values[place])
            labels.append(tuple(reversed(label)))
        return self._groups.setdefault(groups, (labels, places))

    def aggregate(self, wanted: Aggregate, groups: _Groups) -> Numbers:
        """An aggregate's value for each group."""
        if (groups, wanted) not in self._aggregates:
            labels, places = self.grouped(groups)
            values = self._column(wanted.column)
            taken = (places >= 0) & ~np.isnan(values)
            for condition in wanted.conditions:
                taken &= self._holds(condition)
            if not taken.all():
                places, values = places[taken], values[taken]
            if wanted.function == "sum":
                found: Numbers = np.bincount(places, weights=values, minlength=len(labels)).astype(float)
            else:
                found = np.full(len(labels), -np.inf)
                np.maximum.at(found, places, values)
                found = np.where(np.isinf(found), 0.0, found)
            self._aggregates[groups, wanted] = found
        return self._aggregates[groups, wanted]


def _figures(rows: _Rows, measure: Measure, groups: _Groups = _ALL) -> dict[str, list[float | int | None]]:
    """Each role's values by group."""
    count = len(rows.grouped(groups)[0])
    known: dict[int, Numbers] = {}
    figures: dict[str, list[float | int | None]] = {}
    for role in ROLES:
        if formula := measure.formulas.get(role):
            values = value_of(formula.resolved, lambda wanted: rows.aggregate(wanted, groups), known)
            whole = role in _COUNTS or measure.format == "number"
            figures[role] = _json(np.broadcast_to(values, (count,)), whole=whole)
        else:
            figures[role] = [None] * count
    return figures


def _json(values: Numbers, *, whole: bool) -> list[float | int | None]:
    return [
        None if not np.isfinite(value) else round(value) if whole else float(value)
        for value in values.tolist()
    ]


def _filtered(dashboard: Dashboard, found: pa.Table, wanted: PageFilters) -> pa.Table:
    conditions = []
    columns = {
        name: found[column]
        for name, column in FILTER_COLUMNS.items()
        if name in dashboard.filters and column in found.column_names
    }
    if "period" in columns:
        bounds = {"from": (pc.greater_equal, timedelta(0)), "to": (pc.less, timedelta(days=1))}
        for bound, (holds, day) in bounds.items():
            if wanted.get(bound):
                moment = pa.scalar(_moment(wanted[bound], day), columns["period"].type)
                conditions.append(holds(columns["period"], moment))
    for name, key in (("topic", "topics"), ("language", "languages")):
        if name in columns and wanted.get(key):
            conditions.append(pc.is_in(columns[name], value_set=pa.array(list(wanted[key]), pa.string())))
    if "unmeasured" in columns and not wanted.get("unmeasured"):
        conditions.append(pc.equal(columns["unmeasured"], MEASURED_LANGUAGE))
    if not conditions:
        return found
    mask = conditions[0]
    for condition in conditions[1:]:
        mask = pc.and_(mask, condition)
    # A filter copies what it keeps, so only the columns that are read.
    read = _read(dashboard)
    return found.select([name for name in found.column_names if name in read]).filter(mask)


def _read(dashboard: Dashboard) -> set[str]:
    """The columns that any tile, visual or mark reads."""
    measures = [tile.measure for tile in dashboard.tiles]
    columns = {*_MARKING, *_METHODS}
    for visual in dashboard.visuals:
        measures += visual.measures
        columns |= {*visual.by, *(condition.column for condition in visual.where)}
    for measure in measures:
        columns |= measure.columns
    return columns


def _hours_per_point(found: pa.Table, wanted: PageFilters) -> int:
    """1, or 24 if the period is long."""
    if not found.num_rows:
        return 1
    edges = pc.min_max(found["hour"]).as_py()
    first = _moment(wanted["from"], timedelta(0)) if wanted.get("from") else edges["min"]
    last = _moment(wanted["to"], timedelta(days=1)) if wanted.get("to") else edges["max"]
    shown = min(last, edges["max"]) - max(first, edges["min"])
    return 24 if shown > timedelta(days=DAYS_AT_HOURS) else 1


def _chosen(measure: Measure, wanted: PageFilters) -> Measure:
    """The measure with the formulas for the selected languages."""
    if measure.of_language and wanted.get("languages"):
        return replace(measure, formulas=measure.of_language.formulas)
    return measure


def _visual(visual: Visual, rows: _Rows, chosen: set[str], wanted: PageFilters) -> Json:
    measures = [
        _chosen(measure, wanted)
        for measure in visual.measures
        if not chosen or chosen.issuperset(measure.topics)
    ]
    charted = visual.kind in ("line", "bar")
    groups = (visual.by, visual.where)
    labels, _ = rows.grouped(groups)
    columns: list[Json] = [
        {"name": name, "role": "series" if charted and place else "dimension"}
        for place, name in enumerate(visual.by)
    ]
    lines: list[list[Any]]
    if charted:
        if len(visual.by) == 1:
            columns.append({"name": "measure", "role": "series"})
        columns += [
            {"name": role, "role": role, "format": _format(visual.measures[0], role)} for role in ROLES
        ]
        lines = []
        for measure in measures:
            series = [measure.title] if len(visual.by) == 1 else []
            figures = _figures(rows, measure, groups)
            lines += [
                [*label, *series, *row]
                for label, row in zip(labels, zip(*figures.values(), strict=True), strict=True)
            ]
        value = len(visual.by) + (len(visual.by) == 1)
    else:
        lines = [list(label) for label in labels]
        for measure in measures:
            for role, values in _figures(rows, measure, groups).items():
                if role == "value" or role in measure.formulas:
                    columns.append(
                        {
                            "name": measure.name if role == "value" else f"{measure.name}.{role}",
                            "title": measure.title if role == "value" else role,
                            "role": role,
                            "format": _format(measure, role),
                        }
                    )
                    for line, figure in zip(lines, values, strict=True):
                        line.append(figure)
        value = len(visual.by)
    if len(measures) == 1:
        lines = [line for line in lines if line[value] is not None]
    if visual.top:
        lines = _top(lines, value + ROLES.index("n"), visual.top)
    return {
        "id": visual.id,
        "kind": visual.kind,
        "title": visual.title,
        "topic": visual.topic,
        "columns": columns,
        "rows": lines,
    }


def _format(measure: Measure, role: str) -> str:
    return "number" if role in _COUNTS else measure.format


def _top(lines: list[list[Any]], n: int, count: int) -> list[list[Any]]:
    """The lines of the first column's values with the most rows, most rows first."""
    totals: dict[Any, int] = {}
    for line in lines:
        totals[line[0]] = totals.get(line[0], 0) + (line[n] or 0)
    order = {name: place for place, name in enumerate(sorted(totals, key=lambda name: (-totals[name], name)))}
    return sorted((line for line in lines if order[line[0]] < count), key=lambda line: order[line[0]])


def _label(value: Any) -> Any:
    return _iso(value) if isinstance(value, datetime) else value


def _marking(found: pa.Table) -> list[str]:
    return [name for name in _MARKING if name in found.column_names]


def _marks(found: pa.Table) -> list[Json]:
    """Stretches of hours with gaps, and hours at which the method changed, by topic."""
    marks: list[Json] = []
    if not {"hour", "topic"} <= set(found.column_names):
        return marks
    if "gap" in found.column_names:
        gaps = _hours(found.filter(pc.equal(found["gap"], 1)), "verdict")
        marks += _stretches("gap", gaps, lambda row: _reason(row["verdict"]))
        searched = _hours(found.filter(pc.equal(found["searched"], 1)))
        marks += _stretches("search", searched, lambda _: SEARCHED)
    if "change" in found.column_names:
        changed = found.filter(pc.not_equal(found["change"], "")).group_by(["topic", "hour", "change"])
        marks += [
            {
                "kind": "change",
                "topic": row["topic"],
                "from": _iso(row["hour"]),
                "to": _iso(row["hour"] + _HOUR),
                "label": row["change"],
            }
            for row in changed.aggregate([])
            .sort_by([("topic", "ascending"), ("hour", "ascending"), ("change", "ascending")])
            .to_pylist()
        ]
    return marks


def _hours(found: pa.Table, *more: str) -> list[dict[str, Any]]:
    """Each topic's hours, in order, with further columns that are the same in all rows of an hour."""
    hours = found.group_by(["topic", "hour", *more]).aggregate([])
    rows: list[dict[str, Any]] = hours.sort_by([("topic", "ascending"), ("hour", "ascending")]).to_pylist()
    return rows


def _reason(verdict: str) -> str:
    """Why an hour has a gap."""
    return f"{verdict}: {Verdict(verdict).meaning}" if verdict else "coverage has not judged the hour"


def _stretches(
    kind: str, rows: Sequence[Mapping[str, Any]], label: Callable[[Mapping[str, Any]], str]
) -> list[Json]:
    """Hours of a topic with the same label that follow each other, as one stretch."""
    stretches: list[tuple[str, str, datetime, datetime]] = []
    for row in rows:
        topic, hour, told = row["topic"], row["hour"], label(row)
        if stretches and stretches[-1][:2] == (topic, told) and stretches[-1][3] == hour:
            stretches[-1] = (topic, told, stretches[-1][2], hour + _HOUR)
        else:
            stretches.append((topic, told, hour, hour + _HOUR))
    return [
        {"kind": kind, "topic": topic, "from": _iso(first), "to": _iso(last), "label": told}
        for topic, told, first, last in stretches
    ]


def _as_of(found: pa.Table, chosen: set[str]) -> dict[str, str]:
    """The end of each topic's latest hour with labeled tweets.

    An hour that only coverage knows has no opinion yet.
    """
    if "tweets" not in found.column_names:
        return {}
    latest = found.filter(pc.greater(found["tweets"], 0)).group_by("topic").aggregate([("hour", "max")])
    return {
        row["topic"]: _iso(row["hour_max"] + _HOUR)
        for row in latest.sort_by("topic").to_pylist()
        if not chosen or row["topic"] in chosen
    }


def _moment(value: str | date, day: timedelta) -> datetime:
    """A filter's bound as a naive time in UTC; a day alone gets ``day`` added."""
    given = value
    if isinstance(given, str):
        given = (
            date.fromisoformat(given) if len(given) == len("2026-11-22") else datetime.fromisoformat(given)
        )
    if not isinstance(given, datetime):
        return datetime(given.year, given.month, given.day) + day  # noqa: DTZ001 - the tables' times are naive
    return given.astimezone(UTC).replace(tzinfo=None) if given.tzinfo else given


def _iso(value: datetime) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%S}Z"


def _timestamp(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"a time needs a time zone: {value!r}")
    return f"TIMESTAMP '{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}'"

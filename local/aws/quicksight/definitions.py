"""What QuickSight checks of a dashboard's definition beyond its schema; each error as the API shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local.aws.quicksight import expressions
from local.aws.quicksight.model import visit

type Json = dict[str, Any]

_FIELD_TYPES: Mapping[str, tuple[str, ...]] = {
    "NumericalMeasureField": ("INTEGER", "DECIMAL"),
    "NumericalDimensionField": ("INTEGER", "DECIMAL"),
    "DateMeasureField": ("DATETIME",),
    "DateDimensionField": ("DATETIME",),
    "CategoricalDimensionField": ("STRING",),
    "TimeRangeFilter": ("DATETIME",),
    "TimeEqualityFilter": ("DATETIME",),
    "RelativeDatesFilter": ("DATETIME",),
    "NumericEqualityFilter": ("INTEGER", "DECIMAL"),
    "NumericRangeFilter": ("INTEGER", "DECIMAL"),
    "CategoryFilter": ("STRING",),
}
"""Structures with a column, and the types that it may have; a categorical measure counts, so takes any."""

_IDENTIFIERS: Mapping[str, str] = {
    "SheetDefinition": "SheetId",
    "FilterGroup": "FilterGroupId",
}


@dataclass(frozen=True)
class Column:
    """A data set's column: its type, and its geographic role if it has one."""

    type: str
    role: str | None = None


@dataclass(frozen=True)
class DataSet:
    """A data set by its ARN with its output columns."""

    arn: str
    columns: Mapping[str, Column]


def errors(definition: Json, found: Mapping[str, DataSet]) -> list[Json]:
    """What is wrong with a definition, given the account's data sets by ARN: `DashboardError` structures."""
    return list(_Checker(definition, found).errors())


class _Checker:
    def __init__(self, definition: Json, found: Mapping[str, DataSet]) -> None:
        self._definition = definition
        self._found = found
        self._data_sets: dict[str, DataSet] = {}
        self._calculated: dict[str, dict[str, expressions.Node]] = {}
        self._levels: dict[tuple[str, str], bool | None] = {}

    def errors(self) -> Iterator[Json]:
        yield from self._declared()
        yield from self._calculated_fields()
        yield from self._columns()
        yield from self._identifiers()
        yield from self._references()

    def _declared(self) -> Iterator[Json]:
        for declaration in self._definition["DataSetIdentifierDeclarations"]:
            name, arn = declaration["Identifier"], declaration["DataSetArn"]
            path = f"data-set/{name}"
            if name in self._data_sets:
                yield _error("PARAMETER_VALUE_INCOMPATIBLE", f"Duplicate data set identifier '{name}'", path)
            if arn not in self._found:
                yield _error("DATA_SET_NOT_FOUND", f"The data set '{arn}' can not be found", path)
                continue
            self._data_sets[name] = self._found[arn]

    def _calculated_fields(self) -> Iterator[Json]:
        parsed: dict[str, dict[str, expressions.Node]] = {}
        for entry in self._definition.get("CalculatedFields", []):
            name, data_set = entry["Name"], entry.get("DataSetIdentifier", "")
            path = f"calculated-field/{name}"
            if data_set not in self._data_sets:
                yield _error(
                    "DATA_SET_NOT_FOUND",
                    "The DataSet that used in the calculated field can not be found in the analysis",
                    path,
                )
                continue
            own = parsed.setdefault(data_set, {})
            if name in own or name in self._data_sets[data_set].columns:
                yield _error("PARAMETER_VALUE_INCOMPATIBLE", f"Duplicate field name '{name}'", path)
                continue
            try:
                own[name] = expressions.parse(entry["Expression"])
            except expressions.SyntaxProblemError as error:
                yield _error("PARAMETER_VALUE_INCOMPATIBLE", str(error), path)
        for data_set, own in parsed.items():
            columns = self._data_sets[data_set].columns
            for name, node in own.items():
                path = f"calculated-field/{name}"
                missing = [field for field in expressions.fields(node) if field not in own | columns.keys()]
                for field in dict.fromkeys(missing):
                    yield self._missing(data_set, field, path)
            yield from self._levelled(data_set, own)
        self._calculated = parsed

    def _levelled(self, data_set: str, own: Mapping[str, expressions.Node]) -> Iterator[Json]:
        for name, node in own.items():
            path = f"calculated-field/{name}"
            if circle := expressions.cycle(name, own):
                yield _error(
                    "PARAMETER_VALUE_INCOMPATIBLE", f"Circular reference: {' -> '.join(circle)}", path
                )
                continue
            try:
                self._levels[data_set, name] = expressions.aggregated(node, own)
            except expressions.SyntaxProblemError as error:
                yield _error("PARAMETER_VALUE_INCOMPATIBLE", str(error), path)

    def _missing(self, data_set: str, column: str, path: str) -> Json:
        arn = self._data_sets[data_set].arn
        return _error(
            "COLUMN_REPLACEMENT_MISSING", f"Required column '{column}' is missing in data set '{arn}'", path
        )

    def _columns(self) -> Iterator[Json]:
        for name, content, path in visit("DashboardVersionDefinition", self._definition):
            column = content.get("Column")
            if name == "ColumnIdentifier":
                yield from self._column(content, "/".join(path))
            elif isinstance(column, dict) and column.get("DataSetIdentifier") in self._data_sets:
                yield from self._typed(name, content, column, "/".join(path))
            if name == "FilledMapAggregatedFieldWells":
                for field in content.get("Geospatial", []):
                    yield from self._geographic(field, "/".join(path))

    def _column(self, identifier: Json, path: str) -> Iterator[Json]:
        data_set, column = identifier["DataSetIdentifier"], identifier["ColumnName"]
        if data_set not in self._data_sets:
            yield _error("DATA_SET_NOT_FOUND", f"The data set '{data_set}' is not declared", path)
        elif column not in self._data_sets[data_set].columns and column not in self._names(data_set):
            yield self._missing(data_set, column, path)

    def _names(self, data_set: str) -> set[str]:
        return {
            entry["Name"]
            for entry in self._definition.get("CalculatedFields", [])
            if entry.get("DataSetIdentifier") == data_set
        }

    def _typed(self, structure: str, content: Json, column: Json, path: str) -> Iterator[Json]:
        data_set, name = column["DataSetIdentifier"], column["ColumnName"]
        known = self._data_sets[data_set].columns.get(name)
        allowed = _FIELD_TYPES.get(structure)
        if known and allowed and known.type not in allowed:
            yield _error(
                "COLUMN_TYPE_MISMATCH",
                f"Column '{name}' is of type {known.type}, {' or '.join(allowed)} is required",
                path,
            )
        twice = content.get("AggregationFunction") and self._levels.get((data_set, name))
        if structure == "NumericalMeasureField" and twice:
            yield _error(
                "PARAMETER_VALUE_INCOMPATIBLE",
                f"The calculated field '{name}' is aggregated already; it allows no aggregation function",
                path,
            )

    def _geographic(self, field: Json, path: str) -> Iterator[Json]:
        column = (field.get("CategoricalDimensionField") or {}).get("Column", {})
        data_set = self._data_sets.get(column.get("DataSetIdentifier", ""))
        known = data_set.columns.get(column["ColumnName"]) if data_set else None
        if data_set and known and known.role is None:
            yield _error(
                "COLUMN_GEOGRAPHIC_ROLE_MISMATCH",
                f"Required geographic role for column '{column['ColumnName']}' in data set "
                f"'{data_set.arn}' is 'null'",
                path,
            )

    def _identifiers(self) -> Iterator[Json]:
        seen: dict[str, set[str]] = {}
        for name, content, path in visit("DashboardVersionDefinition", self._definition):
            for key in ("VisualId", "FilterId", "FilterControlId", "ParameterControlId", "FieldId"):
                # A field's id is one of its visual's, the others are the dashboard's.
                owner = "/".join(path[:5]) if key == "FieldId" else ""
                declares = key != "FieldId" or name.endswith(("MeasureField", "DimensionField"))
                if declares and isinstance(content.get(key), str) and not name.endswith("Configuration"):
                    yield from self._once(seen, f"{owner}{key}", key, content[key], path)
            if key_of := _IDENTIFIERS.get(name):
                yield from self._once(seen, key_of, key_of, content[key_of], path)

    def _once(
        self, seen: dict[str, set[str]], group: str, key: str, value: str, path: tuple[str, ...]
    ) -> Iterator[Json]:
        if value in seen.setdefault(group, set()):
            yield _error("PARAMETER_VALUE_INCOMPATIBLE", f"Duplicate {key} '{value}'", "/".join(path))
        seen[group].add(value)

    def _references(self) -> Iterator[Json]:
        sheets = {
            sheet["SheetId"]: {
                content["VisualId"] for visual in sheet.get("Visuals", []) for content in visual.values()
            }
            for sheet in self._definition.get("Sheets", [])
        }
        filters = {
            content["FilterId"]
            for group in self._definition.get("FilterGroups", [])
            for entry in group["Filters"]
            for content in entry.values()
        }
        for group in self._definition.get("FilterGroups", []):
            scopes = (
                group["ScopeConfiguration"]
                .get("SelectedSheets", {})
                .get("SheetVisualScopingConfigurations", [])
            )
            path = f"filter-group/{group['FilterGroupId']}"
            for scope in scopes:
                if scope["SheetId"] not in sheets:
                    yield _error("PARAMETER_NOT_FOUND", f"There is no sheet '{scope['SheetId']}'", path)
                    continue
                for visual in scope.get("VisualIds", []):
                    if visual not in sheets[scope["SheetId"]]:
                        yield _error("PARAMETER_NOT_FOUND", f"There is no visual '{visual}'", path)
        for sheet in self._definition.get("Sheets", []):
            for control in sheet.get("FilterControls", []):
                for content in control.values():
                    if content.get("SourceFilterId") not in filters:
                        yield _error(
                            "PARAMETER_NOT_FOUND",
                            f"There is no filter '{content.get('SourceFilterId')}'",
                            f"sheet/{sheet['SheetId']}/filter-control/{content['FilterControlId']}",
                        )
            yield from self._layout(sheet, sheets[sheet["SheetId"]])

    def _layout(self, sheet: Json, visuals: set[str]) -> Iterator[Json]:
        boxes = {box["SheetTextBoxId"] for box in sheet.get("TextBoxes", [])}
        for layout in sheet.get("Layouts", []):
            for kind in layout["Configuration"].values():
                for element in kind.get("Elements", []):
                    if element["ElementId"] not in visuals | boxes:
                        yield _error(
                            "PARAMETER_NOT_FOUND",
                            f"There is no element '{element['ElementId']}'",
                            f"sheet/{sheet['SheetId']}/layout",
                        )


def _error(kind: str, message: str, path: str) -> Json:
    return {"Type": kind, "Message": message, "ViolatedEntities": [{"Path": path}]}

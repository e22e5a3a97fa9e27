"""The dashboards for QuickSight: the parameters of its API's calls, computed from the definition.

Shapes: https://docs.aws.amazon.com/quicksight/latest/APIReference/. Nothing here calls QuickSight;
`include.provision.quicksight` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from include.insights.definition import (
    FILTER_COLUMNS,
    MEASURED_LANGUAGE,
    ROLES,
    Dashboard,
    DataSet,
    Definition,
    FilterName,
    Format,
    Formula,
    Json,
    Measure,
    Tile,
    Visual,
    load,
)
from include.insights.expressions import Condition, Reference, restricted, to_quicksight, walk
from include.settings import Settings
from include.x.topics import load as load_topics

SHEET = "sheet"
"""The id of a dashboard's one sheet."""

DAYS_SHOWN = 7
"""How far back a dashboard goes by default."""

_COLUMN_TYPES = {
    "text": "STRING",
    "country": "STRING",
    "integer": "INTEGER",
    "decimal": "DECIMAL",
    "time": "DATETIME",
}
_CERTAIN_INTERVAL = "95 % interval and number of tweets"
_INTERVAL = (
    "Interval and number of tweets; audit 0: sampling error only, 1: 95 %, 2: 95 % by the whole topic's"
)
_LABELS = {"low": "Low", "high": "High", "n": "Tweets", "audit": "Audit (0: sampling error only)"}
_VIEW = "view"
_GRID_COLUMNS = 36
_DASHBOARD_ACTIONS = (
    "quicksight:DescribeDashboard",
    "quicksight:ListDashboardVersions",
    "quicksight:QueryDashboard",
)


@dataclass(frozen=True)
class Asset:
    """A data source, a data set or a dashboard: its id, its parameters and its permissions."""

    kind: str
    """``data_source``, ``data_set`` or ``dashboard``: as in the names of botocore's methods."""
    identity: str
    content: Json
    """Parameters for creating and updating it."""
    creation: Json
    """Parameters only for creating it."""
    permissions: list[Json]


def data_set_ids(settings: Settings) -> tuple[str, ...]:
    """The ids of QuickSight's data sets, which ingestions refresh, in the definition's order."""
    definition = load(load_topics(settings.topics_file))
    return tuple(f"{settings.database}-{name}" for name in definition.data_sets)


def dashboard_url(settings: Settings, data_set: str) -> str:
    """The address of the first dashboard that shows a data set (an id of `data_set_ids`).

    With a ``{region}`` if the settings' address has one; empty if no dashboard shows it.
    """
    definition = load(load_topics(settings.topics_file))
    for identity, dashboard in definition.dashboards.items():
        if data_set in {f"{settings.database}-{found.name}" for found in dashboard.data_sets}:
            return f"{settings.quicksight_url}/dashboards/{settings.database}-{identity}"
    return ""


def assets(definition: Definition, settings: Settings, account: str, region: str) -> list[Asset]:
    """All resources in QuickSight, each after those that it refers to."""
    return [
        _data_source(settings),
        *(_data_set(data_set, settings, account, region) for data_set in definition.data_sets.values()),
        *(_dashboard(dashboard, settings, account, region) for dashboard in definition.dashboards.values()),
    ]


def refresh_schedule() -> Json:
    """The schedule of every data set: once a day, in case no run of insights has refreshed it."""
    return {
        "ScheduleId": "daily",
        "ScheduleFrequency": {"Interval": "DAILY", "TimeOfTheDay": "04:30", "Timezone": "UTC"},
        "RefreshType": "FULL_REFRESH",
    }


def _arn(kind: str, identity: str, account: str, region: str) -> str:
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if "-gov-" in region else "aws"
    return f"arn:{partition}:quicksight:{region}:{account}:{kind}/{identity}"


def _data_source(settings: Settings) -> Asset:
    return Asset(
        kind="data_source",
        identity=f"{settings.database}-athena",
        content={
            "Name": "X opinion: Athena",
            "DataSourceParameters": {"AthenaParameters": {"WorkGroup": settings.workgroup}},
        },
        creation={"Type": "ATHENA"},
        # An author who may use the data source could query the lake's texts with QuickSight's role.
        permissions=[],
    )


def _data_set(data_set: DataSet, settings: Settings, account: str, region: str) -> Asset:
    columns = [
        {"Name": column.name, "Type": _COLUMN_TYPES[column.type]} for column in data_set.columns.values()
    ]
    roles = [
        {"TagColumnOperation": {"ColumnName": column.name, "Tags": [{"ColumnGeographicRole": "COUNTRY"}]}}
        for column in data_set.columns.values()
        if column.type == "country"
    ]
    logical: Json = {"Alias": data_set.title, "Source": {"PhysicalTableId": _VIEW}}
    if roles:
        logical["DataTransforms"] = roles
    source = _arn("datasource", f"{settings.database}-athena", account, region)
    return Asset(
        kind="data_set",
        identity=f"{settings.database}-{data_set.name}",
        content={
            "Name": f"X opinion: {data_set.title}",
            "PhysicalTableMap": {
                _VIEW: {
                    "CustomSql": {
                        "DataSourceArn": source,
                        "Name": data_set.view,
                        "SqlQuery": data_set.statement(settings.database),
                        "Columns": columns,
                    }
                }
            },
            "LogicalTableMap": {_VIEW: logical},
            "ImportMode": "SPICE",
        },
        creation={},
        permissions=[],
    )


def _dashboard(dashboard: Dashboard, settings: Settings, account: str, region: str) -> Asset:
    declarations = [
        {
            "Identifier": data_set.name,
            "DataSetArn": _arn("dataset", f"{settings.database}-{data_set.name}", account, region),
        }
        for data_set in dashboard.data_sets
    ]
    return Asset(
        kind="dashboard",
        identity=f"{settings.database}-{dashboard.id}",
        content={
            "Name": dashboard.title,
            "Definition": {"DataSetIdentifierDeclarations": declarations, **definition_of(dashboard)},
            "DashboardPublishOptions": {"AdHocFilteringOption": {"AvailabilityStatus": "ENABLED"}},
        },
        creation={},
        permissions=[
            {"Principal": principal, "Actions": list(_DASHBOARD_ACTIONS)}
            for principal in settings.quicksight_principals
        ],
    )


def definition_of(dashboard: Dashboard) -> Json:
    """The dashboard's definition without the data sets' addresses."""
    tiles = [visual for tile in dashboard.tiles for visual in _tile(tile)]
    visuals = [_visual(visual) for visual in dashboard.visuals]
    return {
        "CalculatedFields": [
            {"DataSetIdentifier": data_set, "Name": name, "Expression": expression}
            for (data_set, name), expression in calculated_fields(dashboard).items()
        ],
        "FilterGroups": [*_filter_groups(dashboard), *_visual_filters(dashboard)],
        "Sheets": [
            {
                "SheetId": SHEET,
                "Name": dashboard.title,
                "ContentType": "INTERACTIVE",
                "Visuals": [*tiles, *visuals],
                "FilterControls": [_control(name) for name in dashboard.filters],
                "Layouts": [_layout(dashboard)],
            }
        ],
    }


def calculated_fields(dashboard: Dashboard) -> dict[tuple[str, str], str]:
    """The expressions of all measures shown and of the terms that they refer to, by data set and name."""
    fields: dict[tuple[str, str], str] = {}

    def add(data_set: DataSet, name: str, formula: Formula, conditions: tuple[Condition, ...] = ()) -> None:
        key = (data_set.name, _restricted_name(name, conditions))
        if key in fields:
            return
        expression = restricted(formula.expression, conditions)
        for part in walk(expression):
            if isinstance(part, Reference):
                add(data_set, part.name, data_set.terms[part.name], part.conditions)
        fields[key] = to_quicksight(expression, lambda found: _restricted_name(found.name, found.conditions))

    for data_set, measure in [
        *((tile.data_set, tile.measure) for tile in dashboard.tiles),
        *((visual.data_set, measure) for visual in dashboard.visuals for measure in visual.measures),
    ]:
        for role, formula in measure.formulas.items():
            add(data_set, field_name(measure, role), formula)
    return fields


def field_name(measure: Measure, role: str) -> str:
    """The name of the calculated field of one of a measure's `ROLES`."""
    return measure.name if role == "value" else f"{measure.name} ({role})"


def _restricted_name(name: str, conditions: tuple[Condition, ...]) -> str:
    return "-".join((name, *(str(condition.value) for condition in conditions)))


def _column(data_set: DataSet, name: str) -> Json:
    return {"DataSetIdentifier": data_set.name, "ColumnName": name}


def _format(form: Format, role: str) -> Json:
    shown: Format = "number" if role in ("n", "audit") else form
    places = {"DecimalPlacesConfiguration": {"DecimalPlaces": {"percent": 1, "ratio": 2, "number": 0}[shown]}}
    kind = "PercentageDisplayFormatConfiguration" if shown == "percent" else None
    return {"FormatConfiguration": {kind or "NumberDisplayFormatConfiguration": places}}


def _value(visual: str, data_set: DataSet, measure: Measure, role: str) -> Json:
    return {
        "NumericalMeasureField": {
            "FieldId": f"{visual}.{measure.name}.{role}",
            "Column": _column(data_set, field_name(measure, role)),
            "FormatConfiguration": _format(measure.format, role),
        }
    }


def _values(visual: str, data_set: DataSet, measure: Measure, *roles: str) -> list[Json]:
    return [_value(visual, data_set, measure, role) for role in roles if role in measure.formulas]


def _dimension(visual: Visual, name: str) -> Json:
    field: Json = {"FieldId": f"{visual.id}.{name}", "Column": _column(visual.data_set, name)}
    if visual.data_set.columns[name].type == "time":
        return {"DateDimensionField": {**field, "DateGranularity": "HOUR"}}
    return {"CategoricalDimensionField": field}


def _title(text: str) -> Json:
    return {"Visibility": "VISIBLE", "FormatText": {"PlainText": text}}


def _tile_ids(tile: Tile) -> tuple[str, ...]:
    figure = f"tile-{tile.measure.name}"
    return (figure, f"{figure}-interval") if tile.measure.formulas.keys() - {"value"} else (figure,)


def _tile(tile: Tile) -> list[Json]:
    """The figure, and below it its interval and its n."""
    measure, data_set = tile.measure, tile.data_set
    figure, *interval = _tile_ids(tile)
    visuals: list[Json] = [
        {
            "KPIVisual": {
                "VisualId": figure,
                "Title": _title(measure.title),
                "ChartConfiguration": {"FieldWells": {"Values": _values(figure, data_set, measure, "value")}},
            }
        }
    ]
    for identity in interval:
        wells = {"GroupBy": [], "Values": _values(identity, data_set, measure, *ROLES[1:])}
        visuals.append(
            {
                "TableVisual": {
                    "VisualId": identity,
                    "Title": _title(_INTERVAL if "audit" in measure.formulas else _CERTAIN_INTERVAL),
                    "ChartConfiguration": {"FieldWells": {"TableAggregatedFieldWells": wells}},
                }
            }
        )
    return visuals


def _tooltip(visual: Visual, *roles: str) -> Json:
    """Shows further fields of the visual's one measure on hover."""
    (measure,) = visual.measures
    items = [
        {
            "ColumnTooltipItem": {
                "Column": _column(visual.data_set, field_name(measure, role)),
                "Label": _LABELS[role],
                "Visibility": "VISIBLE",
            }
        }
        for role in roles
        if role in measure.formulas
    ]
    if not items:
        return {}
    shown = [*_shown_fields(visual), *items]
    return {
        "Tooltip": {
            "TooltipVisibility": "VISIBLE",
            "SelectedTooltipType": "DETAILED",
            "FieldBasedTooltip": {"TooltipFields": shown},
        }
    }


def _shown_fields(visual: Visual) -> list[Json]:
    (measure,) = visual.measures
    fields = [*(f"{visual.id}.{name}" for name in visual.by), f"{visual.id}.{measure.name}.value"]
    return [{"FieldTooltipItem": {"FieldId": field, "Visibility": "VISIBLE"}} for field in fields]


_DOUBLINGS: Json = {"DataOptions": {"NumericAxisOptions": {"Scale": {"Logarithmic": {"Base": 2}}}}}
"""An axis on which 2 : 1 is as far from 1 : 1 as 1 : 2, as on the pages."""
_AT_ONE: Json = {"ReferenceLines": [{"DataConfiguration": {"StaticConfiguration": {"Value": 1}}}]}
"""A line where there is as much of the one as of the other."""


def _is_ratio(visual: Visual) -> bool:
    return all(measure.format == "ratio" for measure in visual.measures)


def _visual(visual: Visual) -> Json:
    head = {"VisualId": visual.id, "Title": _title(visual.title)}
    single = visual.measures[0] if len(visual.measures) == 1 else None
    axis, series = _dimension(visual, visual.by[0]), [_dimension(visual, name) for name in visual.by[1:]]
    values = [
        value
        for measure in visual.measures
        for value in _values(visual.id, visual.data_set, measure, "value")
    ]
    match visual.kind:
        case "line":
            wells: Json = {"Category": [axis], "Values": values}
            if single and "low" in single.formulas:
                # QuickSight has no bands: the interval's ends are separate lines, with one chart per series.
                wells["Values"] = _values(visual.id, visual.data_set, single, "value", "low", "high")
                if series:
                    wells["SmallMultiples"] = series
            elif series:
                wells["Colors"] = series
            chart: Json = {"FieldWells": {"LineChartAggregatedFieldWells": wells}, "Type": "LINE"}
            if single:
                chart |= _tooltip(visual, "n", "audit")
            if _is_ratio(visual):
                chart |= {"PrimaryYAxisDisplayOptions": {"AxisOptions": _DOUBLINGS}, **_AT_ONE}
            return {"LineChartVisual": {**head, "ChartConfiguration": chart}}
        case "bar" | "marks":
            wells = {"Category": [axis], "Values": values, "Colors": series}
            chart = {
                "FieldWells": {"BarChartAggregatedFieldWells": wells},
                "Orientation": "HORIZONTAL" if visual.kind == "bar" else "VERTICAL",
                "BarsArrangement": "CLUSTERED",
            }
            if single:
                chart |= _tooltip(visual, *ROLES[1:])
                if visual.top:
                    chart["SortConfiguration"] = _most_rows(visual, single, visual.top)
            if _is_ratio(visual):
                chart |= {"ValueAxis": _DOUBLINGS, **_AT_ONE}
            return {"BarChartVisual": {**head, "ChartConfiguration": chart}}
        case "map":
            wells = {"Geospatial": [axis], "Values": values}
            chart = {"FieldWells": {"FilledMapAggregatedFieldWells": wells}}
            return {
                "FilledMapVisual": {
                    **head,
                    "ChartConfiguration": {**chart, **_tooltip(visual, *ROLES[1:])},
                }
            }
        case "table":
            wells = {
                "GroupBy": [axis, *series],
                "Values": [
                    value
                    for measure in visual.measures
                    for value in _values(visual.id, visual.data_set, measure, *ROLES)
                ],
            }
            chart = {"FieldWells": {"TableAggregatedFieldWells": wells}}
            return {"TableVisual": {**head, "ChartConfiguration": chart}}


def _most_rows(visual: Visual, measure: Measure, count: int) -> Json:
    role = "n" if "n" in measure.formulas else "value"
    return {
        "CategorySort": [
            {
                "ColumnSort": {
                    "SortBy": _column(visual.data_set, field_name(measure, role)),
                    "Direction": "DESC",
                }
            }
        ],
        "CategoryItemsLimit": {"ItemsLimit": count, "OtherCategories": "EXCLUDE"},
    }


def _filter_groups(dashboard: Dashboard) -> list[Json]:
    groups = []
    for name in dashboard.filters:
        column = FILTER_COLUMNS[name]
        having = [data_set for data_set in dashboard.data_sets if column in data_set.columns]
        head = {"FilterId": f"filter-{name}", "Column": _column(having[0], column)}
        groups.append(
            {
                "FilterGroupId": f"filters-{name}",
                "Filters": [_filter(name, head)],
                "ScopeConfiguration": {
                    "SelectedSheets": {
                        "SheetVisualScopingConfigurations": [{"SheetId": SHEET, "Scope": "ALL_VISUALS"}]
                    }
                },
                "Status": "ENABLED",
                # With ALL_DATASETS, data sets with a column of the same name are filtered too.
                "CrossDataset": "ALL_DATASETS" if len(having) > 1 else "SINGLE_DATASET",
            }
        )
    return groups


def _filter(name: FilterName, head: Json) -> Json:
    if name == "period":
        return {
            "RelativeDatesFilter": {
                **head,
                "AnchorDateConfiguration": {"AnchorOption": "NOW"},
                "TimeGranularity": "DAY",
                "RelativeDateType": "LAST",
                "RelativeDateValue": DAYS_SHOWN,
                "NullOption": "NON_NULLS_ONLY",
            }
        }
    chosen: Json = (
        {"CategoryValues": [MEASURED_LANGUAGE]}
        if name == "unmeasured"
        else {"SelectAllOptions": "FILTER_ALL_VALUES"}
    )
    configuration = {"FilterListConfiguration": {"MatchOperator": "CONTAINS", **chosen}}
    return {"CategoryFilter": {**head, "Configuration": configuration}}


def _control(name: FilterName) -> Json:
    titles = {
        "period": "Period",
        "topic": "Topic",
        "language": "Language",
        "unmeasured": "Languages on which the model was",
    }
    head = {"FilterControlId": f"control-{name}", "Title": titles[name], "SourceFilterId": f"filter-{name}"}
    if name == "period":
        return {"RelativeDateTime": head}
    return {"Dropdown": {**head, "Type": "MULTI_SELECT"}}


def _visual_filters(dashboard: Dashboard) -> list[Json]:
    """The conditions of single visuals."""
    operators = {"=": "EQUALS", "<>": "DOES_NOT_EQUAL"}
    groups = []
    for visual in dashboard.visuals:
        for condition in visual.where:
            head = {
                "FilterId": f"filter-{visual.id}",
                "Column": _column(visual.data_set, condition.column),
            }
            one = {
                "MatchOperator": operators[condition.comparison],
                "CategoryValue": str(condition.value),
                "NullOption": "NON_NULLS_ONLY",
            }
            groups.append(
                {
                    "FilterGroupId": f"filters-{visual.id}",
                    "Filters": [
                        {"CategoryFilter": {**head, "Configuration": {"CustomFilterConfiguration": one}}}
                    ],
                    "ScopeConfiguration": {
                        "SelectedSheets": {
                            "SheetVisualScopingConfigurations": [
                                {
                                    "SheetId": SHEET,
                                    "Scope": "SELECTED_VISUALS",
                                    "VisualIds": [visual.id],
                                }
                            ]
                        }
                    },
                    "Status": "ENABLED",
                    "CrossDataset": "SINGLE_DATASET",
                }
            )
    return groups


def _layout(dashboard: Dashboard) -> Json:
    """Tiles in rows of four, then two visuals a row, tables across the whole width."""
    elements: list[Json] = []

    def place(identity: str, column: int, row: int, width: int, height: int) -> None:
        elements.append(
            {
                "ElementId": identity,
                "ElementType": "VISUAL",
                "ColumnIndex": column,
                "ColumnSpan": width,
                "RowIndex": row,
                "RowSpan": height,
            }
        )

    row = 0
    width = _GRID_COLUMNS // 4
    for index, tile in enumerate(dashboard.tiles):
        row, column = index // 4 * 9, index % 4 * width
        figure, *interval = _tile_ids(tile)
        place(figure, column, row, width, 4)
        for identity in interval:
            place(identity, column, row + 4, width, 5)
    row, column = (len(dashboard.tiles) + 3) // 4 * 9, 0
    for visual in dashboard.visuals:
        wide = visual.kind in ("table", "marks")
        span = _GRID_COLUMNS if wide else _GRID_COLUMNS // 2
        if column + span > _GRID_COLUMNS:
            row, column = row + 12, 0
        place(visual.id, column, row, span, 12)
        column += span
    return {"Configuration": {"GridLayout": {"Elements": elements}}}

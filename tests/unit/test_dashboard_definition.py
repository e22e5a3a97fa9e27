"""The dashboards' file: mistakes are named with line and reason, topics are whichever there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.insights.definition import FILE, DefinitionError, load
from include.insights.quicksight import calculated_fields, definition_of
from tests.unit.support_dashboards import topics

SMALL = """\
functions:
  share(a, b): a / (a + b)
data_sets:
  facts:
    title: Facts
    view: facts
    columns: {hour: time, topic: text, country: country, a: integer, b: decimal}
    terms:
      total: sum(a) + sum(b)
    measures:
      part:
        title: Part
        value: share(sum(a), sum(b))
        format: percent
      pair:
        each: topic_pair
        title: "{first} to {second}"
        value: sum(a, topic = $first) / sum(a, topic = $second)
        format: ratio
dashboards:
  one:
    title: One
    filters: [period, topic]
    tiles:
      - {measure: part, each: topic}
      - {measure: pair}
    visuals:
      - {id: lines, kind: line, measure: part, by: [hour, topic]}
      - {id: pairs, kind: line, measure: pair, by: [hour]}
"""


def rejection(tmp_path: Path, old: str, new: str) -> str:
    """What is said of the small definition with a mistake in it."""
    path = tmp_path / "dashboards.yaml"
    assert old in SMALL
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(DefinitionError) as error:
        load(topics("football", "music"), path)
    return str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("title: Facts", "titel: Facts", 5, "unknown key 'titel'"),
        ("    view: facts\n", "", 4, "'view' is missing"),
        ("b: decimal", "b: money", 7, "'money' is not one of"),
        ("a / (a + b)", "a / (a + c)", 2, "'c' is not a parameter of share"),
        ("a / (a + b)", "sum(a)", 2, "a function has no aggregates"),
        ("sum(a) + sum(b)", "sum(a) + sum(c)", 9, "unknown column 'c'; the columns are hour, topic"),
        ("sum(a) + sum(b)", "sum(a) + sum(topic)", 9, "sum of column 'topic', which is text"),
        ("sum(a) + sum(b)", "sum(a, b = 'x')", 9, "column 'b' is decimal; it cannot be compared with 'x'"),
        ("sum(a) + sum(b)", "total + 1", 9, "'total' refers to itself: total → total"),
        ("value: share(sum(a), sum(b))", "value: share(sum(a))", 13, "'share' takes 2 arguments, not 1"),
        ("value: share(sum(a), sum(b))", "value: all / 2", 13, "unknown measure or term 'all'; "),
        ("format: percent", "format: percent\n        low: total", 11, "'low' and 'high' go together"),
        ("topic = $second", "topic = $third", 18, "'$' is not understood"),
        (
            "measure: part, each: topic",
            "measure: whole",
            25,
            "unknown measure 'whole'; the measures are part, pair",
        ),
        ("{measure: pair}", "{measure: pair, each: topic}", 26, "one of each pair of topics already"),
        ("{measure: pair}", "{measure: part, each: topic}", 26, "'part-football' is defined twice"),
        (
            "format: percent",
            "format: percent\n        of_language: whole",
            15,
            "unknown single measure 'whole'",
        ),
        ("[period, topic]", "[period, language]", 23, "no data set has the column 'lang'"),
        ("by: [hour, topic]", "by: [topic]", 28, "a visual of kind line starts with a time"),
        ("by: [hour, topic]", "by: [hour, where]", 28, "unknown column 'where'"),
        (
            "kind: line, measure: part",
            "kind: map, measure: part",
            28,
            "a map shows one column of type country",
        ),
        ("by: [hour, topic]", "by: [hour, topic], each: topic", 28, "tells topics apart already"),
        ("by: [hour]}", "by: [hour], each: topic}", 29, "tells topics apart already"),
        (
            "kind: line, measure: part, by: [hour, topic]",
            "kind: map, measure: part, by: [country]",
            28,
            "a map of several topics shows their mix",
        ),
        ("id: pairs", "id: lines", 29, "'lines' is defined twice"),
        ("by: [hour]}", "by: [hour], where: a > 1}", 29, "a visual's rows are chosen by a text"),
        ("kind: line, measure: pair", "kind: pie, measure: pair", 29, "'pie' is not one of"),
        ("  one:\n", "  one:\n    title: One\n", 23, "'title' is defined twice"),
        ("data_sets:", "data_sets: [", 5, "this is not YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_reason(
    tmp_path: Path, old: str, new: str, line: int, reason: str
) -> None:
    told = rejection(tmp_path, old, new)
    assert told.startswith(f"dashboards.yaml:{line}: "), told
    assert reason in told


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"none\.yaml: the file cannot be read"):
        load(topics("football", "music"), tmp_path / "none.yaml")


def test_one_tile_of_each_topic_and_one_ratio_of_each_pair_whichever_topics_there_are(tmp_path: Path) -> None:
    path = tmp_path / "dashboards.yaml"
    path.write_text(SMALL)
    dashboard = load(topics("football", "music", "chess"), path).dashboards["one"]
    assert [(tile.measure.name, tile.measure.title, tile.measure.topics) for tile in dashboard.tiles] == [
        ("part-football", "Part: FOOTBALL", ("football",)),
        ("part-music", "Part: MUSIC", ("music",)),
        ("part-chess", "Part: CHESS", ("chess",)),
        ("pair-football-music", "FOOTBALL to MUSIC", ("football", "music")),
        ("pair-football-chess", "FOOTBALL to CHESS", ("football", "chess")),
        ("pair-music-chess", "MUSIC to CHESS", ("music", "chess")),
    ]
    assert len(dashboard.visuals[1].measures) == 3
    fields = calculated_fields(dashboard)
    assert fields["facts", "part-chess"].count("{topic} = 'chess'") == 3


def test_the_dashboards_that_are_shipped_hold_for_any_topics() -> None:
    for names in (("football", "music"), ("a", "b", "c", "d")):
        definition = load(topics(*names), FILE)
        assert [dashboard.title for dashboard in definition.dashboards.values()] == [
            "Opinion over time",
            "Opinion across the world",
        ]
        for dashboard in definition.dashboards.values():
            fields = calculated_fields(dashboard)
            # QuickSight takes no longer expression and no longer name.
            assert max(len(expression) for expression in fields.values()) < 32_000
            assert max(len(name) for _, name in fields) <= 128
            columns = {(data_set.name, name) for data_set in dashboard.data_sets for name in data_set.columns}
            assert not columns & fields.keys()
            assert not [name for name in ("ukraine", "russia") if name in repr(fields)]
            for tile in dashboard.tiles:
                wanted = {"value"} if tile.measure.format == "number" else {"value", "low", "high", "n"}
                # What rests on the model's labels says what its interval knows of their errors.
                wanted |= (
                    {"audit"}
                    if "sentiment" in tile.measure.name or "positive" in tile.measure.name
                    else set()
                )
                assert tile.measure.formulas.keys() == wanted, tile.measure.name


def test_quicksight_shows_ratios_on_a_logarithmic_axis_with_a_line_at_one() -> None:
    dashboards = load(topics("football", "music"), FILE).dashboards
    scales = {}
    for dashboard in dashboards.values():
        (sheet,) = definition_of(dashboard)["Sheets"]
        for visual in sheet["Visuals"]:
            [(kind, found)] = visual.items()
            chart = found.get("ChartConfiguration", {})
            axis = chart.get("PrimaryYAxisDisplayOptions", {}).get("AxisOptions") or chart.get("ValueAxis")
            if kind in ("LineChartVisual", "BarChartVisual"):
                scale = axis and axis["DataOptions"]["NumericAxisOptions"]["Scale"]
                lines = [
                    line["DataConfiguration"]["StaticConfiguration"]["Value"]
                    for line in chart.get("ReferenceLines", [])
                ]
                scales[found["VisualId"]] = (scale, lines)
    doublings = ({"Logarithmic": {"Base": 2}}, [1])
    assert {name for name, found in scales.items() if found == doublings} == {
        "positive_to_negative",
        "topic_to_topic",
        "language_ratio",
    }
    assert scales["net_sentiment"] == (None, [])

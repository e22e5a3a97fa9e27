"""A page's figures: filters, intervals, marks, and what an empty lake shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from include.insights import page
from include.insights.definition import Dashboard, Definition, load
from tests.unit import support_dashboards
from tests.unit.support_dashboards import topics

TOPICS = topics("football", "music")
HOUR = datetime(2026, 11, 22, 10)  # noqa: DTZ001 - the lake's times are naive


@pytest.fixture(scope="module")
def definition() -> Definition:
    return load(TOPICS)


@pytest.fixture(scope="module")
def over_time(definition: Definition) -> Dashboard:
    return definition.dashboards["opinion-over-time"]


def row(**given: Any) -> dict[str, Any]:
    """A row of the view `opinion` with its weights."""
    counts = {"negative": 0, "neutral": 0, "positive": 0, **given}
    judged = counts["negative"] + counts["neutral"] + counts["positive"]
    weight = 100 / given.get("sample", 100)
    found = {
        **support_dashboards.nothing_counted(),
        "hour": HOUR,
        "topic": "football",
        "lang": "en",
        "country_code": "--",
        "measured": 1,
        "language_model": "measured",
        "sample": 100,
        "engine": "n-gram-1",
        "model": "",
        "verdict": "complete",
        "change": "",
        "gap": 0,
        "counted": 1,
        "searched": 0,
        "tweets": judged,
        "judged": judged,
        **{f"weighted_{name}": weight * counts[name] for name in ("negative", "neutral", "positive")},
        "weighted_judged": weight * judged,
        "weight_squares": weight * weight * judged,
        "weighted_agreed": 0,
        **given,
    }
    squares = weight * weight * found["compared"]
    derived = {"changed": int(found["change"] != ""), "weighted_compared": weight * found["compared"]}
    return {**derived, "compared_squares": squares, "dt": f"{found['hour']:%Y-%m-%d}", **found}


def table(definition: Definition, *rows: dict[str, Any]) -> pa.Table:
    return support_dashboards.table(definition.data_sets["opinion"], rows)


def tile(found: dict[str, Any], identity: str) -> dict[str, Any]:
    (one,) = [tile for tile in found["tiles"] if tile["id"] == identity]
    return dict(one)


def visual(found: dict[str, Any], identity: str) -> dict[str, Any]:
    (one,) = [visual for visual in found["visuals"] if visual["id"] == identity]
    return dict(one)


def test_tiles_tell_each_topics_ratios_with_interval_and_n(
    definition: Definition, over_time: Dashboard
) -> None:
    rows = table(
        definition,
        row(negative=20, neutral=50, positive=30),
        row(topic="music", negative=10, positive=40),
        row(topic="music", negative=0, positive=0),
    )
    found = page.evaluate(over_time, rows)
    assert tile(found, "net_sentiment-football")["value"] == pytest.approx(0.1)
    ratio = tile(found, "positive_to_negative-music")
    assert (ratio["value"], ratio["n"]) == (4, 50)
    # Wilson's interval of 40 out of 50, as a ratio: 0.6696 and 0.8876.
    assert ratio["low"] == pytest.approx(0.66963 / 0.33037, rel=1e-3)
    assert ratio["high"] == pytest.approx(0.88759 / 0.11241, rel=1e-3)
    assert tile(found, "topic_to_topic-football-music")["value"] == 2
    assert tile(found, "agreement")["value"] is None
    assert tile(found, "volume")["value"] == 150


def test_a_thinned_sample_counts_as_much_and_is_trusted_less(
    definition: Definition, over_time: Dashboard
) -> None:
    whole = table(definition, row(negative=40, positive=60), row(negative=40, positive=60))
    thinned = table(definition, row(negative=40, positive=60), row(negative=8, positive=12, sample=20))
    ours, theirs = (
        tile(page.evaluate(over_time, rows), "net_sentiment-football") for rows in (whole, thinned)
    )
    assert ours["value"] == pytest.approx(theirs["value"]) == pytest.approx(0.2)
    assert theirs["high"] - theirs["low"] > ours["high"] - ours["low"]
    assert (ours["n"], theirs["n"]) == (200, 120)


def test_languages_on_which_the_model_was_not_measured_stay_out_unless_asked_for(
    definition: Definition, over_time: Dashboard
) -> None:
    other = row(lang="uk", measured=0, language_model="not measured", negative=100)
    rows = table(definition, row(positive=10, negative=10), other)
    assert tile(page.evaluate(over_time, rows), "net_sentiment-football")["n"] == 20
    found = page.evaluate(over_time, rows, {"unmeasured": True})
    assert tile(found, "net_sentiment-football")["n"] == 120


def test_filters_choose_period_topics_and_languages(definition: Definition, over_time: Dashboard) -> None:
    rows = table(
        definition,
        row(positive=1),
        row(positive=2, hour=HOUR + timedelta(hours=1)),
        row(positive=4, hour=HOUR + timedelta(hours=2)),
        row(positive=8, lang="de"),
        row(positive=16, topic="music"),
        row(positive=32, hour=HOUR + timedelta(days=1)),
    )

    def n(**filters: Any) -> int:
        found = page.evaluate(over_time, rows, filters)
        return int(tile(found, "volume")["value"])

    assert n() == 63
    assert n(**{"from": "2026-11-22T11:00:00Z"}) == 38
    assert n(**{"from": "2026-11-22T11:00:00Z", "to": "2026-11-22T12:00:00Z"}) == 2
    assert n(**{"from": "2026-11-22T12:00:00+01:00", "to": "2026-11-22T13:00:00+01:00"}) == 2
    assert n(**{"from": "2026-11-22", "to": "2026-11-22"}) == 31
    assert n(topics=["music"]) == 16
    assert n(languages=["de"]) == 8
    assert n(topics=[], languages=None) == 63


def test_tiles_of_topics_that_are_not_chosen_are_left_out(
    definition: Definition, over_time: Dashboard
) -> None:
    found = page.evaluate(over_time, table(definition, row(positive=1)), {"topics": ["football"]})
    shown = {tile["id"] for tile in found["tiles"]}
    assert "net_sentiment-football" in shown
    assert not shown & {"net_sentiment-music", "topic_to_topic-football-music"}


def test_a_line_has_one_point_an_hour_and_topic_with_gaps_and_changes_marked(
    definition: Definition, over_time: Dashboard
) -> None:
    later = [HOUR + timedelta(hours=hours) for hours in range(5)]
    empty = {"lang": "", "gap": 1, "verdict": "outage"}
    rows = table(
        definition,
        row(positive=3, negative=1),
        row(positive=1, negative=1, country_code="DE"),
        row(positive=1, negative=1, topic="music", hour=later[1]),
        row(hour=later[2], **empty),
        row(hour=later[3], **empty),
        row(positive=1, hour=later[4], change="rules,sample"),
    )
    found = page.evaluate(over_time, rows, {"languages": ["en"]})
    line = visual(found, "positive_to_negative")
    assert [column["role"] for column in line["columns"]] == [
        "dimension",
        "series",
        "value",
        "low",
        "high",
        "n",
        "audit",
    ]
    assert [(*point[:3], point[5]) for point in line["rows"]] == [
        ("2026-11-22T10:00:00Z", "football", 2, 6),
        ("2026-11-22T11:00:00Z", "music", 1, 2),
    ]
    # Hours without any tweets are in no language, and are marked all the same.
    assert line["marks"] == [
        {
            "kind": "gap",
            "topic": "football",
            "from": "2026-11-22T12:00:00Z",
            "to": "2026-11-22T14:00:00Z",
            "label": "outage: The stream was away for a minute or more",
        },
        {
            "kind": "change",
            "topic": "football",
            "from": "2026-11-22T14:00:00Z",
            "to": "2026-11-22T15:00:00Z",
            "label": "rules,sample",
        },
    ]
    assert found["as_of"] == {"football": "2026-11-22T15:00:00Z", "music": "2026-11-22T12:00:00Z"}


def test_hours_that_search_alone_brought_and_those_that_nobody_has_judged_are_marked(
    definition: Definition, over_time: Dashboard
) -> None:
    later = HOUR + timedelta(hours=1)
    rows = table(definition, row(positive=3, searched=1), row(positive=1, hour=later, gap=1, verdict=""))
    line = visual(page.evaluate(over_time, rows), "net_sentiment")
    assert [(mark["kind"], mark["from"], mark["label"]) for mark in line["marks"]] == [
        ("gap", "2026-11-22T11:00:00Z", "coverage has not judged the hour"),
        ("search", "2026-11-22T10:00:00Z", page.SEARCHED),
    ]
    assert line["hours"] == 1


def test_long_periods_have_one_point_a_day(definition: Definition, over_time: Dashboard) -> None:
    rows = table(
        definition,
        *(row(positive=1, negative=1, hour=HOUR + timedelta(hours=12 * step)) for step in range(40)),
    )
    long = visual(page.evaluate(over_time, rows), "net_sentiment")
    assert len(long["rows"]) == 20
    assert {point[5] for point in long["rows"]} == {2, 4} or {point[5] for point in long["rows"]} == {4}
    short = visual(page.evaluate(over_time, rows, {"to": "2026-11-25"}), "net_sentiment")
    assert all(point[5] == 2 for point in short["rows"])


def test_countries_are_mapped_and_the_nameless_left_out(definition: Definition) -> None:
    world = definition.dashboards["opinion-across-the-world"]
    rows = table(
        definition,
        row(positive=5, negative=5),
        row(positive=3, negative=1, country_code="DE"),
        row(positive=1, negative=1, country_code="BR", topic="music"),
    )
    found = page.evaluate(world, rows)
    assert [point[:2] for point in visual(found, "map-football")["rows"]] == [["DE", 0.5]]
    assert [point[:2] for point in visual(found, "map-music")["rows"]] == [["BR", 0]]
    one = page.evaluate(world, rows, {"topics": ["music"]})
    assert [each["id"] for each in one["visuals"] if each["kind"] == "map"] == ["map-music"]
    # The country with the most rows comes first.
    assert [point[0] for point in visual(found, "countries")["rows"]] == ["DE", "BR"]
    assert {line[0] for line in visual(found, "by_country")["rows"]} == {"--", "DE", "BR"}


def test_an_empty_lake_is_a_page_without_figures(definition: Definition) -> None:
    for dashboard in definition.dashboards.values():
        found = page.evaluate(dashboard, table(definition))
        assert found["as_of"] == {}
        assert all(tile["value"] in (None, 0) for tile in found["tiles"])
        assert all(visual["rows"] == [] for visual in found["visuals"])
        json.dumps(found, allow_nan=False)


def test_it_is_as_of_the_last_hour_that_has_labels(definition: Definition, over_time: Dashboard) -> None:
    later = HOUR + timedelta(hours=1)
    opinion = table(definition, row(positive=1), row(hour=later, lang="", gap=1, verdict="in progress"))
    known: dict[str, Any] = dict.fromkeys(definition.data_sets["coverage"].columns, 0)
    known |= {"topic": "football", "verdict": "in progress", "dt": "2026-11-22"}
    coverage = [{**known, "hour": HOUR, "labeled": 1}, {**known, "hour": later, "raw": 3}]
    tables = {
        "opinion": opinion,
        "coverage": support_dashboards.table(definition.data_sets["coverage"], coverage),
    }
    assert page.evaluate(over_time, tables)["as_of"] == {"football": "2026-11-22T11:00:00Z"}
    assert page.evaluate(over_time, tables, {"topics": ["music"]})["as_of"] == {}
    assert page.evaluate(over_time, opinion.slice(1))["as_of"] == {}


def test_while_an_hour_is_labeled_its_tweets_have_no_number(
    definition: Definition, over_time: Dashboard
) -> None:
    hours = [HOUR + timedelta(hours=hours) for hours in range(4)]
    rows = table(
        definition,
        row(positive=5),
        row(positive=2, hour=hours[1], counted=0, gap=1, verdict="in progress"),
        row(hour=hours[2], lang="", counted=0, gap=1, verdict="never collected"),
        row(hour=hours[3], lang="", verdict="quiet"),
    )
    found = page.evaluate(over_time, rows)
    points = {point[0][11:13]: point[2] for point in visual(found, "volume")["rows"]}
    assert points == {"10": 5, "13": 0}, "what is quiet is 0, what is not known is nothing"
    assert tile(found, "volume")["value"] == 7


def test_the_description_names_what_the_figures_come_for(definition: Definition) -> None:
    for dashboard in definition.dashboards.values():
        described = json.loads(json.dumps(page.describe(dashboard, TOPICS)))
        found = page.evaluate(
            dashboard,
            {
                "opinion": table(definition, row(positive=1)),
                "coverage": support_dashboards.table(definition.data_sets["coverage"], []),
            },
        )
        for part in ("tiles", "visuals"):
            assert [one["id"] for one in described[part]] == [one["id"] for one in found[part]]
        assert {
            "id": "topic",
            "options": [{"value": "football", "title": "FOOTBALL"}, {"value": "music", "title": "MUSIC"}],
        } in described["filters"]


def test_the_statement_reads_the_partitions_of_the_period_alone(definition: Definition) -> None:
    data_set = definition.data_sets["opinion"]
    end = datetime(2026, 11, 23, tzinfo=UTC)
    statement = page.statement(data_set, end - timedelta(days=2), end)
    assert statement.startswith('SELECT "hour", "dt", "topic"')
    assert statement.endswith(
        "FROM \"opinion\" WHERE hour >= TIMESTAMP '2026-11-21 00:00:00' AND "
        "hour < TIMESTAMP '2026-11-23 00:00:00' AND dt BETWEEN '2026-11-21' AND '2026-11-22'"
    )
    with pytest.raises(ValueError, match="a time needs a time zone"):
        page.statement(data_set, HOUR, end)


@pytest.mark.parametrize("sample", [1, 10, 100])
@pytest.mark.parametrize("counts", [(0, 1, 1), (1, 0, 0), (0, 9, 1), (3, 0, 2), (50, 50, 50), (400, 1, 7)])
def test_every_interval_holds_its_value_and_keeps_its_bounds(
    definition: Definition, over_time: Dashboard, counts: tuple[int, int, int], sample: int
) -> None:
    negative, neutral, positive = counts
    rows = table(definition, row(negative=negative, neutral=neutral, positive=positive, sample=sample))
    found = page.evaluate(over_time, rows)
    net = tile(found, "net_sentiment-football")
    assert -1 <= net["low"] < net["high"] <= 1
    ratio = tile(found, "positive_to_negative-football")
    if negative == 0:
        assert ratio["value"] is None
    else:
        assert -1e-9 <= ratio["low"] <= ratio["value"] + 1e-9
        assert ratio["high"] is None or ratio["high"] >= ratio["value"] - 1e-9


def audited(**given: Any) -> dict[str, Any]:
    """A row whose shares an audit has rectified: half are negative, a fifth is positive."""
    found = row(**given)
    return found | support_dashboards.audit_columns(found["weighted_judged"], 0.5, 0.2, 0.06) | given


def test_an_audit_rectifies_value_and_interval(definition: Definition, over_time: Dashboard) -> None:
    found = page.evaluate(over_time, table(definition, audited(negative=100, neutral=200, positive=700)))
    net = tile(found, "net_sentiment-football")
    assert net["value"] == pytest.approx(0.2 - 0.5)
    margin = 1.959964 * ((0.7 - 0.3**2) / 1000 + 0.06**2) ** 0.5
    assert (net["low"], net["high"]) == pytest.approx((-0.3 - margin, -0.3 + margin))
    assert (net["audit"], net["n"]) == (1, 1000)
    ratio = tile(found, "positive_to_negative-football")
    assert ratio["value"] == pytest.approx(0.2 / 0.5)
    assert ratio["low"] < ratio["value"] < ratio["high"]
    line = visual(found, "share_positive")
    assert (line["rows"][0][2], line["rows"][0][-1]) == (pytest.approx(0.2), 1)


def test_without_an_audit_of_every_tweet_the_interval_knows_the_sampling_error_only(
    definition: Definition, over_time: Dashboard
) -> None:
    counts = {"negative": 10, "neutral": 20, "positive": 70}
    for rows in ([row(**counts)], [audited(**counts), row(**counts)]):
        net = tile(page.evaluate(over_time, table(definition, *rows)), "net_sentiment-football")
        assert net["value"] == pytest.approx(0.6)
        assert net["audit"] == 0


def test_once_languages_are_chosen_their_own_audit_counts_and_a_borrowed_one_is_marked(
    definition: Definition, over_time: Dashboard
) -> None:
    own = audited(positive=100, language_rectified_positive=90.0, language_rectified_negative=10.0)
    rows = table(definition, own, audited(positive=100, lang="de", language_borrowed=100.0))
    net = tile(page.evaluate(over_time, rows, {"languages": ["en"]}), "net_sentiment-football")
    assert (net["value"], net["audit"]) == (pytest.approx(0.8), 1)
    net = tile(page.evaluate(over_time, rows, {"languages": ["de"]}), "net_sentiment-football")
    assert (net["value"], net["audit"]) == (pytest.approx(-0.3), 2)


@pytest.mark.parametrize("shares", [(0.0, 1.1), (-0.1, 0.0), (0.6, 0.7), (0.0, 0.0), (0.5, 0.5), (1.0, 0.0)])
def test_what_an_audit_makes_of_a_share_keeps_its_bounds(
    definition: Definition, over_time: Dashboard, shares: tuple[float, float]
) -> None:
    negative, positive = (100 * share for share in shares)
    rows = table(
        definition,
        audited(
            negative=20, neutral=20, positive=60, rectified_negative=negative, rectified_positive=positive
        ),
    )
    found = page.evaluate(over_time, rows)
    net = tile(found, "net_sentiment-football")
    assert -1 <= net["low"] <= net["value"] <= net["high"] <= 1
    share = visual(found, "share_positive")["rows"][0][2:5]
    assert 0 <= share[1] <= share[0] <= share[2] <= 1
    ratio = tile(found, "positive_to_negative-football")
    if ratio["value"] is not None:
        assert ratio["low"] is None or -1e-9 <= ratio["low"] <= ratio["value"] + 1e-9
        assert ratio["high"] is None or ratio["high"] >= ratio["value"] - 1e-9

"""The summary finds whatever does not add up, and only that."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest

from include.lake.cards import Measured
from include.settings import Settings
from include.window import Window
from local import summary
from local.summary import notes, problems, told_costs

WINDOWS = [Window.parse("2026-11-20T05"), Window.parse("2026-11-20T06")]
FIGURES: dict[str, Any] = {
    "hours": [
        {
            "topic": "a",
            "hour": "2026-11-20T05",
            "raw": 10,
            "labeled": 8,
            "quarantined": 2,
            "verdict": "complete",
        },
        {
            "topic": "a",
            "hour": "2026-11-20T06",
            "raw": 5,
            "labeled": 0,
            "quarantined": 0,
            "verdict": "in progress",
        },
    ],
    "unmeasured": {"sentiment": {}, "translation": {}},
    "posts": {"streamed": 5, "searched": 10, "budget": 100},
    "streamer": {"received": 5, "delivered": 4, "pending": 1, "connects": 1},
    "quality": [{"suite": "raw", "checked": 9, "failed": 1, "blocking": 0}],
    "dag_runs": [{"dag_id": "transform", "run_id": "r", "state": "success", "s": 1.0}],
    "sentiment": {"a": {"negative": 3, "neutral": 3, "positive": 1}},
    "training": {"version": "1", "alias": "champion", "metrics": {"macro_f1": 0.8}},
    "predictions": 7,
}
TABLES = {
    "labeled": [
        {"topic": "a", "window": "2026-11-20T05", "lines": "8", "ids": "8"}
        | {"negative": "3", "neutral": "3", "positive": "1", "unlabeled": "1"}
    ],
    "opinion": [{"topic": "a", "window": "2026-11-20T05", "judged": "7", "predicted": "7"}],
}


def test_an_open_hour_that_is_not_labeled_yet_is_no_problem() -> None:
    assert list(problems(FIGURES, TABLES, WINDOWS)) == []
    assert list(notes(FIGURES, {"skipped": 0})) == []


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("hours", 0, "labeled"), 7, "10 raw ids are not 7 labeled + 2 quarantined"),
        (("hours", 0, "verdict"), "outage", "the verdict is outage"),
        (("posts", "searched"), 96, "101 posts were bought, over the month's 100"),
        (("streamer", "pending"), 0, "does not account for all that it received"),
        (("quality", 0, "blocking"), 1, "1 blocking expectations failed"),
        (("dag_runs", 0, "state"), "failed", "transform r failed"),
    ],
)
def test_a_figure_that_does_not_add_up_is_told(path: tuple[Any, ...], value: Any, sentence: str) -> None:
    figures = deepcopy(FIGURES)
    place: Any = figures
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (problem,) = problems(figures, TABLES, WINDOWS)
    assert sentence in problem


@pytest.mark.parametrize(
    ("column", "sentence"), [("ids", "hold only 7 tweets"), ("negative", "are not the 8 rows")]
)
def test_labeled_rows_that_stand_twice_or_have_no_sentiment_are_told(column: str, sentence: str) -> None:
    tables = deepcopy(TABLES)
    tables["labeled"][0][column] = "7"
    assert any(sentence in problem for problem in problems(FIGURES, tables, WINDOWS))


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("judged", "the dashboards count 6 tweets with a sentiment, the lake 7"),
        ("predicted", "6 of 7 tweets with a sentiment are predicted"),
    ],
)
def test_dashboards_and_predictions_that_do_not_cover_the_lake_are_told(column: str, sentence: str) -> None:
    tables = deepcopy(TABLES)
    tables["opinion"][0][column] = "6"
    assert any(sentence in problem for problem in problems(FIGURES, tables, WINDOWS))


def test_a_rejected_training_is_no_problem_but_told() -> None:
    training: dict[str, object] = {"version": None, "alias": None, "metrics": {}, "rejected": "too few rows"}
    figures = deepcopy(FIGURES) | {"training": training, "predictions": 0}
    tables = deepcopy(TABLES)
    tables["opinion"][0]["predicted"] = "0"
    assert list(problems(figures, tables, WINDOWS)) == []
    assert list(notes(figures, {})) == ["no student was trained: too few rows"]


def test_skipped_lines_and_topics_without_tweets_are_told() -> None:
    figures = deepcopy(FIGURES) | {"sentiment": {"a": {}, "b": {}}}
    archive = {"skipped": 3, "reasons": {"no JSON": 3}, "damaged": {"a.gz": "it ends too early"}}
    assert list(notes(figures, archive)) == [
        "3 of the archive were skipped: no JSON",
        "a.gz in the archive is damaged (it ends too early): what came before was read",
        "no tweet matched b in these hours",
    ]


def test_models_without_a_card_are_told_as_no_default_ratio_counts_them() -> None:
    rows = [
        {"sentiment": sentiment, "translation": translation, "ids": "2"}
        for sentiment, translation in (
            ("e5-1", "none"),
            ("mine-2", "none"),
            ("mine-2", "own-3"),
            ("none", "none"),
        )
    ]
    found = summary._unmeasured(Measured(("e5-1 de", "e5-1 en"), ("opus-4 ru",)), summary._engines(rows))
    assert found == {"sentiment": {"mine-2": 4}, "translation": {"own-3": 2}}
    labeled, translated = notes(FIGURES | {"unmeasured": found}, {})
    assert "4 tweets that mine-2 has labeled count in no default ratio" in labeled
    assert "2 tweets that own-3 has translated count in no default ratio" in translated


def test_an_object_that_is_replaced_while_the_summary_reads_it_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An hour may end, and be labeled for good, meanwhile."""
    monkeypatch.setattr("include.lake.athena._AGAIN_AFTER_S", (0.0,))
    started: list[str] = []

    class Client:
        def start_query_execution(self, **asked: Any) -> dict[str, str]:
            started.append(asked["QueryString"])
            return {"QueryExecutionId": str(len(started))}

        def get_query_execution(self, **asked: str) -> dict[str, Any]:
            failed = {"State": "FAILED", "StateChangeReason": "HIVE_CURSOR_ERROR: it was replaced"}
            status = failed if asked["QueryExecutionId"] == "1" else {"State": "SUCCEEDED"}
            return {"QueryExecution": {"Status": status}}

        def get_paginator(self, _: str) -> Any:
            columns = [{"Name": "ids", "Type": "bigint"}]
            rows = [{"Data": [{"VarCharValue": value}]} for value in ("ids", "3")]
            page = {"ResultSet": {"ResultSetMetadata": {"ColumnInfo": columns}, "Rows": rows}}
            return SimpleNamespace(paginate=lambda **_: [page])

    tables = summary._read(Client(), Settings(), WINDOWS)
    assert tables == {name: [{"ids": 3}] for name in summary.QUERIES}
    assert started[0] == started[-1]


def test_costs_are_told_as_modeled_beside_endpoints_that_are_always_on() -> None:
    costs: dict[str, Any] = {"dollars": 12.5, "per_million": 5_100.0, "labeling_per_million": 90.0}
    assert told_costs({**costs, "always_on_per_million": 3_000.0}) == (
        "$12.50 this month as it would be on AWS, modeled from list prices: $5,100.00 a million tweets"
        " (labeling $90.00; two endpoints, always on: $3,000.00)"
    )
    assert "always on" not in told_costs({**costs, "always_on_per_million": None})
    assert told_costs({**costs, "per_million": None, "always_on_per_million": None}).startswith("none")

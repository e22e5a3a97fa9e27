"""The page of a quality result: every expectation with its outcome, in words too, from nowhere else."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pandas as pd

from include.quality.docs import render
from include.quality.runner import document, observed, run_suite
from include.quality.suites import BLOCKS, WARNS, Expectation, Suite

SUITE = Suite(
    "raw",
    {
        "rows": [
            Expectation(BLOCKS, "ids are ids", "ExpectColumnValuesToBeUnique", {"column": "n"}),
            Expectation(BLOCKS, "a < b", "ExpectColumnValuesToBeBetween", {"column": "n", "max_value": 1}),
            Expectation(WARNS, "odd", "ExpectColumnValuesToBeInSet", {"column": "n", "value_set": ["<b>"]}),
            Expectation(WARNS, "gone", "ExpectColumnValuesToNotBeNull", {"column": "missing"}),
        ]
    },
)


def cells(page: str) -> list[list[str]]:
    body = page[page.index("<tbody>") : page.index("</tbody>") + len("</tbody>")]
    return [["".join(cell.itertext()) for cell in row] for row in ET.fromstring(body)]


def test_the_page_tells_of_every_expectation_what_became_of_it_and_why_it_is_expected() -> None:
    result = run_suite(SUITE, {"rows": pd.DataFrame({"n": [1, 2, 3]})})
    page = render(document(result, "2026-11-20T05"))
    found = cells(page)
    assert [row[:2] for row in found[:3]] == [["holds", "n"], ["blocks", "n"], ["warns", "n"]]
    assert found[1] == [
        "blocks",
        "n",
        "ExpectColumnValuesToBeBetween",
        "max_value 1",
        "1 to 3",
        "3",
        "2",
        "a < b",
    ]
    assert found[3][0] == "blocks"
    assert found[3][4] == "no such column"
    assert "missing" in found[3][6]
    assert "Suite raw of 2026-11-20T05" in page
    assert "4 expectations on 3 rows: 3 fail, 2 of them block" in page


def test_observed_values_are_ranges_nulls_and_expected_values_never_ids_or_others() -> None:
    rows = pd.DataFrame(
        {"n": [1, 1, None], "tweet_id": [7, 8, 9], "tag": ["a", "b", "secret"], "share": [0.25, 0.5, 1]}
    )
    seen = {
        each.subject + each.kind.removeprefix("ExpectColumnValues"): observed(rows, each)
        for each in (
            Expectation(WARNS, "", "ExpectColumnValuesToNotBeNull", {"column": "n"}),
            Expectation(WARNS, "", "ExpectColumnValuesToBeUnique", {"column": "tweet_id"}),
            Expectation(WARNS, "", "ExpectColumnValuesToBeBetween", {"column": "tweet_id", "max_value": 1}),
            Expectation(WARNS, "", "ExpectColumnValuesToBeBetween", {"column": "share", "max_value": 1}),
            Expectation(
                WARNS, "", "ExpectColumnValuesToBeInSet", {"column": "tag", "value_set": ["a", "b", "c"]}
            ),
        )
    }
    assert seen == {
        "nToNotBeNull": "1 null",
        "tweet_idToBeUnique": "3 different in 3",
        "tweet_idToBeBetween": "",
        "shareToBeBetween": "0.25 to 1",
        "tagToBeInSet": "a, b, 1 others",
    }


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = render(document(run_suite(SUITE, {"rows": pd.DataFrame({"n": [1]})}), "2026-11-20"))
    assert "http" not in page
    assert "<script" not in page
    assert "<b>" not in page

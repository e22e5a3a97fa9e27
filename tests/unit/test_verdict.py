"""A verdict stands in one place: what shows it, counts it or stores it takes it from there."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest
from x_opinion.coverage import LAYERS, NOT_JUDGED, STATES, state

from include.lake import sql, views
from include.lake.verdict import Verdict, names

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "plugins" / "x_opinion" / "static"
ROW = {"labeled": 0, "judged": None, "predicted": 0}


def test_every_verdict_says_what_people_need() -> None:
    for verdict in Verdict:
        assert len(verdict.letter) == 1
        assert all((verdict.meaning, verdict.evidence, verdict.action))
        assert verdict.collected or not verdict.whole
    meanings = defaultdict(list)
    for name, shown in STATES.items():
        meanings[shown.letter].append(name)
    assert {letter: names for letter, names in meanings.items() if len(names) > 1} == {}


def test_the_page_can_show_every_verdict_on_every_layer() -> None:
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    styled = set(re.findall(r'\[data-state="([^"]+)"\]', style))
    assert styled == STATES.keys()
    for verdict in Verdict:
        assert {state(layer, {**ROW, "verdict": verdict.value}) for layer in LAYERS} <= STATES.keys()
        shown = STATES[state("raw", {**ROW, "verdict": verdict.value})]
        assert shown.good == (verdict.collected and not verdict.alarming)


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_script_names_a_verdict(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [verdict for verdict in Verdict if f'"{verdict}"' in text]


@pytest.mark.parametrize("name", [name for name in sql.names() if "verdict" in sql.text(name)])
def test_no_statement_names_a_verdict(name: str) -> None:
    assert not [verdict for verdict in Verdict if f"'{verdict}'" in sql.text(name)]


@pytest.mark.parametrize("flag", ["whole", "under_way"])
def test_a_view_says_of_a_verdict_what_the_verdict_says(flag: str) -> None:
    pattern = rf"WHEN verdict IN \(([^)]*)\) THEN 1 ELSE 0 END AS {flag}"
    found = re.search(pattern, views.query("views/opinion"))
    assert found
    assert found[1].replace("'", "").split(", ") == names(lambda verdict: getattr(verdict, flag))


def test_an_hour_that_waits_for_its_end_or_for_labels_is_under_way() -> None:
    assert {verdict for verdict in Verdict if verdict.under_way} == {
        Verdict.IN_PROGRESS,
        Verdict.UNLABELED,
        Verdict.LATE,
    }


def test_an_hour_that_nobody_has_judged_is_not_good() -> None:
    assert not STATES[NOT_JUDGED].good
    assert "coalesce(states.whole, 0)" in views.query("views/opinion")

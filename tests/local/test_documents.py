"""What the documents say of the lake and the DAGs is what the code does now."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from include.lake import schemas, sql
from include.settings import Settings
from include.x.topics import load
from local.aws.bootstrap import Clients
from tests.credentials import CREDENTIALS
from tests.local.support_athena import LocalAthena
from tools import document

ROOT = Path(__file__).parents[2]
TOPICS = load(Settings().topics_file)
STALE = "run `make docs` and commit what it writes"


@pytest.mark.trino
def test_the_data_dictionary_is_fresh(athena: LocalAthena) -> None:
    text = document.dictionary(Clients(athena.aws.endpoint, CREDENTIALS), document.sample_settings(), TOPICS)
    assert (ROOT / "docs" / "data-dictionary.md").read_text() == text, STALE


def test_what_is_said_of_the_dags_is_fresh() -> None:
    assert (ROOT / "docs" / "dags.md").read_text() == document.dags(), STALE


def test_what_is_said_of_retention_is_fresh() -> None:
    assert (ROOT / "docs" / "retention.md").read_text() == document.retention(), STALE


def test_what_is_said_of_costs_is_fresh() -> None:
    assert (ROOT / "docs" / "costs.md").read_text() == document.costs(), STALE


def test_every_prefix_of_the_lake_says_how_long_it_is_kept() -> None:
    source = (ROOT / "include" / "lake" / "layout.py").read_text()
    named = set(re.findall(r"""(?<![a-z`/])f?"([a-z-]+)/""", source))
    named |= set(re.findall(r'_partition\("([a-z]+)"', source))
    assert len(named) > 15
    told = set(re.findall(r"(?m)^\| `([a-z-]+)/` \|", document.retention()))
    assert named == told


def test_every_table_view_and_dag_has_its_section() -> None:
    dictionary = (ROOT / "docs" / "data-dictionary.md").read_text()
    for name in (*sql.names("tables"), *sql.names("views")):
        assert f"\n### `{name.split('/')[-1]}`\n" in dictionary, STALE
    for path in (ROOT / "dags").glob("*.py"):
        assert f"\n## `{path.stem}`\n" in (ROOT / "docs" / "dags.md").read_text(), STALE


def test_every_section_of_the_dictionary_shows_a_sample() -> None:
    sections = re.split(r"\n### ", (ROOT / "docs" / "data-dictionary.md").read_text())[1:]
    for section in sections:
        (sample,) = re.findall(r"```json\n(.*?)\n```", section, re.DOTALL)
        assert json.loads(sample)


def test_neither_a_share_nor_a_flag_is_told_to_be_a_number_of_tweets() -> None:
    rows = re.findall(
        r"^\| `\w+`(?: \(partition\))? \| `[^|]+` \| ([^|]*) \| ([^|]*) \| ",
        (ROOT / "docs" / "data-dictionary.md").read_text(),
        re.MULTILINE,
    )
    units = {meaning: unit for unit, meaning in rows}
    shares = {unit for meaning, unit in units.items() if "0 to 1" in meaning}
    flags = {unit for meaning, unit in units.items() if re.match(r"1 if\b", meaning)}
    assert (shares, flags) == ({"0 to 1"}, {"0 or 1"})


@pytest.mark.parametrize(
    ("table", "schema"),
    [
        ("labeled", schemas.LABELED),
        ("predictions", schemas.PREDICTIONS),
        ("opinion_hourly", schemas.OPINION_HOURLY),
        ("audit_drawn", schemas.AUDIT_DRAWN),
        ("audit_judged", schemas.AUDIT_JUDGED),
        ("removals", schemas.REMOVALS),
        ("usage", schemas.USAGE),
    ],
)
def test_the_tables_have_the_columns_that_are_written(table: str, schema: object) -> None:
    (layer,) = [layer for layer in document.tables(Settings(), TOPICS) if layer.name == table]
    assert [column.name for column in layer.columns] == list(getattr(schema, "names"))  # noqa: B009

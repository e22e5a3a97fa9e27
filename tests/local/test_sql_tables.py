"""Every statement of sql/ in the real engine, and provisioning against the local AWS."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from include.lake import sql
from include.lake.athena import Athena, AthenaError
from include.lake.views import create_views
from include.provision.lake import (
    definitions,
    ensure_database,
    ensure_tables,
    ensure_views,
    ensure_workgroup,
)
from include.settings import Settings
from include.x.topics import Topics, load
from tests.local.support_athena import LocalAthena

pytestmark = pytest.mark.trino

SETTINGS = Settings(bucket="tables-lake", database="tables_lake", workgroup="tables_lake")
EXAMPLES: dict[str, sql.Value] = {
    "first_day": "2026-11-19",
    "last_day": "2026-11-20",
    "from_ms": 1_763_600_000_000,
    "to_ms": 1_763_700_000_000,
    "outage_ms": 60_000,
    "adjacent_ms": 45_000,
    "day": "2026-11-20",
    "days": ["2026-11-19", "2026-11-20"],
    "measured": ["ngram-1 en", "ngram-1 de"],
    "measured_translations": ["none"],
    "model": "v3",
    "windows": ["2026-11-19T23", "2026-11-20T00"],
    "hours": ["2026-11-19T23", "2026-11-20T00"],
    "authors": ["-5", "7"],
    "unreadable": ["s3://tables-lake/raw/a.gz"],
    "epoch_ms": 1_288_834_974_657,
    "shard": 0,
    "shards": 4,
    "kind": "tweets",
    "record_bytes": 5120,
    "stream": "x-opinion",
    "topic": "ukraine",
    "start": datetime(2026, 11, 20, 5, tzinfo=UTC),
    "end": datetime(2026, 11, 20, 6, tzinfo=UTC),
    "every_language": 1,
    "every_country": 1,
    "country": "DE",
    "languages": ["en"],
    "unmeasured": 0,
    "count": 5,
}
"""A value for every parameter of every statement that is no table's."""

QUERIES = sorted(set(sql.names()) - set(sql.names("tables")) - set(sql.names("views")))


@pytest.fixture(scope="module")
def glue(athena: LocalAthena) -> Any:
    athena.aws.client("s3").create_bucket(Bucket=SETTINGS.bucket)
    glue = athena.aws.client("glue")
    assert ensure_database(glue, SETTINGS) == ["created database tables_lake"]
    assert ensure_workgroup(athena.aws.client("athena"), SETTINGS) == ["created workgroup tables_lake"]
    return glue


@pytest.fixture(scope="module")
def topics() -> Topics:
    return load(SETTINGS.topics_file)


@pytest.fixture(scope="module")
def database(athena: LocalAthena, glue: Any, topics: Topics) -> Athena:
    database = Athena(athena.aws.client("athena"), SETTINGS)
    assert len(ensure_tables(database, glue, SETTINGS, topics)) == len(sql.names("tables"))
    assert len(ensure_views(database, glue, SETTINGS)) == len(sql.names("views")), "also before insights"
    return database


@pytest.mark.parametrize("name", QUERIES)
def test_the_engine_takes_the_statement(database: Athena, name: str) -> None:
    statement = sql.render(name, **{parameter: EXAMPLES[parameter] for parameter in sql.parameters(name)})
    (row,) = database.run(f"EXPLAIN (TYPE VALIDATE) {statement}")
    assert list(row.values()) == ["true"]


@pytest.mark.parametrize("name", [name.split("/")[1] for name in sql.names("tables")])
def test_the_table_can_be_read_with_every_column(database: Athena, name: str, topics: Topics) -> None:
    model = "AND model = 'v3'" if name == "predictions" else ""
    period = "year = 2026" if name in ("audit_judged", "audit_predicted") else "dt = '2026-11-20'"
    if name.startswith("all_"):
        period = "true"
    assert database.run(f"SELECT * FROM {name} WHERE {period} {model}") == []
    statement, _ = definitions(SETTINGS, topics)[name]
    commented = statement.count("COMMENT")
    described = database.run(
        "SELECT column_name FROM information_schema.columns"
        f" WHERE table_schema = '{SETTINGS.database}' AND table_name = '{name}'"
    )
    # Every column has a comment, and so has the table.
    assert commented == len(described) + 1


@pytest.mark.parametrize("view", [name.split("/")[1] for name in sql.names("views")])
def test_the_view_has_just_the_columns_that_its_file_explains(database: Athena, view: str) -> None:
    assert database.run(f"SELECT * FROM {view} WHERE dt = '2026-11-20'") == []
    described = database.run(
        "SELECT column_name, data_type FROM information_schema.columns"
        f" WHERE table_schema = '{SETTINGS.database}' AND table_name = '{view}' ORDER BY ordinal_position"
    )
    text = (sql.STATEMENTS / "views" / f"{view}.sql").read_text()
    explained = re.findall(r"^--   (\w+) ([\w()]+): ", text, re.MULTILINE)
    assert [(column["column_name"], column["data_type"]) for column in described] == explained


def test_creating_the_views_again_changes_nothing(database: Athena) -> None:
    create_views(database)


def test_provisioning_twice_changes_nothing(
    athena: LocalAthena, database: Athena, glue: Any, topics: Topics
) -> None:
    assert ensure_database(glue, SETTINGS) == []
    assert ensure_workgroup(athena.aws.client("athena"), SETTINGS) == []
    assert ensure_tables(database, glue, SETTINGS, topics) == []
    assert ensure_views(database, glue, SETTINGS) == []


def test_another_topic_replaces_the_tables_that_name_topics(
    database: Athena, glue: Any, topics: Topics
) -> None:
    more = replace(topics, topics=(*topics.topics, replace(topics.topics[0], name="poland")))
    assert ensure_tables(database, glue, SETTINGS, more) == [
        "replaced table labeled",
        "replaced table predictions",
        "replaced table quarantine",
        "replaced table raw",
    ]
    assert ensure_tables(database, glue, SETTINGS, more) == []
    assert len(ensure_tables(database, glue, SETTINGS, topics)) == 4


def test_a_workgroup_that_somebody_changed_is_mended(athena: LocalAthena, glue: Any) -> None:
    client = athena.aws.client("athena")
    client.update_work_group(
        WorkGroup=SETTINGS.workgroup,
        ConfigurationUpdates={"ResultConfigurationUpdates": {"OutputLocation": "s3://elsewhere/"}},
    )
    assert ensure_workgroup(client, SETTINGS) == ["updated workgroup tables_lake"]
    assert ensure_workgroup(client, SETTINGS) == []


def test_a_failing_statement_says_why(database: Athena) -> None:
    with pytest.raises(AthenaError, match="COLUMN_NOT_FOUND"):
        database.run("SELECT nothing FROM raw WHERE dt = '2026-11-20'")


def test_rows_have_the_types_of_their_columns(database: Athena) -> None:
    row = database.run(
        "SELECT 1 AS a, 'x' AS b, true AS c, 1.5e0 AS d, CAST(NULL AS varchar) AS e, BIGINT '7' AS f"
    )
    assert row == [{"a": 1, "b": "x", "c": True, "d": 1.5, "e": None, "f": 7}]


def test_a_first_row_that_looks_like_the_columns_is_kept(database: Athena) -> None:
    assert database.run("SELECT 'a' AS a") == [{"a": "a"}]


def test_many_rows_are_read_page_by_page(database: Athena) -> None:
    rows = database.run("SELECT n FROM UNNEST(sequence(1, 2500)) AS t (n) ORDER BY n")
    assert [row["n"] for row in rows] == list(range(1, 2501))

"""Creates and updates the lake's database, tables and workgroup; a second run changes nothing.

Tables are external: replacing one changes no data.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from include.lake import sql
from include.lake.athena import Athena
from include.lake.layout import (
    AGGREGATES_PREFIX,
    ALL_TOPICS,
    ATHENA_RESULTS_PREFIX,
    AUDIT_DRAWN_PREFIX,
    AUDIT_JUDGED_PREFIX,
    AUDIT_PREDICTED_PREFIX,
    AUDIT_PREFIX,
    DRIFT_PREFIX,
    LABELED_PREFIX,
    MIX_PREFIX,
    NO_TOPIC,
    PREDICTIONS_PREFIX,
    QUARANTINE_PREFIX,
    RAW_PREFIX,
)
from include.lake.views import create_view, queries
from include.settings import Settings
from include.x.topics import Topics

if TYPE_CHECKING:
    from types_boto3_athena.client import AthenaClient
    from types_boto3_glue.client import GlueClient

_PREFIXES = {
    "all_audit": AUDIT_PREFIX,
    "all_labeled": LABELED_PREFIX,
    "all_predictions": PREDICTIONS_PREFIX,
    "all_quarantine": QUARANTINE_PREFIX,
    "all_raw": RAW_PREFIX,
    "audit_drawn": AUDIT_DRAWN_PREFIX,
    "audit_judged": AUDIT_JUDGED_PREFIX,
    "audit_predicted": AUDIT_PREDICTED_PREFIX,
    "drift": DRIFT_PREFIX,
    "mix": MIX_PREFIX,
    "opinion_hourly": AGGREGATES_PREFIX,
}
"""The prefixes of tables that are not the table's name."""

_MOST_SCANNED = 2**40
"""Bytes that one statement may scan, whoever sends it: about five dollars."""

log = logging.getLogger(__name__)


def definitions(settings: Settings, topics: Topics) -> dict[str, tuple[str, str]]:
    """Each table's statement and its digest, by table name.

    The digest covers the rendered statement, so a new topic is a new definition too.
    """
    statements = {}
    for name in sql.names("tables"):
        table = name.split("/")[-1]
        values = {
            "location": settings.s3(_PREFIXES.get(table, f"{table}/")),
            "topics": ",".join(_partitions(table, topics.names)),
            "days": f"{_first_day(settings, topics):%Y-%m-%d},NOW+1DAY",
            "years": _years(_first_day(settings, topics).year),
        }
        given = {key: value for key, value in values.items() if key in sql.parameters(name)}
        digest = hashlib.sha256(sql.render(name, **given, definition="").encode()).hexdigest()[:16]
        statements[table] = (sql.render(name, **given, definition=digest), digest)
    return statements


def _partitions(table: str, topics: tuple[str, ...]) -> tuple[str, ...]:
    if table == "heartbeats":
        return (ALL_TOPICS,)
    if table == "quarantine":
        return (*topics, NO_TOPIC)
    return topics


def _first_day(settings: Settings, topics: Topics) -> datetime:
    """The earlier of the two starts: moving the collection's start forward must not hide existing data."""
    return min(topics.collection.start, settings.collection_start or topics.collection.start)


def _years(first: int) -> str:
    """The years of a table with one partition per year: every statement lists each of them in S3."""
    return f"{first},{first + 10}"


def _absent(error: ClientError, code: str) -> bool:
    return error.response["Error"]["Code"] == code


def ensure_database(glue: GlueClient, settings: Settings) -> list[str]:
    """Creates the Glue database if it is missing; returns what was done."""
    try:
        glue.get_database(Name=settings.database)
    except ClientError as error:
        if not _absent(error, "EntityNotFoundException"):
            raise
        glue.create_database(
            DatabaseInput={"Name": settings.database, "Description": "Public opinion on X: the lake's tables"}
        )
        return [f"created database {settings.database}"]
    return []


def ensure_workgroup(athena: AthenaClient, settings: Settings) -> list[str]:
    """Creates or updates the Athena workgroup; returns what was done.

    It enforces its own output location, so no results are written elsewhere, and ends a statement that scans
    too much.
    """
    location = settings.s3(ATHENA_RESULTS_PREFIX)
    enforced: Any = {"EnforceWorkGroupConfiguration": True, "BytesScannedCutoffPerQuery": _MOST_SCANNED}
    try:
        found = athena.get_work_group(WorkGroup=settings.workgroup)["WorkGroup"]
    except ClientError as error:
        # Athena's error code for a missing workgroup.
        if not _absent(error, "InvalidRequestException"):
            raise
        athena.create_work_group(
            Name=settings.workgroup,
            Description="Statements of the x-opinion DAGs",
            Configuration={
                "ResultConfiguration": {"OutputLocation": location},
                "PublishCloudWatchMetricsEnabled": True,
                **enforced,
            },
        )
        return [f"created workgroup {settings.workgroup}"]
    configuration = found.get("Configuration", {})
    if (
        configuration.get("ResultConfiguration", {}).get("OutputLocation") == location
        and enforced.items() <= configuration.items()
    ):
        return []
    athena.update_work_group(
        WorkGroup=settings.workgroup,
        ConfigurationUpdates={"ResultConfigurationUpdates": {"OutputLocation": location}, **enforced},
    )
    return [f"updated workgroup {settings.workgroup}"]


def _standing(glue: GlueClient, settings: Settings, table: str) -> str | None:
    """The digest of the table's definition in Glue; empty if it has none, None if there is no table."""
    try:
        found: Any = glue.get_table(DatabaseName=settings.database, Name=table)
    except ClientError as error:
        if not _absent(error, "EntityNotFoundException"):
            raise
        return None
    return str(found["Table"].get("Parameters", {}).get("definition", ""))


def ensure_tables(athena: Athena, glue: GlueClient, settings: Settings, topics: Topics) -> list[str]:
    """Creates missing tables and replaces those whose definition has changed; returns what was done."""
    done = []
    for table, (statement, digest) in definitions(settings, topics).items():
        standing = _standing(glue, settings, table)
        if standing == digest:
            continue
        if standing is not None:
            athena.run(f"DROP TABLE IF EXISTS `{table}`")
        athena.run(statement)
        done.append(f"{'created' if standing is None else 'replaced'} table {table}")
        log.info("provisioned table=%s definition=%s", table, digest)
    return done


def ensure_views(athena: Athena, glue: GlueClient, settings: Settings) -> list[str]:
    """Creates missing views, so that the pages can read them; returns what was done.

    Every run of `insights` replaces each of them by its file's current query.
    """
    done = []
    for view in queries():
        if _standing(glue, settings, view) is None:
            create_view(athena, view)
            done.append(f"created view {view}")
    return done

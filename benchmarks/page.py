"""The pages' data route on Airflow's own server, each answer beside the same figures selected on Athena.

A week of aggregates lies in the local S3, behind the local Athena with a real Trino. The peer is what the
route takes for a period that nobody has asked for within the last minute: the views are then selected, as
they would be for every look without the route's cache.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import requests

from benchmarks.measure import MeasureError, Row, used
from include.lake.athena import Athena
from include.lake.layout import aggregate_key
from include.lake.schemas import AGGREGATE_KEYS, OPINION_HOURLY
from include.lake.views import create_views
from include.provision.lake import ensure_database, ensure_tables, ensure_workgroup
from include.settings import Settings
from include.x.topics import load
from local import airflow_server
from local.aws.bootstrap import bootstrap
from local.aws.trino import is_ready
from local.credentials import CREDENTIALS_FILE, Credentials
from local.endpoints import SERVICES, Endpoints
from local.processes import ProcessError, Processes, answers, port_is_free

PAGE = "opinion-over-time"
DAYS = 7
"""What a page shows unless it is told otherwise."""
LANGUAGES = (
    "en",
    "es",
    "de",
    "fr",
    "pt",
    "it",
    "ar",
    "pl",
    "ru",
    "uk",
    "hi",
    "tr",
    "ja",
    "nl",
    "fa",
    "id",
    "und",
    "cs",
)
_MEASURED = frozenset(LANGUAGES[:9])
COUNTRIES = ("--", "US", "GB", "DE", "FR", "ES", "PL", "UA", "RU", "IN")
_PORTS = range(18_080, 20_000, len(SERVICES))
_PERIODS = 3
"""Answers from Athena; beyond the first, Trino has read the views before."""
_LOOKS = 20


def measure(quick: bool = False) -> list[Row]:
    """The rows for this part; ``quick`` takes a tenth of the aggregates' rows.

    Raises `MeasureError` where a server does not start or an answer does not hold the lake's tweets.
    """
    countries = COUNTRIES[:1] if quick else COUNTRIES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Processes(folder / "logs", folder / "processes.json") as processes:
            try:
                return _measured(processes, folder, countries)
            except ProcessError as error:
                raise MeasureError(str(error)) from error


def _measured(processes: Processes, folder: Path, countries: tuple[str, ...]) -> list[Row]:
    today = datetime.now(UTC).date()
    first = today - timedelta(days=DAYS - 1)
    endpoints = free_endpoints(Credentials.in_folder(folder))
    shown = ["--credentials", str(folder / CREDENTIALS_FILE)]
    base = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW_", "OPINION_"))},
        # The earliest day of the tables: before all periods that are asked for.
        "OPINION_COLLECTION_START": f"{first - timedelta(days=_PERIODS)}T00:00:00Z",
    }
    environment = airflow_server.environment(folder / "airflow", endpoints, base)
    migration = airflow_server.migrate(processes, environment)
    command = [sys.executable, "-m", "local.aws", "--port", str(endpoints.port("aws"))]
    command += ["--state", str(folder / "aws"), "--trino-url", endpoints.url("trino"), *shown]
    aws = processes.start("aws", command, environment)
    aws.wait_until(lambda: answers(f"{endpoints.url('aws')}/_local/health"), 60)
    command = [sys.executable, "-m", "local.aws.trino", "--port", str(endpoints.port("trino"))]
    command += ["--aws-endpoint", endpoints.url("aws"), "--state", str(folder / "trino"), *shown]
    trino = processes.start("trino", command, environment)
    settings = Settings(collection_start=datetime.fromisoformat(environment["OPINION_COLLECTION_START"]))
    bootstrap(endpoints.url("aws"), settings, endpoints.credentials, connections=endpoints.connections())
    airflow_server.migrated(processes, migration, environment)
    server = processes.start("airflow", [sys.executable, "-m", "airflow", "api-server"], environment)
    trino.wait_until(lambda: is_ready(endpoints.url("trino"), endpoints.credentials), 180)
    tweets, rows = _fill(endpoints, settings, first, countries)
    server.wait_until(lambda: answers(f"{endpoints.url('airflow')}/api/v2/version"), 120)

    visitor = _Visitor(endpoints)
    from_athena = []
    for days in range(_PERIODS):
        took, answer = visitor.look({"from": first - timedelta(days=days), "to": today, "unmeasured": True})
        found = next(tile["value"] for tile in answer["tiles"] if tile["id"] == "volume")
        if found != tweets:
            raise MeasureError(f"the page tells of {found} tweets, the lake holds {tweets}")
        from_athena.append(took)
    week = {"from": first, "to": today}
    again = [visitor.look({**week, "unmeasured": True})[0] for _ in range(_LOOKS)]
    filtered = [visitor.look({**week, "unmeasured": True, "language": language})[0] for language in LANGUAGES]
    _, memory = used(server.popen.pid)
    peer = statistics.median(from_athena)
    return [
        _row(f"page's data route, {rows:,} rows, seen within a minute", again, peer, memory),
        _row(f"page's data route, {rows:,} rows, another filter", filtered, peer, memory),
    ]


def _row(name: str, seconds: list[float], peer: float, memory: float) -> Row:
    ours = statistics.median(seconds)
    return Row(
        name,
        round(ours * 1000, 1),
        round(peer * 1000, 1),
        round(peer / ours, 1),
        "milliseconds",
        round(memory),
        f"peer is the same route without its cache, selecting on the local Athena (median of {_PERIODS});"
        f" ours is the median of {len(seconds)}; memory is the server's",
    )


class _Visitor:
    """A person with a login who looks at one page's data."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._url = endpoints.url("airflow")
        self._session = requests.Session()
        answer = self._session.post(f"{self._url}/auth/token", json=endpoints.login, timeout=60)
        answer.raise_for_status()
        self._session.cookies.set("_token", answer.json()["access_token"])

    def look(self, query: Mapping[str, object]) -> tuple[float, dict[str, Any]]:
        """Seconds to the whole answer, and the answer."""
        begun = time.perf_counter()
        answer = self._session.get(f"{self._url}/x-opinion/data/{PAGE}?{urlencode(query)}", timeout=120)
        took = time.perf_counter() - begun
        if not answer.ok:
            raise MeasureError(f"the page's data: {answer.status_code} {answer.text[:500]}")
        return took, answer.json()


def free_endpoints(credentials: Credentials) -> Endpoints:
    """Addresses on neighboring ports that nobody uses; raises `MeasureError` where there are none."""
    for first in _PORTS:
        if all(port_is_free(first + offset) for offset in range(len(SERVICES))):
            return Endpoints(first, credentials)
    raise MeasureError(f"there are no {len(SERVICES)} free ports from {_PORTS.start} on")


def _fill(
    endpoints: Endpoints, settings: Settings, first: date, countries: tuple[str, ...]
) -> tuple[int, int]:
    """Tables, views and the aggregates of every day; how many tweets and rows they hold."""
    environment = endpoints.aws_environment()
    session = boto3.Session(
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )
    s3 = session.client("s3", endpoint_url=endpoints.url("aws"))
    glue = session.client("glue", endpoint_url=endpoints.url("aws"))
    topics = load(settings.topics_file)
    tweets = count = 0
    for number in range(DAYS):
        day = first + timedelta(days=number)
        table = _aggregate(day, topics.names, countries)
        body = io.BytesIO()
        pq.write_table(table, body, compression="zstd")
        s3.put_object(Bucket=settings.bucket, Key=aggregate_key(day.isoformat()), Body=body.getvalue())
        tweets += sum(table["tweets"].to_pylist())
        count += table.num_rows
    client = session.client("athena", endpoint_url=endpoints.url("aws"))
    athena = Athena(client, settings)
    ensure_database(glue, settings)
    ensure_workgroup(client, settings)
    ensure_tables(athena, glue, settings, topics)
    create_views(athena)
    return tweets, count


def _aggregate(day: date, topics: tuple[str, ...], countries: tuple[str, ...]) -> pa.Table:
    """A day's rows, each of a few tweets: an hour of each topic, language and country."""
    rows: list[dict[str, Any]] = []
    for hour, topic, language, country in product(range(24), topics, LANGUAGES, countries):
        counts = [1 + (len(rows) * factor + hour) % 7 for factor in (1, 3, 5)]
        judged = sum(counts)
        rows.append(
            {
                "hour": datetime(day.year, day.month, day.day, hour),  # noqa: DTZ001 - the lake's times are naive
                "topic": topic,
                "lang": language,
                "country_code": country,
                "measured": int(language in _MEASURED),
                "sample": 100,
                "rule_hash": "r1",
                "engine": "ngram",
                "translation_engine": "none",
                "tweets": judged,
                "judged": judged,
                **dict(zip(("negative", "neutral", "positive"), counts, strict=True)),
                "score_sum": judged * 0.7,
                "compared": judged,
                "agreed": judged - 1,
                "model": "v1",
            }
        )
    order = [(name, "ascending") for name in AGGREGATE_KEYS]
    return pa.Table.from_pylist(rows, schema=OPINION_HOURLY).sort_by(order)

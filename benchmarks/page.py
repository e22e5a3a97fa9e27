"""The pages' data route on Airflow's own server, compared with the same figures selected on Athena.

A week of aggregates is in the local S3, behind the local Athena with a real Trino. The peer is the route's
time for a period that was not requested within the last minute: the views are then selected, as they would be
for every request without the route's cache.
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

import pyarrow as pa
import pyarrow.parquet as pq
import requests

from benchmarks.measure import MeasureError, Row, used
from include.lake.layout import aggregate_key
from include.lake.schemas import AGGREGATE_KEYS, OPINION_HOURLY
from include.settings import Settings
from include.x.topics import load
from local import airflow_server
from local.aws.bootstrap import bootstrap
from local.aws.standalone import StandaloneAthena, provision_lake, standalone_athena
from local.endpoints import Endpoints
from local.processes import ProcessError, Processes, answers

PAGE = "opinion-over-time"
DAYS = 7
"""The days that a page shows by default."""
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
_PERIODS = 3
"""Answers from Athena; beyond the first, Trino has read the views before."""
_LOOKS = 20


def measure(quick: bool = False) -> list[Row]:
    """The rows for this part; ``quick`` measures a tenth of the aggregates' rows.

    Raises `MeasureError` if a server does not start or an answer does not have the lake's tweets.
    """
    countries = COUNTRIES[:1] if quick else COUNTRIES
    try:
        with (
            standalone_athena() as clients,
            tempfile.TemporaryDirectory() as name,
            Processes(Path(name, "logs"), Path(name, "processes.json")) as processes,
        ):
            return _measured(clients, processes, Path(name), countries)
    except ProcessError as error:
        raise MeasureError(str(error)) from error


def _measured(
    clients: StandaloneAthena, processes: Processes, folder: Path, countries: tuple[str, ...]
) -> list[Row]:
    today = datetime.now(UTC).date()
    first = today - timedelta(days=DAYS - 1)
    # The earliest day of the tables: before all requested periods.
    start = datetime.combine(first - timedelta(days=_PERIODS), datetime.min.time(), UTC)
    endpoints, settings = clients.endpoints, Settings(collection_start=start)
    base = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW_", "OPINION_"))},
        "OPINION_COLLECTION_START": start.isoformat(),
    }
    environment = airflow_server.environment(folder / "airflow", endpoints, base)
    migration = airflow_server.migrate(processes, environment)
    bootstrap(endpoints.url("aws"), settings, endpoints.credentials, connections=endpoints.connections())
    airflow_server.migrated(processes, migration, environment)
    server = processes.start("airflow", [sys.executable, "-m", "airflow", "api-server"], environment)
    tweets, rows = _fill(clients, settings, first, countries)
    server.wait_until(lambda: answers(f"{endpoints.url('airflow')}/api/v2/version"), 120)

    visitor = _Visitor(endpoints)
    from_athena = []
    for days in range(_PERIODS):
        took, answer = visitor.look({"from": first - timedelta(days=days), "to": today, "unmeasured": True})
        found = next(tile["value"] for tile in answer["tiles"] if tile["id"] == "volume")
        if found != tweets:
            raise MeasureError(f"the page shows {found} tweets, the lake has {tweets}")
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
    """A logged-in user of one page's data."""

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


def _fill(
    clients: StandaloneAthena, settings: Settings, first: date, countries: tuple[str, ...]
) -> tuple[int, int]:
    """Tables, views and the aggregates of every day; how many tweets and rows they hold."""
    s3, topics = clients("s3"), load(settings.topics_file)
    tweets = count = 0
    for number in range(DAYS):
        day = first + timedelta(days=number)
        table = _aggregate(day, topics.names, countries)
        body = io.BytesIO()
        pq.write_table(table, body, compression="zstd")
        s3.put_object(Bucket=settings.bucket, Key=aggregate_key(day.isoformat()), Body=body.getvalue())
        tweets += sum(table["tweets"].to_pylist())
        count += table.num_rows
    provision_lake(clients, settings, topics)
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

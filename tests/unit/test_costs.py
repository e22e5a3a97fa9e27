"""What was used is measured at its source, kept once a day, and priced by the list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from types_boto3_s3 import S3Client

from include import prices
from include.costs import measure, usage
from include.costs.measure import MEASURES, Sources, spread
from include.costs.month import Month
from include.costs.usage import MEASURED, MODELED, Usage
from include.coverage import ledger
from include.coverage.judge import Measures
from include.lake import layout
from include.lake.athena import billed_queries
from include.lake.verdict import Verdict
from include.operators.costs import MEASURED_SERVICES
from include.prices import PricesError
from include.settings import Settings
from include.window import HOUR, Window
from include.x.budget import PostsLedger
from tools import labeling_modes

SETTINGS = Settings(bucket="lake", quicksight_principals=("arn",), quicksight_readers=3)
PRICES = prices.load(SETTINGS.prices_file)
TODAY = datetime.now(UTC).date()
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = NOON.date()


class SageMaker:
    """Answers as SageMaker does, page by page."""

    def __init__(
        self, jobs: dict[str, tuple[datetime, float | None]], endpoints: dict[str, datetime]
    ) -> None:
        self.jobs, self.endpoints = jobs, endpoints

    def get_paginator(self, name: str) -> Any:
        return SimpleNamespace(paginate=getattr(self, name))

    def list_transform_jobs(self, **asked: Any) -> Iterator[dict[str, Any]]:
        for name, (created, _) in self.jobs.items():
            if asked["CreationTimeAfter"] < created < asked["CreationTimeBefore"]:
                yield {"TransformJobSummaries": [{"TransformJobName": name}]}

    def list_endpoints(self, **_: Any) -> Iterator[dict[str, Any]]:
        yield {"Endpoints": [{"EndpointName": n, "CreationTime": at} for n, at in self.endpoints.items()]}

    def describe_transform_job(self, TransformJobName: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        created, seconds = self.jobs[TransformJobName]
        times: dict[str, Any] = {"TransformStartTime": created + timedelta(minutes=4)}
        if seconds is not None:
            times["TransformEndTime"] = times["TransformStartTime"] + timedelta(seconds=seconds)
        resources = {"InstanceType": "ml.c6i.xlarge", "InstanceCount": 1}
        return {"TransformResources": resources, **(times if seconds != 0 else {})}


def sources(s3: Any, now: datetime = NOON + timedelta(days=1), **given: Any) -> Sources:
    asked: dict[str, Any] = {
        "s3": s3,
        "athena": None,
        "statements": None,
        "sagemaker": SageMaker({}, {}),
        "runs": lambda *_: [],
        "settings": SETTINGS,
        "prices": PRICES,
        "now": now,
    }
    return Sources(**(asked | given))


def collected(s3: S3Client, day: date, measures: Measures) -> None:
    window = Window(datetime(day.year, day.month, day.day, 5, tzinfo=UTC))
    row = ledger.CoverageRow(
        topic="ukraine",
        window=window,
        measures=measures,
        alive_s=3600.0,
        judged_until=window.end,
        verdict=Verdict.COMPLETE,
        evidence="because",
        evidence_digest="e",
        inputs_digest="i",
        measured_at=window.end,
    )
    ledger.write(s3, "lake", [row])


def quantities(used: list[Usage]) -> dict[tuple[str, str], float]:
    return {(each.stage, each.item): each.quantity for each in used}


def test_every_service_of_the_dag_can_be_measured() -> None:
    assert tuple(MEASURES) == MEASURED_SERVICES


@given(st.integers(0, 10**7), st.lists(st.integers(0, 10**6), min_size=1, max_size=31))
def test_what_is_spread_over_days_adds_up_to_the_whole(total: int, weights: list[int]) -> None:
    parts = spread(total, weights)
    assert sum(parts) == total
    assert all(part >= 0 for part in parts)
    if any(weights):
        assert all(
            abs(part - total * weight / sum(weights)) <= 1
            for part, weight in zip(parts, weights, strict=True)
        )


def test_posts_of_a_month_are_those_of_the_posts_ledger(s3: S3Client) -> None:
    posts = PostsLedger(s3, "lake")
    month = f"{TODAY:%Y-%m}"
    posts.record(month, "stream-0123456789abcdef", 900)
    posts.record(month, "search-ukraine-a-b-1", 40)
    if TODAY.day > 1:
        measures = Measures(raw_ids=250, recovered=50, duplicates=3, removed=7)
        collected(s3, TODAY - timedelta(days=1), measures)
    collected(s3, TODAY, Measures(raw_ids=90))
    found = measure.posts(sources(s3, datetime.now(UTC)), TODAY)
    assert list(found) == [TODAY.replace(day=number + 1) for number in range(TODAY.day)]
    everything = [each for used in found.values() for each in used]
    assert sum(each.quantity for each in everything) == 940
    assert quantities(found[TODAY])["recover", "post"] == 40
    if TODAY.day > 1:
        yesterday = found[TODAY - timedelta(days=1)]
        assert quantities(yesterday) == {("collect", "post"): 630}, "210 of the 300 lines that were streamed"


def test_a_search_that_ended_after_its_month_is_of_the_months_last_day(s3: S3Client) -> None:
    past = TODAY.replace(day=1) - timedelta(days=1)
    PostsLedger(s3, "lake").record(f"{past:%Y-%m}", "search-ukraine-a-b-1", 40)
    found = measure.posts(sources(s3, datetime.now(UTC)), past)
    assert {day: quantities(used) for day, used in found.items() if used} == {past: {("recover", "post"): 40}}


def test_posts_without_any_tweets_in_raw_are_those_of_the_last_day(s3: S3Client) -> None:
    PostsLedger(s3, "lake").record("2026-11", "stream-0123456789abcdef", 7)
    found = measure.posts(sources(s3), DAY)
    assert [day for day, used in found.items() if used] == [DAY]


def test_jobs_count_the_hours_between_their_start_and_end_on_the_day_of_their_creation(s3: S3Client) -> None:
    start = datetime(2026, 11, 20, tzinfo=UTC)
    jobs: dict[str, tuple[datetime, float | None]] = {
        "x-opinion-sentiment-2026-11-20T05-0123456789ab": (start, 1800.0),
        "x-opinion-sentiment-2026-11-20T06-0123456789ab-2": (start + 9 * HOUR, 5400.0),
        "x-opinion-translation-2026-11-20T05-0123456789ab": (start + 23 * HOUR, None),
        "x-opinion-sentiment-2026-11-19T05-0123456789ab": (start - HOUR, 3600.0),
        "x-opinion-sentiment-2026-11-20T07-0123456789ab": (start + HOUR, 0),
        "x-opinion-sentiment-2026-11-21T05-0123456789ab": (start + 24 * HOUR, 3600.0),
        "others-x-opinion-job": (start + HOUR, 3600.0),
    }
    asked = sources(s3, start + 24 * HOUR + timedelta(minutes=34), sagemaker=SageMaker(jobs, {}))
    found = measure.sagemaker(asked, DAY)[DAY]
    item = "batch ml.c6i.xlarge"
    assert quantities(found) == {("sentiment", item): 2.0, ("translation", item): 1.5}
    assert {each.basis for each in found} == {MEASURED}


@pytest.mark.parametrize(("instances", "hours", "basis"), [(1, 18.0, MEASURED), (3, 54.0, MODELED)])
def test_all_instances_that_an_endpoint_may_have_are_counted(
    s3: S3Client, instances: int, hours: float, basis: str
) -> None:
    endpoints = {"x-opinion-live-sentiment-0123456789ab": datetime(2026, 11, 20, 6, tzinfo=UTC)}
    settings = SETTINGS.model_copy(update={"live_instances": instances})
    asked = sources(s3, sagemaker=SageMaker({}, endpoints), settings=settings)
    (found,) = measure.sagemaker(asked, DAY)[DAY]
    assert (found.quantity, found.basis) == (hours, basis)


def test_an_endpoint_counts_while_it_is_seen_and_where_it_has_answered(s3: S3Client) -> None:
    endpoints = {
        "x-opinion-live-sentiment-0123456789ab": datetime(2026, 11, 20, 6, 30, tzinfo=UTC),
        "x-opinion-live-translation-0123456789ab": datetime(2026, 11, 22, tzinfo=UTC),
        "others-x-opinion-live-sentiment": datetime(2026, 11, 1, tzinfo=UTC),
    }
    for hour, stage, mode in (
        (5, "sentiment", "endpoint"),
        (7, "translation", "endpoint"),
        (8, "translation", "batch"),
    ):
        prefix = layout.answers_prefix(Window.parse(f"2026-11-20T{hour:02}"))
        key = f"{prefix}x-opinion-{stage}-0123456789ab/asks/d/kept.json"
        s3.put_object(
            Bucket="lake", Key=key, Body=json.dumps({"mode": mode, "calls": 1, "tweets": 9}).encode()
        )
    asked = sources(s3, sagemaker=SageMaker({}, endpoints))
    found = measure.sagemaker(asked, DAY)[DAY]
    item = "endpoint ml.c6i.xlarge"
    assert quantities(found) == {("sentiment", item): 18.5, ("translation", item): 1.0}
    assert {each.stage: each.basis for each in found} == {"sentiment": MEASURED, "translation": MODELED}


class AthenaClient:
    """Lists queries as Athena does: the latest first."""

    def __init__(self, queries: list[dict[str, Any]], size: int = 2) -> None:
        self.queries = {str(number): query for number, query in enumerate(queries)}
        self.size, self.asked = size, 0

    def get_paginator(self, _: str) -> Any:
        names = list(self.queries)
        pages = [names[start : start + self.size] for start in range(0, len(names), self.size)]
        return SimpleNamespace(paginate=lambda **_: ({"QueryExecutionIds": page} for page in pages))

    def batch_get_query_execution(self, QueryExecutionIds: list[str]) -> dict[str, Any]:  # noqa: N803
        self.asked += 1
        return {"QueryExecutions": [self.queries[name] for name in QueryExecutionIds]}


def query(hours: float, scanned: int | None, state: str = "SUCCEEDED", kind: str = "DML") -> dict[str, Any]:
    """A query that was begun so many hours after the day's start."""
    begun = datetime(2026, 11, 20, tzinfo=UTC) + hours * HOUR
    return {
        "Status": {"State": state, "SubmissionDateTime": begun},
        "StatementType": kind,
        "Statistics": {} if scanned is None else {"DataScannedInBytes": scanned},
    }


QUERIES = [
    query(24, 10**12),
    query(23, 25_000_001),
    query(22, 5),
    query(21, None, "CANCELLED"),
    query(20, 10**12, "FAILED"),
    query(19, 10**12, kind="DDL"),
    *(query(-hours, 10**12) for hours in range(1, 9)),
]


def test_a_query_counts_ten_megabytes_at_least_and_whole_megabytes(s3: S3Client) -> None:
    found = measure.athena(sources(s3, athena=AthenaClient(QUERIES)), DAY)[DAY]
    assert quantities(found) == {("query", "scanned"): pytest.approx((26 + 10 + 10) * 1e6 / 1e12)}


def test_queries_are_listed_only_as_far_back_as_the_day() -> None:
    client: Any = AthenaClient(QUERIES)
    start = datetime(2026, 11, 20, tzinfo=UTC)
    assert len(list(billed_queries(client, "x_opinion", start, start + 24 * HOUR))) == 3
    assert client.asked == 4


def test_runs_on_databricks_are_hours_of_a_machine_and_dbus(s3: S3Client) -> None:
    start = int(NOON.timestamp() * 1000)
    runs = [
        {"run_name": "train.model", "start_time": start, "end_time": start + 3_600_000},
        {"run_name": "compliance.delta", "start_time": start, "end_time": 0},
    ]
    asked = sources(s3, NOON + HOUR / 2, runs=lambda *_: runs)
    assert quantities(measure.databricks(asked, DAY)[DAY]) == {
        ("train", "m5d.xlarge"): 1.0,
        ("train", "jobs compute"): 0.69,
        ("compliance", "m5d.xlarge"): 0.5,
        ("compliance", "jobs compute"): 0.345,
    }


def test_the_bucket_is_counted_by_layer(s3: S3Client) -> None:
    s3.put_object(Bucket="lake", Key="raw/a", Body=b"x" * 600)
    s3.put_object(Bucket="lake", Key="raw/b", Body=b"x" * 300)
    found = quantities(measure.s3(sources(s3), TODAY)[TODAY])
    assert found["raw", "writes"] == 0.002
    assert found["raw", "storage"] == pytest.approx(900 / 1e9 / 30, rel=0.1)
    assert measure.s3(sources(s3), TODAY - timedelta(days=1)) == {TODAY - timedelta(days=1): []}
    tomorrow = quantities(measure.s3(sources(s3), TODAY + timedelta(days=1))[TODAY + timedelta(days=1)])
    assert ("raw", "writes") not in tomorrow
    assert tomorrow["raw", "storage"] > 0


def test_quicksight_counts_the_settings_users_where_it_is_used(s3: S3Client) -> None:
    assert quantities(measure.quicksight(sources(s3), DAY)[DAY]) == {("show", "reader"): 3 / 30}
    unused = SETTINGS.model_copy(update={"quicksight_principals": ()})
    assert measure.quicksight(sources(s3, settings=unused), DAY) == {DAY: []}


def kept(s3: S3Client, day: date, service: str = "databricks") -> bytes:
    return s3.get_object(Bucket="lake", Key=layout.usage_key(day.isoformat(), service))["Body"].read()


def test_a_rerun_replaces_a_day_and_adds_nothing(s3: S3Client) -> None:
    start = int(NOON.timestamp() * 1000)
    runs = [{"run_name": "train.model", "start_time": start, "end_time": start + 3_600_000}]
    asked = sources(s3, runs=lambda begin, _: runs if begin.date() == DAY else [])
    first = measure.measure(asked, "databricks", DAY, DAY)
    once = kept(s3, DAY)
    assert measure.measure(asked, "databricks", DAY, DAY) == first == {DAY.isoformat(): 2}
    assert kept(s3, DAY) == once
    (row,) = (row for row in usage.read(s3, "lake", DAY, "databricks") if row["service"] == "ec2")
    assert (row["quantity"], row["usd"], row["basis"]) == (1.0, 0.226, MEASURED)
    runs.clear()
    assert measure.measure(asked, "databricks", DAY, DAY) == {DAY.isoformat(): 0}
    assert usage.read(s3, "lake", DAY, "databricks") == []


def test_days_that_no_run_has_measured_are_measured_by_the_next_one(s3: S3Client) -> None:
    asked = sources(s3)
    measure.measure(asked, "quicksight", DAY - timedelta(days=3), DAY - timedelta(days=3))
    found = measure.measure(asked, "quicksight", DAY, DAY - timedelta(days=4))
    assert list(found) == ["2026-11-16", "2026-11-18", "2026-11-19", "2026-11-20"]


def test_a_day_that_a_service_has_forgotten_keeps_its_rows(s3: S3Client) -> None:
    runs = [{"run_name": "train.model", "start_time": 0, "end_time": 3_600_000}]
    measure.measure(sources(s3, runs=lambda *_: runs), "databricks", DAY, DAY)
    before = kept(s3, DAY)
    late = sources(s3, NOON + timedelta(days=8))
    assert measure.measure(late, "databricks", DAY, DAY) == {}
    assert kept(s3, DAY) == before
    assert measure.measure(late, "x", DAY, DAY), "the ledger of posts is kept for good"


def test_an_item_without_a_price_is_kept_and_one_of_another_unit_is_rejected(s3: S3Client) -> None:
    odd = Usage("sentiment", "sagemaker", "batch ml.m5.large", "hour", 2.0, MEASURED, "")
    usage.write(s3, "lake", DAY, "sagemaker", [odd], PRICES)
    (row,) = usage.read(s3, "lake", DAY, "sagemaker")
    assert (row["quantity"], row["usd"], row["price_date"]) == (2.0, None, None)
    wrong = Usage("query", "athena", "scanned", "GB", 1.0, MEASURED, "")
    with pytest.raises(PricesError, match="by 'TB'; it is used by 'GB'"):
        usage.write(s3, "lake", DAY, "athena", [wrong], PRICES)


def month(*rows: dict[str, Any], tweets: int = 0, endpoint: float | None = 0.2) -> Month:
    return Month(date(2026, 11, 1), DAY, rows, tweets, endpoint)


def cost(service: str, dollars: float | None, days: int) -> dict[str, Any]:
    return {"service": service, "item": "any", "dollars": dollars, "days": days}


def test_a_month_is_projected_from_its_measured_days() -> None:
    found = month(cost("x", 40.0, 10), cost("sagemaker", 2.0, 3), tweets=8_000)
    assert (found.dollars, found.days) == (42.0, 10)
    assert found.projected == pytest.approx(126.0)
    assert found.per_million(found.dollars) == pytest.approx(5_250)
    assert found.labeling == 2.0


def test_labeling_is_compared_with_two_endpoints_that_are_always_up() -> None:
    found = month(cost("sagemaker", 2.0, 10), tweets=8_000).to_json()
    assert found["always_on"] == pytest.approx(2 * 24 * 10 * 0.2)
    assert found["always_on_per_million"] == pytest.approx(12_000)
    assert found["labeling_per_million"] == pytest.approx(250)
    assert month(cost("x", 1.0, 1), endpoint=None).to_json()["always_on"] is None


def test_a_month_without_anything_has_no_projection() -> None:
    found = month().to_json()
    assert (found["dollars"], found["projected"], found["per_million"]) == (0, None, None)


def test_what_has_no_price_is_named_and_counts_nothing() -> None:
    found = month(cost("sagemaker", None, 1), cost("x", 1.0, 1))
    assert (found.dollars, found.unpriced) == (1.0, ["sagemaker any"])


@pytest.mark.parametrize("tweets", labeling_modes.VOLUMES)
def test_an_endpoint_is_billed_around_the_clock_and_a_batch_job_for_its_work(tweets: int) -> None:
    found = {mode.name: mode.hours for mode in labeling_modes.modes(tweets)}
    assert found["real-time"] == 2 * 730
    assert found["batch only"] < found["asynchronous"] < found["real-time"]
    assert found["batch only"] < found["batch, live"]


def test_more_tweets_than_an_instance_can_answer_need_another() -> None:
    most = int(730 * 3600 / labeling_modes.SECONDS_PER_TWEET)
    assert [mode.hours for mode in labeling_modes.modes(most + 1) if mode.name == "real-time"] == [
        2 * 2 * 730
    ]

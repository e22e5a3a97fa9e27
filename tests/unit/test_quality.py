"""Quality: what blocks an hour, what only warns, and that no text gets into a result."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from types_boto3_s3 import S3Client

from include.labeling.model_io import compose_sentiment_input
from include.labeling.prepared import Prepared
from include.labeling.publish import publish
from include.lake import layout, quality, storage
from include.lake.schemas import LABELED
from include.quality import suites
from include.quality.checks import check_labeled, check_predictions, check_raw
from include.quality.runner import QualityError, QualityResult, run_suite
from include.quality.suites import BLOCKS, Expectation, Suite
from include.training import hours
from tests.unit import support_hour as hour
from tests.unit.support_hour import BUCKET, KEY, SETTINGS, TOPICS, WINDOW, line, tweet, tweet_id

SECRET = "nobody else may read this"


def prepared(s3: S3Client) -> Prepared:
    """An hour with good tweets of both topics, a duplicate, a broken line and one without a language."""
    lines = [line(tweet(tweet_id(number), text=f"{SECRET} {number}")) for number in range(20)]
    lines += [lines[0], b'{"data": {"id"', line(tweet(tweet_id(30), lang="und", text=SECRET))]
    hour.put_raw(s3, "ukraine", lines)
    hour.put_raw(s3, "russia", [line(tweet(tweet_id(40), topics=("russia",)))])
    return hour.prepare(s3)


def published(s3: S3Client, this: Prepared) -> Prepared:
    composed = compose_sentiment_input(s3, SETTINGS, this, None)
    output = hour.answer(
        s3,
        composed,
        f"{this.prefix}labels",
        lambda entry: {"id": entry["id"], "p_negative": 0.1, "p_neutral": 0.2, "p_positive": 0.7},
    )
    publish(s3, SETTINGS, this, KEY, output, "ngram-1", None, "none")
    return this


def rows(suite: Suite, **columns: Any) -> dict[str, Any]:
    """Frames of one good tweet, with columns replaced by those given."""
    good: dict[str, list[Any]] = {
        "tweet_id": [tweet_id(1)],
        "ts": [WINDOW.start.replace(tzinfo=None)],
        "tag": ["ukraine"],
        "sample": [100],
        "source": ["stream"],
        "text_length": [5],
        "sentiment": ["Neutral"],
        "answers": [1],
        "p_negative": [0.2],
        "p_neutral": [0.5],
        "p_positive": [0.3],
        "p_sum": [1.0],
        "probabilities_missing": [0],
        "unanswered": [0],
        "language_unnamed": [0],
    }
    height = max((len(values) for values in columns.values()), default=1)
    table = {name: values * height for name, values in good.items()} | {
        name: values if len(values) == height else values * height for name, values in columns.items()
    }
    counts = {each.arguments["column"]: 0 for each in suite.expectations["topics"]} | {"topic": "ukraine"}
    counts |= {"objects": 1} if "objects" in counts else {}
    return {
        "rows": pa.Table.from_pydict(table).to_pandas(),
        "topics": pa.Table.from_pylist([counts]).to_pandas(),
    }


def broken(result: QualityResult) -> dict[str, str]:
    """Severity by column of what failed."""
    return {failure.subject: failure.severity for failure in result.failures}


def test_a_good_hour_passes_before_and_after_labeling(s3: S3Client) -> None:
    this = published(s3, prepared(s3))
    for check in (check_raw, check_labeled):
        result = check(s3, SETTINGS, this, TOPICS)
        assert not result.blocking
        assert result.rows == sum(this.accepted.values()) == 22
        assert result.checked == sum(
            len(group) for group in getattr(suites, result.suite)(WINDOW, TOPICS).expectations.values()
        )


def test_an_empty_hour_passes(s3: S3Client) -> None:
    this = published(s3, hour.prepare(s3))
    assert check_raw(s3, SETTINGS, this, TOPICS).failed == 0
    assert check_labeled(s3, SETTINGS, this, TOPICS).failed == 0


def test_results_are_kept_as_counts_without_text(s3: S3Client) -> None:
    this = published(s3, prepared(s3))
    check_raw(s3, SETTINGS, this, TOPICS)
    stored = storage.read(s3, BUCKET, layout.quality_key("raw", WINDOW))
    result = json.loads(stored)
    assert result["window"] == WINDOW.label
    assert {"suite", "checked", "failed", "blocking", "rows", "failures"} <= result.keys()
    assert SECRET.encode() not in stored


def test_a_blocking_failure_stops_the_hour_names_the_reason_and_is_kept_too(
    s3: S3Client, caplog: pytest.LogCaptureFixture
) -> None:
    this = prepared(s3)
    lying = replace(this, raw={**this.raw, "ukraine": this.raw["ukraine"] + 1})
    with pytest.raises(QualityError, match="nothing vanishes") as caught:
        check_raw(s3, SETTINGS, lying, TOPICS)
    assert [failure.subject for failure in caught.value.result.blocking] == ["unaccounted"]
    assert SECRET not in str(caught.value) + caplog.text
    assert json.loads(storage.read(s3, BUCKET, layout.quality_key("raw", WINDOW)))["blocking"] == 1


def test_rows_that_were_lost_before_labeling_block(s3: S3Client) -> None:
    this = prepared(s3)
    with pytest.raises(QualityError, match="just the accepted ids"):
        check_raw(
            s3,
            SETTINGS,
            replace(this, accepted={**this.accepted, "russia": 2}, raw={**this.raw, "russia": 2}),
            TOPICS,
        )


def test_rows_that_were_lost_while_publishing_block(s3: S3Client) -> None:
    this = published(s3, prepared(s3))
    with pytest.raises(QualityError, match="every accepted tweet is published"):
        check_labeled(s3, SETTINGS, replace(this, accepted={**this.accepted, "russia": 2}), TOPICS)


def test_an_object_that_is_replaced_while_it_is_checked_is_no_result(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    this, current = published(s3, prepared(s3)), storage.current

    def found_before_it_is_replaced(*arguments: Any) -> storage.ObjectVersion | None:
        version = current(*arguments)
        return version and replace(version, etag='"of the object before"')

    monkeypatch.setattr(storage, "current", found_before_it_is_replaced)
    with pytest.raises(storage.ObjectChangedError, match="run the task again"):
        check_labeled(s3, SETTINGS, this, TOPICS)
    assert quality.find(s3, BUCKET, "labeled", WINDOW) is None


def test_a_champion_whose_hours_have_all_expired_passes(s3: S3Client) -> None:
    hours.write_predicted(s3, BUCKET, hours.Predicted("student", 3))
    result = check_predictions(s3, SETTINGS, WINDOW.label)
    assert (result.blocking, result.rows) == ((), 0)


def test_an_object_of_another_manifest_need_not_hold_these_rows(s3: S3Client) -> None:
    this = published(s3, prepared(s3))
    other = replace(this, manifest="f" * 64, accepted=dict.fromkeys(TOPICS, 0))
    assert not check_labeled(s3, SETTINGS, other, TOPICS).blocking


def test_a_topic_without_its_object_blocks(s3: S3Client) -> None:
    this = published(s3, prepared(s3))
    s3.delete_object(Bucket=BUCKET, Key=layout.labeled_key("russia", WINDOW))
    with pytest.raises(QualityError, match="every topic has its object"):
        check_labeled(s3, SETTINGS, this, TOPICS)


def test_a_tweet_in_two_topics_blocks(s3: S3Client) -> None:
    this = published(s3, prepared(s3))
    body = storage.read(s3, BUCKET, layout.labeled_key("ukraine", WINDOW))
    s3.put_object(Bucket=BUCKET, Key=layout.labeled_key("russia", WINDOW), Body=body)
    with pytest.raises(QualityError, match="counted twice"):
        check_labeled(s3, SETTINGS, this, TOPICS)


def test_other_columns_than_the_tables_block(s3: S3Client) -> None:
    this = published(s3, prepared(s3))
    key = layout.labeled_key("ukraine", WINDOW)
    table = hour.parquet(s3, key)
    buffer = io.BytesIO()
    pq.write_table(table.select(list(reversed(LABELED.names))), buffer)
    s3.put_object(Bucket=BUCKET, Key=key, Body=buffer.getvalue())
    with pytest.raises(QualityError, match="by name and type"):
        check_labeled(s3, SETTINGS, this, TOPICS)


@pytest.mark.parametrize(
    ("columns", "subject"),
    [
        ({"tweet_id": [tweet_id(1), tweet_id(1)]}, "tweet_id"),
        ({"tweet_id": [tweet_id(-1)]}, "tweet_id"),
        ({"tweet_id": [tweet_id(3600)]}, "tweet_id"),
        ({"ts": [WINDOW.end.replace(tzinfo=None)]}, "ts"),
        ({"ts": [WINDOW.start.replace(tzinfo=None) - timedelta(milliseconds=1)]}, "ts"),
        ({"tag": ["cats"]}, "tag"),
        ({"tag": pa.array([None], pa.string())}, "tag"),
        ({"text_length": [0]}, "text_length"),
        ({"text_length": pa.array([None], pa.int32())}, "text_length"),
        ({"sentiment": ["Angry"]}, "sentiment"),
        ({"answers": [0]}, "answers"),
        ({"answers": [2]}, "answers"),
        ({"p_negative": [-0.1]}, "p_negative"),
        ({"p_positive": [1.1]}, "p_positive"),
        ({"p_sum": [0.9]}, "p_sum"),
        ({"probabilities_missing": [1]}, "probabilities_missing"),
    ],
)
def test_what_only_a_fault_of_the_pipeline_can_break_blocks(columns: dict[str, Any], subject: str) -> None:
    suite = suites.labeled(WINDOW, TOPICS)
    result = run_suite(suite, rows(suite, **columns))
    assert broken(result) == {subject: BLOCKS}


@pytest.mark.parametrize(
    ("columns", "subject"),
    [
        ({"sample": [0]}, "sample"),
        ({"sample": pa.array([None], pa.int32())}, "sample"),
        ({"source": ["hearsay"]}, "source"),
        ({"unanswered": [1]}, "unanswered"),
        ({"language_unnamed": [1]}, "language_unnamed"),
    ],
)
def test_what_the_world_can_break_warns_and_lets_the_hour_pass(columns: dict[str, Any], subject: str) -> None:
    suite = suites.labeled(WINDOW, TOPICS)
    result = run_suite(suite, rows(suite, **columns))
    assert list(broken(result)) == [subject]
    assert not result.blocking


def test_a_few_unanswered_tweets_are_no_warning() -> None:
    suite = suites.labeled(WINDOW, TOPICS)
    ids = [tweet_id(1, sequence) for sequence in range(200)]
    result = run_suite(suite, rows(suite, tweet_id=ids, unanswered=[1] + [0] * 199))
    assert result.failed == 0


def test_an_expectation_that_cannot_be_evaluated_blocks_whatever_its_severity() -> None:
    suite = suites.labeled(WINDOW, TOPICS)
    wanted = Expectation(suites.WARNS, "why", "ExpectColumnValuesToNotBeNull", {"column": "no_such_column"})
    other = Suite("labeled", {"rows": [wanted]})
    [failure] = run_suite(other, rows(suite)).failures
    assert failure.severity == BLOCKS
    assert "no_such_column" in (failure.error or "")


def test_every_expectation_says_its_severity_and_a_reason_of_its_own_words() -> None:
    for suite in (suites.raw(WINDOW, TOPICS), suites.labeled(WINDOW, TOPICS)):
        for each in (each for group in suite.expectations.values() for each in group):
            assert each.severity in (suites.BLOCKS, suites.WARNS)
            assert len(each.why.split()) >= 4
            assert each.subject

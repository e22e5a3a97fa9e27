"""The transform's operators against a local AWS whose SageMaker really runs the model, one job at a time."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
import requests
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from botocore.exceptions import ClientError

from include.labeling import jobs, models
from include.lake import layout, storage
from include.operators import polling
from include.operators import sagemaker as operators
from include.operators import transform as tasks
from include.operators.delivery import DeliveryProof, DeliveryWatermarkSensor
from include.operators.polling import PollingTrigger
from include.operators.sagemaker import AskModelOperator, TransformJobWatch
from include.settings import settings
from include.window import Window
from tests.credentials import AWS_ENVIRONMENT, LOGIN
from tests.dags.support_links import TaskInstance
from tests.local.support_aws import LocalAws
from tests.unit import support_hour
from tools.setup import PACK_ENVIRONMENT, ROOT

WINDOW = "2026-11-20T05"
BUCKET = "operators"

MODEL = """
import json, os, time

def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    text = body if isinstance(body, str) else body.decode()
    return [json.loads(line) for line in text.splitlines() if line]

def predict_fn(records, model):
    for record in records:
        if record["text"] == "fail":
            raise ValueError("told to")
        if record["text"] == "slow":
            time.sleep(300)
        while record["text"].startswith("/") and not os.path.exists(record["text"]):
            time.sleep(0.1)
    records = [record for record in records if record["text"] != "silent"]
    return [{"id": each["id"], "p_negative": 0.0, "p_neutral": 1.0, "p_positive": 0.0} for each in records]

def output_fn(answers, accept):
    return "".join(json.dumps(answer) + "\\n" for answer in answers)
"""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    server = LocalAws(tmp_path_factory.mktemp("aws"), "--transform-jobs", "1").start()
    server.client("s3").create_bucket(Bucket=BUCKET)
    yield server
    assert server.stop() == 0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of the test's own: nobody else's jobs are found again."""
    folder = tmp_path / "fake"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(MODEL)
    (folder / "identity").write_text(uuid.uuid4().hex)
    return folder


@pytest.fixture(autouse=True)
def environment(aws: LocalAws, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        "AWS_ENDPOINT_URL": aws.endpoint,
        **AWS_ENVIRONMENT,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({"conn_type": "aws"}),
        "OPINION_BUCKET": BUCKET,
        "OPINION_SENTIMENT_ARTIFACT": str(model),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(polling, "FIRST_WAIT", 0.1)
    settings.cache_clear()
    yield
    settings.cache_clear()
    sagemaker = aws.client("sagemaker")
    for job in job_names(aws):
        jobs.stop(sagemaker, job)
    deadline = time.monotonic() + 60
    while any(each["TransformJobStatus"] in ("InProgress", "Stopping") for each in summaries(aws)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def given(aws: LocalAws) -> Callable[..., str]:
    """Puts texts, one input object each, under a prefix of their own."""

    def put(*texts: str) -> str:
        prefix = f"work/{uuid.uuid4().hex}/sentiment/input/"
        for number, text in enumerate(texts):
            line = json.dumps({"id": str(number), "text": text, "lang": "en"}) + "\n"
            aws.client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}{number:03}.jsonl", Body=line.encode())
        return prefix

    return put


def task(prefix: str, stage: str = "sentiment") -> AskModelOperator:
    return AskModelOperator(task_id="label", stage=stage, window=WINDOW, input_prefix=prefix)


def run(prefix: str, stage: str = "sentiment") -> dict[str, Any]:
    """The task from start to end, as the scheduler and the triggerer drive it."""
    operator = task(prefix, stage)
    try:
        return operator.execute(TaskInstance().context)
    except TaskDeferred as deferred:
        return resume(deferred)


def deferred_by(prefix: str, monkeypatch: pytest.MonkeyPatch) -> TaskDeferred:
    """The task up to the moment that it defers."""
    with monkeypatch.context() as patch:
        patch.setattr(operators, "_PATIENCE", 0)
        with pytest.raises(TaskDeferred) as caught:
            task(prefix).execute(TaskInstance().context)
    return caught.value


def running_of(deferred: TaskDeferred) -> dict[str, Any]:
    """What the task hands to itself for after the wait."""
    assert deferred.kwargs is not None
    running: dict[str, Any] = deferred.kwargs["running"]
    return running


def resume(deferred: TaskDeferred, prefix: str = "") -> dict[str, Any]:
    """The rest of a deferred task, in another process as it were."""
    event = asyncio.run(anext(deferred.trigger.run())).payload
    result: dict[str, Any] = getattr(task(prefix), deferred.method_name)(
        TaskInstance().context, event=event, **deferred.kwargs or {}
    )
    return result


def summaries(aws: LocalAws) -> list[dict[str, Any]]:
    pages = aws.client("sagemaker").get_paginator("list_transform_jobs").paginate()
    return [summary for page in pages for summary in page["TransformJobSummaries"]]


def job_names(aws: LocalAws) -> list[str]:
    return [summary["TransformJobName"] for summary in summaries(aws)]


def state(aws: LocalAws, job: str) -> str:
    return str(aws.client("sagemaker").describe_transform_job(TransformJobName=job)["TransformJobStatus"])


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_every_input_is_answered_beside_itself(aws: LocalAws, given: Callable[..., str]) -> None:
    prefix = given("a", "b")
    before = job_names(aws)
    result = run(prefix)
    assert len(job_names(aws)) == len(before) + 1
    assert result["engine"].startswith("fake-")
    assert result["output"].startswith(prefix.removesuffix("input/") + "output-")
    s3 = aws.client("s3")
    for number in (0, 1):
        body = s3.get_object(Bucket=BUCKET, Key=f"{result['output']}{number:03}.jsonl.out")["Body"].read()
        assert json.loads(body)["id"] == str(number)


def test_a_cleared_task_reuses_its_job(aws: LocalAws, given: Callable[..., str]) -> None:
    prefix = given("a")
    first = run(prefix)
    before = job_names(aws)
    assert run(prefix) == first
    assert job_names(aws) == before


def test_a_second_run_joins_the_job_that_is_running(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = given("slow")
    first, second = deferred_by(prefix, monkeypatch), deferred_by(prefix, monkeypatch)
    assert first.trigger.arguments["job_name"] == second.trigger.arguments["job_name"]
    assert running_of(second)["joined"] is True
    assert job_names(aws).count(first.trigger.arguments["job_name"]) == 1


def test_a_run_whose_joined_job_is_stopped_starts_its_own(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = given("slow")
    first, joined = deferred_by(prefix, monkeypatch), deferred_by(prefix, monkeypatch)
    asyncio.run(first.trigger.on_kill())
    assert eventually(lambda: state(aws, first.trigger.arguments["job_name"]) == "Stopped")
    monkeypatch.setattr(operators, "_PATIENCE", 0)
    with pytest.raises(TaskDeferred) as caught:
        resume(joined, prefix)
    assert caught.value.trigger.arguments["job_name"] == first.trigger.arguments["job_name"] + "-2"


def test_a_failed_job_fails_the_task_and_its_retry_takes_the_next_suffix(
    aws: LocalAws, given: Callable[..., str]
) -> None:
    prefix = given("fail")
    with pytest.raises(jobs.JobError, match="is Failed"):
        run(prefix)
    with pytest.raises(jobs.JobError, match=r"-2 is Failed"):
        run(prefix)
    with pytest.raises(jobs.JobError, match=r"-3 is Failed"):
        run(prefix)


def test_a_stopped_job_is_a_failure(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred = deferred_by(given("slow"), monkeypatch)
    assert jobs.stop(aws.client("sagemaker"), deferred.trigger.arguments["job_name"])
    with pytest.raises(jobs.JobError, match="is Stopped"):
        resume(deferred)


def test_killing_a_deferred_task_stops_its_job_and_the_next_try_is_another(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = given("slow")
    trigger = deferred_by(prefix, monkeypatch).trigger
    assert isinstance(trigger, PollingTrigger)
    asyncio.run(trigger.on_kill())
    assert eventually(lambda: state(aws, trigger.arguments["job_name"]) == "Stopped")
    again = deferred_by(prefix, monkeypatch).trigger
    assert again.arguments["job_name"] == trigger.arguments["job_name"] + "-2"


def test_a_kill_that_is_itself_cut_off_still_stops_the_job(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = deferred_by(given("slow"), monkeypatch).trigger

    async def cut_off() -> None:
        killing = asyncio.ensure_future(trigger.on_kill())
        await asyncio.sleep(0)  # begun, and canceled before it can have done anything
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)

    asyncio.run(cut_off())
    assert eventually(lambda: state(aws, trigger.arguments["job_name"]) == "Stopped")


def test_a_triggerer_that_ends_leaves_the_job_alone(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = deferred_by(given("slow"), monkeypatch).trigger
    assert isinstance(trigger, PollingTrigger)

    async def cut_off() -> None:
        waiting = asyncio.ensure_future(anext(trigger.run()))
        await asyncio.sleep(0.5)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await trigger.cleanup()

    asyncio.run(cut_off())
    assert state(aws, trigger.arguments["job_name"]) == "InProgress"


def test_killing_a_task_that_has_not_deferred_yet_stops_its_job(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = task(given("slow"))
    monkeypatch.setattr(operators, "_PATIENCE", 0)
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(TaskInstance().context)
    operator.on_kill()
    assert eventually(lambda: state(aws, caught.value.trigger.arguments["job_name"]) == "Stopped")


def test_killing_a_task_before_it_has_a_job_is_harmless() -> None:
    task("anything/").on_kill()


def artifact(aws: LocalAws) -> dict[str, str]:
    """Where the test's model lies."""
    bucket, key = storage.split_address(models.resolve(settings(), aws.client("s3")).sentiment.artifact_uri)
    return {"Bucket": bucket, "Key": key}


def test_a_replaced_artifact_is_run_by_no_job(aws: LocalAws, given: Callable[..., str]) -> None:
    run(given("a"))
    aws.client("s3").put_object(**artifact(aws), Body=b"another")
    before = job_names(aws)
    with pytest.raises(models.ModelError, match="somebody has replaced it"):
        run(given("b"))
    assert job_names(aws) == before


def test_an_artifact_that_was_replaced_and_put_back_while_a_job_ran_costs_the_job_its_answers(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3, prefix = aws.client("s3"), given("a")
    deferred = deferred_by(prefix, monkeypatch)
    place = artifact(aws)
    good = s3.get_object(**place)["Body"].read()
    written = s3.head_object(**place)["LastModified"]
    while s3.head_object(**place)["LastModified"] == written:  # S3 tells whole seconds
        s3.put_object(**place, Body=b"another")
        s3.put_object(**place, Body=good, ChecksumAlgorithm="SHA256")
    with pytest.raises(models.ModelError, match="answers are not used"):
        resume(deferred, prefix)
    run(prefix)
    assert deferred.trigger.arguments["job_name"] + "-2" in job_names(aws)


def test_s3_that_slows_down_is_asked_again(aws: LocalAws, given: Callable[..., str]) -> None:
    prefix = given("a")
    faults = [
        aws.reject("s3", request, "SlowDown", 503, times=2)
        for request in (f"GET /{BUCKET}", f"PUT /{BUCKET}/models/")
    ]
    run(prefix)
    assert [aws.struck(fault) for fault in faults] == [2, 2]


def test_a_token_that_expires_while_the_task_waits_fails_it_and_its_retry_joins_the_job(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = given("slow")
    deferred = deferred_by(prefix, monkeypatch)
    aws.reject("sagemaker", "DescribeTransformJob", "ExpiredTokenException")
    with pytest.raises(ClientError, match="ExpiredTokenException"):
        resume(deferred, prefix)
    again = deferred_by(prefix, monkeypatch)
    assert again.trigger.arguments["job_name"] == deferred.trigger.arguments["job_name"]
    assert running_of(again)["joined"] is True
    assert len(job_names(aws)) == len(set(job_names(aws)))


def test_a_token_that_expires_before_the_job_is_started_leaves_nothing_behind(
    aws: LocalAws, given: Callable[..., str]
) -> None:
    prefix = given("a")
    before = job_names(aws)
    aws.reject("s3", f"GET /{BUCKET}", "ExpiredToken")
    with pytest.raises(ClientError, match="ExpiredToken"):
        run(prefix)
    assert job_names(aws) == before
    run(prefix)
    assert len(job_names(aws)) == len(before) + 1


def test_a_changed_model_is_another_job_with_another_engine(
    aws: LocalAws, given: Callable[..., str], model: Path
) -> None:
    prefix = given("a")
    first, before = run(prefix), job_names(aws)
    (model / "identity").write_text(uuid.uuid4().hex)
    second = run(prefix)
    assert len(job_names(aws)) == len(before) + 1
    for name in ("model", "engine", "output"):
        assert first[name] != second[name]


def answered(aws: LocalAws, result: dict[str, Any]) -> list[str]:
    """The ids of the tweets that a result's output has answers to."""
    s3 = aws.client("s3")
    return [
        json.loads(line)["id"]
        for found in storage.list_objects(s3, BUCKET, result["output"]).objects
        for line in storage.read(s3, BUCKET, found.key).splitlines()
    ]


def asked(aws: LocalAws) -> list[str]:
    """The texts that all jobs of this test's model were asked, in the order of the jobs."""
    s3, texts = aws.client("s3"), []
    sagemaker = aws.client("sagemaker")
    model = models.resolve(settings(), s3).sentiment.name
    for job in reversed(job_names(aws)):
        described = sagemaker.describe_transform_job(TransformJobName=job)
        if described["ModelName"] != model:
            continue
        _, prefix = storage.split_address(described["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
        for found in storage.list_objects(s3, BUCKET, prefix).objects:
            texts += [json.loads(line)["text"] for line in storage.read_lines(s3, BUCKET, found.key)]
    return texts


def test_changed_input_under_the_same_keys_is_asked_and_nothing_else(
    aws: LocalAws, given: Callable[..., str]
) -> None:
    prefix = given("a", "b")
    run(prefix)
    body = json.dumps({"id": "0", "text": "c", "lang": "en"}).encode()
    aws.client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}000.jsonl", Body=body)
    assert answered(aws, run(prefix)) == ["0", "1"]
    assert asked(aws) == ["a", "b", "c"]


def test_a_run_with_more_tweets_asks_about_the_new_ones_alone(
    aws: LocalAws, given: Callable[..., str]
) -> None:
    run(given("a", "b"))
    assert answered(aws, run(given("a", "b", "c"))) == ["0", "1", "2"]
    before = job_names(aws)
    assert answered(aws, run(given("b", "a"))) == ["0", "1"], "other questions under the same ids"
    assert asked(aws) == ["a", "b", "c", "b", "a"]
    assert len(job_names(aws)) == len(before) + 1


def test_a_run_beside_another_with_fewer_tweets_waits_for_its_job_and_asks_about_the_rest(
    aws: LocalAws, given: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = tmp_path / "released"
    fewer, more = given(str(until)), given(str(until), "b")
    first, second = deferred_by(fewer, monkeypatch), deferred_by(more, monkeypatch)
    assert running_of(second)["job"] == running_of(first)["job"]
    until.touch()
    assert answered(aws, resume(second, more)) == ["0", "1"]
    assert answered(aws, resume(first, fewer)) == ["0"]
    assert asked(aws) == [str(until), "b"]


def test_answers_of_a_run_that_was_killed_before_it_kept_them_are_not_paid_again(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = deferred_by(given("a", "b"), monkeypatch)
    assert eventually(lambda: state(aws, running_of(killed)["job"]) == "Completed")
    assert answered(aws, run(given("a", "b", "c"))) == ["0", "1", "2"]
    assert asked(aws) == ["a", "b", "c"]


def test_a_tweet_that_the_model_leaves_out_is_not_asked_about_again(
    aws: LocalAws, given: Callable[..., str]
) -> None:
    assert answered(aws, run(given("a", "silent"))) == ["0"]
    assert answered(aws, run(given("a", "silent", "b"))) == ["0", "2"]
    assert asked(aws) == ["a", "silent", "b"]


def test_output_that_has_expired_is_made_again_and_answers_that_have_are_bought_again(
    aws: LocalAws, given: Callable[..., str]
) -> None:
    s3, prefix = aws.client("s3"), given("a")
    first = run(prefix)
    before = job_names(aws)
    for found in storage.list_objects(s3, BUCKET, first["output"]).objects:
        storage.delete(s3, BUCKET, found.key)
    assert run(prefix) == first
    assert answered(aws, first) == ["0"]
    assert job_names(aws) == before
    for found in storage.list_objects(s3, BUCKET, layout.answers_prefix(Window.parse(WINDOW))).objects:
        storage.delete(s3, BUCKET, found.key)
    assert run(prefix) == first
    assert len(job_names(aws)) == len(before) + 1


def test_the_accounts_limit_is_waited_out(
    aws: LocalAws, given: Callable[..., str], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = deferred_by(given("slow"), monkeypatch).trigger
    (model / "identity").write_text(uuid.uuid4().hex)
    waiting = deferred_by(given("a"), monkeypatch)
    assert waiting.method_name == "try_again"
    jobs.stop(aws.client("sagemaker"), running.arguments["job_name"])
    eventually(lambda: state(aws, running.arguments["job_name"]) == "Stopped")
    prefix = given("a")

    def begun() -> bool:
        """Its place may be free a moment after the other job has stopped."""
        try:
            return bool(task(prefix).try_again(TaskInstance().context, event=None)["output"])
        except TaskDeferred:
            return False

    assert eventually(begun)


def test_without_a_translator_the_stage_is_skipped_and_says_which_setting_is_missing(
    given: Callable[..., str],
) -> None:
    with pytest.raises(AirflowSkipException, match="OPINION_TRANSLATION_ARTIFACT"):
        task(given("a"), stage="translation").execute(TaskInstance().context)


def test_where_there_is_nothing_to_ask_the_stage_is_skipped() -> None:
    with pytest.raises(AirflowSkipException, match="there is no input for"):
        task("").execute(TaskInstance().context)


def test_input_that_has_expired_says_from_where_to_clear() -> None:
    with pytest.raises(jobs.JobError, match="from the task 'prepare' on"):
        task("work/long/gone/").execute(TaskInstance().context)


@pytest.fixture
def encrypted(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> str:
    """A lake under SSE-KMS with one raw tweet of the hour."""
    s3, bucket = aws.client("s3"), f"encrypted-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    raw = gzip.compress(support_hour.line(support_hour.tweet(support_hour.tweet_id(1))) + b"\n")
    s3.put_object(
        Bucket=bucket, Key=f"{layout.raw_prefix('ukraine', support_hour.WINDOW)}stream-0.gz", Body=raw
    )
    secrets = aws.client("secretsmanager")
    if not secrets.list_secrets()["SecretList"]:
        secrets.create_secret(Name=settings().pseudonym_secret, SecretString="a key of the tests")
    monkeypatch.setenv("OPINION_BUCKET", bucket)
    settings.cache_clear()
    return bucket


def hour() -> tuple[dict[str, Any], dict[str, Any]]:
    """The tasks of an hour of English tweets: what the model's task and `publish` have returned."""
    prepared = tasks.prepare.function(WINDOW)["prepared"]
    answered = run(tasks.compose.function(prepared, None))
    return answered, tasks.publish.function(prepared, answered, None)


def test_an_hour_under_sse_kms_that_runs_twice_is_paid_for_once_and_changes_nothing(
    aws: LocalAws, encrypted: str
) -> None:
    s3 = aws.client("s3")
    answered, published = hour()
    assert published["rows"]["ukraine"] == 1
    before = storage.list_objects(s3, encrypted, "").objects, job_names(aws)
    again, published_again = hour()
    assert again == answered
    assert published_again == published
    assert (storage.list_objects(s3, encrypted, "").objects, job_names(aws)) == before


def test_a_write_that_conflicts_with_another_decides_anew(aws: LocalAws, encrypted: str) -> None:
    for method in ("without an object", "over an object"):
        fault = aws.reject("s3", f"PUT /{encrypted}/labeled/", "ConditionalRequestConflict", 409, times=2)
        _, published = hour()
        assert published["superseded"] is False, method
        assert aws.struck(fault) == 2, method
        # Something else stands there: the next run writes again.
        for key in published["keys"].values():
            aws.client("s3").put_object(Bucket=encrypted, Key=key, Body=b"another")


@pytest.fixture
def translator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny opus-mt of German, Russian and Ukrainian; what it translates is labeled by the default model."""
    folder = tmp_path / "opus-mt"
    python = PACK_ENVIRONMENT / "bin" / "python"
    subprocess.run([python, "-m", "tests.models.support_artifacts", folder], cwd=ROOT, check=True)
    monkeypatch.setenv("OPINION_TRANSLATION_ARTIFACT", str(folder))
    monkeypatch.setenv("OPINION_SENTIMENT_ARTIFACT", str(ROOT / "include" / "labeling" / "ngram"))
    settings.cache_clear()
    return folder


def translated_hour(s3: Any, bucket: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The tasks of an hour with translation: what the sentiment model was asked by id, and the rows."""
    hour = tasks.prepare.function(WINDOW)
    translated = run(hour["translation_input"], "translation")
    asked = tasks.compose.function(hour["prepared"], translated)
    published = tasks.publish.function(hour["prepared"], run(asked), translated)
    questions = {}
    for found in storage.list_objects(s3, bucket, asked).objects:
        for line in storage.read(s3, bucket, found.key).splitlines():
            question = json.loads(line)
            questions[question["id"]] = question["text"], question["lang"]
    labeled = storage.read(s3, bucket, published["keys"]["ukraine"])
    return questions, pq.read_table(io.BytesIO(labeled)).to_pylist()


def test_an_hour_is_translated_and_the_sentiment_model_gets_the_translation(
    aws: LocalAws, encrypted: str, translator: Path
) -> None:
    s3 = aws.client("s3")
    long = "слово два. " * 82 + "дуже ненавиджу, ненавиджу, ненавиджу!"
    posts: list[tuple[str, str, dict[str, Any]]] = [
        ("uk", "@anna люблю мир https://t.co/a #мир 😀", {}),
        ("uk", long[:279] + "…", {"note_tweet": {"text": long}}),
        ("en", "what a wonderful day", {}),
        ("und", "🙂", {}),
        ("hi", "नमस्ते", {}),
    ]
    lines = [
        support_hour.line(support_hour.tweet(support_hour.tweet_id(n), lang=lang, text=text, **note))
        for n, (lang, text, note) in enumerate(posts, 1)
    ]
    key = f"{layout.raw_prefix('ukraine', support_hour.WINDOW)}stream-0.gz"
    s3.put_object(Bucket=encrypted, Key=key, Body=gzip.compress(b"\n".join(lines) + b"\n"))
    questions, rows = translated_hour(s3, encrypted)
    short, whole, english, unnamed, hindi = rows
    assert short["translated_text"] == "@anna love peace https://t.co/a #мир 😀"
    assert len(long) > 900
    assert whole["translated_text"] == "слово два. " * 82 + "very hate, hate, hate!"
    assert whole["sentiment"] == "Negative", "its last sentence decides"
    assert [row["translation_engine"].rpartition("-")[0] for row in rows] == ["opus-mt"] * 2 + [""] * 3
    assert [row["translated_text"] for row in (english, unnamed, hindi)] == [None] * 3
    assert (hindi["sentiment"] is None, unnamed["sentiment"] is None) == (False, True)
    assert questions == {
        str(row["tweet_id"]): (row["translated_text"], "en")
        if row["translated_text"]
        else (row["text"], row["lang"])
        for row in (short, whole, english, hindi)
    }
    began = job_names(aws)
    assert translated_hour(s3, encrypted) == (questions, rows)
    assert job_names(aws) == began, "the same hour again is paid for once"

    described = json.loads((translator / "translator.json").read_text())
    del described["languages"]["uk"]
    (translator / "translator.json").write_text(json.dumps(described))
    _, again = translated_hour(s3, encrypted)
    assert [row["translation_engine"] for row in again] == ["none"] * 5
    assert [row["translated_text"] for row in again] == [None] * 5
    assert len(job_names(aws)) == len(began) + 2, "another translator is asked, and its words are judged"


def test_names_fit_sagemaker_with_room_for_suffixes(aws: LocalAws, given: Callable[..., str]) -> None:
    s3 = aws.client("s3")
    configured = settings().model_copy(update={"translation_artifact": settings().sentiment_artifact})
    translator = models.resolve(configured, s3).translation
    assert translator
    prefix = given("a")
    job = jobs.plan(
        configured, Window.parse(WINDOW), translator, prefix, jobs.list_job_objects(s3, BUCKET, prefix)
    )
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", f"{job.name}-999")


def test_an_hour_whose_raw_expires_is_skipped_and_one_within_the_retention_is_not() -> None:
    now = datetime.now(UTC)
    kept, gone = (Window.containing(now - timedelta(days=days)).label for days in (29, 31))
    assert tasks.window.function(params={"window": kept}) == kept
    with pytest.raises(AirflowSkipException, match="its labels stay as they are"):
        tasks.window.function(params={"window": gone})


def test_the_trigger_is_made_again_from_what_it_serializes() -> None:
    for trigger in (
        PollingTrigger.of(TransformJobWatch, {"job_name": "job"}),
        PollingTrigger.of(DeliveryProof, {"window": WINDOW}, first_wait=1.0),
    ):
        path, arguments = trigger.serialize()
        made = resolve_name(path)(**json.loads(json.dumps(arguments)))
        assert made.serialize() == (path, arguments)
        assert resolve_name(arguments["watch"]) in (TransformJobWatch, DeliveryProof)


def sensor(window: Window) -> DeliveryWatermarkSensor:
    return DeliveryWatermarkSensor(task_id="wait_for_delivery", window=window.label)


def test_the_open_hour_is_not_waited_for() -> None:
    window = Window.containing(datetime.now(UTC))
    if window.end - datetime.now(UTC) < timedelta(minutes=1):
        window = window.next  # the hour would end under the test
    assert sensor(window).execute({})["reason"] == "open"


def test_a_closed_hour_without_heartbeats_is_waited_for_in_the_triggerer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    window = Window.containing(datetime.now(UTC) - timedelta(hours=1))

    def grace_ends_in(seconds: int) -> None:
        grace = int((datetime.now(UTC) - window.end).total_seconds()) + seconds
        monkeypatch.setenv("OPINION_DELIVERY_GRACE_SECONDS", str(grace))
        settings.cache_clear()

    grace_ends_in(300)
    with pytest.raises(TaskDeferred) as caught:
        sensor(window).execute({})
    grace_ends_in(2)
    event = asyncio.run(anext(caught.value.trigger.run())).payload
    assert event["reason"] == "grace"
    result = getattr(sensor(window), caught.value.method_name)({}, event=event)
    assert result == {"reason": "grace", "watermark": None}


def test_the_job_can_be_followed_while_it_runs_and_where_the_settings_say(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = "https://console.aws.amazon.com/sagemaker/home?region=us-east-1#/transform-jobs/{}"
    local = f"{aws.endpoint}/_local/sagemaker/transform-jobs/{{}}"
    prefix = given("a")
    for configured, expected in ((None, console), (local.format("{job}"), local)):
        if configured:
            monkeypatch.setenv("OPINION_SAGEMAKER_JOB_URL", configured)
            settings.cache_clear()
        ti, operator = TaskInstance(), task(prefix)
        with monkeypatch.context() as patch:
            patch.setattr(operators, "_PATIENCE", 0)
            with contextlib.suppress(TaskDeferred):
                operator.execute(ti.context)
        (link,) = operator.operator_extra_links
        address = link.get_link(operator, ti_key=cast("Any", ti))
        job = address.rsplit("/", 1)[-1]
        assert address == expected.format(job)
        assert job in job_names(aws)
    page = requests.get(address, auth=LOGIN, timeout=10)
    assert page.status_code == 200
    assert job in page.text

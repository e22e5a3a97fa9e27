"""The open hour is answered by endpoints where there are some, against an AWS that really runs them."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from include.labeling import endpoints, models
from include.labeling.answers import KeptAnswers, Sent, sent
from include.labeling.endpoints import EndpointError
from include.lake import layout, storage
from include.operators import provision
from include.operators import sagemaker as operators
from include.settings import settings
from include.window import Window
from tests.credentials import AWS_ENVIRONMENT
from tests.dags.test_transform_operators import MODEL, WINDOW, job_names, run
from tests.local.support_aws import LocalAws

BUCKET = "endpoints"
HOUR = Window.parse(WINDOW)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    server = LocalAws(tmp_path_factory.mktemp("aws")).start()
    server.client("s3").create_bucket(Bucket=BUCKET)
    yield server
    assert server.stop() == 0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of the test's own."""
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
        "OPINION_LIVE_ENDPOINTS": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(endpoints, "_FIRST_WAIT_S", 0.1)
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)
    settings.cache_clear()
    the_hour_is(monkeypatch, is_open=True)
    for found in storage.list_objects(aws.client("s3"), BUCKET, layout.answers_prefix(HOUR)).objects:
        storage.delete(aws.client("s3"), BUCKET, found.key)
    yield
    settings.cache_clear()


def the_hour_is(monkeypatch: pytest.MonkeyPatch, *, is_open: bool) -> None:
    moment = HOUR.end + timedelta(seconds=-1 if is_open else 0)
    monkeypatch.setattr(operators, "now", lambda: moment)


@pytest.fixture
def given(aws: LocalAws) -> Callable[..., str]:
    def put(*texts: str) -> str:
        prefix = f"work/{uuid.uuid4().hex}/sentiment/input/"
        lines = [json.dumps({"id": str(n), "text": text, "lang": "en"}) for n, text in enumerate(texts)]
        body = "".join(line + "\n" for line in lines).encode()
        aws.client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}000.jsonl", Body=body)
        return prefix

    return put


def provisioned() -> list[str]:
    changes: list[str] = provision.models.function()
    return changes


def standing(aws: LocalAws) -> list[str]:
    return [each["EndpointName"] for each in aws.client("sagemaker").list_endpoints()["Endpoints"]]


def answered(aws: LocalAws, result: dict[str, Any]) -> list[str]:
    body = storage.read(aws.client("s3"), BUCKET, f"{result['output']}000.jsonl.out")
    return [json.loads(line)["id"] for line in body.splitlines()]


def test_the_open_hour_is_answered_by_the_endpoint_and_the_closed_one_takes_its_answers(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    provisioned()
    before = job_names(aws)
    assert answered(aws, run(given("a", "b"))) == ["0", "1"]
    assert answered(aws, run(given("a", "b", "c"))) == ["0", "1", "2"]
    assert job_names(aws) == before
    assert sent(aws.client("s3"), BUCKET, [HOUR]) == {"endpoint": Sent(2, 3)}
    the_hour_is(monkeypatch, is_open=False)
    assert answered(aws, run(given("a", "b", "c", "d"))) == ["0", "1", "2", "3"]
    assert len(job_names(aws)) == len(before) + 1
    assert sent(aws.client("s3"), BUCKET, [HOUR]) == {"batch": Sent(1, 1), "endpoint": Sent(2, 3)}


def test_the_last_minutes_of_an_hour_are_answered_by_the_endpoint_while_live_may_label_them(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPINION_LIVE_MINUTES", "2")
    settings.cache_clear()
    provisioned()
    monkeypatch.setattr(operators, "now", lambda: HOUR.end + timedelta(seconds=119))
    run(given("a"))
    monkeypatch.setattr(operators, "now", lambda: HOUR.end + timedelta(seconds=120))
    run(given("a", "b"))
    assert sent(aws.client("s3"), BUCKET, [HOUR]) == {"batch": Sent(1, 1), "endpoint": Sent(1, 1)}


def test_payloads_are_sent_beside_each_other_to_as_many_instances_as_there_may_be(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPINION_LIVE_INSTANCES", "3")
    settings.cache_clear()
    changes = provisioned()
    (name,) = standing(aws)
    assert f"scaled endpoint {name} to at most 3 instances" in changes
    assert provisioned() == []
    monkeypatch.setattr(endpoints, "PAYLOAD_TWEETS", 1)
    together = threading.Barrier(3, timeout=30)
    invoke = endpoints._invoke

    def invoke_together(*arguments: Any) -> Any:
        together.wait()
        return invoke(*arguments)

    monkeypatch.setattr(endpoints, "_invoke", invoke_together)
    assert answered(aws, run(given("a", "b", "c"))) == ["0", "1", "2"]
    assert sent(aws.client("s3"), BUCKET, [HOUR]) == {"endpoint": Sent(3, 3)}
    monkeypatch.setenv("OPINION_LIVE_INSTANCES", "1")
    settings.cache_clear()
    assert provisioned() == [f"scaled endpoint {name} to at most 1 instances"]
    scaling = aws.client("application-autoscaling")
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def scaled_out(aws: LocalAws, name: str, instances: int) -> None:
    """As Application Auto Scaling does while payloads wait."""
    aws.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": instances}],
    )


def test_an_endpoint_answers_while_instances_are_added_to_it(
    aws: LocalAws, given: Callable[..., str]
) -> None:
    provisioned()
    (name,) = standing(aws)
    before = job_names(aws)
    scaled_out(aws, name, 2)
    state = aws.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"]
    assert answered(aws, run(given("a"))) == ["0"]
    assert state == "Updating"
    assert job_names(aws) == before


def test_an_endpoint_is_asked_once_how_far_it_may_be_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    provisioned()
    asked: list[str] = []
    most = endpoints._most_instances

    def counted(scaling: Any, name: str) -> int:
        asked.append(name)
        return most(scaling, name)

    monkeypatch.setattr(endpoints, "_most_instances", counted)
    assert provisioned() == []
    assert len(asked) == 1


def test_instances_that_were_added_are_removed_where_the_settings_want_one(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPINION_LIVE_INSTANCES", "3")
    settings.cache_clear()
    provisioned()
    (name,) = standing(aws)
    scaled_out(aws, name, 3)
    monkeypatch.setenv("OPINION_LIVE_INSTANCES", "1")
    settings.cache_clear()
    provisioned()
    [variant] = aws.client("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"]
    assert variant["DesiredInstanceCount"] == 1
    monkeypatch.setenv("OPINION_LIVE_ENDPOINTS", "false")
    settings.cache_clear()
    assert provisioned() == [f"removed endpoint {name}"], "once that change is over"


def test_a_tweet_that_the_model_fails_on_costs_the_others_nothing(
    aws: LocalAws, given: Callable[..., str]
) -> None:
    provisioned()
    prefix = given("a", "fail", "b")
    with pytest.raises(EndpointError) as caught:
        run(prefix)
    assert "told to" not in str(caught.value), "not in the model's words, which may quote the tweet"
    first = sent(aws.client("s3"), BUCKET, [HOUR])
    assert first["endpoint"].tweets >= 1
    with pytest.raises(EndpointError):
        run(prefix)
    assert sent(aws.client("s3"), BUCKET, [HOUR]) == first, "what was answered is not asked again"


def test_what_was_answered_before_a_kill_is_kept(
    aws: LocalAws, given: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    provisioned()
    prefix = given("a", "b", "c")
    monkeypatch.setattr(endpoints, "PAYLOAD_TWEETS", 1)
    keep = KeptAnswers.keep_invocation
    calls: list[int] = []

    def killed(self: KeptAnswers, questions: list[bytes], answer: bytes) -> None:
        keep(self, questions, answer)
        calls.append(len(questions))
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(KeptAnswers, "keep_invocation", killed)
    with pytest.raises(KeyboardInterrupt):
        run(prefix)
    assert answered(aws, run(prefix)) == ["0", "1", "2"]
    assert calls == [1, 1, 1]


def test_throttling_is_tried_again(aws: LocalAws, given: Callable[..., str]) -> None:
    provisioned()
    fault = aws.reject("sagemaker-runtime", "InvokeEndpoint", "ThrottlingException", times=2)
    assert answered(aws, run(given("a"))) == ["0"]
    assert aws.struck(fault) == 2


def test_a_model_error_that_passes_is_tried_again(aws: LocalAws, given: Callable[..., str]) -> None:
    provisioned()
    fault = aws.reject("sagemaker-runtime", "InvokeEndpoint", "ModelError", 424, times=2)
    assert answered(aws, run(given("a", "b"))) == ["0", "1"]
    assert aws.struck(fault) == 2
    assert sent(aws.client("s3"), BUCKET, [HOUR]) == {"endpoint": Sent(1, 2)}


def test_an_artifact_that_is_overwritten_costs_the_endpoint_its_answers(
    aws: LocalAws, given: Callable[..., str]
) -> None:
    provisioned()
    s3 = aws.client("s3")
    bucket, key = storage.split_address(models.resolve(settings(), s3).sentiment.artifact_uri)
    s3.put_object(Bucket=bucket, Key=key, Body=b"another")
    with pytest.raises(models.ModelError, match="somebody has replaced it"):
        run(given("a"))


def test_without_an_endpoint_in_service_jobs_answer(aws: LocalAws, given: Callable[..., str]) -> None:
    before = job_names(aws)
    assert answered(aws, run(given("a"))) == ["0"]
    assert len(job_names(aws)) == len(before) + 1


def test_provisioning_twice_changes_nothing_another_model_gets_another_and_off_removes_it(
    aws: LocalAws, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(change.startswith("created endpoint") for change in provisioned())
    (first,) = standing(aws)
    assert provisioned() == []
    (model / "identity").write_text(uuid.uuid4().hex)
    assert f"removed endpoint {first}" in provisioned()
    (second,) = standing(aws)
    assert second != first
    monkeypatch.setenv("OPINION_LIVE_ENDPOINTS", "false")
    settings.cache_clear()
    assert provisioned() == [f"removed endpoint {second}"]
    assert standing(aws) == []
    assert aws.client("sagemaker").list_endpoint_configs()["EndpointConfigs"] == []


def test_an_endpoint_whose_model_does_not_load_is_removed_and_told(aws: LocalAws, model: Path) -> None:
    (model / "code" / "inference.py").write_text("raise ImportError('no such library')")
    with pytest.raises(EndpointError, match=r"(?s)has failed, and was removed: .*no such library"):
        provisioned()
    assert standing(aws) == []

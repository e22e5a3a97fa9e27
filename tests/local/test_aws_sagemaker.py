"""SageMaker: models and transform jobs that really run the model's own code."""

from __future__ import annotations

import gzip
import io
import json
import signal
import tarfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from botocore.exceptions import ClientError

from local.aws import sagemaker
from tests.credentials import AWS_ENVIRONMENT, LOGIN
from tests.local.support_aws import LocalAws

BUCKET = "models"
LENGTHS = """
import json, os, time
def model_fn(model_dir):
    print("loading from", os.path.basename(os.path.dirname(model_dir)) and "archive")
    return {"factor": int(os.environ.get("FACTOR", "1")), "requests": 0}
def input_fn(data, content_type):
    if content_type != "application/jsonlines":
        raise ValueError("cannot read " + content_type)
    return [json.loads(line) for line in data.decode().splitlines()]
def predict_fn(rows, model):
    model["requests"] += 1
    for row in rows:
        if row["text"] == "sleep":
            time.sleep(60)
        if row["text"] == "fail":
            raise RuntimeError("row " + row["id"] + " is bad")
        if row["text"] == "die":
            os._exit(3)
    factor, request = model["factor"], model["requests"]
    return [{"id": row["id"], "n": len(row["text"]) * factor, "request": request} for row in rows]
def output_fn(rows, accept):
    return "\\n".join(json.dumps(row) for row in rows), accept
"""


def archive(script: str, **others: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in {"code/inference.py": script, **others}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content.encode())
            tar.addfile(entry, io.BytesIO(content.encode()))
    return buffer.getvalue()


def make_model(aws: LocalAws, script: str = LENGTHS, **others: str) -> str:
    name = f"m-{uuid.uuid4().hex[:20]}"
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=f"{name}/model.tar.gz", Body=archive(script, **others))
    aws.client("sagemaker").create_model(
        ModelName=name,
        PrimaryContainer={
            "Image": "pytorch-inference:2.6.0",
            "ModelDataUrl": f"s3://{BUCKET}/{name}/model.tar.gz",
        },
        ExecutionRoleArn="arn:aws:iam::123456789012:role/x-opinion-sagemaker",
    )
    return name


@pytest.fixture(scope="module")
def model(aws: LocalAws) -> str:
    return make_model(aws)


def rows(*texts: str) -> bytes:
    return b"".join(json.dumps({"id": str(n), "text": text}).encode() + b"\n" for n, text in enumerate(texts))


def start(aws: LocalAws, model: str, inputs: dict[str, bytes], **changes: Any) -> str:
    """Puts the inputs and starts a job over them; gives its name, which is its prefix too."""
    name = changes.pop("name", f"j-{uuid.uuid4().hex[:20]}")
    s3 = aws.client("s3")
    for key, content in inputs.items():
        s3.put_object(Bucket=BUCKET, Key=f"{name}/in/{key}", Body=content)
    request: dict[str, Any] = {
        "TransformJobName": name,
        "ModelName": model,
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": 6,
        "ModelClientConfig": {"InvocationsMaxRetries": 0, "InvocationsTimeoutInSeconds": 60},
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/in/"}},
            "ContentType": "application/jsonlines",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": f"s3://{BUCKET}/{name}/out",
            "Accept": "application/jsonlines",
            "AssembleWith": "Line",
        },
        "TransformResources": {"InstanceType": "ml.c6i.xlarge", "InstanceCount": 1},
    }
    for key, value in changes.items():
        request[key] = {**request[key], **value} if isinstance(value, dict) and key in request else value
    aws.client("sagemaker").create_transform_job(**request)
    return str(name)


def until[T](found: Callable[[], T]) -> T:
    """Waits for a true value."""
    end = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def wait(aws: LocalAws, name: str, *states: str) -> dict[str, Any]:
    client = aws.client("sagemaker")
    end = time.monotonic() + 60
    while True:
        found: dict[str, Any] = client.describe_transform_job(TransformJobName=name)
        if found["TransformJobStatus"] in (states or ("Completed", "Failed", "Stopped")):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.02)


def output(aws: LocalAws, name: str, key: str) -> list[dict[str, Any]]:
    body = aws.client("s3").get_object(Bucket=BUCKET, Key=f"{name}/out/{key}.out")["Body"].read()
    return [json.loads(line) for line in body.splitlines()]


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_a_job_runs_the_model_over_every_object_and_keeps_its_order(aws: LocalAws, model: str) -> None:
    inputs = {"000.jsonl": rows("a", "bb"), "more/001.jsonl": rows("ccc")}
    name = start(aws, model, inputs)
    job = wait(aws, name)
    assert (job["TransformJobStatus"], job.get("FailureReason")) == ("Completed", None)
    assert [(row["id"], row["n"]) for row in output(aws, name, "000.jsonl")] == [("0", 1), ("1", 2)]
    assert [(row["id"], row["n"]) for row in output(aws, name, "more/001.jsonl")] == [("0", 3)]
    assert job["CreationTime"] <= job["TransformStartTime"] <= job["TransformEndTime"]
    assert job["TransformJobArn"].endswith(f":123456789012:transform-job/{name}")


def test_a_running_job_says_so_and_has_no_end(aws: LocalAws, model: str) -> None:
    name = start(aws, model, {"0": rows("sleep")})
    job = wait(aws, name, "InProgress")
    assert "TransformEndTime" not in job
    aws.client("sagemaker").stop_transform_job(TransformJobName=name)
    wait(aws, name, "Stopped")


def test_batches_keep_to_the_payload_and_their_answers_to_the_order(aws: LocalAws, model: str) -> None:
    texts = [str(number) * 100_000 for number in range(10)] * 3
    name = start(aws, model, {"0": rows(*texts)}, MaxPayloadInMB=1, MaxConcurrentTransforms=4)
    assert wait(aws, name)["TransformJobStatus"] == "Completed"
    found = output(aws, name, "0")
    assert [row["id"] for row in found] == [str(number) for number in range(30)]
    assert len({row["request"] for row in found}) == 3


def test_single_records_are_sent_one_by_one(aws: LocalAws, model: str) -> None:
    name = start(aws, model, {"0": rows("a", "b", "c")}, BatchStrategy="SingleRecord")
    assert wait(aws, name)["TransformJobStatus"] == "Completed"
    assert len({row["request"] for row in output(aws, name, "0")}) == 3


def test_gzipped_input_is_read(aws: LocalAws, model: str) -> None:
    name = start(aws, model, {"0.gz": gzip.compress(rows("abc"))}, TransformInput={"CompressionType": "Gzip"})
    assert wait(aws, name)["TransformJobStatus"] == "Completed"
    assert output(aws, name, "0.gz")[0]["n"] == 3


def test_the_jobs_environment_reaches_the_model(aws: LocalAws, model: str) -> None:
    name = start(aws, model, {"0": rows("abc")}, Environment={"FACTOR": "7"})
    assert wait(aws, name)["TransformJobStatus"] == "Completed"
    assert output(aws, name, "0")[0]["n"] == 21


def test_a_model_gets_only_what_its_archive_holds(aws: LocalAws) -> None:
    script = """
import json, os, sys
import words
def model_fn(model_dir):
    return open(os.path.join(model_dir, "weights.txt")).read()
def transform_fn(model, data, content_type, accept):
    try:
        import include.settings
        found = "project"
    except ImportError:
        found = "nothing"
    key = os.environ.get("AWS_SECRET_ACCESS_KEY")
    return json.dumps({"weights": model, "words": words.WORDS, "found": found, "key": key}), accept
"""
    name = make_model(aws, script, **{"code/words.py": "WORDS = 3\n", "weights.txt": "w"})
    job = start(aws, name, {"0": rows("a")})
    assert wait(aws, job)["TransformJobStatus"] == "Completed"
    assert output(aws, job, "0") == [{"weights": "w", "words": 3, "found": "nothing", "key": None}]


def test_a_bad_row_fails_the_job_with_the_end_of_the_containers_log(aws: LocalAws, model: str) -> None:
    job = wait(aws, start(aws, model, {"0": rows("a", "fail")}))
    assert job["TransformJobStatus"] == "Failed"
    assert "RuntimeError: row 1 is bad" in job["FailureReason"]
    assert len(job["FailureReason"]) <= 1024
    assert "TransformEndTime" in job


def shown(aws: LocalAws, name: str) -> str:
    answer = requests.get(f"{aws.endpoint}/_local/sagemaker/transform-jobs/{name}", auth=LOGIN, timeout=10)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    return answer.text


def test_a_jobs_page_has_its_state_its_failure_and_its_own_part_of_the_log(aws: LocalAws) -> None:
    loud = """
import json, sys
def model_fn(folder): return None
def input_fn(body, media): return body.decode().splitlines()
def predict_fn(rows, model):
    print("<said>", rows[0], file=sys.stderr, flush=True)
    if "bad" in rows[0]: raise ValueError("<bad> row")
    return rows
def output_fn(rows, media): return "\\n".join(rows)
"""
    model = make_model(aws, loud)
    good, bad = (start(aws, model, {"a": rows(text)}) for text in ("good", "bad"))
    assert wait(aws, good)["TransformJobStatus"] == "Completed"
    assert wait(aws, bad)["TransformJobStatus"] == "Failed"
    page = shown(aws, good)
    assert "Completed" in page
    assert "&lt;said&gt;" in page
    assert "good" in page.partition("Log of the container")[2]
    assert "bad" not in page.partition("Log of the container")[2]
    failed = shown(aws, bad)
    assert "&lt;bad&gt; row" in failed.partition('role="alert"')[2].partition("</pre>")[0]
    missing = requests.get(f"{aws.endpoint}/_local/sagemaker/transform-jobs/%00..%2F", auth=LOGIN, timeout=10)
    assert missing.status_code == 404


def test_a_dead_container_fails_the_job(aws: LocalAws, model: str) -> None:
    job = wait(aws, start(aws, model, {"0": rows("die")}))
    assert job["TransformJobStatus"] == "Failed"
    assert "no answer" in job["FailureReason"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("def model_fn(model_dir): raise OSError('weights are missing')", "weights are missing"),
        ("x = 1", "has no model_fn"),
        ("def model_fn(model_dir): return 1", "has no input_fn"),
    ],
)
def test_a_model_that_does_not_load_fails_the_job(aws: LocalAws, script: str, reason: str) -> None:
    job = wait(aws, start(aws, make_model(aws, script), {"0": rows("a")}))
    assert job["TransformJobStatus"] == "Failed"
    assert reason in job["FailureReason"]


REQUIRING = """
import importlib.metadata, json
def model_fn(model_dir): return importlib.metadata.version("{}")
def transform_fn(model, data, content_type, accept): return json.dumps({{"version": model}})
"""


def test_a_model_runs_in_an_environment_that_has_what_it_requires(aws: LocalAws) -> None:
    for package, requirement in (("numpy", "numpy"), ("ctranslate2", "ctranslate2>=4,<5  # of make models")):
        requirements = {"code/requirements.txt": f"# what it imports\n{requirement}\n"}
        job = start(aws, make_model(aws, REQUIRING.format(package), **requirements), {"0": rows("a")})
        assert wait(aws, job)["TransformJobStatus"] == "Completed", package
        assert output(aws, job, "0")[0]["version"]


def test_a_model_that_requires_what_is_not_there_fails_the_job_and_says_what_to_run(aws: LocalAws) -> None:
    requirements = {"code/requirements.txt": "numpy\nctranslate2==1.0\nnothing-of-that-name>=2\n"}
    job = wait(aws, start(aws, make_model(aws, LENGTHS, **requirements), {"0": rows("a")}))
    assert job["TransformJobStatus"] == "Failed"
    assert "asks for ctranslate2==1.0, nothing-of-that-name>=2, which" in job["FailureReason"]
    assert "python3 tools/setup.py pack" in job["FailureReason"]


def test_a_model_that_takes_too_long_to_load_is_ended_and_its_log_tells_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "model" / "code"
    code.mkdir(parents=True)
    (code / "inference.py").write_text("import time\nprint('reading weights')\ntime.sleep(600)\n")
    monkeypatch.setattr(sagemaker, "_START_SECONDS", 3.0)
    server = sagemaker.ModelServer(code.parent, {}, tmp_path / "container.log")
    try:
        with pytest.raises(sagemaker.JobError, match="did not start\nreading weights"):
            server.wait()
    finally:
        server.close()


def test_missing_input_and_too_large_records_fail_the_job(aws: LocalAws, model: str) -> None:
    job = wait(aws, start(aws, model, {}))
    assert (job["TransformJobStatus"], "No S3 objects found" in job["FailureReason"]) == ("Failed", True)
    job = wait(aws, start(aws, model, {"0": rows("x" * (1 << 20))}, MaxPayloadInMB=1))
    assert (job["TransformJobStatus"], "exceeds MaxPayloadInMB" in job["FailureReason"]) == ("Failed", True)


def test_stopping_ends_the_process(aws: LocalAws, model: str) -> None:
    client = aws.client("sagemaker")
    before = set(psutil.Process(aws.pid).children())
    name = start(aws, model, {"0": rows("sleep")})
    wait(aws, name, "InProgress")
    (process,) = until(lambda: set(psutil.Process(aws.pid).children()) - before)
    client.stop_transform_job(TransformJobName=name)
    job = wait(aws, name)
    assert job["TransformJobStatus"] == "Stopped"
    assert not process.is_running()
    assert "Contents" not in aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{name}/out")
    with pytest.raises(ClientError) as error:
        client.stop_transform_job(TransformJobName=name)
    assert code(error) == "ValidationException"


def test_what_sagemaker_rejects_is_rejected(aws: LocalAws, model: str) -> None:
    client = aws.client("sagemaker")
    used = start(aws, model, {"0": rows("a")})
    wait(aws, used)
    uri = {"S3DataType": "S3Prefix", "S3Uri": "no address"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"name": used}, "ResourceInUse"),
        ({"name": "x" * 64}, "ValidationException"),
        ({"name": "under_score"}, "ValidationException"),
        ({"ModelName": "none"}, "ValidationException"),
        ({"MaxPayloadInMB": 101}, "ValidationException"),
        ({"MaxPayloadInMB": 50, "MaxConcurrentTransforms": 3}, "ValidationException"),
        ({"TransformInput": {"SplitType": "RecordIO"}}, "ValidationException"),
        ({"TransformInput": {"DataSource": {"S3DataSource": uri}}}, "ValidationException"),
        ({"TransformOutput": {"S3OutputPath": "/tmp"}}, "ValidationException"),
        ({"DataProcessing": {"OutputFilter": "$.id"}}, "ValidationException"),
    ]
    for changes, expected in cases:
        with pytest.raises(ClientError) as error:
            start(aws, model, {}, **changes)
        assert code(error) == expected, changes
    for operation in ("describe_transform_job", "stop_transform_job"):
        with pytest.raises(ClientError, match="Could not find") as error:
            getattr(client, operation)(TransformJobName="none")
        assert code(error) == "ValidationException"


def test_models_are_made_once_and_only_from_data_that_is_there(aws: LocalAws, model: str) -> None:
    client = aws.client("sagemaker")
    found = client.describe_model(ModelName=model)
    request = {
        "ModelName": model,
        "PrimaryContainer": found["PrimaryContainer"],
        "ExecutionRoleArn": found["ExecutionRoleArn"],
    }
    with pytest.raises(ClientError, match="already existing") as error:
        client.create_model(**request)
    assert code(error) == "ValidationException"
    missing = {"Image": "i", "ModelDataUrl": f"s3://{BUCKET}/none.tar.gz"}
    with pytest.raises(ClientError, match="Could not find model data") as error:
        client.create_model(**{**request, "ModelName": "other", "PrimaryContainer": missing})
    assert code(error) == "ValidationException"
    for operation in (client.describe_model, client.delete_model):
        with pytest.raises(ClientError) as error:
            operation(ModelName="none")
        assert code(error) == "ValidationException"
    gone = make_model(aws)
    client.delete_model(ModelName=gone)
    assert gone not in [entry["ModelName"] for entry in client.list_models()["Models"]]


def test_jobs_are_listed_by_name_and_status_and_in_pages(aws: LocalAws, model: str) -> None:
    client = aws.client("sagemaker")
    stem = f"l-{uuid.uuid4().hex[:8]}"
    names = [start(aws, model, {"0": rows("a")}, name=f"{stem}-{number}") for number in range(3)]
    for name in names:
        wait(aws, name)
    failed = start(aws, model, {"0": rows("fail")}, name=f"{stem}-3")
    wait(aws, failed)
    listed = client.list_transform_jobs(NameContains=stem, StatusEquals="Completed")["TransformJobSummaries"]
    assert [job["TransformJobName"] for job in listed] == names[::-1]
    (job,) = client.list_transform_jobs(NameContains=stem, StatusEquals="Failed")["TransformJobSummaries"]
    assert (job["TransformJobName"], "row 0 is bad" in job["FailureReason"]) == (failed, True)
    pages = client.get_paginator("list_transform_jobs").paginate(
        NameContains=stem, SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    assert [[entry["TransformJobName"] for entry in page["TransformJobSummaries"]] for page in pages] == [
        names[:2],
        [names[2], failed],
    ]


def test_beyond_the_accounts_limit_jobs_are_rejected_until_one_ends(new_aws: Callable[..., LocalAws]) -> None:
    aws = new_aws("--transform-jobs", "2")
    model = make_model(aws)
    running = [start(aws, model, {"0": rows("sleep")}) for _ in range(2)]
    with pytest.raises(ClientError) as error:
        start(aws, model, {"0": rows("a")})
    assert code(error) == "ResourceLimitExceeded"
    aws.client("sagemaker").stop_transform_job(TransformJobName=running[0])
    wait(aws, running[0])
    assert wait(aws, start(aws, model, {"0": rows("a")}))["TransformJobStatus"] == "Completed"


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_after_a_restart_a_cut_short_job_has_failed_and_the_others_are_as_they_were(
    new_aws: Callable[..., LocalAws], by: signal.Signals
) -> None:
    aws = new_aws()
    model = make_model(aws)
    done = start(aws, model, {"0": rows("a")})
    before = wait(aws, done)
    running = start(aws, model, {"0": rows("sleep")})
    wait(aws, running, "InProgress")
    children = until(lambda: psutil.Process(aws.pid).children())
    aws.restart(by)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    job = wait(aws, running)
    assert (job["TransformJobStatus"], "restarted" in job["FailureReason"]) == ("Failed", True)
    after = wait(aws, done)
    assert {**after, "ResponseMetadata": 0} == {**before, "ResponseMetadata": 0}
    assert wait(aws, start(aws, model, {"0": rows("a")}))["TransformJobStatus"] == "Completed"


def test_a_warm_model_serves_the_next_job_too(new_aws: Callable[..., LocalAws]) -> None:
    aws = new_aws("--warm-seconds", "600")
    model = make_model(aws)
    wait(aws, start(aws, model, {"0": rows("a")}))
    warm = psutil.Process(aws.pid).children()
    assert warm
    assert wait(aws, start(aws, model, {"0": rows("a", "b")}))["TransformJobStatus"] == "Completed"
    assert psutil.Process(aws.pid).children() == warm


def test_idle_servers_end(new_aws: Callable[..., LocalAws]) -> None:
    aws = new_aws("--warm-seconds", "0.5")
    wait(aws, start(aws, make_model(aws), {"0": rows("a")}))
    _, alive = psutil.wait_procs(psutil.Process(aws.pid).children(), timeout=60)
    assert not alive


def test_the_providers_operator_runs_a_job(
    aws: LocalAws, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__CORE__UNIT_TEST_MODE", "True")
    for name, value in {
        "AWS_ENDPOINT_URL": aws.endpoint,
        **AWS_ENVIRONMENT,
    }.items():
        monkeypatch.setenv(name, value)
    from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTransformOperator
    from airflow.sdk.exceptions import AirflowException

    name = f"p-{uuid.uuid4().hex[:20]}"
    aws.client("s3").put_object(Bucket=BUCKET, Key=f"{name}/in/0", Body=rows("abc"))
    config = {
        "TransformJobName": name,
        "ModelName": model,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/in/"}},
            "ContentType": "application/jsonlines",
            "SplitType": "Line",
        },
        "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/{name}/out", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.c6i.xlarge", "InstanceCount": 1},
    }
    transform = SageMakerTransformOperator(
        task_id="transform",
        config=config,
        aws_conn_id=None,
        check_interval=1,
        max_ingestion_time=60,
        action_if_job_exists="fail",
    )
    answer = transform.execute({})
    assert answer["Transform"]["TransformJobStatus"] == "Completed"
    assert output(aws, name, "0")[0]["n"] == 3
    with pytest.raises(AirflowException, match="already exists"):
        transform.execute({})

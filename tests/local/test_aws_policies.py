"""What the pipeline's parts may do at the local AWS: what the policies of ``infra/lake.yaml`` allow them."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from botocore.exceptions import ClientError

from include.settings import Settings
from local.aws.bootstrap import bootstrap
from local.aws.context import ACCOUNT, PIPELINE, STREAMER, TRAINING
from tests.credentials import CREDENTIALS
from tests.local.support_aws import LocalAws

BUCKET = "allowed-to-some"
SETTINGS = Settings(bucket=BUCKET)
LABELED = "labeled/topic=t/dt=2026-11-20/tweets-05.parquet"

type Client = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    found = LocalAws(tmp_path_factory.mktemp("aws")).start()
    bootstrap(found.endpoint, SETTINGS, CREDENTIALS)
    own = found.client("s3")
    for key in (LABELED, "raw/a", "delta/tweets/a", "delta/tweets/b", "posts/month=2026-11/a.json"):
        own.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    yield found
    found.stop()


@pytest.fixture
def client(account: LocalAws) -> Client:
    """A client of a service with a user's key."""

    def of(user: str, service: str) -> Any:
        key, make = CREDENTIALS.of_user(user), boto3.client
        return make(  # pyrefly: ignore[no-matching-overload]
            service,
            endpoint_url=account.endpoint,
            region_name="us-east-1",
            aws_access_key_id=key.access_key_id,
            aws_secret_access_key=key.secret_access_key,
            config=Config(retries={"max_attempts": 0}),
        )

    return of


def denied(call: Callable[[], object]) -> tuple[int, str, str]:
    """Status, code and message of a request that is denied."""
    with pytest.raises(ClientError) as error:
        call()
    response = error.value.response
    told = response["Error"]
    return response["ResponseMetadata"]["HTTPStatusCode"], told["Code"], told.get("Message", "")


def test_training_reads_labels_and_writes_its_own_prefixes_alone(client: Client) -> None:
    s3 = client(TRAINING, "s3")
    assert s3.get_object(Bucket=BUCKET, Key=LABELED)["Body"].read() == b"x"
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="raw/")["KeyCount"] == 1
    s3.put_object(Bucket=BUCKET, Key="predictions/a", Body=b"x")
    status, code, message = denied(lambda: s3.get_object(Bucket=BUCKET, Key="raw/a"))
    assert (status, code) == (403, "AccessDenied")
    assert message == (
        f"User: arn:aws:iam::{ACCOUNT}:user/{TRAINING} is not authorized to perform: s3:GetObject"
        f' on resource: "arn:aws:s3:::{BUCKET}/raw/a"'
        " because no identity-based policy allows the s3:GetObject action"
    )
    assert denied(lambda: s3.put_object(Bucket=BUCKET, Key=LABELED, Body=b"y"))[:2] == (403, "AccessDenied")
    assert denied(lambda: s3.delete_object(Bucket=BUCKET, Key=LABELED))[:2] == (403, "AccessDenied")


def test_a_copy_needs_permission_to_read_its_source(client: Client) -> None:
    s3 = client(TRAINING, "s3")
    s3.copy_object(Bucket=BUCKET, Key="delta/copy", CopySource={"Bucket": BUCKET, "Key": LABELED})
    source = {"Bucket": BUCKET, "Key": "raw/a"}
    assert denied(lambda: s3.copy_object(Bucket=BUCKET, Key="delta/copy", CopySource=source))[0] == 403


def test_one_forbidden_key_denies_a_whole_deletion_so_that_nobody_overlooks_it(
    client: Client, account: LocalAws
) -> None:
    s3 = client(TRAINING, "s3")

    def delete(*keys: str) -> object:
        return s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys]})

    assert denied(lambda: delete("delta/tweets/a", LABELED))[:2] == (403, "AccessDenied")
    left = account.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="delta/tweets/")["KeyCount"]
    assert left == 2
    delete("delta/tweets/a", "delta/tweets/b")
    assert account.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="delta/tweets/")["KeyCount"] == 0


def test_uploads_in_parts_need_the_permission_to_write(client: Client) -> None:
    s3 = client(TRAINING, "s3")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="delta/parts")["UploadId"]
    about = {"Bucket": BUCKET, "Key": "delta/parts", "UploadId": upload}
    part = s3.upload_part(**about, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    s3.complete_multipart_upload(**about, MultipartUpload=parts)
    assert denied(lambda: s3.create_multipart_upload(Bucket=BUCKET, Key=LABELED))[0] == 403


def test_a_listing_is_bound_to_its_prefix(client: Client) -> None:
    s3 = client(STREAMER, "s3")
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="posts/month=2026-11/")["KeyCount"] == 1
    assert denied(lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="raw/"))[:2] == (403, "AccessDenied")
    assert denied(lambda: s3.list_objects_v2(Bucket=BUCKET))[:2] == (403, "AccessDenied")


def test_whoever_may_not_list_is_not_told_what_does_not_exist(client: Client, account: LocalAws) -> None:
    """As S3 does: 404 only for those who may list a prefix that is the key."""
    streamer, training = client(STREAMER, "s3"), client(TRAINING, "s3")
    assert denied(lambda: streamer.get_object(Bucket=BUCKET, Key="posts/none"))[:2] == (404, "NoSuchKey")
    assert denied(lambda: training.head_object(Bucket=BUCKET, Key="delta/none"))[0] == 404
    iam = account.client("iam")
    given = iam.get_user_policy(UserName=STREAMER, PolicyName="StreamerPolicy")["PolicyDocument"]
    unlisted = [each for each in given["Statement"] if each["Sid"] != "ListLedger"]
    _put_policy(iam, {**given, "Statement": unlisted})
    try:
        assert denied(lambda: streamer.get_object(Bucket=BUCKET, Key="posts/none"))[:2] == (
            403,
            "AccessDenied",
        )
    finally:
        _put_policy(iam, given)


def _put_policy(iam: Any, document: dict[str, Any]) -> None:
    iam.put_user_policy(UserName=STREAMER, PolicyName="StreamerPolicy", PolicyDocument=json.dumps(document))


def test_the_streamer_delivers_to_its_stream_and_reads_one_secret(client: Client) -> None:
    firehose, vault = client(STREAMER, "firehose"), client(STREAMER, "secretsmanager")
    records = [{"Data": b"{}\n"}]
    stream = SETTINGS.delivery_stream
    answer = firehose.put_record_batch(DeliveryStreamName=stream, Records=records)
    assert answer["FailedPutCount"] == 0
    assert denied(lambda: firehose.put_record_batch(DeliveryStreamName="other", Records=records))[:2] == (
        400,
        "AccessDeniedException",
    )
    assert denied(lambda: firehose.delete_delivery_stream(DeliveryStreamName=stream))[0] == 400
    token = vault.get_secret_value(SecretId=SETTINGS.x_token_secret)["SecretString"]
    assert token == CREDENTIALS.x_bearer_token
    assert denied(lambda: vault.get_secret_value(SecretId=SETTINGS.pseudonym_secret))[:2] == (
        400,
        "AccessDeniedException",
    )


def test_the_pipeline_reaches_the_names_of_this_project_alone(client: Client) -> None:
    vault = client(PIPELINE, "secretsmanager")
    assert vault.get_secret_value(SecretId="airflow/connections/aws_default")
    sagemaker, glue = client(PIPELINE, "sagemaker"), client(PIPELINE, "glue")
    glue.create_database(DatabaseInput={"Name": SETTINGS.database})
    assert glue.get_database(Name=SETTINGS.database)
    sagemaker.list_transform_jobs()
    quicksight = client(PIPELINE, "quicksight")
    for call in (
        lambda: vault.get_secret_value(SecretId="elsewhere"),
        lambda: sagemaker.describe_model(ModelName="elsewhere"),
        lambda: sagemaker.delete_model(ModelName="x-opinion-sentiment"),
        lambda: glue.get_database(Name="elsewhere"),
        lambda: glue.get_tables(DatabaseName="elsewhere"),
        lambda: client(PIPELINE, "sns").publish(TopicArn="arn:aws:sns:us-east-1:1:elsewhere", Message="m"),
        lambda: client(PIPELINE, "iam").list_users(),
        lambda: quicksight.describe_dashboard(AwsAccountId=ACCOUNT, DashboardId="elsewhere"),
        lambda: quicksight.delete_data_set(AwsAccountId=ACCOUNT, DataSetId=f"{SETTINGS.database}-opinion"),
    ):
        assert denied(call)[1] in ("AccessDenied", "AccessDeniedException")
    own = f"{SETTINGS.database}-opinion"
    with pytest.raises(quicksight.exceptions.ResourceNotFoundException):
        quicksight.describe_dashboard(AwsAccountId=ACCOUNT, DashboardId=own)
    assert client(PIPELINE, "sts").get_caller_identity()["Account"] == ACCOUNT


def sent(
    account: LocalAws,
    service: str,
    method: str,
    path: str,
    body: bytes = b"",
    user: str = STREAMER,
    **headers: str,
) -> requests.Response:
    """The answer to a request that no client would send, signed for a service with a user's key."""
    key = CREDENTIALS.of_user(user)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method, account.endpoint + path, headers=given, data=body)
    request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(BotoCredentials(key.access_key_id, key.secret_access_key), service, "us-east-1").add_auth(request)
    return requests.request(
        method, account.endpoint + path, headers=dict(request.headers), data=body, timeout=10
    )


TARGET = "secretsmanager.GetSecretValue"
OWN_SECRET = b'{"SecretId": "%s"}' % SETTINGS.x_token_secret.encode()


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "headers"),
    [
        ("sts", "POST", "/moto-api/reset?Action=GetCallerIdentity", b"", {}),
        ("sts", "GET", f"/{BUCKET}/raw/a?Action=GetCallerIdentity", b"", {}),
        ("s3", "GET", f"/{BUCKET}/raw/a", OWN_SECRET, {"X_Amz_Target": TARGET}),
        ("sts", "POST", "/?Action=GetCallerIdentity", b"Action=AssumeRole&RoleArn=a&RoleSessionName=b", {}),
        ("sns", "POST", "/?Action=Publish&TopicArn=arn:aws:sns:us-east-1:1:elsewhere&Message=m", b"", {}),
        ("s3", "PUT", f"//{BUCKET}/posts/a", b"x", {}),
    ],
    ids=["moto", "elsewhere", "target", "two actions", "query", "slashes"],
)
def test_a_request_is_answered_as_what_it_was_checked_for(
    account: LocalAws, service: str, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    answer = sent(account, service, method, path, body, **headers)
    assert answer.status_code >= 400
    assert account.client("s3").get_object(Bucket=BUCKET, Key="raw/a")["Body"].read() == b"x"


@pytest.mark.parametrize("query", ["SecretId=x-opinion%2Fpseudonym-key", "Action=PutSecretValue"])
def test_a_query_does_not_change_what_a_json_request_asks(account: LocalAws, query: str) -> None:
    json_media = {"X_Amz_Target": TARGET, "Content_Type": "application/x-amz-json-1.1"}
    answer = sent(account, "secretsmanager", "POST", f"/?{query}", OWN_SECRET, **json_media)
    assert answer.json()["SecretString"] == CREDENTIALS.x_bearer_token


@pytest.mark.parametrize("parameter", ["encryption", "ownershipControls", "object-lock", "policy", "acl"])
def test_a_prefix_does_not_permit_other_questions_about_the_bucket(account: LocalAws, parameter: str) -> None:
    assert sent(account, "s3", "GET", f"/{BUCKET}?{parameter}&prefix=posts%2F").status_code == 403


def test_a_user_whom_the_bootstrap_has_not_made_is_unknown(new_aws: Callable[..., LocalAws]) -> None:
    empty, key = new_aws(), CREDENTIALS.of_user(PIPELINE)
    s3 = boto3.client(
        "s3",
        endpoint_url=empty.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
    )
    assert denied(s3.list_buckets)[:2] == (403, "InvalidAccessKeyId")


def test_the_users_keys_differ_and_survive_a_restart(account: LocalAws, client: Client) -> None:
    keys = {CREDENTIALS.of_user(user).access_key_id for user in (PIPELINE, STREAMER, TRAINING)}
    assert len(keys | {CREDENTIALS.access_key_id}) == 4
    assert all(len(key) == len(CREDENTIALS.access_key_id) for key in keys)
    account.restart(signal.SIGKILL)
    assert client(TRAINING, "s3").head_object(Bucket=BUCKET, Key=LABELED)
    assert denied(lambda: client(TRAINING, "s3").head_object(Bucket=BUCKET, Key="raw/a"))[0] == 403

"""Signatures of AWS' own clients hold at the local AWS; nobody else's do."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as Keys
from botocore.exceptions import ClientError
from hypothesis import example, given
from hypothesis import strategies as st

from local.aws.signatures import Secret, SignatureError, Signed, verify
from tests.credentials import CREDENTIALS
from tests.local.support_aws import LocalAws

KEY, SECRET = CREDENTIALS.access_key_id, CREDENTIALS.secret_access_key


def secret_of(access_key_id: str) -> Secret | None:
    return Secret(SECRET) if access_key_id == KEY else None


def signed(
    url: str = "http://127.0.0.1:8082/?b=2&a=1", body: bytes = b"{}", **headers: str
) -> tuple[AWSRequest, Signed]:
    request = AWSRequest("POST", url, headers={"Host": urlsplit(url).netloc, **headers}, data=body)
    SigV4Auth(Keys(KEY, SECRET), "glue", "us-east-1").add_auth(request)
    return request, _as_received(request, body)


def _as_received(request: AWSRequest, body: bytes) -> Signed:
    parts = urlsplit(str(request.url))
    received = {name.lower(): str(value) for name, value in request.headers.items()}
    return Signed("POST", parts.path or "/", parts.query, received, body)


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='#?"'), max_size=20)


@example(path="", query={"X-Amz-Signature": "signed-too"}, body=b"")
@given(path=TEXT, query=st.dictionaries(TEXT.filter(bool), TEXT, max_size=4), body=st.binary(max_size=50))
def test_what_botocore_signs_holds(path: str, query: dict[str, str], body: bytes) -> None:
    prepared = requests.Request("POST", f"http://127.0.0.1:8082/{path}", params=query).prepare()
    assert prepared.url
    assert verify(signed(prepared.url, body)[1], secret_of) == KEY


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"method": "PUT"}, "mismatch"),
        ({"raw_path": "/other"}, "mismatch"),
        ({"query": "a=1&b=3"}, "mismatch"),
        ({"body": b"[]"}, "mismatch"),
    ],
)
def test_a_signature_is_good_for_one_request_alone(change: dict[str, Any], reason: str) -> None:
    _, request = signed()
    changed = Signed(**{**vars(request), **change})
    with pytest.raises(SignatureError) as error:
        verify(changed, secret_of)
    assert error.value.reason == reason


def test_a_digest_of_the_payload_that_is_signed_must_be_true() -> None:
    _, request = signed("http://127.0.0.1:8082/", b"{}", **{"x-amz-content-sha256": "0" * 64})
    with pytest.raises(SignatureError, match="does not match what was computed"):
        verify(request, secret_of)


def test_an_old_signature_and_one_of_the_future_are_rejected() -> None:
    _, request = signed()
    for hours in (-1, 1):
        now = time.time() + hours * 3600
        with pytest.raises(SignatureError) as error:
            verify(request, secret_of, partial(float, now))
        assert error.value.reason == "skewed"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"authorization": "Bearer x"}, "unsupported"),
        ({"authorization": "AWS key:signature"}, "unsupported"),
        ({"authorization": "AWS4-HMAC-SHA256"}, "malformed"),
        ({"authorization": "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c"}, "malformed"),
        ({"authorization": "AWS4-HMAC-SHA256 ,,,=,", "x-amz-date": "x"}, "malformed"),
    ],
)
def test_what_is_no_signature_is_rejected(headers: dict[str, str], reason: str) -> None:
    with pytest.raises(SignatureError) as error:
        verify(Signed("GET", "/", "", {"host": "127.0.0.1", **headers}, b""), secret_of)
    assert error.value.reason == reason


def test_a_presigned_address_is_good_for_its_time() -> None:
    request = AWSRequest("POST", "http://127.0.0.1:8082/a", headers={"Host": "127.0.0.1:8082"})
    SigV4QueryAuth(Keys(KEY, SECRET), "glue", "us-east-1", expires=60).add_auth(request)
    assert verify(_as_received(request, b""), secret_of) == KEY
    with pytest.raises(SignatureError) as error:
        verify(_as_received(request, b""), secret_of, lambda: time.time() + 61)
    assert error.value.reason == "expired"


CALLS = [
    ("s3", "list_buckets", {}, "InvalidAccessKeyId", "SignatureDoesNotMatch"),
    ("firehose", "list_delivery_streams", {}, "UnrecognizedClientException", "InvalidSignatureException"),
    ("glue", "get_databases", {}, "UnrecognizedClientException", "InvalidSignatureException"),
    ("sagemaker", "list_models", {}, "UnrecognizedClientException", "InvalidSignatureException"),
    ("secretsmanager", "list_secrets", {}, "UnrecognizedClientException", "InvalidSignatureException"),
    ("sts", "get_caller_identity", {}, "InvalidClientTokenId", "SignatureDoesNotMatch"),
    ("iam", "list_roles", {}, "InvalidClientTokenId", "SignatureDoesNotMatch"),
    (
        *("quicksight", "list_dashboards", {"AwsAccountId": "123456789012"}),
        *("UnrecognizedClientException", "InvalidSignatureException"),
    ),
]


@pytest.mark.parametrize(("service", "operation", "arguments", "unknown", "wrong"), CALLS)
def test_an_unknown_key_and_a_wrong_secret_are_rejected_with_the_services_codes(
    aws: LocalAws, service: str, operation: str, arguments: dict[str, str], unknown: str, wrong: str
) -> None:
    def code(key: str, secret: str) -> str:
        client: Any = boto3.client(  # pyrefly: ignore[no-matching-overload]
            service,
            endpoint_url=aws.endpoint,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(retries={"max_attempts": 0}),
        )
        try:
            getattr(client, operation)(**arguments)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "answered"

    assert code("AKIAIOSFODNN7EXAMPLE", SECRET) == unknown
    assert code(KEY, "wrong") == wrong
    assert code(KEY, SECRET) == "answered"


def test_nobody_is_served_anonymously(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    bucket = f"b-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket, ACL="public-read-write")
    s3.put_object(Bucket=bucket, Key="a", Body=b"1", ACL="public-read-write")
    for method in ("GET", "PUT", "DELETE"):
        answer = requests.request(method, f"{aws.endpoint}/{bucket}/a", data=b"2", timeout=5)
        assert (answer.status_code, "<Code>AccessDenied</Code>" in answer.text) == (403, True)
    form: Any = {"key": (None, "a"), "file": ("a", b"2")}
    assert requests.post(f"{aws.endpoint}/{bucket}", files=form, timeout=5).status_code == 501
    answer = requests.post(
        aws.endpoint, headers={"X-Amz-Target": "AWSGlue.GetDatabases"}, data="{}", timeout=5
    )
    assert (answer.status_code, answer.json()["__type"]) == (400, "MissingAuthenticationTokenException")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"


def test_a_presigned_address_of_s3_works_without_a_header(aws: LocalAws) -> None:
    s3 = aws.client("s3", signature_version="s3v4")
    bucket = f"b-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    where = {"Bucket": bucket, "Key": "models/a b+ü.tar.gz"}
    put = s3.generate_presigned_url("put_object", Params=where, ExpiresIn=60)
    assert requests.put(put, data=b"whole", timeout=5).status_code == 200
    get = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    assert requests.get(get, timeout=5).content == b"whole"
    tampered = requests.get(get.replace("tar.gz", "tar.xz"), timeout=5)
    assert (tampered.status_code, "SignatureDoesNotMatch" in tampered.text) == (403, True)


def test_a_role_that_is_assumed_has_credentials_of_its_own(aws: LocalAws) -> None:
    given_out = aws.client("sts").assume_role(
        RoleArn="arn:aws:iam::123456789012:role/reader", RoleSessionName="session"
    )["Credentials"]

    def client(token: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=aws.endpoint,
            region_name="us-east-1",
            aws_access_key_id=given_out["AccessKeyId"],
            aws_secret_access_key=given_out["SecretAccessKey"],
            aws_session_token=token,
        )

    assert client(given_out["SessionToken"]).list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        client("another").list_buckets()

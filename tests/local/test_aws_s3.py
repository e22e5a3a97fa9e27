"""S3 as the pipeline uses it, conditional writes included."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import signal
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from local.aws import objects
from tests.local.support_aws import LocalAws


@pytest.fixture
def bucket(aws: LocalAws) -> str:
    name = f"b-{uuid.uuid4().hex}"
    aws.client("s3").create_bucket(Bucket=name)
    return name


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_an_object_comes_back_as_it_was_put(aws: LocalAws, bucket: str) -> None:
    s3 = aws.client("s3")
    body = os.urandom(5000)
    before = datetime.now(UTC).replace(microsecond=0)
    put = s3.put_object(
        Bucket=bucket,
        Key="a/b ü+%2F.bin",
        Body=body,
        ContentType="text/x",
        Metadata={"manifest": "abc", "listed-at": "2026-11-20T05:00:00Z"},
    )
    found = s3.get_object(Bucket=bucket, Key="a/b ü+%2F.bin")
    assert found["Body"].read() == body
    assert put["ETag"] == found["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert found["ContentType"] == "text/x"
    assert found["Metadata"] == {"manifest": "abc", "listed-at": "2026-11-20T05:00:00Z"}
    assert before <= found["LastModified"] <= datetime.now(UTC)
    assert s3.head_object(Bucket=bucket, Key="a/b ü+%2F.bin")["ContentLength"] == 5000


def test_the_date_of_an_answer_is_now(aws: LocalAws, bucket: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    answer = aws.client("s3").list_objects_v2(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
    assert before <= parsedate_to_datetime(answer["date"]) <= datetime.now(UTC)


def test_an_object_is_created_only_where_there_is_none(aws: LocalAws, bucket: str) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert code(error) == ("PreconditionFailed", 412)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


def test_an_object_is_replaced_only_where_its_etag_still_holds(aws: LocalAws, bucket: str) -> None:
    s3 = aws.client("s3")
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=first)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=first)
    assert code(error) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="none", Body=b"3", IfMatch=first)
    assert code(error) == ("NoSuchKey", 404)


def test_one_of_many_simultaneous_creations_succeeds(aws: LocalAws, bucket: str) -> None:
    s3 = aws.client("s3")

    def create(number: int) -> int:
        try:
            s3.put_object(Bucket=bucket, Key="k", Body=str(number).encode(), IfNoneMatch="*")
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return 200

    with ThreadPoolExecutor(16) as pool:
        statuses = sorted(pool.map(create, range(32)))
    assert statuses == [200] + [412] * 31


def test_compare_and_swap_loses_no_increment(aws: LocalAws, bucket: str) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="n", Body=b"0")

    def increment(_: int) -> None:
        while True:
            found = s3.get_object(Bucket=bucket, Key="n")
            value = int(found["Body"].read()) + 1
            try:
                s3.put_object(Bucket=bucket, Key="n", Body=str(value).encode(), IfMatch=found["ETag"])
            except ClientError as error:
                if error.response["Error"]["Code"] != "PreconditionFailed":
                    raise
            else:
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, range(40)))
    assert s3.get_object(Bucket=bucket, Key="n")["Body"].read() == b"40"


def upload(s3: Any, bucket: str, parts: list[bytes], **condition: str) -> dict[str, Any]:
    made = s3.create_multipart_upload(Bucket=bucket, Key="big", Metadata={"m": "v"})
    named = {"Bucket": bucket, "Key": "big", "UploadId": made["UploadId"]}
    etags = [
        {"PartNumber": number, "ETag": s3.upload_part(**named, PartNumber=number, Body=part)["ETag"]}
        for number, part in enumerate(parts, 1)
    ]
    result: dict[str, Any] = s3.complete_multipart_upload(
        **named, MultipartUpload={"Parts": etags}, **condition
    )
    return result


def test_an_upload_in_parts_is_one_object_and_keeps_its_conditions(aws: LocalAws, bucket: str) -> None:
    s3 = aws.client("s3")
    parts = [os.urandom(5 << 20), os.urandom(1000)]
    made = upload(s3, bucket, parts, IfNoneMatch="*")
    found = s3.get_object(Bucket=bucket, Key="big")
    assert found["Body"].read() == b"".join(parts)
    assert found["Metadata"] == {"m": "v"}
    assert made["ETag"].endswith('-2"')
    with pytest.raises(ClientError) as error:
        upload(s3, bucket, parts, IfNoneMatch="*")
    assert code(error) == ("PreconditionFailed", 412)
    upload(s3, bucket, parts, IfMatch=made["ETag"])
    with pytest.raises(ClientError) as error:
        upload(s3, bucket, parts, IfMatch='"other"')
    assert code(error) == ("PreconditionFailed", 412)


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_range_is_read_alone(aws: LocalAws, bucket: str, size: int) -> None:
    s3 = aws.client("s3")
    body = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    found = s3.get_object(Bucket=bucket, Key="k", Range="bytes=2-5")
    assert (found["Body"].read(), found["ContentRange"]) == (body[2:6], f"bytes 2-5/{size}")
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=-3")["Body"].read() == body[-3:]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={size}-")
    assert code(error) == ("InvalidRange", 416)


def test_a_copy_is_an_object_of_its_own(aws: LocalAws, bucket: str) -> None:
    s3 = aws.client("s3")
    body = os.urandom(2 << 20)
    s3.put_object(Bucket=bucket, Key="from", Body=body, Metadata={"a": "b"})
    s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "from"})
    s3.delete_object(Bucket=bucket, Key="from")
    found = s3.get_object(Bucket=bucket, Key="to")
    assert (found["Body"].read(), found["Metadata"]) == (body, {"a": "b"})


def test_many_objects_are_deleted_in_one_call(aws: LocalAws, bucket: str) -> None:
    s3 = aws.client("s3")
    for name in "abc":
        s3.put_object(Bucket=bucket, Key=name, Body=b"")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]})
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["c"]


def test_what_is_missing_is_rejected(aws: LocalAws, bucket: str) -> None:
    s3 = aws.client("s3")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="none")
    assert code(error) == ("NoSuchKey", 404)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=f"none-{bucket}", Key="k", Body=b"")
    assert code(error) == ("NoSuchBucket", 404)
    with pytest.raises(ClientError) as error:
        s3.list_objects_v2(Bucket=bucket, ContinuationToken="%%%")
    assert code(error)[1] == 400


KEYS = st.lists(st.text("ab/é ", min_size=1, max_size=6), min_size=1, max_size=15, unique=True)


@settings(max_examples=15)
@given(
    keys=KEYS, prefix=st.text("ab/", max_size=2), delimiter=st.sampled_from(["", "/"]), size=st.integers(1, 5)
)
def test_pages_of_a_listing_are_the_objects_and_folders_in_order(
    aws: LocalAws, keys: list[str], prefix: str, delimiter: str, size: int
) -> None:
    s3 = aws.client("s3")
    bucket = f"b-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    keys = [key for key in keys if not key.startswith("/")]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    expected = set()
    for key in (key for key in keys if key.startswith(prefix)):
        head, divided, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        expected.add(prefix + head + delimiter if divided else key)
    for operation in ("list_objects_v2", "list_objects"):
        found = []
        pages = s3.get_paginator(operation).paginate(
            Bucket=bucket, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
        )
        for page in pages:
            items = [item["Key"] for item in page.get("Contents", [])]
            items += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
            assert len(items) <= size
            found += sorted(items)
        assert found == sorted(expected)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_objects_survive_the_end_of_the_server(new_aws: Callable[..., LocalAws], by: signal.Signals) -> None:
    aws = new_aws()
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="lake")
    big = os.urandom(6 << 20)
    for number in range(20):
        s3.put_object(
            Bucket="lake", Key=f"k/{number:02}", Body=str(number).encode(), Metadata={"n": str(number)}
        )
    s3.put_object(Bucket="lake", Key="k/03", Body=b"new", Metadata={"n": "new"})
    s3.delete_object(Bucket="lake", Key="k/04")
    s3.upload_fileobj(io.BytesIO(big), "lake", "big")
    part = s3.create_multipart_upload(Bucket="lake", Key="parts")
    named = {"Bucket": "lake", "Key": "parts", "UploadId": part["UploadId"]}
    etag = s3.upload_part(**named, PartNumber=1, Body=b"part")["ETag"]
    before = s3.list_objects_v2(Bucket="lake")
    aws.restart(by)
    after = s3.list_objects_v2(Bucket="lake")
    assert after["Contents"] == before["Contents"]
    assert s3.get_object(Bucket="lake", Key="k/03")["Body"].read() == b"new"
    assert s3.head_object(Bucket="lake", Key="k/03")["Metadata"] == {"n": "new"}
    assert s3.get_object(Bucket="lake", Key="big")["Body"].read() == big
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    assert s3.get_object(Bucket="lake", Key="parts")["Body"].read() == b"part"


def test_everything_acknowledged_before_a_kill_is_there(new_aws: Callable[..., LocalAws]) -> None:
    aws = new_aws()
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="lake")
    acknowledged: list[int] = []

    def put(number: int) -> None:
        try:
            s3.put_object(Bucket="lake", Key=f"{number}", Body=str(number).encode())
        except Exception:
            return
        acknowledged.append(number)

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(put, number) for number in range(2000)]
        while len(acknowledged) < 40:
            time.sleep(0.01)
        aws.stop(signal.SIGKILL)
        for item in work:
            item.cancel()
    aws.start()
    for number in acknowledged:
        assert s3.get_object(Bucket="lake", Key=f"{number}")["Body"].read() == str(number).encode()


def test_replaced_values_leave_no_files_behind(new_aws: Callable[..., LocalAws]) -> None:
    aws = new_aws()
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="lake")
    for number in range(10):
        s3.put_object(Bucket="lake", Key="k", Body=str(number).encode())
    aws.restart(signal.SIGKILL)
    assert s3.get_object(Bucket="lake", Key="k")["Body"].read() == b"9"
    assert len(list((aws.state / "s3" / "values").iterdir())) == 1


def test_what_is_not_offered_is_rejected_in_the_services_own_words(aws: LocalAws) -> None:
    rejected = [
        ("quicksight", "list_analyses", {"AwsAccountId": "123456789012"}, "UnknownOperationException"),
        ("athena", "list_work_groups", {}, "UnknownOperationException"),
        ("glue", "start_crawler", {"Name": "x"}, "UnknownOperationException"),
        ("sagemaker", "list_training_jobs", {}, "UnknownOperationException"),
        ("lambda", "list_functions", {}, "UnknownOperationException"),
        ("ec2", "describe_instances", {}, "InvalidAction"),
        ("iam", "list_groups", {}, "InvalidAction"),
    ]
    for service, operation, arguments, expected in rejected:
        with pytest.raises(ClientError) as error:
            getattr(aws.client(service), operation)(**arguments)
        assert code(error)[0] == expected, service
        assert code(error)[1] == 400, service


def test_health_says_nothing_but_that_it_is_well(aws: LocalAws) -> None:
    answer = requests.get(f"{aws.endpoint}/_local/health", timeout=5)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok"}


def test_a_checksum_that_does_not_belong_to_the_content_is_rejected(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="checksums")
    put = partial(s3.put_object, Bucket="checksums", Key="a", Body=b"content", ChecksumAlgorithm="SHA256")
    true = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    assert put()["ChecksumSHA256"] == true
    assert s3.head_object(Bucket="checksums", Key="a", ChecksumMode="ENABLED")["ChecksumSHA256"] == true
    with pytest.raises(ClientError, match="BadDigest"):
        put(ChecksumSHA256=base64.b64encode(hashlib.sha256(b"other").digest()).decode())
    put(ChecksumSHA256=true)


def test_what_was_replaced_is_gone_soon_also_while_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion must reach the disk: what nobody can read any more would else stay until the next change."""
    monkeypatch.setattr(objects, "_TRASH_SECONDS", 0.2)
    store = objects.ObjectStore(tmp_path)
    replaced = store.write(b"a tweet")
    store.discard(replaced)
    deadline = time.monotonic() + 30
    while replaced.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    store.close()

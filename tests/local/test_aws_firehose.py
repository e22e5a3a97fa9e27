"""Firehose: limits, buffering, partitions by JQ, the error prefix, and what survives."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import resource
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import example, given
from hypothesis import strategies as st

from include.coverage import redelivery
from include.settings import Settings
from local.aws import firehose
from local.aws.bootstrap import TEMPLATE, Template, TemplateError, bootstrap
from local.aws.firehose_faults import FAULTS
from tests.credentials import CREDENTIALS
from tests.local.support_aws import LocalAws
from tests.unit.support_hour import TOPICS, tweet, tweet_id

SETTINGS = Settings()


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    values = {"Bucket": SETTINGS.bucket, "BufferingSeconds": 1, "EncryptionKeyArn": "arn:aws:kms:::key/local"}
    attributes = {"Role.Arn": "arn:aws:iam::123456789012:role/x", "LogGroup": "g", "LogStream": "s"}
    properties = Template.load(TEMPLATE).resolve("DeliveryStream", values, attributes)
    destination: dict[str, Any] = properties["ExtendedS3DestinationConfiguration"]
    return destination


@pytest.fixture
def stream(aws: LocalAws, template: dict[str, Any]) -> Callable[..., tuple[str, str]]:
    """Creates a stream like the template's with changes; gives its name and its bucket's."""

    def create(**changes: Any) -> tuple[str, str]:
        name = f"s-{uuid.uuid4().hex}"
        aws.client("s3").create_bucket(Bucket=name)
        configuration = {**template, "BucketARN": f"arn:aws:s3:::{name}", **changes}
        configuration = {key: value for key, value in configuration.items() if value is not None}
        aws.client("firehose").create_delivery_stream(
            DeliveryStreamName=name,
            DeliveryStreamType="DirectPut",
            ExtendedS3DestinationConfiguration=configuration,
        )
        return name, name

    return create


def line(number: int, topic: str | None = "ukraine", hour: str = "2026-11-22T05") -> bytes:
    rules = [] if topic is None else [{"tag": topic}]
    record = {"data": {"id": str(number), "created_at": f"{hour}:00:00.000Z"}, "matching_rules": rules}
    return json.dumps(record).encode() + b"\n"


def put(aws: LocalAws, name: str, *records: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = aws.client("firehose").put_record_batch(
        DeliveryStreamName=name, Records=[{"Data": record} for record in records]
    )
    return answer


def delivered(aws: LocalAws, bucket: str, objects: int, seconds: float = 60) -> dict[str, bytes]:
    """Waits for so many objects; gives their contents."""
    s3 = aws.client("s3")
    end = time.monotonic() + seconds
    while True:
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
        if len(keys) >= objects or time.monotonic() > end:
            break
        time.sleep(0.05)
    assert len(keys) == objects, keys
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def by_folder(contents: dict[str, bytes]) -> dict[str, list[bytes]]:
    return {
        key.rpartition("/")[0]: gzip.decompress(data).splitlines(keepends=True)
        for key, data in contents.items()
    }


def test_every_record_lies_where_its_content_says(
    aws: LocalAws, stream: Callable[..., tuple[str, str]]
) -> None:
    name, bucket = stream()
    heartbeat = b'{"kind":"heartbeat","at":"2026-11-22T05:59:59.000Z"}\n'
    session = b'{"kind":"session","at":"2026-11-22T05:00:01.000Z","event":"start"}\n'
    rejected = b'{"kind":"quarantine","at":"2026-11-22T06:00:00.000Z","topic":null,"line":"x"}\n'
    named = b'{"kind":"quarantine","at":"2026-11-22T06:00:00.000Z","topic":"russia","line":"x"}\n'
    first, second, later = line(1), line(2), line(3, "russia", "2026-11-22T06")
    answer = put(aws, name, first, heartbeat, second, rejected, later, session, named)
    assert answer["FailedPutCount"] == 0
    assert len({entry["RecordId"] for entry in answer["RequestResponses"]}) == 7
    assert by_folder(delivered(aws, bucket, 5)) == {
        "raw/topic=ukraine/dt=2026-11-22/hour=05": [first, second],
        "raw/topic=russia/dt=2026-11-22/hour=06": [later],
        "heartbeats/topic=_all/dt=2026-11-22/hour=05": [heartbeat, session],
        "quarantine/topic=_none/dt=2026-11-22/hour=06": [rejected],
        "quarantine/topic=russia/dt=2026-11-22/hour=06": [named],
    }


def test_a_record_without_a_key_goes_to_the_error_prefix_in_firehoses_envelope(
    aws: LocalAws, stream: Callable[..., tuple[str, str]]
) -> None:
    name, bucket = stream()
    before = time.time() * 1000
    put(aws, name, b"not json\n", line(1, None), b'{"a":1}{"a":2}\n')
    (folder, lines), *more = by_folder(delivered(aws, bucket, 1)).items()
    assert (folder, more) == ("delivery-errors/metadata-extraction-failed", [])
    errors = [json.loads(entry) for entry in lines]
    assert [base64.b64decode(error["rawData"]) for error in errors] == [
        b"not json",
        line(1, None).rstrip(),
        b'{"a":1}',
        b'{"a":2}',
    ]
    assert {error["errorCode"] for error in errors} == {"DynamicPartitioning.MetadataExtractionFailed"}
    for error in errors:
        assert (
            before - 1 <= error["arrivalTimestamp"] <= error["attemptEndingTimestamp"] <= time.time() * 1000
        )
        assert error["attemptsMade"] == 1
        assert error["errorMessage"]


def test_an_objects_name_is_stream_version_arrival_and_uuid(
    aws: LocalAws, stream: Callable[..., tuple[str, str]]
) -> None:
    name, bucket = stream()
    before = datetime.now(UTC).replace(microsecond=0)
    put(aws, name, line(1))
    (key,) = delivered(aws, bucket, 1)
    rest = key.rpartition("/")[2].removeprefix(f"{name}-1-").removesuffix(".gz")
    arrived = datetime.strptime(rest[:19], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC)
    assert before <= arrived <= datetime.now(UTC)
    uuid.UUID(rest[20:])


def test_a_partition_is_gathered_from_its_first_record(
    aws: LocalAws, stream: Callable[..., tuple[str, str]]
) -> None:
    name, bucket = stream(BufferingHints={"IntervalInSeconds": 5, "SizeInMBs": 64})
    put(aws, name, line(1))
    time.sleep(1.2)
    put(aws, name, line(2), line(3, "russia"))
    first = delivered(aws, bucket, 1)
    assert by_folder(first) == {"raw/topic=ukraine/dt=2026-11-22/hour=05": [line(1), line(2)]}
    both = delivered(aws, bucket, 2)
    assert by_folder(both)["raw/topic=russia/dt=2026-11-22/hour=05"] == [line(3, "russia")]


def test_a_full_buffer_is_delivered_before_its_time(
    aws: LocalAws, stream: Callable[..., tuple[str, str]]
) -> None:
    name, bucket = stream(
        Prefix="plain/",
        ErrorOutputPrefix=None,
        CompressionFormat="UNCOMPRESSED",
        DynamicPartitioningConfiguration=None,
        ProcessingConfiguration=None,
        BufferingHints={"IntervalInSeconds": 900, "SizeInMBs": 1},
    )
    put(aws, name, b"x" * 700_000)
    put(aws, name, b"y" * 700_000)
    ((key, content),) = delivered(aws, bucket, 1).items()
    assert key.startswith(f"plain/{datetime.now(UTC):%Y/%m/%d}/")
    assert content == b"x" * 700_000 + b"y" * 700_000


def test_a_delimiter_is_added_where_the_stream_says_so(
    aws: LocalAws, stream: Callable[..., tuple[str, str]]
) -> None:
    delimiter = {
        "Type": "AppendDelimiterToRecord",
        "Parameters": [{"ParameterName": "Delimiter", "ParameterValue": "\\n"}],
    }
    name, bucket = stream(
        Prefix="!{timestamp:yyyy}/x/",
        ErrorOutputPrefix="e/!{firehose:error-output-type}/",
        DynamicPartitioningConfiguration=None,
        ProcessingConfiguration={"Enabled": True, "Processors": [delimiter]},
        BufferingHints={"IntervalInSeconds": 1, "SizeInMBs": 1},
    )
    put(aws, name, b"a", b"b")
    assert by_folder(delivered(aws, bucket, 1)) == {f"{datetime.now(UTC):%Y}/x": [b"a\n", b"b\n"]}


def test_one_record_is_put_alone(aws: LocalAws, stream: Callable[..., tuple[str, str]]) -> None:
    name, bucket = stream()
    answer = aws.client("firehose").put_record(DeliveryStreamName=name, Record={"Data": line(1)})
    assert answer["RecordId"]
    assert by_folder(delivered(aws, bucket, 1)) == {"raw/topic=ukraine/dt=2026-11-22/hour=05": [line(1)]}


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([b"x"] * 501, "ValidationException"),
        ([b"x" * 1_024_001], "ValidationException"),
        ([b"x" * 1_000_000] * 5, "InvalidArgumentException"),
    ],
)
def test_batches_beyond_the_limits_are_rejected_whole(
    aws: LocalAws, stream: Callable[..., tuple[str, str]], records: list[bytes], expected: str
) -> None:
    name, _ = stream()
    with pytest.raises(ClientError) as error:
        put(aws, name, *records)
    assert error.value.response["Error"]["Code"] == expected


def test_an_unknown_stream_is_rejected(aws: LocalAws) -> None:
    with pytest.raises(ClientError) as error:
        put(aws, "none", b"x")
    assert error.value.response["Error"]["Code"] == "ResourceNotFoundException"


def processing(sub_record_type: str) -> dict[str, Any]:
    parameters = [{"ParameterName": "SubRecordType", "ParameterValue": sub_record_type}]
    return {
        "Enabled": True,
        "Processors": [{"Type": "RecordDeAggregation", "Parameters": parameters}],
    }


DELIMITED, DEAGGREGATED = processing("DELIMITED"), processing("JSON")


@pytest.mark.parametrize(
    "changes",
    [
        {"BufferingHints": {"IntervalInSeconds": 60, "SizeInMBs": 5}},
        {"BufferingHints": {"IntervalInSeconds": 0, "SizeInMBs": 64}},
        {"ErrorOutputPrefix": None},
        {"ErrorOutputPrefix": "errors/"},
        {"Prefix": "plain/"},
        {"Prefix": "!{partitionKeyFromQuery:other}/"},
        {"Prefix": "!{nonsense:x}/!{partitionKeyFromQuery:topic}/"},
        {"Prefix": "!{timestamp:QQQ}/!{partitionKeyFromQuery:topic}/"},
        {"ProcessingConfiguration": None},
        {"DynamicPartitioningConfiguration": None},
        {"CompressionFormat": "Snappy"},
        {"ProcessingConfiguration": DELIMITED},
        {
            "ProcessingConfiguration": DEAGGREGATED,
            "Prefix": "plain/",
            "DynamicPartitioningConfiguration": None,
        },
        {"S3BackupMode": "Enabled"},
    ],
    ids=str,
)
def test_streams_that_firehose_would_not_make_are_rejected(
    stream: Callable[..., tuple[str, str]], changes: dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as error:
        stream(**changes)
    assert error.value.response["Error"]["Code"] in ("InvalidArgumentException", "ValidationException")


def test_a_query_that_is_no_jq_is_rejected(
    stream: Callable[..., tuple[str, str]], template: dict[str, Any]
) -> None:
    processing = json.loads(json.dumps(template["ProcessingConfiguration"]))
    processing["Processors"][-1]["Parameters"][1]["ParameterValue"] = "{topic: .a | |}"
    with pytest.raises(ClientError, match="not JQ"):
        stream(ProcessingConfiguration=processing)


def test_more_than_500_partitions_at_once_go_to_the_error_prefix(
    template: dict[str, Any], tmp_path: Any
) -> None:
    destination = firehose.Destination(template)
    delivery = firehose.Delivery(tmp_path)
    delivery.put("s", "1", destination, [line(number, f"t{number}") for number in range(500)])
    delivery.put("s", "1", destination, [line(500, "t500"), line(501, "t3")])
    buffers = [firehose.Buffer.load(path) for path in tmp_path.iterdir()]
    errors = [buffer for buffer in buffers if buffer and buffer.key.startswith("delivery-errors/")]
    assert len(buffers) == 501
    assert [base64.b64decode(json.loads(record)["rawData"]) for record in errors[0].records()] == [
        line(500, "t500").rstrip()
    ]


@pytest.fixture
def manner() -> Iterator[Callable[[str], None]]:
    """Switches on what Firehose may or may not do."""

    def switch_on(kind: str) -> None:
        FAULTS.add([{"kind": kind, "seconds": 600}])

    yield switch_on
    FAULTS.clear(None)


def placed(folder: Path) -> dict[str, list[bytes]]:
    """What lies in the buffers, by the folder that it will go to."""
    buffers = [firehose.Buffer.load(path) for path in folder.iterdir()]
    return {buffer.key.rpartition("/")[0]: list(buffer.records()) for buffer in buffers if buffer}


UKRAINE, RUSSIA = ("raw/topic=ukraine/dt=2026-11-22/hour=05", "raw/topic=russia/dt=2026-11-22/hour=06")
ERRORS = "delivery-errors/metadata-extraction-failed"


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("between", [b"\n", b"", b" "])
def test_the_lines_of_a_record_go_each_where_its_content_says(
    template: dict[str, Any],
    tmp_path: Path,
    manner: Callable[[str], None],
    between: bytes,
    kept: bool,
) -> None:
    if kept:
        manner("newline-kept")
    record = between.join([line(1).rstrip(), line(2, "russia", "2026-11-22T06").rstrip(), line(3).rstrip()])
    firehose.Delivery(tmp_path).put("s", "1", firehose.Destination(template), [record + b"\n", line(4)])
    blank = b"\n" if kept else b""
    assert placed(tmp_path) == {
        UKRAINE: [line(1) + blank, line(3) + blank, line(4) + blank],
        RUSSIA: [line(2, "russia", "2026-11-22T06") + blank],
    }


@pytest.mark.parametrize("whole", [False, True])
def test_a_bad_line_goes_to_the_error_prefix_alone_or_with_its_record(
    template: dict[str, Any], tmp_path: Path, manner: Callable[[str], None], whole: bool
) -> None:
    if whole:
        manner("whole-record-fails")
    record = line(1) + b"no json\n" + line(2)
    firehose.Delivery(tmp_path).put("s", "1", firehose.Destination(template), [record, line(3)])
    found = placed(tmp_path)
    errors = [base64.b64decode(json.loads(envelope)["rawData"]) for envelope in found[ERRORS]]
    if whole:
        assert (errors, found[UKRAINE]) == ([record], [line(3)])
    else:
        assert (errors, found[UKRAINE]) == ([b"no json"], [line(1), line(2), line(3)])


def test_a_record_of_more_lines_than_firehose_de_aggregates_stays_whole_and_has_no_place(
    template: dict[str, Any], tmp_path: Path
) -> None:
    within, beyond = (b"".join(map(line, range(count))) for count in (500, 501))
    firehose.Delivery(tmp_path).put("s", "1", firehose.Destination(template), [within, beyond])
    found = placed(tmp_path)
    assert len(found[UKRAINE]) == 500
    assert [base64.b64decode(json.loads(envelope)["rawData"]) for envelope in found[ERRORS]] == [beyond]


def test_what_is_no_object_is_a_line_of_its_own() -> None:
    record = b'[1, 2]\n{"a": {"b": "}\\n"}}\n\n {"c"\n:1}{"d":1} garbage\n\xff\n{"e":1}'
    assert firehose._objects(record) == [
        *(b"[1, 2]", b'{"a": {"b": "}\\n"}}', b'{"c"\n:1}', b'{"d":1}', b"garbage", b"\xff", b'{"e":1}')
    ]


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from(['{"a":1}', "{", "[1]", "x", " ", "\n"])).map("".join)
)
@example(b"\x1c")
def test_whatever_a_record_holds_nothing_but_blanks_is_lost_by_taking_it_apart(record: bytes | str) -> None:
    text = record if isinstance(record, bytes) else record.encode()
    assert b"".join(b"".join(firehose._objects(text)).split()) == b"".join(text.split())


@given(records=st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=10), cut=st.integers(1, 60))
def test_a_buffer_cut_short_keeps_every_whole_record(records: list[bytes], cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        buffer = firehose.Buffer.create(
            Path(folder), stream="s", bucket="b", key="k", gzip=False, due=0.0, limit=1, opened=0.0
        )
        buffer.append(records)
        whole = buffer.path.read_bytes()
        body = len(whole) - whole.index(b"\n") - 1
        cut = min(cut, body)
        buffer.path.write_bytes(whole[: len(whole) - cut])
        kept = list(buffer.records())
        assert kept == records[: len(kept)]
        lost = sum(4 + len(record) for record in records[len(kept) :])
        assert lost >= cut
        assert lost - cut < 4 + len(records[len(kept)])


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, writes beyond it are cut short, and then rejected."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_adds_none_of_the_records(tmp_path: Path) -> None:
    buffer = firehose.Buffer.create(
        tmp_path, stream="s", bucket="b", key="k", gzip=False, due=0.0, limit=1, opened=0.0
    )
    buffer.append([b"one"])
    with files_of_at_most(buffer.path.stat().st_size + 10), pytest.raises(OSError, match="File too large"):
        buffer.append([b"two", b"three and more"])
    buffer.append([b"four"])
    assert list(buffer.records()) == [b"one", b"four"]
    assert buffer.size == len("onefour")


def test_what_cannot_be_delivered_for_whatever_reason_is_tried_again(
    template: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, bytes] = {}
    obstacles = [OSError("No space left on device"), KeyError("surprise")]

    def keep(bucket: str, key: str, data: bytes, media: str) -> None:
        if obstacles:
            raise obstacles.pop()
        found[key] = gzip.decompress(data)

    monkeypatch.setattr("local.aws.firehose.objects.put", keep)
    monkeypatch.setattr(firehose, "_RETRY_SECONDS", 0.1)
    delivery = firehose.Delivery(tmp_path)
    delivery.start()
    try:
        delivery.put("s", "1", firehose.Destination(template), [line(1), line(2, "russia")])
        end = time.monotonic() + 60
        while list(tmp_path.iterdir()):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        delivery.close()
    assert sorted(found.values()) == sorted([line(1), line(2, "russia")])


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_acknowledged_records_survive_the_end_of_the_server(
    new_aws: Callable[..., LocalAws], by: signal.Signals
) -> None:
    aws = new_aws()
    bootstrap(aws.endpoint, SETTINGS, CREDENTIALS, buffering_seconds=2)
    sent = [line(number) for number in range(50)]
    for start in range(0, 50, 10):
        put(aws, SETTINGS.delivery_stream, *sent[start : start + 10])
    aws.restart(by)
    put(aws, SETTINGS.delivery_stream, line(50))
    contents = delivered(aws, SETTINGS.bucket, 2)
    found = [entry for data in contents.values() for entry in gzip.decompress(data).splitlines(keepends=True)]
    assert sorted(found) == sorted([*sent, line(50)])


def test_what_a_missing_bucket_keeps_out_is_delivered_once_it_is_there(
    aws: LocalAws, stream: Callable[..., tuple[str, str]]
) -> None:
    name, bucket = stream()
    s3 = aws.client("s3")
    s3.delete_bucket(Bucket=bucket)
    put(aws, name, line(1))
    time.sleep(1.5)
    s3.create_bucket(Bucket=bucket)
    assert by_folder(delivered(aws, bucket, 1)) == {"raw/topic=ukraine/dt=2026-11-22/hour=05": [line(1)]}


def test_bootstrapping_twice_changes_nothing_and_a_new_interval_updates_the_stream(
    new_aws: Callable[..., LocalAws],
) -> None:
    aws = new_aws()
    client, vault = aws.client("firehose"), aws.client("secretsmanager")

    def stream() -> dict[str, Any]:
        found = client.describe_delivery_stream(DeliveryStreamName=SETTINGS.delivery_stream)
        description: dict[str, Any] = found["DeliveryStreamDescription"]
        return description

    def secret(name: str) -> str:
        return str(vault.get_secret_value(SecretId=name)["SecretString"])

    bootstrap(aws.endpoint, SETTINGS, CREDENTIALS, buffering_seconds=60)
    first, key = stream(), secret(SETTINGS.pseudonym_secret)
    bootstrap(aws.endpoint, SETTINGS, CREDENTIALS, buffering_seconds=60)
    assert stream() == first
    renewed = replace(CREDENTIALS, x_bearer_token="t2")
    bootstrap(aws.endpoint, SETTINGS, renewed, buffering_seconds=5)
    hints = stream()["Destinations"][0]["ExtendedS3DestinationDescription"]["BufferingHints"]
    assert hints == {"IntervalInSeconds": 5, "SizeInMBs": 64}
    assert stream()["VersionId"] == "2"
    assert secret(SETTINGS.pseudonym_secret) == key
    assert secret(SETTINGS.x_token_secret) == "t2"
    connection = json.loads(secret(f"airflow/connections/{SETTINGS.aws_conn_id}"))
    assert connection["extra"] == {"endpoint_url": aws.endpoint, "region_name": "us-east-1"}


def test_the_role_may_write_just_the_lakes_layers() -> None:
    role = Template.load(TEMPLATE).resolve("Role", {"Bucket": "lake", "EncryptionKeyArn": "arn"}, {})
    statements = role["Policies"][0]["PolicyDocument"]["Statement"]
    for statement in statements:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        resources = (
            statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        )
        assert all("*" not in action for action in actions)
        assert all(resource != "*" and "${" not in resource for resource in resources)
    assert "arn:aws:s3:::lake/labeled/*" not in str(statements)


def test_a_template_with_unknown_parameters_is_rejected() -> None:
    with pytest.raises(TemplateError, match="Bukcet"):
        Template.load(TEMPLATE).resolve("Role", {"Bucket": "b", "Bukcet": "b"}, {})
    with pytest.raises(TemplateError, match="Bucket is not given"):
        Template.load(TEMPLATE).resolve("Role", {}, {})


def test_an_empty_batch_is_rejected_by_the_client_already(aws: LocalAws) -> None:
    with pytest.raises(ParamValidationError):
        put(aws, "any")


@pytest.mark.parametrize(
    "sent",
    [
        tweet(tweet_id(1)),
        tweet(tweet_id(3_599), ("russia",)),
        {"kind": "heartbeat", "at": "2026-11-20T06:00:01.000Z"},
        {"kind": "session", "at": "2026-11-20T23:59:59.999Z"},
        {"kind": "quarantine", "at": "2026-11-20T05:10:00.000Z", "topic": None},
        {"kind": "quarantine", "at": "2026-11-20T05:10:00.000Z", "topic": "ukraine"},
    ],
)
def test_what_is_delivered_again_goes_where_the_streams_own_query_puts_it(
    template: dict[str, Any], sent: dict[str, Any]
) -> None:
    destination = firehose.Destination(template)
    data = json.dumps(sent).encode()
    placed = destination.key_prefix(destination.partition(data), datetime.now(UTC), None)
    assert redelivery._prefix(data, TOPICS, datetime(2026, 11, 21, tzinfo=UTC)) == placed

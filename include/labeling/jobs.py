"""SageMaker batch transform jobs, named by a digest of everything that determines their output.

A job that has run is therefore found again instead of being paid for twice, and a changed input, model,
container or parameter makes another job.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from include.lake import storage
from include.settings import Settings
from include.window import Window

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_sagemaker.client import SageMakerClient

    from include.labeling.models import Model

JOB_COMPLETED, JOB_STOPPED = "Completed", "Stopped"
ENDED = frozenset({JOB_COMPLETED, JOB_STOPPED, "Failed"})
"""The final states of a job."""

CONTENT_TYPE = "application/jsonlines"

INVOCATION_SECONDS = 3600
"""How long a model may work on one request: the most that SageMaker's InvocationsTimeoutInSeconds allows."""

_MAX_PAYLOAD_MB = 1
LONGEST_INPUT_LINE = _MAX_PAYLOAD_MB * 1_000_000
"""Most bytes of one line of input: a line beyond SageMaker's MaxPayloadInMB fails the whole job."""

# "ValidationException" is what SageMaker answers, "ResourceNotFound" what its API reference promises.
_ABSENT = frozenset({"ValidationException", "ResourceNotFound"})
_TAKEN = "ResourceInUse"
_NO_CAPACITY = frozenset({"ResourceLimitExceeded", "ThrottlingException", "Throttling", "CapacityError"})
_RACES = 5

S3_SECOND = timedelta(seconds=1)
"""S3 reports whole seconds: an object may have been written this much later than reported."""

log = logging.getLogger(__name__)


class JobError(Exception):
    """A transform job without usable output."""


class CapacityError(Exception):
    """The account cannot start another job now; it can later."""


@dataclass(frozen=True)
class Job:
    """One planned job.

    ``name`` is its name at the first attempt (later ones append ``-2``, ``-3`` …), ``request`` what
    CreateTransformJob takes besides the name, ``output_prefix`` the key prefix of its output and ``outputs``
    the keys that a completed job leaves there.
    """

    name: str
    request: dict[str, Any]
    bucket: str
    output_prefix: str
    outputs: frozenset[str]


@dataclass(frozen=True)
class Started:
    """The job that produces a planned job's output, and its state when it was found or created."""

    name: str
    state: str
    created: bool


def list_job_objects(s3: S3Client, bucket: str, prefix: str) -> list[tuple[str, str]]:
    """Key and ETag of every object under ``prefix``, by key."""
    return [(found.key, found.etag) for found in storage.objects(s3, bucket, prefix)]


def plan(
    settings: Settings, window: Window, model: Model, input_prefix: str, inputs: Sequence[tuple[str, str]]
) -> Job:
    """The job in which ``model`` answers ``inputs`` (key and tag each, all under ``input_prefix``).

    A tag is whatever changes with the object's content.

    Its output is written beside the input, to a folder named by the job's digest; SageMaker names an output
    after its input with ``.out`` appended.
    """
    parameters: dict[str, Any] = {
        "ModelName": model.name,
        # As many tweets per request as fit: a model works on batches of similar length, and the translator on
        # one language after another. 1 MB is some 5,000 tweets, enough for both; the answers may be three
        # times as long (TorchServe takes at most 6.5 MB), and a request that fails is computed again.
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": _MAX_PAYLOAD_MB,
        # One request that the worker answers on all CPUs of the instance, and one on its way.
        "MaxConcurrentTransforms": 2,
        "ModelClientConfig": {
            "InvocationsTimeoutInSeconds": INVOCATION_SECONDS,
            "InvocationsMaxRetries": 1,
        },
        "TransformInput": {
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": settings.s3(input_prefix)},
            },
            "ContentType": CONTENT_TYPE,
            "SplitType": "Line",
            "CompressionType": "None",
        },
    }
    answer = {"Accept": CONTENT_TYPE, "AssembleWith": "Line"}
    decisive = json.dumps([list(map(list, inputs)), model.digest, parameters, answer], sort_keys=True)
    digest = hashlib.sha256(decisive.encode()).hexdigest()
    folder = input_prefix.rstrip("/").rpartition("/")[0]
    output_prefix = f"{folder}/output-{digest[:16]}/"
    return Job(
        name=f"x-opinion-{model.stage}-{window.label}-{digest[:12]}",
        request={
            **parameters,
            "TransformOutput": {"S3OutputPath": settings.s3(output_prefix), **answer},
            "TransformResources": {"InstanceType": settings.sagemaker_instance_type, "InstanceCount": 1},
        },
        bucket=settings.bucket,
        output_prefix=output_prefix,
        outputs=frozenset(f"{output_prefix}{key.removeprefix(input_prefix)}.out" for key, _ in inputs),
    )


def missing_outputs(s3: S3Client, job: Job) -> list[str]:
    """The keys of the job's outputs that are missing or have expired."""
    return sorted(job.outputs - {key for key, _ in list_job_objects(s3, job.bucket, job.output_prefix)})


def describe(sagemaker: SageMakerClient, name: str) -> tuple[str, str] | None:
    """State and failure reason of a job, None if no job has that name."""
    try:
        answer = sagemaker.describe_transform_job(TransformJobName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] in _ABSENT:
            return None
        raise
    return answer["TransformJobStatus"], answer.get("FailureReason", "")


def began(sagemaker: SageMakerClient, name: str) -> datetime:
    """When a job was created; SageMaker reads the model's artifact after that."""
    return sagemaker.describe_transform_job(TransformJobName=name)["CreationTime"].astimezone(UTC)


def find(
    sagemaker: SageMakerClient, s3: S3Client, job: Job, artifact_written: datetime
) -> tuple[str, Started | None]:
    """The first name that is free for the job, and before it the job that produces the output, if any.

    That is a completed job whose output exists, or a running one; a job that failed, was stopped, lost its
    output or began before the model's artifact was written is passed over.
    """
    for attempt in count(1):
        name = job.name if attempt == 1 else f"{job.name}-{attempt}"
        found = describe(sagemaker, name)
        if found is None:
            return name, None
        state, reason = found
        if state == "InProgress":
            log.info("joining job name=%s", name)
            return name, Started(name, state, created=False)
        if state == JOB_COMPLETED:
            missing = missing_outputs(s3, job)
            late = artifact_written + S3_SECOND > began(sagemaker, name)
            if not missing and not late:
                log.info("reusing job name=%s output=%s", name, job.output_prefix)
                return name, Started(name, state, created=False)
            reason = f"{len(missing)} of its {len(job.outputs)} outputs are gone"
            if late:
                reason = "its model's artifact was written after it began"
        log.info("passing over job name=%s state=%s reason=%s", name, state, reason)
    raise AssertionError("count() does not end")


def start(sagemaker: SageMakerClient, s3: S3Client, job: Job, artifact_written: datetime) -> Started:
    """Finds the job that produces the output (see `find`), or creates it under the next suffix.

    Raises `CapacityError` if the account's limit is reached; every other `ClientError` is passed on.
    """
    for race in count(1):
        name, found = find(sagemaker, s3, job, artifact_written)
        if found:
            return found
        # Ensures that the artifact is known to be older than the job; waits only if it was just uploaded.
        young = artifact_written + 2 * S3_SECOND - datetime.now(UTC)
        time.sleep(min(max(young.total_seconds(), 0), 2))
        try:
            sagemaker.create_transform_job(TransformJobName=name, **job.request)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _NO_CAPACITY:
                raise CapacityError(str(error)) from error
            if code == _TAKEN and race < _RACES:
                continue  # another run was faster: join its job
            raise
        log.info("created job name=%s inputs=%d", name, len(job.outputs))
        return Started(name, "InProgress", created=True)
    raise AssertionError("count() does not end")


def watch(sagemaker: SageMakerClient, name: str, seconds: float) -> tuple[str, str]:
    """State and failure reason of a job once it has ended, or after ``seconds``."""
    until = time.monotonic() + seconds
    while True:
        state, reason = describe(sagemaker, name) or ("Failed", "the job no longer exists")
        if state in ENDED or time.monotonic() >= until:
            return state, reason
        time.sleep(1)


def stop(sagemaker: SageMakerClient, name: str) -> bool:
    """Asks SageMaker to stop a job; False if it has ended or does not exist."""
    found = describe(sagemaker, name)
    if found is None or found[0] != "InProgress":
        return False
    try:
        sagemaker.stop_transform_job(TransformJobName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] in _ABSENT:
            return False  # it ended in between
        raise
    log.info("stopping job name=%s", name)
    return True

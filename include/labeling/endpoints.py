"""Real-time endpoints: the same models, always up, for the open hour; a batch job takes minutes to start.

An endpoint is named by a digest of all that decides it, including its model, so it never answers for another
one. Tweets are sent in payloads of many, as many at a time as the endpoint may have instances; Application
Auto Scaling adds those while payloads wait. What an endpoint has answered is kept after each payload
(`include/labeling/answers.py`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ReadTimeoutError

from include.labeling.answers import KeptAnswers
from include.labeling.jobs import CONTENT_TYPE, LONGEST_INPUT_LINE
from include.labeling.models import Model
from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_sagemaker.client import SageMakerClient

IN_SERVICE, ENDPOINT_FAILED = "InService", "Failed"
_CREATING = "Creating"
_CHANGING = frozenset({"Updating", "SystemUpdating", "RollingBack"})
"""The states of an endpoint whose instances become more or fewer, or are maintained. It answers meanwhile,
but can be neither deleted nor changed
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html)."""

PAYLOAD_TWEETS = 500
"""Most tweets of one payload: SageMaker gives a model 60 seconds for an answer, and a translator on one CPU
takes some 25 for so many."""

PAYLOAD_BYTES = LONGEST_INPUT_LINE
"""Most bytes of one payload; SageMaker takes 6 MB, and the answers may be three times as long."""

_PREFIX = "x-opinion-live-"
_VARIANT = "AllTraffic"
_SCALED: Any = {
    "ServiceNamespace": "sagemaker",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
_SCALING: Any = {
    # A model answers one payload at a time: whatever waits beside it is work for another instance.
    "TargetValue": 1.0,
    "PredefinedMetricSpecification": {
        "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    },
}
_ATTEMPTS = 3
_ABSENT = "ValidationException"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 15.0
_PATIENCE_S = 1800.0
"""How long `ensure` waits for an endpoint; AWS needs some five minutes."""

log = logging.getLogger(__name__)


class EndpointError(RuntimeError):
    """An endpoint could not be created, or its model does not answer."""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint that answers, and since when it exists: it serves the artifact as it was then."""

    name: str
    created: datetime


def endpoint_name(settings: Settings, model: Model) -> str:
    """The name of a model's endpoint."""
    decisive = json.dumps([model.name, settings.sagemaker_instance_type])
    return f"{_PREFIX}{model.stage}-{hashlib.sha256(decisive.encode()).hexdigest()[:12]}"


def ensure(
    sagemaker: SageMakerClient,
    scaling: Any,
    settings: Settings,
    models: Iterable[Model],
) -> list[str]:
    """Makes the endpoints of ``models`` and removes all others of this project; returns what was changed.

    ``models`` is empty where the settings want none. A model must exist in SageMaker. Waits until they are in
    service, and has them scaled up to the settings' number of instances. Raises `EndpointError` if one fails,
    after removing it.
    """
    wanted = {endpoint_name(settings, model): model for model in models}
    changes = [f"removed endpoint {name}" for name in _remove_others(sagemaker, scaling, wanted.keys())]
    for name, model in wanted.items():
        state, _ = _describe(sagemaker, name)
        if state is None:
            _create(sagemaker, settings, name, model)
            changes.append(f"created endpoint {name}")
    for name in wanted:
        _await(sagemaker, name)
        changes += _scale(sagemaker, scaling, name, settings.live_instances)
    return changes


def find(sagemaker: SageMakerClient, settings: Settings, model: Model) -> Endpoint | None:
    """The endpoint of a model if it answers; None while it is created or if there is none."""
    name = endpoint_name(settings, model)
    state, created = _describe(sagemaker, name)
    return Endpoint(name, created) if state in {IN_SERVICE, *_CHANGING} and created else None


def ask(
    runtime: Any,
    endpoint: Endpoint,
    kept: KeptAnswers,
    input_prefix: str,
    verify: Callable[[], None],
    at_a_time: int = 1,
) -> int:
    """Has the endpoint answer every question under ``input_prefix`` without an answer; returns how many.

    ``at_a_time`` payloads are on their way. ``verify`` is called before answers are kept, by several threads,
    and raises if they may come from another artifact. Raises `EndpointError` for a question that the model
    fails on; what was answered before is kept.
    """

    def answer(payload: list[bytes]) -> int:
        answered = 0
        for part, body in _invoke(runtime, endpoint.name, payload):
            verify()
            kept.keep_invocation(part, body)
            answered += len(part)
        return answered

    tweets = 0
    with ThreadPoolExecutor(at_a_time) as senders:
        for _, questions in kept.unanswered(input_prefix):
            tweets += sum(senders.map(answer, _payloads(questions)))
    if tweets:
        log.info("asked endpoint=%s tweets=%d", endpoint.name, tweets)
    return tweets


def _payloads(questions: list[bytes]) -> Iterator[list[bytes]]:
    payload: list[bytes] = []
    size = 0
    for question in questions:
        if payload and (len(payload) == PAYLOAD_TWEETS or size + len(question) + 1 > PAYLOAD_BYTES):
            yield payload
            payload, size = [], 0
        payload.append(question)
        size += len(question) + 1
    if payload:
        yield payload


def _invoke(runtime: Any, name: str, questions: list[bytes]) -> Iterator[tuple[list[bytes], bytes]]:
    """The answers to a payload; in halves if the model fails on it again and again, or takes too long."""
    failure: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0, 2.0**attempt))  # noqa: S311 - jitter, no secret
        try:
            answer = runtime.invoke_endpoint(
                EndpointName=name,
                Body=b"".join(question + b"\n" for question in questions),
                ContentType=CONTENT_TYPE,
                Accept=CONTENT_TYPE,
            )
            yield questions, answer["Body"].read()
            return
        except ReadTimeoutError as error:
            failure = error
        except ClientError as error:
            # Throttling and 5xx were tried again by botocore already (`include/aws.py`).
            if error.response["Error"]["Code"] != "ModelError":
                raise
            failure = error
        log.warning("no answer endpoint=%s tweets=%d attempt=%d", name, len(questions), attempt + 1)
    if len(questions) == 1:
        # Not the model's own words: they may quote the tweet.
        raise EndpointError(
            f"the model behind the endpoint {name} does not answer one of its questions "
            f"({type(failure).__name__}); see its log in CloudWatch, group /aws/sagemaker/Endpoints/{name}"
        ) from None
    middle = len(questions) // 2
    for half in (questions[:middle], questions[middle:]):
        yield from _invoke(runtime, name, half)


def _describe(sagemaker: SageMakerClient, name: str) -> tuple[str | None, datetime | None]:
    try:
        found = sagemaker.describe_endpoint(EndpointName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != _ABSENT:
            raise
        return None, None
    return found["EndpointStatus"], found["CreationTime"].astimezone(UTC)


def _create(sagemaker: SageMakerClient, settings: Settings, name: str, model: Model) -> None:
    variant: Any = {
        "VariantName": _VARIANT,
        "ModelName": model.name,
        "InstanceType": settings.sagemaker_instance_type,
        "InitialInstanceCount": 1,
    }
    try:
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    except ClientError as error:
        # The same name means the same configuration: a run that was killed has left it.
        if "already existing" not in error.response["Error"]["Message"]:
            raise
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    log.info("created endpoint name=%s model=%s", name, model.name)


def _await(sagemaker: SageMakerClient, name: str) -> None:
    found = _settled(sagemaker, name)
    if found["EndpointStatus"] == ENDPOINT_FAILED:
        _remove(sagemaker, name)
        reason = found.get("FailureReason", "no reason given")
        raise EndpointError(
            f"the endpoint {name} has failed, and was removed: {reason}; fix the cause and run the DAG"
            " 'provision'"
        )
    if found["EndpointStatus"] != IN_SERVICE:
        raise EndpointError(
            f"the endpoint {name} is not in service ({found['EndpointStatus']}); run the DAG 'provision'"
            " again"
        )


def _settled(sagemaker: SageMakerClient, name: str) -> Any:
    """The endpoint's description once nothing is under way, or when patience is over."""
    deadline, wait = time.monotonic() + _PATIENCE_S, _FIRST_WAIT_S
    while True:
        found = sagemaker.describe_endpoint(EndpointName=name)
        if found["EndpointStatus"] not in {_CREATING, *_CHANGING} or time.monotonic() >= deadline:
            return found
        time.sleep(wait)
        wait = min(wait * 1.5, _LONGEST_WAIT_S)


def _scale(sagemaker: SageMakerClient, scaling: Any, name: str, instances: int) -> list[str]:
    """Has the endpoint scaled from 1 to so many instances; returns what was changed."""
    target = _target(name)
    now = _most_instances(scaling, name)
    if instances == 1:
        _stop_scaling(scaling, name, now)
        # Those that were added stay, and cost, until they are removed.
        [variant] = sagemaker.describe_endpoint(EndpointName=name)["ProductionVariants"]
        if variant["DesiredInstanceCount"] > 1:
            sagemaker.update_endpoint_weights_and_capacities(
                EndpointName=name,
                DesiredWeightsAndCapacities=[{"VariantName": _VARIANT, "DesiredInstanceCount": 1}],
            )
            log.info("removed instances endpoint=%s of=%d", name, variant["DesiredInstanceCount"])
    elif now != instances or not scaling.describe_scaling_policies(**target)["ScalingPolicies"]:
        scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=instances)
        scaling.put_scaling_policy(
            **target,
            PolicyName=name,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=_SCALING,
        )
    if now == instances:
        return []
    log.info("scaled endpoint=%s instances=%d", name, instances)
    return [f"scaled endpoint {name} to at most {instances} instances"]


def _stop_scaling(scaling: Any, name: str, most: int) -> None:
    """Ends the scaling of an endpoint that may be scaled to ``most`` instances (`_most_instances`)."""
    if most > 1:
        scaling.deregister_scalable_target(**_target(name))  # and its policy with it


def _most_instances(scaling: Any, name: str) -> int:
    """How many instances an endpoint may be scaled to."""
    found = scaling.describe_scalable_targets(
        ServiceNamespace=_SCALED["ServiceNamespace"], ResourceIds=[_target(name)["ResourceId"]]
    )["ScalableTargets"]
    return int(found[0]["MaxCapacity"]) if found else 1


def _target(name: str) -> Any:
    return {**_SCALED, "ResourceId": f"endpoint/{name}/variant/{_VARIANT}"}


def _remove_others(sagemaker: SageMakerClient, scaling: Any, wanted: Iterable[str]) -> list[str]:
    pages = sagemaker.get_paginator("list_endpoints").paginate(NameContains=_PREFIX)
    names = [each["EndpointName"] for page in pages for each in page["Endpoints"]]
    others = [name for name in names if name.startswith(_PREFIX) and name not in set(wanted)]
    for name in others:
        _stop_scaling(scaling, name, _most_instances(scaling, name))
        _settled(sagemaker, name)
        _remove(sagemaker, name)
    return others


def _remove(sagemaker: SageMakerClient, name: str) -> None:
    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    log.info("removed endpoint name=%s", name)

"""SageMaker's real-time endpoints: created in the background, they really run the model's own code."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.aws import sagemaker_endpoints
from tests.local.support_aws import LocalAws
from tests.local.test_aws_sagemaker import make_model, rows

BROKEN = "raise ImportError('no such library')"


def create(aws: LocalAws, model: str, **variant: Any) -> str:
    """An endpoint that begins to be created; gives its name, which is its configuration's too."""
    name, client = f"e-{uuid.uuid4().hex[:20]}", aws.client("sagemaker")
    client.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
                "ModelName": model,
                "InstanceType": "ml.c6i.xlarge",
                "InitialInstanceCount": 1,
                **variant,
            }
        ],
    )
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return name


def created(aws: LocalAws, name: str) -> dict[str, Any]:
    """What SageMaker says of the endpoint once it is no longer being created."""
    deadline = time.monotonic() + 60
    while True:
        found: dict[str, Any] = aws.client("sagemaker").describe_endpoint(EndpointName=name)
        if found["EndpointStatus"] != "Creating":
            return found
        assert time.monotonic() < deadline
        time.sleep(0.1)


def invoke(aws: LocalAws, name: str, body: bytes, media: str = "application/jsonlines") -> bytes:
    answer = aws.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=name, Body=body, ContentType=media, Accept="application/jsonlines"
    )
    content: bytes = answer["Body"].read()
    return content


def rejected(code: str, call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    assert caught.value.response["Error"]["Code"] == code
    return str(caught.value.response["Error"]["Message"])


@pytest.fixture(scope="module")
def endpoint(aws: LocalAws) -> str:
    name = create(aws, make_model(aws))
    assert created(aws, name)["EndpointStatus"] == "InService"
    return name


def test_the_models_own_code_answers_many_tweets_at_once(aws: LocalAws, endpoint: str) -> None:
    first, second = invoke(aws, endpoint, rows("one", "three")).splitlines()
    assert b'"n": 3' in first
    assert b'"n": 5' in second


def test_the_instances_of_an_endpoint_in_service_are_scaled(aws: LocalAws, endpoint: str) -> None:
    scaling, target = aws.client("application-autoscaling"), scalable(endpoint)
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=4)
    (found,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (found["ResourceId"], found["MaxCapacity"]) == (target["ResourceId"], 4)
    scaling.deregister_scalable_target(**target)
    assert rejected("ValidationException", scaling.deregister_scalable_target, **target)
    absent = {**scalable("absent"), "MinCapacity": 1, "MaxCapacity": 2}
    assert "doesn't exist" in rejected("ValidationException", scaling.register_scalable_target, **absent)


def scalable(endpoint: str) -> dict[str, Any]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def test_what_the_model_fails_on_is_a_model_error_with_its_words(aws: LocalAws, endpoint: str) -> None:
    with pytest.raises(ClientError) as caught:
        invoke(aws, endpoint, rows("fail"))
    told: Any = caught.value.response
    assert told["Error"]["Code"] == "ModelError"
    assert told["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert told["OriginalStatusCode"] == 500
    assert "row 0 is bad" in told["OriginalMessage"]
    assert "cannot read text/csv" in rejected("ModelError", invoke, aws, endpoint, rows("a"), "text/csv")
    assert invoke(aws, endpoint, rows("a")), "the next one is answered"


def test_a_payload_that_is_too_large_and_an_endpoint_that_is_not_there_are_rejected(
    aws: LocalAws, endpoint: str
) -> None:
    body = b"x" * (sagemaker_endpoints.LARGEST_PAYLOAD + 1)
    assert "6291456" in rejected("ValidationError", invoke, aws, endpoint, body)
    assert "Endpoint none of account" in rejected("ValidationError", invoke, aws, "none", rows("a"))


def test_names_in_use_and_unknown_parts_are_rejected(aws: LocalAws, endpoint: str) -> None:
    client = aws.client("sagemaker")
    variant = {"VariantName": "v", "ModelName": "none", "InstanceType": "ml.c6i.xlarge"}
    config = {"EndpointConfigName": endpoint, "ProductionVariants": [{**variant, "InitialInstanceCount": 1}]}
    told = rejected("ValidationException", client.create_endpoint_config, **config)
    assert "already existing endpoint configuration" in told
    config["EndpointConfigName"] = "another"
    assert "Could not find model" in rejected("ValidationException", client.create_endpoint_config, **config)
    twice = {"EndpointName": endpoint, "EndpointConfigName": endpoint}
    assert "already existing endpoint" in rejected("ValidationException", client.create_endpoint, **twice)
    nowhere = {"EndpointName": "new", "EndpointConfigName": "none"}
    told = rejected("ValidationException", client.create_endpoint, **nowhere)
    assert "Could not find endpoint configuration" in told
    for call in (client.describe_endpoint, client.delete_endpoint):
        assert "Could not find endpoint" in rejected("ValidationException", call, EndpointName="none")


def test_a_model_that_does_not_load_fails_the_endpoint(aws: LocalAws) -> None:
    name = create(aws, make_model(aws, BROKEN))
    found = created(aws, name)
    assert found["EndpointStatus"] == "Failed"
    assert "no such library" in found["FailureReason"]
    rejected("ValidationError", invoke, aws, name, rows("a"))
    aws.client("sagemaker").delete_endpoint(EndpointName=name)


def test_an_endpoint_answers_only_while_it_is_in_service(aws: LocalAws) -> None:
    name = create(aws, make_model(aws, "import time\ntime.sleep(3)\n" + "def model_fn(_):\n  return 1\n"))
    client = aws.client("sagemaker")
    rejected("ValidationError", invoke, aws, name, rows("a"))
    assert "in-progress" in rejected("ValidationException", client.delete_endpoint, EndpointName=name)
    created(aws, name)
    client.delete_endpoint(EndpointName=name)
    rejected("ValidationError", invoke, aws, name, rows("a"))
    assert name not in str(client.list_endpoints()["Endpoints"])


def test_throttling_can_be_asked_for(aws: LocalAws, endpoint: str) -> None:
    fault = aws.reject("sagemaker-runtime", "InvokeEndpoint", "ThrottlingException")
    rejected("ThrottlingException", invoke, aws, endpoint, rows("a"))
    assert invoke(aws, endpoint, rows("a"))
    assert aws.struck(fault) == 1


def test_an_unknown_instance_type_is_rejected(aws: LocalAws) -> None:
    with pytest.raises(ClientError, match="instanceType"):
        create(aws, make_model(aws), InstanceType="ml.none.large")


def test_an_endpoint_outlives_a_restart(new_aws: Callable[..., LocalAws]) -> None:
    aws = new_aws()
    name = create(aws, make_model(aws))
    assert created(aws, name)["EndpointStatus"] == "InService"
    aws.stop()
    aws.start()
    assert created(aws, name)["EndpointStatus"] == "InService"
    assert b'"n": 3' in invoke(aws, name, rows("one"))

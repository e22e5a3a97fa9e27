"""SageMaker's real-time endpoints: each is a serving process that really runs the model; moto keeps the rest.

An endpoint is created in the background, like the real one, and serves its model's artifact as it was then.
It stays one process: Application Auto Scaling's targets and policies are kept, and start no other.
Sources: the API reference of CreateEndpointConfig, CreateEndpoint, UpdateEndpointWeightsAndCapacities,
DeleteEndpoint and InvokeEndpoint
(https://docs.aws.amazon.com/sagemaker/latest/APIReference), with an invocation's limits on size and time.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

from botocore.session import get_session
from moto.applicationautoscaling import models as scaling_models
from moto.applicationautoscaling.exceptions import AWSValidationException
from moto.core.utils import utcnow
from moto.sagemaker import models
from moto.sagemaker.exceptions import ValidationError

from local.aws import objects
from local.aws.context import ACCOUNT, REGION, Context, Reply, patch
from local.aws.sagemaker import MEBIBYTE, JobError, ModelServer, ModelServers, bad_name, stored_artifact

LARGEST_PAYLOAD = 6 * MEBIBYTE
"""The most bytes of a request's body."""

LONGEST_SECONDS = 60.0
"""How long a model may take for an answer."""

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_VARIANT = re.compile(r"endpoint/(?P<name>[^/]+)/variant/(?P<variant>[^/]+)")
_PATH = re.compile(r"/endpoints/(?P<name>[^/]+)/invocations")
_STANDING = ("Creating", "InService", "Updating")
_ANSWERING = ("InService", "Updating")
_UPDATING_SECONDS = 2.0
"""How long an endpoint is changed to another number of instances; it answers meanwhile."""

log = logging.getLogger(__name__)


class _RejectedError(Exception):
    """An invocation is not answered: status, code and members of the error besides its message."""

    def __init__(self, status: int, code: str, message: str, **members: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.members = members


@dataclass(frozen=True)
class _Serving:
    identity: str
    server: ModelServer


class Endpoints:
    """The processes behind the account's endpoints."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._servers = ModelServers(context.state / "sagemaker-endpoints", warm_seconds=0)
        self._serving: dict[str, _Serving] = {}
        self._lock = threading.Lock()
        self._closing = False

    def start(self, endpoint: Any, artifact: objects.StoredKey, environment: dict[str, str]) -> None:
        """Loads the endpoint's model in the background."""
        arguments = (endpoint, artifact, environment)
        name = f"endpoint-{endpoint.endpoint_name}"
        threading.Thread(target=self._load, args=arguments, name=name, daemon=True).start()

    def _load(self, endpoint: Any, artifact: objects.StoredKey, environment: dict[str, str]) -> None:
        name = endpoint.endpoint_name
        try:
            serving = _Serving(*self._servers.acquire(artifact, environment))
            with self._lock:
                self._serving[name] = serving
            serving.server.wait()
        except JobError as error:
            if self._closing:
                return  # the next server loads it
            endpoint.endpoint_status, endpoint.failure_reason = "Failed", str(error)
        else:
            endpoint.endpoint_status = "InService"
        endpoint.last_modified_time = utcnow()
        self._context.changed("sagemaker")
        log.info("endpoint=%s status=%s", name, endpoint.endpoint_status)

    def update(self, endpoint: Any) -> None:
        """Has an endpoint in service again after a while."""

        def done() -> None:
            endpoint.endpoint_status = "InService"
            self._context.changed("sagemaker")

        timer = threading.Timer(_UPDATING_SECONDS, done)
        timer.daemon = True
        timer.start()

    def end(self, name: str) -> None:
        """Ends the endpoint's process."""
        with self._lock:
            serving = self._serving.pop(name, None)
        if serving:
            self._servers.release(serving.identity, serving.server, reusable=False)

    def invoke(self, name: str, body: bytes, content_type: str, accept: str) -> bytes:
        """The model's answer; raises `_RejectedError` as SageMaker does."""
        endpoint: Any = models.sagemaker_backends[ACCOUNT][REGION].endpoints.get(name)
        if endpoint is None or endpoint.endpoint_status not in _ANSWERING:
            raise _RejectedError(400, "ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
        if len(body) > LARGEST_PAYLOAD:
            raise _RejectedError(
                400,
                "ValidationError",
                "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have "
                f"length less than or equal to {LARGEST_PAYLOAD}",
            )
        with self._lock:
            serving = self._serving.get(name)
        try:
            if serving is None:
                raise ConnectionError("its process has ended")
            status, answer = serving.server.invoke(body, content_type, accept, LONGEST_SECONDS)
        except OSError as error:
            log.warning("no answer endpoint=%s error=%s", name, error)
            raise _model_error(
                name,
                0,
                "Your invocation timed out while waiting for a response from container primary. Review the "
                "latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again.",
            ) from error
        if status != 200:
            raise _model_error(name, status, answer.decode(errors="replace"))
        return answer

    def close(self) -> None:
        """Ends every process."""
        self._closing = True
        self._servers.close()


def _model_error(name: str, status: int, text: str) -> _RejectedError:
    told = f'Received server error ({status}) from primary with message "{text[:1024]}".'
    return _RejectedError(
        424,
        "ModelError",
        told,
        OriginalStatusCode=status,
        OriginalMessage=text[:1024],
        LogStreamArn=f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/{name}",
    )


@cache
def _instance_types() -> frozenset[str]:
    """What SageMaker serves endpoints on, as botocore knows it: moto's own list is years old."""
    shape: Any = get_session().get_service_model("sagemaker").shape_for("ProductionVariantInstanceType")
    return frozenset(shape.enum)


def _check_not_in_progress(endpoint: Any) -> None:
    if endpoint is not None and endpoint.endpoint_status in ("Creating", "Updating"):
        raise ValidationError(message=f'Cannot update in-progress endpoint "{endpoint.arn}".')


def _check_instance_type(_: Any, instance_type: str) -> None:
    if instance_type not in _instance_types():
        raise ValidationError(
            message=f"Value '{instance_type}' at 'instanceType' failed to satisfy constraint: Member must "
            "satisfy enum value set"
        )


def install(context: Context) -> None:
    """Replaces moto's endpoints, which answer nothing, by real ones; after `local.aws.sagemaker`."""
    backend = models.SageMakerModelBackend
    create_config: Any = backend.create_endpoint_config
    create_endpoint: Any = backend.create_endpoint
    delete_endpoint: Any = backend.delete_endpoint
    update_capacities: Any = backend.update_endpoint_weights_and_capacities
    running: list[Endpoints] = []

    def create_endpoint_config(self: Any, **request: Any) -> Any:
        name = request["endpoint_config_name"]
        if not _NAME.fullmatch(name):
            raise bad_name("endpointConfigName", name)
        if name in self.endpoint_configs:
            arn = self.endpoint_configs[name].endpoint_config_arn
            raise ValidationError(message=f'Cannot create already existing endpoint configuration "{arn}".')
        variants = request["production_variants"] or []
        if len(variants) != 1:
            raise ValidationError(message="Only one ProductionVariant is offered by the local AWS")
        if request.get("async_inference_config") or variants[0].get("ServerlessConfig"):
            raise ValidationError(message="Only real-time endpoints are offered by the local AWS")
        if not variants[0].get("InstanceType") or not variants[0].get("InitialInstanceCount"):
            raise ValidationError(message="A variant needs InstanceType and InitialInstanceCount")
        if (model := variants[0].get("ModelName")) not in self._models:
            raise ValidationError(message=f'Could not find model "{model}".')
        return create_config(self, **request)

    def create_endpoint_checked(self: Any, **request: Any) -> Any:
        name = request["endpoint_name"]
        if not _NAME.fullmatch(name):
            raise bad_name("endpointName", name)
        if name in self.endpoints:
            arn = self.endpoints[name].arn
            raise ValidationError(message=f'Cannot create already existing endpoint "{arn}".')
        endpoint = create_endpoint(self, **request)
        endpoint.endpoint_status = "Creating"
        _start(self, endpoint)
        return endpoint

    def delete_endpoint_checked(self: Any, endpoint_name: str) -> None:
        endpoint = self.endpoints.get(endpoint_name)
        _check_not_in_progress(endpoint)
        delete_endpoint(self, endpoint_name)
        running[0].end(endpoint_name)

    def update_capacities_checked(
        self: Any, endpoint_name: str, desired_weights_and_capacities: list[dict[str, Any]]
    ) -> Any:
        endpoint = self.endpoints.get(endpoint_name)
        _check_not_in_progress(endpoint)
        desired = [{"DesiredWeight": 1.0, **each} for each in desired_weights_and_capacities]
        answer = update_capacities(self, endpoint_name, desired)
        endpoint.endpoint_status = "Updating"
        running[0].update(endpoint)
        return answer

    def _start(self: Any, endpoint: Any) -> None:
        config = self.endpoint_configs[endpoint.endpoint_config_name]
        primary = self._models[config.production_variants[0]["ModelName"]].primary_container
        artifact = stored_artifact(primary["ModelDataUrl"])
        running[0].start(endpoint, artifact, dict(primary.get("Environment") or {}))

    register: Any = scaling_models.ApplicationAutoscalingBackend.register_scalable_target

    def register_scalable_target(self: Any, namespace: str, r_id: str, *others: Any, **named: Any) -> Any:
        found = _VARIANT.fullmatch(r_id)
        endpoint = models.sagemaker_backends[ACCOUNT][REGION].endpoints.get(found["name"] if found else "")
        if namespace == "sagemaker" and (endpoint is None or endpoint.endpoint_status != "InService"):
            raise AWSValidationException(f"SageMaker endpoint variant doesn't exist: {r_id}")
        return register(self, namespace, r_id, *others, **named)

    def answer(method: str, raw_path: str, _: str, headers: Mapping[str, str], body: bytes) -> Reply:
        found = _PATH.fullmatch(raw_path)
        try:
            if method != "POST" or found is None:
                raise _RejectedError(404, "UnknownOperationException", "There is no such operation.")
            accept = headers.get("accept", "*/*")
            content_type = headers.get("content-type", "application/octet-stream")
            given = running[0].invoke(unquote(found["name"]), body, content_type, accept)
        except _RejectedError as error:
            log.info("rejected path=%s code=%s", raw_path, error.code)
            content = json.dumps({"Message": str(error), **error.members}).encode()
            kind = [("x-amzn-ErrorType", error.code), ("Content-Type", "application/json")]
            return error.status, [*kind, ("Content-Length", str(len(content)))], content
        about = [("Content-Type", accept), ("x-Amzn-Invoked-Production-Variant", "AllTraffic")]
        return 200, [*about, ("Content-Length", str(len(given)))], given

    def start() -> None:
        running.append(Endpoints(context))
        account = models.sagemaker_backends[ACCOUNT][REGION]
        for endpoint in account.endpoints.values():
            if endpoint.endpoint_status in _STANDING:
                endpoint.endpoint_status = "Creating"
                _start(account, endpoint)

    patch(
        backend,
        create_endpoint_config=create_endpoint_config,
        create_endpoint=create_endpoint_checked,
        delete_endpoint=delete_endpoint_checked,
        update_endpoint_weights_and_capacities=update_capacities_checked,
    )
    patch(scaling_models.ApplicationAutoscalingBackend, register_scalable_target=register_scalable_target)
    patch(models.FakeEndpointConfig, validate_instance_type=_check_instance_type)
    context.serve("sagemaker-runtime", answer)
    context.on_start(start)
    context.on_close(lambda: running[0].close() if running else None)

"""One endpoint for all services: moto's WSGI applications behind uvicorn.

moto's own server closes each connection after one answer and does not serialize requests; here connections
are kept, each service's requests that may change something run one after another (so S3's conditional writes
are atomic), their changes are durable before they are answered, and operations without a real implementation
are rejected.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC
from email.utils import formatdate
from functools import cache
from typing import Any, Literal
from urllib.parse import parse_qs, unquote_to_bytes
from xml.sax.saxutils import escape

from moto import backends
from moto.core import responses as moto_responses
from moto.core.request import (
    PRESERVED_HEADER_NAMES_ENVIRON_KEY,
    environ_key_for_header,
    should_preserve_original_header_name,
)
from moto.core.utils import method_names_from_class
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends

from include.web_guard import WebGuard
from local.aws import api_faults
from local.aws.context import ACCOUNT, Context, patch
from local.aws.policies import AccessDeniedError, Users, asked_of, bucket_and_key
from local.aws.signatures import Reason, Secret, SignatureError, Signed, verify
from local.aws.state import State
from local.credentials import USERNAME, Credentials
from local.front_page import front_page
from local.gate import Application as Asgi
from local.gate import Gate, Key, Message, Receive, Send

log = logging.getLogger(__name__)

type Headers = list[tuple[str, str]]

_THREADS = 32
_WHOLE = 1 << 20
"""Bodies up to this size are sent in one piece."""

_HEALTH = "/_local/health"

_SERVICE = "local.service"
"""What WSGI's environment has the service by."""

_READS = re.compile(r"(Get|List|Describe|BatchGet|Head|Search|Filter|Test|Query)")
"""Operations that change nothing, by the start of their names."""

_SELF_KEPT = {("firehose", "PutRecord"), ("firehose", "PutRecordBatch")}
"""Operations whose effect is made durable by the extension itself, not in a snapshot."""

_TARGETS = {
    "AWSGlue": "glue",
    "AnyScaleFrontendService": "applicationautoscaling",
    "AmazonAthena": "athena",
    "Firehose_20150804": "firehose",
    "GraniteServiceVersion20100801": "cloudwatch",
    "Logs_20140328": "logs",
    "SageMaker": "sagemaker",
    "secretsmanager": "secretsmanager",
}
"""Services by the first part of X-Amz-Target."""

_SIGNED = {"monitoring": "cloudwatch"}
"""Services whose name in the signature is not moto's."""

_GLUE_DATA_CATALOG = re.compile(
    r"(Create|Get|Update|Delete|BatchGet|BatchCreate|BatchUpdate|BatchDelete|Search)"
    r"(Database|Table|TableVersion|Partition|ColumnStatisticsFor(Table|Partition))s?(Index)?(es)?$"
    r"|GetPartitionIndexes$|GetCatalogImportStatus$|(Tag|Untag)Resource$|GetTags$"
)

OFFERED: dict[str, re.Pattern[str]] = {
    "s3": re.compile(r".*"),
    "sts": re.compile(r"(GetCallerIdentity|AssumeRole)$"),
    "iam": re.compile(
        r".*(Role|Roles|Policy|Policies|PolicyVersion|PolicyVersions|User|Users|InstanceProfiles?)$"
    ),
    "secretsmanager": re.compile(r"(?!RotateSecret|ReplicateSecret|RemoveRegions|StopReplication).*"),
    "glue": _GLUE_DATA_CATALOG,
    "firehose": re.compile(r"(?!.*Encryption).*"),
    "sagemaker": re.compile(
        r"((Create|Describe|Delete)(Model|Endpoint|EndpointConfig)|List(Models|Endpoints|EndpointConfigs)"
        r"|UpdateEndpointWeightsAndCapacities|(Create|Describe|Stop)TransformJob|ListTransformJobs"
        r"|AddTags|ListTags|DeleteTags)$"
    ),
    "applicationautoscaling": re.compile(
        r"((Register|Deregister)ScalableTarget|DescribeScalableTargets|(Put|Delete)ScalingPolicy"
        r"|DescribeScalingPolicies)$"
    ),
    "cloudwatch": re.compile(
        r"(PutMetricData|GetMetricData|GetMetricStatistics|ListMetrics|PutMetricAlarm|DescribeAlarms"
        r"|DescribeAlarmsForMetric|DeleteAlarms|SetAlarmState|(Put|Get|Delete)Dashboards?|ListDashboards"
        r"|ListTagsForResource|TagResource|UntagResource)$"
    ),
    "sns": re.compile(
        r"((Create|Delete|List)Topics?|(Get|Set)TopicAttributes|Publish|Subscribe|Unsubscribe|ListSubscriptions"
        r"(ByTopic)?|ConfirmSubscription)$"
    ),
    "logs": re.compile(r"(?!StartQuery|.*Export|.*Delivery|.*Anomaly|.*Transformer|TestMetricFilter).*"),
}
"""The implemented operations: other services and operations that do not match are rejected.

moto answers far more, but without doing it (a training job that completes at once, a crawler that finds
nothing); extensions add what they implement.
"""


class Request:
    """One HTTP request with its body, and what it asks of which service."""

    def __init__(self, scope: Message, body: bytes) -> None:
        self.method: str = scope["method"]
        self.raw_path = scope["raw_path"].decode("latin-1")
        self.query = scope["query_string"].decode("latin-1")
        self.body = body
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            text = value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]},{text}" if key in self.headers else text
        self._server = scope["server"]
        self._client = scope["client"] or ("127.0.0.1", 0)
        self.service, self.operation = self._classify()

    def _classify(self) -> tuple[str, str]:
        """The service (moto's name) and the operation; "" if the path alone tells the operation."""
        target = self.headers.get("x-amz-target", "")
        if target:
            head, _, operation = target.rpartition(".")
            return _TARGETS.get(head, self._signed() or head), operation
        service = self._signed() or "s3"
        if service == "s3":
            return service, ""
        if service == "sagemaker" and self.raw_path.startswith("/endpoints/"):
            # Signed as SageMaker's, without a target: https://docs.aws.amazon.com/sagemaker/latest/APIReference
            return "sagemaker-runtime", "InvokeEndpoint" if self.raw_path.endswith("/invocations") else ""
        text = self.query or (self.body.decode("utf-8", "replace") if self.method == "POST" else "")
        actions = parse_qs(text).get("Action", [])
        # moto might read the other one.
        return service, actions[0] if len(actions) == 1 and not (self.query and self.body) else ""

    def _signed(self) -> str | None:
        credential = re.search(
            r"Credential=[^/]*/\d+/[^/]*/([^/]+)/aws4_request", self.headers.get("authorization", "")
        ) or re.search(r"X-Amz-Credential=[^&]*?%2F\d+%2F[^&]*?%2F([^&]+?)%2Faws4_request", self.query)
        return _SIGNED.get(credential.group(1), credential.group(1)) if credential else None

    @property
    def protocol(self) -> Literal["s3", "json", "rest", "query"]:
        """The format of the service's errors."""
        if self.service == "s3":
            return "s3"
        if "x-amz-target" in self.headers:
            return "json"
        return (
            "query"
            if (self.operation and self.service != "sagemaker-runtime") or self.service in ("iam", "sts")
            else "rest"
        )

    @property
    def changes(self) -> bool:
        """Whether the request may change something."""
        if self.service == "s3":
            return self.method not in ("GET", "HEAD", "OPTIONS")
        return not _READS.match(self.operation)

    @property
    def object_name(self) -> tuple[str, str] | None:
        """The bucket and the key that an S3 request names, None if it names no key."""
        bucket, key = bucket_and_key(self.raw_path)
        return (bucket, key) if bucket and key else None

    def environ(self) -> dict[str, Any]:
        """The request in WSGI's form, with what moto needs besides (PEP 3333; moto.core.request)."""
        host, port = self._server
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(self.raw_path).decode("latin-1"),
            "RAW_URI": f"{self.raw_path}?{self.query}" if self.query else self.raw_path,
            "QUERY_STRING": self.query,
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": self._client[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            _SERVICE: self.service,
        }
        preserved: dict[str, str] = {}
        for name, value in self.headers.items():
            if name in ("action", "transfer-encoding", "expect", "connection", "x-moto-account-id"):
                continue
            key = environ_key_for_header(name)
            if "_" in name:
                if not should_preserve_original_header_name(name) or name.replace("_", "-") in self.headers:
                    continue
                preserved[key] = name
            environ[key] = value
        environ["CONTENT_LENGTH"] = str(len(self.body))
        if self.protocol == "json":
            # moto would rather take an operation and parameters from the query or a form.
            environ |= {"QUERY_STRING": "", "RAW_URI": self.raw_path}
            environ["CONTENT_TYPE"] = "application/x-amz-json-1.1"
        elif self.protocol == "query" and self.body:
            environ["CONTENT_TYPE"] = "application/x-www-form-urlencoded"
        environ[PRESERVED_HEADER_NAMES_ENVIRON_KEY] = preserved
        return environ


class Answer:
    """Status, headers and body of a response; a large body comes in blocks."""

    def __init__(self, status: int, headers: Headers, body: bytes | Iterable[bytes]) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def blocks(self) -> Iterable[bytes]:
        """The body, in one piece or chunks."""
        return [self.body] if isinstance(self.body, bytes) else self.body


def rejection(request: Request, status: int, code: str, message: str) -> Answer:
    """An error in the format of the request's service."""
    identity = str(uuid.uuid4())
    if request.protocol == "s3":
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
            f"<Message>{escape(message)}</Message><RequestId>{identity}</RequestId></Error>"
        )
        media = "application/xml"
    elif request.protocol != "query":
        body = json.dumps({"__type": code, "message": message})
        media = "application/x-amz-json-1.1"
    else:
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message>"
            f"</Error><RequestId>{identity}</RequestId></ErrorResponse>"
        )
        media = "text/xml"
    data = body.encode()
    headers = [
        ("Content-Type", media),
        ("Content-Length", str(len(data))),
        ("x-amzn-RequestId", identity),
        ("x-amz-request-id", identity),
    ]
    if media == "application/x-amz-json-1.1":
        headers.append(("x-amzn-ErrorType", code))
    return Answer(status, headers, b"" if request.method == "HEAD" else data)


_UNSIGNED: dict[Reason, dict[str, tuple[int, str]]] = {
    "missing": {
        "s3": (403, "AccessDenied"),
        "json": (400, "MissingAuthenticationTokenException"),
        "rest": (403, "MissingAuthenticationTokenException"),
        "query": (403, "MissingAuthenticationToken"),
    },
    "malformed": {
        "s3": (400, "AuthorizationHeaderMalformed"),
        "json": (400, "IncompleteSignatureException"),
        "rest": (403, "IncompleteSignatureException"),
        "query": (400, "IncompleteSignature"),
    },
    "unknown": {
        "s3": (403, "InvalidAccessKeyId"),
        "json": (400, "UnrecognizedClientException"),
        "rest": (403, "UnrecognizedClientException"),
        "query": (403, "InvalidClientTokenId"),
    },
    "mismatch": {
        "s3": (403, "SignatureDoesNotMatch"),
        "json": (400, "InvalidSignatureException"),
        "rest": (403, "InvalidSignatureException"),
        "query": (403, "SignatureDoesNotMatch"),
    },
    "content": {
        "s3": (400, "XAmzContentSHA256Mismatch"),
        "json": (400, "InvalidSignatureException"),
        "rest": (403, "InvalidSignatureException"),
        "query": (403, "SignatureDoesNotMatch"),
    },
    "skewed": {
        "s3": (403, "RequestTimeTooSkewed"),
        "json": (400, "InvalidSignatureException"),
        "rest": (403, "InvalidSignatureException"),
        "query": (403, "SignatureDoesNotMatch"),
    },
    "expired": {
        "s3": (400, "ExpiredToken"),
        "json": (400, "ExpiredTokenException"),
        "rest": (403, "ExpiredTokenException"),
        "query": (403, "ExpiredToken"),
    },
    "unsupported": {
        "s3": (400, "InvalidRequest"),
        "json": (400, "IncompleteSignatureException"),
        "rest": (403, "IncompleteSignatureException"),
        "query": (400, "IncompleteSignature"),
    },
}
"""HTTP status and code for a request that is not signed as it must be, by the service's protocol."""


_DENIED: dict[str, tuple[int, str]] = {
    "s3": (403, "AccessDenied"),
    "json": (400, "AccessDeniedException"),
    "rest": (403, "AccessDeniedException"),
    "query": (403, "AccessDenied"),
}
"""HTTP status and code for a request that its user's policy does not allow, by the service's protocol."""


def gated(application: Asgi, credentials: Credentials, guard: WebGuard) -> Gate:
    """The application behind the guard; its own pages and controls need their keys."""

    def reject(scope: Message, status: int, reason: str) -> tuple[str, bytes]:
        answer = rejection(Request(scope, b""), status, "AccessDenied", reason)
        return dict(answer.headers)["Content-Type"], b"".join(answer.blocks())

    keys = {
        "/_local/": Key.token(credentials.control_token),
        "/_local/athena/": Key.login(USERNAME, credentials.password),
        "/_local/quicksight/": Key.login(USERNAME, credentials.password),
        "/_local/sagemaker/": Key.login(USERNAME, credentials.password),
        _HEALTH: None,
    }
    front = front_page(
        "The local AWS",
        "It answers signed requests to S3, Firehose, SageMaker, Athena, Glue, QuickSight, Secrets Manager and"
        " more, by the address of each client: aws --endpoint-url with the keys of .run/endpoints.json shows"
        " buckets, jobs and queries. Dashboards are shown in Airflow, from its menu.",
        {"Whether it is up": _HEALTH},
    )
    return Gate(application, guard, keys, reject, front)


class _Dispatcher(DomainDispatcherApplication):
    """Has the service answer for which a request was checked; moto guesses it from path and signature."""

    def get_application(self, environ: dict[str, Any]) -> Any:
        """The application of the request's service."""
        service = environ[_SERVICE]
        with self.lock:
            if service not in self.app_instances:
                self.app_instances[service] = self.create_app(service)
            return self.app_instances[service]


class Application:
    """The ASGI application."""

    def __init__(self, state: State, context: Context) -> None:
        self._state = state
        self._credentials = context.credentials
        self._users = Users(context.credentials)
        self._offered = {**OFFERED, **context.offered}
        self._served = context.served
        self._pages = context.pages
        # moto asks for these at every request: it lists its folders, and a class's members.
        modules = tuple(backends.list_of_moto_modules())
        patch(backends, list_of_moto_modules=lambda: modules)
        patch(moto_responses, method_names_from_class=cache(method_names_from_class))
        self._moto = _Dispatcher(create_backend_app)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request (the ASGI specification, version 3)."""
        if scope["type"] != "http":
            raise RuntimeError(f"not offered: {scope['type']}")
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._pool, self._answer, scope, bytes(body))
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [
                    (name.lower().encode("latin-1"), value.encode("latin-1"))
                    for name, value in answer.headers
                ],
            }
        )
        if isinstance(answer.body, bytes):
            await send({"type": "http.response.body", "body": answer.body})
            return
        blocks: Iterator[bytes] = iter(answer.body)
        while (block := await loop.run_in_executor(self._pool, next, blocks, None)) is not None:
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _answer(self, scope: Message, body: bytes) -> Answer:
        request = Request(scope, body)
        if request.raw_path == _HEALTH:
            return self._health()
        for prefix, page in self._pages.items():
            if request.raw_path.startswith(prefix) and request.method == "GET":
                return Answer(*page(request.raw_path))
        try:
            answer = self._permitted(request, self._check_signature(request))
        except AccessDeniedError as error:
            log.warning("denied service=%s path=%s: %s", request.service, request.raw_path, error)
            answer = rejection(request, *_DENIED[request.protocol], str(error))
        except SignatureError as error:
            status, code = _UNSIGNED[error.reason][request.protocol]
            log.warning("rejected service=%s code=%s path=%s", request.service, code, request.raw_path)
            answer = rejection(request, status, code, str(error))
        except NotImplementedError as error:
            log.warning("rejected service=%s operation=%s: %s", request.service, request.operation, error)
            answer = _not_offered(request)
        except Exception:
            log.exception(
                "failed service=%s operation=%s path=%s", request.service, request.operation, request.raw_path
            )
            answer = rejection(request, 500, "InternalError", "We encountered an internal error.")
        answer.headers = [(name, value) for name, value in answer.headers if name.lower() != "date"]
        answer.headers.append(("Date", formatdate(usegmt=True)))
        return answer

    def _permitted(self, request: Request, access_key_id: str) -> Answer:
        """Answers what the policy of the key's user allows; raises `AccessDeniedError`."""
        self._users.check(
            access_key_id,
            asked_of(
                request.service,
                request.operation,
                request.method,
                request.raw_path,
                request.query,
                request.headers,
                request.body,
            ),
        )
        answer = self._dispatch(request)
        if request.service == "s3" and request.method in ("GET", "HEAD") and answer.status == 404:
            name = request.object_name
            if name and not self._users.may_know(access_key_id, *name):
                return rejection(request, *_DENIED["s3"], "Access Denied")
        return answer

    def _check_signature(self, request: Request) -> str:
        media = request.headers.get("content-type", "")
        if request.service == "s3" and request.method == "POST" and media.startswith("multipart/form-data"):
            raise NotImplementedError("S3's form uploads")
        return verify(
            Signed(request.method, request.raw_path, request.query, request.headers, request.body),
            self._secret_of,
        )

    def _secret_of(self, access_key_id: str) -> Secret | None:
        if access_key_id == self._credentials.access_key_id:
            return Secret(self._credentials.secret_access_key)
        if secret := self._users.secret_of(access_key_id):
            return secret
        role = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(access_key_id)
        if role is None:
            return None
        # moto's times are in UTC, without saying so.
        return Secret(
            role.secret_access_key, role.session_token, role.expiration.replace(tzinfo=UTC).timestamp()
        )

    def _dispatch(self, request: Request) -> Answer:
        asked = request.operation or f"{request.method} {request.raw_path}"
        if rejected := api_faults.strike(request.service, asked):
            return rejection(request, **rejected)
        offered = self._offered.get(request.service)
        if offered is None or not offered.match(request.operation):
            log.warning("rejected service=%s operation=%s", request.service, request.operation)
            return _not_offered(request)
        if served := self._served.get(request.service):
            return Answer(
                *served(request.method, request.raw_path, request.query, request.headers, request.body)
            )
        lock = self._state.lock(request.service)
        if request.service == "s3" and not request.changes:
            lock = None
        with lock or nullcontext():
            answer = self._call(request)
            if lock and request.changes and (request.service, request.operation) not in _SELF_KEPT:
                if request.service == "s3" and (named := request.object_name):
                    self._state.objects.touch(*named)
                self._state.save(request.service)
        return answer

    def _call(self, request: Request) -> Answer:
        started: list[tuple[str, Headers]] = []

        def start_response(status: str, headers: Headers, _error: object = None) -> Callable[[bytes], None]:
            started.append((status, headers))
            return lambda _data: None

        blocks = self._moto(request.environ(), start_response)
        status, headers = started[-1]
        length = next((value for name, value in headers if name.lower() == "content-length"), "0")
        body = b"".join(blocks) if request.method == "HEAD" or int(length) <= _WHOLE else blocks
        return Answer(int(status.split(" ", 1)[0]), headers, body)

    def _health(self) -> Answer:
        data = b'{"status": "ok"}'
        return Answer(200, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))], data)

    def close(self) -> None:
        """Does not wait for requests: those that wait for a lock are abandoned."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _not_offered(request: Request) -> Answer:
    what = f"{request.service} {request.operation}".strip()
    message = f"{what} is not offered by the local AWS"
    if request.service == "athena":
        message += " without a Trino (--trino-url)"
    if request.service == "s3":
        return rejection(request, 501, "NotImplemented", message)
    if "x-amz-target" in request.headers or not request.operation:
        return rejection(request, 400, "UnknownOperationException", message)
    return rejection(request, 400, "InvalidAction", message)

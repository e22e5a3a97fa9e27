"""SageMaker models and batch transform jobs that really run the model; moto keeps the resources.

A job starts a serving process (`local.aws.container`), sends it the input's records in batches and writes
the answers to S3, as the SageMaker developer guide's "Batch transform" and the API reference of
CreateTransformJob describe it.
"""

from __future__ import annotations

import gzip
import http.client
import io
import logging
import os
import re
import shutil
import subprocess
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.s3.exceptions import MissingBucket
from moto.sagemaker import models
from moto.sagemaker.exceptions import ResourceInUseException, SagemakerClientError, ValidationError
from moto.sagemaker.responses import SageMakerResponse

from local.aws import container, objects, pages
from local.aws.context import ACCOUNT, REGION, Context, Reply, patch
from local.aws.interpreters import MissingRequirementsError, python_for

MEBIBYTE = 2**20
DEFAULT_PAYLOAD_MEBIBYTES = 6
MAX_PAYLOAD_MEBIBYTES = 100
_START_SECONDS = 300.0
_LOG_LINES = 12
_MAX_REASON = 1024
_JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_ACTIVE = ("InProgress", "Stopping")
PAGES = "/_local/sagemaker/transform-jobs/"
"""The path of a job's page, by its name."""

type Status = Literal["InProgress", "Completed", "Failed", "Stopping", "Stopped"]

log = logging.getLogger(__name__)


class ResourceLimitError(SagemakerClientError):
    """The account's limit of instances is used up; the caller tries again later."""

    code = "ResourceLimitExceeded"


class JobError(Exception):
    """A job failed; the message is its FailureReason."""


class _StoppedError(Exception):
    """The job was told to stop."""


class ModelServer:
    """One serving process. Raises `JobError` if it does not start; `close` ends it."""

    def __init__(self, model_dir: Path, environment: Mapping[str, str], log_path: Path) -> None:
        self._log_path = log_path
        requirements = model_dir / "code" / "requirements.txt"
        try:
            python = python_for(requirements.read_text() if requirements.exists() else "")
        except MissingRequirementsError as error:
            raise JobError(f"ClientError: {error}") from error
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        with log_path.open("wb") as log_file:
            self._process = subprocess.Popen(
                [python, "-I", "-u", container.__file__, "--model-dir", str(model_dir)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                cwd=model_dir,
                env={**inherited, **environment},
            )
        self._port: int | None = None

    def wait(self) -> None:
        """Waits until the model is loaded."""
        if self._port is not None:
            return
        # Only killed: the reason is in its log, which `close` would delete.
        timer = threading.Timer(_START_SECONDS, self._process.kill)
        timer.start()
        try:
            if line := self._stdout.readline():
                self._port = int(line.removeprefix(b"ready "))
                return
        finally:
            timer.cancel()
        self._process.wait()
        raise JobError(f"AlgorithmError: the model server did not start{self.tail()}")

    @property
    def _stdout(self) -> io.BufferedReader:
        if not isinstance(self._process.stdout, io.BufferedReader):
            raise TypeError("the process has no standard output")
        return self._process.stdout

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def invoke(self, payload: bytes, content_type: str, accept: str, timeout: float) -> tuple[int, bytes]:
        """Status and body of the answer to one payload; raises `OSError` if there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        try:
            headers = {"Content-Type": content_type, "Accept": accept}
            connection.request("POST", "/invocations", payload, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def log_size(self) -> int:
        """The size of the log in bytes: a job's own part starts there."""
        return self._log_path.stat().st_size if self._log_path.exists() else 0

    def log(self, begin: int = 0) -> str:
        """The container's log from a byte on, at most its last mebibyte; "" if it is gone."""
        if not self._log_path.exists():
            return ""
        with self._log_path.open("rb") as file:
            file.seek(max(begin, self.log_size() - MEBIBYTE))
            return file.read().decode(errors="replace")

    def tail(self) -> str:
        """The last lines of the container's log, each on a line of its own, "" if it is empty."""
        return "".join(f"\n{line}" for line in self.log().splitlines()[-_LOG_LINES:])

    def stop(self) -> None:
        """Kills the process and waits for its end; its log is still there."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()

    def close(self) -> None:
        """Stops the process and deletes its log."""
        self.stop()
        self._log_path.unlink(missing_ok=True)


class ModelServers:
    """Serving processes: one a running job; an idle one is kept for a while for the model's next job."""

    def __init__(self, folder: Path, warm_seconds: float) -> None:
        self._folder = folder
        self._warm_seconds = warm_seconds
        self._lock = threading.Lock()
        self._idle: list[tuple[str, float, ModelServer]] = []
        self._busy: set[ModelServer] = set()
        self._closed = False
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def acquire(self, artifact: objects.StoredKey, environment: Mapping[str, str]) -> tuple[str, ModelServer]:
        """A server for the artifact, idle or new (then not yet `wait`ed for), and what to `release` it by."""
        identity = sha256(f"{artifact.etag}{sorted(environment.items())}".encode()).hexdigest()
        with self._lock:
            for index, (key, _, server) in enumerate(self._idle):
                if key == identity and server.alive:
                    del self._idle[index]
                    self._busy.add(server)
                    return identity, server
        model_dir = self._unpack(artifact)
        with self._lock:
            if self._closed:
                raise JobError("InternalServerError: the service ends")
            server = ModelServer(model_dir, environment, self._folder / f"{uuid.uuid4().hex}.log")
            self._busy.add(server)
        return identity, server

    def _unpack(self, artifact: objects.StoredKey) -> Path:
        target = self._folder / artifact.etag.strip('"')
        with self._lock:
            if target.exists():
                return target
            new = target.with_suffix(".new")
            try:
                # From its file: an artifact may be larger than what is good to hold in memory.
                with tarfile.open(artifact.path, mode="r:gz") as archive:
                    archive.extractall(new, filter="data")
            except (tarfile.TarError, OSError, EOFError) as error:
                shutil.rmtree(new, ignore_errors=True)
                raise JobError(f"ClientError: Failed to extract model data archive: {error}") from error
            new.rename(target)
        return target

    def release(self, identity: str, server: ModelServer, reusable: bool) -> None:
        """Returns a server; it is kept only if it is ``reusable``."""
        with self._lock:
            self._busy.discard(server)
            if reusable and server.alive and not self._closed and self._warm_seconds > 0:
                self._idle.append((identity, time.monotonic() + self._warm_seconds, server))
                timer = threading.Timer(self._warm_seconds + 0.1, self._expire)
                timer.daemon = True
                timer.start()
                return
        server.close()

    def _expire(self) -> None:
        now = time.monotonic()
        with self._lock:
            expired = [server for _, until, server in self._idle if until <= now]
            self._idle = [entry for entry in self._idle if entry[1] > now]
        for server in expired:
            server.close()

    def close(self) -> None:
        """Ends every process."""
        with self._lock:
            self._closed = True
            servers = [*self._busy, *(server for _, _, server in self._idle)]
            self._idle.clear()
        for server in servers:
            server.close()


@dataclass(frozen=True)
class Plan:
    """A checked transform job. `of` raises moto's `ValidationError` for what SageMaker rejects."""

    source: str
    prefix: str
    manifest: bool
    target: str
    target_prefix: str
    content_type: str
    accept: str
    split: bool
    batch: bool
    gzip: bool
    assemble: bool
    payload_bytes: int
    concurrency: int
    timeout: float
    retries: int

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Plan:
        """Reads CreateTransformJob's parameters."""
        given = request["transform_input"]
        data_source = given["DataSource"]["S3DataSource"]
        output = request["transform_output"]
        kind = _choice(data_source, "S3DataType", "S3Prefix", ("S3Prefix",))
        split = _choice(given, "SplitType", "None", ("None", "Line"))
        compression = _choice(given, "CompressionType", "None", ("None", "Gzip"))
        assemble = _choice(output, "AssembleWith", "None", ("None", "Line"))
        strategy = request.get("batch_strategy") or "MultiRecord"
        if strategy not in ("MultiRecord", "SingleRecord"):
            raise ValidationError(message=f"BatchStrategy {strategy} is none of MultiRecord, SingleRecord")
        processing = request.get("data_processing") or {}
        if any(processing.get(name, "$") != "$" for name in ("InputFilter", "OutputFilter")) or (
            processing.get("JoinSource", "None") != "None"
        ):
            raise ValidationError(message="DataProcessing is not offered by the local AWS")
        payload = request.get("max_payload_in_mb")
        payload = DEFAULT_PAYLOAD_MEBIBYTES if payload is None else int(payload)
        concurrency = int(request.get("max_concurrent_transforms") or 1)
        if payload > MAX_PAYLOAD_MEBIBYTES or payload * concurrency > MAX_PAYLOAD_MEBIBYTES:
            raise ValidationError(
                message="MaxPayloadInMB, and MaxConcurrentTransforms * MaxPayloadInMB, must not exceed 100 MB"
            )
        client = request.get("model_client_config") or {}
        source, prefix = _s3_address(data_source["S3Uri"], "S3Uri")
        target, target_prefix = _s3_address(output["S3OutputPath"], "S3OutputPath")
        return cls(
            source=source,
            prefix=prefix,
            manifest=kind == "ManifestFile",
            target=target,
            target_prefix=target_prefix.rstrip("/"),
            content_type=given.get("ContentType") or "application/octet-stream",
            accept=output.get("Accept") or "*/*",
            split=split == "Line",
            batch=strategy == "MultiRecord",
            gzip=compression == "Gzip",
            assemble=assemble == "Line",
            # 0 means no limit, for streaming algorithms.
            payload_bytes=(payload or MAX_PAYLOAD_MEBIBYTES) * MEBIBYTE,
            concurrency=concurrency,
            timeout=float(client.get("InvocationsTimeoutInSeconds", 600)),
            retries=int(client.get("InvocationsMaxRetries", 3)),
        )

    def inputs(self) -> list[str]:
        """The keys of the input; raises `JobError` if there are none."""
        bucket = objects.find_bucket(self.source)
        keys = (
            [] if bucket is None else [key for key in bucket.keys.names(self.prefix) if not key.endswith("/")]
        )
        if not keys:
            raise JobError(f"ClientError: No S3 objects found under S3 URL s3://{self.source}/{self.prefix}")
        return keys

    def payloads(self, data: bytes) -> Iterator[bytes]:
        """The bodies to send for one object's content; raises `JobError` for a record that is too large."""
        if not self.split:
            yield self._fitting(data)
            return
        batch: list[bytes] = []
        size = 0
        for line in data.splitlines(keepends=True) if b"\r" not in data else io.BytesIO(data):
            if not line.strip():
                continue
            self._fitting(line)
            if batch and (not self.batch or size + len(line) > self.payload_bytes):
                yield b"".join(batch)
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        if batch:
            yield b"".join(batch)

    def _fitting(self, data: bytes) -> bytes:
        if len(data) > self.payload_bytes:
            raise JobError(
                f"ClientError: a record of {len(data)} bytes exceeds MaxPayloadInMB "
                f"({self.payload_bytes // MEBIBYTE} MB)"
            )
        return data

    def output_key(self, key: str) -> str:
        """Where the answers to one input object go: its path below the prefix's folder, and ``.out``."""
        relative = key[self.prefix.rfind("/") + 1 :]
        return f"{self.target_prefix}/{relative}.out".lstrip("/")

    def assembled(self, answers: list[bytes]) -> bytes:
        """One object's answers put together, each ended by a newline where lines are wanted."""
        if not self.assemble:
            return b"".join(answers)
        return b"".join(answer if answer.endswith(b"\n") else answer + b"\n" for answer in answers)


def _choice(given: Mapping[str, Any], name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = given.get(name) or default
    if value not in allowed:
        raise ValidationError(
            message=f"{name} {value} is not offered by the local AWS ({', '.join(allowed)})"
        )
    return str(value)


def _s3_address(address: str, name: str) -> tuple[str, str]:
    parts = urlsplit(address)
    if parts.scheme != "s3" or not parts.netloc:
        raise ValidationError(message=f"{name} {address!r} is no S3 address")
    return parts.netloc, parts.path.lstrip("/")


class Transforms:
    """The account's transform jobs in progress."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._servers = ModelServers(context.state / "sagemaker", context.options.warm_seconds)
        self._stops: dict[str, threading.Event] = {}
        self._running: dict[str, tuple[ModelServer, int]] = {}
        self._logs = context.state / "sagemaker-logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._closing = False

    def start(self, job: Any, plan: Plan, artifact: objects.StoredKey, environment: dict[str, str]) -> None:
        """Runs the job in the background."""
        stop = self._stops[job.transform_job_name] = threading.Event()
        arguments = (job, plan, artifact, environment, stop)
        name = f"transform-{job.transform_job_name}"
        threading.Thread(target=self._run, args=arguments, name=name, daemon=True).start()

    def stop(self, name: str) -> None:
        """Ends the job's process; the job then reports that it is stopped."""
        with self._lock:
            self._stops[name].set()
            running = self._running.get(name)
        if running:
            running[0].stop()

    def log(self, name: str) -> str:
        """The log of a job's container so far; job names are safe as file names."""
        with self._lock:
            running = self._running.get(name)
        if running:
            return running[0].log(running[1])
        kept = self._logs / f"{name}.log"
        return kept.read_text(errors="replace") if kept.exists() else ""

    def _run(
        self,
        job: Any,
        plan: Plan,
        artifact: objects.StoredKey,
        environment: dict[str, str],
        stop: threading.Event,
    ) -> None:
        status: Status = "Completed"
        reason = ""
        try:
            self._transform(job, plan, artifact, environment, stop)
        except _StoppedError:
            status = "Stopped"
        except JobError as error:
            status, reason = "Failed", str(error)
        except Exception as error:
            log.exception("failed job=%s", job.transform_job_name)
            status, reason = "Failed", f"InternalServerError: {type(error).__name__}: {error}"
        if self._closing:
            # The next server reports that the job was interrupted.
            return
        with self._lock:
            self._stops.pop(job.transform_job_name, None)
        _finish(job, "Stopped" if stop.is_set() else status, reason)
        self._context.changed("sagemaker")
        log.info("transform job=%s status=%s", job.transform_job_name, job.transform_job_status)

    def _transform(
        self,
        job: Any,
        plan: Plan,
        artifact: objects.StoredKey,
        environment: dict[str, str],
        stop: threading.Event,
    ) -> None:
        name = job.transform_job_name
        keys = plan.inputs()
        identity, server = self._servers.acquire(artifact, environment)
        begin = server.log_size()
        good = False
        try:
            with self._lock:
                self._running[name] = server, begin
            if stop.is_set():
                raise _StoppedError
            server.wait()
            job.transform_start_time = utcnow()
            self._context.changed("sagemaker")
            with ThreadPoolExecutor(plan.concurrency) as pool:
                for key in keys:
                    self._transform_object(plan, key, server, stop, pool.map)
            good = True
        finally:
            (self._logs / f"{name}.log").write_text(server.log(begin))
            with self._lock:
                self._running.pop(name, None)
            self._servers.release(identity, server, reusable=good)

    def _transform_object(
        self,
        plan: Plan,
        key: str,
        server: ModelServer,
        stop: threading.Event,
        each: Callable[[Callable[[bytes], bytes], Iterator[bytes]], Iterator[bytes]],
    ) -> None:
        found = objects.find(plan.source, key)
        if found is None:
            raise JobError(f"ClientError: s3://{plan.source}/{key} was deleted while the job ran")
        data = bytes(found.value)
        if plan.gzip:
            try:
                data = gzip.decompress(data)
            except (OSError, EOFError) as error:
                raise JobError(f"ClientError: s3://{plan.source}/{key} is no gzip: {error}") from error
        answers = list(each(lambda payload: _invoke(plan, server, stop, payload), plan.payloads(data)))
        if stop.is_set():
            raise _StoppedError
        try:
            objects.put(plan.target, plan.output_key(key), plan.assembled(answers))
        except MissingBucket as error:
            raise JobError(f"ClientError: the output's bucket {plan.target} does not exist") from error

    def close(self) -> None:
        """Ends every process; jobs in progress are left to the next server."""
        self._closing = True
        self._servers.close()


def _invoke(plan: Plan, server: ModelServer, stop: threading.Event, payload: bytes) -> bytes:
    """One payload's answer; raises `JobError` with the end of the container's log."""
    for attempt in range(plan.retries + 1):
        if stop.is_set():
            raise _StoppedError
        try:
            status, body = server.invoke(payload, plan.content_type, plan.accept, plan.timeout)
        except OSError as error:
            if stop.is_set():
                raise _StoppedError from error
            if not server.alive or attempt == plan.retries:
                raise JobError(
                    f"AlgorithmError: the model server gave no answer ({error}){server.tail()}"
                ) from error
            continue
        if status == 200:
            return body
        if status < 500 or attempt == plan.retries:
            text = body.decode(errors="replace")
            raise JobError(f"ClientError: the model answered {status}: {text}{server.tail()}")
    raise AssertionError("unreachable")


def _finish(job: Any, status: Status, reason: str = "") -> None:
    job.failure_reason = (
        reason if len(reason) <= _MAX_REASON else f"{reason[:120]} ... {reason[-_MAX_REASON + 125 :]}"
    )
    job.transform_end_time = job.last_modified_time = utcnow()
    job.transform_job_status = status


def _describe(job: Any) -> dict[str, Any]:
    return {name: value for name, value in job.response_object.items() if value not in ("", {}, [])}


def _find(backend: Any, name: str) -> Any:
    job = backend.transform_jobs.get(name)
    if job is None:
        arn = models.FakeTransformJob.arn_formatter(name, backend.account_id, backend.region_name)
        raise ValidationError(message=f"Could not find transform job '{arn}'.")
    return job


def stored_artifact(url: str | None) -> objects.StoredKey:
    """The model's archive; raises `ValidationError` if there is none."""
    bucket, key = _s3_address(url or "", "ModelDataUrl")
    found = objects.find(bucket, key)
    if found is None:
        raise ValidationError(message=f"Could not find model data at {url}.")
    return found


def install(context: Context) -> None:
    """Replaces moto's jobs, which complete at once, by real ones."""
    backend = models.SageMakerModelBackend
    create_model: Any = backend.create_model
    create_job: Any = backend.create_transform_job
    transforms: list[Transforms] = []

    def create_model_checked(self: Any, **request: Any) -> Any:
        name, primary = request["model_name"], request["primary_container"]
        if not _JOB_NAME.fullmatch(name):
            raise bad_name("modelName", name)
        if name in self._models:
            raise ValidationError(message=f'Cannot create already existing model "{self._models[name].arn}".')
        if not primary or request.get("containers"):
            raise ValidationError(message="Only a PrimaryContainer is offered by the local AWS")
        if not primary.get("Image"):
            raise ValidationError(message="PrimaryContainer needs an Image")
        if primary.get("ModelDataSource") or primary.get("ModelPackageName"):
            raise ValidationError(message="Only ModelDataUrl is offered by the local AWS")
        if not request.get("execution_role_arn"):
            raise ValidationError(message="ExecutionRoleArn is required")
        stored_artifact(primary.get("ModelDataUrl"))
        return create_model(self, **request)

    def create_transform_job(self: Any, **request: Any) -> Any:
        name = request["transform_job_name"]
        if not _JOB_NAME.fullmatch(name):
            raise bad_name("transformJobName", name)
        if name in self.transform_jobs:
            raise ResourceInUseException(
                message="Job name must be unique within an AWS account and region, and a job with this name "
                f"already exists ({self.transform_jobs[name].arn})"
            )
        model = self._models.get(request["model_name"])
        if model is None:
            raise ValidationError(message=f'Could not find model "{request["model_name"]}".')
        plan = Plan.of(request)
        artifact = stored_artifact(model.primary_container["ModelDataUrl"])
        wanted = int(request["transform_resources"].get("InstanceCount", 1))
        used = sum(
            int(job.transform_resources.get("InstanceCount", 1))
            for job in self.transform_jobs.values()
            if job.transform_job_status in _ACTIVE
        )
        limit = context.options.transform_jobs
        if used + wanted > limit:
            raise ResourceLimitError(
                "The account-level service limit "
                f"'{request['transform_resources'].get('InstanceType')} for transform job usage' is {limit} "
                f"Instances, with current utilization of {used} Instances and a request delta of {wanted} "
                "Instances. Please use AWS Service Quotas to request an increase for this quota."
            )
        job = create_job(self, **request)
        job.transform_job_status = "InProgress"
        job.transform_start_time = job.transform_end_time = None
        environment = {
            **(model.primary_container.get("Environment") or {}),
            **(request.get("environment") or {}),
        }
        transforms[0].start(job, plan, artifact, environment)
        return job

    def describe_transform_job(self: Any, transform_job_name: str) -> dict[str, Any]:
        return _describe(_find(self, transform_job_name))

    def stop_transform_job(self: Any) -> Any:
        job = _find(self.sagemaker_backend, self._get_param("TransformJobName"))
        if job.transform_job_status != "InProgress":
            raise ValidationError(
                message="The request was rejected because the transform job is in status "
                f"{job.transform_job_status}."
            )
        job.transform_job_status = "Stopping"
        job.last_modified_time = utcnow()
        transforms[0].stop(job.transform_job_name)
        return EmptyResult()

    def start() -> None:
        transforms.append(Transforms(context))
        interrupted = [
            job
            for job in models.sagemaker_backends[ACCOUNT][REGION].transform_jobs.values()
            if job.transform_job_status in _ACTIVE
        ]
        for job in interrupted:
            if job.transform_job_status == "Stopping":
                _finish(job, "Stopped")
            else:
                _finish(job, "Failed", "InternalServerError: the service was restarted while the job ran")
        if interrupted:
            context.changed("sagemaker")

    patch(
        backend,
        create_model=create_model_checked,
        create_transform_job=create_transform_job,
        describe_transform_job=describe_transform_job,
    )
    patch(SageMakerResponse, stop_transform_job=stop_transform_job, list_transform_jobs=_list_transform_jobs)
    context.on_start(start)
    context.serve_page(PAGES, lambda raw_path: _page(unquote(raw_path.removeprefix(PAGES)), transforms[0]))
    context.on_close(lambda: transforms[0].close() if transforms else None)


def _page(name: str, transforms: Transforms) -> Reply:
    """The page of a job: its state, why it failed, and its container's log; 404 if there is none."""
    job: Any = models.sagemaker_backends[ACCOUNT][REGION].transform_jobs.get(name)
    if job is None:
        return pages.page(404, "No such job", f"<p>There is no transform job {escape(name)}.</p>")
    return pages.page(
        200,
        f"SageMaker transform job {name}",
        pages.facts(
            [
                ("Status", job.transform_job_status),
                ("Model", job.model_name),
                ("Created", job.creation_time),
                ("Started", job.transform_start_time),
                ("Ended", job.transform_end_time),
                ("Input", job.transform_input["DataSource"]["S3DataSource"]["S3Uri"]),
                ("Output", job.transform_output["S3OutputPath"]),
                ("Resources", job.transform_resources),
                ("Environment", job.environment),
            ]
        ),
        pages.error(job.failure_reason or ""),
        pages.listing("Log of the container", transforms.log(name), "The container has said nothing."),
        again=job.transform_job_status in _ACTIVE,
    )


def bad_name(parameter: str, name: str) -> ValidationError:
    """SageMaker's error for a name that it does not allow."""
    return ValidationError(
        message=f"1 validation error detected: Value '{name}' at '{parameter}' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
    )


def _list_transform_jobs(response: Any) -> ActionResult:
    """ListTransformJobs: filters first, then order, then pages (moto's pages come before its filters)."""
    bounds: list[tuple[str, str, Callable[[datetime, datetime], bool]]] = [
        ("CreationTimeAfter", "creation_time", datetime.__gt__),
        ("CreationTimeBefore", "creation_time", datetime.__lt__),
        ("LastModifiedTimeAfter", "last_modified_time", datetime.__gt__),
        ("LastModifiedTimeBefore", "last_modified_time", datetime.__lt__),
    ]
    found = list(response.sagemaker_backend.transform_jobs.values())
    if contains := response._get_param("NameContains"):
        found = [job for job in found if contains in job.transform_job_name]
    if status := response._get_param("StatusEquals"):
        found = [job for job in found if job.transform_job_status == status]
    for parameter, attribute, holds in bounds:
        if bound := response._get_param(parameter):
            naive = bound.replace(tzinfo=None)
            found = [job for job in found if holds(getattr(job, attribute), naive)]
    orders: dict[str, Callable[[Any], Any]] = {
        "CreationTime": lambda job: (job.creation_time, job.transform_job_name),
        "Name": lambda job: job.transform_job_name,
        "Status": lambda job: (job.transform_job_status, job.transform_job_name),
    }
    by, order = response._get_param("SortBy", "CreationTime"), response._get_param("SortOrder", "Descending")
    if by not in orders or order not in ("Ascending", "Descending"):
        raise ValidationError(message=f"SortBy {by} or SortOrder {order} is unknown")
    found.sort(key=orders[by], reverse=order == "Descending")
    token = response._get_param("NextToken")
    if token and not token.isdecimal():
        raise ValidationError(message="Invalid pagination token")
    start, count = int(token or 0), int(response._get_param("MaxResults") or 100)
    if not 1 <= count <= 100:
        raise ValidationError(message="MaxResults must be from 1 to 100")
    summaries = [
        {
            name: value
            for name, value in _describe(job).items()
            if name
            in (
                "TransformJobName",
                "TransformJobArn",
                "CreationTime",
                "TransformEndTime",
                "LastModifiedTime",
                "TransformJobStatus",
                "FailureReason",
            )
        }
        for job in found[start : start + count]
    ]
    more = str(start + count) if start + count < len(found) else None
    return ActionResult({"TransformJobSummaries": summaries, "NextToken": more})

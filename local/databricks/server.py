"""HTTP in front of `Jobs`, `Runs` and `Files`: routes, the bearer token, errors as Databricks words them."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import logging
import secrets
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from include.web_guard import WebGuard
from local.credentials import USERNAME, Credentials
from local.databricks.answers import USER
from local.databricks.errors import ApiError, invalid
from local.databricks.file_api import STORAGE, FileApi
from local.databricks.files import Files
from local.databricks.jobs import Jobs
from local.databricks.page import render, render_runs
from local.databricks.runs import Runs
from local.databricks.settings import SPARK_VERSIONS, truth, whole
from local.front_page import front_page
from local.gate import Gate, Key, Message

_HEALTH = "/_local/health"

type Handler = Callable[[dict[str, Any]], Any]

log = logging.getLogger(__name__)


class Api:
    """The application. Paths are ``/api/<version>/…``; the Jobs API answers as 2.1 and as 2.2."""

    def __init__(self, jobs: Jobs, runs: Runs, files: Files, credentials: Credentials) -> None:
        self._jobs = jobs
        self._runs = runs
        self._files = files
        self._file_api = FileApi(files)
        self._credentials = credentials
        handlers: dict[tuple[str, str], Handler] = {
            ("POST", "jobs/create"): jobs.create_job,
            ("GET", "jobs/get"): jobs.job,
            ("GET", "jobs/list"): jobs.list_jobs,
            ("POST", "jobs/reset"): jobs.reset_job,
            ("POST", "jobs/update"): jobs.update_job,
            ("POST", "jobs/delete"): jobs.delete_job,
            ("POST", "jobs/run-now"): runs.run_now,
            ("POST", "jobs/runs/submit"): runs.submit,
            ("GET", "jobs/runs/get"): runs.run,
            ("GET", "jobs/runs/list"): runs.list_runs,
            ("GET", "jobs/runs/get-output"): runs.output,
            ("POST", "jobs/runs/cancel"): runs.cancel,
            ("POST", "jobs/runs/cancel-all"): runs.cancel_all,
            ("POST", "jobs/runs/delete"): runs.delete_run,
            ("POST", "jobs/runs/repair"): runs.repair,
            ("GET", "clusters/spark-versions"): lambda _: {
                "versions": [{"key": key, "name": name} for key, name in SPARK_VERSIONS.items()]
            },
        }
        self._routes = {
            (method, f"{version}/{path}"): handler
            for (method, path), handler in handlers.items()
            for version in ("2.1", "2.2")
        }
        self._routes |= {
            ("POST", "2.0/workspace/import"): self._import,
            ("POST", "2.0/workspace/mkdirs"): self._make_workspace_directory,
            ("GET", "2.0/workspace/get-status"): self._workspace_status,
            ("GET", "2.0/preview/scim/v2/Me"): lambda _: {"id": "1", "userName": USER, "active": True},
        }

    def application(self, guard: WebGuard) -> Gate:
        """The ASGI application. Its pages want the login that people have, as the workspace does."""
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
        routes = Starlette(
            routes=[
                Route(_HEALTH, self._health),
                Route("/jobs/", self._runs_page),
                Route("/jobs/{job_id:int}/runs/{run_id:int}", self._page),
                Route(f"{STORAGE}{{name:path}}", self._file_api.storage, methods=["PUT", "DELETE"]),
                Route("/{path:path}", self._answer, methods=methods),
            ]
        )
        front = front_page(
            "The local Databricks",
            "It answers the Jobs, Files and Workspace APIs below /api/ with a bearer token, and runs jobs on"
            " this machine's Spark. Its pages want the login that make run prints.",
            {"The latest runs of jobs": "/jobs/"},
        )
        keys = {_HEALTH: None, "/jobs/": Key.login(USERNAME, self._credentials.password)}
        return Gate(routes, guard, keys, _reject, front)

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _runs_page(self, _request: Request) -> Response:
        listed = await run_in_threadpool(self._runs.list_runs, {"limit": 25})
        return HTMLResponse(render_runs(listed.get("runs", [])))

    async def _page(self, request: Request) -> Response:
        try:
            run, attempts, logs = await run_in_threadpool(self._runs.runs_page, request.path_params["run_id"])
        except ApiError as error:
            return HTMLResponse(str(error), 404)
        return HTMLResponse(render(run, attempts, logs))

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        try:
            if not path.startswith("/api/"):
                raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{path}'")
            self._check_token(request)
            if self._file_api.answers(path):
                return await self._file_api.answer(request)
            body = await request.body()
            return await run_in_threadpool(self._dispatch, request, body)
        except ApiError as error:
            log.info("rejected method=%s path=%s code=%s", request.method, path, error.code)
            return JSONResponse(error.body(), error.status)
        except Exception:
            log.exception("failed method=%s path=%s", request.method, path)
            failure = ApiError(500, "INTERNAL_ERROR", "The local Databricks failed; see its log.")
            return JSONResponse(failure.body(), failure.status)

    def _check_token(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if not given:
            raise ApiError(401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type.")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._credentials.databricks_token}".encode()):
            raise ApiError(403, "PERMISSION_DENIED", "Invalid access token.")

    def _dispatch(self, request: Request, body: bytes) -> Response:
        path = request.scope["path"].removeprefix("/api/")
        parameters = self._parameters(request, body)
        if path.startswith("2.0/permissions/jobs/"):
            return JSONResponse(self._permissions(request.method, path.rsplit("/", 1)[1], parameters))
        handler = self._routes.get((request.method, path))
        if handler is None:
            raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{request.method} /{path}'")
        return JSONResponse(handler(parameters))

    def _parameters(self, request: Request, body: bytes) -> dict[str, Any]:
        """The query's and the body's together: some clients send a body with GET."""
        parameters: dict[str, Any] = dict(request.query_params)
        if body:
            try:
                content = json.loads(body)
            except ValueError as error:
                raise ApiError(
                    400, "MALFORMED_REQUEST", f"Could not parse request object: {error}"
                ) from error
            if not isinstance(content, dict):
                raise ApiError(400, "MALFORMED_REQUEST", "Could not parse request object: not an object")
            parameters |= content
        return parameters

    def _permissions(self, method: str, job: str, parameters: dict[str, Any]) -> dict[str, Any]:
        job_id = whole(job, "job_id")
        match method:
            case "GET":
                return self._jobs.permissions(job_id)
            case "PUT" | "PATCH":
                return self._jobs.set_permissions(job_id, parameters, replace=method == "PUT")
        raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} /2.0/permissions/jobs'")

    def _import(self, parameters: dict[str, Any]) -> dict[str, Any]:
        path = self._workspace_path(parameters)
        try:
            content = base64.b64decode(parameters.get("content") or "", validate=True)
        except binascii.Error as error:
            raise invalid("content must be base64.") from error
        if len(content) > 10 * 2**20:
            raise ApiError(400, "MAX_NOTEBOOK_SIZE_EXCEEDED", "The content is larger than 10 MB.")
        if parameters.get("format", "SOURCE") not in ("AUTO", "RAW", "SOURCE"):
            raise invalid(f"Invalid format {parameters['format']}.")
        overwrite = truth(parameters.get("overwrite", False), "overwrite")
        if self._files.local(path).exists() and not overwrite:
            raise ApiError(400, "RESOURCE_ALREADY_EXISTS", f"{path} already exists.")
        body = self._files.incoming / secrets.token_hex(8)
        body.write_bytes(content)
        self._files.put(path, body, overwrite=True)
        return {}

    def _make_workspace_directory(self, parameters: dict[str, Any]) -> dict[str, Any]:
        self._files.make_directory(self._workspace_path(parameters))
        return {}

    def _workspace_status(self, parameters: dict[str, Any]) -> dict[str, Any]:
        path = self._workspace_path(parameters)
        found = self._files.local(path)
        if not found.exists():
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"Path ({path}) doesn't exist.")
        return {"path": path, "object_type": "DIRECTORY" if found.is_dir() else "FILE"}

    def _workspace_path(self, parameters: dict[str, Any]) -> str:
        path = parameters.get("path")
        if not isinstance(path, str) or not path.startswith(("/Workspace/", "/Users/", "/Shared/")):
            raise invalid(f"Invalid path: {path}")
        return path


def _reject(_scope: Message, status: int, reason: str) -> tuple[str, bytes]:
    error = ApiError(status, "UNAUTHENTICATED" if status == 401 else "PERMISSION_DENIED", reason)
    return "application/json", json.dumps(error.body()).encode()

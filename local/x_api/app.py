"""The routes of X API v2, and what is the stand-in's own under ``/_local/``."""

from __future__ import annotations

import functools
import gzip
import hmac
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from include.web_guard import WebGuard
from include.x.text import loads
from local.credentials import Credentials
from local.faults import FaultError, Faults
from local.front_page import front_page
from local.gate import Gate, Key
from local.x_api import disturbance, search
from local.x_api.compliance import Jobs, Redactions
from local.x_api.faults import KINDS, strike_request
from local.x_api.injected import Injected
from local.x_api.limits import LIMITS, PROJECT_CAP, RateLimits
from local.x_api.lines import Journal, written
from local.x_api.post import Corpus, Json, instant
from local.x_api.problems import (
    Problem,
    credits_depleted,
    invalid_request,
    plain,
    rejected,
    usage_capped,
)
from local.x_api.rules import CAP, Rules
from local.x_api.selection import PARAMETERS, Selection
from local.x_api.stream import POSTS_PER_SECOND, FilteredStream, no_rules

_WORTH_COMPRESSING = 1024
_APP_ID = "12345678"
_PROJECT_ID = "1369785403853424"
_USAGE_DAYS = 90
_LOOPBACK = WebGuard.bound_to("127.0.0.1")
_USAGE_FIELDS = (
    "cap_reset_day",
    "daily_client_app_usage",
    "daily_project_usage",
    "project_cap",
    "project_id",
    "project_usage",
)

log = logging.getLogger(__name__)

Endpoint = Callable[["XApi", Request, dict[str, str]], Awaitable[Response]]


def _endpoint(name: str) -> Callable[[Endpoint], Callable[[XApi, Request], Awaitable[Response]]]:
    """Checks token and rate limit before the endpoint, and counts its requests."""

    def wrap(method: Endpoint) -> Callable[[XApi, Request], Awaitable[Response]]:
        @functools.wraps(method)
        async def serve(self: XApi, request: Request) -> Response:
            self.authorize(request)
            self.reject(name)
            self.stream.lose_rules()
            headers = self.limits.take(name)
            self.requests[name] += 1
            try:
                return await method(self, request, headers)
            except Problem as problem:
                problem.headers = {**headers, **problem.headers}
                raise

        return serve

    return wrap


class XApi:
    """The service: one app's rules, one stream, search over the corpus.

    ``state`` is a folder that survives restarts; ``credentials`` hold the bearer token, and the one of
    ``/_local/``.
    """

    def __init__(
        self,
        corpus: Corpus,
        state: Path,
        credentials: Credentials,
        about: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
        posts_per_second: float = POSTS_PER_SECOND,
    ) -> None:
        state.mkdir(parents=True, exist_ok=True)
        whole = Injected(corpus, state / "injected.ndjson")
        self._rules = rules = Rules(state / "rules.json")
        self._credentials = credentials
        self._about = dict(about or {})
        self._clock = clock
        self._redactions = Redactions(state / "redactions.json")
        self._jobs = Jobs(state / "compliance", self._redactions, clock)
        self._search = search.Search(whole, clock, self._redactions.left)
        self._journal = Journal(state / "journal.ndjson")
        self.faults = Faults(KINDS)
        self.stream = FilteredStream(whole, rules, self._journal, self.faults, clock, posts_per_second)
        self.limits = RateLimits(clock)
        self.requests: Counter[str] = Counter()
        self._searched = 0

    def application(self, guard: WebGuard = _LOOPBACK) -> ASGIApp:
        """The ASGI application; the server must give no Date header of its own."""
        rules_path = "/2/tweets/search/stream/rules"
        routes = Starlette(
            routes=[
                Route(rules_path, self.get_rules, methods=["GET"]),
                Route(rules_path, self.post_rules, methods=["POST"]),
                Route(f"{rules_path}/counts", self.count_rules, methods=["GET"]),
                Route("/2/tweets/search/stream", self.connect, methods=["GET"]),
                Route("/2/tweets/search/recent", self.search_recent, methods=["GET"]),
                Route("/2/tweets/search/all", self.search_all, methods=["GET"]),
                Route("/2/tweets/counts/recent", self.counts_recent, methods=["GET"]),
                Route("/2/tweets/counts/all", self.counts_all, methods=["GET"]),
                Route("/2/usage/tweets", self.usage, methods=["GET"]),
                Route("/2/compliance/jobs", self.list_jobs, methods=["GET"]),
                Route("/2/compliance/jobs", self.create_job, methods=["POST"]),
                Route("/2/compliance/jobs/{id}", self.get_job, methods=["GET"]),
                Route("/_local/compliance/{id}/{key}/submission", self.upload, methods=["PUT"]),
                Route("/_local/compliance/{id}/{key}/result", self.download, methods=["GET"]),
                Route("/_local/redactions", self.redact, methods=["POST"]),
                Route("/2/connections", self.get_connections, methods=["GET"]),
                Route("/2/connections/{endpoint}", self.delete_connections, methods=["DELETE"]),
                Route("/_local/health", self.health, methods=["GET"]),
                Route("/_local/status", self.status, methods=["GET"]),
                Route("/_local/journal", self.journal, methods=["GET"]),
                Route("/_local/journal/lines", self.journal_lines, methods=["GET"]),
                Route("/_local/limits", self.forget_limits, methods=["DELETE"]),
                Route("/_local/faults", self.get_faults, methods=["GET"]),
                Route("/_local/faults", self.post_faults, methods=["POST"]),
                Route("/_local/faults", self.delete_faults, methods=["DELETE"]),
                Route("/_local/faults/{id}", self.delete_faults, methods=["DELETE"]),
            ],
            exception_handlers={Problem: _problem, HTTPException: _http_exception, Exception: _fault},
        )

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            # Uvicorn's `send` belongs to the request's cycle, which knows the connection.
            scope["transport"] = getattr(getattr(send, "__self__", None), "transport", None)
            await routes(scope, receive, self._with_date(send))

        keys = {
            "/_local/": Key.token(self._credentials.control_token),
            # A job's addresses are signed ones at X, too: who has one needs nothing else.
            "/_local/compliance/": None,
            "/_local/health": None,
        }
        front = front_page(
            "The local X API",
            "It answers X API v2 below /2/ with a bearer token: rules, the filtered stream, search, counts,"
            " connections and compliance jobs. Its own controls, with the control token, lie below /_local/.",
            {"Whether it is up, and its archive": "/_local/health"},
        )
        return Gate(serve, guard, keys, rejected, front)

    def _with_date(self, send: Send) -> Send:
        """Gives the time by X's clock, and by a wrong one while a fault wants it."""

        async def wrapped(message: Message) -> None:
            if message["type"] == "http.response.start":
                skew = self.faults.present("clock-skew")
                offset = float(skew.options["offset"]) if skew else 0.0
                message["headers"] = [
                    *(
                        (name, str(math.ceil(int(value) + offset)).encode())
                        if name == b"x-rate-limit-reset"
                        else (name, value)
                        for name, value in message["headers"]
                    ),
                    (b"date", formatdate(self._clock() + offset, usegmt=True).encode()),
                ]
            await send(message)

        return wrapped

    def reject(self, endpoint: str) -> None:
        """Raises the `Problem` of a fault that rejects a request to the endpoint."""
        fault = strike_request(self.faults, endpoint)
        if fault is None:
            return
        if fault.kind == "usage-cap":
            raise usage_capped()
        status, reset = fault.options["status"], fault.options["reset"]
        if status == 409:
            raise no_rules()
        if status == 402:
            raise credits_depleted()
        problem = plain(status, HTTPStatus(status).phrase)
        if status == 429 and reset is not None:
            problem.headers = {
                "x-rate-limit-limit": str(LIMITS[endpoint][0].requests),
                "x-rate-limit-remaining": "0",
                "x-rate-limit-reset": str(math.ceil(self._clock() + reset)),
            }
        raise problem

    def authorize(self, request: Request) -> None:
        """Raises `Problem` 401 unless the request carries the bearer token."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        given = given.strip()
        known = self._credentials.x_bearer_token
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), known.encode()):
            raise plain(401, "Unauthorized")

    @_endpoint("rules.get")
    async def get_rules(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET …/rules``: the rules in force."""
        parameters = _parameters(request, ("ids", "max_results", "pagination_token"))
        ids = set(filter(None, parameters.get("ids", "").split(",")))
        _reject_strange_ids(ids)
        limit, start = parameters.get("max_results", str(CAP)), parameters.get("pagination_token", "0")
        if not (limit.isdigit() and 1 <= int(limit) <= CAP):
            message = f"The `max_results` query parameter value [{limit}] is not between 1 and {CAP}"
            raise invalid_request([({"max_results": limit}, message)])
        if not start.isdigit():
            raise invalid_request([({"pagination_token": start}, f"Invalid 'pagination_token':'{start}'.")])
        rules = [rule.to_json() for rule in self._rules if not ids or rule.id in ids]
        page = rules[int(start) : int(start) + int(limit)]
        answer: Json = {"data": page} if page else {}
        answer["meta"] = {"sent": _now(), "result_count": len(page)}
        if len(rules) > int(start) + len(page):
            answer["meta"]["next_token"] = f"{int(start) + len(page):016}"
        return _answer(request, answer, headers)

    @_endpoint("rules.post")
    async def post_rules(self, request: Request, headers: dict[str, str]) -> Response:
        """``POST …/rules``: adds or deletes; a dry run answers the same and changes nothing."""
        parameters = _parameters(request, ("dry_run", "delete_all"))
        dry_run, delete_all = _flag(parameters, "dry_run"), _flag(parameters, "delete_all")
        body = await _body(request) if not delete_all else {}
        if delete_all:
            deleted = self._rules.delete_all(dry_run)
            summary = {"deleted": deleted, "not_deleted": 0}
            return _answer(request, {"meta": {"sent": _now(), "summary": summary}}, headers)
        if set(body) == {"add"}:
            created, errors = self._rules.add(_additions(body["add"]), dry_run)
            answer: Json = {"data": created} if created else {}
            answer["meta"] = {
                "sent": _now(),
                "summary": {
                    "created": len(created),
                    "not_created": len(errors),
                    "valid": len(created),
                    "invalid": len(errors),
                },
            }
            status = 201 if created and not dry_run else 200
        elif set(body) == {"delete"}:
            ids, values = _deletions(body["delete"])
            deleted, errors = self._rules.delete(ids, values, dry_run)
            summary = {"deleted": deleted, "not_deleted": len(errors)}
            answer = {"meta": {"sent": _now(), "summary": summary}}
            status = 200
        else:
            raise invalid_request([({}, "The request body must have either `add` or `delete`")])
        if errors:
            answer["errors"] = errors
        return _answer(request, answer, headers, status)

    @_endpoint("rules.counts")
    async def count_rules(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET …/rules/counts``: how many rules there are and may be."""
        _parameters(request, ("rules_count.fields",))
        count = {"client_app_id": _APP_ID, "rule_count": len(self._rules)}
        data = {
            "cap_per_client_app": str(CAP),
            "cap_per_project": str(CAP),
            "client_app_rules_count": count,
            "project_rules_count": str(len(self._rules)),
            "all_project_client_apps": [count],
        }
        return _answer(request, {"data": data}, headers)

    @_endpoint("stream")
    async def connect(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET /2/tweets/search/stream``: posts as they come."""
        parameters = _parameters(request, PARAMETERS)
        selection = Selection.read(parameters)
        client_ip = request.client.host if request.client else "127.0.0.1"
        return self.stream.connect(client_ip, selection, _accepts_gzip(request), headers)

    @_endpoint("search.recent")
    async def search_recent(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET /2/tweets/search/recent``: the last seven days."""
        return await self._page(request, search.RECENT, headers)

    @_endpoint("search.all")
    async def search_all(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET /2/tweets/search/all``: everything there is."""
        return await self._page(request, search.ALL, headers)

    @_endpoint("counts.recent")
    async def counts_recent(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET /2/tweets/counts/recent``: numbers of the last seven days."""
        answer = await run_in_threadpool(self._search.counts, search.RECENT, _parameters(request))
        return _answer(request, answer, headers)

    @_endpoint("counts.all")
    async def counts_all(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET /2/tweets/counts/all``: numbers of all there is, 31 days a page."""
        answer = await run_in_threadpool(self._search.counts, search.ALL, _parameters(request))
        return _answer(request, answer, headers)

    @_endpoint("usage")
    async def usage(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET /2/usage/tweets``: posts consumed in the month, and by day where asked for."""
        parameters = _parameters(request, ("days", "usage.fields"))
        days, fields = parameters.get("days", "7"), set(parameters.get("usage.fields", "").split(",")) - {""}
        if not (days.isdigit() and 1 <= int(days) <= _USAGE_DAYS):
            message = f"The `days` query parameter value [{days}] is not between 1 and {_USAGE_DAYS}"
            raise invalid_request([({"days": days}, message)])
        if unknown := sorted(fields - set(_USAGE_FIELDS)):
            raise invalid_request(
                [
                    ({"usage.fields": name}, f"[{name}] is not one of [{','.join(_USAGE_FIELDS)}]")
                    for name in unknown
                ]
            )
        now = datetime.fromtimestamp(self._clock(), UTC)
        consumed = self._journal.consumed()
        data: Json = {
            "cap_reset_day": 1,
            "project_cap": str(PROJECT_CAP),
            "project_id": _PROJECT_ID,
            "project_usage": str(sum(n for day, n in consumed.items() if day[:7] == f"{now:%Y-%m}")),
        }
        oldest = f"{now - timedelta(days=int(days) - 1):%Y-%m-%d}"
        daily = [
            {"date": f"{day}T00:00:00.000Z", "usage": str(number)}
            for day, number in consumed.items()
            if day >= oldest
        ]
        if "daily_project_usage" in fields:
            data["daily_project_usage"] = {"project_id": _PROJECT_ID, "usage": daily}
        if "daily_client_app_usage" in fields:
            app_usage = {"client_app_id": _APP_ID, "usage": daily, "usage_result_count": len(daily)}
            data["daily_client_app_usage"] = [app_usage]
        return _answer(request, {"data": data}, headers)

    @_endpoint("compliance.list")
    async def list_jobs(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET /2/compliance/jobs``: the jobs of a type."""
        parameters = _parameters(request, ("type", "status", "compliance_job.fields"))
        jobs = self._jobs.all(parameters.get("type"), parameters.get("status"))
        answer: Json = {"data": jobs, "meta": {"result_count": len(jobs)}} if jobs else {}
        return _answer(request, answer, headers)

    @_endpoint("compliance.create")
    async def create_job(self, request: Request, headers: dict[str, str]) -> Response:
        """``POST /2/compliance/jobs``: a job to which ids can be uploaded."""
        job = self._jobs.create(await _body(request), str(request.base_url))
        return _answer(request, {"data": job}, headers)

    @_endpoint("compliance.get")
    async def get_job(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET /2/compliance/jobs/{id}``: how a job stands."""
        _parameters(request, ("compliance_job.fields",))
        return _answer(request, {"data": self._jobs.one(request.path_params["id"])}, headers)

    async def upload(self, request: Request) -> Response:
        """What a job's ``upload_url`` leads to; its key stands in for the token."""
        own, key = request.path_params["id"], request.path_params["key"]
        await run_in_threadpool(self._jobs.upload, own, key, await request.body())
        return Response()

    async def download(self, request: Request) -> Response:
        """What a job's ``download_url`` leads to."""
        content = self._jobs.download(request.path_params["id"], request.path_params["key"])
        return Response(content, media_type="application/json")

    async def redact(self, request: Request) -> Response:
        """Says which posts and users are gone: ``{"tweets": {id: reason}, "users": {id: reason}}``."""
        try:
            now = datetime.fromtimestamp(self._clock(), UTC)
            count = self._redactions.add(loads(await request.body()), now)
        except ValueError as error:
            raise plain(400, "Bad Request", str(error)) from error
        return JSONResponse({"redacted": count}, 201)

    @_endpoint("connections.get")
    async def get_connections(self, request: Request, headers: dict[str, str]) -> Response:
        """``GET /2/connections``: the app's streaming connections, newest first."""
        parameters = _parameters(request, ("status", "endpoints", "max_results", "connection.fields"))
        status = parameters.get("status", "active")
        if status not in ("active", "inactive", "all"):
            message = f"The `status` query parameter value [{status}] is not one of [active,inactive,all]"
            raise invalid_request([({"status": status}, message)])
        listed = [
            connection.to_json()
            for connection in reversed(self.stream.connections)
            if status == "all" or (connection.disconnected_at is None) == (status == "active")
        ]
        answer: Json = {"data": listed} if listed else {}
        answer["meta"] = {"result_count": len(listed)}
        return _answer(request, answer, headers)

    @_endpoint("connections.delete")
    async def delete_connections(self, request: Request, headers: dict[str, str]) -> Response:
        """``DELETE /2/connections/{endpoint}``: ends what is open; ``all`` or ``filtered_stream``."""
        endpoint = request.path_params["endpoint"]
        if endpoint not in ("all", "filtered_stream"):
            raise invalid_request(
                [
                    (
                        {"endpoint_id": endpoint},
                        f"Invalid 'endpoint_id':'{endpoint}'. It is not one of [filtered_stream]",
                    )
                ]
            )
        ended = self.stream.end_all("terminated_by_client")
        data = {"successful_kills": ended, "failed_kills": 0, "results": []}
        return _answer(request, {"data": data}, headers)

    async def health(self, _: Request) -> Response:
        """Ready."""
        return JSONResponse({"status": "ok"})

    async def status(self, _: Request) -> Response:
        """How many rules and connections there are, and what the posts come from."""
        return JSONResponse(
            {"rules": len(self._rules), "connections": len(self.stream.active), **self._about}
        )

    async def journal(self, _: Request) -> Response:
        """What was asked and sent since the start, for tests."""
        connections = [
            {**connection.to_json(), "delivered": connection.delivered, "keep_alives": connection.keep_alives}
            for connection in self.stream.connections
        ]
        return JSONResponse(
            {
                "connections": connections,
                "requests": self.requests,
                "posts": {
                    "streamed": sum(connection.delivered for connection in self.stream.connections),
                    "searched": self._searched,
                },
            }
        )

    async def journal_lines(self, request: Request) -> Response:
        """Every line that was sent: NDJSON from the byte ``offset`` on, at most ``limit`` entries.

        The header ``x-next-offset`` says where to go on.
        """
        offset, limit = request.query_params.get("offset", "0"), request.query_params.get("limit", "10000")
        if not (offset.isdigit() and limit.isdigit() and 1 <= int(limit) <= 100_000):
            raise plain(400, "Bad Request", "offset is a number, limit one from 1 to 100000")
        page, following = await run_in_threadpool(self._journal.read, int(offset), int(limit))
        return Response(page, 200, {"x-next-offset": str(following)}, "application/x-ndjson")

    async def forget_limits(self, _: Request) -> Response:
        """Gives every endpoint its calls back, as a quarter of an hour would."""
        self.limits.forget()
        return Response(status_code=204)

    async def get_faults(self, _: Request) -> Response:
        """Every fault that was switched on, those that are over too."""
        return JSONResponse({"data": self.faults.to_json()})

    async def post_faults(self, request: Request) -> Response:
        """Switches on one fault or a list of them."""
        try:
            added = self.faults.add(loads(await request.body()))
        except (FaultError, ValueError) as error:
            raise plain(400, "Bad Request", str(error)) from error
        log.info("faults on kinds=%s", ",".join(fault["kind"] for fault in added))
        return JSONResponse({"data": added}, 201)

    async def delete_faults(self, request: Request) -> Response:
        """Ends one fault or all."""
        fault_id = request.path_params.get("id")
        ended = self.faults.clear(fault_id)
        if fault_id is not None and not ended:
            raise plain(404, "Not Found", f"no fault {fault_id} is on")
        return JSONResponse({"ended": ended})

    async def _page(self, request: Request, product: search.Product, headers: dict[str, str]) -> Response:
        # Beside the event loop: a long search must not hold up the stream.
        parameters = _parameters(request)
        found = await run_in_threadpool(self._search.page, product, parameters)
        token = parameters.get("next_token") or parameters.get("pagination_token")
        answer = disturbance.page(self.faults, found, token)
        sent = [post["id"] for post in answer.get("data", ()) if post]
        self._searched += len(sent)
        self._journal.searched(int(self._clock() * 1000), sent)
        return _answer(request, answer, headers)


def _now() -> str:
    return instant(datetime.now(UTC))


def _accepts_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "").lower()


def _answer(request: Request, body: Json, headers: Mapping[str, str], status: int = 200) -> Response:
    content = written(body)
    headers = {**headers, "content-type": "application/json; charset=utf-8"}
    if _accepts_gzip(request) and len(content) >= _WORTH_COMPRESSING:
        content = gzip.compress(content, compresslevel=1)
        headers["content-encoding"] = "gzip"
    return Response(content, status, headers)


def _parameters(request: Request, known: tuple[str, ...] | None = None) -> dict[str, str]:
    """The query parameters; raises `Problem` 400 for one that is not ``known`` (checked later if None)."""
    parameters = dict(request.query_params)
    if known is not None:
        search.reject_unknown(parameters, known)
    return parameters


def _flag(parameters: Mapping[str, str], name: str) -> bool:
    text = parameters.get(name, "false")
    if text.lower() not in ("true", "false"):
        raise invalid_request(
            [({name: text}, f"The `{name}` query parameter value [{text}] is not a boolean")]
        )
    return text.lower() == "true"


async def _body(request: Request) -> Json:
    try:
        body = loads(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise invalid_request([({}, "The request body is not a valid JSON object")])
    return body


def _additions(add: object) -> list[tuple[str, str | None]]:
    if not isinstance(add, list) or not add:
        raise invalid_request([({}, "`add` must be a list of at least one rule")])
    wanted: list[tuple[str, str | None]] = []
    for entry in add:
        value, tag = (entry.get("value"), entry.get("tag")) if isinstance(entry, dict) else (None, None)
        if not isinstance(value, str) or not isinstance(tag, str | None):
            raise invalid_request(
                [({}, "`add` must hold objects with a text `value` and perhaps a text `tag`")]
            )
        wanted.append((value, tag))
    return wanted


def _deletions(delete: object) -> tuple[list[str], list[str]]:
    if not isinstance(delete, dict) or not delete or set(delete) - {"ids", "values"}:
        raise invalid_request([({}, "`delete` must have `ids` or `values`")])
    ids, values = delete.get("ids", []), delete.get("values", [])
    if not all(
        isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in (ids, values)
    ):
        raise invalid_request([({}, "`ids` and `values` must be lists of texts")])
    _reject_strange_ids(ids)
    return ids, values


def _reject_strange_ids(ids: set[str] | list[str]) -> None:
    strange = [rule_id for rule_id in ids if not re.fullmatch(r"[0-9]{1,19}", rule_id)]
    if strange:
        raise invalid_request([({"ids": rule_id}, f"'{rule_id}' is not a valid Long") for rule_id in strange])


async def _problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    log.info("rejected method=%s path=%s status=%d", request.method, request.url.path, problem.status)
    return JSONResponse(problem.body, problem.status, problem.headers, media_type="application/problem+json")


async def _fault(request: Request, _: Exception) -> Response:
    # Starlette raises the error again after this answer, so that it stands in the log.
    return await _problem(request, plain(500, "Internal Server Error"))


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return await _problem(request, plain(error.status_code, error.detail))

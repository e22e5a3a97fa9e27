"""The pool of SageMaker jobs, read by Airflow's own API: tasks have no other access to it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import requests
from botocore.exceptions import ClientError

DESCRIPTION = "SageMaker jobs at a time"
SLOTS = 4
"""The slots to propose if there is no pool; the account's own limit may differ."""
UNLIMITED = -1
TIMEOUT_SECONDS = 30
ApiReader = Callable[[str], Mapping[str, Any] | None]
"""Reads a path of Airflow's REST API; None if it does not exist. Raises `AirflowApiError`."""


class AirflowApiError(RuntimeError):
    """Airflow's API did not answer or rejected the request; the message has its status and no secret."""


def over_http(address: str, username: str | None, password: str) -> ApiReader:
    """Reads as a user, or with ``password`` as a bearer token if there is no username."""

    def read(path: str) -> Mapping[str, Any] | None:
        try:
            token = _log_in(address, username, password) if username else password
            answer = requests.get(
                f"{address}/api/v2{path}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=TIMEOUT_SECONDS,
            )
        except requests.RequestException as error:
            raise AirflowApiError(f"{address} does not answer: {error}") from error
        if answer.status_code == 404:
            return None
        return _content(answer, path)

    return read


def through_mwaa(mwaa: Any, environment: str) -> ApiReader:
    """Reads through Amazon MWAA's ``InvokeRestApi``; ``mwaa`` is a boto3 client."""

    def read(path: str) -> Mapping[str, Any] | None:
        try:
            answer = mwaa.invoke_rest_api(Name=environment, Path=path, Method="GET")
        except ClientError as error:
            if error.response.get("RestApiStatusCode") == 404:
                return None
            raise AirflowApiError(f"InvokeRestApi of {environment}, GET {path}: {error}") from error
        content: Mapping[str, Any] = answer["RestApiResponse"]
        return content

    return read


def fault(name: str, read: ApiReader) -> str | None:
    """What is wrong with a pool and what to run; None if it is right."""
    pool = read(f"/pools/{quote(name, safe='')}")
    if pool is None:
        return f"There is no pool {name!r}, so no hour can be labeled. {_remedy(name, SLOTS)}"
    slots = int(pool["slots"])
    if slots == 0:
        return f"The pool {name!r} has no slots, so no hour can be labeled. {_remedy(name, SLOTS)}"
    if slots == UNLIMITED:
        return f"The pool {name!r} has no limit, so SageMaker's is met instead. {_remedy(name, SLOTS)}"
    if not pool["include_deferred"]:
        return (
            f"The pool {name!r} does not count deferred tasks, so more than {slots} SageMaker jobs may run"
            f" at a time. {_remedy(name, slots)}"
        )
    return None


def _remedy(name: str, slots: int) -> str:
    command = shlex.join(["airflow", "pools", "set", name, str(slots), DESCRIPTION, "--include-deferred"])
    return f"Run `{command}` (or Admin > Pools in the UI), with your account's limit of jobs as its slots."


def _log_in(address: str, username: str, password: str) -> str:
    login = {"username": username, "password": password}
    answer = requests.post(f"{address}/auth/token", json=login, timeout=TIMEOUT_SECONDS)
    return str(_content(answer, "/auth/token")["access_token"])


def _content(answer: requests.Response, path: str) -> Mapping[str, Any]:
    try:
        content = answer.json()
    except json.JSONDecodeError:
        content = None
    if not answer.ok or not isinstance(content, dict):
        raise AirflowApiError(f"Airflow answered {answer.status_code} to {path}: {answer.text[:200]}")
    return content

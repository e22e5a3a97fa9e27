"""Who may do what on the pages: what they may do with the DAG behind a page, under any auth manager.

``AccessView.PLUGINS`` is no measure: FAB, Amazon MWAA's auth manager, gives it to Op and Admin only.
"""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, HTTPException, Request

AUDIT_DAG = "audit"
COMPLIANCE_DAG = "compliance"
COSTS_DAG = "costs"
COVERAGE_DAG = "coverage"
INSIGHTS_DAG = "insights"
TRANSFORM_DAG = "transform"
"""The DAGs behind the pages."""


def reads(dag_id: str | None = None) -> Any:
    """The dependency of what is shown: the user may read that DAG, or any if None is named."""
    return Depends(requires_access_dag("GET", param_dag_id=dag_id))


def starts(dag_id: str) -> Any:
    """The dependency of what changes something: the user may start runs of that DAG."""
    return Depends(requires_access_dag("POST", DagAccessEntity.RUN, dag_id))


def sent_as(media: str) -> Any:
    """The dependency of what changes something here: the request has that media type, else 415.

    No form of another site can send it, and no script of one without leave (CORS), which nobody is given:
    the login's cookie alone, which the browser adds to such requests, changes nothing.
    """

    def check(request: Request) -> None:
        given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if given != media:
            raise HTTPException(415, f"send {media}, not {given or 'a body without a media type'}")

    return Depends(check)


def may_start(dag_id: str, request: Request, user: BaseUser) -> bool:
    """Whether `starts` lets the user pass. It asks the metadata database: not for an event loop."""
    try:
        starts(dag_id).dependency(request, user)
    except HTTPException as rejected:
        if rejected.status_code != 403:
            raise
        return False
    return True

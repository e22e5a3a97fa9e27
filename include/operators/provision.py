"""The tasks of `provision`; each returns what it changed, in words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import task

from include.operators.inputs import account, client, skip_without_quicksight, topics
from include.operators.links import athena
from include.settings import settings

if TYPE_CHECKING:
    from include.provision.pool import ApiReader

log = logging.getLogger(__name__)


@task
def lake(ti: Any = None) -> list[str]:
    """Database, workgroup, tables and views."""
    from include.provision.lake import ensure_database, ensure_tables, ensure_views, ensure_workgroup

    configured = settings()
    glue, asked = client("glue"), athena(ti)
    return [
        *ensure_database(glue, configured),
        *ensure_workgroup(client("athena"), configured),
        *ensure_tables(asked, glue, configured, topics()),
        *ensure_views(asked, glue, configured),
    ]


@task
def models() -> list[str]:
    """SageMaker models, and their real-time endpoints where the settings want them."""
    from include.labeling import endpoints
    from include.labeling.models import ensure, resolve

    sagemaker, s3, configured = client("sagemaker"), client("s3"), settings()
    created = ensure(sagemaker, s3, configured)
    found = resolve(configured, s3)
    served = [model for model in (found.sentiment, found.translation) if model is not None]
    return [
        *(f"created model {name}" for name in created),
        *endpoints.ensure(
            sagemaker,
            client("application-autoscaling"),
            configured,
            served if configured.live_endpoints else (),
        ),
    ]


@task
def quicksight() -> list[str]:
    """QuickSight's data source, data sets and dashboards; skipped if no principals are configured."""
    from include.insights.definition import load as load_dashboards
    from include.provision.quicksight import ensure

    configured = settings()
    skip_without_quicksight()
    definition = load_dashboards(topics())
    return ensure(client("quicksight"), definition, configured, account())


@task
def pool() -> list[str]:
    """Changes nothing: tasks cannot create pools. Fails if SageMaker's is missing or has too many slots."""
    from airflow.sdk.exceptions import AirflowFailException

    from include.provision.pool import fault

    read = _airflow_api()
    if read is None:
        log.warning(
            "The pool %s was not checked: there is no connection %s. Check with `airflow pools list` that"
            " it exists and counts deferred tasks.",
            settings().sagemaker_pool,
            settings().airflow_conn_id,
        )
        return []
    if found := fault(settings().sagemaker_pool, read):
        raise AirflowFailException(found)
    return []


def _airflow_api() -> ApiReader | None:
    """A client of Airflow's own API; None if no connection is configured."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    from include.provision.pool import over_http, through_mwaa

    configured = settings()
    if configured.mwaa_environment:
        return through_mwaa(client("mwaa"), configured.mwaa_environment)
    try:
        connection = BaseHook.get_connection(configured.airflow_conn_id)
    except AirflowNotFoundException:
        return None
    host = connection.host or ""
    address = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    if connection.port:
        address = f"{address}:{connection.port}"
    return over_http(address.rstrip("/"), connection.login or None, connection.password or "")


@task(trigger_rule="none_failed")
def report(changes: list[Any]) -> str:
    """Everything that was changed, for people to read; ``changes`` is what the other tasks returned."""
    done = [change for some in changes for change in some or ()]
    text = "\n".join(done) if done else "Nothing had to be changed."
    log.info("provisioning: %s", text)
    return text

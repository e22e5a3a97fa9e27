"""The tasks of `provision`; each returns what it changed, in words."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

log = logging.getLogger(__name__)


@task
def lake(ti: Any = None) -> list[str]:
    """Database, workgroup, tables and views."""
    from include.operators.aws import client
    from include.operators.links import athena
    from include.provision.lake import ensure_database, ensure_tables, ensure_views, ensure_workgroup
    from include.settings import settings
    from include.x.topics import load

    configured = settings()
    topics = load(configured.topics_file)
    glue, asked = client("glue"), athena(ti)
    return [
        *ensure_database(glue, configured),
        *ensure_workgroup(client("athena"), configured),
        *ensure_tables(asked, glue, configured, topics),
        *ensure_views(asked, glue, configured),
    ]


@task
def models() -> list[str]:
    """SageMaker models."""
    from include.labeling.models import ensure
    from include.operators.aws import client
    from include.settings import settings

    created = ensure(client("sagemaker"), client("s3"), settings())
    return [f"created model {name}" for name in created]


@task
def quicksight() -> list[str]:
    """QuickSight's data source, data sets and dashboards; skipped where nobody is to see them."""
    from include.insights.definition import load as load_dashboards
    from include.operators.aws import client
    from include.provision.quicksight import ensure
    from include.settings import settings
    from include.x.topics import load

    configured = settings()
    if not configured.quicksight_principals:
        raise AirflowSkipException(
            "QuickSight is not used: nobody is to see the dashboards there (OPINION_QUICKSIGHT_PRINCIPALS)"
        )
    account = client("sts").get_caller_identity()["Account"]
    definition = load_dashboards(load(configured.topics_file))
    return ensure(client("quicksight"), definition, configured, account)


@task(trigger_rule="none_failed")
def report(changes: list[Any]) -> str:
    """Everything that was changed, for people to read; ``changes`` is what the other tasks returned."""
    done = [change for some in changes for change in some or ()]
    text = "\n".join(done) if done else "Nothing had to be changed."
    log.info("provisioning: %s", text)
    return text

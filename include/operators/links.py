"""Links from tasks to the pages of other services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperator, BaseOperatorLink, XComArg

from include.operators.inputs import client
from include.settings import settings

if TYPE_CHECKING:
    from include.lake.athena import Athena

_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
"""The hosts of AWS's consoles by partition."""


def add_link(link: BaseOperatorLink, *outputs: XComArg) -> None:
    """Adds a link to tasks: a decorated function has no operator class to declare it in."""
    for output in outputs:
        for operator, _ in output.iter_references():
            operator.operator_extra_links = (*operator.operator_extra_links, link)


def address(template: str, asked: Any, **names: str) -> str:
    """An address of the settings, filled in with the region of ``asked``, a boto3 client.

    ``{region}`` and ``{console}``, the host of the partition's console, may be used besides ``names``.
    """
    return template.format(
        region=asked.meta.region_name,
        console=_CONSOLES.get(asked.meta.partition, _CONSOLES["aws"]),
        **{name: quote(value, safe="") for name, value in names.items()},
    )


class NotedLink(BaseOperatorLink):
    """A link whose address the task stores as soon as it knows it, so that it works while the task runs."""

    def note(self, ti: Any, address: str) -> None:
        """Stores ``address`` for the link of a task instance."""
        ti.xcom_push(self.xcom_key, address)

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The stored address; a task that ends passes itself as ``ti_key``."""
        noted = ti_key.xcom_pull(task_ids=operator.task_id, key=self.xcom_key, map_indexes=ti_key.map_index)
        return str(noted or "")


class TransformJobLink(NotedLink):
    """The SageMaker job that a task started or joined."""

    name = "SageMaker job"


class AthenaLink(NotedLink):
    """The failed query of a task, else its latest one."""

    name = "Athena query"


def athena(ti: Any) -> Athena:
    """Athena for a task, with its queries in the task's link."""
    from include.lake.athena import Athena

    asked = client("athena")

    def note(execution: str) -> None:
        AthenaLink().note(ti, address(settings().athena_query_url, asked, query=execution))

    return Athena(asked, settings(), note)

"""Leads from tasks to the pages of other programs."""

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


def give(link: BaseOperatorLink, *outputs: XComArg) -> None:
    """Gives tasks one more link: a decorated function has no class of its own to declare it in."""
    for output in outputs:
        for operator, _ in output.iter_references():
            operator.operator_extra_links = (*operator.operator_extra_links, link)


def address(template: str, asked: Any, **names: str) -> str:
    """An address of the settings, filled in: ``asked`` is a boto3 client, whose region it is in.

    ``{region}`` and ``{console}``, the host of the partition's console, may be used beside ``names``.
    """
    return template.format(
        region=asked.meta.region_name,
        console=_CONSOLES.get(asked.meta.partition, _CONSOLES["aws"]),
        **{name: quote(value, safe="") for name, value in names.items()},
    )


class NotedLink(BaseOperatorLink):
    """A link whose address the task notes as soon as it knows it: it can be followed while the task runs."""

    def note(self, ti: Any, address: str) -> None:
        """Has the link of a task instance lead to ``address``."""
        ti.xcom_push(self.xcom_key, address)

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """What was noted; a task that ends, however it ends, gives itself as ``ti_key``."""
        noted = ti_key.xcom_pull(task_ids=operator.task_id, key=self.xcom_key, map_indexes=ti_key.map_index)
        return str(noted or "")


class TransformJobLink(NotedLink):
    """The SageMaker job that a task has started or joined."""

    name = "SageMaker job"


class AthenaLink(NotedLink):
    """The query that failed, else the latest one of a task's queries."""

    name = "Athena query"


def athena(ti: Any) -> Athena:
    """Athena for a task: its queries can be followed from the task's link."""
    from include.lake.athena import Athena

    asked = client("athena")

    def note(execution: str) -> None:
        AthenaLink().note(ti, address(settings().athena_query_url, asked, query=execution))

    return Athena(asked, settings(), note)

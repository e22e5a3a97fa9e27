"""Links from a check to its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowFailException

RESULT_PAGES = "x-opinion/quality"
"""Where the plugin shows results, below Airflow's own address."""

_FOUND = "quality_result"
"""The XCom of a check's task with the name of its result: ``labeled/2026-11-20T05``."""


@contextmanager
def checking(ti: Any, suite: str, period: str) -> Iterator[None]:
    """The context of a suite's check: stores for the link which result was written.

    A blocking result fails the task without a retry, as the same data would fail again. If several periods
    are checked together, the link leads to the failed one, else to ``period``.
    """
    from include.quality.runner import QualityError

    try:
        yield
    except QualityError as error:
        ti.xcom_push(_FOUND, f"{suite}/{error.period}")
        raise AirflowFailException(str(error)) from error
    ti.xcom_push(_FOUND, f"{suite}/{period}")


class QualityLink(BaseOperatorLink):
    """The page with a check's expectations; none before the check has a result."""

    name = "Quality result"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The address; a task that ends passes itself as ``ti_key``."""
        from airflow.sdk.configuration import conf

        found = ti_key.xcom_pull(task_ids=operator.task_id, key=_FOUND)
        base = str(conf.get("api", "base_url", fallback="")).rstrip("/")
        return f"{base}/{RESULT_PAGES}/{found}" if found else ""

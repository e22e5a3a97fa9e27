"""What every task of every DAG has unless its DAG says otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum


def task_defaults(execution_timeout: timedelta, retries: int = 3, **others: Any) -> dict[str, Any]:
    """The ``default_args`` of a DAG; a failed task is tried again soon at first, then less and less often."""
    return {
        "owner": "x-opinion",
        "execution_timeout": execution_timeout,
        "retries": retries,
        "retry_delay": pendulum.duration(seconds=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": pendulum.duration(minutes=10),
        **others,
    }

"""The operations of QuickSight's API: requests checked as QuickSight checks them, answers in its shapes.

API reference: https://docs.aws.amazon.com/quicksight/latest/APIReference/.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from local.aws.context import ACCOUNT
from local.aws.quicksight.dashboards import Dashboards
from local.aws.quicksight.data_sets import DataSets
from local.aws.quicksight.data_sources import DataSources
from local.aws.quicksight.model import Json, ServiceError
from local.aws.quicksight.resources import Resources
from local.aws.quicksight.store import Store

type Operation = Callable[[Json], Json]

_OPERATION = re.compile(r"(create|describe|update|list|delete|cancel|register|tag|untag)_")
_PERMISSIONS = {"data_source": "datasource", "data_set": "dataset", "dashboard": "dashboard"}
"""Kinds of documents by the word for them in the operations of permissions, by botocore's names."""


class Api:
    """All operations, one at a time."""

    def __init__(self, store: Store, client: Callable[[str], Any]) -> None:
        self._store = store
        self._checks = ThreadPoolExecutor(1, thread_name_prefix="quicksight")
        resources = Resources(store)
        self._data_sources = DataSources(store, resources, client, self._checks)
        self._data_sets = DataSets(store, resources, client)
        self._dashboards = Dashboards(store, resources, self._checks)
        self._operations = _permission_operations(resources)
        for part in (resources, self._data_sources, self._data_sets, self._dashboards):
            names = filter(_OPERATION.match, vars(type(part)))
            self._operations |= {name: getattr(part, name) for name in names}

    def start(self) -> None:
        """Continues what an earlier server left."""
        self._data_sets.start()
        self._data_sources.start()
        self._dashboards.start()

    def close(self) -> None:
        """Abandons what is in progress."""
        self._checks.shutdown(wait=False, cancel_futures=True)
        self._data_sets.close()

    def answer(self, operation: str, parameters: Json) -> Json:
        """Answers an operation by its Python name; raises `ServiceError`."""
        method = self._operations.get(operation)
        if method is None:
            raise ServiceError("UnknownOperationException", f"{operation} is not offered by the local AWS")
        account = parameters.get("AwsAccountId", ACCOUNT)
        if account != ACCOUNT:
            raise ServiceError(
                "AccessDeniedException", f"The account {account} is not the caller's ({ACCOUNT})"
            )
        with self._store.lock:
            return method(parameters)

    def run_schedules(self, now: float) -> None:
        """Starts the ingestions of the schedules that are due."""
        self._data_sets.run_schedules(now)


def _permission_operations(resources: Resources) -> dict[str, Operation]:
    operations: dict[str, Operation] = {}
    for name, kind in _PERMISSIONS.items():
        operations[f"describe_{name}_permissions"] = partial(resources.permissions_of, kind)
        operations[f"update_{name}_permissions"] = partial(resources.change_permissions, kind)
    return operations

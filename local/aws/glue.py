"""Glue's column statistics, which moto lacks and Trino uses after every write.

They are stored as sent, on moto's table and partition objects, so they are deleted and survive with them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.glue.responses import GlueResponse

from local.aws.context import Context, patch

_ATTRIBUTE = "column_statistics"


def _holder(response: Any) -> Any:
    """The table, or the partition where the request names one; raises `EntityNotFoundException`."""
    parameters = _parameters(response)
    table = response.glue_backend.get_table(parameters["DatabaseName"], parameters["TableName"])
    values = parameters.get("PartitionValues")
    return table if values is None else table.get_partition(values)


def _parameters(response: Any) -> dict[str, Any]:
    return response.parameters  # pyrefly: ignore[no-any-return-explicit]


def _update(response: Any) -> str:
    holder = _holder(response)
    statistics = {**getattr(holder, _ATTRIBUTE, {})}
    for entry in _parameters(response)["ColumnStatisticsList"]:
        statistics[entry["ColumnName"]] = entry
    setattr(holder, _ATTRIBUTE, statistics)
    return json.dumps({"Errors": []})


def _get(response: Any) -> str:
    statistics = getattr(_holder(response), _ATTRIBUTE, {})
    names = _parameters(response)["ColumnNames"]
    missing = [name for name in names if name not in statistics]
    return json.dumps(
        {
            "ColumnStatisticsList": [statistics[name] for name in names if name in statistics],
            "Errors": [
                {
                    "ColumnName": name,
                    "Error": {
                        "ErrorCode": "EntityNotFoundException",
                        "ErrorMessage": f"Column statistics for {name} not found.",
                    },
                }
                for name in missing
            ],
        }
    )


def _delete(response: Any) -> str:
    holder = _holder(response)
    statistics = {**getattr(holder, _ATTRIBUTE, {})}
    # Trino clears the statistics of every new table and takes EntityNotFoundException for a missing table.
    statistics.pop(_parameters(response)["ColumnName"], None)
    setattr(holder, _ATTRIBUTE, statistics)
    return json.dumps({})


_OPERATIONS: dict[str, Callable[[Any], str]] = {"update": _update, "get": _get, "delete": _delete}


def install(context: Context) -> None:  # noqa: ARG001 - every extension has this signature
    """Adds the six operations to moto's Glue."""
    for verb, operation in _OPERATIONS.items():
        for level in ("table", "partition"):
            patch(GlueResponse, **{f"{verb}_column_statistics_for_{level}": operation})

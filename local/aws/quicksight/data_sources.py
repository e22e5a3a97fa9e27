"""Data sources: Athena's workgroups, whose connection is tried in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.aws.quicksight.model import Json
from local.aws.quicksight.resources import (
    IN_PROGRESS,
    Resources,
    arn_of,
    invalid,
    page_of,
    public,
    require_settled,
)
from local.aws.quicksight.store import Store


class DataSources:
    """Each public method but `start` answers one operation: its parameters in, the answer's members out."""

    def __init__(
        self, store: Store, resources: Resources, client: Callable[[str], Any], checks: Executor
    ) -> None:
        self._store = store
        self._resources = resources
        self._client = client
        self._checks = checks

    def start(self) -> None:
        """Tries the connections that an earlier server left untried."""
        for document in self._store.all("datasource"):
            if document["Status"] in IN_PROGRESS:
                self._checks.submit(self._check, document["DataSourceId"])

    def create_data_source(self, request: Json) -> Json:
        """Creates an Athena data source; its connection is tried afterward."""
        self._resources.require_absent("datasource", request["DataSourceId"])
        if request["Type"] != "ATHENA":
            raise invalid(f"Data sources of type {request['Type']} are not offered by the local AWS")
        now = time.time()
        document = {
            "Arn": arn_of(f"datasource/{request['DataSourceId']}"),
            "DataSourceId": request["DataSourceId"],
            "Name": request["Name"],
            "Type": request["Type"],
            "Status": "CREATION_IN_PROGRESS",
            "CreatedTime": now,
            "LastUpdatedTime": now,
            "DataSourceParameters": _athena_parameters(request),
            "Permissions": self._resources.permissions(request.get("Permissions", [])),
            "Tags": request.get("Tags", []),
        }
        self._store.put("datasource", request["DataSourceId"], document)
        self._checks.submit(self._check, request["DataSourceId"])
        return {
            "Arn": document["Arn"],
            "DataSourceId": document["DataSourceId"],
            "CreationStatus": document["Status"],
            "Status": 202,
        }

    def update_data_source(self, request: Json) -> Json:
        """Changes name and parameters."""
        document = self._resources.found("datasource", request["DataSourceId"])
        require_settled(document["Status"])
        document |= {
            "Name": request["Name"],
            "DataSourceParameters": _athena_parameters(request),
            "Status": "UPDATE_IN_PROGRESS",
            "LastUpdatedTime": time.time(),
        }
        document.pop("ErrorInfo", None)
        self._store.put("datasource", request["DataSourceId"], document)
        self._checks.submit(self._check, request["DataSourceId"])
        return {
            "Arn": document["Arn"],
            "DataSourceId": document["DataSourceId"],
            "UpdateStatus": document["Status"],
            "Status": 202,
        }

    def describe_data_source(self, request: Json) -> Json:
        """One data source."""
        return {"DataSource": public(self._resources.found("datasource", request["DataSourceId"]))}

    def list_data_sources(self, request: Json) -> Json:
        """The data sources."""
        return page_of(request, "DataSources", [public(entry) for entry in self._store.all("datasource")])

    def delete_data_source(self, request: Json) -> Json:
        """Deletes a data source; data sets that use it stay, and fail."""
        document = self._resources.found("datasource", request["DataSourceId"])
        self._store.delete("datasource", request["DataSourceId"])
        return {"Arn": document["Arn"], "DataSourceId": request["DataSourceId"]}

    def _check(self, identity: str) -> None:
        document = self._store.get("datasource", identity)
        if document is None:
            return
        workgroup = document["DataSourceParameters"]["AthenaParameters"].get("WorkGroup", "primary")
        problem = None
        try:
            self._client("athena").get_work_group(WorkGroup=workgroup)
        except (ClientError, BotoCoreError) as error:
            problem = str(error)
        with self._store.lock:
            document = self._store.get("datasource", identity)
            if document is None or document["Status"] not in IN_PROGRESS:
                return
            kind = document["Status"].removesuffix("IN_PROGRESS")
            document["Status"] = f"{kind}{'FAILED' if problem else 'SUCCESSFUL'}"
            if problem:
                document["ErrorInfo"] = {"Type": "GENERIC_SQL_FAILURE", "Message": problem}
            self._store.put("datasource", identity, document)


def _athena_parameters(request: Json) -> Json:
    parameters = request.get("DataSourceParameters") or {}
    if parameters.keys() != {"AthenaParameters"}:
        raise invalid("DataSourceParameters field is incorrectly set")
    return dict(parameters)

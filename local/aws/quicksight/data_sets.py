"""Data sets of custom SQL, their ingestions into SPICE, and the schedules that refresh them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from local.aws.quicksight import ingestions, schedules
from local.aws.quicksight.ingestions import IngestionError, Ingestions, Query, key_of
from local.aws.quicksight.model import Json, ServiceError, moment
from local.aws.quicksight.resources import Resources, arn_of, invalid, page_of, public
from local.aws.quicksight.store import Store

INGESTIONS_PER_DAY = 32
"""Manual ingestions of a data set in 24 hours, Enterprise edition (API reference of CreateIngestion)."""

_DAY_SECONDS = 86_400
_SHOWN_TYPES = ("STRING", "INTEGER", "DECIMAL", "DATETIME")
_DATA_SET_KEPT = {"Name", "PhysicalTableMap", "LogicalTableMap", "ImportMode"}
_DATA_SET_PARAMETERS = {"AwsAccountId", "DataSetId", "Permissions", "Tags", *_DATA_SET_KEPT}


class DataSets:
    """Each public method answers one operation, except `start`, `close` and `run_schedules`."""

    def __init__(self, store: Store, resources: Resources, client: Callable[[str], Any]) -> None:
        self._store = store
        self._resources = resources
        self._ingestions = Ingestions(store, client)

    def start(self) -> None:
        """Fails the ingestions that an earlier server left in progress."""
        self._ingestions.interrupt_all()

    def close(self) -> None:
        """Leaves the ingestions in progress to the next server."""
        self._ingestions.close()

    def create_data_set(self, request: Json) -> Json:
        """Creates a data set of custom SQL; one in SPICE is ingested at once."""
        self._resources.require_absent("dataset", request["DataSetId"])
        now = time.time()
        document = {
            "Arn": arn_of(f"dataset/{request['DataSetId']}"),
            "DataSetId": request["DataSetId"],
            "CreatedTime": now,
            "Permissions": self._resources.permissions(request.get("Permissions", [])),
            "Tags": request.get("Tags", []),
            **self._data_set(request),
        }
        self._store.put("dataset", request["DataSetId"], document)
        return {
            "Arn": document["Arn"],
            "DataSetId": document["DataSetId"],
            **self._ingested(document, "INITIAL_INGESTION"),
            "Status": 201,
        }

    def update_data_set(self, request: Json) -> Json:
        """Replaces a data set's definition and ingests it again."""
        document = self._resources.found("dataset", request["DataSetId"])
        for name in ("LogicalTableMap", "RowLevelPermissionDataSet"):
            document.pop(name, None)
        document |= self._data_set(request)
        self._store.put("dataset", request["DataSetId"], document)
        return {
            "Arn": document["Arn"],
            "DataSetId": document["DataSetId"],
            **self._ingested(document, "EDIT"),
        }

    def describe_data_set(self, request: Json) -> Json:
        """One data set."""
        document = self._resources.found("dataset", request["DataSetId"])
        done = [
            entry["IngestionSizeInBytes"]
            for entry in self._store.all("ingestion", key_of(request["DataSetId"]))
            if entry["IngestionStatus"] == "COMPLETED"
        ]
        return {"DataSet": {**public(document), "ConsumedSpiceCapacityInBytes": done[-1] if done else 0}}

    def list_data_sets(self, request: Json) -> Json:
        """The data sets."""
        shown = ("Arn", "DataSetId", "Name", "CreatedTime", "LastUpdatedTime", "ImportMode")
        found = [{name: entry[name] for name in shown} for entry in self._store.all("dataset")]
        return page_of(request, "DataSetSummaries", found)

    def delete_data_set(self, request: Json) -> Json:
        """Deletes a data set with its ingestions and schedules."""
        identity = request["DataSetId"]
        document = self._resources.found("dataset", identity)
        for entry in self._store.all("ingestion", key_of(identity)):
            if entry["IngestionStatus"] in ingestions.ACTIVE:
                self._ingestions.cancel(key_of(identity, entry["IngestionId"]))
        for kind in ("ingestion", "schedule"):
            self._store.delete_below(kind, key_of(identity))
        self._store.delete("dataset", identity)
        return {"Arn": document["Arn"], "DataSetId": identity}

    def _data_set(self, request: Json) -> Json:
        """The checked parts of a data set; raises `ServiceError`."""
        rejected = request.keys() - _DATA_SET_PARAMETERS
        if rejected:
            raise invalid(f"{', '.join(sorted(rejected))}: not offered by the local AWS")
        physical = request["PhysicalTableMap"]
        if len(physical) != 1:
            raise invalid("Exactly one physical table is offered by the local AWS")
        ((table, content),) = physical.items()
        if content.keys() != {"CustomSql"}:
            raise invalid("Only a physical table of CustomSql is offered by the local AWS")
        sql = content["CustomSql"]
        if not any(source["Arn"] == sql["DataSourceArn"] for source in self._store.all("datasource")):
            raise invalid(f"The data source {sql['DataSourceArn']} does not exist")
        columns = {}
        for column in sql.get("Columns", []):
            if column["Type"] not in _SHOWN_TYPES:
                raise invalid(f"Columns of type {column['Type']} are not offered by the local AWS")
            if column["Name"] in columns:
                raise invalid(f"Duplicate column name {column['Name']}")
            columns[column["Name"]] = column["Type"]
        if not columns:
            raise invalid(f"The physical table {table} has no columns")
        roles = _roles(request.get("LogicalTableMap"), table, columns)
        kept = {name: value for name, value in request.items() if name in _DATA_SET_KEPT}
        shown = [{"Name": name, "Type": kind} for name, kind in columns.items()]
        return {**kept, "OutputColumns": shown, "Roles": roles, "LastUpdatedTime": time.time()}

    def create_ingestion(self, request: Json) -> Json:
        """Starts a manual ingestion, at most 32 in 24 hours."""
        identity = request["IngestionId"]
        data_set = self._resources.found("dataset", request["DataSetId"])
        if self._store.get("ingestion", key_of(data_set["DataSetId"], identity)):
            raise ServiceError(
                "ResourceExistsException", f"Ingestion {identity} already exists", ResourceType="INGESTION"
            )
        if request.get("IngestionType", "FULL_REFRESH") != "FULL_REFRESH":
            raise invalid("Incremental refresh needs refresh properties, which the data set does not have")
        since = time.time() - _DAY_SECONDS
        recent = [
            entry
            for entry in self._store.all("ingestion", key_of(data_set["DataSetId"]))
            if entry["RequestType"] == "FULL_REFRESH"
            and entry["RequestSource"] == "MANUAL"
            and entry["CreatedTime"] > since
        ]
        if len(recent) >= INGESTIONS_PER_DAY:
            raise ServiceError(
                "LimitExceededException",
                f"The limit of {INGESTIONS_PER_DAY} ingestions in 24 hours of the data set "
                f"{data_set['DataSetId']} is reached",
                ResourceType="INGESTION",
            )
        document = self._ingest(data_set, identity, "FULL_REFRESH", "MANUAL")
        return {
            "Arn": document["Arn"],
            "IngestionId": identity,
            "IngestionStatus": document["IngestionStatus"],
            "Status": 201,
        }

    def describe_ingestion(self, request: Json) -> Json:
        """One ingestion."""
        return {"Ingestion": self._ingestion(request)}

    def list_ingestions(self, request: Json) -> Json:
        """A data set's ingestions, the latest first."""
        self._resources.found("dataset", request["DataSetId"])
        found = self._store.all("ingestion", key_of(request["DataSetId"]))
        return page_of(request, "Ingestions", found[::-1])

    def cancel_ingestion(self, request: Json) -> Json:
        """Ends an ingestion that is in progress."""
        found = self._ingestion(request)
        if found["IngestionStatus"] not in ingestions.ACTIVE:
            raise invalid(f"The ingestion is {found['IngestionStatus']}; it can't be canceled")
        self._ingestions.cancel(key_of(request["DataSetId"], request["IngestionId"]))
        return {"Arn": found["Arn"], "IngestionId": found["IngestionId"]}

    def _ingested(self, document: Json, kind: str) -> Json:
        if document["ImportMode"] != "SPICE":
            return {}
        identity = str(uuid.uuid4())
        ingestion = self._ingest(document, identity, kind, "MANUAL")
        return {"IngestionArn": ingestion["Arn"], "IngestionId": identity}

    def _ingest(self, data_set: Json, identity: str, kind: str, source: str) -> Json:
        name = data_set["DataSetId"]
        document = {
            "Arn": f"{data_set['Arn']}/ingestion/{identity}",
            "DataSetId": name,
            "IngestionId": identity,
            "IngestionStatus": "INITIALIZED",
            "CreatedTime": time.time(),
            "RequestSource": source,
            "RequestType": kind,
        }
        key = key_of(name, identity)
        self._store.put("ingestion", key, document)
        self._ingestions.start(key, name, lambda: self._query(name))
        return document

    def _query(self, identity: str) -> Query:
        data_set = self._store.get("dataset", identity)
        if data_set is None:
            raise IngestionError("DATA_SET_DELETED", "The data set was deleted.")
        if data_set["ImportMode"] != "SPICE":
            raise IngestionError("DATA_SET_NOT_SPICE", "The data set is not stored in SPICE.")
        (table,) = data_set["PhysicalTableMap"].values()
        sql = table["CustomSql"]
        for source in self._store.all("datasource"):
            if source["Arn"] == sql["DataSourceArn"]:
                parameters = source["DataSourceParameters"]["AthenaParameters"]
                columns = {column["Name"]: column["Type"] for column in sql["Columns"]}
                return Query(sql["SqlQuery"], parameters.get("WorkGroup", "primary"), columns)
        raise IngestionError("DATA_SOURCE_NOT_FOUND", f"{sql['DataSourceArn']} does not exist.")

    def _ingestion(self, request: Json) -> Json:
        self._resources.found("dataset", request["DataSetId"])
        found = self._store.get("ingestion", key_of(request["DataSetId"], request["IngestionId"]))
        if found is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"Ingestion {request['IngestionId']} is not found",
                ResourceType="INGESTION",
            )
        return found

    def create_refresh_schedule(self, request: Json) -> Json:
        """Creates a schedule, of which a data set has at most five."""
        data_set = self._spice(request["DataSetId"])
        schedule = request["Schedule"]
        key = key_of(request["DataSetId"], schedule["ScheduleId"])
        if self._store.get("schedule", key):
            raise ServiceError(
                "ResourceExistsException",
                f"Refresh schedule {schedule['ScheduleId']} already exists",
                ResourceType="REFRESH_SCHEDULE",
            )
        if len(self._store.all("schedule", key_of(request["DataSetId"]))) >= schedules.A_DATA_SET:
            raise ServiceError(
                "LimitExceededException",
                f"A data set has {schedules.A_DATA_SET} refresh schedules at most",
                ResourceType="REFRESH_SCHEDULE",
            )
        return self._scheduled(data_set, schedule, key)

    def update_refresh_schedule(self, request: Json) -> Json:
        """Replaces a schedule."""
        data_set = self._spice(request["DataSetId"])
        self._schedule(request["DataSetId"], request["Schedule"]["ScheduleId"])
        key = key_of(request["DataSetId"], request["Schedule"]["ScheduleId"])
        return self._scheduled(data_set, request["Schedule"], key)

    def describe_refresh_schedule(self, request: Json) -> Json:
        """One schedule."""
        data_set = self._resources.found("dataset", request["DataSetId"])
        found = self._schedule(request["DataSetId"], request["ScheduleId"])
        return {"RefreshSchedule": found["Schedule"], "Arn": data_set["Arn"]}

    def list_refresh_schedules(self, request: Json) -> Json:
        """A data set's schedules."""
        self._resources.found("dataset", request["DataSetId"])
        found = self._store.all("schedule", key_of(request["DataSetId"]))
        return {"RefreshSchedules": [entry["Schedule"] for entry in found]}

    def delete_refresh_schedule(self, request: Json) -> Json:
        """Deletes a schedule."""
        self._resources.found("dataset", request["DataSetId"])
        found = self._schedule(request["DataSetId"], request["ScheduleId"])
        self._store.delete("schedule", key_of(request["DataSetId"], request["ScheduleId"]))
        return {"ScheduleId": request["ScheduleId"], "Arn": found["Schedule"]["Arn"]}

    def run_schedules(self, now: float) -> None:
        """Starts the ingestions of the schedules that are due."""
        with self._store.lock:
            for document in self._store.all("schedule"):
                due = schedules.due(document["Schedule"], document["After"])
                if due > now:
                    continue
                key = key_of(document["DataSetId"], document["Schedule"]["ScheduleId"])
                self._store.put("schedule", key, {**document, "After": now})
                data_set = self._resources.found("dataset", document["DataSetId"])
                self._ingest(data_set, str(uuid.uuid4()), "FULL_REFRESH", "SCHEDULED")

    def _scheduled(self, data_set: Json, given: Json, key: str) -> Json:
        problem = schedules.problem(given)
        if problem:
            raise invalid(problem)
        schedule = {**given, "Arn": f"{data_set['Arn']}/refresh-schedule/{given['ScheduleId']}"}
        if start := moment(given.get("StartAfterDateTime")):
            schedule["StartAfterDateTime"] = start
        document = {"DataSetId": data_set["DataSetId"], "Schedule": schedule, "After": time.time()}
        self._store.put("schedule", key, document)
        return {"ScheduleId": given["ScheduleId"], "Arn": schedule["Arn"]}

    def _spice(self, identity: str) -> Json:
        data_set = self._resources.found("dataset", identity)
        if data_set["ImportMode"] != "SPICE":
            raise invalid("The data set is not stored in SPICE")
        return data_set

    def _schedule(self, data_set: str, identity: str) -> Json:
        found = self._store.get("schedule", key_of(data_set, identity))
        if found is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"Refresh schedule {identity} is not found",
                ResourceType="REFRESH_SCHEDULE",
            )
        return found


def _roles(logical: Json | None, table: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Geographic roles by column, as a logical table's transforms tag them; raises `ServiceError`."""
    roles: dict[str, str] = {}
    if not logical:
        return roles
    if len(logical) != 1:
        raise invalid("Exactly one logical table is offered by the local AWS")
    (content,) = logical.values()
    if content["Source"] != {"PhysicalTableId": table}:
        raise invalid(f"The logical table's source is not the physical table {table}")
    for transform in content.get("DataTransforms", []):
        if transform.keys() != {"TagColumnOperation"}:
            raise invalid(f"{', '.join(transform)} is not offered by the local AWS")
        tagged = transform["TagColumnOperation"]
        if tagged["ColumnName"] not in columns:
            raise invalid(f"Invalid transform in LogicalTableMap: no column {tagged['ColumnName']}")
        for tag in tagged["Tags"]:
            if "ColumnGeographicRole" in tag:
                roles[tagged["ColumnName"]] = tag["ColumnGeographicRole"]
    return roles

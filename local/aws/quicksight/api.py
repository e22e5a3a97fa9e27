"""The operations of QuickSight's API: requests checked as QuickSight checks them, answers in its shapes.

API reference: https://docs.aws.amazon.com/quicksight/latest/APIReference/.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.aws.context import ACCOUNT, REGION
from local.aws.quicksight import definitions, ingestions, schedules
from local.aws.quicksight.ingestions import IngestionError, Ingestions, Query, key_of
from local.aws.quicksight.model import Json, ServiceError, moment
from local.aws.quicksight.store import Store

INGESTIONS_A_DAY = 32
"""Ingestions by hand of a data set in 24 hours, Enterprise edition (API reference of CreateIngestion)."""

_DAY_SECONDS = 86_400
_SHOWN_TYPES = ("STRING", "INTEGER", "DECIMAL", "DATETIME")
_IN_PROGRESS = ("CREATION_IN_PROGRESS", "UPDATE_IN_PROGRESS")
_SUCCESSFUL = ("CREATION_SUCCESSFUL", "UPDATE_SUCCESSFUL")
_TITLES = {"datasource": "DataSource", "dataset": "DataSet", "dashboard": "Dashboard"}


class Api:
    """Each public method answers one operation: its parameters in, the answer's members out."""

    def __init__(self, store: Store, client: Callable[[str], Any]) -> None:
        self._store = store
        self._client = client
        self._ingestions = Ingestions(store, client)
        self._checks = ThreadPoolExecutor(1, thread_name_prefix="quicksight")

    def start(self) -> None:
        """Takes up what an earlier server left."""
        self._ingestions.interrupt_all()
        for document in self._store.all("datasource"):
            if document["Status"] in _IN_PROGRESS:
                self._checks.submit(self._check_source, document["DataSourceId"])
        for document in self._store.all("dashboard"):
            for version in document["Versions"]:
                if version["Status"] in _IN_PROGRESS:
                    self._checks.submit(
                        self._check_dashboard, document["DashboardId"], version["VersionNumber"]
                    )

    def close(self) -> None:
        """Gives up what is under way."""
        self._checks.shutdown(wait=False, cancel_futures=True)
        self._ingestions.close()

    def answer(self, operation: str, parameters: Json) -> Json:
        """Answers an operation by its Python name; raises `ServiceError`."""
        method = OPERATIONS.get(operation)
        if method is None:
            raise ServiceError("UnknownOperationException", f"{operation} is not offered by the local AWS")
        account = parameters.get("AwsAccountId", ACCOUNT)
        if account != ACCOUNT:
            raise ServiceError(
                "AccessDeniedException", f"The account {account} is not the caller's ({ACCOUNT})"
            )
        with self._store.lock:
            return method(self, parameters)

    def register_user(self, request: Json) -> Json:
        """A user, whom resources can be shared with."""
        if request["Namespace"] != "default":
            raise ServiceError(
                "ResourceNotFoundException", f"Namespace {request['Namespace']} does not exist"
            )
        name = request.get("UserName")
        if request["IdentityType"] != "QUICKSIGHT" or not name:
            raise _invalid("Only users of identity type QUICKSIGHT with a UserName are offered here")
        arn = _arn(f"user/default/{name}")
        if self._store.get("principal", arn):
            raise ServiceError("ResourceExistsException", f"User {name} already exists", ResourceType="USER")
        user = {
            "Arn": arn,
            "UserName": name,
            "Email": request["Email"],
            "Role": request["UserRole"],
            "IdentityType": "QUICKSIGHT",
            "Active": True,
            "PrincipalId": f"federated/iam/{name}",
        }
        self._store.put("principal", arn, user)
        return {"User": user}

    def describe_user(self, request: Json) -> Json:
        """One user."""
        arn = _arn(f"user/{request['Namespace']}/{request['UserName']}")
        user = self._store.get("principal", arn)
        if user is None:
            raise ServiceError("ResourceNotFoundException", f"User {request['UserName']} is not found")
        return {"User": user}

    def list_users(self, request: Json) -> Json:
        """The users."""
        return _page(request, "UserList", self._store.all("principal"))

    def create_data_source(self, request: Json) -> Json:
        """An Athena data source; its connection is tried afterward."""
        self._absent("datasource", request["DataSourceId"])
        if request["Type"] != "ATHENA":
            raise _invalid(f"Data sources of type {request['Type']} are not offered by the local AWS")
        now = time.time()
        document = {
            "Arn": _arn(f"datasource/{request['DataSourceId']}"),
            "DataSourceId": request["DataSourceId"],
            "Name": request["Name"],
            "Type": request["Type"],
            "Status": "CREATION_IN_PROGRESS",
            "CreatedTime": now,
            "LastUpdatedTime": now,
            "DataSourceParameters": _athena_parameters(request),
            "Permissions": self._permissions(request.get("Permissions", [])),
            "Tags": request.get("Tags", []),
        }
        self._store.put("datasource", request["DataSourceId"], document)
        self._checks.submit(self._check_source, request["DataSourceId"])
        return {
            "Arn": document["Arn"],
            "DataSourceId": document["DataSourceId"],
            "CreationStatus": document["Status"],
            "Status": 202,
        }

    def update_data_source(self, request: Json) -> Json:
        """Changes name and parameters."""
        document = self._found("datasource", request["DataSourceId"])
        _settled(document["Status"])
        document |= {
            "Name": request["Name"],
            "DataSourceParameters": _athena_parameters(request),
            "Status": "UPDATE_IN_PROGRESS",
            "LastUpdatedTime": time.time(),
        }
        document.pop("ErrorInfo", None)
        self._store.put("datasource", request["DataSourceId"], document)
        self._checks.submit(self._check_source, request["DataSourceId"])
        return {
            "Arn": document["Arn"],
            "DataSourceId": document["DataSourceId"],
            "UpdateStatus": document["Status"],
            "Status": 202,
        }

    def _check_source(self, identity: str) -> None:
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
            if document is None or document["Status"] not in _IN_PROGRESS:
                return
            kind = document["Status"].removesuffix("IN_PROGRESS")
            document["Status"] = f"{kind}{'FAILED' if problem else 'SUCCESSFUL'}"
            if problem:
                document["ErrorInfo"] = {"Type": "GENERIC_SQL_FAILURE", "Message": problem}
            self._store.put("datasource", identity, document)

    def describe_data_source(self, request: Json) -> Json:
        """One data source."""
        return {"DataSource": _public(self._found("datasource", request["DataSourceId"]))}

    def list_data_sources(self, request: Json) -> Json:
        """The data sources."""
        return _page(request, "DataSources", [_public(entry) for entry in self._store.all("datasource")])

    def delete_data_source(self, request: Json) -> Json:
        """Forgets a data source; data sets that use it stay, and fail."""
        document = self._found("datasource", request["DataSourceId"])
        self._store.delete("datasource", request["DataSourceId"])
        return {"Arn": document["Arn"], "DataSourceId": request["DataSourceId"]}

    def create_data_set(self, request: Json) -> Json:
        """A data set of custom SQL; one in SPICE is ingested at once."""
        self._absent("dataset", request["DataSetId"])
        now = time.time()
        document = {
            "Arn": _arn(f"dataset/{request['DataSetId']}"),
            "DataSetId": request["DataSetId"],
            "CreatedTime": now,
            "Permissions": self._permissions(request.get("Permissions", [])),
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
        """Replaces a data set's definition and ingests it anew."""
        document = self._found("dataset", request["DataSetId"])
        for name in ("LogicalTableMap", "RowLevelPermissionDataSet"):
            document.pop(name, None)
        document |= self._data_set(request)
        self._store.put("dataset", request["DataSetId"], document)
        return {
            "Arn": document["Arn"],
            "DataSetId": document["DataSetId"],
            **self._ingested(document, "EDIT"),
        }

    def _data_set(self, request: Json) -> Json:
        """The checked parts of a data set; raises `ServiceError`."""
        refused = request.keys() - _DATA_SET_PARAMETERS
        if refused:
            raise _invalid(f"{', '.join(sorted(refused))}: not offered by the local AWS")
        physical = request["PhysicalTableMap"]
        if len(physical) != 1:
            raise _invalid("Exactly one physical table is offered by the local AWS")
        ((table, content),) = physical.items()
        if content.keys() != {"CustomSql"}:
            raise _invalid("Only a physical table of CustomSql is offered by the local AWS")
        sql = content["CustomSql"]
        if not any(source["Arn"] == sql["DataSourceArn"] for source in self._store.all("datasource")):
            raise _invalid(f"The data source {sql['DataSourceArn']} does not exist")
        columns = {}
        for column in sql.get("Columns", []):
            if column["Type"] not in _SHOWN_TYPES:
                raise _invalid(f"Columns of type {column['Type']} are not offered by the local AWS")
            if column["Name"] in columns:
                raise _invalid(f"Duplicate column name {column['Name']}")
            columns[column["Name"]] = column["Type"]
        if not columns:
            raise _invalid(f"The physical table {table} has no columns")
        roles = _roles(request.get("LogicalTableMap"), table, columns)
        kept = {name: value for name, value in request.items() if name in _DATA_SET_KEPT}
        shown = [{"Name": name, "Type": kind} for name, kind in columns.items()]
        return {**kept, "OutputColumns": shown, "Roles": roles, "LastUpdatedTime": time.time()}

    def _ingested(self, document: Json, kind: str) -> Json:
        if document["ImportMode"] != "SPICE":
            return {}
        identity = str(uuid.uuid4())
        ingestion = self._ingest(document, identity, kind, "MANUAL")
        return {"IngestionArn": ingestion["Arn"], "IngestionId": identity}

    def describe_data_set(self, request: Json) -> Json:
        """One data set."""
        document = self._found("dataset", request["DataSetId"])
        done = [
            entry["IngestionSizeInBytes"]
            for entry in self._store.all("ingestion", key_of(request["DataSetId"]))
            if entry["IngestionStatus"] == "COMPLETED"
        ]
        return {"DataSet": {**_public(document), "ConsumedSpiceCapacityInBytes": done[-1] if done else 0}}

    def list_data_sets(self, request: Json) -> Json:
        """The data sets."""
        shown = ("Arn", "DataSetId", "Name", "CreatedTime", "LastUpdatedTime", "ImportMode")
        found = [{name: entry[name] for name in shown} for entry in self._store.all("dataset")]
        return _page(request, "DataSetSummaries", found)

    def delete_data_set(self, request: Json) -> Json:
        """Forgets a data set with its ingestions and schedules."""
        identity = request["DataSetId"]
        document = self._found("dataset", identity)
        for entry in self._store.all("ingestion", key_of(identity)):
            if entry["IngestionStatus"] in ingestions.ACTIVE:
                self._ingestions.cancel(key_of(identity, entry["IngestionId"]))
        for kind in ("ingestion", "schedule"):
            self._store.delete_below(kind, key_of(identity))
        self._store.delete("dataset", identity)
        return {"Arn": document["Arn"], "DataSetId": identity}

    def create_ingestion(self, request: Json) -> Json:
        """Starts an ingestion by hand, 32 in 24 hours at most."""
        identity = request["IngestionId"]
        data_set = self._found("dataset", request["DataSetId"])
        if self._store.get("ingestion", key_of(data_set["DataSetId"], identity)):
            raise ServiceError(
                "ResourceExistsException", f"Ingestion {identity} already exists", ResourceType="INGESTION"
            )
        if request.get("IngestionType", "FULL_REFRESH") != "FULL_REFRESH":
            raise _invalid("Incremental refresh needs refresh properties, which the data set does not have")
        since = time.time() - _DAY_SECONDS
        recent = [
            entry
            for entry in self._store.all("ingestion", key_of(data_set["DataSetId"]))
            if entry["RequestType"] == "FULL_REFRESH"
            and entry["RequestSource"] == "MANUAL"
            and entry["CreatedTime"] > since
        ]
        if len(recent) >= INGESTIONS_A_DAY:
            raise ServiceError(
                "LimitExceededException",
                f"The limit of {INGESTIONS_A_DAY} ingestions in 24 hours of the data set "
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

    def describe_ingestion(self, request: Json) -> Json:
        """One ingestion."""
        return {"Ingestion": self._ingestion(request)}

    def _ingestion(self, request: Json) -> Json:
        self._found("dataset", request["DataSetId"])
        found = self._store.get("ingestion", key_of(request["DataSetId"], request["IngestionId"]))
        if found is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"Ingestion {request['IngestionId']} is not found",
                ResourceType="INGESTION",
            )
        return found

    def list_ingestions(self, request: Json) -> Json:
        """A data set's ingestions, the latest first."""
        self._found("dataset", request["DataSetId"])
        found = self._store.all("ingestion", key_of(request["DataSetId"]))
        return _page(request, "Ingestions", found[::-1])

    def cancel_ingestion(self, request: Json) -> Json:
        """Ends an ingestion that is under way."""
        found = self._ingestion(request)
        if found["IngestionStatus"] not in ingestions.ACTIVE:
            raise _invalid(f"The ingestion is {found['IngestionStatus']}; it can't be canceled")
        self._ingestions.cancel(key_of(request["DataSetId"], request["IngestionId"]))
        return {"Arn": found["Arn"], "IngestionId": found["IngestionId"]}

    def create_refresh_schedule(self, request: Json) -> Json:
        """A schedule, of which a data set has five at most."""
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

    def _scheduled(self, data_set: Json, given: Json, key: str) -> Json:
        problem = schedules.problem(given)
        if problem:
            raise _invalid(problem)
        schedule = {**given, "Arn": f"{data_set['Arn']}/refresh-schedule/{given['ScheduleId']}"}
        if start := moment(given.get("StartAfterDateTime")):
            schedule["StartAfterDateTime"] = start
        document = {"DataSetId": data_set["DataSetId"], "Schedule": schedule, "After": time.time()}
        self._store.put("schedule", key, document)
        return {"ScheduleId": given["ScheduleId"], "Arn": schedule["Arn"]}

    def _spice(self, identity: str) -> Json:
        data_set = self._found("dataset", identity)
        if data_set["ImportMode"] != "SPICE":
            raise _invalid("The data set is not stored in SPICE")
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

    def describe_refresh_schedule(self, request: Json) -> Json:
        """One schedule."""
        data_set = self._found("dataset", request["DataSetId"])
        found = self._schedule(request["DataSetId"], request["ScheduleId"])
        return {"RefreshSchedule": found["Schedule"], "Arn": data_set["Arn"]}

    def list_refresh_schedules(self, request: Json) -> Json:
        """A data set's schedules."""
        self._found("dataset", request["DataSetId"])
        found = self._store.all("schedule", key_of(request["DataSetId"]))
        return {"RefreshSchedules": [entry["Schedule"] for entry in found]}

    def delete_refresh_schedule(self, request: Json) -> Json:
        """Forgets a schedule."""
        self._found("dataset", request["DataSetId"])
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
                data_set = self._found("dataset", document["DataSetId"])
                self._ingest(data_set, str(uuid.uuid4()), "FULL_REFRESH", "SCHEDULED")

    def create_dashboard(self, request: Json) -> Json:
        """A dashboard with its first version, which is published once it is found good."""
        identity = request["DashboardId"]
        self._absent("dashboard", identity)
        now = time.time()
        document = {
            "Arn": _arn(f"dashboard/{identity}"),
            "DashboardId": identity,
            "CreatedTime": now,
            "Permissions": self._permissions(request.get("Permissions", [])),
            "Tags": request.get("Tags", []),
            "Versions": [],
            "PublishedVersionNumber": None,
        }
        version = self._version(document, request, "CREATION_IN_PROGRESS")
        return {
            "Arn": document["Arn"],
            "VersionArn": version["Arn"],
            "DashboardId": identity,
            "CreationStatus": version["Status"],
            "Status": 202,
        }

    def update_dashboard(self, request: Json) -> Json:
        """A further version, which is not published by that."""
        document = self._found("dashboard", request["DashboardId"])
        _settled(document["Versions"][-1]["Status"])
        version = self._version(document, request, "UPDATE_IN_PROGRESS")
        return {
            "Arn": document["Arn"],
            "VersionArn": version["Arn"],
            "DashboardId": request["DashboardId"],
            "CreationStatus": "CREATION_IN_PROGRESS",
            "Status": 202,
        }

    def _version(self, document: Json, request: Json, status: str) -> Json:
        refused = request.keys() - _DASHBOARD_PARAMETERS
        if refused:
            raise _invalid(f"{', '.join(sorted(refused))}: not offered by the local AWS")
        if "Definition" not in request:
            raise _invalid("Either SourceEntity or Definition is required")
        number = len(document["Versions"]) + 1
        version = {
            "Arn": f"{document['Arn']}/version/{number}",
            "VersionNumber": number,
            "CreatedTime": time.time(),
            "Status": status,
            "Name": request["Name"],
            "Definition": request["Definition"],
            "DashboardPublishOptions": request.get("DashboardPublishOptions", {}),
            "Lenient": request.get("ValidationStrategy", {}).get("Mode") == "LENIENT",
        }
        if "VersionDescription" in request:
            version["Description"] = request["VersionDescription"]
        document["Versions"].append(version)
        document |= {"Name": request["Name"], "LastUpdatedTime": version["CreatedTime"]}
        self._store.put("dashboard", document["DashboardId"], document)
        self._checks.submit(self._check_dashboard, document["DashboardId"], number)
        return version

    def _check_dashboard(self, identity: str, number: int) -> None:
        with self._store.lock:
            document = self._store.get("dashboard", identity)
            if document is None:
                return
            version = document["Versions"][number - 1]
            found = {entry["Arn"]: _checked(entry) for entry in self._store.all("dataset")}
            errors = definitions.errors(version["Definition"], found)
            if errors:
                version["Errors"] = errors
            version["DataSetArns"] = [
                entry["DataSetArn"] for entry in version["Definition"]["DataSetIdentifierDeclarations"]
            ]
            good = not errors or version["Lenient"]
            kind = version["Status"].removesuffix("IN_PROGRESS")
            version["Status"] = f"{kind}{'SUCCESSFUL' if good else 'FAILED'}"
            if good and number == 1:
                document |= {"PublishedVersionNumber": 1, "LastPublishedTime": time.time()}
            self._store.put("dashboard", identity, document)

    def _dashboard(self, request: Json) -> tuple[Json, Json]:
        """A dashboard and the version that is asked for: the published one unless it is named."""
        document = self._found("dashboard", request["DashboardId"])
        number = request.get("VersionNumber") or document["PublishedVersionNumber"] or 1
        if number > len(document["Versions"]):
            raise ServiceError(
                "ResourceNotFoundException",
                f"Version {number} of dashboard {request['DashboardId']} is not found",
                ResourceType="DASHBOARD",
            )
        return document, document["Versions"][number - 1]

    def describe_dashboard(self, request: Json) -> Json:
        """One version of a dashboard."""
        document, version = self._dashboard(request)
        hidden = ("Definition", "DashboardPublishOptions", "Lenient", "Name")
        shown = {name: value for name, value in version.items() if name not in hidden}
        sheets = [
            {"SheetId": sheet["SheetId"], "Name": sheet.get("Name", "")}
            for sheet in version["Definition"].get("Sheets", [])
        ]
        dashboard = {
            name: document[name]
            for name in ("DashboardId", "Arn", "CreatedTime", "LastPublishedTime", "LastUpdatedTime")
            if name in document
        }
        return {"Dashboard": {**dashboard, "Name": version["Name"], "Version": {**shown, "Sheets": sheets}}}

    def describe_dashboard_definition(self, request: Json) -> Json:
        """One version's definition."""
        document, version = self._dashboard(request)
        answer = {
            "DashboardId": document["DashboardId"],
            "Name": version["Name"],
            "ResourceStatus": version["Status"],
            "Definition": version["Definition"],
            "DashboardPublishOptions": version["DashboardPublishOptions"],
        }
        return {**answer, "Errors": version["Errors"]} if "Errors" in version else answer

    def list_dashboards(self, request: Json) -> Json:
        """The dashboards."""
        shown = (
            "Arn",
            "DashboardId",
            "Name",
            "CreatedTime",
            "LastUpdatedTime",
            "PublishedVersionNumber",
            "LastPublishedTime",
        )
        found = [
            {name: entry[name] for name in shown if entry.get(name) is not None}
            for entry in self._store.all("dashboard")
        ]
        return _page(request, "DashboardSummaryList", found)

    def list_dashboard_versions(self, request: Json) -> Json:
        """A dashboard's versions, the latest first."""
        document = self._found("dashboard", request["DashboardId"])
        shown = ("Arn", "CreatedTime", "VersionNumber", "Status", "Description")
        found = [
            {name: version[name] for name in shown if name in version} for version in document["Versions"]
        ]
        return _page(request, "DashboardVersionSummaryList", found[::-1])

    def update_dashboard_published_version(self, request: Json) -> Json:
        """Publishes a version."""
        document, version = self._dashboard(request)
        _settled(version["Status"])
        if version["Status"] not in _SUCCESSFUL:
            raise _invalid(f"Version {version['VersionNumber']} is {version['Status']}")
        document |= {
            "PublishedVersionNumber": version["VersionNumber"],
            "LastPublishedTime": time.time(),
        }
        self._store.put("dashboard", document["DashboardId"], document)
        return {"DashboardId": document["DashboardId"], "DashboardArn": document["Arn"]}

    def delete_dashboard(self, request: Json) -> Json:
        """Forgets a dashboard with its versions."""
        document = self._found("dashboard", request["DashboardId"])
        if request.get("VersionNumber"):
            raise _invalid("Deleting single versions is not offered by the local AWS")
        self._store.delete("dashboard", request["DashboardId"])
        return {"Arn": document["Arn"], "DashboardId": request["DashboardId"]}

    def _describe_permissions(self, kind: str, identity: str) -> Json:
        document = self._found(kind, identity)
        prefix = _TITLES[kind]
        return {
            f"{prefix}Id": identity,
            f"{prefix}Arn": document["Arn"],
            "Permissions": document["Permissions"],
        }

    def _update_permissions(self, kind: str, identity: str, request: Json) -> Json:
        document = self._found(kind, identity)
        standing = {entry["Principal"]: set(entry["Actions"]) for entry in document["Permissions"]}
        for entry in self._permissions(request.get("GrantPermissions", [])):
            standing.setdefault(entry["Principal"], set()).update(entry["Actions"])
        for entry in request.get("RevokePermissions", []):
            standing.get(entry["Principal"], set()).difference_update(entry["Actions"])
        document["Permissions"] = [
            {"Principal": principal, "Actions": sorted(actions)}
            for principal, actions in standing.items()
            if actions
        ]
        self._store.put(kind, identity, document)
        return self._describe_permissions(kind, identity)

    def _permissions(self, given: list[Json]) -> list[Json]:
        for entry in given:
            if self._store.get("principal", entry["Principal"]) is None:
                raise _invalid(f"Principal {entry['Principal']} does not exist")
            for action in entry["Actions"]:
                if not re.fullmatch(r"quicksight:[A-Za-z]+", action):
                    raise _invalid(f"{action} is no action of QuickSight")
        return given

    def tag_resource(self, request: Json) -> Json:
        """Sets tags; the others stay."""
        kind, document = self._by_arn(request["ResourceArn"])
        tags = {tag["Key"]: tag["Value"] for tag in [*document["Tags"], *request["Tags"]]}
        document["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
        self._store.put(kind, _identity(document), document)
        return {}

    def untag_resource(self, request: Json) -> Json:
        """Takes tags away."""
        kind, document = self._by_arn(request["ResourceArn"])
        document["Tags"] = [tag for tag in document["Tags"] if tag["Key"] not in request["TagKeys"]]
        self._store.put(kind, _identity(document), document)
        return {}

    def list_tags_for_resource(self, request: Json) -> Json:
        """A resource's tags."""
        return {"Tags": self._by_arn(request["ResourceArn"])[1]["Tags"]}

    def _by_arn(self, arn: str) -> tuple[str, Json]:
        kind, _, identity = arn.removeprefix(_arn("")).partition("/")
        if kind not in _TITLES:
            raise _invalid(f"{arn} is no resource with tags")
        return kind, self._found(kind, identity)

    def _found(self, kind: str, identity: str) -> Json:
        document = self._store.get(kind, identity)
        if document is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"{_TITLES[kind]} {identity} is not found",
                ResourceType=kind.upper(),
            )
        return document

    def _absent(self, kind: str, identity: str) -> None:
        if self._store.get(kind, identity):
            raise ServiceError(
                "ResourceExistsException",
                f"{_TITLES[kind]} {identity} already exists",
                ResourceType=kind.upper(),
            )


_DATA_SET_KEPT = {"Name", "PhysicalTableMap", "LogicalTableMap", "ImportMode"}
_DATA_SET_PARAMETERS = {"AwsAccountId", "DataSetId", "Permissions", "Tags", *_DATA_SET_KEPT}
_DASHBOARD_PARAMETERS = {
    "AwsAccountId",
    "DashboardId",
    "Name",
    "Permissions",
    "Tags",
    "VersionDescription",
    "DashboardPublishOptions",
    "Definition",
    "ValidationStrategy",
}


def _permission_operations() -> dict[str, Callable[[Api, Json], Json]]:
    operations: dict[str, Callable[[Api, Json], Json]] = {}
    for kind, title in _TITLES.items():
        name = {"datasource": "data_source", "dataset": "data_set"}.get(kind, kind)
        key = f"{title}Id"

        def describe(api: Api, request: Json, kind: str = kind, key: str = key) -> Json:
            return api._describe_permissions(kind, request[key])

        def update(api: Api, request: Json, kind: str = kind, key: str = key) -> Json:
            return api._update_permissions(kind, request[key], request)

        operations[f"describe_{name}_permissions"] = describe
        operations[f"update_{name}_permissions"] = update
    return operations


OPERATIONS: Mapping[str, Callable[[Api, Json], Json]] = {
    **{
        name: getattr(Api, name)
        for name in vars(Api)
        if re.match(r"(create|describe|update|list|delete|cancel|register|tag|untag)_", name)
    },
    **_permission_operations(),
}
"""What is offered, by botocore's names."""


def _arn(resource: str) -> str:
    return f"arn:aws:quicksight:{REGION}:{ACCOUNT}:{resource}"


def _identity(document: Json) -> str:
    return str(document["Arn"].split("/", 1)[1])


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameterValueException", message)


def _settled(status: str) -> None:
    if status in _IN_PROGRESS:
        raise ServiceError("ConflictException", f"The resource is being changed ({status})")


def _athena_parameters(request: Json) -> Json:
    parameters = request.get("DataSourceParameters") or {}
    if parameters.keys() != {"AthenaParameters"}:
        raise _invalid("DataSourceParameters field is incorrectly set")
    return dict(parameters)


def _roles(logical: Json | None, table: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Geographic roles by column, as a logical table's transforms tag them; raises `ServiceError`."""
    roles: dict[str, str] = {}
    if not logical:
        return roles
    if len(logical) != 1:
        raise _invalid("Exactly one logical table is offered by the local AWS")
    (content,) = logical.values()
    if content["Source"] != {"PhysicalTableId": table}:
        raise _invalid(f"The logical table's source is not the physical table {table}")
    for transform in content.get("DataTransforms", []):
        if transform.keys() != {"TagColumnOperation"}:
            raise _invalid(f"{', '.join(transform)} is not offered by the local AWS")
        tagged = transform["TagColumnOperation"]
        if tagged["ColumnName"] not in columns:
            raise _invalid(f"Invalid transform in LogicalTableMap: no column {tagged['ColumnName']}")
        for tag in tagged["Tags"]:
            if "ColumnGeographicRole" in tag:
                roles[tagged["ColumnName"]] = tag["ColumnGeographicRole"]
    return roles


def _checked(document: Json) -> definitions.DataSet:
    columns = {
        column["Name"]: definitions.Column(column["Type"], document["Roles"].get(column["Name"]))
        for column in document["OutputColumns"]
    }
    return definitions.DataSet(document["Arn"], columns)


def _public(document: Json) -> Json:
    hidden = ("Permissions", "Tags", "Roles")
    return {name: value for name, value in document.items() if name not in hidden}


def _page(request: Json, name: str, found: list[Json]) -> Json:
    token = request.get("NextToken", "0")
    if not token.isdecimal():
        raise ServiceError("InvalidNextTokenException", "The NextToken value isn't valid.")
    start, count = int(token), request.get("MaxResults") or 100
    answer: Json = {name: found[start : start + count]}
    if start + count < len(found):
        answer["NextToken"] = str(start + count)
    return answer

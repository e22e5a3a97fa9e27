"""Dashboards and their versions, whose definitions are checked in the background."""

from __future__ import annotations

import time
from concurrent.futures import Executor

from local.aws.quicksight import definitions
from local.aws.quicksight.model import Json, ServiceError
from local.aws.quicksight.resources import (
    IN_PROGRESS,
    Resources,
    arn_of,
    invalid,
    page_of,
    require_settled,
)
from local.aws.quicksight.store import Store

_SUCCESSFUL = ("CREATION_SUCCESSFUL", "UPDATE_SUCCESSFUL")
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


class Dashboards:
    """Each public method but `start` answers one operation: its parameters in, the answer's members out."""

    def __init__(self, store: Store, resources: Resources, checks: Executor) -> None:
        self._store = store
        self._resources = resources
        self._checks = checks

    def start(self) -> None:
        """Checks the versions that an earlier server left unchecked."""
        for document in self._store.all("dashboard"):
            for version in document["Versions"]:
                if version["Status"] in IN_PROGRESS:
                    self._checks.submit(self._check, document["DashboardId"], version["VersionNumber"])

    def create_dashboard(self, request: Json) -> Json:
        """Creates a dashboard with its first version, which is published once it is found valid."""
        identity = request["DashboardId"]
        self._resources.require_absent("dashboard", identity)
        now = time.time()
        document = {
            "Arn": arn_of(f"dashboard/{identity}"),
            "DashboardId": identity,
            "CreatedTime": now,
            "Permissions": self._resources.permissions(request.get("Permissions", [])),
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
        """Creates another version without publishing it."""
        document = self._resources.found("dashboard", request["DashboardId"])
        require_settled(document["Versions"][-1]["Status"])
        version = self._version(document, request, "UPDATE_IN_PROGRESS")
        return {
            "Arn": document["Arn"],
            "VersionArn": version["Arn"],
            "DashboardId": request["DashboardId"],
            "CreationStatus": "CREATION_IN_PROGRESS",
            "Status": 202,
        }

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
        return page_of(request, "DashboardSummaryList", found)

    def list_dashboard_versions(self, request: Json) -> Json:
        """A dashboard's versions, the latest first."""
        document = self._resources.found("dashboard", request["DashboardId"])
        shown = ("Arn", "CreatedTime", "VersionNumber", "Status", "Description")
        found = [
            {name: version[name] for name in shown if name in version} for version in document["Versions"]
        ]
        return page_of(request, "DashboardVersionSummaryList", found[::-1])

    def update_dashboard_published_version(self, request: Json) -> Json:
        """Publishes a version."""
        document, version = self._dashboard(request)
        require_settled(version["Status"])
        if version["Status"] not in _SUCCESSFUL:
            raise invalid(f"Version {version['VersionNumber']} is {version['Status']}")
        document |= {
            "PublishedVersionNumber": version["VersionNumber"],
            "LastPublishedTime": time.time(),
        }
        self._store.put("dashboard", document["DashboardId"], document)
        return {"DashboardId": document["DashboardId"], "DashboardArn": document["Arn"]}

    def delete_dashboard(self, request: Json) -> Json:
        """Deletes a dashboard with its versions."""
        document = self._resources.found("dashboard", request["DashboardId"])
        if request.get("VersionNumber"):
            raise invalid("Deleting single versions is not offered by the local AWS")
        self._store.delete("dashboard", request["DashboardId"])
        return {"Arn": document["Arn"], "DashboardId": request["DashboardId"]}

    def _version(self, document: Json, request: Json, status: str) -> Json:
        rejected = request.keys() - _DASHBOARD_PARAMETERS
        if rejected:
            raise invalid(f"{', '.join(sorted(rejected))}: not offered by the local AWS")
        if "Definition" not in request:
            raise invalid("Either SourceEntity or Definition is required")
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
        self._checks.submit(self._check, document["DashboardId"], number)
        return version

    def _check(self, identity: str, number: int) -> None:
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
        """A dashboard and the requested version: the published one by default."""
        document = self._resources.found("dashboard", request["DashboardId"])
        number = request.get("VersionNumber") or document["PublishedVersionNumber"] or 1
        if number > len(document["Versions"]):
            raise ServiceError(
                "ResourceNotFoundException",
                f"Version {number} of dashboard {request['DashboardId']} is not found",
                ResourceType="DASHBOARD",
            )
        return document, document["Versions"][number - 1]


def _checked(document: Json) -> definitions.DataSet:
    columns = {
        column["Name"]: definitions.Column(column["Type"], document["Roles"].get(column["Name"]))
        for column in document["OutputColumns"]
    }
    return definitions.DataSet(document["Arn"], columns)

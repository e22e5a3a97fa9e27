"""Creates and updates QuickSight's assets by the dashboards' definition; a second run changes nothing.

Each asset has the digest of its definition as a tag, set once QuickSight has accepted it: what was
interrupted, or has changed since, is done again. Permissions come from the settings.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from include.insights.definition import Definition, Json
from include.insights.quicksight import Asset, assets, refresh_schedule
from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_quicksight.client import QuickSightClient

TAG = "definition"
"""The tag with the digest."""

_PATIENCE_S = 300.0
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 3.0
_TITLES = {"data_source": "DataSource", "data_set": "DataSet", "dashboard": "Dashboard"}

log = logging.getLogger(__name__)


class QuickSightError(RuntimeError):
    """QuickSight rejected an asset; the message has its reasons."""


def ensure(client: QuickSightClient, definition: Definition, settings: Settings, account: str) -> list[str]:
    """Creates or updates data source, data sets with their schedules, and dashboards; returns what was done.

    Raises `QuickSightError` and botocore's errors.
    """
    done: list[str] = []
    for asset in assets(definition, settings, account, client.meta.region_name):
        done += _Ensured(client, asset, account).all()
    return done


def digest(asset: Asset) -> str:
    """The digest that tells whether an asset is up to date."""
    content = json.dumps([asset.content, asset.creation], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class _Ensured:
    def __init__(self, client: Any, asset: Asset, account: str) -> None:
        self._client = client
        self._asset = asset
        self._title = _TITLES[asset.kind]
        self._name = f"{asset.kind.replace('_', ' ')} {asset.identity}"
        self._key = {"AwsAccountId": account, f"{self._title}Id": asset.identity}

    def all(self) -> list[str]:
        found = self._described()
        if found is not None and self._status(found) == "CREATION_FAILED":
            # It was never created successfully, and only successful assets can be updated.
            self._call("delete_{}")
            found = None
        done = self._create() if found is None else self._update(found)
        done += self._permit()
        if self._asset.kind == "data_set":
            done += self._schedule()
        for change in done:
            log.info("provisioned %s", change)
        return done

    def _call(self, operation: str, /, **parameters: Any) -> Json:
        name = operation.format(self._asset.kind)
        answer: Json = getattr(self._client, name)(**self._key, **parameters)
        return answer

    def _described(self, **version: int) -> Json | None:
        try:
            found: Json = self._call("describe_{}", **version)[self._title]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return None
        return found

    def _status(self, found: Json) -> str:
        """A data set has no status: it exists or it does not."""
        state = found["Version"] if self._asset.kind == "dashboard" else found
        return str(state.get("Status", "CREATION_SUCCESSFUL"))

    def _create(self) -> list[str]:
        permissions = {"Permissions": self._asset.permissions} if self._asset.permissions else {}
        self._call("create_{}", **self._asset.content, **self._asset.creation, **permissions)
        self._tag(self._settled())
        return [f"created {self._name}"]

    def _update(self, found: Json) -> list[str]:
        tags = self._client.list_tags_for_resource(ResourceArn=found["Arn"])["Tags"]
        if {"Key": TAG, "Value": digest(self._asset)} in tags:
            return []
        answer = self._call("update_{}", **self._asset.content)
        if self._asset.kind == "dashboard":
            version = int(answer["VersionArn"].rsplit("/", 1)[1])
            self._settled(VersionNumber=version)
            self._call("update_{}_published_version", VersionNumber=version)
        else:
            self._settled()
        self._tag(found)
        return [f"updated {self._name}"]

    def _settled(self, **version: int) -> Json:
        """The asset once QuickSight has accepted it."""
        deadline = time.monotonic() + _PATIENCE_S
        wait = _FIRST_WAIT_S
        while True:
            found = self._described(**version)
            if found is None:
                raise QuickSightError(f"{self._name} was deleted while it was provisioned")
            status = self._status(found)
            if status.endswith("_SUCCESSFUL"):
                return found
            if status.endswith("_FAILED"):
                raise QuickSightError(f"{self._name} is {status}: {self._reasons(found)}")
            if time.monotonic() > deadline:
                raise QuickSightError(f"{self._name} is {status} for {_PATIENCE_S:.0f} s")
            time.sleep(wait)
            wait = min(wait * 1.5, _LONGEST_WAIT_S)

    def _reasons(self, found: Json) -> str:
        if self._asset.kind == "dashboard":
            errors = found["Version"].get("Errors", [])
            return "; ".join(f"{error['Type']}: {error['Message']}" for error in errors[:5])
        reason = found.get("ErrorInfo", {})
        return f"{reason.get('Type')}: {reason.get('Message')}"

    def _tag(self, found: Json) -> None:
        tags = [{"Key": TAG, "Value": digest(self._asset)}]
        self._client.tag_resource(ResourceArn=found["Arn"], Tags=tags)

    def _permit(self) -> list[str]:
        """Grants missing permissions and revokes the others."""
        standing = _by_principal(self._call("describe_{}_permissions")["Permissions"])
        wanted = _by_principal(self._asset.permissions)
        grant = _differences(wanted, standing)
        revoke = _differences(standing, wanted)
        if not grant and not revoke:
            return []
        changes = {"GrantPermissions": grant, "RevokePermissions": revoke}
        self._call("update_{}_permissions", **{name: some for name, some in changes.items() if some})
        return [f"changed permissions of {self._name}"]

    def _schedule(self) -> list[str]:
        wanted = refresh_schedule()
        try:
            found = self._client.describe_refresh_schedule(**self._key, ScheduleId=wanted["ScheduleId"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            self._client.create_refresh_schedule(**self._key, Schedule=wanted)
            return [f"created refresh schedule of {self._name}"]
        standing = found["RefreshSchedule"]
        if all(standing.get(name) == value for name, value in wanted.items()):
            return []
        self._client.update_refresh_schedule(**self._key, Schedule=wanted)
        return [f"updated refresh schedule of {self._name}"]


def _by_principal(permissions: list[Json]) -> dict[str, set[str]]:
    return {entry["Principal"]: set(entry["Actions"]) for entry in permissions}


def _differences(some: dict[str, set[str]], others: dict[str, set[str]]) -> list[Json]:
    """The actions by principal that are only in ``some``."""
    differences = {principal: actions - others.get(principal, set()) for principal, actions in some.items()}
    return [
        {"Principal": principal, "Actions": sorted(actions)}
        for principal, actions in differences.items()
        if actions
    ]

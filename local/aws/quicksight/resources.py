"""What all resources of QuickSight have in common: names, users who share them, permissions and tags."""

from __future__ import annotations

import re

from local.aws.context import ACCOUNT, REGION
from local.aws.quicksight.model import Json, ServiceError
from local.aws.quicksight.store import Store

TITLES = {"datasource": "DataSource", "dataset": "DataSet", "dashboard": "Dashboard"}
"""Resources by the kind of their documents, with the API's word for each."""

IN_PROGRESS = ("CREATION_IN_PROGRESS", "UPDATE_IN_PROGRESS")


class Resources:
    """Operations that concern resources of every kind, and the checks that the others share."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def found(self, kind: str, identity: str) -> Json:
        """The resource's document; raises `ServiceError` if there is none."""
        document = self._store.get(kind, identity)
        if document is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"{TITLES[kind]} {identity} is not found",
                ResourceType=kind.upper(),
            )
        return document

    def require_absent(self, kind: str, identity: str) -> None:
        """Raises `ServiceError` if there is such a resource."""
        if self._store.get(kind, identity):
            raise ServiceError(
                "ResourceExistsException",
                f"{TITLES[kind]} {identity} already exists",
                ResourceType=kind.upper(),
            )

    def permissions(self, given: list[Json]) -> list[Json]:
        """Checks permissions of known principals and returns them; raises `ServiceError`."""
        for entry in given:
            if self._store.get("principal", entry["Principal"]) is None:
                raise invalid(f"Principal {entry['Principal']} does not exist")
            for action in entry["Actions"]:
                if not re.fullmatch(r"quicksight:[A-Za-z]+", action):
                    raise invalid(f"{action} is not an action of QuickSight")
        return given

    def permissions_of(self, kind: str, request: Json) -> Json:
        """Who may do what with a resource."""
        prefix = TITLES[kind]
        identity = request[f"{prefix}Id"]
        document = self.found(kind, identity)
        return {
            f"{prefix}Id": identity,
            f"{prefix}Arn": document["Arn"],
            "Permissions": document["Permissions"],
        }

    def change_permissions(self, kind: str, request: Json) -> Json:
        """Grants and revokes actions on a resource."""
        identity = request[f"{TITLES[kind]}Id"]
        document = self.found(kind, identity)
        standing = {entry["Principal"]: set(entry["Actions"]) for entry in document["Permissions"]}
        for entry in self.permissions(request.get("GrantPermissions", [])):
            standing.setdefault(entry["Principal"], set()).update(entry["Actions"])
        for entry in request.get("RevokePermissions", []):
            standing.get(entry["Principal"], set()).difference_update(entry["Actions"])
        document["Permissions"] = [
            {"Principal": principal, "Actions": sorted(actions)}
            for principal, actions in standing.items()
            if actions
        ]
        self._store.put(kind, identity, document)
        return self.permissions_of(kind, request)

    def tag_resource(self, request: Json) -> Json:
        """Sets tags; the others stay."""
        kind, document = self._by_arn(request["ResourceArn"])
        tags = {tag["Key"]: tag["Value"] for tag in [*document["Tags"], *request["Tags"]]}
        document["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
        self._store.put(kind, _identity(document), document)
        return {}

    def untag_resource(self, request: Json) -> Json:
        """Removes tags."""
        kind, document = self._by_arn(request["ResourceArn"])
        document["Tags"] = [tag for tag in document["Tags"] if tag["Key"] not in request["TagKeys"]]
        self._store.put(kind, _identity(document), document)
        return {}

    def list_tags_for_resource(self, request: Json) -> Json:
        """A resource's tags."""
        return {"Tags": self._by_arn(request["ResourceArn"])[1]["Tags"]}

    def _by_arn(self, arn: str) -> tuple[str, Json]:
        kind, _, identity = arn.removeprefix(arn_of("")).partition("/")
        if kind not in TITLES:
            raise invalid(f"{arn} is not a resource with tags")
        return kind, self.found(kind, identity)

    def register_user(self, request: Json) -> Json:
        """Registers a user, with whom resources can be shared."""
        if request["Namespace"] != "default":
            raise ServiceError(
                "ResourceNotFoundException", f"Namespace {request['Namespace']} does not exist"
            )
        name = request.get("UserName")
        if request["IdentityType"] != "QUICKSIGHT" or not name:
            raise invalid("Only users of identity type QUICKSIGHT with a UserName are offered here")
        arn = arn_of(f"user/default/{name}")
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
        arn = arn_of(f"user/{request['Namespace']}/{request['UserName']}")
        user = self._store.get("principal", arn)
        if user is None:
            raise ServiceError("ResourceNotFoundException", f"User {request['UserName']} is not found")
        return {"User": user}

    def list_users(self, request: Json) -> Json:
        """The users."""
        return page_of(request, "UserList", self._store.all("principal"))


def arn_of(resource: str) -> str:
    """The ARN of a resource such as ``dataset/name``."""
    return f"arn:aws:quicksight:{REGION}:{ACCOUNT}:{resource}"


def invalid(message: str) -> ServiceError:
    """The error of a parameter that QuickSight rejects."""
    return ServiceError("InvalidParameterValueException", message)


def require_settled(status: str) -> None:
    """Raises `ServiceError` while a resource is being changed."""
    if status in IN_PROGRESS:
        raise ServiceError("ConflictException", f"The resource is being changed ({status})")


def public(document: Json) -> Json:
    """A document without what only the service uses."""
    hidden = ("Permissions", "Tags", "Roles")
    return {name: value for name, value in document.items() if name not in hidden}


def page_of(request: Json, name: str, found: list[Json]) -> Json:
    """The page of a list that a request asks for, under ``name``; raises `ServiceError`."""
    token = request.get("NextToken", "0")
    if not token.isdecimal():
        raise ServiceError("InvalidNextTokenException", "The NextToken value isn't valid.")
    start, count = int(token), request.get("MaxResults") or 100
    answer: Json = {name: found[start : start + count]}
    if start + count < len(found):
        answer["NextToken"] = str(start + count)
    return answer


def _identity(document: Json) -> str:
    return str(document["Arn"].split("/", 1)[1])

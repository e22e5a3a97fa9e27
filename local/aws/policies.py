"""Denies the pipeline's parts what their policies in ``infra/lake.yaml`` do not allow.

In the cloud each part has a role; here it is an IAM user (`USERS`) with the same policy, which the bootstrap
attaches. A request signed with a user's key is checked before it is answered: its action, the resources that
it names, and the one condition on listings, ``s3:prefix``. Other conditions count as met, and so does the
resource of an action that names none in its request. What a request implies (``iam:PassRole``, or what Athena
reads for its caller) is not checked. The account's own key may do everything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree as ET

from moto.iam.models import iam_backends
from moto.s3.responses import ACTION_MAP

from local.aws.context import ACCOUNT, REGION, USERS
from local.aws.quicksight.model import named
from local.aws.signatures import Secret
from local.credentials import Credentials

_PREFIXES = {"applicationautoscaling": "application-autoscaling", "sagemaker-runtime": "sagemaker"}
"""Services whose actions are not named after moto's word for the service."""

_NOUNS = {
    "Endpoint": ("endpoint", "EndpointName"),
    "EndpointConfig": ("endpoint-config", "EndpointConfigName"),
    "EndpointWeightsAndCapacities": ("endpoint", "EndpointName"),
    "Model": ("model", "ModelName"),
    "TransformJob": ("transform-job", "TransformJobName"),
}
_MORE: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "BUCKET": {
        "GET": {
            "encryption": "GetEncryptionConfiguration",
            "inventory": "GetInventoryConfiguration",
            "object-lock": "GetBucketObjectLockConfiguration",
            "ownershipControls": "GetBucketOwnershipControls",
            "publicAccessBlock": "GetBucketPublicAccessBlock",
            "replication": "GetReplicationConfiguration",
        }
    },
    "KEY": {
        "GET": {
            "attributes": "GetObjectAttributes",
            "legal-hold": "GetObjectLegalHold",
            "retention": "GetObjectRetention",
        },
        "PUT": {"legal-hold": "PutObjectLegalHold", "retention": "PutObjectRetention"},
        "DELETE": {"tagging": "DeleteObjectTagging"},
        "POST": {"select": "GetObject"},
    },
}
_ACTIONS = {
    kind: {method: {**known, **more.get(method, {})} for method, known in ACTION_MAP[kind].items()}
    for kind, more in _MORE.items()
}
"""S3's actions by what a request is about, its method and the parameter that decides: moto's and `_MORE`."""
_ASSETS = {"DashboardId": "dashboard", "DataSetId": "dataset", "DataSourceId": "datasource"}
_SECRET_SUFFIX = "-000000"  # noqa: S105 - stands for what Secrets Manager appends to a secret's name in its ARN
_ALWAYS_ALLOWED = {"sts:GetCallerIdentity"}


class AccessDeniedError(Exception):
    """The user's policy does not allow the request; the message is AWS's own."""


@dataclass(frozen=True)
class Asked:
    """One permission that a request needs: an action, on a resource (None: it names none).

    ``prefix`` is the value of the condition key ``s3:prefix``.
    """

    action: str
    resource: str | None
    prefix: str | None = None


@dataclass(frozen=True)
class _Grant:
    resources: re.Pattern[str]
    prefixes: re.Pattern[str] | None

    def covers(self, asked: Asked) -> bool:
        if self.prefixes and (asked.prefix is None or not self.prefixes.match(asked.prefix)):
            return False
        return asked.resource is None or bool(self.resources.match(asked.resource))


class Users:
    """The users' keys and what each may do, as IAM has their policies now."""

    def __init__(self, credentials: Credentials) -> None:
        keys = {name: credentials.of_user(name) for name in USERS}
        self._users = {key.access_key_id: name for name, key in keys.items()}
        self._secrets = {key.access_key_id: Secret(key.secret_access_key) for key in keys.values()}

    def secret_of(self, access_key_id: str) -> Secret | None:
        """The secret of a user's key; None if it is no user's, or the user does not exist."""
        name = self._users.get(access_key_id)
        return self._secrets[access_key_id] if name and _documents(name) else None

    def check(self, access_key_id: str, asked: Iterable[Asked]) -> None:
        """Raises `AccessDeniedError` unless all is allowed that is ``asked``.

        Of several objects to delete, S3 deletes those that it may, and names the others in its answer. Here
        one denies the whole request, so that nobody overlooks it.
        """
        if name := self._users.get(access_key_id):
            for each in asked:
                if not _allows(_documents(name), each):
                    raise AccessDeniedError(_message(name, each))

    def may_know(self, access_key_id: str, bucket: str, key: str) -> bool:
        """Whether S3 says that an object does not exist: for others it is forbidden.

        S3 takes the key for the prefix of a listing (as Ceph found: https://github.com/ceph/ceph/pull/68577).
        """
        name = self._users.get(access_key_id)
        return name is None or _allows(
            _documents(name), Asked("s3:ListBucket", f"arn:aws:s3:::{bucket}", key)
        )


def _message(name: str, asked: Asked) -> str:
    on = f' on resource: "{asked.resource}"' if asked.resource else ""
    return (
        f"User: arn:aws:iam::{ACCOUNT}:user/{name} is not authorized to perform: {asked.action}{on}"
        f" because no identity-based policy allows the {asked.action} action"
    )


def _documents(name: str) -> tuple[str, ...]:
    user = iam_backends[ACCOUNT]["aws"].users.get(name)
    return tuple(user.policies.values()) if user else ()


def _allows(documents: tuple[str, ...], asked: Asked) -> bool:
    if asked.action in _ALWAYS_ALLOWED:
        return True
    return any(grant.covers(asked) for grant in _grants(documents).get(asked.action, ()))


@lru_cache(maxsize=len(USERS) * 4)
def _grants(documents: tuple[str, ...]) -> Mapping[str, tuple[_Grant, ...]]:
    """What each action is allowed on. The templates' policies allow, and name their actions in full."""
    found: dict[str, tuple[_Grant, ...]] = {}
    for document in documents:
        for statement in json.loads(document)["Statement"]:
            if statement["Effect"] != "Allow":
                raise ValueError(f"a policy with the effect {statement['Effect']} is not understood")
            prefixes = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
            grant = _Grant(_patterns(statement["Resource"]), _patterns(prefixes) if prefixes else None)
            for action in _listed(statement["Action"]):
                found[action] = (*found.get(action, ()), grant)
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _patterns(values: Any) -> re.Pattern[str]:
    return re.compile("|".join(translate(value) for value in _listed(values)))


def asked_of(
    service: str,
    operation: str,
    method: str,
    raw_path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
) -> Iterator[Asked]:
    """The permissions that a request needs; ``service`` is moto's name, ``headers`` are in lower case."""
    if service == "s3":
        yield from _of_s3(method, raw_path, query, headers, body)
        return
    if service == "quicksight":
        operation, names = named(method, raw_path)
        content = _json(body)
    else:
        names, content = {}, _json(body) if "x-amz-target" in headers else _form(query.encode() or body)
    action = f"{_PREFIXES.get(service, service)}:{operation}"
    resources = _RESOURCES.get(service, _none)(operation, {**content, **names, "_path": raw_path})
    for resource in resources or [None]:
        yield Asked(action, resource)


def _of_s3(
    method: str, raw_path: str, query: str, headers: Mapping[str, str], body: bytes
) -> Iterator[Asked]:
    bucket, key = bucket_and_key(raw_path)
    parameters = parse_qs(query, keep_blank_values=True)
    arn = f"arn:aws:s3:::{bucket}"
    if not bucket:
        yield Asked("s3:ListAllMyBuckets", None)
    elif method == "POST" and not key and "delete" in parameters:
        for key in _deleted(body):
            yield Asked("s3:DeleteObject", f"{arn}/{key}")
    elif not key:
        name = _s3_action("BUCKET", method, parameters)
        # HeadBucket is not an action of IAM's.
        action = "s3:ListBucket" if name == "HeadBucket" else f"s3:{name}"
        yield Asked(action, arn, parameters.get("prefix", [None])[0])
    else:
        yield Asked(f"s3:{_s3_action('KEY', method, parameters)}", f"{arn}/{key}")
        if source := headers.get("x-amz-copy-source"):
            yield Asked("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/').partition('?')[0]}")


def bucket_and_key(raw_path: str) -> tuple[str, str]:
    """The bucket and the key in the path of an S3 request; "" for what it does not name."""
    bucket, _, key = unquote(raw_path[1:]).partition("/")
    return bucket, key


def _s3_action(kind: str, method: str, parameters: Iterable[str]) -> str:
    actions = _ACTIONS[kind].get(method, {})
    return next((actions[each] for each in parameters if each in actions), actions.get("DEFAULT", method))


def _deleted(body: bytes) -> list[str]:
    """The keys of a request that deletes several objects; none if S3 would reject it as malformed."""
    try:
        elements = ET.fromstring(body).iter()  # noqa: S314 - signed by a client of this machine
    except ET.ParseError:
        return []
    return [each.text or "" for each in elements if each.tag.rpartition("}")[2] == "Key"]


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        content = {}
    return content if isinstance(content, dict) else {}


def _form(body: bytes) -> dict[str, Any]:
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _arn(service: str, name: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"


def _none(_operation: str, _content: Mapping[str, Any]) -> list[str]:
    return []


def _athena(operation: str, content: Mapping[str, Any]) -> list[str]:
    name = content.get("Name" if operation == "CreateWorkGroup" else "WorkGroup")
    return [_arn("athena", f"workgroup/{name}")] if name else []


def _firehose(_operation: str, content: Mapping[str, Any]) -> list[str]:
    return [_arn("firehose", f"deliverystream/{content.get('DeliveryStreamName')}")]


def _glue(operation: str, content: Mapping[str, Any]) -> list[str]:
    """IAM asks for the catalog, the database and the table (Service Authorization Reference)."""
    found = [_arn("glue", "catalog")]
    inputs = (content.get(name) for name in ("DatabaseInput", "TableInput"))
    own = content.get("Name") or next((each.get("Name") for each in inputs if isinstance(each, dict)), None)
    if "Database" in operation:
        return [*found, _arn("glue", f"database/{own}")] if own else found
    database = content.get("DatabaseName")
    table = content.get("TableName") or own or "*"
    return [*found, _arn("glue", f"database/{database}"), _arn("glue", f"table/{database}/{table}")]


def _quicksight(operation: str, content: Mapping[str, Any]) -> list[str]:
    if operation in ("ListTagsForResource", "TagResource", "UntagResource"):
        return [unquote(content["ResourceArn"])]
    return [
        _arn("quicksight", f"{kind}/{content[name]}") for name, kind in _ASSETS.items() if content.get(name)
    ]


def _sagemaker(operation: str, content: Mapping[str, Any]) -> list[str]:
    kinds = [_NOUNS.get(re.sub(r"^(Create|Describe|Delete|Stop|Update)", "", operation))]
    if operation == "CreateEndpoint":
        kinds.append(_NOUNS["EndpointConfig"])
    return [_arn("sagemaker", f"{kind[0]}/{content.get(kind[1])}") for kind in kinds if kind]


def _runtime(_operation: str, content: Mapping[str, Any]) -> list[str]:
    return [_arn("sagemaker", f"endpoint/{content['_path'].split('/')[2]}")]


def _secret(_operation: str, content: Mapping[str, Any]) -> list[str]:
    name = str(content.get("SecretId") or content.get("Name") or "")
    if not name:
        return []
    # moto takes what follows the last colon of an ARN for the name.
    suffix = "" if name.startswith("arn:") else _SECRET_SUFFIX
    return [_arn("secretsmanager", f"secret:{name.rpartition(':')[2]}{suffix}")]


def _topic(_operation: str, content: Mapping[str, Any]) -> list[str]:
    topic = content.get("TopicArn") or content.get("TargetArn")
    # A number has no ARN: only whoever may publish everywhere may publish to it.
    return [topic] if topic else ["*"] if "PhoneNumber" in content else []


_RESOURCES: Mapping[str, Callable[[str, Mapping[str, Any]], list[str]]] = {
    "athena": _athena,
    "firehose": _firehose,
    "glue": _glue,
    "quicksight": _quicksight,
    "sagemaker": _sagemaker,
    "sagemaker-runtime": _runtime,
    "secretsmanager": _secret,
    "sns": _topic,
}
"""The resources that a request names, by service; the others' actions are checked alone."""

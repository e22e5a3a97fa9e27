"""Creates what a new account needs before the pipeline can run.

``python -m local.aws.bootstrap --endpoint URL --credentials FILE``

Creates the lake's bucket, the delivery stream from `infra/delivery_stream.yaml` (the template that the cloud
deploys), the IAM users with the policies of `infra/lake.yaml`, the secrets and QuickSight's users. A second
run changes nothing; a changed template or parameter updates the stream and the policies.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from include.settings import Settings, settings
from local.aws.context import ACCOUNT, PIPELINE, REGION, USERS
from local.credentials import Credentials, CredentialsError

TEMPLATE = Path(__file__).parents[2] / "infra" / "delivery_stream.yaml"
LAKE_TEMPLATE = TEMPLATE.with_name("lake.yaml")
CONNECTIONS_PREFIX = "airflow/connections"
_KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/local"
"""Named as in the cloud, and unused here: all stays on this machine."""

log = logging.getLogger(__name__)


class TemplateError(ValueError):
    """A CloudFormation template that uses something unsupported."""


@dataclass(frozen=True)
class Tag:
    """A short form of CloudFormation: ``!Ref Bucket`` is ``Tag("Ref", "Bucket")``."""

    name: str
    value: Any


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's tags."""


def _tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Tag:
    if isinstance(node, yaml.ScalarNode):
        return Tag(suffix, loader.construct_scalar(node))
    if isinstance(node, yaml.SequenceNode):
        return Tag(suffix, loader.construct_sequence(node, deep=True))
    raise TemplateError(f"!{suffix} with a mapping is not understood")


_Loader.add_multi_constructor("!", _tag)


@dataclass(frozen=True)
class Template:
    """A CloudFormation template with its parameters and resources, as YAML has them."""

    parameters: Mapping[str, Mapping[str, Any]]
    resources: Mapping[str, Mapping[str, Any]]

    @classmethod
    def load(cls, path: Path) -> Template:
        """Reads a template."""
        content = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506 - a safe loader with tags added
        return cls(content.get("Parameters", {}), content["Resources"])

    def resolve(
        self, resource: str, values: Mapping[str, Any], attributes: Mapping[str, str]
    ) -> dict[str, Any]:
        """The properties of a resource with everything resolved.

        ``values`` are the parameters that are set (the others take their defaults), ``attributes`` what
        ``!GetAtt`` and ``!Ref`` of other resources give, such as ``Role.Arn``. Raises `TemplateError`.
        """
        unknown = set(values) - set(self.parameters)
        if unknown:
            raise TemplateError(f"the template has no parameter {', '.join(sorted(unknown))}")
        given: dict[str, Any] = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Region": REGION,
            "AWS::Partition": "aws",
            **attributes,
        }
        for name, parameter in self.parameters.items():
            if name not in values and "Default" not in parameter:
                raise TemplateError(f"the parameter {name} is not given")
            given[name] = values.get(name, parameter.get("Default"))

        def look_up(name: str) -> Any:
            if name not in given:
                raise TemplateError(f"{name} is not known in {resource}")
            return given[name]

        resolved = _resolve(self.resources[resource].get("Properties", {}), look_up)
        return dict(resolved)


def _resolve(value: Any, look_up: Callable[[str], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _resolve(entry, look_up) for key, entry in value.items()}
    if isinstance(value, list):
        return [_resolve(entry, look_up) for entry in value]
    if not isinstance(value, Tag):
        return value
    if value.name in ("Ref", "GetAtt"):
        return look_up(value.value)
    if value.name == "Sub":
        return re.sub(r"\$\{([\w:.]+)\}", lambda match: str(look_up(match.group(1))), value.value)
    raise TemplateError(f"!{value.name} is not understood")


@dataclass(frozen=True)
class Clients:
    """boto3 clients of one endpoint."""

    endpoint: str
    credentials: Credentials

    def __call__(self, service: str) -> Any:
        """A client of a service."""
        client: Any = boto3.client  # the stubs know only literal names of services
        return client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.credentials.access_key_id,
            aws_secret_access_key=self.credentials.secret_access_key,
            config=Config(retries={"max_attempts": 2}),
        )


def bootstrap(
    endpoint: str,
    settings: Settings,
    credentials: Credentials,
    *,
    buffering_seconds: int = 60,
    connections: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Creates or updates bucket, users, delivery stream and secrets at ``endpoint``.

    ``credentials`` has AWS's credentials and X's token. ``connections`` are further Airflow connections by
    id, in Airflow's JSON form. Raises botocore's errors.
    """
    clients = Clients(endpoint, credentials)
    _bucket(clients("s3"), settings.bucket)
    users(clients("iam"), settings)
    _delivery_stream(clients, settings, buffering_seconds)
    vault = clients("secretsmanager")
    given = {
        settings.aws_conn_id: aws_connection(endpoint, credentials.of_user(PIPELINE)),
        **(connections or {}),
    }
    for name, connection in given.items():
        _secret(vault, f"{CONNECTIONS_PREFIX}/{name}", json.dumps(connection, sort_keys=True))
    _secret(vault, settings.x_token_secret, credentials.x_bearer_token)
    _secret(vault, settings.pseudonym_secret, secrets.token_hex(32), keep=True)
    for principal in settings.quicksight_principals:
        _quicksight_user(clients("quicksight"), principal)


def users(iam: Any, settings: Settings) -> None:
    """Creates the users that stand for the roles of the pipeline's parts, with the policies of these."""
    template = Template.load(LAKE_TEMPLATE)
    values = {
        "Bucket": settings.bucket,
        "Database": settings.database,
        "Workgroup": settings.workgroup,
        "DeliveryStreamName": settings.delivery_stream,
        "EncryptionKeyArn": _KEY_ARN,
    }
    attributes = {"Lake": settings.bucket, "SageMakerRole.Arn": settings.sagemaker_role_arn}
    for name, resource in USERS.items():
        properties = template.resolve(resource, values, attributes)
        (policy,) = properties.get("Policies", [properties])
        try:
            iam.create_user(UserName=name)
        except iam.exceptions.EntityAlreadyExistsException:
            log.debug("user exists name=%s", name)
        document = json.dumps(policy["PolicyDocument"])
        iam.put_user_policy(UserName=name, PolicyName=resource, PolicyDocument=document)


def _quicksight_user(quicksight: Any, principal: str) -> None:
    """Registers the user of that ARN: QuickSight shares only with registered users."""
    kind, _, name = principal.split(":")[-1].partition("/")
    namespace, _, user = name.partition("/")
    if kind != "user":
        raise ValueError(f"{principal} is not a user of QuickSight; groups are not offered here")
    try:
        quicksight.describe_user(AwsAccountId=ACCOUNT, Namespace=namespace, UserName=user)
    except quicksight.exceptions.ResourceNotFoundException:
        quicksight.register_user(
            AwsAccountId=ACCOUNT,
            Namespace=namespace,
            UserName=user,
            Email=f"{user}@example.org",
            IdentityType="QUICKSIGHT",
            UserRole="READER",
        )
        log.info("registered user=%s", user)


def aws_connection(endpoint: str, credentials: Credentials) -> dict[str, Any]:
    """Airflow's connection to the AWS at ``endpoint``, in its JSON form."""
    return {
        "conn_type": "aws",
        "login": credentials.access_key_id,
        "password": credentials.secret_access_key,
        "extra": {"endpoint_url": endpoint, "region_name": REGION},
    }


def _bucket(s3: Any, name: str) -> None:
    try:
        s3.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        s3.create_bucket(Bucket=name)
        log.info("created bucket=%s", name)


def _delivery_stream(clients: Clients, settings: Settings, buffering_seconds: int) -> None:
    template = Template.load(TEMPLATE)
    values = {
        "Bucket": settings.bucket,
        "DeliveryStreamName": settings.delivery_stream,
        "BufferingSeconds": buffering_seconds,
        "EncryptionKeyArn": _KEY_ARN,
    }
    group = template.resolve("LogGroup", values, {})
    _log_group(clients("logs"), group["LogGroupName"], group["RetentionInDays"])
    role_arn = _role(
        clients("iam"), f"{settings.delivery_stream}-firehose", template.resolve("Role", values, {})
    )
    properties = template.resolve(
        "DeliveryStream",
        values,
        {"Role.Arn": role_arn, "LogGroup": group["LogGroupName"], "LogStream": "DestinationDelivery"},
    )
    firehose = clients("firehose")
    wanted = properties["ExtendedS3DestinationConfiguration"]
    try:
        found = firehose.describe_delivery_stream(DeliveryStreamName=settings.delivery_stream)
    except firehose.exceptions.ResourceNotFoundException:
        firehose.create_delivery_stream(**properties)
        log.info("created stream=%s", settings.delivery_stream)
        return
    description = found["DeliveryStreamDescription"]
    destination = description["Destinations"][0]
    present = destination["ExtendedS3DestinationDescription"]
    if any(present.get(name) != value for name, value in wanted.items()):
        firehose.update_destination(
            DeliveryStreamName=settings.delivery_stream,
            CurrentDeliveryStreamVersionId=description["VersionId"],
            DestinationId=destination["DestinationId"],
            ExtendedS3DestinationUpdate=wanted,
        )
        log.info("updated stream=%s", settings.delivery_stream)


def _log_group(logs: Any, name: str, retention_days: int) -> None:
    try:
        logs.create_log_group(logGroupName=name)
    except logs.exceptions.ResourceAlreadyExistsException:
        log.debug("log group exists name=%s", name)
    logs.put_retention_policy(logGroupName=name, retentionInDays=retention_days)


def _role(iam: Any, name: str, properties: Mapping[str, Any]) -> str:
    trust = json.dumps(properties["AssumeRolePolicyDocument"])
    try:
        role = iam.get_role(RoleName=name)["Role"]
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
    except iam.exceptions.NoSuchEntityException:
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]
    for policy in properties["Policies"]:
        iam.put_role_policy(
            RoleName=name,
            PolicyName=policy["PolicyName"],
            PolicyDocument=json.dumps(policy["PolicyDocument"]),
        )
    return str(role["Arn"])


def _secret(vault: Any, name: str, value: str, *, keep: bool = False) -> None:
    """Creates a secret, or updates its value if that differs and is not to be kept."""
    try:
        present = vault.get_secret_value(SecretId=name)["SecretString"]
    except vault.exceptions.ResourceNotFoundException:
        vault.create_secret(Name=name, SecretString=value)
        return
    if present != value and not keep:
        vault.put_secret_value(SecretId=name, SecretString=value)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.aws.bootstrap", description=__doc__)
    parser.add_argument("--endpoint", required=True, help="address of the local AWS")
    parser.add_argument(
        "--credentials",
        type=Path,
        required=True,
        help="JSON file of those that the stand-ins want",
    )
    parser.add_argument("--buffering-seconds", type=int, default=60, help="of the delivery stream")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        bootstrap(
            given.endpoint,
            settings(),
            Credentials.of(given.credentials),
            buffering_seconds=given.buffering_seconds,
        )
    except CredentialsError as error:
        print(error, file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"The local AWS at {given.endpoint} could not be set up: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

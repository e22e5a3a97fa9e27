"""The CloudFormation templates give no more than they name, and fit what the code asks for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from include.insights.definition import load as load_dashboards
from include.insights.quicksight import assets
from include.labeling.endpoints import endpoint_name
from include.labeling.jobs import plan
from include.labeling.models import resolve
from include.lake import layout
from include.lake.layout import ATHENA_RESULTS_PREFIX
from include.settings import Settings
from include.training.parameters import Parameters
from include.window import Window
from include.x.search import REACH
from include.x.topics import load as load_topics
from local.aws.bootstrap import Tag, Template
from local.aws.context import ACCOUNT, PIPELINE, STREAMER, USERS
from streamer.health import embedded_metrics

ROOT = Path(__file__).parents[2]
TEMPLATES = {path.stem: Template.load(path) for path in sorted((ROOT / "infra").glob("*.yaml"))}
HOUR = Window.parse("2026-11-20T05")


def text(value: Any) -> str:
    """A value as it stands in the template, without its tag."""
    return str(value.value) if isinstance(value, Tag) else str(value)


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every policy, with where it stands."""
    for name, template in TEMPLATES.items():
        for resource, definition in template.resources.items():
            properties = definition.get("Properties", {})
            documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
            documents += [properties[key] for key in ("PolicyDocument",) if key in properties]
            for document in documents:
                for statement in document["Statement"]:
                    yield f"{name}.{resource}.{statement.get('Sid')}", statement


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def parts(arn: str) -> list[str]:
    """Partition, service, region, account and name of an ARN as a template writes it."""
    return arn.replace("AWS::", "AWS.").split(":", 5)[1:]


WITHOUT_RESOURCES = {
    "airflow.ExecutionRole.Account": {"cloudwatch:PutMetricData", "s3:GetAccountPublicAccessBlock"},
    "lake.PipelinePolicy.EndpointInstancesRead": {
        "application-autoscaling:DescribeScalableTargets",
        "application-autoscaling:DescribeScalingPolicies",
    },
    "lake.PipelinePolicy.ListModels": {"sagemaker:ListEndpoints", "sagemaker:ListTransformJobs"},
    "lake.SageMakerRole.PullToken": {"ecr:GetAuthorizationToken"},
}
"""Statements whose actions IAM knows no resources for (Service Authorization Reference)."""

WHOLE_TYPES = {
    # It lists: IAM checks it against the region's log groups, not against those that it names.
    "airflow.ExecutionRole.LogGroups": {"logs:DescribeLogGroups"},
    # AWS gives a scalable target its name; a condition keeps it to SageMaker's.
    "lake.PipelinePolicy.EndpointInstances": {
        "application-autoscaling:DeregisterScalableTarget",
        "application-autoscaling:PutScalingPolicy",
        "application-autoscaling:RegisterScalableTarget",
    },
}
"""Statements whose actions take no single resource of their type (Service Authorization Reference)."""

OTHER_ACCOUNTS = {
    # MWAA's queue lies in an account of AWS.
    "airflow.ExecutionRole.Queue",
    # The image that models are served in belongs to AWS, to another account in each region.
    "lake.SageMakerRole.PullImage",
}

ALLOWING = [(place, statement) for place, statement in statements() if statement["Effect"] == "Allow"]


@pytest.mark.parametrize(("place", "statement"), ALLOWING, ids=[place for place, _ in ALLOWING])
def test_a_policy_names_its_actions_and_resources(place: str, statement: dict[str, Any]) -> None:
    for action in listed(statement["Action"]):
        assert re.fullmatch(r"[a-z0-9-]+:[A-Za-z]+", action), f"{place}: {action}"
    if "NotResource" in statement:
        # MWAA's queue is encrypted with a key of AWS's own account, whose name nobody knows.
        assert place == "airflow.ExecutionRole.QueueKey"
        assert statement["Condition"]
        return
    if place in WITHOUT_RESOURCES:
        assert set(listed(statement["Action"])) == WITHOUT_RESOURCES[place]
        return
    for resource in listed(statement["Resource"]):
        assert text(resource) != "*", place


@pytest.mark.parametrize(("place", "statement"), ALLOWING, ids=[place for place, _ in ALLOWING])
def test_a_policy_reaches_the_names_of_this_project_alone(place: str, statement: dict[str, Any]) -> None:
    for resource in map(text, listed(statement.get("Resource", []))):
        if not resource.startswith("arn:") or place in WITHOUT_RESOURCES:
            continue
        partition, service, region, account, name = parts(resource)
        assert "*" not in partition + service + region, place
        assert "*" not in account or place in OTHER_ACCOUNTS, f"{place}: {resource}"
        if re.fullmatch(r"([A-Za-z-]+[:/])?\*", name):
            assert set(listed(statement["Action"])) == WHOLE_TYPES.get(place), f"{place}: {resource}"


def test_what_the_code_makes_bears_the_names_that_the_policy_reaches() -> None:
    (statement,) = (found for place, found in ALLOWING if place == "lake.PipelinePolicy.Models")
    names = {text(resource).rsplit(":", 1)[1] for resource in statement["Resource"]}
    endpoints = {"endpoint/x-opinion-live-*", "endpoint-config/x-opinion-live-*"}
    assert names == {"model/x-opinion-*", "transform-job/x-opinion-*", *endpoints}
    settings = Settings(sentiment_artifact=str(ROOT / Settings().sentiment_artifact))
    model = resolve(
        settings, cast("Any", SimpleNamespace(meta=SimpleNamespace(region_name="us-east-1")))
    ).sentiment
    assert model.name.startswith("x-opinion-")
    assert plan(settings, HOUR, model, "work/input/", []).name.startswith("x-opinion-")
    assert endpoint_name(settings, model).startswith("x-opinion-live-")

    (statement,) = (found for place, found in ALLOWING if place == "lake.PipelinePolicy.Dashboards")
    reached = [parts(text(resource))[4].replace("${Database}", "lake") for resource in statement["Resource"]]
    definition = load_dashboards(load_topics(settings.topics_file))
    made = assets(definition, Settings(database="lake"), "123456789012", "us-east-1")
    for asset in made:
        name = f"{asset.kind.replace('_', '')}/{asset.identity}"
        assert any(fnmatchcase(name, pattern) for pattern in reached), name


@pytest.mark.parametrize("user", [PIPELINE, STREAMER])
def test_a_managed_policy_is_no_larger_than_iam_takes(user: str) -> None:
    """IAM counts 6,144 characters without white space (IAM quotas)."""
    arns = {"Lake": Settings().bucket, "SageMakerRole.Arn": f"arn:aws:iam::{ACCOUNT}:role/{'r' * 64}"}
    key = {"EncryptionKeyArn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{'k' * 36}"}
    policy = TEMPLATES["lake"].resolve(USERS[user], key, arns)["PolicyDocument"]
    assert len(json.dumps(policy, separators=(",", ":"))) < 6_144


def test_sagemaker_may_pull_the_image_that_models_are_served_in() -> None:
    (statement,) = (found for place, found in ALLOWING if place == "lake.SageMakerRole.PullImage")
    allowed = text(statement["Resource"]).replace("${AWS::Partition}", "*").replace("${AWS::Region}", "*")
    listed_images = json.loads((ROOT / "include" / "labeling" / "serving_images.json").read_text())["images"]
    for region, image in listed_images.items():
        account, _, rest = image.partition(".")
        repository = rest.partition("/")[2].partition(":")[0]
        arn = f"arn:aws:ecr:{region}:{account}:repository/{repository}"
        assert fnmatchcase(arn, allowed), region


def test_only_what_may_expire_does() -> None:
    rules = TEMPLATES["lake"].resources["Lake"]["Properties"]["LifecycleConfiguration"]["Rules"]
    expiring = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule}
    tweets = {
        layout.raw_prefix("t", HOUR),
        layout.quarantine_prefix("t", HOUR),
        layout.labeled_prefix("t", HOUR.date),
        layout.predictions_key("v1", "t", HOUR),
        layout.work_prefix(HOUR),
        ATHENA_RESULTS_PREFIX,
    }
    for key in tweets:
        assert any(key.startswith(prefix) for prefix in expiring), key
    kept = {layout.aggregate_key(HOUR.date), layout.coverage_key(HOUR.date), layout.CHAMPION_KEY}
    kept |= {layout.tombstones_key(HOUR), layout.TOMBSTONES_OF_USERS_KEY, layout.removals_key(HOUR.date, "r")}
    kept |= {layout.posts_prefix("2026-11"), layout.model_key("sentiment", "0")}
    for key in kept:
        assert not any(key.startswith(prefix) for prefix in expiring), key


def test_tweets_outlive_the_reach_of_x_s_search() -> None:
    parameter = TEMPLATES["lake"].parameters["RetentionDays"]
    assert timedelta(days=parameter["MinValue"]) > REACH
    assert timedelta(hours=Settings.model_fields["unapproved_hours"].metadata[1].le) == REACH


def test_the_training_forgets_tweets_when_the_bucket_does() -> None:
    setting = Settings.model_fields["retention_days"]
    parameter = TEMPLATES["lake"].parameters["RetentionDays"]
    assert (parameter["Default"], parameter["MinValue"]) == (setting.default, setting.metadata[0].ge)
    assert Parameters(bucket="x-opinion-lake").retention_days == setting.default


@pytest.mark.parametrize("name", ["bucket", "database", "workgroup", "delivery_stream"])
def test_names_default_to_those_of_the_settings(name: str) -> None:
    parameter = {
        "bucket": "Bucket",
        "database": "Database",
        "workgroup": "Workgroup",
        "delivery_stream": "DeliveryStreamName",
    }[name]
    for template in TEMPLATES.values():
        default = template.parameters.get(parameter, {}).get("Default")
        assert default in (None, getattr(Settings(), name))


def test_there_are_never_two_streamers() -> None:
    properties = TEMPLATES["streamer"].resources["Service"]["Properties"]
    assert properties["DesiredCount"] == 1
    assert properties["DeploymentConfiguration"] == {"MinimumHealthyPercent": 0, "MaximumPercent": 100}


def test_the_streamer_s_spool_outlives_its_container_and_belongs_to_its_user() -> None:
    resources = TEMPLATES["streamer"].resources
    (volume,) = resources["Task"]["Properties"]["Volumes"]
    (container,) = resources["Task"]["Properties"]["ContainerDefinitions"]
    (mount,) = container["MountPoints"]
    dockerfile = (ROOT / "streamer" / "Dockerfile").read_text()
    assert mount["SourceVolume"] == volume["Name"]
    assert f"VOLUME {mount['ContainerPath']}\n" in dockerfile
    (user,) = re.findall(r"--uid (\d+)", dockerfile)
    data = text(resources["Instance"]["Properties"]["UserData"]["Fn::Base64"])
    assert f"install -d -o {user} -g {user} -m 0700 {volume['Host']['SourcePath']}" in data


def test_ecs_checks_the_streamers_health_as_its_image_does() -> None:
    (container,) = TEMPLATES["streamer"].resources["Task"]["Properties"]["ContainerDefinitions"]
    check = container["HealthCheck"]
    dockerfile = (ROOT / "streamer" / "Dockerfile").read_text()
    (command,) = re.findall(r"^HEALTHCHECK [^\n]*\\\n +CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert check["Command"] == ["CMD", *json.loads(command)]
    assert f"--interval={check['Interval']}s --timeout={check['Timeout']}s" in dockerfile


def test_the_alarm_reads_the_metric_that_the_streamer_gives() -> None:
    resources = TEMPLATES["streamer"].resources
    alarm = resources["NotReceiving"]["Properties"]
    (container,) = resources["Task"]["Properties"]["ContainerDefinitions"]
    environment = {entry["Name"]: text(entry["Value"]) for entry in container["Environment"]}
    assert environment["OPINION_METRICS_NAMESPACE"] == text(alarm["Namespace"]) == "MetricsNamespace"
    metrics = json.loads(embedded_metrics("n", "s", {"connected": False}, {}))
    (directive,) = metrics["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [[dimension["Name"] for dimension in alarm["Dimensions"]]]
    assert alarm["MetricName"] in {metric["Name"] for metric in directive["Metrics"]}
    assert metrics[alarm["MetricName"]] < alarm["Threshold"]


def test_mwaa_takes_what_make_mwaa_builds_in_the_version_of_the_requirements() -> None:
    properties = TEMPLATES["airflow"].resources["Environment"]["Properties"]
    paths = {properties[f"{name}S3Path"] for name in ("Dag", "Plugins", "Requirements", "StartupScript")}
    assert paths == {"dags", "plugins.zip", "requirements.txt", "startup.sh"}
    assert f"apache-airflow=={properties['AirflowVersion']}\n" in (ROOT / "requirements.txt").read_text()


def test_the_templates_are_valid_cloudformation() -> None:
    templates = sorted(map(str, (ROOT / "infra").glob("*.yaml")))
    command = [sys.executable, "-c", "import cfnlint.runner; cfnlint.runner.main()", *templates]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def _of_type(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, template in TEMPLATES.items():
        for resource, definition in template.resources.items():
            if definition["Type"] == kind:
                yield f"{name}.{resource}", dict(definition)


def test_logs_are_encrypted_end_and_outlive_their_stack() -> None:
    groups = dict(_of_type("AWS::Logs::LogGroup"))
    assert set(groups) == {"delivery_stream.LogGroup", "streamer.Logs"}
    for group in groups.values():
        assert group["DeletionPolicy"] == "RetainExceptOnCreate"
        assert group["UpdateReplacePolicy"] == "Retain"
        assert text(group["Properties"]["KmsKeyId"]) == "EncryptionKeyArn"
        assert group["Properties"]["RetentionInDays"]


def test_every_alarm_tells_people() -> None:
    alarms = dict(_of_type("AWS::CloudWatch::Alarm"))
    assert {name for name in alarms if name.startswith("airflow.")} == {
        "airflow.NoScheduler",
        "airflow.HoursAreLate",
        "airflow.TransformFailed",
        "airflow.CoverageFailed",
        "airflow.InsightsFailed",
        "airflow.TrainFailed",
    }
    for name, alarm in alarms.items():
        assert "AlarmTopic" in map(text, alarm["Properties"]["AlarmActions"]), name
        assert alarm["Properties"]["AlarmDescription"], name


def test_alarms_of_dags_name_dags_that_exist() -> None:
    dags = {path.stem for path in (ROOT / "dags").glob("*.py")}
    for name, alarm in _of_type("AWS::CloudWatch::Alarm"):
        for dimension in alarm["Properties"]["Dimensions"]:
            if dimension["Name"] == "DAG":
                assert dimension["Value"] in dags, name


def test_mwaa_leaves_its_own_connection_to_aws_alone() -> None:
    """The options replace MWAA's own: its pattern keeps `aws_default` out of Secrets Manager."""
    options = TEMPLATES["airflow"].resources["Environment"]["Properties"]["AirflowConfigurationOptions"]
    pattern = json.loads(options["secrets.backend_kwargs"])["connections_lookup_pattern"]
    assert not re.match(pattern, "aws_default")
    assert re.match(pattern, "databricks_default")


def test_the_streamer_s_volume_survives_its_host_and_a_newer_image() -> None:
    streamer = TEMPLATES["streamer"]
    # An alias of the newest image would replace the instance at the next update of the stack.
    assert streamer.parameters["MachineImage"]["Type"] == "AWS::EC2::Image::Id"
    instance = streamer.resources["Instance"]
    (device,) = instance["Properties"]["BlockDeviceMappings"]
    assert device["Ebs"]["DeleteOnTermination"] is False
    actions = map(text, streamer.resources["HostFailed"]["Properties"]["AlarmActions"])
    assert any(action.endswith("ec2:recover") for action in actions)
    # The service waits for an instance that has registered with the cluster.
    assert streamer.resources["Service"]["DependsOn"] == "Instance"
    assert instance["CreationPolicy"]["ResourceSignal"]
    assert "--resource Instance" in text(instance["Properties"]["UserData"]["Fn::Base64"])


def test_the_budget_and_the_alarms_reach_the_topic_that_the_settings_can_name() -> None:
    alarms = TEMPLATES["alarms"]
    notifications = alarms.resources["Budget"]["Properties"]["NotificationsWithSubscribers"]
    assert {text(one["Subscribers"][0]["Address"]) for one in notifications} == {"Topic"}
    (publishers,) = alarms.resources["TopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert set(publishers["Principal"]["Service"]) == {"budgets.amazonaws.com", "cloudwatch.amazonaws.com"}
    assert (
        TEMPLATES["lake"].parameters["NotifyTopic"]["Default"] == alarms.parameters["NotifyTopic"]["Default"]
    )

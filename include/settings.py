"""The pipeline's settings: environment variables named ``OPINION_*``, with defaults for production.

Secrets are no settings: only their names in Secrets Manager are.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_INCLUDE = Path(__file__).parent

_CHANNEL = r"^(sns:arn:[^:]+:sns:[^:]+:\d{12}:.+|(slack|webhook):[\w.-]+|mailto:[^@\s]+@[^@\s]+)$"


class Settings(BaseSettings):
    """One field a setting; the variable is the field's name in capitals behind ``OPINION_``."""

    model_config = SettingsConfigDict(env_prefix="OPINION_", frozen=True)

    topics_file: Path = _INCLUDE / "topics.yaml"
    """The topics, their keywords and the collection's budget."""
    collection_start: AwareDatetime | None = None
    """Overrides the topics file's `collection.start`."""
    monthly_posts: int | None = Field(None, ge=1)
    """Overrides the topics file's `collection.monthly_posts`."""
    price_per_post: float = Field(0.005, ge=0)
    """US dollars that X bills for a post that is read. Source: X's price list for pay-per-use, $0.005 a post
    (https://docs.x.com/x-api/getting-started/pricing, as of November 2026); it may change."""

    aws_conn_id: str = "aws_default"
    bucket: str = "x-opinion-lake"
    database: str = "x_opinion"
    workgroup: str = "x_opinion"
    athena_query_url: str = "https://{console}/athena/home?region={region}#/query-editor/history/{query}"
    """Where people look at a query of Athena; ``{console}`` is the host of AWS's console."""
    delivery_stream: str = "x-opinion"

    x_api_url: str = "https://api.x.com"
    x_token_secret: str = "x-opinion/x-bearer-token"  # noqa: S105 - a name, no secret
    """Name in Secrets Manager of X's bearer token."""
    pseudonym_secret: str = "x-opinion/pseudonym-key"  # noqa: S105 - a name, no secret
    """Name in Secrets Manager of the key that authors' ids are hashed with."""

    spool_bytes: int = Field(1024**3, ge=1024**2)
    """What may wait in the streamer's spool; at the limit it disconnects from X until there is room."""
    metrics_namespace: str = ""
    """CloudWatch namespace of the streamer's metrics, on its standard output; without one, there are none."""

    lateness_seconds: int = Field(30, ge=0)
    """How long after a window's end its tweets may still arrive from X."""
    delivery_margin_seconds: int = Field(10, ge=0)
    """What is waited beyond Firehose's buffering interval."""
    delivery_grace_seconds: int = Field(1800, ge=0)
    """When a window is transformed even though nothing proves that it is through."""

    reach_hours: int = Field(6, ge=1, le=168)
    """How far back coverage looks and recovers without asking a person."""
    outage_seconds: int = Field(60, ge=1)
    """The shortest silence of the streamer that counts as an outage."""
    max_recovery_attempts: int = Field(9, ge=1)
    """After so many failed attempts at one stretch nothing more is bought of it until a person approves."""
    max_reruns: int = Field(3, ge=1)
    """After so many reruns on unchanged evidence coverage raises an alarm instead."""

    measured_languages: tuple[str, ...] = ("ar", "de", "en", "es", "fr", "it", "pl", "pt", "ru")
    """The languages on which the sentiment model was measured and is better than chance, a JSON list; these
    are the embedded one's. All others stay out of the default ratios."""
    audit_tweets: int = Field(200, ge=1)
    """Tweets of a topic and month that are drawn for people to judge."""
    audit_language_tweets: int = Field(20, ge=1)
    """At least so many of them are in each language that makes up `audit_language_share` of the topic."""
    audit_language_share: float = Field(0.02, gt=0, le=1)
    """The share of a topic's tweets from which on a language is a stratum of its own."""
    audit_twice: float = Field(0.2, ge=0, le=1)
    """The share of the drawn tweets that two people judge, so that it is known how far people agree."""
    gather_seconds: int = Field(300, ge=0)
    """How long insights lets further changes of the lake gather after the first."""

    notify: tuple[Annotated[str, Field(pattern=_CHANNEL)], ...] = ()
    """Who is told when a person is needed, a JSON list; none: nobody. ``sns:<topic ARN>``,
    ``slack:<connection>`` and ``webhook:<connection>`` (ids of HTTP connections that hold the address),
    ``mailto:<address>`` (through the connection `smtp_default`)."""
    late_minutes: int = Field(90, ge=1)
    """How long after its run was queued an hour may be unlabeled before people are told."""

    quicksight_principals: tuple[str, ...] = ()
    """ARNs of QuickSight's users and groups who see the dashboards there, a JSON list; none: not used."""
    quicksight_url: str = "https://{region}.quicksight.aws.amazon.com/sn"
    """Where people open QuickSight: the address above its ``/dashboards``; ``{region}`` is AWS's region."""
    quicksight_spacing_seconds: int = Field(2700, ge=0)
    """How long a data set is left alone after an ingestion: 32 of them last a day, and an hour's run that
    comes a little earlier than the one before does not wait for the next."""
    quicksight_ingestions_per_day: int = Field(32, ge=1)
    """How many ingestions by hand QuickSight takes of a data set in 24 hours; in its Standard edition, 8."""

    sagemaker_role_arn: str = "arn:aws:iam::123456789012:role/x-opinion-sagemaker"
    sagemaker_image: str = (
        "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker"
    )
    sagemaker_instance_type: str = "ml.c6i.xlarge"
    sagemaker_job_url: str = "https://{console}/sagemaker/home?region={region}#/transform-jobs/{job}"
    """Where people look at a batch transform job; ``{console}`` is the host of AWS's console."""
    sagemaker_pool: str = "sagemaker"
    """The Airflow pool that keeps within the account's instance limit; it counts deferred tasks."""
    airflow_conn_id: str = "airflow_default"
    """The Airflow connection of Airflow's own REST API, by which `provision` looks at that pool: host, and a
    login with its password, or a bearer token as the password. Without one the pool is not looked at."""
    mwaa_environment: str = ""
    """The MWAA environment that this Airflow is: `provision` then looks at the pool through `InvokeRestApi`,
    and needs no connection."""
    sentiment_artifact: str = str(_INCLUDE / "labeling" / "ngram")
    """A folder that `provision` packs, or the S3 address of a `model.tar.gz`."""
    translation_artifact: str | None = None
    """The same for the translator; without one the translation step is skipped."""

    databricks_conn_id: str = "databricks_default"
    """The Airflow connection of the workspace that trains."""

    retention_days: int = Field(30, ge=8)
    """How long tweets are kept, by their day: older hours leave the training's table and are labeled no more,
    and their aggregates stay as they are. The bucket's rules have the same number (`RetentionDays` in
    infra/lake.yaml); coverage recovers and labels up to 7 days back."""

    training_model: str = "main.x_opinion.student"
    """The registered model in Unity Catalog: catalog.schema.model."""
    training_model_url: str = ""
    """Where people look at a version of it: an address with ``{version}`` and, if need be, ``{model}``, such
    as ``https://<workspace>/explore/data/models/main/x_opinion/student/version/{version}``; none: no link."""
    training_experiment: str = "/Shared/x-opinion"
    """MLflow's experiment."""
    training_volume: str = "/Volumes/main/x_opinion/training"
    """The Unity Catalog volume that the training code's wheel is put into."""
    training_features: str = "lemmas,style"
    """The parts of the features (`include.training.features`), joined by commas."""
    training_timeout_seconds: int = Field(6 * 3600, ge=600)
    """After so long Databricks ends a run of the training."""
    training_trials: int = Field(6, ge=1)
    """How many points the search tries."""
    training_seed: int = 20
    training_minimum_confidence: float = Field(0.0, ge=0, le=1)
    """Labels that the teacher is less sure of teach the student nothing."""
    training_minimum_rows: int = Field(30, ge=1)
    """Rows of each sentiment without which no model is trained."""
    training_margin: float = Field(0.005, ge=0)
    """Macro-F1 by which a challenger must be better than the champion."""
    training_spark_version: str = "16.4.x-scala2.12"
    training_node_type: str = "m5d.xlarge"
    training_region: str = "us-east-1"
    training_instance_profile_arn: str | None = None
    """What lets the cluster read and write the lake's bucket."""

    def s3(self, key: str = "") -> str:
        """The S3 address of a key in the lake's bucket."""
        return f"s3://{self.bucket}/{key}"


@cache
def settings() -> Settings:
    """The process's settings, read once; raises pydantic's `ValidationError` naming what is wrong."""
    return Settings()

"""The pipeline's settings: environment variables named ``OPINION_*``, with defaults for production.

Secrets are no settings: only their names in Secrets Manager are.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_INCLUDE = Path(__file__).parent

_EMBED = r"^$|^https://[\w.:-]+/[^\s'\"{}]*\{tweet_id\}[^\s'\"{}]*$"
_CHANNEL = r"^(sns:arn:[^:]+:sns:[^:]+:\d{12}:.+|(slack|webhook):[\w.-]+|mailto:[^@\s]+@[^@\s]+)$"


class Settings(BaseSettings):
    """Each field is a setting; its environment variable is ``OPINION_`` and the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix="OPINION_", frozen=True)

    topics_file: Path = _INCLUDE / "topics.yaml"
    """The topics, their keywords and the budget of the collection."""
    collection_start: AwareDatetime | None = None
    """Overrides the topics file's `collection.start`."""
    monthly_posts: int | None = Field(None, ge=1)
    """Overrides the topics file's `collection.monthly_posts`."""
    prices_file: Path = _INCLUDE / "prices.yaml"
    """The price list by which costs are computed; the comment at its top says how to write another."""

    aws_conn_id: str = "aws_default"
    """The Airflow connection to AWS."""
    bucket: str = "x-opinion-lake"
    """The S3 bucket of the lake."""
    database: str = "x_opinion"
    """The Glue database of the lake's tables and views."""
    workgroup: str = "x_opinion"
    """The Athena workgroup that the queries run in."""
    athena_query_url: str = "https://{console}/athena/home?region={region}#/query-editor/history/{query}"
    """The page of an Athena query; ``{console}`` is the host of the AWS console."""
    delivery_stream: str = "x-opinion"
    """The Firehose stream that the streamer delivers to."""

    x_api_url: str = "https://api.x.com"
    """The address of X's API."""
    events_file: Path | None = None
    """A CSV file, `date,title,link`, of events that the pages draw on the charts over time."""
    pages_refresh_seconds: int = Field(20, ge=0)
    """How often a page that is in view refreshes its figures; 0: never by itself. All viewers share one
    query a minute, and another when the day is aggregated again."""
    source_notice: str = ""
    """What readers must know about the source of the tweets, such as that they are invented: a banner on
    every page; if empty, there is none."""
    tweet_embed_url: str = Field(
        "https://platform.twitter.com/embed/Tweet.html?id={tweet_id}&dnt=true", pattern=_EMBED
    )
    """The address of a post that X embeds in other sites: so the pages show the tweets behind a point of a
    chart; if empty, they show the lake's text."""
    x_token_secret: str = "x-opinion/x-bearer-token"  # noqa: S105 - a name, no secret
    """The name of X's bearer token in Secrets Manager."""
    pseudonym_secret: str = "x-opinion/pseudonym-key"  # noqa: S105 - a name, no secret
    """The name in Secrets Manager of the key that hashes author ids."""

    spool_bytes: int = Field(1024**3, ge=1024**2)
    """The limit of the streamer's spool; at the limit it disconnects from X until there is room again."""
    metrics_namespace: str = ""
    """The CloudWatch namespace of the streamer's metrics on standard output; if empty, it writes none."""

    lateness_seconds: int = Field(30, ge=0)
    """How long after the end of a window X may still deliver its tweets."""
    delivery_margin_seconds: int = Field(10, ge=0)
    """How much longer than Firehose's buffering interval to wait."""
    delivery_grace_seconds: int = Field(1800, ge=0)
    """How long after the end of a window it is transformed without proof that all of it was delivered."""

    unapproved_hours: int = Field(6, ge=1, le=168)
    """How far back coverage recovers without an approval. It looks a day further back than search reaches."""
    outage_seconds: int = Field(60, ge=1)
    """The shortest silence of the streamer that counts as an outage."""
    max_recovery_attempts: int = Field(9, ge=1)
    """After this many failed attempts at one stretch, buying more of it needs an approval."""
    max_reruns: int = Field(3, ge=1)
    """After this many reruns on unchanged evidence, coverage raises an alarm instead."""

    audit_tweets: int = Field(200, ge=1)
    """How many tweets of each topic and month are drawn for people to judge."""
    audit_language_tweets: int = Field(20, ge=1)
    """At least this many of them are in each language that makes up `audit_language_share` of the topic."""
    audit_language_share: float = Field(0.02, gt=0, le=1)
    """A language with at least this share of a topic's tweets is a stratum of its own."""
    audit_twice: float = Field(0.2, ge=0, le=1)
    """The share of the drawn tweets that two people judge, to measure how far people agree."""
    drift_days: int = Field(7, ge=1, le=28)
    """How many recent days `drift` compares with those that people audited."""
    drift_tolerated: float = Field(0.25, gt=0)
    """The population stability index above which the tweets are no longer those that people audited: by
    convention 0.1 is a small change and 0.25 a large one."""
    shift_days: int = Field(28, ge=14, le=60)
    """How many days `drift` compares a day's rectified net sentiment with."""
    shift_chance: float = Field(0.002, gt=0, le=0.1)
    """The probability that a day like those before it is reported as a shift: 0.002 is one false notification
    for each topic in 500 days."""
    gather_seconds: int = Field(300, ge=0)
    """How long insights waits for further changes of the lake after the first one."""

    notify: tuple[Annotated[str, Field(pattern=_CHANNEL)], ...] = ()
    """The channels to notify when a person is needed, a JSON list. ``sns:<topic ARN>``,
    ``slack:<connection>`` and ``webhook:<connection>`` (ids of HTTP connections that hold the address),
    ``mailto:<address>`` (through the connection `smtp_default`)."""
    live_minutes: int = Field(0, ge=0, le=30)
    """How often the open hour is labeled, in minutes that divide 60; 0: it is labeled when it is over. Where
    it is set, the dashboards show tweets within minutes, and SageMaker is called more often."""
    live_endpoints: bool = False
    """Whether the models are also served by real-time endpoints, which answer for the open hour; else batch
    jobs do. `provision` makes and removes them. They are billed around the clock."""
    live_instances: int = Field(1, ge=1, le=20)
    """The most instances of each real-time endpoint, and how many payloads it is sent at a time. Above 1,
    Application Auto Scaling adds instances while payloads wait, and removes them after quiet minutes."""
    late_minutes: int = Field(90, ge=1)
    """How long after its run was queued an hour may stay unlabeled before a notification is sent."""

    monthly_cost_limit: float | None = Field(None, gt=0)
    """US dollars a month: people are notified if the month's costs, by list prices, are projected above."""

    quicksight_principals: tuple[str, ...] = ()
    """ARNs of the QuickSight users and groups that see the dashboards, a JSON list; if empty, QuickSight is
    not used."""
    quicksight_url: str = "https://{region}.quicksight.aws.amazon.com/sn"
    """QuickSight's address, without ``/dashboards``; ``{region}`` is the AWS region."""
    quicksight_spacing_seconds: int = Field(2700, ge=0)
    """The shortest time between two ingestions of a data set: 45 minutes keep within 32 a day, and leave room
    for an hourly run that comes a little early."""
    quicksight_ingestions_per_day: int = Field(32, ge=1)
    """QuickSight's limit on manual ingestions of a data set in 24 hours; 8 in its Standard edition."""

    quicksight_authors: int = Field(0, ge=0)
    """How many authors the QuickSight account pays for, as costs count them."""
    quicksight_readers: int = Field(0, ge=0)
    """How many readers, likewise."""

    sagemaker_role_arn: str = "arn:aws:iam::123456789012:role/x-opinion-sagemaker"
    """The role with which SageMaker reads and writes the lake's bucket."""
    sagemaker_image: str | None = None
    """The image that serves the models; None: AWS's PyTorch inference container in the region in use."""
    sagemaker_instance_type: str = "ml.c6i.xlarge"
    """The instance type of transform jobs and of real-time endpoints."""
    sagemaker_job_url: str = "https://{console}/sagemaker/home?region={region}#/transform-jobs/{job}"
    """The page of a batch transform job; ``{console}`` is the host of the AWS console."""
    sagemaker_pool: str = "sagemaker"
    """The Airflow pool that keeps transform jobs within the account's instance limit; it includes deferred
    tasks."""
    airflow_conn_id: str = "airflow_default"
    """The Airflow connection to Airflow's own REST API, by which `provision` checks that pool: the host, and
    a login with its password, or a bearer token as the password. Without one the pool is not checked."""
    mwaa_environment: str = ""
    """The name of this MWAA environment: `provision` then checks the pool through `InvokeRestApi`, and needs
    no connection."""
    sentiment_artifact: str = str(_INCLUDE / "labeling" / "e5")
    """A folder that `provision` packs, a `model.tar.gz` that it uploads, or the S3 address of one.
    `include/labeling/ngram` beside the default is less good and faster, and its container needs no PyPI."""
    translation_artifact: str | None = None
    """The same for the translator; if empty, translation is skipped."""

    databricks_conn_id: str = "databricks_default"
    """The Airflow connection of the Databricks workspace."""

    retention_days: int = Field(30, ge=8)
    """How long tweets are kept, by their day. Older hours are removed from the training table and are not
    labeled again; their aggregates stay. The bucket's rules must have the same number (`RetentionDays` in
    infra/lake.yaml); coverage recovers and labels up to 7 days back."""

    training_model: str = "main.x_opinion.student"
    """The registered model in Unity Catalog: catalog.schema.model."""
    training_model_url: str = ""
    """The page of a model version: an address with ``{version}`` and optionally ``{model}``, such as
    ``https://<workspace>/explore/data/models/main/x_opinion/student/version/{version}``; none: no link."""
    training_experiment: str = "/Shared/x-opinion"
    """MLflow's experiment."""
    training_volume: str = "/Volumes/main/x_opinion/training"
    """The Unity Catalog volume for the wheel of the training code."""
    training_timeout_seconds: int = Field(6 * 3600, ge=600)
    """The timeout of a training run on Databricks."""
    training_history_seconds: int = Field(6 * 3600, ge=0)
    """How long the Delta table keeps files that it no longer needs: for that long, they may hold tweets that
    were removed. At least the longest run of `train` or `compliance` on Databricks
    (`training_timeout_seconds`), which may still read them; within X's 24 hours."""
    training_trials: int = Field(6, ge=1)
    """How many parameter sets the search tries."""
    training_seed: int = 20
    """The seed of everything random in the training: the same tweets give the same model."""
    training_minimum_confidence: float = Field(0.0, ge=0, le=1)
    """Labels with a lower teacher confidence are left out of the training."""
    training_minimum_rows: int = Field(30, ge=1)
    """The fewest rows of each sentiment for which a model is trained."""
    training_margin: float = Field(0.005, ge=0)
    """How much better than the champion's macro-F1 the candidate's must be."""
    training_spark_version: str = "16.4.x-scala2.12"
    """The version of Databricks Runtime that the job cluster runs."""
    training_node_type: str = "m5d.xlarge"
    """The instance type of the job cluster's one machine."""
    training_region: str = "us-east-1"
    """The AWS region of the lake's bucket, for the cluster's clients."""
    training_instance_profile_arn: str | None = None
    """The instance profile with which the cluster reads and writes the lake's bucket."""

    @field_validator("live_minutes")
    @classmethod
    def _divides_the_hour(cls, minutes: int) -> int:
        """A cron schedule counts minutes from the full hour: with 7, it would start runs at :56 and :00."""
        if minutes and 60 % minutes:
            raise ValueError("must divide 60: 1, 2, 3, 4, 5, 6, 10, 12, 15, 20 or 30; 0 switches it off")
        return minutes

    def s3(self, key: str = "") -> str:
        """The S3 address of a key in the lake's bucket."""
        return f"s3://{self.bucket}/{key}"


@cache
def settings() -> Settings:
    """The settings of the process, read once; raises pydantic's `ValidationError`, which names what is
    wrong."""
    return Settings()

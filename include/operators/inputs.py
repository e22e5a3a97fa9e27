"""The external inputs of tasks and triggers: AWS clients, secrets, the topics and the time."""

from __future__ import annotations

import functools
import threading
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.settings import settings

if TYPE_CHECKING:
    import tweepy
    from airflow.providers.databricks.hooks.databricks import DatabricksHook

    from include.x.topics import Topics


CONNECTION_SECONDS = 300
"""How long a process uses a connection that it has read. The triggerer and the API server run for days: a
changed connection takes effect there within this time."""
_MISSING_SECONDS = 15
"""How long a process does without a connection that Airflow has not found: it says so too where a secrets
backend did not answer, and AWS's default credentials would then act in the connection's place."""


class _Connection:
    """An Airflow connection to AWS, read once; its clients share a session.

    A session parses the descriptions of the services that it makes clients of, and the connection is itself a
    secret, read by a client of its own. Repeated for each client, that takes half of a task's CPU time. Roles
    are assumed again by the session itself, before their credentials expire.
    """

    def __init__(self, conn_id: str) -> None:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        self._hook = AwsBaseHook(aws_conn_id=conn_id)
        self._session = self._hook.get_session(region_name=self._hook.region_name)
        found = self._hook.conn_config.conn_type is not None
        self._expires = time.monotonic() + (CONNECTION_SECONDS if found else _MISSING_SECONDS)
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()  # threads may share a client, but not a session

    @property
    def expired(self) -> bool:
        """Whether it has to be read again."""
        return time.monotonic() >= self._expires

    def client(self, service: str) -> Any:
        """The session's client of a service."""
        from include import aws

        with self._lock:
            if service not in self._clients:
                self._clients[service] = aws.client(
                    service,
                    session=self._session,
                    endpoint_url=self._hook.conn_config.get_service_endpoint_url(service),
                    config=self._hook.config,
                    verify=self._hook.verify,
                )
            return self._clients[service]


@functools.lru_cache(maxsize=1)
def _connection(conn_id: str) -> _Connection:
    return _Connection(conn_id)


def client(service: str) -> Any:
    """The process's boto3 client by the Airflow connection that the settings name, as in `include.aws`.

    The connection's ``config_kwargs`` take precedence. It is read again after `CONNECTION_SECONDS`: whoever
    lives longer asks for the client each time. The provider is imported here to keep the parsing of DAG files
    fast. The client comes from the hook's session: the hook's own method searches the whole call stack for a
    user agent, which takes half a second.
    """
    conn_id = settings().aws_conn_id
    if _connection(conn_id).expired:
        _connection.cache_clear()
    return _connection(conn_id).client(service)


def secret(name: str) -> str:
    """A secret's text from Secrets Manager; keep it out of logs and XCom."""
    return str(client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])


def account() -> str:
    """The id of the AWS account that the connection belongs to."""
    return str(client("sts").get_caller_identity()["Account"])


def databricks_hook() -> DatabricksHook:
    """The process's hook of the provider, by the connection to Databricks that the settings name.

    It reads the connection once, so there is another one after `CONNECTION_SECONDS`: whoever lives longer
    asks for it each time.
    """
    return _databricks_hook(settings().databricks_conn_id, int(time.monotonic() // CONNECTION_SECONDS))


@functools.lru_cache(maxsize=1)
def _databricks_hook(conn_id: str, _period: int) -> DatabricksHook:
    from airflow.providers.databricks.hooks.databricks import DatabricksHook

    return DatabricksHook(conn_id, caller="x-opinion")


def x_client() -> tweepy.Client:
    """A client of X's API with the token of Secrets Manager."""
    from include.x.client import api_client, bearer_token

    return api_client(settings(), bearer_token(client("secretsmanager"), settings()))


def topics() -> Topics:
    """The topics file that the settings name."""
    from include.x.topics import load

    return load(settings().topics_file)


def pulled(ti: Any, task_id: str) -> list[Any]:
    """What the instances of a mapped task have returned, in order; nothing of those that returned nothing.

    Airflow gives the value itself, not a list, where one task is asked for and exactly one instance has
    returned something. Asked for a list of tasks, it always gives a list.
    """
    return [each for each in ti.xcom_pull(task_ids=[task_id]) if each is not None]


def failed_tasks(ti: Any) -> dict[str, str]:
    """The states, by id and in its order, of the run's tasks that failed, by themselves or by another one."""
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])
    found = sorted((name, state) for run in states.values() for name, state in run.items())
    return {name: state for name, state in found if state in ("failed", "upstream_failed")}


def skip_without_quicksight() -> None:
    """Skips the task, by `AirflowSkipException`, if the settings name nobody who sees QuickSight."""
    # Airflow reads its configuration when it is first imported: importing this module must not do that.
    from airflow.sdk.exceptions import AirflowSkipException

    if not settings().quicksight_principals:
        raise AirflowSkipException(
            "QuickSight is not used: no principals are configured (OPINION_QUICKSIGHT_PRINCIPALS)"
        )


def run_day(dag_run: Any) -> date:
    """The day that a daily run is about: the day before its schedule's, or for a manual run the day itself.

    It stays the same where the run is cleared later.
    """
    found: date = dag_run.run_after.date()
    return found - timedelta(days=1) if dag_run.run_type == "scheduled" else found


def now() -> datetime:
    """The time in UTC, in whole milliseconds, which the lake, JSON and X's ids can all represent."""
    found = datetime.now(UTC)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)

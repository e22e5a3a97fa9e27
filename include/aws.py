"""The AWS clients of the DAGs, the plugin, the streamer and the training: one configuration for all.

botocore's ``standard`` mode tries again, with back-off and jitter, what a service throttles (including
Athena's ``TooManyRequestsException``, which comes with status 400, and S3's ``SlowDown``), its 5xx answers
and lost connections (https://docs.aws.amazon.com/boto3/latest/guide/retries.html). Two codes of QuickSight
are added: ``ConflictException``, while a resource is being changed, passes and is tried again too;
``LimitExceededException``, which botocore takes for throttling, is a limit used up for the day.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Mapping

ATTEMPTS = 6
"""How often a call is made at most; the waits between them add up to half a minute."""

CONNECTIONS = 40
"""How many connections a client keeps: as many as threads share one. The server of the pages has 40 threads,
`OPINION_LIVE_INSTANCES` are 20 at most. A connection is opened when it is first needed."""

OPTIONS: Mapping[str, Any] = {
    "connect_timeout": 10,
    "read_timeout": 60,
    "max_pool_connections": CONNECTIONS,
    "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
}
"""What every client is configured with, as `botocore.config.Config` takes it (timeouts in seconds)."""

_LONGEST_WAIT_S = 20.0


def client(
    service: str, *, config: Config | None = None, session: boto3.Session | None = None, **arguments: Any
) -> Any:
    """A boto3 client configured as all are; what ``config`` says wins.

    ``session`` is boto3's default one where none is given; ``arguments`` are those of `boto3.Session.client`.
    """
    factory: Any = session or boto3
    configured = Config(**OPTIONS)
    made = factory.client(service, config=configured.merge(config) if config else configured, **arguments)
    if service == "quicksight":
        attempts = (made.meta.config.retries or {}).get("total_max_attempts", ATTEMPTS)
        made.meta.events.register_first(
            "needs-retry.quicksight", lambda **event: _wait_for_quicksight(attempts, **event)
        )
    return made


def _wait_for_quicksight(most: int, *, response: Any, attempts: int, **_: Any) -> float | bool | None:
    """Seconds to wait before QuickSight is asked again; False: do not ask; None: botocore decides."""
    code = response[1].get("Error", {}).get("Code") if response else None
    if code == "LimitExceededException":
        return False
    if code != "ConflictException":
        return None
    if attempts >= most:
        return False
    return random.uniform(0, min(2.0 ** (attempts - 1), _LONGEST_WAIT_S))  # noqa: S311 - jitter, no secret

"""The server's interface for its extensions.

An extension is a module with ``install(context: Context) -> None``. It is called once, before moto's app is
made and before the port is bound, so it may patch moto's classes; it must not call the endpoint yet.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3

from local.credentials import Credentials

ACCOUNT = "123456789012"
"""The one account, whatever the credentials say."""

REGION = "us-east-1"

PIPELINE = "x-opinion-pipeline"
STREAMER = "x-opinion-streamer"
TRAINING = "x-opinion-training"
USERS = {PIPELINE: "PipelinePolicy", STREAMER: "StreamerPolicy", TRAINING: "DatabricksRole"}
"""The IAM users of the pipeline's parts, with the resource of ``infra/lake.yaml`` that has their policy."""

log = logging.getLogger(__name__)

type Reply = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers and body of a response."""

type Serve = Callable[[str, str, str, Mapping[str, str], bytes], Reply]
"""Answers a request by method, raw path, query, headers (names in lower case) and body."""


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    trino_url: str | None = None
    """Address of the Trino behind Athena; without it every Athena call is rejected."""
    transform_jobs: int = 4
    """The account's limit of SageMaker transform jobs in progress at one time."""
    warm_seconds: float = 30.0
    """How long a model's serving process is kept after its last job."""


@dataclass
class Context:
    """The server as an extension sees it.

    ``state`` is a folder that survives restarts; an extension keeps its files in a subfolder with its own
    name. ``endpoint`` is the server's own address without a final slash, good for boto3's ``endpoint_url``
    once the server is up. ``credentials`` are what every client signs with, the extensions too.
    """

    state: Path
    endpoint: str
    credentials: Credentials
    options: Options = field(default_factory=Options)
    offered: dict[str, re.Pattern[str]] = field(default_factory=dict)
    changed: Callable[[str], None] = lambda _service: None
    """Makes durable what an extension changed in a moto backend outside a request, by moto's service name."""
    served: dict[str, Serve] = field(default_factory=dict)
    pages: dict[str, Callable[[str], Reply]] = field(default_factory=dict)
    _starters: list[Callable[[], None]] = field(default_factory=list)
    _closers: list[Callable[[], None]] = field(default_factory=list)

    def client(self, service: Any) -> Any:
        """A boto3 client of a service of this server."""
        return self._session.client(service, endpoint_url=self.endpoint)

    @cached_property
    def _session(self) -> Any:
        return boto3.Session(
            self.credentials.access_key_id, self.credentials.secret_access_key, region_name=REGION
        )

    def offer(self, service: str, operations: str = ".*") -> None:
        """Offers the operations of a service whose names match; the others are rejected."""
        self.offered[service] = re.compile(operations)

    def serve(self, service: str, answer: Serve) -> None:
        """Answers a service without moto, from method, raw path, query, headers and body."""
        self.served[service] = answer
        self.offer(service)

    def serve_page(self, prefix: str, answer: Callable[[str], Reply]) -> None:
        """Answers pages for people, whose raw path starts with ``prefix``."""
        self.pages[prefix] = answer

    def on_start(self, start: Callable[[], None]) -> None:
        """Calls ``start`` once the state is restored, before the port answers; it must not block."""
        self._starters.append(start)

    def on_close(self, close: Callable[[], None]) -> None:
        """Calls ``close`` when the server ends, last registered first; it has about two seconds."""
        self._closers.append(close)

    def start(self) -> None:
        """Calls every starter, in order."""
        for start in self._starters:
            start()

    def close(self) -> None:
        """Calls every closer, last registered first; one that fails is logged and stops no other."""
        while self._closers:
            close = self._closers.pop()
            try:
                close()
            except Exception:
                log.exception("closing failed: %s", close)


def patch(owner: Any, **members: Any) -> None:
    """Replaces members of one of moto's classes or modules."""
    for name, member in members.items():
        setattr(owner, name, member)

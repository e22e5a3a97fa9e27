"""The state that survives a restart: moto's control plane of every service, pickled to one file each.

S3's objects are stored separately (`local.aws.objects`): S3's snapshot has only buckets and uploads.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import moto
from moto import backends

from local.aws import objects

SERVICES = (
    "s3",
    "glue",
    "secretsmanager",
    "firehose",
    "sagemaker",
    "applicationautoscaling",
    "iam",
    "sts",
    "logs",
    "cloudwatch",
)
"""The services whose state is kept, by moto's names; S3 first, since others refer to it."""

_DEFERRED = {"logs": 2.0, "cloudwatch": 2.0}
"""Services that grow with every call are written only after this many seconds, and at the end."""

_FORMAT = f"moto {moto.__version__}, 1"

log = logging.getLogger(__name__)


class StateError(RuntimeError):
    """The state folder cannot be used."""


class State:
    """The snapshots under ``<folder>/services`` and the locks that keep them consistent.

    A request to a service runs under that service's `lock`; after one that may have changed something,
    `save` makes it durable before the answer is sent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "services"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.objects = objects.install(folder / "s3")
        self._locks = {service: threading.RLock() for service in SERVICES}
        self._locks["s3"] = self.objects.lock
        self._written: dict[str, bytes] = {}
        self._due: dict[str, float] = {}
        self._closing = threading.Event()

    def lock(self, service: str) -> threading.RLock | None:
        """The service's lock, None if its state is not kept here."""
        return self._locks.get(service)

    def save(self, service: str) -> None:
        """Makes the service's changes durable before it returns (those of `_DEFERRED` soon after)."""
        with self._locks[service]:
            if service == "s3":
                self.objects.commit()
            if service in _DEFERRED:
                self._due.setdefault(service, time.monotonic() + _DEFERRED[service])
            else:
                self._snapshot(service)

    def _snapshot(self, service: str) -> None:
        found = _backends(service)
        content = {(account, region): backend.__dict__ for account, region, backend in found.iter_backends()}
        data = pickle.dumps((_FORMAT, content, getattr(found, "bucket_accounts", None)), 5)
        digest = blake2b(data).digest()
        if self._written.get(service) == digest:
            return
        path = self._folder / f"{service}.pickle"
        new = path.with_suffix(".new")
        new.write_bytes(data)
        new.replace(path)
        self._written[service] = digest

    def restore(self) -> None:
        """Puts back what an earlier server left; raises `StateError` if another version wrote it."""
        for service in SERVICES:
            path = self._folder / f"{service}.pickle"
            if not path.exists():
                continue
            try:
                written, content, bucket_accounts = pickle.loads(path.read_bytes())  # noqa: S301 - our own
            except Exception as error:
                raise StateError(f"{path} cannot be read; delete the state folder") from error
            if written != _FORMAT:
                raise StateError(
                    f"{path} was written by {written}, this is {_FORMAT}; delete the state folder"
                )
            found = _backends(service)
            if bucket_accounts is not None:
                found.bucket_accounts.update(bucket_accounts)
            for (account, region), attributes in content.items():
                found[account][region].__dict__.update(attributes)
        self.objects.restore()

    def start(self) -> None:
        """Starts writing the deferred services' snapshots."""
        threading.Thread(target=self._write_deferred, name="state", daemon=True).start()

    def _write_deferred(self) -> None:
        while not self._closing.wait(0.5):
            now = time.monotonic()
            for service in [service for service, due in list(self._due.items()) if due <= now]:
                self._flush(service)

    def _flush(self, service: str) -> None:
        with self._locks[service]:
            self._due.pop(service, None)
            self._snapshot(service)

    def close(self) -> None:
        """Writes what is still due and closes the object index."""
        self._closing.set()
        for service in list(self._due):
            self._flush(service)
        self.objects.close()


def _backends(service: str) -> Any:
    get_backend: Any = backends.get_backend  # typed for literal names only
    return get_backend(service)

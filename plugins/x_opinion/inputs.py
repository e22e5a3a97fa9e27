"""What the routes are given from outside: the lake, the desk and the time; tests replace them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends

from include.audit.desk import Desk
from include.lake.pseudonyms import Pseudonyms
from include.operators.inputs import client, secret
from include.settings import settings
from x_opinion.lake import Lake, lake_errors


def get_lake() -> Lake:
    """What the pages read from."""
    return Lake()


def get_desk() -> Desk:
    """The audit of the lake that the settings name; raises `LakeError`."""
    with lake_errors():
        key = secret(settings().pseudonym_secret).encode()
        return Desk(client("s3"), settings().bucket, key, settings().retention_days)


@dataclass(frozen=True)
class Objects:
    """The lake's objects, and what hashes ids there."""

    s3: Any
    bucket: str
    pseudonyms: Pseudonyms


def get_objects() -> Objects:
    """The objects of the lake that the settings name; raises `LakeError`."""
    with lake_errors():
        key = secret(settings().pseudonym_secret).encode()
        return Objects(client("s3"), settings().bucket, Pseudonyms(key))


def get_now() -> datetime:
    """The present, UTC."""
    return datetime.now(UTC)


LakeDependency = Annotated[Lake, Depends(get_lake)]
DeskDependency = Annotated[Desk, Depends(get_desk)]
ObjectsDependency = Annotated[Objects, Depends(get_objects)]
NowDependency = Annotated[datetime, Depends(get_now)]

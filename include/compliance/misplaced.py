"""Rejected lines that lie under another hour than their tweet's id tells, and what must go of them.

Only a query finds them. It is asked when the tombstones of the tweets' own hours stand; what comes to lie
elsewhere after that, as by a run of `transform`, is found by the removals of the next days (`bury`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from include.compliance import tombstones
from include.compliance.queries import forgetting
from include.lake import sql
from include.lake.pseudonyms import Pseudonyms
from include.settings import Settings
from include.window import Window
from include.x.compliance import ComplianceAction
from include.x.snowflake import moment

if TYPE_CHECKING:
    from types_boto3_athena.client import AthenaClient
    from types_boto3_s3.client import S3Client

Misplaced = Mapping[Window, Mapping[str, Collection[Window]]]
"""By the hour of a tweet's id and by its marker: the other hours under which a line of it lies."""


def find(s3: S3Client, athena: AthenaClient, settings: Settings, pseudonyms: Pseudonyms) -> Misplaced:
    """All misplaced lines of the lake, by one statement."""
    with forgetting(s3, athena, settings) as queries:
        rows = queries.run(sql.render("compliance/misplaced"))
    found: dict[Window, dict[str, set[Window]]] = {}
    for row in rows:
        own = found.setdefault(Window.containing(moment(row["tweet_id"])), {})
        own.setdefault(pseudonyms.marker(row["tweet_id"]), set()).add(Window.parse(row["label"]))
    return found


def lying(
    tweets: Mapping[Window, Mapping[str, ComplianceAction]], elsewhere: Misplaced
) -> dict[Window, dict[str, ComplianceAction]]:
    """Those of ``tweets`` that lie under other hours than their own, by these hours."""
    found: dict[Window, dict[str, ComplianceAction]] = {}
    for own in tweets.keys() & elsewhere.keys():
        for marker in tweets[own].keys() & elsewhere[own].keys():
            for window in elsewhere[own][marker]:
                found.setdefault(window, {})[marker] = tweets[own][marker]
    return found


def bury(
    s3: S3Client, bucket: str, pseudonyms: Pseudonyms, lately: Iterable[Window], elsewhere: Misplaced
) -> set[Window]:
    """Buries what was buried ``lately``, in these hours, also under the hours where it lies; returns these.

    Twice changes nothing, so that it does not keep an hour among those of lately.
    """
    stones = tombstones.read_each(s3, bucket, pseudonyms, [each for each in lately if each in elsewhere])
    found = lying({window: each.tweets for window, each in stones.items()}, elsewhere)
    for window, markers in found.items():
        tombstones.bury_markers(s3, bucket, window, markers)
    return set(found)

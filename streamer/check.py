"""Tries everything that the streamer needs, and says what to do if something fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import requests
import tweepy
from botocore.exceptions import BotoCoreError, ClientError

from include.settings import Settings
from include.x import rules
from include.x.budget import PostsLedger, PostsLedgerError, month_of, monthly_posts
from include.x.client import api_client
from include.x.price import priced
from include.x.topics import Topics
from streamer.firehose import lines_per_record
from streamer.lines import Identity, control

if TYPE_CHECKING:
    from types_boto3_firehose import FirehoseClient

MOST_SKEW_SECONDS = 5.0
"""Beyond it the lake's times mislead: hours follow X's clock, heartbeats ours."""

_RULES = "/2/tweets/search/stream/rules"


class RecordRejectedError(RuntimeError):
    """Firehose rejected the record."""


@dataclass(frozen=True)
class Finding:
    """One thing that was tried: whether it works, what was found, and what to do if it does not."""

    name: str
    well: bool
    found: str
    advice: str = ""


def findings(
    settings: Settings, topics: Topics, token: str, firehose: FirehoseClient, ledger: PostsLedger
) -> Iterator[Finding]:
    """Tries token, clock, rules, Firehose and the ledger of posts, in this order; nothing is changed.

    A session record ``check`` goes through Firehose: only a record that arrives proves the permission.
    """
    client = api_client(settings, token)
    try:
        answer = client.request("GET", _RULES, params={"max_results": "1"})
    except (tweepy.TweepyException, requests.RequestException) as error:
        yield Finding("token", False, _error_name(error), _advice(error, settings))
    else:
        yield Finding("token", True, "X accepts it")
        yield _clock(answer.headers.get("Date"))
        yield from _rules(client, topics)
    yield _tried("firehose", lambda: _put(firehose, settings, topics), _FIREHOSE_ADVICE)
    yield _tried("ledger", lambda: _used(ledger, settings, topics), _LEDGER_ADVICE)


_FIREHOSE_ADVICE = (
    "set OPINION_DELIVERY_STREAM to a stream that exists (infra/delivery_stream.yaml makes it), and allow "
    "the streamer's role firehose:PutRecordBatch and firehose:DescribeDeliveryStream on it"
)
_LEDGER_ADVICE = (
    "set OPINION_BUCKET to the lake's bucket, and allow the streamer's role s3:ListBucket on it, and "
    "s3:GetObject and s3:PutObject under posts/"
)


def _clock(date: str | None) -> Finding:
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return Finding("clock", False, "X sends no time", "look whether a proxy takes its headers away")
    skew = (theirs - datetime.now(UTC)).total_seconds()
    # X's header has whole seconds.
    well = -MOST_SKEW_SECONDS - 1 <= skew <= MOST_SKEW_SECONDS
    return Finding(
        "clock",
        well,
        f"X's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}",
        "have this machine's clock set by NTP (chrony, systemd-timesyncd)",
    )


def _rules(client: tweepy.Client, topics: Topics) -> Iterator[Finding]:
    try:
        wanted = rules.compile_rules(topics, topics.collection.sample)
        changes = rules.plan(wanted, rules.present_rules(client))
        rejected = {rule.tag: said for rule, said in rules.rejections(client, changes.add).items() if said}
    except (tweepy.TweepyException, requests.RequestException, rules.RulesError) as error:
        yield Finding("rules", False, _error_name(error), "try again; see `streamer rules plan`")
        return
    summary = f"{len(changes.keep)} of {len(wanted)} in force"
    if rejected:
        reasons = "; ".join(f"{tag}: {said}" for tag, said in rejected.items())
        yield Finding("rules", False, reasons, "change the topic's keywords in the topics file")
    else:
        yield Finding("rules", True, f"{summary}, X accepts the rest")


def _put(firehose: FirehoseClient, settings: Settings, topics: Topics) -> str:
    identity = Identity("check", rules.rule_hash(topics), topics.collection.sample)
    pack = control("session", identity, datetime.now(UTC), {"event": "check", "reason": None})
    answer = firehose.put_record_batch(
        DeliveryStreamName=settings.delivery_stream, Records=[{"Data": pack.lines}]
    )
    if answer["FailedPutCount"]:
        raise RecordRejectedError(answer["RequestResponses"][0].get("ErrorCode", "unknown"))
    lines = lines_per_record(firehose, settings.delivery_stream, datetime.now(UTC))
    return (
        f"{settings.delivery_stream} takes records of {'one line' if lines == 1 else f'up to {lines} lines'}"
    )


def _used(ledger: PostsLedger, settings: Settings, topics: Topics) -> str:
    used = ledger.used(month_of(datetime.now(UTC)))
    budget = monthly_posts(settings, topics)
    return f"{priced(used)} of {priced(budget)} used this month"


def _tried(name: str, attempt: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(name, True, attempt())
    except (ClientError, BotoCoreError, PostsLedgerError, RecordRejectedError) as error:
        return Finding(name, False, str(error), advice)


def _error_name(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"http {response.status_code}" if response is not None else type(error).__name__


def _advice(error: Exception, settings: Settings) -> str:
    if isinstance(error, tweepy.Unauthorized | tweepy.Forbidden):
        return f"put a valid bearer token of an app with filtered stream into {settings.x_token_secret}"
    return f"look whether {settings.x_api_url} can be reached from here"

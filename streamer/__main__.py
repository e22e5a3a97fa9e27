"""Collects X's filtered stream into Firehose: `run`, `status`, `rules plan`, `rules apply`, `drain`, `check`.

Exit status: 0 done or stopped as asked, 1 failed (drain: something is left, check: a problem was found), 2
wrong topics, rules, options or no token, 3 X rejects the token, 4 the spool belongs to a running streamer.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
import tweepy
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from include import aws
from include.settings import settings
from include.x import rules
from include.x.budget import PostsLedger, monthly_posts
from include.x.client import RequestRejectedError, TokenError, api_client, bearer_token
from include.x.price import priced
from include.x.records import iso
from include.x.search import PatienceError, count, never_wait
from include.x.topics import Topics, TopicsError, load
from streamer.check import findings
from streamer.database import SpoolError, SpoolInUseError
from streamer.delivery import Delivery
from streamer.firehose import firehose_client
from streamer.memory import keep_freed_memory
from streamer.service import (
    EXIT_FAILED,
    EXIT_IN_USE,
    EXIT_MISUSED,
    EXIT_REJECTED,
    EXIT_STOPPED,
    Options,
    Streamer,
)
from streamer.spool import Spool

_DEFAULT_SPOOL = Path("/var/lib/x-opinion-streamer")
_DEFAULT_PORT = 9464
_COUNTED_UNTIL = timedelta(minutes=1)
"""The age of the newest posts to count: X does not find younger ones yet."""
_HOURS_PER_MONTH = 24 * 365.25 / 12
_COUNTED_HOURS = 24
"""A whole day, since there are more posts by day than by night; X counts up to seven days back."""
_MOST_COUNTED_HOURS = 7 * 24 - 1


class JsonLines(logging.Formatter):
    """One JSON object per line: at, level, message, and the record's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        line = {
            "at": iso(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    options = _parser().parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    # tweepy logs X's answer to a rejected request, and at a lower level the token.
    logging.getLogger("tweepy").setLevel(logging.CRITICAL)
    command = options.command
    try:
        if command == "run":
            return _run(options)
        if command == "status":
            return _status(options)
        if command == "drain":
            return _drain(options)
        if command == "check":
            return _check()
        return _rules(apply=options.action == "apply", counted_hours=options.count_hours)
    except (TopicsError, TokenError, rules.RulesError) as error:
        return _exit_status(EXIT_MISUSED, str(error))
    except (tweepy.Unauthorized, tweepy.Forbidden) as error:
        return _exit_status(EXIT_REJECTED, f"X rejects the token (http {error.response.status_code})")
    except SpoolInUseError as error:
        return _exit_status(EXIT_IN_USE, str(error))
    except SpoolError as error:
        return _exit_status(EXIT_FAILED, str(error))
    except (tweepy.TweepyException, requests.RequestException, ClientError, BotoCoreError) as error:
        return _exit_status(EXIT_FAILED, f"{type(error).__name__}: {error}")


def _run(options: argparse.Namespace) -> int:
    keep_freed_memory()
    configured = settings()
    topics = load(configured.topics_file)
    token = _token()
    session = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    spool = Spool(options.spool, configured.spool_bytes)
    try:
        streamer = Streamer(
            configured,
            topics,
            token,
            session,
            spool,
            firehose_client(),
            PostsLedger(aws.client("s3"), configured.bucket),
            Options(
                options.http_host,
                options.http_port,
                options.heartbeat_seconds,
                tuple(options.http_allowed_host),
            ),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not in the handler itself: it may interrupt code that holds the lock that `stop` takes.
            signal.signal(number, lambda *_: threading.Thread(target=streamer.stop, daemon=True).start())
        return streamer.run()
    finally:
        spool.close()


def _status(options: argparse.Namespace) -> int:
    # A server on all interfaces also answers on this one, but not to a Host that means all interfaces.
    host = "127.0.0.1" if options.http_host == "0.0.0.0" else options.http_host  # noqa: S104
    address = f"http://{host}:{options.http_port}/status"
    try:
        answer = requests.get(address, timeout=5)
        answer.raise_for_status()
    except requests.RequestException as error:
        return _exit_status(EXIT_FAILED, f"no streamer answers at {address}: {type(error).__name__}")
    print(json.dumps(answer.json(), indent=2))
    return EXIT_STOPPED


def _rules(*, apply: bool, counted_hours: int) -> int:
    topics = load(settings().topics_file)
    client = api_client(settings(), _token())
    changes = rules.plan(rules.compile_rules(topics, topics.collection.sample), rules.present_rules(client))
    rejected = rules.rejections(client, changes.add)
    for sign, listed in (
        ("keep", [existing.rule for existing in changes.keep]),
        ("add", changes.add),
        ("delete", [existing.rule for existing in changes.delete]),
    ):
        for rule in listed:
            print(f"{sign:6} {rule.tag or '(no tag)':16} {len(rule.value):4} characters  {rule.value}")
            if rejected.get(rule):
                print(f"{'':6} {rejected[rule]}")
    if apply and changes:
        rules.apply(client, changes)
    if counted_hours and not apply:
        print(_expected(client, topics, counted_hours))
    print(f"rule set {rules.rule_hash(topics)}: {'applied' if apply else 'changes nothing yet, see apply'}")
    return EXIT_MISUSED if any(rejected.values()) else EXIT_STOPPED


def _expected(client: tweepy.Client, topics: Topics, hours: int) -> str:
    """How many posts per month the topics match, by X's counts of the last ``hours``, and their price."""
    end = datetime.now(UTC) - _COUNTED_UNTIL
    start = end - timedelta(hours=hours)
    try:
        found = sum(count(client, topics, name, start, end, sleep=never_wait) for name in topics.names)
    except (tweepy.TweepyException, requests.RequestException, RequestRejectedError, PatienceError) as error:
        return f"posts per month: unknown, X returns no counts ({type(error).__name__})"
    expected = round(found * _HOURS_PER_MONTH / hours)
    budget = monthly_posts(settings(), topics)
    sample = topics.collection.sample
    bought = round(expected * sample / 100)
    lines = [
        f"the topics match about {priced(expected)} a month, by X's counts of the last {hours} h",
        f"at a sample of {sample} percent about {priced(bought)} are bought; the budget is {priced(budget)}",
    ]
    if bought > budget:
        lowered = max(100 * budget // expected, 1)
        lines.append(
            f"that is more than the budget: the streamer lowers the sample to about {lowered} percent"
        )
    return "\n".join(lines)


def _drain(options: argparse.Namespace) -> int:
    spool = Spool(options.spool)
    try:
        failures: list[SpoolError] = []
        delivery = Delivery(firehose_client(), settings().delivery_stream, spool, failures.append)
        delivery.start()
        drained = delivery.drain(time.monotonic() + options.seconds)
        delivery.stop(5.0)
        left = spool.pending().total()
        print(f"{delivery.delivered.total()} records delivered, {left} left")
        return EXIT_STOPPED if drained and not failures else EXIT_FAILED
    finally:
        spool.close()


def _check() -> int:
    topics, configured = load(settings().topics_file), settings()
    ledger = PostsLedger(aws.client("s3"), configured.bucket)
    failed = []
    for finding in findings(configured, topics, _token(), firehose_client(), ledger):
        print(f"{'ok' if finding.well else 'FAILED':6} {finding.name:9} {finding.found}")
        if not finding.well:
            print(f"{'':16} {finding.advice}")
            failed.append(finding.name)
    if "token" in failed:
        return EXIT_REJECTED
    return EXIT_FAILED if failed else EXIT_STOPPED


def _token() -> str:
    """X's bearer token; raises `TokenError` where there is none."""
    if given := os.environ.get("X_BEARER_TOKEN"):
        return given
    try:
        secretsmanager = aws.client("secretsmanager")
    except NoRegionError as error:
        raise TokenError(
            "there is no token: set X_BEARER_TOKEN, or AWS_DEFAULT_REGION to the region whose Secrets Manager"
            f" has the secret '{settings().x_token_secret}'"
        ) from error
    return bearer_token(secretsmanager, settings())


def _exit_status(status: int, sentence: str) -> int:
    logging.getLogger("streamer").error(sentence)
    return status


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 0.1 to 3600")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m streamer",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="collect until SIGTERM")
    drain = commands.add_parser("drain", help="deliver what a stopped streamer left in its spool, then end")
    drain.add_argument(
        "--seconds", type=_seconds, default=300.0, help="how long to try at most (default %(default)s)"
    )
    for command in (run, drain):
        command.add_argument(
            "--spool", type=Path, default=_DEFAULT_SPOOL, help="folder of the queue (default %(default)s)"
        )
    run.add_argument(
        "--heartbeat-seconds",
        type=_seconds,
        default=15.0,
        help="between two heartbeats (default %(default)s)",
    )
    run.add_argument(
        "--http-allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further host name of its HTTP server, besides its address and localhost; repeat for more",
    )
    status = commands.add_parser("status", help="show what a running streamer says of itself")
    for command in (run, status):
        command.add_argument(
            "--http-host", default="127.0.0.1", help="address of its HTTP (default %(default)s)"
        )
        command.add_argument(
            "--http-port", type=int, default=_DEFAULT_PORT, help="port (default %(default)s)"
        )
    commands.add_parser("check", help="try token, clock, rules, Firehose and ledger, and say what to do")
    actions = commands.add_parser("rules", help="compare X's rules with the topics file")
    actions.add_argument("action", choices=["plan", "apply"], help="show the difference, or make it so")
    actions.add_argument(
        "--count-hours",
        type=int,
        choices=range(_MOST_COUNTED_HOURS + 1),
        metavar="HOURS",
        default=_COUNTED_HOURS,
        help="past hours that X counts for the posts a month, which it bills; 0: none (default %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

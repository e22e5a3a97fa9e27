"""Streams at X's full rate for a long time while both sides fail at random; checks losses and memory.

``python -m local.proof.soak --minutes 30`` runs the streamer against both stand-ins at 250 posts a second,
switches on a fault of either side every few seconds (``--seed`` gives the same ones again), and then
reconciles X's journal with the lake and with the outages that the streamer declares. It writes
``.run/soak.json`` and ends with status 1 if a post is missing undeclared or lies twice, or where the
streamer's memory in the last third of the time is more than 1.05 times that of the first.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import psutil
import requests

from include.settings import Settings
from include.x.matching import Matcher
from include.x.snowflake import lowest_id
from include.x.topics import load
from local.aws.firehose_faults import KINDS as FIREHOSE_KINDS
from local.proof.bench import FIREHOSE, ROOT, SEED, Bench, BenchError, X, bench
from local.proof.report import named_table, save, write_section
from local.x_api.faults import KINDS as X_KINDS
from local.x_api.stream import POSTS_PER_SECOND
from local.x_api.synthetic import Synthetic

MOST_GROWTH = 1.05
"""Memory of the last third of the time, compared with the first."""
WARM_UP_SECONDS = 60.0
"""After its start the streamer still loads code and fills its buffers."""

_SURPLUS = 1.1
"""Slightly more posts than the stream carries, so that it is always full."""
_PROBE_RATE = 1_000_000.0
_PAUSE_SECONDS = (4.0, 16.0)
_SAMPLE_SECONDS = 5.0
_TOLD_SECONDS = 30.0
_RECOVERS_SECONDS = 300.0
_STATUSES = (409, 429, 500, 501, 502, 503, 504)
"""Those after which the streamer goes on."""
_AT_CONNECT = frozenset({"http", "zombie", "redelivery", "clock-skew", "rules-lost"})
"""Faults that only a new connection meets."""

type Memory = Sequence[tuple[float, float]]
"""Seconds since the start, and MiB that were resident then."""


@dataclass(frozen=True)
class Soaked:
    """The observed memory of the streamer, its last status, and how often each fault struck."""

    memory: Memory
    status: Mapping[str, Any]
    struck: Counter[str]


def corpus_rate(now: datetime, posts_per_second: float) -> float:
    """Synthetic posts an hour, on whatever subject, of which so many match the topics."""
    topics = load(Settings().topics_file)
    start = now - timedelta(seconds=60)
    posts = Synthetic(topics.topics, _PROBE_RATE, SEED).posts(lowest_id(start), lowest_id(now))
    matcher = Matcher(topics)
    matching = sum(matcher.topic({"data": post.data}) is not None for post in posts)
    return _PROBE_RATE * posts_per_second / (matching / 60)


def mishap(dice: random.Random) -> tuple[str, list[dict[str, Any]]]:
    """A random fault: its side, and what is switched on there together."""
    side = dice.choice((X, FIREHOSE))
    kinds = X_KINDS if side == X else FIREHOSE_KINDS
    kind = dice.choice(sorted(kinds))
    fault: dict[str, Any] = {"kind": kind}
    match kinds[kind].unit:
        case "line":
            fault["times"] = dice.randint(1, 50)
        case "request":
            fault |= {"times": dice.randint(1, 5), "seconds": 20}
        case "period":
            fault["seconds"] = round(dice.uniform(1, 10), 1)
        case "moment":
            fault["times"] = 1
    match kind:
        case "http":
            fault["status"] = dice.choice(_STATUSES)
            fault["reset"] = dice.choice((None, 5, 15)) if fault["status"] == 429 else None
        case "zombie":
            fault["foreign"] = dice.random() < 0.5
        case "burst":
            fault["count"] = 2_000
        case "time-out":
            fault["hold"] = 25
    return side, [fault, *([{"kind": "close"}] if kind in _AT_CONNECT else [])]


def soak(this: Bench, minutes: float, dice: random.Random, tell: Callable[[str], None]) -> Soaked:
    """Streams with faults for this long, then without until everything that X sent is delivered."""
    process = this.start_streamer()
    resident = psutil.Process(process.pid)
    memory: list[tuple[float, float]] = []
    started = time.monotonic()
    next_mishap = sampled = told = started
    while (now := time.monotonic()) < started + minutes * 60:
        if process.poll() is not None:
            raise BenchError(f"the streamer ended with status {process.returncode}")
        if now >= next_mishap:
            this.switch_on(*mishap(dice))
            next_mishap = now + dice.uniform(*_PAUSE_SECONDS)
        if now >= sampled:
            memory.append((now - started, resident.memory_info().rss / 2**20))
            sampled = now + _SAMPLE_SECONDS
        if now >= told:
            tell(_progress(this, now - started, memory))
            told = now + _TOLD_SECONDS
        time.sleep(0.2)
    this.clear_faults()
    struck = Counter[str]()
    for side in (X, FIREHOSE):
        for fault in this.faults(side).values():
            # A fault that only has a duration strikes by being active.
            struck[f"{side}: {fault['kind']}"] += fault["struck"] or int(fault["times"] is None)
    this.until(lambda: this.status()["connected"], "recovers", process, _RECOVERS_SECONDS)
    this.run_dry(process)
    status = this.status()
    if ended := this.stop_streamer(process):
        raise BenchError(f"the streamer ended with status {ended}")
    return Soaked(memory, status, struck)


def growth(memory: Memory) -> tuple[float, float]:
    """The mean MiB of the first third of the time, but for the warm-up, and of the last."""
    whole = memory[-1][0]
    first = [mib for at, mib in memory if WARM_UP_SECONDS <= at < whole / 3]
    last = [mib for at, mib in memory if at >= whole * 2 / 3]
    if not first:
        raise BenchError(f"a soak lasts longer than {3 * WARM_UP_SECONDS:g} s")
    return mean(first), mean(last)


def settle(this: Bench, minutes: float, seen: Soaked) -> dict[str, Any]:
    """Reconciles journal, lake and session records, and counts."""
    evidence = this.evidence()
    result = evidence.settled()
    first, last = growth(seen.memory)
    by_minute = Counter(at // 60_000 for times in evidence.sent.values() for at in times)
    return {
        "minutes": minutes,
        "sent": result.sent,
        "sent_per_second": round(result.sent / minutes / 60, 1),
        "sent_per_second_in_the_busiest_minute": round(max(by_minute.values(), default=0) / 60, 1),
        "in_lake": result.in_lake,
        "set_aside": result.set_aside,
        "declared_missing": result.declared_missing,
        "undeclared_missing": result.undeclared_missing,
        "duplicated": result.duplicated,
        "delivered_twice": result.delivered_twice,
        "connects": seen.status["connects"],
        "disconnects": seen.status["disconnects"],
        "delivery_failures": seen.status["delivery_failures"],
        "memory_first_third_mib": round(first, 1),
        "memory_last_third_mib": round(last, 1),
        "memory_growth": round(last / first, 3),
        "memory_peak_mib": round(max(mib for _, mib in seen.memory), 1),
        "faults": dict(sorted(seen.struck.items())),
        "memory_mib": [(round(at), round(mib, 1)) for at, mib in seen.memory],
    }


def faultless(figures: dict[str, Any]) -> bool:
    """Whether nothing is missing undeclared, nothing lies twice, and memory is flat."""
    lost = figures["undeclared_missing"] or figures["duplicated"] or not figures["sent"]
    return not lost and bool(figures["memory_growth"] <= MOST_GROWTH)


def shown(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures for people: counts by name in one line, memory without its course."""
    told = {name: value for name, value in figures.items() if name != "memory_mib"}
    return {
        name: ", ".join(f"{key} {number}" for key, number in value.items())
        if isinstance(value, dict)
        else value
        for name, value in told.items()
    }


def _progress(this: Bench, seconds: float, memory: Memory) -> str:
    try:
        status = this.status()
    except requests.RequestException as error:
        return f"{seconds / 60:5.1f} min  {type(error).__name__}"
    return (
        f"{seconds / 60:5.1f} min  {status['received']:>8} received  {status['pending']:>6} pending"
        f"  {memory[-1][1]:6.1f} MiB  {status['connects']:>3} connects  {status['state']}"
    )


def main() -> int:
    """Runs the soak; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.proof.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    parser.add_argument("--run-dir", type=Path, default=ROOT / ".run")
    parser.add_argument("--page", type=Path, help="where the table is written to as well")
    parser.add_argument("--first-port", type=int, default=9740, help="three neighbors are used")
    given = parser.parse_args()
    if given.minutes * 60 <= 3 * WARM_UP_SECONDS:
        parser.error(f"--minutes must be more than {3 * WARM_UP_SECONDS / 60:g}")
    dice = random.Random(given.seed)  # noqa: S311 - faults by chance, no secret
    rate = corpus_rate(datetime.now(UTC), _SURPLUS * POSTS_PER_SECOND)
    try:
        with bench(given.run_dir.resolve() / "soak", given.first_port, rate) as this:
            seen = soak(this, given.minutes, dice, lambda line: print(line, flush=True))
            figures = {"seed": given.seed, **settle(this, given.minutes, seen)}
    except (BenchError, requests.RequestException) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    save(figures, given.run_dir / "soak.json")
    if given.page:
        write_section(given.page, "soak", named_table(shown(figures)))
    for name, value in shown(figures).items():
        print(f"{name.replace('_', ' '):36}{value:>12}")
    return 0 if faultless(figures) else 1


if __name__ == "__main__":
    sys.exit(main())

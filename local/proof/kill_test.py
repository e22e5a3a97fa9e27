"""Kills the streamer repeatedly under load, and accounts for every post.

``python -m local.proof.kill_test --kills 100`` runs the streamer against both stand-ins in a folder of its
own, kills it with SIGKILL at random moments, starts it again each time, and then reconciles X's journal with
the lake and with the outages that the streamer declares (`local.proof.reconcile`). It prints a table, writes
``.run/kill-test.json``, and ends with status 1 if a post is missing undeclared or after recovery, or lies
twice, or where the declared outages are longer than 1.2 times the true ones and 2 seconds each.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from include.settings import Settings
from include.x.client import api_client
from include.x.search import SEARCH_DELAY, Search
from include.x.snowflake import milliseconds
from local.proof.bench import ROOT, SEED, Bench, BenchError, bench
from local.proof.reconcile import UNDER_WAY_MS, outages
from local.proof.report import named_table, save, write_section
from local.x_api.synthetic import Synthetic

LONGEST_FACTOR, LONGEST_MORE = 1.2, 2.0


def kill_often(this: Bench, kills: int, longest: float, dice: random.Random) -> list[int]:
    """Kills the streamer this many times; returns when, in milliseconds since 1970."""
    moments = []
    for _ in range(kills):
        process = this.start_streamer()
        time.sleep(dice.uniform(0.1, longest))
        moments.append(int(time.time() * 1000))
        process.send_signal(signal.SIGKILL)
        process.wait()
        this.until(lambda: not this.x("status")["connections"], "X notices", this.processes[0])
        this.pass_a_quarter()
    last = this.start_streamer()
    time.sleep(longest)
    if status := this.stop_streamer(last):
        raise BenchError(f"the streamer ended with status {status}")
    return moments


def settle(this: Bench, moments: Sequence[int]) -> dict[str, Any]:
    """Reconciles journal, lake and session records, recovers the outages by search, and counts.

    ``recovered_at_edges`` are posts that search finds only a little beyond the outage: they were on their way
    when the streamer died. ``found_by_no_search`` are those that matched only by a quoted text: X's stream
    searches it, its search does not.
    """
    evidence = this.evidence()
    result = evidence.settled()

    connects: dict[str, int] = {}
    last = 0
    for entry in this.journal():
        last = entry["at"]
        connects.setdefault(entry.get("connection", ""), last)
    begun = sorted(connects.values())
    # The first posts may be older than the connection's first line, since X is sometimes slow.
    start, end = min(begun[0], *map(milliseconds, evidence.sent)), last + 1
    dark = outages(evidence.spans, start, end)
    true = [next((at for at in begun if at > moment), moment) - moment for moment in moments]
    declared_seconds = sum(after - before for before, after in dark) / 1000
    allowed = LONGEST_FACTOR * sum(true) / 1000 + LONGEST_MORE * len(moments)

    found = found_by_search(this, start - UNDER_WAY_MS, end)
    recovered, at_edges = (
        {
            post_id
            for post_id in result.missing & found
            if any(before - wider <= milliseconds(post_id) < after + wider for before, after in dark)
        }
        for wider in (0, UNDER_WAY_MS)
    )
    posts = Synthetic(this.topics.topics, this.rate, SEED)
    by_quote = {
        post.id
        for post_id in result.missing - found
        for post in posts.posts(post_id, post_id + 1)
        if "quoted" in post.references
    }
    return {
        "kills": len(moments),
        "sent": result.sent,
        "in_lake": result.in_lake,
        "declared_missing": result.declared_missing,
        "undeclared_missing": result.undeclared_missing,
        "duplicated": result.duplicated,
        "delivered_twice": result.delivered_twice,
        "missing_after_recovery": len(result.missing - at_edges - by_quote),
        "found_by_no_search": len(by_quote),
        "recovered_at_edges": len(at_edges - recovered),
        "outages": len(dark),
        "declared_seconds": round(declared_seconds, 1),
        "true_seconds": round(sum(true) / 1000, 1),
        "allowed_seconds": round(allowed, 1),
    }


def found_by_search(this: Bench, first_ms: int, last_ms: int) -> set[int]:
    """The ids that the search of coverage brings back from the time of the test."""
    client = api_client(Settings(x_api_url=this.x_url), this.credentials.x_bearer_token)
    topics = this.topics
    start, end = (datetime.fromtimestamp(at / 1000, UTC) for at in (first_ms, last_ms + 1000))
    time.sleep(max(0.0, (end + SEARCH_DELAY - datetime.now(UTC)) / timedelta(seconds=1)) + 1)
    this.forget_limits()
    return {
        int(record["data"]["id"])
        for topic in topics.names
        for record in Search(client, topics, topic, start, end)
    }


def faultless(figures: dict[str, Any]) -> bool:
    """Whether no post is missing undeclared or permanently, none is duplicated, and no outage is false."""
    wrong = sum(figures[name] for name in ("undeclared_missing", "duplicated", "missing_after_recovery"))
    return not wrong and bool(figures["declared_seconds"] <= figures["allowed_seconds"])


def main() -> int:
    """Runs the test; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.proof.kill_test", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--run-dir", type=Path, default=ROOT / ".run")
    parser.add_argument("--page", type=Path, help="where the table is written to as well")
    parser.add_argument("--first-port", type=int, default=9700, help="three neighbors are used")
    parser.add_argument("--rate", type=float, default=360_000, help="synthetic posts an hour, all subjects")
    parser.add_argument("--longest", type=float, default=2.5, help="seconds that a streamer lives at most")
    parser.add_argument("--seed", type=int, default=None, help="the same moments again")
    given = parser.parse_args()
    started = time.monotonic()
    dice = random.Random(given.seed)  # noqa: S311 - moments by chance, no secret
    try:
        with bench(given.run_dir.resolve() / "kill-test", given.first_port, given.rate) as this:
            figures = settle(this, kill_often(this, given.kills, given.longest, dice))
    except BenchError as error:
        print(f"kill test: {error}", file=sys.stderr)
        return 2
    figures["seconds"] = round(time.monotonic() - started, 1)
    save(figures, given.run_dir / "kill-test.json")
    if given.page:
        write_section(given.page, "kill-test", named_table(figures))
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):24}{value:>12}")
    return 0 if faultless(figures) else 1


if __name__ == "__main__":
    sys.exit(main())

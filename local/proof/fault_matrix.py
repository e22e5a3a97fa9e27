"""Runs the streamer once under every fault of the stand-ins, and measures the cost of each.

``python -m local.proof.fault_matrix`` starts the real streamer against both stand-ins once per fault, lets
the fault last for some seconds, waits until the streamer has recovered (or ended, where that is right) and
stops it. X's journal, the lake and the streamer's own records then say what became of every post. It writes
``.run/fault-matrix.json`` and ends with status 1 if a figure is wrong (`Row.wrong`). The faults of X's search
are met by recoveries instead (`local.proof.recovery_matrix`).

How often X would be asked in 15 minutes of the same fault is not waited for: the attempts that the streamer
logged under the real fault are replayed against its own policy (`streamer.reconnect`) under a clock that
jumps, the last one that the fault ended again and again, without jitter, which only ever lengthens a wait
(`connects_within`).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain, count, repeat
from pathlib import Path
from queue import Empty, SimpleQueue
from subprocess import Popen
from typing import Any

import requests

from local.proof import recovery_matrix
from local.proof.bench import FIREHOSE, PORTS, ROOT, Bench, BenchError, X, bench
from local.proof.reconcile import Evidence
from local.proof.report import save, table, write_section
from streamer.reconnect import CONNECTS, CONNECTS_SECONDS, BackOff, Cause, Ended, connect_delay
from streamer.service import EXIT_REJECTED, EXIT_STOPPED

SECONDS = 8.0
"""How long a fault lasts by default."""
CAUGHT_UP_SECONDS = 2.0
"""A streamer that is at most this far behind has recovered."""
_OFTEN = 10_000
_STEADY_POSTS = 50
_RECOVERS_SECONDS = 300.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Case:
    """A fault, and what it needs to strike: switched on together at one side, the fault itself first.

    A `close` behind it has the streamer meet the fault at its next connect.
    ``exit_status`` is what the streamer ends with: by itself where it is not `EXIT_STOPPED`.
    """

    side: str
    name: str
    faults: Sequence[Mapping[str, Any]]
    exit_status: int = EXIT_STOPPED


def _often(kind: str, **options: Any) -> dict[str, Any]:
    """A fault that strikes as often as possible."""
    return {"kind": kind, "times": _OFTEN, "seconds": SECONDS, **options}


def _rejection(status: int, on: str = "stream", **options: Any) -> Case:
    """X closes the stream and rejects the next one."""
    faults = [_often("http", status=status, on=on, **options), {"kind": "close"}]
    where = "" if on == "stream" else f", {on} endpoints"
    if status == 429:
        where = ", with its reset time" if options else ", without a reset time"
    rejected = status in (401, 403)
    return Case(X, f"http {status}{where}", faults, exit_status=EXIT_REJECTED if rejected else EXIT_STOPPED)


CASES: tuple[Case, ...] = (
    # The long ones first, so that parallel runs end at about the same time.
    Case(X, "keep-alives-only", [{"kind": "keep-alives-only", "seconds": 130}]),
    Case(X, "rules-lost, while connected", [{"kind": "rules-lost"}]),
    Case(X, "slow-drip, 1 byte a second", [{"kind": "slow-drip", "rate": 1, "seconds": 70}]),
    _rejection(429),
    Case(
        X,
        "zombie, another client's",
        [{"kind": "zombie", "foreign": True, "seconds": SECONDS}, {"kind": "close"}],
    ),
    Case(X, "silence", [{"kind": "silence", "seconds": 30}]),
    Case(FIREHOSE, "time-out after accepting", [_often("time-out", hold=25)]),
    *(
        Case(X, kind, [_often(kind)])
        for kind in ("operational-disconnect", "close", "reset", "end-in-tweet", "gzip-cut")
    ),
    Case(X, "zombie, our own", [{"kind": "zombie", "seconds": SECONDS}, {"kind": "close"}]),
    Case(X, "rules-lost, then disconnected", [{"kind": "rules-lost"}, {"kind": "close"}]),
    Case(X, "redelivery", [{"kind": "redelivery", "back": 4}, {"kind": "close", "after": 5}]),
    *(
        Case(X, kind, [_often(kind)])
        for kind in ("cut-line", "garbage", "bad-utf8", "duplicates", "untagged", "unmatched")
    ),
    Case(X, "disorder", [{"kind": "disorder", "seconds": SECONDS}]),
    Case(X, "slow-drip, 200 bytes a second", [{"kind": "slow-drip", "seconds": SECONDS}]),
    Case(X, "burst of 10,000", [{"kind": "burst", "count": 10_000}]),
    Case(X, "sizes, 1 byte to 1 MiB", [{"kind": "sizes", "times": 3, "every": 1}]),
    Case(X, "clock-skew of 5 minutes", [{"kind": "clock-skew", "seconds": SECONDS}, {"kind": "close"}]),
    *(_rejection(status) for status in (401, 402, 403, 409, 500, 501, 502, 503, 504)),
    _rejection(429, reset=10),
    _rejection(503, on="all"),
    Case(FIREHOSE, "throttle", [_often("throttle")]),
    Case(FIREHOSE, "internal-failure", [_often("internal-failure")]),
    Case(FIREHOSE, "partial", [_often("partial")]),
    Case(FIREHOSE, "jq-failure", [_often("jq-failure")]),
    Case(FIREHOSE, "newline-kept", [{"kind": "newline-kept", "seconds": SECONDS}]),
    Case(
        FIREHOSE,
        "whole-record-fails, by jq-failure",
        [{"kind": "whole-record-fails", "seconds": SECONDS}, _often("jq-failure", every=0.5)],
    ),
    Case(FIREHOSE, "s3-down", [{"kind": "s3-down", "seconds": SECONDS}]),
)


@dataclass(frozen=True)
class Attempt:
    """The end of one attempt to stream under a fault: why, after how long, X's reset time if it gave one.

    ``seconds`` of being connected, of the first attempt those since the fault began.
    """

    cause: Cause
    reason: str
    seconds: float
    reset_seconds: float | None = None


def connects_within(seconds: float, attempts: Sequence[Attempt], ours: int = 0) -> int:
    """How often X is asked for a stream in the first ``seconds`` of a fault that ends attempts like these.

    The first attempt was made before the fault. The last one stands for all that follow, unless it is among
    the first ``ours``, which the fault has not ended: then the next connection stays.
    """
    following = repeat(attempts[-1]) if len(attempts) > ours else ()
    back_off = BackOff(jitter=lambda: 0.0)
    now, connects = 0.0, list[float]()
    for attempt in chain(attempts, following):
        now += attempt.seconds
        if attempt.cause is Cause.REJECTED:
            break
        reset_at = None if attempt.reset_seconds is None else now + attempt.reset_seconds
        now += back_off.delay(Ended(attempt.cause, attempt.reason, attempt.seconds, reset_at), now)
        now += connect_delay(connects, now)
        if now >= seconds:
            break
        connects.append(now)
    return len(connects)


def attempts_in(log: Iterable[str], begin: float, end: float) -> list[Attempt]:
    """The attempts that ended in ``[begin, end)``, seconds since 1970, by the streamer's log."""
    found: list[Attempt] = []
    for line in log:
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("message") != "stream ended":
            continue
        at = datetime.fromisoformat(entry["at"]).timestamp()
        if not begin <= at < end:
            continue
        seconds = entry["connected_seconds"] or 0.0
        reset_at = entry["reset_at"]
        found.append(
            Attempt(
                Cause(entry["cause"]),
                entry["reason"],
                seconds if found else at - begin,
                None if reset_at is None else max(reset_at - at, 0.0),
            )
        )
    return found


@dataclass(frozen=True)
class Run:
    """What was seen while the streamer ran under one fault; times are seconds since 1970.

    ``over`` is when the fault had ended, ``recovered`` when the streamer had got over it, ``stopped`` when it
    had ended.
    """

    case: Case
    begin: float
    over: float
    recovered: float | None
    stopped: float
    struck: int
    state: str
    exit_status: int
    attempts: Sequence[Attempt]


@dataclass(frozen=True)
class Row:
    """One fault's figures; numbers of posts as in `local.proof.reconcile.Reconciled`."""

    side: str
    fault: str
    lasted_seconds: float
    struck: int
    state: str
    exit_status: int
    right_exit_status: int
    reasons: dict[str, int]
    connects: int
    """How often X was asked for a stream from the fault's begin to the recovery."""
    connects_replayed: int
    """The same in the replay of so many seconds: never less."""
    connects_in_quarter: int
    recovery_seconds: float | None
    """From the fault's end until a post that came later is acknowledged and delivery has caught up."""
    sent: int
    in_lake: int
    set_aside: int
    declared_missing: int
    undeclared_missing: int
    duplicated: int
    delivered_twice: int

    @classmethod
    def of(cls, run: Run, evidence: Evidence) -> Row:
        """The figures of one run, from its bench."""
        settled = evidence.settled(run.begin * 1000, run.stopped * 1000)
        until = run.recovered or run.stopped
        ours = sum(fault["kind"] == "close" for fault in run.case.faults[1:])
        return cls(
            side=run.case.side,
            fault=run.case.name,
            lasted_seconds=round(run.over - run.begin, 1),
            struck=run.struck,
            state=run.state,
            exit_status=run.exit_status,
            right_exit_status=run.case.exit_status,
            reasons=dict(Counter(attempt.reason for attempt in run.attempts)),
            connects=sum(attempt.cause is not Cause.REJECTED for attempt in run.attempts),
            connects_replayed=connects_within(until - run.begin, run.attempts, ours),
            connects_in_quarter=connects_within(CONNECTS_SECONDS, run.attempts, ours),
            recovery_seconds=None if run.recovered is None else round(run.recovered - run.over, 1),
            sent=settled.sent,
            in_lake=settled.in_lake,
            set_aside=settled.set_aside,
            declared_missing=settled.declared_missing,
            undeclared_missing=settled.undeclared_missing,
            duplicated=settled.duplicated,
            delivered_twice=settled.delivered_twice,
        )

    @property
    def wrong(self) -> list[str]:
        """What is wrong with the figures."""
        recovers = self.right_exit_status == EXIT_STOPPED
        faults = {
            "the fault never struck": not self.struck,
            "nothing was sent": not self.sent,
            "posts are missing undeclared": self.undeclared_missing > 0,
            "posts are duplicated after deduplication": self.duplicated > 0,
            f"X receives more than {CONNECTS} times in 15 minutes": self.connects_in_quarter > CONNECTS,
            "the replay has fewer connects than there were": self.connects_replayed < self.connects,
            f"exit status {self.exit_status}": self.exit_status != self.right_exit_status,
            f"not recovered within {_RECOVERS_SECONDS:g} s": recovers and self.recovery_seconds is None,
        }
        return [fault for fault, there in faults.items() if there]


def measured(this: Bench, case: Case) -> Run:
    """Runs the streamer under one fault; raises `BenchError` if it never gets to stream."""
    name = re.sub(r"[^a-z0-9]+", "-", f"{case.side} {case.name}".lower())
    this.forget_limits()
    process = this.start_streamer(name, spool=f"spools/{name}")
    this.until(lambda: this.status()["delivered"] >= _STEADY_POSTS, "posts are delivered", process)
    begin = time.time()
    switched = this.switch_on(case.side, case.faults)
    state = _state(this)
    while process.poll() is None and not _ended(this, case.side, switched):
        time.sleep(_POLL_SECONDS)
        state = _state(this) or state
    over = time.time()
    recovered = _recovered(this, process)
    fault = this.faults(case.side)[switched[0]]
    if recovered is not None:
        this.run_dry(process)
    status = this.stop_streamer(process) if process.poll() is None else process.returncode
    this.clear_faults()
    with (this.folder / f"{name}.log").open(encoding="utf-8") as log:
        attempts = attempts_in(log, begin, recovered or time.time())
    # A fault that only has a duration strikes by being active.
    struck = fault["struck"] or int(fault["times"] is None)
    return Run(case, begin, over, recovered, time.time(), struck, state, status, attempts)


def _ended(this: Bench, side: str, switched: Iterable[str]) -> bool:
    faults = this.faults(side)
    return all(faults[fault_id]["state"] == "ended" for fault_id in switched)


def _state(this: Bench) -> str:
    """The streamer's state, and its warnings; empty while it is ending."""
    try:
        status = this.status()
    except requests.RequestException:
        return ""
    words: list[str] = [status["state"], *status["warnings"]]
    return ", ".join(words)


def _recovered(this: Bench, process: Popen[bytes]) -> float | None:
    """When a later post is delivered and delivery is not behind; None if never."""
    try:
        received = this.status()["received"]
        this.until(lambda: _caught_up(this.status(), received), "recovers", process, _RECOVERS_SECONDS)
    except (BenchError, requests.RequestException):
        return None
    return time.time()


def _caught_up(status: Mapping[str, Any], received: int) -> bool:
    behind = status["delivered"] <= received or status["lag_seconds"] > CAUGHT_UP_SECONDS
    return bool(status["connected"]) and not behind


def rows_of(
    folder: Path, first_port: int, rate: float, cases: SimpleQueue[Case], tell: Callable[[Run], None]
) -> list[Row]:
    """Runs cases on one bench until there are none left; ``tell`` is called with each run."""
    runs: list[Run] = []
    with bench(folder, first_port, rate) as this:
        while True:
            try:
                case = cases.get_nowait()
            except Empty:
                break
            runs.append(measured(this, case))
            tell(runs[-1])
        evidence = this.evidence()
    return [Row.of(run, evidence) for run in runs]


def matrix(
    cases: Sequence[Case], folder: Path, first_port: int, rate: float, lanes: int, tell: Callable[[Run], None]
) -> list[Row]:
    """Runs cases on this many benches in parallel; the rows are in the cases' order."""
    waiting: SimpleQueue[Case] = SimpleQueue()
    for case in cases:
        waiting.put(case)
    with ThreadPoolExecutor(lanes) as pool:
        started = [
            pool.submit(rows_of, folder / str(lane), first_port + lane * PORTS, rate, waiting, tell)
            for lane in range(lanes)
        ]
        rows = [row for lane in started for row in lane.result()]
    order = [(case.side, case.name) for case in cases]
    return sorted(rows, key=lambda row: order.index((row.side, row.fault)))


def page_section(rows: Sequence[Row], seconds: float) -> str:
    """The matrix for the docs."""
    names = (
        *("Fault", "lasted s", "connects", "connects in 15 min", "recovers in s", "sent", "set aside"),
        *(
            "declared missing",
            "undeclared missing",
            "duplicated",
            "delivered twice",
            "the streamer meanwhile",
        ),
    )
    parts = []
    for side in (X, FIREHOSE):
        lines = [
            (
                *(f"`{row.fault}`", row.lasted_seconds, row.connects, row.connects_in_quarter),
                _outcome(row),
                *(row.sent, row.set_aside, row.declared_missing, row.undeclared_missing),
                *(row.duplicated, row.delivered_twice),
                row.state.replace("_", " "),
            )
            for row in rows
            if row.side == side
        ]
        parts.append(f"**{side}**\n\n{table(names, lines)}")
    wrong = sum(bool(row.wrong) for row in rows)
    about = (
        f"{len(rows)} faults in {seconds / 60:.0f} minutes, {wrong or 'none'} of them with a wrong figure."
    )
    return "\n\n".join([about, *parts])


def _outcome(row: Row) -> str:
    if row.right_exit_status != EXIT_STOPPED:
        return f"exit {row.exit_status}"
    return "never" if row.recovery_seconds is None else f"{row.recovery_seconds}"


def main() -> int:
    """Runs the matrix; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.proof.fault_matrix", description=__doc__)
    parser.add_argument("--run-dir", type=Path, default=ROOT / ".run")
    parser.add_argument("--page", type=Path, help="where the table is written to as well")
    parser.add_argument("--first-port", type=int, default=9720, help="three neighbors a lane are used")
    parser.add_argument("--lanes", type=int, default=2, help="faults in parallel")
    parser.add_argument("--rate", type=float, default=180_000, help="synthetic posts an hour, all subjects")
    parser.add_argument("--only", default="", help="only the faults whose names hold this")
    given = parser.parse_args()
    cases = [case for case in CASES if given.only in case.name]
    searches = [case for case in recovery_matrix.CASES if given.only in case.name]
    folder = given.run_dir.resolve() / "fault-matrix"
    started = time.monotonic()
    lock, done = threading.Lock(), count(1)

    def tell(run: Run) -> None:
        recovered = (
            f"exit {run.exit_status}" if run.recovered is None else f"{run.recovered - run.over:.1f} s"
        )
        with lock:
            print(f"{next(done):3}/{len(cases)} {run.case.side:9}{run.case.name:36}{recovered}", flush=True)

    try:
        rows = matrix(cases, folder, given.first_port, given.rate, given.lanes, tell)
        with bench(folder / "search", given.first_port, recovery_matrix.RATE) as this:
            recovered = list(recovery_matrix.rows(this, searches))
    except BenchError as error:
        print(f"fault matrix: {error}", file=sys.stderr)
        return 2
    seconds = time.monotonic() - started
    every: list[Row | recovery_matrix.Row] = [*rows, *recovered]
    save([{**asdict(row), "wrong": row.wrong} for row in every], given.run_dir / "fault-matrix.json")
    if given.page:
        sections = (page_section(rows, seconds), recovery_matrix.page_section(recovered))
        write_section(given.page, "fault-matrix", "\n\n".join(sections))
    wrong = [row for row in every if row.wrong]
    for row in wrong:
        print(f"{row.fault}: {'; '.join(row.wrong)}")
    print(f"{len(every)} faults, {len(wrong)} with a wrong figure, {seconds:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

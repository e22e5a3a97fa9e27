"""The spool: what was committed survives anything, what was acknowledged is gone, and one process writes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer import spool as spool_module
from streamer.database import _PAGE_BYTES, SpoolError, SpoolInUseError, SpoolUnwritableError
from streamer.packs import RECORD_BYTES, RECORD_LINES, Group, Pack
from streamer.spool import (
    DISK_FULL,
    SPOOL_FULL,
    UNWRITABLE,
    Spool,
)

NOVEMBER = 1_795_000_000_000
DECEMBER = 1_796_200_000_000


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path)
    yield opened
    opened.close()


def tweet(number: int, received_ms: int = NOVEMBER) -> Pack:
    return tweets(number, received_ms=received_ms)


def tweets(*numbers: int, received_ms: int = NOVEMBER) -> Pack:
    lines = b"".join(b"%d\n" % number for number in numbers)
    return Pack(received_ms, "t" * len(numbers), lines, bought=len(numbers))


def bodies(spool: Spool) -> list[bytes]:
    return [line for group in everything(spool) for line in group.lines.splitlines(keepends=True)]


def everything(spool: Spool) -> list[Group]:
    found: list[Group] = []
    while group := spool.take(found[-1].number if found else 0):
        found.append(group)
    return found


def test_what_is_put_is_committed_in_order_within_the_groups_time(spool: Spool) -> None:
    for number in range(1200):
        spool.put(tweet(number))
    assert spool.flush(timeout=20)
    assert bodies(spool) == [b"%d\n" % number for number in range(1200)]


def test_a_lone_record_does_not_wait_for_a_full_group(spool: Spool) -> None:
    spool.put(tweet(1))
    spool.wait_beyond(0, timeout=20)
    assert bodies(spool) == [b"1\n"]


def test_a_group_is_no_larger_than_a_record_of_firehose_may_be(spool: Spool) -> None:
    large = b"x" * (RECORD_BYTES // 2) + b"\n"
    for pack in (*[tweets(*range(200))] * 3, *[Pack(NOVEMBER, "t", large)] * 3):
        spool.put(pack)
    spool.flush(20)
    groups = everything(spool)
    assert [len(group.marks) for group in groups] == [400, 201, 1, 1]
    assert all(len(group.marks) == group.lines.count(b"\n") <= RECORD_LINES for group in groups)
    assert all(len(group.lines) <= RECORD_BYTES for group in groups)


def test_what_is_acknowledged_is_gone_and_the_rest_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(3):
        spool.put(tweets(number, 10 + number))
        spool.flush(20)
    first, _, last = everything(spool)
    spool.acknowledge([first, last])
    assert spool.pending() == Counter(tweet=2)
    spool.close()
    again = Spool(tmp_path)
    assert bodies(again) == [b"1\n", b"11\n"]
    assert again.pending() == Counter(tweet=2)
    again.put(tweet(5))
    again.flush(20)
    assert bodies(again) == [b"1\n", b"11\n", b"5\n"]
    again.close()


def test_the_watermark_is_the_oldest_receive_time_in_memory_or_on_disk(spool: Spool) -> None:
    now = NOVEMBER + 10_000
    assert spool.watermark(now) == now
    spool.put(tweet(1, NOVEMBER + 500))
    assert spool.watermark(now) == NOVEMBER + 500
    spool.flush(20)
    spool.put(tweet(2, NOVEMBER + 100))
    assert spool.watermark(now) == NOVEMBER + 100
    spool.flush(20)
    first, second = everything(spool)
    spool.acknowledge([second])
    assert spool.watermark(now) == NOVEMBER + 500
    spool.acknowledge([first])
    assert spool.watermark(now) == now


def test_posts_bought_are_counted_by_month_over_restarts(tmp_path: Path) -> None:
    for count in (3, 4):
        spool = Spool(tmp_path)
        for number in range(count):
            spool.put(tweet(number))
        spool.put(tweet(9, DECEMBER))
        spool.put(Pack(NOVEMBER, "h", b"{}\n"))
        spool.flush(20)
        spool.acknowledge(everything(spool))
        spool.close()
    spool = Spool(tmp_path)
    assert spool.notes.bought() == {"2026-11": 7, "2026-12": 2}
    spool.notes.forget_bought("2026-11")
    assert spool.notes.bought() == {"2026-12": 2}
    spool.close()


def test_a_spool_keeps_its_name_and_what_it_is_told_to_keep(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "one")
    identity = spool.notes.identity
    spool.notes.set_state("sample", "40")
    spool.close()
    spool = Spool(tmp_path / "one")
    assert (spool.notes.identity, spool.notes.state("sample"), spool.notes.state("absent")) == (
        identity,
        "40",
        None,
    )
    spool.notes.set_state("sample", None)
    assert spool.notes.state("sample") is None
    spool.close()
    other = Spool(tmp_path / "two")
    assert other.notes.identity != identity
    other.close()


def test_connects_are_remembered_by_the_next_process_and_forgotten_in_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for at in (1000, 2000, 3000):
        spool.notes.add_connect(at)
    spool.close()
    spool = Spool(tmp_path)
    assert spool.notes.connects_since(2000) == [2000, 3000]
    assert spool.notes.connects_since(0) == [2000, 3000]
    spool.close()


def test_a_second_streamer_on_the_same_spool_is_rejected_and_told_who_has_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with pytest.raises(SpoolInUseError, match=f"pid {os.getpid()}"):
        Spool(tmp_path)
    spool.close()
    Spool(tmp_path).close()


def test_a_folder_that_cannot_be_used_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot be used"):
        Spool(tmp_path / "file")


def test_a_full_disk_costs_no_record_and_says_that_no_more_should_come(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_RETRY_SECONDS", 0.01)
    spool.put(tweet(0))
    spool.flush(20)
    assert spool.obstacle() is None
    spool._database._writer.execute("PRAGMA max_page_count=20")
    put = 1
    while spool.obstacle() is None:
        spool.put(Pack(NOVEMBER, "t", b"%d %s\n" % (put, b"x" * 2000)))
        spool.flush(0.1)
        put += 1
    assert spool.obstacle() == UNWRITABLE
    with pytest.raises(SpoolUnwritableError, match="full"):
        spool.notes.set_state("large", "x" * 100_000)
    spool._database._writer.execute("PRAGMA max_page_count=10000")
    assert spool.flush(20)
    assert spool.obstacle() is None
    assert [int(body.split()[0]) for body in bodies(spool)] == list(range(put))


def test_a_disk_with_little_room_is_an_obstacle_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [1000]
    monkeypatch.setattr(spool_module, "_free_bytes", lambda _: free[0])
    monkeypatch.setattr(spool_module, "_FREE_SECONDS", 0)
    spool = Spool(tmp_path, reserve_bytes=1000)
    assert spool.obstacle() is None
    free[0] = 999
    assert spool.obstacle() == DISK_FULL
    spool.put(tweet(1))
    assert spool.flush(20), "what was received is still written"
    spool.close()


def test_a_full_spool_has_room_again_only_when_a_tenth_of_it_is_delivered(tmp_path: Path) -> None:
    spool = Spool(tmp_path, most_bytes=1000)
    for count in (89, 1, 9):
        spool.put(Pack(NOVEMBER, "t" * count, b"        x\n" * count))
        spool.flush(20)
    assert spool.obstacle() is None
    spool.put(Pack(NOVEMBER, "t", b"        x\n"))
    assert spool.obstacle() == SPOOL_FULL
    spool.flush(20)
    many, one, some, last = everything(spool)
    spool.acknowledge([some, last])
    assert (spool.pending_bytes(), spool.obstacle()) == (900, SPOOL_FULL)
    spool.acknowledge([one])
    assert spool.obstacle() is None
    spool.close()
    spool = Spool(tmp_path, most_bytes=len(many.lines))
    assert (spool.pending_bytes(), spool.obstacle()) == (890, SPOOL_FULL)
    spool.close()


def test_a_corrupt_spool_is_moved_aside_and_what_can_be_read_of_it_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    identity, count = spool.notes.identity, 4000
    for number in range(count):
        spool.put(Pack(NOVEMBER, "t", b'"%0200d"\n' % number, bought=1))
    spool.flush(20)
    spool.notes.set_state("sample", "40")
    spool.close()
    path = tmp_path / "spool.sqlite3"
    whole = bytearray(path.read_bytes())
    middle = len(whole) // 2 // _PAGE_BYTES * _PAGE_BYTES
    whole[middle : middle + 8192] = os.urandom(8192)
    path.write_bytes(whole)

    spool = Spool(tmp_path)
    found = [int(json.loads(body)) for body in bodies(spool)]
    assert spool.salvaged == len(found)
    assert 0.5 * count < len(found) < count
    assert found == sorted(set(found))
    assert (spool.notes.identity, spool.notes.state("sample")) == (identity, "40")
    assert spool.notes.bought() == {"2026-11": count}
    spool.put(tweet(1))
    assert spool.flush(20)
    spool.close()
    (aside,) = tmp_path.glob("spool.sqlite3.corrupt-*Z")
    assert aside.read_bytes() == bytes(whole)
    again = Spool(tmp_path)
    assert again.salvaged is None
    again.close()


def test_a_file_that_is_no_database_is_moved_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite3"
    path.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    spool = Spool(tmp_path)
    assert spool.salvaged == 0
    spool.put(tweet(1))
    assert spool.flush(20)
    spool.close()
    assert len(list(tmp_path.glob("spool.sqlite3.corrupt-*"))) == 1


KILLED = """
import sys
from pathlib import Path
from streamer.packs import Pack
from streamer.spool import Spool

spool = Spool(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    for _ in range(number % 97 + 1):
        spool.put(Pack(1_795_000_000_000, "t", b"%d\\n" % number, 1))
        number += 1
    if not spool.flush(30):
        sys.exit(1)
    print(number, flush=True)
"""


def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    committed = 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(committed)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        reported = [int(process.stdout.readline()) for _ in range(2)]
        time.sleep(random.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        committed = max(*reported, *map(int, rest)) if rest else reported[-1]
        spool = Spool(tmp_path)
        found = [int(body) for body in bodies(spool)]
        assert found[:committed] == list(range(committed))
        assert len(found) == len(set(found)), "nothing is committed twice"
        assert sum(spool.notes.bought().values()) == len(found)
        committed = len(found)
        spool.close()


steps = st.lists(
    st.tuples(st.just("put"), st.integers(1, 40))
    | st.tuples(st.sampled_from(["ack", "reopen"]), st.integers(0, 30)),
    max_size=12,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, seed=st.integers())
def test_whatever_happens_put_is_acknowledged_plus_pending(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], seed: int
) -> None:
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    put, acknowledged = 0, []
    for step, number in steps:
        if step == "put":
            spool.put(tweets(*range(put, put + number)))
            put += number
        elif step == "ack":
            spool.flush(20)
            if done := [group for group in everything(spool) if chance.random() < 0.5]:
                spool.acknowledge(done)
            acknowledged += [int(line) for group in done for line in group.lines.split()]
        else:
            spool.close()
            spool = Spool(folder)
        assert spool.pending().total() == put - len(acknowledged)
    spool.close()
    spool = Spool(folder)
    assert sorted(acknowledged + [int(body) for body in bodies(spool)]) == list(range(put))
    assert sum(spool.notes.bought().values()) == put
    spool.close()

"""The pages' cache: each entry is computed once, for a while, and never kept where it failed."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from x_opinion.cache import Cache


@given(keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
@settings(max_examples=25)
def test_callers_at_a_time_share_one_computation_a_key(keys: list[str]) -> None:
    cache = Cache(seconds=60, entries=8)
    computed: list[str] = []
    lock = threading.Lock()

    def compute(key: str) -> str:
        with lock:
            computed.append(key)
        time.sleep(0.002)
        return key.upper()

    async def ask() -> list[str]:
        return list(await asyncio.gather(*(cache.get(key, partial(compute, key)) for key in keys)))

    assert asyncio.run(ask()) == [key.upper() for key in keys]
    assert sorted(computed) == sorted(set(keys))


def test_an_entry_is_computed_anew_when_its_time_is_over() -> None:
    now = 0.0
    cache = Cache(seconds=60, entries=8, clock=lambda: now)
    values = iter(range(10))
    assert asyncio.run(cache.get("key", lambda: next(values))) == 0
    now = 59.0
    assert asyncio.run(cache.get("key", lambda: next(values))) == 0
    now = 61.0
    assert asyncio.run(cache.get("key", lambda: next(values))) == 1


def test_a_failure_reaches_everybody_who_waits_and_is_not_kept() -> None:
    cache = Cache(seconds=60, entries=8)

    def fail() -> None:
        time.sleep(0.05)
        raise ValueError("no answer")

    async def ask() -> list[object]:
        return list(await asyncio.gather(*(cache.get("key", fail) for _ in range(3)), return_exceptions=True))

    assert [str(error) for error in asyncio.run(ask())] == ["no answer"] * 3
    assert asyncio.run(cache.get("key", lambda: "well")) == "well"


def test_one_caller_who_goes_away_takes_the_answer_from_nobody() -> None:
    cache = Cache(seconds=60, entries=8, threads=1)
    begin = threading.Event()

    async def ask() -> str:
        blocker = asyncio.create_task(cache.get("other", begin.wait))
        leaving = asyncio.create_task(cache.get("key", lambda: "answer"))
        staying = asyncio.create_task(cache.get("key", lambda: "answer"))
        await asyncio.sleep(0.01)
        leaving.cancel()
        begin.set()
        await blocker
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await staying

    assert asyncio.run(ask()) == "answer"


def test_no_more_entries_are_kept_than_allowed() -> None:
    cache = Cache(seconds=60, entries=2)
    computed: list[str] = []

    def compute(key: str) -> None:
        computed.append(key)

    for key in ("a", "b", "c", "b", "c", "a"):
        asyncio.run(cache.get(key, partial(compute, key)))
    assert computed == ["a", "b", "c", "a"]

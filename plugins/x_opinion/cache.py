"""A short-lived cache that computes each entry once, even for concurrent callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, cast


class Cache:
    """Keeps what was computed for ``seconds``, at most ``entries`` at a time; failures are not kept.

    Computing happens in threads of its own, so that waiting for Athena takes none from the server's.
    """

    def __init__(
        self, seconds: float, entries: int, threads: int = 4, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._entries = entries
        self._clock = clock
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="x-opinion")
        self._found: dict[Hashable, tuple[float, Future[Any]]] = {}

    async def get[T](self, key: Hashable, compute: Callable[[], T]) -> T:
        """The entry of ``key``, computed by ``compute`` if there is none that is recent enough.

        Raises what ``compute`` raises, to everyone who waits for it.
        """
        # Shielded: a caller that disconnects must not cancel the computation for the others.
        return cast(T, await asyncio.shield(asyncio.wrap_future(self._entry(key, compute))))

    def _entry(self, key: Hashable, compute: Callable[[], Any]) -> Future[Any]:
        with self._lock:
            now = self._clock()
            standing = self._found.get(key)
            if standing and self._is_good(standing, now):
                return standing[1]
            self._found = {other: kept for other, kept in self._found.items() if self._is_good(kept, now)}
            while len(self._found) >= self._entries:
                # The oldest: a dict keeps the order in which its keys came.
                del self._found[next(iter(self._found))]
            future = self._pool.submit(compute)
            self._found[key] = (now, future)
            return future

    def _is_good(self, entry: tuple[float, Future[Any]], now: float) -> bool:
        begun, future = entry
        if not future.done():
            return True
        return now - begun < self._seconds and future.exception() is None

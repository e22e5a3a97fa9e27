"""How glibc keeps memory: what the streamer frees is mostly what it needs again a moment later."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""From glibc's malloc.h."""

_KEPT_BYTES = 32 * 1024**2
"""The most that glibc takes for the size from which a block is a mapping of its own."""
_ARENAS = 2
"""Each keeps its own free memory; threads that wait for Python's lock gain nothing by more."""


def keep_freed_memory() -> None:
    """Has glibc keep freed blocks for the next ones, instead of a mapping, and its page faults, for each.

    Requests to Firehose take some mebibytes each. To be called before threads start; does nothing with
    another C library. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_ARENA_MAX, _ARENAS)

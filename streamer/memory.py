"""glibc's memory settings: the streamer usually soon needs the memory again that it frees."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""From glibc's malloc.h."""

_KEPT_BYTES = 32 * 1024**2
"""The largest size that glibc accepts as the threshold for separate mappings."""
_ARENAS = 2
"""Each arena has its own free memory; more of them do not help threads that wait for Python's lock."""


def keep_freed_memory() -> None:
    """Makes glibc reuse freed blocks, instead of a mapping with its page faults for each.

    Requests to Firehose take some mebibytes each. Call it before threads start; it does nothing with another
    C library. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_ARENA_MAX, _ARENAS)

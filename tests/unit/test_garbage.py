"""The garbage collector skips what is loaded, and only that."""

from __future__ import annotations

import gc
import weakref

import pytest

from include.labeling.garbage import loaded_left_alone


class Node:
    """An object that refers to itself: only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_collections_skip_what_was_loaded_and_free_what_is_made_within() -> None:
    gc.collect()
    with loaded_left_alone():
        assert gc.get_freeze_count() > 0
        made = weakref.ref(Node())
        gc.collect()
        assert made() is None


def test_afterwards_all_is_collected_again_even_after_an_error() -> None:
    loaded = Node()
    known = weakref.ref(loaded)
    with pytest.raises(ValueError, match="broken"), loaded_left_alone():
        raise ValueError("broken")
    assert gc.get_freeze_count() == 0
    del loaded
    gc.collect()
    assert known() is None

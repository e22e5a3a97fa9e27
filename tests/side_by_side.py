"""How `make test` shares the tests among processes: a plugin of pytest, which `tools.suite` loads."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

LONGEST = (
    "tests/e2e/test_pipeline.py",
    "tests/local/test_sql_insights.py",
    "tests/ml/test_training.py",
    "tests/plugins/test_pages_browser.py",
    "tests/dags/test_coverage_scheduler.py",
    "tests/plugins/test_routes.py",
    "tests/unit/test_mwaa.py",
    "tests/dags/test_transform_operators.py",
    "tests/streamer/test_service.py",
    "tests/e2e/test_faults.py",
)
"""Begun first, so that all processes end together; with the second begin all files that need a Trino."""

_NICENESS = 10


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Lets the longest file go first: its pipeline costs CPU time for as long as it stands."""
    if _file(item) != LONGEST[0]:
        os.nice(max(0, _NICENESS - os.nice(0)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files of `LONGEST` first, in that order."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(_file(item), len(order)))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


class _OneTrino(LoadFileScheduling):
    """Gives a file's tests to one process, and the files that need a Trino to the same one.

    A Trino takes seconds to start, and is several times as fast once it has run some statements.
    """

    @cached_property
    def _with_trino(self) -> set[str]:
        root = self.config.rootpath
        found = (root / "tests").rglob("test_*.py")
        return {str(path.relative_to(root)) for path in found if "LocalAthena" in path.read_text()}

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "trino" if file in self._with_trino else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Puts `_OneTrino` in the place of xdist's own."""
    return _OneTrino(config, log)

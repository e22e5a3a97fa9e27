"""For all tests: properties have no deadline on a busy machine, each test reads its own connections, a Trino
serves all who need one, and the run ends with where its time went.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from include.operators import inputs
from tests.local.support_athena import LocalAthena

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

SHOWN = 15
"""Files in the table of times."""

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def own_connections() -> None:
    """A process keeps its connections for minutes, and tests have servers of their own."""
    inputs._connection.cache_clear()
    inputs._databricks_hook.cache_clear()


@pytest.fixture(scope="session")
def athena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAthena]:
    """A local AWS with Athena over a real Trino, shared by all tests: each takes a database of its own."""
    server = LocalAthena(tmp_path_factory.mktemp("athena"))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


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


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Puts `_OneTrino` in the place of ``--dist loadfile``."""
    return _OneTrino(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Prints the files that took longest, fixtures included, in seconds of one process."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    total = sum(seconds.values())
    if len(seconds) <= SHOWN:
        return
    terminalreporter.section(f"{total:.0f} seconds of {len(seconds)} files")
    for name, spent in sorted(seconds.items(), key=lambda entry: -entry[1])[:SHOWN]:
        terminalreporter.write_line(f"{spent:7.1f} s  {spent / total:4.0%}  {name}")

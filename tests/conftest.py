"""For all tests: properties have no deadline on a busy machine, each test reads its own connections, and
the run ends with where its time went.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from include.operators import inputs

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

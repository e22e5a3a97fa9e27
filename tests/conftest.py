"""For all tests: properties have no deadline on a busy machine, each process has an Airflow home of its own,
each test reads its own connections, a Trino serves all who need one, and the run ends with where its time
went.
"""

from __future__ import annotations

import functools
import gc
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import botocore.loaders
import pytest
from hypothesis import HealthCheck, settings

from include.operators import inputs

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from tests.local.support_athena import LocalAthena

SHOWN = 15
"""Files in the table of times."""
# Airflow reads this when it is first imported, and writes its configuration there.
AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="airflow-home-")
os.environ["AIRFLOW_HOME"] = AIRFLOW_HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
# What a process of tests imports is hundreds of thousands of objects, which collections would walk through.
gc.set_threshold(50_000, 20, 50)
# A botocore session reads the descriptions of services anew, and most tests have sessions of their own.
botocore.loaders.create_loader = functools.cache(botocore.loaders.create_loader)

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_unconfigure() -> None:
    """Removes the Airflow home, and leaves what is loaded to the system: pytest and Python would look through
    it six times over.
    """
    AIRFLOW_HOME.cleanup()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_connections() -> None:
    """A process keeps its connections for minutes, and tests have servers of their own."""
    inputs._connection.cache_clear()
    inputs._databricks_hook.cache_clear()


@pytest.fixture(scope="session")
def athena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAthena]:
    """A local AWS with Athena over a real Trino, shared by all tests: each takes a database of its own."""
    # Here, since tests/models runs in an environment without Java.
    from tests.local.support_athena import LocalAthena

    server = LocalAthena(tmp_path_factory.mktemp("athena"))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


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

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.local.support_aws import LocalAws


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A local AWS without Athena, shared by all tests: each uses names of its own."""
    server = LocalAws(tmp_path_factory.mktemp("aws")).start()
    yield server
    assert server.stop() == 0


@pytest.fixture
def new_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LocalAws]]:
    """Starts servers of the test's own, with further options; they are ended after it."""
    started: list[LocalAws] = []

    def start(*options: str) -> LocalAws:
        started.append(LocalAws(tmp_path_factory.mktemp("aws"), *options).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements that cannot read the data are not run again."""
    monkeypatch.setattr("include.lake.athena._AGAIN_AFTER_S", ())

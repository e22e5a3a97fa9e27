"""Who may do what on the pages, under Airflow's simple auth manager and under FAB, which Amazon MWAA has."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute

from include.provision.pool import over_http
from tests.plugins.support_addresses import (
    ANYONES,
    AUDIT,
    CHANGING,
    COVERAGE,
    INSIGHTS,
    PROBE,
    QUALITY,
    READING,
    addresses,
    routes,
)
from tests.plugins.support_server import PLUGIN, Server

PLUGINS = "/api/v2/plugins"
READERS = ("reader", "editor", "operator", "admin")
EDITORS = ("editor", "operator", "admin")
NOT_LET_IN = (401, 403)


@pytest.fixture(scope="module", params=["server", "fab_server"], ids=["simple", "fab"])
def manager(request: pytest.FixtureRequest) -> Server:
    """Airflow's own server under one auth manager, then under the other."""
    found: Server = request.getfixturevalue(request.param)
    return found


def answers(server: Server, user: str | None, asked: list[tuple[str, str]]) -> dict[str, int]:
    session = server.session(user)
    return {
        f"{method} {address}": session.request(method, PLUGIN + address, allow_redirects=False).status_code
        for method, address in asked
    }


def reading(addresses: list[str]) -> list[tuple[str, str]]:
    return [("GET", address) for address in addresses]


@pytest.mark.parametrize(("method", "route"), routes(), ids=lambda part: getattr(part, "path", part))
def test_every_route_is_among_the_addresses_that_are_tested(method: str, route: APIRoute) -> None:
    assert addresses(method, route), f"name an address of {method} {route.path} in support_addresses.py"


def test_nobody_sees_or_changes_anything_without_a_login(manager: Server) -> None:
    found = answers(manager, None, [*reading(READING), *CHANGING, PROBE])
    assert {address: status for address, status in found.items() if status != 401} == {}
    assert manager.session().get(f"{PLUGIN}/coverage").json() == {"detail": "Not authenticated"}


@pytest.mark.parametrize("user", READERS)
def test_users_who_may_read_the_dags_see_every_page(manager: Server, user: str) -> None:
    found = answers(manager, user, reading(READING))
    assert {address: status for address, status in found.items() if status != 200} == {}


@pytest.mark.parametrize("user", READERS)
def test_only_users_who_may_start_runs_change_anything(manager: Server, user: str) -> None:
    found = answers(manager, user, [*CHANGING, PROBE])
    rejected = {address for address, status in found.items() if status in NOT_LET_IN}
    assert rejected == (set() if user in EDITORS else set(found))


@pytest.mark.parametrize("user", [None, *READERS])
def test_a_backfill_is_offered_to_those_whom_airflow_lets_start_one(
    manager: Server, user: str | None
) -> None:
    session = manager.session(user)
    rights = session.get(f"{PLUGIN}/data/rights")
    conf = {"start": "2026-11-20T05", "end": "2026-11-20T09", "dry_run": False}
    started = session.post("/api/v2/dags/coverage/dagRuns", json={"logical_date": None, "conf": conf})
    if user is None:
        assert (rights.status_code, started.status_code) == (401, 401)
    else:
        assert rights.json() == {"backfill": user in EDITORS, "texts": user in EDITORS}
        assert started.status_code == (200 if user in EDITORS else 403), started.text


def test_a_viewer_s_login_is_enough_for_provision_to_look_at_the_pool(manager: Server) -> None:
    read = over_http(manager.url, "reader", "reader")
    found = read("/pools/default_pool")
    assert found
    assert (found["slots"], found["include_deferred"]) == (128, False)
    assert read("/pools/nothing") is None


def test_who_may_read_no_dag_sees_nothing(fab_server: Server) -> None:
    found = answers(fab_server, "stranger", [*reading(READING), *CHANGING, PROBE])
    assert {address: status for address, status in found.items() if status != 403} == {}


def test_who_may_read_one_dag_sees_what_it_makes(fab_server: Server) -> None:
    found = answers(fab_server, "analyst", reading(READING))
    assert [address for address, status in found.items() if status == 200] == [
        f"GET {address}" for address in (*ANYONES, *INSIGHTS)
    ]
    assert {found[f"GET {address}"] for address in (*COVERAGE, *AUDIT, *QUALITY)} == {403}


@pytest.mark.parametrize("user", READERS)
def test_airflow_shows_the_menus_entries_to_every_role(server: Server, user: str) -> None:
    assert server.session(user).get(PLUGINS).status_code == 200


def test_fab_shows_the_menus_entries_to_who_may_read_plugins(fab_server: Server) -> None:
    """As docs/deployment.md tells: a role that may read plugins, beside Viewer."""
    expected = {"reader": 403, "editor": 403, "navigator": 200, "operator": 200, "admin": 200}
    assert {user: fab_server.session(user).get(PLUGINS).status_code for user in expected} == expected
    assert set(answers(fab_server, "navigator", reading(READING)).values()) == {200}

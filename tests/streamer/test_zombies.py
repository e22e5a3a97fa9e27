"""Dead connections: our own is freed, anybody else's is left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from streamer.zombies import free_own

OURS = datetime(2026, 11, 20, 5, tzinfo=UTC)


class Connections:
    def __init__(self, *connected_at: datetime | None) -> None:
        self.data = [{"id": "1", **({"connected_at": at.isoformat()} if at else {})} for at in connected_at]
        self.deleted: list[str] = []

    def request(self, method: str, route: str, params: Any = None) -> Any:
        if method == "DELETE":
            self.deleted.append(route)
        elif route == "/2/connections":
            assert params["status"] == "active"
        return self

    def json(self) -> dict[str, Any]:
        return {"data": self.data} if self.data else {"meta": {"result_count": 0}}


def test_our_own_dead_connection_is_ended() -> None:
    x = Connections(OURS + timedelta(seconds=2))
    assert free_own(x, [OURS - timedelta(hours=1), OURS])
    assert x.deleted == ["/2/connections/filtered_stream"]


def test_where_x_has_room_by_now_nothing_is_ended() -> None:
    x = Connections()
    assert free_own(x, [])
    assert x.deleted == []


def test_a_connection_of_another_streamer_is_left_alone() -> None:
    for x in (
        Connections(OURS + timedelta(seconds=4)),
        Connections(OURS, OURS - timedelta(hours=1)),
        Connections(None),
    ):
        assert not free_own(x, [OURS])
        assert x.deleted == []
    assert not free_own(Connections(OURS), [])

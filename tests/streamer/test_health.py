"""What is told to those who watch, in their formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from streamer.health import HealthServer, Watched, embedded_metrics, prometheus

STATUS = {
    "state": "connected",
    "connected": True,
    "warnings": ["quiet"],
    "received": 10,
    "lag_seconds": 0.5,
    "disconnects": {"closed": 2, 'odd "reason"\n': 1},
    "silent_seconds": {"tea": 61},
    "last_tweet_at": {"tea": "2026-11-20T05:00:00.000Z"},
    "sample": 40,
    "clock_skew_seconds": None,
}


class Told:
    unhealthy: str | None = None
    unready: str | None = None


@pytest.fixture
def served() -> Iterator[tuple[str, Told]]:
    told = Told()
    server = HealthServer(
        "127.0.0.1", 0, Watched(lambda: STATUS, lambda: told.unhealthy, lambda: told.unready)
    )
    yield f"http://127.0.0.1:{server.port}", told
    server.close()


def test_alive_and_ready_differ_and_give_their_reasons(served: tuple[str, Told]) -> None:
    url, told = served

    def asked(path: str) -> tuple[int, str]:
        answer = requests.get(f"{url}{path}", timeout=5)
        return answer.status_code, answer.text

    assert asked("/healthz") == asked("/readyz") == (200, "ok\n")
    told.unready = "not receiving: spool_full"
    assert asked("/healthz") == (200, "ok\n")
    assert asked("/readyz") == (503, "not receiving: spool_full\n")
    told.unhealthy = "delivery has ended"
    assert asked("/healthz") == (503, "delivery has ended\n")
    assert asked("/other")[0] == 404
    assert json.loads(asked("/status")[1]) == STATUS
    assert "x_opinion_streamer_received_total 10" in asked("/metrics")[1]


def test_health_checks_by_address_are_answered_on_all_interfaces_and_pages_are_not() -> None:
    watched = Watched(lambda: STATUS, lambda: None, lambda: None)
    server = HealthServer("0.0.0.0", 0, watched, ["streamer.internal"])

    def asked(**headers: str) -> int:
        address = f"http://127.0.0.1:{server.port}/healthz"
        return requests.get(address, headers=headers, timeout=5).status_code

    try:
        for host in ("localhost", "10.0.3.7:9464", "streamer.internal:9464"):
            assert asked(Host=host) == 200
        assert asked(Host="evil.example") == asked(Origin="http://evil.example") == 403
    finally:
        server.close()


def test_prometheus_gets_numbers_and_counts_with_their_labels() -> None:
    assert list(prometheus(STATUS)) == [
        "# TYPE x_opinion_streamer_connected gauge",
        "x_opinion_streamer_connected 1",
        "# TYPE x_opinion_streamer_received_total counter",
        "x_opinion_streamer_received_total 10",
        "# TYPE x_opinion_streamer_lag_seconds gauge",
        "x_opinion_streamer_lag_seconds 0.5",
        "# TYPE x_opinion_streamer_disconnects_total counter",
        'x_opinion_streamer_disconnects_total{reason="closed"} 2',
        'x_opinion_streamer_disconnects_total{reason="odd \\"reason\\"\\n"} 1',
        "# TYPE x_opinion_streamer_silent_seconds gauge",
        'x_opinion_streamer_silent_seconds{topic="tea"} 61',
        "# TYPE x_opinion_streamer_sample gauge",
        "x_opinion_streamer_sample 40",
    ]


def test_cloudwatch_gets_counters_as_increments_and_the_rest_unchanged() -> None:
    before = {"received": 4, "disconnects": {"closed": 1}, "sample": 100}
    line: dict[str, Any] = json.loads(embedded_metrics("x-opinion", "stream", STATUS, before))
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "x-opinion"
    assert directive["Dimensions"] == [["delivery_stream"]]
    assert line["delivery_stream"] == "stream"
    named = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
    assert {name: line[name] for name in named} == {
        "connected": 1,
        "received": 6,
        "lag_seconds": 0.5,
        "disconnects": 2,
        "sample": 40,
    }
    assert named["lag_seconds"] == "Seconds"
    assert "silent_seconds" not in line

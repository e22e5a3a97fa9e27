"""Monitoring: `/healthz`, `/readyz`, `/metrics`, `/status` over HTTP, and metrics for CloudWatch's log."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from include.web_guard import WebGuard

_PREFIX = "x_opinion_streamer"
_PAGE = """<!doctype html><html lang="en"><title>The streamer</title><h1>The streamer</h1>
<p>It collects posts of X and delivers them to Firehose.</p><ul>
<li><a href="/status">/status</a>: its numbers, as JSON</li>
<li><a href="/metrics">/metrics</a>: the same for Prometheus</li>
<li><a href="/healthz">/healthz</a>: whether it is alive</li>
<li><a href="/readyz">/readyz</a>: whether it collects</li></ul>
"""
_COUNTERS = frozenset(
    {
        "received",
        "received_bytes",
        "attributed",
        "quarantined",
        "delivered",
        "connects",
        "disconnects",
        "delivery_failures",
    }
)
_LABELS = {"disconnects": "reason", "quarantined": "reason", "delivery_failures": "code"}
_UNITS = {"lag_seconds": "Seconds", "received_bytes": "Bytes", "spool_bytes": "Bytes", "sample": "Percent"}


@dataclass(frozen=True)
class Watched:
    """The sources: numbers, texts and counts by name; why it is not alive; why it is not ready."""

    status: Callable[[], Mapping[str, Any]]
    unhealthy: Callable[[], str | None]
    unready: Callable[[], str | None]


class HealthServer:
    """Serves the state of ``watched`` until `close`; `/healthz` and `/readyz` answer 503 with the reason.

    Pages in a browser cannot reach it (`include.web_guard`); ``names`` are host names that clients use
    besides its address. Raises `OSError` if the port is taken.
    """

    def __init__(self, host: str, port: int, watched: Watched, names: Iterable[str] = ()) -> None:
        guard = WebGuard.bound_to(host, names)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                objection = guard.objection("GET", self.headers.items())
                if objection:
                    self._answer(403, "text/plain", f"{objection}\n")
                elif self.path == "/healthz":
                    self._judged(watched.unhealthy())
                elif self.path == "/readyz":
                    self._judged(watched.unready())
                elif self.path == "/metrics":
                    text = "\n".join(prometheus(watched.status())) + "\n"
                    self._answer(200, "text/plain; version=0.0.4", text)
                elif self.path == "/status":
                    self._answer(200, "application/json", json.dumps(watched.status()) + "\n")
                elif self.path == "/":
                    self._answer(200, "text/html; charset=utf-8", _PAGE)
                else:
                    self._answer(404, "text/plain", "known: /healthz /readyz /metrics /status\n")

            def _judged(self, reason: str | None) -> None:
                self._answer(503 if reason else 200, "text/plain", f"{reason or 'ok'}\n")

            def _answer(self, code: int, content_type: str, text: str) -> None:
                body = text.encode()
                self.send_response(code)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Scrapes are not worth a log line."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()


def prometheus(status: Mapping[str, Any]) -> Iterator[str]:
    """Lines in Prometheus' text format: numbers as they are, counts with a label, no lists or texts."""
    for name, value in status.items():
        kind = "counter" if name in _COUNTERS else "gauge"
        metric = f"{_PREFIX}_{name}{'_total' if kind == 'counter' else ''}"
        if isinstance(value, Mapping):
            numbers = {label: number for label, number in value.items() if isinstance(number, int | float)}
            if numbers or kind == "counter":
                yield f"# TYPE {metric} {kind}"
            for label, number in numbers.items():
                text = str(label).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
                yield f'{metric}{{{_LABELS.get(name, "topic")}="{text}"}} {number}'
        elif isinstance(value, int | float):
            yield f"# TYPE {metric} {kind}"
            yield f"{metric} {int(value) if isinstance(value, bool) else value}"


def embedded_metrics(
    namespace: str, stream: str, status: Mapping[str, Any], before: Mapping[str, Any]
) -> str:
    """One line in CloudWatch's Embedded Metric Format: counters since ``before``, all else as it is.

    Source: CloudWatch's user guide, "Specification: Embedded metric format". Counts by reason are summed.
    """
    values = {
        name: _summed(value) - (_summed(before.get(name, 0)) if name in _COUNTERS else 0)
        for name, value in status.items()
        if isinstance(value, int | float) or (name in _COUNTERS and isinstance(value, Mapping))
    }
    metrics = [{"Name": name, "Unit": _UNITS.get(name, "Count")} for name in values]
    directive = {"Namespace": namespace, "Dimensions": [["delivery_stream"]], "Metrics": metrics}
    about = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": about, "delivery_stream": stream, **values})


def _summed(value: Any) -> float:
    return sum(value.values()) if isinstance(value, Mapping) else value + 0

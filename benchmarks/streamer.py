"""The cost of a tweet in the streamer, from X's socket to Firehose's answer, compared with mere readers.

All read the same bytes from one server, each in a separate process; only ours keeps what it reads. X and
Firehose are stand-ins in processes whose CPU does not count: they answer at once and keep nothing. They share
the caches and cores of what is measured, so single runs differ by up to a fifth: the readers take turns, and
the median of each counts.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import batched, islice
from pathlib import Path
from typing import Any, ClassVar

import orjson

from benchmarks import tweets
from benchmarks.measure import (
    REPETITIONS,
    ROOT,
    MeasureError,
    Row,
    Runs,
    in_own_process,
    local_s3,
    report,
)

TOKEN = "benchmark"  # noqa: S105 - of a stand-in
LIMIT_MIB = 120
_READERS = ("ours", "twarc2", "tweepy", "raw")
_STREAM = "/2/tweets/search/stream"
_RULES = f"{_STREAM}/rules"
_QUIET_SECONDS = 1.0
"""Between a connect and the first tweet, so that start-up costs are not measured."""
_START_SECONDS = 60
_TWEETS_PER_CHUNK = 16


def measure(quick: bool = False) -> list[Row]:
    """The rows for this part; ``quick`` takes a tenth of the tweets, once."""
    count, repetitions = (20_000, 1) if quick else (200_000, REPETITIONS)
    with local_s3() as environment, _stand_in("x", count) as x, _stand_in("firehose", count) as firehose:
        environment |= {
            "AWS_ENDPOINT_URL_FIREHOSE": firehose,
            "OPINION_X_API_URL": x,
            "OPINION_BUCKET": "bench",
            # Otherwise the streamer would rightly stop at the budget of the topics file.
            "OPINION_MONTHLY_POSTS": str(10 * count * repetitions),
        }
        turns = [
            [in_own_process("benchmarks.streamer", name, count, environment=environment) for name in _READERS]
            for _ in range(repetitions)
        ]
    ours, *peers = (Runs.of([{**run, "tweets": count} for run in runs]) for runs in zip(*turns, strict=True))
    rows = []
    for name, what, peer in zip(
        ("twarc2's stream", "tweepy's StreamingClient", "lines of the raw socket"),
        ("parses and keeps nothing", "parses and keeps nothing", "neither parses nor keeps: the ceiling"),
        peers,
        strict=True,
    ):
        rows.append(
            Row(
                f"streamer against {name}, {count:,} tweets",
                round(ours.rate),
                round(peer.rate),
                round(ours.rate / peer.rate, 2),
                "tweets per CPU-second",
                round(ours.peak_mib),
                f"ours from the socket to Firehose's answer, every tweet on disk in between; the peer {what},"
                f" {peer.peak_mib:.0f} MiB; medians of {repetitions}: ours {ours.spread},"
                f" peer {peer.spread}",
            )
        )
    rows.append(
        Row(
            "memory of the streamer",
            round(ours.peak_mib),
            LIMIT_MIB,
            round(LIMIT_MIB / ours.peak_mib, 2),
            "MiB",
            round(ours.peak_mib),
            "peer is the limit",
        )
    )
    return rows


def ours(count: int) -> None:
    """The streamer itself, all of its threads, until everything is acknowledged and out of the spool."""
    import boto3

    from include.settings import settings
    from include.x.budget import PostsLedger
    from include.x.topics import load
    from streamer.firehose import firehose_client
    from streamer.memory import keep_freed_memory
    from streamer.service import Options, Streamer
    from streamer.spool import Spool

    keep_freed_memory()
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=settings().bucket)
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder))
        streamer = Streamer(
            settings(),
            load(settings().topics_file),
            TOKEN,
            "benchmark",
            spool,
            firehose_client(),
            PostsLedger(s3, settings().bucket),
            Options("127.0.0.1", 0, 15.0),
        )
        running = threading.Thread(target=streamer.run)
        running.start()
        _until(lambda: streamer.status()["connected"], running)
        time.sleep(_QUIET_SECONDS / 2)

        def work() -> dict[str, Any]:
            _until(lambda: _settled(streamer.status(), count), running)
            return {"tweets": count}

        report(work)
        streamer.stop()
        running.join()
        spool.close()


def _settled(status: dict[str, Any], count: int) -> bool:
    return bool(status["delivered"] >= count and not status["pending"])


def _until(met: Callable[[], Any], running: threading.Thread) -> None:
    while not met():
        if not running.is_alive():
            raise MeasureError("the streamer ended")
        time.sleep(0.5)


def tweepy_(count: int) -> None:
    """tweepy's own parsing loop, unchanged."""
    import tweepy

    from include.settings import settings
    from include.x.client import XSession

    class Reading(tweepy.StreamingClient):
        left = count

        def on_response(self, _: object) -> None:
            self.left -= 1
            if not self.left:
                self.disconnect()

    client = Reading(TOKEN)
    client.session = XSession(settings().x_api_url)

    def work() -> dict[str, Any]:
        client.filter()
        return {"tweets": count - client.left}

    report(work)


def twarc2(count: int) -> None:
    """twarc2's stream, unchanged."""
    from twarc import Twarc2

    from include.settings import settings
    from include.x.client import XSession

    client = Twarc2(bearer_token=TOKEN, metadata=False)
    client.connect()
    authorized = XSession(settings().x_api_url)
    authorized.headers.update(client.client.headers)
    client.client = authorized

    def work() -> dict[str, Any]:
        for number, _ in enumerate(client.stream(), 1):
            if number == count:
                break
        return {"tweets": number}

    report(work)


def raw(count: int) -> None:
    """Lines of the standard library's socket."""
    from include.settings import settings

    connection = http.client.HTTPConnection(settings().x_api_url.removeprefix("http://"))
    connection.request("GET", _STREAM)

    def work() -> dict[str, Any]:
        answer = connection.getresponse()
        left = count
        for line in iter(answer.readline, b""):
            if line.strip():
                left -= 1
                if not left:
                    break
        return {"tweets": count - left}

    report(work)


class _X(BaseHTTPRequestHandler):
    """X: stores rules, and sends the same tweets at once on every connection."""

    protocol_version = "HTTP/1.1"
    rules: list[dict[str, str]] = []  # noqa: RUF012 - of the process
    chunks: ClassVar[bytes]

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != _STREAM:
            self._answer({"data": self.rules, "meta": {"sent": "now"}})
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        time.sleep(_QUIET_SECONDS)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.chunks)
            while self.connection.recv(1024):
                pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        gone = set(body.get("delete", {}).get("ids", ()))
        self.rules[:] = [rule for rule in self.rules if rule["id"] not in gone]
        if gone:
            self._answer({"meta": {"summary": {"deleted": len(gone), "not_deleted": 0}}})
            return
        added = [{"id": str(number), **rule} for number, rule in enumerate(body["add"], 1526235282076483585)]
        self.rules.extend(added)
        self._answer({"data": added, "meta": {"summary": {"created": len(added), "not_created": 0}}})

    def _answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing."""


_DESCRIPTION = {
    "Destinations": [
        {
            "ExtendedS3DestinationDescription": {
                "ProcessingConfiguration": {
                    "Enabled": True,
                    "Processors": [
                        {
                            "Type": "RecordDeAggregation",
                            "Parameters": [{"ParameterName": "SubRecordType", "ParameterValue": "JSON"}],
                        },
                        {"Type": "AppendDelimiterToRecord"},
                    ],
                }
            }
        }
    ]
}


class _Firehose(BaseHTTPRequestHandler):
    """Firehose: accepts every record."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["X-Amz-Target"].endswith(".DescribeDeliveryStream"):
            self._answer({"DeliveryStreamDescription": _DESCRIPTION})
            return
        taken = [{"RecordId": f"{number:0214}"} for number in range(len(request["Records"]))]
        self._answer({"FailedPutCount": 0, "Encrypted": False, "RequestResponses": taken})

    def _answer(self, content: Any) -> None:
        body = orjson.dumps(content)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing."""


def serve(service: str, count: int) -> None:
    """Serves a stand-in until its process is ended; prints its port."""
    handler: type[BaseHTTPRequestHandler] = _Firehose
    if service == "x":
        handler, _X.chunks = _X, b"".join(_chunks(count))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def _chunks(count: int) -> Iterator[bytes]:
    """Tweets as X sends them, in the chunks of a server that has more than it can send."""
    for lines in batched(_tweets(count), _TWEETS_PER_CHUNK):
        body = b"".join(lines)
        yield b"%x\r\n%b\r\n" % (len(body), body)


def _tweets(count: int) -> Iterator[bytes]:
    for line in islice(tweets.lines(tweets.TOPICS[0], count), count):
        payload = orjson.loads(line)
        del payload["ingest"]
        yield orjson.dumps(payload) + b"\r\n"


@contextlib.contextmanager
def _stand_in(name: str, count: int) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.streamer", "serve-" + name, str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        port = process.stdout.readline().strip()
        if not port:
            raise MeasureError(f"the stand-in for {name} did not start")
        with socket.create_connection(("127.0.0.1", int(port)), _START_SECONDS):
            yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """One measured reader, or one stand-in; see `measure`."""
    steps: dict[str, Callable[[int], None]] = {
        "ours": ours,
        "tweepy": tweepy_,
        "twarc2": twarc2,
        "raw": raw,
        "serve-x": lambda count: serve("x", count),
        "serve-firehose": lambda count: serve("firehose", count),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=list(steps))
    parser.add_argument("tweets", type=int)
    chosen = parser.parse_args()
    steps[chosen.step](chosen.tweets)


if __name__ == "__main__":
    main()

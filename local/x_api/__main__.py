"""Serves the stand-in of X API v2: ``python -m local.x_api --port 8080 --state DIR``."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from include.x.topics import TopicsError, load
from local.credentials import CredentialsError
from local.faults import FaultError
from local.serving import ListenError, add_options, credentials_of, guard_of, listen
from local.x_api.app import XApi
from local.x_api.archive import Archive, ArchiveError
from local.x_api.post import Corpus
from local.x_api.stream import POSTS_PER_SECOND
from local.x_api.synthetic import Synthetic

_TOPICS = Path(__file__).parents[2] / "include" / "topics.yaml"


class _Server(uvicorn.Server):
    """Ends the streams when it is told to stop: uvicorn would wait for them."""

    def __init__(self, config: uvicorn.Config, api: XApi) -> None:
        super().__init__(config)
        self._api = api

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGTERM and SIGINT."""
        super().handle_exit(sig, frame)
        self._api.stream.end_all("server_shutdown")


def main() -> int:
    """Runs until SIGTERM or SIGINT; returns the exit status."""
    arguments = _arguments()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        # Uvicorn raises the signal again once it has shut down; then, as before its start, all is in order.
        signal.signal(wanted, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    arguments.state.mkdir(parents=True, exist_ok=True)
    try:
        corpus, about = _corpus(arguments)
        credentials = credentials_of(arguments)
    except (TopicsError, ArchiveError, CredentialsError) as error:
        print(f"x_api: {error}", file=sys.stderr)
        return 2
    api = XApi(corpus, arguments.state, credentials, about, posts_per_second=arguments.posts_per_second)
    try:
        if arguments.faults:
            api.faults.load(arguments.faults)
    except FaultError as error:
        print(f"x_api: {error}", file=sys.stderr)
        return 2
    try:
        listener, url = listen(arguments.host, arguments.port)
    except ListenError as error:
        print(f"x_api: {error}", file=sys.stderr)
        return 1
    config = uvicorn.Config(
        api.application(guard_of(arguments)),
        log_config=None,
        access_log=False,
        date_header=False,
        lifespan="off",
        timeout_graceful_shutdown=3,
    )
    server = _Server(config, api)
    print(f"local X at {url}", flush=True)
    server.run(sockets=[listener])
    return 0


def _corpus(arguments: argparse.Namespace) -> tuple[Corpus, dict[str, Any]]:
    if arguments.archive:
        archive = Archive(arguments.archive, arguments.state)
        return archive, {"source": "archive", "archive": archive.describe()}
    topics = load(arguments.topics).topics
    return Synthetic(topics, arguments.rate, arguments.seed), {"source": "synthetic", "archive": None}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.x_api", description=__doc__)
    add_options(parser)
    parser.add_argument(
        "--archive", type=Path, help="file or folder of real posts, instead of synthetic ones"
    )
    parser.add_argument("--topics", type=Path, default=_TOPICS, help="what the synthetic posts are about")
    parser.add_argument("--rate", type=float, default=3000, help="mean number of synthetic posts an hour")
    parser.add_argument("--seed", type=int, default=1, help="other seeds give other synthetic posts")
    parser.add_argument(
        "--posts-per-second",
        type=float,
        default=POSTS_PER_SECOND,
        help="what the stream carries at most (default %(default)s)",
    )
    parser.add_argument(
        "--faults", type=Path, help="YAML list of faults that begin with the server (local/x_api/faults.py)"
    )
    arguments = parser.parse_args()
    if arguments.rate < 0:
        parser.error("--rate must not be negative")
    return arguments


if __name__ == "__main__":
    sys.exit(main())

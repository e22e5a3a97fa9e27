"""How the stand-ins are started, listen and stop."""

from __future__ import annotations

import argparse
import gc
import signal
import socket
from pathlib import Path
from typing import Any

import uvicorn

from include.web_guard import WebGuard
from local.credentials import Credentials


class ListenError(RuntimeError):
    """An address cannot be listened on; the message says what to do."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what every stand-in can be told: where it listens, for whom, and where its state lies."""
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one and prints it")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which clients reach it, beside its address and localhost; again for more",
    )
    parser.add_argument("--state", type=Path, required=True, help="folder that survives restarts")
    parser.add_argument(
        "--credentials",
        type=Path,
        help="JSON file with what clients must present, created if missing"
        " (default: credentials.json in the folder of --state)",
    )


def guard_of(given: argparse.Namespace) -> WebGuard:
    """The guard that the options of `add_options` ask for."""
    return WebGuard.bound_to(given.host, given.allowed_host)


def credentials_of(given: argparse.Namespace) -> Credentials:
    """The credentials that the options of `add_options` name; raises `CredentialsError`."""
    if given.credentials:
        return Credentials.of(given.credentials)
    return Credentials.in_folder(given.state)


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """A listening socket, and the address by which this machine reaches it; raises `ListenError`.

    Whoever comes before the server is ready waits. Port 0 takes a free one.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        raise ListenError(
            f"{host}:{port} cannot be bound ({error.strerror}); choose another --port"
        ) from error
    reachable = "127.0.0.1" if host in ("0.0.0.0", "") else host  # noqa: S104 - compared, not bound
    return listener, f"http://{reachable}:{listener.getsockname()[1]}"


def stoppable(application: Any, **options: Any) -> uvicorn.Server:
    """A server that SIGTERM and SIGINT end from now on; ``options`` are uvicorn's beyond those of all.

    What is loaded by now stays as long as the process, and garbage collections skip it: they took a twelfth
    of the local AWS's CPU time, and the last one half as long as its start.
    """
    gc.freeze()
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
            **options,
        )
    )

    def stop(_signal: int, _frame: object) -> None:
        server.should_exit = True

    # uvicorn handles signals while it serves and afterward raises them once more for these handlers.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return server

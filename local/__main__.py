"""The program behind ``make run`` and ``make stand-ins``: ``python -m local run | stand-ins``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and runs; exit status 0 only when the summary adds up."""
    from local.run import run, run_stand_ins
    from local.world import RunError, RunOptions

    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    whole = commands.add_parser("run", help="run the whole pipeline")
    whole.add_argument("--once", action="store_true", help="end after the summary")
    _add_options(whole)
    _add_options(commands.add_parser("stand-ins", help="run the stand-ins alone, for an Airflow elsewhere"))
    given = parser.parse_args(arguments)
    options = RunOptions(
        once=getattr(given, "once", False),
        hours=given.hours,
        rate=given.rate,
        archive=given.archive,
        topics=given.topics,
        first_port=given.port,
        run_dir=given.run_dir.resolve(),
        bind=given.bind,
        gateway=given.gateway,
    )
    try:
        if given.command == "run":
            return run(options)
        run_stand_ins(options)
        return 0
    except RunError as error:
        print(f"make {given.command} stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def _add_options(command: argparse.ArgumentParser) -> None:
    from local.endpoints import LOOPBACK

    command.add_argument(
        "--hours", type=_between(1, 160), default=6, help="past hours to recover (default 6)"
    )
    command.add_argument(
        "--rate", type=_between(1, 900_000), default=3000, help="posts an hour in the archive"
    )
    command.add_argument("--archive", type=_file, help="NDJSON of tweets to replay, gzipped or plain")
    command.add_argument("--topics", type=_file, help="topics file (default include/topics.yaml)")
    command.add_argument(
        "--port", type=_between(1024, 65_500), default=8080, help="the first port (Airflow's UI)"
    )
    command.add_argument("--run-dir", type=Path, default=Path(".run"), help="where state and logs lie")
    command.add_argument(
        "--bind",
        choices=[LOOPBACK, "0.0.0.0"],  # noqa: S104 - only where it is asked for
        default=LOOPBACK,
        help="where the stand-ins listen (default %(default)s); 0.0.0.0 lets containers in, and the network",
    )
    command.add_argument(
        "--gateway",
        default="host.docker.internal",
        help="this machine's name in containers (default %(default)s)",
    )


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return value

    return number


def _file(text: str) -> Path:
    path = Path(text).resolve()
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be read: {error.strerror}") from error


if __name__ == "__main__":
    # Ctrl-C ends what has started nothing yet; a second of imports would answer it with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())

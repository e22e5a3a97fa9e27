"""The program behind ``make run`` and ``make stand-ins``: ``python -m local run | stand-ins | audit``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from local.parameters import CHECKS, LOOPBACK, SQLITE


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and runs; exit status 0 only when the summary adds up."""
    from local.run import run, run_stand_ins
    from local.world import RunError, RunOptions

    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    whole = commands.add_parser("run", help="run the whole pipeline")
    whole.add_argument("--once", action="store_true", help="end after the summary")
    whole.add_argument(
        "--database",
        type=_checked("DATABASE", str),
        default=SQLITE,
        help="what keeps Airflow's metadata: sqlite (default) or postgresql, as deployments have it",
    )
    _add_options(whole)
    _add_options(commands.add_parser("stand-ins", help="run the stand-ins alone, for an Airflow elsewhere"))
    audit = commands.add_parser("audit", help="judge the drawn tweets of a run as a file's labels say")
    audit.add_argument(
        "--labels",
        type=_path,
        required=True,
        help="a CSV, NDJSON or Parquet file, or a folder of them: tweet_id or text, and judgment or label",
    )
    audit.add_argument("--person", default="labels", help="who has judged; kept as a pseudonym")
    audit.add_argument("--run-dir", type=Path, default=Path(".run"), help="the run directory")
    given = parser.parse_args(arguments)
    if given.command == "audit":
        return _audit(given)
    options = RunOptions(
        once=getattr(given, "once", False),
        hours=given.hours,
        rate=given.rate,
        archive=given.archive,
        topics=given.topics,
        models=given.models,
        sentiment=given.sentiment,
        translation=given.translation,
        first_port=given.port,
        database=getattr(given, "database", SQLITE),
        run_dir=given.run_dir.resolve(),
        bind=given.bind,
        gateway=given.gateway,
        handover=given.handover,
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


def _audit(given: argparse.Namespace) -> int:
    from local.audit import AuditError, run

    try:
        print(run(given.run_dir, given.labels, given.person))
    except AuditError as error:
        print(f"The audit stopped: {error}", file=sys.stderr)
        return 1
    return 0


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--hours", type=_checked("HOURS", int), default=6, help="past hours to recover (default 6)"
    )
    command.add_argument(
        "--rate", type=_checked("RATE", int), default=3000, help="posts an hour in the archive"
    )
    command.add_argument(
        "--archive",
        type=_checked("ARCHIVE", _path),
        help="tweets to replay: a file or folder of X API v2's payloads",
    )
    command.add_argument(
        "--topics", type=_checked("TOPICS", _path), help="topics file (default include/topics.yaml)"
    )
    command.add_argument(
        "--models",
        type=_checked("MODELS", lambda text: tuple(text.split(","))),
        default=(),
        help="embedded models and what `make models` has packed, by their names joined by commas",
    )
    for stage, verb in (("sentiment", "labels"), ("translation", "translates")):
        command.add_argument(
            f"--{stage}",
            type=_checked(stage.upper(), str),
            help=f"the model that {verb}: a folder, a model.tar.gz, or the address of one in S3",
        )
    command.add_argument(
        "--port", type=_checked("PORT", int), default=8080, help="the first port (Airflow's UI)"
    )
    command.add_argument("--run-dir", type=Path, default=Path(".run"), help="the folder for state and logs")
    command.add_argument(
        "--bind",
        type=_checked("BIND", str),
        default=LOOPBACK,
        help="where the stand-ins listen (default %(default)s); 0.0.0.0 lets containers in, and the network",
    )
    command.add_argument(
        "--gateway",
        type=_checked("GATEWAY", str),
        default="host.docker.internal",
        help="this machine's name in containers (default %(default)s)",
    )
    command.add_argument(
        "--handover",
        type=Path,
        help="where containers find addresses and credentials, readable by its folder's group too"
        " (default: containers.env in the run directory, readable by its owner alone)",
    )


def _checked[T](name: str, read: Callable[[str], T]) -> Callable[[str], T]:
    """What reads an option's value by the check of the parameter of `make`."""

    def value(text: str) -> T:
        try:
            CHECKS[name](text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text}: {error}") from error
        return read(text)

    return value


def _path(text: str) -> Path:
    return Path(text).resolve()


if __name__ == "__main__":
    # Ctrl-C ends what has started nothing yet; a second of imports would answer it with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())

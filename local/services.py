"""What a run starts in its world: the stand-ins, the streamer and Airflow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from local import airflow_server, postgresql
from local.airflow_server import AirflowClient
from local.aws.bootstrap import bootstrap
from local.aws.context import STREAMER
from local.aws.trino import is_ready
from local.credentials import CREDENTIALS_FILE
from local.databricks import mlflow
from local.parameters import LOOPBACK, POSTGRESQL
from local.processes import Process, answers
from local.world import World
from local.x_api.archive_files import READING

BUFFERING_SECONDS = 5
"""Firehose's buffering interval here: short, so that a run need not wait a minute for its tweets."""
SAGEMAKER_JOBS = 4
DAGS = ("provision", "coverage", "transform", "live", "train", "insights", "costs")


@dataclass(frozen=True)
class Services:
    """Starts a world's services."""

    world: World

    @cached_property
    def airflow_environment(self) -> dict[str, str]:
        """What Airflow's components run in."""
        world = self.world
        database = None
        if world.options.database == POSTGRESQL:
            port = world.endpoints.port("postgresql")
            database = postgresql.address(port, world.endpoints.credentials.password)
        return airflow_server.environment(
            world.folder / "airflow", world.endpoints, world.environment, database
        )

    def begin_migration(self) -> Process | None:
        """Begins to bring the metadata database up to date; `start_airflow` waits for what it returns."""
        world = self.world
        if world.options.database == POSTGRESQL:
            with world.step("PostgreSQL up"):
                port, password = world.endpoints.port("postgresql"), world.endpoints.credentials.password
                state = world.folder / "postgresql"
                server = postgresql.start(world.processes, port, state, password, world.environment)
                server.wait_until(lambda: postgresql.is_ready(port), 60)
        return airflow_server.migrate(world.processes, self.airflow_environment)

    @cached_property
    def airflow(self) -> AirflowClient:
        """A client of this run's Airflow."""
        return AirflowClient(self.world.endpoints.url("airflow"), self.world.endpoints.login)

    @property
    def _listening(self) -> list[str]:
        """Where the stand-ins listen, the hosts that they answer to, and whom."""
        folder, bind = self.world.folder, self.world.options.bind
        options = ["--host", bind, "--credentials", str(folder / CREDENTIALS_FILE)]
        return options if bind == LOOPBACK else [*options, "--allowed-host", self.world.options.gateway]

    def start_stand_ins(self) -> Process:
        """Starts X, AWS and Trino; returns Trino, which takes longer than the others to be ready."""
        world = self.world
        python, endpoints, options, env = (
            sys.executable,
            world.endpoints,
            world.options,
            world.environment,
        )
        with world.step("X and AWS stand-ins up") as progress:
            x_command = [python, "-m", "local.x_api", "--port", str(endpoints.port("x_api"))]
            x_command += ["--state", str(world.folder / "x_api"), *self._listening]
            x_command += ["--topics", env["OPINION_TOPICS_FILE"], "--rate", str(options.rate)]
            if options.archive:
                x_command += ["--archive", str(options.archive)]
            x_api = world.processes.start("x_api", x_command, env, ends_last=True)
            aws_command = [python, "-m", "local.aws", "--port", str(endpoints.port("aws"))]
            aws_command += ["--state", str(world.folder / "aws"), *self._listening]
            aws_command += ["--trino-url", endpoints.url("trino")]
            aws = world.processes.start("aws", aws_command, env, ends_last=True)

            def told(line: str) -> None:
                if share := line.partition(READING)[2]:
                    progress(f"reading the archive{share}")

            x_api.wait_until(lambda: answers(f"{endpoints.url('x_api')}/_local/health"), 60, told)
            aws.wait_until(lambda: answers(f"{endpoints.url('aws')}/_local/health"), 30)
            trino_command = [python, "-m", "local.aws.trino", "--port", str(endpoints.port("trino"))]
            trino_command += [
                "--aws-endpoint",
                endpoints.url("aws"),
                "--state",
                str(world.folder / "trino"),
                "--credentials",
                str(world.folder / CREDENTIALS_FILE),
            ]
            trino = world.processes.start("trino", trino_command, env, ends_last=True)
            bootstrap(
                endpoints.url("aws"),
                world.settings,
                endpoints.credentials,
                buffering_seconds=BUFFERING_SECONDS,
                connections=endpoints.connections(),
            )
        endpoints.write(world.options.run_dir)
        return trino

    def start_training_stand_ins(self) -> Callable[[], None]:
        """Starts Databricks and MLflow; returns what waits for them: labels come first."""
        world = self.world
        endpoints = world.endpoints
        command = [sys.executable, "-m", "local.databricks", "--port", str(endpoints.port("databricks"))]
        command += [
            "--state",
            str(world.folder / "databricks"),
            *self._listening,
        ]
        command += ["--aws-endpoint", endpoints.url("aws"), "--mlflow-url", endpoints.url("mlflow")]
        databricks = world.processes.start("databricks", command, world.environment)
        state = world.folder / "mlflow"
        state.mkdir(exist_ok=True)
        mlflow_command = mlflow.command(endpoints.port("mlflow"), state, self._listening)
        tracking = world.processes.start("mlflow", mlflow_command, mlflow.environment(world.environment))

        def wait() -> None:
            with world.step("Databricks and MLflow up"):
                databricks.wait_until(lambda: answers(f"{endpoints.url('databricks')}/_local/health"), 60)
                tracking.wait_until(lambda: answers(f"{endpoints.url('mlflow')}/health"), 120)

        return wait

    def start_streamer(self) -> Process:
        """Starts the streamer and waits until it is alive."""
        world = self.world
        with world.step("streamer collecting"):
            command = [
                sys.executable,
                "-m",
                "streamer",
                "run",
                "--spool",
                str(world.folder / "streamer"),
            ]
            command += ["--http-port", str(world.endpoints.port("streamer"))]
            environment = {**world.environment, **world.endpoints.aws_environment(STREAMER)}
            streamer = world.processes.start("streamer", command, environment)
            streamer.wait_until(lambda: answers(f"{world.endpoints.url('streamer')}/healthz"), 30)
        return streamer

    def start_airflow(self, trino: Process, migration: Process | None) -> None:
        """Starts Airflow and waits until its components, its DAGs and Trino can be used."""
        world = self.world
        with world.step("Airflow and Trino up") as progress:
            progress("creating the metadata database")
            airflow_server.migrated(world.processes, migration, self.airflow_environment)
            progress("starting the components")
            components = airflow_server.start(world.processes, world.endpoints, self.airflow_environment)
            components["api-server"].wait_until(lambda: airflow_server.is_healthy(world.endpoints), 120)
            progress("waiting for Trino")
            trino.wait_until(lambda: is_ready(world.endpoints.url("trino"), world.endpoints.credentials), 120)
            components["dag-processor"].wait_until(
                lambda: all(self.airflow.has_dag(dag) for dag in DAGS), 120
            )
            self.airflow.ensure_pool(world.settings.sagemaker_pool, SAGEMAKER_JOBS)
        world.tell_login()

"""``python -m local.databricks --port P --state DIR``: the Jobs and Files APIs over local Spark."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from local.aws.context import TRAINING
from local.credentials import Credentials, CredentialsError
from local.databricks.cluster import ClusterError, environment, python
from local.databricks.execution import Execution
from local.databricks.files import Files
from local.databricks.jobs import Jobs
from local.databricks.records import Records
from local.databricks.runs import Runs
from local.databricks.server import Api
from local.serving import ListenError, add_options, credentials_of, guard_of, listen, stoppable

VOLUMES = ("main.x_opinion.training",)


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit status."""
    given = _arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        python()
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        credentials = credentials_of(given)
        listener, url = listen(given.host, given.port)
    except (ListenError, CredentialsError) as error:
        print(error, file=sys.stderr)
        return 1
    state = given.state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    files = Files(state / "files", tuple(given.volume or VOLUMES))

    cluster_environment = partial(_environment, given.aws_endpoint, credentials, given.mlflow_url)
    records = Records(state)
    execution = Execution(records, files, cluster_environment)
    runs = Runs(records, execution, url)
    server = stoppable(Api(Jobs(records), runs, files, credentials).application(guard_of(given)))
    print(f"local Databricks at {url}", flush=True)
    server.run(sockets=[listener])
    execution.close()
    records.close()
    return 0


def _environment(
    aws_endpoint: str,
    credentials: Credentials,
    mlflow_url: str | None,
    folder: Path,
    spark_conf: Mapping[str, str],
    variables: Mapping[str, str],
) -> dict[str, str]:
    return environment(
        folder,
        aws_endpoint=aws_endpoint,
        credentials=credentials.of_user(TRAINING),
        mlflow_url=mlflow_url,
        spark_conf=spark_conf,
        variables=variables,
    )


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.databricks", description=__doc__)
    add_options(parser)
    parser.add_argument("--aws-endpoint", required=True, help="the AWS that clusters use")
    parser.add_argument("--mlflow-url", help="the MLflow server that clusters track to")
    parser.add_argument(
        "--volume", action="append", help=f"a Unity Catalog volume, again for more (default: {VOLUMES[0]})"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

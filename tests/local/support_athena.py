"""A local AWS with Athena over a real Trino, and short ways to ask it."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from local.aws.trino import Trino
from tests.credentials import CREDENTIALS
from tests.local.support_aws import LocalAws
from tests.ports import free_ports

OUTPUT = "s3://athena-tests/results/"


class LocalAthena:
    """One Trino and one local AWS; each test takes a `database` of its own."""

    def __init__(self, folder: Path) -> None:
        port = free_ports()
        self.trino_url = f"http://127.0.0.1:{port}"
        self.aws = LocalAws(folder / "aws", "--trino-url", self.trino_url).start()
        self._trino = Trino(port, self.aws.endpoint, folder / "trino", CREDENTIALS)
        (folder / "trino").mkdir()
        self._trino.start()
        self.s3 = self.aws.client("s3")
        self.glue = self.aws.client("glue")
        self.athena = self.aws.client("athena")
        self.s3.create_bucket(Bucket="athena-tests")

    def wait_until_ready(self) -> None:
        self._trino.wait_until_ready()

    def kill_trino(self) -> None:
        """Ends Trino as the system does where memory is short, and starts it again as its program does."""
        assert self._trino._process is not None
        self._trino._process.kill()
        self._trino._process.wait()
        assert self._trino.keep()

    def stop(self) -> None:
        self._trino.stop()
        assert self.aws.stop() == 0

    def database(self) -> str:
        """A new, empty database."""
        name = f"d_{uuid.uuid4().hex[:12]}"
        self.glue.create_database(DatabaseInput={"Name": name})
        return name

    def start(self, sql: str, database: str = "default", **parameters: Any) -> str:
        parameters.setdefault("ResultConfiguration", {"OutputLocation": OUTPUT})
        answer = self.athena.start_query_execution(
            QueryString=sql, QueryExecutionContext={"Database": database}, **parameters
        )
        identity: str = answer["QueryExecutionId"]
        return identity

    def start_long(self) -> str:
        """The id of a statement that is running, and would for hours."""
        sequence = "UNNEST(sequence(1, 10000))"
        identity = self.start(
            f"SELECT count(*) FROM {sequence} a(x), {sequence} b(y), {sequence} c(z) WHERE x*y*z%7=3"
        )
        deadline = time.monotonic() + 60
        while (
            self.athena.get_query_execution(QueryExecutionId=identity)["QueryExecution"]["Status"]["State"]
            == "QUEUED"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return identity

    def end(self, identity: str) -> dict[str, Any]:
        """The execution once it is over."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            execution: dict[str, Any] = self.athena.get_query_execution(QueryExecutionId=identity)[
                "QueryExecution"
            ]
            if execution["Status"]["State"] not in ("QUEUED", "RUNNING"):
                return execution
            time.sleep(0.05)
        raise AssertionError(f"{identity} did not end")

    def run(self, sql: str, database: str = "default", **parameters: Any) -> dict[str, Any]:
        """The execution of a statement that succeeds."""
        execution = self.end(self.start(sql, database, **parameters))
        assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
        return execution

    def fails(self, sql: str, database: str = "default", **parameters: Any) -> str:
        """The reason of a statement that fails."""
        status = self.end(self.start(sql, database, **parameters))["Status"]
        assert status["State"] == "FAILED", status
        reason: str = status["StateChangeReason"]
        assert status["AthenaError"]["ErrorMessage"] == reason
        return reason

    def rows(self, sql: str, database: str = "default", **parameters: Any) -> list[list[str | None]]:
        """All rows that `GetQueryResults` gives, the header of a SELECT too."""
        identity = self.run(sql, database, **parameters)["QueryExecutionId"]
        result = self.athena.get_query_results(QueryExecutionId=identity)["ResultSet"]
        return [[cell.get("VarCharValue") for cell in row["Data"]] for row in result["Rows"]]

    def read(self, location: str) -> bytes:
        """An object by its S3 address."""
        bucket, _, key = location.removeprefix("s3://").partition("/")
        body: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

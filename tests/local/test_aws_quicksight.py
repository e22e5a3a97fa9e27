"""QuickSight: sources, data sets, checked dashboards, and ingestions that run their SQL on Athena."""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from include.insights import page
from include.insights.definition import load
from include.insights.expressions import to_sql
from include.insights.quicksight import assets
from include.provision.quicksight import QuickSightError, ensure
from include.settings import Settings
from local.aws.bootstrap import Template
from tests.credentials import LOGIN
from tests.local.support_athena import LocalAthena
from tests.local.support_aws import LocalAws
from tests.unit.support_dashboards import generated_definition, generated_rows, same, table, topics

ROOT = Path(__file__).parents[2]
ACCOUNT = "123456789012"
ARN = f"arn:aws:quicksight:us-east-1:{ACCOUNT}"
READER = f"{ARN}:user/default/reader"
COLUMNS = {"topic": "STRING", "n": "INTEGER", "share": "DECIMAL", "hour": "DATETIME"}
ROWS = """SELECT * FROM (VALUES
  ('football', 1, 0.5e0, TIMESTAMP '2026-11-22 10:00:00'),
  ('music, or not', 2, NULL, NULL)) AS t (topic, n, share, hour)"""


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def make_source(aws: LocalAws) -> str:
    name = f"s-{uuid.uuid4().hex[:12]}"
    answer = aws.client("quicksight").create_data_source(
        AwsAccountId=ACCOUNT,
        DataSourceId=name,
        Name=name,
        Type="ATHENA",
        DataSourceParameters={"AthenaParameters": {"WorkGroup": "primary"}},
    )
    return str(answer["Arn"])


def make_data_set(aws: LocalAws, sql: str = ROWS, *, mode: str = "SPICE", **columns: str) -> str:
    name = f"d-{uuid.uuid4().hex[:12]}"
    shown = [{"Name": column, "Type": kind} for column, kind in (columns or COLUMNS).items()]
    custom = {"DataSourceArn": make_source(aws), "Name": "sql", "SqlQuery": sql, "Columns": shown}
    aws.client("quicksight").create_data_set(
        AwsAccountId=ACCOUNT,
        DataSetId=name,
        Name=name,
        ImportMode=mode,
        PhysicalTableMap={"table": {"CustomSql": custom}},
    )
    return name


def ended(aws: LocalAws, data_set: str, ingestion: str) -> dict[str, Any]:
    """The ingestion once it is over."""
    client = aws.client("quicksight")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.describe_ingestion(
            AwsAccountId=ACCOUNT, DataSetId=data_set, IngestionId=ingestion
        )["Ingestion"]
        if found["IngestionStatus"] not in ("INITIALIZED", "QUEUED", "RUNNING"):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{ingestion} did not end")


def ingest(aws: LocalAws, data_set: str) -> dict[str, Any]:
    identity = uuid.uuid4().hex
    aws.client("quicksight").create_ingestion(AwsAccountId=ACCOUNT, DataSetId=data_set, IngestionId=identity)
    return ended(aws, data_set, identity)


def dashboard(data_set: str, **changes: Any) -> dict[str, Any]:
    """A dashboard of one table over a data set; ``changes`` are parts of its definition."""
    column = {"DataSetIdentifier": "facts", "ColumnName": "topic"}
    total = {"FieldId": "total", "Column": {"DataSetIdentifier": "facts", "ColumnName": "mean"}}
    wells = {
        "GroupBy": [{"CategoricalDimensionField": {"FieldId": "topic", "Column": column}}],
        "Values": [{"NumericalMeasureField": total}],
    }
    table = {"VisualId": "table", "ChartConfiguration": {"FieldWells": {"TableAggregatedFieldWells": wells}}}
    definition = {
        "DataSetIdentifierDeclarations": [{"Identifier": "facts", "DataSetArn": f"{ARN}:dataset/{data_set}"}],
        "CalculatedFields": [calculated("mean", "sum({n}) / nullIf(count({n}), 0)")],
        "Sheets": [{"SheetId": "one", "Name": "One", "Visuals": [{"TableVisual": table}]}],
        **changes,
    }
    return {"DashboardId": f"b-{uuid.uuid4().hex[:12]}", "Name": "A dashboard", "Definition": definition}


def calculated(name: str, expression: str, data_set: str = "facts") -> dict[str, str]:
    return {"DataSetIdentifier": data_set, "Name": name, "Expression": expression}


def made(aws: LocalAws, request: dict[str, Any]) -> dict[str, Any]:
    """A dashboard's first version once QuickSight has looked at it."""
    client = aws.client("quicksight")
    answer = client.create_dashboard(AwsAccountId=ACCOUNT, **request)
    assert answer["CreationStatus"] == "CREATION_IN_PROGRESS"
    return version(aws, request["DashboardId"], 1)


def version(aws: LocalAws, identity: str, number: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: dict[str, Any] = aws.client("quicksight").describe_dashboard(
            AwsAccountId=ACCOUNT, DashboardId=identity, VersionNumber=number
        )["Dashboard"]["Version"]
        if not found["Status"].endswith("IN_PROGRESS"):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{identity} stays in progress")


@pytest.fixture(scope="module")
def plain(aws: LocalAws) -> str:
    """A data set that is not in SPICE, for dashboards that are only looked at."""
    return make_data_set(aws, mode="DIRECT_QUERY")


def test_what_is_there_already_or_not_at_all_is_rejected(aws: LocalAws, plain: str) -> None:
    client = aws.client("quicksight")
    with pytest.raises(ClientError) as error:
        client.create_data_source(
            AwsAccountId=ACCOUNT,
            DataSourceId=make_source(aws).split("/")[1],
            Name="again",
            Type="ATHENA",
            DataSourceParameters={"AthenaParameters": {}},
        )
    assert code(error) == ("ResourceExistsException", 409)
    for operation, arguments in {
        "describe_data_source": {"DataSourceId": "none"},
        "describe_data_set": {"DataSetId": "none"},
        "describe_dashboard": {"DashboardId": "none"},
        "create_ingestion": {"DataSetId": "none", "IngestionId": "i"},
        "describe_ingestion": {"DataSetId": plain, "IngestionId": "none"},
        "describe_refresh_schedule": {"DataSetId": plain, "ScheduleId": "none"},
    }.items():
        with pytest.raises(ClientError) as error:
            getattr(client, operation)(AwsAccountId=ACCOUNT, **arguments)
        assert code(error) == ("ResourceNotFoundException", 404), operation
    with pytest.raises(ClientError) as error:
        client.list_data_sets(AwsAccountId="999999999999")
    assert code(error) == ("AccessDeniedException", 401)


def test_requests_that_break_the_services_constraints_are_rejected(aws: LocalAws) -> None:
    client = aws.client("quicksight")
    with pytest.raises(ClientError, match="at 'dashboardId' failed to satisfy constraint") as error:
        client.create_dashboard(AwsAccountId=ACCOUNT, **{**dashboard("x"), "DashboardId": "no spaces"})
    assert code(error) == ("ValidationException", 400)
    with pytest.raises(ClientError, match="Map keys must satisfy constraint") as error:
        client.create_data_set(
            AwsAccountId=ACCOUNT,
            DataSetId="d",
            Name="d",
            ImportMode="SPICE",
            PhysicalTableMap={
                "under_score": {"CustomSql": {"DataSourceArn": "a", "Name": "n", "SqlQuery": "s"}}
            },
        )
    assert code(error) == ("ValidationException", 400)
    with pytest.raises(ClientError, match="data source nothing does not exist") as error:
        client.create_data_set(
            AwsAccountId=ACCOUNT,
            DataSetId="d",
            Name="d",
            ImportMode="SPICE",
            PhysicalTableMap={"t": {"CustomSql": {"DataSourceArn": "nothing", "Name": "n", "SqlQuery": "s"}}},
        )
    assert code(error) == ("InvalidParameterValueException", 400)


def test_a_good_dashboard_is_published_and_a_later_version_only_when_told(aws: LocalAws, plain: str) -> None:
    client = aws.client("quicksight")
    request = dashboard(plain)
    key = {"AwsAccountId": ACCOUNT, "DashboardId": request["DashboardId"]}
    assert made(aws, request)["Status"] == "CREATION_SUCCESSFUL"
    answer = client.update_dashboard(AwsAccountId=ACCOUNT, **{**request, "Name": "Another name"})
    assert answer["VersionArn"].endswith("/version/2")
    assert version(aws, request["DashboardId"], 2)["Status"] == "UPDATE_SUCCESSFUL"
    assert client.describe_dashboard(**key)["Dashboard"]["Name"] == "A dashboard"
    client.update_dashboard_published_version(**key, VersionNumber=2)
    assert client.describe_dashboard(**key)["Dashboard"]["Version"]["VersionNumber"] == 2
    assert client.describe_dashboard_definition(**key)["Definition"] == request["Definition"]
    client.delete_dashboard(**key)
    with pytest.raises(ClientError) as error:
        client.describe_dashboard(**key)
    assert code(error) == ("ResourceNotFoundException", 404)


@pytest.mark.parametrize(
    ("field", "kind", "message"),
    [
        (calculated("m", "sum({nothing})"), "COLUMN_REPLACEMENT_MISSING", "column 'nothing' is missing"),
        (calculated("m", "sum({n}"), "PARAMETER_VALUE_INCOMPATIBLE", "contains invalid syntax"),
        (calculated("m", "total({n})"), "PARAMETER_VALUE_INCOMPATIBLE", "unknown function 'total'"),
        (calculated("m", "sum({n}) + {share}"), "PARAMETER_VALUE_INCOMPATIBLE", "Mismatched aggregation"),
        (calculated("m", "sum({mean})"), "PARAMETER_VALUE_INCOMPATIBLE", "Nesting of aggregate functions"),
        (calculated("m", "{m} + 1"), "PARAMETER_VALUE_INCOMPATIBLE", "Circular reference: m -> m"),
        (calculated("n", "sum({share})"), "PARAMETER_VALUE_INCOMPATIBLE", "Duplicate field name 'n'"),
        (calculated("m", "1", "others"), "DATA_SET_NOT_FOUND", "can not be found in the analysis"),
    ],
)
def test_broken_calculated_fields_fail_the_dashboard(
    aws: LocalAws, plain: str, field: dict[str, str], kind: str, message: str
) -> None:
    request = dashboard(plain)
    request["Definition"]["CalculatedFields"].append(field)
    found = made(aws, request)
    assert found["Status"] == "CREATION_FAILED"
    (error,) = found["Errors"]
    assert (error["Type"], message in error["Message"]) == (kind, True), error
    assert error["ViolatedEntities"] == [{"Path": f"calculated-field/{field['Name']}"}]


def test_unknown_columns_wrong_types_and_ids_that_stand_twice_fail_the_dashboard(
    aws: LocalAws, plain: str
) -> None:
    request = dashboard(plain)
    (sheet,) = request["Definition"]["Sheets"]
    table = sheet["Visuals"][0]["TableVisual"]
    wells = table["ChartConfiguration"]["FieldWells"]["TableAggregatedFieldWells"]
    of_text = {"FieldId": "t", "Column": {"DataSetIdentifier": "facts", "ColumnName": "topic"}}
    unknown = {"FieldId": "u", "Column": {"DataSetIdentifier": "facts", "ColumnName": "unknown"}}
    wells["Values"] += [{"NumericalMeasureField": of_text}, {"NumericalMeasureField": unknown}]
    sheet["Visuals"].append({"TableVisual": {"VisualId": "table"}})
    found = made(aws, request)
    assert {(error["Type"], error["Message"].split(" in data set")[0]) for error in found["Errors"]} == {
        ("COLUMN_TYPE_MISMATCH", "Column 'topic' is of type STRING, INTEGER or DECIMAL is required"),
        ("COLUMN_REPLACEMENT_MISSING", "Required column 'unknown' is missing"),
        ("PARAMETER_VALUE_INCOMPATIBLE", "Duplicate VisualId 'table'"),
    }


def test_an_ingestion_runs_the_sql_and_tells_its_rows(athena: LocalAthena) -> None:
    athena.athena.update_work_group(
        WorkGroup="primary",
        ConfigurationUpdates={
            "ResultConfigurationUpdates": {"OutputLocation": "s3://athena-tests/quicksight/"}
        },
    )
    data_set = make_data_set(athena.aws)
    found = ingest(athena.aws, data_set)
    assert found["IngestionStatus"] == "COMPLETED", found
    assert found["RowInfo"] == {"RowsIngested": 2, "RowsDropped": 0, "TotalRowsInDataset": 2}
    assert (found["RequestSource"], found["RequestType"]) == ("MANUAL", "FULL_REFRESH")
    listed = athena.aws.client("quicksight").list_ingestions(AwsAccountId=ACCOUNT, DataSetId=data_set)
    kinds = [entry["RequestType"] for entry in listed["Ingestions"]]
    assert kinds == ["FULL_REFRESH", "INITIAL_INGESTION"]
    wrong = make_data_set(athena.aws, "SELECT 'x' AS n UNION ALL SELECT '7'", n="INTEGER")
    assert ingest(athena.aws, wrong)["RowInfo"]["RowsDropped"] == 1


def test_failures_have_their_type(athena: LocalAthena) -> None:
    for sql, kind in {
        "SELECT 1 AS n FROM nowhere.nothing": "SQL_TABLE_NOT_FOUND",
        "SELECT nothing AS n FROM (VALUES 1) AS t (m)": "SQL_SCHEMA_MISMATCH_ERROR",
        "SELECT 1 AS m": "SQL_SCHEMA_MISMATCH_ERROR",
        "SELECT 1 / 0 AS n": "SQL_EXCEPTION",
    }.items():
        found = ingest(athena.aws, make_data_set(athena.aws, sql, n="INTEGER"))
        assert (found["IngestionStatus"], found["ErrorInfo"]["Type"]) == ("FAILED", kind), found
    direct = make_data_set(athena.aws, mode="DIRECT_QUERY")
    assert ingest(athena.aws, direct)["ErrorInfo"]["Type"] == "DATA_SET_NOT_SPICE"


def test_a_canceled_ingestion_is_over(athena: LocalAthena) -> None:
    slow = (
        "SELECT count(*) AS n FROM UNNEST(sequence(1, 9000)) AS a (x), UNNEST(sequence(1, 9000)) AS b (y), "
    )
    data_set = make_data_set(athena.aws, slow + "UNNEST(sequence(1, 9000)) AS c (z)", n="INTEGER")
    client = athena.aws.client("quicksight")
    (found,) = client.list_ingestions(AwsAccountId=ACCOUNT, DataSetId=data_set)["Ingestions"]
    key = {"AwsAccountId": ACCOUNT, "DataSetId": data_set, "IngestionId": found["IngestionId"]}
    client.cancel_ingestion(**key)
    ended_ = client.describe_ingestion(**key)["Ingestion"]
    assert (ended_["IngestionStatus"], ended_["ErrorInfo"]["Type"]) == ("CANCELLED", "INGESTION_CANCELED")
    with pytest.raises(ClientError) as error:
        client.cancel_ingestion(**key)
    assert code(error) == ("InvalidParameterValueException", 400)
    client.delete_data_set(AwsAccountId=ACCOUNT, DataSetId=data_set)


def test_the_thirty_third_ingestion_of_a_day_and_an_id_used_twice_are_rejected(aws: LocalAws) -> None:
    data_set = make_data_set(aws, mode="DIRECT_QUERY")
    client = aws.client("quicksight")
    for number in range(32):
        client.create_ingestion(AwsAccountId=ACCOUNT, DataSetId=data_set, IngestionId=f"i{number}")
    with pytest.raises(ClientError) as error:
        client.create_ingestion(AwsAccountId=ACCOUNT, DataSetId=data_set, IngestionId="i0")
    assert code(error) == ("ResourceExistsException", 409)
    with pytest.raises(ClientError) as error:
        client.create_ingestion(AwsAccountId=ACCOUNT, DataSetId=data_set, IngestionId="i32")
    assert code(error) == ("LimitExceededException", 409)


def test_tags_permissions_and_schedules_are_kept_over_a_crash(new_aws: Callable[..., LocalAws]) -> None:
    aws = new_aws()
    client = aws.client("quicksight")
    data_set = make_data_set(aws)
    arn, key = f"{ARN}:dataset/{data_set}", {"AwsAccountId": ACCOUNT, "DataSetId": data_set}
    grant = [{"Principal": READER, "Actions": ["quicksight:DescribeDataSet"]}]
    with pytest.raises(ClientError, match="does not exist") as error:
        client.update_data_set_permissions(**key, GrantPermissions=grant)
    assert code(error) == ("InvalidParameterValueException", 400)
    client.register_user(
        AwsAccountId=ACCOUNT,
        Namespace="default",
        UserName="reader",
        Email="reader@example.org",
        IdentityType="QUICKSIGHT",
        UserRole="READER",
    )
    client.update_data_set_permissions(**key, GrantPermissions=grant)
    client.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    client.untag_resource(ResourceArn=arn, TagKeys=["a"])
    schedule = {"ScheduleId": "s", "RefreshType": "FULL_REFRESH", "ScheduleFrequency": {"Interval": "HOURLY"}}
    client.create_refresh_schedule(**key, Schedule=schedule)
    with pytest.raises(ClientError) as error:
        client.create_refresh_schedule(**key, Schedule=schedule)
    assert code(error) == ("ResourceExistsException", 409)
    aws.restart(signal.SIGKILL)
    assert client.describe_data_set_permissions(**key)["Permissions"] == grant
    assert client.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    (found,) = client.list_refresh_schedules(**key)["RefreshSchedules"]
    assert found["ScheduleFrequency"] == {"Interval": "HOURLY"}
    client.delete_refresh_schedule(**key, ScheduleId="s")
    assert client.list_refresh_schedules(**key)["RefreshSchedules"] == []


def test_provisioning_twice_changes_nothing_and_a_change_just_what_it_concerns(athena: LocalAthena) -> None:
    client = athena.aws.client("quicksight")
    person, called = athena.aws.client("quicksight"), set[str]()
    client.meta.events.register("before-call", lambda model, **_: called.add(f"quicksight:{model.name}"))
    person.register_user(
        AwsAccountId=ACCOUNT,
        Namespace="default",
        UserName="reader",
        Email="reader@example.org",
        IdentityType="QUICKSIGHT",
        UserRole="READER",
    )
    settings = Settings(database=athena.database(), workgroup="primary", quicksight_principals=(READER,))
    definition = load(topics("football", "music"))
    done = ensure(client, definition, settings, ACCOUNT)
    assert len(done) == 7
    assert all(change.startswith("created ") for change in done)
    assert ensure(client, definition, settings, ACCOUNT) == []

    def ids(kind: str) -> list[str]:
        found = assets(definition, settings, ACCOUNT, "us-east-1")
        return [asset.identity for asset in found if asset.kind == kind]

    shown = requests.get(
        f"{athena.aws.endpoint}/_local/quicksight/dashboards/{ids('dashboard')[0]}", auth=LOGIN, timeout=10
    )
    assert (shown.status_code, "Opinion over time" in shown.text) == (200, True)
    more = load(topics("football", "music", "chess"))
    assert ensure(client, more, settings, ACCOUNT) == [
        f"updated dashboard {name}" for name in ids("dashboard")
    ]
    key = {"AwsAccountId": ACCOUNT, "DashboardId": ids("dashboard")[0]}
    assert client.describe_dashboard(**key)["Dashboard"]["Version"]["VersionNumber"] == 2
    nobody = settings.model_copy(update={"quicksight_principals": ()})
    # Data source and data sets are nobody's: an author could query the lake's texts by them.
    assert ensure(client, more, nobody, ACCOUNT) == [
        f"changed permissions of dashboard {name}" for name in ids("dashboard")
    ]
    # Without its data set a dashboard cannot be changed; QuickSight's reason is told.
    person.untag_resource(ResourceArn=f"{ARN}:dataset/{ids('data_set')[0]}", TagKeys=["definition"])
    assert ensure(client, more, nobody, ACCOUNT) == [f"updated data set {ids('data_set')[0]}"]
    missing = settings.model_copy(update={"workgroup": "nowhere"})
    with pytest.raises(QuickSightError, match=r"data source .* is UPDATE_FAILED: GENERIC_SQL_FAILURE"):
        ensure(client, more, missing, ACCOUNT)
    # What never worked is made again.
    (source,) = ids("data_source")
    person.delete_data_source(AwsAccountId=ACCOUNT, DataSourceId=source)
    with pytest.raises(QuickSightError, match=r"data source .* is CREATION_FAILED: GENERIC_SQL_FAILURE"):
        ensure(client, more, missing, ACCOUNT)
    assert f"created data source {source}" in ensure(client, more, nobody, ACCOUNT)
    assert called <= allowed("Dashboards"), "infra/lake.yaml does not allow what provisioning does"


def allowed(statement: str) -> set[str]:
    """The actions that Airflow's policy allows in one of its statements."""
    policy = Template.load(ROOT / "infra" / "lake.yaml").resources["PipelinePolicy"]
    statements = policy["Properties"]["PolicyDocument"]["Statement"]
    return set(next(each["Action"] for each in statements if each["Sid"] == statement))


def test_athena_and_the_page_agree_on_generated_measures(athena: LocalAthena, tmp_path: Path) -> None:
    choose = random.Random(7)
    rows = generated_rows(choose, 40)
    sums, expected = [], []
    for number in range(12):
        definition = generated_definition(choose, tmp_path / f"{number}.yaml", measures=1)
        shown = definition.dashboards["one"]
        found = page.evaluate(shown, table(definition.data_sets["facts"], rows))
        for tile, figures in zip(shown.tiles, found["tiles"], strict=True):
            sql = to_sql(tile.measure.formulas["value"].resolved)
            # Trino's analysis of one statement is what this costs; the longest say nothing more.
            if len(sql) < 1500:
                sums.append(sql)
                expected.append(figures["value"])

    def literal(value: Any) -> str:
        if value is None:
            return "NULL"
        return f"'{value}'" if isinstance(value, str) else repr(float(value)) + "e0"

    values = ", ".join(
        f"({', '.join(literal(row[name]) for name in ('topic', 'lang', 'a', 'b'))})" for row in rows
    )
    header, answer = athena.rows(
        f"SELECT {', '.join(f'{sql} AS m{n}' for n, sql in enumerate(sums))} "
        f"FROM (VALUES {values}) AS t (topic, lang, a, b)"
    )
    assert len(header) == len(expected) > 10
    for sql, ours, theirs in zip(sums, expected, answer, strict=True):
        assert same(ours, None if theirs is None else float(theirs)), sql

"""The unmodified databricks-sdk against the local Databricks, and rejections as Databricks words them."""

from __future__ import annotations

import io
import logging
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import (
    AlreadyExists,
    InvalidParameterValue,
    NotFound,
    PermissionDenied,
    ResourceDoesNotExist,
)
from databricks.sdk.service import compute, iam, jobs

from local.credentials import USERNAME
from tests.credentials import CREDENTIALS
from tests.local.support_databricks import (
    CLUSTER,
    TOKEN,
    VOLUME,
    WHEEL,
    LocalDatabricks,
    task,
    wheel,
    work,
)

SOON = timedelta(seconds=60)


@pytest.fixture(scope="module")
def databricks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabricks]:
    server = LocalDatabricks(tmp_path_factory.mktemp("databricks")).start()
    server.client.files.upload(WHEEL, io.BytesIO(wheel()), overwrite=True)
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def client(databricks: LocalDatabricks) -> WorkspaceClient:
    return databricks.client


def sdk_task(key: str, entry_point: str, *after: str) -> dict[str, Any]:
    return {
        "task_key": key,
        "job_cluster_key": "shared",
        "libraries": [compute.Library(whl=WHEEL)],
        "python_wheel_task": jobs.PythonWheelTask(package_name="tiny", entry_point=entry_point),
        "depends_on": [jobs.TaskDependency(task_key=other) for other in after],
    }


SHARED = [
    jobs.JobCluster(
        job_cluster_key="shared",
        new_cluster=compute.ClusterSpec(
            spark_version=str(CLUSTER["spark_version"]),
            node_type_id=str(CLUSTER["node_type_id"]),
            num_workers=0,
        ),
    )
]


def create(client: WorkspaceClient, name: str, *tasks: dict[str, Any], **more: Any) -> int:
    made = client.jobs.create(
        name=name, tasks=[jobs.Task(**each) for each in tasks], job_clusters=SHARED, **more
    )
    assert made.job_id
    return made.job_id


def test_a_one_time_run_is_waited_for(client: WorkspaceClient) -> None:
    serverless = [
        jobs.JobEnvironment(
            environment_key="shared",
            spec=compute.Environment(environment_version="2", dependencies=[WHEEL]),
        )
    ]
    program = jobs.PythonWheelTask(package_name="tiny", entry_point="echo", parameters=["a"])
    submitted = jobs.SubmitTask(task_key="say", environment_key="shared", python_wheel_task=program)
    run = client.jobs.submit_and_wait(
        run_name="once", tasks=[submitted], environments=serverless, timeout=SOON
    )
    assert run.state
    assert run.state.result_state == jobs.RunResultState.SUCCESS
    assert run.status
    assert run.status.state == jobs.RunLifecycleStateV2State.TERMINATED
    assert run.tasks
    assert run.tasks[0].run_id
    output = client.jobs.get_run_output(run.tasks[0].run_id)
    assert output.logs
    assert output.logs.startswith("arguments a\n")
    assert output.logs_truncated is False


def test_a_job_s_life(client: WorkspaceClient) -> None:
    job_id = create(client, "life", sdk_task("say", "echo"), tags={"a": "b"})
    kept = client.jobs.get(job_id)
    assert kept.settings
    assert kept.settings.name == "life"
    assert kept.settings.tags == {"a": "b"}
    assert [job.job_id for job in client.jobs.list(name="life")] == [job_id]
    client.jobs.update(job_id, new_settings=jobs.JobSettings(name="renamed"), fields_to_remove=["tags"])
    renamed = client.jobs.get(job_id).settings
    assert renamed
    assert renamed.name == "renamed"
    assert renamed.tags is None
    assert renamed.tasks
    replaced = jobs.JobSettings(
        name="reset", tasks=[jobs.Task(**sdk_task("only", "fail"))], job_clusters=SHARED
    )
    client.jobs.reset(job_id, replaced)
    run = client.jobs.run_now(job_id).result(timeout=SOON)
    assert run.state
    assert run.state.result_state == jobs.RunResultState.FAILED
    assert [found.run_id for found in client.jobs.list_runs(job_id=job_id)] == [run.run_id]
    client.jobs.delete_run(run.run_id or 0)
    client.jobs.delete(job_id)
    with pytest.raises(ResourceDoesNotExist):
        client.jobs.get(job_id)
    with pytest.raises(ResourceDoesNotExist):
        client.jobs.get_run(run.run_id or 0)


def test_jobs_come_in_pages(client: WorkspaceClient) -> None:
    made = [create(client, "paged", sdk_task("say", "echo")) for _ in range(3)]
    assert [job.job_id for job in client.jobs.list(name="paged", limit=2)] == made[::-1]


def test_job_parameters_reach_a_wheel_by_name(client: WorkspaceClient) -> None:
    job_id = create(
        client,
        "parameters",
        sdk_task("say", "echo"),
        parameters=[jobs.JobParameterDefinition(name=name, default=name) for name in ("a", "b")],
    )
    run = client.jobs.run_now(job_id, job_parameters={"b": "given"}).result(timeout=SOON)
    assert run.tasks
    output = client.jobs.get_run_output(run.tasks[0].run_id or 0)
    assert output.logs
    assert output.logs.startswith("arguments --a=a --b=given\n")
    with pytest.raises(InvalidParameterValue, match="'c' is not defined"):
        client.jobs.run_now(job_id, job_parameters={"c": "1"})


def test_a_run_is_canceled_and_repaired(client: WorkspaceClient) -> None:
    job_id = create(client, "canceled", sdk_task("bad", "fail"), sdk_task("after", "echo", "bad"))
    run = client.jobs.run_now(job_id).result(timeout=SOON)
    client.jobs.repair_run(run.run_id or 0, rerun_all_failed_tasks=True).result(timeout=SOON)
    history = client.jobs.get_run(run.run_id or 0, include_history=True).repair_history
    assert history
    assert [entry.type for entry in history] == [
        jobs.RepairHistoryItemType.ORIGINAL,
        jobs.RepairHistoryItemType.REPAIR,
    ]
    client.jobs.cancel_run_and_wait(run.run_id or 0, timeout=SOON)


def test_permissions_are_kept(client: WorkspaceClient) -> None:
    job_id = create(client, "permitted", sdk_task("say", "echo"))
    entry = iam.AccessControlRequest(group_name="people", permission_level=iam.PermissionLevel.CAN_VIEW)
    client.permissions.update("jobs", str(job_id), access_control_list=[entry])
    listed = client.permissions.get("jobs", str(job_id)).access_control_list
    assert listed
    assert [each.group_name for each in listed if each.group_name] == ["people"]


def test_files_are_staged_in_a_volume(client: WorkspaceClient) -> None:
    folder = f"{VOLUME}/staged"
    client.files.create_directory(folder)
    client.files.upload(f"{folder}/a b.txt", io.BytesIO(b"first"))
    with pytest.raises(AlreadyExists):
        client.files.upload(f"{folder}/a b.txt", io.BytesIO(b"second"))
    client.files.upload(f"{folder}/a b.txt", io.BytesIO(b"second"), overwrite=True)
    assert client.files.get_metadata(f"{folder}/a b.txt").content_length == 6
    contents = client.files.download(f"{folder}/a b.txt").contents
    assert contents
    assert contents.read() == b"second"
    assert [entry.name for entry in client.files.list_directory_contents(folder)] == ["a b.txt"]
    client.files.delete(f"{folder}/a b.txt")
    client.files.delete_directory(folder)
    with pytest.raises(NotFound):
        client.files.download(f"{folder}/a b.txt")
    with pytest.raises(NotFound, match="does not exist"):
        client.files.upload("/Volumes/main/x_opinion/nobody/a.txt", io.BytesIO(b""))


def raw(client: WorkspaceClient, method: str, path: str, **options: Any) -> requests.Response:
    headers = {**client.config.authenticate(), **options.pop("headers", {})}
    return requests.request(method, f"{client.config.host}{path}", headers=headers, timeout=60, **options)


def contents_of(client: WorkspaceClient, path: str) -> bytes:
    contents = client.files.download(path).contents
    assert contents
    return contents.read()


def test_names_are_decoded_once(client: WorkspaceClient) -> None:
    names = ["a b", "a%20b", "a%2520b", "a+b", "a?b", "a#b", "ä"]
    for name in names:
        client.files.upload(f"{VOLUME}/names/{name}", io.BytesIO(name.encode()))
    assert {name: contents_of(client, f"{VOLUME}/names/{name}").decode() for name in names} == {
        name: name for name in names
    }
    listed = client.files.list_directory_contents(f"{VOLUME}/names")
    assert sorted(entry.name or "" for entry in listed) == sorted(names)


@pytest.mark.parametrize("parallel", [True, False], ids=["parallel", "one thread"])
def test_a_large_file_is_uploaded_in_parts_and_downloaded_in_ranges(
    client: WorkspaceClient, tmp_path: Path, caplog: pytest.LogCaptureFixture, parallel: bool
) -> None:
    content = random.Random(1).randbytes(60 * 2**20 + 1)
    path, copy = f"{VOLUME}/large-{parallel}.bin", tmp_path / "copy"
    with caplog.at_level(logging.INFO, "databricks.sdk"):
        client.files.upload(path, io.BytesIO(content), use_parallel=parallel)
    assert "single-shot" not in caplog.text
    with pytest.raises(AlreadyExists):
        client.files.upload(path, io.BytesIO(content), overwrite=False, use_parallel=parallel)
    client.files.download_to(path, str(copy), overwrite=True, use_parallel=parallel)
    assert copy.read_bytes() == content
    client.files.delete(path)


@pytest.mark.parametrize(
    ("asked", "status", "body", "stretch"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
    ],
)
def test_a_range_of_a_file_is_given(
    client: WorkspaceClient, asked: str, status: int, body: bytes | None, stretch: str | None
) -> None:
    client.files.upload(f"{VOLUME}/digits", io.BytesIO(b"0123456789"), overwrite=True)
    answer = raw(client, "GET", f"/api/2.0/fs/files{VOLUME}/digits", headers={"Range": asked})
    assert (answer.status_code, answer.headers.get("Content-Range")) == (status, stretch)
    if body is None:
        assert answer.json()["error_code"] == "REQUESTED_RANGE_NOT_SATISFIABLE"
    else:
        assert answer.content == body


def test_a_file_that_changed_between_two_ranges_is_not_mixed(client: WorkspaceClient) -> None:
    client.files.upload(f"{VOLUME}/digits", io.BytesIO(b"0123456789"), overwrite=True)
    headers = {"If-Unmodified-Since": "Thu, 01 Jan 2026 00:00:00 GMT"}
    answer = raw(client, "GET", f"/api/2.0/fs/files{VOLUME}/digits", headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (412, "PRECONDITION_FAILED")


def test_an_upload_in_parts_is_rejected_where_it_is_wrong(client: WorkspaceClient) -> None:
    path = f"/api/2.0/fs/files{VOLUME}/parts"
    begun = raw(client, "POST", path, params={"action": "initiate-upload"}).json()
    token = begun["multipart_upload"]["session_token"]
    asked = {"path": f"{VOLUME}/parts", "session_token": token, "start_part_number": 1, "count": 2}
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    def urls(**changes: Any) -> requests.Response:
        body = {**asked, "expire_time": soon, **changes}
        return raw(client, "POST", "/api/2.0/fs/create-upload-part-urls", json=body)

    def complete(*parts: tuple[int, str]) -> requests.Response:
        named = [{"part_number": number, "etag": etag} for number, etag in parts]
        query = {"action": "complete-upload", "upload_type": "multipart", "session_token": token}
        return raw(client, "POST", path, params=query, json={"parts": named})

    assert urls(session_token="0" * 32).status_code == 404
    assert urls(path=f"{VOLUME}/other").status_code == 400
    assert urls(count=20_000).status_code == 400
    assert urls(expire_time="yesterday").status_code == 400
    first, second = (part["url"] for part in urls().json()["upload_part_urls"])
    forged = requests.put(first.replace("/1?", "/3?"), data=b"x", timeout=60)
    assert (forged.status_code, "SignatureDoesNotMatch" in forged.text) == (403, True)
    tags = [requests.put(url, data=b"x", timeout=60).headers["ETag"] for url in (first, second)]
    assert "5 MiB" in complete((1, tags[0]), (2, tags[1])).json()["message"]
    assert "ascending" in complete((2, tags[1]), (1, tags[0])).json()["message"]
    assert "Part 2" in complete((2, '"another"')).json()["message"]
    assert complete((2, tags[1])).status_code == 200
    assert contents_of(client, f"{VOLUME}/parts") == b"x"
    assert complete((2, tags[1])).status_code == 404, "the session has ended"


def test_an_upload_that_is_aborted_leaves_nothing(client: WorkspaceClient) -> None:
    path = f"/api/2.0/fs/files{VOLUME}/aborted"
    begun = raw(client, "POST", path, params={"action": "initiate-upload"}).json()
    body = {
        "path": f"{VOLUME}/aborted",
        "session_token": begun["multipart_upload"]["session_token"],
        "expire_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }
    address = raw(client, "POST", "/api/2.0/fs/create-abort-upload-url", json=body).json()
    url = address["abort_upload_url"]["url"]
    assert requests.delete(url, timeout=60).status_code == 200
    again = requests.delete(url, timeout=60)
    assert (again.status_code, "NoSuchUpload" in again.text) == (404, True)
    with pytest.raises(NotFound):
        client.files.download(f"{VOLUME}/aborted")


def test_spark_versions_and_the_user_are_told(client: WorkspaceClient) -> None:
    versions = client.clusters.spark_versions().versions
    assert versions
    assert CLUSTER["spark_version"] in [version.key for version in versions]
    assert client.current_user.me().user_name


WRONG = {
    "no task": ({"tasks": []}, "At least one task"),
    "twice the same key": (work(task("a", "echo"), task("a", "echo")), "Duplicate task_key 'a'"),
    "a key with a space": (work(task("a b", "echo")), "Invalid task_key"),
    "depends on nothing": (work(task("a", "echo", "b")), "'b', which does not exist"),
    "a circle": (work(task("a", "echo", "b"), task("b", "echo", "a")), "form a cycle"),
    "an unknown cluster": ({"tasks": [task("a", "echo")]}, "'shared' is not defined"),
    "an existing cluster": (
        work({**task("a", "echo"), "job_cluster_key": None, "existing_cluster_id": "1"}),
        "Cluster 1 does not exist",
    ),
    "no entry point": (
        work({**task("a", "echo"), "python_wheel_task": {"package_name": "tiny"}}),
        "entry_point",
    ),
    "an unknown runtime": (
        {
            **work(task("a", "echo")),
            "job_clusters": [
                {"job_cluster_key": "shared", "new_cluster": {**CLUSTER, "spark_version": "1.0.x"}}
            ],
        },
        "Invalid spark version 1.0.x",
    ),
    "a number that is none": (work(task("a", "echo", timeout_seconds="soon")), "timeout_seconds"),
    "a long token": ({**work(task("a", "echo")), "idempotency_token": "t" * 65}, "at most 64"),
    "a circumstance": (work(task("a", "echo", run_if="SOMETIMES")), "run_if must be one of"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_rejected(databricks: LocalDatabricks, name: str) -> None:
    body, message = WRONG[name]
    answer = databricks.call("POST", "2.2/jobs/runs/submit", **body)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert message in answer.json()["message"]


def test_what_is_not_offered_is_rejected_and_never_run(databricks: LocalDatabricks) -> None:
    notebook = {"task_key": "a", "job_cluster_key": "shared", "notebook_task": {"notebook_path": "/Shared/n"}}
    answer = databricks.call("POST", "2.2/jobs/runs/submit", **work(notebook))
    assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    answer = databricks.call("POST", "2.0/sql/statements")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("2.2/jobs/runs/get", {"run_id": 1}, "Run 1 does not exist"),
        ("2.1/jobs/get", {"job_id": 1}, "Job 1 does not exist"),
        ("2.2/jobs/runs/get", {}, "run_id"),
        ("2.2/jobs/runs/list", {"limit": 26}, "between 1 and 25"),
        ("2.2/jobs/list", {"limit": 101}, "between 1 and 100"),
        ("2.2/jobs/list", {"page_token": "x"}, "page token"),
        ("2.2/jobs/runs/list", {"active_only": "true", "completed_only": "true"}, "cannot both"),
    ],
)
def test_what_does_not_exist_or_is_out_of_range_is_rejected(
    databricks: LocalDatabricks, path: str, body: dict[str, Any], message: str
) -> None:
    answer = databricks.call("GET", path, **body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert message in answer.json()["message"]


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [(None, 401, "UNAUTHENTICATED"), ("another", 403, "PERMISSION_DENIED")],
)
def test_nobody_gets_in_without_the_token(
    databricks: LocalDatabricks, token: str | None, status: int, code: str
) -> None:
    for method, path in (
        ("GET", "2.2/jobs/list"),
        ("PUT", f"2.0/fs/files{VOLUME}/a"),
        ("GET", "2.0/nothing"),
    ):
        answer = databricks.call(method, path, token)
        assert (answer.status_code, answer.json()["error_code"]) == (status, code)


def test_the_sdk_tells_a_wrong_token(databricks: LocalDatabricks) -> None:
    with pytest.raises(PermissionDenied):
        list(WorkspaceClient(host=databricks.url, token="another").jobs.list())


def test_no_path_leads_out_of_the_volumes(databricks: LocalDatabricks) -> None:
    for path in ("%2e%2e/%2e%2e/state.sqlite", "..%2f..%2fstate.sqlite"):
        answer = databricks.call("GET", f"2.0/fs/files{VOLUME}/{path}")
        assert answer.status_code in (400, 404)
        assert answer.json()["error_code"] in ("INVALID_PARAMETER_VALUE", "NOT_FOUND", "ENDPOINT_NOT_FOUND")


def test_a_browser_is_shown_what_it_is_and_after_login_the_runs(databricks: LocalDatabricks) -> None:
    run_id = databricks.call("POST", "2.2/jobs/runs/submit", **work(task("say", "echo"))).json()["run_id"]
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    front = requests.get(f"{databricks.url}/", headers=browser, timeout=60)
    assert (front.status_code, front.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert 'href="/jobs/"' in front.text
    assert TOKEN not in front.text
    assert requests.get(f"{databricks.url}/jobs/", headers=browser, timeout=60).status_code == 401
    login = (USERNAME, CREDENTIALS.password)
    listed = requests.get(f"{databricks.url}/jobs/", headers=browser, auth=login, timeout=60)
    assert f"/runs/{run_id}" in listed.text
    foreign = requests.get(f"{databricks.url}/", headers={**browser, "Host": "evil.example"}, timeout=60)
    assert foreign.status_code == 403
    assert requests.get(f"{databricks.url}/", timeout=60).status_code == 404, "a client of the API"

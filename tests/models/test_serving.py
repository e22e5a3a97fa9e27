"""An artifact answers the same in AWS's own serving code and in the local AWS's container."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.support_artifacts import (
    JSON_LINES,
    LABELING,
    asked,
    asked_of_aws,
    encoder,
    lines,
    stand_in,
    translator,
)

RECORDS: list[dict[str, Any]] = [
    {"id": "1", "lang": "ru", "text": "@anna люблю мир https://t.co/a #мир 😀"},
    {"id": "2", "lang": "en", "text": "what a terrible, sad day"},
    {"id": "3", "lang": "uk", "text": "мир\nвійна &amp; \u2028"},
    {"id": "4", "lang": "hi", "text": "नमस्ते"},
    {"id": "5", "lang": "ru", "text": "half \ud83d"},
    {"id": "6", "lang": "ru", "text": " "},
]
BODY = lines(RECORDS[:3]) + b"{broken\n\n[1]\n" + lines(RECORDS[3:])
ENVIRONMENT = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": JSON_LINES}


@pytest.fixture(scope="module", params=["ngram", "encoder", "translator"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hub: Path) -> Path:
    target = tmp_path_factory.mktemp("artifacts") / request.param
    if request.param == "ngram":
        return LABELING / "ngram"
    return encoder(target, hub) if request.param == "encoder" else translator(target, hub, ["ru", "uk"])


def same(folder: Path, body: bytes, **headers: str) -> tuple[int, str, bytes]:
    """The answer that both give to a request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    [aws] = asked_of_aws(folder, [(body, named)], **ENVIRONMENT)
    with stand_in(folder, **ENVIRONMENT) as connection:
        status, media, answer = asked(connection, body, **headers)
    assert status == aws[0]
    if status == 200:
        assert (media, answer) == aws[1:]
    else:
        assert answer.partition(b"\n")[0] == aws[2].partition(b"\n")[0]
    return status, media, answer


def test_every_line_is_answered_in_its_order_and_broken_ones_with_their_error(artifact: Path) -> None:
    status, media, answer = same(artifact, BODY, Content_Type=JSON_LINES, Accept=JSON_LINES)
    assert (status, media) == (200, JSON_LINES)
    answers = [json.loads(line) for line in answer.splitlines()]
    assert [each["id"] for each in answers] == ["1", "2", "3", None, None, "4", "5", "6"]
    assert "error" not in answers[0]
    assert all("error" in answers[at] for at in (3, 4, 7))


@pytest.mark.parametrize("accept", [{}, {"Accept": "*/*"}])
def test_without_a_wanted_format_the_answer_is_json_lines(artifact: Path, accept: dict[str, str]) -> None:
    status, media, _ = same(artifact, lines(RECORDS), Content_Type=JSON_LINES, **accept)
    assert (status, media) == (200, JSON_LINES)


@pytest.mark.parametrize("headers", [{"Content_Type": "text/csv"}, {"Accept": "text/csv"}])
def test_another_format_is_an_error_of_the_server_that_names_the_right_one(
    artifact: Path, headers: dict[str, str]
) -> None:
    given = {"Content_Type": JSON_LINES, "Accept": JSON_LINES, **headers}
    status, _, answer = same(artifact, lines(RECORDS), **given)
    assert status == 500
    assert JSON_LINES.encode() in answer.partition(b"\n")[0]


HANDLERS = """
import json
def model_fn(folder): return folder
{}
"""


@pytest.mark.parametrize(
    "script",
    [
        "def transform_fn(model, data, content_type, accept): return type(data).__name__, 'text/plain'",
        "def transform_fn(model, data, content_type, accept, context): return f'{content_type} {accept}'",
        "def transform_fn(model, data, content_type): return ''",
        "def transform_fn(*arguments): return ''",
        "def transform_fn(model, data, content_type, accept): raise KeyError('lost')",
        """def input_fn(data, content_type): return data
def predict_fn(data, model, context): return data
def output_fn(data, accept): return bytes(data)""",
    ],
)
@pytest.mark.parametrize("kind", [JSON_LINES, "application/json", "text/csv"])
def test_handlers_of_any_form_are_called_alike(tmp_path: Path, script: str, kind: str) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(HANDLERS.format(script))
    same(tmp_path, b'{"a": 1}', Content_Type=kind, Accept="text/plain")


@pytest.mark.parametrize(
    "script",
    ["def transform_fn(a, b, c, d): pass\ndef input_fn(a, b): pass", "raise OSError('weights are missing')"],
)
def test_handlers_that_do_not_load_start_neither(tmp_path: Path, script: str) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(HANDLERS.format(script))
    with pytest.raises(RuntimeError):
        asked_of_aws(tmp_path, [], **ENVIRONMENT)
    with pytest.raises(IndexError), stand_in(tmp_path, **ENVIRONMENT):
        pass


SLOW = "import time\ndef transform_fn(model, data, content_type, accept):\n    time.sleep(60)"


def test_a_worker_that_does_not_answer_in_time_is_given_up_as_by_torchserve(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(HANDLERS.format(SLOW))
    with (
        stand_in(tmp_path, SAGEMAKER_MODEL_SERVER_TIMEOUT="1") as connection,
        pytest.raises(http.client.RemoteDisconnected),
    ):
        asked(connection, b"")


def test_more_than_torchserve_takes_is_rejected(tmp_path: Path) -> None:
    echo = "def transform_fn(model, data, content_type, accept): return bytes(data) * 2"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(HANDLERS.format(echo))
    with stand_in(tmp_path) as connection:
        assert asked(connection, b"x" * 3_000_000)[0] == 200
        assert asked(connection, b"x" * 4_000_000)[0] == 500
        assert asked(connection, b"x" * 7_000_000)[0] == 413

"""The models that `make run` is told to label with."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.labeling import archive
from include.settings import Settings
from local import models
from local.aws import interpreters
from local.models import ChosenModelError, choose
from local.world import RunError, RunOptions, prepared


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `make models` has packed: e5 and roberta, which label, and opus-mt, which translates."""
    folder = tmp_path / "dist" / "models"
    monkeypatch.setattr(models, "PACKED", folder)
    for name, task in (("e5", "sentiment"), ("roberta", "sentiment"), ("opus-mt", "translation")):
        make(tmp_path / name, task)
        (folder / name).mkdir(parents=True)
        archive.pack(tmp_path / name, folder / name / "model.tar.gz")
    return folder


def make(folder: Path, task: str, requirements: str = "numpy") -> Path:
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(f"# {folder.name}\n")
    (folder / "code" / "requirements.txt").write_text(requirements)
    (folder / "card.json").write_text(json.dumps({"engine": folder.name, "task": task}))
    return folder


def test_packed_models_are_found_by_name_and_used_for_their_task(packed: Path, tmp_path: Path) -> None:
    chosen = choose(["opus-mt", "e5"], None, None, tmp_path)
    assert chosen.settings() == {
        "OPINION_SENTIMENT_ARTIFACT": str(packed / "e5" / "model.tar.gz"),
        "OPINION_TRANSLATION_ARTIFACT": str(packed / "opus-mt" / "model.tar.gz"),
    }
    assert choose(["e5", "opus-mt"], None, None, tmp_path).identity == chosen.identity
    assert choose(["e5"], None, None, tmp_path).identity != chosen.identity
    assert choose([], None, None, tmp_path).identity == b""


def test_an_embedded_model_is_found_by_name_and_a_packed_one_of_its_name_goes_before_it(
    packed: Path, tmp_path: Path
) -> None:
    ngram = Path(Settings().sentiment_artifact).with_name("ngram")
    assert choose(["ngram"], None, None, tmp_path).paths == {"sentiment": ngram}
    shutil.rmtree(packed / "e5")
    default = Path(Settings().sentiment_artifact)
    assert choose(["e5"], None, None, tmp_path).paths == {"sentiment": default}


def test_a_path_is_a_folder_or_an_archive(packed: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "e5", packed / "opus-mt" / "model.tar.gz"
    chosen = choose([], str(folder), str(file), tmp_path)
    assert chosen.paths == {"sentiment": folder, "translation": file}
    before = chosen.identity
    (folder / "weights").write_text("other")
    assert choose([], str(folder), str(file), tmp_path).identity != before


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="shop")
        yield "shop"


def test_what_lies_in_s3_is_fetched(packed: Path, tmp_path: Path, bucket: str) -> None:
    body = (packed / "e5" / "model.tar.gz").read_bytes()
    boto3.client("s3").put_object(Bucket=bucket, Key="models/e5/model.tar.gz", Body=body)
    chosen = choose([], f"s3://{bucket}/models/e5/model.tar.gz", None, tmp_path / "fetched")
    assert chosen.paths["sentiment"] == tmp_path / "fetched" / "e5" / "model.tar.gz"
    assert chosen.identity == choose(["e5"], None, None, tmp_path).identity
    with pytest.raises(ChosenModelError, match=r"s3://shop/none\.tar\.gz cannot be read with your AWS cred"):
        choose([], f"s3://{bucket}/none.tar.gz", None, tmp_path / "fetched")


def test_a_run_with_other_models_has_a_world_of_its_own_and_the_pipeline_is_told_of_them(
    packed: Path, tmp_path: Path
) -> None:
    def world(**options: Any) -> tuple[Path, str]:
        with prepared(RunOptions(run_dir=tmp_path / "run", **options), ()) as started:
            return started.folder, started.settings.sentiment_artifact

    default, e5 = world(), world(models=("e5",))
    assert e5[1] == str(packed / "e5" / "model.tar.gz")
    assert default[0] != e5[0]
    assert default[1] != e5[1]
    assert (world(), world(models=("e5",))) == (default, e5)
    assert world(sentiment=str(tmp_path / "roberta"))[0] not in (default[0], e5[0])


def test_what_cannot_be_used_is_one_sentence_before_anything_starts(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "_PACK_ENVIRONMENT", tmp_path / "absent")
    shutil.rmtree(packed / "roberta")
    (packed / "opus-mt" / "model.tar.gz").write_bytes(b"no archive")
    needy = make(tmp_path / "needy", "sentiment", "ctranslate2==4.8.5")
    empty = tmp_path / "empty.tar.gz"
    with tarfile.open(empty, "w:gz"):
        pass
    rejected: list[tuple[dict[str, Any], str]] = [
        ({"models": ("roberta",)}, "roberta is not packed yet: run `make models MODEL=roberta`"),
        ({"models": ("opus-mt",)}, "it is not an archive"),
        ({"models": ("e5",), "sentiment": str(needy)}, "is a second sentiment model"),
        ({"sentiment": str(needy)}, "asks for ctranslate2==4.8.5, .* run `python3 tools/setup.py pack`"),
        ({"sentiment": str(packed)}, "it has no code/inference.py"),
        ({"sentiment": str(empty)}, "it has no code/inference.py"),
    ]
    for options, reason in rejected:
        run = RunOptions(run_dir=tmp_path / "run", **options)
        with pytest.raises(RunError, match=reason), prepared(run, ()):
            pass

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.labeling import archive, models
from include.labeling.images import serving_image
from include.lake import cards, layout, storage
from include.settings import Settings

BUCKET = "lake"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ngram"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text("def model_fn(folder): ...\n")
    (folder / "weights.npz").write_bytes(b"\x00\x01")
    (folder / "README.md").write_text("the card")
    return folder


def packed(folder: Path) -> bytes:
    path = folder.with_suffix(".tar.gz")
    archive.pack(folder, path)
    return path.read_bytes()


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(bucket=BUCKET, sentiment_artifact=str(folder))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        yield boto3.client("sagemaker"), s3


def test_a_missing_folder_names_the_setting_to_change(aws: tuple[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(models.ModelError, match="OPINION_SENTIMENT_ARTIFACT"):
        models.resolve(Settings(sentiment_artifact=str(tmp_path / "gone")), aws[1])


def test_ensuring_uploads_and_creates_once(aws: tuple[Any, Any], settings: Settings, folder: Path) -> None:
    sagemaker, s3 = aws
    model = models.resolve(settings, s3).sentiment
    assert models.ensure(sagemaker, s3, settings) == [model.name]
    created = sagemaker.describe_model(ModelName=model.name)
    assert created["PrimaryContainer"]["ModelDataUrl"] == model.artifact_uri
    assert created["PrimaryContainer"]["Image"] == serving_image("us-east-1")
    key = model.artifact_uri.removeprefix(f"s3://{BUCKET}/")
    before = s3.head_object(Bucket=BUCKET, Key=key)
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == packed(folder)
    assert models.ensure(sagemaker, s3, settings) == []
    assert s3.head_object(Bucket=BUCKET, Key=key)["LastModified"] == before["LastModified"]
    assert len(sagemaker.list_models()["Models"]) == 1


def evil(folder: Path) -> bytes:
    """The archive of a model that does something else."""
    (folder / "code" / "inference.py").write_text("import os\n")
    return packed(folder)


def test_what_was_put_in_the_place_of_an_artifact_makes_no_model(
    aws: tuple[Any, Any], settings: Settings, folder: Path, tmp_path: Path
) -> None:
    sagemaker, s3 = aws
    model = models.resolve(settings, s3).sentiment
    _, key = storage.split_address(model.artifact_uri)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for body in (evil(other), b"no archive", packed(folder)[:-20]):
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        with pytest.raises(models.ModelError, match="somebody has replaced it"):
            models.ensure_model(sagemaker, s3, settings, model)
        assert sagemaker.list_models()["Models"] == []
    s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(gzip.decompress(packed(folder)), 1))
    assert models.ensure(sagemaker, s3, settings) == [model.name], "the same content, packed elsewhere"


def test_an_artifact_that_is_replaced_later_is_not_used(
    aws: tuple[Any, Any], settings: Settings, folder: Path, tmp_path: Path
) -> None:
    sagemaker, s3 = aws
    model = models.resolve(settings, s3).sentiment
    models.ensure(sagemaker, s3, settings)
    _, key = storage.split_address(model.artifact_uri)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    s3.put_object(Bucket=BUCKET, Key=key, Body=evil(other))
    with pytest.raises(models.ModelError, match=r"delete it and SageMaker's model x-opinion-sentiment-"):
        models.ensure_model(sagemaker, s3, settings, model)
    s3.delete_object(Bucket=BUCKET, Key=key)
    assert models.ensure_model(sagemaker, s3, settings, model).created is False


def test_a_job_has_run_what_was_verified_only_where_nothing_was_written_since(
    aws: tuple[Any, Any], settings: Settings
) -> None:
    sagemaker, s3 = aws
    model = models.resolve(settings, s3).sentiment
    written = models.ensure_model(sagemaker, s3, settings, model).artifact_written
    models.check_unreplaced(s3, model.artifact_uri, written, written)
    second = timedelta(seconds=1)
    for then, began in ((written, written - second), (written - second, written)):
        with pytest.raises(models.ModelError, match="answers are not used"):
            models.check_unreplaced(s3, model.artifact_uri, then, began)


def test_a_changed_artifact_is_another_model_beside_the_old_one(
    aws: tuple[Any, Any], settings: Settings, folder: Path
) -> None:
    sagemaker, s3 = aws
    [old] = models.ensure(sagemaker, s3, settings)
    (folder / "weights.npz").write_bytes(b"\x00\x02")
    [new] = models.ensure(sagemaker, s3, settings)
    assert {entry["ModelName"] for entry in sagemaker.list_models()["Models"]} == {old, new}
    assert models.resolve(settings, s3).sentiment.engine.startswith("ngram-")


def test_another_container_image_is_another_model_with_the_same_engine(
    aws: tuple[Any, Any], settings: Settings
) -> None:
    other = settings.model_copy(update={"sagemaker_image": "1.dkr.ecr.us-east-1.amazonaws.com/other:1"})
    first, second = (models.resolve(each, aws[1]).sentiment for each in (settings, other))
    assert first.name != second.name
    assert first.engine == second.engine


@pytest.mark.parametrize("kept", [{}, {"ChecksumAlgorithm": "SHA256"}])
def test_an_archive_in_s3_is_named_by_its_content(
    aws: tuple[Any, Any], settings: Settings, kept: dict[str, str]
) -> None:
    _, s3 = aws
    uri = f"s3://{BUCKET}/store/opus-mt/model.tar.gz"
    configured = settings.model_copy(update={"translation_artifact": uri})
    with pytest.raises(models.ModelError, match="cannot be read"):
        models.resolve(configured, s3)
    s3.put_object(Bucket=BUCKET, Key="store/opus-mt/model.tar.gz", Body=b"1", **kept)
    first = models.resolve(configured, s3).translation
    s3.put_object(Bucket=BUCKET, Key="store/opus-mt/model.tar.gz", Body=b"2", **kept)
    second = models.resolve(configured, s3).translation
    s3.put_object(Bucket=BUCKET, Key="store/opus-mt/model.tar.gz", Body=b"1")
    assert models.resolve(configured, s3).translation == first
    assert first is not None
    assert second is not None
    assert first.engine.startswith("opus-mt-")
    assert first.artifact_uri == second.artifact_uri == uri
    assert first.name != second.name


@pytest.mark.parametrize("artifact", ["s3://lake/model.zip", "s3:///model.tar.gz"])
def test_an_address_of_no_archive_is_rejected(
    aws: tuple[Any, Any], settings: Settings, artifact: str
) -> None:
    with pytest.raises(models.ModelError, match=r"tar\.gz"):
        models.resolve(settings.model_copy(update={"sentiment_artifact": artifact}), aws[1])


def packed_with_card(folder: Path, path: Path, card: str | None) -> Path:
    """An archive of the folder with a card."""
    (folder / "card.json").unlink(missing_ok=True)
    if card is not None:
        (folder / "card.json").write_text(card)
    path.parent.mkdir(exist_ok=True)
    archive.pack(folder, path)
    return path


def test_an_archive_on_this_machine_is_the_same_model_as_its_folder(
    aws: tuple[Any, Any], settings: Settings, folder: Path, tmp_path: Path
) -> None:
    sagemaker, s3 = aws
    path = packed_with_card(folder, tmp_path / "e5" / "model.tar.gz", "{}")
    configured = settings.model_copy(update={"sentiment_artifact": str(path)})
    model = models.resolve(configured, s3).sentiment
    of_folder = models.resolve(settings, s3).sentiment
    assert (model.digest, model.artifact_uri, model.name) == (
        of_folder.digest,
        of_folder.artifact_uri,
        of_folder.name,
    )
    assert model.engine == f"e5-{model.digest[:12]}"
    assert models.ensure(sagemaker, s3, configured) == [model.name]
    bucket, key = storage.split_address(model.artifact_uri)
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == path.read_bytes()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(models.ModelError, match=r"model\.tar\.gz cannot be used: it is not an archive"):
        models.resolve(configured, s3)


@pytest.mark.parametrize("of", ["folder", "archive", "s3"])
def test_what_a_model_was_measured_on_is_kept_in_the_lake(
    aws: tuple[Any, Any], settings: Settings, folder: Path, tmp_path: Path, of: str
) -> None:
    sagemaker, s3 = aws
    path = packed_with_card(
        folder, tmp_path / "e5" / "model.tar.gz", '{"measured": {"de": {"macro_f1": 0.701}, "en": {}}}'
    )
    s3.put_object(Bucket=BUCKET, Key="e5.tar.gz", Body=path.read_bytes())
    artifact = {"folder": str(folder), "archive": str(path), "s3": f"s3://{BUCKET}/e5.tar.gz"}[of]
    configured = settings.model_copy(update={"sentiment_artifact": artifact})
    models.ensure(sagemaker, s3, configured)
    engine = models.resolve(configured, s3).sentiment.engine
    assert cards.measured(s3, BUCKET) == cards.Measured((f"{engine} de", f"{engine} en"), ())
    assert cards.scores(s3, BUCKET, engine) == {"de": 0.701}
    assert cards.scores(s3, BUCKET, "another") == {}
    s3.delete_object(Bucket=BUCKET, Key=layout.model_card_key("sentiment", engine))
    assert models.ensure(sagemaker, s3, configured) == []
    assert cards.is_kept(s3, BUCKET, "sentiment", engine), "kept again where it was lost"


def test_a_model_without_a_card_was_measured_on_nothing(aws: tuple[Any, Any], settings: Settings) -> None:
    sagemaker, s3 = aws
    models.ensure(sagemaker, s3, settings)
    assert cards.measured(s3, BUCKET) == cards.Measured((), ())


@pytest.mark.parametrize("card", ["{", "[]", '{"measured": ["de"]}'])
def test_a_malformed_card_is_told(
    aws: tuple[Any, Any], settings: Settings, folder: Path, tmp_path: Path, card: str
) -> None:
    sagemaker, s3 = aws
    packed_with_card(folder, tmp_path / "model.tar.gz", card)
    with pytest.raises(models.ModelError, match=r"card\.json in s3://lake/models/.* is malformed"):
        models.ensure(sagemaker, s3, settings)


def test_an_engines_name_is_plain(aws: tuple[Any, Any], settings: Settings, folder: Path) -> None:
    odd = folder.rename(folder.parent / "it's mine")
    with pytest.raises(models.ModelError, match="letters, digits"):
        models.resolve(settings.model_copy(update={"sentiment_artifact": str(odd)}), aws[1])


def test_without_a_translator_there_is_no_translation_model(aws: tuple[Any, Any], settings: Settings) -> None:
    assert models.resolve(settings, aws[1]).translation is None
    assert models.resolve(settings, aws[1]).of("translation") is None


def test_names_fit_sagemaker(aws: tuple[Any, Any], settings: Settings) -> None:
    name = models.resolve(settings, aws[1]).sentiment.name
    assert len(name) <= 63
    assert all(c.isascii() and (c.isalnum() or c == "-") for c in name)


def test_the_serving_image_is_that_of_the_region_unless_the_setting_names_one(
    aws: tuple[Any, Any], settings: Settings
) -> None:
    sagemaker, _ = aws
    s3 = boto3.client("s3", region_name="eu-central-1")
    model = models.resolve(settings, s3).sentiment
    models.ensure_model(sagemaker, s3, settings, model)
    image = sagemaker.describe_model(ModelName=model.name)["PrimaryContainer"]["Image"]
    assert image.startswith("763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-inference:")
    own = settings.model_copy(update={"sagemaker_image": "1.dkr.ecr.eu-central-1.amazonaws.com/own:1"})
    assert models.resolve(own, s3).sentiment.name != model.name


def test_a_region_without_a_known_image_names_the_setting() -> None:
    with pytest.raises(models.ModelError, match="set OPINION_SAGEMAKER_IMAGE"):
        serving_image("moon-1")

"""What `make models UPLOAD=1` puts into the bucket is a model that the settings can name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from include.labeling import archive, models
from include.settings import settings
from tests.credentials import AWS_ENVIRONMENT
from tests.local.support_aws import LocalAws
from tools.models import recipes
from tools.models.errors import PackError
from tools.models.upload import upload

ROOT = Path(__file__).parents[2]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "model.tar.gz"
    archive.pack(ROOT / "include" / "labeling" / "ngram", path)
    return path


@pytest.fixture
def environment(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    named = {"AWS_ENDPOINT_URL": aws.endpoint, "OPINION_BUCKET": "uploaded", **AWS_ENVIRONMENT}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("environment")
def test_an_uploaded_model_is_used_by_its_address_under_the_recipe_s_name(
    aws: LocalAws, packed: Path
) -> None:
    s3, sagemaker = aws.client("s3"), aws.client("sagemaker")
    with pytest.raises(PackError, match=r"s3://uploaded/models/.* could not be written"):
        upload(packed, recipes.of("twitter-roberta"))
    s3.create_bucket(Bucket="uploaded")
    address = upload(packed, recipes.of("twitter-roberta"))
    assert upload(packed, recipes.of("twitter-roberta")) == address
    configured = settings().model_copy(update={"sentiment_artifact": address})
    model = models.resolve(configured, s3).sentiment
    assert model.engine.startswith("twitter-roberta-")
    assert models.ensure(sagemaker, s3, configured) == [model.name]

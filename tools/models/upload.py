"""Puts a packed model into the lake's bucket, where SageMaker reads it."""

from __future__ import annotations

from pathlib import Path

from tools.models.errors import PackError
from tools.models.hub import sha256
from tools.models.recipes import Recipe


def upload(path: Path, recipe: Recipe) -> str:
    """Uploads the archive under its digest, with the SHA-256 that S3 keeps; returns its S3 address.

    The file's name names the engine. AWS is found as by the AWS CLI, the bucket by the setting
    ``OPINION_BUCKET``. Raises `PackError`.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    from include.lake import storage
    from include.lake.layout import model_key
    from include.settings import settings

    bucket = settings().bucket
    digest = sha256(path)
    stage = model_key(recipe.task, digest)
    key = f"{stage.rpartition('/')[0]}/{digest[:12]}/{recipe.name}.tar.gz"
    try:
        storage.put(boto3.client("s3"), bucket, key, path)
    except (BotoCoreError, ClientError, storage.StorageError) as error:
        raise PackError(f"s3://{bucket}/{key} could not be written: {error}.") from error
    return f"s3://{bucket}/{key}"

"""The SageMaker models: from a folder or a ``model.tar.gz`` to a model that a transform job can name.

Everything is named by a digest of what decides a model's answers, so a changed artefact is another model and
never answers under the old one's name.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from include.lake.layout import model_key
from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_sagemaker.client import SageMakerClient
    from types_boto3_sagemaker.type_defs import ContainerDefinitionTypeDef

SENTIMENT = "sentiment"
TRANSLATION = "translation"

NO_ENGINE = "none"
"""What the engine columns say where no model has answered."""

_DIGITS = 12
_ENTRY_POINT = "code/inference.py"
_NOT_PACKED = {".md", ".pyc"}
# SageMaker answers ValidationException for a model that is not there (its API reference promises nothing).
_ABSENT = "ValidationException"

log = logging.getLogger(__name__)


class ModelError(Exception):
    """A model's artefact that cannot be used; the message says what to set."""


@dataclass(frozen=True)
class Model:
    """One model as SageMaker knows it.

    ``name`` is its name in SageMaker, ``engine`` what the labeled table says of it (``ngram-<digest>``),
    ``artifact_uri`` the S3 address of its ``model.tar.gz``, ``digest`` the artefact's digest (hexadecimal
    SHA-256) and ``folder`` where it is packed from (None: it lies in S3 already).
    """

    stage: str
    name: str
    engine: str
    artifact_uri: str
    digest: str
    folder: Path | None


@dataclass(frozen=True)
class Models:
    """The models that the settings name; ``translation`` is None where no translator is configured."""

    sentiment: Model
    translation: Model | None

    def of(self, stage: str) -> Model | None:
        """The model of ``sentiment`` or ``translation``."""
        return {SENTIMENT: self.sentiment, TRANSLATION: self.translation}[stage]


def _packed_files(folder: Path) -> list[tuple[str, Path]]:
    """The files that go into the archive, with their names there, sorted."""
    files = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden and path.suffix not in _NOT_PACKED:
            files.append((name.as_posix(), path))
    if _ENTRY_POINT not in {name for name, _ in files}:
        raise ModelError(f"{folder} is no model: it has no {_ENTRY_POINT}")
    return sorted(files)


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of what `pack` packs: the model card is no part of a model."""
    digest = hashlib.sha256()
    for name, path in _packed_files(folder):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def pack(folder: Path) -> bytes:
    """The folder as a ``model.tar.gz``, the same bytes for the same content on every machine."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, path in _packed_files(folder):
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def _container(settings: Settings, artifact_uri: str) -> ContainerDefinitionTypeDef:
    return {
        "Image": settings.sagemaker_image,
        "ModelDataUrl": artifact_uri,
        # Where SageMaker's inference toolkit looks for the handlers.
        "Environment": {
            "SAGEMAKER_PROGRAM": PurePosixPath(_ENTRY_POINT).name,
            "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
        },
    }


def _stored(s3: S3Client, uri: str) -> tuple[str, str]:
    """Digest and engine name of an archive that lies in S3 already.

    The digest is taken over address and ETag: reading some hundred megabytes would tell no more.
    """
    address = urlsplit(uri)
    key = address.path.removeprefix("/")
    if not address.netloc or not key.endswith(".tar.gz"):
        raise ModelError(f"a model's artefact is a folder or s3://bucket/....tar.gz, not {uri!r}")
    try:
        etag = s3.head_object(Bucket=address.netloc, Key=key)["ETag"]
    except ClientError as error:
        raise ModelError(f"the model's artefact {uri} cannot be read: {error}") from error
    path = PurePosixPath(key)
    name = path.name.removesuffix(".tar.gz")
    if name == "model":
        name = path.parent.name or name
    return hashlib.sha256(f"{uri}\0{etag}".encode()).hexdigest(), name


def _resolve(settings: Settings, s3: S3Client, stage: str, artifact: str) -> Model:
    if artifact.startswith("s3://"):
        digest, name = _stored(s3, artifact)
        folder, uri = None, artifact
    else:
        folder = Path(artifact)
        if not folder.is_dir():
            raise ModelError(
                f"the {stage} model's folder {folder} does not exist; set OPINION_{stage.upper()}_ARTIFACT"
            )
        digest, name = folder_digest(folder), folder.resolve().name
        uri = settings.s3(model_key(stage, digest))
    definition = json.dumps(
        [digest, _container(settings, uri), settings.sagemaker_role_arn], sort_keys=True, ensure_ascii=False
    )
    return Model(
        stage=stage,
        name=f"x-opinion-{stage}-{hashlib.sha256(definition.encode()).hexdigest()[:_DIGITS]}",
        engine=f"{name}-{digest[:_DIGITS]}",
        artifact_uri=uri,
        digest=digest,
        folder=folder,
    )


def resolve(settings: Settings, s3: S3Client) -> Models:
    """The models as the settings name them now; raises `ModelError`.

    Reads a local folder, or the head of an object in S3; creates nothing.
    """
    translation = settings.translation_artifact
    return Models(
        sentiment=_resolve(settings, s3, SENTIMENT, settings.sentiment_artifact),
        translation=_resolve(settings, s3, TRANSLATION, translation) if translation else None,
    )


def _exists(sagemaker: SageMakerClient, name: str) -> bool:
    try:
        sagemaker.describe_model(ModelName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != _ABSENT:
            raise
        return False
    return True


def _upload(s3: S3Client, settings: Settings, model: Model) -> None:
    """Puts a packed folder where SageMaker reads it, unless it lies there."""
    if model.folder is None:
        return
    key = model_key(model.stage, model.digest)
    try:
        s3.head_object(Bucket=settings.bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchKey"}:
            raise
        archive = pack(model.folder)
        s3.put_object(Bucket=settings.bucket, Key=key, Body=archive)
        log.info("uploaded model artefact stage=%s key=%s bytes=%d", model.stage, key, len(archive))


def ensure_model(sagemaker: SageMakerClient, s3: S3Client, settings: Settings, model: Model) -> bool:
    """Uploads the artefact and creates the SageMaker model where missing; True if one was created."""
    _upload(s3, settings, model)
    if _exists(sagemaker, model.name):
        return False
    try:
        sagemaker.create_model(
            ModelName=model.name,
            PrimaryContainer=_container(settings, model.artifact_uri),
            ExecutionRoleArn=settings.sagemaker_role_arn,
        )
    except ClientError:
        # Another task may have created it in between: its name says that it is the same.
        if _exists(sagemaker, model.name):
            return False
        raise
    log.info("created SageMaker model name=%s engine=%s", model.name, model.engine)
    return True


def ensure(sagemaker: SageMakerClient, s3: S3Client, settings: Settings) -> list[str]:
    """Has every model of the settings in SageMaker; returns the names of those created now."""
    models = resolve(settings, s3)
    return [
        model.name
        for model in (models.sentiment, models.translation)
        if model is not None and ensure_model(sagemaker, s3, settings, model)
    ]

"""The SageMaker models: turns a folder or a ``model.tar.gz`` into a model that a transform job can use.

Everything is named by a digest of what determines a model's answers, so a changed artifact is another model
and never answers under the old name. Names alone prove nothing: anyone with write access to the bucket can
replace the object, and SageMaker runs its current content. An artifact's content is therefore verified before
a model is created from it; the model records its checksum, which is compared before each job; and a job is
rejected if the object was written again after that comparison (`check_unreplaced`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from include.labeling import archive, jobs
from include.labeling.archive import ModelError as ModelError
from include.labeling.images import serving_image
from include.lake import cards, storage
from include.lake.layout import model_key
from include.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_sagemaker.client import SageMakerClient
    from types_boto3_sagemaker.type_defs import ContainerDefinitionTypeDef

SENTIMENT = "sentiment"
TRANSLATION = "translation"

NO_ENGINE = "none"
"""The value of the engine columns if no model has answered."""

CARD = "card.json"
"""The file of an artifact that describes it and lists the languages it was measured on."""

_DIGITS = 12
_PACKED = ".tar.gz"
_ENGINE = re.compile(r"[\w.-]+", re.ASCII)
_CHECKSUM = "X_OPINION_ARTIFACT_SHA256"
"""The variable of a model's container that keeps the checksum of its artifact."""
# SageMaker answers ValidationException for a model that does not exist (its API reference does not say).
_ABSENT = "ValidationException"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """One model as SageMaker knows it.

    ``name`` is its name in SageMaker, ``engine`` its name in the labeled table (``ngram-<digest>``),
    ``artifact_uri`` the S3 address of its ``model.tar.gz``, ``digest`` the artifact's digest (hexadecimal
    SHA-256) and ``source`` the folder that it is packed from or the packed archive on this machine (None: it
    is in S3 already).
    """

    stage: str
    name: str
    engine: str
    artifact_uri: str
    digest: str
    source: Path | None


@dataclass(frozen=True)
class Ensured:
    """A model in SageMaker, created from the artifact that its name identifies.

    ``created`` says whether it was created now, ``artifact_written`` when the verified artifact was written.
    """

    created: bool
    artifact_written: datetime


@dataclass(frozen=True)
class Models:
    """The models that the settings name; ``translation`` is None if no translator is configured."""

    sentiment: Model
    translation: Model | None

    def of(self, stage: str) -> Model | None:
        """The model of ``sentiment`` or ``translation``."""
        return {SENTIMENT: self.sentiment, TRANSLATION: self.translation}[stage]


def _container(
    settings: Settings, s3: S3Client, artifact_uri: str, checksum: str
) -> ContainerDefinitionTypeDef:
    return {
        "Image": settings.sagemaker_image or serving_image(s3.meta.region_name),
        "ModelDataUrl": artifact_uri,
        "Environment": {
            # Where SageMaker's inference toolkit looks for the handlers.
            "SAGEMAKER_PROGRAM": PurePosixPath(archive.ENTRY_POINT).name,
            "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
            # The format of answers to requests without Accept; the default is JSON, which the handlers
            # reject.
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": jobs.CONTENT_TYPE,
            # One worker whose threads share the weights, instead of a worker and a copy of them for each CPU.
            "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
            # By default TorchServe ends a worker that has not answered within 60 seconds.
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": str(jobs.INVOCATION_SECONDS),
            _CHECKSUM: checksum,
        },
    }


def _standing(s3: S3Client, uri: str) -> tuple[str, datetime]:
    """The checksum of an artifact in S3 (see `storage.ObjectVersion`), and when it was written.

    An object without a SHA-256 in S3 is read to compute it: upload it with ``--checksum-algorithm SHA256``.
    """
    bucket, key = storage.split_address(uri)
    try:
        found = storage.current(s3, bucket, key)
        if found is None:
            raise ModelError(f"the model's artifact {uri} cannot be read: it does not exist")
        checksum = found.checksum or storage.read_checksum(s3, bucket, key, found.etag)
    except (ClientError, storage.StorageError) as error:
        raise ModelError(f"the model's artifact {uri} cannot be read: {error}") from error
    return checksum, found.last_modified


def _digest_of(checksum: str) -> str:
    """An artifact's name by its checksum: its SHA-256 in hex; for an upload in parts, the checksum's."""
    if "-" in checksum:
        return hashlib.sha256(checksum.encode()).hexdigest()
    return base64.b64decode(checksum).hex()


def _stored(s3: S3Client, uri: str) -> tuple[str, str]:
    """Digest and engine name of an archive that is in S3 already."""
    address = PurePosixPath(uri.removeprefix("s3://"))
    if len(address.parts) < 2 or address.is_absolute() or not uri.endswith(_PACKED):
        raise ModelError(
            f"a model's artifact is a folder, a model.tar.gz or s3://bucket/....tar.gz, not {uri!r}"
        )
    return _digest_of(_standing(s3, uri)[0]), _named(address)


def _local(path: Path, stage: str) -> tuple[str, str]:
    """Digest and engine name of a folder or of an archive on this machine."""
    if path.is_dir():
        return archive.folder_digest(path), path.resolve().name
    if not path.is_file():
        raise ModelError(
            f"the {stage} model {path} does not exist; set OPINION_{stage.upper()}_ARTIFACT to a folder, a"
            " model.tar.gz or its address in S3"
        )
    try:
        return archive.archive_digest(path), _named(path.resolve())
    except ModelError as error:
        raise ModelError(f"the {stage} model {path} cannot be used: {error}") from error


def _named(archive_path: PurePath) -> str:
    """An archive's name, or its folder's if it is called model.tar.gz."""
    name = archive_path.name.removesuffix(_PACKED)
    return archive_path.parent.name if name == "model" else name


def _resolve(settings: Settings, s3: S3Client, stage: str, artifact: str) -> Model:
    if artifact.startswith("s3://"):
        digest, name = _stored(s3, artifact)
        source, uri = None, artifact
    else:
        source = Path(artifact)
        digest, name = _local(source, stage)
        uri = settings.s3(model_key(stage, digest))
    if not _ENGINE.fullmatch(name):
        raise ModelError(
            f"the {stage} model is called {name!r}; name its folder by letters, digits, '.', '-' and '_' only"
        )
    container = _container(settings, s3, uri, _CHECKSUM)
    definition = json.dumps(
        [digest, container, settings.sagemaker_role_arn], sort_keys=True, ensure_ascii=False
    )
    return Model(
        stage=stage,
        name=f"x-opinion-{stage}-{hashlib.sha256(definition.encode()).hexdigest()[:_DIGITS]}",
        engine=f"{name}-{digest[:_DIGITS]}",
        artifact_uri=uri,
        digest=digest,
        source=source,
    )


def resolve(settings: Settings, s3: S3Client) -> Models:
    """The models that the settings name now; raises `ModelError`.

    Reads a local folder, or an object in S3 (only its head if S3 has its SHA-256); creates nothing.
    """
    translation = settings.translation_artifact
    return Models(
        sentiment=_resolve(settings, s3, SENTIMENT, settings.sentiment_artifact),
        translation=_resolve(settings, s3, TRANSLATION, translation) if translation else None,
    )


def _kept_checksum(sagemaker: SageMakerClient, name: str) -> str | None:
    """The checksum that a model was created with, None if there is no such model."""
    try:
        container = sagemaker.describe_model(ModelName=name)["PrimaryContainer"]
    except ClientError as error:
        if error.response["Error"]["Code"] != _ABSENT:
            raise
        return None
    return container.get("Environment", {}).get(_CHECKSUM, "")


def _upload(s3: S3Client, settings: Settings, model: Model) -> None:
    """Uploads a packed folder or a packed archive for SageMaker, unless the object exists."""
    if model.source is None:
        return
    key = model_key(model.stage, model.digest)
    if storage.current(s3, settings.bucket, key) is None:
        with tempfile.TemporaryDirectory(prefix="artifact-") as folder:
            path = model.source
            if path.is_dir():
                path = Path(folder) / "model.tar.gz"
                archive.pack(model.source, path)
            storage.put(s3, settings.bucket, key, path)
            size = path.stat().st_size
        log.info("uploaded model artifact stage=%s key=%s bytes=%d", model.stage, key, size)


def _verify(s3: S3Client, model: Model, checksum: str) -> None:
    """Raises `ModelError` unless the object with this checksum is the artifact that the name identifies."""
    if model.source is None:
        found = _digest_of(checksum)
    else:
        bucket, key = storage.split_address(model.artifact_uri)
        with tempfile.TemporaryDirectory(prefix="artifact-") as folder:
            path = Path(folder) / "model.tar.gz"
            storage.download(s3, bucket, key, path)
            if storage.checksum(path) != checksum:
                raise ModelError(f"{model.artifact_uri} was replaced just now: run the task again")
            try:
                found = archive.archive_digest(path)
            except ModelError as error:
                raise _replaced(model) from error
    if found != model.digest:
        raise _replaced(model)


def _keep_card(s3: S3Client, settings: Settings, model: Model) -> None:
    """Copies the model's card to the lake, where the rows that it labels stay."""
    if cards.is_kept(s3, settings.bucket, model.stage, model.engine):
        return
    bucket, key = storage.split_address(model.artifact_uri)
    with storage.opened(s3, bucket, key) as body:
        content = archive.read_member(body, CARD)
    try:
        card = json.loads(content or b"{}")
        measured = sorted(card.get("measured", {}).items())
    except (ValueError, AttributeError) as error:
        raise ModelError(f"the {CARD} in {model.artifact_uri} is malformed: {error}") from error
    if not measured:
        log.warning("model engine=%s: its %s names no language that it was measured on", model.engine, CARD)
    cards.keep(s3, settings.bucket, model.stage, model.engine, card)


def _replaced(model: Model) -> ModelError:
    return ModelError(
        f"{model.artifact_uri} is not the {model.stage} model that its name says: somebody has replaced it,"
        " and nothing runs it. Find out who, then delete it and SageMaker's model"
        f" {model.name}, and run the DAG 'provision'"
    )


def ensure_model(sagemaker: SageMakerClient, s3: S3Client, settings: Settings, model: Model) -> Ensured:
    """Uploads the artifact, creates the SageMaker model and copies its card to the lake, each if missing.

    Raises `ModelError` if the artifact in S3 is not the one that the model's name identifies, or no longer
    the one that the model was created from.
    """
    _upload(s3, settings, model)
    checksum, written = _standing(s3, model.artifact_uri)
    kept = _kept_checksum(sagemaker, model.name)
    created = False
    if kept is None:
        _verify(s3, model, checksum)
        try:
            sagemaker.create_model(
                ModelName=model.name,
                PrimaryContainer=_container(settings, s3, model.artifact_uri, checksum),
                ExecutionRoleArn=settings.sagemaker_role_arn,
            )
            kept, created = checksum, True
            log.info("created SageMaker model name=%s engine=%s", model.name, model.engine)
        except ClientError:
            # Another task may have created it in the meantime; the same name means the same model.
            kept = _kept_checksum(sagemaker, model.name)
            if kept is None:
                raise
    if kept != checksum:
        raise _replaced(model)
    _keep_card(s3, settings, model)
    return Ensured(created, written)


def check_unreplaced(s3: S3Client, uri: str, written: datetime, began: datetime) -> None:
    """Raises `ModelError` unless the job that ``began`` at that time has run the artifact that was verified.

    That is the case if the object ``written`` before is still the current one: any later write, even of the
    same bytes, has a later time.
    """
    bucket, key = storage.split_address(uri)
    found = storage.current(s3, bucket, key)
    if found is None or found.last_modified != written or written > began:
        raise ModelError(
            f"{uri} was overwritten after it was verified for the job, so the job's answers are not used."
            " Find out who wrote it, then clear this task"
        )


def ensure(sagemaker: SageMakerClient, s3: S3Client, settings: Settings) -> list[str]:
    """Creates the models of the settings that SageMaker does not have; returns the names of those created."""
    models = resolve(settings, s3)
    return [
        model.name
        for model in (models.sentiment, models.translation)
        if model is not None and ensure_model(sagemaker, s3, settings, model).created
    ]

"""A model's folder as a ``model.tar.gz``: packed in bounded memory, to the same bytes on every machine.

Needs only the standard library: the models are packed (`tools/models`) in another environment than Airflow's.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from pathlib import Path
from typing import IO

ENTRY_POINT = "code/inference.py"
"""The folder of a model's handlers, where SageMaker's inference toolkit looks for them."""
_NOT_PACKED = {".md", ".pyc"}
_CHUNK = 1024 * 1024


class ModelError(Exception):
    """A model's artifact that cannot be used; the message says what to do."""


def packed_files(folder: Path) -> list[tuple[str, Path]]:
    """The files to pack with their names in the archive, sorted; raises `ModelError`.

    Cards, caches and hidden files are not part of a model.
    """
    files = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if not path.exists():
            raise ModelError(f"{path} is a link to nothing; copy a model's folder with `cp -rL`")
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden and path.suffix not in _NOT_PACKED:
            files.append((name.as_posix(), path))
    if ENTRY_POINT not in {name for name, _ in files}:
        raise ModelError(f"{folder} is not a model: it has no {ENTRY_POINT}")
    return sorted(files)


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that `pack` packs, without the model card."""
    digest = hashlib.sha256()
    for name, path in packed_files(folder):
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            _feed(digest, file)
    return digest.hexdigest()


def archive_digest(path: Path) -> str:
    """As `folder_digest`, of a packed archive; raises `ModelError` if it was not made by `pack`."""
    digest = hashlib.sha256()
    last = ""
    try:
        with gzip.open(path) as plain, tarfile.open(fileobj=plain, mode="r:") as archive:
            for entry in archive:
                content = archive.extractfile(entry) if entry.isreg() else None
                if content is None:
                    raise ModelError(f"it holds {entry.name!r}, which is not a file")
                if entry.name <= last:
                    raise ModelError(f"{entry.name!r} is out of order")
                last = entry.name
                digest.update(f"{entry.name}\0{entry.size}\0".encode())
                _feed(digest, content)
            # No data may follow the last file, and the gzip stream must be complete.
            plain.seek(archive.offset)
            while chunk := plain.read(_CHUNK):
                if chunk.strip(b"\0"):
                    raise ModelError("it has data after its last file")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ModelError(f"it is not an archive: {error}") from error
    return digest.hexdigest()


def pack(folder: Path, path: Path) -> None:
    """Writes the folder as a ``model.tar.gz``; raises `ModelError` if it is not a model."""
    files = packed_files(folder)
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, source in files:
            entry = tarfile.TarInfo(name)
            entry.size = source.stat().st_size
            entry.mode = 0o644
            with source.open("rb") as content:
                archive.addfile(entry, content)


def read_member(file: IO[bytes], name: str) -> bytes | None:
    """The content of one file of a ``model.tar.gz`` that is read from its start, None if it has no such file.

    Reads no further than that file. Raises `ModelError` if it is not an archive.
    """
    try:
        with tarfile.open(fileobj=file, mode="r|gz") as archive:
            for entry in archive:
                if entry.name.removeprefix("./") == name and (content := archive.extractfile(entry)):
                    return content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ModelError(f"it is not an archive: {error}") from error
    return None


def _feed(digest: hashlib._Hash, file: IO[bytes]) -> None:
    while chunk := file.read(_CHUNK):
        digest.update(chunk)

"""Downloads artifacts from Maven by coordinate, verified by a lock: ``python -m local.artifacts trino``.

Each group of ``locks/artifacts.lock`` becomes one folder in the user's cache directory, named by the digest
of its lines in the lock. A folder of that name is always complete (it is created under another name and then
renamed), so the second time nothing is downloaded or hashed.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "locks" / "artifacts.lock"

_LAYOUT = "1"
"""Part of every folder's digest: incremented when the layout of a group changes."""
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 60


class ArtifactError(Exception):
    """An artifact is not available; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Artifact:
    """One line of the lock."""

    group: str
    coordinate: str
    """``groupId:artifactId:packaging:version``."""
    sha256: str


type Report = Callable[[str], None]
"""Receives one line of progress."""

type Fetch = Callable[[Artifact, Path, Report], Path]
"""Puts an artifact's file somewhere under a folder and returns its path."""


def cache_directory() -> Path:
    """The project's folder in the user's cache directory (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "x-opinion"


def read_lock(path: Path = LOCK) -> list[Artifact]:
    """The lock's lines in order; raises `ArtifactError` naming a line that is no artifact."""
    artifacts = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 3 or words[1].count(":") != 3 or len(words[2]) != 64:
            raise ArtifactError(
                f"{path}, line {number}: expected 'group groupId:artifactId:packaging:version sha256';"
                " restore the file from version control."
            )
        artifacts.append(Artifact(*words))
    return artifacts


def trino_home() -> Path:
    """Trino's unpacked server with the Hive connector as its one plugin; fetched if it is not there yet."""
    return provide("trino")


def spark_jars() -> list[Path]:
    """The jars that a Spark session needs besides pyspark's own: Spark NLP, Delta, and S3A with its SDK.

    The SDK comes as the five modules that S3A loads instead of the bundle of 280 MB.
    """
    return sorted(provide("spark").glob("*.jar"))


def provide(
    group: str, report: Report = lambda _: None, *, lock: Path = LOCK, fetch: Fetch | None = None
) -> Path:
    """The folder of a group, laid out now if it is not there yet.

    Safe to call from several processes at once: one does the work, the others wait for it. Raises
    `ArtifactError` if the network, the lock's hashes or the disk prevent it.
    """
    artifacts = [artifact for artifact in read_lock(lock) if artifact.group == group]
    if not artifacts:
        raise ArtifactError(f"There is no group {group!r} in {lock}; use one of those in it.")
    lines = "\n".join([_LAYOUT, *(f"{artifact.coordinate} {artifact.sha256}" for artifact in artifacts)])
    home = cache_directory() / f"{group}-{hashlib.sha256(lines.encode()).hexdigest()[:16]}"
    if home.is_dir():
        return home
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with _alone(home.parent / f"{group}.lock"):
            if not home.is_dir():
                _make(home, artifacts, report, fetch or download)
    except OSError as error:
        raise ArtifactError(_explain(error, home.parent)) from error
    return home


def _make(home: Path, artifacts: list[Artifact], report: Report, fetch: Fetch) -> None:
    prefix = f".{artifacts[0].group}-unfinished-"
    for left in home.parent.glob(f"{prefix}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=home.parent) as name:
        aside = Path(name)
        layout = aside / "layout"
        layout.mkdir()
        for artifact in artifacts:
            file = fetch(artifact, aside / "download", report)
            _verify(artifact, file)
            report(f"{artifact.coordinate}: unpacking")
            _lay_out(artifact, file, layout)
            shutil.rmtree(aside / "download")
        layout.rename(home)


def _lay_out(artifact: Artifact, file: Path, layout: Path) -> None:
    match artifact.coordinate.split(":")[1]:
        case "trino-server-core":
            _unpack_tar(file, layout, lambda path: path.split("/")[0] not in ("bin", "plugin"))
        case "trino-hive":
            _unpack_zip(file, layout / "plugin" / "hive", lambda path: path.split("/")[0] != "hdfs")
        case _:
            shutil.move(file, layout / file.name)


def _unpack_tar(file: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Unpacks what is wanted, without the archive's own top folder."""
    with tarfile.open(file) as archive:
        for member in archive:
            _, _, member.name = member.name.partition("/")
            if member.name and wanted(member.name):
                archive.extract(member, folder, filter="data")


def _unpack_zip(file: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Unpacks what is wanted, without the archive's own top folder."""
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            _, _, member.filename = member.filename.partition("/")
            if member.filename and wanted(member.filename):
                archive.extract(member, folder)


def _verify(artifact: Artifact, file: Path) -> None:
    with file.open("rb") as content:
        actual = hashlib.file_digest(content, "sha256").hexdigest()
    if actual != artifact.sha256:
        raise ArtifactError(
            f"{artifact.coordinate} has the SHA-256 {actual}, but the lock expects {artifact.sha256}:"
            " nothing of it was used; try again, and if it stays so, find out what the network or the"
            " repository delivers in its place."
        )


def download(artifact: Artifact, folder: Path, report: Report) -> Path:
    """Has jgo download an artifact's file to ``folder``, reporting progress in tenths."""
    import requests
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
        done = tenths = 0

        def advance(size: int) -> None:
            nonlocal done, tenths
            done += size
            if done * 10 // total > tenths:
                tenths = done * 10 // total
                report(f"{artifact.coordinate}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

        yield advance
        if done < total:
            raise requests.ConnectionError(f"{name} ended after {done} of {total} bytes")

    project, name, packaging, version = artifact.coordinate.split(":")
    failure: Exception | None = None
    for attempt in range(1, _ATTEMPTS + 1):
        context = MavenContext(
            resolver=PythonResolver(progress_callback=progress),
            repo_cache=folder / str(attempt),
            timeout=_TIMEOUT_SECONDS,
        )
        wanted = context.project(project, name).at_version(version).artifact(packaging=packaging)
        try:
            return Path(wanted.resolve())
        except requests.RequestException as error:
            report(f"{artifact.coordinate}: {type(error).__name__} in attempt {attempt} of {_ATTEMPTS}")
            shutil.rmtree(folder, ignore_errors=True)
            failure = error
        except RuntimeError as error:
            raise ArtifactError(
                f"{artifact.coordinate} is not in the Maven repository, or the repository rejects it; ask"
                " the administrator of your network's mirror whether it is allowed."
            ) from error
    raise ArtifactError(
        f"{artifact.coordinate} could not be downloaded ({type(failure).__name__}): check the network, the"
        " proxy (HTTPS_PROXY) and its certificates (REQUESTS_CA_BUNDLE), then run the same command again."
    ) from failure


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock file; the system frees it when its holder dies."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _explain(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk that holds {folder} is full: free about 1 GB, or set XDG_CACHE_HOME to a folder on"
            " another disk, then run the same command again."
        )
    return (
        f"{folder} cannot be written to ({error}): fix that, or set XDG_CACHE_HOME to a writable folder, then"
        " run the same command again."
    )


def main(arguments: list[str] | None = None) -> int:
    """Provides one group, prints its progress and finally its folder; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.artifacts", description=__doc__)
    parser.add_argument("group", choices=sorted({artifact.group for artifact in read_lock()}))
    group = parser.parse_args(arguments).group
    try:
        print(provide(group, lambda line: print(line, flush=True)))
    except ArtifactError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

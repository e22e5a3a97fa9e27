from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from jgo.maven import PythonResolver

from local import artifacts
from local.artifacts import Artifact, ArtifactError, Report, provide, read_lock


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "x-opinion"


def archive_tar(names: list[str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(f"trino-server-core-1/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return content.getvalue()


def archive_zip(names: list[str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(f"trino-hive-1/{name}", name)
    return content.getvalue()


FILES = {
    "a:trino-server-core:tar.gz:1": archive_tar(["lib/a.jar", "bin/launcher", "plugin/geo/b.jar"]),
    "a:trino-hive:zip:1": archive_zip(["hive.jar", "hdfs/hadoop.jar"]),
    "b:plain:jar:2": b"jar",
}
GROUPS = {"a:trino-server-core:tar.gz:1": "trino", "a:trino-hive:zip:1": "trino", "b:plain:jar:2": "spark"}


class Repository:
    """Stands for the network: gives what `FILES` hold, and counts."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def __call__(self, artifact: Artifact, folder: Path, report: Report) -> Path:
        self.fetched.append(artifact.coordinate)
        folder.mkdir(parents=True)
        _, name, packaging, version = artifact.coordinate.split(":")
        file = folder / f"{name}-{version}.{packaging}"
        file.write_bytes(FILES[artifact.coordinate])
        return file


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "artifacts.lock"
    lines = [
        f"{GROUPS[coordinate]} {coordinate} {hashlib.sha256(content).hexdigest()}"
        for coordinate, content in FILES.items()
    ]
    path.write_text("# comment\n\n" + "\n".join(lines) + "\n")
    return path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_trinos_home_holds_the_server_and_the_hive_plugin_alone(lock: Path) -> None:
    assert files(provide("trino", lock=lock, fetch=Repository())) == {"lib/a.jar", "plugin/hive/hive.jar"}


def test_other_groups_hold_their_files_as_they_are(lock: Path) -> None:
    home = provide("spark", lock=lock, fetch=Repository())
    assert files(home) == {"plain-2.jar"}
    assert (home / "plain-2.jar").read_bytes() == b"jar"


def test_the_second_time_nothing_is_fetched_and_nothing_was_left_over(lock: Path, cache: Path) -> None:
    repository = Repository()
    home = provide("trino", lock=lock, fetch=repository)
    assert provide("trino", lock=lock, fetch=repository) == home
    assert len(repository.fetched) == 2
    assert sorted(path.name for path in cache.iterdir()) == sorted([home.name, "trino.lock"])


def test_a_changed_lock_makes_a_folder_of_its_own(lock: Path) -> None:
    before = provide("spark", lock=lock, fetch=Repository())
    FILES["b:plain:jar:2"], kept = b"newer", FILES["b:plain:jar:2"]
    try:
        digest = hashlib.sha256(b"newer").hexdigest()
        lock.write_text(f"spark b:plain:jar:2 {digest}\n")
        after = provide("spark", lock=lock, fetch=Repository())
    finally:
        FILES["b:plain:jar:2"] = kept
    assert after != before
    assert (after / "plain-2.jar").read_bytes() == b"newer"


def test_a_wrong_hash_is_rejected_and_leaves_nothing_behind(lock: Path, cache: Path) -> None:
    wrong = "0" * 64
    lock.write_text(f"spark b:plain:jar:2 {wrong}\n")
    with pytest.raises(ArtifactError, match=f"b:plain:jar:2 has the SHA-256 .* the lock expects {wrong}"):
        provide("spark", lock=lock, fetch=Repository())
    assert [path.name for path in cache.iterdir()] == ["spark.lock"]


def test_what_an_interrupted_run_left_is_cleared_and_done_again(lock: Path, cache: Path) -> None:
    (cache / ".trino-unfinished-x" / "layout").mkdir(parents=True)
    provide("trino", lock=lock, fetch=Repository())
    assert not list(cache.glob(".trino-unfinished-*"))


def test_two_at_once_fetch_once(lock: Path) -> None:
    repository = Repository()
    with ThreadPoolExecutor(4) as pool:
        homes = list(pool.map(lambda _: provide("trino", lock=lock, fetch=repository), range(4)))
    assert len(set(homes)) == 1
    assert len(repository.fetched) == 2


def test_a_full_disk_is_told_with_what_to_do(lock: Path) -> None:
    def full(artifact: Artifact, folder: Path, report: Report) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ArtifactError, match="is full: free about 1 GB, or set XDG_CACHE_HOME"):
        provide("trino", lock=lock, fetch=full)


def test_an_artifact_that_is_not_there_is_told(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> Path:
        raise RuntimeError("not found in remote repositories")

    monkeypatch.setattr(PythonResolver, "download", absent)
    with pytest.raises(ArtifactError, match="b:plain:jar:2 is not in the Maven repository"):
        provide("spark", lock=lock)


def test_no_network_is_told_after_a_few_attempts(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def unreachable(*_: object) -> Path:
        attempts.append(1)
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(PythonResolver, "download", unreachable)
    with pytest.raises(ArtifactError, match=r"could not be downloaded .* check the network, the proxy"):
        provide("spark", lock=lock)
    assert len(attempts) == 3


def test_an_unknown_group_and_a_broken_lock_are_told(tmp_path: Path, lock: Path) -> None:
    with pytest.raises(ArtifactError, match="no group 'flink'"):
        provide("flink", lock=lock)
    broken = tmp_path / "broken.lock"
    broken.write_text("trino a:b:jar:1\n")
    with pytest.raises(ArtifactError, match=r"broken\.lock, line 1"):
        read_lock(broken)


def test_the_projects_lock_names_trino_with_hashes() -> None:
    assert [a.coordinate.split(":")[1] for a in read_lock() if a.group == "trino"] == [
        "trino-server-core",
        "trino-hive",
    ]


def test_the_command_fails_with_one_sentence(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    result = subprocess.run(
        [sys.executable, "-m", "local.artifacts", "trino"],
        env={**os.environ, "XDG_CACHE_HOME": str(taken)},
        cwd=Path(artifacts.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "cannot be written to" in result.stderr

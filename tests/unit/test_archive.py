"""A model's archive: the same bytes for the same content, in bounded memory, and nothing smuggled in."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from include.labeling import archive

HANDLER = b"def model_fn(folder): ...\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ngram"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_bytes(HANDLER)
    (folder / "weights.npz").write_bytes(b"\x00\x01")
    (folder / "README.md").write_text("the card")
    return folder


def packed(folder: Path) -> Path:
    path = folder.with_suffix(".tar.gz")
    archive.pack(folder, path)
    return path


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes], behind: bytes = b"") -> Path:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for entry, content in members:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    path.write_bytes(gzip.compress(plain.getvalue() + behind))
    return path


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def test_an_archive_holds_the_model_without_its_card_and_caches(folder: Path) -> None:
    (folder / "code" / "__pycache__").mkdir()
    (folder / "code" / "__pycache__" / "inference.cpython-312.pyc").write_bytes(b"x")
    (folder / ".cache").write_text("x")
    with tarfile.open(packed(folder)) as tar:
        found = {member.name: content(tar, member) for member in tar}
    assert found == {"code/inference.py": HANDLER, "weights.npz": b"\x00\x01"}


def test_the_same_content_is_the_same_archive_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    os.utime(copy / "weights.npz", (1, 1))
    (copy / "weights.npz").chmod(0o600)
    assert packed(copy).read_bytes() == packed(folder).read_bytes()
    assert archive.folder_digest(copy) == archive.folder_digest(folder)


def test_a_link_to_a_shared_module_is_packed_as_the_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("x = 1\n")
    (folder / "code" / "shared.py").symlink_to(tmp_path / "shared.py")
    with tarfile.open(packed(folder)) as tar:
        assert tar.getmember("code/shared.py").isreg()
        assert content(tar, tar.getmember("code/shared.py")) == b"x = 1\n"


def test_a_link_to_nothing_is_no_part_of_a_model(folder: Path) -> None:
    (folder / "code" / "shared.py").symlink_to("../../handler/shared.py")
    with pytest.raises(archive.ModelError, match=r"shared\.py is a link to nothing; copy .* `cp -rL`"):
        archive.folder_digest(folder)


def test_an_archive_has_the_digest_of_its_folder(folder: Path) -> None:
    assert archive.archive_digest(packed(folder)) == archive.folder_digest(folder)


def test_changed_weights_or_names_are_another_digest_and_a_changed_card_is_not(folder: Path) -> None:
    before = archive.folder_digest(folder)
    (folder / "README.md").write_text("another card")
    assert archive.folder_digest(folder) == before
    (folder / "weights.npz").write_bytes(b"\x00\x02")
    changed = archive.folder_digest(folder)
    (folder / "weights.npz").rename(folder / "weight.npz")
    assert len({before, changed, archive.folder_digest(folder)}) == 3


def test_a_folder_without_handlers_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(archive.ModelError, match=r"code/inference\.py"):
        archive.folder_digest(tmp_path)


def test_large_weights_are_never_in_memory_at_once(folder: Path) -> None:
    with (folder / "model.bin").open("wb") as file:
        file.truncate(64 * 1024**2)
    tracemalloc.start()
    try:
        path = packed(folder)
        assert archive.archive_digest(path) == archive.folder_digest(folder)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_what_is_no_file_makes_no_artifact(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("code/inference.py")
    entry.type = kind
    with pytest.raises(archive.ModelError, match="which is not a file"):
        archive.archive_digest(archive_of(tmp_path / "model.tar.gz", (entry, b"")))


def test_a_second_file_of_one_name_makes_no_artifact(tmp_path: Path) -> None:
    twice = [(tarfile.TarInfo("code/inference.py"), content) for content in (HANDLER, b"import os\n")]
    with pytest.raises(archive.ModelError, match="is out of order"):
        archive.archive_digest(archive_of(tmp_path / "model.tar.gz", *twice))


def test_nothing_may_lie_behind_the_last_file(tmp_path: Path) -> None:
    member = (tarfile.TarInfo("code/inference.py"), HANDLER)
    path = archive_of(tmp_path / "model.tar.gz", member, behind=b"x" * 512)
    with pytest.raises(archive.ModelError, match="after its last file"):
        archive.archive_digest(path)


def test_a_cut_archive_is_none(folder: Path) -> None:
    path = packed(folder)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(archive.ModelError, match="it is not an archive"):
        archive.archive_digest(path)

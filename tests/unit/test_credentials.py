"""The credentials of a world: made once, and readable by their owner alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from local.credentials import CREDENTIALS_FILE, Credentials, CredentialsError, write_private


def test_two_worlds_have_nothing_in_common() -> None:
    one, other = asdict(Credentials.generate()), asdict(Credentials.generate())
    assert set(one.values()).isdisjoint(other.values())


def test_a_world_keeps_its_credentials_and_only_its_owner_reads_them(tmp_path: Path) -> None:
    first = Credentials.in_folder(tmp_path / "world")
    assert Credentials.in_folder(tmp_path / "world") == first
    assert [path.name for path in (tmp_path / "world").iterdir()] == [CREDENTIALS_FILE]
    assert (tmp_path / "world" / CREDENTIALS_FILE).stat().st_mode & 0o777 == 0o600


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: Credentials.in_folder(tmp_path), range(40)))
    assert all(each == found[0] for each in found)


def test_they_are_not_shown_where_objects_are_printed() -> None:
    made = Credentials.generate()
    assert not [field.name for field in fields(made) if getattr(made, field.name) in f"{made!r} {made}"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"password": 1}', "no json"])
def test_a_file_without_credentials_is_rejected_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / CREDENTIALS_FILE).write_text(content)
    with pytest.raises(CredentialsError, match="delete it to create new ones"):
        Credentials.in_folder(tmp_path)


def test_what_others_could_read_they_cannot_once_secrets_are_in_it(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.json"
    file.write_text("much longer than what comes")
    file.chmod(0o644)
    write_private(file, "short")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("short", 0o600)

"""The files that people keep tweets in: read, or rejected by name with what to do."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import json
import logging
import lzma
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from twarc.expansions import flatten

from include.x.snowflake import lowest_id
from include.x.text import well_formed
from local.x_api import archive_files
from local.x_api.archive import Archive, ArchiveError
from local.x_api.post import Post

NOW = datetime(2026, 11, 20, 12, 34, 56, tzinfo=UTC)
OLD = datetime(2022, 5, 17, 15, 0, tzinfo=UTC)
COUNT = 30
IDS = [str(lowest_id(OLD + timedelta(seconds=number)) + 5) for number in range(COUNT)]
LINES = [
    {
        "data": {"id": post_id, "text": f"Ukraine, Київ 🎉 {number}", "author_id": "42"},
        "includes": {"users": [{"id": "42", "username": "u", "location": "Київ"}]},
    }
    for number, post_id in enumerate(IDS)
]
NDJSON = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in LINES).encode()
PAGE: dict[str, Any] = {
    "data": [
        {
            "id": IDS[0],
            "text": "@friend look https://t.co/a",
            "author_id": "1",
            "in_reply_to_user_id": "2",
            "conversation_id": IDS[1],
            "edit_history_tweet_ids": [IDS[0]],
            "referenced_tweets": [{"type": "quoted", "id": IDS[1]}],
            "geo": {"place_id": "p"},
            "attachments": {"media_keys": ["3_1"], "poll_ids": ["9"]},
            "entities": {"mentions": [{"start": 0, "end": 7, "username": "friend", "id": "2"}]},
        },
        {"id": IDS[2], "text": "alone", "author_id": "1"},
    ],
    "includes": {
        "users": [{"id": "1", "username": "one"}, {"id": "2", "username": "friend", "location": "Lviv"}],
        "tweets": [{"id": IDS[1], "text": "quoted", "author_id": "2"}],
        "places": [{"id": "p", "full_name": "Lviv", "country_code": "UA"}],
        "media": [{"media_key": "3_1", "type": "photo"}],
        "polls": [{"id": "9", "options": []}],
    },
    "meta": {"result_count": 2},
}


def zipped(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def tarred() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        member = tarfile.TarInfo("tweets.ndjson")
        member.size = len(NDJSON)
        archive.addfile(member, io.BytesIO(NDJSON))
    return content.getvalue()


def zstandard(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


def read(path: Path, content: bytes | None = None) -> Archive:
    if content is not None:
        path.write_bytes(content)
    state = path.parent / f"{path.name}.state"
    state.mkdir(exist_ok=True)
    return Archive(path, state, clock=NOW.timestamp)


def posts(archive: Archive) -> list[Post]:
    return list(
        archive.posts(lowest_id(NOW - timedelta(hours=1)), lowest_id(NOW + timedelta(milliseconds=500)))
    )


def texts(archive: Archive) -> list[str]:
    return [post.text for post in posts(archive)]


EXPECTED = [line["data"]["text"] for line in LINES]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(NDJSON, id="ndjson"),
        pytest.param(NDJSON.rstrip(), id="no newline at the end"),
        pytest.param(NDJSON.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(b"\xef\xbb\xbf" + NDJSON, id="UTF-8 with a mark"),
        pytest.param(NDJSON.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xfe\xff" + NDJSON.decode().encode("utf-16-be"), id="UTF-16, big-endian"),
        pytest.param(json.dumps(LINES).encode(), id="array"),
        pytest.param(json.dumps(LINES, indent=2, ensure_ascii=False).encode(), id="pretty array"),
        pytest.param(b"\n\n[\n" + NDJSON.strip().replace(b"\n", b",\n") + b"\n]\n", id="array by lines"),
        pytest.param(
            "\n".join(json.dumps(line, indent=4) for line in LINES).encode(), id="pretty values after others"
        ),
        pytest.param(gzip.compress(NDJSON), id="gzip"),
        pytest.param(gzip.compress(NDJSON[:900]) + gzip.compress(NDJSON[900:]), id="two gzips in one file"),
        pytest.param(bz2.compress(NDJSON), id="bzip2"),
        pytest.param(lzma.compress(NDJSON), id="xz"),
        pytest.param(zstandard(NDJSON), id="zstd"),
        pytest.param(zstandard(NDJSON[:900]) + zstandard(NDJSON[900:]), id="two zstds in one file"),
        pytest.param(
            zipped({"a/1.ndjson": NDJSON, "__MACOSX/._1": b"\0\5", "b.gz": gzip.compress(NDJSON)}),
            id="zip",
        ),
    ],
)
def test_every_wrapping_gives_the_same_tweets(tmp_path: Path, content: bytes) -> None:
    archive = read(tmp_path / "tweets", content)
    assert texts(archive) == EXPECTED
    assert archive.describe()["skipped"] == 0
    assert {post.author["location"] for post in posts(archive)} == {"Київ"}


def test_a_folder_is_read_file_by_file_and_others_in_it_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "tweets"
    (folder / "2022").mkdir(parents=True)
    whole = NDJSON.splitlines(keepends=True)
    (folder / "a.ndjson").write_bytes(b"".join(whole[:10]))
    (folder / "2022" / "b.gz").write_bytes(gzip.compress(b"".join(whole[10:])))
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "counts.csv").write_text("day,count\n2022-05-17,30\n")
    archive = read(folder)
    assert sorted(texts(archive)) == sorted(EXPECTED)
    (reason,) = archive.describe()["reasons"]
    assert reason.startswith("a CSV")


def test_posts_that_twarc_has_flattened_are_as_they_were_in_their_page(tmp_path: Path) -> None:
    flattened = "".join(json.dumps(tweet) + "\n" for tweet in flatten(copy.deepcopy(PAGE))).encode()
    page = posts(read(tmp_path / "page", json.dumps(PAGE).encode()))
    flat = posts(read(tmp_path / "flat", flattened))
    for one, other in zip(page, flat, strict=True):
        assert one.data == other.data
        assert {kind: sorted(map(str, items)) for kind, items in one.includes.items()} == {
            kind: sorted(map(str, items)) for kind, items in other.includes.items()
        }
    assert flat[0].place["country_code"] == "UA"
    assert flat[0].quoted_text == "quoted"


def test_null_is_as_good_as_absent(tmp_path: Path) -> None:
    page = copy.deepcopy(PAGE)
    page["data"][1] |= dict.fromkeys(("geo", "entities", "attachments", "referenced_tweets", "lang"))
    page["data"][1]["context_annotations"] = [{"domain": {"id": "1"}}, {"domain": None, "entity": None}]
    page["includes"] |= {"users": None, "polls": [None]}
    _, alone = posts(read(tmp_path / "page", json.dumps(page).encode()))
    assert "geo" not in alone.data
    assert alone.includes == {}


def test_half_an_emoji_becomes_one_replacement_and_deep_json_one_skipped_line(tmp_path: Path) -> None:
    cut = json.dumps(LINES[0]).replace(r"\ud83c\udf89", r"\ud83c")
    deep = '{"data":' * 50_000 + "1" + "}" * 50_000
    archive = read(tmp_path / "a", f"{cut}\n{deep}\n{json.dumps(LINES[1])}\n".encode())
    assert texts(archive) == ["Ukraine, Київ \ufffd 0", EXPECTED[1]]
    assert archive.describe()["reasons"] == {"no JSON": 1}


def test_ids_of_edits_and_references_are_moved_alike(tmp_path: Path) -> None:
    first = {"id": IDS[0], "text": "frist", "edit_history_tweet_ids": [IDS[0]]}
    second = {
        "id": IDS[1],
        "text": "first",
        "edit_history_tweet_ids": [IDS[0], IDS[1]],
        "edit_controls": {"editable_until": "2022-05-17T15:30:00.000Z"},
        "note_tweet": {"text": "first, at length"},
    }
    answer = {"id": IDS[2], "text": "ok", "referenced_tweets": [{"type": "replied_to", "id": IDS[1]}]}
    content = "".join(json.dumps({"data": data}) + "\n" for data in (first, second, answer))
    one, two, three = posts(read(tmp_path / "a", content.encode()))
    assert two.data["edit_history_tweet_ids"] == [one.data["id"], two.data["id"]]
    assert three.references == {"replied_to": two.data["id"]}
    assert two.data["note_tweet"] == {"text": "first, at length"}
    assert two.data["edit_controls"]["editable_until"].startswith("2026-11-20T13:0")


V11 = [{"id": int(post_id), "id_str": post_id, "full_text": "x", "user": {"id": 4}} for post_id in IDS[:5]]
OWN = [{"tweet": {"id_str": post_id, "full_text": "x"}} for post_id in IDS[:5]]
FOUR_CAT = [{"__import_meta": {}, "rest_id": post_id, "legacy": {}} for post_id in IDS[:5]]


def ndjson(values: Sequence[object]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(ndjson(V11), r"5 × a payload of Twitter's API v1\.1: .*twarc2 hydrate", id="v1.1"),
        pytest.param(json.dumps(OWN).encode(), "X's own download", id="own download, as JSON"),
        pytest.param(
            b"window.YTD.tweets.part0 = " + json.dumps(OWN).encode(), "X's own download", id="own download"
        ),
        pytest.param(
            zipped(
                {"data/tweets.js": b"window.YTD.tweets.part0 = []", "Your archive.html": b"<html></html>"}
            ),
            "X's own download.*HTML",
            id="own download, whole",
        ),
        pytest.param(ndjson(FOUR_CAT), "4CAT or Zeeschuimer", id="4CAT, NDJSON"),
        pytest.param(b"id,thread_id,timestamp,body\n1,1,2,x\n", "a CSV of 4CAT", id="4CAT, CSV"),
        pytest.param(b"id,text\n1,hello\n", "a CSV, which", id="CSV"),
        pytest.param("\n".join(IDS).encode(), "a list of ids: .*twarc2 hydrate", id="ids"),
        pytest.param(tarred(), "a tar: unpack it", id="tar"),
        pytest.param(gzip.compress(tarred()), "a tar: unpack it", id="tar.gz"),
        pytest.param(b"PAR1\0\0", "a binary file", id="Parquet"),
        pytest.param(b"<!DOCTYPE html><p>", "HTML", id="HTML"),
        pytest.param(b"", "there is nothing in it", id="empty"),
        pytest.param(zipped({}), "there is nothing in it", id="empty zip"),
        pytest.param(zipped({"a.zip": zipped({"a": NDJSON})}), "a zip inside another", id="zip in zip"),
        pytest.param(zipped({"a": NDJSON})[:-30], "is damaged", id="cut zip"),
        pytest.param(
            b'{"data": [], "meta": {"result_count": 0}}\n', "nothing in it", id="pages without tweets"
        ),
        pytest.param(NDJSON[:100] + b"\n", "1 × no JSON", id="a cut line"),
    ],
)
def test_what_is_none_of_x_api_v2_is_rejected_by_name(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(ArchiveError, match=f"(?s)tweets.*{sentence}"):
        read(tmp_path / "tweets", content)


def test_where_most_is_skipped_the_reasons_are_told(tmp_path: Path) -> None:
    mixture = (
        NDJSON.splitlines(keepends=True)[:3] + [b"no json\n"] * 2 + ndjson(V11).splitlines(keepends=True)
    )
    with pytest.raises(ArchiveError, match=r"7 skipped, 3 read\): 5 × a payload of .* 2 × no JSON"):
        read(tmp_path / "tweets", b"".join(mixture))
    archive = read(tmp_path / "tweets", NDJSON + b"".join(mixture[3:]))
    assert archive.describe()["skipped"] == 7


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard])
def test_a_file_that_ends_too_early_gives_what_came_before_and_says_so(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    many = b"".join(
        json.dumps(
            {"data": {"id": str(int(IDS[0]) + (number << 22)), "text": f"{number * 2654435761 % 2**32}"}}
        ).encode()
        + b"\n"
        for number in range(20_000)
    )
    whole = compress(many)
    archive = read(tmp_path / "tweets", whole[: len(whole) * 3 // 4])
    described = archive.describe()
    assert 5_000 < described["tweets"] < 20_000
    assert list(described["damaged"]) == ["tweets"]
    assert described["skipped"] <= 1


def test_a_folder_with_a_damaged_file_and_links_gives_the_others_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "tweets"
    folder.mkdir()
    (folder / "a.ndjson").write_bytes(NDJSON)
    (folder / "b.gz").write_bytes(gzip.compress(NDJSON)[:40])
    (folder / "empty").write_bytes(b"")
    (folder / "round").symlink_to(folder)
    (folder / "itself").symlink_to("itself")
    archive = read(folder)
    assert texts(archive) == EXPECTED
    assert list(archive.describe()["damaged"]) == ["b.gz"]
    assert archive.describe()["reasons"] == {
        "a link that leads to no file: give the folder that it leads to": 2
    }


def test_what_is_no_file_is_rejected_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="pipe cannot be read: neither a file nor a folder"):
        read(tmp_path / "pipe")
    (tmp_path / "itself").symlink_to("itself")
    with pytest.raises(ArchiveError, match="Too many levels of symbolic links"):
        read(tmp_path / "itself")


def grown(path: Path) -> None:
    with path.open("ab") as content:
        content.write(NDJSON)


def cut(path: Path) -> None:
    os.truncate(path, 1000)


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    shutil.copystat(path, other)
    other.replace(path)


def joined(path: Path) -> None:
    (path.parent / "z").write_bytes(NDJSON)


@pytest.mark.parametrize("change", [grown, cut, replaced, joined])
def test_an_archive_that_changes_while_it_is_read_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    folder, state = tmp_path / "tweets", tmp_path / "state"
    folder.mkdir()
    state.mkdir()
    file = folder / "a.ndjson"
    file.write_bytes(NDJSON)
    changes = [change]

    def reads(line: bytes) -> Any:
        for wanted in changes:
            wanted(file)
        changes.clear()
        return json.loads(line)

    monkeypatch.setattr(archive_files, "loads", reads)
    with pytest.raises(ArchiveError, match=r"was changed while it was read: start again when it is written"):
        Archive(folder, state, clock=NOW.timestamp)
    assert list(state.iterdir()) == []


LIMITED = """
import resource, signal, sys
from pathlib import Path
from local.x_api.archive import Archive, ArchiveError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Archive(Path(sys.argv[1]), Path(sys.argv[2]))
except ArchiveError as error:
    print(error)
"""


def test_a_full_disk_is_told_with_its_folder_and_leaves_nothing(tmp_path: Path) -> None:
    file, state = tmp_path / "tweets", tmp_path / "state"
    file.write_bytes(NDJSON * 2)
    state.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, file, state], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith(f"{state} cannot be written to (File too large): it takes as many bytes")
    assert done.stderr == ""
    assert list(state.iterdir()) == []
    assert texts(Archive(file, state, clock=NOW.timestamp)) == EXPECTED


def test_a_damaged_file_of_shifts_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tweets"
    read(file, NDJSON)
    (tmp_path / "tweets.state" / "archive.json").write_text('{"3f')
    with pytest.raises(ArchiveError, match=r"archive\.json, which says .* is damaged .*: delete it"):
        read(file)


def test_an_array_that_ends_too_early_gives_what_came_before_and_says_so(tmp_path: Path) -> None:
    archive = read(tmp_path / "tweets", json.dumps(LINES).encode()[:-100])
    assert len(posts(archive)) == COUNT - 1
    assert archive.describe()["reasons"] == {"JSON that does not end": 1}


def test_values_longer_than_what_is_read_at_once_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "_CHUNK", 7)
    assert texts(read(tmp_path / "lines", NDJSON)) == EXPECTED
    assert (
        texts(read(tmp_path / "array", json.dumps(LINES, indent=1, ensure_ascii=False).encode())) == EXPECTED
    )
    assert texts(read(tmp_path / "utf16", NDJSON.decode().encode("utf-16"))) == EXPECTED


@pytest.mark.parametrize("indent", [None, 1])
def test_arrays_give_the_same_values_however_alike_and_nested_they_are(
    tmp_path: Path, indent: int | None
) -> None:
    texts = ["}", '}, {"id"', '},\n {\n  "id"', "\ud83d", "𝕏", '"', "\\", ""]
    choice = random.Random(1)
    values: list[Any] = [
        {
            choice.choice(("id", "data")): choice.choice(texts),
            "nested": [{"id": choice.choice(texts)}] * choice.randrange(4),
            "long": choice.choice(texts) * choice.choice((0, 1, 200)),
        }
        for _ in range(500)
    ] + [[], {}, 5, "x", {"id": 1}]
    choice.shuffle(values)
    file = tmp_path / "values"
    file.write_text(json.dumps(values, indent=indent))
    _, found = archive_files.values(file, lambda: None, pytest.fail)
    assert list(found) == well_formed(values)


def test_reading_tells_how_far_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        read(tmp_path / "tweets", NDJSON)
    assert f"{archive_files.READING}: " in caplog.text
    assert "Ukraine" not in caplog.text


def test_a_world_knows_a_folder_by_its_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "tweets"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    known = archive_files.identity(folder).hexdigest()
    (folder / ".hidden").write_bytes(b"1")
    assert archive_files.identity(folder).hexdigest() == known
    (folder / "a").write_bytes(b"2")
    assert archive_files.identity(folder).hexdigest() != known

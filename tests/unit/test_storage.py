"""The lake's storage: listing, reading lines in bounded memory, and who wins a race."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ConnectionClosedError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st
from types_boto3_s3 import S3Client

from include.lake import storage

BUCKET = "lake"


def lines(
    s3: S3Client, body: bytes, key: str = "a.json.gz", longest: int = storage.LONGEST_LINE
) -> list[bytes]:
    s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    return list(storage.read_lines(s3, BUCKET, key, longest=longest))


def test_a_listing_is_sorted_and_carries_the_servers_time(s3: S3Client) -> None:
    for key in ("p/b", "p/a", "q/c"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    listing = storage.list_objects(s3, BUCKET, "p/")
    assert [entry.key for entry in listing.objects] == ["p/a", "p/b"]
    assert [entry.size for entry in listing.objects] == [3, 3]
    assert abs(listing.at - datetime.now(UTC)) < timedelta(minutes=1)
    assert listing.at.tzinfo is UTC


def test_a_listing_of_nothing_still_has_its_time(s3: S3Client) -> None:
    listing = storage.list_objects(s3, BUCKET, "nothing/")
    assert listing.objects == ()
    assert listing.at.tzinfo is UTC


def test_a_listing_goes_beyond_one_page(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    for number in range(8):
        s3.put_object(Bucket=BUCKET, Key=f"p/{number}", Body=b"")
    assert s3.list_objects_v2(Bucket=BUCKET)["IsTruncated"]
    assert len(storage.list_objects(s3, BUCKET, "p/").objects) == 8


def test_folders_are_told_by_their_names_alone(s3: S3Client) -> None:
    for key in ("p/dt=2/a", "p/dt=1/hour=1/a", "p/dt=1/b", "p/file", "q/dt=3/a"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    assert storage.folders(s3, BUCKET, "p/") == {"dt=1", "dt=2"}
    assert storage.folders(s3, BUCKET, "nothing/") == set()


def test_lines_come_without_line_ends_and_blank_lines(s3: S3Client) -> None:
    assert lines(s3, gzip.compress(b'{"a":1}\r\n\n  \n{"b":2}\nlast')) == [b'{"a":1}', b'{"b":2}', b"last"]


def test_several_gzip_members_are_one_text(s3: S3Client) -> None:
    assert lines(s3, gzip.compress(b"a\nb") + gzip.compress(b"c\nd\n")) == [b"a", b"bc", b"d"]


def test_an_object_without_gz_in_its_name_is_plain_text(s3: S3Client) -> None:
    assert lines(s3, b"a\nb\n", key="a.jsonl.out") == [b"a", b"b"]


def test_an_empty_object_has_no_lines(s3: S3Client) -> None:
    assert lines(s3, b"") == []
    assert lines(s3, gzip.compress(b"")) == []


def test_a_line_beyond_the_limit_gives_its_beginning_and_the_next_line_is_whole(s3: S3Client) -> None:
    text = b"x" * 5_000_000 + b"\nnext\n" + b"y" * 20
    assert lines(s3, gzip.compress(text), longest=10) == [b"x" * 10, b"next", b"y" * 10]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b[:200] + bytes(50) + b[250:], lambda b: b"plain"]
)
def test_a_damaged_gzip_is_named_after_the_lines_that_could_be_read(s3: S3Client, damage) -> None:  # pyrefly: ignore[implicit-any-parameter]
    packed = gzip.compress(bytes(range(65, 91)) * 40 + b"\n", compresslevel=0)
    s3.put_object(Bucket=BUCKET, Key="a.gz", Body=damage(packed))
    with pytest.raises(storage.CorruptObjectError, match=r"s3://lake/a\.gz"):
        list(storage.read_lines(s3, BUCKET, "a.gz"))


def test_lines_before_the_damage_are_given(s3: S3Client) -> None:
    s3.put_object(
        Bucket=BUCKET, Key="a.gz", Body=gzip.compress(b"first\nsecond\n") + gzip.compress(b"third")[:-4]
    )
    reading = storage.read_lines(s3, BUCKET, "a.gz")
    assert [next(reading), next(reading)] == [b"first", b"second"]
    with pytest.raises(storage.CorruptObjectError):
        next(reading)


@given(
    parts=st.lists(
        st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")), max_size=30
    )
)
def test_however_the_text_is_cut_into_chunks_the_lines_are_the_same(parts: list[bytes]) -> None:
    class Body:
        def __init__(self, size: int) -> None:
            self.size = size

        def close(self) -> None:
            pass

        def iter_chunks(self, _: int) -> Iterator[bytes]:
            text = b"\n".join(parts)
            yield from (text[at : at + self.size] for at in range(0, len(text), self.size))

    class Client:
        def __init__(self, size: int) -> None:
            self.size = size

        def get_object(self, **_: str) -> dict[str, Body]:
            return {"Body": Body(self.size)}

    wanted = [part for part in parts if part and not part.isspace()]
    for size in (1, 3, 1000):
        assert list(storage.read_lines(Client(size), BUCKET, "a")) == wanted  # pyrefly: ignore[bad-argument-type]


def test_an_object_that_is_gone_or_replaced_is_named(s3: S3Client) -> None:
    with pytest.raises(storage.ObjectMissingError, match="s3://lake/gone"):
        storage.read(s3, BUCKET, "gone")
    etag = storage.put(s3, BUCKET, "k", b"one")
    assert storage.read(s3, BUCKET, "k", etag) == b"one"
    storage.put(s3, BUCKET, "k", b"two")
    with pytest.raises(storage.ObjectChangedError, match="run the task again"):
        storage.read(s3, BUCKET, "k", etag)


def test_a_file_is_put_and_fetched_whole(s3: S3Client, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"x" * 3_000_000)
    etag = storage.put(s3, BUCKET, "k", storage.Content(tmp_path / "up", {"manifest": "m"}))
    storage.download(s3, BUCKET, "k", tmp_path / "down", etag)
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
    found = storage.current(s3, BUCKET, "k")
    assert found is not None
    assert (found.etag, found.size, found.metadata) == (etag, 3_000_000, {"manifest": "m"})


def test_nothing_stands_under_a_key_that_was_never_written(s3: S3Client) -> None:
    assert storage.current(s3, BUCKET, "k") is None


def test_a_swap_writes_where_nothing_was_and_over_what_it_saw(s3: S3Client) -> None:
    first = storage.compare_and_swap(
        s3, BUCKET, "k", lambda found: storage.Content(b"1" if found is None else b"?")
    )
    second = storage.compare_and_swap(
        s3, BUCKET, "k", lambda found: storage.Content(b"2" if found and found.etag == first.etag else b"?")
    )
    assert first.written
    assert second.written
    assert storage.read(s3, BUCKET, "k") == b"2"


def test_a_swap_that_decides_to_leave_the_object_says_so(s3: S3Client) -> None:
    etag = storage.put(s3, BUCKET, "k", b"1")
    assert storage.compare_and_swap(s3, BUCKET, "k", lambda found: None) == storage.Swap(False, etag)
    assert storage.read(s3, BUCKET, "k") == b"1"


@pytest.mark.parametrize("there_before", [True, False])
def test_a_lost_race_is_decided_anew_on_what_stands_there_now(s3: S3Client, there_before: bool) -> None:
    if there_before:
        storage.put(s3, BUCKET, "k", b"0")
    seen: list[bytes | None] = []

    def decide(found: storage.ObjectVersion | None) -> storage.Content:
        seen.append(storage.read(s3, BUCKET, "k", found.etag) if found else None)
        if len(seen) == 1:
            storage.put(s3, BUCKET, "k", b"intruder")
        return storage.Content((seen[-1] or b"") + b"+mine")

    assert storage.compare_and_swap(s3, BUCKET, "k", decide).written
    assert seen == [b"0" if there_before else None, b"intruder"]
    assert storage.read(s3, BUCKET, "k") == b"intruder+mine"


def test_an_object_deleted_between_reading_and_writing_is_decided_anew(s3: S3Client) -> None:
    storage.put(s3, BUCKET, "k", b"0")
    seen = []

    def decide(found: storage.ObjectVersion | None) -> storage.Content:
        seen.append(found is not None)
        if found:
            s3.delete_object(Bucket=BUCKET, Key="k")
        return storage.Content(b"mine")

    assert storage.compare_and_swap(s3, BUCKET, "k", decide).written
    assert seen == [True, False]


def test_a_race_that_is_lost_each_time_ends_with_an_error(s3: S3Client) -> None:
    count = iter(range(100))

    def decide(_: storage.ObjectVersion | None) -> storage.Content:
        storage.put(s3, BUCKET, "k", f"intruder {next(count)}".encode())
        return storage.Content(b"mine")

    with pytest.raises(storage.LostRaceError, match="3 times"):
        storage.compare_and_swap(s3, BUCKET, "k", decide, attempts=3)


@pytest.fixture
def answer_lost(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first write reaches S3, and its answer does not come back."""
    lost: list[str] = []

    def lose(request: AWSPreparedRequest, **_: object) -> None:
        if request.method == "PUT" and not lost:
            lost.append(str(request.url))
            raise ConnectionClosedError(endpoint_url=request.url)

    s3.meta.events.register_last("before-send", lose)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return lost


def test_a_swap_whose_answer_was_lost_is_not_decided_again(s3: S3Client, answer_lost: list[str]) -> None:
    def count(found: storage.ObjectVersion | None) -> storage.Content:
        former = int(storage.read(s3, BUCKET, "k", found.etag)) if found else 0
        return storage.Content(b"%d" % (former + 1))

    for wanted in (b"1", b"2"):
        answer_lost.clear()
        assert storage.compare_and_swap(s3, BUCKET, "k", count).written
        assert storage.read(s3, BUCKET, "k") == wanted
    assert len(answer_lost) == 1


def test_a_put_whose_answer_was_lost_has_written_its_object(s3: S3Client, answer_lost: list[str]) -> None:
    etag = storage.put(s3, BUCKET, "k", b"1")
    assert len(answer_lost) == 1
    assert storage.read(s3, BUCKET, "k", etag) == b"1"


def test_an_error_that_is_no_race_is_not_retried(s3: S3Client) -> None:
    decided = []

    def decide(_: storage.ObjectVersion | None) -> storage.Content:
        decided.append(True)
        return storage.Content(b"")

    with pytest.raises(s3.exceptions.NoSuchBucket):
        storage.compare_and_swap(s3, "no-such-bucket", "k", decide)
    assert len(decided) <= 1


def test_an_address_is_split_or_rejected() -> None:
    assert storage.split_address("s3://lake/a/b") == ("lake", "a/b")
    for wrong in ("lake/a/b", "http://lake/a", "s3:///a"):
        with pytest.raises(ValueError, match="s3://bucket/key"):
            storage.split_address(wrong)


def test_a_new_object_takes_one_request_and_the_same_content_is_written_once(s3: S3Client) -> None:
    asked: list[str] = []
    s3.meta.events.register("before-call.s3", lambda model, **_: asked.append(model.name))
    etag = storage.put(s3, BUCKET, "k", storage.Content(b"1", {"manifest": "m"}))
    assert asked == ["PutObject"]
    written = storage.current(s3, BUCKET, "k")
    assert storage.put(s3, BUCKET, "k", storage.Content(b"1", {"manifest": "m"})) == etag
    assert storage.current(s3, BUCKET, "k") == written


def test_a_put_that_conflicts_with_another_write_is_repeated(s3: S3Client) -> None:
    """S3 rejects a conditional write while it is at another one of the same key."""
    with Stubber(s3) as stub:
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        stub.add_client_error("head_object", "404", http_status_code=404)
        stub.add_response("put_object", {"ETag": '"1"'})
        assert storage.put(s3, BUCKET, "k", b"1") == '"1"'
        stub.assert_no_pending_responses()


@pytest.mark.parametrize("content", [storage.Content(b"2", {"manifest": "m"}), storage.Content(b"1")])
def test_a_put_replaces_what_differs_in_content_or_metadata(s3: S3Client, content: storage.Content) -> None:
    storage.put(s3, BUCKET, "k", storage.Content(b"1", {"manifest": "m"}))
    storage.put(s3, BUCKET, "k", content)
    assert storage.read(s3, BUCKET, "k") == content.body
    found = storage.current(s3, BUCKET, "k")
    assert found is not None
    assert found.metadata == content.metadata

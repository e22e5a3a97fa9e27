"""Damaged objects: who is to blame when Athena fails, and setting them aside without losing anything."""

from __future__ import annotations

import gzip
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from types_boto3_s3 import S3Client

from include.coverage import damage
from include.lake import storage
from include.lake.athena import AthenaError, UnreadDataError
from include.lake.layout import DAMAGED_PREFIX, raw_prefix
from include.window import Window

BUCKET = "lake"
PREFIX = raw_prefix("ukraine", Window.parse("2026-11-20T10"))
LINES = b"".join(b'{"data":{"id":"%d"}}\n' % number for number in range(50_000))
PACKED = gzip.compress(LINES)
CUT = PACKED[: len(PACKED) // 2]


@pytest.fixture
def s3(s3: S3Client) -> S3Client:
    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}cut.gz", Body=CUT)
    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}whole.gz", Body=PACKED)
    return s3


class Engine:
    """Fails like Athena while a statement reads a ``bad`` object, and ``names`` it."""

    def __init__(
        self, bad: Collection[str], names: bool = False, error: type[AthenaError] = UnreadDataError
    ) -> None:
        self.bad, self.names, self.error, self.asked = bad, names, error, 0

    def run_all(self, statements: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
        self.asked += 1
        for key in self.bad:
            if key not in statements["one"]:
                of = f" [s3://{BUCKET}/{key}]" if self.names else ""
                raise self.error(f"statement 'one' ended as FAILED: bad{of} (execution 1)")
        return {"one": []}


def run(s3: S3Client, engine: Any) -> dict[str, str]:
    listed = storage.list_objects(s3, BUCKET, "raw/").objects
    _, left_out = damage.run_all(
        engine, lambda unreadable: {"one": " ".join(unreadable)}, s3, BUCKET, lambda: listed
    )
    return left_out


@pytest.mark.parametrize("names", [True, False])
def test_a_damaged_object_is_found_and_left_out_whether_athena_names_it_or_not(
    s3: S3Client, names: bool
) -> None:
    engine = Engine([f"{PREFIX}cut.gz"], names)
    assert list(run(s3, engine)) == [f"{PREFIX}cut.gz"]
    assert engine.asked == 2


def test_what_only_athena_cannot_read_is_left_out_where_it_names_it(s3: S3Client) -> None:
    bad = [f"{PREFIX}cut.gz", "labeled/topic=ukraine/dt=2026-11-20/tweets-10.parquet"]
    assert set(run(s3, Engine(bad, names=True))) == set(bad)


@pytest.mark.parametrize(
    "engine",
    [
        Engine(["raw/elsewhere.gz"]),
        Engine([f"{PREFIX}cut.gz"], names=True, error=AthenaError),
    ],
    ids=["no object is to blame", "the statement is wrong"],
)
def test_any_other_failure_stays_one(s3: S3Client, engine: Engine) -> None:
    with pytest.raises(AthenaError):
        run(s3, engine)


def test_what_can_be_unpacked_stays_in_its_place_and_the_original_lies_aside(s3: S3Client) -> None:
    key = f"{PREFIX}cut.gz"
    before = list(storage.read_lines(s3, BUCKET, f"{PREFIX}whole.gz"))
    assert damage.set_aside(s3, BUCKET, [key, f"{PREFIX}whole.gz", f"{PREFIX}gone.gz"]) == [key]
    kept = list(storage.read_lines(s3, BUCKET, key))
    assert 1_000 < len(kept) < len(before)
    assert kept == before[: len(kept)]
    assert storage.read(s3, BUCKET, f"{DAMAGED_PREFIX}{key}") == CUT
    assert damage.aside(s3, BUCKET) == [key]
    assert damage.set_aside(s3, BUCKET, [key]) == []


def test_killed_between_copying_and_replacing_it_is_set_aside_the_next_time(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"{PREFIX}cut.gz"

    def killed(**_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(s3, "put_object", killed)
        with pytest.raises(KeyboardInterrupt):
            damage.set_aside(s3, BUCKET, [key])
    assert storage.read(s3, BUCKET, key) == CUT
    assert damage.set_aside(s3, BUCKET, [key]) == [key]
    assert storage.read(s3, BUCKET, f"{DAMAGED_PREFIX}{key}") == CUT


def test_an_object_that_was_replaced_meanwhile_is_not_overwritten(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"{PREFIX}cut.gz"
    copy = s3.copy_object

    def replaced(**arguments: Any) -> Any:
        answer = copy(**arguments)
        s3.put_object(Bucket=BUCKET, Key=key, Body=PACKED)
        return answer

    monkeypatch.setattr(s3, "copy_object", replaced)
    assert damage.set_aside(s3, BUCKET, [key]) == []
    assert storage.read(s3, BUCKET, key) == PACKED

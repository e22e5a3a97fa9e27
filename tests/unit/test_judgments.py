"""Judgments: kept once a tweet and person, taken one by one or from a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from types_boto3_s3 import S3Client
from types_boto3_secretsmanager import SecretsManagerClient

from include.audit import judgments, records
from include.audit.records import JudgmentError
from include.audit.wave import Wave
from include.lake import layout, storage
from include.lake.schemas import PREDICTIONS
from include.x.snowflake import lowest_id
from local import audit
from tests.unit.support_audit import HOUR, KEY, LATER, NOW, SETTINGS, WAVE, draw, judged, label, rows


def test_one_judgment_is_kept_for_each_tweet_and_person(s3: S3Client) -> None:
    label(s3)
    draw(s3)
    one, two = (row["tweet_id"] for row in rows(s3)[:2])
    records.judge(s3, "lake", "ann", {one: "Positive", two: "Cannot tell"}, NOW)
    records.judge(s3, "lake", "ann", {one: "Negative"}, LATER)
    records.judge(s3, "lake", "bob", {one: "Neutral"}, NOW)
    assert judged(s3) == {(one, "ann"): "Negative", (two, "ann"): "Cannot tell", (one, "bob"): "Neutral"}
    records.judge(s3, "lake", "ann", {one: None}, LATER)
    assert (one, "ann") not in judged(s3)


def test_the_same_judgment_again_changes_nothing(s3: S3Client) -> None:
    label(s3)
    draw(s3)
    given_ = {rows(s3)[0]["tweet_id"]: "Positive"}
    records.judge(s3, "lake", "ann", given_, NOW)
    first = records.read_judged(s3, "lake", WAVE)
    records.judge(s3, "lake", "ann", given_, LATER)
    assert records.read_judged(s3, "lake", WAVE) == first


def test_every_bad_judgment_is_named_and_none_is_saved(s3: S3Client) -> None:
    label(s3)
    draw(s3)
    known = rows(s3)[0]["tweet_id"]
    never = lowest_id(HOUR.start) + 999_999
    with pytest.raises(JudgmentError) as error:
        records.judge(s3, "lake", "ann", {known: "Positive", never: "Neutral", -1: "Neutral", 7: "Good"}, NOW)
    assert len(error.value.problems) == 3
    assert f"tweet {never} was not drawn" in str(error.value)
    assert judged(s3) == {}


def predict(s3: S3Client, model: str = "v3", sentiment: str = "Positive") -> None:
    """The model's predictions of the hour's drawn tweets, and of one that was not drawn."""
    ids = [*(row["tweet_id"] for row in rows(s3)), lowest_id(HOUR.end) - 1]
    found = [{"tweet_id": tweet_id, "sentiment": sentiment} for tweet_id in ids]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(found, schema=PREDICTIONS), sink)
    s3.put_object(Bucket="lake", Key=layout.predictions_key(model, "ukraine", HOUR), Body=sink.getvalue())


def predicted(s3: S3Client) -> list[dict[str, Any]]:
    content = s3.get_object(Bucket="lake", Key=layout.audit_predicted_key(WAVE.label))["Body"].read()
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(content)).to_pylist()
    return found


def test_what_the_champion_says_of_drawn_tweets_is_noted_until_another_is_crowned(s3: S3Client) -> None:
    label(s3)
    draw(s3)
    assert records.predict(s3, SETTINGS, "v3", NOW.date()) == 0
    predict(s3)
    assert records.predict(s3, SETTINGS, "v3", NOW.date()) == len(rows(s3))
    assert {row["tweet_id"] for row in predicted(s3)} == {row["tweet_id"] for row in rows(s3)}
    assert {(row["model"], row["sentiment"]) for row in predicted(s3)} == {("v3", "Positive")}
    before = predicted(s3)
    assert records.predict(s3, SETTINGS, "v4", NOW.date()) == 0, (
        "its predictions do not exist, or have expired"
    )
    assert predicted(s3) == before
    predict(s3, "v4", "Negative")
    later = NOW.date() + timedelta(days=SETTINGS.retention_days + 8)
    assert records.predict(s3, SETTINGS, "v4", later) == 0
    assert predicted(s3) == before
    records.predict(s3, SETTINGS, "v4", NOW.date())
    assert {(row["model"], row["sentiment"]) for row in predicted(s3)} == {("v4", "Negative")}


def test_a_removed_tweet_leaves_what_was_drawn_and_what_was_judged(s3: S3Client) -> None:
    label(s3)
    draw(s3)
    one, two = (row["tweet_id"] for row in rows(s3)[:2])
    for person in ("ann", "bob"):
        records.judge(s3, "lake", person, {one: "Positive", two: "Neutral"}, NOW)
    predict(s3)
    assert records.predict(s3, SETTINGS, "v3", NOW.date()) == len(rows(s3))
    gone = {one, lowest_id(HOUR.start) + 5}
    waves = [Wave.of_tweet(one)]
    assert records.remove(s3, "lake", waves, gone.__contains__) >= 4
    assert one not in {row["tweet_id"] for row in rows(s3)}
    assert one not in {row["tweet_id"] for row in predicted(s3)}
    assert set(judged(s3)) == {(two, "ann"), (two, "bob")}
    assert records.remove(s3, "lake", waves, gone.__contains__) == 0


def meanwhile(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, step: Callable[[], object]) -> None:
    """Has another one do something just before a function is called for the first time."""
    function = getattr(owner, name)

    def after_step(*arguments: Any) -> Any:
        monkeypatch.setattr(owner, name, function)
        step()
        return function(*arguments)

    monkeypatch.setattr(owner, name, after_step)


def remove(s3: S3Client, tweet_id: int) -> None:
    """As a removal does: from labeled, and then from the audit."""
    key = layout.labeled_key("ukraine", HOUR)
    table = pq.read_table(io.BytesIO(s3.get_object(Bucket="lake", Key=key)["Body"].read()))
    sink = io.BytesIO()
    pq.write_table(table.filter(pc.not_equal(table["tweet_id"], tweet_id)), sink)
    s3.put_object(Bucket="lake", Key=key, Body=sink.getvalue())
    records.remove(s3, "lake", [WAVE], lambda own: own == tweet_id)


def drawn_ids(s3: S3Client) -> list[int]:
    """The ids of the tweets that are drawn from a labeled hour."""
    label(s3)
    draw(s3)
    return [row["tweet_id"] for row in rows(s3)]


def test_a_tweet_that_is_removed_while_it_is_drawn_does_not_stay(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, *_ = drawn_ids(s3)
    s3.delete_object(Bucket="lake", Key=layout.audit_drawn_key(WAVE.label))
    meanwhile(monkeypatch, storage, "replace", lambda: remove(s3, gone))
    assert draw(s3).written
    assert rows(s3)
    assert gone not in {row["tweet_id"] for row in rows(s3)}


def test_a_tweet_that_is_removed_while_it_is_judged_leaves_no_judgment(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stays, *_ = drawn_ids(s3)
    meanwhile(monkeypatch, storage, "replace", lambda: remove(s3, gone))
    records.judge(s3, "lake", "ann", {gone: "Positive", stays: "Neutral"}, NOW)
    assert judged(s3) == {(stays, "ann"): "Neutral"}


def test_a_tweet_that_is_judged_while_it_is_removed_leaves_no_judgment(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, *_ = drawn_ids(s3)
    meanwhile(
        monkeypatch, storage, "replace", lambda: records.judge(s3, "lake", "ann", {gone: "Positive"}, NOW)
    )
    remove(s3, gone)
    assert judged(s3) == {}


def test_a_tweet_that_is_removed_while_predictions_are_noted_does_not_stay(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, *_ = drawn_ids(s3)
    predict(s3)
    meanwhile(monkeypatch, storage, "overwrite", lambda: remove(s3, gone))
    assert records.predict(s3, SETTINGS, "v3", NOW.date()) == len(rows(s3))
    assert {row["tweet_id"] for row in predicted(s3)} == {row["tweet_id"] for row in rows(s3)}


def test_a_person_is_a_pseudonym() -> None:
    assert records.pseudonym(KEY, "ann") == records.pseudonym(KEY, "ann") != records.pseudonym(KEY, "bob")
    assert "ann" not in records.pseudonym(KEY, "ann")


def test_texts_match_however_a_collection_writes_handles_links_and_entities() -> None:
    assert judgments.plain("RT @Ann:  Good &amp; GREAT\nhttps://t.co/abc") == judgments.plain(
        "rt @user: good & great http"
    )


def test_a_label_is_a_word_or_a_number() -> None:
    found = judgments.read(
        [
            {"tweet_id": "7", "judgment": "cannot tell"},
            {"text": "Good", "label": 2},
            {"text": "Bad", "label": "0"},
        ]
    )
    assert (found.of(7, ""), found.of(1, "good"), found.of(1, "BAD")) == (
        "Cannot tell",
        "Positive",
        "Negative",
    )
    assert found.of(1, "unknown") is None


def test_a_text_with_two_labels_counts_for_none() -> None:
    found = judgments.read([{"text": "Well", "label": 0}, {"text": "well", "label": 2}])
    assert (found.by_text, found.contradicted) == ({}, 1)


def test_every_bad_row_is_named() -> None:
    with pytest.raises(JudgmentError) as error:
        judgments.read(
            [
                {"tweet_id": "7", "judgment": "Great"},
                {"tweet_id": "x7", "judgment": "Neutral"},
                {"label": 1},
                {"tweet_id": "8", "label": 1},
                {"tweet_id": "8", "label": 2},
                {"text": "ok"},
            ]
        )
    assert [problem.split(":")[0].split(" has")[0] for problem in error.value.problems] == [
        f"row {number}" for number in (1, 2, 3, 5, 6)
    ]


@pytest.fixture(scope="module")
def secrets(service: S3Client) -> SecretsManagerClient:
    client = boto3.client("secretsmanager")
    client.create_secret(Name=SETTINGS.pseudonym_secret, SecretString="a key")
    return client


@pytest.mark.parametrize("suffix", [".csv", ".ndjson", ".parquet"])
def test_a_file_of_labels_judges_by_texts(
    s3: S3Client, secrets: SecretsManagerClient, tmp_path: Path, suffix: str
) -> None:
    label(s3, count=50)
    draw(s3)
    file = tmp_path / f"labels{suffix}"
    texts = pa.table(
        {
            "text": [f"text {n} of ukraine & more http://t.co/x" for n in range(40)],
            "label": [n % 3 for n in range(40)],
        }
    )
    if suffix == ".parquet":
        pq.write_table(texts, file)
    elif suffix == ".csv":
        file.write_text("text,label\n" + "".join(f"{r['text']},{r['label']}\n" for r in texts.to_pylist()))
    else:
        file.write_text(
            "\n".join(f'{{"text": "{r["text"]}", "label": {r["label"]}}}' for r in texts.to_pylist())
        )
    clients = {"s3": s3, "secretsmanager": secrets}
    first = audit.judge(clients.__getitem__, SETTINGS, file, "labels")
    assert (first.drawn, first.known) == (50, 40)
    assert first.given == {"Negative": 14, "Neutral": 13, "Positive": 13}
    assert str(first).startswith("40 of 50 drawn tweets judged: 14 Negative, 13 Neutral, 13 Positive")
    assert audit.judge(clients.__getitem__, SETTINGS, file, "labels") == first
    assert len(judged(s3)) == 40


def test_what_holds_no_labels_is_rejected(s3: S3Client, tmp_path: Path) -> None:
    with pytest.raises(audit.AuditError, match="has no labels"):
        list(audit.rows(tmp_path))
    broken = tmp_path / "labels.parquet"
    broken.write_bytes(b"no parquet")
    with pytest.raises(audit.AuditError, match="cannot be read"):
        list(audit.rows(broken))
    with pytest.raises(audit.AuditError, match="start it by `make run`"):
        audit.run(tmp_path, broken, "labels")

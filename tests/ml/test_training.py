"""Training end to end on a small lake: real Spark, Delta, Spark NLP, XGBoost and MLflow's registry.

One session does all steps one after the other, as on a job cluster; the tests build on each other in order.
"""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.lake import layout, quality, storage
from include.lake.schemas import AUDIT_JUDGED, LABELED, PREDICTIONS, SENTIMENTS
from include.quality.checks import check_predictions
from include.settings import Settings
from include.training import hours
from include.window import Window
from include.x import snowflake
from local.databricks import cluster
from local.processes import dies_with_parent
from tests.credentials import CREDENTIALS
from tests.local.support_aws import LocalAws

ROOT = Path(__file__).parents[2]
BUCKET, ONE_SIDED, OVERTAKEN, OUTGROWN = "training", "one-sided", "overtaken", "outgrown"
MODEL = "main.test.student"
FIRST, SECOND = Window.parse("2026-11-20T05"), Window.parse("2026-11-20T06")
EMPTY = Window.parse("2026-11-20T07")
OLD = Window.parse("2026-09-01T05")
TOPICS = ("ukraine", "russia")
ROWS = 200
FOREVER = 100 * 365
"""Days that none of the tests' hours are older than."""

_WORDS = {
    "Negative": "terrible war sad angry destroyed never hate awful killed lost",
    "Neutral": "report today meeting says minister morning statement source number plan",
    "Positive": "great love happy peace wonderful thanks best hope win beautiful",
}
_FILLER = "the people in our city and this country about it again @someone https://t.co/x"
_ALWAYS = {"pl": "Negative", "it": "Positive"}
"""The sentiment of a language whose texts tell none."""


def rows(
    topic: str, window: Window, count: int, sentiments: tuple[str, ...] = SENTIMENTS
) -> list[dict[str, Any]]:
    """Labeled rows whose words mostly tell their sentiment; every twentieth could not be judged.

    Of every tenth the language alone tells it (`_ALWAYS`), if there is more than one sentiment.
    """
    choice = random.Random(f"{topic} {window}")
    found = []
    for number in range(count):
        sentiment = sentiments[number % len(sentiments)]
        spoken = sentiment if choice.random() < 0.9 else choice.choice(sentiments)
        words = choice.choices(_WORDS[spoken].split(), k=4) + choice.choices(_FILLER.split(), k=6)
        choice.shuffle(words)
        lang = "en"
        if number % 10 == 3 and len(sentiments) > 1:
            lang, sentiment = list(_ALWAYS.items())[number % 20 // 10]
            words = choice.choices(_FILLER.split(), k=10)
        at = window.start + timedelta(seconds=number * 3000 / count)
        row: dict[str, Any] = dict.fromkeys(LABELED.names)
        row |= {"ts": at.replace(tzinfo=None), "tag": topic, "text": " ".join(words), "lang": lang}
        row["tweet_id"] = snowflake.lowest_id(at) + TOPICS.index(topic)
        if number % 20 == 19:
            row["unlabeled_reason"] = "language_unknown"
        else:
            row |= {
                "sentiment": sentiment,
                "score": 0.8,
                "p_negative": 0.1,
                "p_neutral": 0.1,
                "p_positive": 0.8,
            }
        found.append(row)
    return found


class Lake:
    """The bucket of the tests and the session that trains on it."""

    def __init__(self, s3: Any, session: subprocess.Popen[str], log: Path) -> None:
        self.s3 = s3
        self._session = session
        self._log = log

    def put(
        self,
        topic: str,
        window: Window,
        found: list[dict[str, Any]],
        bucket: str = BUCKET,
        row_group_size: int | None = None,
    ) -> None:
        body, table = io.BytesIO(), pa.Table.from_pylist(found, schema=LABELED)
        pq.write_table(table, body, row_group_size=row_group_size, write_statistics=["sentiment"])
        self.s3.put_object(Bucket=bucket, Key=layout.labeled_key(topic, window), Body=body.getvalue())

    def table(self, key: str, bucket: str = BUCKET) -> pa.Table:
        return pq.read_table(io.BytesIO(storage.read(self.s3, bucket, key)))

    def ask(self, line: str) -> Any:
        assert self._session.stdin
        assert self._session.stdout
        self._session.stdin.write(f"{line}\n")
        self._session.stdin.flush()
        for answer in self._session.stdout:
            if answer.startswith("answer: "):
                return json.loads(answer.removeprefix("answer: "))
        raise AssertionError(self._log.read_text()[-3000:])

    def step(self, name: str, bucket: str = BUCKET, **parameters: Any) -> dict[str, Any]:
        told = {"bucket": bucket, "model": MODEL, "experiment": "/tests", "trials": 2, **parameters}
        told.setdefault("retention_days", FOREVER)
        answer = self.ask(" ".join([name, *(f"--{key}={value}" for key, value in told.items())]))
        assert "error" not in answer, f"{answer}\n{self._log.read_text()[-3000:]}"
        return dict(answer)

    def all_steps(self, bucket: str = BUCKET, **parameters: Any) -> dict[str, dict[str, Any]]:
        return {name: self.step(name, bucket, **parameters) for name in ("sync", "train", "gate", "predict")}

    def judged(self) -> list[list[object]]:
        """What the Delta table must hold: the judged rows of all labeled objects."""
        found = []
        for hour in hours.labeled(self.s3, BUCKET):
            topic, window = hours.parse(hour)
            for row in self.table(layout.labeled_key(topic, window)).to_pylist():
                if row["sentiment"]:
                    text = row["translated_text"] or row["text"]
                    found.append([topic, window.label, row["tweet_id"], row["sentiment"], text])
        return sorted(found)

    def predictions(self, version: int = 1) -> dict[str, storage.Object]:
        listing = storage.list_objects(self.s3, BUCKET, f"predictions/model=v{version}/")
        return {each.key: each for each in listing.objects}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("cluster")
    aws = LocalAws(tmp_path_factory.mktemp("aws")).start()
    s3 = aws.client("s3")
    for bucket in (BUCKET, ONE_SIDED, OVERTAKEN, OUTGROWN):
        s3.create_bucket(Bucket=bucket)
    environment = cluster.environment(
        folder,
        aws_endpoint=aws.endpoint,
        credentials=CREDENTIALS,
        mlflow_url=f"sqlite:///{folder}/mlflow.sqlite",
    )
    log = folder / "session.log"
    with log.open("w") as messages:
        session = subprocess.Popen(
            [str(cluster.python()), str(ROOT / "tests" / "ml" / "support_cluster.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            cwd=folder,
            # One session does all the steps: unlike a cluster's, it lives long enough for both compilers.
            env={**environment, "PYTHONPATH": str(ROOT), "_JAVA_OPTIONS": "-XX:TieredStopAtLevel=4"},
            preexec_fn=dies_with_parent(signal.SIGKILL),
        )
    found = Lake(s3, session, log)
    for topic in TOPICS:
        for window in (FIRST, SECOND):
            found.put(topic, window, rows(topic, window, ROWS))
    found.put("ukraine", EMPTY, [])
    try:
        yield found
    finally:
        assert session.stdin
        session.stdin.close()
        session.wait(60)
        aws.stop()


@pytest.fixture(scope="module")
def first(lake: Lake) -> dict[str, dict[str, Any]]:
    return lake.all_steps()


def test_the_first_run_makes_a_champion_and_predicts_what_the_teacher_judged(
    lake: Lake, first: dict[str, dict[str, Any]]
) -> None:
    assert first["sync"]["changed"] == 5
    assert lake.ask(f"table {BUCKET}") == lake.judged()
    assert first["train"]["version"] == 1
    assert first["gate"]["alias"] == "champion"
    assert "first champion" in first["gate"]["reason"]
    # Nine of ten texts tell their sentiment: who learns anything is far above chance.
    assert first["gate"]["metrics"]["macro_f1"] > 0.7
    assert first["predict"] == {"version": 1, "hours": 5, "removed": 0, "rows": 760, "total": 760}

    table = lake.table(layout.predictions_key("v1", "ukraine", FIRST))
    assert table.schema.equals(PREDICTIONS)
    labeled = lake.table(layout.labeled_key("ukraine", FIRST)).to_pylist()
    assert table["tweet_id"].to_pylist() == sorted(row["tweet_id"] for row in labeled if row["sentiment"])
    for row in table.to_pylist():
        p = {name: row[f"p_{name.lower()}"] for name in SENTIMENTS}
        assert sum(p.values()) == pytest.approx(1, abs=1e-5)
        assert row["sentiment"] == max(p, key=lambda name: p[name])
    assert lake.table(layout.predictions_key("v1", "ukraine", EMPTY)).num_rows == 0

    noted = hours.read_predicted(lake.s3, BUCKET)
    assert (noted.model, noted.version, noted.hours) == (MODEL, 1, hours.labeled(lake.s3, BUCKET))
    assert check_predictions(lake.s3, Settings(bucket=BUCKET), "2026-11-20T08").failed == 0


def test_the_language_tells_what_the_text_does_not(lake: Lake, first: dict[str, dict[str, Any]]) -> None:
    told = []
    for topic in TOPICS:
        labeled = lake.table(layout.labeled_key(topic, FIRST)).to_pylist()
        spoken = {row["tweet_id"]: row["lang"] for row in labeled if row["lang"] in _ALWAYS}
        predicted = lake.table(layout.predictions_key("v1", topic, FIRST)).to_pylist()
        told += [
            row["sentiment"] == _ALWAYS[spoken[row["tweet_id"]]]
            for row in predicted
            if row["tweet_id"] in spoken
        ]
    assert len(told) == 40
    assert sum(told) >= 36


def test_the_model_reads_texts_as_it_did_when_it_was_trained(
    lake: Lake, first: dict[str, dict[str, Any]]
) -> None:
    # Trained on rows that were read in parts; what the registry holds reads texts and languages alone.
    trained = {
        name.removeprefix("holdout_"): value
        for name, value in first["train"]["metrics"].items()
        if name.startswith("holdout_")
    }
    assert trained["rows"] > 50
    assert lake.ask(f"loaded {BUCKET} {MODEL} 1") == trained


def test_the_second_run_finds_everything_done(lake: Lake, first: dict[str, dict[str, Any]]) -> None:
    before = lake.predictions()
    again = lake.all_steps()
    assert (again["sync"]["changed"], again["sync"]["gone"]) == (0, 0)
    assert again["train"] == {"version": 1, "reused": True, "metrics": again["train"]["metrics"]}
    assert (again["gate"]["alias"], again["gate"]["reason"]) == ("champion", first["gate"]["reason"])
    assert (again["predict"]["hours"], again["predict"]["total"]) == (0, 760)
    assert lake.predictions() == before
    assert lake.ask(f"table {BUCKET}") == lake.judged()


def test_a_sync_that_was_killed_before_its_note_does_the_same_again(
    lake: Lake, first: dict[str, dict[str, Any]]
) -> None:
    lake.s3.delete_object(Bucket=BUCKET, Key=layout.SYNCED_KEY)
    assert lake.step("sync")["changed"] == 5
    assert lake.ask(f"table {BUCKET}") == lake.judged()


def test_an_hour_of_a_killed_sync_leaves_the_table_with_its_object(
    lake: Lake, first: dict[str, dict[str, Any]]
) -> None:
    """The next sync knows of it though its object is gone, and so does whoever removes a tweet."""
    before, new = lake.ask(f"table {BUCKET}"), EMPTY.next
    lake.put("ukraine", new, rows("ukraine", new, 20))
    assert lake.step("killed") == {}
    assert len(lake.ask(f"table {BUCKET}")) > len(before)
    assert f"ukraine/{new.label}" in hours.read_synced(lake.s3, BUCKET).hours
    lake.s3.delete_object(Bucket=BUCKET, Key=layout.labeled_key("ukraine", new))
    assert lake.step("sync")["gone"] == 1
    assert lake.ask(f"table {BUCKET}") == before


@pytest.mark.parametrize("between", [b"A" * 64, None], ids=["unreadable", "larger"])
def test_an_object_that_is_replaced_while_it_is_read_is_read_again(lake: Lake, between: bytes | None) -> None:
    """In a first sync, whose failed write leaves the folder of the table's log without a version.

    Of a larger object Spark reads the row groups that begin within the size that it knows.
    """
    bucket = OVERTAKEN if between else OUTGROWN
    key, later = layout.labeled_key("ukraine", FIRST), "later.parquet"
    lake.put("ukraine", FIRST, rows("ukraine", FIRST, ROWS), bucket, row_group_size=10)
    lake.s3.copy_object(Bucket=bucket, Key=later, CopySource={"Bucket": bucket, "Key": key})
    lake.put("ukraine", FIRST, rows("ukraine", FIRST, 20), bucket)
    if between:
        lake.s3.put_object(Bucket=bucket, Key="between.parquet", Body=between)
    answer = lake.ask(
        f"overtaken {key} {'between.parquet' if between else later} {later} --bucket={bucket} --model={MODEL}"
        f" --experiment=/tests --retention_days={FOREVER}"
    )
    judged = [row["tweet_id"] for row in rows("ukraine", FIRST, ROWS) if row["sentiment"]]
    assert [tweet_id for _, _, tweet_id, *_ in lake.ask(f"table {bucket}")] == judged
    assert (answer.get("changed"), answer.get("reads")) == (1, 2), answer
    assert hours.read_synced(lake.s3, bucket).hours == hours.labeled(lake.s3, bucket)


def test_an_hour_whose_check_blocks_only_loses_what_its_object_lost(
    lake: Lake, first: dict[str, dict[str, Any]]
) -> None:
    """What it lost may have been removed on request."""
    before, new = lake.ask(f"table {BUCKET}"), EMPTY.next
    published = rows("ukraine", FIRST, ROWS)
    lake.put("ukraine", FIRST, [{**row, "text": "changed"} for row in rows("ukraine", FIRST, 2 * ROWS)[50:]])
    removed = {row["tweet_id"] for row in published} - {
        row["tweet_id"] for row in rows("ukraine", FIRST, 2 * ROWS)[50:]
    }
    lake.put("ukraine", new, rows("ukraine", new, ROWS))
    for window in (FIRST, new):
        quality.keep(lake.s3, BUCKET, "labeled", window, quality.CheckResult(blocks=True), b"{}")
    synced = lake.step("sync")
    assert (synced["changed"], synced["gone"]) == (1, 0)
    left = [row for row in before if row[2] not in removed]
    assert len(before) > len(left) == len(before) - synced["rows_removed"]
    assert lake.ask(f"table {BUCKET}") == left
    assert lake.step("sync")["changed"] == 0
    quality.keep(lake.s3, BUCKET, "labeled", FIRST, quality.CheckResult(blocks=False), b"{}")
    assert lake.step("sync")["changed"] == 1
    lake.put("ukraine", FIRST, published)
    lake.s3.delete_object(Bucket=BUCKET, Key=layout.labeled_key("ukraine", new))
    assert lake.step("sync")["changed"] == 1
    assert lake.ask(f"table {BUCKET}") == before == lake.judged()


def test_a_changed_hour_is_merged_compared_with_the_champion_and_predicted_alone(
    lake: Lake, first: dict[str, dict[str, Any]]
) -> None:
    before = lake.predictions()
    more = [{**row, "text": f"{row['text']} again"} for row in rows("ukraine", FIRST, 2 * ROWS)[50:]]
    # The champion has learned neither this language nor that a tweet may have none.
    odd = [{**row, "lang": lang} for row, lang in zip(more[:20], [None, "uk"] * 10, strict=True)]
    lake.put("ukraine", FIRST, [*odd, *more[20:]])
    lake.s3.delete_object(Bucket=BUCKET, Key=layout.labeled_key("russia", SECOND))
    changed = lake.all_steps(margin=2)
    assert (changed["sync"]["changed"], changed["sync"]["gone"]) == (1, 1)
    assert lake.ask(f"table {BUCKET}") == lake.judged()
    assert changed["train"]["version"] == 2
    assert changed["gate"]["alias"] == "challenger"
    assert "against the champion's" in changed["gate"]["reason"]
    assert (changed["predict"]["version"], changed["predict"]["hours"], changed["predict"]["removed"]) == (
        1,
        1,
        1,
    )
    assert changed["predict"]["total"] == len(lake.judged())
    after = lake.predictions()
    replaced = {key for key in after if after[key].etag != before[key].etag}
    assert replaced == {layout.predictions_key("v1", "ukraine", FIRST)}
    assert before.keys() - after.keys() == {layout.predictions_key("v1", "russia", SECOND)}


def test_people_compare_the_models_at_the_gate(lake: Lake, first: dict[str, dict[str, Any]]) -> None:
    """People say of every tweet what the champion says: where the candidate differs, it alone is wrong."""
    said = [row for key in lake.predictions() for row in lake.table(key).to_pylist()]
    judged = [{"tweet_id": row["tweet_id"], "person": "anna", "judgment": row["sentiment"]} for row in said]
    unclear = [{"tweet_id": said[0]["tweet_id"], "person": "ben", "judgment": "Cannot tell"}]
    body = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([*judged, *unclear], schema=AUDIT_JUDGED), body)
    lake.s3.put_object(Bucket=BUCKET, Key=layout.audit_judged_key("2026-11-16", "anna"), Body=body.getvalue())
    gated = lake.step("gate", margin=-2)
    assert not gated["promoted"]
    assert gated["metrics"]["people_rows"] == len(said)
    assert gated["metrics"]["people_accuracy_champion"] == 1
    wrong = round((1 - gated["metrics"]["people_accuracy"]) * len(said))
    # Six to none is more than chance; fewer leave the decision to the teacher's labels.
    decided_by = "people agree with the champion" if wrong >= 6 else "against the champion's"
    assert decided_by in gated["reason"], wrong
    assert lake.step("gate", margin=-2) == gated
    lake.s3.delete_object(Bucket=BUCKET, Key=layout.audit_judged_key("2026-11-16", "anna"))


def test_the_same_data_gives_the_same_model(lake: Lake, first: dict[str, dict[str, Any]]) -> None:
    once = lake.step("train")
    again = lake.step("train", retrain="true")
    assert once["reused"]
    assert not again["reused"]
    assert again["version"] != once["version"]
    assert again["metrics"] == once["metrics"]


def test_texts_older_than_the_retention_leave_the_table_and_its_files(
    lake: Lake, first: dict[str, dict[str, Any]]
) -> None:
    def files() -> list[str]:
        found = storage.list_objects(lake.s3, BUCKET, f"{layout.DELTA_LABELED}/dt={OLD.date}/").objects
        return [each.key for each in found if not each.key.endswith("/")]

    before = lake.step("sync")
    text = "nobody may read this for ever"
    lake.put("ukraine", OLD, [{**row, "text": text} for row in rows("ukraine", OLD, ROWS)])
    assert lake.step("sync")["changed"] == 1
    stay = rows("ukraine", OLD, ROWS)[1:]
    lake.put("ukraine", OLD, stay)
    lake.step("predict")
    predicted = lake.table(layout.predictions_key("v1", "ukraine", OLD))["tweet_id"].to_pylist()
    assert predicted == [row["tweet_id"] for row in stay if row["sentiment"]], "one was removed"
    assert files()

    days = (datetime.now(UTC).date() - FIRST.start.date()).days
    expired = lake.step("sync", retention_days=days, history_seconds=0)
    assert (expired["changed"], expired["gone"]) == (0, 1)
    assert expired["digest"] == before["digest"]
    assert OLD.label not in {row[1] for row in lake.ask(f"table {BUCKET}")}
    assert not files()
    log = storage.list_objects(lake.s3, BUCKET, f"{layout.DELTA_LABELED}/_delta_log/").objects
    assert not any(text.encode() in storage.read(lake.s3, BUCKET, each.key) for each in log)

    again = lake.step("sync", retention_days=days)
    assert (again["changed"], again["gone"]) == (0, 0)
    predictions = lake.step("predict", retention_days=days)
    assert predictions["total"] == len(lake.ask(f"table {BUCKET}"))
    assert layout.predictions_key("v1", "ukraine", OLD) in lake.predictions()


def test_a_removed_tweet_leaves_the_table_its_files_and_its_log(
    lake: Lake, first: dict[str, dict[str, Any]]
) -> None:
    text = "this one has been deleted at X"
    stays = rows("ukraine", EMPTY, ROWS)
    gone = {
        **stays[0],
        "text": text,
        "tweet_id": stays[0]["tweet_id"] - 1,
        "sentiment": "Neutral",
        "score": 0.9,
    }

    def holding() -> list[str]:
        """All files of the table that say the text or the id, also as a column's minimum."""
        found = []
        for each in storage.list_objects(lake.s3, BUCKET, f"{layout.DELTA_LABELED}/").objects:
            body = storage.read(lake.s3, BUCKET, each.key)
            if each.key.endswith(".parquet") and "_delta_log" not in each.key:
                body = str(pq.read_table(io.BytesIO(body)).to_pylist()).encode()
            if text.encode() in body or str(gone["tweet_id"]).encode() in body:
                found.append(each.key)
        return found

    lake.put("ukraine", EMPTY, [gone, *stays[1:]])
    lake.step("sync")
    assert holding()
    lake.put("ukraine", EMPTY, stays[1:])
    removed = lake.step("sync", history_seconds=3600)
    assert (removed["changed"], removed["rows_removed"]) == (1, 1)
    assert holding(), "VACUUM leaves a file to those that may still read it"
    again = lake.step("sync", history_seconds=0)
    assert (again["changed"], again["rows_removed"]) == (0, 0)
    assert holding() == []
    lake.put("ukraine", EMPTY, [])
    lake.step("sync")
    assert lake.ask(f"table {BUCKET}") == lake.judged()


def test_one_sentiment_alone_is_rejected_and_the_champion_predicts_on(
    lake: Lake, first: dict[str, dict[str, Any]]
) -> None:
    for topic in TOPICS:
        lake.put(topic, FIRST, rows(topic, FIRST, ROWS, ("Negative",)), ONE_SIDED)
    rejected = lake.all_steps(ONE_SIDED)
    assert "too few rows of Neutral, Positive" in rejected["train"]["rejected"]
    assert rejected["gate"]["rejected"] == rejected["train"]["rejected"]
    assert (rejected["predict"]["version"], rejected["predict"]["rows"]) == (1, 380)
    nobody = lake.step("predict", ONE_SIDED, model="main.test.nobody")
    assert "no version of main.test.nobody is champion yet" in nobody["rejected"]

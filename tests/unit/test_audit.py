"""The audit: which tweets are drawn, with which chance, and what people say of them."""

from __future__ import annotations

import csv
import io
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from types_boto3_s3 import S3Client
from types_boto3_secretsmanager import SecretsManagerClient

from include.audit import judgments, records
from include.audit.desk import Desk, Standing
from include.audit.draw import OTHER, Drawn, DrawPlan, Urn
from include.audit.records import JudgmentError
from include.audit.rectify import Audited, Rectifier, rectifier
from include.audit.wave import PeriodError, Wave, requested
from include.lake import cards, layout, quality, storage
from include.lake.schemas import LABELED, PREDICTIONS
from include.settings import Settings
from include.window import Window
from include.x.snowflake import lowest_id
from local import audit

KEY = b"a key of the tests"
PLAN = DrawPlan(tweets=100, language_tweets=20, language_share=0.02, twice=0.2)
TOPICS = ("ukraine", "russia")
HOUR = Window.parse("2026-11-20T05")
WAVE = Wave.of(HOUR.start.date())
NOW = datetime(2026, 11, 24, 5, tzinfo=UTC)
SETTINGS = Settings(bucket="lake", audit_tweets=300, audit_language_tweets=20)
LATER = NOW + timedelta(hours=1)


def drawn(
    languages: Mapping[str, int], plan: DrawPlan = PLAN, key: bytes = KEY, first: int = 1
) -> list[Drawn]:
    urn = Urn(key, plan)
    for language, count in languages.items():
        urn.add(language, range(first, first + count))
        first += count
    return urn.draw()


# --- Waves


@given(st.dates(date(2020, 1, 1), date(2030, 12, 31)))
def test_every_day_lies_in_one_wave_of_its_week_and_month(day: date) -> None:
    wave = Wave.of(day)
    assert day in wave.days
    assert {Wave.of(each) for each in wave.days} == {wave}
    assert {each.month for each in wave.days} == {day.month}
    assert {each.isocalendar()[:2] for each in wave.days} == {day.isocalendar()[:2]}


def test_the_waves_of_a_month_share_it_out() -> None:
    waves = list(Wave.between(date(2026, 11, 1), date(2026, 11, 30)))
    assert [wave.label for wave in waves] == [
        "2026-11-01",
        "2026-11-02",
        "2026-11-09",
        "2026-11-16",
        "2026-11-23",
        "2026-11-30",
    ]
    assert sum(wave.share_of_month for wave in waves) == pytest.approx(1)


def test_a_scheduled_run_draws_the_week_before_and_a_manual_run_up_to_now() -> None:
    monday = date(2026, 11, 23)
    assert requested(None, None, monday, 30, scheduled=True) == [Wave.of(date(2026, 11, 16))]
    assert requested(None, None, monday, 30, scheduled=False)[-1] == Wave.of(monday)
    assert requested("2026-11-20", "2026-11-20", monday, 30, scheduled=False) == [Wave.of(date(2026, 11, 20))]


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [
        ("2026-11-31", None, "not a date"),
        ("2026-11-22", "2026-11-20", "not a period"),
        (None, "2026-11-24", "not a period"),
        ("2026-10-01", None, "expired"),
        (None, "2026-10-01", "expired"),
    ],
)
def test_days_that_cannot_be_drawn_from_are_refused(first: str | None, last: str | None, reason: str) -> None:
    with pytest.raises(PeriodError, match=reason):
        requested(first, last, date(2026, 11, 23), 30, scheduled=False)


# --- The draw


def test_each_language_has_its_share_and_small_ones_enough() -> None:
    found = Counter(each.stratum for each in drawn({"en": 9_000, "de": 700, "pl": 250, "tl": 30, "ja": 20}))
    assert found == {"en": 59, "de": 20, "pl": 20, OTHER: 1}


def test_what_is_drawn_stands_for_all_there_are() -> None:
    found = drawn({"en": 9_000, "de": 700, "pl": 250, "tl": 30, "ja": 20})
    assert sum(1 / each.chance for each in found) == pytest.approx(10_000)
    assert all(0 < each.chance <= 1 for each in found)


def test_where_there_are_few_all_are_drawn() -> None:
    assert [each.chance for each in drawn({"en": 7})] == [1.0] * 7
    assert drawn({}) == []


def test_the_same_tweets_are_drawn_again_in_whatever_order_they_come() -> None:
    once, again = Urn(KEY, PLAN), Urn(KEY, PLAN)
    once.add("en", range(1, 2_001))
    for number in range(2_000, 0, -1):
        again.add("en", [number])
    assert once.draw() == again.draw()
    assert once.draw() != drawn({"en": 2_000}, key=b"another")


def test_one_more_tweet_changes_at_most_one_drawn_tweet() -> None:
    former = {each.tweet_id for each in drawn({"en": 2_000})}
    assert len(former - {each.tweet_id for each in drawn({"en": 2_001})}) <= 1


def test_a_larger_draw_holds_the_smaller() -> None:
    small = {each.tweet_id for each in drawn({"en": 2_000})}
    assert small < {each.tweet_id for each in drawn({"en": 2_000}, replace(PLAN, tweets=200))}


def test_a_share_is_judged_by_two_people() -> None:
    found = drawn({"en": 50_000}, replace(PLAN, tweets=5_000))
    assert sum(each.people == 2 for each in found) / 5_000 == pytest.approx(0.2, abs=0.03)


def test_every_tweet_is_as_likely_as_any_other() -> None:
    """Over many keys each of 50 tweets is drawn as often, within four standard deviations."""
    counts = Counter(
        each.tweet_id
        for key in range(2_000)
        for each in drawn({"en": 50}, DrawPlan(10, 10, 0.02, 0.2), key=b"%d" % key)
    )
    assert all(abs(counts[number] - 400) < 4 * (2_000 * 0.2 * 0.8) ** 0.5 for number in range(1, 51))


# --- In the lake


def label(
    s3: S3Client, topic: str = "ukraine", hour: Window = HOUR, count: int = 400, **columns: Any
) -> None:
    first = lowest_id(hour.start) + TOPICS.index(topic) * 1_000_000
    rows = [
        {
            "tweet_id": first + number,
            "text": f"Text {number} of {topic} & more https://t.co/{number}",
            "lang": "en" if number % 4 else "de",
            "sentiment": "Positive",
            "sentiment_engine": "ngram-1",
            "p_negative": 0.1,
            "p_neutral": 0.2,
            "p_positive": 0.7,
            "sample": 50,
            **columns,
        }
        for number in range(count)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=LABELED), sink)
    s3.put_object(Bucket="lake", Key=layout.labeled_key(topic, hour), Body=sink.getvalue())


def draw(s3: S3Client, **changes: Any) -> records.Draw:
    given: dict[str, Any] = {"now": NOW, "tweets": None, **changes}
    return records.draw(s3, SETTINGS, TOPICS, WAVE, KEY, given["now"], given["tweets"])


def rows(s3: S3Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = records.read_drawn(s3, "lake", WAVE).to_pylist()
    return found


def test_a_wave_is_drawn_with_all_that_rectifying_needs(s3: S3Client) -> None:
    label(s3)
    label(s3, "russia", country_code="DE", lang="", sample=None)
    found = draw(s3)
    assert (found.written, found.blocked_hours) == (True, 0)
    assert found.drawn == {"ukraine": 70, "russia": 70}
    by_topic = {row["topic"]: row for row in rows(s3)}
    ours, theirs = by_topic["ukraine"], by_topic["russia"]
    assert ours["stratum"] == ours["lang"]
    assert (ours["country_code"], ours["sample"], ours["engine"]) == ("--", 50, "ngram-1")
    assert (ours["sentiment"], ours["p_negative"], ours["p_positive"]) == ("Positive", 0.1, 0.7)
    assert (theirs["lang"], theirs["country_code"], theirs["sample"]) == ("und", "DE", 100)
    assert "text" not in ours
    assert "author_id" not in ours


def test_a_drawn_tweet_says_whether_its_models_were_measured_on_its_language(s3: S3Client) -> None:
    cards.keep(s3, "lake", "sentiment", "ngram-1", {"measured": {"en": {}}})
    cards.keep(s3, "lake", "translation", "opus-1", {"measured": {"pl": {}}})
    label(s3)
    label(s3, "russia", lang="pl", translation_engine="opus-1")
    draw(s3)
    assert {(row["lang"], row["measured"]) for row in rows(s3)} == {("en", 1), ("de", 0), ("pl", 1)}


def test_drawing_twice_changes_nothing(s3: S3Client) -> None:
    label(s3)
    draw(s3)
    first = s3.get_object(Bucket="lake", Key=layout.audit_drawn_key(WAVE.label))
    draw(s3)
    again = s3.get_object(Bucket="lake", Key=layout.audit_drawn_key(WAVE.label))
    assert first["Body"].read() == again["Body"].read()
    assert first["LastModified"] == again["LastModified"]


def test_tweets_without_a_sentiment_and_hours_in_progress_are_not_drawn(s3: S3Client) -> None:
    label(s3, sentiment=None)
    label(s3, hour=HOUR.next)
    assert draw(s3, now=HOUR.end).drawn["ukraine"] == 0
    assert draw(s3, now=HOUR.next.end).drawn["ukraine"] == 70


def test_an_hour_whose_check_blocks_is_not_drawn(s3: S3Client) -> None:
    label(s3)
    label(s3, hour=HOUR.next, count=10)
    quality.keep(s3, "lake", "labeled", HOUR, quality.CheckResult(blocks=True), b"{}")
    found = draw(s3)
    assert (found.drawn["ukraine"], found.blocked_hours) == (10, 1)


def test_what_was_drawn_outlasts_the_tweets(s3: S3Client) -> None:
    label(s3)
    label(s3, hour=HOUR.next)
    draw(s3)
    former = rows(s3)
    s3.delete_object(Bucket="lake", Key=layout.labeled_key("ukraine", HOUR))
    assert not draw(s3).written
    assert rows(s3) == former


def test_a_larger_draw_is_not_replaced_by_a_smaller(s3: S3Client) -> None:
    label(s3)
    assert draw(s3, tweets=200).drawn["ukraine"] == 200
    assert draw(s3).drawn["ukraine"] == 200


def test_labeled_by_another_model_the_same_tweets_are_drawn_with_its_labels(s3: S3Client) -> None:
    label(s3)
    draw(s3)
    former = rows(s3)
    label(s3, sentiment_engine="xlm-2", sentiment="Negative", p_negative=0.9, p_positive=0.0)
    draw(s3)
    changed = rows(s3)
    assert [row["tweet_id"] for row in changed] == [row["tweet_id"] for row in former]
    assert {(row["engine"], row["sentiment"], row["p_negative"]) for row in changed} == {
        ("xlm-2", "Negative", 0.9)
    }


def test_nothing_is_drawn_of_an_empty_lake(s3: S3Client) -> None:
    assert draw(s3) == records.Draw(WAVE.label, False, {"ukraine": 0, "russia": 0}, 0)
    assert records.drawn_waves(s3, "lake") == []


# --- Judgments


def judged(s3: S3Client) -> dict[tuple[int, str], str]:
    return {
        (row["tweet_id"], row["person"]): row["judgment"]
        for row in records.read_judged(s3, "lake", WAVE).to_pylist()
    }


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


# --- Judgments of a file


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


def test_what_holds_no_labels_is_refused(s3: S3Client, tmp_path: Path) -> None:
    with pytest.raises(audit.AuditError, match="has no labels"):
        list(audit.rows(tmp_path))
    broken = tmp_path / "labels.parquet"
    broken.write_bytes(b"no parquet")
    with pytest.raises(audit.AuditError, match="cannot be read"):
        list(audit.rows(broken))
    with pytest.raises(audit.AuditError, match="start it by `make run`"):
        audit.run(tmp_path, broken, "labels")


# --- The desk


@pytest.fixture
def desk(s3: S3Client) -> Desk:
    """Of 100 drawn tweets: 75 in English, 25 in German, some of both for two people."""
    label(s3, count=100, text="=1+1 & <b>more</b> &lt;", translated_text="and <more>")
    draw(s3, tweets=100)
    return Desk(s3, "lake", KEY, SETTINGS.retention_days)


def ids(desk: Desk, person: str, count: int = 1_000, now: datetime = NOW, **only: Any) -> list[int]:
    return [tweet.tweet_id for tweet in desk.given(person, now, count, **only)]


def test_a_person_sees_texts_as_they_were_written_and_no_label(desk: Desk) -> None:
    [tweet] = desk.given("ann", NOW, 1)
    assert (tweet.text, tweet.translation) == ("=1+1 & <b>more</b> &lt;", "and <more>"), (
        "decoded once, by prepare"
    )
    assert set(tweet.to_json()) == {"tweet_id", "topic", "lang", "written_at", "text", "translation"}
    assert tweet.to_json()["tweet_id"] == str(tweet.tweet_id)


def test_each_person_has_an_order_of_their_own_that_stays(desk: Desk) -> None:
    anns, bobs = ids(desk, "ann"), ids(desk, "bob")
    assert len(anns) == 100
    assert sorted(anns) == sorted(bobs)
    assert anns != bobs
    assert ids(desk, "ann", 7) == anns[:7]


def test_a_tweet_is_given_to_as_many_people_as_should_judge_it(s3: S3Client, desk: Desk) -> None:
    people = {row["tweet_id"]: row["people"] for row in rows(s3)}
    assert set(people.values()) == {1, 2}
    for person in ("ann", "bob", "cat"):
        for tweet_id in ids(desk, person):
            desk.judge(person, tweet_id, "Neutral", NOW)
    counts = Counter(tweet_id for tweet_id, _ in judged(s3))
    assert counts == people
    assert {person for _, person in judged(s3)} == {"ann", "bob"}


def test_the_progress_adds_up_for_every_reader(desk: Desk) -> None:
    german = ids(desk, "ann", languages=("de",))
    assert len(german) == 25
    for tweet_id in german:
        desk.judge("ann", tweet_id, "Cannot tell", NOW)
    anns, everyone = desk.progress("ann", NOW), desk.progress(None, NOW)
    for found in (anns, everyone):
        assert [(each.topic, each.lang, each.drawn) for each in found] == [
            ("ukraine", "de", 25),
            ("ukraine", "en", 75),
        ]
        assert all(each.judged + each.open + each.waiting + each.expired == each.drawn for each in found)
    assert anns[1] == everyone[1] == Standing("ukraine", "en", drawn=75, open=75)
    assert (anns[0].open, everyone[0].waiting) == (0, 0)
    assert anns[0].waiting == everyone[0].open == 25 - anns[0].judged > 0


def test_what_a_person_judged_last_can_be_taken_back(desk: Desk) -> None:
    assert desk.last("ann", NOW) is None
    one, two = ids(desk, "ann", 2)
    desk.judge("ann", one, "Positive", NOW)
    desk.judge("ann", two, "Negative", LATER)
    for tweet_id, judgment in ((two, "Negative"), (one, "Positive")):
        found = desk.last("ann", LATER)
        assert found
        assert (found[0].tweet_id, found[1]) == (tweet_id, judgment)
        desk.judge("ann", tweet_id, None, LATER)
    assert desk.last("ann", LATER) is None
    assert ids(desk, "ann", 2) == [one, two]


def test_deleted_and_expired_tweets_are_given_to_nobody(s3: S3Client, desk: Desk) -> None:
    first = ids(desk, "ann", 3)
    records.remove(s3, "lake", [Wave.of_tweet(first[0])], first[:1].__contains__)
    assert ids(desk, "ann", 2) == first[1:]
    much_later = NOW + timedelta(days=SETTINGS.retention_days)
    assert ids(desk, "ann", now=much_later) == []
    assert sum(each.expired for each in desk.progress("ann", much_later)) == 99
    s3.delete_object(Bucket="lake", Key=layout.labeled_key("ukraine", HOUR))
    assert ids(desk, "ann") == []


def test_a_csv_goes_out_and_comes_back_with_its_judgments(s3: S3Client, desk: Desk) -> None:
    given_ = ids(desk, "ann")
    desk.judge("ann", given_[0], "Positive", NOW)
    out = list(csv.DictReader(io.StringIO(desk.written("ann", NOW))))
    assert {int(row["tweet_id"]) for row in out} == set(given_)
    assert {row["judgment"] for row in out if row["tweet_id"] == str(given_[0])} == {"Positive"}
    assert {row["text"] for row in out} == {"'=1+1 & <b>more</b> &lt;"}, "no spreadsheet runs a tweet"
    assert desk.take("ann", desk.written("ann", NOW), LATER) == {"Positive": 1}
    filled = "\ufefftweet_id,judgment\r\n" + "".join(f"{tweet_id},negative\r\n" for tweet_id in given_)
    assert desk.take("ann", filled, LATER) == {"Negative": 100}
    once = judged(s3)
    assert desk.take("ann", filled, LATER) == {"Negative": 100}
    assert judged(s3) == once == {(tweet_id, "ann"): "Negative" for tweet_id in given_}


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("7,Great\n", "row 2: 'Great' is none of"),
        ("1.79E+18,Neutral\n", "row 2: '1.79E+18' is no id"),
        (",Neutral\n", "row 2 has neither"),
        ("7\n", "row 2: None is none of"),
        ("7,0\n", "row 2: '0' is a number: write Negative"),
        ("7,Neutral\n", "row 2: tweet 7 was not drawn"),
        ("9999999999999999999,Neutral\n", "row 2: tweet 9999999999999999999 was not drawn"),
        ('"7,Neutral\n', "line 2: unexpected end"),
    ],
)
def test_a_csv_with_a_bad_row_is_refused_whole(s3: S3Client, desk: Desk, rest: str, problem: str) -> None:
    good = ids(desk, "ann", 1)[0]
    with pytest.raises(JudgmentError, match=re.escape(problem)):
        desk.take("ann", f"tweet_id,judgment\n{good},Neutral\n{rest}", NOW)
    assert judged(s3) == {}


@pytest.mark.parametrize("content", ["", "id,label\n1,Neutral\n", "\x00"])
def test_what_is_no_csv_of_judgments_is_refused(desk: Desk, content: str) -> None:
    with pytest.raises(JudgmentError, match=r"does not name the column tweet_id or judgment|line 1"):
        desk.take("ann", content, NOW)


def test_an_airflow_user_and_a_file_of_the_same_name_are_different_people(desk: Desk) -> None:
    assert desk.person("labels") != records.pseudonym(KEY, "labels")


# --- Rectifying


def judged_tweets() -> tuple[list[float], list[float], list[float]]:
    """What people say, what the model says, and the weights of 60 tweets."""
    choose = random.Random(3)
    said, predicted, weights = [], [], []
    for _ in range(60):
        predicted.append(round(choose.random(), 3))
        said.append(1.0 if choose.random() < 0.2 + 0.6 * predicted[-1] else 0.0)
        weights.append(choose.choice([1.0, 2.0]))
    return said, predicted, weights


def taught(weights: list[float], slope: float | None = None) -> Rectifier:
    said, predicted, _ = judged_tweets()
    rows = [Audited("en", w, 0.0, f, y) for y, f, w in zip(said, predicted, weights, strict=True)]
    found = rectifier(rows, slope)
    assert found
    return found


MEAN, SPREAD, ALL = 0.4914228, 0.2864490182216724, 5000
"""Mean and standard deviation of the model's probabilities of all tweets, and how many these are."""


@pytest.mark.parametrize(
    ("slope", "share", "weighted_share", "low", "high"),
    [
        (0.0, 0.55, 0.5268817204301076, 0.42411903386387895, 0.6758809661361211),
        (0.5, 0.5054030666666667, 0.4875877440860215, 0.38558169935713327, 0.6252244339762001),
        (1.0, 0.4608061333333333, 0.44829376774193547, 0.3366312286331535, 0.5849810380335132),
    ],
)
def test_an_audit_gives_the_figures_of_ppi_python(
    slope: float, share: float, weighted_share: float, low: float, high: float
) -> None:
    """Figures of ppi-python 0.2.3: `ppi_mean_pointestimate` and `ppi_mean_ci` with `lam`, alpha 0.05.

    It divides variances by n, a sample's is divided by n - 1.
    """
    _, _, weights = judged_tweets()
    even = taught([1.0] * 60, slope)
    assert slope * MEAN + even.offset == pytest.approx(share, abs=1e-9)
    assert slope * MEAN + taught(weights, slope).offset == pytest.approx(weighted_share, abs=1e-9)
    margin = 1.959963984540054 * (slope**2 * SPREAD**2 / ALL + even.error**2 * 59 / 60) ** 0.5
    assert (share - margin, share + margin) == pytest.approx((low, high), abs=1e-9)


def test_the_slope_that_is_tuned_gives_what_ppi_python_tunes_to() -> None:
    """Its `lam` is estimated from all probabilities, ours from those of the audited tweets."""
    found = taught([1.0] * 60)
    assert found.slope * MEAN + found.offset == pytest.approx(0.5036608389046398, abs=0.005)
    margin = 1.959963984540054 * (found.slope**2 * SPREAD**2 / ALL + found.error**2 * 59 / 60) ** 0.5
    assert 2 * margin == pytest.approx(0.6234555539570737 - 0.3838661238522057, rel=0.005)
    assert all(found.error <= taught([1.0] * 60, slope / 10).error for slope in range(11))


def test_a_model_that_knows_nothing_leaves_what_people_say() -> None:
    rows = [Audited("en", 1.0, 0.01, 0.5, float(number % 2)) for number in range(100)]
    found = rectifier(rows)
    assert found
    assert (found.slope, found.offset) == (0.0, 0.5)


def test_a_model_that_is_always_right_leaves_what_no_sample_can_rule_out() -> None:
    rows = [Audited("en", 1.0, 0.01, float(number % 2), float(number % 2)) for number in range(100)]
    found = rectifier(rows)
    assert found
    assert (found.slope, found.offset) == (1.0, 0.0)
    assert found.error == pytest.approx(0, abs=1e-12)
    assert 1.96 * found.safe_error == pytest.approx(3 / 100, rel=0.03)


def test_strata_weigh_what_they_stand_for_also_where_not_all_was_judged() -> None:
    """Ten tweets stand for 900 and ten for 100; of the first half were judged."""
    large = [Audited("en", 90.0, 0.01, 0.5, 1.0 if number < 5 else None) for number in range(10)]
    small = [Audited("de", 10.0, 0.1, 0.5, 0.0) for _ in range(10)]
    found = rectifier([*large, *small])
    assert found
    assert found.audited == 15
    assert found.share == pytest.approx(0.9)


def test_a_tweet_that_was_drawn_for_certain_leaves_nothing_open() -> None:
    found = rectifier([Audited("en", 1.0, 1.0, 0.3, float(number % 2)) for number in range(10)])
    assert found
    assert found.error == 0


def test_without_judgments_there_is_no_rectifier() -> None:
    assert rectifier([Audited("en", 1.0, 0.1, 0.5, None)]) is None

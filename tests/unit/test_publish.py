"""Publish: rows and answers become the labeled table, and the newer of two runs stays."""

from __future__ import annotations

import gzip
import itertools
import json
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from types_boto3_s3 import S3Client

from include.coverage import evidence
from include.labeling import prepare as preparing
from include.labeling.jobs import LONGEST_INPUT_LINE
from include.labeling.model_io import compose_sentiment_input
from include.labeling.prepared import Prepared
from include.labeling.publish import Published, publish
from include.lake import labeled_file, layout, storage
from include.lake.schemas import LABELED
from include.window import Window
from include.x import snowflake
from tests.unit import support_hour as hour
from tests.unit.support_hour import BUCKET, KEY, SETTINGS, TOPICS, WINDOW, line, tweet, tweet_id


def positive(entry: dict[str, Any]) -> dict[str, Any]:
    return {"id": entry["id"], "p_negative": 0.1, "p_neutral": 0.2, "p_positive": 0.7}


def run(
    s3: S3Client,
    prepared: Prepared,
    model: Any = positive,
    translator: Any = None,
    engine: str = "ngram-1",
) -> Published:
    """The steps from the prepared rows to the lake, with a model in place of SageMaker's."""
    translated = (
        hour.answer(s3, prepared.translation_input, f"{prepared.prefix}translated", translator)
        if translator
        else None
    )
    composed = compose_sentiment_input(s3, SETTINGS, prepared, translated)
    output = hour.answer(s3, composed, f"{prepared.prefix}labeled-{engine}", model)
    return publish(
        s3, SETTINGS, prepared, KEY, output, engine, translated, "opus-1" if translator else "none"
    )


def table(s3: S3Client, topic: str = "ukraine") -> list[dict[str, Any]]:
    found = hour.parquet(s3, layout.labeled_key(topic, WINDOW))
    assert found.schema.equals(LABELED)
    return list(found.to_pylist())


def put_tweets(s3: S3Client, count: int, topic: str = "ukraine", name: str = "a.gz", **changes: Any) -> None:
    entries = [line(tweet(tweet_id(n), topics=(topic,), **changes)) for n in range(1, count + 1)]
    hour.put_raw(s3, topic, entries, name=name)


# What is published


def test_a_labeled_tweet_has_the_likeliest_sentiment_and_its_probability(s3: S3Client) -> None:
    put_tweets(s3, 3)
    given_answers = iter([(0.8, 0.1, 0.1), (0.1, 0.5, 0.4), (0.2, 0.3, 0.5)])

    def model(entry: dict[str, Any]) -> dict[str, Any]:
        return dict(
            zip(
                ("id", "p_negative", "p_neutral", "p_positive"),
                (entry["id"], *next(given_answers)),
                strict=True,
            )
        )

    published = run(s3, hour.prepare(s3), model)
    assert [(row["sentiment"], row["score"], row["p_neutral"]) for row in table(s3)] == [
        ("Negative", 0.8, 0.1),
        ("Neutral", 0.5, 0.5),
        ("Positive", 0.5, 0.3),
    ]
    assert {
        (row["unlabeled_reason"], row["sentiment_engine"], row["translation_engine"]) for row in table(s3)
    } == {(None, "ngram-1", "none")}
    assert published.labeled["ukraine"] == {"Negative": 1, "Neutral": 1, "Positive": 1}
    assert published.rows == {"ukraine": 3, "russia": 0}


def test_every_topic_gets_its_own_rows_and_its_quarantine(s3: S3Client) -> None:
    put_tweets(s3, 2)
    hour.put_raw(s3, "russia", [line(tweet(tweet_id(9), topics=("russia",))), b"{"])
    published = run(s3, hour.prepare(s3))
    assert [row["tag"] for row in table(s3)] == ["ukraine"] * 2
    assert [row["tweet_id"] for row in table(s3, "russia")] == [tweet_id(9)]
    assert [row["reason"] for row in hour.json_lines(s3, published.quarantine_keys["russia"])] == [
        "malformed_json"
    ]
    assert hour.json_lines(s3, published.quarantine_keys["ukraine"]) == []
    assert published.quarantine_keys["russia"] == layout.quarantine_key("russia", WINDOW, "transform")


def test_an_empty_hour_is_published_as_empty_objects(s3: S3Client) -> None:
    prepared = hour.prepare(s3)
    published = publish(s3, SETTINGS, prepared, KEY, None, "ngram-1", None, "none")
    for topic in TOPICS:
        assert table(s3, topic) == []
        assert gzip.decompress(storage.read(s3, BUCKET, published.quarantine_keys[topic])) == b""
    assert not published.superseded
    assert published.rows == {"ukraine": 0, "russia": 0}


def test_a_tweet_in_no_named_language_stays_without_being_asked_about(s3: S3Client) -> None:
    hour.put_raw(
        s3, "ukraine", [line(tweet(tweet_id(n), lang=lang)) for n, lang in enumerate(["und", None, "en"], 1)]
    )
    asked: list[str] = []

    def model(entry: dict[str, Any]) -> dict[str, Any]:
        asked.append(entry["id"])
        return positive(entry)

    published = run(s3, hour.prepare(s3), model)
    assert asked == [str(tweet_id(3))]
    assert [(row["unlabeled_reason"], row["sentiment"], row["sentiment_engine"]) for row in table(s3)] == [
        ("language_unknown", None, None),
        ("language_unknown", None, None),
        (None, "Positive", "ngram-1"),
    ]
    assert published.unlabeled["ukraine"] == {"language_unknown": 2}


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        ({"error": "too long"}, "model_error"),
        ({"p_negative": 0.5, "p_neutral": 0.5}, "invalid_answer"),
        ({"p_negative": 0.5, "p_neutral": 0.5, "p_positive": 0.5}, "invalid_answer"),
        ({"p_negative": -0.5, "p_neutral": 1, "p_positive": 0.5}, "invalid_answer"),
        ({"p_negative": "0.2", "p_neutral": 0.5, "p_positive": 0.3}, "invalid_answer"),
        ({"p_negative": None, "p_neutral": None, "p_positive": None}, "invalid_answer"),
        (None, "no_answer"),
    ],
)
def test_a_tweet_without_a_usable_answer_stays_with_the_reason(
    s3: S3Client, answered: dict[str, Any] | None, reason: str
) -> None:
    put_tweets(s3, 3)
    second = str(tweet_id(2))

    def model(entry: dict[str, Any]) -> dict[str, Any] | None:
        if entry["id"] != second:
            return positive(entry)
        return None if answered is None else {"id": second, **answered}

    published = run(s3, hour.prepare(s3), model)
    rows = table(s3)
    assert [row["unlabeled_reason"] for row in rows] == [None, reason, None]
    labels = ("sentiment", "score", "p_negative", "p_neutral", "p_positive")
    assert [rows[1][name] for name in labels] == [None] * 5
    assert rows[1]["sentiment_engine"] == "ngram-1"
    assert published.unlabeled["ukraine"] == {reason: 1}
    assert published.labeled["ukraine"] == {"Positive": 2}


def test_lines_of_the_output_that_are_no_answers_leave_their_tweets_unanswered(s3: S3Client) -> None:
    put_tweets(s3, 2)
    prepared = hour.prepare(s3)
    body = b'{\n[]\n{"id": "x"}\n{"id": "99999999999999999999"}\n' + line(positive({"id": str(tweet_id(2))}))
    s3.put_object(Bucket=BUCKET, Key="out/000.jsonl.out", Body=body)
    publish(s3, SETTINGS, prepared, KEY, "out/", "ngram-1", None, "none")
    assert [row["unlabeled_reason"] for row in table(s3)] == ["no_answer", None]


def test_answers_that_have_expired_leave_the_lake_as_it_is_and_are_missed_only_where_asked(
    s3: S3Client,
) -> None:
    put_tweets(s3, 2)
    with pytest.raises(storage.ObjectMissingError, match=r"out/000\.jsonl\.out does not exist"):
        publish(s3, SETTINGS, hour.prepare(s3), KEY, "out/", "ngram-1", None, "none")
    with pytest.raises(storage.ObjectMissingError):
        table(s3)
    put_tweets(s3, 2, lang="und")
    publish(s3, SETTINGS, hour.prepare(s3), KEY, "out/", "ngram-1", "translated/", "opus")
    assert [row["unlabeled_reason"] for row in table(s3)] == ["language_unknown"] * 2


def test_without_any_output_every_tweet_stays_unanswered(s3: S3Client) -> None:
    put_tweets(s3, 2)
    publish(s3, SETTINGS, hour.prepare(s3), KEY, None, "ngram-1", None, "none")
    assert [row["unlabeled_reason"] for row in table(s3)] == ["no_answer"] * 2


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_answers_in_any_order_belong_to_their_ids(s3: S3Client, order: tuple[int, ...]) -> None:
    put_tweets(s3, 3)
    prepared = hour.prepare(s3)
    answers = [
        line({"id": str(tweet_id(n)), "p_negative": 0, "p_neutral": 1 - n / 10, "p_positive": n / 10})
        for n in (1, 2, 3)
    ]
    s3.put_object(Bucket=BUCKET, Key="out/000.jsonl.out", Body=b"\n".join(answers[n] for n in order))
    publish(s3, SETTINGS, prepared, KEY, "out", "ngram-1", None, "none")
    assert [row["p_positive"] for row in table(s3)] == [0.1, 0.2, 0.3]


def test_a_translation_is_published_beside_the_original_and_a_failed_one_is_not(s3: S3Client) -> None:
    hour.put_raw(
        s3, "ukraine", [line(tweet(tweet_id(n), lang=lang)) for n, lang in enumerate(["en", "uk", "es"], 1)]
    )

    def translator(entry: dict[str, Any]) -> dict[str, Any]:
        if entry["lang"] == "es":
            return {"id": entry["id"], "error": "no such language"}
        return {"id": entry["id"], "translated_text": "in English"}

    run(s3, hour.prepare(s3), translator=translator)
    assert [(row["text"], row["translated_text"], row["translation_engine"]) for row in table(s3)] == [
        (f"text of {tweet_id(1)}", None, "none"),
        (f"text of {tweet_id(2)}", "in English", "opus-1"),
        (f"text of {tweet_id(3)}", None, "none"),
    ]
    assert {row["sentiment"] for row in table(s3)} == {"Positive"}


def test_the_number_of_slices_does_not_show_in_the_published_objects(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(n * 8.5))) for n in range(400)])
    monkeypatch.setattr(labeled_file, "_ROW_GROUP", 64)
    bodies = []
    for size in (10**9, 300, 100):
        monkeypatch.setattr(preparing, "_BYTES_PER_SLICE", size)
        prepared = hour.prepare(s3)
        published = run(s3, prepared)
        bodies.append((prepared.shards, storage.read(s3, BUCKET, published.keys["ukraine"])))
    shards, contents = zip(*bodies, strict=True)
    assert shards[0] == 1 < shards[1] < shards[2]
    assert len(set(contents)) == 1
    assert [row["tweet_id"] for row in table(s3)] == sorted(tweet_id(n * 8.5) for n in range(400))


def test_published_passes_through_json_and_holds_no_text(s3: S3Client) -> None:
    put_tweets(s3, 2)
    published = run(s3, hour.prepare(s3))
    text = json.dumps(published.to_json())
    assert Published.from_json(json.loads(text)) == published
    assert "text of" not in text


def test_expired_work_files_are_named(s3: S3Client) -> None:
    put_tweets(s3, 1)
    prepared = hour.prepare(s3)
    s3.delete_object(Bucket=BUCKET, Key=prepared.rows_key(0))
    with pytest.raises(storage.ObjectMissingError, match=r"rows/000\.parquet"):
        publish(s3, SETTINGS, prepared, KEY, None, "ngram-1", None, "none")
    assert storage.current(s3, BUCKET, layout.labeled_key("ukraine", WINDOW)) is None


def test_nothing_is_left_on_the_local_disk(
    s3: S3Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    put_tweets(s3, 1)
    run(s3, hour.prepare(s3))
    assert list(tmp_path.iterdir()) == []


# Who stays


def two_runs(s3: S3Client) -> tuple[Prepared, Prepared]:
    """A run on one raw object, and a later one on that object and another."""
    put_tweets(s3, 1)
    older = hour.prepare(s3)
    put_tweets(s3, 2, name="b.gz")
    newer = hour.prepare(s3)
    return older, replace(newer, listed_at=older.listed_at + timedelta(seconds=5))


def test_an_older_run_that_ends_later_leaves_the_newer_ones_objects(s3: S3Client) -> None:
    older, newer = two_runs(s3)
    assert not run(s3, newer).superseded
    kept = {
        found.key: found.etag
        for found in storage.list_objects(s3, BUCKET, "").objects
        if "work" not in found.key
    }
    assert run(s3, older).superseded
    now = {
        found.key: found.etag
        for found in storage.list_objects(s3, BUCKET, "").objects
        if "work" not in found.key
    }
    assert now == kept
    assert len(table(s3)) == 2


def test_a_newer_run_replaces_an_older_ones_objects(s3: S3Client) -> None:
    older, newer = two_runs(s3)
    assert not run(s3, older).superseded
    assert not run(s3, newer).superseded
    assert len(table(s3)) == 2


def test_within_one_second_the_run_that_saw_more_objects_is_the_newer(s3: S3Client) -> None:
    older, newer = two_runs(s3)
    newer = replace(newer, listed_at=older.listed_at)
    run(s3, newer)
    assert run(s3, older).superseded
    assert len(table(s3)) == 2


def test_the_same_raw_with_a_new_model_replaces_the_labels(s3: S3Client) -> None:
    put_tweets(s3, 1)
    prepared = hour.prepare(s3)
    run(s3, prepared)
    again = run(
        s3,
        prepared,
        lambda entry: {**positive(entry), "p_negative": 0.7, "p_positive": 0.1},
        engine="ngram-2",
    )
    assert not again.superseded
    assert [(row["sentiment"], row["sentiment_engine"]) for row in table(s3)] == [("Negative", "ngram-2")]


def test_relabeling_an_older_listing_of_the_same_raw_does_not_make_it_older(s3: S3Client) -> None:
    older, newer = two_runs(s3)
    latest = replace(newer, listed_at=newer.listed_at + timedelta(seconds=60))
    between = replace(older, listed_at=newer.listed_at + timedelta(seconds=30))
    run(s3, latest)
    assert not run(s3, newer).superseded
    assert run(s3, between).superseded


def test_the_object_says_what_it_was_made_from(s3: S3Client) -> None:
    put_tweets(s3, 1)
    prepared = hour.prepare(s3)
    published = run(s3, prepared)
    for key in (published.keys["ukraine"], published.quarantine_keys["ukraine"]):
        found = storage.current(s3, BUCKET, key)
        assert found is not None
        assert found.metadata == {
            "manifest": prepared.manifest,
            "listed-at": prepared.listed_at.isoformat(),
            "objects": "1",
            "engines": "sentiment=ngram-1 translation=none",
        }


def test_an_object_of_unknown_origin_is_replaced(s3: S3Client) -> None:
    put_tweets(s3, 1)
    s3.put_object(Bucket=BUCKET, Key=layout.labeled_key("ukraine", WINDOW), Body=b"by hand")
    assert not run(s3, hour.prepare(s3)).superseded
    assert len(table(s3)) == 1


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_two_publishes_in_any_interleaving_leave_the_newer_ones_objects(
    s3: S3Client, data: st.DataObject
) -> None:
    """Whenever one is about to write, the other may publish whole in between."""
    hour.empty(s3)
    older, newer = two_runs(s3)
    first, second = data.draw(st.permutations([older, newer]))
    moments = iter(data.draw(st.lists(st.booleans(), min_size=8, max_size=8)))
    put = s3.put_object
    intruded = False

    def put_after_the_other(**arguments: Any) -> Any:
        nonlocal intruded
        lake = arguments["Key"].startswith(("labeled/", "quarantine/"))
        if lake and not intruded and next(moments, True):
            intruded = True
            publish(s3, SETTINGS, second, KEY, None, "ngram-1", None, "none")
        return put(**arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3, "put_object", put_after_the_other)
        publish(s3, SETTINGS, first, KEY, None, "ngram-1", None, "none")
    if not intruded:
        publish(s3, SETTINGS, second, KEY, None, "ngram-1", None, "none")

    for topic in TOPICS:
        for key in (layout.labeled_key(topic, WINDOW), layout.quarantine_key(topic, WINDOW, "transform")):
            found = storage.current(s3, BUCKET, key)
            assert found is not None
            assert found.metadata["manifest"] == newer.manifest
    assert len(table(s3)) == 2


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    languages=st.lists(st.sampled_from(["en", "uk", "und", None]), max_size=12),
    outcomes=st.lists(st.sampled_from(["good", "error", "missing", "invalid"]), min_size=12, max_size=12),
)
def test_every_accepted_tweet_is_published_either_labeled_or_with_a_reason(
    s3: S3Client, languages: list[str | None], outcomes: list[str]
) -> None:
    hour.empty(s3)
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(n), lang=lang)) for n, lang in enumerate(languages)])
    outcome_of = {str(tweet_id(n)): outcome for n, outcome in enumerate(outcomes)}

    def model(entry: dict[str, Any]) -> dict[str, Any] | None:
        return {
            "good": positive(entry),
            "error": {"id": entry["id"], "error": "failed"},
            "missing": None,
            "invalid": {"id": entry["id"]},
        }[outcome_of[entry["id"]]]

    published = run(s3, hour.prepare(s3), model)
    rows = table(s3)
    assert [row["tweet_id"] for row in rows] == [tweet_id(n) for n in range(len(languages))]
    assert all((row["sentiment"] is None) == (row["unlabeled_reason"] is not None) for row in rows)
    named = [row for row in rows if row["lang"] in ("en", "uk")]
    good = [row for row in named if outcome_of[str(row["tweet_id"])] == "good"]
    assert [row for row in rows if row["sentiment"]] == good
    assert published.rows["ukraine"] == len(rows)
    assert sum(published.labeled["ukraine"].values()) == len(good)
    assert sum(published.unlabeled["ukraine"].values()) == len(rows) - len(good)


# Edited posts: the newest version counts, in whatever order the versions and the hours come


NEXT = WINDOW.next
FIRST, SECOND, THIRD = (tweet_id(second) for second in (3000, 3500, 3700))
"""Three versions of a post; the last one lies in the next hour."""
HISTORY = [str(version) for version in (FIRST, SECOND, THIRD)]


def put_versions(s3: S3Client, versions: dict[int, int], topic: str = "ukraine", **changes: Any) -> None:
    """Versions of the post, by id, each with its history up to the given length; and a post that stays."""
    for window in (WINDOW, NEXT):
        mine = {own: length for own, length in versions.items() if snowflake.moment(own) in window}
        lines = [
            line(tweet(own, topics=(topic,), edit_history_tweet_ids=HISTORY[:length], **changes))
            for own, length in mine.items()
        ]
        stays = snowflake.lowest_id(window.start)
        lines.append(line(tweet(stays, topics=(topic,), edit_history_tweet_ids=[str(stays)])))
        hour.put_raw(s3, topic, lines, f"{topic}-{len(versions)}.gz", window)


def transform(s3: S3Client, window: Window = WINDOW) -> tuple[Prepared, Published]:
    prepared = preparing.prepare(s3, SETTINGS, TOPICS, window, hour.KEY)
    for topic in TOPICS:
        rejected = sum(prepared.quarantined[topic].values())
        assert prepared.raw[topic] == prepared.accepted[topic] + rejected, "nothing vanishes"
    return prepared, run(s3, prepared)


def counted(s3: S3Client) -> set[int]:
    """The versions of the post that stand in labeled, whatever hour and topic."""
    keys = [
        key for window in (WINDOW, NEXT) for topic in TOPICS for key in [layout.labeled_key(topic, window)]
    ]
    there = [key for key in keys if storage.current(s3, BUCKET, key)]
    rows = [row["tweet_id"] for key in there for row in hour.parquet(s3, key).to_pylist()]
    return {FIRST, SECOND, THIRD} & set(rows)


@pytest.mark.parametrize("order", [(FIRST, SECOND), (SECOND, FIRST)])
def test_the_newest_of_two_versions_in_one_hour_counts(s3: S3Client, order: tuple[int, int]) -> None:
    put_versions(s3, {own: HISTORY.index(str(own)) + 1 for own in order})
    prepared, published = transform(s3)
    assert counted(s3) == {SECOND}
    assert prepared.quarantined["ukraine"] == {"edited": 1}
    (rejected,) = hour.json_lines(s3, published.quarantine_keys["ukraine"])
    assert (rejected["tweet_id"], rejected["reason"]) == (str(FIRST), "edited")


@pytest.mark.parametrize(
    "hours",
    [(WINDOW, NEXT, WINDOW), (NEXT, WINDOW), (NEXT, WINDOW, NEXT, WINDOW), (WINDOW, NEXT, NEXT, WINDOW)],
    ids=["in time", "backfilled", "both again", "cleared"],
)
def test_across_hours_the_newest_version_counts_in_whatever_order_they_are_transformed(
    s3: S3Client, hours: tuple[Window, ...]
) -> None:
    put_versions(s3, {FIRST: 1, SECOND: 2, THIRD: 3})
    for window in hours:
        transform(s3, window)
    assert counted(s3) == {THIRD}


def test_an_edit_that_changes_the_topic_takes_the_older_version_out_of_the_other_one(s3: S3Client) -> None:
    put_versions(s3, {FIRST: 1}, "russia")
    put_versions(s3, {THIRD: 3}, "ukraine")
    transform(s3, NEXT)
    transform(s3, WINDOW)
    assert counted(s3) == {THIRD}


def test_a_version_that_names_a_newer_one_does_not_count_although_that_one_was_never_collected(
    s3: S3Client,
) -> None:
    put_versions(s3, {FIRST: 2})
    transform(s3)
    assert counted(s3) == set()


def test_a_history_that_does_not_name_the_tweet_itself_is_none(s3: S3Client) -> None:
    put_versions(s3, {FIRST: 1})
    other = line(tweet(SECOND, edit_history_tweet_ids=[str(FIRST), str(THIRD), "x", None, 5]))
    hour.put_raw(s3, "ukraine", [other], "other.gz")
    transform(s3)
    assert counted(s3) == {FIRST, SECOND}


def test_an_edit_of_the_next_hour_asks_no_model_again(s3: S3Client) -> None:
    put_versions(s3, {FIRST: 1, SECOND: 2, THIRD: 3}, lang="uk")

    def asked(window: Window) -> tuple[str, list[tuple[str, str]]]:
        prepared, _ = transform(s3, window)
        composed = compose_sentiment_input(s3, SETTINGS, prepared, None)
        inputs = [prepared.translation_input, composed]
        found = [each for prefix in inputs for each in storage.list_objects(s3, BUCKET, prefix).objects]
        return prepared.prefix, [(each.key, each.etag) for each in found]

    before, asked_before = asked(WINDOW)
    asked(NEXT)
    after, asked_after = asked(WINDOW)
    assert before != after
    assert asked_before == asked_after


def test_what_an_hour_knows_of_edits_is_told_once(s3: S3Client) -> None:
    put_versions(s3, {FIRST: 1, SECOND: 2, THIRD: 3})
    key = layout.edits_key(WINDOW, NEXT)

    def told() -> storage.ObjectVersion | None:
        return storage.current(s3, BUCKET, key)

    transform(s3)
    assert storage.list_objects(s3, BUCKET, "edits/").objects == ()
    transform(s3, NEXT)
    first = told()
    assert json.loads(storage.read(s3, BUCKET, key)) == [str(FIRST), str(SECOND)]
    transform(s3, NEXT)
    assert told() == first, "the same edits do not change the object, so that no hour is woken for them"
    for found in storage.list_objects(s3, BUCKET, layout.raw_prefix("ukraine", NEXT)).objects:
        s3.delete_object(Bucket=BUCKET, Key=found.key)
    emptied = preparing.prepare(s3, SETTINGS, TOPICS, NEXT, hour.KEY)
    run(s3, replace(emptied, listed_at=emptied.listed_at + timedelta(seconds=5)))
    assert json.loads(storage.read(s3, BUCKET, key)) == []


def test_coverage_reruns_an_hour_whose_posts_were_edited_after_it_was_labeled(s3: S3Client) -> None:
    put_versions(s3, {FIRST: 1, SECOND: 2, THIRD: 3})
    key = ("ukraine", WINDOW)

    def unread() -> tuple[bool, str, str]:
        inputs = evidence.list_inputs(s3, BUCKET, TOPICS, [WINDOW])
        (found,) = evidence.with_unread_edits(s3, BUCKET, inputs, [key]).values()
        return found.edits_unread, found.digest, found.raw_digest

    transform(s3)
    assert not unread()[0]
    _, digest, raw_digest = unread()
    older = preparing.prepare(s3, SETTINGS, TOPICS, WINDOW, hour.KEY)
    transform(s3, NEXT)
    assert unread()[0]
    assert digest != unread()[1], "the hour is measured again"
    assert raw_digest != unread()[2], "and a rerun is worth while"
    run(s3, older)
    assert unread()[0], "a run that had listed before does not know it, however late it ends"
    transform(s3)
    assert not unread()[0]


# Texts that no model can be asked about


def test_a_text_that_fits_into_no_request_is_quarantined_and_the_hour_goes_on(s3: S3Client) -> None:
    fits = tweet(tweet_id(1), text="x" * (LONGEST_INPUT_LINE - 100))
    raw = [
        fits,
        tweet(tweet_id(2), text="x" * LONGEST_INPUT_LINE),
        tweet(tweet_id(3), text="\\" * (LONGEST_INPUT_LINE // 2)),
    ]
    hour.put_raw(s3, "ukraine", [line(each) for each in raw])
    prepared, _ = transform(s3)
    assert prepared.quarantined["ukraine"] == {"too_large": 2}
    assert [row["tweet_id"] for row in table(s3)] == [tweet_id(1)]
    prefix = compose_sentiment_input(s3, SETTINGS, prepared, None)
    for found in storage.list_objects(s3, BUCKET, prefix).objects:
        lines = storage.read(s3, BUCKET, found.key).splitlines(keepends=True)
        assert max(map(len, lines)) <= LONGEST_INPUT_LINE


def test_a_translation_that_fits_into_no_request_counts_as_failed(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1), lang="uk"))])
    run(
        s3,
        hour.prepare(s3),
        translator=lambda entry: {"id": entry["id"], "translated_text": "x" * LONGEST_INPUT_LINE},
    )
    (row,) = table(s3)
    assert (row["translated_text"], row["sentiment"]) == (None, "Positive")

"""What is drawn, predicted and removed, as it lies in the lake."""

from __future__ import annotations

from types_boto3_s3 import S3Client

from include.audit import records
from include.lake import cards, layout, quality
from tests.unit.support_audit import HOUR, WAVE, draw, label, rows


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

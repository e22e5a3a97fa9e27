"""The desk: which tweets a person is given to judge, and what comes of it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from types_boto3_s3 import S3Client

from include.audit import records
from include.audit.desk import Desk, Standing
from include.audit.records import JudgmentError
from include.audit.wave import Wave
from include.lake import layout
from tests.unit.support_audit import HOUR, KEY, LATER, NOW, SETTINGS, draw, judged, label, rows


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
def test_a_csv_with_a_bad_row_is_rejected_whole(s3: S3Client, desk: Desk, rest: str, problem: str) -> None:
    good = ids(desk, "ann", 1)[0]
    with pytest.raises(JudgmentError, match=re.escape(problem)):
        desk.take("ann", f"tweet_id,judgment\n{good},Neutral\n{rest}", NOW)
    assert judged(s3) == {}


@pytest.mark.parametrize("content", ["", "id,label\n1,Neutral\n", "\x00"])
def test_what_is_no_csv_of_judgments_is_rejected(desk: Desk, content: str) -> None:
    with pytest.raises(JudgmentError, match=r"does not name the column tweet_id or judgment|line 1"):
        desk.take("ann", content, NOW)


def test_an_airflow_user_and_a_file_of_the_same_name_are_different_people(desk: Desk) -> None:
    assert desk.person("labels") != records.pseudonym(KEY, "labels")

"""Kept answers: each question costs a model one call, and removals reach what it has answered."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from types_boto3_s3 import S3Client

from include.compliance import listing
from include.compliance.purge import Purge, Purged
from include.compliance.tombstones import Tombstones
from include.labeling.answers import Ask, KeptAnswers, Sent, sent
from include.lake import layout, storage
from include.lake.pseudonyms import Pseudonyms
from include.x.compliance import ComplianceAction
from tests.unit import support_hour as hour
from tests.unit.support_hour import BUCKET, KEY, WINDOW, tweet_id

INPUT = "work/questions/input/"
EARLY, LATE = tweet_id(1), tweet_id(3599)


@pytest.fixture
def kept(s3: S3Client) -> KeptAnswers:
    return KeptAnswers(s3, BUCKET, WINDOW, "model-1")


def question(identifier: int, text: str = "secret words") -> bytes:
    return json.dumps({"id": str(identifier), "text": text, "lang": "en"}).encode()


def put(s3: S3Client, *shards: list[bytes]) -> None:
    for number, lines in enumerate(shards):
        body = b"".join(line + b"\n" for line in lines)
        s3.put_object(Bucket=BUCKET, Key=f"{INPUT}{number:03}.jsonl", Body=body)


def neutral(entry: dict[str, Any]) -> dict[str, Any] | None:
    return {"id": entry["id"], "p_negative": 0.0, "p_neutral": 1.0, "p_positive": 0.0}


def answer(s3: S3Client, kept: KeptAnswers, ask: Ask | None, model: Any = neutral) -> list[str]:
    """What the operator does with an ask: the ids that the model was asked about."""
    assert ask is not None
    hour.answer(s3, ask.input_prefix, f"{ask.prefix}output", model)
    kept.keep(ask, f"{ask.prefix}output/")
    return [entry["id"] for entry in hour.json_lines_under(s3, ask.input_prefix)]


def assembled(s3: S3Client, kept: KeptAnswers) -> list[str]:
    return [entry["id"] for entry in hour.json_lines_under(s3, kept.assemble(INPUT))]


def stored(s3: S3Client, model: str = "model-1") -> dict[str, bytes]:
    prefix = f"{layout.answers_prefix(WINDOW)}{model}/part-"
    return {
        found.key: gzip.decompress(storage.read(s3, BUCKET, found.key))
        for found in storage.list_objects(s3, BUCKET, prefix).objects
    }


def test_a_question_is_asked_once_however_the_hour_grows(s3: S3Client, kept: KeptAnswers) -> None:
    put(s3, [question(EARLY)])
    assert answer(s3, kept, kept.ask(INPUT)) == [str(EARLY)]
    assert kept.ask(INPUT) is None
    # More tweets make more shards, so a tweet may come to lie in another one.
    put(s3, [question(tweet_id(0))], [question(EARLY), question(LATE)])
    assert answer(s3, kept, kept.ask(INPUT)) == [str(tweet_id(0)), str(LATE)]
    assert kept.ask(INPUT) is None
    assert assembled(s3, kept) == [str(tweet_id(0)), str(EARLY), str(LATE)]


def test_another_text_or_another_model_is_asked(s3: S3Client, kept: KeptAnswers) -> None:
    put(s3, [question(EARLY)])
    answer(s3, kept, kept.ask(INPUT))
    put(s3, [question(EARLY, "another translation")])
    assert answer(s3, kept, kept.ask(INPUT)) == [str(EARLY)]
    other = KeptAnswers(s3, BUCKET, WINDOW, "model-2")
    assert answer(s3, other, other.ask(INPUT)) == [str(EARLY)]


def test_kept_answers_hold_no_question(s3: S3Client, kept: KeptAnswers) -> None:
    put(s3, [question(EARLY), question(LATE)])
    answer(s3, kept, kept.ask(INPUT))
    assert len(stored(s3)) == 2, "by the time of the tweets"
    assert b"secret" not in b"".join(stored(s3).values())


def test_what_lies_there_does_not_depend_on_the_order_of_asking(s3: S3Client, kept: KeptAnswers) -> None:
    ids = [tweet_id(second) for second in range(0, 3600, 300)]
    put(s3, [question(each) for each in ids])
    answer(s3, kept, kept.ask(INPUT))
    for each in reversed(ids):
        put(s3, [question(each)])
        other = KeptAnswers(s3, BUCKET, WINDOW, "model-2")
        answer(s3, other, other.ask(INPUT))
    assert list(stored(s3).values()) == list(stored(s3, "model-2").values())


def test_an_error_and_a_missing_answer_are_answers(s3: S3Client, kept: KeptAnswers) -> None:
    put(s3, [question(EARLY), question(LATE)])

    def model(entry: dict[str, Any]) -> dict[str, Any] | None:
        return {"id": entry["id"], "error": "too long"} if entry["id"] == str(EARLY) else None

    answer(s3, kept, kept.ask(INPUT), model)
    assert kept.ask(INPUT) is None
    assert hour.json_lines_under(s3, kept.assemble(INPUT)) == [{"id": str(EARLY), "error": "too long"}]


def test_questions_that_were_written_in_part_are_not_pending(
    s3: S3Client, kept: KeptAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, [question(EARLY)], [question(LATE)])
    put_object = storage.put

    def killed(s3: S3Client, bucket: str, key: str, *rest: Any) -> str:
        if "001" in key:
            raise KeyboardInterrupt
        return put_object(s3, bucket, key, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            kept.ask(INPUT)
    assert kept.pending() == []
    ask = kept.ask(INPUT)
    assert kept.pending() == [ask]
    answer(s3, kept, ask)
    assert kept.pending() == []


def test_two_runs_that_keep_beside_each_other_lose_nothing_and_the_first_answer_stays(
    s3: S3Client, kept: KeptAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = EARLY + 1
    put(s3, [question(EARLY), question(near)])
    mine = kept.ask(INPUT)
    put(s3, [question(EARLY)])
    theirs = kept.ask(INPUT)
    swap = storage.compare_and_swap

    def interrupted(s3: S3Client, bucket: str, key: str, decide: Any) -> storage.Swap:
        def overtaken(found: storage.ObjectVersion | None) -> storage.Content | None:
            decided: storage.Content | None = decide(found)
            if found is None:
                monkeypatch.setattr(storage, "compare_and_swap", swap)
                answer(s3, kept, theirs, lambda entry: {"id": entry["id"], "p_neutral": 0.5})
            return decided

        return swap(s3, bucket, key, overtaken)

    monkeypatch.setattr(storage, "compare_and_swap", interrupted)
    answer(s3, kept, mine)
    put(s3, [question(EARLY), question(near)])
    first, second = hour.json_lines_under(s3, kept.assemble(INPUT))
    assert (first["p_neutral"], second["p_neutral"]) == (0.5, 1.0)


def test_a_removal_takes_a_tweet_out_of_what_was_asked_and_answered(s3: S3Client, kept: KeptAnswers) -> None:
    put(s3, [question(EARLY), question(EARLY + 1), question(LATE)])
    answer(s3, kept, kept.ask(INPUT))
    stones = Tombstones(Pseudonyms(KEY)).with_tweets({EARLY: ComplianceAction.DELETE})
    purged = Purged(WINDOW)
    Purge(s3, BUCKET, stones).apply(purged, listing.made(s3, BUCKET, [WINDOW])[WINDOW])
    assert purged.deleted["work", layout.ALL_TOPICS] == 3, "question, answer, and kept answer"
    for found in storage.list_objects(s3, BUCKET, layout.work_prefix(WINDOW)).objects:
        assert str(EARLY).encode() not in b"".join(storage.read_lines(s3, BUCKET, found.key)), found.key
    put(s3, [question(EARLY + 1), question(LATE)])
    assert kept.ask(INPUT) is None, "the others are still answered"


def test_an_invocation_is_kept_at_once_and_what_was_sent_is_counted(s3: S3Client, kept: KeptAnswers) -> None:
    put(s3, [question(EARLY), question(LATE)])
    ((name, questions),) = kept.unanswered(INPUT)
    assert (name, questions) == ("000.jsonl", [question(EARLY), question(LATE)])
    kept.keep_invocation([question(EARLY)], json.dumps(neutral({"id": str(EARLY)})).encode() + b"\n")
    assert [*kept.unanswered(INPUT)] == [("000.jsonl", [question(LATE)])]
    answer(s3, kept, kept.ask(INPUT))
    assert sent(s3, BUCKET, [WINDOW]) == {"batch": Sent(1, 1), "endpoint": Sent(1, 1)}
    assert sent(s3, BUCKET, [WINDOW.next]) == {}


def test_what_an_endpoint_answered_before_a_kill_is_merged_by_the_next_run(
    s3: S3Client, kept: KeptAnswers
) -> None:
    put(s3, [question(EARLY), question(LATE)])
    for each in (EARLY, LATE):
        answered = neutral({"id": str(each)})
        kept.keep_invocation([question(each)], json.dumps(answered).encode())
    assert stored(s3) == {}, "nothing is rewritten by each invocation"
    other = KeptAnswers(s3, BUCKET, WINDOW, "model-1")
    assert [*other.unanswered(INPUT)] == []
    assert len(stored(s3)) == 2
    assert assembled(s3, other) == [str(EARLY), str(LATE)]
    objects = storage.list_objects(s3, BUCKET, layout.answers_prefix(WINDOW)).objects
    assert not [found.key for found in objects if found.key.endswith("answered.jsonl.gz")]


def test_a_removal_reaches_what_an_endpoint_has_just_answered(s3: S3Client, kept: KeptAnswers) -> None:
    kept.keep_invocation([question(EARLY)], json.dumps(neutral({"id": str(EARLY)})).encode())
    stones = Tombstones(Pseudonyms(KEY)).with_tweets({EARLY: ComplianceAction.DELETE})
    purged = Purged(WINDOW)
    Purge(s3, BUCKET, stones).apply(purged, listing.made(s3, BUCKET, [WINDOW])[WINDOW])
    assert purged.deleted["work", layout.ALL_TOPICS] == 1

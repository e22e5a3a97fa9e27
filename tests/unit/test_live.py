"""An hour that is labeled again and again while it is open ends as if it had been labeled once."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from types_boto3_s3 import S3Client

from include.insights import aggregate
from include.labeling import prepare as preparing
from include.labeling.answers import KeptAnswers
from include.labeling.model_io import compose_sentiment_input
from include.labeling.prepared import Prepared
from include.labeling.publish import Published, publish
from include.lake import layout, storage
from include.lake.schemas import OPINION_HOURLY
from include.quality.frames import opinion_frames
from include.window import Window
from tests.unit import support_hour as hour
from tests.unit.support_hour import BUCKET, KEY, SETTINGS, TOPICS, WINDOW, line, tweet, tweet_id

HOURS = (WINDOW, WINDOW.next)


def prepare(s3: S3Client, window: Window = WINDOW) -> Prepared:
    return preparing.prepare(s3, SETTINGS, TOPICS, window, KEY)


def label(s3: S3Client, prepared: Prepared, calls: Counter[str] | None = None) -> Published:
    """The tasks after `prepare`, with a model that counts how often it is asked about each tweet."""

    def model(entry: dict[str, Any]) -> dict[str, Any]:
        if calls is not None:
            calls[entry["id"]] += 1
        share = int(entry["id"]) % 97 / 100
        return {"id": entry["id"], "p_negative": share, "p_neutral": 1 - share, "p_positive": 0.0}

    asked = compose_sentiment_input(s3, SETTINGS, prepared, None)
    kept = KeptAnswers(s3, BUCKET, prepared.window, "model-1")
    if ask := kept.ask(asked):
        hour.answer(s3, ask.input_prefix, f"{ask.prefix}output", model)
        kept.keep(ask, f"{ask.prefix}output/")
    return publish(s3, SETTINGS, prepared, KEY, kept.assemble(asked), "model-1", None, "none")


def has_news(s3: S3Client, window: Window = WINDOW) -> bool:
    return preparing.has_news(s3, SETTINGS, TOPICS, window)


def deliveries() -> list[tuple[Window, str, str, list[bytes]]]:
    """What Firehose writes in two hours, in order: also duplicates, broken lines, an overlap and an edit."""
    found = []
    for minute in range(0, 120, 12):
        window = HOURS[minute // 60]
        ids = [tweet_id(60 * minute + number) for number in range(20)]
        ours = [line(tweet(each)) for each in ids]
        ours += [ours[0], line(tweet(ids[1]))[:-30], line(tweet(ids[2], topics=("ukraine", "russia")))]
        if minute:
            before = tweet_id(60 * (minute - 12) + 5)
            edit = tweet(ids[-1] + 1, edit_history_tweet_ids=[str(before), str(ids[-1] + 1)])
            ours.append(line(edit))
        found.append((window, "ukraine", f"stream-{minute}.gz", ours))
        theirs = [line(tweet(each + 7, topics=("russia",), lang="ru")) for each in ids]
        found.append((window, "russia", f"stream-{minute}.gz", [*theirs, ours[2]]))
    return found


def lake(s3: S3Client) -> dict[str, Any]:
    """Every published object of the hours: its rows or lines, and what it says it was made from."""
    found: dict[str, Any] = {}
    for layer in ("labeled/", "quarantine/", "edits/"):
        for each in storage.list_objects(s3, BUCKET, layer).objects:
            version = storage.current(s3, BUCKET, each.key)
            assert version
            # An object about edits stays as it is while another run has the same to say.
            passing = {"listed-at"} if layer != "edits/" else {"listed-at", "manifest", "objects"}
            about = {name: value for name, value in version.metadata.items() if name not in passing}
            found[each.key] = (storage.read(s3, BUCKET, each.key), about)
    return found


def test_two_hours_of_it_leave_the_lake_of_the_scheduled_runs_alone_row_for_row(s3: S3Client) -> None:
    once: Counter[str] = Counter()
    again: Counter[str] = Counter()
    for window, topic, name, lines in deliveries():
        hour.put_raw(s3, topic, lines, name, window)
    for _ in range(2):  # what an hour knows of its neighbor's edits is settled by a second round
        for window in HOURS:
            label(s3, prepare(s3, window), once)
    scheduled = lake(s3)

    hour.empty(s3)
    for window, topic, name, lines in deliveries():
        hour.put_raw(s3, topic, lines, name, window)
        assert has_news(s3, window)
        label(s3, prepare(s3, window), again)
        assert not has_news(s3, window)
    for window in HOURS:
        label(s3, prepare(s3, window), again)

    assert lake(s3) == scheduled
    assert len(scheduled) >= 2 * 2 * len(HOURS)
    for window in HOURS:
        ids = hour.parquet(s3, layout.labeled_key("ukraine", window)).column("tweet_id").to_pylist()
        assert len(ids) == len(set(ids)) > 80, "nothing is counted twice"
    assert set(again.values()) == {1}, "a tweet costs one call, however often its hour is labeled"
    assert set(once.values()) == {1}
    assert again.keys() >= once.keys()


def test_a_run_in_flight_never_replaces_what_the_scheduled_run_has_written(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1)))])
    in_flight = prepare(s3)
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(3599)))], "stream-1.gz")
    label(s3, prepare(s3))
    key = layout.labeled_key("ukraine", WINDOW)
    standing = storage.current(s3, BUCKET, key)
    assert label(s3, in_flight).superseded
    assert storage.current(s3, BUCKET, key) == standing
    assert hour.parquet(s3, key).num_rows == 2


class Athena:
    """Sums up the aggregate as it stands; meanwhile the open hour is labeled and aggregated again."""

    def __init__(self, s3: S3Client, meanwhile: Callable[[], None]) -> None:
        self._s3 = s3
        self._meanwhile = meanwhile

    def run(self, _statement: str) -> list[dict[str, Any]]:
        counts = ("tweets", "judged", "negative", "neutral", "positive")
        rows = aggregate.read(self._s3, BUCKET, WINDOW.date).to_pylist()
        self._meanwhile()
        sums = {name: sum(row[name] for row in rows) for name in counts}
        return [{"dt": WINDOW.date, "topic": "ukraine", **sums}]


def aggregated(s3: S3Client, tweets: int) -> None:
    """The day's aggregate of the lake as it is now: so many tweets of one topic."""
    now = aggregate.inputs(s3, SETTINGS, TOPICS, WINDOW.date)[WINDOW.date]
    row: dict[str, Any] = {
        field.name: 0 if pa.types.is_integer(field.type) else None for field in OPINION_HOURLY
    }
    row |= {"topic": "ukraine", "tweets": tweets, "judged": tweets, "neutral": tweets}
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], OPINION_HOURLY), sink)
    content = storage.Content(sink.getvalue(), now.metadata())
    storage.overwrite(s3, BUCKET, layout.aggregate_key(WINDOW.date), content)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_day_that_is_aggregated_again_while_it_is_checked_is_not_blamed(
    s3: S3Client, replaced: bool
) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1)))])
    label(s3, prepare(s3))
    aggregated(s3, 1)

    def meanwhile() -> None:
        if replaced:
            hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(2)))], "stream-1.gz")
            label(s3, prepare(s3))
        aggregated(s3, 2)

    athena: Any = Athena(s3, meanwhile)
    found = opinion_frames(athena, s3, SETTINGS, TOPICS, [WINDOW.date])[WINDOW.date]["topics"]
    assert found["tweets_lost"].tolist() == [0, 0]


def test_a_day_whose_aggregate_lacks_tweets_of_the_lake_is(s3: S3Client) -> None:
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1)))])
    label(s3, prepare(s3))
    aggregated(s3, 1)
    athena: Any = Athena(s3, lambda: None)
    athena.run = lambda _: [
        {"dt": WINDOW.date, "topic": "ukraine", "tweets": 3, "judged": 3}
        | dict.fromkeys(("negative", "neutral", "positive"), 0)
    ]
    found = opinion_frames(athena, s3, SETTINGS, TOPICS, [WINDOW.date])[WINDOW.date]["topics"]
    assert found["tweets_lost"].tolist() == [2, 0]


def test_an_hour_in_which_nothing_has_landed_has_no_news(s3: S3Client) -> None:
    assert not has_news(s3)
    hour.put_raw(s3, "ukraine", [line(tweet(tweet_id(1)))])
    assert has_news(s3)
    label(s3, prepare(s3))
    assert not has_news(s3)
    s3.delete_object(Bucket=BUCKET, Key=layout.labeled_key("russia", WINDOW))
    assert has_news(s3), "each topic has its object"
    label(s3, prepare(s3))
    body = json.dumps([str(tweet_id(1))]).encode()
    s3.put_object(Bucket=BUCKET, Key=layout.edits_key(WINDOW, WINDOW.next), Body=body)
    assert has_news(s3), "an edit changes the hour, too"

"""What was drawn and what was judged: whole objects under ``audit/``, replaced by compare-and-swap.

A tweet's id alone says in which objects it may stand (`Wave.of_tweet`), so one id is easily removed.
"""

from __future__ import annotations

import hmac
import io
import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.audit.draw import Drawn, DrawPlan, Urn
from include.audit.wave import Wave
from include.lake import cards, layout, quality, storage, tables
from include.lake.schemas import AUDIT_DRAWN, AUDIT_JUDGED, AUDIT_PREDICTED, JUDGMENTS, PREDICTIONS
from include.settings import Settings
from include.window import Window
from include.x.snowflake import moment

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_READ = (
    "tweet_id",
    "lang",
    "country_code",
    "sample",
    "sentiment_engine",
    "translation_engine",
    "sentiment",
    "p_negative",
    "p_neutral",
    "p_positive",
)

_NO_COUNTRY = "--"

log = logging.getLogger(__name__)


class JudgmentError(ValueError):
    """Judgments of which none was saved; ``problems`` says what is wrong with each invalid one."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        shown = "; ".join(self.problems[:10])
        more = f"; and {len(self.problems) - 10} more" if len(self.problems) > 10 else ""
        super().__init__(f"no judgment was saved; {len(self.problems)} are invalid: {shown}{more}")


@dataclass(frozen=True)
class Draw:
    """What became of a draw: how many tweets of each topic, and how many hours a check blocks."""

    wave: str
    written: bool
    drawn: Mapping[str, int]
    blocked_hours: int

    def to_json(self) -> dict[str, Any]:
        """As a dict of JSON's types."""
        return {
            "wave": self.wave,
            "written": self.written,
            "drawn": dict(self.drawn),
            "blocked_hours": self.blocked_hours,
        }


def plan(settings: Settings, wave: Wave, tweets: int | None = None) -> DrawPlan:
    """How many tweets of a topic are drawn in a wave: its share of the month, or ``tweets`` where given.

    The least of a language keeps its proportion to the whole.
    """
    month = DrawPlan(
        settings.audit_tweets,
        settings.audit_language_tweets,
        settings.audit_language_share,
        settings.audit_twice,
    )
    if tweets is not None:
        least = math.ceil(month.language_tweets * tweets / month.tweets)
        return replace(month, tweets=tweets, language_tweets=least)
    return replace(
        month,
        tweets=math.ceil(month.tweets * wave.share_of_month),
        language_tweets=math.ceil(month.language_tweets * wave.share_of_month),
    )


def draw(
    s3: S3Client,
    settings: Settings,
    topics: Sequence[str],
    wave: Wave,
    key: bytes,
    now: datetime,
    tweets: int | None = None,
) -> Draw:
    """Draws a wave from its closed hours that no check blocks, and replaces what was drawn of it.

    What was drawn stays where the lake has fewer hours of the wave than then, as tweets expire and the audit
    does not; and it is never replaced by a smaller draw, as people may have judged it. Raises
    `ObjectChangedError` if an hour is replaced meanwhile: draw again.
    """
    blocked: set[str] = set()
    measured = cards.measured(s3, settings.bucket)

    def decide(
        hours: Sequence[storage.Object], found: storage.ObjectVersion | None
    ) -> storage.Content | None:
        former = json.loads(found.metadata.get("draw", "{}")) if found else {}
        if len(hours) < former.get("hours", 0) or not hours:
            return None
        wanted = plan(settings, wave, tweets)
        wanted = replace(
            wanted,
            tweets=max(wanted.tweets, former.get("tweets", 0)),
            language_tweets=max(wanted.language_tweets, former.get("language_tweets", 0)),
        )
        blocked.clear()
        blocked.update(_blocked(s3, settings.bucket, hours))
        chosen = [hour for hour in hours if _window(hour) not in blocked]
        rows = [
            row
            for topic in topics
            for row in _of_topic(
                s3, settings.bucket, [hour for hour in chosen if _topic(hour) == topic], wanted, key, measured
            )
        ]
        design = {
            "hours": len(hours),
            "tweets": wanted.tweets,
            "language_tweets": wanted.language_tweets,
        }
        content = _parquet(pa.Table.from_pylist(rows, schema=AUDIT_DRAWN))
        return storage.Content(content, {"draw": json.dumps(design, sort_keys=True)})

    written = False
    key_of_wave = layout.audit_drawn_key(wave.label)
    while True:
        hours = _hours(s3, settings, topics, wave, now)
        swap = storage.compare_and_swap(s3, settings.bucket, key_of_wave, partial(decide, hours))
        written |= swap.written
        # A tweet that is removed leaves labeled first: if that has not changed, the removal finds the draw.
        if not swap.written or hours == _hours(s3, settings, topics, wave, now):
            break
    counts = Counter(read_drawn(s3, settings.bucket, wave)["topic"].to_pylist())
    log.info("audit wave=%s drawn=%s blocked_hours=%d", wave.label, dict(counts), len(blocked))
    return Draw(wave.label, written, {topic: counts[topic] for topic in topics}, len(blocked))


def read_drawn(s3: S3Client, bucket: str, wave: Wave) -> pa.Table:
    """What was drawn of a wave; without rows where nothing was."""
    return tables.read(s3, bucket, layout.audit_drawn_key(wave.label), AUDIT_DRAWN)


def read_judged(s3: S3Client, bucket: str, wave: Wave) -> pa.Table:
    """What all people have judged of a wave."""
    prefix = layout.audit_judged_key(wave.label, "").removesuffix(".parquet")
    found = storage.list_objects(s3, bucket, prefix).objects
    judged = (tables.read(s3, bucket, each.key, AUDIT_JUDGED) for each in found)
    return pa.concat_tables([AUDIT_JUDGED.empty_table(), *judged])


def predict(s3: S3Client, settings: Settings, model: str, today: date) -> int:
    """Notes what the champion (``v3``) has predicted of every drawn tweet; how many tweets that are.

    A wave whose predictions have expired, at the latest after the retention, keeps what was noted of it.
    """
    bucket, oldest = settings.bucket, today - timedelta(days=settings.retention_days)
    noted = 0
    for wave in drawn_waves(s3, bucket):
        if wave.last < oldest:
            continue
        hours: dict[tuple[str, Window], list[int]] = defaultdict(list)
        for row in read_drawn(s3, bucket, wave).select(["tweet_id", "topic"]).to_pylist():
            hours[row["topic"], Window.containing(moment(row["tweet_id"]))].append(row["tweet_id"])
        found = [_predictions(s3, bucket, model, topic, hour, ids) for (topic, hour), ids in hours.items()]
        table = pa.concat_tables([AUDIT_PREDICTED.empty_table(), *found])
        noted += table.num_rows
        if table.num_rows:
            key = layout.audit_predicted_key(wave.label)
            storage.overwrite(s3, bucket, key, _parquet(table))
            noted -= _without_undrawn(s3, bucket, wave, key, AUDIT_PREDICTED, table["tweet_id"].to_pylist())
    return noted


def _predictions(
    s3: S3Client, bucket: str, model: str, topic: str, hour: Window, ids: Sequence[int]
) -> pa.Table:
    """The rows of `AUDIT_PREDICTED` of one hour's tweets."""
    table = tables.read(s3, bucket, layout.predictions_key(model, topic, hour), PREDICTIONS)
    table = table.filter(pc.is_in(table["tweet_id"], value_set=pa.array(ids, pa.int64())))
    columns = [table["tweet_id"], pa.array([model] * table.num_rows, pa.string()), table["sentiment"]]
    return pa.table(columns, schema=AUDIT_PREDICTED)


def judge(
    s3: S3Client, bucket: str, person: str, judgments: Mapping[int, str | None], at: datetime
) -> dict[str, int]:
    """Keeps what a person (a pseudonym) says of drawn tweets; None takes a judgment back.

    Judging again replaces what the same person said of the tweet; the same judgment again changes nothing,
    its time included. Returns how many judgments of each kind were given. Raises `JudgmentError`, and takes
    none, where a tweet was not drawn or a judgment is none of `JUDGMENTS`.
    """
    waves: dict[Wave, dict[int, str | None]] = defaultdict(dict)
    problems = []
    for tweet_id, judgment in judgments.items():
        if judgment is not None and judgment not in JUDGMENTS:
            problems.append(f"tweet {tweet_id}: {judgment!r} is none of {', '.join(JUDGMENTS)}")
        elif not 0 < tweet_id < 1 << 63:
            problems.append(f"{tweet_id} is no id of a tweet")
        else:
            waves[Wave.of_tweet(tweet_id)][tweet_id] = judgment
    for wave, given in waves.items():
        known = set(read_drawn(s3, bucket, wave)["tweet_id"].to_pylist())
        problems += [f"tweet {tweet_id} was not drawn" for tweet_id in given if tweet_id not in known]
    if problems:
        raise JudgmentError(problems)
    for wave, given in sorted(waves.items()):
        _replace(s3, bucket, wave, person, given, at)
        _without_undrawn(s3, bucket, wave, layout.audit_judged_key(wave.label, person), AUDIT_JUDGED, given)
    return dict(Counter(judgment for judgment in judgments.values() if judgment is not None))


def drawn_waves(s3: S3Client, bucket: str) -> list[Wave]:
    """The waves of which something was drawn, in order."""
    found = storage.list_objects(s3, bucket, layout.AUDIT_DRAWN_PREFIX).objects
    return [Wave.of(date.fromisoformat(each.key.removesuffix(".parquet")[-10:])) for each in found]


def texts(s3: S3Client, bucket: str, topics: Mapping[int, str]) -> dict[int, tuple[str, str | None]]:
    """Text and translation (None where there is none) of tweets by id, as far as the lake still holds them.

    ``topics`` says for which topic each was drawn.
    """
    hours: dict[str, list[int]] = defaultdict(list)
    for tweet_id, topic in topics.items():
        hours[layout.labeled_key(topic, Window.containing(moment(tweet_id)))].append(tweet_id)
    found: dict[int, tuple[str, str | None]] = {}
    for key, ids in sorted(hours.items()):
        try:
            content = storage.read(s3, bucket, key)
        except storage.ObjectMissingError:
            continue
        table = pq.read_table(io.BytesIO(content), columns=["tweet_id", "text", "translated_text"])
        table = table.filter(pc.is_in(table["tweet_id"], value_set=pa.array(ids, pa.int64())))
        for row in table.to_pylist():
            found[row["tweet_id"]] = (row["text"], row["translated_text"] or None)
    return found


def pseudonym(key: bytes, name: str) -> str:
    """What stands for a person in the lake: without the key it leads back to nobody."""
    return hmac.digest(key, b"audit:person:" + name.encode(), "sha256")[:8].hex()


def remove(s3: S3Client, bucket: str, waves: Iterable[Wave], is_gone: Callable[[int], bool]) -> int:
    """Removes tweets from all that was drawn and judged in some waves; how many rows that were.

    ``is_gone`` is asked about each tweet's id. Twice changes nothing. Who notes something about a drawn tweet
    looks afterward whether it is still drawn (`_without_undrawn`), so what was drawn goes first.
    """
    removed = 0
    for wave in sorted(set(waves)):
        removed += _without(s3, bucket, layout.audit_drawn_key(wave.label), AUDIT_DRAWN, is_gone)
        removed += _without(s3, bucket, layout.audit_predicted_key(wave.label), AUDIT_PREDICTED, is_gone)
        prefix = layout.audit_judged_key(wave.label, "").removesuffix(".parquet")
        for found in storage.list_objects(s3, bucket, prefix).objects:
            removed += _without(s3, bucket, found.key, AUDIT_JUDGED, is_gone)
    return removed


def hide_places(s3: S3Client, bucket: str, waves: Iterable[Wave], is_hidden: Callable[[int], bool]) -> int:
    """Empties the country of tweets in what was drawn in some waves; of how many. Twice changes nothing."""

    def left(table: pa.Table) -> tuple[pa.Table, int]:
        told = zip(table["tweet_id"].to_pylist(), table["country_code"].to_pylist(), strict=True)
        hidden = [country != _NO_COUNTRY and is_hidden(own) for own, country in told]
        emptied = pc.if_else(pa.array(hidden, pa.bool_()), _NO_COUNTRY, table["country_code"])
        column = table.schema.get_field_index("country_code")
        return table.set_column(column, table.schema.field(column), emptied), sum(hidden)

    return sum(
        _change(s3, bucket, layout.audit_drawn_key(wave.label), AUDIT_DRAWN, left)
        for wave in sorted(set(waves))
    )


def _without_undrawn(
    s3: S3Client, bucket: str, wave: Wave, key: str, schema: pa.Schema, tweets: Collection[int]
) -> int:
    """Takes out of what was just noted the ``tweets`` that were removed meanwhile; how many rows that is."""
    gone = set(tweets) - set(read_drawn(s3, bucket, wave)["tweet_id"].to_pylist())
    return _without(s3, bucket, key, schema, gone.__contains__) if gone else 0


def _without(s3: S3Client, bucket: str, key: str, schema: pa.Schema, is_gone: Callable[[int], bool]) -> int:
    def left(table: pa.Table) -> tuple[pa.Table, int]:
        kept = table.filter(pa.array([not is_gone(own) for own in table["tweet_id"].to_pylist()], pa.bool_()))
        return kept, table.num_rows - kept.num_rows

    return _change(s3, bucket, key, schema, left)


def _change(
    s3: S3Client, bucket: str, key: str, schema: pa.Schema, left: Callable[[pa.Table], tuple[pa.Table, int]]
) -> int:
    """Replaces an object by what is ``left`` of its rows; how many were changed or removed."""
    changed = 0

    def decide(found: storage.ObjectVersion | None) -> storage.Content | None:
        nonlocal changed
        changed = 0
        if found is None:
            return None
        rows, changed = left(tables.read(s3, bucket, key, schema))
        return storage.Content(_parquet(rows), found.metadata) if changed else None

    storage.compare_and_swap(s3, bucket, key, decide)
    return changed


def _replace(
    s3: S3Client, bucket: str, wave: Wave, person: str, given: Mapping[int, str | None], at: datetime
) -> None:
    key = layout.audit_judged_key(wave.label, person)
    judged_at = at.astimezone(UTC).replace(tzinfo=None)

    def decide(found: storage.ObjectVersion | None) -> storage.Content | None:
        table = tables.read(s3, bucket, key, AUDIT_JUDGED)
        rows = {row["tweet_id"]: row for row in table.to_pylist()}
        for tweet_id, judgment in given.items():
            if judgment is None:
                rows.pop(tweet_id, None)
            elif rows.get(tweet_id, {}).get("judgment") != judgment:
                rows[tweet_id] = {
                    "tweet_id": tweet_id,
                    "person": person,
                    "judgment": judgment,
                    "judged_at": judged_at,
                }
        if found is None and not rows:
            return None
        ordered = [rows[tweet_id] for tweet_id in sorted(rows)]
        return storage.Content(_parquet(pa.Table.from_pylist(ordered, schema=AUDIT_JUDGED)))

    storage.compare_and_swap(s3, bucket, key, decide)


def _hours(
    s3: S3Client, settings: Settings, topics: Sequence[str], wave: Wave, now: datetime
) -> list[storage.Object]:
    """The labeled objects of the wave's hours that have ended."""
    return [
        found
        for topic in topics
        for day in wave.days
        for found in storage.list_objects(
            s3, settings.bucket, layout.labeled_prefix(topic, day.isoformat())
        ).objects
        if (named := layout.labeled_hour(found.key)) and named[1].end <= now
    ]


def _topic(hour: storage.Object) -> str:
    return hour.key.split("topic=")[1].split("/")[0]


def _window(hour: storage.Object) -> str:
    named = layout.labeled_hour(hour.key)
    return named[1].label if named else ""


def _blocked(s3: S3Client, bucket: str, hours: Sequence[storage.Object]) -> Iterator[str]:
    """The labels of the hours whose check blocks."""
    for label in sorted({_window(hour) for hour in hours}):
        verdict = quality.find(s3, bucket, "labeled", label)
        if verdict and verdict.blocks:
            yield label


def _of_topic(
    s3: S3Client,
    bucket: str,
    hours: Sequence[storage.Object],
    wanted: DrawPlan,
    key: bytes,
    measured: cards.Measured,
) -> list[dict[str, Any]]:
    """The drawn rows of one topic: its hours are read twice, as only the second time it is known which."""
    urn = Urn(key, wanted)
    for hour in hours:
        table = _judged(s3, bucket, hour, ("tweet_id", "lang", "sentiment"))
        for language in sorted(set(table["lang"].to_pylist())):
            urn.add(language, table.filter(pc.equal(table["lang"], language))["tweet_id"].to_pylist())
    drawn = {each.tweet_id: each for each in urn.draw()}
    ids = pa.array(list(drawn), pa.int64())
    rows = []
    for hour in hours:
        table = _judged(s3, bucket, hour, _READ)
        chosen = table.filter(pc.is_in(table["tweet_id"], value_set=ids)).to_pylist()
        rows += [_row(row, measured, _topic(hour), drawn[row["tweet_id"]]) for row in chosen]
    return rows


def _row(row: Mapping[str, Any], measured: cards.Measured, topic: str, drawn: Drawn) -> dict[str, Any]:
    # A row without a usable sample stands for itself only, as in sql/insights/opinion.sql.
    sample = row["sample"] if row["sample"] and 1 <= row["sample"] <= 100 else 100
    return {
        **{name: row[name] for name in ("tweet_id", "lang", "sentiment")},
        **{name: row[name] for name in ("p_negative", "p_neutral", "p_positive")},
        "dt": Wave.of_tweet(row["tweet_id"]).month,
        "topic": topic,
        "country_code": row["country_code"] or _NO_COUNTRY,
        "measured": int(_is_measured(row, measured)),
        "stratum": drawn.stratum,
        "chance": drawn.chance,
        "people": drawn.people,
        "sample": sample,
        "engine": row["sentiment_engine"] or "none",
    }


def _is_measured(row: Mapping[str, Any], measured: cards.Measured) -> bool:
    """Whether the models that labeled were measured on the language, as in sql/insights/opinion.sql."""
    engine, translator = row["sentiment_engine"], row["translation_engine"] or "none"
    if translator == "none":
        return f"{engine} {row['lang']}" in measured.sentiment
    return f"{translator} {row['lang']}" in measured.translation and f"{engine} en" in measured.sentiment


def _judged(s3: S3Client, bucket: str, hour: storage.Object, columns: Sequence[str]) -> pa.Table:
    """The rows of a labeled object that have a sentiment; a nameless language is ``und``."""
    content = storage.read(s3, bucket, hour.key, hour.etag)
    table = pq.read_table(io.BytesIO(content), columns=list(columns))
    table = table.filter(pc.is_valid(table["sentiment"]))
    language = pc.if_else(pc.equal(pc.fill_null(table["lang"], ""), ""), "und", table["lang"])
    return table.set_column(table.schema.get_field_index("lang"), "lang", language)


def _parquet(table: pa.Table) -> bytes:
    return tables.encode(table.sort_by("tweet_id"))

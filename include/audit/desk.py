"""The desk: which drawn tweets a person is given to judge, how many are left, and judgments as CSV.

A tweet is open to a person who has not judged it, as long as fewer people have judged it than should. Each
person has an order of their own, by a keyed hash: people who judge at the same time meet rarely, and what is
judged at any time is a random part of each stratum. If two do meet, both judgments count.
"""

from __future__ import annotations

import csv
import hmac
import io
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.audit import judgments, records
from include.audit.records import JudgmentError
from include.audit.wave import Wave
from include.lake.schemas import JUDGMENTS
from include.x.snowflake import moment

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

CSV_COLUMNS = ("tweet_id", "judgment", "topic", "language", "date", "text", "translation")
# What a spreadsheet takes for a formula where a cell begins with it (OWASP, CSV Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ID = "tweet_id"


@dataclass(frozen=True)
class Standing:
    """How far the audit of a topic and language is, in tweets.

    ``judged`` have all their judgments; ``open`` can be judged by the person who asks; ``waiting`` are left
    to others; ``expired`` lack judgments, and their texts are gone.
    """

    topic: str
    lang: str
    drawn: int = 0
    judged: int = 0
    open: int = 0
    waiting: int = 0
    expired: int = 0


@dataclass(frozen=True)
class GivenTweet:
    """A drawn tweet as a person sees it: no author, and no model's label."""

    tweet_id: int
    topic: str
    lang: str
    text: str
    translation: str | None

    def to_json(self) -> dict[str, Any]:
        """As a dict of JSON's types; the id is a string, as JavaScript's numbers do not hold it."""
        return {
            _ID: str(self.tweet_id),
            "topic": self.topic,
            "lang": self.lang,
            "written_at": moment(self.tweet_id).isoformat(timespec="seconds"),
            "text": self.text,
            "translation": self.translation,
        }


@dataclass
class _Drawn:
    tweet_id: int
    topic: str
    lang: str
    people: int
    judged: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    def is_open(self, person: str | None) -> bool:
        return person not in self.judged and len(self.judged) < self.people


@dataclass(frozen=True)
class Desk:
    """The audit of one lake. ``key`` makes pseudonyms and orders; texts expire after ``retention_days``."""

    s3: S3Client
    bucket: str
    key: bytes
    retention_days: int

    def person(self, user: str) -> str:
        """The pseudonym of a user of Airflow, by the user's id."""
        return records.pseudonym(self.key, f"user:{user}")

    def progress(self, person: str | None, now: datetime) -> list[Standing]:
        """The standing of every topic and language of all waves, in order; ``person`` None is a spectator."""
        oldest = self._oldest(now)
        counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for tweet in self._drawn():
            of = counts[tweet.topic, tweet.lang]
            of["drawn"] += 1
            if len(tweet.judged) >= tweet.people:
                of["judged"] += 1
            elif moment(tweet.tweet_id) < oldest:
                of["expired"] += 1
            elif tweet.is_open(person):
                of["open"] += 1
            else:
                of["waiting"] += 1
        return [Standing(topic, lang, **of) for (topic, lang), of in sorted(counts.items())]

    def given(
        self,
        person: str,
        now: datetime,
        count: int,
        topics: tuple[str, ...] = (),
        languages: tuple[str, ...] = (),
    ) -> list[GivenTweet]:
        """The next ``count`` tweets that a person judges; no topic or language means all."""
        found = [
            tweet
            for tweet in self._drawn(self._oldest(now))
            if tweet.is_open(person)
            and (not topics or tweet.topic in topics)
            and (not languages or tweet.lang in languages)
        ]
        found.sort(key=lambda tweet: self._place(person, tweet.tweet_id))
        given: list[GivenTweet] = []
        while found and len(given) < count:
            # The text of a tweet may be gone before its time, where X has deleted it.
            some, found = found[:count], found[count:]
            given += self._with_texts(some)
        return given[:count]

    def last(self, person: str, now: datetime) -> tuple[GivenTweet, str] | None:
        """What a person has judged last, and how; None where there is nothing to take back."""
        own = [tweet for tweet in self._drawn(self._oldest(now)) if person in tweet.judged]
        if not own:
            return None
        latest = max(own, key=lambda tweet: (tweet.judged[person][1], tweet.tweet_id))
        found = self._with_texts([latest])
        return (found[0], latest.judged[person][0]) if found else None

    def judge(self, person: str, tweet_id: int, judgment: str | None, at: datetime) -> None:
        """Keeps a judgment, or takes it back for None; raises `JudgmentError`."""
        records.judge(self.s3, self.bucket, person, {tweet_id: judgment}, at)

    def written(self, person: str, now: datetime) -> str:
        """CSV with all tweets that a person has judged or can judge, for a labeling tool of their own."""
        mine = [
            tweet
            for tweet in self._drawn(self._oldest(now))
            if person in tweet.judged or tweet.is_open(person)
        ]
        judged = {tweet.tweet_id: tweet.judged[person][0] if person in tweet.judged else "" for tweet in mine}
        made = io.StringIO()
        writer = csv.writer(made)
        writer.writerow(CSV_COLUMNS)
        for tweet in self._with_texts(mine):
            day = f"{moment(tweet.tweet_id):%Y-%m-%d}"
            texts = (_cell(tweet.text), _cell(tweet.translation or ""))
            writer.writerow((tweet.tweet_id, judged[tweet.tweet_id], tweet.topic, tweet.lang, day, *texts))
        return made.getvalue()

    def take(self, person: str, content: str, at: datetime) -> dict[str, int]:
        """Keeps the judgments of a CSV with the columns ``tweet_id`` and ``judgment``: counts of each kind.

        Rows without a judgment are passed over. Raises `JudgmentError`, and takes none, where any row is bad.
        """
        reader = csv.DictReader(io.StringIO(content.removeprefix("\ufeff"), newline=""), strict=True)
        try:
            missing = [column for column in CSV_COLUMNS[:2] if column not in (reader.fieldnames or ())]
            if missing:
                raise JudgmentError([f"the first line does not name the column {' or '.join(missing)}"])
            # By ids alone: two tweets may have one text.
            rows = [{column: row[column] for column in CSV_COLUMNS[:2]} for row in reader]
        except csv.Error as error:
            raise JudgmentError([f"line {reader.line_num}: {error}"]) from error
        problems = [
            # The page's keys and the labels of public collections count differently.
            f"row {number}: {row['judgment']!r} is a number: write {', '.join(JUDGMENTS)}"
            for number, row in enumerate(rows, 1)
            if (row["judgment"] or "").strip().isdigit()
        ]
        if problems:
            raise JudgmentError(problems)
        given = judgments.read(rows).by_id
        drawn = {tweet.tweet_id for tweet in self._drawn()}
        problems = [
            f"row {number}: tweet {row[_ID]} was not drawn"
            for number, row in enumerate(rows, 1)
            if row["judgment"] and int(row[_ID] or 0) not in drawn
        ]
        if problems:
            raise JudgmentError(problems)
        return records.judge(self.s3, self.bucket, person, given, at)

    def _oldest(self, now: datetime) -> datetime:
        return now - timedelta(days=self.retention_days)

    def _place(self, person: str, tweet_id: int) -> bytes:
        return hmac.digest(self.key, f"audit:order:{person}:{tweet_id}".encode(), "sha256")

    def _drawn(self, oldest: datetime | None = None) -> list[_Drawn]:
        """The drawn tweets that are no older, with who has judged each."""
        found: list[_Drawn] = []
        for wave in records.drawn_waves(self.s3, self.bucket):
            if oldest is None or wave.last >= oldest.date():
                found += self._of(wave)
        return [tweet for tweet in found if oldest is None or moment(tweet.tweet_id) >= oldest]

    def _of(self, wave: Wave) -> list[_Drawn]:
        rows = records.read_drawn(self.s3, self.bucket, wave)
        columns = rows.select([_ID, "topic", "lang", "people"]).to_pylist()
        tweets = {row[_ID]: _Drawn(**row) for row in columns}
        for row in records.read_judged(self.s3, self.bucket, wave).to_pylist():
            if row[_ID] in tweets:
                tweets[row[_ID]].judged[row["person"]] = (row["judgment"], row["judged_at"])
        return list(tweets.values())

    def _with_texts(self, tweets: list[_Drawn]) -> list[GivenTweet]:
        texts = records.texts(self.s3, self.bucket, {tweet.tweet_id: tweet.topic for tweet in tweets})
        made = []
        for tweet in tweets:
            if tweet.tweet_id in texts:
                text, translation = texts[tweet.tweet_id]
                made.append(GivenTweet(tweet.tweet_id, tweet.topic, tweet.lang, text, translation))
        return made


def _cell(text: str) -> str:
    """A text that no spreadsheet runs."""
    return f"'{text}" if text.startswith(_FORMULA) else text

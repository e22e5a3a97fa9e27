"""How often the dashboards' intervals contain the truth, and their width: ``make truth LABELED=folder``.

Topics are made up out of tweets that people have labeled, with shares and languages that shift from day to
day, so that the truth of each is known. The n-gram model labels them through its handler; the product's own
code draws the audit, the labels judge it, and the net sentiment of each topic is what the dashboards' own SQL
makes of the lake on Athena. Each topic is one repetition.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import ROOT
from include.audit import records
from include.audit.wave import Wave
from include.insights import aggregate
from include.insights.definition import Measure, load
from include.insights.expressions import Aggregate, to_sql, walk
from include.labeling.archive import pack
from include.lake import cards, layout
from include.lake.schemas import LABELED, SENTIMENTS
from include.settings import Settings
from include.window import Window
from include.x.snowflake import lowest_id
from include.x.topics import Collection, Topic, Topics
from include.x.topics import load as load_topics
from local.aws.standalone import provision_lake, standalone_athena
from local.proof.report import save, table, write_section

ARTIFACT = ROOT / "include" / "labeling" / "ngram"
RESULT = ROOT / ".run" / "truth.json"
DAYS = tuple(date(2026, 11, day) for day in (10, 13, 18, 21))
"""The days of each topic: two waves of one month."""
FIRST, LAST = date(2026, 11, 9), date(2026, 11, 22)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
SMALLEST_CLASS = 20
LIKENESS = 10.0
"""How far the languages of a topic lean the same way: the concentration of a Dirichlet distribution."""
_JSON_LINES = "application/jsonlines"

type Floats = npt.NDArray[np.float64]
type ClientOf = Callable[[str], Any]
"""Gives a boto3 client of a service."""


class TruthError(RuntimeError):
    """Nothing can be measured; the message says why, and what to do."""


@dataclass(frozen=True)
class Case:
    """One model and the topics that it is tried on; ``audited`` tweets of each are judged."""

    name: str
    title: str
    topics: tuple[str, ...]
    tweets: int
    audited: int
    model: Callable[[np.random.Generator, Floats, npt.NDArray[np.int64]], Floats]
    """The probabilities by those of the n-gram model and the true classes."""


@dataclass(frozen=True)
class Labeled:
    """Tweets with what people say (0 negative, 1 neutral, 2 positive), and the model's probabilities."""

    languages: npt.NDArray[np.str_]
    classes: npt.NDArray[np.int64]
    probabilities: Floats


@dataclass(frozen=True)
class Figures:
    """The result of a case: shares of intervals that contain the truth, mean widths, mean absolute errors.

    ``audited`` is the mean number of judged tweets; ``before`` is without an audit, ``people`` by the judged
    tweets alone.
    """

    topics: int
    audited: float
    holds: float
    width: float
    width_ratio: float
    mean_error: float
    holds_people: float
    width_people: float
    mean_error_people: float
    holds_before: float
    width_before: float
    mean_error_before: float


def read(folder: Path, measured: Sequence[str]) -> list[dict[str, Any]]:
    """The rows ``text, label, lang`` of a folder's Parquet files, or of one file; raises `TruthError`.

    Without a column ``lang`` a file's name ends in it (``…_de.parquet``). Left out are languages that the
    model was never measured on, which the product leaves out of its ratios, and those without tweets of all
    three classes, which can make up no topic.
    """
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else [folder]
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            names = pq.read_schema(file).names
            found = pq.read_table(
                file, columns=[n for n in ("text", "label", "lang") if n in names]
            ).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise TruthError(f"{file} cannot be read: {error}") from error
        if not {"text", "label"} <= set(names):
            raise TruthError(f"{file} has no columns text and label")
        own = file.stem.rpartition("_")[2]
        rows += [{"lang": own, **row} for row in found if row["text"] and row["label"] in (0, 1, 2)]
    counts = Counter((row["lang"], row["label"]) for row in rows)
    kept = {
        lang
        for lang, _ in counts
        if lang in measured and all(counts[lang, label] >= SMALLEST_CLASS for label in (0, 1, 2))
    }
    if not kept:
        raise TruthError(
            f"{folder} has no {SMALLEST_CLASS} labeled tweets of each class in any of {', '.join(measured)}:"
            " give a folder of Parquet files with text, label (0 negative, 1 neutral, 2 positive) and lang"
        )
    return [row for row in rows if row["lang"] in kept]


def label(rows: Sequence[Mapping[str, Any]], artifact: Path) -> Labeled:
    """Labels rows by a model through its handler, as SageMaker calls it."""
    with tempfile.TemporaryDirectory() as name:
        archive, folder = Path(name) / "model.tar.gz", Path(name) / "model"
        pack(artifact, archive)
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        sys.path.insert(0, str(folder / "code"))
        try:
            handler: Any = importlib.import_module("inference")
            model = handler.model_fn(str(folder))
            lines = [
                json.dumps({"id": str(number), "text": row["text"], "lang": row["lang"]}) + "\n"
                for number, row in enumerate(rows)
            ]
            answered = handler.predict_fn(handler.input_fn("".join(lines), _JSON_LINES), model)
            answers = [json.loads(line) for line in handler.output_fn(answered, _JSON_LINES).splitlines()]
        finally:
            sys.path.remove(str(folder / "code"))
    usable = [(row, answer) for row, answer in zip(rows, answers, strict=True) if "error" not in answer]
    if not usable:
        raise TruthError(f"the model labels none of the tweets: {answers[0]['error']}")
    return Labeled(
        np.array([row["lang"] for row, _ in usable]),
        np.array([int(row["label"]) for row, _ in usable]),
        np.array([[answer[f"p_{name.lower()}"] for name in SENTIMENTS] for _, answer in usable]),
    )


def cases(repetitions: int, audited: int) -> list[Case]:
    """The main case first, then a model that knows nothing, and one that is always right."""

    def as_it_is(_: np.random.Generator, probabilities: Floats, __: npt.NDArray[np.int64]) -> Floats:
        return probabilities

    def useless(choose: np.random.Generator, probabilities: Floats, _: npt.NDArray[np.int64]) -> Floats:
        return np.asarray(choose.permutation(probabilities))

    def perfect(_: np.random.Generator, __: Floats, classes: npt.NDArray[np.int64]) -> Floats:
        return np.asarray(np.eye(len(SENTIMENTS))[classes])

    few = max(repetitions // 4, 2)

    def names(case: str, count: int) -> tuple[str, ...]:
        return tuple(f"{case}{number:04d}" for number in range(count))

    return [
        Case("model", "the n-gram model", names("model", repetitions), 4_000, audited, as_it_is),
        Case("useless", "a useless model", names("useless", few), 4_000, audited, useless),
        Case("perfect", "a perfect model", names("perfect", few), 4_000, audited, perfect),
    ]


def made_up(
    choose: np.random.Generator, labeled: Labeled, tweets: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], float]:
    """A topic: which labeled tweets it is made of, on which of `DAYS` each was written, its net sentiment.

    The topic's shares go from one random point to another over the days, and so do the languages' shares of
    it; the languages lean the topic's way, each at a distance of its own. The net sentiment is that of these
    shares, of which the tweets are a sample.
    """
    languages = np.unique(labeled.languages)
    mix = choose.dirichlet(np.ones(len(languages)), 2)
    leanings = choose.dirichlet(np.ones(len(SENTIMENTS)), 2)
    shares = np.array([choose.dirichlet(LIKENESS * leaning + 0.3, len(languages)) for leaning in leanings])
    places = {
        (language, kind): np.flatnonzero((labeled.languages == language) & (labeled.classes == kind))
        for language in languages
        for kind in range(len(SENTIMENTS))
    }
    rows: list[npt.NDArray[np.int64]] = []
    days: list[npt.NDArray[np.int64]] = []
    truth = 0.0
    for day in range(len(DAYS)):
        part = day / (len(DAYS) - 1)
        weights = (1 - part) * mix[0] + part * mix[1]
        counts = choose.multinomial(tweets // len(DAYS), weights)
        for number, (language, count) in enumerate(zip(languages, counts, strict=True)):
            wanted = (1 - part) * shares[0, number] + part * shares[1, number]
            truth += float(weights[number] * (wanted[2] - wanted[0])) / len(DAYS)
            for kind, each in enumerate(choose.multinomial(count, wanted)):
                if each:
                    rows.append(choose.choice(places[language, kind], each))
                    days.append(np.full(each, day))
    return np.concatenate(rows), np.concatenate(days), truth


class Lake:
    """A lake with the topics of all cases, the truth of each, and people's labels of the drawn tweets."""

    def __init__(self, clients: ClientOf, settings: Settings, topics: Topics) -> None:
        self.settings, self.topics = settings, topics
        self.s3 = clients("s3")
        self.s3.create_bucket(Bucket=settings.bucket)
        self.athena = provision_lake(clients, settings, topics)
        self.truth: dict[str, float] = {}
        self._said: dict[int, str] = {}

    def fill(self, choose: np.random.Generator, labeled: Labeled, case: Case, topic: str) -> None:
        """Writes a topic's labeled hours, one a day."""
        rows, days, self.truth[topic] = made_up(choose, labeled, case.tweets)
        classes = labeled.classes[rows]
        probabilities = case.model(choose, labeled.probabilities[rows], classes)
        place = self.topics.names.index(topic) * case.tweets
        for number, day in enumerate(DAYS):
            chosen = np.flatnonzero(days == number)
            hour = Window(datetime(day.year, day.month, day.day, 12, tzinfo=UTC))
            ids = lowest_id(hour.start) + place + np.arange(len(chosen))
            said = [SENTIMENTS[kind] for kind in classes[chosen]]
            self._said.update(zip(ids.tolist(), said, strict=True))
            p = probabilities[chosen]
            best = p.argmax(axis=1)
            values = {
                "ts": pa.array([hour.start.replace(tzinfo=None)] * len(chosen), pa.timestamp("ms")),
                "tweet_id": pa.array(ids, pa.int64()),
                "lang": pa.array(labeled.languages[rows[chosen]].tolist()),
                "tag": pa.array([topic] * len(chosen)),
                "sentiment": pa.array([SENTIMENTS[kind] for kind in best]),
                "score": pa.array(p.max(axis=1)),
                **{f"p_{name.lower()}": pa.array(p[:, kind]) for kind, name in enumerate(SENTIMENTS)},
                "sentiment_engine": pa.array([case.name] * len(chosen)),
                "sample": pa.array([100] * len(chosen), pa.int32()),
            }
            columns = [
                values[field.name].cast(field.type)
                if field.name in values
                else pa.nulls(len(chosen), field.type)
                for field in LABELED
            ]
            sink = io.BytesIO()
            pq.write_table(pa.table(columns, schema=LABELED), sink)
            self.s3.put_object(
                Bucket=self.settings.bucket, Key=layout.labeled_key(topic, hour), Body=sink.getvalue()
            )

    def aggregate(self, day: date) -> None:
        """Selects and keeps a day's aggregate, as `insights` does."""
        aggregate.refresh(self.athena, self.s3, self.settings, self.topics.names, day.isoformat())

    def audit(self, wave: Wave, tweets: int) -> int:
        """Draws a wave as the DAG does, and has people judge all drawn tweets; returns their number."""
        key = b"the key of the measurement"
        records.draw(self.s3, self.settings, self.topics.names, wave, key, NOW, tweets)
        ids = records.read_drawn(self.s3, self.settings.bucket, wave)["tweet_id"].to_pylist()
        given = {tweet_id: self._said[tweet_id] for tweet_id in ids}
        records.judge(self.s3, self.settings.bucket, records.pseudonym(key, "people"), given, NOW)
        return len(ids)

    def shown(self) -> dict[str, dict[str, float]]:
        """Each topic's net sentiment over all days, as the dashboards show it."""
        definition = load(load_topics(self.settings.topics_file))
        measure = _net_sentiment(definition.dashboards["opinion-over-time"].visuals)
        data_set = definition.data_sets["opinion"]
        formulas = {role: measure.formulas[role].resolved for role in ("value", "low", "high", "audit")}
        # Each aggregate once, in a subquery: inlined, they are 40,000 characters.
        sums = {
            to_sql(part): f"sum_{number}"
            for number, part in enumerate(
                dict.fromkeys(p for f in formulas.values() for p in walk(f) if isinstance(p, Aggregate))
            )
        }
        shown = {role: _over(sums, to_sql(formula)) for role, formula in formulas.items()}
        rows = self.athena.table(
            self.s3,
            "WITH sums AS ("  # noqa: S608 - every part is ours
            f"SELECT topic, {', '.join(f'{text} AS {name}' for text, name in sums.items())}"
            f" FROM ({data_set.statement()})"
            f" WHERE measured = 1 AND dt BETWEEN '{DAYS[0]}' AND '{DAYS[-1]}' GROUP BY topic"
            f") SELECT topic, {', '.join(f'{text} AS {role}' for role, text in shown.items())} FROM sums",
        ).to_pylist()
        return {row["topic"]: row for row in rows}

    def people(self) -> dict[str, dict[str, float]]:
        """Each topic's net sentiment by the judged tweets alone."""
        rows = self.athena.table(
            self.s3,
            "SELECT topic, audited, people_positive - people_negative AS value,"  # noqa: S608 - ours
            " 1.959963984540054e0 * people_net_error AS margin"
            f" FROM audit_rectifiers WHERE scope = 'topic' AND dt = '{FIRST:%Y-%m}-01'",
        ).to_pylist()
        return {row["topic"]: row for row in rows}


def _over(sums: Mapping[str, str], text: str) -> str:
    for aggregated, name in sums.items():
        text = text.replace(aggregated, name)
    return text


def _net_sentiment(visuals: Sequence[Any]) -> Measure:
    (measure,) = next(visual.measures for visual in visuals if visual.id == "net_sentiment")
    found: Measure = measure
    return found


def figures(
    case: Case,
    truth: Mapping[str, float],
    before: Mapping[str, Mapping[str, float]],
    after: Mapping[str, Mapping[str, float]],
    people: Mapping[str, Mapping[str, float]],
) -> Figures:
    """The case's figures by what was shown of each topic; raises `TruthError` if one was not rectified."""
    if missing := [topic for topic in case.topics if after[topic]["audit"] != 1 or before[topic]["audit"]]:
        raise TruthError(f"the audit rectifies nothing of {missing[0]} and {len(missing) - 1} others")
    true = np.array([truth[topic] for topic in case.topics])

    def measured(value: Floats, low: Floats, high: Floats) -> tuple[float, float, float]:
        holds = np.mean((low <= true) & (true <= high))
        return float(holds), float(np.mean(high - low)), float(np.mean(np.abs(value - true)))

    def column(shown: Mapping[str, Mapping[str, float]], name: str) -> Floats:
        return np.array([shown[topic][name] for topic in case.topics], float)

    ours = measured(*(column(after, name) for name in ("value", "low", "high")))
    former = measured(*(column(before, name) for name in ("value", "low", "high")))
    middle, margin = column(people, "value"), column(people, "margin")
    alone = measured(middle, middle - margin, middle + margin)
    return Figures(
        len(case.topics),
        float(np.mean(column(people, "audited"))),
        *ours[:2],
        ours[1] / alone[1],
        ours[2],
        *alone,
        *former,
    )


def measure(
    clients: ClientOf,
    folder: Path,
    repetitions: int,
    audited: int,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Figures]:
    """The figures of each case by its name, in a new lake of ``clients``; raises `TruthError`."""
    chosen = cases(repetitions, audited)
    names = tuple(topic for case in chosen for topic in case.topics)
    topics = Topics(
        Collection(datetime(2026, 11, 9, tzinfo=UTC), 1_000, 100),
        tuple(Topic(name, name, {"en": (name,)}) for name in names),
    )
    settings = Settings(
        bucket="truth",
        database="truth",
        workgroup="truth",
        collection_start=topics.collection.start,
        retention_days=36_500,
    )
    card = json.loads((ARTIFACT / "card.json").read_text(encoding="utf-8"))
    rows = read(folder, sorted(card["measured"]))
    tell(f"{len(rows):,} labeled tweets in {', '.join(sorted({row['lang'] for row in rows}))}")
    labeled = label(rows, ARTIFACT)
    choose = np.random.default_rng(20)
    made = Lake(clients, settings, topics)
    done = 0
    for case in chosen:
        cards.keep(made.s3, settings.bucket, "sentiment", case.name, card)
        for topic in case.topics:
            made.fill(choose, labeled, case, topic)
            done += 1
            if done % 50 == 0 or done == len(names):
                tell(f"{done} of {len(names)} topics made up and labeled")
    for day in DAYS:
        made.aggregate(day)
        tell(f"{day} aggregated")
    before = made.shown()
    for wave in Wave.between(FIRST, LAST):
        count = made.audit(wave, audited // 2)
        tell(f"{count:,} tweets of the week of {wave.label} drawn and judged")
    after, people = made.shown(), made.people()
    return {case.name: figures(case, made.truth, before, after, people) for case in chosen}


def section(found: Mapping[str, Figures], titles: Mapping[str, str]) -> str:
    """The figures as a table for a page."""

    def percent(value: float) -> str:
        return f"{100 * value:.1f} %"

    rows = []
    for name, case in found.items():
        rows += [
            (
                f"{titles[name]}, {case.topics} topics: as the model counts, without an audit",
                percent(case.holds_before),
                f"{case.width_before:.3f}",
                f"{case.mean_error_before:.3f}",
            ),
            (
                f"{titles[name]}: {case.audited:.0f} tweets that people judged, alone",
                percent(case.holds_people),
                f"{case.width_people:.3f}",
                f"{case.mean_error_people:.3f}",
            ),
            (
                f"**{titles[name]}: rectified by these**",
                f"**{percent(case.holds)}**",
                f"**{case.width:.3f}** ({case.width_ratio:.2f} of the line above)",
                f"**{case.mean_error:.3f}**",
            ),
        ]
    return table(
        ("Net sentiment of a topic of 4,000 tweets", "interval holds the truth in", "width", "mean error"),
        rows,
    )


def main(arguments: list[str] | None = None) -> int:
    """Measures, shows and writes; 1 if nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__)
    parser.add_argument(
        "--labeled", type=Path, required=True, help="a folder of Parquet files: text, label, lang"
    )
    parser.add_argument("--repetitions", type=int, default=400, help="topics of the main case (default 400)")
    parser.add_argument("--audited", type=int, default=200, help="tweets judged of each topic (default 200)")
    parser.add_argument("--page", type=Path, help="a page whose section 'truth' is written as well")
    chosen = parser.parse_args(arguments)
    try:
        with standalone_athena() as clients:
            found = measure(
                clients,
                chosen.labeled,
                chosen.repetitions,
                chosen.audited,
                lambda line: print(f"  {line}", flush=True),
            )
    except TruthError as error:
        print(f"make truth stopped: {error}", file=sys.stderr)
        return 1
    text = section(found, {case.name: case.title for case in cases(2, chosen.audited)})
    print(text)
    main_case = found["model"]
    save(
        {
            "holds": main_case.holds,
            "width_ratio": main_case.width_ratio,
            "mean_error": main_case.mean_error,
            "cases": {name: vars(case) for name, case in found.items()},
        },
        RESULT,
    )
    print(f"written to {RESULT.relative_to(ROOT)}")
    if chosen.page:
        write_section(chosen.page, "truth", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The training's data preparation and search, each against its peer, in the ml environment.

Each side runs there in a separate process; seconds are CPU seconds of the whole process tree (Python, its
workers and the JVM) after the session has started and the rows are loaded.

The search and the grid are scored on the same hold-out. Without tweets of your own they are made up, and easy
(`texts`). A folder of your own that holds ``train*.parquet`` and ``test*.parquet`` (columns ``text`` and
``label``: 0 negative, 1 neutral, 2 positive) gives the quality too: the student and the grid-search baseline
learn all training rows and are tested on the test's, by people's labels and by those of the teacher (the
n-grams). Where both have a ``lang``, the student that learns all languages at once is compared with one for
each.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.measure import ROOT, MeasureError, Row, used

type Source = Iterable[tuple[int, str, str, float]]
"""Id, text, language and label of each row."""

GRID_FITS = 162 * 5
"""The baseline's grid search: 162 points, five folds each."""
_DEPTHS = (4, 8)
"""The measured fits of it; the rest is extrapolated from their mean."""
_LEARNED, _TESTED = 150, 30
"""The fewest rows of a language and sentiment, to learn from and to test on, with which it is compared."""
_SURE = 0.6
"""The probability from which on the teacher counts as sure."""
_NAMES = ("negative", "neutral", "positive")
"""Sentiments by label."""

_WORDS = (
    ("terrible", "war", "sad", "angry", "destroyed", "awful", "hate", "killed", "lost", "worst"),
    ("report", "today", "meeting", "says", "minister", "morning", "statement", "source", "number"),
    ("great", "love", "happy", "peace", "wonderful", "thanks", "best", "hope", "win", "beautiful"),
)
"""By label."""
_FILLER = ("the", "people", "in", "our", "city", "and", "this", "country", "about", "it", "again", "really")


def measure(quick: bool = False, labeled: Path | None = None) -> list[Row]:
    """The rows for this part; ``quick`` takes a tenth of the tweets.

    ``labeled`` is a Parquet file, or a folder of them, with ``text`` and ``label`` (0 negative, 1 neutral, 2
    positive), from which the tweets are drawn; beside ``train*.parquet`` a folder may hold ``test*.parquet``.
    """
    count = 2_000 if quick else 20_000
    training, test = files(labeled)
    ours, peer = (_in_cluster(step, count, training) for step in ("prepare", "peer"))
    search, grid = (_in_cluster(step, count, training) for step in ("search", "grid"))
    grid_s = grid["cpu_s"] / len(_DEPTHS) * GRID_FITS
    count = round(ours["rows"])
    rows = [
        Row(
            f"training data preparation, {count:,} tweets",
            round(count / ours["cpu_s"]),
            round(count / peer["cpu_s"]),
            round(peer["cpu_s"] / ours["cpu_s"], 2),
            "rows per CPU-second",
            round(ours["peak_mib"]),
            "Spark NLP to finished features; peer is scikit-learn's TF-IDF of words and characters and naive"
            f" Bayes out of fold, in one process that holds all rows, {peer['peak_mib']:.0f} MiB",
        ),
        Row(
            "search against the grid-search baseline",
            round(search["cpu_s"], 1),
            round(grid_s),
            round(grid_s / search["cpu_s"], 1),
            "CPU-seconds",
            round(search["peak_mib"]),
            f"extrapolated from {len(_DEPTHS)} of the grid's {GRID_FITS} fits; macro-F1 on the hold-out"
            f" {search['macro_f1']:.3f}, the better of those fits {grid['macro_f1']:.3f}"
            f"{'' if training else '; 0.93 is what made-up texts allow, LABELED= takes real ones'}",
        ),
    ]
    return [*rows, *_quality(training, test, quick)] if test else rows


def files(labeled: Path | None) -> tuple[list[Path], list[Path]]:
    """The files to learn from and those to test with: none unless the names tell them apart."""
    if labeled is None or not labeled.is_dir():
        return ([labeled] if labeled else []), []
    found = sorted(labeled.glob("*.parquet"))
    if not found:
        raise MeasureError(f"{labeled} has no *.parquet: give files with the columns text and label")
    test = [path for path in found if path.name.startswith("test")]
    training = [path for path in found if path.name.startswith("train")]
    return (training, test) if test and training else (found, [])


def _quality(training: list[Path], test: list[Path], quick: bool) -> list[Row]:
    """Student and baseline on a test that neither has seen, by people and by the teacher."""
    learned, tested = _read(training), _read(test)
    if quick:
        learned = learned.slice(0, len(learned) // 10)
    return [
        _quality_row(learned, tested, "people", "macro_f1", "macro-F1, %"),
        _quality_row(_taught(learned), _taught(tested), "the teacher", "accuracy", "agreement, %"),
        *_languages_rows(learned, tested),
    ]


def _languages_rows(learned: pa.Table, tested: pa.Table) -> list[Row]:
    """All languages at once against each alone, by people; nothing where there are no two languages."""
    languages = sorted(_with_enough(learned, _LEARNED) & _with_enough(tested, _TESTED))
    if len(languages) < 2:
        return []

    def of(table: pa.Table, some: list[str]) -> pa.Table:
        return table.filter(pc.is_in(table["lang"], pa.array(some)))

    together, test = of(learned, languages), of(tested, languages)
    (at_once,) = _learned(together, test, "student")
    alone = {
        each: _learned(of(learned, [each]), of(tested, [each]), "student")[0]["macro_f1"]
        for each in languages
    }
    both = {each: (at_once[f"macro_f1_{each}"], alone[each]) for each in languages}
    ours, peer = (statistics.mean(scores) for scores in zip(*both.values(), strict=True))
    told = ", ".join(f"{each} {100 * own:.1f} ({100 * other:.1f})" for each, (own, other) in both.items())
    return [
        Row(
            f"the student, {len(languages)} languages at once, {len(together):,} tweets",
            round(100 * ours, 1),
            round(100 * peer, 1),
            round(ours / peer, 2),
            "mean macro-F1, %",
            round(at_once["peak_mib"]),
            f"peer is a student for each language, in parentheses: {told}",
        )
    ]


def _with_enough(table: pa.Table, least: int) -> set[str]:
    """The languages of which there are ``least`` rows of every sentiment: no student learns without one."""
    counts = Counter(zip(table["lang"].to_pylist(), table["label"].to_pylist(), strict=True))
    found = {lang for lang, _ in counts}
    return {lang for lang in found if all(counts[lang, label] >= least for label in range(len(_NAMES)))}


def _learned(learned: pa.Table, tested: pa.Table, *steps: str) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, table in (("train", learned), ("test", tested)):
            pq.write_table(table, folder / f"{part}.parquet")
        return [_in_cluster(step, len(learned), [folder]) for step in steps]


def _quality_row(learned: pa.Table, tested: pa.Table, judge: str, score: str, unit: str) -> Row:
    ours, peer = _learned(learned, tested, "student", "baseline")
    return Row(
        f"the student, {len(learned):,} tweets labeled by {judge}",
        round(100 * ours[score], 1),
        round(100 * peer[score], 1),
        round(ours[score] / peer[score], 2),
        unit,
        round(ours["peak_mib"]),
        f"on {len(tested):,} tweets that neither has seen. Student: {_told(ours)}. The grid-search baseline"
        f" (weighted counts of 1 to 3 lemmas without stop words, XGBoost): {_told(peer)}",
    )


def _told(scores: dict[str, float]) -> str:
    f1 = ", ".join(f"{name} {100 * scores.get(f'f1_{name}', 0):.1f}" for name in _NAMES)
    sure = f"; {100 * scores['sure']:.1f} % of {scores['sure_rows']:,} right where the teacher is sure"
    return (
        f"{100 * scores['accuracy']:.1f} % right, macro-F1 {100 * scores['macro_f1']:.1f} ({f1})"
        f"{sure if scores['sure_rows'] else ''}, learned in {scores['seconds']:.0f} s, with the test"
        f" {scores['cpu_s']:.0f} CPU-seconds, {scores['peak_mib']:.0f} MiB at most"
    )


def _read(some: list[Path]) -> pa.Table:
    """``text, lang, label, sure`` of the files; texts are English where they have no ``lang``."""
    tables = []
    for file in some:
        table = pq.read_table(file)
        lang = table["lang"] if "lang" in table.column_names else pa.array(["en"] * len(table))
        columns = {
            "text": table["text"].cast(pa.string()),
            "lang": lang.cast(pa.string()),
            "label": table["label"].cast(pa.int64()),
        }
        tables.append(pa.table({**columns, "sure": pa.array([False] * len(table))}))
    return pa.concat_tables(tables)


def _taught(table: pa.Table) -> pa.Table:
    """The same texts with the labels of the n-grams, asked through their handler."""
    from benchmarks.ngram import ARTIFACT, JSON_LINES, load_handler

    handler = load_handler()
    model = handler.model_fn(str(ARTIFACT))
    rows = table.select(["text", "lang"]).to_pylist()
    body = "".join(json.dumps({"id": str(number), **row}) + "\n" for number, row in enumerate(rows))
    answer = handler.output_fn(handler.predict_fn(handler.input_fn(body, JSON_LINES), model), JSON_LINES)
    body = answer[0] if isinstance(answer, tuple) else answer
    answers = [json.loads(line) for line in body.splitlines()]
    probabilities = [[each[f"p_{name}"] for name in _NAMES] for each in answers]
    labels = pa.array([each.index(max(each)) for each in probabilities])
    sure = pa.array([max(each) >= _SURE for each in probabilities])
    return pa.table({"text": table["text"], "lang": table["lang"], "label": labels, "sure": sure})


def _in_cluster(step: str, count: int, some: list[Path]) -> dict[str, float]:
    """One step in the ml environment, set up like a cluster; it waits for a line before the measured part."""
    from local.credentials import Credentials
    from local.databricks import cluster

    source = [str(file.resolve()) for file in some]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = cluster.environment(
            folder, aws_endpoint="http://127.0.0.1:9", credentials=Credentials.generate()
        )
        with (folder / "messages").open("w") as messages:
            process = subprocess.Popen(
                [str(cluster.python()), "-m", "benchmarks.training", step, str(count), *source],
                cwd=folder,
                env={**environment, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
            )
            assert process.stdin
            assert process.stdout
            ready = process.stdout.readline()
            before, _ = used(process.pid)
            if ready:
                process.stdin.write("\n")
                process.stdin.flush()
            answer = process.stdout.readline()
            after, peak = used(process.pid)
            process.stdin.close()
            process.wait()
        if not answer:
            raise MeasureError(f"{step} failed: {(folder / 'messages').read_text()[-2000:]}")
    return {**json.loads(answer), "cpu_s": after - before, "peak_mib": peak}


def texts(count: int) -> Iterator[tuple[int, str, str, float]]:
    """Id, text, language and label: words have the sentiment, "not" inverts it, one in ten is meaningless.

    A perfect model reaches a macro-F1 of 0.93: these texts measure costs, but do not distinguish good models.
    """
    choice = random.Random(20)  # noqa: S311 - synthetic data, no secret
    for identifier in range(count):
        label = choice.randrange(3)
        negated = label != 1 and choice.random() < 0.3
        words = choice.choices(_WORDS[2 - label if negated else label], k=2)
        if negated:
            words = [part for word in words for part in ("not", word)]
        if choice.random() < 0.1:
            words = choice.choices(_WORDS[1], k=2)
        before = choice.choices(_FILLER, k=choice.randrange(3, 12))
        yield identifier, " ".join([*before, *words, *choice.choices(_FILLER, k=4)]), "en", float(label)


def drawn(some: list[Path], count: int) -> Iterator[tuple[int, str, str, float]]:
    """Id, text, language and label of at most ``count`` rows, drawn at random but the same each time."""
    found = _read(some).to_pylist()
    choice = random.Random(20)  # noqa: S311 - no secret
    for identifier, row in enumerate(choice.sample(found, min(count, len(found)))):
        yield identifier, row["text"], row["lang"], float(row["label"])


def _rows(source: Source) -> Any:
    """As in the table of the training."""
    from pyspark.sql import SparkSession

    from include.training import data

    spark = SparkSession.builder.getOrCreate()
    rows = spark.createDataFrame(
        list(source), "tweet_id bigint, text string, lang string, label double"
    ).cache()
    rows.count()
    return data.split(rows)


def prepare(source: Source) -> Callable[[], dict[str, Any]]:
    """What the student is grown on: texts taken apart, hashed, scored out of fold."""
    from include.training.parameters import Parameters
    from include.training.student import prepare as prepare_rows

    rows = _rows(source)
    seed = Parameters(bucket="none").seed
    return lambda: {"rows": len(prepare_rows(rows, seed).table.labels)}


def peer(source: Source) -> Callable[[], dict[str, Any]]:
    """The same with scikit-learn."""
    import numpy as np
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer
    from sklearn.model_selection import cross_val_predict
    from sklearn.naive_bayes import MultinomialNB

    _, found, _, labels = zip(*source, strict=True)

    def work() -> dict[str, Any]:
        words = CountVectorizer(ngram_range=(1, 3), min_df=3).fit_transform(found)
        characters = HashingVectorizer(
            analyzer="char_wb",
            ngram_range=(2, 5),
            n_features=2**17,
            binary=True,
            norm=None,
            alternate_sign=False,
        ).fit_transform(found)
        inputs = hstack([TfidfTransformer().fit_transform(words), characters]).tocsr()
        judged = cross_val_predict(MultinomialNB(), inputs, np.array(labels), cv=3, method="predict_proba")
        return {"rows": len(judged)}

    return work


def search(source: Source) -> Callable[[], dict[str, Any]]:
    """The student's search and its trees, on its features."""
    from include.training.parameters import Parameters
    from include.training.student import prepare as prepare_rows
    from include.training.student import select

    parameters = Parameters(bucket="none")
    rows = _rows(source)
    prepared = prepare_rows(rows, parameters.seed)

    def work() -> dict[str, Any]:
        _, _, metrics = select(rows.sparkSession, prepared, parameters.trials, parameters.seed)
        return {"macro_f1": metrics["holdout_macro_f1"]}

    return work


def grid(source: Source) -> Callable[[], dict[str, Any]]:
    """A share of the baseline's grid search: no early stopping."""
    from include.training.metrics import scores
    from include.training.search import confusion

    rows = _rows(source)
    weighted = _baseline_terms().fit(rows).transform(rows).select("label", "split", "weighted").cache()
    weighted.count()

    def score(depth: int) -> float:
        trees = _baseline_trees(depth).fit(weighted.where("split <> 'holdout'"))
        return scores(confusion(trees.transform(weighted.where("split = 'holdout'"))))["macro_f1"]

    return lambda: {"macro_f1": max(score(depth) for depth in _DEPTHS)}


def _baseline_terms() -> Any:
    """The baseline's features: weighted counts of one to three lemmas, without stop words."""
    from importlib.resources import as_file, files

    from pyspark.ml import Pipeline
    from pyspark.ml.feature import IDF, CountVectorizer
    from sparknlp.annotator import Lemmatizer, NGramGenerator, Normalizer, StopWordsCleaner, Tokenizer
    from sparknlp.base import DocumentAssembler, Finisher

    with as_file(files("include.training") / "lemmas.txt") as dictionary:
        lemmatizer = (
            Lemmatizer()
            .setInputCols(["normal"])
            .setOutputCol("lemma")
            .setDictionary(f"file:{dictionary}", "->", ",")
        )
    return Pipeline(
        stages=[
            DocumentAssembler().setInputCol("text").setOutputCol("document"),
            Tokenizer().setInputCols(["document"]).setOutputCol("token"),
            Normalizer().setInputCols(["token"]).setOutputCol("normal").setLowercase(True),
            lemmatizer,
            StopWordsCleaner().setInputCols(["lemma"]).setOutputCol("clean"),
            NGramGenerator().setInputCols(["clean"]).setOutputCol("ngram").setN(3).setEnableCumulative(True),
            Finisher().setInputCols(["ngram"]).setOutputCols(["terms"]).setCleanAnnotations(True),
            CountVectorizer(inputCol="terms", outputCol="counts", vocabSize=4_096, minDF=3),
            IDF(inputCol="counts", outputCol="weighted"),
        ]
    )


def _baseline_trees(depth: int = 6) -> Any:
    from xgboost.spark import SparkXGBClassifier

    return SparkXGBClassifier(
        features_col="weighted",
        label_col="label",
        num_workers=1,
        device="cpu",
        missing=0.0,
        enable_sparse_data_optim=True,
        max_depth=depth,
        n_estimators=100,
        random_state=20,
    )


def student(folder: Path) -> Callable[[], dict[str, Any]]:
    """The student learns ``train.parquet`` and is tested on ``test.parquet``."""
    from include.training.parameters import Parameters
    from include.training.student import learn

    parameters = Parameters(bucket="none")
    rows = _rows(_numbered(folder))
    return lambda: _tested(lambda: learn(rows, parameters.trials, parameters.seed).pipeline, folder)


def baseline(folder: Path) -> Callable[[], dict[str, Any]]:
    """The same by the baseline: its features, and trees of one point of its grid."""
    from pyspark.ml import Pipeline

    rows = _rows(_numbered(folder))
    recipe = Pipeline(stages=[_baseline_terms(), _baseline_trees()])
    return lambda: _tested(lambda: recipe.fit(rows), folder)


def _numbered(folder: Path) -> Source:
    table = pq.read_table(folder / "train.parquet", columns=["text", "lang", "label"]).to_pylist()
    return ((number, row["text"], row["lang"], float(row["label"])) for number, row in enumerate(table))


def _tested(learn: Callable[[], Any], folder: Path) -> dict[str, Any]:
    """Scores on the rows tested, ``macro_f1_<lang>`` of each language, and ``sure``: the share of right ones
    where the teacher is sure."""
    from pyspark.sql import SparkSession

    from include.training.metrics import scores

    began = time.monotonic()
    model = learn()
    seconds = time.monotonic() - began
    rows = pq.read_table(folder / "test.parquet").to_pylist()
    numbered = [(number, row["text"], row["lang"]) for number, row in enumerate(rows)]
    frame = SparkSession.builder.getOrCreate().createDataFrame(
        numbered, "number int, text string, lang string"
    )
    said = {row["number"]: int(row["prediction"]) for row in model.transform(frame).collect()}
    sure = [said[number] == row["label"] for number, row in enumerate(rows) if row["sure"]]
    confusion: dict[str, Counter[tuple[int, int]]] = {}
    for number, row in enumerate(rows):
        confusion.setdefault(row["lang"], Counter())[row["label"], said[number]] += 1
    return {
        **scores(sum(confusion.values(), Counter())),
        **{f"macro_f1_{lang}": scores(found)["macro_f1"] for lang, found in confusion.items()},
        "seconds": seconds,
        "sure": statistics.mean(sure) if sure else 0.0,
        "sure_rows": len(sure),
    }


def main() -> None:
    """Prepares a step, reports that, waits for a line, runs it and prints its result as JSON."""
    steps = {"prepare": prepare, "peer": peer, "search": search, "grid": grid}
    tested = {"student": student, "baseline": baseline}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=[*steps, *tested])
    parser.add_argument("tweets", type=int)
    parser.add_argument("files", type=Path, nargs="*")
    chosen = parser.parse_args()
    if chosen.step in tested:
        work = tested[chosen.step](chosen.files[0])
    else:
        source = drawn(chosen.files, chosen.tweets) if chosen.files else texts(chosen.tweets)
        work = steps[chosen.step](source)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(work()), flush=True)
    sys.stdin.readline()  # until what it took has been read


if __name__ == "__main__":
    main()

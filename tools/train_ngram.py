"""Trains the n-gram model: ``python -m tools.train_ngram --data DIR [--out FOLDER]``.

DIR holds ``train/*.parquet`` and ``dev/*.parquet`` with the columns ``source, lang, text, label`` (0
negative, 1 neutral, 2 positive). Hyperparameters and calibration come from cross-validation on train; dev is
scored once, by the finished artifact, for the model card. FOLDER (default: the artifact in ``include/``)
receives ``weights.npz`` and ``MODEL_CARD.md``; the artifact's ``code/`` is what turns text into features and
weights into answers, here as in the container. Same data, same result: only the folds are drawn, from a
fixed seed.

Three logistic regressions, one a pair of classes, are folded into one weight a class. So a source without
neutral rows takes part in negative against positive only, and says nothing about neutral. Each n-gram's value
is scaled by its inverse document frequency and by its log-count ratio between the pair's classes (Wang and
Manning 2012, "Baselines and Bigrams", https://aclanthology.org/P12-2018/), which eases the penalty on n-grams
that tell the classes apart.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sparse
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

ARTIFACT = Path(__file__).resolve().parent.parent / "include" / "labeling" / "ngram"
BITS = 21
"""2**21 buckets, twice as many as train has n-grams that stand in two rows."""
MINIMUM_ROWS = 2
"""An n-gram of one row alone tells nothing beyond it."""
FOLDS = 4
SEED = 20261101
PAIRS = ((0, 1), (0, 2), (1, 2))
TARGET_LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "it", "pt")
TWO_CLASS_LANGUAGES = ("ru", "pl")
UNMEASURED_LANGUAGES = ("cs", "fa", "id", "ja", "ko", "nl", "sv", "th", "tl", "tr", "uk", "ur", "zh")
SCORED_SOURCES = ("umsab", "tweeteval", "mozetic-posneg")
"""Sources that cross-validation scores; the others only ever train. (umsab's English rows in train are all
negative, so tweeteval's stand beside them.)"""
SMOOTHING = 1.0
"""What an n-gram's count in a class is raised by before ratios are taken."""

log = logging.getLogger("train_ngram")

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Setting:
    """What cross-validation chooses."""

    cost: float
    """Inverse strength of the L2 penalty."""
    ratio_power: float
    """0: every n-gram is penalized alike; 1: the less, the more its counts in two classes differ."""
    balance: float
    """0: every row counts alike; 1: every source of a language counts alike, whatever its size."""


GRID = [
    Setting(cost, ratio_power, balance)
    for cost, ratio_power, balance in itertools.product((8.0, 16.0, 32.0), (0.5,), (0.3, 0.5))
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, write the artifact, print its scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train/*.parquet and dev/*.parquet"
    )
    parser.add_argument("--out", type=Path, default=ARTIFACT, help="folder to write weights and card to")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    train, dev = (read(options.data / part) for part in ("train", "dev"))
    rows, columns, frequency = matrix(train)
    log.info("rows=%d n_grams=%d", *rows.shape)

    found = {setting: cross_validate(train, rows, setting) for setting in GRID}
    best = max(found, key=lambda setting: mean_of_targets(found[setting][0]))
    cross_validated, logits, folds = found[best]
    temperature, bias = calibrate(train[folds], logits[folds])

    weights, intercept = fit(train, rows, best)
    weights *= inverse_frequency(frequency, len(train))[:, None]
    options.out.mkdir(parents=True, exist_ok=True)
    metadata = {
        "setting": asdict(best),
        "grid": [
            {**asdict(setting), "mean_macro_f1": mean_of_targets(result[0])}
            for setting, result in found.items()
        ],
        "cross_validated": cross_validated,
        "temperature": temperature,
        "rows": (train["source"] + " " + train["lang"]).value_counts().sort_index().to_dict(),
        "n_grams": len(columns),
        "bits": BITS,
        "languages": sorted(train["lang"].unique()),
    }
    save(options.out, weights / temperature, columns, intercept / temperature + bias, metadata)
    metadata["dev"] = scores(dev, serve(options.out, dev))
    save(options.out, weights / temperature, columns, intercept / temperature + bias, metadata)
    (options.out / "MODEL_CARD.md").write_text(card(metadata))
    (options.out / "card.json").write_text(described(metadata))
    log.info("dev=%s", json.dumps(metadata["dev"]))
    return 0


def read(folder: Path) -> pd.DataFrame:
    """All parquet files of a folder, in the order of their names."""
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))], ignore_index=True)


def matrix(data: pd.DataFrame) -> tuple[sparse.csr_matrix, Integers, Integers]:
    """Rows x n-grams, the columns' buckets, and in how many rows each stands.

    A value is the n-gram's inverse document frequency / sqrt(the row's n-grams). Columns stand by falling
    frequency, which keeps the solver's hot weights together in the cache.
    """
    hashed = _serving("ngram_features").hashed
    texts, languages = data["text"].tolist(), data["lang"].tolist()
    parts = [hashed(texts[at : at + 512], languages[at : at + 512], BITS) for at in range(0, len(texts), 512)]
    lengths = np.concatenate([np.diff(starts) for _, starts in parts])
    buckets = np.concatenate([buckets.astype(np.int32) for buckets, _ in parts])
    frequency = np.bincount(buckets, minlength=1 << BITS)
    columns = np.argsort(-frequency, kind="stable")[: int((frequency >= MINIMUM_ROWS).sum())]
    frequency = frequency[columns]
    column_of = np.full(1 << BITS, -1, np.int32)
    column_of[columns] = np.arange(len(columns), dtype=np.int32)

    row_of = np.repeat(np.arange(len(texts)), lengths)
    column = column_of[buckets]
    kept = column >= 0
    row_of, column = row_of[kept], column[kept]
    values = inverse_frequency(frequency, len(texts))[column] / np.sqrt(lengths).astype(np.float32)[row_of]
    starts = np.searchsorted(row_of, np.arange(len(texts) + 1))
    rows = sparse.csr_matrix((values, column, starts), shape=(len(texts), len(columns)), dtype=np.float32)
    return rows, columns, frequency


def inverse_frequency(frequency: Integers, rows: int) -> npt.NDArray[np.float32]:
    """What a rarer n-gram counts more: the log of rows / rows that have it, as a part of the greatest."""
    return np.asarray(np.log(rows / frequency) / np.log(rows / MINIMUM_ROWS), np.float32)


def row_weights(data: pd.DataFrame, balance: float) -> Floats:
    """A row's weight: large sources count less, and within a source every class counts alike."""
    domain = data["source"] + data["lang"]
    size = domain.map(domain.value_counts()).to_numpy(float)
    group = domain + data["label"].astype(str)
    of_class = group.map(group.value_counts()).to_numpy(float)
    classes = domain.map(data.groupby(domain)["label"].nunique()).to_numpy(float)
    return np.asarray(
        (size.min() / size) ** balance * np.where(classes > 1, size / (classes * of_class), 1.0)
    )


def fit(data: pd.DataFrame, rows: sparse.csr_matrix, setting: Setting) -> tuple[Floats, Floats]:
    """Columns x 3 weights and 3 intercepts, each adding up to 0 over the classes."""
    labels = data["label"].to_numpy()
    no_neutral = data["lang"].isin(TWO_CLASS_LANGUAGES).to_numpy()
    weight = row_weights(data, setting.balance)
    weights, intercept = np.zeros((rows.shape[1], 3)), np.zeros(3)
    for low, high in PAIRS:
        chosen = (labels == low) | (labels == high)
        if 1 in (low, high):
            chosen &= ~no_neutral
        values, is_high = rows[chosen], labels[chosen] == high
        scale = count_ratio(values, is_high, weight[chosen]) ** setting.ratio_power
        scale /= np.sqrt((scale[values.indices] ** 2).mean())
        values.data *= scale[values.indices].astype(np.float32)
        solver = LogisticRegression(
            solver="liblinear", dual=True, C=setting.cost, tol=0.05, random_state=SEED
        )
        solver.fit(values, is_high, sample_weight=weight[chosen])
        for label, sign in ((high, 0.5), (low, -0.5)):
            weights[:, label] += sign * solver.coef_[0] * scale
            intercept[label] += sign * solver.intercept_[0]
    return weights, intercept


def count_ratio(values: sparse.csr_matrix, is_high: npt.NDArray[np.bool_], weight: Floats) -> Floats:
    """How unevenly each column stands in two classes: the log-count ratio's magnitude, and a little."""
    counts = []
    present = sparse.csr_matrix(
        (np.ones_like(values.data), values.indices, values.indptr), shape=values.shape
    )
    for member in (is_high, ~is_high):
        share = np.where(member, weight, 0.0)
        counts.append(present.T @ (share * (len(weight) / 2 / share.sum())))
    high, low = counts
    return np.asarray(np.abs(np.log((high + SMOOTHING) / (low + SMOOTHING))) + 0.05)


def cross_validate(
    train: pd.DataFrame, rows: sparse.csr_matrix, setting: Setting
) -> tuple[dict[str, float], Floats, npt.NDArray[np.bool_]]:
    """Scores on held-out rows, those rows' logits (rows x 3), and which rows were held out in turn."""
    started = time.monotonic()
    fold = np.random.default_rng(SEED).integers(FOLDS, size=len(train))
    scored = train["source"].isin(SCORED_SOURCES).to_numpy()
    logits = np.zeros((len(train), 3))
    for number in range(FOLDS):
        held_out = scored & (fold == number)
        weights, intercept = fit(train[~held_out], rows[~held_out], setting)
        logits[held_out] = rows[held_out] @ weights + intercept
    result = scores(train[scored], logits[scored])
    log.info("%s mean=%.2f seconds=%.0f", setting, mean_of_targets(result), time.monotonic() - started)
    return result, logits, scored


def scores(data: pd.DataFrame, evidence: Floats) -> dict[str, float]:
    """Macro-F1 in percent per language; of the two classes alone where there are no neutral rows."""
    result = {}
    for lang in TARGET_LANGUAGES + TWO_CLASS_LANGUAGES:
        chosen = (data["lang"] == lang).to_numpy()
        classes = [0, 2] if lang in TWO_CLASS_LANGUAGES else [0, 1, 2]
        answers = np.array(classes)[evidence[chosen][:, classes].argmax(axis=1)]
        labels = data["label"].to_numpy()[chosen]
        result[lang] = round(100 * float(f1_score(labels, answers, labels=classes, average="macro")), 2)
    return result


def mean_of_targets(result: dict[str, float]) -> float:
    """The mean macro-F1 of the eight languages that have all three classes."""
    return round(sum(result[lang] for lang in TARGET_LANGUAGES) / len(TARGET_LANGUAGES), 2)


def calibrate(data: pd.DataFrame, logits: Floats) -> tuple[float, Floats]:
    """Temperature and class biases that make held-out rows likeliest, every language counting alike."""
    three = data["lang"].isin(TARGET_LANGUAGES).to_numpy()
    labels, logits, lang = data["label"].to_numpy()[three], logits[three], data["lang"][three]
    weight = (1 / lang.map(lang.value_counts())).to_numpy(float)

    def loss(point: Floats) -> float:
        shifted = logits * np.exp(point[0]) + np.append(point[1:], -point[1:].sum())
        shifted -= shifted.max(axis=1, keepdims=True)
        likely = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
        return -float(weight @ likely)

    point = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"maxiter": 400}).x
    return float(np.exp(-point[0])), np.append(point[1:], -point[1:].sum())


def save(folder: Path, weights: Floats, columns: Integers, bias: Floats, metadata: dict[str, Any]) -> None:
    """Write `weights.npz`: per bucket what negative and positive weigh, as signed square roots in eight bits.

    Square roots keep small weights, which are most of them, apart. Neutral's weight is minus the others' sum.
    """
    ends = weights[:, [0, 2]]
    unit = float(np.abs(ends).max()) / 127**2
    codes = np.zeros((1 << BITS, 2), np.int8)
    codes[columns] = np.rint(np.sign(ends) * np.sqrt(np.abs(ends) / unit)).astype(np.int8)
    np.savez_compressed(
        folder / "weights.npz",
        codes=codes,
        unit=np.float64(unit),
        bias=np.asarray(bias, np.float64),
        languages=np.array(metadata["languages"]),
        metadata=np.frombuffer(json.dumps(metadata, sort_keys=True).encode(), np.uint8),
    )


def serve(folder: Path, data: pd.DataFrame) -> Floats:
    """Rows x 3 probabilities, as the artifact itself answers."""
    handler = _serving("inference")
    names = [f"p_{name}" for name in _serving("serving").CLASSES]
    records = [
        {"id": str(number), "text": text, "lang": lang}
        for number, (text, lang) in enumerate(zip(data["text"], data["lang"], strict=True))
    ]
    answers = handler.predict_fn(records, handler.model_fn(str(folder)))
    return np.array([[answer[name] for name in names] for answer in answers])


def _serving(module: str) -> Any:
    """A module of the artifact's `code/`, imported by its bare name as in the container."""
    path = str(ARTIFACT / "code")
    if path not in sys.path:
        sys.path.insert(0, path)
    return importlib.import_module(module)


def card(metadata: dict[str, Any]) -> str:
    """The model card, from the same figures that the weights carry."""
    setting, dev, trained = metadata["setting"], metadata["dev"], metadata["rows"]
    figures = [
        f"| {lang} | {dev[lang]:.2f} | {metadata['cross_validated'][lang]:.2f} | "
        f"{'negative, positive' if lang in TWO_CLASS_LANGUAGES else 'all three'} |"
        for lang in TARGET_LANGUAGES + TWO_CLASS_LANGUAGES
    ]
    tried = [
        f"| {row['cost']:g} | {row['ratio_power']:g} | {row['balance']:g} | {row['mean_macro_f1']:.2f} |"
        for row in metadata["grid"]
    ]
    return _CARD.format(
        figures="\n".join(figures),
        mean_dev=mean_of_targets(dev),
        mean_cross_validated=mean_of_targets(metadata["cross_validated"]),
        unmeasured=", ".join(UNMEASURED_LANGUAGES),
        tried="\n".join(tried),
        rows="\n".join(f"| {name} | {count:,} |" for name, count in sorted(trained.items())),
        total=sum(trained.values()),
        n_grams=metadata["n_grams"],
        bits=metadata["bits"],
        folds=FOLDS,
        temperature=metadata["temperature"],
        **setting,
    )


def described(metadata: dict[str, Any]) -> str:
    """The card for programs: what the model is, and what it was measured on and is better than chance at.

    Of three classes chance reaches a third; the figures of 320 rows err by two to three points.
    """
    measured = {
        lang: {"macro_f1": round(score / 100, 4)}
        for lang, score in metadata["dev"].items()
        if score > 100 / 3 + 3
    }
    content = {
        "engine": "ngram",
        "task": "sentiment",
        "languages": metadata["languages"],
        "measured": measured,
        "quantization": "int8",
        "source": "trained by tools/train_ngram.py; MODEL_CARD.md has data and terms",
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


_CARD = """\
# Sentiment by hashed n-grams

*Written by `tools/train_ngram.py`, together with the weights; do not edit.*

Gives a tweet's probabilities of being negative, neutral and positive, in its original language. The
embedded default (`../e5`) reads every tweet with it, and asks a transformer about those that it is not sure
of. Alone it is the model for a container without the internet, or where speed matters more than quality: it
needs numpy, and nothing else.

## Quality

Macro-F1 in percent. *dev* was scored by the finished artifact, through the handler that SageMaker calls, and
chose nothing; its 320 rows a language leave an error of two to three points a language, one in the mean.
*Cross-validated* is over held-out rows of train, and chose the hyperparameters.

| Language | dev | cross-validated | classes |
|---|---|---|---|
{figures}
| **mean of ar de en es fr hi it pt** | **{mean_dev:.2f}** | **{mean_cross_validated:.2f}** | |

Russian and Polish have no neutral rows, so their figure tells how well negative is told from positive, and
nothing about neutral. Hindi is hardly better than chance: its rows mix Hindi in Latin letters with English,
and their labels are noisy. Treat it as unmeasured where that matters.

**Unmeasured**: {unmeasured}, and every other language that is not in
the table. They get probabilities (emoji, emoticons, names and related languages carry over), but nobody has
checked them: leave them out of comparisons.

Sarcasm, quotes and reported news are read by their words. A text's mood is not its opinion about a topic.

## Data and terms

{total:,} labeled tweets with handles and links masked. The weights may be shipped; the texts may not, and
are not here.

| Source and language | rows |
|---|---|
{rows}

- umsab: cardiffnlp/xlm-t, `data/sentiment`; the repository is under Apache-2.0, single sets may carry terms
  of their own.
- semeval13-16: SemEval 2013 to 2016 task A, from cbaziotis/datastories-semeval2017-task4; for research.
- tweeteval: cardiffnlp/tweeteval, sentiment, validation split; for research.
- afrisenti-dz, afrisenti-ma: AfriSenti, Algerian and Moroccan Arabic; CC BY 4.0.
- mozetic-posneg: Mozetič et al. 2016 (CLARIN 11356/1054), texts as in joemzhao/tweets-retriever; labels
  CC BY-SA, texts under X's terms. Negative and positive only.

## How it works

A text's distinct words, pairs of words, and stretches of 2 to 5 characters are hashed into 2^{bits} buckets,
some of them once more together with the text's language; {n_grams:,} buckets were filled by at least two rows
of train. Three logistic regressions, one a pair of classes, are folded into one linear weight a class and
stored in eight bits; neutral's is minus the others' sum. Sources without neutral rows train negative against
positive only. The probabilities are a softmax at temperature {temperature:.3f} with class biases, both
fitted on cross-validation's held-out rows, every language counting alike and the classes about as frequent
as each other: where one class is rare in truth, its probabilities are too high.

## Tuning

{folds}-fold cross-validation on train only. Chosen:
cost {cost:g}, ratio power {ratio_power:g}, balance {balance:g} (`Setting` in the program says what they are).

| cost | ratio power | balance | mean macro-F1 |
|---|---|---|---|
{tried}

## Retraining

    python -m tools.train_ngram --data DIR

DIR holds `train/*.parquet` and `dev/*.parquet` with the columns `source`, `lang`, `text` and `label` (0
negative, 1 neutral, 2 positive). It takes some ten minutes of one core and 4 GB. Same data, same weights.
"""


if __name__ == "__main__":
    raise SystemExit(main())

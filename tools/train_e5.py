"""Trains the embedded model ``e5``: ``python -m tools.train_e5 --data DIR --cache DIR``.

Runs in ``.venv-pack``. The data are ``train/*.parquet`` and ``dev/*.parquet`` with ``source``, ``lang``,
``text`` and ``label`` (0 negative, 1 neutral, 2 positive), one source a file. Texts become the mean state
behind e5's first layers, as the packed model computes them; on those a logistic regression is trained. Its
probabilities are mixed with those of the embedded n-grams where these are least sure. How, cross-validation
on train chooses: both models answer rows that they were not trained on, in the folds of
`tools.train_ngram`.

It writes ``tools/models/e5_head.npz``, packs the model as ``make models MODEL=e5`` does, with the scores of
dev, which has chosen nothing, and embeds it: ``include/labeling/e5/``. Encoding takes five minutes of one
core and the n-grams' cross-validation four; the states and those answers are kept in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from tools import train_ngram
from tools.models import building, e5, graph, recipes
from tools.models.__main__ import DIST, Order, pack

LAYERS = 6
"""How many of the twelve layers are used: more give a little more, and each costs time."""
COST = 0.01
"""The regression's inverse regularization, on standardized states."""
READ = 0.5
"""The share of the tweets that e5 reads: those of which the n-grams are least sure."""
ENCODER_WEIGHTS = (0.25, 0.35, 0.45, 0.55)
"""Of the logarithms of the probabilities; the rest is the n-grams'."""
MOST_ROWS = {"semeval13-16_en": 8000, "afrisenti-ma_ar": 2500, "afrisenti-dz_ar": 1500}
"""Rows that are taken of large sources, so that none outweighs the others and encoding stays short."""
FREQUENT_PIECES = 40_000
"""Pieces that are kept for being frequent in e5's own training, beside those that occur in train."""
MAX_TOKENS = 128
_BATCH_TOKENS = 1024
_SEED = 5

type Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """States, labels and languages of texts, and their places in the table of all."""

    states: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    languages: npt.NDArray[np.str_]
    places: npt.NDArray[np.int64]


class Encoder:
    """The first layers of e5 with the kept pieces, quantized as they are packed."""

    def __init__(self, source: e5.Source, kept: npt.NDArray[np.int64]) -> None:
        import onnxruntime

        width = source.sizes["width"]
        identity = graph.Linear(np.eye(width, dtype=np.float32), np.zeros(width, np.float32))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            graph.write(source.encoder(LAYERS, kept), graph.Mean(identity), path, quantized=True)
            self._session = onnxruntime.InferenceSession(path)
        self._tokenizer = source.tokenizer(kept)
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def encode(self, texts: list[str]) -> npt.NDArray[np.float16]:
        """The texts' states."""
        encoded = self._tokenizer.encode_batch_fast([e5.PREFIX + text for text in texts])
        ids = [one.ids for one in encoded]
        order = sorted(range(len(ids)), key=lambda position: len(ids[position]))
        states: npt.NDArray[np.float16] | None = None
        begin = 0
        while begin < len(order):
            end = begin + 1
            while end < len(order) and len(ids[order[end]]) * (end - begin + 1) <= _BATCH_TOKENS:
                end += 1
            batch, width = order[begin:end], len(ids[order[end - 1]])
            inputs, mask = np.ones((len(batch), width), np.int64), np.zeros((len(batch), width), np.int64)
            for row, position in enumerate(batch):
                inputs[row, : len(ids[position])] = ids[position]
                mask[row, : len(ids[position])] = 1
            [found] = self._session.run(None, {"input_ids": inputs, "attention_mask": mask})
            if states is None:
                states = np.empty((len(ids), found.shape[1]), np.float16)
            states[batch] = found
            begin = end
        assert states is not None
        return states


def chosen(folder: Path) -> dict[str, pd.DataFrame]:
    """The rows to learn from, by the name of their file, with their places in the table of all."""
    found, before = {}, 0
    for path in sorted(folder.glob("*.parquet")):
        table = pd.read_parquet(path, columns=["lang", "text", "label"])
        table["place"] = before + np.arange(len(table))
        before += len(table)
        most = MOST_ROWS.get(path.stem, len(table))
        if len(table) > most:
            table = table.iloc[np.sort(np.random.default_rng(_SEED).permutation(len(table))[:most])]
        found[path.stem] = table
    return found


def kept_pieces(tables: dict[str, pd.DataFrame], source: e5.Source) -> npt.NDArray[np.int64]:
    """Pieces that occur in train, single characters and special ones (so that every text can be spelt), and
    those that are frequent in e5's own training.
    """
    tokenizer = source.tokenizer()
    tokenizer.enable_truncation(MAX_TOKENS)
    occurring = [
        number
        for table in tables.values()
        for encoded in tokenizer.encode_batch_fast([e5.PREFIX + text for text in table["text"]])
        for number in encoded.ids
    ]
    spelling = [number for number, piece in enumerate(source.pieces) if len(piece) == 1]
    special = [source.pieces.index(name) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    frequent = np.argsort(-source.scores, kind="stable")[:FREQUENT_PIECES]
    return np.unique(np.concatenate([special, spelling, frequent, occurring])).astype(np.int64)


def encoded(tables: dict[str, pd.DataFrame], encoder: Encoder, cache: Path) -> Rows:
    """The rows with their states; a file whose states are cached is not encoded again."""
    states = []
    for name, table in tables.items():
        kept = cache / f"{name}.npy"
        if not kept.exists():
            np.save(kept, encoder.encode(table["text"].tolist()))
            print(f"{kept.name}: {len(table):,} texts", flush=True)
        states.append(np.load(kept).astype(np.float32))
    table = pd.concat(tables.values())
    return Rows(
        np.concatenate(states),
        table["label"].to_numpy(np.int64),
        table["lang"].to_numpy(str),
        table["place"].to_numpy(np.int64),
    )


@dataclass(frozen=True)
class HeldOut:
    """What the n-grams say of rows that they were not trained on, calibrated as the artifact is.

    All arrays have a place for each row of train; ``scored`` names the rows that were held out, ``fold`` the
    one in which each was.
    """

    logits: Floats
    scored: npt.NDArray[np.bool_]
    fold: npt.NDArray[np.int64]


def ngram_answers(train: pd.DataFrame, cache: Path) -> HeldOut:
    """The n-grams' answers to held-out rows of train; the same file in the cache is not made again."""
    kept = cache / "ngram.npz"
    fold = np.random.default_rng(train_ngram.SEED).integers(train_ngram.FOLDS, size=len(train))
    if not kept.exists():
        with np.load(train_ngram.ARTIFACT / "weights.npz", allow_pickle=False) as weights:
            chosen = json.loads(weights["metadata"].tobytes())["setting"]
        rows, _, _ = train_ngram.matrix(train)
        _, logits, scored = train_ngram.cross_validate(train, rows, train_ngram.Setting(**chosen))
        temperature, bias = train_ngram.calibrate(train[scored], logits[scored])
        np.savez(kept, logits=logits / temperature + bias, scored=scored)
    with np.load(kept) as file:
        return HeldOut(file["logits"], file["scored"], fold)


def weights(rows: Rows) -> npt.NDArray[np.float64]:
    """Languages count by the roots of their rows, and so do classes within them.

    A language without neutral rows counts half: its rows say nothing about neutral.
    """
    result = np.zeros(len(rows.labels))
    for language in np.unique(rows.languages):
        own = rows.languages == language
        classes = np.unique(rows.labels[own])
        for label in classes:
            these = own & (rows.labels == label)
            result[these] = (1.0 if len(classes) == len(recipes.LABELS) else 0.5) / np.sqrt(these.sum())
    return result / result.mean()


def train(rows: Rows) -> graph.Linear:
    """The head, for states as they come."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = rows.states.mean(axis=0), rows.states.std(axis=0)
    model = LogisticRegression(C=COST, max_iter=150)
    model.fit((rows.states - mean) / deviation, rows.labels, sample_weight=weights(rows))
    weight = (model.coef_ / deviation).T
    return graph.Linear(weight.astype(np.float32), (model.intercept_ - mean @ weight).astype(np.float32))


def head_answers(rows: Rows, held_out: HeldOut) -> Floats:
    """The head's logits of the rows that are held out, each from a head that was trained without them."""
    logits = np.zeros((len(rows.labels), len(recipes.LABELS)))
    scored, fold = held_out.scored[rows.places], held_out.fold[rows.places]
    for number in range(train_ngram.FOLDS):
        own = scored & (fold == number)
        head = train(_only(rows, ~own))
        logits[own] = rows.states[own] @ head.weight + head.bias
    return logits


def choose(rows: Rows, held_out: HeldOut) -> tuple[e5.Mixture, float]:
    """The mixture with the best mean macro-F1 on held-out rows, and that mean in percent.

    A weight with which a language of two classes gets worse than by n-grams alone is not taken; raises
    `ValueError` if all are such.
    """
    own = held_out.scored[rows.places]
    cheap = _log_probabilities(held_out.logits[rows.places][own])
    good = _log_probabilities(head_answers(rows, held_out)[own])
    data = pd.DataFrame({"label": rows.labels[own], "lang": rows.languages[own]})
    alone = train_ngram.scores(data, cheap)
    print(f"n-grams alone {train_ngram.mean_of_targets(alone):.2f}", flush=True)
    ordered = np.sort(np.exp(cheap), axis=1)
    margins = ordered[:, 2] - ordered[:, 1]
    margin = float(np.quantile(margins, READ))
    found = []
    for weight in ENCODER_WEIGHTS:
        both = (1 - weight) * cheap + weight * good
        temperature, bias = train_ngram.calibrate(data, both)
        mixture = e5.Mixture(margin, (1 - weight) / temperature, weight / temperature, tuple(bias.tolist()))
        mixed = _log_probabilities(both / temperature + bias)
        scores = train_ngram.scores(data, np.where((margins < margin)[:, None], mixed, cheap))
        mean = train_ngram.mean_of_targets(scores)
        print(f"encoder's weight {weight}: {mean:.2f} {scores}", flush=True)
        if all(scores[name] >= alone[name] for name in train_ngram.TWO_CLASS_LANGUAGES):
            found.append((mean, mixture))
    if not found:
        raise ValueError("every weight makes a language of two classes worse; e5 is no gain here")
    mean, mixture = max(found, key=lambda pair: pair[0])
    return mixture, mean


def _log_probabilities(logits: Floats) -> Floats:
    logits = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def _only(rows: Rows, chosen: npt.NDArray[np.bool_]) -> Rows:
    return Rows(rows.states[chosen], rows.labels[chosen], rows.languages[chosen], rows.places[chosen])


def main() -> None:
    """Trains, measures on dev, packs and embeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    recipe = recipes.of("e5")
    assert recipe.package is not None
    source = e5.Source.read(e5.find(), recipe.package.sha256)
    tables = chosen(given.data / "train")
    kept = kept_pieces(tables, source)
    rows = encoded(tables, Encoder(source, kept), given.cache)
    mixture, mean = choose(rows, ngram_answers(train_ngram.read(given.data / "train"), given.cache))
    e5.Trained(LAYERS, kept, train(rows), mixture).write()
    building.embed(pack(Order(recipe, None, (), given.data / "dev", upload=False), DIST), recipe)
    print(f"{len(rows.labels):,} rows of train, {mean:.2f} on held-out rows; {mixture}")


if __name__ == "__main__":
    main()

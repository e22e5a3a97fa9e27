"""Trains the head of the recipe ``e5``: ``python -m tools.train_e5_head --data DIR --cache DIR``.

Runs in ``.venv-pack``. The data are ``train/*.parquet`` and ``dev/*.parquet`` with ``lang``, ``text`` and
``label`` (0 negative, 1 neutral, 2 positive), one source a file. Texts become the mean state behind the first
layers, as the packed model computes them; on those a logistic regression is trained. It writes
``tools/models/e5_head.npz``, and the scores of dev, which has chosen nothing, into ``e5_scores.json``.
Encoding takes ten minutes of one core; the states are kept in the cache folder.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.models import building, e5, graph, measuring, recipes

LAYERS = 10
"""How many of the twelve layers are used: more do not help, and each costs time."""
COST = 0.03
"""The regression's inverse regularization, on standardized states."""
MOST_ROWS = {
    "semeval13-16_en": 6000,
    "afrisenti-ma_ar": 2500,
    "afrisenti-dz_ar": 1500,
    "mozetic-posneg_pl": 2500,
    "mozetic-posneg_ru": 2500,
}
"""Rows that are taken of large sources, so that none outweighs the others and encoding stays short."""
FREQUENT_PIECES = 60_000
"""Pieces that are kept for being frequent in e5's own training, beside those that occur in train."""
MAX_TOKENS = 128
_BATCH_TOKENS = 4096
_SEED = 5


@dataclass(frozen=True)
class Rows:
    """States, labels and languages of texts, and the pieces that occur in them."""

    states: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    languages: npt.NDArray[np.str_]
    pieces: npt.NDArray[np.int64]


class Encoder:
    """The first layers of e5, quantized as they are packed, with all pieces."""

    def __init__(self, source: e5.Source, layers: int) -> None:
        import onnxruntime

        width = source.sizes["width"]
        identity = graph.Linear(np.eye(width, dtype=np.float32), np.zeros(width, np.float32))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            graph.write(source.encoder(layers), graph.Mean(identity), path, quantized=True)
            self._session = onnxruntime.InferenceSession(path)
        self._tokenizer = source.tokenizer()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def encode(self, texts: list[str]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]:
        """The texts' states, and the pieces that occur in them."""
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
        return states, np.unique(np.concatenate([np.array(one) for one in ids]))


def read(data: Path, part: str, cache: Path, source: e5.Source) -> Rows:
    """The rows of ``train`` or ``dev``; a file whose states are cached is not encoded again."""
    import pyarrow.parquet as pq

    encoder: Encoder | None = None
    found = []
    for path in sorted((data / part).glob("*.parquet")):
        table = pq.read_table(path, columns=["lang", "text", "label"])
        most = MOST_ROWS.get(path.stem, table.num_rows)
        if part == "train" and table.num_rows > most:
            chosen = np.random.default_rng(_SEED).permutation(table.num_rows)[:most]
            table = table.take(np.sort(chosen))
        kept = cache / f"{part}.{path.stem}.{LAYERS}.npz"
        if not kept.exists():
            encoder = encoder or Encoder(source, LAYERS)
            states, pieces = encoder.encode(table["text"].to_pylist())
            np.savez(kept, states=states, pieces=pieces)
            print(f"{kept.name}: {len(states):,} texts", flush=True)
        with np.load(kept) as file:
            states, pieces = file["states"].astype(np.float32), file["pieces"]
        languages, labels = np.array(table["lang"].to_pylist()), np.array(table["label"].to_pylist())
        found.append(Rows(states, labels, languages, pieces))
    return Rows(
        np.concatenate([rows.states for rows in found]),
        np.concatenate([rows.labels for rows in found]),
        np.concatenate([rows.languages for rows in found]),
        np.unique(np.concatenate([rows.pieces for rows in found])),
    )


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


def kept_pieces(rows: Rows, source: e5.Source) -> npt.NDArray[np.int64]:
    """Pieces that occur in train, single characters and special ones (so that every text can be spelt), and
    those that are frequent in e5's own training.
    """
    spelling = [number for number, piece in enumerate(source.pieces) if len(piece) == 1]
    special = [source.pieces.index(name) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    frequent = np.argsort(-source.scores, kind="stable")[:FREQUENT_PIECES]
    return np.unique(np.concatenate([special, spelling, frequent, rows.pieces])).astype(np.int64)


def scores(rows: Rows, head: graph.Linear) -> dict[str, dict[str, Any]]:
    """Scores by language of the languages that the head is good for."""
    logits = rows.states @ head.weight + head.bias
    return measuring.better_than_chance(measuring.score(rows.languages.tolist(), rows.labels, logits))


def main() -> None:
    """Trains, measures on dev, and writes both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    package = recipes.of("e5").package
    assert package is not None
    source = e5.Source.read(e5.find(), package.sha256)
    rows = read(given.data, "train", given.cache, source)
    head = train(rows)
    trained = e5.Trained(LAYERS, kept_pieces(rows, source), head)
    trained.write()
    dev = read(given.data, "dev", given.cache, source)
    measured = scores(dev, head)
    measured_on = f"{len(dev.labels):,} labeled tweets that have chosen nothing (dev; docs/models.md)"
    building.write_json(e5.SCORES, {"measured": measured, "measured_on": measured_on})
    for language, values in measured.items():
        print(language, values["rows"], f"{100 * values['macro_f1']:.1f}")
    print(f"{len(rows.labels):,} rows of train, {len(trained.kept):,} pieces kept")


if __name__ == "__main__":
    main()

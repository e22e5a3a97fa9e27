"""Linear scores of hashed n-grams, learned on the driver: one weight for each n-gram and sentiment.

A training row is scored by a model of the other folds, so that the trees, which read these scores, see how
good they are on unseen texts. All other rows are scored by a model of all training rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.linear_model import SGDClassifier

from include.lake.schemas import SENTIMENTS

Floats = npt.NDArray[np.float64]

_EPOCHS = 5
_PENALTY = 3e-6
_AT_ONCE = 2
"""Folds that are learned in parallel; each holds a copy of its rows."""


@dataclass(frozen=True)
class Linear:
    """``weights`` is sentiments x n-grams, ``intercepts`` has one number for each sentiment."""

    weights: Floats
    intercepts: Floats

    def scores(self, rows: csr_matrix) -> Floats:
        """Rows x sentiments: above 0 if the text is more likely to have the sentiment than not."""
        return np.asarray(rows @ self.weights.T + self.intercepts)


def hashed(indices: Sequence[npt.NDArray[np.int32]], size: int) -> csr_matrix:
    """The rows of ``size`` columns with equal values at their ``indices``, each row of length 1."""
    counts = np.array([len(each) for each in indices], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    columns = np.concatenate([*indices, np.empty(0, np.int32)]).astype(np.int32)
    values = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts)
    return csr_matrix((values, columns, starts), shape=(len(indices), size))


def balanced(labels: npt.NDArray[np.int64]) -> Floats:
    """A weight for each row: greater for rarer sentiments, with a mean of 1 per sentiment.

    It is the square root of the inverse frequency: the full inverse would cost the frequent sentiments more
    than it gains for the rare ones.
    """
    counts = np.bincount(labels, minlength=len(SENTIMENTS))
    return np.sqrt(len(labels) / (len(SENTIMENTS) * np.maximum(counts, 1)))[labels]


def fit(rows: csr_matrix, labels: npt.NDArray[np.int64], seed: int) -> Linear:
    """Logistic regression of each sentiment against the others, by averaged stochastic gradient descent.

    N-grams are weighted by how much more often one side has them, as Wang and Manning (2012) found best for
    short texts: their naive Bayes' log-count ratio. Both sides weigh the same. A sentiment that no row has,
    or every row, has no weights.
    """
    weights, intercepts = np.zeros((len(SENTIMENTS), rows.shape[1])), np.zeros(len(SENTIMENTS))
    for index in range(len(SENTIMENTS)):
        named = labels == index
        if named.any() and not named.all():
            ratios = np.abs(_share(rows[named]) - _share(rows[~named]))
            scaled = csr_matrix((rows.data * ratios[rows.indices], rows.indices, rows.indptr), rows.shape)
            model = SGDClassifier(
                loss="log_loss",
                alpha=_PENALTY,
                max_iter=_EPOCHS,
                tol=None,
                average=True,
                class_weight="balanced",
                random_state=seed,
            ).fit(scaled, named)
            weights[index], intercepts[index] = model.coef_[0] * ratios, model.intercept_[0]
    return Linear(weights, intercepts)


def _share(rows: csr_matrix) -> Floats:
    """The logarithm of each n-gram's share among those of some rows, with add-one smoothing."""
    counts = np.bincount(rows.indices, minlength=rows.shape[1]) + 1.0
    shares: Floats = np.log(counts / counts.sum())
    return shares


def out_of_fold(
    rows: csr_matrix, labels: npt.NDArray[np.int64], folds: npt.NDArray[np.int64], seed: int
) -> tuple[Floats, Linear]:
    """Rows x sentiments, and the model of all rows with a fold.

    ``folds`` is -1 for rows that must not be trained on. A row with a fold gets its scores from the rows of
    the other folds.
    """
    learned = folds >= 0
    whole = fit(rows[learned], labels[learned], seed)
    scores = np.zeros((rows.shape[0], len(SENTIMENTS)))
    scores[~learned] = whole.scores(rows[~learned])

    def score(fold: np.int64) -> None:
        others, own = learned & (folds != fold), folds == fold
        scores[own] = fit(rows[others], labels[others], seed).scores(rows[own])

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(score, np.unique(folds[learned])))
    return scores, whole

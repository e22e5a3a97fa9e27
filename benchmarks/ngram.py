"""Tweets labeled per CPU-second by the n-grams' handler, and by scikit-learn's usual pipeline.

Run ``python -m benchmarks.ngram``.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_union

from benchmarks.measure import ROOT

ARTIFACT = ROOT / "include" / "labeling" / "ngram"
TWEETS = 5_000
JSON_LINES = "application/jsonlines"
_ALPHABETS = {
    "en": "abcdefghijklmnoprstuvwy",
    "ru": "абвгдежзиклмнопрстуя",
    "ar": "ابتثجحدرسشعفقكلمنهوي",
    "hi": "अआइकखगचजटतदनपबमयरलव",
}
_ENDINGS = ("!", " 😂😂", " :)", " #news", " https://t.co/AbCdEf1234", "...", "")


class Measurement(TypedDict):
    """One row of the benchmarks' table."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str
    peak_mib: float
    note: str


def measure(tweets: int = TWEETS) -> Measurement:
    """Both on the same made-up tweets of usual length, in one thread's CPU time; memory is ours alone."""
    records = _tweets(tweets)
    texts = [record["text"] for record in records]
    body = "".join(json.dumps(record) + "\n" for record in records)
    handler = load_handler()
    model = handler.model_fn(str(ARTIFACT))

    def answer() -> None:
        handler.output_fn(handler.predict_fn(handler.input_fn(body, JSON_LINES), model), JSON_LINES)

    peer = _pipeline(texts[:500])
    ours_rate = tweets / _cpu_seconds(answer)
    peer_rate = tweets / _cpu_seconds(lambda: peer.predict_proba(texts))
    tracemalloc.start()
    answer()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Measurement(
        name="sentiment: hashed n-grams",
        ours=round(ours_rate, 1),
        peer=round(peer_rate, 1),
        ratio=round(ours_rate / peer_rate, 2),
        unit="tweets per CPU-second",
        peak_mib=round(peak / 2**20, 1),
        note="peer: scikit-learn's HashingVectorizer and LogisticRegression, same kinds of n-grams",
    )


def _cpu_seconds(work: Callable[[], object]) -> float:
    """The best of two runs, so that caches are warm."""
    spent = []
    for _ in range(2):
        started = time.thread_time()
        work()
        spent.append(time.thread_time() - started)
    return min(spent)


def _pipeline(texts: list[str]) -> Pipeline:
    """The peer: the same kinds of n-grams, hashed by scikit-learn; what it learns does not matter here."""
    hashing = {"n_features": 2**20, "alternate_sign": False, "binary": True}
    pipeline = Pipeline(
        [
            (
                "features",
                make_union(
                    HashingVectorizer(ngram_range=(1, 2), **hashing),
                    HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), **hashing),
                ),
            ),
            ("model", LogisticRegression(max_iter=5, tol=0.1)),
        ]
    )
    return pipeline.fit(texts, np.arange(len(texts)) % 3)


def _tweets(count: int) -> list[dict[str, str]]:
    """Made-up tweets of about 95 characters in four scripts, always the same."""
    chance = random.Random(7)  # noqa: S311 - no secret
    vocabularies = {
        lang: ["".join(chance.choices(alphabet, k=chance.randint(2, 9))) for _ in range(3_000)]
        for lang, alphabet in _ALPHABETS.items()
    }
    records = []
    for number in range(count):
        lang = list(vocabularies)[number % len(vocabularies)]
        words = chance.choices(vocabularies[lang], k=chance.randint(6, 22))
        text = ("@someone " if number % 3 == 0 else "") + " ".join(words) + chance.choice(_ENDINGS)
        records.append({"id": str(number), "text": text, "lang": lang})
    return records


def load_handler() -> Any:
    """The n-grams' handler, as SageMaker's container imports it."""
    path = str(ARTIFACT / "code")
    if path not in sys.path:
        sys.path.insert(0, path)
    return importlib.import_module("inference")


if __name__ == "__main__":
    print(json.dumps(measure()))

"""Verifies a packed model through its own handler."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from tools.models.errors import PackError
from tools.models.recipes import LABELS, Recipe
from tools.models.serving import Served

TEXTS = Path(__file__).with_name("texts.yaml")
MOST_DISAGREEMENT = 0.02
"""The share of the fixed set whose answers quantization may change."""
LEAST_RIGHT = 0.75
"""The share of a label's sentences beyond doubt that must get this label."""
LEAST_ALIKE = 0.5
"""Two translations agree where at least this share of their words is the same, in order."""
_KEPT = re.compile(
    r"https?://[^\s]+|(?<![\w@])@\w{1,15}|(?<![\w#])#\w+"
    r"|[\U0001F1E6-\U0001F1FF]{2}|[\U0001F300-\U0001FAFF\u2600-\u27BF]"
)

type Answers = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Verified:
    """How a packed model compares with the unquantized one on the fixed set of ``texts`` posts."""

    texts: int
    disagreement: float
    similarity: float


def classifier(recipe: Recipe, quantized: Served, unquantized: Served) -> Verified:
    """Raises `PackError` if the labels' order is another, or where quantization changes too much."""
    texts = yaml.safe_load(TEXTS.read_bytes())
    sentences = [
        (language, label, sentence)
        for language, by_label in texts["doubtless"].items()
        if language in recipe.languages
        for label, found in by_label.items()
        for sentence in found
    ]
    records = _records([(language, sentence) for language, _, sentence in sentences])
    _check_order([label for _, label, _ in sentences], quantized.answer(records))
    posts = _records(
        [(language, post.format(text)) for language, _, text in sentences for post in texts["posts"]]
    )
    answers, expected = quantized.answer(posts), unquantized.answer(posts)
    labels, wanted = _labels(answers), _labels(expected)
    changed = sum(one != other for one, other in zip(labels, wanted, strict=True)) / len(posts)
    distances = [
        max(abs(one[f"p_{name}"] - other[f"p_{name}"]) for name in LABELS)
        for one, other in zip(answers, expected, strict=True)
    ]
    _check_disagreement(changed, len(posts))
    return Verified(len(posts), changed, 1 - sum(distances) / len(distances))


def translator(languages: Sequence[str], quantized: Served, unquantized: Served) -> Verified:
    """Raises `PackError` if a translation loses what is no word, or quantization changes too much."""
    texts = yaml.safe_load(TEXTS.read_bytes())
    sentences = {
        **texts["translated"],
        **{name: list(chain(*by_label.values())) for name, by_label in texts["doubtless"].items()},
    }
    posts = [
        (language, post.format(sentence))
        for language in languages
        for sentence in sentences.get(language, ())[:6]
        for post in texts["posts"]
    ]
    records = _records(posts)
    answers, expected = quantized.answer(records), unquantized.answer(records)
    for record, answer in zip(records, answers, strict=True):
        _check_kept(record, answer)
    alike = [
        SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()
        for one, other in zip(_translations(answers), _translations(expected), strict=True)
    ]
    changed = sum(ratio < LEAST_ALIKE for ratio in alike) / len(alike)
    _check_disagreement(changed, len(alike))
    return Verified(len(alike), changed, sum(alike) / len(alike))


def kept(text: str) -> Counter[str]:
    """What is not a word in a post: handles, links, hashtags and emoji, each with its number."""
    return Counter(_KEPT.findall(html.unescape(text)))


def _records(texts: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [
        {"id": str(number), "lang": language, "text": text} for number, (language, text) in enumerate(texts)
    ]


def _labels(answers: Answers) -> list[str]:
    for answer in answers:
        if "error" in answer:
            raise PackError(f"The packed model answers a usable line with the error {answer['error']!r}.")
        total = sum(answer[f"p_{name}"] for name in LABELS)
        if abs(total - 1) > 1e-3:
            raise PackError(f"The packed model's probabilities sum to {total:.4f}, not to 1.")
    return [max(LABELS, key=lambda name: float(answer[f"p_{name}"])) for answer in answers]


def _check_order(expected: Sequence[str], answers: Answers) -> None:
    labels = _labels(answers)
    for name in LABELS:
        given = Counter(label for label, wanted in zip(labels, expected, strict=True) if wanted == name)
        share = given[name] / max(1, given.total())
        # What is neutral is a matter of degree: there, other labels may be given, but none more often.
        least = LEAST_RIGHT if name != "neutral" else 0.5
        if given and share < least:
            told = ", ".join(f"{label} {count}" for label, count in given.most_common())
            raise PackError(
                "The labels are not in the recipe's order, or the model is not good enough: of"
                f" {given.total()} sentences that are {name} beyond doubt, it labels {told}."
            )


def _check_disagreement(changed: float, texts: int) -> None:
    if changed > MOST_DISAGREEMENT:
        raise PackError(
            f"Quantization changes {changed:.1%} of the answers to {texts} fixed texts, and at most"
            f" {MOST_DISAGREEMENT:.0%} may change; pack it with another quantization."
        )


def _translations(answers: Answers) -> list[str]:
    for answer in answers:
        if "error" in answer:
            raise PackError(f"The packed model answers a usable line with the error {answer['error']!r}.")
    return [str(answer["translated_text"]) for answer in answers]


def _check_kept(record: Mapping[str, str], answer: Mapping[str, Any]) -> None:
    [translation] = _translations([answer])
    lost = kept(record["text"]) - kept(translation)
    if lost:
        raise PackError(
            f"A translation from {record['lang']} loses {', '.join(sorted(lost))}: {record['text']!r} became"
            f" {translation!r}."
        )

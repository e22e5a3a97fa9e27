"""Which topic a payload belongs to by our own rules, where X does not say it.

Source: X's documentation of building rules (2026-08): a keyword or phrase matches whole tokens of the text,
whatever their case; texts in scripts without spaces match by substring; the stream minds accents. It also
looks into the text that a tweet quotes, which no payload holds: such a tweet meets none of our own rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from include.x.text import shown
from include.x.topics import Topics

# Vowel signs and other marks belong to the word that they stand in, but are no `\w` to Python.
_MARKS = "".join(
    chr(code) for code in range(0x300, 0x3100) if unicodedata.category(chr(code)).startswith("M")
)
_WORD = re.compile(rf"[\w{_MARKS}]+")
# Thai, Lao, Burmese, Khmer, Kana, Han; Hangul has spaces, but joins particles to the word.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class Matcher:
    """Evaluates the rules that `include.x.rules` compiles, without their sample, over payloads."""

    def __init__(self, topics: Topics) -> None:
        self._terms = [(_needle(term), topic.name) for topic in topics.topics for term in topic.terms]

    def topic(self, payload: Mapping[str, Any]) -> str | None:
        """The one topic whose rule the payload meets, else None; ``payload`` is as X's stream sends it.

        Each rule excludes all other topics' keywords, so a text that names two topics meets none, nor does a
        retweet.
        """
        data = payload["data"]
        references = data.get("referenced_tweets")
        if isinstance(references, list) and any(
            isinstance(reference, dict) and reference.get("type") == "retweeted" for reference in references
        ):
            return None
        text = _folded(shown(data) or "")
        words = f" {' '.join(_WORD.findall(text))} "
        found = {name for needle, name in self._terms if needle in (words if needle[0] == " " else text)}
        return found.pop() if len(found) == 1 else None


def _needle(term: str) -> str:
    """What to look for: tokens with spaces around them, or a bare substring."""
    folded = _folded(term)
    words = _WORD.findall(folded)
    return f" {' '.join(words)} " if words and not _UNSPACED.search(folded) else folded


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.lower())

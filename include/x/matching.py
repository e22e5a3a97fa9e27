"""How keywords match texts, and which topic a payload belongs to if X does not say so.

The topics file is checked with the same comparison (`include.x.topics`), so every accepted keyword can match.

Source: X's documentation of building rules (2026-08): a keyword or phrase matches whole tokens of the text,
which punctuation and symbols divide, whatever their case; texts in scripts without spaces match by substring;
the stream distinguishes accents, search does not. X also searches the quoted tweet's text, which is not in
the payload: a tweet that matches only there matches none of our rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.x.text import shown

if TYPE_CHECKING:
    from include.x.topics import Topics

# Vowel signs and other marks belong to their word, but Python's `\w` does not match them.
_MARKS = "".join(each for each in map(chr, range(0x300, 0x3100)) if unicodedata.category(each)[0] == "M")
_EMOJI = "\u2600-\u27bf\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff"
_TOKEN = re.compile(rf"[\w{_MARKS}]+|[{_EMOJI}]")
# Thai, Lao, Burmese, Khmer, Kana, Han; Hangul has spaces, but joins particles to the word.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_ACCENTS = re.compile("[\u0300-\u036f]")
_VARIATIONS = re.compile("[\ufe00-\ufe0f]")


class Comparable:
    """A text in the form used for comparison: case-folded, and for ``search`` also without accents."""

    def __init__(self, text: str, *, search: bool = False) -> None:
        form = _VARIATIONS.sub("", unicodedata.normalize("NFC", text.lower()))
        if search:
            form = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", form)))
        self.form = form
        self.tokens = f" {' '.join(_TOKEN.findall(form))} "


class Keyword:
    """A keyword or phrase, prepared for matching.

    ``needle`` is the text to find: tokens with spaces around them or, in scripts without spaces, the text
    itself. Two keywords with one needle are the same keyword.
    """

    def __init__(self, term: str, *, search: bool = False) -> None:
        self.text = Comparable(term, search=search)
        self._by_tokens = not _UNSPACED.search(self.text.form)
        self.needle = self.text.tokens if self._by_tokens else self.text.form

    def is_in(self, text: Comparable) -> bool:
        """Whether a rule with this keyword matches the text."""
        return self.needle in (text.tokens if self._by_tokens else text.form)


class Matcher:
    """Evaluates the rules that `include.x.rules` compiles, without their sample, over payloads."""

    def __init__(self, topics: Topics) -> None:
        self._keywords = [(Keyword(term), topic.name) for topic in topics.topics for term in topic.terms]

    def topic(self, payload: Mapping[str, Any]) -> str | None:
        """The only topic whose rule the payload matches, else None; ``payload`` is in the form of X's stream.

        Each rule excludes the other topics' keywords, so a text that names two topics matches none, and
        neither does a retweet.
        """
        data = payload["data"]
        references = data.get("referenced_tweets")
        if isinstance(references, list) and any(
            isinstance(reference, dict) and reference.get("type") == "retweeted" for reference in references
        ):
            return None
        text = Comparable(shown(data) or "")
        found = {name for keyword, name in self._keywords if keyword.is_in(text)}
        return found.pop() if len(found) == 1 else None


def tokens(text: str, *, search: bool = False) -> list[str]:
    """The words and emoji of a text, which are compared; everything between them is ignored."""
    return Comparable(text, search=search).tokens.split()


def is_whole(word: str) -> bool:
    """Whether a word's first and last characters are compared, so that nothing at its ends is ignored."""
    form = Comparable(word).form
    found = list(_TOKEN.finditer(form))
    return bool(found) and found[0].start() == 0 and found[-1].end() == len(form)

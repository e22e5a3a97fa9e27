"""Text to hashed n-grams: the features of the embedded sentiment model, for training and for serving.

Needs nothing but numpy, so that it runs in SageMaker's inference containers. Everything after the
clean-up of the text works on whole arrays of code points, many texts at once; no result depends on
which texts share an array.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_CHARACTERS = 1000
"""What is read of a text: more than X lets an ordinary account post."""

_HANDLE = re.compile(r"(?<![\w@])@\w+")
_LINK = re.compile(r"https?://\S+|www\.\S+|\bhttp\b")
_REPEATED = re.compile(r"(\w)\1{2,}|([^\w\s])\2{3,}")
_TOKEN = re.compile(
    # Emoticons stay whole: they are what tells most in a short text.
    r"[<>]?[:;=8xX][\-o'^]?[()\[\]dDpP/|\\*3cCoO@$]+(?!\w)|[()\[\]]+[\-o'^]?[:;=](?!\w)|<3+|[\^оoO\-*><][_.][\^оoO\-*><]"
    # Words; marks belong to them (vowel signs of Hindi are no \w).
    r"|[#@]?[\w\u0300-\u036f\u0900-\u0dff\u0e00-\u0eff]+(?:['’\u200d][\w\u0900-\u0dff]+)*"
    # Runs of one kind of punctuation; everything else (emoji) alone.
    r"|\.+|!+|\?+|[!?]+|\)+|\(+|\S"
)
_DROPPED = {
    **dict.fromkeys([0x0640, 0xFE0E, 0xFE0F, 0x200B, 0x200C, 0x200E, 0x200F, 0xFEFF]),  # tatweel, selectors
    **dict.fromkeys(range(0x064B, 0x0653)),  # Arabic vowel marks
    **dict.fromkeys(range(0x1F3FB, 0x1F400)),  # skin tones
    **{0x0622: 0x0627, 0x0623: 0x0627, 0x0625: 0x0627, 0x0649: 0x064A, 0x0629: 0x0647},  # Arabic letter forms
    **{0x2019: ord("'"), 0x2018: ord("'"), 0x201C: ord('"'), 0x201D: ord('"'), 0x2026: ord(".")},
}


def tokens(text: str) -> list[str]:
    """The text's words, emoticons, emoji and punctuation; handles and links masked, lower case."""
    text = text[:MAX_CHARACTERS]
    if "&" in text:
        text = html.unescape(text)
    text = _LINK.sub(" http ", text)
    text = _HANDLE.sub("@user", text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_DROPPED)
    text = _REPEATED.sub(lambda match: match.group()[:3], text)
    return [token.lower() for token in _TOKEN.findall(text)]


_Integers = npt.NDArray[np.int64]
_Hashes = npt.NDArray[np.uint64]
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SPACE = np.uint64(ord(" "))


def hashed(texts: Sequence[str], languages: Sequence[str], bits: int) -> tuple[_Integers, _Integers]:
    """The distinct hashed features of each text.

    Words, pairs of words (neighbors, and next but one) and stretches of characters; words, neighbors and
    longer stretches once more together with the text's language, unless that is "".

    Returns `(buckets, starts)`: text i has the buckets `buckets[starts[i]:starts[i + 1]]`, ascending, each in
    [0, 2**bits), and at least one, since even an empty text has its two ends.
    """
    padded = [f" {' '.join(tokens(text))} " for text in texts]
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    ends = np.cumsum(lengths)
    # A cut pair of surrogates, which JSON allows, is a character like any other.
    encoded = "".join(padded).encode("utf-32-le", "surrogatepass")
    points = np.frombuffer(encoded, np.uint32).astype(np.uint64)
    places = np.arange(len(points))
    text_of = np.repeat(np.arange(len(padded)), lengths)
    language_of = np.array(
        [int.from_bytes(language.encode()[:8], "little") for language in languages], np.uint64
    )

    keys: list[_Integers] = []

    def add(kind: int, positions: _Integers, hashes: _Hashes, per_language: bool = False) -> None:
        texts_at = text_of[positions]
        keys.append(texts_at << bits | _bucket(hashes, kind, bits))
        if per_language:
            languages_at = language_of[texts_at]
            known = languages_at != 0
            keys.append(
                texts_at[known] << bits | _bucket(_join(hashes, languages_at)[known], 100 + kind, bits)
            )

    is_space = points == _SPACE
    spaces = np.flatnonzero(is_space)
    last = np.zeros(len(points), bool)
    last[ends - 1] = True

    # Words: what lies between two neighboring spaces of one text.
    starts, stops = spaces[:-1] + 1, spaces[1:]
    within = ~last[spaces[:-1]] & (stops > starts)
    starts = starts[within]
    if len(starts):
        letters = places[~is_space]
        first = np.searchsorted(letters, starts)
        place = letters - np.repeat(starts, np.diff(np.append(first, len(letters))))
        powers = np.cumprod(np.full(int(place.max()) + 1, _BASE))
        words = np.add.reduceat((points[letters] + np.uint64(1)) * powers[place], first)
        add(1, starts, words, per_language=True)
        for distance in (1, 2):
            pairs = np.flatnonzero(text_of[starts[:-distance]] == text_of[starts[distance:]])
            add(1 + distance, starts[pairs], _join(words[pairs], words[pairs + distance]), distance == 1)

    # Characters: stretches with no space but at their ends; three also across words.
    next_space = np.append(spaces, len(points))[np.searchsorted(spaces, places, side="right")]
    to_space = next_space - places
    to_space[last] = 0
    to_end = np.repeat(ends, lengths) - places
    stretches = points
    for order in range(2, 6):
        stretches = stretches[:-1] * _BASE + points[order - 1 :]
        whole = to_space[: len(stretches)] >= order - 1
        inside = np.flatnonzero(whole)
        add(10 + order, inside, stretches[inside], per_language=order >= 4)
        if order == 3:
            across = np.flatnonzero(~whole & (to_end[: len(stretches)] >= order))
            add(20 + order, across, stretches[across])

    distinct = np.concatenate(keys)
    distinct.sort()
    distinct = distinct[np.append(True, distinct[1:] != distinct[:-1])]
    bounds = np.searchsorted(distinct, np.arange(len(padded) + 1) << bits)
    return distinct & ((1 << bits) - 1), bounds


def _join(left: _Hashes, right: _Hashes) -> _Hashes:
    return left * _BASE + (right ^ (right >> np.uint64(31)))


def _bucket(hashes: _Hashes, kind: int, bits: int) -> _Integers:
    """Spread one kind of feature over the buckets, by the finalizer of MurmurHash3 (fmix64)."""
    mixed = hashes + np.uint64(kind * 0xD6E8FEB86659FD93 & 0xFFFFFFFFFFFFFFFF)
    mixed ^= mixed >> np.uint64(33)
    mixed *= np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    mixed *= np.uint64(0xC4CEB9FE1A85EC53)
    return (mixed >> np.uint64(64 - bits)).astype(np.int64)

"""Judgments from files: by the tweets' ids, or by their texts where ids are not known."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from include.audit.records import JudgmentError
from include.lake.schemas import JUDGMENTS, SENTIMENTS

_WORDS = {
    **{str(number): sentiment for number, sentiment in enumerate(SENTIMENTS)},
    **{judgment.lower(): judgment for judgment in JUDGMENTS},
}
_ID = re.compile("[1-9][0-9]{0,18}")
_MENTION = re.compile(r"@\w+")
_LINK = re.compile(r"https?://\S+|\bhttp\b")


@dataclass(frozen=True)
class Labels:
    """What a file says: judgments by tweets' ids, and by texts as `plain` makes them.

    ``contradicted`` counts the texts that stand there with different judgments, and so count for none.
    """

    by_id: Mapping[int, str]
    by_text: Mapping[str, str]
    contradicted: int = 0

    def of(self, tweet_id: int, text: str) -> str | None:
        """The judgment of a tweet, by its id if that is there; None where the file knows neither."""
        return self.by_id.get(tweet_id) or self.by_text.get(plain(text))


def plain(text: str) -> str:
    """A text without what collections of tweets write differently: handles, links, entities, spaces, case."""
    masked = _LINK.sub("http", _MENTION.sub("@user", html.unescape(unicodedata.normalize("NFC", text))))
    return " ".join(masked.casefold().split())


def read(rows: Iterable[Mapping[str, Any]]) -> Labels:
    """The judgments of rows with ``tweet_id`` or ``text``, and ``judgment`` or ``label``.

    A label is a word (any of `JUDGMENTS`) or a number: 0 negative, 1 neutral, 2 positive. A row whose
    judgment is empty is passed over. A tweet stands there once. Raises `JudgmentError`, with the number of
    every bad row, where not all can be read.
    """
    by_id: dict[int, str] = {}
    by_text: dict[str, str] = {}
    contradicted: set[str] = set()
    problems = []
    for number, row in enumerate(rows, 1):
        given = row["judgment"] if row.get("judgment") is not None else row.get("label")
        if given == "":
            continue
        judgment = _WORDS.get(str(given).strip().lower())
        tweet_id = str(row.get("tweet_id") or "").strip()
        if judgment is None:
            problems.append(f"row {number}: {given!r} is none of {', '.join(JUDGMENTS)}")
        elif tweet_id and not _ID.fullmatch(tweet_id):
            problems.append(f"row {number}: {tweet_id!r} is no id of a tweet")
        elif tweet_id:
            if by_id.setdefault(int(tweet_id), judgment) != judgment:
                problems.append(f"row {number}: tweet {tweet_id} stands there with another judgment too")
        elif row.get("text"):
            text = plain(str(row["text"]))
            if by_text.setdefault(text, judgment) != judgment:
                contradicted.add(text)
        else:
            problems.append(f"row {number} has neither a tweet_id nor a text")
    if problems:
        raise JudgmentError(problems)
    return Labels(by_id, {t: j for t, j in by_text.items() if t not in contradicted}, len(contradicted))

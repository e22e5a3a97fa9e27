"""Posts beside those of the corpus: made for a burst, found by searches from then on."""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from heapq import merge
from pathlib import Path

from include.x.snowflake import LOW_BITS, milliseconds
from local.x_api.post import Corpus, Json, Post


class Injected:
    """A `Corpus` with further posts, which are kept in a file."""

    def __init__(self, corpus: Corpus, path: Path) -> None:
        self._corpus = corpus
        self._path = path
        self._lock = threading.Lock()
        self._posts: list[Post] = []
        if path.exists():
            entries = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            self._posts = sorted((Post(**entry) for entry in entries), key=lambda post: post.id)

    def posts(self, lowest: int, below: int, newest_first: bool = False) -> Iterator[Post]:
        """The posts whose ids lie in ``[lowest, below)``."""
        own = self._corpus.posts(lowest, below, newest_first)
        further = self._posts
        if not further:
            return own
        chosen = further[
            bisect_left(further, lowest, key=lambda post: post.id) : bisect_left(
                further, below, key=lambda post: post.id
            )
        ]
        if newest_first:
            chosen.reverse()
        return merge(own, chosen, key=lambda post: post.id, reverse=newest_first)

    def add(self, sources: Sequence[Post], texts: Sequence[str], below: int) -> list[Post]:
        """Makes a post like each source, with another text and an id of the second before ``below``."""
        step = (1000 << LOW_BITS) // max(len(sources), 1)
        made = [
            Post(_renewed(source, text, below - (1000 << LOW_BITS) + number * step), source.includes)
            for number, (source, text) in enumerate(zip(sources, texts, strict=True))
        ]
        content = "".join(json.dumps({"data": post.data, "includes": post.includes}) + "\n" for post in made)
        with self._lock:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(content)
            self._posts = sorted([*self._posts, *made], key=lambda post: post.id)
        return made


def _renewed(source: Post, text: str, post_id: int) -> Json:
    own = str(post_id)
    seconds, thousandths = divmod(milliseconds(post_id), 1000)
    created = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    renewed = {**source.data, "id": own, "edit_history_tweet_ids": [own], "text": text}
    renewed.pop("note_tweet", None)
    if "created_at" in renewed:
        renewed["created_at"] = f"{created}.{thousandths:03}Z"
    return renewed

"""What the faults make of one connection's lines, and of a page of a search, before they go out."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count

from local.faults import Faults
from local.x_api.lines import END, Line
from local.x_api.post import Json

_HALF_AN_EMOJI = "\ud83d"
_MAY_BE_ABSENT = ("geo", "entities", "referenced_tweets", "context_annotations")


def page(faults: Faults, answer: Json, token: str | None) -> Json:
    """A page of a search as it goes out; ``token`` is the one that it was asked for by."""
    if not answer.get("data"):
        return answer
    if faults.strike("page-empty"):
        return {"meta": {"result_count": 0}}
    if token and faults.strike("page-repeated"):
        return {**answer, "meta": {**answer["meta"], "next_token": token}}
    if faults.strike("page-surrogates"):
        texts = [{**post, "text": f"{post['text']}{_HALF_AN_EMOJI}"} for post in answer["data"]]
        return {**answer, "data": texts}
    if faults.strike("page-nulls"):
        nulls = [{**post, **{name: post.get(name) for name in _MAY_BE_ABSENT}} for post in answer["data"]]
        includes = dict.fromkeys(("users", "places", "tweets", "media"))
        return {**answer, "data": [*nulls, None], "includes": includes}
    return answer


class Disturbance:
    """Cuts, damages, duplicates, delays and withholds lines as long as a fault wants it."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._late: list[tuple[float, int, Line]] = []
        self._order = count()
        self._garbage = count()
        self._dice = random.Random()  # noqa: S311 - lateness by chance, no secret

    def apply(self, lines: Iterable[Line]) -> list[Line]:
        """The lines to be sent now, in order."""
        if self._faults.present("silence") or self._faults.present("keep-alives-only"):
            self._late.clear()
            return []
        disturbed = [made for line in lines for made in self._one(line)]
        disorder = self._faults.present("disorder")
        now = time.monotonic()
        if disorder:
            spread = disorder.options["spread"]
            for line in disturbed:
                heapq.heappush(self._late, (now + self._dice.random() * spread, next(self._order), line))
            disturbed = []
        while self._late and (not disorder or self._late[0][0] <= now):
            disturbed.append(heapq.heappop(self._late)[2])
        return disturbed

    def _one(self, line: Line) -> Iterator[Line]:
        if garbage := self._faults.strike("garbage"):
            texts = garbage.options["lines"]
            yield Line(texts[next(self._garbage) % len(texts)].encode() + END, "garbage")
        half = len(line.body) // 2
        if self._faults.strike("cut-line"):
            line = replace(line, body=line.body[:half] + END, whole=False)
        elif self._faults.strike("bad-utf8"):
            line = replace(line, body=line.body[:half] + b"\xff\xfe\xc3" + line.body[half:], whole=False)
        elif self._faults.strike("unmatched"):
            line = Line.post({name: part for name, part in line.payload.items() if name != "matching_rules"})
        elif self._faults.strike("untagged"):
            untagged = [{"id": rule["id"]} for rule in line.payload["matching_rules"]]
            line = Line.post({**line.payload, "matching_rules": untagged})
        yield line
        if self._faults.strike("duplicates"):
            yield line

"""The benchmark of the handlers compares nothing that cannot be compared."""

from __future__ import annotations

from typing import Any, cast

import pytest

from benchmarks import packing
from benchmarks.measure import MeasureError
from tools.models.serving import Served


class Answering:
    """A served model that gives one answer."""

    def __init__(self, **answer: str) -> None:
        self._answer = answer

    def answer(self, records: list[dict[str, str]]) -> list[dict[str, Any]]:
        return [{"id": record["id"], **self._answer} for record in records]


def check(**answer: str) -> None:
    record = {"id": "1", "text": "ein kurzer Satz", "lang": "de"}
    packing.check_answers(cast(Served, Answering(**answer)), [record])


def test_answers_of_the_same_length_are_measured() -> None:
    check(translated_text="a short sentence")
    check(p_positive="0.5")


def test_a_rejected_text_stops_the_measurement() -> None:
    with pytest.raises(MeasureError, match="rejects a usable text: no model for de"):
        check(error="no model for de")


def test_a_translation_of_another_length_stops_the_measurement() -> None:
    with pytest.raises(MeasureError, match="3 words has a translation of 2"):
        check(translated_text="short sentence")

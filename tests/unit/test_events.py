"""The events' file: what it may hold, and how each mistake is named."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from include.insights.events import Event, EventsError, load

HEAD = "date,title,link\n"


def test_events_come_by_day_and_without_a_file_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(HEAD + '2026-11-21,"A vote, at last",https://example.org/vote\n\n2026-11-20,A summit,\n')
    assert load(path) == (
        Event(date(2026, 11, 20), "A summit", ""),
        Event(date(2026, 11, 21), "A vote, at last", "https://example.org/vote"),
    )
    assert load(None) == ()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "the first line has to be date,title,link"),
        ("day,title,link\n", "the first line has to be date,title,link"),
        (
            HEAD + "2026-11-20,A vote, at last,\n",
            "line 2: 4 columns, not 3; a text with a comma needs quotes",
        ),
        (HEAD + "20 Nov,A vote,\n", "line 2: '20 Nov' is not a day such as 2026-11-20"),
        (HEAD + "20261120,A vote,\n", "line 2: '20261120' is not a day"),
        (HEAD + "2026-11-20, ,\n", "line 2: a title has 1 to 80 characters, not 0"),
        (HEAD + "2026-11-20,A vote,javascript:alert(1)\n", "is no address that begins with https://"),
        (HEAD + "x,A,\n2026-11-20,B,\ny,C,\n", "line 2: 'x' is not a day such as 2026-11-20; line 4: 'y'"),
        (HEAD + '2026-11-20,"A', "this is not CSV in UTF-8"),
    ],
)
def test_a_bad_row_is_named_and_the_file_rejected(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(content)
    with pytest.raises(EventsError) as error:
        load(path)
    assert told in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match=r"none\.csv: the file cannot be read"):
        load(tmp_path / "none.csv")

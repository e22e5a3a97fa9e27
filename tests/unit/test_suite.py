from pathlib import Path

from tests import side_by_side

ROOT = Path(__file__).parents[2]


def test_every_file_that_is_begun_first_is_there() -> None:
    """A file that was renamed would begin late without a word."""
    assert [name for name in side_by_side.LONGEST if not (ROOT / name).is_file()] == []

"""The settings: each is explained, and what cannot be meant is rejected with what to do."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise

import pytest
from pydantic import ValidationError

from include.settings import Settings


def test_every_setting_has_a_docstring() -> None:
    (definition,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(definition, ast.ClassDef)
    explained = {
        field.target.id
        for field, following in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
        and isinstance(following.value.value, str)
    }
    assert Settings.model_fields.keys() - explained == set()


@pytest.mark.parametrize("minutes", [0, 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30])
def test_the_open_hour_is_labeled_at_even_intervals(minutes: int) -> None:
    assert Settings(live_minutes=minutes).live_minutes == minutes


@pytest.mark.parametrize("minutes", [7, 8, 9, 11, 16, 25, 29])
def test_an_interval_that_would_be_uneven_at_the_full_hour_is_rejected(minutes: int) -> None:
    with pytest.raises(ValidationError, match=r"must divide 60: 1, 2, .* or 30; 0 switches it off"):
        Settings(live_minutes=minutes)

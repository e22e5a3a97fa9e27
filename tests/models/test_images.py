"""The table of serving images is what the sagemaker SDK says."""

from __future__ import annotations

import json

from tools.models import images


def test_the_table_is_the_sdk_s() -> None:
    assert json.loads(images.TABLE.read_bytes()) == images.table()

"""The image that serves the models: AWS's PyTorch inference container, in each region's own registry."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from include.labeling.archive import ModelError

TABLE = Path(__file__).with_name("serving_images.json")
"""Written from the sagemaker SDK by ``tools/models/images.py``."""


@cache
def _images() -> dict[str, str]:
    images: dict[str, str] = json.loads(TABLE.read_bytes())["images"]
    return images


def serving_image(region: str) -> str:
    """The image's address in a region's registry; raises `ModelError` for a region without one."""
    try:
        return _images()[region]
    except KeyError:
        raise ModelError(
            f"AWS's serving image is not known in the region {region!r}: set OPINION_SAGEMAKER_IMAGE"
        ) from None

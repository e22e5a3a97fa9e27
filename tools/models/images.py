"""Writes the table of AWS's serving images from the sagemaker SDK: ``python -m tools.models.images``.

Airflow's environment has no sagemaker SDK, so `include.labeling.images` reads the table. A newer SDK (`make
lock`) may know newer versions and regions: raise VERSION and run it again, in ``.venv-pack``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.models.building import write_json
from tools.models.serving import ROOT

TABLE = ROOT / "include" / "labeling" / "serving_images.json"
FRAMEWORK, VERSION, PYTHON = "pytorch", "2.6.0", "py312"
_INSTANCE = "ml.c6i.xlarge"
"""Any instance without a GPU: it decides for the image for CPUs."""


def table() -> dict[str, Any]:
    """The image's address in each region that the SDK knows."""
    from sagemaker.core import image_uris

    folder = Path(image_uris.__file__).with_name("image_uri_config")
    described = json.loads((folder / f"{FRAMEWORK}.json").read_bytes())["inference"]["versions"][VERSION]
    images = {
        region: image_uris.retrieve(
            FRAMEWORK,
            region=region,
            version=VERSION,
            py_version=PYTHON,
            image_scope="inference",
            instance_type=_INSTANCE,
        )
        for region in described["registries"]
    }
    return {"framework": FRAMEWORK, "version": VERSION, "python": PYTHON, "images": images}


if __name__ == "__main__":
    write_json(TABLE, table())

"""Makes the pages' world map from Natural Earth's countries, keyed by ISO 3166-1 alpha-2 codes.

    npm pack world-atlas@2.0.2 i18n-iso-countries@7.14.0
    python -m tools.world_map world-atlas-2.0.2.tgz i18n-iso-countries-7.14.0.tgz

`world-atlas` holds Natural Earth 4.1 (public domain) as TopoJSON with numeric codes; `i18n-iso-countries` the
codes. What X calls a country is its ISO 3166 code, so the shapes follow ISO 3166 too: Crimea belongs to UA
(ISO 3166-2:UA-43), Northern Cyprus to CY and Somaliland to SO, which have no codes of their own.
"""

from __future__ import annotations

import argparse
import json
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "plugins" / "x_opinion" / "static" / "vendor" / "world.json"
WITHOUT_CODE = {"N. Cyprus": "CY", "Somaliland": "SO", "Kosovo": "XK"}
OMITTED = {"AQ"}
DIGITS = 1
"""A tenth of a degree is a third of a pixel on a map of 1,200 pixels."""

Ring = list[tuple[float, float]]
Polygon = list[Ring]


def _member(archive: Path, name: str) -> Any:
    with tarfile.open(archive) as files:
        content = files.extractfile(f"package/{name}")
        if content is None:
            raise FileNotFoundError(f"{archive} holds no {name}")
        return json.load(content)


def _arcs(topology: dict[str, Any]) -> list[Ring]:
    """The arcs in degrees: they are stored as differences, quantized (TopoJSON 1.0, section 2.1.2)."""
    (scale_x, scale_y), (origin_x, origin_y) = (
        topology["transform"]["scale"],
        topology["transform"]["translate"],
    )
    arcs = []
    for arc in topology["arcs"]:
        x = y = 0
        points = []
        for step_x, step_y in arc:
            x, y = x + step_x, y + step_y
            points.append((x * scale_x + origin_x, y * scale_y + origin_y))
        arcs.append(points)
    return arcs


def _ring(indices: list[int], arcs: list[Ring]) -> Ring:
    points: Ring = []
    for index in indices:
        arc = arcs[index] if index >= 0 else arcs[~index][::-1]
        points += arc[1:] if points else arc
    rounded = [(round(x, DIGITS), round(y, DIGITS)) for x, y in _unwrapped(points)]
    return [
        point for position, point in enumerate(rounded) if position == 0 or point != rounded[position - 1]
    ]


def _unwrapped(points: Ring) -> Ring:
    """The ring on one sheet: what crosses the antimeridian continues beyond 180 degrees east."""
    result: Ring = []
    turns = 0
    for x, y in points:
        if result and abs(x + 360 * turns - result[-1][0]) > 180:
            turns += 1 if x + 360 * turns < result[-1][0] else -1
        result.append((x + 360 * turns, y))
    shift = 360 if min(x for x, _ in result) < -180 else 0
    return [(x + shift, y) for x, y in result]


def _polygons(geometry: dict[str, Any], arcs: list[Ring]) -> list[Polygon]:
    polygons = [geometry["arcs"]] if geometry["type"] == "Polygon" else geometry["arcs"]
    rounded = [[_ring(ring, arcs) for ring in polygon] for polygon in polygons]
    # A ring needs three corners; what is smaller than the rounding has none.
    return [polygon for polygon in rounded if len(polygon[0]) >= 4]


def _is_crimea(polygon: Polygon) -> bool:
    return all(32 < x < 37 and 44 < y < 46.5 for x, y in polygon[0])


def world(topology: dict[str, Any], codes: list[list[str]]) -> dict[str, Any]:
    """The map as GeoJSON: a feature a country, its `name` the alpha-2 code."""
    alpha2 = {numeric: code for code, _, numeric, *_ in codes}
    arcs = _arcs(topology)
    countries: dict[str, list[Polygon]] = defaultdict(list)
    for geometry in topology["objects"]["countries"]["geometries"]:
        name = geometry["properties"]["name"]
        code = alpha2[geometry["id"]] if "id" in geometry else WITHOUT_CODE[name]
        for polygon in _polygons(geometry, arcs):
            countries["UA" if code == "RU" and _is_crimea(polygon) else code].append(polygon)
    features = [
        {
            "type": "Feature",
            "properties": {"name": code},
            "geometry": {"type": "MultiPolygon", "coordinates": polygons},
        }
        for code, polygons in sorted(countries.items())
        if code not in OMITTED
    ]
    return {"type": "FeatureCollection", "features": features}


def main() -> None:
    """Writes the map into the plugin's static files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("atlas", type=Path)
    parser.add_argument("codes", type=Path)
    arguments = parser.parse_args()
    topology = _member(arguments.atlas, "countries-110m.json")
    codes = _member(arguments.codes, "codes.json")
    TARGET.write_text(json.dumps(world(topology, codes), separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

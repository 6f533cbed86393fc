"""Reads a CryoPPP tree as CryoSegNet and CryoTransformer do, and judges where the picks fall. Uses nothing of the product.

They take the micrographs that have a coordinates file, read its first three columns by position and then by name,
and count Y from the edge opposite to the first row: ``row = H - Y``. Lite's JPEGs are upside down already.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

NAMES = ["X-Coordinate", "Y-Coordinate", "Diameter"]
#: Pixels around a place over which brightness is averaged.
REACH = 5
RANDOM_PLACES = 400

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """One annotated image: pixels as stored, and its picks as (column, row, diameter) of those pixels."""

    stem: str
    image: Floats
    picks: Floats


def annotated(entry: Path, *, suffix: str = ".mrc") -> list[str]:
    """Stems that stand in both folders; a micrograph without a coordinates file is not annotated, which is no error."""
    images = {
        path.name[: -len(suffix)] for path in (entry / "micrographs").iterdir() if path.name.endswith(suffix)
    }
    tables = {path.name[:-4] for path in _coordinates(entry).iterdir() if path.name.endswith(".csv")}
    return sorted(images & tables)


def load(entry: Path, stem: str) -> Labelled:
    """The micrograph and its picks, full release."""
    image = np.asarray(mrcfile.read(entry / "micrographs" / f"{stem}.mrc"), dtype=np.float64)
    return Labelled(stem, image, _picks(entry, stem, image.shape[0], flip=True))


def load_lite(entry: Path, stem: str) -> Labelled:
    """The picture and its picks, Lite release: the coordinates fit the picture as it is."""
    from PIL import Image

    with Image.open(entry / "micrographs" / f"{stem}.jpg") as picture:
        assert picture.mode == "L", "8-bit grey"
        image = np.asarray(picture, dtype=np.float64)
    return Labelled(stem, image, _picks(entry, stem, image.shape[0], flip=False))


def table(path: Path) -> Floats:
    """The first three columns of a coordinates file as they stand there; a diameter that nobody states is NaN.

    Raises:
        ValueError: they have other names, or a value is no number.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    if header[:3] != NAMES:
        raise ValueError(f"{path.name} begins with the columns {header[:3]}")
    values = [(float(x), float(y), float(diameter or "nan")) for x, y, diameter, *_ in rows]
    return np.array(values, dtype=np.float64).reshape(-1, 3)


def _coordinates(entry: Path) -> Path:
    return entry / "ground_truth" / "particle_coordinates"


def _picks(entry: Path, stem: str, height: int, *, flip: bool) -> Floats:
    picks = table(_coordinates(entry) / f"{stem}.csv")
    if flip:
        picks[:, 1] = height - picks[:, 1]
    return picks


def brightness(image: Floats, places: Floats) -> Floats:
    """How much brighter the image is around each place than around random ones, in their robust deviations.

    `places` are rows of column and row (and anything more); one outside of the image is as dark as can be.
    """
    height, width = image.shape
    # Sums over everything above and left of a pixel: any square costs four look-ups.
    sums = np.pad(image.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    random = np.random.default_rng(height * width)
    anywhere = random.integers(REACH, (width - REACH, height - REACH), (RANDOM_PLACES, 2)).astype(np.float64)
    ground = _means(sums, anywhere)
    middle = np.median(ground)
    spread = 1.4826 * np.median(np.abs(ground - middle))
    assert spread > 0, "an image without noise says nothing"
    x, y = places[:, 0], places[:, 1]
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    found = np.full(len(places), -np.inf)
    found[inside] = (_means(sums, places[inside, :2]) - middle) / spread
    return found


def _means(sums: Floats, places: Floats) -> Floats:
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    # Y = 0 is legal and means the row behind the last one: as an index it is clamped.
    columns = np.minimum(np.rint(places[:, 0]).astype(int), width - 1)
    rows = np.minimum(np.rint(places[:, 1]).astype(int), height - 1)
    top, bottom = np.maximum(rows - REACH, 0), np.minimum(rows + REACH + 1, height)
    left, right = np.maximum(columns - REACH, 0), np.minimum(columns + REACH + 1, width)
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return np.asarray(total / ((bottom - top) * (right - left)), dtype=np.float64)

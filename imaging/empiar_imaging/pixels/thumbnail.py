"""Thumbnails: a micrograph small enough for a page, with the picks drawn on it, in the orientation of the renditions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from empiar_imaging.pixels.contrast import Grey, Method, find_limits, to_grey
from empiar_imaging.pixels.limits import images_extra
from empiar_imaging.pixels.raw import Pixels
from empiar_schema.faults import UnreadableImage

if TYPE_CHECKING:
    from PIL import Image

PictureFormat = Literal["png", "jpeg"]
#: Radius, in pixels of the thumbnail, of a circle around a particle of unknown size.
_UNKNOWN_RADIUS: Final = 4.0
_MOST_CIRCLES: Final = 50_000
_JPEG_QUALITY: Final = 85


@dataclass(frozen=True, slots=True)
class PickLayer:
    """Picks of one kind: centres in pixels of the micrograph, rows as stored (origin at the top)."""

    x: Sequence[float]
    y: Sequence[float]
    #: Pixels of the micrograph; None: unknown, drawn small.
    diameter: float | None = None
    #: Red, green, blue.
    colour: tuple[int, int, int] = (80, 255, 80)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A thumbnail's bytes, and what is on it."""

    data: bytes
    width: int
    height: int
    #: Pixels of the micrograph to one of the thumbnail.
    reduction: float
    drawn: int
    #: Picks that are outside of the micrograph, no numbers, or more than are drawn.
    not_drawn: int


def render_thumbnail(
    image: Pixels,
    layers: Sequence[PickLayer] = (),
    *,
    size: int = 512,
    picture: PictureFormat = "jpeg",
    method: Method = "percentile",
) -> Thumbnail:
    """A picture whose longer side has `size` pixels (at most the image's own), flipped, picks as circles.

    Each of its pixels is the mean of the area it covers, taken before the contrast is stretched: that is what lets
    particles stand out of the noise.

    Raises:
        UnreadableImage: no pixel is a finite number.
        ConfigFault: Pillow is not installed.
    """
    height, width = image.shape
    reduction = max(1.0, max(height, width) / size)
    small = _reduced(image, round(width / reduction) or 1, round(height / reduction) or 1)
    grey, _ = to_grey(small, find_limits(small, method), flip=True)
    drawn, not_drawn = 0, 0
    shown: Image.Image = _picture(grey)
    if layers:
        shown = shown.convert("RGB")
        for layer in layers:
            done, skipped = _draw(shown, layer, (height, width), room=_MOST_CIRCLES - drawn)
            drawn, not_drawn = drawn + done, not_drawn + skipped
    return Thumbnail(_encoded(shown, picture), shown.width, shown.height, reduction, drawn, not_drawn)


def picture_of(grey: Grey, picture: PictureFormat) -> bytes:
    """The bytes of a PNG or JPEG.

    Raises:
        ConfigFault: Pillow is not installed.
    """
    return _encoded(_picture(grey), picture)


def _picture(grey: Grey) -> Image.Image:
    with images_extra():
        from PIL import Image
    return Image.fromarray(grey)


def _encoded(shown: Image.Image, picture: PictureFormat) -> bytes:
    out = io.BytesIO()
    if picture == "png":
        shown.save(out, "PNG", compress_level=6)
    else:
        shown.save(out, "JPEG", quality=_JPEG_QUALITY, subsampling=0)  # thin circles keep their colour
    return out.getvalue()


def _reduced(image: Pixels, width: int, height: int) -> npt.NDArray[np.float32]:
    """Means of areas, exact whatever the ratio; pixels that are no numbers count as the mean of the rest."""
    with np.errstate(all="ignore"):
        reduced = _means_across(_means_down(image, height), width)
    if not np.isfinite(reduced).all():
        reduced = _means_across(_means_down(_filled(image), height), width)
    return reduced


def _means_across(values: Pixels, parts: int) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(_means_down(np.ascontiguousarray(values.T), parts).T)


def _means_down(values: Pixels, parts: int) -> npt.NDArray[np.float32]:
    """Means of `parts` equal stretches of rows; a row that a border cuts counts on both sides by its share."""
    rows = values.shape[0]
    means = np.empty((parts, values.shape[1]), np.float32)
    for part in range(parts):
        # In parts of a row, so that borders are whole numbers.
        start, stop = part * rows, (part + 1) * rows
        first, last = -(-start // parts), stop // parts
        out = means[part]
        np.add.reduce(values[first:last], axis=0, dtype=np.float32, out=out)
        if start % parts:
            out += values[first - 1] * np.float32((first * parts - start) / parts)
        if stop % parts:
            out += values[last] * np.float32((stop - last * parts) / parts)
    means *= np.float32(parts / rows)
    return means


def _filled(image: Pixels) -> Pixels:
    finite = np.isfinite(image)
    if not finite.any():
        raise UnreadableImage("no pixel of the image is a finite number")
    filled = image.astype(np.float32)
    filled[~finite] = filled[finite].mean(dtype=np.float64)
    return filled


def _draw(shown: Image.Image, layer: PickLayer, shape: tuple[int, int], *, room: int) -> tuple[int, int]:
    from PIL import ImageDraw

    height, width = shape
    x, y = np.asarray(layer.x, np.float64), np.asarray(layer.y, np.float64)
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)  # false for NaN
    # The middle of pixel 0 is half a pixel from the edge, in the micrograph as in the thumbnail.
    across = (x[inside][:room] + 0.5) * shown.width / width - 0.5
    down = (height - y[inside][:room] - 0.5) * shown.height / height - 0.5
    radius = _UNKNOWN_RADIUS if layer.diameter is None else layer.diameter / 2 * shown.width / width
    radius = min(max(radius, 1.0), float(max(shown.size)))
    draw = ImageDraw.Draw(shown)
    for column, row in zip(across.tolist(), down.tolist(), strict=True):
        draw.ellipse((column - radius, row - radius, column + radius, row + radius), outline=layer.colour)
    return len(across), len(x) - len(across)

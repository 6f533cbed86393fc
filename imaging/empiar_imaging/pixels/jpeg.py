"""Renditions: a micrograph as an 8-bit grey JPEG of its own size, in CryoPPP's display orientation."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

from empiar_imaging.pixels.contrast import Grey, Method, find_limits, to_grey
from empiar_imaging.pixels.limits import images_extra
from empiar_imaging.pixels.raw import Pixels
from empiar_schema.faults import UnreadableImage

#: More is not in the format (16 bits, less what libjpeg keeps for itself).
_MOST_PIXELS_A_SIDE: Final = 65_500


@dataclass(frozen=True, slots=True)
class Rendition:
    """How a rendition came about: what a manifest keeps, and what turns grey back into detector values.

    ``value = low + grey / 255 · (high − low)``, as far as 8 bits and JPEG have kept it.
    """

    method: Method
    #: In the image's own units.
    low: float
    high: float
    quality: int
    #: Rows in the other order than in the file, so that CryoPPP's Y counts from the picture's top.
    flip: bool
    width: int
    height: int
    #: Pixels that were no finite numbers.
    not_finite: int


def render_jpeg(
    image: Pixels, *, method: Method = "percentile", quality: int = 90
) -> tuple[bytes, Rendition]:
    """A baseline JPEG of `image` ``(rows, columns)`` after a vertical flip, and how it came about.

    The same image, method and quality give the same bytes (with the same version of Pillow and libjpeg).

    Raises:
        UnreadableImage: no pixel is a finite number, or the image has more than 65,500 pixels a side.
        ConfigFault: Pillow is not installed.
    """
    height, width = image.shape
    if max(height, width) > _MOST_PIXELS_A_SIDE:
        raise UnreadableImage(f"{width} × {height} pixels: JPEG allows {_MOST_PIXELS_A_SIDE} a side")
    limits = find_limits(image, method)
    grey, not_finite = to_grey(image, limits, flip=True)
    record = Rendition(method, limits.low, limits.high, quality, True, width, height, not_finite)
    return encode_jpeg(grey, quality=quality), record


def encode_jpeg(grey: Grey, *, quality: int) -> bytes:
    """A baseline JPEG of bytes ``(rows, columns)`` or ``(rows, columns, 3)``, without any metadata.

    Raises:
        ConfigFault: Pillow is not installed.
    """
    with images_extra():
        from PIL import Image
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "JPEG", quality=quality)
    return out.getvalue()

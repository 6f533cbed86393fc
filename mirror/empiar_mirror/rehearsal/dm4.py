"""A small but whole Gatan DM4 file: a thumbnail first, then the image, as their own program writes them.

Source: C. B. Boothroyd, "Notes on the structure of DM3 and DM4 files". Numbers of the structure are big-endian,
data little-endian. Lengths and counts of version 4 have 64 bits.
"""

from __future__ import annotations

import struct

from empiar_mirror.rehearsal.content import PIXEL_ANGSTROM

_UINT16, _UINT32, _FLOAT32 = 4, 5, 6
_ARRAY = 20
_GROUP_TAG, _DATA_TAG = 20, 21
#: DataType of an image: 32-bit floats, and the display colours of a thumbnail.
_REAL4, _RGB = 2, 23
_THUMB = 16


def dm4_bytes(nx: int, ny: int, pixels: bytes, *, name: str) -> bytes:
    """A DM4 file with one image of `nx` × `ny` 32-bit floats, whose pixels are `PIXEL_ANGSTROM` wide."""
    thumbnail = _image(_THUMB, _THUMB, bytes(4 * _THUMB * _THUMB), kind=_RGB, scale=1.0, unit="", name="")
    image = _image(nx, ny, pixels, kind=_REAL4, scale=PIXEL_ANGSTROM / 10, unit="nm", name=name)
    root = _group_body(
        [
            ("ImageList", _group_body([("", thumbnail), ("", image)])),
            ("InImageMode", _number(_UINT32, 1)),
        ]
    )
    # Length without this header and without the eight zeros at the end; then: data are little-endian.
    return struct.pack(">IQI", 4, len(root), 1) + root + bytes(8)


def _image(nx: int, ny: int, pixels: bytes, *, kind: int, scale: float, unit: str, name: str) -> bytes:
    dimension, brightness = (
        _group_body(
            [("Origin", _number(_FLOAT32, 0.0)), ("Scale", _number(_FLOAT32, step)), ("Units", _text(word))]
        )
        for step, word in ((scale, unit), (1.0, ""))
    )
    dimensions = _group_body([("", dimension), ("", dimension)])
    data = _group_body(
        [
            ("Calibrations", _group_body([("Brightness", brightness), ("Dimension", dimensions)])),
            ("Data", _array(_UINT32 if kind == _RGB else _FLOAT32, pixels, len(pixels) // 4)),
            ("DataType", _number(_UINT32, kind)),
            ("Dimensions", _group_body([("", _number(_UINT32, nx)), ("", _number(_UINT32, ny))])),
            ("PixelDepth", _number(_UINT32, 4)),
        ]
    )
    return _group_body([("ImageData", data), ("ImageTags", _group_body([])), ("Name", _text(name))])


class _Data(bytes):
    """The body of a tag that holds data; any other body is a group's."""


def _group_body(tags: list[tuple[str, bytes]]) -> bytes:
    """A group's flags (sorted, closed), its number of tags, and its tags."""
    return struct.pack(">BBQ", 1, 0, len(tags)) + b"".join(_tag(name, body) for name, body in tags)


def _tag(name: str, body: bytes) -> bytes:
    kind = _DATA_TAG if isinstance(body, _Data) else _GROUP_TAG
    return struct.pack(">BH", kind, len(name)) + name.encode("latin-1") + struct.pack(">Q", len(body)) + body


def _data(info: tuple[int, ...], values: bytes) -> _Data:
    return _Data(b"%%%%" + struct.pack(f">Q{len(info)}Q", len(info), *info) + values)


def _number(kind: int, value: float) -> _Data:
    packed = struct.pack("<f", value) if kind == _FLOAT32 else struct.pack("<I", int(value))
    return _data((kind,), packed)


def _array(kind: int, values: bytes, count: int) -> _Data:
    return _data((_ARRAY, kind, count), values)


def _text(text: str) -> _Data:
    return _array(_UINT16, text.encode("utf-16-le"), len(text))

"""DigitalMicrograph files (DM3, DM4): the facts of the largest image, from a walk through the tags.

The format is known from descriptions by its users (C. T. Schamp's notes, the openly documented readers), not from its
maker. So a walk that meets anything unexpected ends without facts, and only two things are findings: a first
word that is no version, and a length in the header that goes beyond the file's end.

Layout: version, length and byte order in a header; then directories of tags, each tag a directory or data. All
structure is big-endian, values follow the header's byte order. DM4 states sizes in 64 bits, and before every tag
its length, so that what is of no interest can be stepped over.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from empiar_imaging.formats.evidence import Evidence, Inspection, NotAtHand, Readable
from empiar_schema.image_facts import ImageFacts

SUFFIXES: Final = frozenset({".dm3", ".dm4"})

_MOST_TAGS: Final = 20_000
_MOST_DEPTH: Final = 16
_MOST_FIELDS: Final = 64
_MOST_IMAGES: Final = 64
_WINDOW_BYTES: Final = 4096
_UNIT_CHARACTERS: Final = 16
_PIXEL_RANGE_ANGSTROM: Final = (1e-2, 1e6)

_DIRECTORY, _DATA = 20, 21
_STRUCT, _STRING, _ARRAY = 15, 18, 20
#: Encoded type → struct code.
_CODES: Final = {
    2: "h", 3: "i", 4: "H", 5: "I", 6: "f", 7: "d", 8: "B", 9: "B", 10: "b", 11: "q", 12: "Q",
}  # fmt: skip
#: Value of the tag ``DataType`` → number type and bytes of a pixel.
_PIXELS: Final = {
    1: ("int16", 2), 2: ("float32", 4), 3: ("complex64", 8), 6: ("uint8", 1), 7: ("int32", 4), 9: ("int8", 1),
    10: ("uint16", 2), 11: ("uint32", 4), 12: ("float64", 8), 13: ("complex128", 16), 14: ("bool", 1),
    23: ("rgba8", 4),
}  # fmt: skip
_COLOUR: Final = "rgba8"
_ANGSTROM: Final = {
    "å": 1.0,
    "a": 1.0,
    "ångström": 1.0,
    "pm": 0.01,
    "nm": 10.0,
    "µm": 1e4,
    "μm": 1e4,
    "um": 1e4,
}
#: The only directories that are entered where a tag's length is stated, by depth. Empty: an entry of a list.
_WAYS: Final = (
    frozenset({"ImageList"}), frozenset({""}), frozenset({"ImageData"}),
    frozenset({"Calibrations", "Dimensions"}), frozenset({"Dimension"}), frozenset({""}),
)  # fmt: skip

Value = int | float | str


class _Unsure(Exception):  # ends the walk; never leaves this module
    pass


@dataclass(slots=True)
class _Image:
    """What was found below one entry of ``ImageList``."""

    values: dict[str, Value] = field(default_factory=dict)
    #: How many bytes its pixels are, and where they stand.
    bytes: int = 0
    start: int = 0


@dataclass(slots=True)
class _Walk:
    data: Readable
    wide: bool
    order: Literal["<", ">"]
    at: int = 0
    tags: int = 0
    images: dict[int, _Image] = field(default_factory=dict)
    #: The image list is behind us: what follows is of no interest.
    done: bool = False
    _window_at: int = 0
    _window: bytes = b""

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        start = self.at - self._window_at
        if start < 0 or start + length > len(self._window):
            try:
                window = self.data.read(self.at, max(length, _WINDOW_BYTES))
            except NotAtHand:
                window = self.data.read(self.at, length)
            if len(window) < length:
                raise _Unsure
            self._window, self._window_at, start = window, self.at, 0
        self.at += length
        return self._window[start : start + length]

    def number(self) -> int:
        """A length or count: 32 bits in DM3, 64 in DM4."""
        return int.from_bytes(self.take(8 if self.wide else 4), "big")

    def step_over(self, length: int) -> None:
        """Goes on behind `length` bytes."""
        if self.at + length > self.data.size:
            raise _Unsure
        self.at += length


def inspect_dm(data: Readable) -> Inspection:
    """The facts of the largest image; those that the walk could not make sure of are None."""
    head = data.read(0, 16)
    version = int.from_bytes(head[:4], "big")
    if version not in (3, 4):
        detail = f"it begins with {head[:4].hex(' ')}"
        return Inspection(None, (Evidence("dm.suffix_but_not_dm", detail, 0, len(head)),))
    wide = version == 4
    name = f"dm{version}"
    header_bytes = 16 if wide else 12
    if len(head) < header_bytes:
        return Inspection(ImageFacts(name), (_truncated(f"{len(head)} bytes are fewer than a header", head),))
    stated = int.from_bytes(head[4 : header_bytes - 4], "big")
    evidence: tuple[Evidence, ...] = ()
    if header_bytes + stated > data.size:
        evidence = (_truncated(f"{data.size} bytes, but the header states {stated} behind it", head),)
    little = int.from_bytes(head[header_bytes - 4 : header_bytes], "big") == 1
    walk = _Walk(data, wide, "<" if little else ">", at=header_bytes)
    lacking: tuple[int, int] | None = None
    try:
        _directory(walk, ())
    except _Unsure:
        pass
    except NotAtHand as missing:
        lacking = missing.stretch
    image = _largest(walk) if walk.done else None
    if image is None:
        return Inspection(ImageFacts(name), evidence, lacking)
    return Inspection(_facts(name, image), evidence)


@dataclass(frozen=True, slots=True)
class DmPixels:
    """Where the pixels of the largest image stand, row by row, and in which byte order."""

    facts: ImageFacts
    start: int
    order: Literal["<", ">"]


def find_pixels(data: Readable) -> DmPixels | None:
    """The pixels of the largest image; None where the walk could not make sure of them."""
    head = data.read(0, 16)
    version = int.from_bytes(head[:4], "big")
    if version not in (3, 4) or len(head) < 16:
        return None
    header_bytes = 16 if version == 4 else 12
    order: Literal["<", ">"] = (
        "<" if int.from_bytes(head[header_bytes - 4 : header_bytes], "big") == 1 else ">"
    )
    walk = _Walk(data, version == 4, order, at=header_bytes)
    with suppress(_Unsure, NotAtHand):
        _directory(walk, ())
    image = _largest(walk) if walk.done else None
    facts = _facts(f"dm{version}", image) if image is not None else None
    if image is None or facts is None or facts.width is None:
        return None
    return DmPixels(facts, image.start, order)


def _truncated(detail: str, head: bytes) -> Evidence:
    return Evidence("dm.truncated", detail, 0, max(len(head), 1))


def _directory(walk: _Walk, path: tuple[str, ...]) -> None:
    if len(path) > _MOST_DEPTH:
        raise _Unsure
    walk.take(2)  # whether it is sorted, and open in the user's browser
    for position in range(walk.number()):
        walk.tags += 1
        if walk.tags > _MOST_TAGS:
            raise _Unsure
        kind, label_bytes = struct.unpack(">BH", walk.take(3))
        label = walk.take(label_bytes).decode("latin-1") or str(position)
        length = walk.number() if walk.wide else None
        if kind == _DIRECTORY:
            if length is not None and not _on_the_way(path, label):
                walk.step_over(length)
            else:
                _directory(walk, (*path, label))
        elif kind == _DATA:
            _data(walk, (*path, label))
        else:
            raise _Unsure
        if not path and label == "ImageList":
            walk.done = True
        if walk.done:
            return


def _on_the_way(path: tuple[str, ...], label: str) -> bool:
    if len(path) >= len(_WAYS):
        return False
    ways = _WAYS[len(path)]
    return label in ways or ("" in ways and label.isdigit())


def _data(walk: _Walk, path: tuple[str, ...]) -> None:
    if walk.take(4) != b"%%%%":
        raise _Unsure
    words = walk.number()
    if not 0 < words <= 2 * _MOST_FIELDS + 8:
        raise _Unsure
    width = 8 if walk.wide else 4
    raw = walk.take(words * width)
    info = [int.from_bytes(raw[i : i + width], "big") for i in range(0, len(raw), width)]
    wanted = _name_of(path)
    if info[0] in _CODES and words == 1:
        code = f"{walk.order}{_CODES[info[0]]}"
        (value,) = struct.unpack(code, walk.take(struct.calcsize(code)))
        if wanted is not None:
            _image(walk, path).values[wanted] = value
        return
    item, items = _array_of(info)
    length = item * items
    if wanted == "Data":
        image = _image(walk, path)
        image.bytes, image.start = length, walk.at
    elif wanted == "Units" and item == 2 and items <= _UNIT_CHARACTERS:
        text = walk.take(length)
        encoding = "utf-16-le" if walk.order == "<" else "utf-16-be"
        _image(walk, path).values[wanted] = text.decode(encoding, "replace")
        return
    walk.step_over(length)


def _array_of(info: list[int]) -> tuple[int, int]:
    """Bytes of one item, and how many items, of a struct, a string or an array."""
    match info:
        case [kind, length] if kind == _STRING:
            return 2, length
        case [kind, *rest] if kind == _STRUCT:
            return _struct_bytes(rest), 1
        case [kind, item, items] if kind == _ARRAY and item in _CODES:
            return struct.calcsize(f"<{_CODES[item]}"), items
        case [kind, inner, *rest, items] if kind == _ARRAY and inner == _STRUCT:
            return _struct_bytes(rest), items
    raise _Unsure


def _struct_bytes(rest: list[int]) -> int:
    """A struct's name length, number of fields, and a pair of name length and type for each."""
    if len(rest) < 2 or len(rest) != 2 + 2 * rest[1]:
        raise _Unsure
    try:
        return sum(struct.calcsize(f"<{_CODES[kind]}") for kind in rest[3::2])
    except KeyError:
        raise _Unsure from None


def _name_of(path: tuple[str, ...]) -> str | None:
    """The fact that the tag holds; None if it is none that counts."""
    match path:
        case ("ImageList", index, "ImageData", ("Data" | "DataType") as name) if index.isdigit():
            return name
        case ("ImageList", index, "ImageData", "Dimensions", side) if index.isdigit():
            return f"Dimension {side}"
        case ("ImageList", index, "ImageData", "Calibrations", "Dimension", "0", ("Scale" | "Units") as name):
            return name if index.isdigit() else None
    return None


def _image(walk: _Walk, path: tuple[str, ...]) -> _Image:
    index = int(path[1][:9])
    if index not in walk.images and len(walk.images) >= _MOST_IMAGES:
        raise _Unsure
    return walk.images.setdefault(index, _Image())


def _largest(walk: _Walk) -> _Image | None:
    """The image with most pixels; a thumbnail in colour counts only where there is nothing else."""
    images = [image for image in walk.images.values() if image.bytes]
    grey = [image for image in images if _pixel_of(image)[0] != _COLOUR]
    return max(grey or images, key=lambda image: image.bytes, default=None)


def _pixel_of(image: _Image) -> tuple[str, int]:
    kind = image.values.get("DataType")
    return _PIXELS.get(kind, ("", 0)) if isinstance(kind, int) else ("", 0)


def _facts(name: str, image: _Image) -> ImageFacts:
    mode, width_bytes = _pixel_of(image)
    sides = [image.values.get(f"Dimension {side}") for side in range(4)]
    sizes = [side for side in sides if isinstance(side, int)]
    pixels = 1
    for size in sizes:
        pixels *= size
    if not 2 <= len(sizes) <= 3 or pixels <= 0 or pixels * width_bytes != image.bytes:
        return ImageFacts(name)  # four dimensions, a packed type, or a tag read wrongly
    return ImageFacts(
        format=name,
        width=sizes[0],
        height=sizes[1],
        frames=sizes[2] if len(sizes) == 3 else 1,
        mode=mode,
        pixel_size_angstrom=_pixel_size(image),
    )


def _pixel_size(image: _Image) -> float | None:
    scale, units = image.values.get("Scale"), image.values.get("Units")
    if not isinstance(scale, float) or not isinstance(units, str):
        return None
    pixel = scale * _ANGSTROM.get(units.strip("\0 ").lower(), 0.0)
    smallest, largest = _PIXEL_RANGE_ANGSTROM
    return float(f"{pixel:.6g}") if smallest <= pixel <= largest else None

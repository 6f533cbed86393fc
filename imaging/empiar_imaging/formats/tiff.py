"""TIFF, BigTIFF and EER: every image directory (IFD) and every strip or tile must lie inside of the file.

Sources: TIFF 6.0; the BigTIFF design (libtiff); EER is BigTIFF with one IFD a frame (Guo et al., IUCrJ 7
(2020) 860). Readers show half a file as fewer images without complaint, so the chain is walked to its end.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import add
from typing import Final, Literal, NamedTuple

from empiar_imaging.formats.evidence import Evidence, FileBytes, Inspection
from empiar_schema.image_facts import ImageFacts

SUFFIXES: Final = frozenset({".tif", ".tiff", ".eer"})
MAGICS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_MOST_IFDS: Final = 200_000
_MOST_TAGS: Final = 4096
_MOST_STRUCTURE_BYTES: Final = 64 * 1024 * 1024
_BLOCK_ITEMS: Final = 16_384
#: Enough for one IFD of the usual kinds in one read.
_IFD_READ_BYTES: Final = 512
#: A pixel of a hundredth to ten thousand Ångström; 72 dots per inch of a plain picture lie outside.
_PIXEL_RANGE_ANGSTROM: Final = (0.01, 10_000.0)
_ANGSTROM_PER_UNIT: Final = {2: 2.54e8, 3: 1e8}

#: Field type → bytes of one item, and struct code where it is a whole number.
_TYPE_BYTES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_INTEGER_CODES: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _DESCRIPTION = 254, 256, 257, 258, 259, 270
_STRIP_OFFSETS, _SAMPLES, _STRIP_COUNTS, _X_RESOLUTION, _UNIT, _SUB_IFDS = 273, 277, 279, 282, 296, 330
_TILE_OFFSETS, _TILE_COUNTS, _SAMPLE_FORMAT = 324, 325, 339
_SAMPLE_NAMES: Final = {1: "uint", 2: "int", 3: "float", 5: "complex_int", 6: "complex"}
_IMAGEJ = re.compile(rb"\AImageJ=[^\0]*?\nimages=(\d{1,9})\n")


class _Stop(Exception):  # ends the walk; never leaves this module
    def __init__(self, code: str, detail: str, start: int, length: int) -> None:
        super().__init__(detail)
        self.evidence = Evidence(code, detail, start, length)


class _Tag(NamedTuple):
    kind: int
    items: int
    #: Where the values stand, and where the tag itself stands.
    at: int
    entry: int
    #: The value where there is one only and it stands in the tag itself, as almost all do.
    inline: int | None


@dataclass(frozen=True, slots=True)
class _Layout:
    order: Literal["<", ">"]
    big: bool

    @property
    def pointer(self) -> int:
        return 8 if self.big else 4

    @property
    def entry_bytes(self) -> int:
        return 20 if self.big else 12

    @property
    def counter(self) -> int:
        return 8 if self.big else 2

    def number(self, raw: bytes) -> int:
        return int.from_bytes(raw, "little" if self.order == "<" else "big")


@dataclass(slots=True)
class _Walk:
    data: FileBytes
    layout: _Layout
    frames: int = 0
    ifds: int = 0
    structure_bytes: int = 0
    first: dict[int, _Tag] | None = None
    seen: set[int] = field(default_factory=set)


def inspect_tiff(data: FileBytes, *, format_name: str = "tiff") -> Inspection:
    """The first image's facts, the number of images, and the first place at which the structure breaks."""
    head = data.read(0, 16)
    magic = head[:4]
    if magic not in MAGICS:
        found = Evidence(
            "tiff.suffix_but_not_tiff", f"it begins with {magic.hex(' ')}", 0, min(16, data.size)
        )
        return Inspection(None, (found,))
    layout = _Layout("<" if magic[:1] == b"I" else ">", big=b"+" in magic)
    walk = _Walk(data, layout)
    evidence: tuple[Evidence, ...] = ()
    try:
        _walk(walk, head)
    except _Stop as stop:
        evidence = (stop.evidence,)
    try:
        facts = _facts(walk, format_name)
    except _Stop as stop:
        facts, evidence = ImageFacts(format_name), evidence or (stop.evidence,)
    return Inspection(facts, evidence)


def _walk(walk: _Walk, head: bytes) -> None:
    layout = walk.layout
    at = 8 if layout.big else 4
    if len(head) < at + layout.pointer:
        raise _Stop("tiff.truncated", f"{walk.data.size} bytes are fewer than a header", 0, max(1, len(head)))
    if layout.big and (layout.number(head[4:6]) != 8 or head[6:8] != b"\0\0"):
        raise _Stop("tiff.bad_header", "BigTIFF with offsets of other than 8 bytes", 0, 16)
    first = layout.number(head[at : at + layout.pointer])
    if first == 0:
        raise _Stop("tiff.bad_header", "it lists no image: its writer never finished", 0, len(head))
    # Main chain first, then the smaller versions (SubIFDs) that images point to.
    pending = deque([(first, at, True)])
    while pending:
        start, pointer_at, main = pending.popleft()
        while start:
            tags, following, following_at = _read_ifd(walk, start, pointer_at, waiting=len(pending))
            pending.extend(_check_image(walk, tags, start, main=main))
            start, pointer_at = following, following_at
    if walk.frames == 1:
        _check_imagej(walk)


def _read_ifd(walk: _Walk, start: int, pointer_at: int, *, waiting: int) -> tuple[dict[int, _Tag], int, int]:
    layout, data = walk.layout, walk.data
    if start in walk.seen:
        raise _Stop("tiff.ifd_loop", f"the image list returns to byte {start}", pointer_at, layout.pointer)
    if walk.ifds + waiting >= _MOST_IFDS:
        raise _Stop("tiff.not_fully_checked", f"more than {_MOST_IFDS} images", pointer_at, 0)
    walk.seen.add(start)
    walk.ifds += 1
    raw = data.read(start, _IFD_READ_BYTES)
    count = layout.number(raw[: layout.counter])
    length = layout.counter + count * layout.entry_bytes + layout.pointer
    if len(raw) < layout.counter or (count <= _MOST_TAGS and start + length > data.size):
        detail = f"the image list at byte {start} ends behind the file's end ({data.size})"
        raise _Stop("tiff.truncated", detail, pointer_at, layout.pointer)
    if not 0 < count <= _MOST_TAGS:
        raise _Stop("tiff.bad_header", f"an image with {count} tags at byte {start}", start, layout.counter)
    _spend(walk, length, pointer_at)
    if len(raw) < length:
        raw = data.read(start, length)
    tags = dict(_tags(walk, raw, start, count))
    following_at = length - layout.pointer
    return tags, layout.number(raw[following_at:length]), start + following_at


def _tags(walk: _Walk, raw: bytes, start: int, count: int) -> Iterator[tuple[int, _Tag]]:
    layout = walk.layout
    form = f"{layout.order}HH{'QQ' if layout.big else 'II'}"
    stop = layout.counter + count * layout.entry_bytes
    size = walk.data.size
    position = start + layout.counter
    for number, kind, items, value in struct.iter_unpack(form, raw[layout.counter : stop]):
        width = _TYPE_BYTES.get(kind, 0)
        length = items * width
        at = position + layout.entry_bytes - layout.pointer if length <= layout.pointer else value
        if at + length > size:
            detail = f"the values of tag {number} end at byte {at + length}, the file at {size}"
            raise _Stop("tiff.truncated", detail, position, layout.entry_bytes)
        inline = None
        if items == 1 and kind in _INTEGER_CODES and width <= layout.pointer:
            unused = 8 * (layout.pointer - width)
            inline = value >> unused if layout.order == ">" else value & (1 << 8 * width) - 1
        yield number, _Tag(kind, items, at, position, inline)
        position += layout.entry_bytes


def _check_image(
    walk: _Walk, tags: dict[int, _Tag], start: int, *, main: bool
) -> list[tuple[int, int, bool]]:
    width, height = _integer(walk, tags, _WIDTH), _integer(walk, tags, _HEIGHT)
    if not width or not height:
        raise _Stop(
            "tiff.bad_header",
            f"the image at byte {start} has no width or no height",
            start,
            _span(walk, tags),
        )
    if _STRIP_OFFSETS in tags:
        stored = _check_stretches(walk, tags, _STRIP_OFFSETS, _STRIP_COUNTS)
    elif _TILE_OFFSETS in tags:
        stored = _check_stretches(walk, tags, _TILE_OFFSETS, _TILE_COUNTS)
    else:
        raise _Stop(
            "tiff.bad_header",
            f"the image at byte {start} has neither strips nor tiles",
            start,
            _span(walk, tags),
        )
    if stored is not None and (_integer(walk, tags, _COMPRESSION) or 1) == 1:
        bits = (_integer(walk, tags, _BITS) or 1) * (_integer(walk, tags, _SAMPLES) or 1)
        needed = height * ((width * bits + 7) // 8)
        if stored < needed:
            detail = f"{stored} bytes for {width} × {height} pixels of {bits} bits, which need {needed}"
            raise _Stop("tiff.short_data", detail, start, _span(walk, tags))
    if main and not (_integer(walk, tags, _SUBFILE) or 0) & 1:
        walk.frames += 1
        walk.first = walk.first or tags
    if main and _SUB_IFDS in tags:
        tag = tags[_SUB_IFDS]
        return [(offset, tag.entry, False) for block in _blocks(walk, tag) for offset in block if offset]
    return []


def _check_stretches(walk: _Walk, tags: dict[int, _Tag], offsets_tag: int, counts_tag: int) -> int | None:
    """Bytes that the strips or tiles hold together; None where their lengths are not stated."""
    offsets = tags[offsets_tag]
    counts = tags.get(counts_tag)
    if counts is None:
        # Some old writers leave out the lengths of a single strip.
        for block in _blocks(walk, offsets):
            _inside(walk, max(block, default=0), offsets)
        return None
    if counts.items != offsets.items:
        detail = f"{offsets.items} strips, but {counts.items} lengths"
        raise _Stop("tiff.bad_header", detail, offsets.entry, walk.layout.entry_bytes)
    stored = 0
    for starts, lengths in zip(_blocks(walk, offsets), _blocks(walk, counts), strict=True):
        _inside(walk, max(map(add, starts, lengths), default=0), offsets)
        stored += sum(lengths)
    return stored


def _inside(walk: _Walk, end: int, tag: _Tag) -> None:
    if end > walk.data.size:
        stretch = (tag.at, min(tag.items * _TYPE_BYTES[tag.kind], 1024 * 1024))
        raise _Stop("tiff.truncated", f"image data end at byte {end}, the file at {walk.data.size}", *stretch)


def _blocks(walk: _Walk, tag: _Tag) -> Iterator[tuple[int, ...]]:
    """The values of a tag of whole numbers, some thousands at a time."""
    code = _INTEGER_CODES.get(tag.kind)
    if code is None:
        detail = f"a tag of type {tag.kind} where whole numbers belong"
        raise _Stop("tiff.bad_header", detail, tag.entry, walk.layout.entry_bytes)
    if tag.inline is not None:
        yield (tag.inline,)
        return
    width = _TYPE_BYTES[tag.kind]
    _spend(walk, tag.items * width, tag.entry)
    for done in range(0, tag.items, _BLOCK_ITEMS):
        items = min(_BLOCK_ITEMS, tag.items - done)
        raw = walk.data.read(tag.at + done * width, items * width)
        if len(raw) < items * width:
            detail = "the file ends within a list of strip positions"
            raise _Stop("tiff.truncated", detail, tag.entry, walk.layout.entry_bytes)
        yield struct.unpack(f"{walk.layout.order}{items}{code}", raw)


def _spend(walk: _Walk, length: int, at: int) -> None:
    """Lists of images and strips may overlap in a hostile file: what is read of them has a limit."""
    walk.structure_bytes += length
    if walk.structure_bytes > _MOST_STRUCTURE_BYTES:
        detail = f"more than {_MOST_STRUCTURE_BYTES} bytes of image lists and strip positions"
        raise _Stop("tiff.not_fully_checked", detail, at, 0)


def _integer(walk: _Walk, tags: dict[int, _Tag], number: int) -> int | None:
    tag = tags.get(number)
    if tag is None or tag.kind not in _INTEGER_CODES or tag.items == 0:
        return None
    if tag.inline is not None:
        return tag.inline
    return walk.layout.number(walk.data.read(tag.at, _TYPE_BYTES[tag.kind]))


def _span(walk: _Walk, tags: dict[int, _Tag]) -> int:
    return walk.layout.counter + len(tags) * walk.layout.entry_bytes + walk.layout.pointer


def _check_imagej(walk: _Walk) -> None:
    """ImageJ writes stacks beyond 4 GiB as one image, with all others behind it and their number in a text."""
    tags = walk.first or {}
    text, offsets = tags.get(_DESCRIPTION), tags.get(_STRIP_OFFSETS)
    if text is None or offsets is None or (_integer(walk, tags, _COMPRESSION) or 1) != 1:
        return
    stated = _IMAGEJ.match(walk.data.read(text.at, min(text.items, 4096)))
    images = int(stated[1]) if stated else 1
    if images <= 1:
        return
    width, height = _integer(walk, tags, _WIDTH) or 0, _integer(walk, tags, _HEIGHT) or 0
    bits = (_integer(walk, tags, _BITS) or 1) * (_integer(walk, tags, _SAMPLES) or 1)
    start = next(iter(next(_blocks(walk, offsets), ())), 0)
    end = start + images * height * ((width * bits + 7) // 8)
    if end > walk.data.size:
        detail = f"{images} images end at byte {end}, the file at {walk.data.size}"
        raise _Stop("tiff.truncated", detail, text.at, min(text.items, 4096))
    walk.frames = images


def _facts(walk: _Walk, format_name: str) -> ImageFacts:
    tags = walk.first
    if tags is None:
        return ImageFacts(format_name)
    bits = _integer(walk, tags, _BITS) or 1
    sample = _SAMPLE_NAMES.get(_integer(walk, tags, _SAMPLE_FORMAT) or 1, "uint")
    return ImageFacts(
        format=format_name,
        width=_integer(walk, tags, _WIDTH),
        height=_integer(walk, tags, _HEIGHT),
        frames=walk.frames,
        mode=f"{sample}{bits}",
        pixel_size_angstrom=_pixel_size(walk, tags),
    )


def _pixel_size(walk: _Walk, tags: dict[int, _Tag]) -> float | None:
    tag = tags.get(_X_RESOLUTION)
    unit = _ANGSTROM_PER_UNIT.get(_integer(walk, tags, _UNIT) or 2)
    if tag is None or unit is None or tag.kind != 5:
        return None
    raw = walk.data.read(tag.at, 8)
    if len(raw) < 8:
        return None
    pixels, units = struct.unpack(f"{walk.layout.order}II", raw)
    pixel = unit * units / pixels if pixels else 0.0
    smallest, largest = _PIXEL_RANGE_ANGSTROM
    return float(f"{pixel:.6g}") if smallest <= pixel <= largest else None

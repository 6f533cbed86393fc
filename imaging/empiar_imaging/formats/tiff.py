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
from itertools import pairwise
from operator import add
from typing import Final, Literal, NamedTuple

from empiar_imaging.formats.evidence import Evidence, Inspection, NotAtHand, Readable
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
#: What EER files use: their coded frames, and the acquisition metadata, an XML text in the first image.
_EER_COMPRESSIONS: Final = frozenset({65000, 65001, 65002})
_EER_METADATA: Final = 65001
_EER_METADATA_BYTES: Final = 64 * 1024
_EER_ITEM = re.compile(
    rb'<item name="(sensorPixelSize\.width|numberOfFrames)"(?:\s[^>]{0,80})?>\s*([0-9.eE+-]{1,40})\s*</item>'
)
_METRE_ANGSTROM: Final = 1e10
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
    data: Readable
    layout: _Layout
    eer: bool = False
    frames: int = 0
    #: Images among them that are not coded in EER's way: the sum that some files end with.
    uncoded: int = 0
    ifds: int = 0
    structure_bytes: int = 0
    first: dict[int, _Tag] | None = None
    seen: set[int] = field(default_factory=set)


def inspect_tiff(data: Readable, *, format_name: str = "tiff") -> Inspection:
    """The first image's facts, the number of images, and the first place at which the structure breaks."""
    head = data.read(0, 16)
    walk = _begun(data, head, format_name)
    if walk is None:
        return _no_tiff(head)
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


def peek_tiff(data: Readable, *, format_name: str = "tiff") -> Inspection:
    """The first image's facts, and the number of images where the whole list of them is at hand.

    Image data are not looked at. `lacking` names the bytes that would tell more.
    """
    head = data.read(0, 16)
    walk = _begun(data, head, format_name)
    if walk is None:
        return _no_tiff(head)
    evidence: tuple[Evidence, ...] = ()
    lacking: NotAtHand | None = None
    try:
        _count(walk, head)
    except _Stop as stop:
        evidence = (stop.evidence,)
    except NotAtHand as missing:
        lacking = missing
    try:
        facts = _facts(walk, format_name, counted=lacking is None)
    except _Stop as stop:
        facts, evidence = ImageFacts(format_name), evidence or (stop.evidence,)
    except NotAtHand as missing:
        facts, lacking = ImageFacts(format_name), lacking or missing
    more = lacking.stretch if lacking is not None and facts.frames is None else None
    return Inspection(facts, evidence, more)


@dataclass(frozen=True, slots=True)
class PlainFrames:
    """Where the pixels of uncompressed frames stand: first byte, end and frame of each strip or tile, in the order of the file."""

    order: Literal["<", ">"]
    sample: str
    bits: int
    runs: list[tuple[int, int, int]]


def plain_frames(data: Readable) -> PlainFrames | None:
    """The frames, if all are uncompressed and of one number type, and none begins before the one before has ended."""
    head = data.read(0, 16)
    walk = _begun(data, head, "tiff")
    if walk is None:
        return None
    runs: list[tuple[int, int, int]] = []
    types: set[tuple[str, int]] = set()
    try:
        start, pointer_at = _first_image(walk, head)
        while start:
            tags, following, following_at = _read_ifd(walk, start, pointer_at, waiting=0)
            if not (_integer(walk, tags, _SUBFILE) or 0) & 1:
                types.add(_number_type(walk, tags))
                runs += _plain_runs(walk, tags, walk.frames)
                walk.frames += 1
            start, pointer_at = following, following_at
    except _Stop:
        return None
    runs.sort()
    frames = [frame for _, _, frame in runs]
    overlap = any(after[0] < before[1] for before, after in pairwise(runs))
    if len(types) != 1 or overlap or frames != sorted(frames):
        return None
    ((sample, bits),) = types
    return PlainFrames(walk.layout.order, sample, bits, runs)


def _number_type(walk: _Walk, tags: dict[int, _Tag]) -> tuple[str, int]:
    bits = _integer(walk, tags, _BITS) or 1
    return _SAMPLE_NAMES.get(_integer(walk, tags, _SAMPLE_FORMAT) or 1, "uint"), bits


def _plain_runs(walk: _Walk, tags: dict[int, _Tag], frame: int) -> list[tuple[int, int, int]]:
    tiled = _TILE_OFFSETS in tags
    offsets = tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    counts = tags.get(_TILE_COUNTS if tiled else _STRIP_COUNTS)
    if (_integer(walk, tags, _COMPRESSION) or 1) != 1 or offsets is None or counts is None:
        raise _Stop("tiff.not_fully_checked", "compressed", 0, 0)
    runs = []
    for starts, lengths in zip(_blocks(walk, offsets), _blocks(walk, counts), strict=False):
        runs += [(at, at + length, frame) for at, length in zip(starts, lengths, strict=False)]
    return _joined(runs)


def _joined(runs: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Strips that follow upon each other are one run."""
    joined: list[tuple[int, int, int]] = []
    for start, stop, frame in runs:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop, frame)
        else:
            joined.append((start, stop, frame))
    return joined


def _begun(data: Readable, head: bytes, format_name: str) -> _Walk | None:
    magic = head[:4]
    if magic not in MAGICS:
        return None
    layout = _Layout("<" if magic[:1] == b"I" else ">", big=b"+" in magic)
    return _Walk(data, layout, eer=format_name == "eer")


def _no_tiff(head: bytes) -> Inspection:
    detail = f"it begins with {head[:4].hex(' ')}"
    return Inspection(None, (Evidence("tiff.suffix_but_not_tiff", detail, 0, len(head)),))


def _count(walk: _Walk, head: bytes) -> None:
    start, pointer_at = _first_image(walk, head)
    while start:
        tags, following, following_at = _read_ifd(walk, start, pointer_at, waiting=0)
        if not _integer(walk, tags, _WIDTH) or not _integer(walk, tags, _HEIGHT):
            detail = f"the image at byte {start} has no width or no height"
            raise _Stop("tiff.bad_header", detail, start, _span(walk, tags))
        _add_frame(walk, tags)
        start, pointer_at = following, following_at
    if walk.frames == 1:
        _check_imagej(walk)


def _first_image(walk: _Walk, head: bytes) -> tuple[int, int]:
    """Where the first image is described, and where that is stated."""
    layout = walk.layout
    at = 8 if layout.big else 4
    if len(head) < at + layout.pointer:
        raise _Stop("tiff.truncated", f"{len(head)} bytes are fewer than a header", 0, max(1, len(head)))
    if layout.big and (layout.number(head[4:6]) != 8 or head[6:8] != b"\0\0"):
        raise _Stop("tiff.bad_header", "BigTIFF with offsets of other than 8 bytes", 0, 16)
    first = layout.number(head[at : at + layout.pointer])
    if first == 0:
        raise _Stop("tiff.bad_header", "it lists no image: its writer never finished", 0, len(head))
    return first, at


def _walk(walk: _Walk, head: bytes) -> None:
    first, at = _first_image(walk, head)
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
    if len(raw) < length:
        # Of a compressed file the size is not known, so that its end comes as a surprise.
        detail = f"the image list at byte {start} is cut off"
        raise _Stop("tiff.truncated", detail, pointer_at, layout.pointer)
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
    if main:
        _add_frame(walk, tags)
    if main and _SUB_IFDS in tags:
        tag = tags[_SUB_IFDS]
        return [(offset, tag.entry, False) for block in _blocks(walk, tag) for offset in block if offset]
    return []


def _add_frame(walk: _Walk, tags: dict[int, _Tag]) -> None:
    if (_integer(walk, tags, _SUBFILE) or 0) & 1:
        return
    walk.frames += 1
    walk.uncoded += walk.eer and _integer(walk, tags, _COMPRESSION) not in _EER_COMPRESSIONS
    walk.first = walk.first or tags


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


def _facts(walk: _Walk, format_name: str, *, counted: bool = True) -> ImageFacts:
    """`counted` is whether the list of images was followed to its end."""
    tags = walk.first
    if tags is None:
        return ImageFacts(format_name)
    sample, bits = _number_type(walk, tags)
    stated_frames, pixel_size = _eer_metadata(walk, tags) if walk.eer else (None, None)
    coded = walk.frames - walk.uncoded
    return ImageFacts(
        format=format_name,
        width=_integer(walk, tags, _WIDTH),
        height=_integer(walk, tags, _HEIGHT),
        frames=(coded or walk.frames) if counted else stated_frames,
        mode=f"{sample}{bits}",
        pixel_size_angstrom=pixel_size or _pixel_size(walk, tags),
    )


def _eer_metadata(walk: _Walk, tags: dict[int, _Tag]) -> tuple[int | None, float | None]:
    """Frames and pixel size (Å) that the acquisition metadata state."""
    tag = tags.get(_EER_METADATA)
    if tag is None or tag.kind not in (1, 2, 7):
        return None, None
    try:
        text = walk.data.read(tag.at, min(tag.items, _EER_METADATA_BYTES))
    except NotAtHand:
        return None, None
    items = dict(_EER_ITEM.findall(text))
    frames = items.get(b"numberOfFrames", b"")
    try:
        pixel = float(items.get(b"sensorPixelSize.width", b"0")) * _METRE_ANGSTROM
    except ValueError:
        pixel = 0.0
    return int(frames) if frames.isdigit() and len(frames) < 10 else None, _sensible(pixel)


def _sensible(pixel: float) -> float | None:
    smallest, largest = _PIXEL_RANGE_ANGSTROM
    return float(f"{pixel:.6g}") if smallest <= pixel <= largest else None


def _pixel_size(walk: _Walk, tags: dict[int, _Tag]) -> float | None:
    tag = tags.get(_X_RESOLUTION)
    unit = _ANGSTROM_PER_UNIT.get(_integer(walk, tags, _UNIT) or 2)
    if tag is None or unit is None or tag.kind != 5:
        return None
    try:
        raw = walk.data.read(tag.at, 8)
    except NotAtHand:
        return None
    if len(raw) < 8:
        return None
    pixels, units = struct.unpack(f"{walk.layout.order}II", raw)
    return _sensible(unit * units / pixels if pixels else 0.0)

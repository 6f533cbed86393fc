"""The structure of TIFF and BigTIFF: headers, image directories (IFDs), tags and lists of values, read within bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from empiar_imaging.formats.evidence import Evidence, Readable

#: The first bytes of TIFF and BigTIFF in both byte orders.
MAGICS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_MOST_IFDS: Final = 200_000
_MOST_TAGS: Final = 4096
_MOST_STRUCTURE_BYTES: Final = 64 * 1024 * 1024
_BLOCK_ITEMS: Final = 16_384
#: Enough for one IFD of the usual kinds in one read.
_IFD_READ_BYTES: Final = 512

#: Field type → bytes of one item, and struct code where it is a whole number.
TYPE_BYTES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_INTEGER_CODES: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, DESCRIPTION = 254, 256, 257, 258, 259, 270
STRIP_OFFSETS, SAMPLES, STRIP_COUNTS, X_RESOLUTION, UNIT, SUB_IFDS = 273, 277, 279, 282, 296, 330
TILE_OFFSETS, TILE_COUNTS, SAMPLE_FORMAT = 324, 325, 339
#: How frames of EER files are coded.
EER_COMPRESSIONS: Final = frozenset({65000, 65001, 65002})


class Stop(Exception):
    """The structure breaks here, or is longer than is looked at."""

    def __init__(self, code: str, detail: str, start: int, length: int) -> None:
        super().__init__(detail)
        self.evidence = Evidence(code, detail, start, length)


class Tag(NamedTuple):
    """One tag of an image: type and number of its values, and where they are."""

    kind: int
    items: int
    #: Where the values stand, and where the tag itself stands.
    at: int
    entry: int
    #: The value where there is one only and it stands in the tag itself, as almost all do.
    inline: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Byte order, and whether numbers are those of BigTIFF; widths in bytes."""

    order: Literal["<", ">"]
    big: bool

    @property
    def pointer(self) -> int:
        """Of an offset."""
        return 8 if self.big else 4

    @property
    def entry_bytes(self) -> int:
        """Of a tag."""
        return 20 if self.big else 12

    @property
    def counter(self) -> int:
        """Of the number of tags."""
        return 8 if self.big else 2

    def number(self, raw: bytes) -> int:
        """The whole number that these bytes are."""
        return int.from_bytes(raw, "little" if self.order == "<" else "big")


@dataclass(slots=True)
class Walk:
    """How far the list of images has been followed, and what it has cost."""

    data: Readable
    layout: Layout
    eer: bool = False
    frames: int = 0
    #: Images among them that are not coded in EER's way: the sum that some files end with.
    uncoded: int = 0
    ifds: int = 0
    structure_bytes: int = 0
    first: dict[int, Tag] | None = None
    seen: set[int] = field(default_factory=set)


def begun(data: Readable, head: bytes, format_name: str) -> Walk | None:
    """A walk at its beginning; None where `head`, the first 16 bytes, are no TIFF's."""
    magic = head[:4]
    if magic not in MAGICS:
        return None
    layout = Layout("<" if magic[:1] == b"I" else ">", big=b"+" in magic)
    return Walk(data, layout, eer=format_name == "eer")


def first_image(walk: Walk, head: bytes) -> tuple[int, int]:
    """Where the first image is described, and where that is stated."""
    layout = walk.layout
    at = 8 if layout.big else 4
    if len(head) < at + layout.pointer:
        raise Stop("tiff.truncated", f"{len(head)} bytes are fewer than a header", 0, max(1, len(head)))
    if layout.big and (layout.number(head[4:6]) != 8 or head[6:8] != b"\0\0"):
        raise Stop("tiff.bad_header", "BigTIFF with offsets of other than 8 bytes", 0, 16)
    first = layout.number(head[at : at + layout.pointer])
    if first == 0:
        raise Stop("tiff.bad_header", "it lists no image: its writer never finished", 0, len(head))
    return first, at


def read_ifd(walk: Walk, start: int, pointer_at: int, *, waiting: int) -> tuple[dict[int, Tag], int, int]:
    """The tags of the image described at `start`, where the next one is (0: nowhere), and where that is stated.

    `pointer_at` is what led here; `waiting` counts images that are known and not read yet.

    Raises:
        Stop: it lies behind the end, was read before, or is none.
    """
    layout, data = walk.layout, walk.data
    if start in walk.seen:
        raise Stop("tiff.ifd_loop", f"the image list returns to byte {start}", pointer_at, layout.pointer)
    if walk.ifds + waiting >= _MOST_IFDS:
        raise Stop("tiff.not_fully_checked", f"more than {_MOST_IFDS} images", pointer_at, 0)
    walk.seen.add(start)
    walk.ifds += 1
    raw = data.read(start, _IFD_READ_BYTES)
    count = layout.number(raw[: layout.counter])
    length = layout.counter + count * layout.entry_bytes + layout.pointer
    if len(raw) < layout.counter or (count <= _MOST_TAGS and start + length > data.size):
        detail = f"the image list at byte {start} ends behind the file's end ({data.size})"
        raise Stop("tiff.truncated", detail, pointer_at, layout.pointer)
    if not 0 < count <= _MOST_TAGS:
        raise Stop("tiff.bad_header", f"an image with {count} tags at byte {start}", start, layout.counter)
    spend(walk, length, pointer_at)
    if len(raw) < length:
        raw = data.read(start, length)
    if len(raw) < length:
        # Of a compressed file the size is not known, so that its end comes as a surprise.
        detail = f"the image list at byte {start} is cut off"
        raise Stop("tiff.truncated", detail, pointer_at, layout.pointer)
    tags = dict(_tags(walk, raw, start, count))
    following_at = length - layout.pointer
    return tags, layout.number(raw[following_at:length]), start + following_at


def _tags(walk: Walk, raw: bytes, start: int, count: int) -> Iterator[tuple[int, Tag]]:
    layout = walk.layout
    form = f"{layout.order}HH{'QQ' if layout.big else 'II'}"
    stop = layout.counter + count * layout.entry_bytes
    size = walk.data.size
    position = start + layout.counter
    for number, kind, items, value in struct.iter_unpack(form, raw[layout.counter : stop]):
        width = TYPE_BYTES.get(kind, 0)
        length = items * width
        at = position + layout.entry_bytes - layout.pointer if length <= layout.pointer else value
        if at + length > size:
            detail = f"the values of tag {number} end at byte {at + length}, the file at {size}"
            raise Stop("tiff.truncated", detail, position, layout.entry_bytes)
        inline = None
        if items == 1 and kind in _INTEGER_CODES and width <= layout.pointer:
            unused = 8 * (layout.pointer - width)
            inline = value >> unused if layout.order == ">" else value & (1 << 8 * width) - 1
        yield number, Tag(kind, items, at, position, inline)
        position += layout.entry_bytes


def add_frame(walk: Walk, tags: dict[int, Tag]) -> None:
    """The image counts as a frame, unless it is a smaller version of another one."""
    if (integer(walk, tags, SUBFILE) or 0) & 1:
        return
    walk.frames += 1
    walk.uncoded += walk.eer and integer(walk, tags, COMPRESSION) not in EER_COMPRESSIONS
    walk.first = walk.first or tags


def blocks(walk: Walk, tag: Tag) -> Iterator[tuple[int, ...]]:
    """The values of a tag of whole numbers, some thousands at a time."""
    code = _INTEGER_CODES.get(tag.kind)
    if code is None:
        detail = f"a tag of type {tag.kind} where whole numbers belong"
        raise Stop("tiff.bad_header", detail, tag.entry, walk.layout.entry_bytes)
    if tag.inline is not None:
        yield (tag.inline,)
        return
    width = TYPE_BYTES[tag.kind]
    spend(walk, tag.items * width, tag.entry)
    for done in range(0, tag.items, _BLOCK_ITEMS):
        items = min(_BLOCK_ITEMS, tag.items - done)
        raw = walk.data.read(tag.at + done * width, items * width)
        if len(raw) < items * width:
            detail = "the file ends within a list of strip positions"
            raise Stop("tiff.truncated", detail, tag.entry, walk.layout.entry_bytes)
        yield struct.unpack(f"{walk.layout.order}{items}{code}", raw)


def spend(walk: Walk, length: int, at: int) -> None:
    """Lists of images and strips may overlap in a hostile file: what is read of them has a limit."""
    walk.structure_bytes += length
    if walk.structure_bytes > _MOST_STRUCTURE_BYTES:
        detail = f"more than {_MOST_STRUCTURE_BYTES} bytes of image lists and strip positions"
        raise Stop("tiff.not_fully_checked", detail, at, 0)


def integer(walk: Walk, tags: dict[int, Tag], number: int) -> int | None:
    """The (first) value of tag `number`; None where there is no whole number."""
    tag = tags.get(number)
    if tag is None or tag.kind not in _INTEGER_CODES or tag.items == 0:
        return None
    if tag.inline is not None:
        return tag.inline
    return walk.layout.number(walk.data.read(tag.at, TYPE_BYTES[tag.kind]))


def span(walk: Walk, tags: dict[int, Tag]) -> int:
    """Bytes that the image's description takes."""
    return walk.layout.counter + len(tags) * walk.layout.entry_bytes + walk.layout.pointer

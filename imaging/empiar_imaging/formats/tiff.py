"""TIFF, BigTIFF and EER: every image directory (IFD) and every strip or tile must lie inside of the file.

Sources: TIFF 6.0; the BigTIFF design (libtiff); EER is BigTIFF with one IFD a frame (Guo et al., IUCrJ 7
(2020) 860). Readers show half a file as fewer images without complaint, so the chain is walked to its end.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from operator import add
from typing import Final, Literal

from empiar_imaging.formats.evidence import Evidence, Inspection, NotAtHand, Readable
from empiar_imaging.formats.tiff_walk import (
    BITS,
    COMPRESSION,
    DESCRIPTION,
    HEIGHT,
    SAMPLE_FORMAT,
    SAMPLES,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    SUB_IFDS,
    SUBFILE,
    TILE_COUNTS,
    TILE_OFFSETS,
    TYPE_BYTES,
    UNIT,
    WIDTH,
    X_RESOLUTION,
    Stop,
    Tag,
    Walk,
    add_frame,
    begun,
    blocks,
    first_image,
    integer,
    read_ifd,
    span,
)
from empiar_schema.image_facts import ImageFacts

SUFFIXES: Final = frozenset({".tif", ".tiff", ".eer"})
#: A pixel of a hundredth to ten thousand Ångström; 72 dots per inch of a plain picture lie outside.
_PIXEL_RANGE_ANGSTROM: Final = (0.01, 10_000.0)
_ANGSTROM_PER_UNIT: Final = {2: 2.54e8, 3: 1e8}

_SAMPLE_NAMES: Final = {1: "uint", 2: "int", 3: "float", 5: "complex_int", 6: "complex"}
#: The acquisition metadata of EER files, an XML text in the first image.
_EER_METADATA: Final = 65001
_EER_METADATA_BYTES: Final = 64 * 1024
_EER_ITEM = re.compile(
    rb'<item name="(sensorPixelSize\.width|numberOfFrames)"(?:\s[^>]{0,80})?>\s*([0-9.eE+-]{1,40})\s*</item>'
)
_METRE_ANGSTROM: Final = 1e10
_IMAGEJ = re.compile(rb"\AImageJ=[^\0]*?\nimages=(\d{1,9})\n")


def inspect_tiff(data: Readable, *, format_name: str = "tiff") -> Inspection:
    """The first image's facts, the number of images, and the first place at which the structure breaks."""
    head = data.read(0, 16)
    walk = begun(data, head, format_name)
    if walk is None:
        return _no_tiff(head)
    evidence: tuple[Evidence, ...] = ()
    try:
        _walk(walk, head)
    except Stop as stop:
        evidence = (stop.evidence,)
    try:
        facts = _facts(walk, format_name)
    except Stop as stop:
        facts, evidence = ImageFacts(format_name), evidence or (stop.evidence,)
    return Inspection(facts, evidence)


def peek_tiff(data: Readable, *, format_name: str = "tiff") -> Inspection:
    """The first image's facts, and the number of images where the whole list of them is at hand.

    Image data are not looked at. `lacking` names the bytes that would tell more.
    """
    head = data.read(0, 16)
    walk = begun(data, head, format_name)
    if walk is None:
        return _no_tiff(head)
    evidence: tuple[Evidence, ...] = ()
    lacking: NotAtHand | None = None
    try:
        _count(walk, head)
    except Stop as stop:
        evidence = (stop.evidence,)
    except NotAtHand as missing:
        lacking = missing
    try:
        facts = _facts(walk, format_name, counted=lacking is None)
    except Stop as stop:
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
    walk = begun(data, head, "tiff")
    if walk is None:
        return None
    runs: list[tuple[int, int, int]] = []
    types: set[tuple[str, int]] = set()
    try:
        start, pointer_at = first_image(walk, head)
        while start:
            tags, following, following_at = read_ifd(walk, start, pointer_at, waiting=0)
            if not (integer(walk, tags, SUBFILE) or 0) & 1:
                types.add(_number_type(walk, tags))
                runs += _plain_runs(walk, tags, walk.frames)
                walk.frames += 1
            start, pointer_at = following, following_at
    except Stop:
        return None
    runs.sort()
    frames = [frame for _, _, frame in runs]
    overlap = any(after[0] < before[1] for before, after in pairwise(runs))
    if len(types) != 1 or overlap or frames != sorted(frames):
        return None
    ((sample, bits),) = types
    return PlainFrames(walk.layout.order, sample, bits, runs)


def _number_type(walk: Walk, tags: dict[int, Tag]) -> tuple[str, int]:
    bits = integer(walk, tags, BITS) or 1
    return _SAMPLE_NAMES.get(integer(walk, tags, SAMPLE_FORMAT) or 1, "uint"), bits


def _plain_runs(walk: Walk, tags: dict[int, Tag], frame: int) -> list[tuple[int, int, int]]:
    tiled = TILE_OFFSETS in tags
    offsets = tags.get(TILE_OFFSETS if tiled else STRIP_OFFSETS)
    counts = tags.get(TILE_COUNTS if tiled else STRIP_COUNTS)
    if (integer(walk, tags, COMPRESSION) or 1) != 1 or offsets is None or counts is None:
        raise Stop("tiff.not_fully_checked", "compressed", 0, 0)
    runs = []
    for starts, lengths in zip(blocks(walk, offsets), blocks(walk, counts), strict=False):
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


def _no_tiff(head: bytes) -> Inspection:
    detail = f"it begins with {head[:4].hex(' ')}"
    return Inspection(None, (Evidence("tiff.suffix_but_not_tiff", detail, 0, len(head)),))


def _count(walk: Walk, head: bytes) -> None:
    start, pointer_at = first_image(walk, head)
    while start:
        tags, following, following_at = read_ifd(walk, start, pointer_at, waiting=0)
        if not integer(walk, tags, WIDTH) or not integer(walk, tags, HEIGHT):
            detail = f"the image at byte {start} has no width or no height"
            raise Stop("tiff.bad_header", detail, start, span(walk, tags))
        add_frame(walk, tags)
        start, pointer_at = following, following_at
    if walk.frames == 1:
        _check_imagej(walk)


def _walk(walk: Walk, head: bytes) -> None:
    first, at = first_image(walk, head)
    # Main chain first, then the smaller versions (SubIFDs) that images point to.
    pending = deque([(first, at, True)])
    while pending:
        start, pointer_at, main = pending.popleft()
        while start:
            tags, following, following_at = read_ifd(walk, start, pointer_at, waiting=len(pending))
            pending.extend(_check_image(walk, tags, start, main=main))
            start, pointer_at = following, following_at
    if walk.frames == 1:
        _check_imagej(walk)


def _check_image(walk: Walk, tags: dict[int, Tag], start: int, *, main: bool) -> list[tuple[int, int, bool]]:
    width, height = integer(walk, tags, WIDTH), integer(walk, tags, HEIGHT)
    if not width or not height:
        raise Stop(
            "tiff.bad_header",
            f"the image at byte {start} has no width or no height",
            start,
            span(walk, tags),
        )
    if STRIP_OFFSETS in tags:
        stored = _check_stretches(walk, tags, STRIP_OFFSETS, STRIP_COUNTS)
    elif TILE_OFFSETS in tags:
        stored = _check_stretches(walk, tags, TILE_OFFSETS, TILE_COUNTS)
    else:
        raise Stop(
            "tiff.bad_header",
            f"the image at byte {start} has neither strips nor tiles",
            start,
            span(walk, tags),
        )
    if stored is not None and (integer(walk, tags, COMPRESSION) or 1) == 1:
        bits = (integer(walk, tags, BITS) or 1) * (integer(walk, tags, SAMPLES) or 1)
        needed = height * ((width * bits + 7) // 8)
        if stored < needed:
            detail = f"{stored} bytes for {width} × {height} pixels of {bits} bits, which need {needed}"
            raise Stop("tiff.short_data", detail, start, span(walk, tags))
    if main:
        add_frame(walk, tags)
    if main and SUB_IFDS in tags:
        tag = tags[SUB_IFDS]
        return [(offset, tag.entry, False) for block in blocks(walk, tag) for offset in block if offset]
    return []


def _check_stretches(walk: Walk, tags: dict[int, Tag], offsets_tag: int, counts_tag: int) -> int | None:
    """Bytes that the strips or tiles hold together; None where their lengths are not stated."""
    offsets = tags[offsets_tag]
    counts = tags.get(counts_tag)
    if counts is None:
        # Some old writers leave out the lengths of a single strip.
        for block in blocks(walk, offsets):
            _inside(walk, max(block, default=0), offsets)
        return None
    if counts.items != offsets.items:
        detail = f"{offsets.items} strips, but {counts.items} lengths"
        raise Stop("tiff.bad_header", detail, offsets.entry, walk.layout.entry_bytes)
    stored = 0
    for starts, lengths in zip(blocks(walk, offsets), blocks(walk, counts), strict=True):
        _inside(walk, max(map(add, starts, lengths), default=0), offsets)
        stored += sum(lengths)
    return stored


def _inside(walk: Walk, end: int, tag: Tag) -> None:
    if end > walk.data.size:
        stretch = (tag.at, min(tag.items * TYPE_BYTES[tag.kind], 1024 * 1024))
        raise Stop("tiff.truncated", f"image data end at byte {end}, the file at {walk.data.size}", *stretch)


def _check_imagej(walk: Walk) -> None:
    """ImageJ writes stacks beyond 4 GiB as one image, with all others behind it and their number in a text."""
    tags = walk.first or {}
    text, offsets = tags.get(DESCRIPTION), tags.get(STRIP_OFFSETS)
    if text is None or offsets is None or (integer(walk, tags, COMPRESSION) or 1) != 1:
        return
    stated = _IMAGEJ.match(walk.data.read(text.at, min(text.items, 4096)))
    images = int(stated[1]) if stated else 1
    if images <= 1:
        return
    width, height = integer(walk, tags, WIDTH) or 0, integer(walk, tags, HEIGHT) or 0
    bits = (integer(walk, tags, BITS) or 1) * (integer(walk, tags, SAMPLES) or 1)
    start = next(iter(next(blocks(walk, offsets), ())), 0)
    end = start + images * height * ((width * bits + 7) // 8)
    if end > walk.data.size:
        detail = f"{images} images end at byte {end}, the file at {walk.data.size}"
        raise Stop("tiff.truncated", detail, text.at, min(text.items, 4096))
    walk.frames = images


def _facts(walk: Walk, format_name: str, *, counted: bool = True) -> ImageFacts:
    """`counted` is whether the list of images was followed to its end."""
    tags = walk.first
    if tags is None:
        return ImageFacts(format_name)
    sample, bits = _number_type(walk, tags)
    stated_frames, pixel_size = _eer_metadata(walk, tags) if walk.eer else (None, None)
    coded = walk.frames - walk.uncoded
    return ImageFacts(
        format=format_name,
        width=integer(walk, tags, WIDTH),
        height=integer(walk, tags, HEIGHT),
        frames=(coded or walk.frames) if counted else stated_frames,
        mode=f"{sample}{bits}",
        pixel_size_angstrom=pixel_size or _pixel_size(walk, tags),
    )


def _eer_metadata(walk: Walk, tags: dict[int, Tag]) -> tuple[int | None, float | None]:
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


def _pixel_size(walk: Walk, tags: dict[int, Tag]) -> float | None:
    tag = tags.get(X_RESOLUTION)
    unit = _ANGSTROM_PER_UNIT.get(integer(walk, tags, UNIT) or 2)
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

"""Compressed files: the marks that a writer makes at the beginning and at the end.

Sources: RFC 1952 (gzip), the bzip2 format (48-bit end marker, not aligned to bytes), RFC 8878 (Zstandard),
the .xz file format 1.2, APPNOTE 6.3 (zip). A wrong byte in the middle is not seen here, but by `unpack` when
all of the file is read.

Of an image in .gz, .bz2 or .zst the facts are read from the first MiB that it unpacks to. Its format is called by the image
and the compressor's suffix, ``mrc.gz``; that of other content by the compressor alone, ``gzip``.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Final

from empiar_imaging.formats import dm, mrc, tiff
from empiar_imaging.formats.evidence import Evidence, FileBytes, Inspection, NotAtHand, Readable
from empiar_imaging.formats.tiff_walk import MAGICS
from empiar_imaging.formats.unpack import KINDS, PackedDamage, Unpacked
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import suffix_of

_BZIP2_BLOCK: Final = bytes.fromhex("314159265359")
_BZIP2_END: Final = 0x177245385090
#: End marker (48 bits), checksum (32) and up to 7 bits that fill the last byte.
_BZIP2_TAIL_BYTES: Final = 11
#: Deflate makes at most 1,032 bytes of one.
_DEFLATE_LARGEST_RATIO: Final = 1032
_GZIP_LEAST_BYTES: Final = 18
_ZIP_TAIL_BYTES: Final = 22 + 0xFFFF
_ZSTD_MAGIC: Final = 0xFD2FB528
_ZSTD_SKIPPABLE: Final = 0x184D2A50
_ZSTD_MOST_BLOCKS: Final = 200_000


def _one(kind: str, evidence: Evidence | None) -> Inspection:
    return Inspection(ImageFacts(kind), () if evidence is None else (evidence,))


def _bad_header(kind: str, data: FileBytes) -> Evidence:
    length = min(16, data.size)
    return Evidence(f"{kind}.bad_header", f"it begins with {data.read(0, length).hex(' ')}", 0, length)


def _cut(kind: str, data: FileBytes, length: int, detail: str) -> Evidence:
    length = min(length, data.size)
    return Evidence(f"{kind}.truncated", detail, data.size - length, length)


def inspect_gzip(data: FileBytes, *, name: str) -> Inspection:
    """The magic, and a length in the last four bytes that can be true.

    A gzipped MRC states its length twice, in its own header and at the end of the gzip file: these must agree.
    """
    head = data.read(0, 10)
    if not head.startswith(b"\x1f\x8b\x08") or (len(head) > 3 and head[3] & 0xE0):
        return _one("gzip", _bad_header("gzip", data))
    if data.size < _GZIP_LEAST_BYTES:
        return _one("gzip", _cut("gzip", data, 8, f"{data.size} bytes are no whole gzip file"))
    tail = data.read(data.size - 4, 4)
    stated = int.from_bytes(tail, "little")
    if len(tail) < 4 or stated > data.size * _DEFLATE_LARGEST_RATIO:
        return _one("gzip", _cut("gzip", data, 8, f"the end states {stated} bytes before compression"))
    if suffix_of(name).rpartition(".")[0] in mrc.SUFFIXES:
        expected = _inner_mrc_bytes(data)
        if expected is not None and expected % 2**32 != stated:
            detail = f"the end states {stated} bytes (modulo 2³²), the MRC header inside {expected}"
            return _one("gzip", _cut("gzip", data, 8, detail))
    return _one("gzip", None)


def _inner_mrc_bytes(data: FileBytes) -> int | None:
    unpacked = Unpacked(data, "gzip")
    try:
        header = mrc.parse_header(unpacked.read(0, mrc.HEADER_BYTES))
    except (PackedDamage, NotAtHand):
        return None
    # The first of several members says nothing of them all.
    return None if header is None or unpacked.ended else header.vouched_bytes


def peek_inside(data: Readable, *, name: str) -> Inspection:
    """The facts of the image in a .gz, .bz2 or .zst file, and findings about it, from what it begins with.

    `name` ends with one of these suffixes. Facts are None where the content is no known image; `lacking` names bytes of
    the compressed file.
    """
    suffix = f".{suffix_of(name).rpartition('.')[2]}"
    kind = KINDS[suffix]
    unpacked = Unpacked(data, kind)
    try:
        found = _peek_image(unpacked, suffix_of(name).removesuffix(suffix))
    except NotAtHand as missing:
        return Inspection(None, (), missing.stretch)
    except PackedDamage as damage:
        length = min(unpacked.packed_bytes, data.size)
        return Inspection(None, (Evidence(f"{kind}.damaged", f"at its beginning: {damage}", 0, length),))
    # What a finding rests on are the compressed bytes that were read for it.
    evidence = tuple(replace(item, start=0, length=unpacked.packed_bytes) for item in found.evidence)
    facts = replace(found.facts, format=f"{found.facts.format}{suffix}") if found.facts else None
    return Inspection(facts, evidence, found.lacking)


def _peek_image(data: Unpacked, suffix: str) -> Inspection:
    head = data.read(0, 16)
    if suffix in tiff.SUFFIXES or head[:4] in MAGICS:
        return tiff.peek_tiff(data, format_name="eer" if suffix == ".eer" else "tiff")
    if suffix in dm.SUFFIXES:
        return dm.inspect_dm(data)
    if suffix in mrc.SUFFIXES:
        return mrc.inspect_mrc(data)
    return Inspection(None)


def inspect_bzip2(data: FileBytes) -> Inspection:
    """The magic, and the end marker, which stands at any bit within the last 11 bytes."""
    head = data.read(0, 10)
    begins = head.startswith(b"BZh") and head[3:4] in b"123456789"
    if not begins or head[4:10] not in (_BZIP2_BLOCK, _BZIP2_END.to_bytes(6, "big")):
        return _one("bzip2", _bad_header("bzip2", data))
    tail = int.from_bytes(data.read(max(0, data.size - _BZIP2_TAIL_BYTES), _BZIP2_TAIL_BYTES), "big")
    if not any(tail >> (32 + filling) & (2**48 - 1) == _BZIP2_END for filling in range(8)):
        return _one("bzip2", _cut("bzip2", data, _BZIP2_TAIL_BYTES, "no end marker in the last 11 bytes"))
    return _one("bzip2", None)


def inspect_zstd(data: FileBytes) -> Inspection:
    """The frames, block by block by their headers, to the last byte."""
    at = 0
    blocks = 0
    while at < data.size:
        magic = int.from_bytes(data.read(at, 4), "little")
        if magic & 0xFFFFFFF0 == _ZSTD_SKIPPABLE:
            at += 8 + int.from_bytes(data.read(at + 4, 4), "little")
            blocks += 1
        elif magic != _ZSTD_MAGIC:
            if at == 0:
                return _one("zstd", _bad_header("zstd", data))
            return _one("zstd", _zstd_cut(data, at, "no frame begins where one should"))
        else:
            end, blocks = _zstd_frame_end(data, at, blocks)
            if end is None or end > data.size:
                return _one("zstd", _zstd_cut(data, at, f"the frame at byte {at} is not complete"))
            at = end
        if blocks >= _ZSTD_MOST_BLOCKS:
            note = Evidence("zstd.not_fully_checked", f"more than {_ZSTD_MOST_BLOCKS} blocks", 0, 0)
            return _one("zstd", note)
    return _one("zstd", None if at == data.size else _zstd_cut(data, at, "the last frame is not complete"))


def _zstd_cut(data: FileBytes, at: int, detail: str) -> Evidence:
    start = min(at, max(0, data.size - 32))
    return Evidence("zstd.truncated", detail, start, min(data.size - start, 1024 * 1024))


def _zstd_frame_end(data: FileBytes, at: int, blocks: int) -> tuple[int | None, int]:
    descriptor = data.read(at + 4, 1)
    if not descriptor:
        return None, blocks
    flags = descriptor[0]
    single = flags >> 5 & 1
    at += 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + ((single, 2, 4, 8)[flags >> 6])
    while blocks < _ZSTD_MOST_BLOCKS:
        raw = data.read(at, 3)
        if len(raw) < 3:
            return None, blocks
        header = int.from_bytes(raw, "little")
        kind = header >> 1 & 3
        if kind == 3:
            return None, blocks  # reserved: no encoder writes it
        length = 1 if kind == 1 else header >> 3
        at += 3 + length
        blocks += 1
        if header & 1:
            return at + (4 if flags & 4 else 0), blocks
    return min(at, data.size), blocks


def inspect_xz(data: FileBytes) -> Inspection:
    """The magic at the beginning, and ``YZ`` at the end before padding by zeros."""
    if not data.read(0, 6).startswith(b"\xfd7zXZ\0"):
        return _one("xz", _bad_header("xz", data))
    tail = data.read(max(0, data.size - 1024), 1024).rstrip(b"\0")
    return _one("xz", None if tail.endswith(b"YZ") else _cut("xz", data, 32, "no end marker"))


def inspect_zip(data: FileBytes) -> Inspection:
    """The record at the end, and a directory that lies inside of the file before it."""
    if data.read(0, 4) not in (b"PK\3\4", b"PK\5\6", b"PK\7\x08"):
        return _one("zip", _bad_header("zip", data))
    start = max(0, data.size - _ZIP_TAIL_BYTES)
    tail = data.read(start, _ZIP_TAIL_BYTES)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < 22:
        return _one("zip", _cut("zip", data, _ZIP_TAIL_BYTES, "no end of central directory"))
    length, offset, comment = struct.unpack_from("<IIH", tail, at + 12)
    wide = offset == 0xFFFFFFFF or length == 0xFFFFFFFF
    if at + 22 + comment > len(tail):
        return _one("zip", _cut("zip", data, len(tail) - at, "the comment at the end is cut"))
    if wide and tail[max(0, at - 20) : max(0, at - 20) + 4] != b"PK\6\7":
        return _one("zip", _cut("zip", data, len(tail) - at + 20, "no 64-bit end of central directory"))
    if not wide and offset + length > start + at:
        return _one("zip", _cut("zip", data, len(tail) - at, "the central directory lies behind the end"))
    return _one("zip", None)

"""One look at a file: its header's facts and its findings, from the few bytes that are needed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from empiar_imaging.formats import compressed, dm, error_body, mrc, tiff
from empiar_imaging.formats.evidence import Evidence, FileBytes, Inspection, NotAtHand, Readable, Stretches
from empiar_imaging.formats.tiff_walk import MAGICS
from empiar_imaging.formats.unpack import KINDS
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import suffix_of

__all__ = ["Evidence", "Inspection", "inspect", "peek"]

#: Suffixes that are used for images of several formats (gain references of Falcon cameras are TIFF).
UNSETTLED: Final = frozenset({".gain"})
_IMAGES: Final = mrc.SUFFIXES | tiff.SUFFIXES | dm.SUFFIXES | UNSETTLED


def inspect(file: Path | int, *, name: str, size: int) -> Inspection:
    """The facts and findings of a file (a path, or a descriptor that stays open) called `name`, of `size` bytes.

    The suffix of `name` says what to expect; where the content is of another known format, that one is
    reported and looked into. Content is never a reason to raise.

    Raises:
        OSError: the file could not be read.
    """
    if isinstance(file, int):
        return _inspect(FileBytes(file, size), name)
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return _inspect(FileBytes(fd, size), name)
    finally:
        os.close(fd)


def can_peek(name: str) -> bool:
    """Whether a file of this name is of a kind whose first bytes tell facts of an image."""
    suffix = suffix_of(name)
    head, _, compressor = suffix.rpartition(".")
    return (head if f".{compressor}" in KINDS else suffix) in _IMAGES


def peek(data: Stretches, *, name: str) -> Inspection:
    """The facts and findings that the stretches at hand of a file called `name` allow for.

    `lacking` names the next bytes that would tell more; what could not be made sure of is None.
    """
    suffix = suffix_of(name)
    try:
        error = error_body.whole_body(data.read(0, min(data.size, error_body.WINDOW_BYTES * 8)), name=name)
        if error is not None:
            return _with_problems(Inspection(None, (error,)), suffix)
        return _with_problems(_peek(data, name, suffix), suffix)
    except NotAtHand as missing:
        return Inspection(None, (), missing.stretch)


def _peek(data: Stretches, name: str, suffix: str) -> Inspection:
    if f".{suffix.rpartition('.')[2]}" in KINDS:
        return compressed.peek_inside(data, name=name)
    magic = data.read(0, 4)
    if suffix in tiff.SUFFIXES or (magic in MAGICS and suffix in UNSETTLED):
        found = tiff.peek_tiff(data, format_name="eer" if suffix == ".eer" else "tiff")
    elif suffix in mrc.SUFFIXES:
        found = mrc.inspect_mrc(data)
    elif suffix in dm.SUFFIXES:
        return dm.inspect_dm(data)
    else:
        return Inspection(None)
    if found.facts is None and magic in MAGICS:
        actual = tiff.peek_tiff(data)
    elif found.facts is None and suffix in tiff.SUFFIXES and _stamped(data):
        actual = mrc.inspect_mrc(data)
    else:
        return found
    return Inspection(actual.facts, found.evidence + actual.evidence, actual.lacking)


def _stamped(data: Readable) -> bool:
    header = mrc.parse_header(data.read(0, mrc.HEADER_BYTES), size=data.size)
    return header is not None and header.map_stamp


def _inspect(data: FileBytes, name: str) -> Inspection:
    suffix = suffix_of(name)
    if data.size == 0:
        empty = (Evidence("file.empty", "0 bytes", 0, 0),) if error_body.is_binary(name) else ()
        return _with_problems(Inspection(None, empty), suffix)
    data = FileBytes(data.fd, data.size, data.read(0, error_body.EDGE_BYTES))
    errors = error_body.in_edges(data, name=name)
    if errors and errors[0].start == 0:
        # Nothing that a format check could add: there is no such file, there is a message.
        return _with_problems(Inspection(None, errors), suffix)
    found = _by_suffix(data, name, suffix)
    return _with_problems(Inspection(found.facts, found.evidence + errors) if errors else found, suffix)


def _by_suffix(data: FileBytes, name: str, suffix: str) -> Inspection:
    if suffix in mrc.SUFFIXES:
        found = mrc.inspect_mrc(data)
    elif suffix in tiff.SUFFIXES:
        found = tiff.inspect_tiff(data, format_name="eer" if suffix == ".eer" else "tiff")
    elif suffix in dm.SUFFIXES:
        found = dm.inspect_dm(data)
    elif suffix in UNSETTLED:
        return _by_magic(data, name) or Inspection(None)
    else:
        return _container(data, name, f".{suffix.rpartition('.')[2]}") or Inspection(None)
    if found.facts is None:
        # The name promises one format, the content is another: say so, and check it as what it is.
        actual = _by_magic(data, name)
        return Inspection(actual.facts, found.evidence + actual.evidence) if actual else found
    return found


def _container(data: FileBytes, name: str, kind: str) -> Inspection | None:
    match kind:
        case ".gz":
            return _with_content(compressed.inspect_gzip(data, name=name), data, name)
        case ".tgz":
            return compressed.inspect_gzip(data, name=name)
        case ".bz2":
            return _with_content(compressed.inspect_bzip2(data), data, name)
        case ".zst":
            return _with_content(compressed.inspect_zstd(data), data, name)
        case ".xz":
            return compressed.inspect_xz(data)
        case ".zip":
            return compressed.inspect_zip(data)
    return None


def _with_content(found: Inspection, data: FileBytes, name: str) -> Inspection:
    """What was found of the compressed file, with the facts of the image in it."""
    if any(item.code.endswith(".bad_header") for item in found.evidence) or not _names_content(name):
        return found
    inside = compressed.peek_inside(data, name=name)
    # What is inside of a file that is cut has been cut too.
    return Inspection(inside.facts or found.facts, found.evidence or inside.evidence)


def _names_content(name: str) -> bool:
    """Whether the name ends with the suffix of a compressor, so that what is before it names the content."""
    return f".{suffix_of(name).rpartition('.')[2]}" in KINDS


def _by_magic(data: FileBytes, name: str) -> Inspection | None:
    head = data.read(0, mrc.HEADER_BYTES)
    if head[:4] in MAGICS:
        return tiff.inspect_tiff(data)
    if _stamped(data):
        return mrc.inspect_mrc(data)
    magics = {
        b"\x1f\x8b\x08": ".gz",
        b"BZh": ".bz2",
        b"\x28\xb5\x2f\xfd": ".zst",
        b"\xfd7zXZ": ".xz",
        b"PK\3\4": ".zip",
    }
    for magic, kind in magics.items():
        if head.startswith(magic):
            return _container(data, name, kind)
    return None


def _with_problems(found: Inspection, suffix: str) -> Inspection:
    """The finding codes stand in the facts too, each once, because that is what the catalogue keeps."""
    if not found.evidence:
        return found
    codes = tuple(dict.fromkeys(item.code for item in found.evidence))
    facts = found.facts or ImageFacts(suffix.lstrip(".") or "unknown")
    return Inspection(replace(facts, problems=codes), found.evidence, found.lacking)

"""One look at a file: its header's facts and its findings, from the few bytes that are needed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from empiar_imaging.formats import compressed, error_body, mrc, tiff
from empiar_imaging.formats.evidence import Evidence, FileBytes, Inspection
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import suffix_of

__all__ = ["Evidence", "Inspection", "inspect"]


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


def _inspect(data: FileBytes, name: str) -> Inspection:
    suffix = suffix_of(name)
    if data.size == 0:
        empty = (Evidence("file.empty", "0 bytes", 0, 0),) if error_body.is_binary(name) else ()
        return _with_problems(Inspection(None, empty), suffix)
    errors = error_body.in_edges(data, name=name)
    if errors and errors[0].start == 0:
        # Nothing that a format check could add: there is no such file, there is a message.
        return _with_problems(Inspection(None, errors), suffix)
    found = _by_suffix(data, name, suffix)
    return _with_problems(Inspection(found.facts, found.evidence + errors), suffix)


def _by_suffix(data: FileBytes, name: str, suffix: str) -> Inspection:
    if suffix in mrc.SUFFIXES:
        found = mrc.inspect_mrc(data)
    elif suffix in tiff.SUFFIXES:
        found = tiff.inspect_tiff(data, format_name="eer" if suffix == ".eer" else "tiff")
    else:
        return _container(data, name, f".{suffix.rpartition('.')[2]}") or Inspection(None)
    if found.facts is None:
        # The name promises one format, the content is another: say so, and check it as what it is.
        actual = _by_magic(data, name)
        return Inspection(actual.facts, found.evidence + actual.evidence) if actual else found
    return found


def _container(data: FileBytes, name: str, kind: str) -> Inspection | None:
    match kind:
        case ".gz" | ".tgz":
            return compressed.inspect_gzip(data, name=name)
        case ".bz2":
            return compressed.inspect_bzip2(data)
        case ".zst":
            return compressed.inspect_zstd(data)
        case ".xz":
            return compressed.inspect_xz(data)
        case ".zip":
            return compressed.inspect_zip(data)
    return None


def _by_magic(data: FileBytes, name: str) -> Inspection | None:
    head = data.read(0, mrc.HEADER_BYTES)
    if head[:4] in tiff.MAGICS:
        return tiff.inspect_tiff(data)
    header = mrc.parse_header(head, size=data.size)
    if header is not None and header.map_stamp:
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
    codes = tuple(dict.fromkeys(item.code for item in found.evidence))
    if found.facts is None and not codes:
        return found
    facts = found.facts or ImageFacts(suffix.lstrip(".") or "unknown")
    return Inspection(replace(facts, problems=codes), found.evidence)

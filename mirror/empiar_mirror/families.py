"""Families of files, of which one is looked at before any is fetched. Pure.

A family is the files of one folder, one role and one suffix whose names differ in digits only: the movies of a session, the
tilts of a series. Its representative is the same whatever the order of the listing, and no particular one: the first
and the last of a session are often what went wrong.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from empiar_imaging.formats.inspect import can_peek
from empiar_schema.files import RoledFile
from empiar_schema.paths import suffix_of
from empiar_schema.states import Role

#: So many families of an entry are looked at, those of most bytes.
MOST_FAMILIES: Final = 32

_DIGITS: Final = re.compile(r"\d+")


@dataclass(slots=True)
class Family:
    """Files that are taken to be alike."""

    #: Folder and name that they share, every number written 0.
    name: str
    role: Role
    suffix: str
    chosen: RoledFile
    files: int = 0
    bytes: int = 0


def families(files: Iterable[RoledFile], *, most: int = MOST_FAMILIES) -> list[Family]:
    """The families of images among `files`, those of most bytes first, at most `most`.

    Memory grows with the number of families, not of files.
    """
    found: dict[tuple[str, Role], Family] = {}
    for file in files:
        if not can_peek(file.name):
            continue
        suffix = suffix_of(file.name)
        stem = len(file.name) - len(suffix)
        shape = _DIGITS.sub("0", file.name[:stem]) + file.name[stem:]
        name = f"{file.directory}/{shape}" if file.directory else shape
        family = found.get((name, file.role))
        if family is None:
            family = found[name, file.role] = Family(name, file.role, suffix, file)
        elif _rank(file) < _rank(family.chosen):
            family.chosen = file
        family.files += 1
        family.bytes += file.bytes or 0
    ranked = sorted(found.values(), key=lambda family: (-family.bytes, family.name, family.role))
    return ranked[:most]


def _rank(file: RoledFile) -> tuple[bool, int, str]:
    # An empty file says nothing of its family.
    return not file.bytes, zlib.crc32(file.name.encode()), file.name

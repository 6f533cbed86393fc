"""Files below the mirror's root, read for a page: by a record of the catalogue, never through a symbolic link, never by a path from an address."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_schema.faults import HostileName
from empiar_schema.paths import RemotePath

#: Larger ones are for downloads, not for pages.
LARGEST_BYTES: Final = 16 * 2**20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What is a pipe or a device is opened without waiting for it, and then refused.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: A browser is told the type by the first bytes: a product may be anything that a hook of this site has written.
_TYPES: Final = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it is sent."""

    content: bytes
    media_type: str
    #: Its digest on record.
    sha256: str


def find_picture(connection: sqlite3.Connection, product_id: int) -> tuple[RemotePath, str] | None:
    """Where the product of this number stands below ``derived``, and its digest; None if there is none of this number."""
    row = connection.execute(
        "SELECT empiar_id, path, lower(hex(sha256)) FROM product WHERE product_id = ?", (product_id,)
    ).fetchone()
    if row is None:
        return None
    try:
        return RemotePath.parse(row[0], row[1]), row[2]
    except HostileName:
        return None


def read_picture(root: Path, place: RemotePath, sha256: str) -> Picture | None:
    """The picture; None if there is no such file, or what stands there is no picture of JPEG or PNG that fits a page."""
    content = None
    with suppress(OSError):
        content = read_below(root, "derived", place)
    if content is None:
        return None
    kind = next((kind for start, kind in _TYPES if content.startswith(start)), None)
    return None if kind is None else Picture(content, kind, sha256)


def read_below(root: Path, tree: str, place: RemotePath) -> bytes | None:
    """A file of at most `LARGEST_BYTES` below ``root/<tree>``; None if what stands there is no file, or a larger one.

    Raises:
        OSError: there is nothing, or a link on the way.
    """
    descriptor = open_below(root, tree, place)
    with closing(os.fdopen(descriptor, "rb")) as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST_BYTES:
            return None
        return file.read(LARGEST_BYTES)


def open_below(root: Path, tree: str, place: RemotePath) -> int:
    """A descriptor of whatever stands at that place below ``root/<tree>``; no folder on the way, and not the thing itself, is a link.

    Raises:
        OSError: there is nothing, or a link on the way.
    """
    *folders, name = place.raw.split(b"/")
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in (tree.encode(), str(place.empiar_id).encode(), *folders):
            below = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = below
        return os.open(name, _FILE, dir_fd=at)
    finally:
        os.close(at)

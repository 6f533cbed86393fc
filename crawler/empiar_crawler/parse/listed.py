"""What every listing parser yields, and the quick way from a listed name to its stored text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from empiar_schema.files import ListedFile
from empiar_schema.paths import checked_name

# Names that are their own stored text; nearly all are, and a million of them are read in one entry.
_PLAIN = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.,=+()\[\]' -]*")


@dataclass(slots=True)
class Listed:
    """Rows of one directory, as far as they have been read."""

    files: list[ListedFile] = field(default_factory=list)
    #: Stored texts of the names of sub-directories.
    directories: list[str] = field(default_factory=list)
    #: Stored texts of the names of symbolic links: what they lead to is not known yet.
    links: list[str] = field(default_factory=list)
    #: Names that no file can have, and rows that are neither file, directory nor link.
    refused: list[bytes] = field(default_factory=list)


def plain_name(raw: bytes) -> str | None:
    """The stored text of a name that is its own stored text, in a link as well as on disk; None for any other."""
    return raw.decode("ascii") if _PLAIN.fullmatch(raw) else None


def stored_name(raw: bytes) -> str:
    """The stored text of a listed name.

    Raises:
        HostileName: no file can have it.
    """
    return plain_name(raw) or checked_name(raw)

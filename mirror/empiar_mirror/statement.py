"""What a mirror states of an entry: which listing, what of it is here and proven, and one digest over all of it.

The digest is made in two steps, so that a difference can be located without the digests of all files:

- A folder's is the SHA-256 of its files' lines, ``name NUL size NUL sha256 LF``, sorted.
- An entry's is the SHA-256 of the lines of the folders that hold files, ``path NUL digest LF``, sorted.

Names and paths are the bytes that they have on disk, sizes decimal, digests in lower-case hexadecimal. NUL ends a name
because no name can hold it; lines are sorted as bytes. Only files that are here and that EMPIAR lists count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from empiar_schema.paths import bytes_from_text
from empiar_schema.states import CopyState

#: The first line of the document; another number means another way to make digests.
FORMAT: Final = "empiar-mirror statement 1"

#: Texts and numbers as a statement may hold them: it may come from anywhere, and is shown on terminals.
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", max_length=10_000)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Member(NamedTuple):
    """A file that is here: its stored name (in a folder) or path (in an entry), size in bytes, sha256 in hexadecimal."""

    name: Text
    size: Number
    sha256: Digest


@dataclass(frozen=True, slots=True)
class Folder:
    """What is here of one folder; `members` only where asked for."""

    path: Text
    files: Number
    bytes: Number
    digest: Digest
    members: tuple[Member, ...] | None = None


@dataclass(frozen=True, slots=True)
class Here:
    """Files that EMPIAR lists and that are here: each proven once more between the two times, or when it came."""

    files: Number
    bytes: Number
    verified_from: Text | None
    verified_to: Text | None
    digest: Digest


@dataclass(frozen=True, slots=True)
class Lacking:
    """Listed files that are not here, or not sound: the first of them with their states, all where files are asked for."""

    files: Number = 0
    bytes: Number = 0
    named: tuple[tuple[Text, CopyState], ...] = ()


@dataclass(frozen=True, slots=True)
class Gone:
    """Files that EMPIAR lists no longer and that are still here; `damaged` counts those that do not hold any more."""

    files: Number
    bytes: Number
    digest: Digest
    damaged: Number = 0
    members: tuple[Member, ...] | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """The listing that the statement is about."""

    source: Text
    completed_at: Text
    files: Number
    bytes: Number


@dataclass(frozen=True, slots=True)
class Statement:
    """What one mirror states of one entry. The same state of the catalogue gives the same statement."""

    entry: Annotated[str, Field(pattern=r"^EMPIAR-[1-9][0-9]{0,7}$")]
    says: Text
    complete: bool
    listing: Listed | None
    here: Here
    missing: Lacking
    damaged: Lacking
    #: Listed, but never asked for.
    not_wanted: Lacking
    gone: Gone
    folders: tuple[Folder, ...]
    #: Were here, and were removed to make room.
    evicted: Lacking = Lacking()


def line_of(name: str, size: int, sha256: str) -> bytes:
    """A file's line, from its stored name."""
    return b"%b\0%d\0%b\n" % (bytes_from_text(name), size, sha256.encode())


def digest_of(lines: Iterable[bytes]) -> str:
    """SHA-256, in hexadecimal, of the lines, sorted."""
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()


def digest_of_members(members: Iterable[Member]) -> str:
    """The digest of the files of one folder."""
    return digest_of(line_of(*member) for member in members)


def digest_of_folders(folders: Iterable[Folder]) -> str:
    """The digest of an entry."""
    lines = (b"%b\0%b\n" % (bytes_from_text(f.path), f.digest.encode()) for f in folders if f.files)
    return digest_of(lines)


def contradiction_in(statement: Statement) -> str | None:
    """What in the statement does not fit together, as after a change by hand; None if all does."""
    folders = statement.folders
    paths = {folder.path for folder in folders}
    if len(paths) < len(folders):
        return "a folder is named twice"
    for folder in folders:
        if folder.members is None:
            continue
        names = {member.name for member in folder.members}
        if len(names) < len(folder.members) or len(names) != folder.files:
            return f"the folder {folder.path or '.'} has other files than it counts"
        if sum(member.size for member in folder.members) != folder.bytes:
            return f"the folder {folder.path or '.'} has other bytes than it counts"
        if digest_of_members(folder.members) != folder.digest:
            return f"the digest of the folder {folder.path or '.'} is not that of its files"
    here = statement.here
    if (here.files, here.bytes) != (sum(f.files for f in folders), sum(f.bytes for f in folders)):
        return "its folders have other files or bytes than it counts"
    if digest_of_folders(folders) != here.digest:
        return "its digest is not that of its folders"
    return None


def sentence(
    listing: Listed | None,
    here: Here,
    *,
    missing: Lacking,
    damaged: Lacking,
    not_wanted: Lacking,
    gone: Gone,
    evicted: Lacking = Lacking(),
) -> str:
    """The statement for people."""
    if listing is None:
        return "EMPIAR's files were never listed here"
    first = f"Listing by {listing.source} of {listing.completed_at}: {_files(listing.files)}, {listing.bytes:,} bytes"
    parts = [
        f"{_files(lacking.files)} {what}"
        for lacking, what in (
            (missing, "missing"),
            (damaged, "damaged"),
            (evicted, "evicted to make room"),
            (not_wanted, "never asked for"),
        )
        if lacking.files
    ]
    if not here.files:
        second = "none of it is here" if listing.files else "nothing to mirror"
    else:
        much = f"{here.files:,} of it" if parts else "all of it"
        second = f"{much} here and verified between {here.verified_from} and {here.verified_to}"
    if gone.files:
        parts.append(f"{_files(gone.files)} more that EMPIAR lists no longer")
    if gone.damaged:
        parts.append(f"{gone.damaged:,} of those that EMPIAR lists no longer damaged")
    return "; ".join([first, second, *parts])


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"

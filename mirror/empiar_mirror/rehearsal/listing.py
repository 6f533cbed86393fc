"""Which names a folder shows, right or wrong: the part of a listing that HTTPS and FTP share."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from empiar_mirror.rehearsal.archive import ArchiveFile, Node, RehearsalArchive
from empiar_mirror.rehearsal.faults import HOSTILE_NAMES, Fault, FaultBook, FaultKind

#: Unix time shown for every folder: 2022-11-17 09:00 UTC.
FOLDER_MTIME = 1_668_675_600
#: The folder that ENDLESS_FOLDERS puts into itself.
DEEPER = b"deeper"
#: Beside the entries the real archive has shown a folder that is none.
_NOT_AN_ENTRY = b"test"


def as_text(path: bytes) -> str:
    """`path` for logs and globs; bytes that are not UTF-8 survive as surrogates."""
    return path.decode("utf-8", "surrogateescape")


def find_file(archive: RehearsalArchive, path: bytes) -> tuple[int, bytes, ArchiveFile] | None:
    """Entry, path within it and file of ``10101/data/x.mrc``; None where no file is."""
    entry, _, rest = path.partition(b"/")
    file = archive.file(int(entry), rest) if entry.isdigit() else None
    return None if file is None else (int(entry), rest, file)


def find_folder(
    archive: RehearsalArchive, book: FaultBook, path: bytes
) -> Iterator[tuple[bytes, Node]] | None:
    """Names and nodes of the folder ``10101/data`` (``b""``: the list of entries); None where no folder is."""
    if book.in_force(FaultKind.ENDLESS_FOLDERS):
        while path.endswith(b"/" + DEEPER):
            path = path.removesuffix(b"/" + DEEPER)
    if path == b"":
        numbers = sorted(entry.empiar_id for entry in archive.entries.values() if entry.tree is not None)
        return iter([*((b"%d" % number, None) for number in numbers), (_NOT_AN_ENTRY, None)])
    if path == _NOT_AN_ENTRY:
        return iter(())
    number, _, rest = path.partition(b"/")
    entry = archive.entries.get(int(number)) if number.isdigit() else None
    return None if entry is None or entry.tree is None else entry.tree.children(rest)


def distorted(children: Iterator[tuple[bytes, Node]], fault: Fault | None) -> Iterator[tuple[bytes, Node]]:
    """The folder's names as `fault` shows them. The first half only, where the listing will be cut."""
    match fault.kind if fault is not None else None:
        case FaultKind.TRUNCATED_LISTING | FaultKind.CUT_PAGE:
            rows = list(children)
            return iter(rows[: len(rows) // 2])
        case FaultKind.MISSING_NAME:
            wanted = fault.value if fault is not None else ""
            return (row for row in children if not fnmatchcase(as_text(row[0]), wanted or "*"))
        case FaultKind.ENDLESS_FOLDERS:
            return iter([*children, (DEEPER, None)])
        case FaultKind.HOSTILE_NAMES:
            return iter([*children, *((name, ArchiveFile(1000, FOLDER_MTIME)) for name in HOSTILE_NAMES)])
        case _:
            return children

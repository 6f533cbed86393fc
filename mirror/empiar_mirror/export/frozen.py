"""The catalogue at one moment, for as long as an export takes."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from empiar_mirror.reading import CATALOGUE_NAME, reading
from empiar_schema.catalogue import translated
from empiar_schema.faults import StorageFault
from empiar_schema.sizes import format_bytes

#: A catalogue beyond this size takes minutes to export, and the log of a mirror that writes meanwhile could not be emptied.
COPY_FROM_BYTES: Final = 256 * 2**20
_PAGES_CACHE_KIB: Final = 64_000


@contextmanager
def frozen(
    root: Path, folder: Path, *, large: bool, copy_from: int = COPY_FROM_BYTES
) -> Iterator[sqlite3.Connection]:
    """A reading connection to one moment of the catalogue.

    A small catalogue, and tables that are not `large`, are read in one transaction. Of a big one a copy is made in
    `folder` first, which takes seconds, and is removed at the end; a mirror that writes is then in nobody's way.

    Raises:
        CatalogueFault: there is no catalogue, or SQLite refuses it.
        StorageFault: there is no room for the copy.
    """
    with reading(root) as connection:
        size = _size(root)
        if not large or size < copy_from:
            connection.execute("BEGIN")
            connection.row_factory = None
            yield connection
            return
        copy = folder / "catalogue.db"
        _room_for(folder, size)
        with translated(copy), closing(sqlite3.connect(copy)) as target:
            connection.backup(target)
    try:
        with translated(copy), closing(_open(copy)) as connection:
            yield connection
    finally:
        copy.unlink(missing_ok=True)


def _size(root: Path) -> int:
    file, log = root / CATALOGUE_NAME, root / f"{CATALOGUE_NAME}-wal"
    return file.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _room_for(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StorageFault(
            f"the export needs a copy of the catalogue of {format_bytes(size)}, and {format_bytes(free)} are free at {folder.parent}",
            hint="choose a place with more room",
            full=True,
        )


def _open(copy: Path) -> sqlite3.Connection:
    # Nobody else has it: no locks and no log are needed.
    uri = f"file:{quote(str(copy).encode('utf-8', 'surrogateescape'))}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA temp_store = FILE")
    connection.execute(f"PRAGMA cache_size = -{_PAGES_CACHE_KIB}")
    return connection

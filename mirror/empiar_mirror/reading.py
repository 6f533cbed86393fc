"""Read-only access to a mirror's catalogue, beside whichever process is writing it. It needs no lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import CatalogueFault

CATALOGUE_NAME: Final = "empiar.db"


def require_catalogue(root: Path) -> None:
    """Returns where a mirror is in `root`; for those who would otherwise make folders in it.

    Raises:
        CatalogueFault: there is none.
    """
    if not (root / CATALOGUE_NAME).exists():
        raise CatalogueFault(
            f"there is no catalogue in {root}",
            hint="run `empiar-mirror init` there first, or name the configuration with --config",
        )


@contextmanager
def reading(root: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, rows by name, closed at the end.

    Raises:
        CatalogueFault: there is no catalogue, it is of another version, or SQLite refuses it.
    """
    with (
        Catalogue.open(root / CATALOGUE_NAME, read_only=True) as catalogue,
        catalogue.reader() as connection,
    ):
        # Sorting and grouping spill into files (SQLITE_TMPDIR, /var/tmp) instead of memory.
        connection.execute("PRAGMA temp_store = FILE")
        yield connection

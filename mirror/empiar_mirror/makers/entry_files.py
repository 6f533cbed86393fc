"""The files of an entry that makers may work on, as the catalogue has them."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

from empiar_imaging.formats.inspect import inspect
from empiar_mirror.layout import FOLDERS, LaidFile, natural_key
from empiar_mirror.makers.maker import EntryFiles, Facts, Source
from empiar_mirror.makers.templates import on_disk
from empiar_schema.listing_reads import listed_files
from empiar_schema.states import HERE, Role

#: Roles of files whose listing decides what is made, whatever is here of it.
_LISTED = frozenset({*FOLDERS, Role.PARTICLE_STACK})


def entry_files(conn: sqlite3.Connection, root: Path, empiar_id: int) -> EntryFiles:
    """What is here of the entry, in natural order of the paths, and its products that are up to date."""
    deposited = _deposited(conn, root, empiar_id)
    by_id = {source.file_id: source for source in deposited}
    products = _products(conn, root, empiar_id, by_id)
    deposited.sort(key=lambda source: natural_key(source.path))
    listed = tuple(LaidFile(*row) for row in listed_files(conn, empiar_id, _LISTED, with_gone=True))
    return EntryFiles(empiar_id, tuple(deposited), tuple(products), listed)


def _deposited(conn: sqlite3.Connection, root: Path, empiar_id: int) -> list[Source]:
    rows = conn.execute(
        "SELECT c.file_id, c.path, f.role, c.bytes, c.sha256, i.width, i.height, i.frames,"
        " coalesce(nullif(i.pixel_size_angstrom, 0), nullif(m.pixel_width_angstrom, 0))"
        " FROM copies c JOIN files f ON f.file_id = c.file_id LEFT JOIN images i ON i.file_id = c.file_id"
        " LEFT JOIN micrographs m ON m.file_id = c.file_id"
        " WHERE c.empiar_id = ? AND c.state IN (SELECT value FROM json_each(?)) AND c.sha256 IS NOT NULL",
        (empiar_id, json.dumps(sorted(HERE))),
    )
    archive = root / "archive" / str(empiar_id)
    return [
        Source(file_id, path, role, archive / on_disk(path), size, sha256, Facts(*facts))
        for file_id, path, role, size, sha256, *facts in rows
    ]


def _products(
    conn: sqlite3.Connection, root: Path, empiar_id: int, deposited: dict[int | None, Source]
) -> list[Source]:
    rows = conn.execute(
        "SELECT path, kind, maker, parent_file_id, bytes, sha256 FROM derived"
        " WHERE empiar_id = ? AND NOT stale ORDER BY product_id",
        (empiar_id,),
    )
    derived = root / "derived" / str(empiar_id)
    products: list[Source] = []
    for path, kind, maker, parent_id, size, sha256 in rows:
        parent = deposited.get(parent_id)
        source_path = path.partition("/")[2] if parent is None else parent.path
        facts = Facts() if parent is None else Facts(pixel_size_angstrom=parent.facts.pixel_size_angstrom)
        products.append(
            Source(parent_id, source_path, kind, derived / on_disk(path), size, sha256, facts, path, maker)
        )
    return products


def with_header_facts(source: Source) -> Source:
    """The source with what its own header says now; as it is where the header cannot be read."""
    try:
        found = inspect(source.local, name=source.name, size=source.size).facts
    except OSError:
        return source
    if found is None:
        return source
    size = found.pixel_size_angstrom or source.facts.pixel_size_angstrom
    return replace(source, facts=Facts(found.width, found.height, found.frames, size))

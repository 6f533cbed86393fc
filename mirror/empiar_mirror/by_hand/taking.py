"""The catalogue takes in what stands below ``labels``. Whoever owns the catalogue does it; the page that saves versions never writes there.

So a page that is killed, or whose catalogue is busy, saves all the same, and a catalogue that was lost knows all versions again.
"""

from __future__ import annotations

import functools
import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path

from empiar_imaging.labels.by_hand import HandVersion
from empiar_mirror.by_hand.versions import FOLDER, VersionFile, all_versions
from empiar_schema import label_version_store as store
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import BadLabels
from empiar_schema.label_version_store import LabelVersion
from empiar_schema.listing_reads import file_id_of
from empiar_schema.times import epoch


async def take_in(catalogue: Catalogue, root: Path, empiar_id: int) -> int:
    """The catalogue knows every version of the entry, and which of them are missing or cannot be used; returns how many rows have changed.

    Raises:
        StorageFault: the disk refused.
    """
    if not (root / FOLDER).is_dir():
        return 0
    new, missing = await catalogue.read(functools.partial(_look, root=root, empiar_id=empiar_id))
    if new:
        await catalogue.write(functools.partial(store.record_versions, versions=new))
    if missing:
        lost = functools.partial(store.record_missing, empiar_id=empiar_id, missing=missing)
        await catalogue.write(lost)
    return len(new) + len(missing)


def _look(
    conn: sqlite3.Connection, *, root: Path, empiar_id: int
) -> tuple[list[LabelVersion], list[tuple[str, int]]]:
    """Versions that are not on record as they stand now, and those on record that stand no more."""
    known = store.known_versions(conn, empiar_id)
    new, here = [], set()
    for files in all_versions(root, empiar_id):
        file_id = file_id_of(conn, files[0].remote)
        for file in files:
            key = (file.remote.path, file.number)
            here.add(key)
            before = known.get(key)
            facts = file.path.lstat()
            if before is None or (before.file_id, before.size, before.modified_ns) != (
                file_id, facts.st_size, facts.st_mtime_ns,
            ):  # fmt: skip
                new.append(_row(file, file_id, facts.st_mtime_ns))
    missing = [key for key, row in known.items() if key not in here and row.modified_ns is not None]
    return new, missing


def _row(file: VersionFile, file_id: int | None, modified_ns: int) -> LabelVersion:
    place = (file.remote.empiar_id, file.remote.path, file.number, file_id, file.aside)
    raw, version, problem = b"", None, None
    try:
        raw = file.raw()
        version = file.read()
    except BadLabels as fault:
        problem = str(fault)
    row = LabelVersion(
        *place, size=len(raw), modified_ns=modified_ns, sha256=hashlib.sha256(raw).digest(), problem=problem
    )
    return row if version is None else _with(row, version)


def _with(row: LabelVersion, version: HandVersion) -> LabelVersion:
    return replace(
        row,
        base=version.base,
        author=version.author,
        saved_at=epoch(version.saved_at),
        note=version.note,
        kept=len(version.of_state("kept")),
        rejected=len(version.of_state("rejected")),
        added=version.added,
        diameter_px=version.diameter_px,
        width=version.width,
        height=version.height,
        pixel_size_angstrom=version.pixel_size_angstrom,
        micrograph_sha256=bytes.fromhex(version.micrograph_sha256),
        picture=version.picture,
    )

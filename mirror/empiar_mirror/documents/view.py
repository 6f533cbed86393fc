"""The documents of one layout on disk: ``manifests/<id>/<view>``.

| file | what it is |
| --- | --- |
| ``data`` | a link to ``datasets/<view>/<id>`` |
| ``ro-crate-metadata.json`` | RO-Crate 1.2 |
| ``croissant.json``, ``micrographs.tsv`` | MLCommons Croissant 1.1, and a table that it reads |
| ``bagit.txt``, ``bag-info.txt``, ``manifest-sha256.txt``, ``fetch.txt``, ``tagmanifest-sha256.txt`` | BagIt, RFC 8493 |

Each is replaced in whole; ``tagmanifest-sha256.txt`` comes last, so that a crash in between shows.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from empiar_mirror.arrange import MAPPING
from empiar_mirror.documents import bag
from empiar_mirror.documents.crate import CRATE, LISTED_FILES, CrateFacts, crate
from empiar_mirror.documents.croissant import CROISSANT, MICROGRAPHS_TABLE, croissant, micrographs_table
from empiar_mirror.documents.placed import LayoutSummary, placed_files, summarize
from empiar_mirror.documents.subject import Subject
from empiar_mirror.documents.writing import write_document
from empiar_schema.crawl_store import entry_of
from empiar_schema.disk import make_folder, standing, storage_fault, sync_folder
from empiar_schema.faults import StorageFault
from empiar_schema.provenance_store import archive_https_url, arrivals, known_since, made_file

PAYLOAD: Final = "data"
BAG_FILES: Final = (bag.DECLARATION, bag.INFO, bag.MANIFEST, bag.FETCH, bag.TAG_MANIFEST)
DOCUMENTS: Final = (*BAG_FILES, CRATE, CROISSANT, MICROGRAPHS_TABLE)

_READ_BYTES: Final = 256 * 1024


def documents_folder(root: Path, empiar_id: int, view: str) -> Path:
    """``manifests/<id>/<view>``."""
    return root / "manifests" / str(empiar_id) / view


def write_view_documents(
    conn: sqlite3.Connection, root: Path, empiar_id: int, *, view: str
) -> tuple[str, ...]:
    """The documents of the layout stand, or are gone where there is no layout; returns what could not be said, in sentences.

    Files are written only if their bytes change. Memory does not grow with the number of files.

    Raises:
        StorageFault: the disk refused.
    """
    layout = root / "datasets" / view / str(empiar_id)
    folder = documents_folder(root, empiar_id, view)
    try:
        summary = summarize(placed_files(layout))
        if not summary.files:
            remove_view_documents(root, empiar_id, view=view)
            return ()
        _link_payload(root, folder, layout)
        size, digest = _measured(layout / MAPPING)
    except OSError as error:
        raise storage_fault(error, f"cannot describe {layout}") from error
    subject = Subject(
        empiar_id, view, entry_of(conn, empiar_id), known_since(conn, empiar_id), version("empiar-mirror")
    )
    digests = _write(root, folder, {MICROGRAPHS_TABLE: micrographs_table(placed_files(layout))})
    table = digests.get(MICROGRAPHS_TABLE)
    digests |= _write(
        root,
        folder,
        {
            CRATE: crate(_crate_facts(conn, layout, subject, summary, size, digest)),
            CROISSANT: [croissant(subject, summary, mapping_sha256=digest, micrographs_sha256=table)],
        },
    )
    if summary.no_bag is not None:
        _write(root, folder, dict.fromkeys(BAG_FILES, ()))
        return (f"no bag of {subject.accession} {view}: {summary.no_bag}",)
    files, payload_bytes = summary.files + 1, summary.bytes + size
    https_url = archive_https_url(conn)
    tags: dict[str, Iterable[bytes]] = {
        bag.DECLARATION: [bag.DECLARATION_TEXT],
        bag.INFO: [bag.info(subject, files=files, payload_bytes=payload_bytes)],
        bag.MANIFEST: bag.manifest(placed_files(layout), mapping_sha256=digest),
        bag.FETCH: bag.fetch(placed_files(layout), empiar_id=empiar_id, https_url=https_url),
    }
    digests |= _write(root, folder, tags)
    _write(root, folder, {bag.TAG_MANIFEST: bag.tag_manifest(digests)})
    return ()


def _write(root: Path, folder: Path, documents: Mapping[str, Iterable[bytes]]) -> dict[str, str]:
    """The documents stand, those without content are gone; returns the SHA-256 of each that stands."""
    digests = {}
    for name, pieces in documents.items():
        written = write_document(folder / name, pieces, root=root)
        if written.bytes:
            digests[name] = written.sha256
    return digests


def remove_view_documents(root: Path, empiar_id: int, *, view: str) -> bool:
    """The documents of the layout are gone; whether there were any. Files of other names stay.

    Raises:
        StorageFault: the disk refused.
    """
    folder = documents_folder(root, empiar_id, view)
    if folder.is_symlink() or not folder.is_dir():
        return False
    removed = False
    try:
        payload = folder / PAYLOAD
        if payload.is_symlink():
            payload.unlink()
            removed = True
        for name in DOCUMENTS:
            removed |= write_document(folder / name, (), root=root).changed
        if not any(folder.iterdir()):
            folder.rmdir()
            sync_folder(folder.parent)
    except OSError as error:
        raise storage_fault(error, f"cannot remove the documents in {folder}") from error
    return removed


def remove_stale_documents(root: Path, empiar_id: int) -> tuple[str, ...]:
    """Documents of layouts that are gone are gone, too; returns the views' names.

    Raises:
        StorageFault: the disk refused.
    """
    return tuple(
        view
        for view in _described_views(root, empiar_id)
        if not (root / "datasets" / view / str(empiar_id)).is_dir()
        and remove_view_documents(root, empiar_id, view=view)
    )


def _described_views(root: Path, empiar_id: int) -> Iterator[str]:
    try:
        names = sorted(
            entry.name for entry in os.scandir(root / "manifests" / str(empiar_id)) if entry.is_dir()
        )
    except FileNotFoundError:
        return
    yield from names


def _crate_facts(
    conn: sqlite3.Connection, layout: Path, subject: Subject, summary: LayoutSummary, size: int, digest: str
) -> CrateFacts:
    listed = list(placed_files(layout)) if summary.files <= LISTED_FILES else []
    return CrateFacts(
        subject,
        summary,
        size,
        digest,
        listed,
        arrivals(conn, subject.empiar_id),
        archive_https_url(conn),
        lambda path: made_file(conn, subject.empiar_id, path),
    )


def _link_payload(root: Path, folder: Path, layout: Path) -> None:
    make_folder(folder, within=standing(root))
    payload, goal = folder / PAYLOAD, os.path.relpath(layout, folder)
    if os.path.lexists(payload):
        if not payload.is_symlink():
            raise StorageFault(
                f"{payload} is in the way and is no link", hint="move it elsewhere, then arrange again"
            )
        if str(payload.readlink()) == goal:
            return
    fresh = folder / f".{PAYLOAD}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(goal)
    fresh.replace(payload)
    sync_folder(folder)


def _measured(file: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 in hex."""
    size, digest = 0, hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(_READ_BYTES):
            size += len(piece)
            digest.update(piece)
    return size, digest.hexdigest()

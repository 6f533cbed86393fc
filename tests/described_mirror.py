"""A mirror with one entry that is here, arranged, and described: for tests of the documents."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from claims import claim
from empiar_mirror.arrange import MAPPING
from empiar_mirror.documents.view import documents_folder, write_view_documents
from empiar_mirror.folders import Folders
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry, record_roles
from empiar_schema.entry import Author, Citation, Entry
from empiar_schema.files import ListedFile, Validators
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.paths import bytes_from_text, text_from_bytes
from empiar_schema.states import Channel, Role
from empiar_schema.transfer_store import Arrival, record_arrivals, want_entry

ENTRY: Final = 10017
VIEW: Final = "cryoppp"
#: 2026-01-01T00:00:00Z.
NOW: Final = 1_767_225_600

FULL: Final = Entry(
    empiar_id=ENTRY,
    title="Beta-galactosidase, 3.2 Å",
    status="REL",
    release_date="2014-10-22",
    update_date="2020-01-05",
    doi="10.6019/EMPIAR-10017",
    authors=(Author(name="Doe J", orcid="0000-0002-1825-0097"), Author(name="Roe R")),
    citations=(
        Citation(
            authors=(Author(name="Doe J"),),
            title="Structure",
            journal="J Str Biol",
            year=2014,
            doi="10.1000/a.b",
        ),
    ),
)
MICROGRAPHS: Final = {
    b"data/a.mrc": b"image a",
    b"data/b.c.mrc": b"image b",
    b"data/no picks.mrc": b"image c",
}
LABELS: Final = {
    "ground_truth/particle_coordinates/a.csv": b"X-Coordinate,Y-Coordinate,Diameter,Angle-Psi\n10,20,108,\n30,40,108,\n",
    "ground_truth/particle_coordinates/b.c.csv": b"X-Coordinate,Y-Coordinate,Diameter,Angle-Psi\n5,6,108,0.5\n",
}


class DescribedMirror:
    """Entry 10017 with these files, all micrographs, and these labels derived from them."""

    def __init__(
        self,
        root: Path,
        files: Mapping[bytes, bytes] = MICROGRAPHS,
        *,
        entry: Entry | None = FULL,
        labels: Mapping[str, bytes] | None = None,
    ) -> None:
        Folders.below(root)
        self.root = root
        self.layout = root / "datasets" / VIEW / str(ENTRY)
        self.documents = documents_folder(root, ENTRY, VIEW)
        for raw, content in files.items():
            path = root / "archive" / str(ENTRY) / os.fsdecode(raw)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        with Catalogue.open(root / "empiar.db", create=True) as catalogue:
            catalogue.write_now(lambda conn: _crawled(conn, files, entry))
            catalogue.write_now(lambda conn: _transferred(conn, files))
            catalogue.write_now(lambda conn: _made(conn, labels or {}))
        self.lay_out(files, labels or {})
        self.notes = self.describe()

    def lay_out(self, files: Mapping[bytes, bytes], labels: Mapping[str, bytes]) -> None:
        """The layout and its mapping, by hand: micrographs as deposited, labels as derived from them."""
        if not files:
            return
        rows = [("place", "path", "role", "origin", "stem", "sha256", "rule")]
        for raw, content in files.items():
            path = text_from_bytes(raw)
            place = f"micrographs/{path.rpartition('/')[2]}"
            self._link(self.root / "archive" / str(ENTRY) / os.fsdecode(raw), place)
            stem = place.rpartition("/")[2].rpartition(".")[0]
            rows.append((place, path, "micrograph", "deposited", stem, _sha256(content), "name"))
        for place, content in labels.items():
            name = place.rpartition("/")[2]
            source = self.root / "derived" / str(ENTRY) / "labels" / name
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(content)
            self._link(source, place)
            path = f"labels/{name}"
            rows.append((place, path, "particle_coordinates", "derived", name[:-4], _sha256(content), "stem"))
        (self.layout / MAPPING).write_text("".join("\t".join(row) + "\n" for row in rows))

    def _link(self, source: Path, place: str) -> None:
        target = self.layout / os.fsdecode(bytes_from_text(place))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)

    def describe(self) -> tuple[str, ...]:
        with Catalogue.open(self.root / "empiar.db") as catalogue, catalogue.reader() as conn:
            return write_view_documents(conn, self.root, ENTRY, view=VIEW)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _crawled(conn: sqlite3.Connection, files: Mapping[bytes, bytes], entry: Entry | None) -> None:
    if entry is None:
        conn.execute("INSERT INTO entry (empiar_id, discovered_at) VALUES (?, ?)", (ENTRY, NOW - 86_400))
    else:
        record_entry(conn, entry, source="api", now=NOW - 86_400)
    listing = begin_listing(conn, ENTRY, source="ftp", now=NOW)
    for raw, content in files.items():
        directory, _, name = text_from_bytes(raw).rpartition("/")
        add_to_listing(conn, listing, directory, [ListedFile(name, len(content), True, NOW - 10**6, 1)])
    complete_listing(conn, listing, now=NOW)
    rows = conn.execute("SELECT file_id FROM files").fetchall()
    record_roles(conn, [(row[0], Role.MICROGRAPH, 1.0) for row in rows])


def _transferred(conn: sqlite3.Connection, files: Mapping[bytes, bytes]) -> None:
    want_entry(conn, ENTRY, now=NOW)
    arrivals = []
    for work in claim(conn, now=NOW, limit_files=len(files) + 1, limit_bytes=10**12):
        content = files[bytes_from_text(work.remote.path)]
        validators = Validators(len(content), NOW - 10**6, None)
        digest = hashlib.sha256(content).digest()
        arrivals.append(Arrival(work.file_id, len(content), digest, Channel.HTTPS, validators))
    record_arrivals(conn, arrivals, now=NOW)


def _made(conn: sqlite3.Connection, labels: Mapping[str, bytes]) -> None:
    if not labels:
        return
    conn.execute(
        "INSERT INTO job (job_id, empiar_id, maker, state, recipe, command, version, wanted_at)"
        " VALUES (1, ?, 'labels', 2, 'recipe 1', 'labels from particles.star', '0.1.0', ?)",
        (ENTRY, NOW),
    )
    conn.execute(
        "CREATE TABLE IF NOT EXISTS job_input (job_id INTEGER NOT NULL, position INTEGER NOT NULL, role TEXT NOT NULL,"
        " file_id INTEGER, product TEXT, PRIMARY KEY (job_id, position))"
    )
    inputs = [(1, 0, "micrograph", 1, None), (1, 1, "particle_coordinates", None, "labels/b.c.csv")]
    inputs += [(1, n, "particle_coordinates", None, f"picked/{n}.star") for n in range(2, 30)]
    conn.executemany("INSERT INTO job_input VALUES (?, ?, ?, ?, ?)", inputs)
    parent = conn.execute("SELECT min(file_id) FROM files").fetchone()[0]
    for place, content in labels.items():
        name = place.rpartition("/")[2]
        conn.execute(
            "INSERT INTO product (job_id, empiar_id, path, kind, stem, parent_file_id, bytes, sha256, made_at)"
            " VALUES (1, ?, ?, 'particle_coordinates', ?, ?, ?, ?, ?)",
            (ENTRY, f"labels/{name}", name[:-4], parent, len(content), hashlib.sha256(content).digest(), NOW),
        )

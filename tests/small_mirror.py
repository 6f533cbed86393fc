"""A small catalogue with files in every state, made by the stores themselves."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from claims import claim
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry, record_roles
from empiar_schema.entry import Entry, ImageSet
from empiar_schema.files import ListedFile, Validators
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.states import Channel, Role
from empiar_schema.transfer_store import (
    Arrival,
    Attempt,
    park,
    record_arrivals,
    record_attempts,
    record_damaged,
    release,
    want_entry,
)

#: 2026-01-01T00:00:00Z.
NOW: Final = 1_767_225_600
ENTRY: Final = 10017
UNWANTED: Final = 10028
UNLISTED: Final = 10029
SIZE: Final = 4_000_000
DIRECTORY: Final = "data/micrographs"
#: Names of ENTRY's files in the order of claims: what becomes of each is in its name.
NAMES: Final = (
    "a_arrived.mrc",
    "b_damaged.mrc",
    "c_parked.mrc",
    "d_waiting.mrc",
    "e_claimed.mrc",
    "f_wanted.mrc",
)


def make_small_mirror(root: Path) -> None:
    """The folders and the catalogue of a mirror below `root`; no file stands in the archive."""
    for name in ("archive", "staging", "datasets", "manifests", "quarantine"):
        (root / name).mkdir(parents=True)
    with Catalogue.open(root / "empiar.db", create=True) as catalogue:
        catalogue.write_now(_crawled)
        catalogue.write_now(_transferred)


def _crawled(conn: sqlite3.Connection) -> None:
    images = ImageSet(position=0, name="Micrographs", directory="data", pixel_width_angstrom=1.77)
    for empiar_id in (ENTRY, UNWANTED, UNLISTED):
        title = f"Beta-galactosidase, part {empiar_id}"
        entry = Entry(empiar_id=empiar_id, title=title, status="REL", imagesets=(images,))
        record_entry(conn, entry, source="api", now=NOW)
    for empiar_id, names in ((ENTRY, NAMES), (UNWANTED, ("only.mrc",))):
        listing = begin_listing(conn, empiar_id, source="ftp", now=NOW)
        files = [ListedFile(name, SIZE, True, NOW - 10**6, 1) for name in names]
        add_to_listing(conn, listing, DIRECTORY, files)
        add_to_listing(conn, listing, "", [ListedFile(f"{empiar_id}.xml", 1000, True, NOW - 10**6, 1)])
        complete_listing(conn, listing, now=NOW)
    rows = conn.execute("SELECT file_id FROM files WHERE name LIKE '%.mrc'").fetchall()
    record_roles(conn, [(row[0], Role.MICROGRAPH, 1.0) for row in rows])


def _transferred(conn: sqlite3.Connection) -> None:
    want_entry(conn, ENTRY, now=NOW)
    numbers = dict(conn.execute("SELECT name, file_id FROM files WHERE empiar_id = ?", (ENTRY,)).fetchall())
    arrived, damaged, parked, waiting, claimed, wanted = (numbers[name] for name in NAMES)
    claim(conn, now=NOW, limit_files=100, limit_bytes=10**12)
    header = numbers[f"{ENTRY}.xml"]
    validators = Validators(SIZE, NOW - 10**6, None)
    record_attempts(
        conn,
        [Attempt(n, Channel.HTTPS, NOW - 10, NOW - 2, 0, SIZE, "done") for n in (arrived, damaged)]
        + [Attempt(waiting, Channel.HTTPS, NOW - 10, NOW - 1, 0, 0, "failed", "HTTP 503")],
    )
    record_arrivals(
        conn,
        [
            Arrival(n, size, bytes(32), Channel.HTTPS, validators)
            for n, size in ((arrived, SIZE), (damaged, SIZE), (header, 1000))
        ],
        now=NOW,
    )
    record_damaged(conn, damaged, error="3 bytes differ from the record", now=NOW)
    park(conn, parked, error="GET c_parked.mrc: HTTP 404")
    release(conn, waiting, not_before=NOW + 300, error="HTTP 503", keep_partial=False)
    release(conn, wanted, not_before=0, error=None, keep_partial=False)
    assert claimed  # stays as it is


def same_file_in_another_entry(conn: sqlite3.Connection) -> None:
    """A file of EMPIAR-10028 has arrived, with the size and the digest of those of the first entry."""
    conn.execute(
        "INSERT INTO copy (file_id, empiar_id, state, bytes, sha256, wanted_at)"
        " SELECT f.file_id, 10028, 3, 4000000, zeroblob(32), 1 FROM files f WHERE f.name = 'only.mrc'"
    )

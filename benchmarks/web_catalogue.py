"""A catalogue of the size of EMPIAR, with all that the web page shows of it; made for `benchmarks/web.py`.

3,000 entries with authors, papers and maps, 20 million files, of which a million are here with an attempt each, two entries of 500,000 files (one in folders
of 5,000, one in a single folder), changes and contradictions.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_schema import crawl_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import CachedAnswer
from empiar_schema.emdb import EmdbEntry
from empiar_schema.emdb_store import record_emdb
from empiar_schema.entry import Author, Citation, CrossReference, Entry, ImageSet

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.catalogue import batches, files_of
from benchmarks.idle import FIRST, fill

#: 500,000 files in folders of 5,000.
FOLDERS: Final = 10_001
#: As many in one folder.
FLAT: Final = 9_999
_BATCH: Final = 5_000
_DAYS: Final = 60
_CHANGES: Final = 200_000
_CONTRADICTIONS: Final = 30_000
_SUBJECTS: Final = (
    "membrane protein", "ribosome", "beta-galactosidase", "spliceosome", "apoferritin", "TRPV1", "proteasome",
    "nucleosome", "microtubule", "coronavirus spike", "ATP synthase", "gamma-secretase",
)  # fmt: skip
_KINDS: Final = ("EMDB", "tomography", "SBF-SEM", "FIB-SEM")
_FORMATS: Final = ("MRC", "TIFF", "EER", "MRCS")
_MICROSCOPES: Final = ("FEI TITAN KRIOS", "FEI TALOS ARCTICA", "JEOL CRYO ARM 300")


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much there is."""

    entries: int = 3_000
    files: int = 20_000_000
    here: int = 1_000_000
    #: Files of each of the two large entries.
    large: int = 500_000


def make(root: Path, amounts: Amounts) -> None:
    """The catalogue is in `root`, made by the stores themselves as far as they are quick enough."""
    now = int(time.time())
    chance = random.Random(1)
    with Catalogue.open(root / "empiar.db", create=True) as catalogue:
        rest = max(amounts.entries, amounts.files - 2 * amounts.large)
        fill(catalogue, entries=amounts.entries, files=rest, here=amounts.here)
        for number, flat in ((FOLDERS, False), (FLAT, True)):
            catalogue.write_now(_described(number, chance, now))
            catalogue.write_now(_large(number, amounts.large, now, flat=flat))
        for number in range(FIRST, FIRST + amounts.entries):
            catalogue.write_now(_described(number, chance, now))
        catalogue.write_now(lambda conn: _life(conn, amounts, now))


def _described(empiar_id: int, chance: random.Random, now: int) -> Callable[[sqlite3.Connection], None]:
    """The entry is described as real ones are, and so is its map."""
    subject, others = chance.choice(_SUBJECTS), chance.sample(_SUBJECTS, 2)
    map_id = f"EMD-{empiar_id}"
    images = tuple(
        ImageSet(
            position=n,
            name=f"Micrographs of {others[n % 2]}",
            directory="data",
            category="micrographs - multiframe" if n == 0 else "picked particles - multiframe",
            data_format=chance.choice(_FORMATS),
            image_count=chance.randrange(100, 10_000),
            pixel_width_angstrom=chance.randrange(50, 300) / 100,
            details=" ".join(chance.choices(_SUBJECTS, k=30)),
        )
        for n in range(2)
    )
    entry = Entry(
        empiar_id=empiar_id,
        title=f"Structure {empiar_id} of {subject} with {others[0]}",
        status="REL",
        experiment_type=chance.choice(_KINDS),
        scale="molecule",
        release_date=f"{chance.randrange(2013, 2027)}-{chance.randrange(1, 13):02}-01",
        dataset_bytes=chance.randrange(10**10, 2 * 10**13),
        imagesets=images,
        authors=tuple(Author(name=f"Author{chance.randrange(4000)} A") for _ in range(10)),
        citations=(Citation(title=f"How {subject} works", journal="Nature", year=2020, doi=f"10.1000/{empiar_id}"),),
        cross_references=(CrossReference(kind="EMDB", accession=map_id),),
    )  # fmt: skip
    facts = EmdbEntry(
        emdb_id=map_id,
        status="REL",
        title=entry.title,
        method="singleParticle",
        resolution_angstrom=chance.randrange(15, 90) / 10,
        microscope=chance.choice(_MICROSCOPES),
        voltage_kv=300.0,
        sample=subject,
        organism="Homo sapiens",
    )

    def job(conn: sqlite3.Connection) -> None:
        crawl_store.record_entry(conn, entry, source="api", now=now)
        if chance.random() < 0.9:
            record_emdb(conn, facts, CachedAnswer(None, None), now=now)

    return job


def _large(empiar_id: int, files: int, now: int, *, flat: bool) -> Callable[[sqlite3.Connection], None]:
    def job(conn: sqlite3.Connection) -> None:
        number = crawl_store.begin_listing(conn, empiar_id, source="ftp", now=now)
        if flat:
            listed = files_of(0, files)
            for start in range(0, files, _BATCH):
                crawl_store.add_to_listing(conn, number, "data", listed[start : start + _BATCH])
        else:
            for directory, part in batches(files):
                crawl_store.add_to_listing(conn, number, directory, part)
        crawl_store.complete_listing(conn, number, now=now)

    return job


def _life(conn: sqlite3.Connection, amounts: Amounts, now: int) -> None:
    """What months leave: an attempt for each file here, changes, contradictions. Straight into the tables."""
    step = _DAYS * 86_400 / max(1, amounts.here)
    conn.execute(
        "INSERT INTO attempt SELECT file_id, ended - 9, channel, 0, ended, bytes, outcome, NULL FROM ("
        " SELECT file_id, ?1 - row_number() OVER () * ?2 AS ended, bytes_here AS bytes,"
        " CASE WHEN file_id % 3 THEN 'https' ELSE 'ftp' END AS channel, CASE WHEN file_id % 50 THEN 'done' ELSE 'failed' END AS outcome"
        " FROM copy WHERE state = 3)",
        (now, step),
    )
    scale = amounts.files / Amounts().files
    counted = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) "
    place = f"{FIRST} + i * 7919 % {amounts.entries}"
    conn.execute(
        f"{counted} INSERT INTO change (changed_at, empiar_id, kind, field, old, new)"
        f" SELECT ?2 - i * 60, {place}, 'changed', 'title', 'before ' || i, 'after ' || i FROM n",
        (int(_CHANGES * scale), now),
    )
    conn.execute(
        f"{counted} INSERT INTO contradiction (empiar_id, path, what, stated, found, source, first_seen_at, last_seen_at)"
        f" SELECT {place}, 'data/' || i || '.mrc', 'pixel size', '1.' || i % 100, '1.0', 'header', ?2, ?2 FROM n",
        (int(_CONTRADICTIONS * scale), now),
    )


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, with `amounts` of how much there is to be, and `folder`."""
    parser.add_argument("--entries", type=int, default=Amounts().entries)
    parser.add_argument("--files", type=int, default=Amounts().files, help="files in all")
    parser.add_argument("--here", type=int, default=Amounts().here, help="so many of them are here")
    parser.add_argument(
        "--large", type=int, default=Amounts().large, help="files of each of two large entries"
    )
    parser.add_argument("--folder", type=Path, help="the catalogue is made here and kept, or is here already")
    given = parser.parse_args()
    given.amounts = Amounts(given.entries, given.files, given.here, given.large)
    return given

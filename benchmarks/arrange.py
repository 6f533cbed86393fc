"""Links of a layout a second, beside bare `os.link` of the same files; and the memory that planning takes a file.

Run by hand: ``python benchmarks/arrange.py [--files N] [--rounds N] [--folder DIR]``. In each round the bare links and the
layout are made one after the other, on the same file system, and only the ratio means anything: both depend on the disk.
Whole is what `arrange` does for an entry: read the catalogue, plan, check every source, link, write the mapping, flush.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sqlite3
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path

from empiar_mirror.arrange import arrange_entry, read_plan
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_roles
from empiar_schema.files import ListedFile
from empiar_schema.layout_views import PRESETS
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.states import Channel, Role
from empiar_schema.transfer_store import Arrival, record_arrivals, want_entry

ENTRY = 10028


def make_entry(root: Path, catalogue: Catalogue, files: int) -> list[str]:
    """An entry whose micrographs are here, in folders of a thousand, every fiftieth name in two of them."""
    folder = "data/micrographs/GridSquare_{}"
    names = [f"FoilHole_1904{n:07d}_Data_19046157_{n:07d}_20140519_1244_DW.mrc" for n in range(files)]
    by_folder: dict[str, list[str]] = {}
    for number, name in enumerate(names):
        by_folder.setdefault(folder.format(number // 1000), []).append(
            names[0] if number % 50 == 49 and number > 1000 and number % 1000 == 49 else name
        )

    def record(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO entry (empiar_id, discovered_at) VALUES (?, 1)", (ENTRY,))
        listing = begin_listing(conn, ENTRY, source="ftp", now=1)
        for directory, inside in by_folder.items():
            add_to_listing(conn, listing, directory, [ListedFile(name, 4, True, 1, 1) for name in inside])
        complete_listing(conn, listing, now=2)
        ids = [row[0] for row in conn.execute("SELECT file_id FROM file")]
        record_roles(conn, [(file_id, Role.MICROGRAPH, 1.0) for file_id in ids])
        want_entry(conn, ENTRY, now=3)
        arrivals = [Arrival(file_id, 4, os.urandom(32), Channel.FTP, None) for file_id in ids]
        conn.execute("UPDATE copy SET state = 2")
        record_arrivals(conn, arrivals, now=4)

    catalogue.write_now(record)
    sources = []
    for directory, inside in by_folder.items():
        here = root / "archive" / str(ENTRY) / directory
        here.mkdir(parents=True)
        for name in inside:
            (here / name).write_bytes(b"mrc\n")
            sources.append(str(here / name))
    return sources


def bare(sources: list[str], folder: Path) -> float:
    """Seconds for one `os.link` a file."""
    folder.mkdir()
    begin = time.perf_counter()
    for number, source in enumerate(sources):
        os.link(source, f"{folder}/{number:07d}_FoilHole_Data_19046157_20140519_1244_DW.mrc")
    return time.perf_counter() - begin


def layout(root: Path, catalogue: Catalogue) -> tuple[float, float]:
    """Seconds for the whole, and for the part on disk."""
    begin = time.perf_counter()
    with catalogue.reader() as conn:
        plan = read_plan(conn, ENTRY, PRESETS["cryoppp"])
    planned = time.perf_counter()
    arrange_entry(root, ENTRY, view="cryoppp", plan=plan)
    ended = time.perf_counter()
    return ended - begin, ended - planned


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        with Catalogue.open(root / "empiar.db", create=True) as catalogue:
            sources = make_entry(root, catalogue, options.files)
            count = len(sources)
            measured = []
            for _ in range(options.rounds):
                seconds = bare(sources, root / "bare")
                whole, on_disk = layout(root, catalogue)
                measured.append((count / seconds, count / on_disk, count / whole))
                shutil.rmtree(root / "bare")
                shutil.rmtree(root / "datasets")
            for word, rates in zip(
                ("os.link", "layout on disk", "layout, whole"), zip(*measured, strict=True), strict=True
            ):
                print(f"{word:16} {statistics.median(rates):>10,.0f} files/s")
            ratios = [disk / link for link, disk, _ in measured]
            wholes = [whole / link for link, _, whole in measured]
            print(
                f"layout on disk ÷ os.link: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )
            print(
                f"layout, whole  ÷ os.link: {statistics.median(wholes):.2f} ({min(wholes):.2f} to {max(wholes):.2f})"
            )
            print(f"peak of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
            tracemalloc.start()
            layout(root, catalogue)
            print(
                f"memory of planning and linking: {tracemalloc.get_traced_memory()[1] / count:,.0f} bytes a file"
            )


if __name__ == "__main__":
    main()

"""The statement of an entry of a million files, beside reading and hashing a manifest of the same files.

python benchmarks/attest.py --files 1000000
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from empiar_mirror.attest import statement_of
from empiar_mirror.manifest import checksum_line
from empiar_mirror.statement_file import document, read_statements
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry
from empiar_schema.entry import Entry
from empiar_schema.files import ListedFile
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.transfer_store import want_entry

ID = 10017
NOW = 1_767_225_600
IN_FOLDER = 2000


def fill(catalogue: Catalogue, files: int) -> None:
    """An entry of so many files of 64 characters, in folders of 2,000, all here."""

    def run(conn: sqlite3.Connection) -> None:
        record_entry(conn, Entry(empiar_id=ID, title="Urease", status="REL"), source="api", now=NOW)
        listing = begin_listing(conn, ID, source="ftp", now=NOW)
        for start in range(0, files, IN_FOLDER):
            names = (
                f"FoilHole_{n:09}_Data_27423904_27423906_20200101_120000_frac.tiff"
                for n in range(start, start + IN_FOLDER)
            )
            folder = f"data/GridSquare_{start // IN_FOLDER:05}"
            add_to_listing(conn, listing, folder, [ListedFile(name, 10**8, True, NOW, 1) for name in names])
        complete_listing(conn, listing, now=NOW)
        want_entry(conn, ID, now=NOW)
        # Straight into the table: a million arrivals one by one are another benchmark.
        conn.create_function("digest", 1, lambda n: hashlib.sha256(str(n).encode()).digest())
        conn.execute(
            "UPDATE copy SET state = 3, sha256 = digest(file_id), verified_at = wanted_at + file_id % 86400, arrived_at = wanted_at"
        )

    catalogue.write_now(run)


def child(what: str, root: Path) -> None:
    """One figure, in a process of its own."""
    began = time.perf_counter()
    with Catalogue.open(root / "empiar.db", read_only=True) as catalogue, catalogue.reader() as conn:
        if what == "plain":
            rows = conn.execute("SELECT path, sha256 FROM copies WHERE empiar_id = ?", (ID,))
            lines = (checksum_line(path.encode(), sha256) for path, sha256 in rows)
            (root / "manifest").write_bytes(b"".join(lines))
        elif what == "read":
            read_statements(root / "files.json")
        else:
            statement = statement_of(conn, ID, with_files=what == "files")
            with (root / f"{what}.json").open("w") as stream:
                stream.writelines(document([statement]))
    seconds, busy = time.perf_counter() - began, time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:10} {seconds:7.2f} s, {busy:6.2f} s of processor time, {peak:7.0f} MiB", flush=True)


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        with Catalogue.open(Path(folder) / "empiar.db", create=True) as catalogue:
            fill(catalogue, options.files)
        for what in ("statement", "files", "read", "plain"):
            subprocess.run([sys.executable, __file__, "--child", what, folder], check=True)
        began = time.perf_counter()
        subprocess.run(["sha256sum", f"{folder}/manifest"], check=True, stdout=subprocess.DEVNULL)
        print(f"sha256sum of the manifest alone: {time.perf_counter() - began:.2f} s")
        for what in ("statement", "files"):
            print(f"{what}: {(Path(folder) / f'{what}.json').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

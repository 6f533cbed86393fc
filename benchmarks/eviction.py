"""How long an eviction takes: choosing among many files that are here, and removing some of them. Run by hand.

    python benchmarks/eviction.py --entries 100 --files 10000 --evict 10000

Prints a table; asserts nothing, because figures depend on the machine. The peer of choosing is looking at every file (`os.stat`), that of
removing `os.unlink` of as many files with a flush of each folder.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from empiar_mirror.app import Mirror
from empiar_mirror.cli.evict import _dry_run
from empiar_mirror.eviction.planning import Order
from empiar_schema import crawl_store, listing_store, pin_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.entry import Entry
from empiar_schema.files import ListedFile
from empiar_schema.pin_store import Pin
from empiar_schema.states import Role
from entry_here import opened

FIRST = 10_002
A_FOLDER = 2_000
SIZE = 16
ALL = "SELECT file_id FROM files"


def put_here(root: Path, entries: int, files: int) -> None:
    """So many entries, all of whose files are here."""
    root.mkdir(exist_ok=True)
    with Catalogue.open(root / "empiar.db", create=True) as catalogue:
        for empiar_id in range(FIRST, FIRST + entries):
            catalogue.write_now(
                functools.partial(_record, empiar_id=empiar_id, files=files),
            )
            for folder, names in _folders(files):
                path = root / "archive" / str(empiar_id) / folder
                path.mkdir(parents=True)
                for name in names:
                    (path / name).write_bytes(bytes(SIZE))


def _folders(files: int) -> list[tuple[str, list[str]]]:
    return [
        (
            f"data/{start // A_FOLDER:04}",
            [f"mic_{n:07}.mrc" for n in range(start, min(start + A_FOLDER, files))],
        )
        for start in range(0, files, A_FOLDER)
    ]


def _record(conn: sqlite3.Connection, *, empiar_id: int, files: int) -> None:
    now = int(time.time()) - 86_400
    crawl_store.record_entry(conn, Entry(empiar_id=empiar_id, status="REL"), source="api", now=now)
    listing = listing_store.begin_listing(conn, empiar_id, source="ftp", now=now)
    for folder, names in _folders(files):
        listed = [ListedFile(name, SIZE, True, now, 60) for name in names]
        listing_store.add_to_listing(conn, listing, folder, listed)
    listing_store.complete_listing(conn, listing, now=now)
    transfer_store.want_entry(conn, empiar_id, now=now)
    roles = conn.execute("SELECT file_id FROM copy WHERE empiar_id = ?", (empiar_id,)).fetchall()
    crawl_store.record_roles(conn, [(number, Role.MICROGRAPH, 1.0) for (number,) in roles])
    crawl_store.record_inspected(conn, empiar_id)
    # As if each had been fetched; that is measured elsewhere.
    conn.execute(
        "UPDATE copy SET state = 3, bytes_here = bytes, sha256 = randomblob(32), channel = 'https', arrived_at = ?2 + file_id % 1000,"
        " verified_at = ?2 WHERE empiar_id = ?1",
        (empiar_id, now),
    )


def timed(what: str, action: Callable[[], object]) -> None:
    """A row of the table."""
    begun, cpu = time.perf_counter(), time.process_time()
    result = action()
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{what:<66} {wall:>8.2f} s, {cpu:>7.2f} s of processor, {peak:>5} MiB  {result or ''}", flush=True)


def dry(mirror: Mirror, sql: str, size: int | None = None) -> str:
    decision = _dry_run(mirror.settings, Order(sql, "a measurement", bytes=size))
    return f"{decision.files:,} files would go"


def evict(mirror: Mirror, sql: str, size: int | None = None) -> str:
    removed = asyncio.run(mirror.evict(Order(sql, "a measurement", bytes=size)))
    return f"{removed.done.files:,} files went"


def looked_at(root: Path) -> None:
    for folder, _, names in os.walk(root / "archive"):
        for name in names:
            os.stat(os.path.join(folder, name), follow_symlinks=False)


def unlinked(paths: Sequence[Path]) -> None:
    folders = {path.parent for path in paths}
    for path in paths:
        path.unlink()
    for folder in folders:
        at = os.open(folder, os.O_RDONLY)
        os.fsync(at)
        os.close(at)


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=20)
    parser.add_argument("--files", type=int, default=5_000, help="files an entry")
    parser.add_argument("--evict", type=int, default=5_000, help="files to remove, no more than an entry has")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "mirror"
        timed("making the mirror", lambda: put_here(root, options.entries, options.files))
        with opened(root, "") as mirror:
            measure(mirror, root, options)


def measure(mirror: Mirror, root: Path, options: argparse.Namespace) -> None:
    total, few = options.entries * options.files, options.evict
    timed(f"looking at {total:,} files plainly", lambda: looked_at(root))
    timed("dry run over all, entry by entry", lambda: dry(mirror, "SELECT empiar_id FROM entries"))
    timed(
        "dry run over all, what came first in front",
        lambda: dry(mirror, f"{ALL} JOIN copies USING (file_id) ORDER BY arrived_at"),
    )
    timed(
        f"dry run for {few:,} files of it",
        lambda: dry(mirror, f"{ALL} JOIN copies USING (file_id) ORDER BY arrived_at", few * SIZE),
    )
    pin = Pin("half", f"{ALL} WHERE file_id % 2 = 0", declared=False)
    mirror.catalogue.write_now(functools.partial(pin_store.add_pin, pin=pin, now=1))
    timed(
        "dry run over all, of which a query pins half", lambda: dry(mirror, "SELECT empiar_id FROM entries")
    )
    mirror.catalogue.write_now(functools.partial(pin_store.remove_pin, name="half"))
    paths = sorted((root / "archive" / str(FIRST)).rglob("*.mrc"))[:few]
    copies = [path.rename(path.with_suffix(".spare")) for path in paths]
    timed(f"unlinking {few:,} files plainly", lambda: unlinked(copies))
    for path in paths:
        path.write_bytes(bytes(SIZE))
    timed("laying out that entry", lambda: str(asyncio.run(mirror.arrange([FIRST])).keys()))
    timed(
        f"evicting {few:,} files of one entry",
        lambda: evict(mirror, f"SELECT empiar_id FROM entries WHERE empiar_id = {FIRST}", few * SIZE),
    )
    timed(
        f"evicting {few:,} files of all entries, what came first in front",
        lambda: evict(
            mirror,
            f"{ALL} JOIN copies USING (file_id) WHERE files.empiar_id > {FIRST} ORDER BY arrived_at",
            few * SIZE,
        ),
    )


if __name__ == "__main__":
    main()

"""How large and how quick the catalogue is. Run by hand: ``python benchmarks/catalogue.py --files 1000000``.

Prints a table; asserts nothing, because figures depend on the machine.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from empiar_schema import crawl_store, queue_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.files import ListedFile
from empiar_schema.states import Role
from empiar_schema.transfer_store import Turn

NOW = 1_800_000_000
DIRECTORY_FILES = 5_000
BATCH = 5_000

#: Patterns of names met in real entries, 30 to 74 bytes.
PATTERNS = (
    "FoilHole_{a:08d}_Data_{b:08d}_{c}_20210{d}14_{e:06d}_fractions.tiff",
    "slot{c}_{a:08d}_patch_aligned_doseweighted.mrc",
    "TS_{e:03d}_{c:03d}_{a:08d}_-2.0_EER.eer",
    "micrograph_{a:08d}_{b:08d}.mrcs",
)


def files_of(directory: int, count: int, *, shift: int = 0) -> list[ListedFile]:
    pattern = PATTERNS[directory % len(PATTERNS)]
    names = sorted(
        pattern.format(
            a=24_000_000 + i * 37 + directory,
            b=24_010_000 + (i * 7919) % 99_991,
            c=i % 10,
            d=3 + i % 6,
            e=(i * 31) % 240_000,
        )
        for i in range(count)
    )
    return [
        ListedFile(
            name,
            500_000_000 + (hash(name) + shift) % 10_000_000,
            True,
            1_600_000_000 + i % 5_000_000 * 60,
            60,
        )
        for i, name in enumerate(names)
    ]


def timed(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def show(what: str, value: str) -> None:
    print(f"{what:<58} {value}", flush=True)


def batches(files: int) -> Iterator[tuple[str, list[ListedFile]]]:
    for directory in range(-(-files // DIRECTORY_FILES)):
        count = min(DIRECTORY_FILES, files - directory * DIRECTORY_FILES)
        yield f"data/grid_{directory % 7}/GridSquare_{directory:06d}/Data", files_of(directory, count)


def list_entry(catalogue: Catalogue, empiar_id: int, listed: list[tuple[str, list[ListedFile]]]) -> float:
    def run() -> None:
        number = catalogue.write_now(lambda c: crawl_store.begin_listing(c, empiar_id, source="ftp", now=NOW))
        for directory, files in listed:
            for start in range(0, len(files), BATCH):
                part = files[start : start + BATCH]
                catalogue.write_now(
                    lambda c, d=directory, p=part: crawl_store.add_to_listing(c, number, d, p)  # type: ignore[misc]
                )
        catalogue.write_now(lambda c: crawl_store.complete_listing(c, number, now=NOW))

    return timed(run)


def listings(catalogue: Catalogue, files: int) -> None:
    listed = list(batches(files))
    # A real crawler holds one batch at a time; a million tuples kept here would have the collector go through them again and again.
    gc.freeze()
    names = [f.name for _, part in listed for f in part]
    show("mean length of a name, bytes", f"{sum(map(len, names)) / len(names):.1f}")
    before = _size(catalogue)
    seconds = list_entry(catalogue, 10_001, listed)
    show(f"first listing of {files:,} files, rows/s", f"{files / seconds:,.0f}")
    show("bytes a file row, indexes included", f"{(_size(catalogue) - before) / files:.1f}")
    seconds = list_entry(catalogue, 10_001, listed)
    show("unchanged listing, rows/s", f"{files / seconds:,.0f}")
    listed[0] = (listed[0][0], files_of(0, len(listed[0][1]), shift=1))
    seconds = list_entry(catalogue, 10_001, listed)
    show(f"listing with {len(listed[0][1]):,} changed files, rows/s", f"{files / seconds:,.0f}")


def _size(catalogue: Catalogue) -> int:
    with catalogue.reader() as reader:
        pages, free, size = (
            reader.execute(f"PRAGMA {what}").fetchone()[0]
            for what in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


def transactions(catalogue: Catalogue) -> None:
    count = 20_000

    def insert(n: int) -> Callable[[sqlite3.Connection], None]:
        return lambda c: crawl_store.record_harvest(c, f"s{n}", day="2026-11-22", now=NOW)

    def run() -> None:
        for future in [catalogue.submit(insert(n)) for n in range(count)]:
            future.result()

    show("one-row durable transactions, many waiting, 1/s", f"{count / timed(run):,.0f}")
    each = [timed(lambda n=n: catalogue.write_now(insert(n))) for n in range(300)]  # type: ignore[misc]
    show("one alone, median ms", f"{sorted(each)[150] * 1000:.2f}")


def claims(catalogue: Catalogue, files: int) -> None:
    seconds = timed(lambda: catalogue.write_now(lambda c: transfer_store.want_entry(c, 10_001, now=NOW)))
    show(f"want_entry of {files:,} files, s", f"{seconds:.2f}")
    with catalogue.reader() as reader:
        [queue] = queue_store.waiting_queues(reader, empiar_ids=[10_001])

    def claim(c: sqlite3.Connection) -> None:
        transfer_store.claim_from(c, Turn(queue.queue_id, 1, 1), now=NOW)

    def inside(c: sqlite3.Connection) -> list[float]:
        return [timed(lambda: claim(c)) for _ in range(500)]

    each = sorted(catalogue.write_now(inside))
    show("claim of one file, median and worst ms", f"{each[250] * 1000:.3f}  {each[-1] * 1000:.3f}")
    many = Turn(queue.queue_id, 10_000, 10**15)
    ids = [
        work.file_id
        for work in catalogue.write_now(lambda c: transfer_store.claim_from(c, many, now=NOW)).works
    ]
    arrivals = [transfer_store.Arrival(i, 500_000_000, bytes(32), None, None) for i in ids]
    seconds = timed(
        lambda: catalogue.write_now(lambda c: transfer_store.record_arrivals(c, arrivals, now=NOW))
    )
    show("arrivals recorded, 1/s", f"{len(arrivals) / seconds:,.0f}")


def queries(catalogue: Catalogue, files: int, rows: int) -> None:
    per_entry = 50_000
    for n in range(max(0, rows - files) // per_entry):
        list_entry(catalogue, 20_000 + n, list(batches(per_entry)))
    with catalogue.reader() as reader:
        total = reader.execute("SELECT count(*) FROM files").fetchone()[0]
    show(f"--- queries at {total:,} files, seconds ---", "")
    for sql in (
        "SELECT count(*) FROM files",
        "SELECT empiar_id, count(*), sum(bytes) FROM files GROUP BY empiar_id",
        "SELECT empiar_id, file_count, file_bytes FROM entries",
        "SELECT suffix, count(*), sum(bytes) FROM files GROUP BY suffix",
        "SELECT count(*) FROM files WHERE path LIKE '%x%'",
        "SELECT count(*) FROM files WHERE gone_at IS NULL",
        "SELECT * FROM entry_progress",
        "SELECT file_id, path, bytes, https_url FROM files WHERE empiar_id = 20000",
        "SELECT * FROM files WHERE empiar_id = 20000 AND directory = 'data/grid_0/GridSquare_000000/Data'",
        "SELECT * FROM files WHERE file_id = 1000",
        "SELECT * FROM copies WHERE state = 'parked'",
    ):
        with catalogue.reader() as reader:
            show(sql[:57], f"{timed(lambda r=reader, s=sql: r.execute(s).fetchall()):.3f}")  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000, help="files of the large entry")
    parser.add_argument(
        "--rows", type=int, default=5_000_000, help="files in all, for the queries; 0 skips them"
    )
    parser.add_argument("--folder", type=Path, help="where the catalogue is put; default a temporary folder")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        Catalogue.open(Path(folder) / "empiar.db", create=True) as catalogue,
    ):
        show("SQLite", sqlite3.sqlite_version)
        listings(catalogue, arguments.files)
        transactions(catalogue)
        roles = [(n, Role.MICROGRAPH, 0.9) for n in range(1, min(arguments.files, 100_000))]
        seconds = timed(lambda: catalogue.write_now(lambda c: crawl_store.record_roles(c, roles)))
        show("roles recorded, 1/s", f"{len(roles) / seconds:,.0f}")
        claims(catalogue, arguments.files)
        if arguments.rows:
            queries(catalogue, arguments.files, arguments.rows)
    show(
        "peak memory, MiB (data made here included)",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
    )


if __name__ == "__main__":
    main()

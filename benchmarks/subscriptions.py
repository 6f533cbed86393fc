"""How long subscriptions take after a crawl. Run by hand: ``python benchmarks/subscriptions.py --entries 3000``.

Prints a table; asserts nothing, because figures depend on the machine. The peer is plainly running the queries. Processor time is that
of the whole process, with the writing thread: on a busy machine it says more than the clock.
"""

from __future__ import annotations

import argparse
import functools
import resource
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from empiar_mirror.query import Limits, ask
from empiar_mirror.subscriptions.evaluation import evaluate_subscriptions
from empiar_schema import crawl_store, listing_store
from empiar_schema import subscription_store as store
from empiar_schema.catalogue import Catalogue
from empiar_schema.entry import Entry, ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.settings import Settings
from empiar_schema.states import Role
from empiar_schema.subscriptions import Definition

NOW = 1_800_000_000
FIRST = 10_002
WORDS = ("ribosome", "proteasome", "apoferritin", "spliceosome", "TRPV1", "nucleosome", "spike", "synthase")

#: Queries as sites write them: by metadata, by full text, by image sets, by size, by file; `{n}` makes them differ.
QUERIES = (
    "SELECT empiar_id FROM entries WHERE scale = 'molecule' AND empiar_id % 10 = {n}",
    "SELECT empiar_id FROM entries_fts WHERE entries_fts MATCH 'ribosome OR nucleosome'",
    "SELECT empiar_id FROM imagesets WHERE data_format = 'MRC' AND pixel_width_angstrom < 1.{n}",
    "SELECT empiar_id FROM entries WHERE dataset_bytes < {n} * 100000000 ORDER BY release_date DESC",
    "SELECT file_id FROM files WHERE empiar_id BETWEEN 10{n}00 AND 10{n}20 AND role = 'gain'",
)


def fill(catalogue: Catalogue, entries: int, files: int) -> None:
    """So many entries, each with so many micrographs and a gain reference."""

    def add(empiar_id: int, conn: sqlite3.Connection) -> None:
        images = ImageSet(
            position=0, name="Images", directory="data", data_format="MRC", pixel_width_angstrom=1.1
        )
        entry = Entry(
            empiar_id=empiar_id,
            title=f"{WORDS[empiar_id % len(WORDS)]} {empiar_id}",
            status="REL",
            scale="molecule",
            release_date="2020-01-01",
            dataset_bytes=files * 10**6,
            imagesets=(images,),
        )
        crawl_store.record_entry(conn, entry, source="api", now=NOW)
        relist(conn, empiar_id, files)

    for empiar_id in range(FIRST, FIRST + entries):
        catalogue.write_now(functools.partial(add, empiar_id))


def relist(conn: sqlite3.Connection, empiar_id: int, files: int) -> None:
    listing = listing_store.begin_listing(conn, empiar_id, source="ftp", now=NOW)
    listed = [ListedFile(f"mic_{n:05}.mrc", 10**6, True, NOW, 60) for n in range(files - 1)]
    listing_store.add_to_listing(
        conn, listing, "data", [*listed, ListedFile("gain.mrc", 10**6, True, NOW, 60)]
    )
    listing_store.complete_listing(conn, listing, now=NOW)
    rows = conn.execute(
        "SELECT f.file_id, f.name FROM file f JOIN directory d USING (directory_id) WHERE d.empiar_id = ?",
        (empiar_id,),
    ).fetchall()
    roles = [(number, Role.GAIN if name == "gain.mrc" else Role.MICROGRAPH, 1.0) for number, name in rows]
    crawl_store.record_roles(conn, roles)
    conn.execute("UPDATE entry SET inspected_listing = current_listing WHERE empiar_id = ?", (empiar_id,))


class Took(NamedTuple):
    """Seconds by the clock, and of processor time."""

    wall: float
    cpu: float


def timed(action: Callable[[], object], rounds: int) -> list[Took]:
    seconds = []
    for _ in range(rounds):
        begun, cpu = time.perf_counter(), time.process_time()
        action()
        seconds.append(Took(time.perf_counter() - begun, time.process_time() - cpu))
    return seconds


@contextmanager
def writing_beside(catalogue: Catalogue) -> Iterator[list[float]]:
    """Small writes meanwhile, as of a transfer; collects how long each waited, seconds."""
    waited: list[float] = []
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.05):
            begun = time.perf_counter()
            catalogue.write_now(
                lambda conn: conn.execute("UPDATE order_revision SET revision = revision + 1")
            )
            waited.append(time.perf_counter() - begun)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield waited
    finally:
        over.set()
        thread.join()


def plainly(root: Path, queries: list[str]) -> None:
    for sql in queries:
        with ask(root, sql, limits=Limits(rows=None, seconds=None)) as rows:
            for _ in rows:
                pass


def show(what: str, seconds: list[Took]) -> None:
    walls, cpu = [took.wall for took in seconds], statistics.median(took.cpu for took in seconds)
    spread = f"  ({min(walls):.2f} to {max(walls):.2f})" if len(walls) > 1 else ""
    print(f"{what:<72} {statistics.median(walls):>7.2f} s, {cpu:.2f} s of processor{spread}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=3_000)
    parser.add_argument("--files", type=int, default=200, help="files an entry")
    parser.add_argument("--subscriptions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with Catalogue.open(root / "empiar.db", create=True) as catalogue:
            show(
                "filling the catalogue",
                timed(functools.partial(fill, catalogue, options.entries, options.files), 1),
            )
            measure(catalogue, Settings(root=root), options)
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


def measure(catalogue: Catalogue, settings: Settings, options: argparse.Namespace) -> None:
    queries = [
        QUERIES[number % len(QUERIES)].format(n=number // len(QUERIES) % 10)
        for number in range(options.subscriptions)
    ]
    for number, sql in enumerate(queries):
        # Every third takes a view of its entries; views of files there are none.
        view = "trial" if number % 3 == 0 and "file_id" not in sql else None
        wanted = Definition(f"s{number}", sql, view=view, priority=number % 3)
        catalogue.write_now(functools.partial(store.add_subscription, wanted=wanted, now=NOW))
    evaluate = functools.partial(evaluate_subscriptions, catalogue, settings, now=NOW)
    with writing_beside(catalogue) as waited:
        show(f"{options.subscriptions} subscriptions for the first time", timed(evaluate, 1))
    print(
        f"  another write waited {statistics.median(waited):.2f} s for its turn, {max(waited):.2f} s at most"
    )
    with catalogue.reader() as conn:
        matches, copies = conn.execute(
            "SELECT (SELECT count(*) FROM subscription_match), (SELECT count(*) FROM copy)"
        ).fetchone()
    print(f"  {matches:,} matches, {copies:,} files wanted")
    plain = functools.partial(plainly, settings.root, queries)
    show("the queries alone", timed(plain, options.rounds))
    show("again, where nothing has changed", timed(evaluate, options.rounds))
    changed = max(1, options.entries // 100)
    seconds: list[Took] = []
    for turn in range(options.rounds):
        for empiar_id in range(FIRST + turn, FIRST + options.entries, options.entries // changed):
            catalogue.write_now(
                functools.partial(_relisted, empiar_id=empiar_id, files=options.files + turn + 1)
            )
        seconds += timed(evaluate, 1)
    show(f"after a crawl that listed {changed} entries anew", seconds)
    show("what was asked for is asked for afresh", timed(functools.partial(evaluate, afresh=True), 1))


def _relisted(conn: sqlite3.Connection, empiar_id: int, files: int) -> None:
    relist(conn, empiar_id, files)


if __name__ == "__main__":
    main()

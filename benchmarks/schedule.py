"""How long it takes to decide what comes next. Run by hand: ``python benchmarks/schedule.py``.

A million wanted files in 3,000 entries, which 50 subscriptions want in overlapping parts. A decision is one turn: the choice of a
queue, and the claim of up to 64 of its files. The peer is what a plain queue does in the same catalogue: the first 64 rows of
an index by priority, claimed. Prints a table; asserts nothing, because figures depend on the machine.
"""

from __future__ import annotations

import argparse
import functools
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from empiar_mirror.order import Order
from empiar_mirror.order_facts import Reach, read_order
from empiar_schema import queue_store, subscription_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.copies import work_of
from empiar_schema.migrations import STEPS, migrate
from empiar_schema.order_settings import OrderSettings
from empiar_schema.queues import Wish
from empiar_schema.subscriptions import Definition
from empiar_schema.transfer_store import Turn

NOW = 1_800_000_000
FIRST = 10_002
TURN_FILES = 64


def fill(conn: sqlite3.Connection, entries: int, files: int) -> None:
    """Entries, folders and files as a crawl leaves them, put there directly."""
    ids = range(FIRST, FIRST + entries)
    conn.executemany("INSERT INTO entry (empiar_id, discovered_at) VALUES (?, 1)", ((i,) for i in ids))
    conn.executemany(
        "INSERT INTO directory (directory_id, empiar_id, path) VALUES (?1, ?1, 'data')", ((i,) for i in ids)
    )
    conn.executemany(
        "INSERT INTO file (directory_id, name_hash, bytes, bytes_exact, modified_unit, modified_source, first_listing, role, name)"
        " VALUES (?, 0, ?, 1, 0, 0, 1, ?, ?)",
        ((i, 10**7 + n, 3 if n % 100 == 0 else 0, f"mic_{n:05}.mrc") for i in ids for n in range(files)),
    )


def want(conn: sqlite3.Connection, entries: int, subscriptions: int) -> None:
    """Each subscription wants every fiftieth entry and a few of the others."""
    for number in range(1, subscriptions + 1):
        wanted = Definition(f"s{number}", "SELECT 1", priority=number % 3, share=1 + number % 2)
        subscription_store.add_subscription(conn, wanted, now=NOW)
    for place in range(entries):
        owner = place % subscriptions + 1
        transfer_store.want_entry(conn, FIRST + place, now=NOW, subscriptions=[owner])
        if place % 7 == 0:
            other = (owner + 1) % subscriptions + 1
            queue_store.join(conn, FIRST + place, Wish(subscriptions=frozenset([other])), now=NOW)


def ours(conn: sqlite3.Connection, order: Order) -> int:
    """One turn."""
    chance = order.next()
    if chance is None:
        return 0
    turn = Turn(chance.standing.queue.queue_id, TURN_FILES, 2**40)
    taken = transfer_store.claim_from(conn, turn, now=NOW)
    order.took(turn.queue_id, taken.whole_bytes, more=not taken.exhausted)
    return len(taken.works)


def plainly(conn: sqlite3.Connection) -> int:
    """The peer's turn: the first rows of one index."""
    rows = conn.execute(
        "SELECT file_id FROM copy INDEXED BY plain WHERE state <= 1 AND not_before <= ?"
        " ORDER BY priority DESC, empiar_id, file_id LIMIT ?",
        (NOW, TURN_FILES),
    ).fetchall()
    conn.executemany("UPDATE copy SET state = 2 WHERE file_id = ?", rows)
    return len(work_of(conn, [row[0] for row in rows]))


def timed(action: functools.partial[int], rounds: int) -> list[float]:
    """Seconds of each turn."""
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begun)
    return seconds


def show(what: str, seconds: list[float]) -> None:
    """One line: median and 99th percentile, milliseconds."""
    ordered = sorted(seconds)
    late = ordered[int(len(ordered) * 0.99)] if len(ordered) > 1 else ordered[0]
    print(f"{what:<60} {statistics.median(seconds) * 1e3:>10.3f} ms  99 %: {late * 1e3:.3f} ms", flush=True)


def migration(folder: Path, entries: int, files: int) -> None:
    """The step that made queues, over a catalogue of before with as many copies."""
    conn = sqlite3.connect(folder / "old.db", isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    migrate(conn, steps=STEPS[:5])
    conn.execute("BEGIN")
    fill(conn, entries, files)
    conn.execute(
        "INSERT INTO copy (file_id, empiar_id, priority, bytes, wanted_at) SELECT file_id, directory_id, directory_id % 3, bytes, 1 FROM file"
    )
    conn.execute("COMMIT")
    begun = time.perf_counter()
    migrate(conn, steps=STEPS[:6])
    print(f"{'the step m006_order':<60} {time.perf_counter() - begun:>10.1f} s", flush=True)
    conn.close()


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=3_000)
    parser.add_argument("--files", type=int, default=334, help="files an entry")
    parser.add_argument("--subscriptions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=1_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        migration(Path(folder), options.entries, options.files)
        with Catalogue.open(Path(folder) / "empiar.db", create=True) as catalogue:
            catalogue.write_now(functools.partial(fill, entries=options.entries, files=options.files))
            begun = time.perf_counter()
            catalogue.write_now(
                functools.partial(want, entries=options.entries, subscriptions=options.subscriptions)
            )
            print(f"{'wanting all of it':<60} {time.perf_counter() - begun:>10.1f} s", flush=True)
            measure(catalogue, options.rounds)


def measure(catalogue: Catalogue, rounds: int) -> None:
    """Ours and the peer's, in the writing thread's own connection, in turns."""

    def job(conn: sqlite3.Connection) -> None:
        conn.execute(
            "CREATE INDEX plain ON copy (priority DESC, empiar_id, file_id, not_before) WHERE state <= 1"
        )
        renew = functools.partial(read_order, conn, Reach(), OrderSettings(), now=NOW)
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            order, _ = renew()
            seconds.append(time.perf_counter() - begun)
        show(f"the order of {len(order.standings):,} queues made anew", seconds)
        choices = []
        for _ in range(rounds):
            begun = time.perf_counter()
            chance = order.next()
            choices.append(time.perf_counter() - begun)
            assert chance is not None
            order.took(chance.standing.queue.queue_id, 10**9, more=False)
        show("a choice alone", choices)
        order, _ = renew()
        mine, peers = [], []
        for _ in range(max(1, rounds // 10)):
            mine += timed(functools.partial(ours, conn, order), 10)
            peers += timed(functools.partial(plainly, conn), 10)
        show(f"a decision with its claim of {TURN_FILES} files", mine)
        show("the peer: ORDER BY … LIMIT on one index, claimed", peers)
        print(f"{'ours ÷ peer':<60} {statistics.median(mine) / statistics.median(peers):>10.2f}")

    catalogue.write_now(job)


if __name__ == "__main__":
    main()

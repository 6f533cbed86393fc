"""`kill -9` of a process that writes the catalogue: nothing that it acknowledged is lost, nothing half stands."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_harvest

ROUNDS = 8

#: Writes for ever: pairs of rows that belong together, each acknowledged on stdout once durable, and between
#: them listings that are begun and sometimes completed.
WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from empiar_schema import crawl_store as crawl
    from empiar_schema.catalogue import Catalogue
    from empiar_schema.files import ListedFile

    first = int(sys.argv[2])
    catalogue = Catalogue.open(Path(sys.argv[1]))
    out = sys.stdout.buffer

    def pair(n):
        def job(conn):
            crawl.record_harvest(conn, f"a{n}", day="2026-11-22", now=n)
            crawl.record_harvest(conn, f"b{n}", day="2026-11-22", now=n)
        return job

    n = first
    while True:
        futures = [catalogue.submit(pair(k)) for k in range(n, n + 20)]
        for k, future in enumerate(futures, n):
            future.result()
            out.write(b"pair %d\\n" % k)
        out.flush()
        n += 20
        listing = catalogue.write_now(lambda c: crawl.begin_listing(c, n, source="ftp", now=1))
        files = [ListedFile(f"f{k:04d}", 1, True, 0, 60) for k in range(500)]
        catalogue.write_now(lambda c: crawl.add_to_listing(c, listing, "data", files))
        catalogue.write_now(lambda c: crawl.complete_listing(c, listing, now=1))
        out.write(b"listing %d\\n" % n)
        out.flush()
    """
)


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "empiar.db"
    Catalogue.open(path, create=True).close()
    chance = random.Random(20261122)
    acknowledged: set[str] = set()
    for round_ in range(ROUNDS):
        acknowledged |= _write_until_killed(
            path, first=1 + round_ * 1_000_000, after_s=chance.uniform(0.05, 0.4)
        )
        _check(path, acknowledged)
    assert len(acknowledged) > 20 * ROUNDS


def _write_until_killed(path: Path, *, first: int, after_s: float) -> set[str]:
    """Starts a writer, kills it some time after its first word; returns what it acknowledged."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(first)], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        begun = process.stdout.readline()
        # The moment of death is left to chance on purpose; nothing waits for it to pass.
        timer = time.monotonic() + after_s
        lines = [begun]
        while time.monotonic() < timer:
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    assert begun, "the writer died by itself"
    return {line.decode().strip() for line in lines if line.endswith(b"\n")}


def _check(path: Path, acknowledged: set[str]) -> None:
    with Catalogue.open(path) as catalogue, catalogue.reader() as reader:
        assert reader.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        found = {row[0] for row in reader.execute("SELECT source FROM harvest")}
        pairs = {word.split()[1] for word in acknowledged if word.startswith("pair")}
        assert {f"a{n}" for n in pairs} <= found
        assert {s[1:] for s in found if s[0] == "a"} == {s[1:] for s in found if s[0] == "b"}, (
            "half a job stands"
        )
        counts = dict(reader.execute("SELECT empiar_id, count(*) FROM files GROUP BY 1").fetchall())
        assert {int(word.split()[1]) for word in acknowledged if word.startswith("listing")} <= counts.keys()
        assert set(counts.values()) <= {500}, "half a listing stands"
        assert dict(reader.execute("SELECT empiar_id, file_count FROM entries").fetchall()) == counts


def test_a_torn_wal_costs_only_what_was_not_acknowledged(tmp_path: Path) -> None:
    """The last bytes of the WAL are cut off, as when the power goes while they are written."""
    path = tmp_path / "empiar.db"
    with Catalogue.open(path, create=True) as catalogue, catalogue.reader() as holder:
        # A reader in mid-transaction keeps the WAL from being emptied at close.
        holder.execute("BEGIN")
        holder.execute("SELECT count(*) FROM harvest").fetchone()
        for n in range(50):
            catalogue.write_now(partial(record_harvest, source=f"s{n}", day="2026-11-22", now=1))
        copy = tmp_path / "after power cut.db"
        copy.write_bytes(path.read_bytes())
        wal = Path(f"{path}-wal").read_bytes()
    assert len(wal) > 4096
    Path(f"{copy}-wal").write_bytes(wal[:-1000])
    with Catalogue.open(copy) as catalogue, catalogue.reader() as reader:
        assert reader.execute("SELECT count(*) FROM harvest").fetchone()[0] == 49
        assert reader.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


@pytest.mark.parametrize("mode", ["DELETE", "TRUNCATE"])
def test_a_catalogue_that_lost_wal_mode_gets_it_back(tmp_path: Path, mode: str) -> None:
    """``VACUUM INTO`` and restored backups are not in WAL mode."""
    path = tmp_path / "empiar.db"
    Catalogue.open(path, create=True).close()
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0] == mode.lower()
    with Catalogue.open(path) as catalogue, catalogue.reader() as reader:
        assert reader.execute("PRAGMA journal_mode").fetchone()[0] == "wal"

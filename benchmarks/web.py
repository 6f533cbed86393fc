"""How quick the web page is at the size of EMPIAR. Run by hand: ``python benchmarks/web.py --folder DIR``; ``--files 1000000`` for a smaller one.

A catalogue of 3,000 entries and 20 million files is made (or is in `--folder` already). Then: how long a snapshot takes, the first and one after a change, how
much disk, and what readers see meanwhile; each page and each saved query over HTTP, from a server of its own; `search` as the command does it; memory.
Beside wall time stands processor time, which says more on a machine that does other things. Prints a table; asserts nothing, because figures
depend on the machine.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from empiar_mirror.reading import reading
from empiar_mirror.saved.known import library
from empiar_mirror.searching import search
from empiar_mirror.web import of_entry
from empiar_mirror.web.overview import Summary, summary_of
from empiar_mirror.web.snapshots import FOLDER, Snapshots
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry
from empiar_schema.entry import Entry
from empiar_schema.settings import Settings

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.idle import FIRST, memory_mib, show, used_s
from benchmarks.web_catalogue import FLAT, FOLDERS, arguments_of, make

ROUNDS: Final = 10
PAGES: Final = (
    "/", "/entries", "/entries?q=membrane+protein", "/entries?q=ribosome&format=EER&order=largest", "/charts", "/subscriptions", "/queries",
    f"/entry/{FIRST}", f"/entry/{FOLDERS}", f"/entry/{FLAT}", f"/entry/{FOLDERS}/files?folder=data", f"/entry/{FLAT}/files?folder=data",
    f"/entry/{FLAT}/files?folder=data&page=2400", "/file/5000000", "/catalogue", f"/catalogue/files?empiar_id={FLAT}", "/catalogue/changes",
)  # fmt: skip
SEARCHES: Final = (
    "membrane protein",
    "ribosome",
    "cryo-et",
    "10017",
    "EMD-11000",
    "mem* -spliceosome",
    "membrain",
)


def fill(root: Path, given: argparse.Namespace) -> None:
    """The catalogue is there."""
    if not (root / "empiar.db").exists():
        begun = time.perf_counter()
        make(root, given.amounts)
        show("filling the catalogue, s", f"{time.perf_counter() - begun:.0f}")
    show("catalogue, GiB", f"{(root / 'empiar.db').stat().st_size / 2**30:.2f}")


def renewals(settings: Settings) -> None:
    """Snapshots, and two readers who never pause."""
    folder = settings.root / FOLDER
    with Snapshots(settings.root, summary_of(settings)) as snapshots:
        renewal("the first snapshot", snapshots, folder)
        longest, ended = list[float](), threading.Event()

        def read() -> None:
            while not ended.is_set():
                begun = time.perf_counter()
                with snapshots.lease(seconds=60) as (_, connection):
                    of_entry.read_entry(connection, FOLDERS)
                longest.append(time.perf_counter() - begun)

        readers = [threading.Thread(target=read) for _ in range(2)]
        touch(settings.root)
        renewal("a snapshot after a change of a title", snapshots, folder)
        for reader in readers:
            reader.start()
        touch(settings.root)
        renewal("the same beside two readers", snapshots, folder)
        ended.set()
        for reader in readers:
            reader.join()
        show(
            "  reads meanwhile; median and longest, ms",
            f"{len(longest):,}  {1000 * statistics.median(longest):.0f}  {1000 * max(longest):.0f}",
        )


def renewal(what: str, snapshots: Snapshots[Summary], folder: Path) -> None:
    used, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            sizes = []
            for path in folder.iterdir():
                try:
                    sizes.append(path.stat().st_blocks * 512)
                except FileNotFoundError:
                    continue
            used.append(sum(sizes))

    looking = threading.Thread(target=look)
    looking.start()
    wall, cpu = time.perf_counter(), time.process_time()
    snapshots.renew()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    ended.set()
    looking.join()
    show(f"{what}, s; processor s; most disk, GiB", f"{wall:.1f}  {cpu:.1f}  {max(used) / 2**30:.2f}")


def touch(root: Path) -> None:
    """Something in the catalogue is new."""
    entry = Entry(empiar_id=FIRST, title=f"Title of {time.time_ns()}", status="REL")
    with Catalogue.open(root / "empiar.db") as catalogue:
        catalogue.write_now(lambda conn: record_entry(conn, entry, source="api", now=int(time.time())))


def searches(root: Path) -> None:
    with reading(root) as connection:
        for words in SEARCHES:
            taken = [seconds(lambda words=words: search(connection, words, limit=20)) for _ in range(5)]  # type: ignore[misc] # bound at once
            show(f"search {words}, ms", f"{1000 * statistics.median(taken):.0f}")


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def served(root: Path) -> None:
    """Pages and queries of a server of its own, with time for queries that are too slow by default."""
    config = root / "web.toml"
    config.write_text(f'root = "{root}"\n[serve]\nport = 0\nsql_time = "60s"\n')
    command = [sys.executable, "-m", "empiar_mirror", "serve", "--config", str(config)]
    with (root / "web.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    try:
        assert server.stdout is not None
        place = urlsplit(server.stdout.readline().decode().strip())
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=300)
        show("memory after the start, MiB; of it anonymous; most", memory(server.pid))
        for path in PAGES:
            first, status = got(connection, path)
            before = used_s(server.pid)
            taken = [got(connection, path)[0] for _ in range(ROUNDS)]
            cpu = (used_s(server.pid) - before) / ROUNDS
            note = "" if status == 200 else f"  status {status}"
            show(
                f"{path[:46]}, ms: first, median; processor ms",
                f"{1000 * first:.0f}  {1000 * statistics.median(taken):.0f}  {1000 * cpu:.0f}{note}",
            )
        for name, query in library({}).items():
            given = urlencode({p.name: str(FOLDERS) for p in query.parameters if p.default is None})
            first, status = got(connection, f"/query/{name}.json?{given}")
            again, _ = got(connection, f"/query/{name}.json?{given}")
            note = "" if status == 200 else f"  status {status}"
            show(f"query {name}, s: first, again", f"{first:.2f}  {again:.2f}{note}")
        show("memory after all, MiB; of it anonymous; most", memory(server.pid))
    finally:
        server.terminate()
        server.wait()


def memory(pid: int) -> str:
    return "  ".join(f"{memory_mib(pid, what):.0f}" for what in ("VmRSS", "RssAnon", "VmHWM"))


def got(connection: http.client.HTTPConnection, path: str) -> tuple[float, int]:
    begun = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return time.perf_counter() - begun, answer.status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    given = arguments_of(parser)
    with tempfile.TemporaryDirectory() as temporary:
        root = (given.folder or Path(temporary)).absolute()
        root.mkdir(parents=True, exist_ok=True)
        fill(root, given)
        renewals(Settings(root=root))
        searches(root)
        served(root)


if __name__ == "__main__":
    main()

"""What the daemon costs while there is nothing to do. Run by hand: ``python benchmarks/idle.py --files 20000000``.

A catalogue of 3,000 entries is filled, part of their files are recorded as here, and `empiar-mirror run` works on it
beside an archive of which nothing changes. Taken are the processor time and memory that Linux accounts to the process,
beside those of a Python process that imports the same libraries and sleeps. Prints a table; asserts nothing, because
figures depend on the machine. The catalogue can be kept (`--folder`) for further runs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from empiar_crawler.harvest import COMPLETE, SEARCH
from empiar_schema import crawl_store, queue_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.entry import Entry, ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.states import Role
from empiar_schema.transfer_store import Turn

FIRST = 10_002
SIZE = 40_000_000
BATCH = 5_000
TICK = os.sysconf("SC_CLK_TCK")
SLEEPER = "import aiohttp, aioftp, globus_sdk, pydantic, structlog, time; time.sleep(1e6)"


def show(what: str, value: str) -> None:
    print(f"{what:<66} {value}", flush=True)


def fill(catalogue: Catalogue, *, entries: int, files: int, here: int) -> None:
    """So many entries with so many files in all, of which the first `here` are recorded as here, crawled and verified just now."""
    now = int(time.time())
    today = datetime.fromtimestamp(now, UTC).date().isoformat()
    each = files // entries
    left = here
    for empiar_id in range(FIRST, FIRST + entries):
        catalogue.write_now(_entry(empiar_id, each, now))
        taken = min(left, each)
        if taken:
            catalogue.write_now(_arrived(empiar_id, taken, now))
            left -= taken
    for source in (SEARCH, COMPLETE):
        catalogue.write_now(_harvested(source, today, now))


def _entry(empiar_id: int, files: int, now: int) -> Callable[[sqlite3.Connection], None]:
    images = ImageSet(position=0, name="Micrographs", directory="data", data_format="MRC", image_count=files)
    entry = Entry(
        empiar_id=empiar_id,
        title=f"Structure {empiar_id} of a membrane protein",
        status="REL",
        scale="molecule",
        release_date="2020-01-01",
        dataset_bytes=files * SIZE,
        imagesets=(images,),
    )

    def job(conn: sqlite3.Connection) -> None:
        crawl_store.record_entry(conn, entry, source="api", now=now)
        number = crawl_store.begin_listing(conn, empiar_id, source="ftp", now=now)
        for start in range(0, files, BATCH):
            numbers = range(start, min(start + BATCH, files))
            names = (f"FoilHole_{i * 37:08d}_Data_{i:08d}_fractions.mrc" for i in numbers)
            part = [ListedFile(name, SIZE, True, 1_600_000_000, 60) for name in names]
            crawl_store.add_to_listing(conn, number, "data", part)
        crawl_store.complete_listing(conn, number, now=now)
        first, last = conn.execute(
            "SELECT min(file_id), max(file_id) FROM file JOIN directory USING (directory_id) WHERE empiar_id = ?",
            (empiar_id,),
        ).fetchone()
        crawl_store.record_roles(conn, [(i, Role.MICROGRAPH, 0.9) for i in range(first, last + 1)])
        crawl_store.record_inspected(conn, empiar_id)

    return job


def _arrived(empiar_id: int, count: int, now: int) -> Callable[[sqlite3.Connection], None]:
    def job(conn: sqlite3.Connection) -> None:
        ids = [
            row[0]
            for row in conn.execute(
                "SELECT file_id FROM files WHERE empiar_id = ? LIMIT ?", (empiar_id, count)
            )
        ]
        transfer_store.want_files(conn, ids, now=now)
        for queue in queue_store.waiting_queues(conn, empiar_ids=[empiar_id]):
            transfer_store.claim_from(conn, Turn(queue.queue_id, count, 2**62), now=now)
        arrivals = [transfer_store.Arrival(i, SIZE, i.to_bytes(32, "big"), None, None) for i in ids]
        transfer_store.record_arrivals(conn, arrivals, now=now)

    return job


def _harvested(source: str, day: str, now: int) -> Callable[[sqlite3.Connection], None]:
    return lambda conn: crawl_store.record_harvest(conn, source, day=day, now=now)


async def serve_quiet_archive() -> tuple[web.AppRunner, int]:
    """An archive in which nothing has changed since, whatever one asks; returns its runner and port."""

    async def nothing(_: web.Request) -> web.Response:
        return web.json_response({})

    application = web.Application()
    application.router.add_get("/{anything:.*}", nothing)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, int(runner.addresses[0][1])


def configuration(root: Path, port: int) -> str:
    archive = f"http://127.0.0.1:{port}"
    return (
        f'root = "{root}"\n[archive]\napi_url = "{archive}/api"\nsearch_url = "{archive}/search"\n'
        f'site_url = "{archive}/site"\nhttps_url = "{archive}/files"\nftp_url = "ftp://127.0.0.1:9"\n'
        '[daemon]\nlisten = "127.0.0.1:0"\n[arrange]\nviews = []\n'
    )


def used_s(pid: int) -> float:
    """Seconds of processor time that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mib(pid: int, what: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


async def measure(root: Path, *, settle_s: float, seconds: float) -> None:
    runner, port = await serve_quiet_archive()
    config = root / "idle.toml"
    config.write_text(configuration(root, port))
    command = [sys.executable, "-m", "empiar_mirror", "run", "--config", str(config)]
    log = (root / "idle.log").open("wb")
    daemon = subprocess.Popen(command, stdout=log, stderr=log)
    sleeper = subprocess.Popen([sys.executable, "-c", SLEEPER])
    try:
        await asyncio.sleep(settle_s)
        if daemon.poll() is not None:
            raise SystemExit(f"the daemon ended with {daemon.returncode}: see {log.name}")
        show("processor time of the start, s", f"{used_s(daemon.pid):.1f}")
        before = used_s(daemon.pid), used_s(sleeper.pid)
        await asyncio.sleep(seconds)
        after = used_s(daemon.pid), used_s(sleeper.pid)
        share = (after[0] - before[0]) / seconds
        show(f"processor, share of a core over {seconds:.0f} s", f"{share:.3%}")
        for what, name in (
            ("VmRSS", "memory"),
            ("RssAnon", "memory of its own, anonymous"),
            ("VmHWM", "peak memory"),
        ):
            ours, peer = memory_mib(daemon.pid, what), memory_mib(sleeper.pid, what)
            show(
                f"{name}, MiB; of a sleeping process with the same libraries; ratio",
                f"{ours:.0f}  {peer:.0f}  {ours / peer:.2f}",
            )
    finally:
        for process in (daemon, sleeper):
            process.terminate()
            process.wait()
        log.close()
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=3_000)
    parser.add_argument("--files", type=int, default=1_000_000, help="files in all")
    parser.add_argument("--here", type=int, default=100_000, help="so many of them are recorded as here")
    parser.add_argument(
        "--settle", type=float, default=60.0, help="seconds after the start that are not measured"
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="seconds that are measured")
    parser.add_argument(
        "--folder", type=Path, help="the catalogue is made here and kept; default a temporary folder"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (arguments.folder or Path(temporary)).absolute()
        root.mkdir(parents=True, exist_ok=True)
        if not (root / "empiar.db").exists():
            begun = time.perf_counter()
            with Catalogue.open(root / "empiar.db", create=True) as catalogue:
                fill(catalogue, entries=arguments.entries, files=arguments.files, here=arguments.here)
            show("filling the catalogue, s", f"{time.perf_counter() - begun:.0f}")
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            show("peak memory of filling, MiB", f"{peak:.0f}")
        show("catalogue, GiB", f"{(root / 'empiar.db').stat().st_size / 2**30:.2f}")
        asyncio.run(measure(root, settle_s=arguments.settle, seconds=arguments.seconds))


if __name__ == "__main__":
    main()

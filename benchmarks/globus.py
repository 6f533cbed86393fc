"""The ledger of the Globus channel: planning a million files, submitting a bundle, reading back what a task has copied.

Run by hand: ``python benchmarks/globus.py [--files N] [--entries N] [--moved N] [--folder DIR]``. The catalogue is built beforehand, and
every measurement has a process of its own, whose peak is printed. Peers: bundles in plain lists without a
ledger, as zstash cuts its archives; items named one by one; and the SDK's own paginator, which records nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import multiprocessing
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ParamSpec, TypeVar

from globus_sdk import TransferData
from globus_sdk.transport.encoders import JSONRequestEncoder

from empiar_mirror.globus import planning, tasks
from empiar_mirror.globus.bundling import items_of
from empiar_mirror.globus.places import Places
from empiar_mirror.globus.tasks import Desk
from empiar_mirror.rehearsal.archive import RehearsalArchive
from empiar_mirror.rehearsal.globus import GlobusConfig, GlobusStandIn
from empiar_mirror.rehearsal.globus.accounts import CLIENT_ID, CLIENT_SECRET, SERVICE_IDENTITY
from empiar_mirror.rehearsal.globus.collections import ARCHIVE_COLLECTION, DESTINATION_COLLECTION
from empiar_mirror.rehearsal.globus.tasks import Moved
from empiar_mirror.rehearsal.served import ServedLog
from empiar_mirror.space import Space
from empiar_schema import globus_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.configuration import load
from empiar_schema.files import ListedFile
from empiar_schema.globus_bundles import Bundle, NewBundle
from empiar_schema.globus_states import BundleState
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.settings import Settings
from empiar_wire.globus import TransferService
from empiar_wire.globus_account import GlobusAccount
from empiar_wire.globus_facts import Submission
from empiar_wire.globus_submission import transfer_document

P = ParamSpec("P")
T = TypeVar("T")

NOW = 1_800_000_000
FOLDER_FILES = 2_000
FIRST_ENTRY = 10_001
SOURCE = "/gridftp/empiar/world_availability"


def show(what: str, value: str) -> None:
    print(f"{what:<70} {value}", flush=True)


def apart(measure: Callable[..., T], *values: object) -> tuple[T, float]:
    """What `measure` gives in a fresh process, and that process's peak in MiB."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_reported, args=(theirs, measure, values))
    process.start()
    theirs.close()
    found, peak = ours.recv()
    process.join()
    return found, peak


def _reported(report: Connection, measure: Callable[..., object], values: tuple[object, ...]) -> None:
    found = measure(*values)
    report.send((found, _peak_mib()))


def _peak_mib() -> float:
    # `ru_maxrss` would be the parent's: it is kept when a process becomes another program.
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


# --- a catalogue --------------------------------------------------------------------------------------------


def settings_in(root: Path, **globus: str) -> Settings:
    """The settings of a mirror below `root` with all three channels."""
    environ = {
        "EMPIAR_MIRROR_ROOT": str(root),
        "EMPIAR_MIRROR_TRANSFER__CHANNELS": '["https", "ftp", "globus"]',
        "EMPIAR_MIRROR_GLOBUS__COLLECTION": DESTINATION_COLLECTION,
        "EMPIAR_MIRROR_GLOBUS__CLIENT_ID": CLIENT_ID,
        "EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET": CLIENT_SECRET,
        **{f"EMPIAR_MIRROR_GLOBUS__{name.upper()}": value for name, value in globus.items()},
    }
    return load(None, environ=environ, cwd=root)


def build(root: Path, files: int, entries: int, *, folder_files: int = FOLDER_FILES) -> None:
    """A catalogue of so many wanted files of 200 MB each."""
    with Catalogue.open(root / "empiar.db", create=True) as catalogue:
        for number in range(entries):
            entry = functools.partial(
                _entry, empiar_id=FIRST_ENTRY + number, files=files // entries, folder_files=folder_files
            )
            catalogue.write_now(entry)


def _entry(conn: sqlite3.Connection, empiar_id: int, files: int, folder_files: int) -> None:
    listing = begin_listing(conn, empiar_id, source="ftp", now=NOW)
    for first in range(0, files, folder_files):
        listed = [
            ListedFile(
                f"FoilHole_{24_000_000 + n}_Data_{24_010_000 + n}_{n % 10}_20210314_{n:06d}_fractions.tiff",
                200_000_000 + n, True, NOW, 60,
            )
            for n in range(first, min(first + folder_files, files))
        ]  # fmt: skip
        add_to_listing(
            conn,
            listing,
            f"data/Images-Disc1/GridSquare_{first:07d}/Data",
            [*listed, *_others(first, folder_files)],
        )
    complete_listing(conn, listing, now=NOW)
    transfer_store.want_entry(conn, empiar_id, now=NOW)
    # As after a subscription that leaves previews out.
    conn.execute("DELETE FROM copy WHERE file_id IN (SELECT file_id FROM file WHERE name LIKE '%.jpg')")


def _others(first: int, folder_files: int) -> list[ListedFile]:
    return [
        ListedFile(f"preview_{first + n:07d}.jpg", 20_000, True, NOW, 60) for n in range(folder_files // 20)
    ]


def desk_of(catalogue: Catalogue, settings: Settings, service: TransferService) -> Desk:
    """What work on tasks needs."""
    staging = settings.root / "staging"
    staging.mkdir(exist_ok=True)
    return Desk(
        catalogue=catalogue,
        service=service,
        settings=settings.globus,
        places=Places(ARCHIVE_COLLECTION, SOURCE, DESTINATION_COLLECTION, "/mirror"),
        staging=staging,
        space=Space(staging, settings.disk),
        alone=False,
        observer=lambda _: None,
        clock=time.time,
    )


# --- planning -----------------------------------------------------------------------------------------------


def plan_all(root: Path) -> tuple[float, int, int]:
    """Seconds to plan everything, bundles, and files in them."""

    async def work() -> tuple[float, int, int]:
        settings = settings_in(root)
        service = TransferService(GlobusAccount(settings.globus, root))
        try:
            with Catalogue.open(root / "empiar.db") as catalogue:
                desk = desk_of(catalogue, settings, service)
                begun = time.perf_counter()
                await plan_once(desk, settings)
                seconds = time.perf_counter() - begun
                with catalogue.reader() as conn:
                    bundles = globus_store.open_bundles(conn)
                return seconds, len(bundles), sum(bundle.files for bundle in bundles)
        finally:
            await service.aclose()

    return asyncio.run(work())


def plan_in_lists(root: Path) -> tuple[float, int, int]:
    """The same by plain lists: every row in memory, cut by size and number, recorded nowhere."""
    settings = settings_in(root).globus
    begun = time.perf_counter()
    with Catalogue.open(root / "empiar.db") as catalogue, catalogue.reader() as conn:
        rows = conn.execute(
            "SELECT c.file_id, d.empiar_id, d.path, f.name, f.bytes FROM copy c JOIN file f ON f.file_id = c.file_id"
            " JOIN directory d ON d.directory_id = f.directory_id WHERE c.state <= 1 ORDER BY c.file_id"
        ).fetchall()
    bundles: list[list[tuple[object, ...]]] = [[]]
    size = 0
    for row in rows:
        if len(bundles[-1]) >= settings.bundle_files or size + row[4] > settings.bundle_bytes:
            bundles.append([])
            size = 0
        bundles[-1].append(tuple(row))
        size += row[4]
    return time.perf_counter() - begun, len(bundles), sum(map(len, bundles))


async def plan_once(desk: Desk, settings: Settings) -> int:
    """What a look of the channel at its needs does: routes, then bundles."""
    needs = await desk.catalogue.read(
        functools.partial(
            planning.needs_by_globus,
            empiar_ids=None,
            settings=settings,
            channels=settings.transfer.channels,
            least_priority=0,
            now=NOW,
        )
    )
    return await planning.plan(desk, needs, least_priority=0)


def poll_idle(root: Path) -> tuple[float, float]:
    """Seconds that a look at the ledger costs while all is under way, and planning when nothing is left to plan."""

    async def work() -> tuple[float, float]:
        settings = settings_in(root)
        service = TransferService(GlobusAccount(settings.globus, root))
        try:
            with Catalogue.open(root / "empiar.db") as catalogue:
                desk = desk_of(catalogue, settings, service)
                begun = time.perf_counter()
                await catalogue.read(globus_store.entries_under_way)
                looked = time.perf_counter()
                await plan_once(desk, settings)
                return looked - begun, time.perf_counter() - looked
        finally:
            await service.aclose()

    return asyncio.run(work())


# --- submitting ---------------------------------------------------------------------------------------------


def submit_one(root: Path) -> tuple[float, float, float, int, int, float, int]:
    """Seconds to read the largest bundle, for its items, and for the document's JSON; items and bytes of JSON; the same file by file."""
    with Catalogue.open(root / "empiar.db") as catalogue, catalogue.reader() as conn:
        bundle = max(globus_store.open_bundles(conn), key=lambda bundle: bundle.files)
        places = Places(ARCHIVE_COLLECTION, SOURCE, DESTINATION_COLLECTION, "/mirror")
        begun = time.perf_counter()
        files = globus_store.bundle_files(conn, bundle.bundle_id)
        folders = tasks.folders_of(conn, bundle_id=bundle.bundle_id, files=files)
        read = time.perf_counter()
        items, filters = items_of(files, folders, places)
        made = time.perf_counter()
        submission = Submission(
            "0", bundle.label, ARCHIVE_COLLECTION, DESTINATION_COLLECTION, items, filters, None, 1.0
        )
        document = transfer_document(submission, time.time())
        size = _encoded(document)
        written = time.perf_counter()
        peer = TransferData(ARCHIVE_COLLECTION, DESTINATION_COLLECTION)
        for file in files:
            peer.add_item(
                f"{SOURCE}/{file.remote.empiar_id}/{file.remote.path}",
                f"/mirror/staging/globus/{file.remote.empiar_id}/{file.remote.path}",
            )
        plain_size = _encoded(peer)
        by_file = time.perf_counter() - written
    return read - begun, made - read, written - made, len(items), size, by_file, plain_size


def _encoded(document: TransferData) -> int:
    """Bytes of the request's body, made as the SDK makes it."""
    request = JSONRequestEncoder().encode("POST", "http://127.0.0.1/", {}, document, {})
    body = request.prepare().body
    assert isinstance(body, bytes | str)
    return len(body)


def read_many_folders(root: Path) -> tuple[float, float, int]:
    """Seconds to read the folders of an entry of very many, and for the items of a bundle that has files in all of them; folders."""
    build(root, 100_000, 1, folder_files=2)
    with Catalogue.open(root / "empiar.db") as catalogue:

        def plan(conn: sqlite3.Connection) -> int:
            found = globus_store.candidates(conn, FIRST_ENTRY, least_priority=0, now=NOW)
            ids = [file.file_id for file in found if file.name.startswith("FoilHole")][::5]
            return globus_store.plan_bundle(conn, NewBundle("many", ids, None), now=NOW)

        bundle_id = catalogue.write_now(plan)
        with catalogue.reader() as conn:
            begun = time.perf_counter()
            files = globus_store.bundle_files(conn, bundle_id)
            folders = tasks.folders_of(conn, bundle_id=bundle_id, files=files)
            read = time.perf_counter()
            items_of(files, folders, Places(ARCHIVE_COLLECTION, SOURCE, DESTINATION_COLLECTION, "/mirror"))
            return read - begun, time.perf_counter() - read, len(folders[FIRST_ENTRY])


# --- reading back -------------------------------------------------------------------------------------------


def serve(say: Connection, root: Path, page_size: int, paths: list[tuple[bytes, bytes]]) -> None:
    """A stand-in whose only task has copied these files; it serves until told to end."""

    async def work() -> None:
        globus = GlobusStandIn(
            RehearsalArchive(), GlobusConfig(folder=root, page_size=page_size), ServedLog()
        )
        await globus.start()
        task = globus.desk.add_foreign(SERVICE_IDENTITY.identity_id, "copied")
        task.moved = [Moved(source, destination) for source, destination in paths]
        globus.end_task(task)
        say.send((globus.url, task.task_id))
        await asyncio.to_thread(say.recv)
        await globus.close()

    asyncio.run(work())


def read_back(root: Path, url: str, task_id: str, files: int, *, record: bool) -> tuple[float, int]:
    """Seconds until everything that the task has copied is in the ledger (or merely read, by the SDK's paginator), and how many files that is."""

    async def work() -> tuple[float, int]:
        settings = settings_in(root, transfer_url=url, auth_url=url)
        account = GlobusAccount(settings.globus, root)
        # The pace of 20 requests a second is the account's, not the ledger's.
        service = TransferService(account, requests_per_s=1e6)
        try:
            if not record:
                client = account.transfer_client()
                await service.task(task_id)  # logs in, as ours does before

                def loop() -> int:
                    pages = client.paginated.task_successful_transfers(task_id)
                    return sum(1 for page in pages for row in page if row["destination_path"])

                begun = time.perf_counter()
                count = await asyncio.to_thread(loop)
                return time.perf_counter() - begun, count
            with Catalogue.open(root / "empiar.db") as catalogue:
                bundle = await catalogue.read(lambda c: _submitted(c, files))
                bundle = Bundle(**{**{n: getattr(bundle, n) for n in bundle.__slots__}, "task_id": task_id})
                desk = desk_of(catalogue, settings, service)
                await service.task(task_id)
                begun = time.perf_counter()
                count = await tasks.read_moved(desk, bundle, while_running=False)
                return time.perf_counter() - begun, count
        finally:
            await service.aclose()

    return asyncio.run(work())


def _submitted(conn: sqlite3.Connection, files: int) -> Bundle:
    return next(
        b for b in globus_store.open_bundles(conn) if b.files >= files and b.state is BundleState.PLANNED
    )


def make_moved(root: Path, files: int) -> list[tuple[bytes, bytes]]:
    """A mirror of one bundle of so many files; their places in both collections."""
    root.mkdir()
    build(root, files, 1)

    def plan(conn: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
        found = list(globus_store.candidates(conn, FIRST_ENTRY, least_priority=0, now=NOW))
        new = NewBundle("one", [file.file_id for file in found], None)
        bundle_id = globus_store.plan_bundle(conn, new, now=NOW)
        places = Places(ARCHIVE_COLLECTION, SOURCE, DESTINATION_COLLECTION, "/mirror")
        paths = [file.remote.path for file in globus_store.bundle_files(conn, bundle_id)]
        return [
            (places.source(FIRST_ENTRY, path).encode(), places.destination(FIRST_ENTRY, path).encode())
            for path in paths
        ]

    with Catalogue.open(root / "empiar.db") as catalogue:
        return catalogue.write_now(plan)


def measure_reading(folder: Path, files: int, page_size: int) -> None:
    root = folder / f"moved-{page_size}"
    paths = make_moved(root, files)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, root, page_size, paths))
    server.start()
    try:
        url, task_id = ours.recv()
        (plain, _), plain_peak = apart(_paginated, root, url, task_id, files)
        (seconds, count), peak = apart(_recorded, root, url, task_id, files)
        assert count == files
        what = f"reading back {files:,} files, pages of {page_size:,}"
        show(f"{what}, into the ledger", f"{seconds:.1f} s, peak {peak:.0f} MiB")
        show(f"{what}, the SDK's paginator alone", f"{plain:.1f} s, peak {plain_peak:.0f} MiB")
        show(f"{what}, ours ÷ paginator", f"{seconds / plain:.2f}")
    finally:
        ours.send("end")
        server.join()
    shutil.rmtree(root)


def _paginated(root: Path, url: str, task_id: str, files: int) -> tuple[float, int]:
    return read_back(root, url, task_id, files, record=False)


def _recorded(root: Path, url: str, task_id: str, files: int) -> tuple[float, int]:
    return read_back(root, url, task_id, files, record=True)


# --- all of it ----------------------------------------------------------------------------------------------


def measure_planning(folder: Path, files: int, entries: int) -> None:
    root = folder / "plan"
    root.mkdir()
    apart(build, root, files, entries)
    (plain, bundles, count), peak = apart(plan_in_lists, root)
    show(f"{files:,} files of {entries} entries in plain lists, no ledger", f"{plain:.1f} s, {bundles} bundles, peak {peak:.0f} MiB")  # fmt: skip
    (seconds, planned, ours), peak = apart(plan_all, root)
    assert count == ours == files
    show("the same planned in the ledger", f"{seconds:.1f} s, {planned} bundles, peak {peak:.0f} MiB")
    show("planned ÷ plain lists", f"{seconds / plain:.2f}")
    (looked, again), _ = apart(poll_idle, root)
    show("entries under way, while all are", f"{looked * 1000:.0f} ms")
    show("planning where nothing is left", f"{again * 1000:.0f} ms")
    (read, made, written, items, size, by_file, plain_size), _ = apart(submit_one, root)
    show("a bundle's files and folders read", f"{read * 1000:.0f} ms")
    show(f"its {items:,} items", f"{made * 1000:.0f} ms")
    show("its document and JSON", f"{written * 1000:.0f} ms, {size / 1e6:.2f} MB")
    show("the same files named one by one", f"{by_file * 1000:.0f} ms, {plain_size / 1e6:.2f} MB")
    show("reading, items and JSON ÷ one by one", f"{(read + made + written) / by_file:.2f}")
    shutil.rmtree(root)
    root.mkdir()
    (read, made, count), _ = apart(read_many_folders, root)
    show(f"files and folders read, of an entry of {count:,} folders", f"{read * 1000:.0f} ms")
    show("the items of a bundle of 20,000 files in 20,000 of them", f"{made * 1000:.0f} ms")
    shutil.rmtree(root)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=100)
    parser.add_argument("--moved", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        measure_planning(Path(name), options.files, options.entries)
        for page_size in (1000, 100):
            measure_reading(Path(name), options.moved, page_size)


if __name__ == "__main__":
    main()

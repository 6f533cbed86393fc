"""A small catalogue whose files are with the Globus service, or were, in every way that people can see; made by the stores themselves."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from empiar_schema import globus_endings, globus_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry
from empiar_schema.entry import Entry
from empiar_schema.files import ListedFile
from empiar_schema.globus_bundles import NewBundle
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.states import Channel
from empiar_schema.transfer_store import Arrival, Attempt, record_arrivals, record_attempts, want_entry

#: 2026-01-01T00:00:00Z.
NOW: Final = 1_767_225_600
ENTRY: Final = 10017
#: Listed, and not asked for.
UNWANTED: Final = 10028
SIZE: Final = 5 * 10**9
RUNNING, QUEUED, FAILED, ELSEWHERE = (f"{n:08d}-0000-0000-0000-000000000000" for n in range(1, 5))
#: What became of each file is in its name.
NAMES: Final = (
    "a_arrived.mrc",
    "b_delivered.mrc",
    "c_under_way.mrc",
    "d_queued.mrc",
    "e_planned.mrc",
    "f_freed.mrc",
    "g_refused.mrc",
    "h_unverified.mrc",
    "i_never_planned.mrc",
)
REASON: Final = "the Globus task failed: PERMISSION_DENIED"


def make_globus_mirror(root: Path) -> None:
    """The folders and the catalogue of a mirror below `root`; no file stands anywhere."""
    for name in ("archive", "staging", "datasets", "manifests", "quarantine"):
        (root / name).mkdir(parents=True)
    with Catalogue.open(root / "empiar.db", create=True) as catalogue:
        catalogue.write_now(_crawled)
        catalogue.write_now(_handed_over)


def numbers(conn: sqlite3.Connection) -> dict[str, int]:
    """Number of each file of `ENTRY` by its name."""
    return dict(conn.execute("SELECT name, file_id FROM files WHERE empiar_id = ?", (ENTRY,)).fetchall())


def _crawled(conn: sqlite3.Connection) -> None:
    for empiar_id, names in ((ENTRY, NAMES), (UNWANTED, ("only.mrc",))):
        record_entry(conn, Entry(empiar_id=empiar_id, title="Beta-galactosidase"), source="api", now=NOW)
        listing = begin_listing(conn, empiar_id, source="ftp", now=NOW)
        add_to_listing(
            conn, listing, "data", [ListedFile(name, SIZE, True, NOW - 10**6, 1) for name in names]
        )
        complete_listing(conn, listing, now=NOW)


def _handed_over(conn: sqlite3.Connection) -> None:
    want_entry(conn, ENTRY, now=NOW)
    at = numbers(conn)
    running = _bundle(conn, "running", [at[name] for name in NAMES[:3]], RUNNING, now=NOW - 3600)
    _stands(conn, running, "ACTIVE", "OK", moved=2 * SIZE + 7, files=2, faults=3, now=NOW - 60)
    globus_store.deliver(conn, running, [at["a_arrived.mrc"], at["b_delivered.mrc"]], now=NOW - 60)
    record_attempts(
        conn, [Attempt(at["a_arrived.mrc"], Channel.GLOBUS, NOW - 3600, NOW - 60, 0, SIZE, "done")]
    )
    record_arrivals(conn, [Arrival(at["a_arrived.mrc"], SIZE, bytes(32), Channel.GLOBUS, None)], now=NOW - 50)
    queued = _bundle(conn, "queued", [at["d_queued.mrc"]], QUEUED, now=NOW - 9000)
    _stands(conn, queued, "ACTIVE", "Queued", moved=0, files=0, faults=0, now=NOW - 9000)
    globus_store.plan_bundle(conn, NewBundle("planned", [at["e_planned.mrc"]], "checksum"), now=NOW)
    failed = _bundle(conn, "failed", [at["f_freed.mrc"], at["g_refused.mrc"]], FAILED, now=NOW - 8000)
    globus_endings.free(conn, [at["f_freed.mrc"]], error=REASON)
    globus_endings.free(
        conn, [at["g_refused.mrc"]], error="Globus passed it over: FILE_NOT_FOUND", for_good=True
    )
    globus_endings.end_bundle(conn, failed, status="FAILED", error=REASON, now=NOW - 7000)
    elsewhere = _bundle(conn, "elsewhere", [at["h_unverified.mrc"]], ELSEWHERE, now=NOW - 6000)
    globus_store.deliver(conn, elsewhere, [at["h_unverified.mrc"]], now=NOW - 5000, visible=False)
    globus_endings.end_bundle(conn, elsewhere, status="SUCCEEDED", error=None, now=NOW - 5000)


def _bundle(conn: sqlite3.Connection, label: str, file_ids: list[int], task_id: str, *, now: int) -> int:
    bundle_id = globus_store.plan_bundle(conn, NewBundle(label, file_ids, None), now=now)
    globus_store.record_submission_id(conn, bundle_id, "a" * 36)
    globus_store.record_task(conn, bundle_id, task_id, now=now)
    return bundle_id


def _stands(
    conn: sqlite3.Connection,
    bundle_id: int,
    status: str,
    nice_status: str,
    *,
    moved: int,
    files: int,
    faults: int,
    now: int,
) -> None:
    globus_store.record_progress(
        conn,
        bundle_id,
        status=status,
        nice_status=nice_status,
        bytes_transferred=moved,
        files_transferred=files,
        faults=faults,
        now=now,
    )

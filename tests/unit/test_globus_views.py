"""What SQL says of the Globus channel."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_mirror.reading import reading
from empiar_schema import globus_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.states import EntryState
from empiar_schema.transfer_store import park
from globus_shown import (
    ENTRY,
    FAILED,
    NAMES,
    NOW,
    REASON,
    RUNNING,
    SIZE,
    UNWANTED,
    make_globus_mirror,
    numbers,
)

COLLECTION = "47772002-3e5b-4fd3-b97c-18cee38d6df2"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    make_globus_mirror(folder)
    return folder


@pytest.fixture
def catalogue(root: Path) -> Iterator[sqlite3.Connection]:
    with reading(root) as connection:
        yield connection


def test_a_task_shows_how_it_stands_and_what_became_of_its_files(catalogue: sqlite3.Connection) -> None:
    tasks = {row["label"]: row for row in catalogue.execute("SELECT * FROM globus_tasks")}
    assert {label: row["state"] for label, row in tasks.items()} == {
        "running": "submitted",
        "queued": "submitted",
        "planned": "planned",
        "failed": "ended",
        "elsewhere": "ended",
    }
    running, failed = tasks["running"], tasks["failed"]
    assert (running["task_id"], running["files"], running["bytes"]) == (RUNNING, 3, 3 * SIZE)
    assert (running["files_under_way"], running["files_delivered"], running["files_freed"]) == (1, 1, 0)
    assert (running["bytes_transferred"], running["files_transferred"], running["faults"]) == (
        2 * SIZE + 7,
        2,
        3,
    )
    assert running["submitted_at"] == "2025-12-31T23:00:00Z"
    assert running["progressed_at"] == "2025-12-31T23:59:00Z"
    assert tasks["planned"]["sync_level"] == "checksum"
    assert (failed["status"], failed["error"], failed["files_freed"]) == ("FAILED", REASON, 2)


def test_a_file_shows_the_task_that_it_is_or_was_with(catalogue: sqlite3.Connection) -> None:
    files = {row["path"]: row for row in catalogue.execute("SELECT * FROM globus_files")}
    states = {path.removeprefix("data/"): row["state"] for path, row in files.items()}
    assert states == {
        "b_delivered.mrc": "delivered",
        "c_under_way.mrc": "under_way",
        "d_queued.mrc": "under_way",
        "e_planned.mrc": "under_way",
        "f_freed.mrc": "freed",
        "g_refused.mrc": "freed",
        "h_unverified.mrc": "delivered",
    }
    assert files["data/f_freed.mrc"]["task_id"] == FAILED
    assert files["data/f_freed.mrc"]["error"] == REASON
    assert [files[f"data/{name}"]["tries"] for name in ("f_freed.mrc", "g_refused.mrc")] == [1, None]
    assert files["data/b_delivered.mrc"]["delivered_at"] == "2025-12-31T23:59:00Z"
    assert {row["empiar_id"] for row in files.values()} == {ENTRY}


def test_what_only_the_program_needs_is_no_column(catalogue: sqlite3.Connection) -> None:
    named = catalogue.execute("SELECT \"column\" FROM descriptions WHERE view LIKE 'globus%'").fetchall()
    assert not {"submission_id", "moved_marker"} & {row[0] for row in named}


def test_progress_counts_what_was_not_verified_apart(catalogue: sqlite3.Connection) -> None:
    row = catalogue.execute("SELECT * FROM entry_progress WHERE empiar_id = ?", (ENTRY,)).fetchone()
    assert (row["here_files"], row["failed_files"], row["unverified_files"]) == (1, 0, 1)
    assert row["unverified_bytes"] == SIZE
    assert row["state"] == EntryState.TRANSFERRING


def test_an_entry_of_which_the_rest_is_unverified_is_neither_complete_nor_incomplete(tmp_path: Path) -> None:
    make_globus_mirror(tmp_path / "mirror")
    with Catalogue.open(tmp_path / "mirror" / "empiar.db") as catalogue:

        def state() -> object:
            with catalogue.reader() as conn:
                query = "SELECT state FROM entry_progress WHERE empiar_id = ?"
                return conn.execute(query, (ENTRY,)).fetchone()[0]

        def bring_the_rest(conn: sqlite3.Connection) -> None:
            for bundle in globus_store.open_bundles(conn):
                files = [file.file_id for file in globus_store.bundle_files(conn, bundle.bundle_id)]
                globus_store.deliver(conn, bundle.bundle_id, files, now=NOW, visible=False)

        catalogue.write_now(bring_the_rest)
        assert state() == EntryState.TRANSFERRING
        with catalogue.reader() as conn:
            at = numbers(conn)
        left = [
            at[name] for name in ("b_delivered.mrc", "f_freed.mrc", "g_refused.mrc", "i_never_planned.mrc")
        ]
        catalogue.write_now(
            lambda c: c.executemany("DELETE FROM copy WHERE file_id = ?", [(i,) for i in left[:3]])
        )
        catalogue.write_now(lambda c: park(c, left[3], error="x"))
        assert state() == EntryState.INCOMPLETE
        catalogue.write_now(lambda c: c.execute("DELETE FROM copy WHERE file_id = ?", (left[3],)))
        assert state() == EntryState.UNVERIFIED


@pytest.mark.parametrize(
    ("collection", "path", "base"),
    [
        (COLLECTION, "/empiar/world_availability/", f"{COLLECTION}/empiar/world_availability"),
        (COLLECTION, "/", COLLECTION),
        ("00000000-3e5b-4fd3-b97c-18cee38d6df2", "/x", f"{COLLECTION}/gridftp/empiar/world_availability"),
    ],
)
def test_addresses_by_globus_follow_where_the_tree_was_found(
    tmp_path: Path, collection: str, path: str, base: str
) -> None:
    make_globus_mirror(tmp_path / "mirror")
    with Catalogue.open(tmp_path / "mirror" / "empiar.db") as catalogue:
        catalogue.write_now(lambda c: globus_store.remember_archive_base(c, collection, path, now=NOW))
        with catalogue.reader() as conn:
            query = "SELECT globus_url, https_url FROM files WHERE name = 'only.mrc'"
            url, https = conn.execute(query).fetchone()
    assert url == f"globus://{base}/{UNWANTED}/data/only.mrc"
    assert https == f"https://ftp.ebi.ac.uk/empiar/world_availability/{UNWANTED}/data/only.mrc"


def test_a_task_that_leaves_the_queue_begins_to_be_waited_for_only_then(tmp_path: Path) -> None:
    make_globus_mirror(tmp_path / "mirror")
    with Catalogue.open(tmp_path / "mirror" / "empiar.db") as catalogue:

        def progressed() -> int | None:
            with catalogue.reader() as conn:
                [bundle] = [b for b in globus_store.open_bundles(conn) if b.label == "queued"]
                return bundle.progressed_at

        def stands(conn: sqlite3.Connection, *, faults: int, now: int) -> None:
            [bundle] = [b for b in globus_store.open_bundles(conn) if b.label == "queued"]
            globus_store.record_progress(
                conn,
                bundle.bundle_id,
                status="ACTIVE",
                nice_status="OK",
                bytes_transferred=0,
                files_transferred=0,
                faults=faults,
                now=now,
            )

        catalogue.write_now(lambda c: stands(c, faults=0, now=NOW))
        assert progressed() == NOW
        catalogue.write_now(lambda c: stands(c, faults=1, now=NOW + 50))
        assert progressed() == NOW, "an error is no progress"


def test_what_the_ledger_knows_can_be_joined_with_copies(catalogue: sqlite3.Connection) -> None:
    unknown = "SELECT count(*) FROM globus_files g LEFT JOIN copies c USING (file_id) WHERE c.file_id IS NULL"
    assert catalogue.execute(unknown).fetchone()[0] == 0
    assert len(NAMES) == catalogue.execute("SELECT count(*) FROM copies").fetchone()[0]

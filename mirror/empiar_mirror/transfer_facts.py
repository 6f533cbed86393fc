"""The facts by which a transfer is begun and reported."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from empiar_mirror.reports import FailedFile
from empiar_schema import crawl_store
from empiar_schema.paths import RemotePath
from empiar_schema.states import CopyState

#: States that are no failure: what is here, what Globus brought to storage that is not visible here, what was removed to make room.
_NO_FAILURE = "'arrived', 'withdrawn', 'unverified', 'evicted'"


def stale_entries(conn: sqlite3.Connection, *, ids: Sequence[int], now: int, interval_s: float) -> list[int]:
    """Those of `ids` that the catalogue does not know, or knows too little or too old things of."""
    due = set(crawl_store.due_entries(conn, now=now, interval_s=interval_s, relist_s=interval_s))
    known = {row[0] for row in conn.execute("SELECT empiar_id FROM entries WHERE crawled_at IS NOT NULL")}
    return [empiar_id for empiar_id in ids if empiar_id in due or empiar_id not in known]


def files_here(conn: sqlite3.Connection, *, ids: Sequence[int]) -> int:
    """How many files of these entries are here."""
    numbers = ",".join(str(int(empiar_id)) for empiar_id in ids)
    row = conn.execute(
        f"SELECT coalesce(sum(here_files), 0) FROM entry_progress WHERE empiar_id IN ({numbers})"  # noqa: S608 - integers only
    ).fetchone()
    return int(row[0])


def failed_files(
    conn: sqlite3.Connection, *, ids: Sequence[int], only: Collection[int] | None
) -> list[FailedFile]:
    """Copies that are not here after all, with the reason; those that the archive no longer lists are no failure of ours."""
    failed = []
    for empiar_id in ids:
        rows = conn.execute(
            f"SELECT path, state, error, file_id FROM copies WHERE empiar_id = ? AND state NOT IN ({_NO_FAILURE}) "  # noqa: S608 - our own words
            "AND (SELECT gone_at FROM files WHERE files.file_id = copies.file_id) IS NULL ORDER BY path",
            (empiar_id,),
        )
        failed += [
            FailedFile(f"{empiar_id}/{path}", CopyState(state), error or "not tried yet")
            for path, state, error, file_id in rows
            if only is None or file_id in only
        ]
    return failed


def quarantined_files(conn: sqlite3.Connection, *, ids: Sequence[int]) -> list[tuple[int, RemotePath]]:
    """The quarantined files of these entries: number and path."""
    query = "SELECT file_id, path FROM copies WHERE empiar_id = ? AND state = 'quarantined'"
    return [
        (file_id, RemotePath.parse(empiar_id, path))
        for empiar_id in ids
        for file_id, path in conn.execute(query, (empiar_id,))
    ]


def files_evicted(conn: sqlite3.Connection, *, ids: Sequence[int]) -> int:
    """How many files of these entries were evicted and not recalled."""
    query = "SELECT evicted_files FROM entry_progress WHERE empiar_id = ?"
    found = [row for i in dict.fromkeys(ids) if (row := conn.execute(query, (i,)).fetchone()) is not None]
    return sum(row[0] for row in found)


def files_unverified(conn: sqlite3.Connection, *, ids: Sequence[int]) -> tuple[int, int]:
    """Files and bytes of these entries that Globus transferred to storage not visible here, and that nobody has verified."""
    query = "SELECT unverified_files, unverified_bytes FROM entry_progress WHERE empiar_id = ?"
    found = [row for i in dict.fromkeys(ids) if (row := conn.execute(query, (i,)).fetchone()) is not None]
    return sum(row[0] for row in found), sum(row[1] for row in found)

"""The facts that a plan and a status are made of: the catalogue's views, and the file system of `root`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from empiar_mirror.plan import EntryNeed, Moved, ProbedFamily, Room, room
from empiar_mirror.space import disk_use
from empiar_schema.codes import state_list
from empiar_schema.faults import StorageFault
from empiar_schema.globus_states import ITEM_CODES, ItemState
from empiar_schema.settings import DiskSettings
from empiar_schema.states import FAILED, HERE, Channel, CopyState

#: So many latest attempts are looked at: days of work with large files, an hour with small ones.
RECENT_ATTEMPTS = 5_000

_HERE = state_list(sorted(HERE))
_FAILED = state_list(sorted(FAILED))
_UNVERIFIED = state_list((CopyState.UNVERIFIED,))
_EVICTED = state_list((CopyState.EVICTED,))
_UNDER_WAY = ITEM_CODES[ItemState.UNDER_WAY]
_DELIVERED = ITEM_CODES[ItemState.DELIVERED]


def asked_for(connection: sqlite3.Connection) -> list[int]:
    """Entries of which files were wanted at some time, in order."""
    rows = connection.execute(
        "SELECT empiar_id FROM entry_progress WHERE wanted_files > 0 ORDER BY empiar_id"
    )
    return [row[0] for row in rows]


def unknown_entries(connection: sqlite3.Connection, ids: Sequence[int]) -> list[int]:
    """Those of `ids` that the catalogue does not know, or whose files it has not listed."""
    return [
        empiar_id
        for empiar_id in ids
        if connection.execute(
            "SELECT 1 FROM entries WHERE empiar_id = ? AND listed_at IS NOT NULL", (empiar_id,)
        ).fetchone()
        is None
    ]


def never_heard_of(connection: sqlite3.Connection, *, ids: Sequence[int]) -> list[int]:
    """Those of `ids` that the catalogue has no entry of."""
    query = "SELECT 1 FROM entries WHERE empiar_id = ?"
    return [empiar_id for empiar_id in ids if connection.execute(query, (empiar_id,)).fetchone() is None]


def entry_need(
    connection: sqlite3.Connection, empiar_id: int, only: Collection[int] | None = None
) -> EntryNeed:
    """What a sync of this entry, or of the files `only` of it, would have to move; reads the entry's files once."""
    # The table `copy` by its key, not the view: joined to another view, SQLite would build all of it first.
    sql = f"""
        SELECT count(*) FILTER (WHERE to_move),
               coalesce(sum(bytes) FILTER (WHERE to_move), 0),
               count(*) FILTER (WHERE here),
               coalesce(sum(bytes) FILTER (WHERE here), 0),
               coalesce(sum(min(partial, bytes)) FILTER (WHERE to_move), 0),
               count(*) FILTER (WHERE to_move AND bytes IS NULL),
               count(*) FILTER (WHERE failed),
               count(*) FILTER (WHERE to_move AND item = {_UNDER_WAY}),
               coalesce(sum(bytes) FILTER (WHERE to_move AND item = {_UNDER_WAY}), 0),
               count(*) FILTER (WHERE to_move AND item = {_DELIVERED}),
               count(*) FILTER (WHERE unverified),
               coalesce(sum(bytes) FILTER (WHERE unverified), 0),
               count(*) FILTER (WHERE evicted),
               coalesce(sum(bytes) FILTER (WHERE evicted), 0)
        FROM (
            SELECT f.bytes, g.state AS item,
                   CASE g.state WHEN {_DELIVERED} THEN ifnull(f.bytes, 0) ELSE coalesce(c.bytes_here, 0) END AS partial,
                   coalesce(c.state IN ({_HERE}), 0) AS here,
                   coalesce(c.state IN ({_FAILED}), 0) AS failed,
                   coalesce(c.state = {_UNVERIFIED}, 0) AS unverified,
                   coalesce(c.state = {_EVICTED}, 0) AS evicted,
                   f.gone_at IS NULL AND coalesce(c.state NOT IN ({_HERE}, {_FAILED}, {_UNVERIFIED}, {_EVICTED}), 1) AS to_move
            FROM files f LEFT JOIN copy c ON c.file_id = f.file_id
            LEFT JOIN globus_item g ON g.file_id = f.file_id
            WHERE f.empiar_id = :entry AND (:only IS NULL OR f.file_id IN (SELECT value FROM json_each(:only)))
        )"""  # noqa: S608 - the states are our own numbers
    named = None if only is None else json.dumps(sorted(only))
    row = connection.execute(sql, {"entry": empiar_id, "only": named}).fetchone()
    with_globus, bytes_with_globus, delivered, unverified, bytes_unverified, evicted, bytes_evicted = row[7:]
    return replace(
        EntryNeed(empiar_id, *row[:7]),
        families=tuple(probed_families(connection, empiar_id)),
        files_with_globus=with_globus,
        bytes_with_globus=bytes_with_globus,
        files_delivered=delivered,
        files_unverified=unverified,
        bytes_unverified=bytes_unverified,
        files_evicted=evicted,
        bytes_evicted=bytes_evicted,
    )


def probed_families(connection: sqlite3.Connection, empiar_id: int) -> list[ProbedFamily]:
    """What is known of the entry's files before they are fetched, the families of most bytes first."""
    rows = connection.execute(
        "SELECT family, family_files, family_bytes, role, format, width, height, frames, mode, pixel_size_angstrom,"
        " problems FROM probes WHERE empiar_id = ? ORDER BY family_bytes DESC, family",
        (empiar_id,),
    )
    return [ProbedFamily(*tuple(row)) for row in rows]


def recent_attempts(
    connection: sqlite3.Connection, *, since: float = 0.0, channel: Channel | None = None
) -> list[Moved]:
    """The latest attempts that moved bytes and ended after `since`, the newest first."""
    rows = connection.execute(
        "SELECT started_at, ended_at, bytes_moved FROM attempt"
        " WHERE ended_at >= :since AND bytes_moved > 0 AND (:channel IS NULL OR channel = :channel)"
        " ORDER BY ended_at DESC LIMIT :limit",
        {"since": since, "channel": channel and str(channel), "limit": RECENT_ATTEMPTS},
    )
    return [Moved(*row) for row in rows]


def measured_room(root: Path, disk: DiskSettings, held: int) -> Room:
    """The room on the file system where `root` is, or would be.

    Raises:
        StorageFault: the file system does not answer.
    """
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        use = disk_use(place)
    except OSError as error:
        raise StorageFault(f"cannot read the free space of {place}: {error.strerror}") from error
    return room(
        total=use.total,
        free=use.free,
        high_watermark=disk.high_watermark,
        quota=disk.quota,
        held=held,
    )


def bytes_held(connection: sqlite3.Connection) -> int:
    """Bytes of all copies here and of all derived files, from the entries' sums: what counts against `disk.quota`."""
    row = connection.execute("SELECT coalesce(sum(here_bytes), 0) FROM entry_progress").fetchone()
    return int(row[0]) + bytes_derived(connection)


def bytes_derived(connection: sqlite3.Connection) -> int:
    """Bytes of all derived files, from the entries' sums."""
    row = connection.execute("SELECT coalesce(sum(derived_bytes), 0) FROM disk_use").fetchone()
    return int(row[0])

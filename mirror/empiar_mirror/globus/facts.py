"""The facts by which routes are chosen, from the catalogue."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

from empiar_mirror.globus.routing import TASKS_JUDGED, Circumstances, Need, Record
from empiar_mirror.plan import throughput
from empiar_mirror.plan_facts import recent_attempts
from empiar_schema import globus_store
from empiar_schema.globus_states import ITEM_CODES, ItemState
from empiar_schema.settings import Settings
from empiar_schema.states import Channel

#: Failures longer ago than this say nothing about now.
RECENT_S: Final = 86_400
#: By fewer attempts a channel is not judged.
_ATTEMPTS_JUDGED: Final = (8, 50)


def circumstances(
    conn: sqlite3.Connection,
    settings: Settings,
    channels: Sequence[Channel],
    *,
    now: float,
    globus_out: str | None = None,
) -> Circumstances:
    """What routes depend on besides the entry."""
    endings = globus_store.latest_endings(conn, since=int(now - RECENT_S), limit=TASKS_JUDGED)
    return Circumstances(
        channels=channels,
        from_bytes=settings.globus.from_bytes,
        records={channel: _record(conn, channel, settings, now=now) for channel in channels},
        tasks_failed=sum(status != "SUCCEEDED" for status in endings),
        globus_out=globus_out,
    )


def _record(conn: sqlite3.Connection, channel: Channel, settings: Settings, *, now: float) -> Record:
    measured = throughput(recent_attempts(conn, channel=channel), channel, settings.transfer.connections)
    least, most = _ATTEMPTS_JUDGED
    outcomes = [
        row[0]
        for row in conn.execute(
            "SELECT outcome FROM attempt WHERE channel = ? AND ended_at >= ? ORDER BY ended_at DESC LIMIT ?",
            (channel.value, now - RECENT_S, most),
        )
    ]
    failed = sum(outcome not in ("done", "stopped") for outcome in outcomes)
    return Record(
        measured.typical_bytes_per_s if measured.measured else None,
        failed / len(outcomes) if len(outcomes) >= least else 0.0,
    )


def need_of(
    conn: sqlite3.Connection,
    empiar_id: int,
    *,
    least_priority: int,
    only: Collection[int] | None = None,
    queues: Collection[int] | None = None,
) -> Need:
    """What of the entry is wanted and not yet here, delivered, or with the service; with `only`, of these files, with `queues`, of these."""
    chosen = (
        f"FROM copy c LEFT JOIN globus_item g ON g.file_id = c.file_id AND g.state <> {ITEM_CODES[ItemState.FREED]}"
        " WHERE c.empiar_id = :entry AND c.state <= 1 AND c.queue_id IN (SELECT queue_id FROM queue WHERE empiar_id = :entry AND priority >= :least) AND g.file_id IS NULL"
        " AND (:queues IS NULL OR c.queue_id IN (SELECT value FROM json_each(:queues)))"
        " AND (:only IS NULL OR c.file_id IN (SELECT value FROM json_each(:only)))"
    )
    named = {
        "entry": empiar_id,
        "least": least_priority,
        "queues": None if queues is None else json.dumps(sorted(queues)),
        "only": None if only is None else json.dumps(sorted(only)),
    }
    query = f"SELECT count(*), ifnull(sum(max(ifnull(c.bytes, 0) - c.bytes_here, 0)), 0) {chosen}"
    return Need(empiar_id, *conn.execute(query, named).fetchone())

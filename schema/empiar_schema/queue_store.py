"""Queues: which files of an entry the same people want, summed, so that an order among millions of files is one among few queues.

A copy stands in one queue, also once it is here. Writing functions run inside a writer job.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from empiar_schema.queues import Queue, Wanter, Wish, sharers_of
from empiar_schema.states import Channel

#: What was brought so long ago counts half in fair shares.
SHARE_MEMORY_S: Final = 86_400
#: Rank of a copy's file, a column of `file` each; the same as in the step that made the column.
RANK: Final = (
    "CASE WHEN f.role IN (3, 4, 6, 9) THEN 0"
    " WHEN ifnull(f.role, 11) IN (7, 8, 10, 11) AND ifnull(f.bytes, 0) <= 16777216 THEN 1 ELSE 2 END"
)
#: States whose bytes count against quotas: claimed, and all that stand here or may.
_HELD: Final = "(2, 3, 4, 6, 7, 8)"


# --- who wants what -----------------------------------------------------------------------------------------


def queue_of(conn: sqlite3.Connection, empiar_id: int, wish: Wish, *, now: int) -> int:
    """The queue of files of the entry that only `wish` wants; made if there is none. That something waits in it again is noted."""
    own = None if wish.subscriptions else wish.priority
    return _like(conn, empiar_id, own, dict.fromkeys(wish.subscriptions, now), now=now)


def join(
    conn: sqlite3.Connection,
    empiar_id: int,
    wish: Wish,
    *,
    now: int,
    file_ids: Collection[int] | None = None,
    split: bool = True,
) -> None:
    """The copies of the entry, or of these files of it, stand in queues to which `wish` belongs.

    A queue that joins as a whole costs one row, whatever its number of files. Unless `split`, others are left as they are:
    there every file that moves to another queue costs its own.
    """
    for queue_id, own, wanters, waiting in _queues_of(conn, empiar_id):
        own_after, after = own, wanters
        if wish.subscriptions:
            after = {**dict.fromkeys(wish.subscriptions, now), **wanters}
        else:
            own_after = wish.priority if own is None else max(own, wish.priority)
        if (own_after, after) == (own, wanters):
            continue
        if file_ids is None:
            _rename(conn, queue_id, own_after, after, now=now, waiting=waiting)
            continue
        chosen = json.dumps(sorted(file_ids))
        those = "queue_id = ?1 AND file_id IN (SELECT value FROM json_each(?2))"
        (count,) = conn.execute(f"SELECT count(*) FROM copy WHERE {those}", (queue_id, chosen)).fetchone()
        if not count:
            continue
        if count == _files_in(conn, queue_id):
            _rename(conn, queue_id, own_after, after, now=now, waiting=waiting)
            continue
        if not split:
            continue
        target = _like(conn, empiar_id, own_after, after, now=now)
        conn.execute(f"UPDATE copy SET queue_id = ?3 WHERE {those}", (queue_id, chosen, target))


def leave(conn: sqlite3.Connection, number: int, *, priority: int) -> None:
    """The subscription is no more; what it wanted stays wanted, as if asked for by name with its priority."""
    conn.execute(
        "UPDATE queue SET own_priority = max(ifnull(own_priority, ?2), ?2), wanters = json_remove(wanters, ?3)"
        " WHERE wanters LIKE ?1",
        (f'%"{number}":%', priority, f'$."{number}"'),
    )
    conn.execute("DELETE FROM order_account WHERE account = ?", (number,))


def woken(conn: sqlite3.Connection, empiar_id: int) -> None:
    """Files of the entry wait again that had failed: whoever decides what comes next looks anew."""
    conn.execute("UPDATE queue SET wanted_at = wanted_at WHERE empiar_id = ?", (empiar_id,))


def _queues_of(
    conn: sqlite3.Connection, empiar_id: int
) -> list[tuple[int, int | None, dict[int, int], bool]]:
    """Queue, priority of who asked by name, wanters, and whether something waits in it."""
    rows = conn.execute(
        "SELECT queue_id, own_priority, wanters, EXISTS (SELECT 1 FROM queue_progress p WHERE p.queue_id = q.queue_id"
        " AND p.state <= 2 AND p.files > 0) FROM queue q WHERE empiar_id = ? ORDER BY queue_id",
        (empiar_id,),
    ).fetchall()
    return [(queue_id, own, _read(wanters), bool(waits)) for queue_id, own, wanters, waits in rows]


def _like(
    conn: sqlite3.Connection, empiar_id: int, own: int | None, wanters: dict[int, int], *, now: int
) -> int:
    """A queue that these want; one in which nothing waited counts as wanted now."""
    for queue_id, its_own, its_wanters, waiting in _queues_of(conn, empiar_id):
        if its_own == own and its_wanters.keys() == wanters.keys():
            if not waiting:
                _rename(conn, queue_id, own, wanters, now=now, waiting=False)
            return queue_id
    row = conn.execute(
        "INSERT INTO queue (empiar_id, own_priority, wanters, wanted_at) VALUES (?, ?, ?, ?) RETURNING queue_id",
        (empiar_id, own, _written(wanters), now),
    ).fetchall()
    return int(row[0][0])


def _rename(
    conn: sqlite3.Connection,
    queue_id: int,
    own: int | None,
    wanters: dict[int, int],
    *,
    now: int,
    waiting: bool,
) -> None:
    conn.execute(
        "UPDATE queue SET own_priority = ?, wanters = ?, wanted_at = iif(?, wanted_at, ?) WHERE queue_id = ?",
        (own, _written(wanters), waiting, now, queue_id),
    )


def _files_in(conn: sqlite3.Connection, queue_id: int) -> int:
    query = "SELECT ifnull(sum(files), 0) FROM queue_progress WHERE queue_id = ?"
    return int(conn.execute(query, (queue_id,)).fetchone()[0])


def _read(wanters: str) -> dict[int, int]:
    return {} if wanters == "{}" else {int(number): at for number, at in json.loads(wanters).items()}


def _written(wanters: dict[int, int]) -> str:
    return json.dumps({str(number): wanters[number] for number in sorted(wanters)})


# --- facts for the order ------------------------------------------------------------------------------------


def revision(conn: sqlite3.Connection) -> int:
    """Grows with every change of a queue or a subscription that may change the order, by whatever process."""
    return int(conn.execute("SELECT revision FROM order_revision").fetchone()[0])


def waiting_queues(
    conn: sqlite3.Connection, *, empiar_ids: Collection[int] | None = None, least_priority: int | None = None
) -> list[Queue]:
    """Queues in which something waits or is claimed, those with the highest priority first, then by entry."""
    rows = conn.execute(
        "SELECT q.queue_id, q.empiar_id, q.own_priority, q.wanters, q.wanted_at, q.served_at, p.files, p.bytes, p.claimed"
        " FROM (SELECT queue_id, sum(files) FILTER (WHERE state <= 1) AS files, sum(bytes) FILTER (WHERE state <= 1) AS bytes,"
        " ifnull(sum(bytes) FILTER (WHERE state = 2), 0) AS claimed FROM queue_progress"
        " WHERE state <= 2 AND files > 0 GROUP BY queue_id) p CROSS JOIN queue q ON q.queue_id = p.queue_id"
        " WHERE (?1 IS NULL OR q.priority >= ?1) AND (?2 IS NULL OR q.empiar_id IN (SELECT value FROM json_each(?2)))"
        " ORDER BY q.priority DESC, q.empiar_id, q.queue_id",
        (least_priority, None if empiar_ids is None else json.dumps(sorted(empiar_ids))),
    )
    return [
        Queue(queue_id, empiar_id, own, _read(wanters), wanted, served, files or 0, size or 0, claimed)
        for queue_id, empiar_id, own, wanters, wanted, served, files, size, claimed in rows
    ]


def wanters(conn: sqlite3.Connection) -> dict[int, Wanter]:
    """Every subscription, by number."""
    rows = conn.execute(
        "SELECT number, name, priority, paused, channel, share, deadline_s, quota_bytes FROM subscription"
    ).fetchall()
    held = held_bytes(conn, [row[0] for row in rows if row[7] is not None])
    return {
        row[0]: Wanter(
            row[0],
            row[1],
            row[2],
            bool(row[3]),
            None if row[4] is None else Channel(row[4]),
            row[5],
            row[6],
            row[7],
            held.get(row[0], 0),
        )
        for row in rows
    }


def held_bytes(conn: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, int]:
    """Bytes of these subscriptions' files that are here or claimed."""
    if not numbers:
        return {}
    rows = conn.execute(
        "SELECT CAST(j.key AS INTEGER), sum(p.bytes) FROM queue q, json_each(q.wanters) j"
        f" JOIN queue_progress p ON p.queue_id = q.queue_id AND p.state IN {_HELD}"
        " WHERE q.wanters <> '{}' AND CAST(j.key AS INTEGER) IN (SELECT value FROM json_each(?)) GROUP BY 1",
        (json.dumps(list(numbers)),),
    )
    return {row[0]: row[1] for row in rows}


def next_in(conn: sqlite3.Connection, queue: Queue, *, now: int) -> tuple[int, int] | None:
    """When the earliest file of the queue may be tried, and the bytes of the first that may be by then; None if none waits."""
    (due,) = conn.execute(
        "SELECT min(not_before) FROM copy INDEXED BY copy_waiting WHERE state <= 1 AND empiar_id = ? AND queue_id = ?",
        (queue.empiar_id, queue.queue_id),
    ).fetchone()
    if due is None:
        return None
    row = conn.execute(
        "SELECT ifnull(bytes, 0) FROM copy INDEXED BY copy_claimable WHERE state <= 1 AND queue_id = ?"
        " AND not_before <= ? ORDER BY rank, file_id LIMIT 1",
        (queue.queue_id, max(now, due)),
    ).fetchone()
    return due, row[0]


def queues_of_files(conn: sqlite3.Connection, file_ids: Iterable[int]) -> dict[int, int]:
    """The queue in which each of these files stands now."""
    rows = conn.execute(
        "SELECT file_id, queue_id FROM copy WHERE file_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(file_ids)),),
    )
    return {row[0]: row[1] for row in rows}


# --- fair shares --------------------------------------------------------------------------------------------


def accounts(conn: sqlite3.Connection, *, now: int) -> dict[int, float]:
    """Bytes brought for each account, as far as they are remembered: half of them after `SHARE_MEMORY_S`."""
    rows = conn.execute("SELECT account, spent, at FROM order_account")
    return {account: spent * 0.5 ** (max(0, now - at) / SHARE_MEMORY_S) for account, spent, at in rows}


def charge(conn: sqlite3.Connection, brought: Iterable[tuple[int, int]], *, now: int) -> None:
    """So many bytes, by file, have been brought; each file counts for all who want it, in equal parts."""
    spent: dict[int, float] = {}
    for account, size in _parts(conn, brought):
        spent[account] = spent.get(account, 0.0) + size
    before = accounts(conn, now=now) if spent else {}
    conn.executemany(
        "INSERT INTO order_account VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET spent = ?2, at = ?3",
        [(account, before.get(account, 0.0) + size, now) for account, size in spent.items()],
    )


def _parts(conn: sqlite3.Connection, brought: Iterable[tuple[int, int]]) -> Iterator[tuple[int, float]]:
    for file_id, size in brought:
        row = conn.execute(
            "SELECT q.own_priority, q.wanters FROM copy c JOIN queue q USING (queue_id) WHERE c.file_id = ?",
            (file_id,),
        ).fetchone()
        if row is not None:
            sharers = sharers_of(row[0], _read(row[1]))
            yield from ((account, size / len(sharers)) for account in sharers)

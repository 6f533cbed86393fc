"""Claims without the order of `empiar_mirror.order`: by priority, then entry, as far as limits allow."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from empiar_schema import queue_store
from empiar_schema.transfer_store import ANY_PRIORITY, Turn, Work, claim_from


def claim(
    conn: sqlite3.Connection,
    *,
    now: int,
    limit_files: int,
    limit_bytes: int,
    empiar_ids: Sequence[int] | None = None,
    least_priority: int = ANY_PRIORITY,
    delivered_only: bool = False,
) -> list[Work]:
    """Up to so many files and bytes (at least one file) go from wanted or partial to claimed. Runs inside a writer job."""
    works: list[Work] = []
    for queue in queue_store.waiting_queues(conn, empiar_ids=empiar_ids, least_priority=least_priority):
        if len(works) >= limit_files or (works and limit_bytes <= 0):
            break
        turn = Turn(
            queue.queue_id,
            limit_files - len(works),
            limit_bytes,
            at_least_one=not works,
            delivered_only=delivered_only,
        )
        taken = claim_from(conn, turn, now=now)
        works += taken.works
        limit_bytes -= taken.bytes
        if taken.cut:
            break
    return works


def next_not_before(
    conn: sqlite3.Connection,
    *,
    now: int,
    empiar_ids: Sequence[int] | None = None,
    least_priority: int = ANY_PRIORITY,
) -> int | None:
    """When the earliest claimable copy may be tried; None if there is none."""
    queues = queue_store.waiting_queues(conn, empiar_ids=empiar_ids, least_priority=least_priority)
    found = [queue_store.next_in(conn, queue, now=now) for queue in queues]
    return min((due for due, _ in filter(None, found)), default=None)

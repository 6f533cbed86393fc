"""The order of what waits, from the catalogue."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from empiar_mirror.order import NO_LIMIT, Blocked, Order, Standing
from empiar_schema import queue_store, transfer_store
from empiar_schema.order_settings import OrderSettings
from empiar_schema.queues import sharers_of
from empiar_schema.states import Channel


@dataclass(frozen=True, slots=True)
class Reach:
    """What of all that waits a transfer may bring, and by which channels."""

    empiar_ids: frozenset[int] | None = None
    least_priority: int = transfer_store.ANY_PRIORITY
    #: Only Globus may bring files: nothing else is claimed than what it has delivered.
    delivered_only: bool = False
    #: Whether files go by the channel of the subscription that wants them; not where a command names another.
    by_subscription: bool = True
    #: Globus takes files now.
    globus: bool = False

    def channel_of(self, one: Standing) -> Channel | None:
        """By which channel alone the queue's files may come in this transfer; None for any."""
        if not self.by_subscription or (one.channel is Channel.GLOBUS and not self.globus):
            return None
        return one.channel


def read_order(
    conn: sqlite3.Connection,
    reach: Reach,
    rules: OrderSettings,
    *,
    now: float,
    bytes_per_s: float | None = None,
    turns: int = 0,
) -> tuple[Order, int]:
    """The order of what waits within `reach`, and the revision that it is of."""
    revision = queue_store.revision(conn)
    queues = queue_store.waiting_queues(
        conn, empiar_ids=reach.empiar_ids, least_priority=reach.least_priority
    )
    spent = queue_store.accounts(conn, now=int(now))
    for queue in queues:
        if queue.claimed_bytes:
            sharers = sharers_of(queue.own_priority, queue.wanters)
            for account in sharers:
                spent[account] = spent.get(account, 0.0) + queue.claimed_bytes / len(sharers)
    wanters = queue_store.wanters(conn)
    order = Order.of(queues, wanters, rules, spent=spent, now=now, bytes_per_s=bytes_per_s, turns=turns)
    return order, revision


@dataclass(frozen=True, slots=True)
class Rest:
    """Files that wait for somebody: a paused subscription, or room below a quota."""

    standing: Standing
    blocked: Blocked


def resting(conn: sqlite3.Connection, order: Order, *, now: float) -> list[Rest]:
    """The queues of which nothing may be claimed, also those whose next file does not fit below the quota."""
    found = []
    for one in order.standings.values():
        if one.queue.files == 0:
            continue
        blocked = one.blocked
        if blocked is None and one.room < NO_LIMIT:
            following = queue_store.next_in(conn, one.queue, now=int(now))
            blocked = "quota" if following is not None and following[1] > one.room else None
        if blocked is not None:
            found.append(Rest(one, blocked))
    return found


def next_due(conn: sqlite3.Connection, order: Order, reach: Reach, *, now: float) -> int | None:
    """When the earliest file may be tried that nobody has to act for first; None if there is none."""
    if reach.delivered_only:
        return transfer_store.next_delivered(
            conn, empiar_ids=reach.empiar_ids, least_priority=reach.least_priority
        )
    times = []
    for one in order.candidates():
        if reach.channel_of(one) is Channel.GLOBUS:
            brought = transfer_store.next_brought(conn, one.queue.queue_id)
            times += [] if brought is None else [brought]
        elif (found := queue_store.next_in(conn, one.queue, now=int(now))) is not None:
            due, size = found
            if size <= one.room:
                times.append(due)
    return min(times, default=None)

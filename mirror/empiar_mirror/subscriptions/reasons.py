"""Which subscriptions select an entry, in one sentence each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from empiar_mirror.order_facts import Reach, read_order, resting
from empiar_schema.order_settings import OrderSettings
from empiar_schema.sizes import format_bytes
from empiar_schema.subscription_store import interests_in
from empiar_schema.subscriptions import Interest
from empiar_schema.times import iso


def why_subscribed(conn: sqlite3.Connection, empiar_id: int) -> Iterator[str]:
    """A sentence for each subscription whose query returned the entry, or files of it, at some time."""
    for interest in interests_in(conn, empiar_id):
        yield f"{_selects(interest)}{_standing(interest)}"


def why_it_waits(
    conn: sqlite3.Connection, empiar_id: int, rules: OrderSettings, *, now: float
) -> Iterator[str]:
    """A sentence for each group of the entry's waiting files that rests, that has a channel of its own, or that is late."""
    reach = Reach(frozenset([empiar_id]))
    order, _ = read_order(conn, reach, rules, now=now)
    rests = {rest.standing.queue.queue_id: rest.blocked for rest in resting(conn, order, now=now)}
    for one in order.standings.values():
        if not one.queue.files:
            continue
        names = sorted(order.wanters[number].name for number in one.queue.wanters if number in order.wanters)
        of = f"{one.queue.files:,} files ({format_bytes(one.queue.bytes)}) that {' and '.join(names)} wants"
        match rests.get(one.queue.queue_id):
            case "paused":
                yield f"{of} wait until it is resumed: `empiar-mirror subscriptions resume {names[0]}`"
            case "quota":
                yield (
                    f"{of} wait at its quota, and go on when space is made or the quota raised:"
                    f" `empiar-mirror subscriptions set {names[0]} --quota BYTES`"
                )
            case _:
                if one.channel is not None:
                    yield f"{of} go by {one.channel}, as the subscription says"
        if one.due is not None and one.due[0] < now and one.queue.queue_id not in rests:
            yield f"{of} are late: {order.wanters[one.due[1]].name} wanted them here by {iso(int(one.due[0]))}"


def _selects(interest: Interest) -> str:
    name = f"the subscription {interest.name}"
    what = "it" if interest.whole else f"{interest.wanted:,} of its files"
    if interest.gone:
        return f"{name} selected it before, and does so no longer; what was wanted stays wanted"
    left = []
    if interest.over_budget:
        left.append("its budget leaves " + _left(interest, interest.over_budget))
    if interest.older:
        left.append("being there before the subscription leaves " + _left(interest, interest.older))
    if interest.unlisted:
        left.append("a lacking file listing leaves " + _left(interest, interest.unlisted))
    wants = f"{name} wants {what}" if interest.wanted else f"{name} selects it"
    return "; ".join([wants, *left])


def _left(interest: Interest, number: int) -> str:
    if interest.whole:
        return "what was added to it since out" if interest.wanted else "it out"
    return f"{number:,} of its files out"


def _standing(interest: Interest) -> str:
    resume = f"`empiar-mirror subscriptions resume {interest.name}` releases it"
    if interest.held_reason is not None:
        return f"; the subscription is held: {interest.held_reason}; {resume}"
    return "; the subscription is paused" if interest.paused else ""

"""Which subscriptions select an entry, in one sentence each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from empiar_schema.subscription_store import interests_in
from empiar_schema.subscriptions import Interest


def why_subscribed(conn: sqlite3.Connection, empiar_id: int) -> Iterator[str]:
    """A sentence for each subscription whose query returned the entry, or files of it, at some time."""
    for interest in interests_in(conn, empiar_id):
        yield f"{_selects(interest)}{_standing(interest)}"


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

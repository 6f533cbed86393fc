"""What a queue is, and who wants its files (see `queue_store`)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from empiar_schema.states import Channel

#: The account of those who asked by name.
BY_NAME: Final = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants files: subscriptions by their numbers, or, where there are none, somebody by name, with this priority."""

    priority: int = 0
    subscriptions: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue with what waits in it. Times are epoch seconds."""

    queue_id: int
    empiar_id: int
    #: Of who asked by name; None where nobody did.
    own_priority: int | None
    #: Numbers of subscriptions, and when the files became wanted for each.
    wanters: dict[int, int]
    #: Since when something of it waits, and when something of it was last claimed.
    wanted_at: int
    served_at: int | None
    files: int
    bytes: int
    #: Claimed and not here yet.
    claimed_bytes: int


@dataclass(frozen=True, slots=True)
class Wanter:
    """What a subscription says about the order of its files."""

    number: int
    name: str
    priority: int
    paused: bool
    channel: Channel | None
    share: float
    deadline_s: int | None
    quota_bytes: int | None
    #: Bytes of its files that are here or claimed; 0 where there is no quota to compare them with.
    held_bytes: int


def sharers_of(own_priority: int | None, wanters: Collection[int]) -> tuple[int, ...]:
    """The accounts among which a queue's bytes are divided."""
    by_name = (BY_NAME,) if own_priority is not None or not wanters else ()
    return (*by_name, *sorted(wanters))

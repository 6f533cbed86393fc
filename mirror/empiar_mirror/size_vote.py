"""What to believe when the listing and a server state different sizes of one file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from empiar_mirror.active import ActiveFile
from empiar_mirror.transports.base import Transport
from empiar_schema import crawl_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import EmpiarMirrorError
from empiar_schema.states import Channel


@dataclass(frozen=True, slots=True)
class Vote:
    """The size to go on with (None: nobody can be believed), and the channel that serves it."""

    size: int | None
    channel: Channel | None
    reason: str


def count_votes(listed: int | None, stated: Mapping[Channel, int]) -> Vote:
    """Who is right (pure): the listing if any channel confirms it, else all channels if they agree.

    A file may have changed since it was listed, and a server may lie about one length; both at once is
    nothing to build on.
    """
    for channel, size in stated.items():
        if size == listed:
            return Vote(size, channel, f"{channel.value} confirms the listing")
    sizes = set(stated.values())
    if len(sizes) == 1:
        return Vote(sizes.pop(), None, "every channel states this size; the listing is out of date")
    voices = ", ".join(f"{channel.value} {size}" for channel, size in stated.items()) or "no answer"
    return Vote(None, None, f"sizes disagree: listing {listed}, {voices}")


async def settle_size(
    active: ActiveFile, transports: Mapping[Channel, Transport], *, catalogue: Catalogue, now: int
) -> Vote:
    """Every channel is asked for the size; a difference from the listing is recorded as a contradiction."""
    remote = active.work.remote
    stated: dict[Channel, int] = {}
    for channel, transport in transports.items():
        try:
            found = await transport.facts(remote)
        except EmpiarMirrorError:
            continue
        if found.size is not None:
            stated[channel] = found.size
    vote = count_votes(active.size, stated)
    if vote.size != active.size:
        await catalogue.write(
            functools.partial(
                crawl_store.record_contradiction,
                empiar_id=remote.empiar_id,
                path=remote.path,
                what="size",
                stated=str(active.size),
                found=", ".join(f"{channel.value}: {size}" for channel, size in stated.items()) or None,
                source="transfer",
                now=now,
            )
        )
    return vote

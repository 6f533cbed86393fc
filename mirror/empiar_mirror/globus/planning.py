"""Wanted files become bundles in the ledger, by the routes of their entries."""

from __future__ import annotations

import functools
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_mirror.globus import facts
from empiar_mirror.globus.bundling import Limits, cut, label
from empiar_mirror.globus.places import is_utf8, plain
from empiar_mirror.globus.routing import Need, route
from empiar_mirror.globus.tasks import CHECKSUM, Desk, mark
from empiar_mirror.order_facts import Reach, read_order, resting
from empiar_schema import globus_store, transfer_store
from empiar_schema.events import FileGivenUp
from empiar_schema.globus_bundles import Candidate, NewBundle
from empiar_schema.paths import NAME_MAX_BYTES, RemotePath
from empiar_schema.settings import Settings
from empiar_schema.states import Channel, CopyState

#: Why a file that only Globus could bring is given up.
_UNNAMEABLE: Final = "Globus cannot be told of its name, which holds a line break: use https or ftp"
_TOO_LONG: Final = "its name is longer than file systems allow (255 bytes a component)"


@dataclass(frozen=True, slots=True)
class _Draft:
    """Files for one bundle: eight bytes each, so that a million can be planned at once."""

    file_ids: array[int]
    bytes: int
    empiar_ids: tuple[int, ...]
    #: Whether some were in a bundle before.
    again: bool


@dataclass(frozen=True, slots=True)
class RoutedNeed(Need):
    """What of an entry goes by Globus: the files of these queues."""

    queues: frozenset[int] = frozenset()


async def plan(desk: Desk, needs: Sequence[RoutedNeed], *, least_priority: int) -> int:
    """What of these entries may go by Globus is in bundles; returns how many bundles were planned.

    Each bundle is a commit of its own. Where no other channel may bring it, what Globus cannot or could not bring is
    parked.
    """
    if not needs:
        return 0
    if desk.alone:
        await _park_hopeless(desk, [need.empiar_id for need in needs], least_priority=least_priority)
    limits = Limits(desk.settings.bundle_bytes, desk.settings.bundle_files).shared(
        bytes=sum(need.bytes for need in needs),
        files=sum(need.files for need in needs),
        tasks=desk.settings.tasks,
    )
    drafts = await desk.catalogue.read(
        functools.partial(
            _drafts,
            needs=needs,
            limits=limits,
            alone=desk.alone,
            most_tries=desk.most_tries,
            least_priority=least_priority,
            now=desk.now,
        )
    )
    for draft in drafts:
        new = NewBundle(
            label=label(draft.empiar_ids, files=len(draft.file_ids), size=draft.bytes, mark=mark()),
            file_ids=draft.file_ids,
            # Something of an earlier task may stand where these go.
            sync_level=CHECKSUM if draft.again else None,
        )
        await desk.catalogue.write(functools.partial(globus_store.plan_bundle, new=new, now=desk.now))
    return len(drafts)


def needs_by_globus(
    conn: sqlite3.Connection,
    *,
    empiar_ids: Sequence[int] | None,
    settings: Settings,
    channels: Sequence[Channel],
    least_priority: int,
    now: float,
    by_subscription: bool = True,
) -> list[RoutedNeed]:
    """What goes by Globus of the entries that have something to bring, in the order in which it should come.

    That is what subscriptions name Globus for, and of entries whose route it is, what may go by any channel; what is
    paused or at a quota is left.
    """
    reach = Reach(
        None if empiar_ids is None else frozenset(empiar_ids),
        least_priority,
        by_subscription=by_subscription,
        globus=True,
    )
    order, _ = read_order(conn, reach, settings.order, now=now)
    free: dict[int, set[int]] = {}
    named: dict[int, set[int]] = {}
    rests = {rest.standing.queue.queue_id for rest in resting(conn, order, now=now)}
    for one in sorted(order.candidates(), key=lambda one: (-one.level, one.queue.empiar_id)):
        channel, queue = reach.channel_of(one), one.queue
        # Room below a quota is for few files at a time, which is not what tasks are for.
        if queue.queue_id not in rests and one.queue.bytes <= one.room and channel in (None, Channel.GLOBUS):
            (free if channel is None else named).setdefault(queue.empiar_id, set()).add(queue.queue_id)
    at = facts.circumstances(conn, settings, channels, now=now) if free else None
    found: list[RoutedNeed] = []
    for empiar_id in dict.fromkeys((*free, *named)):
        queues = named.get(empiar_id, set())
        if empiar_id in free and at is not None:
            need = facts.need_of(conn, empiar_id, least_priority=least_priority, queues=free[empiar_id])
            if need.files and route(need, at).by_globus:
                queues |= free[empiar_id]
        if queues:
            need = facts.need_of(conn, empiar_id, least_priority=least_priority, queues=queues)
            if need.files:
                found.append(RoutedNeed(empiar_id, need.files, need.bytes, frozenset(queues)))
    return found


def _drafts(
    conn: sqlite3.Connection,
    *,
    needs: Sequence[RoutedNeed],
    limits: Limits,
    alone: bool,
    most_tries: int,
    least_priority: int,
    now: int,
) -> list[_Draft]:
    """The bundles of all that may go by Globus, in the order of the entries."""

    def nameable() -> Iterator[Candidate]:
        for need in needs:
            for candidate in globus_store.candidates(
                conn,
                need.empiar_id,
                least_priority=least_priority,
                now=now,
                begun_too=alone,
                queues=need.queues,
            ):
                if candidate.tries < most_tries and _why_not(candidate, alone=alone) is None:
                    yield candidate

    return [
        _Draft(
            array("q", (file.file_id for file in files)),
            sum(file.bytes or 0 for file in files),
            tuple(sorted({file.empiar_id for file in files})),
            any(file.tries for file in files),
        )
        for files in cut(nameable(), limits)
    ]


def _why_not(candidate: Candidate, *, alone: bool) -> str | None:
    """Why the file cannot go by Globus; where other channels may bring it, names that are no UTF-8 are left to them."""
    path = f"{candidate.directory}/{candidate.name}" if candidate.directory else candidate.name
    longest = max(len(candidate.directory), len(candidate.name))
    if "%" not in path and path.isascii() and longest <= NAME_MAX_BYTES:
        return None  # nearly all: nothing in it is written in another way than it is
    if not RemotePath(candidate.empiar_id, candidate.directory, candidate.name).fits_file_system:
        return _TOO_LONG
    return None if plain(path) is not None and (alone or is_utf8(path)) else _UNNAMEABLE


async def _park_hopeless(desk: Desk, empiar_ids: Sequence[int], *, least_priority: int) -> None:
    """What only Globus may bring, and cannot, is given up with the reason."""

    def hopeless(conn: sqlite3.Connection) -> list[tuple[Candidate, str]]:
        found = []
        for empiar_id in empiar_ids:
            for candidate in globus_store.candidates(
                conn, empiar_id, least_priority=least_priority, now=desk.now, begun_too=True
            ):
                error = _why_not(candidate, alone=True)
                if candidate.tries >= desk.most_tries:
                    error = globus_store.item_error(conn, candidate.file_id)
                if error is not None:
                    found.append((candidate, error))
        return found

    for candidate, error in await desk.catalogue.read(hopeless):
        remote = RemotePath(candidate.empiar_id, candidate.directory, candidate.name)
        park = functools.partial(transfer_store.park, file_id=candidate.file_id, error=error)
        await desk.catalogue.write(park)
        desk.observer(FileGivenUp(candidate.file_id, str(remote), CopyState.PARKED, error))

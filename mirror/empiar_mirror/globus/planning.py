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


async def plan(desk: Desk, needs: Sequence[Need], *, least_priority: int) -> int:
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
            empiar_ids=[need.empiar_id for need in needs],
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
) -> list[Need]:
    """Of the entries that have something to bring, those whose route is Globus, by priority."""
    waiting = transfer_store.waiting_entries(conn, empiar_ids=empiar_ids, least_priority=least_priority)
    at = facts.circumstances(conn, settings, channels, now=now) if waiting else None
    needs = [facts.need_of(conn, empiar_id, least_priority=least_priority) for empiar_id in waiting]
    return [need for need in needs if at is not None and need.files and route(need, at).by_globus]


def _drafts(
    conn: sqlite3.Connection,
    *,
    empiar_ids: Sequence[int],
    limits: Limits,
    alone: bool,
    most_tries: int,
    least_priority: int,
    now: int,
) -> list[_Draft]:
    """The bundles of all that may go by Globus, in the order of the entries."""

    def nameable() -> Iterator[Candidate]:
        for empiar_id in empiar_ids:
            for candidate in globus_store.candidates(
                conn, empiar_id, least_priority=least_priority, now=now, begun_too=alone
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

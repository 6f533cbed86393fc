"""How what is missing would travel, and in how many Globus tasks: for `plan` and `why`. Reads only."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from empiar_mirror.globus import facts
from empiar_mirror.globus.bundling import Limits
from empiar_mirror.globus.routing import Circumstances, Need, Route, route
from empiar_mirror.plan import EntryNeed, EntryRoute, GlobusShare, Throughput, throughput
from empiar_mirror.plan_facts import recent_attempts
from empiar_schema.globus_states import ITEM_CODES, NEVER_AGAIN, ItemState
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from empiar_schema.transfer_store import ANY_PRIORITY

_FREED: Final = ITEM_CODES[ItemState.FREED]


def routes_of(
    connection: sqlite3.Connection, settings: Settings, entries: Sequence[EntryNeed], *, now: float
) -> tuple[EntryRoute, ...]:
    """The route of every entry of which something is left that no service has yet."""
    at = _circumstances(connection, settings, now=now)
    chosen = [(need, route(need, at)) for need in (entry.unrouted for entry in entries) if need.files]
    by_globus = [need for need, way in chosen if way.by_globus]
    limits = _limits(settings, by_globus)
    return tuple(
        EntryRoute(
            need.empiar_id,
            way.channel,
            way.reason,
            need.files,
            need.bytes,
            _tasks([need], limits) if way.by_globus else 0,
        )
        for need, way in chosen
    )


def globus_share(
    connection: sqlite3.Connection,
    settings: Settings,
    entries: Sequence[EntryNeed],
    routes: Sequence[EntryRoute],
) -> GlobusShare:
    """What goes by Globus by these routes, with what the service has already."""
    needs = [Need(r.empiar_id, r.files, r.bytes) for r in routes if r.channel is Channel.GLOBUS]
    return GlobusShare(
        files=sum(need.files for need in needs) + sum(entry.files_with_globus for entry in entries),
        bytes=sum(need.bytes for need in needs) + sum(entry.bytes_with_globus for entry in entries),
        tasks=_tasks(needs, _limits(settings, needs)),
        throughput=globus_throughput(connection, settings),
        elsewhere=settings.globus.storage == "elsewhere",
    )


def globus_throughput(connection: sqlite3.Connection, settings: Settings) -> Throughput | None:
    """What this mirror's own tasks gave together lately; None where none has brought enough to tell."""
    attempts = recent_attempts(connection, channel=Channel.GLOBUS)
    measured = throughput(attempts, Channel.GLOBUS, settings.transfer.connections)
    return measured if measured.measured else None


def route_of_rest(
    connection: sqlite3.Connection, settings: Settings, empiar_id: int, *, without: Need | None, now: float
) -> tuple[Need, Route] | None:
    """What of the entry is wanted and with nobody yet, less what goes otherwise anyhow, and its route; None where nothing is."""
    need = facts.need_of(connection, empiar_id, least_priority=ANY_PRIORITY)
    if without is not None:
        need = Need(empiar_id, need.files - without.files, max(0, need.bytes - without.bytes))
    if need.files <= 0:
        return None
    return need, route(need, _circumstances(connection, settings, now=now))


def given_back(connection: sqlite3.Connection, empiar_id: int) -> Need:
    """What waits of the entry, and goes by Globus no more before somebody asks for it again: a sync that runs brings it otherwise."""
    row = connection.execute(
        "SELECT count(*), ifnull(sum(max(ifnull(c.bytes, 0) - c.bytes_here, 0)), 0) FROM copy c"
        " JOIN globus_item g ON g.file_id = c.file_id"
        f" WHERE c.empiar_id = ? AND c.state <= 1 AND g.state = {_FREED} AND g.tries >= {NEVER_AGAIN}",
        (empiar_id,),
    ).fetchone()
    return Need(empiar_id, *row)


def _circumstances(connection: sqlite3.Connection, settings: Settings, *, now: float) -> Circumstances:
    out = None if settings.globus.collection else "globus.collection is not set"
    return facts.circumstances(connection, settings, settings.transfer.channels, now=now, globus_out=out)


def _limits(settings: Settings, needs: Sequence[Need]) -> Limits:
    return Limits(settings.globus.bundle_bytes, settings.globus.bundle_files).shared(
        bytes=sum(need.bytes for need in needs),
        files=sum(need.files for need in needs),
        tasks=settings.globus.tasks,
    )


def _tasks(needs: Sequence[Need], limits: Limits) -> int:
    """By their counts; where files lie badly it takes one more."""
    files, size = sum(need.files for need in needs), sum(need.bytes for need in needs)
    return max(-(-files // limits.files), -(-size // limits.bytes)) if files else 0

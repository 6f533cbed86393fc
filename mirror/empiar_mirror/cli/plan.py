from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import (
    Invocation,
    ids_argument,
    needs_ids,
    refuse_with_subscription,
    standard_options,
)
from empiar_schema.faults import CatalogueFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.plan import EntryNeed, Plan, Throughput
    from empiar_schema.layout_views import ViewRecipe
    from empiar_schema.role_store import EntryRoles
    from empiar_schema.settings import Settings


@click.command("plan")
@ids_argument
@click.option("--view", metavar="V", help="Only what this layout view takes: images, gains, labels.")
@click.option("--subscription", "name", metavar="NAME", help="What this subscription selects; without IDs.")
@click.option(
    "--explain",
    is_flag=True,
    help="Show each entry, what its files are taken for, and how the estimate came about.",
)
@standard_options
def command(
    invocation: Invocation, ids: tuple[int, ...], view: str | None, name: str | None, explain: bool
) -> ExitCode:
    """Say what a sync would move: files, bytes, disk, time. Changes nothing.

    Without IDs: every entry that was asked for before, and of each what was asked for.
    """
    settings = invocation.settings()
    refuse_with_subscription(name, ids, view)
    plan = _plan(settings, ids, view, name)
    roles = _roles(settings, plan) if explain else {}
    waits = _waits(settings, plan) if explain else {}
    document = {**_document(plan, roles), **({"waits": waits} if explain else {})}
    invocation.result(document, _lines(plan, roles, waits, explain=explain))
    return ExitCode.OK


def _plan(settings: Settings, ids: tuple[int, ...], view: str | None, name: str | None) -> Plan:
    from empiar_mirror import plan_facts
    from empiar_mirror.plan import Plan, throughput
    from empiar_mirror.reading import reading
    from empiar_schema.states import Channel

    streams = [channel for channel in settings.transfer.channels if channel is not Channel.GLOBUS]
    channel = streams[0] if streams else Channel.GLOBUS
    recipe = settings.recipe(view) if view is not None else None
    with reading(settings.root) as connection:
        if name is not None:
            needs = _needs_of_subscription(connection, settings, name)
        else:
            chosen = needs_ids(ids, plan_facts.asked_for(connection), "plan")
            _refuse_unlisted(connection, chosen)
            needs = [_need(connection, each, settings, recipe, as_before=not ids) for each in chosen]
        plan = Plan(
            entries=tuple(needs),
            channel=channel,
            throughput=throughput(
                plan_facts.recent_attempts(connection, channel=channel),
                channel,
                settings.transfer.connections,
            )
            if streams
            else None,
            room=plan_facts.measured_room(settings.root, settings.disk, plan_facts.bytes_held(connection)),
        )
        return _routed(connection, settings, plan)


def _refuse_unlisted(connection: sqlite3.Connection, chosen: list[int]) -> None:
    from empiar_mirror.plan_facts import unknown_entries

    if unknown := unknown_entries(connection, chosen):
        named = " ".join(str(empiar_id) for empiar_id in unknown)
        raise CatalogueFault(
            f"the catalogue has no file listing of {named}",
            hint=f"run `empiar-mirror crawl {named}` first",
        )


def _needs_of_subscription(connection: sqlite3.Connection, settings: Settings, name: str) -> list[EntryNeed]:
    """What a sync of the subscription would move, if it were evaluated now; whether it is held or paused does not matter."""
    from empiar_mirror.plan_facts import entry_need
    from empiar_mirror.subscriptions.outlook import files_of, weighed_again

    weighed = weighed_again(connection, settings, name, now=int(time.time()))
    return [
        entry_need(connection, empiar_id, only) for empiar_id, only in files_of(connection, weighed).items()
    ]


def _routed(connection: sqlite3.Connection, settings: Settings, plan: Plan) -> Plan:
    """The plan with what goes by Globus, where that is allowed or the service has something."""
    from empiar_schema.states import Channel

    allowed = Channel.GLOBUS in settings.transfer.channels
    if not allowed and not any(entry.files_with_globus for entry in plan.entries):
        return plan
    from empiar_mirror.globus.outlook import globus_share, routes_of

    routes = routes_of(connection, settings, plan.entries, now=time.time()) if allowed else ()
    share = globus_share(connection, settings, plan.entries, routes)
    return replace(plan, routes=routes, globus=share)


def _need(
    connection: sqlite3.Connection,
    empiar_id: int,
    settings: Settings,
    recipe: ViewRecipe | None,
    *,
    as_before: bool,
) -> EntryNeed:
    from empiar_mirror.asking import files_asked_for, selection_of
    from empiar_mirror.plan_facts import entry_need

    if recipe is None:
        only = files_asked_for(connection, empiar_id, settings) if as_before else None
        return entry_need(connection, empiar_id, only)
    selection = selection_of(connection, empiar_id, recipe)
    need = entry_need(connection, empiar_id, {file.file_id for file in selection.needed})
    return replace(need, selected=selection.in_words)


def _roles(settings: Settings, plan: Plan) -> dict[int, EntryRoles]:
    from empiar_mirror.reading import reading
    from empiar_schema.role_store import entry_roles

    with reading(settings.root) as connection:
        return {entry.empiar_id: entry_roles(connection, entry.empiar_id) for entry in plan.entries}


def _document(plan: Plan, roles: dict[int, EntryRoles]) -> dict[str, object]:
    from dataclasses import asdict

    explained = {"roles": [asdict(entry) for entry in roles.values()]} if roles else {}
    return {
        **asdict(plan),
        **explained,
        "files": plan.files,
        "bytes": plan.bytes,
        "seconds": plan.seconds,
        "slow_seconds": plan.slow_seconds,
        "fits": plan.fits,
        "bytes_needed": plan.bytes_needed,
        "globus": None if plan.globus is None else {**asdict(plan.globus), "seconds": plan.globus.seconds},
    }


def _role_lines(roles: EntryRoles) -> Iterator[str]:
    """What the entry's files are taken for, and how to see and correct what is not sure."""
    from empiar_mirror.cli.text import count
    from empiar_schema.role_reasons import UNSURE

    named = ", ".join(f"{files:,} {role.replace('_', ' ')}" for role, files in roles.files.items())
    stated = f" ({roles.overridden:,} stated in the configuration)" if roles.overridden else ""
    yield f"  roles: {named}{stated}"
    if roles.unsure:
        where = f"empiar_id = {roles.empiar_id} AND role_confidence < {UNSURE:g} AND role <> 'other'"
        yield f"  {count(roles.unsure, 'file')} of uncertain role (below {UNSURE:g}); to see them:"
        yield f'  empiar-mirror query "SELECT path, role, role_confidence, role_reason FROM files WHERE {where}"'  # noqa: S608 - for people to run
        yield "  to correct them: tables [[role]] in the configuration (docs/roles.md)"


def _waits(settings: Settings, plan: Plan) -> dict[int, list[str]]:
    """What of each entry has a channel of its own, rests, or is late, for the subscriptions that want it."""
    from empiar_mirror.reading import reading
    from empiar_mirror.subscriptions.reasons import why_it_waits

    now = time.time()
    with reading(settings.root) as connection:
        return {
            entry.empiar_id: list(why_it_waits(connection, entry.empiar_id, settings.order, now=now))
            for entry in plan.entries
        }


def _lines(
    plan: Plan, roles: dict[int, EntryRoles], waits: dict[int, list[str]], *, explain: bool
) -> Iterator[str]:
    from empiar_mirror.cli.text import count, rate
    from empiar_schema.sizes import format_bytes

    if explain:
        for entry in plan.entries:
            yield (
                f"EMPIAR-{entry.empiar_id}: {count(entry.files, 'file')} to move, {format_bytes(entry.bytes)}"
                f" ({format_bytes(entry.bytes_partial)} of them in staging);"
                f" {entry.files_here:,} here, {format_bytes(entry.bytes_here)}; {entry.files_failed:,} failed"
            )
            if entry.selected:
                yield f"  the view takes {entry.selected}"
            yield from _route_lines(plan, entry)
            yield from (f"  {sentence}" for sentence in waits.get(entry.empiar_id, ()))
            yield from (f"  {family}" for family in entry.families)
            yield from _role_lines(roles[entry.empiar_id])
    here = sum(entry.bytes_here for entry in plan.entries)
    entries = count(len(plan.entries), "entry", "entries")
    if plan.globus is None:
        moved = f"{count(plan.files, 'file')} to move by {plan.channel}, {format_bytes(plan.bytes)}"
    else:
        moved = f"{count(plan.files, 'file')} to move, {_by_channels(plan)}"
    yield f"{entries}: {moved}; {format_bytes(here)} are here"
    unverified = sum(entry.files_unverified for entry in plan.entries)
    if unverified:
        size = format_bytes(sum(entry.bytes_unverified for entry in plan.entries))
        yield f"{count(unverified, 'file')}, {size}, transferred by Globus and not verified: `empiar-mirror verify` does that where their storage is"
    evicted = sum(entry.files_evicted for entry in plan.entries)
    if evicted:
        size = format_bytes(sum(entry.bytes_evicted for entry in plan.entries))
        yield f"{count(evicted, 'file')}, {size}, stay evicted: `empiar-mirror recall` has them fetched again"
    unknown = sum(entry.files_of_unknown_size for entry in plan.entries)
    if unknown:
        yield f"{count(unknown, 'file')} among them without a known size, not counted in the bytes"
    failed = sum(entry.files_failed for entry in plan.entries)
    if failed:
        yield f"{count(failed, 'file')} failed before and would not be tried: `empiar-mirror repair` does that"
    fits = "enough" if plan.fits else f"{format_bytes(plan.bytes_needed - plan.room.allowed)} too little"
    yield (
        f"disk: {format_bytes(plan.bytes_needed)} needed, {format_bytes(plan.room.free)} free, "
        f"{format_bytes(plan.room.allowed)} of it allowed by watermark and quota: {fits}"
    )
    yield from _time_lines(plan)
    for channel, measured in _throughputs(plan, explain=explain):
        typical, low = rate(measured.typical_bytes_per_s), rate(measured.slow_bytes_per_s)
        yield f"throughput{channel}: {typical} typical, {low} in the slowest tenth of the time"


def _route_lines(plan: Plan, entry: EntryNeed) -> Iterator[str]:
    """By which channel the entry's missing files go and why, and what Globus has of it already."""
    from empiar_mirror.cli.text import count
    from empiar_schema.sizes import format_bytes

    if entry.files_with_globus:
        yield f"  {count(entry.files_with_globus, 'file')}, {format_bytes(entry.bytes_with_globus)}, are with Globus already"
    if entry.files_delivered:
        yield f"  {count(entry.files_delivered, 'file')} brought by Globus, to be verified"
    for route in plan.routes:
        if route.empiar_id == entry.empiar_id:
            tasks = f", in about {count(route.tasks, 'task')}" if route.tasks else ""
            yield f"  by {route.channel}{tasks}: {route.reason}"


def _by_channels(plan: Plan) -> str:
    """``3 TiB by globus, 12 GiB by https``, the larger share first."""
    from empiar_schema.sizes import format_bytes

    by_globus = plan.globus.bytes if plan.globus else 0
    shares = [(plan.bytes_streamed, plan.channel.value)] if plan.throughput else []
    shares.append((by_globus, "globus"))
    shares.sort(reverse=True)
    named = [f"{format_bytes(size)} by {channel}" for size, channel in shares if size]
    return ", ".join(named) or format_bytes(0)


def _time_lines(plan: Plan) -> Iterator[str]:
    from empiar_mirror.cli.text import count, duration

    shared = plan.globus is not None and plan.globus.files > 0
    if plan.bytes_streamed and plan.throughput is not None:
        seconds = plan.streamed_seconds
        slow_s = plan.bytes_streamed / plan.throughput.slow_bytes_per_s
        slow = f", {duration(slow_s)} if it is slow" if slow_s > seconds * 1.05 else ""
        by = f" by {plan.channel}" if shared else ""
        yield f"time{by}: about {duration(seconds)}{slow} ({plan.throughput.basis})"
    if shared and plan.globus is not None:
        tasks = (
            f"in about {count(plan.globus.tasks, 'task')}" if plan.globus.tasks else "in tasks that run now"
        )
        if plan.globus.throughput is None or plan.globus.seconds is None:
            yield f"time by globus: not known, {tasks}: this mirror has not measured a Globus task yet"
        else:
            yield f"time by globus: about {duration(plan.globus.seconds)}, {tasks} ({plan.globus.throughput.basis})"


def _throughputs(plan: Plan, *, explain: bool) -> Iterator[tuple[str, Throughput]]:
    """What is known of each channel that is used, with its name where there are two."""
    if not explain:
        return
    by_globus = plan.globus.throughput if plan.globus is not None else None
    if plan.throughput is not None:
        yield (f" by {plan.channel}" if plan.globus is not None else "", plan.throughput)
    if by_globus is not None:
        yield " by globus", by_globus

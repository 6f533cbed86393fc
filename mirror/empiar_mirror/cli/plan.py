from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, needs_ids, standard_options
from empiar_schema.faults import CatalogueFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.plan import EntryNeed, Plan
    from empiar_schema.layout_views import ViewRecipe
    from empiar_schema.role_store import EntryRoles
    from empiar_schema.settings import Settings


@click.command("plan")
@ids_argument
@click.option("--view", metavar="V", help="Only what this layout view takes: images, gains, labels.")
@click.option(
    "--explain",
    is_flag=True,
    help="Show each entry, what its files are taken for, and how the estimate came about.",
)
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], view: str | None, explain: bool) -> ExitCode:
    """Say what a sync would move: files, bytes, disk, time. Changes nothing.

    Without IDs: every entry that was asked for before, and of each what was asked for.
    """
    settings = invocation.settings()
    plan = _plan(settings, ids, view)
    roles = _roles(settings, plan) if explain else {}
    invocation.result(_document(plan, roles), _lines(plan, roles, explain=explain))
    return ExitCode.OK


def _plan(settings: Settings, ids: tuple[int, ...], view: str | None) -> Plan:
    from empiar_mirror import plan_facts
    from empiar_mirror.plan import Plan, throughput
    from empiar_mirror.reading import reading

    channel = settings.transfer.channels[0]
    recipe = settings.recipe(view) if view is not None else None
    with reading(settings.root) as connection:
        chosen = needs_ids(ids, plan_facts.asked_for(connection), "plan")
        unknown = plan_facts.unknown_entries(connection, chosen)
        if unknown:
            named = " ".join(str(empiar_id) for empiar_id in unknown)
            raise CatalogueFault(
                f"the catalogue has no file listing of {named}",
                hint=f"run `empiar-mirror crawl {named}` first",
            )
        return Plan(
            entries=tuple(
                _need(connection, empiar_id, settings, recipe, as_before=not ids) for empiar_id in chosen
            ),
            channel=channel,
            throughput=throughput(
                plan_facts.recent_attempts(connection, channel=channel),
                channel,
                settings.transfer.connections,
            ),
            room=plan_facts.measured_room(settings.root, settings.disk, plan_facts.bytes_held(connection)),
        )


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


def _lines(plan: Plan, roles: dict[int, EntryRoles], *, explain: bool) -> Iterator[str]:
    from empiar_mirror.cli.text import count, duration, rate
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
            yield from (f"  {family}" for family in entry.families)
            yield from _role_lines(roles[entry.empiar_id])
    here = sum(entry.bytes_here for entry in plan.entries)
    yield (
        f"{count(len(plan.entries), 'entry', 'entries')}: {count(plan.files, 'file')} to move by {plan.channel}, "
        f"{format_bytes(plan.bytes)}; {format_bytes(here)} are here"
    )
    unknown = sum(entry.files_of_unknown_size for entry in plan.entries)
    if unknown:
        yield f"{count(unknown, 'file')} among them without a known size, not counted in the bytes"
    failed = sum(entry.files_failed for entry in plan.entries)
    if failed:
        yield f"{count(failed, 'file')} failed before and would not be tried: `empiar-mirror repair` does that"
    fits = "enough" if plan.fits else f"{format_bytes(plan.bytes - plan.room.allowed)} too little"
    yield (
        f"disk: {format_bytes(plan.bytes)} needed, {format_bytes(plan.room.free)} free, "
        f"{format_bytes(plan.room.allowed)} of it allowed by watermark and quota: {fits}"
    )
    if plan.bytes:
        slow = (
            f", {duration(plan.slow_seconds)} if it is slow"
            if plan.slow_seconds > plan.seconds * 1.05
            else ""
        )
        yield f"time: about {duration(plan.seconds)}{slow} ({plan.throughput.basis})"
    if explain:
        typical, low = rate(plan.throughput.typical_bytes_per_s), rate(plan.throughput.slow_bytes_per_s)
        yield f"throughput: {typical} typical, {low} in the slowest tenth of the time"

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.amounts import duration_of, size_of
from empiar_mirror.cli.invocation import Invocation, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.subscriptions.evaluation import Evaluated
    from empiar_mirror.subscriptions.outlook import Outlook
    from empiar_schema.settings import Settings
    from empiar_schema.subscriptions import Definition


@click.command("subscribe")
@click.argument("name")
@click.option("--sql", required=True, help="One SELECT that returns a column empiar_id or file_id.")
@click.option("--view", metavar="V", help="Of the entries, only what this layout view takes.")
@click.option(
    "--priority", type=click.IntRange(-1000, 1000), default=0, show_default=True, help="Higher comes first."
)
@click.option("--budget", metavar="BYTES", help="What it may make wanted in all, such as 20TiB.")
@click.option(
    "--channel",
    type=click.Choice(["https", "ftp", "globus"]),
    help="Channel of its files, unless somebody else wants them too.",
)
@click.option("--quota", metavar="BYTES", help="What its files may hold here; at the quota they wait.")
@click.option(
    "--share",
    type=click.FloatRange(0.001, 1000),
    default=1.0,
    show_default=True,
    help="Its part among subscriptions of equal priority.",
)
@click.option("--deadline", metavar="TIME", help="Its files should be here so long after they match: 30d.")
@click.option("--new-only", is_flag=True, help="Only what the archive shows from now on.")
@click.option("--dry-run", is_flag=True, help="Check it and say what it would cost; change nothing.")
@standard_options
def command(
    invocation: Invocation,
    name: str,
    sql: str,
    view: str | None,
    priority: int,
    budget: str | None,
    channel: str | None,
    quota: str | None,
    share: float,
    deadline: str | None,
    new_only: bool,
    dry_run: bool,
) -> ExitCode:
    """Mirror by itself whatever a query selects, now and after every crawl.

    What matches becomes wanted at once; `sync` fetches it. Works beside a running sync. See docs/subscriptions.md.
    """
    from empiar_mirror.reading import reading
    from empiar_mirror.subscriptions.outlook import outlook, weighed_now
    from empiar_schema.states import Channel
    from empiar_schema.subscriptions import Definition

    settings = invocation.settings()
    only = Channel(channel) if channel else None
    wanted = Definition(
        _name(name),
        sql,
        view,
        priority,
        bytes_of(budget, "--budget"),
        only,
        new_only,
        bytes_of(quota, "--quota"),
        share,
        seconds_of(deadline, "--deadline"),
    )
    if name in settings.subscription:
        raise ConfigFault(
            f"[subscription.{name}] stands in {invocation.place}",
            hint="choose another name, or change it there",
        )
    if view is not None:
        settings.recipe(view)  # a wrong name is told before the query runs
    with reading(settings.root) as connection:
        if not dry_run:
            _refuse_taken(name, [row[0] for row in connection.execute("SELECT name FROM subscriptions")])
        found = outlook(connection, settings, weighed_now(connection, settings, wanted, now=int(time.time())))
    made = None if dry_run else _made(settings, wanted)
    document = {**asdict(found), "bytes_to_move": found.bytes_to_move, "seconds": found.seconds}
    wanted_files = None if made is None else made.files
    invocation.result(
        {"name": name, "dry_run": dry_run, **document, "newly_wanted_files": wanted_files},
        _lines(wanted, found, made),
    )
    return ExitCode.OK


def _name(text: str) -> str:
    from empiar_schema.settings_types import checked_folder_name

    try:
        return checked_folder_name(text)
    except ValueError:
        raise ConfigFault(f"{text!r} is no name for a subscription: use a-z, 0-9, _ and -") from None


def bytes_of(text: str | None, option: str) -> int | None:
    """The size that the option states.

    Raises:
        ConfigFault: it is none, or nothing.
    """
    return size_of(text, option, nothing="leaves nothing to select")


def seconds_of(text: str | None, option: str) -> int | None:
    """The duration that the option states, in seconds.

    Raises:
        ConfigFault: it is none, or nothing.
    """
    seconds = duration_of(text, option)
    if seconds is None:
        return None
    if seconds < 1:
        raise ConfigFault(f"{option}: {text} is no time to come", hint="write a duration such as 30d")
    return round(seconds)


def _refuse_taken(name: str, names: list[str]) -> None:
    if name in names:
        raise ConfigFault(
            f"there is a subscription {name} already",
            hint=f"choose another name, or end it first: `empiar-mirror subscriptions remove {name}`",
        )


def _made(settings: Settings, wanted: Definition) -> Evaluated:
    import functools

    from empiar_mirror.reading import CATALOGUE_NAME
    from empiar_mirror.subscriptions.evaluation import evaluate_subscriptions
    from empiar_schema.catalogue import Catalogue
    from empiar_schema.subscription_store import add_subscription

    now = int(time.time())
    with Catalogue.open(settings.root / CATALOGUE_NAME) as catalogue:
        catalogue.write_now(functools.partial(add_subscription, wanted=wanted, now=now))
        [made] = evaluate_subscriptions(catalogue, settings, now=now, names=[wanted.name])
    return made


def _lines(wanted: Definition, found: Outlook, made: Evaluated | None) -> Iterator[str]:
    from empiar_mirror.cli.text import count, duration
    from empiar_schema.sizes import format_bytes

    entries, files = count(found.matching_entries, "entry", "entries"), count(found.matching_files, "file")
    what = "whole entries" if found.selects == "entries" else "single files"
    of = f"what the view {wanted.view} takes of entries" if wanted.view else what
    yield f"the query selects {of}: {entries}, {files}"
    if found.older:
        yield f"{found.older:,} of the matches are there already and not wanted: --new-only takes what comes"
    if found.over_budget:
        size = format_bytes(found.bytes_over_budget)
        yield f"the budget ends before {count(found.over_budget, 'match', 'matches')}, {size}"
    if found.unlisted:
        yield f"{count(found.unlisted, 'match', 'matches')} without a current file listing: a crawl brings it"
    yield (
        f"wanted: {count(found.files, 'file')} of {count(found.entries, 'entry', 'entries')}, {format_bytes(found.bytes)};"
        f" {found.files_here:,} of them here, {format_bytes(found.bytes_here)}"
    )
    if found.seconds is not None and found.throughput is not None and found.bytes_to_move:
        size = format_bytes(found.bytes_to_move)
        yield f"{size} to move: about {duration(found.seconds)} ({found.throughput.basis})"
    if made is None:
        yield "nothing was changed"
    elif made.held is not None:
        yield f"the subscription {wanted.name} was made, and is held: {made.held}"
    else:
        more = f", {made.files:,} files newly wanted: `empiar-mirror sync` fetches them" if made.files else ""
        yield f"the subscription {wanted.name} is in force{more}"

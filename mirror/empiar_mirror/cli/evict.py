from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.amounts import duration_of, size_of
from empiar_mirror.cli.invocation import Invocation, standard_options, work_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.eviction.evicting import Removed
    from empiar_mirror.eviction.planning import Decision, EntryShare, Order
    from empiar_schema.settings import Settings


@click.command("evict")
@click.option(
    "--sql", help="One SELECT that returns a column empiar_id or file_id; what may go first in front."
)
@click.option("--policy", metavar="NAME", help="The SQL of [evict.NAME] in the configuration.")
@click.option("--bytes", "size", metavar="SIZE", help="Free so much, such as 20TiB.")
@click.option("--until-free", metavar="SIZE", help="Go on until so much is free on the file system.")
@click.option(
    "--listed-within",
    metavar="DURATION",
    help="Only files that a complete listing has named within this time  [default: 30d]",
)
@click.option("--despite-subscriptions", is_flag=True, help="Also what a subscription in force wants.")
@click.option("--yes", is_flag=True, help="Do it. Without this, nothing is changed.")
@work_options
@standard_options
def command(
    invocation: Invocation,
    sql: str | None,
    policy: str | None,
    size: str | None,
    until_free: str | None,
    listed_within: str | None,
    despite_subscriptions: bool,
    yes: bool,
) -> ExitCode:
    """Remove files that can be fetched again, to make room: a dry run unless --yes.

    Never what a pin keeps, what EMPIAR lists no longer or lists otherwise, or what is not proven. The record keeps each file's
    sha256 and source; `recall` has it fetched again. See docs/disk.md.
    """
    settings = invocation.settings()
    order = _order(
        settings,
        sql=sql,
        policy=policy,
        size=size_of(size, "--bytes", nothing="asks for nothing"),
        until_free=size_of(until_free, "--until-free", nothing="asks for nothing"),
        listed_within=_within(listed_within),
        despite_subscriptions=despite_subscriptions,
    )
    if not yes:
        decision = _dry_run(settings, order)
        lines = [*_lines(decision), "nothing was changed: --yes removes what would go"]
        invocation.result(_document(decision, None), lines)
        return ExitCode.OK
    from empiar_mirror.cli.working import work_on

    removed, stopped = work_on(invocation, settings, lambda mirror: mirror.evict(order), ids=[])
    invocation.result(_document(removed.decision, removed), [*_lines(removed.decision), *_done(removed)])
    if stopped and removed.stopped:
        return ExitCode.STOPPED
    done = not removed.left and not removed.decision.falls_short
    return ExitCode.OK if done else ExitCode.SOME_FILES_FAILED


def _order(
    settings: Settings,
    *,
    sql: str | None,
    policy: str | None,
    size: int | None,
    until_free: int | None,
    listed_within: float | None,
    despite_subscriptions: bool,
) -> Order:
    from empiar_mirror.eviction.planning import Order
    from empiar_schema.eviction_settings import LISTED_WITHIN_S

    if (sql is None) == (policy is None):
        raise ConfigFault(
            "evict what? Give one of --sql and --policy",
            hint="such as --sql \"SELECT file_id FROM copies WHERE state = 'arrived' ORDER BY arrived_at\"",
        )
    if size is not None and until_free is not None:
        raise ConfigFault("--bytes and --until-free are two ways to say how much: give one of them")
    reason, within = "`empiar-mirror evict`", LISTED_WITHIN_S
    if policy is not None:
        declared = settings.evict.get(policy)
        if declared is None:
            names = ", ".join(sorted(settings.evict))
            raise ConfigFault(
                f"there is no [evict.{policy}] in the configuration",
                hint=f"there are {names}" if names else "write one, or give --sql",
            )
        reason, within, sql = f"`empiar-mirror evict --policy {policy}`", declared.listed_within, declared.sql
    assert sql is not None
    return Order(
        sql=sql,
        reason=reason,
        bytes=size,
        until_free=until_free,
        listed_within=within if listed_within is None else listed_within,
        despite_subscriptions=despite_subscriptions,
    )


def _within(text: str | None) -> float | None:
    seconds = duration_of(text, "--listed-within")
    if seconds is not None and seconds <= 0:
        raise ConfigFault("--listed-within must be above 0", hint="write a time such as 30d")
    return seconds


def _dry_run(settings: Settings, order: Order) -> Decision:
    import time

    from empiar_mirror.eviction.planning import decide
    from empiar_mirror.reading import reading

    with reading(settings.root) as connection:
        return decide(connection, settings.root, settings, order, now=int(time.time()))


def _document(decision: Decision, removed: Removed | None) -> dict[str, object]:
    document: dict[str, object] = {
        "dry_run": removed is None,
        "sql": decision.order.sql,
        "target_bytes": decision.target,
        "files": decision.files,
        "bytes": decision.bytes,
        "frees_bytes": decision.frees,
        "falls_short_bytes": decision.falls_short,
        "entries": [
            {**asdict(share), "kept": {reason.value: asdict(kept) for reason, kept in share.kept.items()}}
            for share in decision.entries
        ],
    }
    if removed is not None:
        document["removed"] = asdict(removed.done)
        document["left"] = [{"path": path, "why": why} for path, why in removed.left]
        document["stopped"] = removed.stopped
    return document


def _lines(decision: Decision) -> Iterator[str]:
    from empiar_mirror.cli.text import count
    from empiar_mirror.eviction.judging import KEPT_MEANING, Kept
    from empiar_schema.sizes import format_bytes

    for share in decision.entries:
        yield _entry_line(share)
    if not decision.entries:
        yield "the query selects nothing that is or was here"
    reasons = {reason for share in decision.entries for reason in share.kept}
    for reason in Kept:
        if reason in reasons:
            yield f"  {reason}: {KEPT_MEANING[reason]}"
    if any(share.linked_elsewhere for share in decision.entries):
        linked = sum(share.linked_elsewhere for share in decision.entries)
        yield f"  {count(linked, 'file')} would free nothing: names outside of this mirror's layouts hold the same bytes"
    yield f"in all {count(decision.files, 'file')}, {format_bytes(decision.bytes)}, which frees {format_bytes(decision.frees)}"
    if decision.falls_short:
        yield f"that is {format_bytes(decision.falls_short)} less than asked for"


def _entry_line(share: EntryShare) -> str:
    from empiar_mirror.cli.text import count
    from empiar_schema.sizes import format_bytes

    gone = share.evicted
    stays = "; ".join(
        f"{reason}: {count(kept.files, 'file')}, {format_bytes(kept.bytes)}"
        for reason, kept in share.kept.items()
    )
    return (
        f"EMPIAR-{share.empiar_id}  goes: {count(gone.files, 'file')}, {format_bytes(gone.bytes)}"
        f" (frees {format_bytes(share.frees)}){'  stays: ' if stays else ''}{stays}"
    )


def _done(removed: Removed) -> Iterator[str]:
    from empiar_mirror.cli.text import count
    from empiar_schema.sizes import format_bytes

    done = removed.done
    yield f"removed {count(done.files, 'file')}, {format_bytes(done.bytes)}; `empiar-mirror recall` has them fetched again"
    for path, why in removed.left[:20]:
        yield f"  {path} was left and is damaged: {why}"
    if removed.stopped:
        yield "stopped: what was not removed by then is here as before"

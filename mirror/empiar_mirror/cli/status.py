from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.status import EntryStatus, Status


@click.command("status")
@ids_argument
@click.option(
    "--healthy", is_flag=True, help="Exit with 1 if something is wrong, and say what: for health checks."
)
@click.option(
    "--live", is_flag=True, help="Draw it again and again until q or Ctrl-C; with --json, a line each time."
)
@click.option("--every", metavar="DURATION", help="How often --live looks  [default: 2s]")
@standard_options
def command(
    invocation: Invocation, ids: tuple[int, ...], healthy: bool, live: bool, every: str | None
) -> ExitCode:
    """Show progress by entry, rate, time left, and what is stuck and why.

    Without IDs: every entry that was asked for. Works beside a running sync.
    """
    if live or every is not None:
        return _live(invocation, ids, healthy=healthy, live=live, every=every or "2s")
    from empiar_mirror.crawl_status import read_crawl_status
    from empiar_mirror.instance_lock import holder
    from empiar_mirror.pacing import pause_of, rested_at
    from empiar_mirror.pacing_note import read_note
    from empiar_mirror.plan_facts import bytes_derived, bytes_held, measured_room
    from empiar_mirror.reading import reading
    from empiar_mirror.status import SILENT_S, ailments, read_status

    settings = invocation.settings()
    now = time.time()
    with reading(settings.root) as connection:
        worker = holder(settings.root)
        rest = pause_of(settings, now)
        status = read_status(
            connection,
            list(ids) or None,
            now=now,
            worker=worker,
            globus=settings.globus,
            rests=rest.sentence(now) if rest is not None else None,
            connections=read_note(settings.root),
        )
        held_bytes, derived_bytes = bytes_held(connection), bytes_derived(connection)
        room = measured_room(settings.root, settings.disk, held_bytes)
        crawl = read_crawl_status(connection, settings.crawl, now=now)
    full = "the watermark or the quota is reached" if status.bytes_left and not room.allowed else None
    ills = ailments(
        status,
        now=now,
        disk_refusal=full,
        stall_s=settings.globus.stall,
        progressed_at=rested_at(settings, now, within_s=SILENT_S),
    )
    missing = sorted(set(ids) - {entry.empiar_id for entry in status.entries})
    document: dict[str, object] = {
        **asdict(status),
        "globus": [{**asdict(task), "standing": task.standing(now)} for task in status.globus],
        "files_left": status.files_left,
        "bytes_left": status.bytes_left,
        "files_unverified": status.files_unverified,
        "files_evicted": status.files_evicted,
        "bytes_held": held_bytes,
        "bytes_derived": derived_bytes,
        "seconds_left": status.seconds_left,
        "room": asdict(room),
        "crawl": asdict(crawl),
        "unknown": missing,
        "ailments": ills,
    }
    unknown = (f"EMPIAR-{i} is not in the catalogue: run `empiar-mirror crawl {i}`" for i in missing)
    lines = _lines(status, now) if status.entries or not ids else ()
    held = (
        f"the subscription {one.name} is held since {one.held_at}: {one.reason}; `empiar-mirror subscriptions resume {one.name}` releases it"
        for one in status.held_subscriptions
    )
    crawled = crawl.lines(settings.crawl) if status.entries else ()
    disk = _disk_lines(settings.disk.quota, held_bytes, derived_bytes) if status.entries else ()
    invocation.result(document, [*lines, *disk, *crawled, *unknown, *held, *ills])
    return ExitCode.SOME_FILES_FAILED if healthy and ills else ExitCode.OK


def _live(invocation: Invocation, ids: tuple[int, ...], *, healthy: bool, live: bool, every: str) -> ExitCode:
    from empiar_mirror.cli.live import show
    from empiar_schema.sizes import parse_duration

    if not live:
        raise ConfigFault("--every says how often --live looks", hint="give --live, too")
    if healthy:
        raise ConfigFault("--live goes on, and --healthy ends with an answer", hint="give one of them")
    try:
        every_s = parse_duration(every)
    except ValueError as error:
        raise ConfigFault(f"--every: {error}") from None
    assert isinstance(every_s, float)
    if not 0.1 <= every_s <= 3600:
        raise ConfigFault("--every must be between 0.1s and 1h", hint="2s is usual")
    return show(invocation, ids, every_s=every_s)


def _lines(status: Status, now: float) -> Iterator[str]:
    from empiar_mirror.cli.text import count, duration, rate
    from empiar_mirror.status import RATE_WINDOW_S
    from empiar_schema.sizes import format_bytes
    from empiar_schema.times import iso

    yield from map(_entry_line, status.entries)
    if not status.entries:
        yield "no entry was asked for yet: `empiar-mirror sync 10017` mirrors one"
        return
    yield f"{count(status.files_left, 'file')} to come, {format_bytes(status.bytes_left)}; {status.failed_files:,} failed"
    if status.files_unverified:
        size = format_bytes(sum(entry.unverified_bytes for entry in status.entries))
        yield f"{count(status.files_unverified, 'file')}, {size}, transferred by Globus and not verified: `empiar-mirror verify` does that where their storage is"
    if status.files_evicted:
        size = format_bytes(sum(entry.evicted_bytes for entry in status.entries))
        yield f"{count(status.files_evicted, 'file')}, {size}, evicted to make room: `empiar-mirror recall` has them fetched again"
    if status.bytes_per_s is not None:
        left = "" if status.seconds_left is None else f", about {duration(status.seconds_left)} left"
        yield f"{rate(status.bytes_per_s)} over the last minutes{left}"
    elif status.moved_at is not None and status.moved_at < now - RATE_WINDOW_S:
        yield f"nothing has moved since {iso(status.moved_at)}"
    if status.files_resting:
        yield f"{count(status.files_resting, 'file')} among them wait for a paused subscription or below a quota: `empiar-mirror why ID` says for which"
    for late in status.late_subscriptions:
        yield f"the subscription {late.name} is late: {format_bytes(late.bytes_left)} were to be here by {late.due_at}"
    yield f"at work: {status.worker}" if status.worker else "no process works on the mirror now"
    if status.rests is not None and status.files_left:
        yield f"over HTTPS and FTP nothing comes now: {status.rests}"
    elif status.connections:
        each = ", ".join(f"{allowed} by {channel}" for channel, allowed in status.connections.items())
        yield f"connections that servers bear: {each}"
    if status.next_try_at is not None and status.next_try_at > now:
        yield f"waiting until {iso(status.next_try_at)} for the next try"
    yield from _globus_lines(status, now)
    for file in status.stuck:
        again = f"; next try {file.next_try}" if file.next_try else ""
        yield f"  {file.empiar_id}/{file.path}  {file.state} after {count(file.attempts, 'attempt')}: {file.error}{again}"
    yield from _making_lines(status)


def _disk_lines(quota: int | None, held: int, derived: int) -> Iterator[str]:
    """What counts against the quota, where there is one or something was made."""
    from empiar_schema.sizes import format_bytes

    if quota is None and not derived:
        return
    of = f" of the quota of {format_bytes(quota)}" if quota is not None else ""
    yield f"{format_bytes(held)}{of} held, {format_bytes(derived)} of it by derived files"


def _globus_lines(status: Status, now: float) -> Iterator[str]:
    """The Globus tasks that are open, and those that failed lately."""
    from empiar_schema.times import iso

    for task in status.globus:
        link = f"  {task.link}" if task.link else ""
        yield f"Globus task '{task.label}'  {task.standing(now)}: {task.moved}{link}"
    for task in status.globus_failed:
        link = f"  {task.link}" if task.link else ""
        yield f"Globus task '{task.label}'  failed at {iso(task.ended_at)}: {task.error or task.status}{link}"


def _making_lines(status: Status) -> Iterator[str]:
    from empiar_mirror.cli.text import count

    for maker in status.makers:
        total = maker.made + maker.waiting + maker.running + maker.failed + maker.parked
        others = (("running", maker.running), ("waiting", maker.waiting), ("failed", maker.failed))
        more = "".join(
            f", {number:,} {word}" for word, number in (*others, ("parked", maker.parked)) if number
        )
        yield f"EMPIAR-{maker.empiar_id}  {maker.maker}: {maker.made:,} of {count(total, 'file')} made{more}"
    for job in status.stuck_jobs:
        what = f"{job.empiar_id}/{job.path}" if job.path else str(job.empiar_id)
        again = f"; next try {job.next_try}" if job.next_try else ""
        log = f"; see {job.log_path}" if job.log_path else ""
        yield f"  {what} by {job.maker}  {job.state} after {count(job.attempts, 'attempt')}: {job.error}{log}{again}"


def _entry_line(entry: EntryStatus) -> str:
    from empiar_schema.sizes import format_bytes

    share = entry.here_bytes / entry.wanted_bytes if entry.wanted_bytes else float(entry.state == "complete")
    failed = f", {entry.failed_files:,} failed" if entry.failed_files else ""
    return (
        f"EMPIAR-{entry.empiar_id}  {entry.state:<12} {share:>4.0%}  {entry.here_files:,} of {entry.wanted_files:,} files, "
        f"{format_bytes(entry.here_bytes)} of {format_bytes(entry.wanted_bytes)}{failed}  {entry.title[:60]}"
    )

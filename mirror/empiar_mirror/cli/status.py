from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options
from empiar_schema.faults import ExitCode

if TYPE_CHECKING:
    from empiar_mirror.status import EntryStatus, Status


@click.command("status")
@ids_argument
@click.option(
    "--healthy", is_flag=True, help="Exit with 1 if something is wrong, and say what: for health checks."
)
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], healthy: bool) -> ExitCode:
    """Show progress by entry, rate, time left, and what is stuck and why.

    Without IDs: every entry that was asked for. Works beside a running sync.
    """
    from empiar_mirror.instance_lock import holder
    from empiar_mirror.plan_facts import bytes_held, measured_room
    from empiar_mirror.reading import reading
    from empiar_mirror.status import ailments, read_status

    settings = invocation.settings()
    now = time.time()
    with reading(settings.root) as connection:
        worker = holder(settings.root)
        status = read_status(connection, list(ids) or None, now=now, worker=worker, globus=settings.globus)
        room = measured_room(settings.root, settings.disk, bytes_held(connection))
    full = "the watermark or the quota is reached" if status.bytes_left and not room.allowed else None
    ills = ailments(status, now=now, disk_refusal=full, stall_s=settings.globus.stall)
    missing = sorted(set(ids) - {entry.empiar_id for entry in status.entries})
    document: dict[str, object] = {
        **asdict(status),
        "globus": [{**asdict(task), "standing": task.standing(now)} for task in status.globus],
        "files_left": status.files_left,
        "bytes_left": status.bytes_left,
        "files_unverified": status.files_unverified,
        "seconds_left": status.seconds_left,
        "room": asdict(room),
        "unknown": missing,
        "ailments": ills,
    }
    unknown = (f"EMPIAR-{i} is not in the catalogue: run `empiar-mirror crawl {i}`" for i in missing)
    lines = _lines(status, now) if status.entries or not ids else ()
    held = (
        f"the subscription {one.name} is held since {one.held_at}: {one.reason}; `empiar-mirror subscriptions resume {one.name}` releases it"
        for one in status.held_subscriptions
    )
    invocation.result(document, [*lines, *unknown, *held, *ills])
    return ExitCode.SOME_FILES_FAILED if healthy and ills else ExitCode.OK


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
    if status.next_try_at is not None and status.next_try_at > now:
        yield f"waiting until {iso(status.next_try_at)} for the next try"
    yield from _globus_lines(status, now)
    for file in status.stuck:
        again = f"; next try {file.next_try}" if file.next_try else ""
        yield f"  {file.empiar_id}/{file.path}  {file.state} after {count(file.attempts, 'attempt')}: {file.error}{again}"
    yield from _making_lines(status)


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

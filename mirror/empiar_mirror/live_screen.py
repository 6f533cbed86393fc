"""The live view as text in a terminal: made of facts, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from empiar_mirror.cli.text import count, duration, rate
from empiar_mirror.live_facts import LiveFacts, Rates
from empiar_mirror.status import EntryStatus
from empiar_schema.settings import Settings
from empiar_schema.sizes import format_bytes
from empiar_schema.times import iso

#: Lines that the parts without a length of their own take, so that the view fits.
_FRAME_LINES: Final = 14
_BAR_WIDTH: Final = 20


def screen(
    facts: LiveFacts,
    rates: Rates,
    channels: Mapping[str, float] | None,
    settings: Settings,
    *,
    height: int,
) -> RenderableType:
    """The view for a terminal of so many lines. `channels` are bytes a second as the service itself tells; None where it does not."""
    room = max(4, height - _FRAME_LINES - len(facts.status.globus))
    stuck = min(len(facts.status.stuck), max(2, room // 3))
    lines = [_line(text) for text in _head(facts, rates, settings)]
    streams = [_line(text) for text in _streams(facts, channels)]
    below = [_line(text, "yellow") for text in _stuck(facts, stuck)]
    feet = [_line(text) for text in _feet(facts, settings)]
    return Group(
        *lines,
        *streams,
        _disk(facts),
        Text(""),
        _entries(facts, rates, room - stuck),
        Text(""),
        *below,
        *feet,
    )


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _head(facts: LiveFacts, rates: Rates, settings: Settings) -> Iterator[str]:
    status = facts.status
    yield f"{settings.root}   {iso(facts.at)}   {status.worker or 'no process works on the mirror now'}"
    left = f"{count(status.files_left, 'file')} to come, {format_bytes(status.bytes_left)}; {status.failed_files:,} failed"
    speed = rates.total()
    if speed:
        left += f"   {rate(speed)}, about {duration(status.bytes_left / speed)} left"
    elif status.files_left:
        left += f"   nothing moves{_since(facts)}"
    yield left


def _since(facts: LiveFacts) -> str:
    status = facts.status
    if status.next_try_at is not None and status.next_try_at > facts.at:
        return f": the next try is at {iso(status.next_try_at)}"
    return "" if status.moved_at is None else f" since {iso(status.moved_at)}"


def _streams(facts: LiveFacts, channels: Mapping[str, float] | None) -> Iterator[str]:
    if channels is not None:
        moving = [f"{channel} {rate(speed)}" for channel, speed in sorted(channels.items())]
        told = "now"
    else:
        moving = [f"{one.channel} {rate(one.bytes_per_s)}" for one in facts.streams]
        told = "in attempts that ended in the last minute"
    failures = sum(one.failures for one in facts.streams)
    more = f", {count(failures, 'attempt')} failed in the last minute" if failures else ""
    yield f"{count(facts.in_flight, 'file')} under way; {', '.join(moving) or 'no channel'} ({told}){more}"


def _disk(facts: LiveFacts) -> RenderableType:
    room = facts.room
    table = Table.grid(padding=(0, 1))
    used = room.total - room.free
    text = f"{format_bytes(room.free)} free of {format_bytes(room.total)}, {format_bytes(room.allowed)} may still come"
    table.add_row(_line("disk"), ProgressBar(max(1, room.total), used, width=_BAR_WIDTH), _line(text))
    return table


def _entries(facts: LiveFacts, rates: Rates, lines: int) -> RenderableType:
    """Entries that are not complete, those that move first."""
    table = Table.grid(padding=(0, 1))
    coming = [entry for entry in facts.status.entries if entry.state not in ("complete", "listed")]
    coming.sort(key=lambda entry: (-(rates.of(entry.empiar_id) or 0.0), entry.empiar_id))
    for entry in coming[: max(1, lines)]:
        here = facts.entry_bytes[entry.empiar_id]
        bar = ProgressBar(max(1, entry.wanted_bytes), min(here, entry.wanted_bytes), width=_BAR_WIDTH)
        table.add_row(
            _line(f"EMPIAR-{entry.empiar_id}"), bar, _line(_progress(entry, here, rates)), _line(entry.title)
        )
    if len(coming) > max(1, lines):
        table.add_row(_line(f"… {len(coming) - max(1, lines):,} more"))
    if not coming:
        table.add_row(
            _line("all that was asked for is here" if facts.status.entries else "nothing was asked for yet")
        )
    return table


def _progress(entry: EntryStatus, here: int, rates: Rates) -> str:
    text = f"{entry.here_files:,} of {entry.wanted_files:,} files, {format_bytes(here)} of {format_bytes(entry.wanted_bytes)}"
    if entry.failed_files:
        text += f", {entry.failed_files:,} failed"
    speed = rates.of(entry.empiar_id)
    if not speed:
        return f"{text}, {entry.state}"
    left = max(0, entry.wanted_bytes - entry.failed_bytes - here)
    return f"{text}, {rate(speed)}, {duration(left / speed)} left"


def _stuck(facts: LiveFacts, lines: int) -> Iterator[str]:
    for file in facts.status.stuck[:lines]:
        again = f"; next try {file.next_try}" if file.next_try else ""
        yield f"{file.empiar_id}/{file.path}  {file.state} after {count(file.attempts, 'attempt')}: {file.error}{again}"
    if len(facts.status.stuck) > lines:
        yield "… `empiar-mirror status` names more"


def _feet(facts: LiveFacts, settings: Settings) -> Iterator[str]:
    for task in facts.status.globus:
        yield f"Globus task '{task.label}'  {task.standing(facts.at)}: {task.moved}"
    yield from facts.crawl.lines(settings.crawl)
    if facts.scrub_lag_s:
        yield f"read in full: the longest ago {duration(facts.scrub_lag_s)} (scrub.period: {duration(settings.scrub.period)})"
    for one in facts.status.held_subscriptions:
        yield f"the subscription {one.name} is held since {one.held_at}: {one.reason}"
    yield "q ends"

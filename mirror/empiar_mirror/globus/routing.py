"""Which files of an entry go by Globus, and why (pure).

EMPIAR advises Globus above a few gigabytes. A task costs minutes before its first byte and while it is read back, a
stream costs a connection's low rate for as long as the entry is large; so size decides, then what this mirror has measured itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from empiar_schema.sizes import format_bytes
from empiar_schema.states import Channel

#: From the submission of a task to its first byte, and from its last byte to our record, in seconds.
TASK_OVERHEAD_S: Final = 120.0
#: Small files are bound by their number, whatever the rate: so many a second, as assumed for every channel.
FILES_PER_S: Final = 40.0
#: So many of the latest tasks are looked at; when this many of them failed, the channel rests.
TASKS_JUDGED: Final = 5
TASKS_FAILED: Final = 3
#: A channel of which more than this share of the latest attempts failed is avoided where another one works.
FAILING: Final = 0.5


@dataclass(frozen=True, slots=True)
class Need:
    """What of an entry is missing and may still be given to either way."""

    empiar_id: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Record:
    """What was measured of a channel lately; None where nothing was."""

    bytes_per_s: float | None = None
    #: Share of the latest attempts (of Globus: tasks) that failed, 0 to 1.
    failing: float = 0.0

    def seconds(self, need: Need, channel: Channel) -> float | None:
        """How long it would take; None without a measurement of the rate."""
        if self.bytes_per_s is None:
            return None
        overhead_s = TASK_OVERHEAD_S if channel is Channel.GLOBUS else 0.0
        return overhead_s + max(need.bytes / self.bytes_per_s, need.files / FILES_PER_S)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All that decides a route besides the need."""

    channels: Sequence[Channel]
    from_bytes: int
    records: dict[Channel, Record]
    #: Of the latest `TASKS_JUDGED` tasks, how many failed within the last day.
    tasks_failed: int = 0
    #: Why Globus cannot be used now; None if it can.
    globus_out: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """By which channel, and the sentence that explains it."""

    channel: Channel
    reason: str

    @property
    def by_globus(self) -> bool:
        """Whether the files go to the Globus service."""
        return self.channel is Channel.GLOBUS


def route(need: Need, at: Circumstances) -> Route:
    """How this need should travel. The first rule that applies decides."""
    streams = [channel for channel in at.channels if channel is not Channel.GLOBUS]
    if Channel.GLOBUS not in at.channels:
        return Route(streams[0], "transfer.channels does not name globus")
    if not streams:
        return Route(Channel.GLOBUS, "no other channel is allowed")
    best = streams[0]
    if at.globus_out is not None:
        return Route(best, f"Globus cannot be used: {at.globus_out}")
    size = format_bytes(need.bytes)
    if need.bytes < at.from_bytes:
        return Route(best, f"{size} missing is below globus.from_bytes ({format_bytes(at.from_bytes)})")
    if all(at.records.get(channel, Record()).failing > FAILING for channel in streams):
        return Route(
            Channel.GLOBUS, f"more than half of the latest attempts by {' and '.join(streams)} failed"
        )
    if at.tasks_failed >= TASKS_FAILED:
        return Route(best, f"{at.tasks_failed} of the latest {TASKS_JUDGED} Globus tasks failed")
    return _quicker(need, at, best, size)


def _quicker(need: Need, at: Circumstances, stream: Channel, size: str) -> Route:
    """The way that would take less time, where both were measured; else Globus, since the entry is large."""
    by_stream = at.records.get(stream, Record()).seconds(need, stream)
    by_globus = at.records.get(Channel.GLOBUS, Record()).seconds(need, Channel.GLOBUS)
    if by_stream is not None and by_globus is not None and by_stream < by_globus:
        compared = (
            f"about {_hours(by_stream)} by {stream}, {_hours(by_globus)} by Globus, by what was measured"
        )
        return Route(stream, compared)
    why = f"{size} missing is at least globus.from_bytes ({format_bytes(at.from_bytes)})"
    if by_stream is not None and by_globus is not None:
        why += f"; about {_hours(by_globus)} by Globus, {_hours(by_stream)} by {stream}"
    return Route(Channel.GLOBUS, why)


def _hours(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"

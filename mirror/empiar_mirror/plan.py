"""What a sync would do: bytes to move, room they need, time they take. Pure: facts in, estimate out."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_mirror.globus.routing import Need, Record
from empiar_schema.states import Channel

#: What one connection to EMPIAR was found to give, whatever their number, until this mirror has measured its own.
UNMEASURED_BYTES_PER_S: Final = 1_500_000.0
#: Attempts are pooled over stretches of this length; each stretch is one measurement of the throughput.
WINDOW_S: Final = 600
#: Below this many measured bytes a throughput says more about start-up than about the link.
ENOUGH_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class Moved:
    """One finished attempt: when, and how many bytes came. Times in epoch seconds."""

    started_at: float
    ended_at: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Throughput:
    """Bytes per second that all connections together gave while there was work."""

    #: Median over the stretches measured.
    typical_bytes_per_s: float
    #: Nine of ten stretches were faster.
    slow_bytes_per_s: float
    #: Where it comes from, in words.
    basis: str
    measured: bool


@dataclass(frozen=True, slots=True)
class EntryNeed:
    """What one entry still lacks here."""

    empiar_id: int
    files: int
    bytes: int
    files_here: int
    bytes_here: int
    #: Bytes of files to move that stand in staging already, those that Globus has delivered among them.
    bytes_partial: int
    #: Files to move whose size no listing has told; they are missing from `bytes`.
    files_of_unknown_size: int
    #: Files that were given up, and wait for `repair`; a sync does not try them.
    files_failed: int
    #: What a probe says of the biggest families of its files; none before one was made.
    families: tuple[ProbedFamily, ...] = ()
    #: What of the entry the view takes, in words; None where the whole entry was meant.
    selected: str | None = None
    #: Of the files to move, those that the Globus service has, or that are planned for it.
    files_with_globus: int = 0
    bytes_with_globus: int = 0
    #: Of the files to move, those that Globus has delivered; they wait to be verified.
    files_delivered: int = 0
    #: Files that Globus transferred to storage that is not visible here; a sync does not move them again.
    files_unverified: int = 0
    bytes_unverified: int = 0
    #: Removed to make room; they come again when somebody recalls them.
    files_evicted: int = 0
    bytes_evicted: int = 0

    @property
    def unrouted(self) -> Need:
        """What may still go by either way."""
        return Need(
            self.empiar_id,
            self.files - self.files_with_globus - self.files_delivered,
            max(0, self.bytes - self.bytes_partial - self.bytes_with_globus),
        )


@dataclass(frozen=True, slots=True)
class ProbedFamily:
    """Files of one folder that are taken to be alike, and what the header of one of them says."""

    family: str
    files: int
    bytes: int
    role: str
    format: str | None
    width: int | None
    height: int | None
    frames: int | None
    mode: str | None
    pixel_size_angstrom: float | None
    #: A JSON list of finding codes; None when sound.
    problems: str | None

    def __str__(self) -> str:
        """``300 × data/a_0.mrc (micrograph): mrc, 3838 × 3710, 1 frame, float32, 1.34 Å a pixel``."""
        facts = [self.format or "no known image"]
        if self.width is not None:
            facts.append(f"{self.width} × {self.height}")
            if self.frames is None:
                facts.append("unknown number of frames")
            else:
                facts.append(f"{self.frames:,} {'frame' if self.frames == 1 else 'frames'}")
        if self.mode is not None:
            facts.append(self.mode)
        if self.pixel_size_angstrom is not None:
            facts.append(f"{self.pixel_size_angstrom:g} Å a pixel")
        if self.problems is not None:
            facts.append(self.problems)
        return f"{self.files:,} × {self.family} ({self.role}): {', '.join(facts)}"


@dataclass(frozen=True, slots=True)
class Room:
    """The file system of `root`, in bytes."""

    total: int
    #: What this user may still write.
    free: int
    #: What the mirror may still take by its watermark and quota; never below zero.
    allowed: int


@dataclass(frozen=True, slots=True)
class EntryRoute:
    """By which channel what an entry lacks would go, and why."""

    empiar_id: int
    channel: Channel
    reason: str
    files: int
    bytes: int
    #: About so many Globus tasks; 0 by another channel, or where nothing is left.
    tasks: int = 0


@dataclass(frozen=True, slots=True)
class GlobusShare:
    """What would go by Globus, and what is with it already."""

    files: int
    bytes: int
    #: About so many tasks for what is not with the service yet.
    tasks: int
    #: As measured of this mirror's own tasks; None before one has brought enough to tell.
    throughput: Throughput | None
    #: It goes to storage that is not visible here, and needs no room here.
    elsewhere: bool = False

    @property
    def seconds(self) -> float | None:
        """Time at the typical throughput of all tasks together; None where it was never measured."""
        if not self.files:
            return 0.0
        if self.throughput is None:
            return None
        record = Record(self.throughput.typical_bytes_per_s)
        return record.seconds(Need(0, self.files, self.bytes), Channel.GLOBUS)


@dataclass(frozen=True, slots=True)
class Plan:
    """The dry run's answer."""

    entries: tuple[EntryNeed, ...]
    #: By which what does not go by Globus is fetched; globus only where nothing else is allowed.
    channel: Channel
    #: Of `channel`; None where that is Globus: then `globus` has it.
    throughput: Throughput | None
    room: Room
    #: One for each entry of which something is left to route; none where `transfer.channels` does not name globus.
    routes: tuple[EntryRoute, ...] = ()
    globus: GlobusShare | None = None

    @property
    def files(self) -> int:
        """Files to move."""
        return sum(entry.files for entry in self.entries)

    @property
    def bytes(self) -> int:
        """Bytes to move; what staging holds already is not among them."""
        return sum(entry.bytes - entry.bytes_partial for entry in self.entries)

    @property
    def bytes_streamed(self) -> int:
        """Bytes to move by `channel`, where that is not Globus."""
        return self.bytes if self.globus is None else max(0, self.bytes - self.globus.bytes)

    @property
    def streamed_seconds(self) -> float:
        """Time for `bytes_streamed` at the typical throughput."""
        return 0.0 if self.throughput is None else self.bytes_streamed / self.throughput.typical_bytes_per_s

    @property
    def seconds(self) -> float | None:
        """Time at the typical throughput; channels work side by side. None where some goes by Globus and that was never measured."""
        by_globus = 0.0 if self.globus is None else self.globus.seconds
        return None if by_globus is None else max(by_globus, self.streamed_seconds)

    @property
    def slow_seconds(self) -> float | None:
        """Time if connections stay as slow as in the slowest tenth; None as for `seconds`."""
        by_globus = 0.0 if self.globus is None else self.globus.seconds
        slow = 0.0 if self.throughput is None else self.bytes_streamed / self.throughput.slow_bytes_per_s
        return None if by_globus is None else max(by_globus, slow)

    @property
    def fits(self) -> bool:
        """Whether the disk can take it all; layouts are links and need no room of their own."""
        return self.bytes_needed <= self.room.allowed

    @property
    def bytes_needed(self) -> int:
        """Room that it takes here."""
        return self.bytes_streamed if self.globus is not None and self.globus.elsewhere else self.bytes


def room(*, total: int, free: int, high_watermark: float, quota: int | None, held: int) -> Room:
    """The room that remains below the high watermark of the file system and below the mirror's own quota."""
    below_watermark = free - int(total * (1 - high_watermark))
    below_quota = below_watermark if quota is None else quota - held
    return Room(total, free, max(0, min(below_watermark, below_quota)))


def throughput(attempts: Sequence[Moved], channel: Channel, connections: int) -> Throughput:
    """The throughput to expect of `connections` connections.

    Attempts overlap, so bytes are pooled by stretches of ten minutes and divided by the time in which at
    least one attempt was running; pauses do not count.
    """
    rates = _stretch_rates(attempts)
    if not rates:
        assumed = UNMEASURED_BYTES_PER_S * connections
        basis = f"no measurement yet: 1.5 MB/s for each of {connections} connections"
        return Throughput(assumed, assumed, basis, measured=False)
    slow = rates[0] if len(rates) < 2 else statistics.quantiles(rates, n=10, method="inclusive")[0]
    basis = f"measured over {len(attempts)} recent attempts by {channel}"
    return Throughput(statistics.median(rates), slow, basis, measured=True)


def _stretch_rates(attempts: Iterable[Moved]) -> list[float]:
    stretches: dict[int, list[Moved]] = defaultdict(list)
    for attempt in attempts:
        for piece in _cut(attempt):
            stretches[int(piece.started_at // WINDOW_S)].append(piece)
    rates = []
    for pieces in stretches.values():
        moved = sum(piece.bytes for piece in pieces)
        if moved >= ENOUGH_BYTES:
            rates.append(moved / max(_busy_seconds(pieces), 0.001))
    return sorted(rates)


def _cut(attempt: Moved) -> Iterable[Moved]:
    """The attempt, cut where stretches meet; bytes are spread evenly over its time."""
    seconds = attempt.ended_at - attempt.started_at
    if seconds <= 0 or attempt.bytes <= 0:
        if attempt.bytes > 0:
            # Shorter than the clock's grain: counted as one grain, so that it cannot promise infinity.
            yield Moved(attempt.started_at, attempt.started_at + 1, attempt.bytes)
        return
    start = attempt.started_at
    while start < attempt.ended_at:
        stop = min(attempt.ended_at, (start // WINDOW_S + 1) * WINDOW_S)
        yield Moved(start, stop, round(attempt.bytes * (stop - start) / seconds))
        start = stop


def _busy_seconds(pieces: list[Moved]) -> float:
    busy, until = 0.0, float("-inf")
    for piece in sorted(pieces, key=lambda p: p.started_at):
        busy += max(0.0, piece.ended_at - max(piece.started_at, until))
        until = max(until, piece.ended_at)
    return busy

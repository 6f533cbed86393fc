"""Listeners to events: the log, the progress bars, and several at once."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self, TextIO

import structlog

from empiar_schema import events
from empiar_schema.events import Event, Observer
from empiar_schema.sizes import format_bytes
from empiar_schema.states import Channel

if TYPE_CHECKING:
    from rich.console import Console

_DEBUG: Final = (
    events.AttemptBegan,
    events.StepTaken,
    events.ListingProgressed,
    events.JobStepTaken,
    events.ScrubStepTaken,
    events.EvictionStepTaken,
    events.GlobusTaskProgressed,
)
_WARNING: Final = (
    events.CrawlFailed,
    events.AttemptFailed,
    events.FileGivenUp,
    events.FileDamaged,
    events.DerivedDamaged,
    events.JobFailed,
    events.EntryAbsent,
    events.GlobusOut,
    events.NotifyFailed,
    events.SubscriptionHeld,
    events.EvictionRefused,
    events.SubscriptionLate,
    events.Paused,
    events.WorkLost,
    events.WorkerRefused,
)

#: How often the bars ask the catalogue for the whole, in seconds.
TOTALS_EVERY_S: Final = 1.0


class LogObserver:
    """One line for each event: key=value for people, JSON for machines. `BytesMoved` is never logged."""

    def __init__(self, stream: TextIO, *, json: bool, level: int = logging.INFO) -> None:
        self._level = level
        renderer: structlog.typing.Processor = (
            structlog.processors.JSONRenderer()
            if json
            else structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0)
        )
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                renderer,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
        ).bind()

    def __call__(self, event: Event) -> None:
        """The event stands in the log. A log that cannot be written (closed pipe, full disk) is no reason to stop."""
        # Seven steps a file are for developers: most runs do not want to spell them out and throw them away.
        if isinstance(event, events.BytesMoved) or level_of(event) < self._level:
            return
        with contextlib.suppress(OSError, ValueError):
            self._logger.log(level_of(event), event.name, **facts_of(event))


def level_of(event: Event) -> int:
    """How loud an event is: warnings need a look, debug is for developers."""
    went_wrong = isinstance(event, events.GlobusTaskEnded | events.ConfigurationRead) and event.reason
    if isinstance(event, _WARNING) or went_wrong:
        return logging.WARNING
    if isinstance(event, events.ConnectionsAllowed) and event.reason is None:
        return logging.DEBUG
    return logging.DEBUG if isinstance(event, _DEBUG) else logging.INFO


def facts_of(event: Event) -> dict[str, str | int | float | bool | list[str] | None]:
    """The event's fields as plain values."""
    facts: dict[str, str | int | float | bool | list[str] | None] = {}
    for field in fields(event):
        value = getattr(event, field.name)
        if isinstance(value, tuple):
            facts[field.name] = [str(item) for item in value]
        elif value is None or isinstance(value, bool | int | float) or type(value) is str:
            facts[field.name] = value
        else:
            facts[field.name] = str(value)
    return facts


@dataclass(frozen=True, slots=True)
class Totals:
    """The whole of what is wanted and what of it is here, by the catalogue."""

    wanted_files: int
    wanted_bytes: int
    here_files: int
    here_bytes: int
    #: What Globus has moved and that has not arrived; None where nobody asked.
    globus_bytes: int | None = None


class _GlobusMoved:
    """Bytes that Globus has moved and that have not arrived: as the ledger had them last, less what has arrived since.

    A file that it delivered is among them until it has arrived; what is read of it meanwhile moves nothing.
    """

    def __init__(self) -> None:
        self._due = True
        self._moved = 0
        self._arrived_since = 0
        self._reading: set[int] = set()

    def told(self, moved: int) -> None:
        """The ledger has just said so many."""
        self._moved, self._arrived_since, self._due = moved, 0, False

    @property
    def due(self) -> bool:
        """Whether the ledger may say something else by now. While files are read, arrivals can stand there that nobody has told of."""
        return self._due or bool(self._reading)

    @property
    def waiting(self) -> int:
        """How many bytes. Below zero for a moment where arrivals are told that the ledger had counted before."""
        return self._moved - self._arrived_since

    def heard(self, event: Event) -> bool:
        """Takes one event; returns whether it tells of files that Globus brings."""
        match event:
            case (
                events.GlobusTaskSubmitted()
                | events.GlobusTaskProgressed()
                | events.GlobusTaskEnded()
                | events.GlobusOut()
            ):
                self._due = True
                return True
            case events.AttemptBegan():
                if event.channel is not Channel.GLOBUS:
                    return False
                self._reading.add(event.file_id)
                return True
            case events.BytesMoved():
                return event.file_id in self._reading
            case events.AttemptFailed():
                if event.channel is Channel.GLOBUS:
                    self._reading.discard(event.file_id)
                    self._due = True
            case events.FileArrived():
                self._reading.discard(event.file_id)
                if event.channel is Channel.GLOBUS:
                    self._arrived_since += event.size_bytes
                    self._due = True
            case events.FileGivenUp():
                self._reading.discard(event.file_id)
        return False


class ProgressObserver:
    """Bars on a terminal: the crawl, and the transfer with bytes, rate and time left.

    Use it as a context manager; the bars disappear from the screen's last lines at the end. The log's
    lines go through `console`, above the bars.
    """

    def __init__(
        self,
        console: Console,
        *,
        totals: Callable[[bool], Totals | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`totals` gives what the catalogue says, if asked with true what Globus has moved, too; None while it cannot be read."""
        from rich import progress
        from rich.table import Column

        whole_line = Column(no_wrap=True, overflow="ellipsis")
        self._bars = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=16),
            progress.TextColumn("{task.fields[amount]}", markup=False, table_column=whole_line),
            console=console,
            transient=True,
        )
        self._totals = totals
        self._clock = clock
        self._asked_at = float("-inf")
        self._whole: Totals | None = None
        self._in_flight: dict[int, int] = {}
        self._globus_moved = _GlobusMoved()
        self._arrived_files = 0
        self._arrived_bytes = 0
        self._given_up = 0
        self._crawled = 0
        self._listed = 0
        self._crawl = self._bars.add_task("crawl", total=None, visible=False, amount="")
        self._transfer = self._bars.add_task("transfer", total=None, visible=False, amount="")
        self._making = self._bars.add_task("make", total=None, visible=False, amount="")
        self._jobs_wanted = self._jobs_made = self._jobs_failed = 0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """The bars show the state after the event."""
        if isinstance(event, events.EntryCrawled | events.ListingReplaced | events.ListingProgressed):
            self._crawl_went_on(event)
        elif isinstance(event, events.JobsWanted | events.JobMade | events.JobFailed):
            self._making_went_on(event)
        else:
            self._transfer_went_on(event)

    def _crawl_went_on(
        self, event: events.EntryCrawled | events.ListingReplaced | events.ListingProgressed
    ) -> None:
        if isinstance(event, events.EntryCrawled):
            self._crawled += 1
        elif isinstance(event, events.ListingReplaced):
            self._listed += event.files
        now = (
            f", reading {event.empiar_id}: {event.files:,}"
            if isinstance(event, events.ListingProgressed)
            else ""
        )
        amount = f"{self._crawled:,} entries, {self._listed:,} files listed{now}"
        self._bars.update(self._crawl, visible=True, amount=amount)

    def _making_went_on(self, event: events.JobsWanted | events.JobMade | events.JobFailed) -> None:
        match event:
            case events.JobsWanted():
                self._jobs_wanted += event.jobs
            case events.JobMade():
                self._jobs_made += 1
            case events.JobFailed():
                self._jobs_failed += 1
        failed = f", {self._jobs_failed:,} failed" if self._jobs_failed else ""
        done = self._jobs_made + self._jobs_failed
        # More than was newly wanted is done where an earlier run was stopped.
        total = max(self._jobs_wanted, done)
        amount = f"{self._jobs_made:,} of {total:,} made{failed}"
        self._bars.update(self._transfer, visible=False)
        self._bars.update(self._making, visible=True, completed=done, total=total, amount=amount)

    def _transfer_went_on(self, event: Event) -> None:
        by_globus = self._globus_moved.heard(event)
        match event:
            case events.AttemptBegan() if not by_globus:
                self._in_flight[event.file_id] = event.start_bytes
            case events.BytesMoved() if not by_globus:
                self._in_flight[event.file_id] = self._in_flight.get(event.file_id, 0) + event.count
            case events.AttemptFailed():
                self._in_flight.pop(event.file_id, None)
            case events.FileArrived():
                self._in_flight.pop(event.file_id, None)
                self._arrived_files += 1
                self._arrived_bytes += event.size_bytes
            case events.FileGivenUp():
                self._in_flight.pop(event.file_id, None)
                self._given_up += 1
            case _ if not by_globus:
                return
        self._show_transfer()

    def _show_transfer(self) -> None:
        self._ask_totals()
        whole = self._whole
        here_bytes = self._arrived_bytes + (whole.here_bytes if whole else 0)
        files = self._arrived_files + (whole.here_files if whole else 0)
        by_globus = self._globus_moved.waiting
        done = here_bytes + sum(self._in_flight.values()) + by_globus
        amount = (
            f"{files:,}" + (f" of {whole.wanted_files:,}" if whole else "") + f" files, {format_bytes(done)}"
        )
        if whole:
            done = min(done, whole.wanted_bytes)
            amount += f" of {format_bytes(whole.wanted_bytes)}"
        if by_globus > 0:
            amount += f" ({format_bytes(by_globus)} of it by Globus and not verified yet)"
        if self._given_up:
            amount += f", {self._given_up:,} given up"
        task = self._bars.tasks[self._transfer]
        if task.speed:
            amount += f", {format_bytes(task.speed)}/s"
        if task.time_remaining is not None:
            amount += f", {timedelta(seconds=round(task.time_remaining))} left"
        total = whole.wanted_bytes if whole else None
        self._bars.update(self._crawl, visible=False)
        self._bars.update(self._transfer, visible=True, completed=done, total=total, amount=amount)

    def _ask_totals(self) -> None:
        now = self._clock()
        if self._totals is None or now - self._asked_at < TOTALS_EVERY_S:
            return
        self._asked_at = now
        # The catalogue counts everything that has arrived so far, so our own count begins again from there.
        latest = self._totals(self._globus_moved.due)
        if latest is not None:
            self._whole, self._arrived_files, self._arrived_bytes = latest, 0, 0
            if latest.globus_bytes is not None:
                self._globus_moved.told(latest.globus_bytes)


def all_of(observers: Sequence[Observer]) -> Observer:
    """One observer that tells several."""

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    return tell


def log_level(name: str) -> int:
    """``debug``, ``info``, ``warning`` or ``error`` as a number."""
    return logging.getLevelNamesMapping()[name.upper()]

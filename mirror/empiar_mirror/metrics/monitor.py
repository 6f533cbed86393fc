"""Reads catalogue and disk again and again while the mirror works, and judges whether it is alive and ready.

Whoever asks over HTTP gets what was read last, so that no number of requests costs the mirror anything.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from empiar_mirror.instance_lock import holder
from empiar_mirror.metrics.figures import Figures, read_figures, read_slow_figures
from empiar_mirror.pacing import pause_of, rested_at
from empiar_mirror.progress import brings_bytes
from empiar_mirror.reading import reading
from empiar_mirror.status import SILENT_S, Health, Status, judge_health, read_status
from empiar_schema.events import Event
from empiar_schema.faults import EmpiarMirrorError
from empiar_schema.settings import Settings

if TYPE_CHECKING:
    from empiar_mirror.metrics.instruments import Instruments

#: Catalogue and disk are read so often at most, and what costs a look at every file so often, in seconds.
READ_EVERY_S: Final = 15.0
SLOW_EVERY_S: Final = 900.0
#: Reading rests so many times as long as it took, so that it costs about 1 % of a core, but not longer than this.
REST: Final = 100.0
LONGEST_REST_S: Final = 120.0
#: The same of what costs a look at every file: 10 s of work at 20 million files, and so at most 0.25 % of a core.
SLOW_REST: Final = 400.0
#: When the next look is so much overdue, the last one says nothing any more.
OVERDUE_S: Final = 300.0
#: How many of SQLite's steps pass between two looks whether a long query is still wanted (some milliseconds).
_STEPS_A_LOOK: Final = 100_000


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at catalogue and disk has shown. `at` is epoch seconds."""

    at: float
    health: Health
    #: Why the mirror cannot work, one sentence each; none means that it is ready.
    unready: tuple[str, ...]
    status: Status | None = None
    figures: Figures | None = None
    #: Why the disk takes nothing more, though there is more to come; None where it does.
    disk_refusal: str | None = None


class Monitor:
    """Keeps a `Look` current. It is an observer, too: bytes count as progress before the catalogue has them."""

    def __init__(
        self,
        settings: Settings,
        instruments: Instruments,
        *,
        looked: Callable[[Look], None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`looked` is told of every look, in the event loop; it must be quick and must not raise."""
        #: In force from the next look on; whoever reloads the configuration replaces it.
        self.settings = settings
        self._instruments = instruments
        self._looked = looked
        self._clock = clock
        self._monotonic = monotonic
        self._look: Look | None = None
        self._began_at = monotonic()
        self._next_due = self._began_at
        self._bytes_at: float | None = None

    def __call__(self, event: Event) -> None:
        """Bytes that have come count as progress."""
        if brings_bytes(event):
            self._bytes_at = self._monotonic()

    @property
    def look(self) -> Look:
        """The latest look; one that says so where there is none, or none for too long."""
        overdue_s = self._monotonic() - self._next_due
        if overdue_s > OVERDUE_S:
            sentence = (
                f"catalogue and disk do not answer: a look at them is {overdue_s / 60:.0f} minutes overdue"
            )
            return Look(self._clock(), Health((sentence,)), (sentence,))
        if self._look is None:
            # Not yet looked is no standstill: the process has just begun.
            return Look(self._clock(), Health(), ("the mirror is starting",))
        return self._look

    async def run(self) -> None:
        """Looks until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_on())
            group.create_task(self._look_at_files())

    async def _look_on(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(max(0.0, self._next_due - self._monotonic()))

    async def _look_at_files(self) -> None:
        while True:
            rest_s = await self.refresh_slow()
            await asyncio.sleep(rest_s)

    async def refresh(self) -> Look:
        """Catalogue and disk were read now, and metrics, health and readiness say what they show."""
        began = self._monotonic()
        look = await asyncio.to_thread(self._read)
        took_s = self._monotonic() - began
        self._next_due = self._monotonic() + min(LONGEST_REST_S, max(READ_EVERY_S, REST * took_s))
        self._look = look
        self._instruments.show_health(look.health)
        if self._looked is not None:
            self._looked(look)
        return look

    async def refresh_slow(self) -> float:
        """The metrics say what a look at every file shows. Returns when to look again, in seconds from now."""
        began = self._monotonic()
        given_up = threading.Event()
        try:
            await asyncio.to_thread(self._read_slow, given_up)
        finally:
            # Where this was cancelled, the thread ends soon: the end of the process would wait for it.
            given_up.set()
        return max(SLOW_EVERY_S, SLOW_REST * (self._monotonic() - began))

    def _read(self) -> Look:
        settings, now = self.settings, self._clock()
        unready = _refusals(settings)
        try:
            with reading(settings.root) as connection:
                figures = read_figures(connection, settings, now=now)
                worker = holder(settings.root)
                rest = pause_of(settings, now)
                status = read_status(
                    connection,
                    None,
                    now=now,
                    worker=worker,
                    globus=settings.globus,
                    rests=rest.sentence(now) if rest is not None else None,
                )
        except EmpiarMirrorError as fault:
            return Look(now, Health(attention=(str(fault),)), tuple(dict.fromkeys((*unready, str(fault)))))
        self._instruments.show(figures, settings, now=now)
        full = (
            "the watermark or the quota is reached"
            if status.bytes_left and not figures.room.allowed
            else None
        )
        health = judge_health(
            status,
            now=now,
            disk_refusal=full,
            stall_s=settings.globus.stall,
            progressed_at=max(self._since_when(), rested_at(settings, now, within_s=SILENT_S) or 0.0),
        )
        return Look(now, health, unready, status, figures, full)

    def _read_slow(self, given_up: threading.Event) -> None:
        # A catalogue that cannot be read is what `_read` tells.
        with suppress(EmpiarMirrorError), reading(self.settings.root) as connection:
            connection.set_progress_handler(given_up.is_set, _STEPS_A_LOOK)
            self._instruments.show_slow(read_slow_figures(connection, now=self._clock()))

    def _since_when(self) -> float:
        """When bytes last came, or the process began: a restart after a pause has its half hour, too."""
        # Kept by the timer: a clock that was set back must not excuse a standstill until it has caught up.
        return self._clock() - (self._monotonic() - max(self._began_at, self._bytes_at or self._began_at))


def _refusals(settings: Settings) -> tuple[str, ...]:
    """Why `root` cannot be worked in: it is not there, or its disk takes nothing."""
    root = settings.root
    if not root.is_dir():
        return (f"{root} is not there: is its disk mounted?",)
    folder = root / "staging" if (root / "staging").is_dir() else root
    try:
        # Without a name where the file system can do that: nothing is left behind by a kill.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
            file.flush()
    except OSError as error:
        return (f"{folder} cannot be written: {error.strerror or os.strerror(error.errno or 0)}",)
    return ()

"""The mirror as a service: crawls, fetches what is wanted, lays it out, and goes on through everything that passes by itself.

Each of the loops below may fail and rest without the others; what only a person or a new start can put right ends them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from empiar_mirror import asking
from empiar_mirror.app import Mirror
from empiar_mirror.eviction.automatic import RoomMaker
from empiar_mirror.order_facts import Reach, next_due, read_order
from empiar_mirror.pace import (
    ARRANGE_EVERY_S,
    between_crawls_s,
    listed_since,
    quiet_for_s,
    rest_s,
    should_arrange,
    until_crawl_s,
    until_due_s,
    until_own_time_s,
    until_scrub_s,
)
from empiar_mirror.pacing import begun_anew
from empiar_mirror.plan_facts import bytes_held
from empiar_mirror.root_guard import RootGuard
from empiar_mirror.space import Space
from empiar_mirror.stopping import Stopping
from empiar_mirror.subscriptions.declaring import declared
from empiar_schema import globus_store, queue_store, transfer_store
from empiar_schema.events import ConfigurationRead, DerivedDamaged, Event, FileArrived, Paused
from empiar_schema.faults import (
    AccountFault,
    CatalogueFault,
    ClusterFault,
    ConfigFault,
    EmpiarMirrorError,
    StorageFault,
    TransferFault,
    UnreachableFault,
)
from empiar_schema.settings import Settings
from empiar_schema.subscription_store import declare_subscriptions
from empiar_schema.sweep_store import mirror_seed

T = TypeVar("T")

#: So often a loop that has nothing to do looks whether it has, though nobody told it.
LOOK_S: Final = 60.0
#: So often it is looked whether another process has made something wanted.
WISH_S: Final = 2.0
#: So often it is looked whether a file's proof has grown old.
SCRUB_S: Final = 600.0
#: So often a full disk, or a root that is away, is looked at.
LOOK_AT_DISK_S: Final = 15.0
#: Keys of ``[daemon]`` that a running service does not take up.
NEED_A_START: Final = ("listen",)


@dataclass(slots=True)
class Daemon:
    """One run of the service. It ends when it is stopped, or with what it cannot get over."""

    mirror: Mirror
    #: Reads the configuration anew.
    read_settings: Callable[[], Settings]
    look_s: float = LOOK_S
    look_at_disk_s: float = LOOK_AT_DISK_S
    scrub_s: float = SCRUB_S
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    #: Something may be wanted that was not.
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    #: Something of these entries has arrived since they were last arranged.
    _touched: set[int] = field(default_factory=set)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _arranged_at: dict[int, float] = field(default_factory=dict)
    #: Of the transfer that is running, so that it alone can be ended.
    _transfer: Stopping | None = None
    _guard: RootGuard | None = None
    #: Nothing is evicted while derived files are made of what is here.
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)
    _room: RoomMaker | None = None
    #: The transfer under way has brought something.
    _brought: bool = False
    #: The configuration was read anew: its subscriptions are not in force yet.
    _declared: bool = False

    async def run(self) -> None:
        """The service runs until `stop`; what is under way then is kept.

        Raises:
            CatalogueFault: the catalogue refused; a new start may help, and puts in order what this one left.
        """
        self._guard = RootGuard.of(self.mirror.settings.root)
        with self.mirror.stopping.telling(self._stopped.set):
            async with asyncio.TaskGroup() as loops:
                every = (self._crawling, self._transferring, self._arranging, self._scrubbing)
                work = [loops.create_task(loop()) for loop in every]
                await self._stopped.wait()
                if self._transfer is not None:
                    self._transfer.stop()
                # A transfer ends by itself, and soon; what only waits is woken.
                work[0].cancel()
                self._wanted.set()
                self._arrived.set()

    def stop(self) -> None:
        """Everything ends soon, and partial work is kept. For signal handlers of the loop."""
        self._stopped.set()
        self.mirror.stop()

    def reload(self) -> None:
        """The configuration file is in force as it stands now, or, if it is wrong, as it was. For signal handlers of the loop.

        Limits change while streams run; what is built into channels begins the transfer anew, partials kept. Another `root`
        needs another start, and so do keys of `NEED_A_START`, which the log names.
        """
        try:
            settings = self.read_settings()
            if settings.root != self.mirror.settings.root:
                raise ConfigFault(
                    "root cannot change while the service runs", hint="stop it, and start it again"
                )
        except ConfigFault as fault:
            self.mirror.observer(ConfigurationRead(False, f"{fault} ({fault.hint})"))
            return
        before, self.mirror.settings = self.mirror.settings, settings
        self.mirror.pacing.apply(settings)
        self.mirror.observer(ConfigurationRead(True, _needs_a_start(before, settings)))
        self._declared = True
        if self._transfer is not None and begun_anew(before, settings):
            self._transfer.stop()  # begun again with the new channels; partials are kept
        self._wanted.set()

    def observe(self, event: Event) -> None:
        """Hears what arrives, and what has to be made again. To be among the mirror's observers."""
        if isinstance(event, FileArrived):
            self._brought = True
            self._touched.add(int(event.path.partition("/")[0]))
            self._arrived.set()
        elif isinstance(event, DerivedDamaged):
            self._touched.add(event.empiar_id)
            self._arrived.set()

    # --- crawl ----------------------------------------------------------------------------------------

    async def _crawling(self) -> None:
        seed = await self._asked(mirror_seed)
        due = self.mirror.clock()
        while not self._stopped.is_set():
            # Looked at again and again: the configuration may be read anew, and clocks are set.
            now, interval_s = self.mirror.clock(), self.mirror.settings.crawl.interval
            if quiet_s := self._quiet_for_s():
                over = now + quiet_s
                # Otherwise all mirrors of a time zone would begin in the minute in which quiet hours end.
                due = max(due, over + until_own_time_s(over, interval_s=interval_s, seed=seed))
            else:
                due = min(due, now + 1.5 * between_crawls_s(interval_s))
            if due > now:
                await self._sleep(min(due - now, self.look_s))
                continue
            await self._through(self._crawl)
            now = self.mirror.clock()
            due = now + until_crawl_s(now, interval_s=interval_s, seed=seed)

    def _quiet_for_s(self) -> float:
        return quiet_for_s(self.mirror.clock(), self.mirror.settings.crawl.quiet_hours)

    async def _crawl(self) -> None:
        if self._quiet_for_s():
            return  # they have begun since it failed
        begun, timer = self.mirror.clock(), time.monotonic()
        every_s = between_crawls_s(self.mirror.settings.crawl.interval)
        await self.mirror.crawl(None, every_s=every_s, may_go_on=lambda: not self._quiet_for_s())
        since = listed_since(begun, now=self.mirror.clock(), took_s=time.monotonic() - timer)
        await self.mirror.catalogue.write(
            functools.partial(_ask_for_news, settings=self.mirror.settings, since=since)
        )
        self._wanted.set()
        # Last, so that nothing waits for it: the first time there are thousands of maps to ask for.
        await self.mirror.crawl_emdb(None, may_go_on=lambda: not self._quiet_for_s())
        self._wanted.set()

    # --- transfer -------------------------------------------------------------------------------------

    async def _transferring(self) -> None:
        while not self._stopped.is_set():
            self._wanted.clear()
            if self._declared:
                self._declared = False
                await self._through(self._take_over_subscriptions)
            due = await self._asked(
                functools.partial(_next_transfer, settings=self.mirror.settings, now=self.mirror.clock())
            )
            longest_s = transfer_store.LONGEST_WAIT_S
            wait_s = until_due_s(due, now=self.mirror.clock(), look_s=self.look_s, longest_s=longest_s)
            if wait_s > 0:
                await self._until_wanted(max(0.05, wait_s))
                continue
            begun, self._brought = self.mirror.clock(), False
            await self._through(self._run_transfer)
            if not self._brought and self.mirror.clock() - begun < self.look_s:
                # Something is due, and yet nothing could be done about it: not again at once.
                await self._until_wanted(self.look_s / 10)

    async def _until_wanted(self, seconds: float) -> None:
        """Something may be wanted by somebody here, or by another process; or the time has passed."""
        known = await self._asked(queue_store.revision)
        ends = self.mirror.clock() + seconds
        while not (self._wanted.is_set() or self._stopped.is_set()):
            left = ends - self.mirror.clock()
            if left <= 0 or await self._asked(queue_store.revision) != known:
                return
            await self._wait(self._wanted, min(WISH_S, left))

    async def _take_over_subscriptions(self) -> None:
        """The subscriptions of the configuration are in force as they stand there now; those that changed are evaluated."""
        job = functools.partial(
            declare_subscriptions, declared=declared(self.mirror.settings), now=int(self.mirror.clock())
        )
        if changed := await self.mirror.catalogue.write(job):
            await self.mirror.evaluate_subscriptions(changed)

    async def _run_transfer(self) -> None:
        self._transfer = Stopping()
        try:
            await self.mirror.transfer_all(self._transfer)
        finally:
            self._transfer = None
            self._arrived.set()

    # --- layouts --------------------------------------------------------------------------------------

    async def _arranging(self) -> None:
        # A kill may have come between an arrival and what follows it.
        self._touched.update(await self._asked(_lately_touched))
        self._arrived.set()
        while not self._stopped.is_set():
            await self._wait(self._arrived, self.look_s)
            self._arrived.clear()
            for empiar_id in sorted(self._touched):
                if self._stopped.is_set():
                    return
                left, _ = await self._asked(
                    functools.partial(transfer_store.unfinished, empiar_ids=[empiar_id])
                )
                now = self.mirror.clock()
                if should_arrange(left=left, arranged_at=self._arranged_at.get(empiar_id), now=now):
                    self._touched.discard(empiar_id)
                    self._arranged_at[empiar_id] = now
                    await self._through(functools.partial(self._finish, empiar_id))

    async def _finish(self, empiar_id: int) -> None:
        async with self._making:
            await self.mirror.finish([empiar_id])

    # --- scrub ----------------------------------------------------------------------------------------

    async def _scrubbing(self) -> None:
        while not self._stopped.is_set():
            await self._through(self._scrub)
            self._wanted.set()  # what was damaged is wanted again
            await self._sleep(until_scrub_s(self.mirror.settings.scrub.period, at_most_s=self.scrub_s))

    async def _scrub(self) -> None:
        settings = self.mirror.settings
        scrubber = self.mirror.scrubber(settings.scrub)
        try:
            await scrubber.run(lambda: self._stopped.is_set() or self.mirror.settings is not settings)
        finally:
            scrubber.close()

    # --- rests ----------------------------------------------------------------------------------------

    async def _through(self, work: Callable[[], Awaitable[object]]) -> None:
        """`work` is done, or has been tried until it could be, or the service is stopped.

        Raises:
            CatalogueFault: the catalogue refused.
        """
        failures = 0
        while not self._stopped.is_set():
            await self._until_root_is_there()
            try:
                await work()
            except StorageFault as fault:
                failures += 1
                await self._until_disk_allows(fault, failures)
            except CatalogueFault:
                if not await self._root_is_away():
                    raise
            except (AccountFault, ClusterFault, ConfigFault, TransferFault, UnreachableFault) as fault:
                failures += 1
                wait_s = rest_s(failures)
                self._pause(fault, f"it is tried again in {wait_s:.0f} s")
                await self._sleep(wait_s)
            else:
                return

    async def _asked(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What the catalogue answers, once it is there."""
        while True:
            await self._until_root_is_there()
            try:
                return await self.mirror.catalogue.read(query)
            except CatalogueFault:
                if self._stopped.is_set() or not await self._root_is_away():
                    raise

    async def _root_is_away(self) -> bool:
        assert self._guard is not None
        return await asyncio.to_thread(self._guard.missing) is not None

    async def _until_root_is_there(self) -> None:
        assert self._guard is not None
        told = False
        while (missing := await asyncio.to_thread(self._guard.missing)) and not self._stopped.is_set():
            if not told:
                self.mirror.observer(Paused(missing, "it is there again"))
                told = True
            await self._sleep(self.look_at_disk_s)

    async def _until_disk_allows(self, fault: StorageFault, failures: int) -> None:
        if not fault.full:
            wait_s = rest_s(failures)
            self._pause(fault, f"it is tried again in {wait_s:.0f} s")
            await self._sleep(wait_s)
            return
        self._pause(fault, "the file system is below disk.low_watermark and the mirror below its quota")
        while not self._stopped.is_set():
            await self._make_room()
            await self._sleep(self.look_at_disk_s)
            held = await self._asked(bytes_held)
            space = Space(self.mirror.folders.staging, self.mirror.settings.disk, held_bytes=held)
            if space.below_low_watermark and space.refusal(0) is None:
                return

    async def _make_room(self) -> None:
        """What the configuration allows to be evicted by itself is, as far as it must."""
        self._room = self._room or RoomMaker(self.mirror)
        async with self._making:
            try:
                await self._room.make_room(self._stopped.is_set)
            except StorageFault as fault:
                self._pause(fault, "the disk is looked at again")
            except CatalogueFault:
                if not await self._root_is_away():
                    raise

    def _pause(self, fault: EmpiarMirrorError, until: str) -> None:
        hint = f" ({fault.hint})" if fault.hint else ""
        self.mirror.observer(Paused(f"{fault}{hint}", until))

    async def _sleep(self, seconds: float) -> None:
        await self._wait(self._stopped, seconds)

    @staticmethod
    async def _wait(event: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


def _needs_a_start(before: Settings, after: Settings) -> str | None:
    """What has changed in the file and is not in force before another start; None where nothing is."""
    changed = [key for key in NEED_A_START if getattr(before.daemon, key) != getattr(after.daemon, key)]
    if not changed:
        return None
    return f"daemon.{' and daemon.'.join(changed)} takes effect when the service is started again"


def _next_transfer(conn: sqlite3.Connection, *, settings: Settings, now: float) -> int | None:
    """When there is something to transfer, or to follow, at the earliest; what is paused or at a quota does not count."""
    if globus_store.open_bundles(conn):
        return 0
    reach = Reach()
    order, _ = read_order(conn, reach, settings.order, now=now)
    return next_due(conn, order, reach, now=now)


def _lately_touched(conn: sqlite3.Connection) -> list[int]:
    """Entries of files that were attempted in the last hours in which anything was."""
    rows = conn.execute(
        "SELECT DISTINCT c.empiar_id FROM attempt t JOIN copy c ON c.file_id = t.file_id"
        " WHERE t.ended_at >= (SELECT max(ended_at) FROM attempt) - ?",
        (2 * ARRANGE_EVERY_S,),
    )
    return [row[0] for row in rows]


def _ask_for_news(conn: sqlite3.Connection, *, settings: Settings, since: int) -> None:
    """Files that are listed since then, of entries that were asked for, are wanted, as far as those were."""
    rows = conn.execute(
        "SELECT DISTINCT l.empiar_id FROM listing l JOIN copy_progress p ON p.empiar_id = l.empiar_id"
        " WHERE l.completed_at >= ? AND p.files > 0",
        (since,),
    ).fetchall()
    for (empiar_id,) in rows:
        asking.ask_as_before(conn, empiar_id, settings=settings, now=since)

"""The Globus channel at work: plans bundles, submits them as the account has places, follows them, and gives files back where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from empiar_mirror import limits
from empiar_mirror.globus import leftovers, planning, tasks
from empiar_mirror.globus.places import Places
from empiar_mirror.globus.rules import places_free
from empiar_mirror.globus.tasks import Desk
from empiar_mirror.space import Space
from empiar_mirror.staging import delivery_folder
from empiar_schema import events, globus_endings, globus_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.disk import make_folder, standing, storage_fault
from empiar_schema.events import Observer
from empiar_schema.faults import (
    AccountFault,
    BadAnswer,
    ConfigFault,
    EmpiarMirrorError,
    PermanentFault,
    StorageFault,
    TransientFault,
    UnreachableFault,
)
from empiar_schema.globus_bundles import Bundle
from empiar_schema.globus_states import BundleState
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from empiar_wire.backoff import backoff_s
from empiar_wire.globus_facts import GlobusService
from empiar_wire.globus_paths import find_archive_base

T = TypeVar("T")

#: So often the service is asked at the beginning before other channels are let at its files; without any, until `globus.stall`.
_FIRST_TRIES: Final = 3
#: Between two tries to reach the service that names no time itself.
_LONGEST_REST_S: Final = 300.0


class TaskKeeper:
    """The Globus channel for one run of the engine (`empiar_mirror.engine.ManagedChannel`).

    The ledger in the catalogue says at every moment what the service may be working on, so that any process can go on from there:
    bundles are committed before they are submitted, and ended when what became of every file is.
    """

    def __init__(
        self,
        service: GlobusService,
        settings: Settings,
        *,
        catalogue: Catalogue,
        staging: Path,
        space: Space,
        channels: Sequence[Channel],
        plans: bool,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        """With `plans` false, nothing new goes by Globus; what the service has is followed to its end."""
        self._service = service
        self._settings = settings
        self._catalogue = catalogue
        self._staging = staging
        self._space = space
        self._channels = channels
        self._alone = all(channel is Channel.GLOBUS for channel in channels)
        self._plans = plans
        self._observer = observer
        self._clock = clock
        self._planned = asyncio.Event()
        #: Something that only we can bring waits: the next round need not.
        self._hurry = asyncio.Event()
        self._out = False
        self._resting = False
        self._ids: Sequence[int] | None = None
        self._least_priority = transfer_store.ANY_PRIORITY
        #: Failures to reach the service in a row, and when they began, by the loop's clock.
        self._failures = 0
        self._failing_since: float | None = None
        self._told_full: str | None = None

    @property
    def out(self) -> bool:
        """See `ManagedChannel`."""
        return self._out

    async def settled(self) -> bool:
        """See `ManagedChannel`."""
        if self._out:
            return True
        under_way, left = await self._catalogue.read(self._waits)
        if left and not self._resting:
            self._hurry.set()
        return not (under_way or left)

    def _waits(self, conn: sqlite3.Connection) -> tuple[bool, bool]:
        """Whether something is with the service, and whether something waits that only we can bring, or give up."""
        busy = globus_store.entries_under_way(conn)
        under_way = bool(busy if self._ids is None else busy & set(self._ids))
        # A task that has brought everything ends within moments, and is then off the books, if the service can be asked.
        under_way |= self._failures == 0 and bool(globus_store.spent_bundles(conn))
        if not self._alone:
            return under_way, False
        waiting = transfer_store.waiting_entries(
            conn, empiar_ids=self._ids, least_priority=self._least_priority
        )
        found = (
            globus_store.candidates(
                conn, i, least_priority=self._least_priority, now=int(self._clock()), begun_too=True
            )
            for i in waiting
        )
        return under_way, any(next(iter(of_entry), None) is not None for of_entry in found)

    async def planned(self) -> None:
        """See `ManagedChannel`."""
        await self._planned.wait()

    async def run(
        self, empiar_ids: Sequence[int] | None, *, least_priority: int, changed: Callable[[], None]
    ) -> None:
        """See `ManagedChannel`."""
        self._ids, self._least_priority = empiar_ids, least_priority
        desk: Desk | None = None
        try:
            while True:
                # The service's pace is its own, so in hours in which nothing may come it is given nothing new.
                self._resting = limits.in_force(
                    self._settings.transfer, limits.EVERYTHING, self._clock()
                ).paused
                needs = await self._needs() if self._plans and not self._resting else []
                if desk is None and (needs or bool(await self._catalogue.read(globus_store.open_bundles))):
                    # Not before: nobody who only fetches small entries should wait for Globus, or hear of it.
                    desk = await self._patiently(self._begin)
                    await self._patiently(functools.partial(self._clear_away, desk))
                if desk is not None:
                    await planning.plan(desk, needs, least_priority=least_priority)
                    self._planned.set()
                    await self._patiently(functools.partial(self._round, desk))
                self._planned.set()
                changed()  # whoever waits for the end looks again
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.globus.poll):
                        await self._hurry.wait()
                self._hurry.clear()
        except (AccountFault, ConfigFault, PermanentFault, UnreachableFault, BadAnswer) as fault:
            await self._give_up(fault, changed)
        finally:
            self._planned.set()

    async def _needs(self) -> list[planning.RoutedNeed]:
        return await self._catalogue.read(
            functools.partial(
                planning.needs_by_globus,
                empiar_ids=self._ids,
                settings=self._settings,
                channels=self._channels,
                least_priority=self._least_priority,
                now=self._clock(),
            )
        )

    # --- the beginning --------------------------------------------------------------------------------

    async def _begin(self) -> Desk:
        """The account works, the archive's tree is found, and what the service writes will be seen here."""
        archive, own = self._settings.archive, self._settings.globus
        if not own.collection:
            raise AccountFault(
                "Globus has nowhere to bring files: globus.collection is not set",
                hint="set globus.collection and globus.path; docs/globus.md says how to find them",
            )
        base = await self._catalogue.read(
            functools.partial(globus_store.archive_base, collection=archive.globus_collection)
        )
        found = await find_archive_base(self._service, archive.globus_collection, base or archive.globus_path)
        if found != base:
            await self._catalogue.write(
                functools.partial(
                    globus_store.remember_archive_base,
                    collection=archive.globus_collection,
                    path=found,
                    now=int(self._clock()),
                )
            )
        places = Places(archive.globus_collection, found, own.collection, own.path)
        await self._prepare_destination(places)
        return Desk(
            catalogue=self._catalogue,
            service=self._service,
            settings=own,
            places=places,
            staging=self._staging,
            space=self._space,
            alone=self._alone,
            observer=self._observer,
            clock=self._clock,
        )

    async def _prepare_destination(self, places: Places) -> None:
        """The folder for deliveries is there, made by the service, which shows that it may write and where that is."""
        collection = places.destination_collection
        folder = delivery_folder(self._staging)
        visible = self._settings.globus.storage == "here"
        if visible:
            await asyncio.to_thread(_remove_empty, folder)
        # From the root downwards: the service makes one folder at a time, and one that is there is no fault.
        for path in (places.deliveries.rpartition("/")[0], places.deliveries):
            await self._service.mkdir(collection, path)
        if visible and not await asyncio.to_thread(folder.is_dir):
            raise AccountFault(
                f"{places.deliveries} in the collection {collection} is not {folder} here",
                hint="set globus.path to where `root` is in that collection, or globus.storage to elsewhere; `empiar-mirror doctor` checks it",
            )

    # --- rounds ---------------------------------------------------------------------------------------

    async def _round(self, desk: Desk) -> None:
        """Every open bundle has been looked at once, and as many were submitted as the account has places for."""
        bundles = await self._catalogue.read(globus_store.open_bundles)
        for bundle in bundles:
            if bundle.state is BundleState.ABANDONED:
                await tasks.clear_away(desk, bundle)
            elif bundle.task_id is not None:
                if desk.visible:  # else its bytes go to another disk
                    missing = max(0, bundle.bytes - bundle.bytes_transferred)
                    self._space.reserve_known(-bundle.bundle_id, missing)
                await tasks.follow(desk, bundle)
            elif bundle.submission_id is not None:
                # Told to the service perhaps, and the answer lost: the same id again makes no second task.
                await self._submit(desk, bundle)
        waiting = [bundle for bundle in bundles if bundle.submission_id is None]
        if waiting and not self._resting:
            running = [bundle for bundle in bundles if bundle.task_id is not None]
            await self._submit_waiting(desk, waiting, running)
        if not await self._catalogue.read(globus_store.open_bundles):
            await asyncio.to_thread(leftovers.clean, self._catalogue, self._staging)

    async def _submit_waiting(self, desk: Desk, waiting: Sequence[Bundle], running: Sequence[Bundle]) -> None:
        unfinished = await desk.service.unfinished()
        ours = {bundle.task_id for bundle in running if bundle.task_id is not None}
        for bundle in waiting[: places_free(unfinished, ours, most=desk.settings.tasks)]:
            refusal = self._space.reserve(-bundle.bundle_id, bundle.bytes) if desk.visible else None
            if refusal is not None:
                self._no_room(refusal, wait=bool(running))
                return
            await self._submit(desk, bundle)

    def _no_room(self, refusal: str, *, wait: bool) -> None:
        if not wait:
            hint = "free some space or raise disk.high_watermark, and run the same command again"
            raise StorageFault(f"the disk is full: {refusal}", hint=hint, full=True)
        if refusal != self._told_full:
            self._told_full = refusal
            self._observer(events.Paused(refusal, events.UNTIL_SPACE))

    async def _submit(self, desk: Desk, bundle: Bundle) -> None:
        try:
            await tasks.submit(desk, bundle)
        except PermanentFault as fault:
            # Submission ids are not good for ever: the answer to an earlier try may have been lost before that.
            if not await tasks.found_by_label(desk, bundle):
                await tasks.refused(desk, bundle, f"Globus does not take the task: {fault}")

    async def _clear_away(self, desk: Desk) -> None:
        """The tasks that an earlier run gave up are being cancelled, before anything that waits for them to end."""
        for bundle in await self._catalogue.read(globus_store.open_bundles):
            if bundle.state is BundleState.ABANDONED:
                await tasks.clear_away(desk, bundle)

    # --- failures -------------------------------------------------------------------------------------

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, begun again while the service is out of reach or busy.

        Raises:
            UnreachableFault: that has lasted for `globus.stall`; or, before anything is with the service and while other
                channels wait, for a few tries.
        """
        while True:
            try:
                done = await work()
            except TransientFault as fault:
                await self._rest(fault)
            else:
                self._failures, self._failing_since = 0, None
                return done

    async def _rest(self, fault: TransientFault) -> None:
        now = asyncio.get_running_loop().time()
        own = self._settings.globus
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = now
        lasted_s = now - self._failing_since
        wait_s = backoff_s(
            self._failures, first_s=min(2.0, own.poll), ceiling_s=max(own.poll, _LONGEST_REST_S)
        )
        wait_s = wait_s if fault.retry_after_s is None else fault.retry_after_s
        others_wait = not self._alone and not self._planned.is_set()
        too_long = lasted_s + wait_s > own.stall and (self._failures >= _FIRST_TRIES or not self._alone)
        if too_long or (others_wait and (self._failures >= _FIRST_TRIES or wait_s > _LONGEST_REST_S)):
            raise UnreachableFault(
                f"the Globus service has not answered for {lasted_s:.0f} s: {fault}",
                hint="its tasks go on without us, and the next run finds them; https://status.globus.org tells of outages",
            ) from fault
        if self._failures == 1:
            self._observer(events.Paused(str(fault), f"Globus answers; it is asked again in {wait_s:.0f} s"))
        await asyncio.sleep(min(wait_s, own.stall))

    async def _give_up(self, fault: EmpiarMirrorError, changed: Callable[[], None]) -> None:
        """Globus is out for this run: other channels get what it had.

        Raises:
            AccountFault, UnreachableFault: there is no other channel; the ledger stays as it is for the next run.
        """
        if self._alone:
            raise fault
        freed = await self._catalogue.write(
            functools.partial(globus_endings.abandon, error=f"Globus is out: {fault}", now=int(self._clock()))
        )
        self._out = True
        hint = f" ({fault.hint})" if fault.hint else ""
        self._observer(events.GlobusOut(f"{fault}{hint}", freed))
        changed()


def _remove_empty(folder: Path) -> None:
    try:
        make_folder(folder.parent, within=standing(folder.parents[1]))
        if folder.exists():
            folder.rmdir()
    except OSError as error:
        if not folder.is_dir():
            raise storage_fault(error, f"cannot use {folder}") from error

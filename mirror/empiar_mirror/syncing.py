"""One shot: what was asked for is crawled as far as needed, transferred, verified and arranged, and a report says what is not here."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from empiar_mirror import asking
from empiar_mirror.crawling import Crawling, CrawlReport
from empiar_mirror.finishing import Finishing
from empiar_mirror.folders import Folders
from empiar_mirror.globus import leftovers
from empiar_mirror.plan_facts import asked_for
from empiar_mirror.proving import Proving
from empiar_mirror.reports import TransferReport
from empiar_mirror.stopping import Stopping
from empiar_mirror.subscriptions.asked import asked_by, in_force
from empiar_mirror.subscriptions.evaluator import Evaluator
from empiar_mirror.transfer_facts import failed_files, files_evicted, files_here, files_unverified
from empiar_mirror.transferring import Transferring
from empiar_schema import globus_endings, subscription_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import BytesMoved, Event, FileArrived, Observer
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.settings import Settings
from empiar_schema.states import Channel, CopyState


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one `sync` or `repair` did: the crawl that it needed, if any, and the transfer."""

    crawl: CrawlReport | None
    transfer: TransferReport


@dataclass(slots=True)
class _Tally:
    """Counts what a run brings, and passes every event on."""

    observer: Observer
    arrived: int = 0
    bytes_moved: int = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, FileArrived):
            self.arrived += 1
        elif isinstance(event, BytesMoved):
            self.bytes_moved += event.count
        self.observer(event)


@dataclass(frozen=True, slots=True)
class Syncing:
    """Brings what commands ask for, from the question to the layout."""

    settings: Settings
    catalogue: Catalogue
    folders: Folders
    observer: Observer
    clock: Callable[[], float]
    stopping: Stopping
    crawling: Crawling
    evaluator: Evaluator
    proving: Proving
    finishing: Finishing
    transferring: Transferring

    async def sync(
        self, ids: Sequence[int], *, view: str | None = None, channel: Channel | None = None
    ) -> SyncReport:
        """Every listed file of these entries is here, verified and arranged, or the report names it.

        With `view`, that holds for what the view takes of them; what else waits goes on waiting.
        Files that were given up earlier get a fresh budget; quarantined and damaged ones are left to `repair`.

        Raises:
            ConfigFault: there is no such view.
            StorageFault: the disk is full or refuses; what was begun is kept.
            UnreachableFault: no channel reaches the archive.
        """
        recipe = self.settings.recipe(view) if view is not None else None
        crawled = await self.crawling.crawl_what_is_needed(ids)
        now = int(self.clock())
        if recipe is not None:
            return SyncReport(crawled, await self._transfer_view(ids, recipe, channel=channel, now=now))
        for empiar_id in ids:
            await self.catalogue.write(functools.partial(asking.ask_for_whole, empiar_id=empiar_id, now=now))
        await self._ask_again(ids, [CopyState.PARKED])
        return SyncReport(crawled, await self._transfer(ids, channel=channel))

    async def sync_as_before(
        self, ids: Sequence[int] | None = None, *, channel: Channel | None = None
    ) -> SyncReport:
        """What was asked for of these entries is here, verified and arranged: of some the whole, of others a view.

        With `ids` None, that holds for all entries of which something was asked for, by name or by a subscription.

        Raises: as `sync`.
        """
        everything = ids is None
        if ids is None:
            await self.evaluator.evaluate()
            ids = await self._asked_for()
        crawled = await self.crawling.crawl_what_is_needed(ids)
        if everything:
            await self.evaluator.evaluate(afresh=True)
            ids = await self._asked_for()
        for empiar_id in ids:
            await self.catalogue.write(
                functools.partial(
                    asking.ask_as_before,
                    empiar_id=empiar_id,
                    settings=self.settings,
                    now=int(self.clock()),
                )
            )
        await self._ask_again(ids, [CopyState.PARKED])
        return SyncReport(crawled, await self._transfer(ids, channel=channel))

    async def _asked_for(self) -> list[int]:
        """Entries of which something was asked for, and those that subscriptions match and whose files are not listed yet."""
        matched = await self.catalogue.read(subscription_store.wanted_entries)
        return sorted({*await self.catalogue.read(asked_for), *matched})

    async def sync_subscription(self, name: str, *, channel: Channel | None = None) -> SyncReport:
        """What the subscription selects now is here, verified and arranged, as far as its budget goes; what waits with a lower priority goes on waiting.

        Raises: as `sync`, and
            ConfigFault: it is paused or held, or there is none.
        """
        found = await self.catalogue.read(functools.partial(in_force, name=name))
        await self.evaluator.evaluate([name])
        ids = await self.catalogue.read(functools.partial(subscription_store.wanted_entries, name=name))
        crawled = await self.crawling.crawl_what_is_needed(ids)
        await self.evaluator.evaluate([name], afresh=True)
        asked = await self.catalogue.read(functools.partial(asked_by, name=name, settings=self.settings))
        await self._ask_again(asked.ids, [CopyState.PARKED], only=asked.files)
        wanted = found.definition
        transfer = await self._transfer(
            asked.ids,
            channel=channel or wanted.channel,
            only=asked.files,
            least_priority=wanted.priority,
        )
        return SyncReport(crawled, transfer)

    async def _transfer_view(
        self, ids: Sequence[int], recipe: ViewRecipe, *, channel: Channel | None, now: int
    ) -> TransferReport:
        needed: set[int] = set()
        for empiar_id in ids:
            needed |= await self.catalogue.write(
                functools.partial(asking.ask_for_view, empiar_id=empiar_id, recipe=recipe, now=now)
            )
        await self._ask_again(ids, [CopyState.PARKED], only=needed)
        # What was parked until now waits with the priority that it had, below which this transfer does not look.
        hurry = functools.partial(
            transfer_store.want_files, file_ids=sorted(needed), now=now, priority=asking.VIEW_PRIORITY
        )
        await self.catalogue.write(hurry)
        return await self._transfer(ids, channel=channel, view=recipe, only=needed)

    async def repair(self, ids: Sequence[int], *, channel: Channel | None = None) -> SyncReport:
        """What was found damaged, missing, quarantined or given up is fetched again.

        Damaged bytes go to quarantine first; nothing is deleted. Where other bytes stand at the path of a quarantined file, it is left:
        the report says what to do.
        """
        await self.proving.clear_damaged(ids)
        await self._ask_again(ids, [CopyState.DAMAGED, CopyState.PARKED])
        await self._ask_again(ids, [CopyState.QUARANTINED], only=await self.proving.replaceable(ids))
        return SyncReport(None, await self._transfer(ids, channel=channel))

    async def _ask_again(
        self, ids: Sequence[int], states: Sequence[CopyState], *, only: Collection[int] | None = None
    ) -> None:
        now = int(self.clock())
        await self.catalogue.write(
            functools.partial(
                transfer_store.retry_failed, empiar_ids=ids, now=now, states=states, file_ids=only
            )
        )
        await self.catalogue.write(functools.partial(globus_endings.fresh_tries, empiar_ids=ids))

    async def _transfer(
        self,
        ids: Sequence[int],
        *,
        channel: Channel | None,
        view: ViewRecipe | None = None,
        only: Collection[int] | None = None,
        least_priority: int | None = None,
    ) -> TransferReport:
        """What is wanted of these entries came; with `view`, only what it needs, the files `only`. Below `least_priority`, files wait."""
        here_before = await self.catalogue.read(functools.partial(files_here, ids=ids))
        tally = _Tally(self.observer)
        if least_priority is None:
            least_priority = transfer_store.ANY_PRIORITY if view is None else asking.VIEW_PRIORITY
        await replace(self.transferring, observer=tally).run(ids, channel, least_priority=least_priority)
        await asyncio.to_thread(leftovers.clean, self.catalogue, self.folders.staging)
        making, arranged = await self.finishing.follow(ids, view)
        failed = await self.catalogue.read(functools.partial(failed_files, ids=ids, only=only))
        unverified, unverified_bytes = await self.catalogue.read(functools.partial(files_unverified, ids=ids))
        evicted = await self.catalogue.read(functools.partial(files_evicted, ids=ids))
        return TransferReport(
            arrived=tally.arrived,
            bytes_moved=tally.bytes_moved,
            already_here=here_before,
            failed=tuple(failed),
            arranged=arranged,
            unverified=unverified,
            unverified_bytes=unverified_bytes,
            evicted=evicted,
            making=making,
            stopped=self.stopping.stopped,
        )

"""The transfer of one run: which channels there are, and the engine between them, the catalogue and the disk."""

from __future__ import annotations

import functools
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version

from empiar_mirror.arrivals import Arrivals
from empiar_mirror.cluster.opening import Hands
from empiar_mirror.doubts import Doubts
from empiar_mirror.ending import Endings
from empiar_mirror.engine import Engine
from empiar_mirror.fetchers import Fetchers
from empiar_mirror.folders import Folders
from empiar_mirror.globus.keeper import TaskKeeper
from empiar_mirror.globus_access import globus_service
from empiar_mirror.judge import Judge
from empiar_mirror.pacing import Pacing
from empiar_mirror.plan_facts import bytes_held
from empiar_mirror.reports import FailedFile
from empiar_mirror.space import Space
from empiar_mirror.staging import delivery_folder
from empiar_mirror.stopping import Stopping
from empiar_mirror.transfer_facts import failed_files
from empiar_mirror.transports.base import Transport
from empiar_mirror.transports.ftp import FtpTransport
from empiar_mirror.transports.globus import GlobusTransport
from empiar_mirror.transports.https import HttpsTransport
from empiar_schema import globus_endings, globus_store, queue_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer
from empiar_schema.settings import CrawlSettings, Settings
from empiar_schema.states import Channel
from empiar_schema.transfer_settings import TransferSettings
from empiar_wire.hosts import Hosts


@dataclass(frozen=True, slots=True)
class Transferring:
    """Brings what is wanted of some entries, by the channels that the configuration or a command allows."""

    settings: Settings
    catalogue: Catalogue
    folders: Folders
    threads: ThreadPoolExecutor
    observer: Observer
    clock: Callable[[], float]
    stopping: Stopping
    #: The limits, and what was learnt of hosts, of the whole process.
    pacing: Pacing
    doubts: Doubts
    #: What each worker of a cluster has in hand.
    in_hand: Counter[str] = field(default_factory=Counter)

    async def run(self, ids: Sequence[int] | None, channel: Channel | None, *, least_priority: int) -> None:
        """Every wanted file of these entries (of all, if None) with this priority or a higher one has arrived, is parked or quarantined, or the run was stopped.

        Raises:
            AccountFault, ConfigFault: only Globus is allowed, and a person must act before it can be used.
            StorageFault: the disk is full or refuses; what was begun is kept.
            UnreachableFault: no channel reaches the archive.
        """
        async with AsyncExitStack() as stack:
            named = await self.catalogue.read(_channels_named) if channel is None else frozenset()
            streams = self.transports(stack, channel, also=named)
            space = await self._space()
            keeper = await self._keeper(stack, ids, channel, space=space, forced=Channel.GLOBUS in named)
            hands = Hands(
                self.settings,
                self.folders.root,
                self.catalogue,
                self.threads,
                self.observer,
                self.clock,
                self.in_hand,
            )
            fetchers = await stack.enter_async_context(hands.fetchers(self.pacing))
            own = (channel,) if channel else self.settings.transfer.channels
            engine = self._engine(
                streams,
                space=space,
                keeper=keeper,
                channels=own,
                by_subscription=channel is None,
                fetchers=fetchers,
            )
            with self.stopping.telling(engine.stop):
                if not self.stopping.stopped:
                    await engine.run(ids, least_priority=least_priority)

    async def verify_deliveries(self, ids: Sequence[int]) -> tuple[list[int], list[FailedFile]]:
        """What Globus has brought to storage that was not visible then, and is here now, has arrived; returns the entries it is of, and what has not, and why.

        Those files are wanted again, so that the next `sync` brings them.
        """
        if self.settings.globus.storage != "here":
            return [], []
        entries = [i for i in await self.catalogue.read(globus_endings.unverified_entries) if i in set(ids)]
        files: list[int] = []
        for empiar_id in entries:
            files += await self.catalogue.write(
                functools.partial(
                    globus_endings.await_verification, empiar_id=empiar_id, now=int(self.clock())
                )
            )
        if not entries:
            return [], []
        engine = self._engine({}, space=await self._space())
        with self.stopping.telling(engine.stop):
            await engine.run(entries)
        failed = await self.catalogue.read(functools.partial(failed_files, ids=entries, only=set(files)))
        return entries, failed

    def transports(
        self, stack: AsyncExitStack, channel: Channel | None, *, also: Collection[Channel] = ()
    ) -> dict[Channel, Transport]:
        """The channels that stream, of `channel` or of the configuration and `also`; none where only Globus is allowed."""
        transfer = self.settings.transfer
        hosts = hosts_within(transfer, contact=self.settings.crawl.contact)
        names = (channel,) if channel else tuple(dict.fromkeys((*transfer.channels, *sorted(also))))
        self.pacing.begin(self.settings, hosts, names)
        transports: dict[Channel, Transport] = {}
        for name in names:
            match name:
                case Channel.HTTPS:
                    transport: Transport = HttpsTransport(
                        self.settings.archive.https_url,
                        hosts=hosts,
                        stall_s=transfer.stall_s,
                        throttle=self.pacing.throttle(name),
                    )
                case Channel.FTP:
                    transport = FtpTransport(
                        self.settings.archive.ftp_url,
                        hosts=hosts,
                        stall_s=transfer.stall_s,
                        throttle=self.pacing.throttle(name),
                    )
                case Channel.GLOBUS:
                    continue
            transports[name] = transport
            stack.push_async_callback(transport.aclose)
        return transports

    async def _keeper(
        self,
        stack: AsyncExitStack,
        ids: Sequence[int] | None,
        channel: Channel | None,
        *,
        space: Space,
        forced: bool = False,
    ) -> TaskKeeper | None:
        """What runs the Globus channel; None where it has nothing to do.

        Tasks that an earlier run left with the service are followed to their end, unless another channel is named: then its
        files are fetched by that.
        """
        channels = (channel,) if channel else self.settings.transfer.channels
        allowed = Channel.GLOBUS in channels or forced
        if not allowed:
            if not await self.catalogue.read(globus_store.open_bundles):
                return None
            if channel is not None:
                error = f"the channel {channel} was asked for"
                await self.catalogue.write(
                    functools.partial(
                        globus_endings.abandon,
                        error=error,
                        now=int(self.clock()),
                        empiar_ids=None if ids is None else set(ids),
                    )
                )
                return None
        return TaskKeeper(
            await stack.enter_async_context(globus_service(self.settings)),
            self.settings,
            catalogue=self.catalogue,
            staging=self.folders.staging,
            space=space,
            channels=channels,
            plans=allowed,
            observer=self.observer,
            clock=self.clock,
        )

    def _engine(
        self,
        streams: Mapping[Channel, Transport],
        *,
        space: Space,
        keeper: TaskKeeper | None = None,
        channels: Sequence[Channel] | None = None,
        by_subscription: bool = True,
        fetchers: Fetchers | None = None,
    ) -> Engine:
        deliveries = GlobusTransport(delivery_folder(self.folders.staging))
        transports: dict[Channel, Transport] = {**streams, Channel.GLOBUS: deliveries}
        endings = Endings(
            catalogue=self.catalogue,
            quarantine=self.folders.quarantine,
            judge=Judge(
                transports,
                threads=self.threads,
                doubts=self.doubts,
            ),
            arrivals=Arrivals(
                catalogue=self.catalogue,
                archive=self.folders.archive,
                quarantine=self.folders.quarantine,
                threads=self.threads,
                observer=self.observer,
                clock=self.clock,
            ),
            threads=self.threads,
            observer=self.observer,
            clock=self.clock,
        )
        return Engine(
            catalogue=self.catalogue,
            staging=self.folders.staging,
            transports=transports,
            settings=self.settings.transfer,
            pacing=self.pacing,
            space=space,
            endings=endings,
            threads=self.threads,
            observer=self.observer,
            clock=self.clock,
            managed=keeper,
            visible_within_s=2 * self.settings.globus.poll,
            rules=self.settings.order,
            channels=channels,
            by_subscription=by_subscription,
            fetchers=fetchers,
        )

    async def _space(self) -> Space:
        held = await self.catalogue.read(bytes_held)
        return Space(self.folders.staging, self.settings.disk, held_bytes=held)


def _channels_named(conn: sqlite3.Connection) -> frozenset[Channel]:
    """Channels that subscriptions name for their files."""
    found = queue_store.wanters(conn).values()
    return frozenset(one.channel for one in found if one.channel is not None and not one.paused)


def hosts_within(limits: CrawlSettings | TransferSettings, *, contact: str) -> Hosts:
    """The hosts, asked within these limits by somebody who says who they are."""
    return Hosts(
        connections=limits.connections,
        requests_per_s=limits.requests_per_s,
        user_agent=user_agent(contact),
    )


def user_agent(contact: str) -> str:
    """How we introduce ourselves to every server: product, version, and whoever runs this mirror."""
    return f"empiar-mirror/{version('empiar-mirror')} ({contact or 'no contact configured'})"

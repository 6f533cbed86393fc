"""Copies are read through by the workers of a cluster, parcels of them; what a worker finds wrong is believed when it is wrong here, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from empiar_mirror.checking import Finding
from empiar_mirror.cluster.dispatch import Concern, Dispatcher, GivenUp
from empiar_mirror.cluster.errands import ReadThrough
from empiar_mirror.readers import Readers
from empiar_schema import events
from empiar_schema.cluster_settings import ClusterWork
from empiar_schema.copies import HereFile
from empiar_schema.events import Observer
from empiar_schema.faults import ClusterFault

#: Files in one parcel, at most.
PARCEL_FILES: Final = 64


def parcels(files: Sequence[HereFile], parcel_bytes: int) -> Iterator[tuple[HereFile, ...]]:
    """The files, in their order, in groups of at most `parcel_bytes`; a larger one alone."""
    group: list[HereFile] = []
    size = 0
    for file in files:
        if group and (size + file.size > parcel_bytes or len(group) >= PARCEL_FILES):
            yield tuple(group)
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield tuple(group)


def subject_of(parcel: Sequence[HereFile]) -> str:
    """``10017/data/a.mrc``, or ``10017/data/a.mrc and 63 more``."""
    more = f" and {len(parcel) - 1} more" if len(parcel) > 1 else ""
    return f"{parcel[0].remote}{more}"


class ReadingWorkers(Readers):
    """Hands parcels of copies to a cluster. Quick looks, second looks and what the cluster gives up are done by `here`."""

    def __init__(
        self, dispatcher: Dispatcher, here: Readers, *, work: ClusterWork, observer: Observer
    ) -> None:
        self._dispatcher = dispatcher
        self._here = here
        self._work = work
        self._observer = observer
        self._alone = False
        self._under_way: list[asyncio.Task[list[Finding]]] = []

    async def check(
        self, files: Sequence[HereFile], *, quick: bool, progress: Callable[[Finding], None]
    ) -> list[Finding]:
        """A finding for each file, in their order; `progress` hears each as it comes. `quick` looks at sizes and headers only.

        Raises:
            ClusterFault: the scheduler cannot be reached, or has gone, and the work is to wait for it.
            StorageFault: the disk refused.
        """
        if quick or self._alone or not files:
            return await self._here.check(files, quick=quick, progress=progress)
        tasks = [
            asyncio.create_task(self._parcel(parcel, progress))
            for parcel in parcels(files, self._dispatcher.settings.parcel_bytes)
        ]
        self._under_way = tasks
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            came = [task.result() for task in tasks if task.done() and not task.cancelled()]
        finally:
            self._under_way = []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [finding for parcel in came for finding in parcel]

    def stop(self) -> None:
        """What workers have in hand is taken away from them; `check` returns what has come."""
        for task in self._under_way:
            task.cancel()

    async def _parcel(
        self, parcel: tuple[HereFile, ...], progress: Callable[[Finding], None]
    ) -> list[Finding]:
        found = await self.read(parcel)
        if found is None:
            return await self._here.check(parcel, quick=False, progress=progress)
        findings: list[Finding] = []
        for finding in found:
            if finding.wrong is not None:
                # A mount, a cable or a memory of that machine may be to blame.
                [own] = await self._here.check([finding.file], quick=False, progress=progress)
                findings.append(own)
            else:
                progress(finding)
                findings.append(finding)
        return findings

    async def read(
        self, parcel: tuple[HereFile, ...], *, bytes_per_s: int | None = None
    ) -> tuple[Finding, ...] | None:
        """What a worker finds of the parcel; None where this machine is to read it.

        Raises:
            ClusterFault: the scheduler cannot be reached, or has gone, and the work is to wait for it.
            StorageFault: the disk refused.
        """
        if self._alone:
            return None
        try:
            reply = await self._dispatcher.do(
                ReadThrough(parcel, bytes_per_s), Concern(self._work, subject_of(parcel))
            )
        except GivenUp:
            return None
        except ClusterFault as fault:
            if self._dispatcher.settings.otherwise == "wait":
                raise
            if not self._alone:
                self._alone = True
                self._observer(
                    events.Paused(str(fault), "the next run: until then this machine does the work")
                )
            return None
        found = reply.value
        return found if _is_of(found, parcel) else None


def _is_of(found: object, parcel: tuple[HereFile, ...]) -> bool:
    """Whether these are findings of the parcel's files, one each, in their order."""
    return (
        isinstance(found, tuple)
        and all(isinstance(finding, Finding) for finding in found)
        and tuple(finding.file for finding in found) == parcel
    )

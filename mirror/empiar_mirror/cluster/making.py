"""Makers' functions are called by the workers of a cluster."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from empiar_mirror.cluster.dispatch import Concern, Dispatcher, GivenUp
from empiar_mirror.cluster.errands import Make
from empiar_mirror.makers.maker import JobFault, Output, Work
from empiar_mirror.makers.worker import Function
from empiar_mirror.makers.workers import Processes, Workers
from empiar_schema import events
from empiar_schema.events import Observer
from empiar_schema.faults import ClusterFault


class MakingWorkers(Workers):
    """Hands calls to a cluster; where the configuration says so, processes of this machine stand in for one that is away."""

    def __init__(self, dispatcher: Dispatcher, *, root: Path, here: int, observer: Observer) -> None:
        """`here` is how many processes may stand in at once."""
        self._dispatcher = dispatcher
        self._root = root
        self._observer = observer
        self._processes = Processes()
        self._limit = asyncio.Semaphore(here)
        self._alone = False

    @property
    def places(self) -> int | None:
        """As many as the cluster is given at once."""
        return self._dispatcher.settings.places

    async def call(
        self, function: Function, work: Work, *, job_id: int, timeout_s: float
    ) -> tuple[Output, ...]:
        """What `function` returns for `work`, called by a worker; what it wrote stands in `work.folder`. Cancelling takes the work away.

        Raises:
            JobFault: the function raised, took too long, or was lost with its worker too often.
            ClusterFault: the scheduler cannot be reached, or has gone, and the work is to wait for it.
            StorageFault: the disk refused.
        """
        if not self._alone:
            try:
                return await self._handed_out(function, work, job_id, timeout_s)
            except ClusterFault as fault:
                if self._dispatcher.settings.otherwise == "wait":
                    raise
                if not self._alone:
                    self._alone = True
                    self._observer(
                        events.Paused(str(fault), "the next run: until then this machine does the work")
                    )
        async with self._limit:
            return await self._processes.call(function, work, job_id=job_id, timeout_s=timeout_s)

    async def aclose(self) -> None:
        """Nothing is handed out any more."""
        await self._processes.aclose()
        await self._dispatcher.aclose()

    async def _handed_out(
        self, function: Function, work: Work, job_id: int, timeout_s: float
    ) -> tuple[Output, ...]:
        # Workers may see the root elsewhere: they are told paths below it.
        inputs = tuple(replace(one, local=one.local.relative_to(self._root)) for one in work.inputs)
        there = replace(work, folder=Path(), inputs=inputs)
        first = str(work.inputs[0].path) if work.inputs else (work.stem or f"job {job_id}")
        try:
            reply = await self._dispatcher.do(
                Make(function, there, timeout_s), Concern("make", first, job_id), keep=work.folder
            )
        except GivenUp as given_up:
            raise JobFault(str(given_up), hint=given_up.hint, permanent=True) from given_up
        if reply.value is None:
            raise JobFault(reply.fault, permanent=reply.permanent)
        if not _are_outputs(reply.value):
            raise JobFault("the worker's answer names no outputs", permanent=True)
        return reply.value


def _are_outputs(value: object) -> bool:
    """Whether the answer is what a function returns; where the outputs are, and what, is checked like any other's."""
    return isinstance(value, tuple) and all(
        isinstance(one, Output) and isinstance(one.path, Path) and isinstance(one.name, str) for one in value
    )

"""The service lays out: an entry when it is complete, and one that is still coming once an hour; and tries again what could not be made of it."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from contextlib import suppress
from dataclasses import dataclass, field

from empiar_mirror.app import Mirror
from empiar_mirror.by_hand.versions import entries_with_labels
from empiar_mirror.pace import ARRANGE_EVERY_S, rest_s, should_arrange, until_due_s
from empiar_mirror.plan_facts import asked_for
from empiar_mirror.service.rests import Rests
from empiar_schema import job_store, transfer_store
from empiar_schema.events import DerivedDamaged, Event, FileArrived
from empiar_schema.faults import ClusterFault, ConfigFault


@dataclass(frozen=True, slots=True)
class _Later:
    """An entry of which something could not be made: when it is tried again."""

    at: float
    #: When, by the catalogue, its first failed job is to be tried again; None where it waits for something else.
    due: int | None
    #: In a row, in which nothing came of it.
    failures: int = 0


@dataclass(slots=True)
class Layouts:
    """What follows arrivals, one entry after the other. An entry that has to wait for something is put off, and holds up no other."""

    mirror: Mirror
    rests: Rests
    look_s: float
    #: Something of these entries has arrived since they were last arranged.
    _touched: set[int] = field(default_factory=set)
    _arranged_at: dict[int, float] = field(default_factory=dict)
    _later: dict[int, _Later] = field(default_factory=dict)
    #: Of entries with labels by hand: what told of the latest save when it was last looked.
    _by_hand: dict[int, int] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """It is looked at once whether an entry can be laid out. For callbacks of the loop."""
        self._woken.set()

    def observe(self, event: Event) -> None:
        """Hears what arrives, and what has to be made again."""
        if isinstance(event, FileArrived):
            self._touched.add(int(event.path.partition("/")[0]))
            self._woken.set()
        elif isinstance(event, DerivedDamaged):
            self._touched.add(event.empiar_id)
            self._woken.set()

    async def run(self) -> None:
        """Lays out until the service is stopped; `wake` lets it end then."""
        # A kill may have come between an arrival and what follows it.
        self._touched.update(await self.rests.asked(_lately_touched))
        retries = await self.rests.asked(job_store.retries)
        self._later.update({empiar_id: _Later(due, due) for empiar_id, due in retries.items()})
        self._woken.set()
        while not self.rests.stopped.is_set():
            waits = (self._until_s(one) for one in self._later.values())
            await self.rests.wait(self._woken, max(0.05, min(waits, default=self.look_s)))
            self._woken.clear()
            await self._look_at_labels()
            for empiar_id in sorted({*self._touched, *self._later}):
                if self.rests.stopped.is_set():
                    return
                if await self._is_time(empiar_id):
                    self._touched.discard(empiar_id)
                    self._arranged_at[empiar_id] = self.mirror.clock()
                    await self.rests.through(functools.partial(self._finish, empiar_id))

    async def _look_at_labels(self) -> None:
        """Entries of which labels were saved by hand since the last look are to be laid out; at the first look all that have any.

        The page that saves them is a process of its own, and tells nobody.
        """
        with suppress(OSError):  # a root that is away is waited for elsewhere
            found = await asyncio.to_thread(entries_with_labels, self.mirror.folders.root)
            changed = {number for number, mark in found.items() if self._by_hand.get(number) != mark}
            if changed:
                known = set(await self.rests.asked(asked_for))
                self._touched |= changed & known
                self._by_hand = found

    async def _is_time(self, empiar_id: int) -> bool:
        later = self._later.get(empiar_id)
        if later is not None and self._until_s(later) == 0:
            return True
        if empiar_id not in self._touched:
            return False
        left, _ = await self.rests.asked(functools.partial(transfer_store.unfinished, empiar_ids=[empiar_id]))
        return should_arrange(
            left=left, arranged_at=self._arranged_at.get(empiar_id), now=self.mirror.clock()
        )

    def _until_s(self, later: _Later) -> float:
        longest_s = job_store.LONGEST_WAIT_S
        return until_due_s(later.at, now=self.mirror.clock(), look_s=self.look_s, longest_s=longest_s)

    async def _finish(self, empiar_id: int) -> None:
        before = self._later.pop(empiar_id, None)
        failures = before.failures if before is not None else 0
        try:
            async with self.rests.making:
                await self.mirror.finish([empiar_id])
        except (ClusterFault, ConfigFault) as fault:
            wait_s = rest_s(failures + 1)
            self._later[empiar_id] = _Later(self.mirror.clock() + wait_s, None, failures + 1)
            self.rests.pause(fault, f"{empiar_id} is tried again in {wait_s:.0f} s")
            return
        except BaseException:
            if before is not None:
                self._later[empiar_id] = before
            raise
        retry = functools.partial(job_store.next_retry_of, empiar_id=empiar_id)
        if (due := await self.mirror.catalogue.read(retry)) is None:
            return
        later = _Later(due, due)
        if before is not None and before.due == due and self._until_s(later) == 0:
            # Nobody has tried the job: its maker works on this entry no more. Not again at once.
            later = _Later(self.mirror.clock() + rest_s(failures + 1), due, failures + 1)
        self._later[empiar_id] = later


def _lately_touched(conn: sqlite3.Connection) -> list[int]:
    """Entries of files that were attempted in the last hours in which anything was."""
    rows = conn.execute(
        "SELECT DISTINCT c.empiar_id FROM attempt t JOIN copy c ON c.file_id = t.file_id"
        " WHERE t.ended_at >= (SELECT max(ended_at) FROM attempt) - ?",
        (2 * ARRANGE_EVERY_S,),
    )
    return [row[0] for row in rows]

"""Removes what an eviction has decided: intent first, then layouts and manifests, then the files, then the record.

Whatever ends it, files that are still there are here again as before; nothing is removed at a start.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from empiar_mirror.eviction.planning import Decision, Order, Sum, decide
from empiar_mirror.eviction.tree import ArchiveTree
from empiar_mirror.threads import in_thread
from empiar_schema import eviction_store as store
from empiar_schema import pin_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import EntryEvicted, EvictionStepTaken, Observer
from empiar_schema.eviction_store import Intended
from empiar_schema.settings import Settings


@dataclass(slots=True)
class Removed:
    """What one eviction did."""

    decision: Decision
    #: Files that are gone from the disk.
    done: Sum = field(default_factory=Sum)
    #: Files that were left because something else than on record stands at their paths: ``10017/data/a.mrc`` and why.
    left: list[tuple[str, str]] = field(default_factory=list)
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Evictor:
    """Carries out evictions in one mirror, whose instance lock this process holds."""

    catalogue: Catalogue
    settings: Settings
    root: Path
    threads: Executor
    observer: Observer
    clock: Callable[[], float]
    #: Brings the entry's layouts and manifests into line with the catalogue. Blocking.
    show: Callable[[int], None]

    async def evict(self, order: Order, *, stopped: Callable[[], bool]) -> Removed:
        """What `order` comes to is gone from the disk, as far as `stopped` allowed; the rest is here as before.

        Raises: as `decide`, and
            StorageFault: the disk refused; what was removed before is on record.
        """
        run_id, decision = await self.catalogue.write(functools.partial(self._intend, order))
        removed = Removed(decision)
        if run_id is None:
            return removed
        try:
            for share in decision.entries:
                if share.evicted.files:
                    await self._remove_entry(share.empiar_id, removed, stopped)
        finally:
            await in_thread(self.threads, settle, self.catalogue, self.root, self.clock, self.show)
            await self.catalogue.write(functools.partial(store.end_run, run_id=run_id, now=int(self.clock())))
        return removed

    def _intend(self, order: Order, conn: sqlite3.Connection) -> tuple[int | None, Decision]:
        """The decision and its intent are one transaction: while it lasts nobody else can write, so what was read still holds."""
        now = int(self.clock())
        with self.catalogue.reader() as reader:
            decision = decide(reader, self.root, self.settings, order, now=now)
        for name, count in decision.pinned.counts.items():
            pin_store.believe_pin(conn, name, match_count=count)
        if not decision.chosen:
            return None, decision
        run_id = store.begin_run(conn, reason=order.reason, sql=order.sql, now=now)
        store.intend(conn, run_id, decision.chosen)
        return run_id, decision

    async def _remove_entry(self, empiar_id: int, removed: Removed, stopped: Callable[[], bool]) -> None:
        self.observer(EvictionStepTaken(empiar_id, "intended"))
        if stopped():
            removed.stopped = True
            return
        await in_thread(self.threads, self.show, empiar_id)
        self.observer(EvictionStepTaken(empiar_id, "hidden"))
        done, after = Sum(), 0
        while not stopped():
            page = functools.partial(store.intended_files, empiar_id=empiar_id, after=after)
            intents = await self.catalogue.read(page)
            if not intents:
                break
            after = intents[-1].file_id
            gone, left = await in_thread(self.threads, _remove, self.root, intents)
            self.observer(EvictionStepTaken(empiar_id, "removed"))
            now = int(self.clock())
            await self.catalogue.write(functools.partial(store.record_removed, intents=gone, now=now))
            for intent, why in left:
                await self.catalogue.write(functools.partial(store.record_left, one=intent, error=why))
                removed.left.append((str(intent.remote), why))
            for intent in gone:
                done.add(intent.size)
                removed.done.add(intent.size)
            self.observer(EvictionStepTaken(empiar_id, "recorded"))
        else:
            removed.stopped = True
        if done.files:
            told = functools.partial(
                store.note_evicted, empiar_id=empiar_id, files=done.files, now=int(self.clock())
            )
            await self.catalogue.write(told)
            self.observer(EntryEvicted(empiar_id, done.files, done.bytes, removed.decision.order.reason))


def _remove(root: Path, intents: list[Intended]) -> tuple[list[Intended], list[tuple[Intended, str]]]:
    """Those whose files are gone, durably, and those whose files were left, with the reason."""
    gone, left = [], []
    with ArchiveTree(root) as tree:
        for intent in intents:
            why = tree.remove(intent.remote, intent.size)
            if why is None:
                gone.append(intent)
            else:
                left.append((intent, why))
        tree.sync()
    return gone, left


def settle(
    catalogue: Catalogue, root: Path, clock: Callable[[], float], show: Callable[[int], None]
) -> tuple[int, int]:
    """No intent is open: a file that is still there is here as before, one that is gone is evicted. Returns how many of each.

    Nothing is removed. An entry whose folder is away as a whole is left for another time: the disk may be away.

    Raises:
        StorageFault: the disk refused.
    """
    with catalogue.reader() as conn:
        entries = store.intended_entries(conn)
    back = evicted = 0
    for empiar_id in entries:
        after = found_gone = 0
        with ArchiveTree(root) as tree:
            while tree.has_entry(empiar_id):
                with catalogue.reader() as conn:
                    intents = store.intended_files(conn, empiar_id, after=after)
                if not intents:
                    break
                after = intents[-1].file_id
                there, gone, other = _sorted(tree, intents)
                catalogue.write_now(functools.partial(store.take_back, intents=there))
                now = int(clock())
                catalogue.write_now(functools.partial(store.record_removed, intents=gone, now=now))
                for intent, why in other:
                    catalogue.write_now(functools.partial(store.record_left, one=intent, error=why))
                back += len(there)
                found_gone += len(gone)
        if found_gone:
            told = functools.partial(
                store.note_evicted, empiar_id=empiar_id, files=found_gone, now=int(clock())
            )
            catalogue.write_now(told)
        if after:
            show(empiar_id)
        evicted += found_gone
    return back, evicted


def _sorted(
    tree: ArchiveTree, intents: list[Intended]
) -> tuple[list[Intended], list[Intended], list[tuple[Intended, str]]]:
    """Those whose files are there, those whose files are gone, durably, and those of which neither is true."""
    there, gone, other = [], [], []
    for intent in intents:
        seen = tree.look(intent.remote)
        if seen is None:
            why = tree.why_absent(intent.remote)
            if why is None:
                gone.append(intent)
            else:
                other.append((intent, why))
        elif seen.regular and seen.size == intent.size:
            there.append(intent)
        else:
            other.append((intent, "what stands at its path is not what is on record"))
    tree.sync()
    return there, gone, other

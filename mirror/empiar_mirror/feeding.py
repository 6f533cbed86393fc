"""From the catalogue to the agenda: what is claimed next, and given back when the order has changed."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from empiar_mirror.active import ActiveFile
from empiar_mirror.agenda import Agenda
from empiar_mirror.desk import Desk
from empiar_mirror.ending import Endings
from empiar_mirror.fate import Tried
from empiar_mirror.managed import ManagedChannel
from empiar_mirror.order import Order
from empiar_mirror.order_facts import Reach, next_due, read_order
from empiar_mirror.pacing import Pacing
from empiar_mirror.space import Space
from empiar_mirror.staging import part_path
from empiar_schema import events, queue_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer
from empiar_schema.faults import StorageFault
from empiar_schema.order_settings import OrderSettings
from empiar_schema.states import Channel
from empiar_schema.transfer_store import Taken, Turn, Work

#: Most files claimed and not begun; small ones share connections in batches, which need as many to choose from.
CLAIM_FILES: Final = 512
#: So much is claimed ahead as comes in this time, and never less than this many bytes, or files a connection.
AHEAD_S: Final = 5.0
AHEAD_BYTES: Final = 64 * 2**20
AHEAD_FILES: Final = 2
#: One turn of one queue, at most: others of the same priority come in between.
TURN_FILES: Final = 64
TURN_BYTES: Final = 16 * 2**20
#: So often it is looked whether the order has changed, also by another process.
LOOK_S: Final = 1.0
#: So often everything is looked at anew without a change, but with no more than a fiftieth of the time.
RENEW_S: Final = 5.0
RENEW_SHARE: Final = 50


class Feeding:
    """The claims of one run: a few seconds ahead of the lanes, in the order of `order`."""

    def __init__(
        self,
        desk: Desk,
        *,
        catalogue: Catalogue,
        staging: Path,
        agenda: Agenda,
        active: dict[int, ActiveFile],
        channels: Sequence[Channel],
        others: Collection[Channel],
        down: Collection[Channel],
        by_subscription: bool,
        rules: OrderSettings,
        pacing: Pacing,
        space: Space,
        endings: Endings,
        observer: Observer,
        clock: Callable[[], float],
        managed: ManagedChannel | None,
    ) -> None:
        """`channels` are those of the configuration or the command that stream; `others` bring only files of subscriptions that name them."""
        self._desk = desk
        self._catalogue = catalogue
        self._staging = staging
        self._agenda = agenda
        self._active = active
        self._channels = tuple(channels)
        self._others = frozenset(others)
        self._down = down
        self._by_subscription = by_subscription
        self._rules = rules
        self._pacing = pacing
        self._space = space
        self._endings = endings
        self._observer = observer
        self._clock = clock
        self._managed = managed
        self._reach = Reach()
        self._order: Order | None = None
        self._revision = -1
        self._looked_at = self._renewed_at = float("-inf")
        self._renew_s = RENEW_S
        self._turns = 0
        #: Bytes of claimed files that have not come yet, about.
        self._ahead = 0
        self._moved = 0
        self._rate: float | None = None
        self._told_late: set[int] = set()
        #: Why nothing more is begun; the run ends with it when what fitted is done.
        self._full: StorageFault | None = None

    def moved(self, count: int) -> None:
        """So many bytes have come."""
        self._moved += count
        self._ahead = max(0, self._ahead - count)

    async def run(self, empiar_ids: Sequence[int] | None, *, least_priority: int) -> None:
        """Everything within reach has been claimed and has left the engine, or the run is over."""
        if self._managed is not None:
            await self._managed.planned()
        self._reach = Reach(
            None if empiar_ids is None else frozenset(empiar_ids),
            least_priority,
            delivered_only=not self._channels,
            by_subscription=self._by_subscription,
        )
        while not self._desk.over():
            await self._look()
            if self._full is None and self._hungry and await self._claim():
                continue
            if self._active or self._desk.leaving():
                # Woken by every file that ends; new work may have become due meanwhile.
                await self._desk.change(LOOK_S)
                continue
            if self._full is not None:
                self._desk.end(self._full)
                break
            # Asked first: what is delivered after this answer is under way in it.
            settled = self._managed is None or await self._managed.settled()
            due = await self._due()
            if due is None and settled:
                break
            await self._wait_until(due)

    async def _wait_until(self, due: int | None) -> None:
        """Something may be due, at the latest: not for long at once, for the clock may be set meanwhile."""
        now = self._clock()
        if due is not None and due > now + transfer_store.LONGEST_WAIT_S:
            await self._catalogue.write(
                functools.partial(transfer_store.forget_impossible_waits, now=int(now))
            )
            return
        await self._desk.change(max(0.05, RENEW_S if due is None else min(RENEW_S, due - now)))

    # --- the order ------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """The order is that of a moment ago, and what it no longer puts first is given back."""
        now = self._clock()
        elapsed = now - self._looked_at
        if 0 <= elapsed < LOOK_S:
            return
        self._measure(elapsed)
        self._looked_at = now
        # Exactly, now and then: files that failed never come.
        self._ahead = sum(a.remaining.bytes_left or a.likely_size for a in self._active.values())
        changed = await self._catalogue.read(queue_store.revision) != self._revision
        if changed:
            await self._renew()
            await self._follow()
        elif self._order is None or not 0 <= now - self._renewed_at < self._renew_s:
            await self._renew()

    def _measure(self, elapsed: float) -> None:
        if 0 < elapsed < float("inf") and self._moved:
            rate = self._moved / elapsed
            self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate
        self._moved = 0

    async def _renew(self) -> Order:
        self._renewed_at = self._clock()
        begun = time.monotonic()
        self._reach = replace(self._reach, globus=self._managed is not None and not self._managed.out)
        order, self._revision = await self._catalogue.read(
            functools.partial(
                read_order,
                reach=self._reach,
                rules=self._rules,
                now=self._renewed_at,
                bytes_per_s=self._rate,
                turns=self._turns,
            )
        )
        self._order = order
        self._renew_s = max(RENEW_S, RENEW_SHARE * (time.monotonic() - begun))
        for number, tight in order.tight.items():
            if tight.late and number not in self._told_late:
                self._told_late.add(number)
                name = order.wanters[number].name
                self._observer(events.SubscriptionLate(name, int(tight.due), tight.bytes_left))
        return order

    async def _follow(self) -> None:
        """What is not begun, and is no longer to come next, waits again; what is begun and paused stops at its next boundary."""
        assert self._order is not None
        if not self._active:
            return
        queues = await self._catalogue.read(
            functools.partial(queue_store.queues_of_files, file_ids=list(self._active))
        )
        best = self._order.best_level
        unbegun = {active.file_id for active in self._agenda.unbegun()}
        back = []
        for file_id, active in self._active.items():
            one = self._order.standings.get(queues.get(file_id, 0))
            if one is None or active.delivered:
                continue
            active.held = one.blocked == "paused"
            later = best is not None and one.level < best
            elsewhere = active.work.only_channel is not self._reach.channel_of(one)
            if file_id in unbegun and (one.blocked == "paused" or later or elsewhere):
                back.append(active)
        if not back:
            return
        self._agenda.withdraw(back)
        for active in back:
            del self._active[active.file_id]
            self._space.release(active.file_id)
        await self._catalogue.write(
            functools.partial(transfer_store.give_back, file_ids=[active.file_id for active in back]),
            durable=False,
        )
        await self._renew()

    async def _due(self) -> int | None:
        order = await self._renew()
        return await self._catalogue.read(
            functools.partial(next_due, order=order, reach=self._reach, now=self._clock())
        )

    # --- claims ---------------------------------------------------------------------------------------

    @property
    def _limit_bytes(self) -> int:
        return max(AHEAD_BYTES, int((self._rate or 0.0) * AHEAD_S))

    @property
    def _hungry(self) -> bool:
        """Whether lanes may soon have too little to do."""
        waiting = len(self._agenda)
        return waiting < CLAIM_FILES // 2 and (
            waiting < AHEAD_FILES * self._pacing.connections or self._ahead < self._limit_bytes // 2
        )

    async def _claim(self) -> bool:
        order = self._order or await self._renew()
        taken = await self._catalogue.write(
            functools.partial(self._turns_of, order, now=int(self._clock())),
            durable=False,  # a claim that a power cut undoes was never made
        )
        self._turns = order.turns
        works = [work for one in taken for work in one.works]
        self._ahead += sum(one.bytes for one in taken)
        for position, work in enumerate(works):
            if self._desk.over() or not await self._admit(work):
                rest = [other.file_id for other in works[position:]]
                await self._catalogue.write(functools.partial(transfer_store.give_back, file_ids=rest))
                return False
        return bool(works)

    def _turns_of(self, order: Order, conn: sqlite3.Connection, *, now: int) -> list[Taken]:
        """Turn after turn until enough is claimed. Runs in the catalogue's thread, while nothing else uses `order`."""
        files = CLAIM_FILES - len(self._agenda)
        least = max(1, AHEAD_FILES * self._pacing.connections - len(self._agenda))
        left = self._limit_bytes - self._ahead
        taken: list[Taken] = []
        count = 0
        while count < files and (left > 0 or count < least) and (chance := order.next()) is not None:
            channel = self._reach.channel_of(chance.standing)
            by_globus = channel is Channel.GLOBUS
            most = files if left > 0 else least
            turn = Turn(
                chance.standing.queue.queue_id,
                min(most - count, TURN_FILES),
                max(TURN_BYTES, self._limit_bytes // 8),
                room=chance.room if chance.limited else None,
                delivered_only=self._reach.delivered_only or by_globus,
                or_given_back=by_globus and bool(self._channels),
                channel=None if by_globus else channel,
            )
            one = transfer_store.claim_from(conn, turn, now=now)
            order.took(turn.queue_id, one.whole_bytes, more=not one.exhausted)
            taken.append(one)
            count += len(one.works)
            left -= one.bytes
        return taken

    async def _admit(self, work: Work) -> bool:
        """Whether there is room for the file."""
        if not work.remote.fits_file_system:
            error = "its name is longer than file systems allow (255 bytes a component)"
            await self._endings.park(work.file_id, work.remote, error=error)
            return True
        refusal = None
        if work.delivery is None:  # else its bytes are on the disk, and were counted as they came
            missing = max(0, (work.size or 0) - work.bytes_kept)
            refusal = self._space.reserve(work.file_id, missing)
        if refusal is not None:
            hint = "free some space or raise disk.high_watermark, and run the same command again"
            self._observer(events.Paused(refusal, events.UNTIL_SPACE))
            self._full = StorageFault(f"the disk is full: {refusal}", hint=hint, full=True)
            return False
        path = part_path(self._staging, work.remote.empiar_id, work.file_id)
        tried = Tried(self._first_channel(work), fruitless=work.fruitless)
        active = self._active[work.file_id] = ActiveFile.of(work, path=path, tried=tried)
        self._observer(events.StepTaken(work.file_id, "claimed"))
        self._agenda.add(active)
        self._desk.wake()
        return True

    def _first_channel(self, work: Work) -> Channel:
        """A partial goes on by the channel it came from, unless that one was fruitless of late."""
        if work.delivery is not None:
            return Channel.GLOBUS
        of_file = self.channels_of(work)
        up = [channel for channel in of_file if channel not in self._down] or list(of_file)
        last = work.last_channel
        return last if last in up and work.bytes_kept and not work.fruitless else up[0]

    def channels_of(self, work: Work) -> tuple[Channel, ...]:
        """Between which channels the file may change."""
        only = work.only_channel
        return (only,) if only in self._others or only in self._channels else self._channels

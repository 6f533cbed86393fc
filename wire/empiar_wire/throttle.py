"""Bandwidth limits on what streams read: whoever has read pays for it, and waits before reading on.

While we do not read, the kernel's buffer fills and TCP holds the server back, so a limit is felt on the line, not only here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

#: Timers come late; what they miss is caught up within this time's worth of bytes.
_SLACK_S: Final = 0.05
#: The share of a second that one read of one stream may bring: servers give a stream up that takes nothing for a minute, and
#: with 64 streams each has its turn in far less.
_TURN_S: Final = 0.25
_LEAST_BYTES: Final = 4096


class ByteBudget:
    """When bytes may be read at a rate (pure). Time that was not used is not saved up, but for the lateness of timers.

    Over any time: no more than the rate gives, what is caught up, and one piece.
    """

    def __init__(self, bytes_per_s: float | None) -> None:
        """`bytes_per_s`: None means without a limit."""
        self.bytes_per_s = bytes_per_s
        self._free_at = float("-inf")

    def ready_at(self, now: float) -> float:
        """When the next piece may be paid."""
        return now if self.bytes_per_s is None else max(now, self._free_at)

    def pay(self, count: int, *, now: float) -> None:
        """So many bytes are paid, at `ready_at` or later."""
        if self.bytes_per_s is not None:
            self._free_at = max(self._free_at, now - _SLACK_S) + count / self.bytes_per_s

    def change(self, bytes_per_s: float | None, *, now: float) -> None:
        """The rate is another; what is owed is paid at the new one."""
        owed_s = max(0.0, self._free_at - now)
        if self.bytes_per_s is not None and bytes_per_s is not None:
            self._free_at = now + owed_s * self.bytes_per_s / bytes_per_s
        else:
            self._free_at = float("-inf")
        self.bytes_per_s = bytes_per_s


@dataclass(slots=True)
class _Payment:
    count: int
    done: asyncio.Future[None]


class Bucket:
    """A rate that streams share, one piece each in turn, first come first served. Nobody who waits holds anything."""

    def __init__(self, bytes_per_s: float | None = None, *, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._budget = ByteBudget(bytes_per_s)
        self._waiting: deque[_Payment] = deque()
        self._timer: asyncio.TimerHandle | None = None
        #: Somebody has waited since this was last set to False.
        self.held_back = False

    @property
    def bytes_per_s(self) -> float | None:
        """The rate in force; None means without a limit."""
        return self._budget.bytes_per_s

    def change(self, bytes_per_s: float | None) -> None:
        """The rate is another from now on, also for those who wait."""
        if bytes_per_s != self.bytes_per_s:
            self._budget.change(bytes_per_s, now=self._now())
            self._serve()

    async def pay(self, count: int) -> None:
        """The bytes are paid for: waits for the turn of whoever asks. Cancelled, nothing was paid."""
        now = self._now()
        if not self._waiting and self._budget.ready_at(now) <= now:
            self._budget.pay(count, now=now)
            return
        self.held_back = True
        payment = _Payment(count, asyncio.get_running_loop().create_future())
        self._waiting.append(payment)
        self._arm()
        try:
            await payment.done
        finally:
            if not payment.done.done() or payment.done.cancelled():
                self._waiting.remove(payment)
                self._arm()

    def charge(self, count: int) -> None:
        """The bytes have come elsewhere, at a share of this rate: whoever pays next waits for them, too."""
        self.held_back = True
        self._budget.pay(count, now=self._now())
        self._arm()

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()

    def _serve(self) -> None:
        now = self._now()
        while self._waiting and self._budget.ready_at(now) <= now:
            payment = self._waiting[0]
            if payment.done.done():  # cancelled; it leaves by itself
                break
            self._waiting.popleft()
            self._budget.pay(payment.count, now=now)
            payment.done.set_result(None)
        self._arm()

    def _arm(self) -> None:
        """One timer, for whoever is next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            now = self._now()
            delay_s = max(0.0, self._budget.ready_at(now) - now)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._serve)


class Throttle:
    """All buckets that one stream is paid from: that of everything, its channel's, its host's."""

    def __init__(self, buckets: Sequence[Bucket] = ()) -> None:
        self._buckets = tuple(buckets)

    @property
    def piece_bytes(self) -> int | None:
        """How much one read may bring at most; None where there is no limit."""
        rates = [bucket.bytes_per_s for bucket in self._buckets if bucket.bytes_per_s is not None]
        return max(_LEAST_BYTES, int(min(rates) * _TURN_S / 8)) if rates else None

    @property
    def held_back(self) -> bool:
        """Whether a limit has held streams back since the buckets were last asked."""
        return any(bucket.held_back for bucket in self._buckets)

    def charge(self, count: int) -> None:
        """So many bytes were read by another machine, which has kept to a share of the rate."""
        for bucket in self._buckets:
            if bucket.bytes_per_s is not None:
                bucket.charge(count)

    async def pay(self, count: int) -> None:
        """So many bytes, just read, are paid for; comes back when more may be read."""
        for bucket in self._buckets:
            if bucket.bytes_per_s is not None:
                await bucket.pay(count)


#: No limit at all.
UNLIMITED: Final = Throttle()

"""The receiving core of all streaming transports: from a socket into reused buffers, from there into a `Sink`.

A fresh buffer for every read costs two to three times the processor time, because the kernel has to map its
pages first; so bytes are received into two buffers a connection, one filling while the other is written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from empiar_mirror.transports.base import Claim, Outcome
from empiar_mirror.transports.patience import LostPatience
from empiar_schema.faults import (
    ChangedUpstream,
    EmpiarMirrorError,
    IntegrityFault,
    Stalled,
    TransientFault,
)
from empiar_schema.files import Validators
from empiar_wire.throttle import UNLIMITED, Throttle

BUFFER_BYTES: Final = 2**20
#: A reader of a long body is woken for this much, not for every packet.
WORTH_WAKING_BYTES: Final = 2**18

#: How often a limit that is still being learnt is looked at.
_LOOK_AGAIN_S: Final = 0.25

#: A read is offered at least so much room.
_LEAST_READ: Final = 4096

_NOTHING: Final = memoryview(b"")


class Buffers:
    """Buffers of `BUFFER_BYTES` for all connections of one transport; at most `keep` idle ones are kept."""

    def __init__(self, *, keep: int = 16) -> None:
        self._keep = keep
        self._idle: list[memoryview] = []

    def take(self) -> memoryview:
        """A buffer that nobody else writes to."""
        return self._idle.pop() if self._idle else memoryview(bytearray(BUFFER_BYTES))

    def give(self, buffer: memoryview) -> None:
        """The buffer may be taken by another connection; nobody looks at its bytes any more."""
        if len(self._idle) < self._keep:
            self._idle.append(buffer)


class Receiver(asyncio.BufferedProtocol):
    """One connection's incoming bytes, a stretch at a time; reading pauses while both buffers are full.

    `stall_s` counts from the last byte, or from when we began to wait for one: the time that our own disk
    takes, or a limit of ours, is no stall. Where `throttle` limits, no more is read at once than it allows.
    """

    def __init__(
        self, buffers: Buffers, *, peer: str, stall_s: float, throttle: Throttle = UNLIMITED
    ) -> None:
        self.peer = peer
        self.stall_s = stall_s
        self._throttle = throttle
        self._loop = asyncio.get_running_loop()
        self._buffers = buffers
        self._filling = buffers.take()
        self._filled = 0
        self._spare: memoryview | None = buffers.take()
        self._lent: memoryview | None = None
        self._transport: asyncio.Transport | None = None
        self._lost = self._loop.create_future()
        self._ended = False
        self._closed = False
        self._paused = False
        self._error: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = 1
        self._unsent = bytearray()
        self._heard_at = 0.0
        self._stalled = False
        self._timer: asyncio.TimerHandle | None = None
        self._within_s: Callable[[], float] | None = None
        self._waited_s = 0.0

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """The free part of the buffer that is filling; never empty, since reading pauses when it is full."""
        # The limit may have become smaller than what stands there already.
        return self._filling[self._filled : max(self._capacity, self._filled + _LEAST_READ)]

    @property
    def _capacity(self) -> int:
        return min(BUFFER_BYTES, self._throttle.piece_bytes or BUFFER_BYTES)

    def buffer_updated(self, nbytes: int) -> None:
        """So many more bytes stand in the buffer."""
        self._filled += nbytes
        self._heard_at = self._loop.time()
        self._stalled = False
        if self._filled >= self._capacity and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        if self._filled >= self._wanted or self._paused:
            self._wake()

    def eof_received(self) -> bool:
        """The peer sends nothing more; the connection closes."""
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what was received can still be read."""
        self._ended = True
        self._error = exc if isinstance(exc, OSError) else None
        if not self._lost.done():
            self._lost.set_result(None)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Called by the reader.

    @property
    def open(self) -> bool:
        """Whether the peer may still send."""
        return not self._ended

    @property
    def unread(self) -> bool:
        """Whether bytes have come that nobody has asked for yet."""
        return self._filled > 0

    def write(self, data: bytes) -> None:
        """`data` is on its way, in one packet with what else is written in this round of the loop.

        A lost connection shows at the next read.
        """
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent += data

    def _send(self) -> None:
        data, self._unsent = self._unsent, bytearray()
        if self._transport is not None and not self._ended:
            self._transport.write(data)

    async def more(self, at_least: int = 1, *, within_s: Callable[[], float] | None = None) -> memoryview:
        """The next stretch of the stream, valid until the next call; empty at the end of the stream.

        Waits for `at_least` bytes, but hands over fewer before it reports an end or a fault. `within_s`, asked
        again and again while waiting, says how long to wait for the first of them, if that is less than `stall_s`.

        Raises:
            LostPatience: no byte came within `within_s`.
            Stalled: no byte came for `stall_s`.
            TransientFault: the connection broke.
        """
        self._reclaim()
        wanted = min(at_least, self._capacity)
        # Paused, what stands there is all that comes; the limit may be gone since.
        if self._filled < wanted and not self._paused and not self._ended and not self._stalled:
            await self._wait(wanted, within_s)
        if self._filled:
            return self._lend()
        if self._error is not None:
            reason = self._error.strerror or type(self._error).__name__
            raise TransientFault(f"{self.peer} broke the connection: {reason}", crowded=True) from self._error
        if self._ended:
            return _NOTHING
        if self._waited_s < self.stall_s:
            self._stalled = False
            raise LostPatience(f"{self.peer} did not answer within {self._waited_s:.1f} s")
        raise Stalled(f"{self.peer} sent nothing for {self.stall_s:g} s")

    async def pay(self, count: int) -> None:
        """So many bytes of a file were read; comes back when more may be. Meanwhile at most one piece more is received."""
        if self._throttle.piece_bytes is not None:
            await self._throttle.pay(count)

    def _reclaim(self) -> None:
        if self._lent is not None:
            self._spare, self._lent = self._lent, None

    def _lend(self) -> memoryview:
        assert self._spare is not None
        stretch = self._filling[: self._filled]
        self._lent, self._filling, self._spare = self._filling, self._spare, None
        self._filled = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return stretch

    async def _wait(self, wanted: int, within_s: Callable[[], float] | None) -> None:
        self._wanted = wanted
        self._waiter = self._loop.create_future()
        self._heard_at = self._loop.time()
        self._within_s = within_s if self._filled == 0 else None
        self._timer = self._loop.call_later(self._look_again_s(), self._look_for_stall)
        try:
            await self._waiter
        finally:
            self._timer.cancel()
            self._waiter = None

    def _look_again_s(self) -> float:
        return self.stall_s if self._within_s is None else min(self.stall_s, _LOOK_AGAIN_S)

    def _look_for_stall(self) -> None:
        now = self._loop.time()
        self._waited_s = now - self._heard_at
        limit_s = self.stall_s
        if self._within_s is not None and self._filled == 0:
            limit_s = min(limit_s, self._within_s())
        # The loop's clock may fire a timer early by its resolution.
        if self._waited_s + 0.001 < limit_s:
            due = self._heard_at + limit_s
            self._timer = self._loop.call_at(min(due, now + self._look_again_s()), self._look_for_stall)
            return
        if limit_s == self.stall_s:
            self._waited_s = self.stall_s
        self._stalled = True
        self._wake()

    async def close(self) -> None:
        """The socket is closed, at once and without farewell, and its buffers can serve others.

        A lent buffer is let go, not given back: a cancelled write may still be reading it in its thread.
        """
        if self._transport is not None:
            self._transport.abort()
            await self._lost
        if not self._closed:
            self._closed = True
            self._buffers.give(self._filling)
            if self._spare is not None:
                self._buffers.give(self._spare)


class Delivery:
    """One attempt at one claim: hands its bytes over in order, counts them, and becomes its `Outcome`."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.found: Validators | None = None
        self.moved = 0
        self._started_at = time.time()
        self._began = time.monotonic()

    async def begin(self, found: Validators) -> None:
        """The sink knows what the server says of the file, and has agreed.

        Raises:
            ChangedUpstream: it is not the file that the claim was begun with, to the claim or to the sink.
            StorageFault: from the sink.
        """
        self.found = found
        claimed = self.claim.validators
        if claimed is not None and (why := claimed.contradicts(found)):
            raise ChangedUpstream(f"{self.claim.remote} changed on the server: {why}")
        if found.size is not None and found.size < self.claim.start:
            raise ChangedUpstream(
                f"{self.claim.remote} is shorter now than the {self.claim.start} bytes kept"
            )
        await self.claim.sink.begin(found, start=self.claim.start)

    @property
    def wanted(self) -> int | None:
        """Bytes that complete this claim; None where nobody has stated the file's size."""
        stop = self.claim.stop
        if self.found is not None and self.found.size is not None:
            stop = self.found.size if stop is None else min(stop, self.found.size)
        elif stop is None and self.claim.validators is not None:
            stop = self.claim.validators.size
        return None if stop is None else max(stop - self.claim.start, 0)

    async def take(self, piece: memoryview) -> None:
        """The next bytes are with the sink, up to what the claim wants.

        Raises:
            IntegrityFault: these are more bytes than the server stated.
        """
        wanted = self.wanted
        surplus = 0 if wanted is None else max(self.moved + len(piece) - wanted, 0)
        if len(piece) > surplus:
            await self.claim.sink.write(self.claim.start + self.moved, piece[: len(piece) - surplus])
            self.moved += len(piece) - surplus
        if surplus:
            raise IntegrityFault(
                f"{self.claim.remote}: the server sent more than the {wanted} bytes it stated"
            )

    def finish(self) -> Outcome:
        """The successful outcome.

        Raises:
            TransientFault: fewer bytes came than the server stated.
        """
        if self.wanted is not None and self.moved < self.wanted:
            raise TransientFault(f"{self.claim.remote}: the server sent {self.moved} of {self.wanted} bytes")
        return self._outcome(None)

    def failed(self, fault: EmpiarMirrorError) -> Outcome:
        """The outcome with `fault`."""
        return self._outcome(fault)

    def _outcome(self, fault: EmpiarMirrorError | None) -> Outcome:
        # By the timer: the clock may be set meanwhile, and no attempt ends before it began.
        ended_at = self._started_at + (time.monotonic() - self._began)
        return Outcome(self.claim, self.moved, self._started_at, ended_at, self.found, fault)

"""Logged-in FTP connections between two directories."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from empiar_schema.faults import TransientFault
from empiar_wire.ftp import FtpConnection

#: An idle connection holds a place at the host's gate that HTTPS may be waiting for.
_KEPT_S = 2.0


class FtpSessions:
    """Connections of one listing source. Who waits for a new one is handed the first that falls free.

    So a gate or a server that admits fewer connections than there are readers slows them down and stops none.
    """

    def __init__(self, log_in: Callable[[], Awaitable[FtpConnection | None]]) -> None:
        self._log_in = log_in
        self._in_use = 0
        self._idle: dict[FtpConnection, asyncio.TimerHandle] = {}
        # None wakes a waiter without a connection, to look again.
        self._waiting: deque[asyncio.Future[FtpConnection | None]] = deque()

    async def take(self) -> FtpConnection:
        """A usable connection; every call needs one `put`.

        Raises:
            TransientFault: none is open and none can be opened.
        """
        while True:
            connection = self._popped() or await self._handed_or_new()
            if connection is not None and connection.usable:
                self._in_use += 1
                return connection
            if connection is not None:
                connection.close()

    def put(self, connection: FtpConnection) -> None:
        """The connection is free for others, or closed if it is not in step."""
        self._in_use -= 1
        if connection.usable:
            self._keep(connection)
            return
        connection.close()
        self._hand_over(None)

    def close_idle(self) -> None:
        """Connections that nobody uses are closed."""
        while (connection := self._popped()) is not None:
            connection.close()

    def _keep(self, connection: FtpConnection) -> None:
        if not self._hand_over(connection):
            loop = asyncio.get_running_loop()
            self._idle[connection] = loop.call_later(_KEPT_S, self._expire, connection)

    def _hand_over(self, connection: FtpConnection | None) -> bool:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return True
        return False

    def _expire(self, connection: FtpConnection) -> None:
        del self._idle[connection]
        connection.close()

    def _popped(self) -> FtpConnection | None:
        if not self._idle:
            return None
        connection, timer = self._idle.popitem()
        timer.cancel()
        return connection

    async def _handed_or_new(self) -> FtpConnection | None:
        handed: asyncio.Future[FtpConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(handed)
        opening: asyncio.Future[FtpConnection | None] = asyncio.ensure_future(self._log_in())
        try:
            await asyncio.wait({handed, opening}, return_when=asyncio.FIRST_COMPLETED)
            if self._in_use and _is_full(opening):
                await asyncio.wait({handed})
        except asyncio.CancelledError:
            for connection in await _settled(handed, opening):
                self._keep(connection)
            raise
        connections = await _settled(handed, opening)
        for spare in connections[1:]:
            self._keep(spare)
        if connections:
            return connections[0]
        return None if _succeeded(handed) else opening.result()


async def _settled(*futures: asyncio.Future[FtpConnection | None]) -> list[FtpConnection]:
    """What came of them; those that are not done never will be."""
    for future in futures:
        future.cancel()
    await asyncio.wait(futures)
    results = [future.result() for future in futures if _succeeded(future)]
    return [connection for connection in results if connection is not None]


def _succeeded(future: asyncio.Future[FtpConnection | None]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _is_full(opening: asyncio.Future[FtpConnection | None]) -> bool:
    """Whether the login failed only because the server admits no more connections."""
    fault = opening.exception() if opening.done() and not opening.cancelled() else None
    return isinstance(fault, TransientFault) and fault.host_down

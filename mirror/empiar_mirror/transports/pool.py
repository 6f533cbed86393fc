"""Open connections between two uses."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Generic, TypeVar

C = TypeVar("C")


class ConnectionPool(Generic[C]):
    """Connections of one transport to one host; who waits for a new one is handed the first that falls free.

    An open connection holds a place at its host's gate that another channel or the crawler may be waiting for.
    Therefore an idle one is closed after `keep_s`, and none is used for more than `oldest_s`.
    """

    def __init__(
        self,
        open_one: Callable[[], Coroutine[None, None, C]],
        close: Callable[[C], Awaitable[None]],
        alive: Callable[[C], bool],
        *,
        keep_s: float = 3.0,
        oldest_s: float = 30.0,
    ) -> None:
        self._open_one = open_one
        self._close_one = close
        self._alive = alive
        self._keep_s = keep_s
        self._oldest_s = oldest_s
        self._born: dict[C, float] = {}
        self._idle: dict[C, asyncio.TimerHandle] = {}
        self._waiting: deque[asyncio.Future[C]] = deque()
        self._closing: set[asyncio.Task[None]] = set()

    async def take(self, *, fresh: bool = False) -> C:
        """A connection for one user: the idle one used last, or one that falls free, or a new one.

        `fresh` asks for a new one because an idle one had died; the other idle ones go with it.

        Raises:
            EmpiarMirrorError: there is none to be had.
        """
        while (idle := self._popped()) is not None:
            if not fresh and self._alive(idle):
                return idle
            await self.close(idle)
        return await self._new() if fresh else await self._new_or_handed()

    def put(self, connection: C) -> None:
        """`connection` is in step and may serve somebody else."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._born[connection] > self._oldest_s:
            self._close_soon(connection)
            return
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        self._idle[connection] = loop.call_later(self._keep_s, self._expire, connection)

    async def close(self, connection: C) -> None:
        """`connection`, taken before, is closed."""
        self._born.pop(connection, None)
        await self._close_one(connection)

    async def aclose(self) -> None:
        """All idle ones are closed."""
        while (connection := self._popped()) is not None:
            await self.close(connection)
        if self._closing:
            await asyncio.gather(*self._closing)

    def _popped(self) -> C | None:
        if not self._idle:
            return None
        connection, timer = self._idle.popitem()
        timer.cancel()
        return connection

    async def _new(self) -> C:
        connection = await self._open_one()
        self._born[connection] = asyncio.get_running_loop().time()
        return connection

    async def _new_or_handed(self) -> C:
        handed: asyncio.Future[C] = asyncio.get_running_loop().create_future()
        self._waiting.append(handed)
        opening = asyncio.create_task(self._new())
        try:
            await asyncio.wait({handed, opening}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._abandon(opening)
            if handed.done():
                self.put(handed.result())
            raise
        finally:
            if not handed.done():
                handed.cancel()
        if handed.cancelled():
            return opening.result()
        await self._abandon(opening)
        return handed.result()

    async def _abandon(self, opening: asyncio.Task[C]) -> None:
        opening.cancel()
        await asyncio.wait({opening})
        if not opening.cancelled() and opening.exception() is None:
            self.put(opening.result())

    def _expire(self, connection: C) -> None:
        del self._idle[connection]
        self._close_soon(connection)

    def _close_soon(self, connection: C) -> None:
        task = asyncio.create_task(self.close(connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

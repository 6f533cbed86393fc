"""The places of an account: how many of its tasks are worked on at once."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

#: Transfer tasks of one account that are worked on at once.
PLACES: Final = 3


class Places:
    """Places that are given out in the order in which they were asked for."""

    def __init__(self, count: int = PLACES) -> None:
        self.free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """The caller has a place, which it must give back."""
        if self.free > 0 and not self._waiting:
            self.free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        """The place goes to the next in line."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1

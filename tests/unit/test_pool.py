"""Who gets which connection."""

from __future__ import annotations

import asyncio

import pytest

from empiar_mirror.transports.pool import ConnectionPool


class Places:
    """Connections are numbers; at most `count` are open at once."""

    def __init__(self, count: int) -> None:
        self.free = asyncio.Semaphore(count)
        self.opened = 0
        self.closed: list[int] = []
        self.dead: set[int] = set()
        self.fails = False

    async def open(self) -> int:
        await self.free.acquire()
        if self.fails:
            self.free.release()
            raise OSError("refused")
        self.opened += 1
        return self.opened

    async def close(self, connection: int) -> None:
        self.closed.append(connection)
        self.free.release()

    def pool(self, *, keep_s: float = 60.0, oldest_s: float = 60.0) -> ConnectionPool[int]:
        return ConnectionPool(
            self.open, self.close, lambda c: c not in self.dead, keep_s=keep_s, oldest_s=oldest_s
        )


async def test_who_waits_for_a_place_is_handed_the_connection_that_falls_free() -> None:
    places = Places(1)
    pool = places.pool()
    first = await pool.take()
    waiting = [asyncio.create_task(pool.take()) for _ in range(3)]
    for task in waiting:
        await asyncio.sleep(0)
        pool.put(first)
        assert await task == first
    pool.put(first)
    await pool.aclose()
    assert (places.opened, places.closed) == (1, [first])


async def test_a_dead_idle_connection_is_closed_and_another_opened() -> None:
    places = Places(2)
    pool = places.pool()
    pool.put(await pool.take())
    places.dead.add(1)
    assert await pool.take() == 2
    assert places.closed == [1]


async def test_an_idle_connection_gives_its_place_back_soon() -> None:
    places = Places(1)
    pool = places.pool(keep_s=0.01)
    pool.put(await pool.take())
    async with asyncio.timeout(5):
        await places.free.acquire()
    assert places.closed == [1]
    await pool.aclose()


async def test_an_old_connection_is_not_kept_so_that_other_users_of_the_host_get_their_turn() -> None:
    places = Places(1)
    pool = places.pool(oldest_s=-1.0)
    first = await pool.take()
    other = asyncio.create_task(places.free.acquire())
    await asyncio.sleep(0)
    ours = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    pool.put(first)
    async with asyncio.timeout(5):
        await other
    assert not ours.done()
    places.free.release()
    assert await ours == 2
    await pool.aclose()


async def test_a_cancelled_wait_loses_neither_place_nor_connection() -> None:
    places = Places(1)
    pool = places.pool()
    first = await pool.take()
    for handed in (False, True):
        waiting = asyncio.create_task(pool.take())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if handed:
            pool.put(first)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await pool.take() == first
    await pool.close(first)
    assert not places.free.locked()


async def test_a_failure_to_open_is_raised_and_holds_no_place() -> None:
    places = Places(1)
    places.fails = True
    pool = places.pool()
    with pytest.raises(OSError, match="refused"):
        await pool.take()
    assert not places.free.locked()
    places.fails = False
    assert await pool.take() == 1

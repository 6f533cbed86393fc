"""Bandwidth limits: never more than the rate, everybody in turn, changed while streams wait."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_wire.throttle import UNLIMITED, Bucket, ByteBudget, Throttle


@given(
    st.integers(1_000, 10**9),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 2**20)), min_size=2, max_size=60),
)
def test_over_any_time_no_more_than_the_rate_and_a_piece(rate: int, steps: list[tuple[float, int]]) -> None:
    budget, now = ByteBudget(rate), 1000.0
    paid: list[tuple[float, int]] = []
    for idle, count in steps:
        now = max(now + idle, budget.ready_at(now))
        budget.pay(count, now=now)
        paid.append((now, count))
    for first in range(len(paid)):
        for last in range(first, len(paid)):
            moved = sum(count for _, count in paid[first:last])  # the last piece is paid by what follows
            seconds = paid[last][0] - paid[first][0]
            assert moved <= rate * (seconds + 0.051) + paid[first][1]


async def test_streams_have_their_turns() -> None:
    now = 0.0
    bucket = Bucket(1e6, clock=lambda: now)
    await bucket.pay(100_000)
    order: list[int] = []

    async def stream(number: int) -> None:
        for _ in range(5):
            await bucket.pay(2000)
            order.append(number)

    streams = asyncio.gather(*(stream(number) for number in range(4)))
    while not streams.done():
        now += 0.002
        bucket._serve()
        for _ in range(3):
            await asyncio.sleep(0)
    assert sorted(order[4:8]) == [0, 1, 2, 3]
    assert sorted(order[-4:]) == [0, 1, 2, 3], "nobody is through long before the others"


async def test_who_gives_up_has_paid_nothing_and_keeps_nobody_waiting() -> None:
    bucket = Bucket(1e6)
    await bucket.pay(100_000)
    tasks = [asyncio.create_task(bucket.pay(10**9)) for _ in range(3)]
    last = asyncio.create_task(bucket.pay(1))
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(last, 30)
    assert bucket.held_back


async def test_another_rate_holds_for_those_who_wait() -> None:
    bucket = Bucket(1.0)
    await bucket.pay(10**6)
    waiting = asyncio.create_task(bucket.pay(1))
    await asyncio.sleep(0)
    bucket.change(1e9)
    await asyncio.wait_for(waiting, 30)
    bucket.change(None)
    await asyncio.wait_for(bucket.pay(10**12), 30)


@pytest.mark.parametrize(("rate", "most"), [(1e4, 4096), (1e6, 2**16), (1e8, 2**24)])
def test_pieces_are_so_small_that_no_server_waits_long(rate: float, most: int) -> None:
    pieces = Throttle([Bucket(None), Bucket(rate)]).piece_bytes
    assert pieces is not None and 4096 <= pieces <= most
    assert UNLIMITED.piece_bytes is None

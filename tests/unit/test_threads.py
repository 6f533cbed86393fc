from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from empiar_mirror.threads import Together


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


async def test_each_call_gets_its_own_result_or_exception(threads: ThreadPoolExecutor) -> None:
    together: Together[int, int] = Together(threads, lambda number: 12 // number, at_most=3)
    results = await asyncio.gather(*(together.call(n) for n in (1, 0, 2, 3, 4, 6)), return_exceptions=True)
    assert [r for r in results if not isinstance(r, BaseException)] == [12, 6, 4, 3, 2]
    assert isinstance(results[1], ZeroDivisionError)


async def test_what_waits_while_a_group_is_at_work_becomes_the_next_group(
    threads: ThreadPoolExecutor,
) -> None:
    gate = threading.Event()
    seen: list[int] = []

    def note(number: int) -> int:
        gate.wait(5)
        seen.append(number)
        return number

    together = Together(threads, note, at_most=64)
    calls = [asyncio.create_task(together.call(n)) for n in range(3)]
    await asyncio.sleep(0)
    late = asyncio.create_task(together.call(99))
    gate.set()
    assert await asyncio.gather(*calls, late) == [0, 1, 2, 99]
    assert seen == [0, 1, 2, 99]


async def test_a_cancelled_caller_holds_up_nobody(threads: ThreadPoolExecutor) -> None:
    together: Together[int, int] = Together(threads, lambda number: number, at_most=1)
    first, second = asyncio.create_task(together.call(1)), asyncio.create_task(together.call(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2
    assert first.cancelled()

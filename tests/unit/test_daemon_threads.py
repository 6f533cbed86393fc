from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from empiar_wire.daemon_threads import DaemonThreads


@pytest.fixture
def threads() -> Iterator[DaemonThreads]:
    made = DaemonThreads(2, "test")
    yield made
    made.shutdown(cancel_futures=True)


async def test_each_call_gets_its_own_result_or_exception(threads: DaemonThreads) -> None:
    loop = asyncio.get_running_loop()
    calls = [loop.run_in_executor(threads, divmod, 12, number) for number in (1, 0, 5)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert (found[0], found[2]) == ((12, 0), (2, 2))
    assert isinstance(found[1], ZeroDivisionError)


def test_what_waits_is_given_up_and_what_hangs_is_left(threads: DaemonThreads) -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)

    def hang() -> bool:
        begun.release()
        return gate.wait()

    hanging = [threads.submit(hang) for _ in range(2)]
    for _ in hanging:
        assert begun.acquire(timeout=60)
    waiting = threads.submit(hang)
    threads.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    assert not threads.join(0.0)
    with pytest.raises(RuntimeError):
        threads.submit(hang)
    gate.set()
    assert threads.join(60)
    assert [future.result() for future in hanging] == [True, True]


def test_closing_without_giving_up_does_what_waits_first(threads: DaemonThreads) -> None:
    done = [threads.submit(abs, -number) for number in range(50)]
    threads.shutdown()
    assert [future.result() for future in done] == list(range(50))


def test_the_interpreter_does_not_wait_for_them() -> None:
    made = DaemonThreads(1, "test")
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("test-"))
    made.shutdown()

"""Blocking work off the event loop, with its types kept."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")


async def in_thread(threads: Executor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `function` returns, run in one of `threads`. Cancelling does not stop a call that has begun."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, functools.partial(function, *args, **kwargs))


async def to_the_end(work: Coroutine[object, object, R]) -> R:
    """What `work` returns; it is finished even when this is cancelled meanwhile."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def undisturbed(work: Coroutine[object, object, None]) -> None:
    """`work` is finished, however often this is cancelled meanwhile. For what must be brought to its end before a cancelled task ends."""
    task = asyncio.create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    task.result()


class Together(Generic[A, R]):
    """Short calls of one function, many to a thread: what waits while one group is at work becomes the next group.

    The way to a thread and back costs more than opening, hashing and inspecting a small file.
    """

    def __init__(self, threads: Executor, function: Callable[[A], R], *, at_most: int) -> None:
        self._threads = threads
        self._function = function
        self._at_most = at_most
        self._waiting: deque[tuple[A, asyncio.Future[R]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def call(self, argument: A) -> R:
        """What the function returns for `argument`, or raises. Cancelling does not stop a call that has begun."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((argument, done))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await done

    async def _work(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), self._at_most)
            group = [self._waiting.popleft() for _ in range(count)]
            results = await in_thread(self._threads, self._each, [argument for argument, _ in group])
            for (_, done), (result, error) in zip(group, results, strict=True):
                if done.done():
                    continue
                if error is not None:
                    done.set_exception(error)
                else:
                    assert result is not None
                    done.set_result(result[0])

    def _each(self, arguments: Sequence[A]) -> list[tuple[tuple[R] | None, Exception | None]]:
        results: list[tuple[tuple[R] | None, Exception | None]] = []
        for argument in arguments:
            try:
                results.append(((self._function(argument),), None))
            except Exception as error:  # it belongs to whoever waits for this call
                results.append((None, error))
        return results

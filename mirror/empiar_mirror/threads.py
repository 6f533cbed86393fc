"""Blocking work off the event loop, with its types kept."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(threads: Executor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `function` returns, run in one of `threads`. Cancelling does not stop a call that has begun."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, functools.partial(function, *args, **kwargs))

"""What SIGINT and SIGTERM do: where an event loop can be asked to stop, it is; everywhere else they end the command at once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """While the body runs, SIGINT and SIGTERM raise `KeyboardInterrupt` in it.

    What was begun is left as a kill would leave it: the next start puts it in order. A signal that was ignored still is. Handlers belong
    to the main thread; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    ours = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in ours:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in ours:
            _restore(number, before[number])


@contextmanager
def handling(handlers: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
    """While the body runs, the running loop calls these for signals; what they did before is restored in the end."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number, formerly in before.items():
            loop.remove_signal_handler(number)
            _restore(number, formerly)


def _restore(number: int, handler: Callable[[int, FrameType | None], object] | int | None) -> None:
    # None: one that C code has installed, of which Python knows nothing.
    signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt

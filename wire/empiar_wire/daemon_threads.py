"""Threads that do not keep a program from ending."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThreads(Executor):
    """As `ThreadPoolExecutor`, whose threads the interpreter waits for at its end, without that.

    For calls that may hang on the network for a minute: whoever stops the program does not wait for them.
    """

    def __init__(self, count: int, name: str) -> None:
        #: What is to be done, and how it is given up; None ends a thread.
        self._work: SimpleQueue[tuple[Callable[[], None], Callable[[], bool]] | None] = SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor.submit`."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # handed to whoever waits
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._closed:
                raise RuntimeError("the threads are closed")
            self._work.put((work, future.cancel))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `Executor.shutdown`."""
        self._close(cancel=cancel_futures)
        if wait:
            self.join(None)

    def join(self, seconds: float | None) -> bool:
        """Whether all threads have ended, after at most so long; None waits for ever. To be closed before."""
        until = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _close(self, *, cancel: bool) -> None:
        with self._lock:
            self._closed = True
            while cancel:
                try:
                    given_up = self._work.get_nowait()
                except Empty:
                    break
                if given_up is not None:
                    given_up[1]()
            for _ in self._threads:
                self._work.put(None)

    def _run(self) -> None:
        while (given := self._work.get()) is not None:
            given[0]()

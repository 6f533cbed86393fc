"""Who calls makers' functions: worker processes of this machine, each with one image at a time, so that its end costs no other.

Workers of other machines are in `empiar_mirror.cluster.making`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle  # between our own two processes
import sys
from typing import Final, Protocol

from empiar_mirror.makers.maker import JobFault, Output, Work
from empiar_mirror.makers.worker import LARGEST, LENGTH, Answer, Function

#: How long a worker may take to go by itself, seconds.
_PARTING_S: Final = 0.3
#: A process that calls functions, one at a time.
WORKER_COMMAND: Final = (sys.executable, "-m", "empiar_mirror.makers.worker")


class Workers(Protocol):
    """Calls makers' functions, somewhere."""

    @property
    def places(self) -> int | None:
        """How many calls are worth beginning at once; None: as many as the configuration has workers."""
        return None

    async def call(
        self, function: Function, work: Work, *, job_id: int, timeout_s: float
    ) -> tuple[Output, ...]:
        """What `function` returns for `work`; what it wrote stands in `work.folder`. Cancelling ends it.

        Raises:
            JobFault: the function raised, took too long, or whatever called it was lost too often.
        """

    async def aclose(self) -> None:
        """Nothing that it started is left."""


def worker_environment() -> dict[str, str]:
    """The environment of a worker process: it imports what we can import, in one thread."""
    # The workers together take all cores, and numerical libraries would take them all again.
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **single, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def too_late(timeout_s: float) -> JobFault:
    """The fault of a call that took too long."""
    return JobFault(f"it was ended after {timeout_s:g} s, the time that it may take")


class Processes(Workers):
    """As many processes as there are calls at once; they are started when needed and kept for the next call."""

    def __init__(self) -> None:
        self._idle: list[asyncio.subprocess.Process] = []

    async def call(
        self, function: Function, work: Work, *, job_id: int, timeout_s: float
    ) -> tuple[Output, ...]:
        """What `function` returns for `work` in a process of its own. Cancelling, and taking longer, end that process.

        Raises:
            JobFault: the function raised, took too long, or its process died.
        """
        del job_id
        worker = self._idle.pop() if self._idle else await self._start()
        healthy = False
        try:
            answer = await asyncio.wait_for(_called(worker, pickle.dumps((function, work))), timeout_s)
            healthy = answer is not None
        except TimeoutError:
            raise too_late(timeout_s) from None
        finally:
            if healthy:
                self._idle.append(worker)
            else:
                await _ended(worker)
        if answer is None:
            code = worker.returncode
            raise JobFault(
                f"the process that worked on it died (exit code {code}), often for want of memory",
                hint="lower making.workers",
            )
        outputs, error, permanent = answer
        if outputs is None:
            raise JobFault(error, permanent=permanent)
        return tuple(outputs)

    async def aclose(self) -> None:
        """No worker is left."""
        idle, self._idle = self._idle, []
        for worker in idle:
            await _ended(worker)

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *WORKER_COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=worker_environment(),
            start_new_session=True,
        )


async def _called(worker: asyncio.subprocess.Process, call: bytes) -> Answer | None:
    """The worker's answer; None if it died."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(LENGTH.pack(len(call)) + call)
        await worker.stdin.drain()
        (length,) = LENGTH.unpack(await worker.stdout.readexactly(LENGTH.size))
        if length > LARGEST:
            return None
        answer: Answer = pickle.loads(await worker.stdout.readexactly(length))  # noqa: S301 - from our own child
    except (asyncio.IncompleteReadError, BrokenPipeError, ConnectionResetError):
        return None
    return answer


async def _ended(worker: asyncio.subprocess.Process) -> None:
    """The process is gone, by itself if it does not take long: at the end of its input it goes, and one that died is only waited for.

    To kill a dead one would reap it behind asyncio's back, and its exit code would be lost.
    """
    if worker.stdin is not None:
        worker.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(worker.wait(), _PARTING_S)
    if worker.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()

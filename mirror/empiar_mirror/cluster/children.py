"""Makers' functions on a worker of a cluster: in a process for each call, so that one that hangs or dies costs the worker nothing."""

from __future__ import annotations

import contextlib
import pickle  # between our own two processes
import select
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Final

from empiar_mirror.makers.maker import JobFault, Output, Work
from empiar_mirror.makers.worker import Answer, Function, receive, send
from empiar_mirror.makers.workers import WORKER_COMMAND, too_late, worker_environment

#: How often is looked whether the call is wanted still, seconds.
_LOOK_S: Final = 0.5

#: Processes of this worker that wait for the next call.
_idle: list[subprocess.Popen[bytes]] = []
_idle_lock: Final = threading.Lock()


def called(
    function: Function, work: Work, *, timeout_s: float, require_wanted: Callable[[], None]
) -> tuple[Output, ...]:
    """What `function` returns for `work`. `require_wanted` is asked now and then; what it raises ends the process.

    Raises:
        JobFault: the function raised, took too long, or its process died.
    """
    child = _taken()
    healthy = False
    try:
        answer = _answer(child, pickle.dumps((function, work)), timeout_s, require_wanted)
        healthy = answer is not None
    finally:
        if healthy:
            with _idle_lock:
                _idle.append(child)
        else:
            child.kill()
            code = child.wait()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
    if answer is None:
        raise JobFault(
            f"the process that worked on it died (exit code {code}), often for want of memory",
            hint="give each worker fewer threads, or more memory",
        )
    outputs, error, permanent = answer
    if outputs is None:
        raise JobFault(error, permanent=permanent)
    return tuple(outputs)


def _taken() -> subprocess.Popen[bytes]:
    with _idle_lock:
        while _idle:
            child = _idle.pop()
            if child.poll() is None:
                return child
    return subprocess.Popen(  # noqa: S603 - our own module
        WORKER_COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=worker_environment(),
        start_new_session=True,
    )


def _answer(
    child: subprocess.Popen[bytes], call: bytes, timeout_s: float, require_wanted: Callable[[], None]
) -> Answer | None:
    """The process's answer; None if it died."""
    assert child.stdin is not None
    assert child.stdout is not None
    ends = time.monotonic() + timeout_s
    try:
        send(child.stdin, call)
        while not select.select([child.stdout], [], [], _LOOK_S)[0]:
            require_wanted()
            if time.monotonic() >= ends:
                raise too_late(timeout_s)
        reply = receive(child.stdout)
    except BrokenPipeError:
        return None
    if reply is None:
        return None
    answer: Answer = pickle.loads(reply)  # noqa: S301 - from our own child
    return answer

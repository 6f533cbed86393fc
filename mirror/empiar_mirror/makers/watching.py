"""The mirror's side of the watcher (`watch`): starts it, tells it to stop, and reads what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_mirror.makers.watch import Report, Request

_WATCHER: Final = str(Path(__file__).with_name("watch.py"))
#: Of what a program says, at most so much is kept.
LOG_BYTES: Final = 2**20
#: Between the request to end and the end by force.
GRACE_S: Final = 5.0
#: The same when the mirror itself is being stopped.
STOP_GRACE_S: Final = 2.0
#: A program that was ended is gone after the grace and this, or the watcher itself is ended.
_WATCHER_S: Final = 30.0
#: Of our own variables these go on to programs; none of them is a secret.
_PASSED_ON: Final = ("PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "LANG")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a program may use."""

    timeout_s: float
    file_bytes: int
    memory: int | None = None
    #: Whether the kernel keeps it from writing elsewhere but in its folder and in `writable`.
    fence: bool = True
    writable: tuple[str, ...] = ()


def variables_for(
    folder: Path, *, threads: int, own: Mapping[str, str], ours: Mapping[str, str]
) -> dict[str, str]:
    """The variables that a program gets: few of `ours`, its folder as home, and what the configuration says (`own`)."""
    passed = {name: ours[name] for name in _PASSED_ON if name in ours}
    home = str(folder)
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        **passed,
        "HOME": home,
        "TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": str(threads),
        **own,
    }


async def watched(
    argv: Sequence[str],
    *,
    folder: Path,
    log: Path,
    bounds: Bounds,
    variables: Mapping[str, str],
    answers: Sequence[str] = (),
) -> Report | None:
    """The program has run in `folder` and nothing of it is left; None if its watcher was killed. Cancelling ends the program first."""
    request = Request(
        argv=list(argv),
        folder=str(folder),
        variables=dict(variables),
        answers="".join(f"{answer}\n" for answer in answers),
        log=str(log),
        log_bytes=LOG_BYTES,
        timeout_s=bounds.timeout_s,
        grace_s=min(GRACE_S, max(STOP_GRACE_S, bounds.timeout_s)),
        memory=bounds.memory,
        file_bytes=bounds.file_bytes,
        fence=bounds.fence,
        writable=list(bounds.writable),
    )
    # A session of its own: an interrupt at the terminal is for the mirror, which then tells the watcher.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", _WATCHER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
        start_new_session=True,
    )
    try:
        return await _report(process, request)
    finally:
        await _end(process)


async def _report(process: asyncio.subprocess.Process, request: Request) -> Report | None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
    try:
        line = await process.stdout.readline()
    except asyncio.CancelledError:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(b"stop\n")
        raise
    if not line.endswith(b"\n"):
        return None
    report: Report = json.loads(line)
    return report


async def _end(process: asyncio.subprocess.Process) -> None:
    """The watcher has ended, and with it its program; also when this is cancelled once more."""
    try:
        await asyncio.wait_for(process.wait(), _WATCHER_S)
    except TimeoutError:
        process.kill()
        await process.wait()
    except asyncio.CancelledError:
        assert process.stdin is not None
        process.stdin.close()  # the end of its standard input ends everything at once
        await process.wait()
        raise


def reason_of(report: Report, program: str, *, timeout_s: float) -> str | None:
    """Why the program's run is no success, in one sentence; None if it is one."""
    said = f"; it said last: {report['last']}" if report["last"] else ""
    code = report["code"]
    match report["outcome"]:
        case "not_started":
            return f"{program} cannot be started: {_why_not_started(code)}"
        case "timeout":
            return f"{program} was ended after {timeout_s:g} s, the timeout of the hook{said}"
        case "stopped":
            return f"{program} was stopped"
        case "signalled":
            return f"{program} was killed by signal {code}{_likely(code)}{said}"
    if code != 0:
        return f"{program} ended with exit code {code}{said}"
    if report["leftovers"]:
        several = report["leftovers"] > 1
        return (
            f"{program} ended, but {report['leftovers']} {'processes' if several else 'process'} that it had started"
            f" went on and had to be ended: what it wrote may be incomplete"
        )
    return None


def _why_not_started(code: int) -> str:
    if code == errno.ENOENT:
        return "there is no such program"
    return os.strerror(code)


def _likely(code: int) -> str:
    words = {
        9: " (often for want of memory)",
        11: " (a crash in the program)",
        25: " (a file of it grew beyond largest_output)",
    }
    return words.get(code, "")

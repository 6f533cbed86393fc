"""Runs one external program under watch, as a process of its own: ``python -I -S watch.py``, a request on standard input.

The request is one line of JSON (`Request` in `watching`); the answer is one line of JSON on standard output. A further
line on standard input asks to stop; its end means that the mirror has died, and everything ends at once.

The program gets nothing but what the request names: its folder, its variables, its limits. What it says is kept up to a
bound. Where the kernel has Landlock it can write nowhere but in its folder and where the request allows. This process is
the reaper of all its descendants, so that not even a daemon survives it.

This module runs without the rest of the product and without site-packages: it starts in 20 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import struct
import time
from pathlib import Path
from typing import TypedDict

#: ``linux/prctl.h``.
_PDEATHSIG, _NO_NEW_PRIVS, _CHILD_SUBREAPER = 1, 38, 36
#: System calls of Landlock; the same numbers on every architecture that Linux got after 2011, and on x86.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
#: ``linux/landlock.h``: everything that changes a file system; the last two since versions 2 and 3 of the interface.
_WRITE_FILE = 1 << 1
_CHANGES = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
#: Since version 6: no signals to processes outside.
_SCOPE_SIGNAL = 1 << 1

_READ = 65_536
#: Of a long log the beginning and the end are kept.
_HEAD_SHARE = 4
#: After the program's end: so long is waited for the rest of what it said, and for the ends of what it had started.
_DRAIN_S = 1.0
_REAP_S = 10.0
#: What it has started may take so long to end by itself, as the parts of a pipeline do.
_STRAGGLE_S = 0.3
#: Signals to a whole group of processes, which the mirror answers for us.
_NOT_FOR_US = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Request(TypedDict):
    """What is to be run, and within which bounds. Paths are absolute."""

    argv: list[str]
    folder: str
    variables: dict[str, str]
    answers: str
    log: str
    log_bytes: int
    timeout_s: float
    grace_s: float
    memory: int | None
    file_bytes: int
    fence: bool
    writable: list[str]


class Report(TypedDict):
    """How it ended: ``exited``, ``signalled``, ``timeout``, ``stopped``, or ``not_started`` with an errno as code."""

    outcome: str
    code: int
    #: Processes that it had started and that were still there when it ended.
    leftovers: int
    #: Whether the kernel kept it from writing elsewhere.
    fenced: bool
    log_bytes: int
    #: First and last line that it said, shortened.
    first: str
    last: str


class Log:
    """The beginning and the end of what the program says, in bounded memory; the beginning is on disk at once."""

    def __init__(self, path: str, limit: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(path, flags, 0o644)
        self._head_room = limit // _HEAD_SHARE
        self._tail_room = limit - self._head_room
        self._tail = bytearray()
        self._head = bytearray()
        self.total = 0

    def write(self, data: bytes) -> None:
        """Takes the next bytes."""
        self.total += len(data)
        if self._head_room > 0:
            part = data[: self._head_room]
            self._head_room -= len(part)
            self._head += part
            self._put(part)
            data = data[len(part) :]
        self._tail += data
        if len(self._tail) > 2 * self._tail_room:
            del self._tail[: -self._tail_room]

    def close(self) -> tuple[str, str]:
        """The log is on disk; returns the first and the last line that say something."""
        left_out = self.total - len(self._head) - len(self._tail)
        if len(self._tail) > self._tail_room:
            left_out += len(self._tail) - self._tail_room
            del self._tail[: -self._tail_room]
        if left_out:
            self._put(b"\n[... %d bytes are left out ...]\n" % left_out)
        self._put(bytes(self._tail))
        os.close(self._fd)
        lines = _lines(bytes(self._head))
        last = _lines(bytes(self._tail[-_READ:])) or lines
        return (lines[0] if lines else "", last[-1] if last else "")

    def _put(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            pass  # a full disk must not cost the program its life


def _lines(data: bytes) -> list[str]:
    text = data.decode("utf-8", "replace").replace("\r", "\n")
    shown = ("".join(c if c.isprintable() else " " for c in line).strip()[:200] for line in text.split("\n"))
    return [line for line in shown if line]


# --- the fence ----------------------------------------------------------------------------------------------


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def landlock_version() -> int:
    """The version of the kernel's Landlock interface; 0 if it has none."""
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def fence(writable: list[str]) -> bool:
    """From now on this process and its children can change nothing outside the folders `writable`; False where the kernel cannot."""
    version = landlock_version()
    if version < 1:
        return False
    libc = _libc()
    changes = _CHANGES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=QQQ", changes, 0, _SCOPE_SIGNAL if version >= 6 else 0)
    size = 24 if version >= 6 else 8
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    devices = _WRITE_FILE | (changes & _TRUNCATE)
    rules = [(folder, changes) for folder in [*writable, "/dev/shm"]]  # noqa: S108 - shared memory of MPI and CUDA
    for folder, rights in [*rules, ("/dev", devices), ("/proc/self", devices)]:
        _allow(libc, ruleset, folder, rights)
    libc.prctl(_NO_NEW_PRIVS, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    done = bool(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0)
    os.close(ruleset)
    return done


def _allow(libc: ctypes.CDLL, ruleset: int, folder: str, rights: int) -> None:
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # what is not there cannot be written either
    rule = struct.pack("=Qi", rights, descriptor)
    libc.syscall(_ADD_RULE, ruleset, 1, rule, ctypes.c_uint32(0))
    os.close(descriptor)


# --- the program --------------------------------------------------------------------------------------------


def _start(request: Request, output: int, trouble: int) -> int:
    """The program runs as the head of a process group; returns its pid. `trouble` gets the errno if it cannot be started."""
    answers = os.memfd_create("answers")
    os.write(answers, request["answers"].encode("utf-8", "surrogateescape"))
    os.lseek(answers, 0, os.SEEK_SET)
    watcher = os.getpid()
    pid = os.fork()
    if pid:
        os.close(answers)
        return pid
    try:
        os.setsid()
        _libc().prctl(_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != watcher:
            os._exit(127)
        os.dup2(answers, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(trouble, 3, inheritable=False)
        os.closerange(4, 1024)
        _limit(request)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, *_NOT_FOR_US):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(request["folder"])
        wanted = request["fence"] and landlock_version()
        if wanted and not fence([request["folder"], *request["writable"]]):
            os.write(3, b"%d" % errno.EPERM)
            os._exit(127)
        os.execvpe(request["argv"][0], request["argv"], request["variables"])  # noqa: S606 - no shell on purpose
    except OSError as error:
        os.write(3, b"%d" % (error.errno or errno.EIO))
    except Exception:  # such as a NUL in an argument: nothing may go on in this copy of the watcher
        os.write(3, b"%d" % errno.EINVAL)
    finally:
        os._exit(127)


def _limit(request: Request) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_FSIZE, request["file_bytes"])
    if request["memory"] is not None:
        _lower(resource.RLIMIT_AS, request["memory"])


def _lower(kind: int, limit: int) -> None:
    """A limit that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (lowest, lowest))


class Watch:
    """One program from its start until nothing of it is left."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._log = Log(request["log"], request["log_bytes"])
        self._output, output = os.pipe2(os.O_CLOEXEC)
        self._trouble, trouble = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._output, False)
        self._woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._pid = _start(request, output, trouble)
        os.close(output)
        os.close(trouble)
        self._status: int | None = None
        self._ended_by: str | None = None

    def report(self) -> Report:
        """Waits until it has ended, ends what it left, and says how it went."""
        self._until_end()
        leftovers = self._end_descendants()
        self._drain(time.monotonic() + (_DRAIN_S if leftovers else 0.05))
        trouble = os.read(self._trouble, 16)
        first, last = self._log.close()
        outcome, code = self._outcome(trouble)
        return Report(
            outcome=outcome,
            code=code,
            leftovers=leftovers,
            fenced=self._request["fence"] and landlock_version() > 0,
            log_bytes=self._log.total,
            first=first,
            last=last,
        )

    def _outcome(self, trouble: bytes) -> tuple[str, int]:
        if trouble:
            return "not_started", int(trouble)
        assert self._status is not None
        code = os.waitstatus_to_exitcode(self._status)
        if self._ended_by is not None:
            return self._ended_by, abs(code)
        return ("signalled", -code) if code < 0 else ("exited", code)

    def _until_end(self) -> None:
        poll = select.poll()
        for descriptor in (0, self._output, self._woken):
            poll.register(descriptor, select.POLLIN | select.POLLHUP)
        deadline = time.monotonic() + self._request["timeout_s"]
        killed = False
        while not self._ended():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                if killed:
                    self._signal(signal.SIGKILL)
                    deadline = time.monotonic() + 1.0
                    continue
                killed, deadline = True, self._ask_to_end("timeout")
                continue
            for descriptor, _ in poll.poll(min(left_s, 3600.0) * 1000):
                if descriptor == self._output and not self._take():
                    poll.unregister(self._output)
                elif descriptor == self._woken:
                    os.read(self._woken, 512)
                elif descriptor == 0 and not killed:
                    killed = True
                    asked = os.read(0, 512)
                    poll.unregister(0)
                    deadline = self._ask_to_end("stopped") if asked else time.monotonic()

    def _ask_to_end(self, why: str) -> float:
        """It was told to end; returns until when it may take."""
        self._ended_by = why
        self._signal(signal.SIGTERM)
        return time.monotonic() + self._request["grace_s"]

    def _ended(self) -> bool:
        """Whether the program itself has ended. Orphans that died meanwhile are reaped on the way."""
        while self._status is None:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._status = 0
                break
            if pid == 0:
                return False
            if pid == self._pid:
                self._status = status
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)

    def _take(self) -> bool:
        """What the program said meanwhile is in the log; False at the end of it."""
        try:
            data = os.read(self._output, _READ)
        except BlockingIOError:
            return True
        self._log.write(data)
        return bool(data)

    def _drain(self, until: float) -> None:
        """What the program said is in the log, up to its end or until then."""
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        while (left_s := until - time.monotonic()) > 0:
            if not poll.poll(left_s * 1000):
                continue
            if not self._take():
                time.sleep(min(left_s, 0.01))
                return

    def _end_descendants(self) -> int:
        """Nothing is left of what the program had started; returns how many processes that were."""
        ended: set[int] = set()
        now = time.monotonic()
        straggle, until = now + _STRAGGLE_S, now + _REAP_S
        while time.monotonic() < until and self._reaped():
            self._drain(time.monotonic() + 0.01)
            if time.monotonic() < straggle:
                continue
            alive = _descendants()
            ended |= alive
            for pid in alive:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        return len(ended)

    @staticmethod
    def _reaped() -> bool:
        """Ended children are reaped; False when there are no others."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return False
        return True


def _descendants() -> set[int]:
    """Processes below this one that have not ended."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only
        if entry.isdecimal():
            try:
                stat = Path(f"/proc/{entry}/stat").read_bytes()
            except OSError:
                continue
            state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
            if state not in (b"Z", b"X"):
                parents[int(entry)] = int(parent)
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return found - {os.getpid()}


def main() -> None:
    """Reads the request, watches the program, answers."""
    _libc().prctl(_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
    for number in _NOT_FOR_US:
        signal.signal(number, signal.SIG_IGN)
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)  # byte by byte: what follows is for the poll
        if not piece:
            return
        line += piece
    request: Request = json.loads(line)
    try:
        report = Watch(request).report()
    except OSError as error:
        report = Report(
            outcome="not_started",
            code=error.errno or errno.EIO,
            leftovers=0,
            fenced=False,
            log_bytes=0,
            first="",
            last="",
        )
    os.write(1, json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    main()

"""What systemd is told of the daemon: that it is ready, what it does, and, only while it gets on, that it lives.

The protocol is a few words in a datagram (sd_notify(3)), so it needs no library.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from empiar_mirror.progress import is_progress
from empiar_schema.events import Event
from empiar_schema.sizes import format_bytes

if TYPE_CHECKING:
    from empiar_mirror.metrics.monitor import Look

#: Variables by which systemd says where it listens; programs that we start must not speak for us.
VARIABLES: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
#: So many pings fit into the time after which systemd ends a silent process.
PINGS: Final = 4
#: systemd shows one line; longer ones are cut.
_LONGEST_STATUS: Final = 400


class ServiceManager:
    """systemd's ear, or nobody's, where the process is none of systemd's. Speaking never fails and never waits."""

    def __init__(self, address: str | None, *, watchdog_s: float | None = None) -> None:
        self._address = address
        #: Time after which systemd ends a process that has not pinged; None where it does not watch.
        self.watchdog_s = watchdog_s

    @classmethod
    def of(cls, environ: Mapping[str, str], *, pid: int | None = None) -> Self:
        """The one that the environment names."""
        address = environ.get("NOTIFY_SOCKET", "")
        # Anything else (vsock, a relative path) is none that we could speak to.
        usable = address[:1] in ("/", "@") and len(address) > 1
        own = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid() if pid is None else pid))
        microseconds = environ.get("WATCHDOG_USEC", "")
        watched = (
            usable and own and microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0
        )
        return cls(address if usable else None, watchdog_s=int(microseconds) / 1e6 if watched else None)

    def ready(self, status: str = "") -> None:
        """The start, or a reload, is done."""
        self._say("READY=1", status)

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends it."""
        self._say("RELOADING=1", "", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """The process ends as soon as it can."""
        self._say("STOPPING=1", status)

    def status(self, text: str) -> None:
        """`systemctl status` shows this line."""
        self._say("", text)

    def ping(self) -> None:
        """The process lives."""
        self._say("WATCHDOG=1", "")

    def _say(self, what: str, status: str, *more: str) -> None:
        line = " ".join(status.split())[:_LONGEST_STATUS]
        words = [*([what] if what else []), *([f"STATUS={line}"] if line else []), *more]
        if self._address is None or not words:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        # A manager that is gone or does not listen is no reason to stop, nor to wait.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.setblocking(False)
            ear.sendto("\n".join(words).encode("utf-8", "replace"), address)


class Watchdog:
    """Pings systemd when the mirror gets on, or rests rightfully, and only then.

    It is an observer of events, and is told of the monitor's looks. A process that hangs, and one that could work and
    does not, is ended by systemd and started again.
    """

    def __init__(self, manager: ServiceManager, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._manager = manager
        self._monotonic = monotonic
        self._pinged_at = float("-inf")

    def __call__(self, event: Event) -> None:
        """Progress has been seen, if the event is any."""
        if self._manager.watchdog_s is not None and is_progress(event):
            self._feed()

    def at_rest(self) -> None:
        """Nothing need get on now: there is nothing to do, or what is waited for is none of ours."""
        self._feed()

    def looked(self, look: Look) -> None:
        """The monitor has looked at catalogue and disk: without a standstill, whatever rests does so rightfully."""
        self._manager.status(status_line(look))
        if not look.health.standstill:
            self.at_rest()

    def _feed(self) -> None:
        watchdog_s, now = self._manager.watchdog_s, self._monotonic()
        if watchdog_s is not None and now - self._pinged_at >= watchdog_s / PINGS:
            self._pinged_at = now
            self._manager.ping()


def status_line(look: Look) -> str:
    """How the mirror stands, for `systemctl status`."""
    if look.unready:
        return f"cannot work: {look.unready[0]}"
    if look.health.standstill:
        return look.health.standstill[0]
    status = look.status
    if status is None or not status.files_left:
        line = "nothing to transfer"
    else:
        files = "file" if status.files_left == 1 else "files"
        rate = f", {format_bytes(status.bytes_per_s)}/s" if status.bytes_per_s else ""
        line = f"{status.files_left:,} {files} to come, {format_bytes(status.bytes_left)}{rate}"
    return "; ".join([line, *look.health.attention])

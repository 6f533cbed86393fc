"""What the servers really sent: the measure of what a client fetched twice, and of how politely."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """One request and what became of it. `path` reads ``10101/data/x.mrc``, or ``entry/10101`` for metadata."""

    channel: str
    method: str
    path: str
    start_offset: int
    #: Payload bytes handed to the operating system; up to a socket's buffers more than the client has read.
    bytes_sent: int
    #: HTTP status or FTP reply; 0 for a request that was left hanging.
    status: int
    when: float
    user_agent: str = ""


@dataclass(slots=True)
class ServedLog:
    """All requests since the start, in the order in which they ended."""

    requests: list[ServedRequest] = field(default_factory=list)
    #: Most connections open at once, by channel.
    peak_connections: Counter[str] = field(default_factory=Counter)
    _open: Counter[str] = field(default_factory=Counter)
    _file: TextIO | None = None

    def write_to(self, path: Path) -> None:
        """Every request from now on is also a JSON line in `path`, complete even if this process is killed."""
        self._file = path.open("a", encoding="ascii", buffering=1)

    def close(self) -> None:
        """The log file is closed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(
        self,
        channel: str,
        method: str,
        path: str,
        *,
        status: int,
        start_offset: int = 0,
        bytes_sent: int = 0,
        user_agent: str = "",
    ) -> None:
        """The request is recorded with the time of now."""
        served = ServedRequest(
            channel, method, path, start_offset, bytes_sent, status, time.time(), user_agent
        )
        self.requests.append(served)
        if self._file is not None:
            self._file.write(json.dumps(asdict(served)) + "\n")

    def opened(self, channel: str) -> None:
        """A connection was opened."""
        self._open[channel] += 1
        self.peak_connections[channel] = max(self.peak_connections[channel], self._open[channel])

    def closed(self, channel: str) -> None:
        """A connection was closed."""
        self._open[channel] -= 1

    def bytes_served(self, path: str | None = None) -> int:
        """Payload bytes of files sent so far, of one path or of all; listings and metadata count nothing."""
        return sum(
            request.bytes_sent
            for request in self.requests
            if request.method in ("GET", "RETR")
            and request.channel != "api"
            and (request.path == path if path is not None else not request.path.endswith("/"))
        )

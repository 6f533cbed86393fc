"""What the servers really sent: the measure of what a client fetched twice, and of how politely."""

from __future__ import annotations

import json
import socket
import time
from asyncio.trsock import TransportSocket
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TextIO

#: Of ``tcpi_state``, the first byte of ``TCP_INFO`` (include/net/tcp_states.h of Linux).
_ESTABLISHED: Final = 1


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
    #: When it had been read; `when` is its end.
    begun: float = 0.0


@dataclass(slots=True)
class ServedLog:
    """All requests since the start, in the order in which they ended."""

    requests: list[ServedRequest] = field(default_factory=list)
    #: Most connections open at once, by channel.
    peak_connections: Counter[str] = field(default_factory=Counter)
    #: Most requests that began within one second, by channel; on FTP, transfers and listings.
    peak_requests: Counter[str] = field(default_factory=Counter)
    _lately: dict[str, deque[float]] = field(default_factory=dict)
    _open: dict[str, set[TransportSocket]] = field(default_factory=dict)
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
        begun: float | None = None,
    ) -> None:
        """The request is recorded with the time of now as its end."""
        now = time.time()
        served = ServedRequest(
            channel,
            method,
            path,
            start_offset,
            bytes_sent,
            status,
            now,
            user_agent,
            begun=now if begun is None else begun,
        )
        self.requests.append(served)
        if self._file is not None:
            self._file.write(json.dumps(asdict(served)) + "\n")

    def asked(self, channel: str) -> float:
        """A request was read just now; returns the time for its record."""
        now = time.time()
        lately = self._lately.setdefault(channel, deque())
        lately.append(now)
        while lately[0] <= now - 1:
            lately.popleft()
        self.peak_requests[channel] = max(self.peak_requests[channel], len(lately))
        return now

    def opened(self, channel: str, connection: TransportSocket | None) -> None:
        """This connection of a client is open; one that is known already is the same."""
        known = self._open.setdefault(channel, set())
        if connection is None or connection in known:
            return
        known.add(connection)
        known -= {one for one in known if not _established(one)}
        self.peak_connections[channel] = max(self.peak_connections[channel], len(known))

    def bytes_served(self, path: str | None = None) -> int:
        """Payload bytes of files sent so far, of one path or of all; listings and metadata count nothing."""
        return sum(
            request.bytes_sent
            for request in self.requests
            if request.method in ("GET", "RETR")
            and request.channel != "api"
            and (request.path == path if path is not None else not request.path.endswith("/"))
        )


def _established(connection: TransportSocket) -> bool:
    """Whether both ends hold it open. The kernel knows before the server does, which may have been suspended or be busy."""
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
    except OSError:
        return False

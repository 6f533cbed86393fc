"""The archive's real link on loopback: a round trip for everything, a rate per connection, requests that hang.

Measured at the archive in 2026 (scigantic-empiar): about 1.5 MB/s a connection, 100 ms from abroad, and one request in thirty that never answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_CHUNK = 64 * 1024
_CHUNKS_IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class Link:
    """What lies between the client and the rehearsal archive. The default is nothing at all."""

    #: Seconds that one round trip takes; opening a connection costs one more.
    rtt_s: float = 0.0
    #: Bytes a second and connection towards the client; None: as fast as it goes.
    bytes_per_s: float | None = None
    #: Share of requests for files that are never answered.
    hang_share: float = 0.0

    @classmethod
    def real(cls) -> Link:
        """The link as measured."""
        return cls(rtt_s=0.1, bytes_per_s=1.5e6, hang_share=1 / 30)

    @property
    def shapes(self) -> bool:
        """Whether traffic has to go through a relay."""
        return self.rtt_s > 0 or self.bytes_per_s is not None


class Hangs:
    """Decides which requests hang: the same ones in every run with the same seed."""

    def __init__(self, share: float, *, seed: int = 0) -> None:
        self._share = share
        self._source = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def next(self) -> bool:
        """Whether this request is never answered."""
        return self._share > 0 and self._source.random() < self._share


class Relay:
    """A loopback port in front of another: bytes arrive half a round trip later and no faster than the rate.

    It delays bytes and not requests, so that pipelined requests share a round trip as they do on a real link.
    """

    def __init__(
        self, link: Link, target_port: int, *, opened: Callable[[TransportSocket], None] | None = None
    ) -> None:
        """`opened` hears of every client that connects."""
        self._opened = opened
        self._link = link
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """The port clients connect to; it listens when this returns."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK)
        return port_of(self._server)

    async def close(self, *, deliver: bool = False) -> None:
        """The port and all its connections are closed; with `deliver` after what the target sent has got through."""
        if self._server is not None:
            self._server.close()
        for task in [] if deliver else list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._opened is not None:
            self._opened(writer.get_extra_info("socket"))
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._carry(reader, writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_writer: asyncio.StreamWriter | None = None
        try:
            await asyncio.sleep(self._link.rtt_s)
            back_reader, back_writer = await self._connect()
            up = asyncio.ensure_future(self._delayed(reader, back_writer, bytes_per_s=None))
            down = asyncio.ensure_future(
                self._delayed(back_reader, writer, bytes_per_s=self._link.bytes_per_s)
            )
            try:
                # The server's end closes the connection; the client's end only ends its requests.
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                if not down.done():
                    await asyncio.wait({down}, timeout=self._link.rtt_s + 0.05)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        finally:
            for end in (writer, back_writer):
                if end is not None:
                    end.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        back = socket.socket(proto=socket.IPPROTO_TCP)
        back.setblocking(False)
        # What waits in this buffer counts as sent, so it must not grow.
        back.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * _CHUNK)
        try:
            await asyncio.get_running_loop().sock_connect(back, ("127.0.0.1", self._target_port))
        except BaseException:
            back.close()
            raise
        return await asyncio.open_connection(sock=back, limit=_CHUNK)

    def _chunks_in_flight(self, bytes_per_s: float | None) -> int:
        if bytes_per_s is None:
            return _CHUNKS_IN_FLIGHT
        return 2 + int(self._link.rtt_s * bytes_per_s / _CHUNK)

    async def _delayed(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, bytes_per_s: float | None
    ) -> None:
        loop = asyncio.get_running_loop()
        flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(self._chunks_in_flight(bytes_per_s))
        sender = asyncio.ensure_future(self._deliver(flight, writer, bytes_per_s))
        try:
            while data := await reader.read(_CHUNK):
                await flight.put((loop.time() + self._link.rtt_s / 2, data))
            await flight.put((loop.time() + self._link.rtt_s / 2, b""))
            await sender
        finally:
            sender.cancel()

    @staticmethod
    async def _deliver(
        flight: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, bytes_per_s: float | None
    ) -> None:
        loop = asyncio.get_running_loop()
        free_at = 0.0
        while True:
            due, data = await flight.get()
            if not data:
                return
            wait_s = max(due, free_at) - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            writer.write(data)
            await writer.drain()
            if bytes_per_s is not None:
                free_at = max(due, free_at) + len(data) / bytes_per_s


def port_of(server: asyncio.Server) -> int:
    """The port that `server` listens on."""
    address: tuple[str, int] = server.sockets[0].getsockname()
    return address[1]


def listening_socket() -> socket.socket:
    """A socket bound to a free loopback port.

    Its small send buffer keeps what is counted as sent close to what the client has really taken.
    """
    # asyncio switches Nagle's delay off only where the protocol is named; else every FTP reply costs 40 ms.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 512 * 1024)
    listener.bind(("127.0.0.1", 0))
    return listener

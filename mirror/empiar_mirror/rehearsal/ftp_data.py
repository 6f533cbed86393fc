"""The data connections of the FTP server."""

from __future__ import annotations

import asyncio
import contextlib

from empiar_mirror.rehearsal.link import Link, Relay, listening_socket, port_of


class DataChannel:
    """A passive port and the one connection that a client makes to it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._server: asyncio.Server | None = None
        self._relay: Relay | None = None
        self._arrived: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] | None = None

    async def listen(self) -> int:
        """The port is open; returns its number."""
        self._arrived = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(self._accept, sock=listening_socket())
        port = port_of(self._server)
        if not self._link.shapes:
            return port
        self._relay = Relay(self._link, port)
        return await self._relay.start()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._arrived is None or self._arrived.done():
            writer.close()
        else:
            self._arrived.set_result((reader, writer))

    async def connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The client's connection, waited for ten seconds.

        Raises:
            TimeoutError: none came.
        """
        if self._arrived is None:
            raise TimeoutError
        return await asyncio.wait_for(asyncio.shield(self._arrived), 10)

    async def close(self, *, abort: bool = False) -> None:
        """All data sent so far is on its way, unless aborted; the port is closed."""
        if self._server is not None:
            self._server.close()
        if self._arrived is not None and self._arrived.done() and not self._arrived.cancelled():
            writer = self._arrived.result()[1]
            if abort:
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if self._relay is not None:
            await self._relay.close(deliver=not abort)

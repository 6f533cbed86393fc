"""File listings over FTP: exact sizes, one round trip a directory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from empiar_crawler.parse.ftp_lines import FtpListParser
from empiar_crawler.parse.listed import Listed
from empiar_crawler.sources.base import DirectoryBatch, walk_tree
from empiar_crawler.sources.ftp_sessions import FtpSessions
from empiar_schema.faults import PermanentFault, TransientFault
from empiar_schema.files import ListedFile
from empiar_schema.paths import bytes_from_text
from empiar_wire.ftp import FtpConnection
from empiar_wire.hosts import Hosts, gate_name


class FtpListing:
    """Lists entries by ``CWD`` and then ``MLSD`` or ``LIST``, up to `readers` directories of an entry at a time."""

    name = "ftp"

    def __init__(
        self,
        hosts: Hosts,
        base_url: str,
        *,
        stall_s: float = 30.0,
        readers: int = 2,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hosts = hosts
        self._gate = hosts.gate(gate_name(base_url))
        self._base_url = base_url
        self._stall_s = stall_s
        self._readers = readers
        self._now = now
        self._sleep = sleep
        self._sessions = FtpSessions(self._log_in)

    async def walk(self, empiar_id: int) -> AsyncGenerator[DirectoryBatch, None]:
        """See `ListingSource.walk`."""

        def read(directory: str) -> AsyncGenerator[Listed, None]:
            return self._read(b"%d/%b" % (empiar_id, bytes_from_text(directory)))

        async with aclosing(walk_tree(read, readers=self._readers, sleep=self._sleep)) as batches:
            async for batch in batches:
                yield batch

    async def aclose(self) -> None:
        """All connections are closed."""
        self._sessions.close_idle()

    async def _read(self, path: bytes) -> AsyncGenerator[Listed, None]:
        connection = await self._sessions.take()
        try:
            await self._gate.request()
            await connection.cwd(path)
            parser = FtpListParser(facts=await connection.lists_by_facts(), now=int(self._now()))
            links: list[str] = []
            async with aclosing(connection.listing()) as blocks:
                async for block in blocks:
                    listed = parser.feed(block)
                    links += listed.links
                    yield listed
            parser.close()
            if links:
                yield await self._followed(connection, links)
        except TransientFault:
            self._sessions.close_idle()  # the server has likely closed the idle connections as well
            raise
        finally:
            self._sessions.put(connection)

    async def _followed(self, connection: FtpConnection, links: list[str]) -> Listed:
        """Links that lead to a file, as files. Links to directories are refused: they may be loops."""
        listed = Listed()
        for link in links:
            name = bytes_from_text(link)
            await self._gate.request()
            try:
                size = await connection.size(name)
            except PermanentFault:
                listed.refused.append(name)
            else:
                listed.files.append(ListedFile(link, size, True, await connection.mdtm(name), 1))
        return listed

    async def _log_in(self) -> FtpConnection | None:
        connection = FtpConnection(self._hosts, self._base_url, stall_s=self._stall_s)
        await connection.login()
        return connection

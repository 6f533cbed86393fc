"""The archive's own top folder: one listing names every entry that has files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Literal

from empiar_crawler.outcome import ARCHIVE_FAULTS
from empiar_crawler.parse.autoindex import AutoindexParser
from empiar_crawler.parse.ftp_lines import FtpListParser
from empiar_crawler.parse.listed import Listed
from empiar_schema.crawl_store import EnumeratedEntry
from empiar_schema.faults import BadAnswer, EmpiarMirrorError
from empiar_schema.settings import ArchiveSettings
from empiar_wire.ftp import FtpConnection
from empiar_wire.hosts import Hosts, gate_name
from empiar_wire.http import PoliteHttp

#: A page of 100,000 entries has about 20 MB.
MAX_BYTES: Final = 64 * 2**20
_ENTRY: Final = re.compile(r"[1-9][0-9]{4}")

Way = Literal["ftp", "https"]


@dataclass(frozen=True, slots=True)
class TopFolder:
    """What stands in the archive's top folder."""

    ids: tuple[int, ...]
    #: Names that are no accession number; EBI kept a folder ``test`` there in 2020.
    ignored: tuple[str, ...]


class RootDirectory:
    """Lists the top folder by FTP or HTTPS, in the order in which listings are configured.

    A folder can exist whose metadata is not public, and an obsolete entry can have metadata and no folder.
    """

    name = "directory"

    def __init__(
        self,
        archive: ArchiveSettings,
        *,
        http: PoliteHttp,
        hosts: Hosts,
        ways: Sequence[Way] = ("ftp", "https"),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive = archive
        self._http = http
        self._hosts = hosts
        self._ways = ways
        self._clock = clock

    async def entries(self) -> list[EnumeratedEntry]:
        """All entries that have a folder.

        Raises:
            BadAnswer: the folder holds no entry.
            TransferFault, UnreachableFault: no way leads to it.
        """
        return [EnumeratedEntry(empiar_id) for empiar_id in (await self.look()).ids]

    async def look(self) -> TopFolder:
        """The top folder by the first way that works.

        Raises:
            BadAnswer, TransferFault, UnreachableFault: as `entries`.
        """
        failure: EmpiarMirrorError = BadAnswer("no way to the archive's top folder is configured")
        for way in self._ways:
            try:
                listed = await (self._by_ftp() if way == "ftp" else self._by_https())
                return _top_folder(listed)
            except ARCHIVE_FAULTS as fault:
                failure = fault
        raise failure

    async def _by_https(self) -> list[Listed]:
        parser = AutoindexParser()
        async with self._http.stream(f"{self._archive.https_url}/", max_bytes=MAX_BYTES) as pieces:
            listed = [parser.feed(piece) async for piece in pieces]
        return [*listed, parser.close()]

    async def _by_ftp(self) -> list[Listed]:
        connection = FtpConnection(self._hosts, self._archive.ftp_url)
        with closing(connection):
            await connection.login()
            await self._hosts.gate(gate_name(self._archive.ftp_url)).request()
            await connection.cwd(b"")
            parser = FtpListParser(facts=await connection.lists_by_facts(), now=int(self._clock()))
            listed = [parser.feed(block) async for block in connection.listing()]
            parser.close()
        return listed


def _top_folder(listed: Sequence[Listed]) -> TopFolder:
    # A large archive spreads over volumes, so an entry's folder may be a link to it.
    folders = {name for part in listed for name in (*part.directories, *part.links)}
    others = {file.name for part in listed for file in part.files}
    ids = tuple(sorted(int(name) for name in folders if _ENTRY.fullmatch(name)))
    if not ids:
        raise BadAnswer("the archive's top folder holds no entry")
    ignored = sorted(others | {name for name in folders if not _ENTRY.fullmatch(name)})
    return TopFolder(ids, tuple(ignored))

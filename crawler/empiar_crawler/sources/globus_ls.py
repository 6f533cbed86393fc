"""File listings by the Globus Transfer service: exact sizes, times to the second, one request a directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing

from empiar_crawler.parse.listed import Listed, stored_name
from empiar_crawler.sources.base import BATCH_FILES, DirectoryBatch, walk_tree
from empiar_schema.faults import (
    AccountFault,
    ConfigFault,
    HostileName,
    PermanentFault,
    TransientFault,
    UnreachableFault,
)
from empiar_schema.files import ListedFile
from empiar_schema.paths import bytes_from_text
from empiar_wire import globus_facts
from empiar_wire.globus_facts import GlobusService
from empiar_wire.globus_faults import NotPermitted
from empiar_wire.globus_paths import below, find_archive_base, raw_name, shown_name


class GlobusListing:
    """Lists entries in the archive's collection, up to `readers` directories of an entry at a time.

    A directory with more names than the service lists, or with a name whose bytes it cannot show, makes no listing at all.
    """

    name = "globus"

    def __init__(
        self,
        service: GlobusService,
        collection: str,
        path: str,
        *,
        readers: int = 3,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`path` is where the file tree is thought to be; the first walk finds out where it is."""
        self._service = service
        self._collection = collection
        self._path = path
        self._readers = readers
        self._sleep = sleep
        self._base: str | None = None

    async def walk(self, empiar_id: int) -> AsyncGenerator[DirectoryBatch, None]:
        """See `ListingSource.walk`; also an account that may not list is an `UnreachableFault`: other sources may do better."""
        try:
            if self._base is None:
                self._base = await find_archive_base(self._service, self._collection, self._path)
            entry = below(self._base, str(empiar_id))

            def read(directory: str) -> AsyncGenerator[Listed, None]:
                return self._read(below(entry, _shown_path(directory)))

            async with aclosing(walk_tree(read, readers=self._readers, sleep=self._sleep)) as batches:
                async for batch in batches:
                    yield batch
        except PermanentFault as fault:
            if fault.absent:
                await self._still_there(fault)
            raise
        except (AccountFault, ConfigFault) as fault:
            raise UnreachableFault(str(fault), hint=fault.hint) from fault

    async def _still_there(self, fault: PermanentFault) -> None:
        """An entry that is not there is evidence only while the whole tree is where it was.

        Raises:
            TransientFault: the tree has moved.
            UnreachableFault: it is nowhere.
        """
        before, self._base = self._base, None
        try:
            self._base = await find_archive_base(self._service, self._collection, self._path)
        except (AccountFault, ConfigFault) as gone:
            raise UnreachableFault(str(gone), hint=gone.hint) from gone
        if self._base != before:
            raise TransientFault(f"the file tree has moved from {before} to {self._base}") from fault

    async def aclose(self) -> None:
        """Nothing of its own is open; the service belongs to its maker."""

    async def _read(self, path: str) -> AsyncGenerator[Listed, None]:
        try:
            names = await self._service.ls(self._collection, path)
        except NotPermitted as fault:  # one folder's matter, not the account's
            raise PermanentFault(str(fault), hint=fault.hint) from fault
        for start in range(0, len(names), BATCH_FILES):
            yield _sorted(names[start : start + BATCH_FILES])


def _shown_path(directory: str) -> str:
    return "/".join(shown_name(bytes_from_text(part)) for part in directory.split("/"))


def _sorted(names: Sequence[globus_facts.Listed]) -> Listed:
    listed = Listed()
    for shown, raw in _with_bytes(names):
        try:
            name = stored_name(raw)
        except HostileName:
            listed.refused.append(raw)
            continue
        if shown.kind == "file":  # a link that leads to a file is shown as that file
            listed.files.append(ListedFile(name, shown.size, True, shown.modified_at, 1))
        elif shown.kind == "dir" and shown.link_target is None:
            listed.directories.append(name)
        else:  # links to directories may be loops
            listed.refused.append(raw)
    return listed


def _with_bytes(names: Sequence[globus_facts.Listed]) -> Iterator[tuple[globus_facts.Listed, bytes]]:
    for shown in names:
        raw = raw_name(shown.name)
        if raw not in (b".", b".."):
            yield shown, raw

"""File listings from the directory tree of EMPIAR's web pages: for checking the other sources, sizes not proven exact."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from empiar_crawler.parse.listed import Listed
from empiar_crawler.parse.tree_json import TreeNode, read_tree
from empiar_crawler.sources.base import DirectoryBatch, walk_tree
from empiar_schema.faults import PermanentFault
from empiar_schema.files import ListedFile
from empiar_schema.paths import accession
from empiar_wire.http import PoliteHttp

_ROOT = 1


class TreeListing:
    """Lists entries by the tree below `site_url`, one level a request; times are not in it."""

    name = "tree"

    def __init__(
        self,
        http: PoliteHttp,
        site_url: str,
        *,
        readers: int = 2,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._site_url = site_url
        self._readers = readers
        self._sleep = sleep

    async def walk(self, empiar_id: int) -> AsyncGenerator[DirectoryBatch, None]:
        """See `ListingSource.walk`; absent also where the entry has no tree."""
        nodes: dict[str, TreeNode] = {}

        async def read(directory: str) -> AsyncGenerator[Listed, None]:
            if not directory:
                children = await self._below_root(empiar_id)
            elif (node := nodes[directory]).lazy:
                children = await self._level(empiar_id, node.number + 1)
            else:
                children = node.children
            for child in children:
                if not child.is_file:
                    nodes[f"{directory}/{child.name}" if directory else child.name] = child
            yield _listed(children)

        async with aclosing(walk_tree(read, readers=self._readers, sleep=self._sleep)) as batches:
            async for batch in batches:
                yield batch

    async def aclose(self) -> None:
        """Nothing of its own is open; the HTTP client belongs to its maker."""

    async def _below_root(self, empiar_id: int) -> Sequence[TreeNode]:
        """What is in the entry's folder. The first answer holds one node, which may be that folder itself."""
        top = await self._level(empiar_id, _ROOT)
        if len(top) == 1 and top[0].name in (str(empiar_id), accession(empiar_id)) and not top[0].is_file:
            return await self._level(empiar_id, top[0].number + 1) if top[0].lazy else top[0].children
        return top

    async def _level(self, empiar_id: int, number: int) -> Sequence[TreeNode]:
        """The node of this number with its siblings, in the tree of the whole entry (image set -1)."""
        url = f"{self._site_url}/{accession(empiar_id)}/dirStruct%3Dfull&list%3D{number}/-1/"
        nodes = read_tree((await self._http.request("GET", url)).body)
        if nodes is None:
            raise PermanentFault(f"{accession(empiar_id)} has no directory tree", absent=True)
        return nodes


def _listed(nodes: Sequence[TreeNode]) -> Listed:
    return Listed(
        files=[ListedFile(node.name, node.size, False, None, 1) for node in nodes if node.is_file],
        directories=[node.name for node in nodes if not node.is_file],
    )

"""Blocks of ids sent to the entry API, which leaves out what does not exist."""

from __future__ import annotations

from typing import Final

from empiar_crawler.enumerate import HIGHEST_ID, merged
from empiar_crawler.parse.api import parse_search_page
from empiar_schema.crawl_store import EnumeratedEntry
from empiar_schema.faults import BadAnswer
from empiar_wire.http import PoliteHttp

FIRST_ID: Final = 10_000
BLOCK: Final = 500
#: So many empty blocks in a row, beyond the highest id that is known, mean that there is nothing more.
EMPTY_BLOCKS: Final = 3


class Ranges:
    """Walks the numbering in blocks of 500. `highest_known` is the highest id in the catalogue, 0 if it is empty."""

    name = "ranges"

    def __init__(self, http: PoliteHttp, api_url: str, *, highest_known: int = 0) -> None:
        self._http = http
        self._url = f"{api_url}/entry/"
        self._highest_known = highest_known

    async def entries(self) -> list[EnumeratedEntry]:
        """All entries up to three empty blocks after the last.

        Raises:
            BadAnswer: no entry at all, or entries outside the block that was asked for.
            TransferFault, UnreachableFault: no answer.
        """
        blocks: list[list[EnumeratedEntry]] = []
        empty = 0
        for first in range(FIRST_ID, HIGHEST_ID + 1, BLOCK):
            block = await self._block(first, min(first + BLOCK - 1, HIGHEST_ID))
            blocks.append(block)
            empty = 0 if block or first <= self._highest_known else empty + 1
            if empty == EMPTY_BLOCKS:
                break
        found = merged(blocks)
        if not found:
            raise BadAnswer("the entry API names no entry in any range")
        return found

    async def _block(self, first: int, last: int) -> list[EnumeratedEntry]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        answer = await self._http.request(
            "POST", self._url, headers=headers, body=f"{first}-{last}".encode(), max_bytes=256 * 2**20
        )
        block = parse_search_page(answer.body)
        strays = [entry.empiar_id for entry in block if not first <= entry.empiar_id <= last]
        if strays:
            raise BadAnswer(f"asked for the range {first}-{last}, the entry API answered with {strays[0]}")
        return block

"""EMDB's search over EMPIAR: all entries, or those changed since a day."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from empiar_crawler.enumerate import HIGHEST_ID, merged
from empiar_crawler.parse.api import parse_search_page
from empiar_schema.crawl_store import EnumeratedEntry
from empiar_schema.faults import BadAnswer
from empiar_wire.http import PoliteHttp

ROWS: Final = 100
#: A walk that needs more pages than there can be entries is endless.
MAX_PAGES: Final = HIGHEST_ID // ROWS + 1
ALL: Final = "*"


class Search:
    """Walks the pages of a search, and does not trust them.

    EMDB's sister endpoint is said to ignore queries that it does not understand and to answer with recent entries.
    """

    name = "search"

    def __init__(self, http: PoliteHttp, search_url: str, *, rows: int = ROWS) -> None:
        self._http = http
        self._url = search_url
        self._rows = rows

    async def entries(self) -> list[EnumeratedEntry]:
        """All entries.

        Raises:
            BadAnswer: no entry at all, or pages that repeat each other.
            TransferFault, UnreachableFault: no answer.
        """
        found = await self._walk(ALL)
        if not found:
            raise BadAnswer("the search for all entries found none")
        return found

    async def changed_between(self, first_day: str, last_day: str) -> list[EnumeratedEntry]:
        """Entries whose `update_date` lies between the days (``YYYY-MM-DD``), both included; may be empty.

        Raises:
            BadAnswer: entries of other days came, so the query was ignored; or as `entries`.
            TransferFault, UnreachableFault: no answer.
        """
        found = await self._walk(f"database:EMPIAR AND update_date:[{first_day} TO {last_day}]")
        strays = [
            e for e in found if e.update_date is not None and not first_day <= e.update_date <= last_day
        ]
        if strays:
            raise BadAnswer(
                f"the search for changes from {first_day} to {last_day} answered with "
                f"{strays[0].empiar_id} of {strays[0].update_date}: it ignores the query"
            )
        return found

    async def _walk(self, query: str) -> list[EnumeratedEntry]:
        pages: list[list[EnumeratedEntry]] = []
        seen: set[int] = set()
        for number in range(1, MAX_PAGES + 1):
            page = await self._page(query, number)
            if not page:
                return merged(pages)
            ids = {entry.empiar_id for entry in page}
            if ids <= seen:
                raise BadAnswer(f"the search repeats itself: page {number} holds nothing new")
            seen |= ids
            pages.append(page)
        raise BadAnswer(f"the search does not end: {MAX_PAGES} pages of {self._rows}")

    async def _page(self, query: str, number: int) -> list[EnumeratedEntry]:
        url = f"{self._url}/{quote(query, safe='*')}?rows={self._rows}&page={number}&fl=*"
        # Beyond the last page a server may as well say 404 as give an empty object.
        statuses = frozenset({200}) if number == 1 else frozenset({200, 404})
        headers = {"Accept": "application/json"}
        answer = await self._http.request("GET", url, headers=headers, accept_statuses=statuses)
        return parse_search_page(answer.body) if answer.status == 200 else []

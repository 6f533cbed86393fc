"""File listings from the HTTPS server's directory pages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from empiar_crawler.parse.autoindex import AutoindexParser, apparent_size
from empiar_crawler.parse.listed import Listed
from empiar_crawler.sources.base import DirectoryBatch, walk_tree
from empiar_schema.faults import BadAnswer, TransferFault, UnreachableFault
from empiar_schema.files import ListedFile
from empiar_schema.paths import bytes_from_text
from empiar_wire.http import Answer, PoliteHttp

#: Exact sizes and modification times known of a directory's files, by stored name: ``await known(empiar_id, directory)``.
KnownSizes = Callable[[int, str], Awaitable[Mapping[str, tuple[int, int | None]]]]

#: Room for a page of five million rows.
_LARGEST_PAGE_BYTES = 2**30
_HEADS_AT_ONCE = 64
_HOUR_S = 3600


async def nothing_known(_empiar_id: int, _directory: str) -> Mapping[str, tuple[int, int | None]]:
    """No exact size is known of any file."""
    return {}


class HttpsListing:
    """Lists entries by the pages below `base_url`.

    Where a page rounds sizes, as EMPIAR's does, exact ones come from `known` if they fit what is shown, else
    from HEAD, at most `exact_sizes` times an entry; the rest stay estimates (`bytes_exact` False).
    """

    name = "https"

    def __init__(
        self,
        http: PoliteHttp,
        base_url: str,
        *,
        exact_sizes: int = 20_000,
        known: KnownSizes = nothing_known,
        readers: int = 4,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._base_url = base_url
        self._exact_sizes = exact_sizes
        self._known = known
        self._readers = readers
        self._sleep = sleep

    async def walk(self, empiar_id: int) -> AsyncGenerator[DirectoryBatch, None]:
        """See `ListingSource.walk`."""
        entry = _Entry(self._http, f"{self._base_url}/{empiar_id}", empiar_id, self._known, self._exact_sizes)
        async with aclosing(walk_tree(entry.read, readers=self._readers, sleep=self._sleep)) as batches:
            async for batch in batches:
                yield batch

    async def aclose(self) -> None:
        """Nothing of its own is open; the HTTP client belongs to its maker."""


@dataclass(slots=True)
class _Entry:
    http: PoliteHttp
    url: str
    empiar_id: int
    known: KnownSizes
    #: HEAD requests that may still be sent.
    budget: int

    async def read(self, directory: str) -> AsyncGenerator[Listed, None]:
        """One directory's rows. Files that need a HEAD come last, when the page's connection is free again."""
        rounded: list[ListedFile] = []
        known: Mapping[str, tuple[int, int | None]] | None = None
        parser = AutoindexParser()
        page = self._url(directory) + "/"
        async with self.http.stream(page, max_bytes=_LARGEST_PAGE_BYTES) as pieces:
            async for piece in pieces:
                listed = parser.feed(piece)
                if known is None and not all(row.bytes_exact for row in listed.files):
                    known = await self.known(self.empiar_id, directory)
                if known is not None:
                    listed.files, doubtful = _sort(listed.files, known)
                    room = min(self.budget, len(doubtful))
                    self.budget -= room
                    rounded += doubtful[:room]
                    listed.files += doubtful[room:]
                yield listed
            yield parser.close()
        for start in range(0, len(rounded), _HEADS_AT_ONCE):
            yield Listed(files=await self._measured(directory, rounded[start : start + _HEADS_AT_ONCE]))

    async def _measured(self, directory: str, rows: list[ListedFile]) -> list[ListedFile]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._measure(directory, row)) for row in rows]
        except* UnreachableFault as several:
            raise several.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _measure(self, directory: str, row: ListedFile) -> ListedFile:
        path = f"{directory}/{row.name}" if directory else row.name
        try:
            answer = await self.http.request("HEAD", self._url(path))
        except (TransferFault, BadAnswer):
            return row
        return _exact(row, answer)

    def _url(self, path: str) -> str:
        tail = quote(bytes_from_text(path), safe="/")
        return f"{self.url}/{tail}" if tail else self.url


def _sort(
    rows: list[ListedFile], known: Mapping[str, tuple[int, int | None]]
) -> tuple[list[ListedFile], list[ListedFile]]:
    """Rows whose size is exact, from the page or from what is known; and rows whose size is not."""
    exact, doubtful = [], []
    for row in rows:
        if row.bytes_exact:
            exact.append(row)
        elif row.name in known and _still_fits(row, *known[row.name]):
            size, modified_at = known[row.name]
            exact.append(ListedFile(row.name, size, True, modified_at, 1))
        else:
            doubtful.append(row)
    return exact, doubtful


def _still_fits(row: ListedFile, size: int, modified_at: int | None) -> bool:
    """Whether the page shows the known file: its size rounds to what is shown, its time is the same minute.

    The page's zone is not stated, and summer time moves it: whole hours of difference are none.
    """
    if row.modified_at is None or modified_at is None or apparent_size(size) != row.bytes:
        return False
    apart_s = row.modified_at - modified_at // row.modified_unit_s * row.modified_unit_s
    return apart_s % _HOUR_S == 0 and abs(apart_s) <= 14 * _HOUR_S


def _exact(row: ListedFile, answer: Answer) -> ListedFile:
    """The row with what a HEAD said; the row itself where it said nothing usable."""
    length = answer.headers.get("Content-Length", "")
    if re.fullmatch("[0-9]{1,18}", length) is None:
        return row
    try:
        modified_at = int(parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp())
    except (KeyError, ValueError, OverflowError):
        return ListedFile(row.name, int(length), True, row.modified_at, row.modified_unit_s)
    return ListedFile(row.name, int(length), True, modified_at, 1)

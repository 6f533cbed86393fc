"""A catalogue with one entry of three files, and short ways to use it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

import claims
from empiar_schema import crawl_store as crawl
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.files import ListedFile, Validators
from empiar_schema.states import Channel
from empiar_schema.transfer_store import Arrival, Work

T = TypeVar("T")
ID = 10017
NOW = 1000
SHA = bytes(range(32))
MB = 2**20


class Mirror:
    """A catalogue with one entry of three files (a 100, b 200, c about 1 MiB), and short ways to use it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.relist(ID, [("a", 100, True), ("b", 200, True), ("c", MB, False)])

    def do(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return self.catalogue.write_now(job)

    def relist(self, empiar_id: int, files: list[tuple[str, int, bool]], *, now: int = NOW) -> None:
        listing = self.do(lambda c: crawl.begin_listing(c, empiar_id, source="ftp", now=now))
        listed = [ListedFile(name, size, exact, 1_700_000_000, 1) for name, size, exact in files]
        self.do(lambda c: crawl.add_to_listing(c, listing, "data", listed))
        self.do(lambda c: crawl.complete_listing(c, listing, now=now))

    def want(self, empiar_id: int = ID, priority: int = 0) -> int:
        return self.do(lambda c: transfer.want_entry(c, empiar_id, now=NOW, priority=priority))

    def claim(
        self, files: int = 10, size: int = 10**12, *, now: int = NOW, ids: list[int] | None = None
    ) -> list[Work]:
        return self.do(
            lambda c: claims.claim(c, now=now, limit_files=files, limit_bytes=size, empiar_ids=ids)
        )

    def arrive(self, file_id: int, size: int = 100, sha256: bytes = SHA) -> None:
        arrival = Arrival(file_id, size, sha256, Channel.HTTPS, Validators(size, 1_700_000_000, '"e"'))
        self.do(lambda c: transfer.record_arrivals(c, [arrival], now=NOW))

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with self.catalogue.reader() as reader:
            return [tuple(row) for row in reader.execute(sql)]

    def states(self) -> dict[object, object]:
        return {row[0]: row[1] for row in self.rows("SELECT substr(path, 6), state FROM copies")}

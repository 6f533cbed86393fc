"""EMDB's API: one entry at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from empiar_crawler.entry_source import Absent, Unchanged, conditions, validators
from empiar_crawler.parse.emdb import parse_emdb
from empiar_schema.crawl_store import CachedAnswer
from empiar_schema.emdb import EmdbEntry
from empiar_schema.faults import BadAnswer
from empiar_wire.http import PoliteHttp

#: Real answers have some hundred kilobytes, with sequences and authors of everything.
MAX_ENTRY_BYTES: Final = 32 * 2**20


@dataclass(frozen=True, slots=True)
class FoundMap:
    """What EMDB says of an entry, and the validators to ask with next time."""

    entry: EmdbEntry
    validators: CachedAnswer


class EmdbSource:
    """Asks EMDB at `base_url`, for ``entry/{id}``: the documented way, which EMDB's own client takes."""

    def __init__(self, http: PoliteHttp, base_url: str) -> None:
        self._http = http
        self._base_url = base_url

    async def fetch(self, emdb_id: str, *, known: CachedAnswer | None) -> FoundMap | Unchanged | Absent:
        """What EMDB says of the entry; with `known` validators it may say that nothing changed.

        Raises:
            BadAnswer, TransferFault, UnreachableFault: no answer that makes sense.
        """
        url = f"{self._base_url}/entry/{emdb_id}"
        answer = await self._http.request(
            "GET",
            url,
            headers={"Accept": "application/json", **conditions(known)},
            max_bytes=MAX_ENTRY_BYTES,
            accept_statuses=frozenset({200, 304, 404, 410}),
        )
        if answer.status == 304:
            if known is None or known == CachedAnswer(None, None):
                raise BadAnswer(f"GET {url}: HTTP 304 to a request without conditions")
            return Unchanged()
        if answer.status != 200:
            return Absent(f"EMDB answers HTTP {answer.status}")
        entry = parse_emdb(answer.body, emdb_id)
        if entry is None:
            return Absent("EMDB's answer holds no entry")
        return FoundMap(entry, validators(answer))

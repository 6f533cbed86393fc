"""After a transfer or a probe: what headers say against what the entry's image sets state, recorded."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Sequence

from empiar_imaging.agreement import KINDS, Disagreement, Headers, disagreements
from empiar_schema import crawl_store, header_store
from empiar_schema.catalogue import Catalogue


async def check_headers(catalogue: Catalogue, empiar_id: int, *, now: int) -> int:
    """The entry's contradictions between headers and metadata are those of now; returns how many."""
    found = await catalogue.read(functools.partial(_compare, empiar_id=empiar_id))
    await catalogue.write(functools.partial(_record, empiar_id=empiar_id, found=found, now=now))
    return len(found)


def _compare(conn: sqlite3.Connection, *, empiar_id: int) -> list[Disagreement]:
    groups = header_store.header_groups(conn, empiar_id)
    if not groups:
        return []
    headers = [Headers(g.directory, g.role, g.facts, g.files, g.example, g.probed) for g in groups]
    return disagreements(crawl_store.imagesets_of(conn, empiar_id), headers)


def _record(conn: sqlite3.Connection, *, empiar_id: int, found: Sequence[Disagreement], now: int) -> None:
    crawl_store.clear_contradictions(conn, empiar_id, what=KINDS)
    for one in found:
        crawl_store.record_contradiction(
            conn,
            empiar_id,
            one.path,
            what=one.what,
            stated=one.stated,
            found=one.found,
            source=one.source,
            now=now,
        )

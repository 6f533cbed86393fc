"""The beginning of a crawl: which entries the archive has, put into the catalogue."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from empiar_crawler.crawl_sources import CrawlSources
from empiar_crawler.enumerate import Enumeration, disagreement, first_sensible
from empiar_crawler.outcome import ARCHIVE_FAULTS, reason
from empiar_crawler.schedule import harvest_window
from empiar_schema import crawl_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import EnumeratedEntry

#: Under these names the catalogue keeps the day of the last harvest, and of the last complete one.
SEARCH: Final = "search"
COMPLETE: Final = "search, complete"
#: What a contradiction between two enumerations is called.
ENUMERATION: Final = "enumeration"
#: The id under which contradictions of the archive as a whole are cleared.
OF_THE_ARCHIVE: Final = 0


@dataclass(slots=True)
class Harvest:
    """What an enumeration brought."""

    source: str
    #: Entries that are new or whose `update_date` moved.
    moved: frozenset[int]
    #: Sources that did not answer sensibly, with the reason for people.
    failed: dict[str, str] = field(default_factory=dict)


async def harvest(catalogue: Catalogue, sources: CrawlSources, *, now: int, full: bool) -> Harvest:
    """Every entry that the archive names has a row in the catalogue; new and changed ones are due.

    Asked is what changed since the last harvest; or, for a `full` crawl, the first one, and once a week, for
    all entries. `full` and the first one compare the answer with the archive's top folder, record a
    disagreement, and take the entries of both.

    Raises:
        BadAnswer, UnreachableFault: no source answered sensibly.
    """
    today = datetime.fromtimestamp(now, UTC).date()
    last, last_complete = await catalogue.read(_last_days)
    window = None if full else harvest_window(last, last_complete, today=today)
    failed: dict[str, str] = {}
    if window is not None:
        try:
            entries = await sources.search.changed_between(*window)
        except ARCHIVE_FAULTS as fault:
            failed[SEARCH] = reason(fault)
        else:
            changes = Enumeration(SEARCH, tuple(entries), complete=False)
            return Harvest(SEARCH, await _record(catalogue, changes, now=now, today=today))
    highest = await catalogue.read(_highest_id)
    found = await first_sensible([sources.search, sources.ranges(highest), sources.directory])
    compare = (full or last_complete is None) and found.source != sources.directory.name
    moved = await _record(catalogue, found, now=now, today=today, anew=compare)
    result = Harvest(found.source, moved, {**failed, **found.failed})
    if compare:
        await _cross_check(catalogue, sources, found, result, now=now)
    return result


async def _record(
    catalogue: Catalogue, found: Enumeration, *, now: int, today: date, anew: bool = False
) -> frozenset[int]:
    """The enumeration stands in the catalogue; `anew` forgets earlier disagreements, which are about to be judged again."""

    def job(conn: sqlite3.Connection) -> frozenset[int]:
        if anew:
            crawl_store.clear_contradictions(conn, OF_THE_ARCHIVE, what=[ENUMERATION])
        result = crawl_store.record_enumeration(
            conn, found.entries, source=found.source, complete=found.complete, now=now
        )
        if found.source == SEARCH:
            crawl_store.record_harvest(conn, SEARCH, day=today.isoformat(), now=now)
            if found.complete:
                crawl_store.record_harvest(conn, COMPLETE, day=today.isoformat(), now=now)
        return frozenset(result.new) | frozenset(result.changed)

    return await catalogue.write(job)


async def _cross_check(
    catalogue: Catalogue, sources: CrawlSources, found: Enumeration, result: Harvest, *, now: int
) -> None:
    directory = sources.directory
    try:
        folders = frozenset((await directory.look()).ids)
    except ARCHIVE_FAULTS as fault:
        result.failed[directory.name] = reason(fault)
        return
    differs = disagreement(found, directory.name, folders)
    if differs is None:
        return
    extra = [EnumeratedEntry(empiar_id) for empiar_id in sorted(folders - found.ids)]

    def job(conn: sqlite3.Connection) -> frozenset[int]:
        crawl_store.record_contradiction(
            conn,
            None,
            None,
            what=ENUMERATION,
            stated=differs.stated,
            found=differs.found,
            source=f"{found.source}, {directory.name}",
            now=now,
        )
        new = crawl_store.record_enumeration(conn, extra, source=directory.name, complete=False, now=now)
        return frozenset(new.new)

    result.moved |= await catalogue.write(job)


def _last_days(conn: sqlite3.Connection) -> tuple[str | None, str | None]:
    return crawl_store.last_harvest(conn, SEARCH), crawl_store.last_harvest(conn, COMPLETE)


def _highest_id(conn: sqlite3.Connection) -> int:
    (highest,) = conn.execute("SELECT max(empiar_id) FROM entries").fetchone()
    return highest or 0

"""One pass over the archive: which entries there are, their metadata, their listings."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from empiar_crawler import checks, schedule
from empiar_crawler.crawl_sources import CrawlSources
from empiar_crawler.entry_source import API, HEADER_XML, Absent, Found
from empiar_crawler.harvest import harvest
from empiar_crawler.inspection import Refusals, inspect
from empiar_crawler.outcome import ARCHIVE_FAULTS, CrawlReport, is_unreachable, reason
from empiar_crawler.schedule import NEVER_FAILED, Failures, Sweep
from empiar_crawler.sources.base import ListingSource
from empiar_imaging.role_overrides import Overrides
from empiar_schema import crawl_store, sweep_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import CachedAnswer, ListingDiff
from empiar_schema.events import (
    CrawlFailed,
    EntryAbsent,
    EntryCrawled,
    ListingProgressed,
    ListingReplaced,
    Observer,
    nobody,
)
from empiar_schema.faults import (
    BadAnswer,
    CatalogueFault,
    EmpiarMirrorError,
    PermanentFault,
    TransientFault,
    UnreachableFault,
)
from empiar_schema.role_settings import RoleOverride
from empiar_schema.settings import CrawlSettings
from empiar_schema.times import epoch

#: A listing source that could not be reached is tried after the others for so long: where a firewall closes FTP,
#: every entry would wait for it in vain.
UNREACHED_REST_S: Final = 600.0
#: Why a crawl ended that was not to go on.
QUIET: Final = "quiet hours have begun"


@dataclass(frozen=True, slots=True)
class _Known:
    """What the catalogue says of an entry before it is crawled; times are epoch seconds."""

    has_row: bool = False
    crawled_at: float | None = None
    listed_at: float | None = None
    update_date: str | None = None
    record_source: str | None = None
    status: str | None = None
    validators: CachedAnswer | None = None


@dataclass(frozen=True, slots=True)
class _Pass:
    """One crawl under way."""

    report: CrawlReport
    #: Asks without conditions and lists every entry.
    full: bool
    #: The entries were named by the user: each is listed anew.
    explicit: bool
    now: int
    may_go_on: Callable[[], bool]
    #: Entries that are listed anew because their listing is old.
    sweep: set[int] = field(default_factory=set)
    #: Entries that the archive says are new or changed.
    moved: set[int] = field(default_factory=set)


class Crawler:
    """Brings the archive's metadata and listings into the catalogue; writes nothing else.

    May be kept for many passes: entries that failed are left alone for a while, longer each time.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        settings: CrawlSettings,
        sources: CrawlSources,
        *,
        roles: Sequence[RoleOverride] = (),
        observer: Observer = nobody,
        clock: Callable[[], float] = time.time,
        failures: dict[int, Failures] | None = None,
    ) -> None:
        """`failures` are those of the crawlers before, so that entries are left alone across them; it is kept up to date."""
        self._catalogue = catalogue
        self._settings = settings
        self._roles = roles
        self._sources = sources
        self._observer = observer
        self._clock = clock
        self._failures: dict[int, Failures] = {} if failures is None else failures
        self._unreached: dict[str, float] = {}

    async def crawl(
        self,
        ids: Sequence[int] | None = None,
        *,
        full: bool = False,
        every_s: float | None = None,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> CrawlReport:
        """The given entries, or all that are new, changed or due, are crawled; a failed one does not end the others.

        With `full` every entry is asked for anew and listed, whatever the catalogue says. A listing is recorded
        complete or not at all. Behind all that is new, changed or due comes the sweep: the oldest listings are read
        anew, as many as it takes to read all within `crawl.relist`. `every_s` says when the next crawl follows, and bounds
        what is made up for in this one. No further entry is begun once `may_go_on` is false.

        Raises:
            UnreachableFault: nothing at all could be reached.
            CatalogueFault, StorageFault: the catalogue or its disk refused.
        """
        report = CrawlReport()
        everything = ids is None
        this = _Pass(report, full, explicit=not everything, now=int(self._clock()), may_go_on=may_go_on)
        unreached = None
        if ids is None:
            try:
                ids = await self._due(this)
            except UnreachableFault as fault:
                unreached = fault
                ids = await self._catalogue.read(partial(self._overdue, now=this.now))
        if everything and unreached is None and not full:
            await self._crawl_and_sweep(ids, this, every_s=every_s)
        else:
            await self._crawl_all(list(dict.fromkeys(ids)), this)
        reached = report.enumerated_by or report.entries or report.absent or report.answered
        if not reached and (unreached is not None or report.failed):
            raise UnreachableFault(
                next(iter(report.failed.values()), str(unreached)),
                hint="check the network and the addresses in the configuration (`empiar-mirror doctor`)",
            ) from unreached
        return report

    # --- which entries --------------------------------------------------------------------------------------

    async def _due(self, this: _Pass) -> list[int]:
        try:
            found = await harvest(self._catalogue, self._sources, now=this.now, full=this.full)
        except BadAnswer as fault:
            self._source_failed(this, "enumeration", reason(fault))
        except UnreachableFault as fault:
            self._source_failed(this, "enumeration", reason(fault))
            raise
        else:
            this.report.enumerated_by = found.source
            this.moved.update(found.moved)
            for source, why in found.failed.items():
                self._source_failed(this, source, why)
        if this.full:
            return await self._catalogue.read(_all_ids)
        due = await self._catalogue.read(partial(self._overdue, now=this.now))
        return [*sorted(this.moved, reverse=True), *due]

    def _overdue(self, conn: sqlite3.Connection, *, now: int) -> list[int]:
        """Entries that are due, oldest first, less those that failed lately."""
        interval_s, never = self._settings.interval, math.inf
        surely = crawl_store.due_entries(conn, now=now, interval_s=interval_s, relist_s=never)
        soon = crawl_store.due_entries(
            conn, now=now, interval_s=schedule.shortest_interval(interval_s), relist_s=never
        )
        chosen = set(surely)
        for empiar_id in soon:
            if empiar_id not in chosen and schedule.is_due(
                empiar_id, _known(conn, empiar_id).crawled_at, now=now, interval_s=interval_s
            ):
                chosen.add(empiar_id)
        return [i for i in soon if i in chosen and self._may_try(i, now)]

    def _may_try(self, empiar_id: int, now: float) -> bool:
        failures = self._failures.get(empiar_id, NEVER_FAILED)
        return now >= failures.last_at + schedule.backoff_s(failures.count)

    async def _crawl_and_sweep(self, due: Sequence[int], this: _Pass, *, every_s: float | None) -> None:
        """What is due is crawled; then the oldest listings are read anew, as many as are owed. One that fails stays owed, and rests longer each time, so that it holds up no other."""
        interval_s, relist_s = self._settings.interval, self._settings.relist

        def look(conn: sqlite3.Connection) -> tuple[Sweep | None, list[int]]:
            listed, until = sweep_store.listings(conn)[0], sweep_store.swept_until(conn)
            if until is None:
                return None, []
            old = sweep_store.listed_oldest_first(conn, listed_before=int(this.now - interval_s))
            return Sweep(listed, until, relist_s), [i for i in old if self._may_try(i, this.now)]

        sweep, eligible = await self._catalogue.read(look)
        if sweep is not None:
            share = sweep.owed(this.now)
            if every_s is not None:
                share = min(share, sweep.at_most(every_s, self._settings.sweep_entries_per_hour))
            this.sweep.update(eligible[:share])
        # An entry whose metadata is old, too, is asked for once.
        first = [i for i in due if i in this.moved or i not in this.sweep]
        await self._crawl_all(list(dict.fromkeys([*first, *eligible[: len(this.sweep)]])), this)
        done = this.now
        if sweep is not None:
            done = int(sweep.after(this.report.swept, eligible=len(eligible), now=this.now))
        await self._catalogue.write(partial(sweep_store.record_swept, until=done))

    def _source_failed(self, this: _Pass, source: str, why: str) -> None:
        this.report.sources_failed[source] = why
        self._observer(CrawlFailed(None, source, why))

    # --- one entry after the other --------------------------------------------------------------------------

    async def _crawl_all(self, ids: Sequence[int], this: _Pass) -> None:
        left = iter(ids)
        try:
            async with asyncio.TaskGroup() as crew:
                for _ in range(min(self._settings.connections, len(ids))):
                    crew.create_task(self._work(left, this))
        except BaseExceptionGroup as group:
            # Only the catalogue's and the disk's refusals, and defects, come here; the first tells enough.
            raise group.exceptions[0] from group

    async def _work(self, left: Iterable[int], this: _Pass) -> None:
        for empiar_id in left:
            if this.report.stopped is None and not this.may_go_on():
                this.report.stopped = QUIET
            if this.report.stopped is not None:
                return
            try:
                await self._crawl_entry(empiar_id, this)
            except ARCHIVE_FAULTS as fault:
                self._entry_failed(empiar_id, fault, this)
            else:
                self._failures.pop(empiar_id, None)
                this.report.swept += empiar_id in this.sweep

    def _entry_failed(self, empiar_id: int, fault: EmpiarMirrorError, this: _Pass) -> None:
        this.report.failed[empiar_id] = reason(fault)
        this.report.answered |= not isinstance(fault, TransientFault | UnreachableFault)
        known = self._failures.get(empiar_id, NEVER_FAILED)
        self._failures[empiar_id] = known.and_another(self._clock())
        self._observer(CrawlFailed(empiar_id, "crawl", reason(fault)))
        if isinstance(fault, UnreachableFault):
            # Nobody is there to ask; the entries that are left stay due.
            this.report.stopped = str(fault)

    async def _crawl_entry(self, empiar_id: int, this: _Pass) -> None:
        url = self._sources.entries.url(empiar_id)
        known = await self._catalogue.read(lambda conn: _known(conn, empiar_id, url))
        changed = await self._metadata(empiar_id, known, this)
        if changed is None:
            return
        this.report.entries += 1
        self._observer(EntryCrawled(empiar_id, changed))
        anew = this.full or this.explicit or changed or empiar_id in this.sweep
        if not anew and schedule.listing_may_stand(
            known.crawled_at,
            known.listed_at,
            now=this.now,
            interval_s=self._settings.interval,
        ):
            this.report.unchanged += 1
        else:
            await self._list(empiar_id, this)

    # --- metadata -------------------------------------------------------------------------------------------

    async def _metadata(self, empiar_id: int, known: _Known, this: _Pass) -> bool | None:
        """The metadata stands in the catalogue; whether it changed, or None for an entry that is not served."""
        validators = None if this.full else known.validators
        answer = await self._sources.entries.fetch(empiar_id, known=validators)
        now = int(self._clock())
        if isinstance(answer, Absent):
            why = answer.reason
            if known.has_row:  # a mistyped id must not become an entry
                await self._catalogue.write(
                    lambda conn: crawl_store.record_entry_absent(conn, empiar_id, reason=why, now=now)
                )
            this.report.absent += 1
            self._observer(EntryAbsent(empiar_id, why))
            return None
        if not isinstance(answer, Found):
            return await self._catalogue.write(lambda conn: _confirm(conn, empiar_id, now=now))
        if answer.api_failure is not None:
            self._observer(CrawlFailed(empiar_id, API, answer.api_failure))
        of_same_day = answer.entry.update_date == known.update_date
        if answer.source == HEADER_XML and known.record_source == API and of_same_day:
            # The header says less than the API; it must not overwrite what the API said of the same state.
            return await self._catalogue.write(lambda conn: _confirm(conn, empiar_id, now=now))
        return await self._catalogue.write(lambda conn: _record(conn, answer, now=now))

    # --- listing --------------------------------------------------------------------------------------------

    async def _list(self, empiar_id: int, this: _Pass) -> None:
        """The entry has a new complete listing, by the first source that gives one.

        Raises:
            BadAnswer, TransientFault, UnreachableFault: none did; the listing before stands.
        """
        faults: dict[str, EmpiarMirrorError] = {}
        for source in self._reachable_first():
            try:
                await self._list_by(source, empiar_id)
            except ARCHIVE_FAULTS as fault:
                faults[source.name] = fault
                if is_unreachable(fault):
                    self._unreached[source.name] = self._clock()
            else:
                this.report.listed += 1
                self._tell(empiar_id, faults)
                return
        answers = [fault for fault in faults.values() if not is_unreachable(fault)]
        if answers and all(isinstance(fault, PermanentFault) and fault.absent for fault in answers):
            await self._record_no_files(empiar_id, sources=", ".join(faults))
            return
        self._tell(empiar_id, faults)
        told = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        message = f"no complete listing of {empiar_id} ({told or 'no source is configured'})"
        if faults and all(isinstance(fault, TransientFault | UnreachableFault) for fault in faults.values()):
            raise TransientFault(message)
        raise BadAnswer(message)

    def _tell(self, empiar_id: int, faults: Mapping[str, EmpiarMirrorError]) -> None:
        for source, fault in faults.items():
            self._observer(CrawlFailed(empiar_id, source, reason(fault)))

    def _reachable_first(self) -> list[ListingSource]:
        now = self._clock()
        resting = {name for name, since in self._unreached.items() if now < since + UNREACHED_REST_S}
        return sorted(self._sources.listings, key=lambda source: source.name in resting)

    async def _list_by(self, source: ListingSource, empiar_id: int) -> None:
        begun = int(self._clock())
        listing = await self._catalogue.write(
            lambda conn: crawl_store.begin_listing(conn, empiar_id, source=source.name, now=begun)
        )
        refusals = Refusals()
        try:
            await self._read_listing(source, empiar_id, listing, refusals)
            ended = int(self._clock())
            diff = await self._catalogue.write(
                lambda conn: crawl_store.complete_listing(conn, listing, now=ended)
            )
        except BaseException:
            # Not awaited: a cancelled task may not wait, and an unfinished listing shows nowhere.
            with contextlib.suppress(CatalogueFault):
                self._catalogue.submit(lambda conn: crawl_store.drop_listing(conn, listing))
            raise
        finally:
            # Idle FTP connections hold places of the host, and HTTPS of the same host would wait for them in vain.
            await source.aclose()
        overrides = Overrides.of(empiar_id, self._roles)
        await inspect(
            self._catalogue, empiar_id, refusals, source=source.name, now=ended, overrides=overrides
        )
        self._observer(_replaced(empiar_id, source.name, diff))

    async def _read_listing(
        self, source: ListingSource, empiar_id: int, listing: int, refusals: Refusals
    ) -> None:
        directories = files = 0
        last = None
        async with contextlib.aclosing(source.walk(empiar_id)) as batches:
            async for batch in batches:
                await self._catalogue.write(
                    partial(
                        crawl_store.add_to_listing,
                        listing=listing,
                        directory=batch.directory,
                        files=batch.files,
                    )
                )
                refusals.add(batch.directory, batch.refused)
                directories += batch.directory != last
                last = batch.directory
                files += len(batch.files)
                self._observer(ListingProgressed(empiar_id, directories, files))

    async def _record_no_files(self, empiar_id: int, *, sources: str) -> None:
        """Every source says that the entry has no folder: so it is with obsolete entries, and so it is recorded of others."""
        now = int(self._clock())

        def job(conn: sqlite3.Connection) -> None:
            known = _known(conn, empiar_id)
            if known.status != "OBS":
                crawl_store.record_contradiction(
                    conn,
                    empiar_id,
                    None,
                    what=checks.NO_FILES,
                    stated=f"status {known.status}",
                    found="no folder of this entry",
                    source=sources,
                    now=now,
                )

        await self._catalogue.write(job)


def _replaced(empiar_id: int, source: str, diff: ListingDiff) -> ListingReplaced:
    return ListingReplaced(
        empiar_id,
        source,
        files=diff.files,
        bytes=diff.bytes,
        added=diff.added,
        changed=diff.changed,
        missing=diff.missing,
    )


def _record(conn: sqlite3.Connection, found: Found, *, now: int) -> bool:
    changed = crawl_store.record_entry(conn, found.entry, source=found.source, now=now)
    if found.source == API:
        crawl_store.remember_answer(conn, found.url, found.validators, now=now)
    return changed


def _confirm(conn: sqlite3.Connection, empiar_id: int, *, now: int) -> bool:
    """What the catalogue holds counts as read just now."""
    entry = crawl_store.entry_of(conn, empiar_id)
    if entry is None:
        raise BadAnswer(f"the archive calls {empiar_id} unchanged, which was never read")
    return crawl_store.record_entry(conn, entry, source=API, now=now)


def _known(conn: sqlite3.Connection, empiar_id: int, url: str | None = None) -> _Known:
    row = conn.execute(
        "SELECT crawled_at, listed_at, update_date, record_source, status FROM entries WHERE empiar_id = ?",
        (empiar_id,),
    ).fetchone()
    if row is None:
        return _Known()
    crawled_at, listed_at, update_date, record_source, status = row
    return _Known(
        has_row=True,
        crawled_at=_epoch(crawled_at),
        listed_at=_epoch(listed_at),
        update_date=update_date,
        record_source=record_source,
        status=status,
        validators=None if url is None or crawled_at is None else crawl_store.cached_answer(conn, url),
    )


def _epoch(text: str | None) -> int | None:
    return None if text is None else epoch(text)


def _all_ids(conn: sqlite3.Connection) -> list[int]:
    return [row[0] for row in conn.execute("SELECT empiar_id FROM entries ORDER BY empiar_id")]

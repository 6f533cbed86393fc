"""One pass over the maps that entries name: what EMDB says of them, into the catalogue."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from empiar_crawler import schedule
from empiar_crawler.emdb_checks import absent_doubts, reference_doubts
from empiar_crawler.entry_source import Absent
from empiar_crawler.outcome import ARCHIVE_FAULTS, is_unreachable, reason
from empiar_crawler.schedule import Failures
from empiar_crawler.sources.emdb import EmdbSource, FoundMap
from empiar_schema import emdb_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import CLOCK_SLACK_S
from empiar_schema.emdb_store import Referenced
from empiar_schema.events import CrawlFailed, Observer, nobody
from empiar_schema.faults import EmpiarMirrorError, TransientFault

T = TypeVar("T")

#: After so many failures in a row it is EMDB that is not well, and not its entries: the rest waits for the next pass.
FAILURES_IN_A_ROW: Final = 5
#: A map that is not served may be released any day, with its paper: it is asked for so many times in an interval.
ABSENT_TIMES: Final = 4


@dataclass(slots=True)
class EmdbReport:
    """The result of one pass, in numbers of maps."""

    #: Maps that were due.
    due: int = 0
    #: Maps of which EMDB said something new.
    recorded: int = 0
    #: Maps of which it said the same as before.
    unchanged: int = 0
    #: Maps that it does not serve.
    absent: int = 0
    #: Maps for which it gave no answer that makes sense, with the reason for people.
    failed: dict[str, str] = field(default_factory=dict)
    #: Why the pass ended before its last map; what is left is still due.
    stopped: str | None = None

    @property
    def complete(self) -> bool:
        """Whether everything that was due is done."""
        return not self.failed and self.stopped is None


class EmdbCrawler:
    """Asks EMDB for what is due, one map after the other, so that it is no burden on it. No failure of EMDB is raised."""

    def __init__(
        self,
        catalogue: Catalogue,
        source: EmdbSource,
        *,
        interval_s: float,
        observer: Observer = nobody,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalogue = catalogue
        self._source = source
        self._interval_s = interval_s
        self._observer = observer
        self._clock = clock

    async def crawl(
        self,
        ids: Sequence[int] | None = None,
        *,
        full: bool = False,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> EmdbReport:
        """What EMDB says of the maps of these entries of EMPIAR, or (None) of all, is fresh; `full` asks anew for every one.

        No further map is begun once `may_go_on` is false.

        Raises:
            CatalogueFault, StorageFault: the catalogue or its disk refused.
        """
        report, in_a_row = EmdbReport(), 0
        await self._catalogue.write(emdb_store.forget_old_doubts)
        due = [
            one
            for one in await self._catalogue.read(partial(emdb_store.referenced, empiar_ids=ids))
            if full or self._is_due(one)
        ]
        report.due = len(due)
        for one in due:
            if not may_go_on():
                report.stopped = "quiet hours have begun"
                break
            try:
                await self._ask(one, report, full=full)
                in_a_row = 0
            except ARCHIVE_FAULTS as fault:
                in_a_row += 1
                await self._failed(one, fault, report)
                if in_a_row >= FAILURES_IN_A_ROW or _ends_the_pass(fault):
                    report.stopped = reason(fault)
                    break
        if report.stopped is not None:
            self._observer(CrawlFailed(None, "emdb", report.stopped))
        return report

    def _is_due(self, one: Referenced) -> bool:
        now = self._clock()
        known = one.asked_at
        if known is not None and known > now + CLOCK_SLACK_S:
            known = None  # asked under a wrong clock
        return schedule.is_due(
            int(one.emdb_id[4:]),
            known,
            now=now,
            interval_s=self._interval_s / (ABSENT_TIMES if one.absent else 1),
            failures=Failures(one.failures, min(one.failed_at, now)),
        )

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        # Committed without waiting for the disk: what a power cut takes is asked for again.
        return await self._catalogue.write(job, durable=False)

    async def _ask(self, one: Referenced, report: EmdbReport, *, full: bool) -> None:
        answer = await self._source.fetch(one.emdb_id, known=None if full else one.validators)
        now = int(self._clock())
        if isinstance(answer, FoundMap):
            changed = await self._write(partial(_record, answer=answer, now=now))
            report.recorded += changed
            report.unchanged += not changed
        elif isinstance(answer, Absent):
            await self._write(partial(_record_absent, emdb_id=one.emdb_id, answer=answer, now=now))
            report.absent += 1
        else:
            await self._write(partial(_confirm, emdb_id=one.emdb_id, now=now))
            report.unchanged += 1

    async def _failed(self, one: Referenced, fault: EmpiarMirrorError, report: EmdbReport) -> None:
        why = reason(fault)
        report.failed[one.emdb_id] = why
        now = int(self._clock())
        await self._write(partial(emdb_store.record_emdb_failed, emdb_id=one.emdb_id, reason=why, now=now))


def _ends_the_pass(fault: EmpiarMirrorError) -> bool:
    """Nobody is there to ask, or who is there wants to be left alone for longer than one waits."""
    return is_unreachable(fault) or (isinstance(fault, TransientFault) and fault.retry_after_s is not None)


def _record(conn: sqlite3.Connection, *, answer: FoundMap, now: int) -> bool:
    changed = emdb_store.record_emdb(conn, answer.entry, answer.validators, now=now)
    _judge(conn, answer.entry.emdb_id, now=now)
    return changed


def _confirm(conn: sqlite3.Connection, *, emdb_id: str, now: int) -> None:
    emdb_store.confirm_emdb(conn, emdb_id, now=now)
    _judge(conn, emdb_id, now=now)


def _judge(conn: sqlite3.Connection, emdb_id: str, *, now: int) -> None:
    doubts = reference_doubts(emdb_id, emdb_store.naming(conn, emdb_id), emdb_store.named_by(conn, emdb_id))
    emdb_store.record_doubts(conn, emdb_id, doubts, now=now)


def _record_absent(conn: sqlite3.Connection, *, emdb_id: str, answer: Absent, now: int) -> None:
    emdb_store.record_emdb_absent(conn, emdb_id, reason=answer.reason, now=now)
    doubts = absent_doubts(emdb_id, emdb_store.naming(conn, emdb_id), answer.reason)
    emdb_store.record_doubts(conn, emdb_id, doubts, now=now)

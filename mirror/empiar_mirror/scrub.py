"""Scrubbing: what is here is read again, the oldest proof first, within hours and at a rate; damage is replaced.

Its only state is `verified_at` in the catalogue: killed at any moment, the next run goes on with the oldest proof.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from empiar_mirror.arrive import archive_path, put_aside
from empiar_mirror.checking import Finding, Reading, open_copy
from empiar_mirror.cluster.reading import ReadingWorkers
from empiar_mirror.derived_scrub import DerivedScrub, Pace
from empiar_mirror.presence import many_in_a_row, require_disk
from empiar_mirror.proof import add_problems
from empiar_mirror.reports import FailedFile, ScrubEnd, ScrubReport
from empiar_mirror.scrub_ahead import Ahead
from empiar_mirror.scrub_budget import (
    SUSPICIOUS_RUN,
    ByteRate,
    due,
    from_wrong_clock,
    pass_seconds,
    piece_bytes,
    usual_rate,
)
from empiar_mirror.threads import in_thread
from empiar_schema import scrub_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.cluster_settings import ClusterSettings
from empiar_schema.copies import HereFile, is_gone
from empiar_schema.derived_proof_store import bytes_of_products
from empiar_schema.events import DerivedDamaged, FileDamaged, Observer, ScrubEnded, ScrubStepTaken, nobody
from empiar_schema.hours import hours_open
from empiar_schema.scrub_store import BEFORE_ALL, END_OF_TIME, Proof
from empiar_schema.settings import ScrubSettings
from empiar_schema.states import CopyState
from empiar_schema.times import iso

#: Proofs asked for at once, and sound files recorded at once.
_GROUP_FILES: Final = 256
#: Sound bytes, and seconds, after which they are recorded at the latest: what a kill costs.
_GROUP_BYTES: Final = 2**30
_GROUP_S: Final = 30.0
#: The longest rest before somebody may stop it, seconds.
_NAP_S: Final = 0.5


class _Ended(Exception):
    def __init__(self, why: ScrubEnd) -> None:
        self.why = why


@dataclass(frozen=True, slots=True)
class ClusterReading:
    """A cluster that reads for the scrubber."""

    settings: ClusterSettings
    #: Its readers, from the beginning to the end of one run.
    workers: Callable[[], AbstractAsyncContextManager[ReadingWorkers]]


@dataclass(slots=True)
class _Open:
    """A file that is being read: closed hours interrupt it, and the next run goes on in it."""

    file: HereFile
    fd: int
    reading: Reading


@dataclass(slots=True)
class _Run:
    """One run: when it is to end, and what it has found."""

    until: Callable[[], bool]
    total_bytes: int
    began: int
    #: By the timer: when sound files were last recorded.
    recorded_at: float
    #: By the timer: when the last reading ended.
    read_to: float
    checked: int = 0
    bytes_read: int = 0
    restored: int = 0
    damaged: list[FailedFile] = field(default_factory=list)
    #: Read and sound, not recorded yet.
    sound: list[Finding] = field(default_factory=list)
    sound_bytes: int = 0
    #: Not as on record, the latest in a row: believed when a sound file follows, or nothing more.
    suspects: list[Finding] = field(default_factory=list)


class Scrubber:
    """Reads what is here again. One run at a time; `close` it in the end.

    `withdraw` is to take the damaged files of these entries out of their layouts. `timer` is a clock that never goes back.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        archive: Path,
        quarantine: Path,
        threads: Executor,
        settings: ScrubSettings,
        withdraw: Callable[[Sequence[int]], Awaitable[None]],
        observer: Observer = nobody,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        cluster: ClusterReading | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._archive = archive
        self._quarantine = quarantine
        self._threads = threads
        self._settings = settings
        self._withdraw = withdraw
        self._observer = observer
        self._clock = clock
        self._timer = timer
        self._sleep = sleep
        self._cluster = cluster
        #: Files that no worker of the cluster could read within the hours.
        self._broken_off: set[int] = set()
        self._rate = ByteRate(settings.bytes_per_s)
        self._piece = piece_bytes(settings.bytes_per_s)
        self._rested_at = float("-inf")
        #: What reading took so far, rests left out.
        self._read_bytes = 0
        self._read_s = 0.0
        self._interrupted: _Open | None = None

    def close(self) -> None:
        """No file is open any more."""
        if self._interrupted is not None:
            os.close(self._interrupted.fd)
            self._interrupted = None

    async def run(self, until: Callable[[], bool], *, ids: Sequence[int] | None = None) -> ScrubReport:
        """Every copy that was due when the run began was read and dealt with, unless `until` or the hours ended it before.

        Sound copies are verified as of now. A damaged one, read twice, has left the layouts, stands in quarantine with the
        reason, and is wanted again; so are copies that were found damaged earlier and are so still. What EMPIAR lists no longer
        stays where it is, as damaged: nothing could replace it. `until` is asked between any two pieces. `ids`: these entries only.

        Raises:
            StorageFault: the disk refused, or seems to be away; nothing was marked for that.
        """
        await in_thread(self._threads, self._let_go_of_what_has_gone)
        total = await self._catalogue.read(functools.partial(scrub_store.bytes_to_scrub, empiar_ids=ids))
        total += await self._catalogue.read(functools.partial(bytes_of_products, empiar_ids=ids))
        run = _Run(until, total, int(self._clock()), recorded_at=self._timer(), read_to=self._timer())
        ended = ScrubEnd.NOTHING_DUE
        try:
            async with AsyncExitStack() as stack:
                files = await stack.enter_async_context(aclosing(self._files(run, ids)))
                if self._cluster is None:
                    async for file in files:
                        await self._scrub(run, file)
                else:
                    workers = await stack.enter_async_context(self._cluster.workers())
                    ahead = self._ahead(run, workers, self._cluster.settings)
                    findings = await stack.enter_async_context(aclosing(ahead.findings(files)))
                    async for file, there in findings:
                        await self._scrub(run, file, there)
            await self._scrub_derived(run, ids)
        except _Ended as end:
            ended = end.why
        finally:
            await self._record_sound(run)
        await self._settle(run)
        oldest = await self._catalogue.read(functools.partial(scrub_store.oldest_proof, empiar_ids=ids))
        self._observer(ScrubEnded(run.checked, run.bytes_read, len(run.damaged), ended.value))
        return ScrubReport(
            run.checked,
            run.bytes_read,
            tuple(run.damaged),
            run.restored,
            ended,
            iso(oldest),
            too_slow=self._pass_s(total) > self._settings.period,
        )

    # --- which files, and when ------------------------------------------------------------------------

    async def _files(self, run: _Run, ids: Sequence[int] | None) -> AsyncGenerator[HereFile, None]:
        """What is damaged already, then what no true clock can have proven, then what is due, oldest first; none twice."""
        self._require_time(run)
        for file in await self._catalogue.read(functools.partial(scrub_store.damaged_files, empiar_ids=ids)):
            self._require_time(run)
            yield file
        future = Proof(from_wrong_clock(self._clock()), END_OF_TIME, END_OF_TIME)
        for after, all_after in ((future, True), (BEFORE_ALL, False)):
            place = after
            while True:
                page = functools.partial(
                    scrub_store.next_proofs,
                    after=place,
                    until=END_OF_TIME if all_after else self._due(run),
                    limit=_GROUP_FILES,
                    empiar_ids=ids,
                )
                proofs = await self._catalogue.read(page)
                if not proofs:
                    break
                place = proofs[-1]
                files = await self._catalogue.read(functools.partial(scrub_store.files_of, proofs=proofs))
                for file in files:
                    self._require_time(run)
                    yield file

    def _due(self, run: _Run) -> int:
        """What was proven by then is due now, as far as is known how fast reading goes; nothing that this run has proven."""
        before = due(self._clock(), period_s=self._settings.period, pass_s=self._pass_s(run.total_bytes))
        return min(before, run.began - 1)

    def _pass_s(self, total: int) -> float:
        limit = self._settings.bytes_per_s
        rate = usual_rate(limit, bytes_read=self._read_bytes, seconds=self._read_s)
        return pass_seconds(total, bytes_per_s=rate, hours=self._settings.hours)

    def _require_time(self, run: _Run) -> None:
        if run.until():
            raise _Ended(ScrubEnd.ASKED)
        if not hours_open(self._clock(), self._settings.hours):
            raise _Ended(ScrubEnd.HOURS)

    async def _scrub_derived(self, run: _Run, ids: Sequence[int] | None) -> None:
        """The derived files that are due were read, after all deposited ones; layouts show none that does not hold."""
        scrub = DerivedScrub(
            self._catalogue,
            self._archive.parent,
            self._threads,
            Pace(functools.partial(self._rest, run), self._timer, functools.partial(self._spend, run)),
            self._piece,
            self._clock,
        )
        try:
            await scrub.run(until=self._due(run), ids=ids)
        finally:
            run.checked += scrub.checked
            for product, wrong in scrub.damaged:
                path = f"{product.empiar_id}/derived/{product.path}"
                run.damaged.append(FailedFile(path, CopyState.DAMAGED, wrong))
                self._observer(DerivedDamaged(product.empiar_id, path, wrong))
            if scrub.damaged:
                await self._withdraw(sorted({one.product.empiar_id for one in scrub.damaged}))

    # --- reading --------------------------------------------------------------------------------------

    def _ahead(self, run: _Run, workers: ReadingWorkers, settings: ClusterSettings) -> Ahead:
        async def pace(count: int) -> None:
            await self._rest(run)
            now = self._timer()
            self._rested_at = now + self._rate.spend(count, began=now, now=now)

        return Ahead(
            workers,
            settings.places,
            settings.parcel_bytes,
            self._settings.bytes_per_s,
            pace,
            functools.partial(self._require_time, run),
            self._broken_off,
        )

    async def _scrub(self, run: _Run, file: HereFile, there: Finding | None = None) -> None:
        """The file is read, and dealt with; `there` is what a worker of the cluster has found, whose word alone damages nothing."""
        if there is not None and there.wrong is None:
            finding = there
            self._count(run, there.bytes_read, run.read_to)
            self._observer(ScrubStepTaken(file.file_id, "read"))
        else:
            finding = await self._read(run, file)
            if there is None and finding.wrong is not None and finding.errno is None:
                finding = await self._read(run, file)  # memory and cables err, too
        run.checked += 1
        if finding.wrong is None:
            await self._settle(run)
            run.restored += file.state is CopyState.DAMAGED
            run.sound.append(finding)
            run.sound_bytes += finding.bytes_read
            late = self._timer() - run.recorded_at >= _GROUP_S
            if late or len(run.sound) >= _GROUP_FILES or run.sound_bytes >= _GROUP_BYTES:
                await self._record_sound(run)
            return
        if not await self._catalogue.read(functools.partial(scrub_store.is_same, file=file)):
            return  # it was evicted, or replaced, since the page was read
        beside = await self._catalogue.read(functools.partial(scrub_store.more_beside, file_id=file.file_id))
        await in_thread(
            self._threads,
            require_disk,
            self._archive,
            finding,
            more_beside=beside,
        )
        run.suspects.append(finding)
        if len(run.suspects) >= SUSPICIOUS_RUN:
            raise many_in_a_row(run.suspects)

    async def _read(self, run: _Run, file: HereFile) -> Finding:
        await self._rest(run)
        began = self._timer()
        opened: _Open | Finding | None = self._go_on(file)
        if opened is None:
            opened = await in_thread(self._threads, _begin, self._archive, file, self._piece)
        if isinstance(opened, Finding):
            self._account(run, file, opened.bytes_read, began)
            return opened
        keep = False
        try:
            while True:
                await self._rest(run)
                began = self._timer()
                got = await in_thread(self._threads, opened.reading.step, self._piece)
                if not got:
                    return await in_thread(self._threads, opened.reading.finding)
                self._account(run, file, got, began)
        except OSError as error:
            return Finding(file, 0, f"it cannot be read: {error.strerror}", errno=error.errno)
        except _Ended as end:
            keep = end.why is ScrubEnd.HOURS
            raise
        finally:
            if keep:
                self.close()
                self._interrupted = opened
            else:
                os.close(opened.fd)

    def _account(self, run: _Run, file: HereFile, count: int, began: float) -> None:
        self._spend(run, count, began)
        self._observer(ScrubStepTaken(file.file_id, "read"))

    def _spend(self, run: _Run, count: int, began: float) -> None:
        """So many bytes were read here since `began`: they count, and the rate is kept."""
        now = self._count(run, count, began)
        self._rested_at = now + self._rate.spend(count, began=began, now=now)

    def _count(self, run: _Run, count: int, began: float) -> float:
        """So many bytes were read since `began`, here or elsewhere; returns the time."""
        now = self._timer()
        run.bytes_read += count
        run.read_to = now
        self._read_bytes += count
        self._read_s += now - began
        return now

    async def _rest(self, run: _Run) -> None:
        """The rate allows the next piece, and it is still wanted; rests in naps, because somebody may stop it meanwhile."""
        self._require_time(run)
        while (left := self._rested_at - self._timer()) > 0:
            await self._sleep(min(left, _NAP_S))
            self._require_time(run)

    def _go_on(self, file: HereFile) -> _Open | None:
        """The reading of this file that closed hours interrupted, if the file is still that one."""
        if self._interrupted is None or self._interrupted.file.file_id != file.file_id:
            return None
        opened, self._interrupted = self._interrupted, None
        if opened.file.sha256 == file.sha256 and self._stands(opened):
            return opened
        os.close(opened.fd)  # opening it anew says what is wrong
        return None

    def _let_go_of_what_has_gone(self) -> None:
        # Else the space of a file that was evicted in closed hours would be free only when they open.
        if self._interrupted is not None and not self._stands(self._interrupted):
            self.close()

    def _stands(self, opened: _Open) -> bool:
        """Whether the open file is the one at its path."""
        try:
            there = archive_path(self._archive, opened.file.remote).stat(follow_symlinks=False)
            return os.path.samestat(os.fstat(opened.fd), there)
        except OSError:
            return False

    # --- what was found -------------------------------------------------------------------------------

    async def _record_sound(self, run: _Run) -> None:
        sound, run.sound, run.sound_bytes = run.sound, [], 0
        run.recorded_at = self._timer()
        if not sound:
            return
        files = [finding.file for finding in sound]
        record = functools.partial(scrub_store.record_sound, files=files, now=int(self._clock()))
        await self._catalogue.write(record)
        for finding in sound:
            if finding.problems:
                await self._catalogue.write(functools.partial(add_problems, finding=finding))
        self._observer(ScrubStepTaken(files[-1].file_id, "recorded"))

    async def _settle(self, run: _Run) -> None:
        """The suspects are damaged: recorded, out of the layouts, in quarantine, and wanted again, in this order."""
        suspects, run.suspects = run.suspects, []
        damaged: list[Finding] = []
        for finding in suspects:
            assert finding.wrong is not None
            record = functools.partial(
                scrub_store.record_unsound,
                file=finding.file,
                error=finding.wrong,
                now=int(self._clock()),
            )
            if await self._catalogue.write(record):
                damaged.append(finding)
                self._observer(ScrubStepTaken(finding.file.file_id, "damaged"))
        if not damaged:
            return
        await self._withdraw(sorted({finding.file.remote.empiar_id for finding in damaged}))
        self._observer(ScrubStepTaken(damaged[-1].file.file_id, "hidden"))
        for finding in damaged:
            await self._replace(run, finding)

    async def _replace(self, run: _Run, finding: Finding) -> None:
        file, reason = finding.file, finding.wrong or ""
        state = CopyState.DAMAGED
        if not await self._catalogue.read(functools.partial(is_gone, file_id=file.file_id)):
            await in_thread(self._threads, self._set_aside, file, reason)
            self._observer(ScrubStepTaken(file.file_id, "set_aside"))
            again = functools.partial(scrub_store.want_again, file=file, now=int(self._clock()))
            if await self._catalogue.write(again):
                state = CopyState.WANTED
            self._observer(ScrubStepTaken(file.file_id, "wanted"))
        run.damaged.append(FailedFile(str(file.remote), state, reason))
        self._observer(FileDamaged(file.file_id, str(file.remote), reason, state))

    def _set_aside(self, file: HereFile, reason: str) -> None:
        path = archive_path(self._archive, file.remote)
        if os.path.lexists(path):
            put_aside(self._quarantine, file.remote, rejected=path, reason=reason, now=self._clock())


def _begin(archive: Path, file: HereFile, piece: int) -> _Open | Finding:
    """The file, open at its beginning; what it is, if one piece holds it; or what is wrong with it."""
    fd = open_copy(archive, file)
    if isinstance(fd, Finding):
        return fd
    keep = False
    try:
        reading = Reading(fd, file)
        if file.size > piece:
            keep = True
            return _Open(file, fd, reading)
        while reading.step(piece):
            pass
        return reading.finding()
    except OSError as error:
        return Finding(file, 0, f"it cannot be read: {error.strerror}", errno=error.errno)
    finally:
        if not keep:
            os.close(fd)

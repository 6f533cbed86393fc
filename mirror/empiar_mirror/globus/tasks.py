"""One bundle and its task: submitted once, followed, read back, and ended. Every step is in the ledger before the next begins."""

from __future__ import annotations

import asyncio
import functools
import secrets
import sqlite3
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from empiar_mirror.globus.bundling import Folders, items_of, label
from empiar_mirror.globus.places import Places, task_link
from empiar_mirror.globus.rules import After, after, why_cancel
from empiar_mirror.space import Space
from empiar_mirror.staging import delivered_path
from empiar_schema import globus_endings, globus_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import GlobusTaskEnded, GlobusTaskProgressed, GlobusTaskSubmitted, Observer
from empiar_schema.faults import PermanentFault, StorageFault
from empiar_schema.globus_bundles import Bundle, BundleFile
from empiar_schema.settings import GlobusSettings
from empiar_wire.globus_facts import GlobusService, Skipped, Submission, Task, TaskStatus

#: After a failure only this is safe: the service writes under final names, and weaker levels take a half-written file for whole.
CHECKSUM: Final = "checksum"
#: A task that copies what nobody waits for, because it was not listed, has so many polls to end.
_POLLS_TO_END: Final = 5
#: More other names in a folder are not worth a filter.
_MOST_OTHERS: Final = 2_000


#: What a task moves beyond this share of its bundle it has moved before: files whose checksum fails come again and again.
_REPETITION: Final = 1.1
#: Errors are forgiven when the task has brought another file, or so large a share of its bytes.
_WORTH_FORGIVING: Final = 0.01


@dataclass(slots=True)
class Watch:
    """When a task last brought something new, and its errors then."""

    #: By a clock that nobody sets.
    since: float
    files: int = 0
    bytes: int = 0
    #: Since when nothing of the bundle is waited for.
    spent_since: float | None = None
    #: Errors, and bytes, when the errors were last forgiven.
    faults: int = 0
    forgiven_at_bytes: int = 0

    def look(self, task: Task, *, bundle_bytes: int, now: float) -> Watch:
        """The task as it stands now, which should bring so many bytes; returns itself."""
        new_bytes = min(task.bytes_transferred, int(bundle_bytes * _REPETITION))
        more_files = task.files_transferred > self.files
        if more_files or new_bytes > self.bytes or task.queued:
            self.since = now
        if more_files or new_bytes - self.forgiven_at_bytes > bundle_bytes * _WORTH_FORGIVING:
            self.faults, self.forgiven_at_bytes = task.faults, new_bytes
        self.files, self.bytes = task.files_transferred, max(self.bytes, new_bytes)
        return self

    def idle_s(self, now: float) -> float:
        """Seconds without anything new."""
        return max(0.0, now - self.since)


@dataclass(frozen=True, slots=True)
class Desk:
    """What all work on tasks needs."""

    catalogue: Catalogue
    service: GlobusService
    settings: GlobusSettings
    places: Places
    staging: Path
    space: Space
    #: No other channel may bring what Globus does not.
    alone: bool
    observer: Observer
    clock: Callable[[], float]
    #: How each bundle's task has moved, as seen by this process, by a clock that nobody sets.
    watches: dict[int, Watch] = field(default_factory=dict)
    monotonic: Callable[[], float] = time.monotonic

    def watch(self, bundle_id: int) -> Watch:
        """How the bundle's task has moved."""
        return self.watches.setdefault(bundle_id, Watch(self.monotonic()))

    @property
    def visible(self) -> bool:
        """Whether what the service writes stands in our staging."""
        return self.settings.storage == "here"

    @property
    def most_tries(self) -> int:
        """In how many bundles a file may be."""
        return self.settings.retries + 1

    @property
    def now(self) -> int:
        """Whole seconds since the epoch."""
        return int(self.clock())


def mark() -> str:
    """What tells a label from all others, those of other mirrors of the same account too."""
    return secrets.token_hex(4)


async def submit(desk: Desk, bundle: Bundle) -> None:
    """The service has a task of the bundle, exactly one however often this is begun. One of which nothing is under way any more ends.

    Raises:
        TransientFault: try again later; the same submission id is used then.
        AccountFault: a person must act.
        PermanentFault: the service refuses the task as it is.
    """
    files = await desk.catalogue.read(
        functools.partial(globus_store.bundle_files, bundle_id=bundle.bundle_id)
    )
    if not files:
        await _end(desk, bundle, "DISSOLVED", None, delivered=0, freed=0)
        return
    submission_id = bundle.submission_id
    if submission_id is None:
        submission_id = await desk.service.submission_id()
        await desk.catalogue.write(
            functools.partial(
                globus_store.record_submission_id,
                bundle_id=bundle.bundle_id,
                submission_id=submission_id,
            )
        )
    folders = await desk.catalogue.read(
        functools.partial(folders_of, bundle_id=bundle.bundle_id, files=files)
    )
    items, filters = await asyncio.to_thread(items_of, files, folders, desk.places)
    task_id = await desk.service.submit(
        Submission(
            submission_id=submission_id,
            label=bundle.label,
            source_collection=desk.places.source_collection,
            destination_collection=desk.places.destination_collection,
            items=items,
            filters=filters,
            sync_level=bundle.sync_level,
            deadline_s=desk.settings.deadline,
        )
    )
    await _record_task(desk, bundle, task_id)


async def _record_task(desk: Desk, bundle: Bundle, task_id: str) -> None:
    await desk.catalogue.write(
        functools.partial(globus_store.record_task, bundle_id=bundle.bundle_id, task_id=task_id, now=desk.now)
    )
    link = task_link(desk.settings.web_url, task_id)
    desk.observer(GlobusTaskSubmitted(task_id, bundle.label, bundle.files, bundle.bytes, link))


async def found_by_label(desk: Desk, bundle: Bundle) -> bool:
    """Whether the service has made a task of the bundle, which is on record then. A label is like no other (`mark`)."""
    known = await desk.service.labelled(bundle.label)
    if known:
        await _record_task(desk, bundle, known[0].task_id)
    return bool(known)


async def refused(desk: Desk, bundle: Bundle, error: str) -> None:
    """The service will never take the bundle: its files are given back."""
    freed = await _free_rest(desk, bundle, error, for_good=True)
    await _end(desk, bundle, "REFUSED", error, delivered=0, freed=freed)


def folders_of(
    conn: sqlite3.Connection, *, bundle_id: int, files: Sequence[BundleFile]
) -> dict[int, Folders]:
    """The folders of every entry that has files in the bundle, as `items_of` wants them."""
    return {
        empiar_id: globus_store.listed_folders(conn, bundle_id, empiar_id, most_others=_MOST_OTHERS)
        for empiar_id in {file.remote.empiar_id for file in files}
    }


async def follow(desk: Desk, bundle: Bundle) -> None:
    """The ledger says what the task has brought by now.

    A task beyond hope is cancelled; one that has ended is read to its end, and the bundle ends with it.

    Raises:
        TransientFault, AccountFault: as `submit`.
        StorageFault: the destination is full.
    """
    assert bundle.task_id is not None
    try:
        task = await desk.service.task(bundle.task_id)
    except PermanentFault as fault:
        error = f"Globus knows nothing of the task {bundle.task_id} any more: {fault}"
        freed = await _free_rest(desk, bundle, error, for_good=not desk.alone)
        await _end(desk, bundle, "UNKNOWN", error, delivered=0, freed=freed)
        return
    await _note_progress(desk, bundle, task)
    delivered = 0
    if task.status.ended or task.files_transferred > 0:
        delivered = await read_moved(desk, bundle, while_running=not task.status.ended)
    if task.status.ended:
        await _finish(desk, bundle, task, delivered)
        return
    if bundle.cancelled_because is not None:
        await desk.service.cancel(bundle.task_id)  # once more: the last time may not have reached the service
        return
    watch = desk.watch(bundle.bundle_id).look(task, bundle_bytes=bundle.bytes, now=desk.monotonic())
    if bundle.bundle_id in await desk.catalogue.read(globus_store.spent_bundles):
        await _let_end(desk, bundle, watch)
        return
    reason = why_cancel(
        task,
        idle_s=watch.idle_s(desk.monotonic()),
        faults_in_vain=task.faults - watch.faults,
        stall_s=desk.settings.stall,
    )
    if reason is not None:
        await cancel(desk, bundle, reason)


async def _let_end(desk: Desk, bundle: Bundle, watch: Watch) -> None:
    """All that is wanted of the bundle is here: its task has some polls to end by itself, and is given up then."""
    if watch.spent_since is None:
        watch.spent_since = desk.monotonic()
    if desk.monotonic() - watch.spent_since > _POLLS_TO_END * desk.settings.poll:
        reason = "all that was wanted of it is here"
        give_up = functools.partial(globus_endings.give_up_bundle, bundle_id=bundle.bundle_id, reason=reason)
        await desk.catalogue.write(give_up)


async def cancel(desk: Desk, bundle: Bundle, reason: str) -> None:
    """The service has been told to cancel the bundle's task; the reason is on record before."""
    assert bundle.task_id is not None
    await desk.catalogue.write(
        functools.partial(globus_endings.cancelling, bundle_id=bundle.bundle_id, reason=reason)
    )
    await desk.service.cancel(bundle.task_id)


async def clear_away(desk: Desk, bundle: Bundle) -> None:
    """The task of a bundle that nobody waits for is being cancelled, if the service ever made one; once it has ended, so has the bundle."""
    task_id = bundle.task_id
    if task_id is None:
        known = await desk.service.labelled(bundle.label)
        task_id = known[0].task_id if known else None
    if task_id is not None:
        try:
            if not (await desk.service.task(task_id)).status.ended:
                await desk.service.cancel(task_id)
                return
        except PermanentFault:
            pass  # it knows nothing of it any more
    await _end(desk, bundle, "ABANDONED", bundle.cancelled_because, delivered=0, freed=0)


async def _note_progress(desk: Desk, bundle: Bundle, task: Task) -> None:
    known = (
        bundle.status,
        bundle.nice_status,
        bundle.bytes_transferred,
        bundle.files_transferred,
        bundle.faults,
    )
    stands = (task.status, task.nice_status, task.bytes_transferred, task.files_transferred, task.faults)
    if stands == known:
        return
    await desk.catalogue.write(
        functools.partial(
            globus_store.record_progress,
            bundle_id=bundle.bundle_id,
            status=task.status,
            nice_status=task.nice_status,
            bytes_transferred=task.bytes_transferred,
            files_transferred=task.files_transferred,
            faults=task.faults,
            now=desk.now,
        )
    )
    desk.space.wrote(-bundle.bundle_id, max(0, task.bytes_transferred - bundle.bytes_transferred))
    desk.observer(
        GlobusTaskProgressed(
            task.task_id,
            task.status,
            task.nice_status,
            task.bytes_transferred,
            task.files_transferred,
            task.faults,
        )
    )


async def read_moved(desk: Desk, bundle: Bundle, *, while_running: bool) -> int:
    """Every page of the files that the task has copied is in the ledger, a page a commit; returns how many files are newly delivered.

    The marker kept is that of the last page begun, which is read again next time: it may have grown. A service that
    shows the list only afterwards is no fault `while_running`.
    """
    assert bundle.task_id is not None
    marker, new = bundle.moved_marker, 0
    read: set[str | None] = set()
    while True:
        try:
            page = await desk.service.moved(bundle.task_id, marker)
        except PermanentFault:
            if while_running or read or marker is None:
                return new  # the service keeps it for 30 days: what stands at the destination tells the rest
            marker = None  # a marker that it no longer knows: from the beginning
            continue
        read.add(marker)
        remotes = [r for moved in page.items if (r := desk.places.delivered(moved.destination)) is not None]
        new += await desk.catalogue.write(
            functools.partial(
                globus_store.record_moved,
                bundle_id=bundle.bundle_id,
                moved=remotes,
                marker=marker,
                now=desk.now,
                visible=desk.visible,
            )
        )
        if page.next_marker is None or page.next_marker in read:
            return new
        marker = page.next_marker


# --- the end ------------------------------------------------------------------------------------------------


async def _finish(desk: Desk, bundle: Bundle, task: Task, delivered: int) -> None:
    ending = after(task, cancelled_because=bundle.cancelled_because)
    freed = await _free_skipped(desk, bundle)
    if ending.then is After.LOOK:
        delivered += await _deliver_what_stands(desk, bundle)
    if ending.then in (After.AGAIN, After.FULL) or (desk.alone and ending.then is not After.GIVE_UP):
        freed += await _once_more(desk, bundle)
    for_good = ending.then is After.GIVE_UP or not desk.alone
    freed += await _free_rest(desk, bundle, ending.sentence, for_good=for_good)
    error = None if task.status is TaskStatus.SUCCEEDED else ending.sentence
    await _end(desk, bundle, task.status, error, delivered=delivered, freed=freed)
    if ending.then is After.FULL:
        raise StorageFault(
            f"the destination of the Globus transfer is full: {ending.sentence}",
            hint="free some space, or have the quota raised, and run the same command again",
            full=True,
        )


async def _free_skipped(desk: Desk, bundle: Bundle) -> int:
    """Files that the service passed over because of errors at the source are given back with its word; returns how many."""
    assert bundle.task_id is not None
    marker, freed = None, 0
    read: set[str] = set()
    while True:
        try:
            page = await desk.service.skipped(bundle.task_id, marker)
        except PermanentFault:
            return freed
        freed += await desk.catalogue.write(
            functools.partial(
                _free_passed_over, bundle_id=bundle.bundle_id, paths=page.items, places=desk.places
            )
        )
        if page.next_marker is None or page.next_marker in read:
            return freed
        marker = page.next_marker
        read.add(marker)


def _free_passed_over(
    conn: sqlite3.Connection, bundle_id: int, paths: Sequence[Skipped], places: Places
) -> int:
    freed = 0
    for skipped in paths:
        remote = places.requested(skipped.source)
        if remote is not None:
            error = f"Globus passed it over: {skipped.code} {skipped.details[:200]}".rstrip()
            freed += globus_endings.free_path(conn, bundle_id, remote, error=error)
    return freed


async def _deliver_what_stands(desk: Desk, bundle: Bundle) -> int:
    """Files that a task which succeeded does not name as copied, because they were there already, are delivered; returns how many.

    Where the destination is visible here, only those that stand there with their listed size.
    """
    files = await desk.catalogue.read(
        functools.partial(globus_store.bundle_files, bundle_id=bundle.bundle_id)
    )
    standing = files
    if desk.visible:
        standing = await asyncio.to_thread(lambda: [file for file in files if _stands(desk.staging, file)])
    return await desk.catalogue.write(
        functools.partial(
            globus_store.deliver,
            bundle_id=bundle.bundle_id,
            file_ids=[file.file_id for file in standing],
            now=desk.now,
            visible=desk.visible,
        )
    )


def _stands(staging: Path, file: BundleFile) -> bool:
    try:
        status = delivered_path(staging, file.remote).lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and file.bytes in (None, status.st_size)


async def _once_more(desk: Desk, bundle: Bundle) -> int:
    """What the task left undone, and may be tried again, is planned as a bundle that compares checksums; returns how many files."""

    def plan(conn: sqlite3.Connection) -> int:
        return globus_endings.plan_again(
            conn,
            bundle.bundle_id,
            label=lambda ids, files, size: label(ids, files=files, size=size, mark=mark()),
            most_tries=desk.most_tries,
            sync_level=CHECKSUM,
            now=desk.now,
        )

    return await desk.catalogue.write(plan)


async def _free_rest(desk: Desk, bundle: Bundle, error: str, *, for_good: bool) -> int:
    return await desk.catalogue.write(
        functools.partial(
            globus_endings.free_rest, bundle_id=bundle.bundle_id, error=error, for_good=for_good
        )
    )


async def _end(
    desk: Desk, bundle: Bundle, status: str, error: str | None, *, delivered: int, freed: int
) -> None:
    await desk.catalogue.write(
        functools.partial(
            globus_endings.end_bundle, bundle_id=bundle.bundle_id, status=status, error=error, now=desk.now
        )
    )
    desk.space.release(-bundle.bundle_id)
    desk.watches.pop(bundle.bundle_id, None)
    if bundle.task_id is not None:
        desk.observer(GlobusTaskEnded(bundle.task_id, status, delivered, freed, error))

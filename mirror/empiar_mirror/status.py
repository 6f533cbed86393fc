"""How far the mirror is: progress by entry, rate, time left, what is stuck and why, and whether that is healthy."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from empiar_mirror.job_status import MakerStatus, StuckJob, makers_of, stuck_jobs
from empiar_mirror.plan import Moved
from empiar_mirror.plan_facts import recent_attempts
from empiar_schema.transfer_store import next_not_before

#: The rate is that of the attempts which ended within this time.
RATE_WINDOW_S: Final = 900
#: Work that could go on, a process that should do it, and no byte for so long: something hangs.
SILENT_S: Final = 1800
#: So many stuck files are named; the rest is counted.
NAMED_STUCK: Final = 20


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """Progress of one entry that was asked for."""

    empiar_id: int
    title: str
    state: str
    wanted_files: int
    wanted_bytes: int
    here_files: int
    here_bytes: int
    failed_files: int
    failed_bytes: int


@dataclass(frozen=True, slots=True)
class StuckFile:
    """A copy that does not go on by itself, or waits after a failure."""

    empiar_id: int
    path: str
    state: str
    attempts: int
    error: str | None
    #: ISO 8601 time of the next try; None where there is none by itself.
    next_try: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """The whole answer of `status`. Times are epoch seconds, rates bytes per second."""

    entries: tuple[EntryStatus, ...]
    stuck: tuple[StuckFile, ...]
    #: All files in states that need `repair`, named or not.
    failed_files: int
    bytes_per_s: float | None
    #: When the last attempt that moved bytes ended.
    last_bytes_at: int | None
    #: Earliest time at which a waiting file may be tried; None if none waits.
    next_try_at: int | None
    #: The process that works on the mirror now, by pid and command.
    worker: str | None
    #: How far derived files are, by entry and maker.
    makers: tuple[MakerStatus, ...] = ()
    stuck_jobs: tuple[StuckJob, ...] = ()

    @property
    def files_left(self) -> int:
        """Files still to come by themselves."""
        return sum(e.wanted_files - e.here_files - e.failed_files for e in self.entries)

    @property
    def bytes_left(self) -> int:
        """Bytes still to come by themselves."""
        return sum(max(0, e.wanted_bytes - e.here_bytes - e.failed_bytes) for e in self.entries)

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present rate; None where nothing is left or nothing moves."""
        if not self.bytes_per_s or not self.files_left:
            return None
        return self.bytes_left / self.bytes_per_s


def read_status(
    connection: sqlite3.Connection, ids: Sequence[int] | None, *, now: float, worker: str | None
) -> Status:
    """The status of these entries, or of all that were asked for."""
    entries = _entries(connection, ids)
    makers = makers_of(connection, ids)
    latest = recent_attempts(connection)
    # Every file of a complete entry is here, so only the others can hold something stuck.
    open_ids = [e.empiar_id for e in entries if e.here_files < e.wanted_files]
    return Status(
        entries=entries,
        stuck=_stuck(connection, open_ids),
        failed_files=sum(entry.failed_files for entry in entries),
        bytes_per_s=_rate([attempt for attempt in latest if attempt.ended_at >= now - RATE_WINDOW_S]),
        last_bytes_at=int(latest[0].ended_at) if latest else None,
        next_try_at=next_not_before(connection, empiar_ids=open_ids) if open_ids else None,
        worker=worker,
        makers=makers,
        stuck_jobs=stuck_jobs(connection, makers),
    )


def ailments(status: Status, *, now: float, disk_refusal: str | None) -> list[str]:
    """Why the mirror is not healthy, one sentence each; empty means healthy.

    Health is told by bytes, not by a process being there: a process that moves nothing for half an hour
    although it could is ill.
    """
    found = []
    damaged = sum(1 for file in status.stuck if file.state == "damaged")
    if damaged:
        are = "file is" if damaged == 1 else "files are"
        found.append(f"{damaged:,} {are} damaged: `empiar-mirror repair` fetches again")
    parked = sum(maker.parked for maker in status.makers)
    if parked:
        files = "derived file" if parked == 1 else "derived files"
        found.append(f"{parked:,} {files} could not be made: `empiar-mirror make --retry` tries again")
    if status.files_left > 0:
        if disk_refusal is not None:
            found.append(f"the disk takes nothing more: {disk_refusal}")
        due = status.next_try_at is None or status.next_try_at <= now
        silent = status.last_bytes_at is None or now - status.last_bytes_at > SILENT_S
        if status.worker is None:
            are = "file is" if status.files_left == 1 else "files are"
            found.append(f"{status.files_left:,} {are} wanted, and no process is at work")
        elif due and silent and disk_refusal is None:
            found.append(f"{status.worker} is running, but no byte has come for {SILENT_S // 60} minutes")
    return found


def _entries(connection: sqlite3.Connection, ids: Sequence[int] | None) -> tuple[EntryStatus, ...]:
    columns = "p.empiar_id, e.title, p.state, p.wanted_files, p.wanted_bytes, p.here_files, p.here_bytes, p.failed_files, p.failed_bytes"
    source = f"SELECT {columns} FROM entry_progress p LEFT JOIN entries e ON e.empiar_id = p.empiar_id"  # noqa: S608
    if ids is None:
        rows = connection.execute(f"{source} WHERE p.wanted_files > 0 ORDER BY p.empiar_id").fetchall()
    else:
        found = (connection.execute(f"{source} WHERE p.empiar_id = ?", (i,)).fetchone() for i in ids)
        rows = [row for row in found if row is not None]
    return tuple(EntryStatus(row[0], row[1] or "", *row[2:]) for row in rows)


def _stuck(connection: sqlite3.Connection, open_ids: Sequence[int]) -> tuple[StuckFile, ...]:
    """Failed copies first, then those that wait after a failure."""
    stuck: list[StuckFile] = []
    # The conditions are those of the partial indexes copy_failed and copy_waiting.
    for condition in ("state >= 5", "state <= 1 AND error IS NOT NULL"):
        for empiar_id in open_ids:
            room = NAMED_STUCK - len(stuck)
            if room <= 0:
                return tuple(stuck)
            sql = (
                "SELECT empiar_id, path, state, attempts, error, not_before FROM copies WHERE file_id IN"  # noqa: S608
                f" (SELECT file_id FROM copy WHERE empiar_id = ? AND {condition} ORDER BY not_before LIMIT ?)"
            )
            stuck += [StuckFile(*row) for row in connection.execute(sql, (empiar_id, room))]
    return tuple(stuck)


def _rate(moved: Sequence[Moved]) -> float | None:
    total = sum(attempt.bytes for attempt in moved)
    if not total:
        return None
    began = min(attempt.started_at for attempt in moved)
    ended = max(attempt.ended_at for attempt in moved)
    return total / max(1.0, ended - began)

"""How far the mirror is: progress by entry, rate, time left, what is stuck and why, and whether that is healthy."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from empiar_mirror.globus.task_status import GlobusTask, failed_lately, open_tasks, shares_of
from empiar_mirror.job_status import MakerStatus, StuckJob, makers_of, stuck_jobs
from empiar_mirror.order_facts import Reach, next_due, read_order, resting
from empiar_mirror.plan import Moved
from empiar_mirror.plan_facts import recent_attempts
from empiar_schema.codes import state_list
from empiar_schema.order_settings import OrderSettings
from empiar_schema.settings import GlobusSettings
from empiar_schema.states import FAILED, Channel, CopyState
from empiar_schema.times import iso

#: The rate is that of the attempts which ended within this time.
RATE_WINDOW_S: Final = 900
#: Work that could go on, a process that should do it, and no byte for so long: something hangs.
SILENT_S: Final = 1800
#: So many stuck files are named; the rest is counted.
NAMED_STUCK: Final = 20
_FAILED: Final = state_list(sorted(FAILED))
_WITHDRAWN: Final = state_list((CopyState.WITHDRAWN,))


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
    #: Transferred by Globus to storage that is not visible here, and not verified.
    unverified_files: int = 0
    unverified_bytes: int = 0
    #: Removed to make room.
    evicted_files: int = 0
    evicted_bytes: int = 0
    #: Files that the archive lists no longer; ours stay.
    withdrawn_files: int = 0
    #: ``withdrawn`` or ``obsolete`` where the archive calls the entry so; None where it is as it should be.
    upstream: str | None = None


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
class HeldSubscription:
    """A subscription that rests until somebody resumes it."""

    name: str
    reason: str
    #: ISO 8601.
    held_at: str | None


@dataclass(frozen=True, slots=True)
class LateSubscription:
    """A subscription of which something was to be here by now."""

    name: str
    #: When its earliest deadline ended, ISO 8601.
    due_at: str
    bytes_left: int


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
    #: Globus tasks that have not ended, and the latest that failed within a day.
    globus: tuple[GlobusTask, ...] = ()
    globus_failed: tuple[GlobusTask, ...] = ()
    #: Of the files still to come, those that the Globus service has or that are planned for it.
    files_with_globus: int = 0
    held_subscriptions: tuple[HeldSubscription, ...] = ()
    #: What transfers wait for, where the limits let nothing come now by a channel that streams.
    rests: str | None = None
    #: Connections that each channel may use now, as the process at work has found out.
    connections: Mapping[str, int] = field(default_factory=dict)
    #: Files that wait because whoever wants them is paused or at a quota.
    files_resting: int = 0
    late_subscriptions: tuple[LateSubscription, ...] = ()

    @property
    def files_left(self) -> int:
        """Files still to come by themselves."""
        return sum(
            e.wanted_files - e.here_files - e.failed_files - e.unverified_files - e.evicted_files
            for e in self.entries
        )

    @property
    def bytes_left(self) -> int:
        """Bytes still to come by themselves."""
        return sum(
            max(
                0,
                e.wanted_bytes - e.here_bytes - e.failed_bytes - e.unverified_bytes - e.evicted_bytes,
            )
            for e in self.entries
        )

    @property
    def files_unverified(self) -> int:
        """Files that Globus brought to storage that is not visible here."""
        return sum(e.unverified_files for e in self.entries)

    @property
    def files_evicted(self) -> int:
        """Files that were removed to make room."""
        return sum(e.evicted_files for e in self.entries)

    @property
    def moved_at(self) -> int | None:
        """When bytes last came, by any channel; None before any did."""
        told = (self.last_bytes_at, *(task.progressed_at for task in self.globus))
        return max((when for when in told if when is not None), default=None)

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present rate; None where nothing is left or nothing moves."""
        if not self.bytes_per_s or not self.files_left:
            return None
        return self.bytes_left / self.bytes_per_s


def read_status(
    connection: sqlite3.Connection,
    ids: Sequence[int] | None,
    *,
    now: float,
    worker: str | None,
    globus: GlobusSettings,
    rests: str | None = None,
    connections: Mapping[str, int] | None = None,
) -> Status:
    """The status of these entries, or of all that were asked for. `rests` and `connections` are what `pacing` knows."""
    entries = _entries(connection, ids)
    makers = makers_of(connection, ids)
    latest = recent_attempts(connection)
    # Every file of a complete entry is here, so only the others can hold something stuck.
    open_ids = [e.empiar_id for e in entries if e.here_files + e.evicted_files < e.wanted_files]
    shares = shares_of(connection, ids)
    resting_files, late, next_try_at = _by_order(connection, open_ids, now)
    return Status(
        entries=entries,
        stuck=_stuck(connection, open_ids),
        failed_files=sum(entry.failed_files for entry in entries),
        bytes_per_s=_rate(_moved_lately(connection, now)),
        last_bytes_at=int(latest[0].ended_at) if latest else None,
        next_try_at=next_try_at,
        worker=worker,
        makers=makers,
        stuck_jobs=stuck_jobs(connection, makers),
        globus=open_tasks(connection, ids, web_url=globus.web_url),
        globus_failed=failed_lately(connection, ids, web_url=globus.web_url, now=now),
        files_with_globus=sum(files for files, _ in shares.values()),
        held_subscriptions=_held(connection),
        rests=rests,
        connections=dict(connections or {}) if worker is not None else {},
        files_resting=resting_files,
        late_subscriptions=late,
    )


def _by_order(
    connection: sqlite3.Connection, open_ids: Sequence[int], now: float
) -> tuple[int, tuple[LateSubscription, ...], int | None]:
    """How many files rest for their subscriptions, which of these are late, and when the next file may be tried."""
    if not open_ids:
        return 0, (), None
    reach = Reach(frozenset(open_ids))
    # Neither a rest nor a deadline depends on what waiting adds to priorities.
    order, _ = read_order(connection, reach, OrderSettings(), now=now)
    rests = sum(rest.standing.queue.files for rest in resting(connection, order, now=now))
    late = tuple(
        LateSubscription(order.wanters[number].name, iso(int(tight.due)) or "", tight.bytes_left)
        for number, tight in sorted(order.tight.items())
        if tight.late
    )
    return rests, late, next_due(connection, order, reach, now=now)


def _held(connection: sqlite3.Connection) -> tuple[HeldSubscription, ...]:
    rows = connection.execute(
        "SELECT name, held_reason, held_at FROM subscriptions WHERE held_at IS NOT NULL ORDER BY name"
    )
    return tuple(HeldSubscription(*row) for row in rows)


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong with a mirror, one sentence each."""

    #: Work could go on, and does not: a restart, or somebody, has to help. The process is not alive in any sense that counts.
    standstill: tuple[str, ...] = ()
    #: A person, or space on the disk, is needed; nothing hangs, and a restart would change nothing.
    attention: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """All of them; none means healthy."""
        return [*self.attention, *self.standstill]


def judge_health(
    status: Status,
    *,
    now: float,
    disk_refusal: str | None,
    stall_s: float,
    progressed_at: float | None = None,
) -> Health:
    """What is wrong with the mirror, for `status --healthy`, ``/healthz`` and the watchdog alike.

    Health is told by bytes, not by a process being there: a process that moves nothing for half an hour
    although it could is ill. What Globus is to bring has more patience, `stall_s` (`globus.stall`), as the channel itself.
    Whoever sees bytes before the catalogue has them gives the time of the last ones, `progressed_at`.
    """
    attention = _for_a_person(status)
    if status.files_left - status.files_resting <= 0:
        return Health(attention=tuple(attention))
    if disk_refusal is not None:
        attention.append(f"the disk takes nothing more: {disk_refusal}")
    if status.worker is None:
        are = "file is" if status.files_left == 1 else "files are"
        return Health((f"{status.files_left:,} {are} wanted, and no process is at work",), tuple(attention))
    attention += [_sentence(task, now) for task in _waited_for(status) if task.paused]
    idle = [task for task in _waited_for(status) if not task.paused and task.idle_s(now) >= stall_s]
    if idle:
        return Health(tuple(_sentence(task, now) for task in idle), tuple(attention))
    due = status.next_try_at is None or status.next_try_at <= now
    # In hours in which nothing may come, only what a Globus task is to bring could be missed, and that was looked at above.
    if (
        status.rests is not None
        or not due
        or disk_refusal is not None
        or any(task.paused for task in _waited_for(status))
    ):
        return Health(attention=tuple(attention))
    patience_s = _patience_s(status, stall_s=stall_s)
    moved_at = max((at for at in (status.moved_at, progressed_at) if at is not None), default=None)
    if patience_s is None or (moved_at is not None and now - moved_at <= patience_s):
        return Health(attention=tuple(attention))
    silent = f"{status.worker} is running, but no byte has come for {round(patience_s / 60)} minutes"
    return Health((silent,), tuple(attention))


def ailments(
    status: Status,
    *,
    now: float,
    disk_refusal: str | None,
    stall_s: float,
    progressed_at: float | None = None,
) -> list[str]:
    """Why the mirror is not healthy, one sentence each; empty means healthy."""
    judged = judge_health(
        status, now=now, disk_refusal=disk_refusal, stall_s=stall_s, progressed_at=progressed_at
    )
    return judged.sentences


def _for_a_person(status: Status) -> list[str]:
    """What goes on only when somebody asks for it."""
    found = []
    damaged = sum(1 for file in status.stuck if file.state == "damaged")
    if damaged:
        are = "file is" if damaged == 1 else "files are"
        found.append(f"{damaged:,} {are} damaged: `empiar-mirror repair` fetches again")
    parked = sum(maker.parked for maker in status.makers)
    if parked:
        files = "derived file" if parked == 1 else "derived files"
        found.append(f"{parked:,} {files} could not be made: `empiar-mirror make --retry` tries again")
    return found


def _waited_for(status: Status) -> list[GlobusTask]:
    """The Globus tasks that nobody is cancelling; those being cancelled are seen to."""
    return [task for task in status.globus if task.cancelled_because is None]


def _sentence(task: GlobusTask, now: float) -> str:
    return f"the Globus task '{task.label}' is {task.standing(now)}: see {task.link}"


def _patience_s(status: Status, *, stall_s: float) -> float | None:
    """How long no byte may come before something hangs; None where nothing need come: a task waits in the account's queue."""
    if any(task.queued for task in status.globus):
        return None
    only_globus = status.files_left <= status.files_with_globus
    running = any(task.is_waited_for for task in status.globus)
    return max(SILENT_S, stall_s) if only_globus and running else SILENT_S


def _moved_lately(connection: sqlite3.Connection, now: float) -> list[Moved]:
    """Attempts that ended within the window of the rate. What Globus delivered then counts as moved in it, whenever its task began."""
    since = now - RATE_WINDOW_S
    lately: list[Moved] = []
    for channel in Channel:
        for attempt in recent_attempts(connection, since=since, channel=channel):
            began = max(since, attempt.started_at) if channel is Channel.GLOBUS else attempt.started_at
            lately.append(Moved(began, attempt.ended_at, attempt.bytes))
    return lately


def _entries(connection: sqlite3.Connection, ids: Sequence[int] | None) -> tuple[EntryStatus, ...]:
    columns = "p.empiar_id, e.title, p.state, p.wanted_files, p.wanted_bytes, p.here_files, p.here_bytes, p.failed_files, p.failed_bytes, p.unverified_files, p.unverified_bytes, p.evicted_files, p.evicted_bytes"
    columns += (
        f", ifnull((SELECT files FROM copy_progress c WHERE c.empiar_id = p.empiar_id AND c.state = {_WITHDRAWN}), 0),"  # noqa: S608
        " CASE WHEN e.withdrawn_at IS NOT NULL THEN 'withdrawn' WHEN e.status = 'OBS' THEN 'obsolete' END"
    )
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
    # The conditions are those of the partial indexes copy_notable and copy_waiting.
    for condition in (f"state >= 4 AND state IN ({_FAILED})", "state <= 1 AND error IS NOT NULL"):
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

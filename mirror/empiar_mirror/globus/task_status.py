"""How this mirror's Globus tasks stand, by the ledger: for `status` and `why`. Asks the service nothing."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from empiar_mirror.globus.places import task_link
from empiar_mirror.globus.rules import span
from empiar_schema.codes import words_of
from empiar_schema.globus_states import BUNDLE_CODES, ITEM_CODES, BundleState, ItemState
from empiar_schema.sizes import format_bytes
from empiar_wire.globus_facts import TaskStatus

#: Failures longer ago than this are history: the view `globus_tasks` has them.
FAILED_LATELY_S: Final = 86_400
#: So many failed tasks are named.
NAMED_TASKS: Final = 10
#: A task that has been silent for less is not spoken of as silent.
_NOTABLE_S: Final = 300
#: Endings that this mirror brought about itself, or that cost nothing.
_NO_FAILURE: Final = "'SUCCEEDED', 'DISSOLVED', 'ABANDONED'"
_UNDER_WAY: Final = ITEM_CODES[ItemState.UNDER_WAY]
_DELIVERED: Final = ITEM_CODES[ItemState.DELIVERED]
_FREED: Final = ITEM_CODES[ItemState.FREED]
_PLANNED: Final = BUNDLE_CODES[BundleState.PLANNED]
_SUBMITTED: Final = BUNDLE_CODES[BundleState.SUBMITTED]
_COLUMNS: Final = (
    f"b.bundle_id, {words_of('b.state', BUNDLE_CODES)}, b.label, b.task_id, b.files, b.bytes, b.files_transferred,"
    " b.bytes_transferred, b.faults, b.status, b.nice_status, b.planned_at, b.submitted_at, b.progressed_at, b.ended_at,"
    " b.cancelled_because, b.error"
)
_OF_ENTRIES: Final = (
    "(:ids IS NULL OR EXISTS (SELECT 1 FROM globus_item g JOIN copy c ON c.file_id = g.file_id"
    " WHERE g.bundle_id = b.bundle_id AND c.empiar_id IN (SELECT value FROM json_each(:ids))))"
)


@dataclass(frozen=True, slots=True)
class GlobusTask:
    """A bundle of files and the task that the service made of it, as it stood when it was last asked. Times are epoch seconds."""

    bundle_id: int
    #: ``planned``, ``submitted``, ``abandoned`` or ``ended``.
    state: str
    label: str
    task_id: str | None
    files: int
    bytes: int
    files_transferred: int
    bytes_transferred: int
    faults: int
    status: str | None
    nice_status: str | None
    planned_at: int
    submitted_at: int | None
    #: Since when nothing new has come; None before there is a task.
    progressed_at: int | None
    ended_at: int | None
    cancelled_because: str | None
    error: str | None
    #: Where the web app shows it; None before there is a task.
    link: str | None

    @property
    def is_waited_for(self) -> bool:
        """Whether the service has it, and shall bring what is in it."""
        return self.state == BundleState.SUBMITTED and self.task_id is not None

    @property
    def queued(self) -> bool:
        """Whether it waits for one of the account's places."""
        return self.is_waited_for and self.nice_status == "Queued"

    @property
    def paused(self) -> bool:
        """Whether a person must act before it goes on."""
        inactive = self.status == TaskStatus.INACTIVE
        return self.is_waited_for and (inactive or (self.nice_status or "").startswith("PAUSED"))

    def idle_s(self, now: float) -> float:
        """Seconds without a byte, by what is on record; 0 while it waits in the queue, or before there is a task."""
        if not self.is_waited_for or self.queued or self.progressed_at is None:
            return 0.0
        return max(0.0, now - self.progressed_at)

    def standing(self, now: float) -> str:
        """How it stands, in words."""
        code = f" ({self.nice_status})" if self.nice_status else ""
        if self.state == BundleState.ENDED:
            words = f"ended as {self.status}"
        elif self.state == BundleState.ABANDONED:
            words = "no longer waited for, and to be cancelled"
        elif self.state == BundleState.PLANNED:
            words = "waiting for a place among the account's tasks"
        elif self.task_id is None:
            words = "being submitted"
        elif self.queued:
            words = "in the account's queue"
        else:
            words = f"paused{code}" if self.paused else f"at work{code}"
            idle_s = self.idle_s(now)
            words += f", nothing new for {span(idle_s)}" if idle_s >= _NOTABLE_S else ""
        if self.cancelled_because and self.state != BundleState.ENDED:
            words += f", being cancelled: {self.cancelled_because}"
        return words

    @property
    def moved(self) -> str:
        """``4.7 GiB of 14 GiB, 1 of 3 files, 2 faults``."""
        faults = f", {self.faults:,} {'fault' if self.faults == 1 else 'faults'}" if self.faults else ""
        return (
            f"{format_bytes(self.bytes_transferred)} of {format_bytes(self.bytes)},"
            f" {self.files_transferred:,} of {self.files:,} {'file' if self.files == 1 else 'files'}{faults}"
        )


def open_tasks(
    connection: sqlite3.Connection, ids: Sequence[int] | None, *, web_url: str
) -> tuple[GlobusTask, ...]:
    """Tasks of which something is still to be done, with files of these entries (all, if None), the oldest first."""
    query = (
        f"SELECT {_COLUMNS} FROM globus_bundle b WHERE b.state <= 2 AND {_OF_ENTRIES} ORDER BY b.bundle_id"
    )
    rows = connection.execute(query, {"ids": _listed(ids)})
    return tuple(_task(row, web_url) for row in rows)


def failed_lately(
    connection: sqlite3.Connection, ids: Sequence[int] | None, *, web_url: str, now: float
) -> tuple[GlobusTask, ...]:
    """The latest tasks that ended within a day without all they should bring."""
    query = (
        f"SELECT {_COLUMNS} FROM globus_bundle b WHERE b.state = {BUNDLE_CODES[BundleState.ENDED]}"
        f" AND b.ended_at >= :since AND b.status NOT IN ({_NO_FAILURE}) AND {_OF_ENTRIES}"
        " ORDER BY b.ended_at DESC, b.bundle_id DESC LIMIT :limit"
    )
    named = {"ids": _listed(ids), "since": int(now - FAILED_LATELY_S), "limit": NAMED_TASKS}
    return tuple(_task(row, web_url) for row in connection.execute(query, named))


def task_of(connection: sqlite3.Connection, bundle_id: int, *, web_url: str) -> GlobusTask:
    """The task of this bundle, which exists."""
    query = f"SELECT {_COLUMNS} FROM globus_bundle b WHERE b.bundle_id = ?"
    return _task(connection.execute(query, (bundle_id,)).fetchone(), web_url)


def shares_of(connection: sqlite3.Connection, ids: Sequence[int] | None) -> dict[int, tuple[int, int]]:
    """Files and bytes of these entries that each open bundle still has to bring, by the bundle's number."""
    rows = connection.execute(
        "SELECT b.bundle_id, count(*), ifnull(sum(c.bytes), 0) FROM globus_bundle b"
        " JOIN globus_item g ON g.bundle_id = b.bundle_id JOIN copy c ON c.file_id = g.file_id"
        f" WHERE b.state <= 2 AND g.state = {_UNDER_WAY}"
        " AND (:ids IS NULL OR c.empiar_id IN (SELECT value FROM json_each(:ids))) GROUP BY 1 ORDER BY 1",
        {"ids": _listed(ids)},
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def bytes_on_the_way(connection: sqlite3.Connection, ids: Sequence[int] | None) -> int:
    """Bytes of these entries (of all, if None) that Globus has moved and that have not arrived, by the ledger.

    A task tells bytes, not files: what has arrived of its bundle is taken off. Of a task that has ended, the files that it delivered count.
    """
    of_these = "(:ids IS NULL OR c.empiar_id IN (SELECT value FROM json_each(:ids)))"
    rows = connection.execute(
        "SELECT b.state, b.bytes, b.bytes_transferred, ifnull(sum(c.bytes), 0),"
        f" ifnull(sum(c.bytes) FILTER (WHERE g.state <> {_FREED} AND {of_these}), 0),"
        f" ifnull(sum(c.bytes) FILTER (WHERE g.state = {_DELIVERED} AND {of_these}), 0)"
        " FROM globus_bundle b JOIN globus_item g ON g.bundle_id = b.bundle_id"
        f" JOIN copy c ON c.file_id = g.file_id WHERE b.state <> {_PLANNED} GROUP BY b.bundle_id",
        {"ids": _listed(ids)},
    )
    total = 0
    for state, planned, moved, not_arrived, own, delivered in rows:
        arrived = max(0, planned - not_arrived)
        of_task = min(own, max(0, moved - arrived)) if state <= _SUBMITTED else 0
        total += max(of_task, delivered)
    return total


def _listed(ids: Sequence[int] | None) -> str | None:
    return None if ids is None else json.dumps(list(ids))


def _task(row: Sequence[object], web_url: str) -> GlobusTask:
    task_id = row[3]
    link = task_link(web_url, task_id) if isinstance(task_id, str) else None
    return GlobusTask(*(*row, link))  # type: ignore[arg-type]  # STRICT tables keep their types

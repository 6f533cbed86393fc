"""When a task is cancelled, what becomes of the files it did not bring, and how many tasks may be submitted (pure)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from empiar_wire.globus_facts import ACTIVE_TASKS, CANCELED, PENDING_TASKS, Task, TaskStatus

#: Errors in a row without a byte between them after which a task is beyond hope.
FRUITLESS_FAULTS: Final = 25
#: Codes by which the service says that the destination has no room.
_FULL: Final = ("QUOTA_EXCEEDED", "NO_SPACE", "DISK_FULL")


def why_cancel(task: Task, *, idle_s: float, faults_in_vain: int, stall_s: float) -> str | None:
    """Why this task should be cancelled; None while there is hope.

    `idle_s`: time since it last brought something new, or since it was submitted; `faults_in_vain`: errors since it brought
    something worth mentioning. A task that waits in the account's queue is not idle.
    """
    if task.status.ended or task.queued:
        return None
    state = task.nice_status or task.status
    if idle_s >= stall_s:
        if task.is_paused or task.status is TaskStatus.INACTIVE:
            return f"it has been paused for {span(idle_s)} ({state})"
        return f"nothing has come for {span(idle_s)} ({state})"
    if faults_in_vain >= FRUITLESS_FAULTS:
        return f"{faults_in_vain} errors without a file between them ({state})"
    return None


class After(StrEnum):
    """What to do with files that an ended task has neither brought nor named as missing."""

    #: They are there (a sync level passes over what is), or something is wrong with the destination: look.
    LOOK = "look"
    #: Once more by Globus, comparing checksums.
    AGAIN = "again"
    #: By another channel; by Globus only if there is none.
    ELSEWHERE = "elsewhere"
    #: By another channel, and by Globus not until somebody asks again.
    GIVE_UP = "give up"
    #: The destination is full.
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Ending:
    """What follows the end of a task, and the sentence that stands with its files."""

    then: After
    sentence: str


def after(task: Task, *, cancelled_because: str | None) -> Ending:
    """What follows."""
    if task.status is TaskStatus.SUCCEEDED:
        return Ending(
            After.LOOK, "Globus says that its task succeeded, but the file is not where it should be"
        )
    code = task.fatal_code or "FAILED"
    if cancelled_because is not None and code == CANCELED:
        return Ending(After.ELSEWHERE, f"the Globus task was cancelled: {cancelled_because}")
    if code == CANCELED:
        return Ending(
            After.GIVE_UP, "the Globus task was cancelled by somebody in the web app or by an administrator"
        )
    text = f"the Globus task failed: {code}" + (f": {task.fatal_text[:200]}" if task.fatal_text else "")
    return Ending(After.FULL if code in _FULL else After.AGAIN, text)


def places_free(unfinished: Collection[Task], ours: Collection[str], *, most: int) -> int:
    """How many more tasks may be submitted now, with `ours` of the account's `unfinished` tasks, and `most` of ours at once.

    An account works on three tasks at a time. Those that its owner runs beside the mirror have their places; but one task of
    ours may always wait in the queue.
    """
    mine = sum(task.task_id in ours for task in unfinished)
    others = sum(task.task_id not in ours and not task.queued and not task.is_paused for task in unfinished)
    free = ACTIVE_TASKS - others - mine + max(0, most - ACTIVE_TASKS)
    if mine == 0:
        free = max(1, free)
    return max(0, min(free, most - mine, PENDING_TASKS - len(unfinished)))


def span(seconds: float) -> str:
    """``90 s``, ``90 min``, ``5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"

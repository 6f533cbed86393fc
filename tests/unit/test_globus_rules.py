"""When a task is cancelled, what follows its end, and how many may be submitted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.globus.rules import FRUITLESS_FAULTS, After, after, places_free, why_cancel
from empiar_wire.globus_facts import ACTIVE_TASKS, PENDING_TASKS, Task, TaskStatus

RUNNING = Task(
    task_id="t",
    status=TaskStatus.ACTIVE,
    label="",
    nice_status="OK",
    is_paused=False,
    bytes_transferred=0,
    files=1,
    files_transferred=0,
    files_skipped=0,
    faults=0,
    fatal_code=None,
    fatal_text=None,
    submitted_at=None,
    deadline_at=None,
    ended_at=None,
)
QUEUED = replace(RUNNING, nice_status="Queued")
PAUSED = replace(RUNNING, is_paused=True, nice_status="PAUSED_BY_ADMIN")
INACTIVE = replace(RUNNING, status=TaskStatus.INACTIVE, nice_status="CREDENTIALS_EXPIRED")
DONE = replace(RUNNING, status=TaskStatus.SUCCEEDED)


def failed(code: str | None, text: str | None = None) -> Task:
    return replace(RUNNING, status=TaskStatus.FAILED, fatal_code=code, fatal_text=text)


@pytest.mark.parametrize(
    ("task", "idle_s", "in_vain", "why"),
    [
        (RUNNING, 99.9, 0, None),
        (RUNNING, 100.0, 0, "nothing has come for 100 s (OK)"),
        (replace(RUNNING, nice_status=None), 7200.0, 0, "nothing has come for 2 h (ACTIVE)"),
        (PAUSED, 99.0, 0, None),
        (PAUSED, 600.0, 0, "it has been paused for 10 min (PAUSED_BY_ADMIN)"),
        (INACTIVE, 600.0, 0, "it has been paused for 10 min (CREDENTIALS_EXPIRED)"),
        (QUEUED, 10**6, 10**6, None),
        (DONE, 10**6, 10**6, None),
        (failed("X"), 10**6, 10**6, None),
        (RUNNING, 1.0, FRUITLESS_FAULTS - 1, None),
        (RUNNING, 1.0, FRUITLESS_FAULTS, "25 errors without a file between them (OK)"),
    ],
)
def test_a_task_is_cancelled_only_beyond_hope(
    task: Task, idle_s: float, in_vain: int, why: str | None
) -> None:
    assert why_cancel(task, idle_s=idle_s, faults_in_vain=in_vain, stall_s=100.0) == why


@pytest.mark.parametrize(
    ("task", "because", "then", "said"),
    [
        (DONE, None, After.LOOK, "succeeded"),
        (DONE, "nothing has come", After.LOOK, "succeeded"),
        (failed("CANCELED"), "nothing has come", After.ELSEWHERE, "cancelled: nothing has come"),
        (failed("CANCELED"), None, After.GIVE_UP, "cancelled by somebody"),
        (failed("EXPIRED", "deadline"), "nothing has come", After.AGAIN, "failed: EXPIRED: deadline"),
        (failed("ENDPOINT_ERROR"), None, After.AGAIN, "failed: ENDPOINT_ERROR"),
        (failed(None), None, After.AGAIN, "failed: FAILED"),
        (failed("QUOTA_EXCEEDED", "no room"), None, After.FULL, "QUOTA_EXCEEDED: no room"),
        (failed("NO_SPACE"), None, After.FULL, "NO_SPACE"),
    ],
)
def test_what_follows_the_end_of_a_task(task: Task, because: str | None, then: After, said: str) -> None:
    ending = after(task, cancelled_because=because)
    assert ending.then is then
    assert said in ending.sentence


def test_a_long_answer_of_the_service_is_cut() -> None:
    assert len(after(failed("X", "y" * 10_000), cancelled_because=None).sentence) < 300


def ours(count: int, kind: Task = RUNNING) -> list[Task]:
    return [replace(kind, task_id=f"ours-{n}") for n in range(count)]


def others(count: int, kind: Task = RUNNING) -> list[Task]:
    return [replace(kind, task_id=f"other-{n}") for n in range(count)]


@pytest.mark.parametrize(
    ("unfinished", "most", "free"),
    [
        ([], 3, 3),
        ([], 1, 1),
        ([], 10, 10),
        (ours(2), 3, 1),
        (ours(3), 3, 0),
        (ours(1) + others(1), 3, 1),
        (ours(1) + others(2), 3, 0),
        # One of ours may always wait in the queue.
        (others(3), 3, 1),
        (others(50), 3, 1),
        (others(50, QUEUED), 3, 3),
        (others(3, PAUSED), 3, 3),
        (others(PENDING_TASKS), 3, 0),
        (others(PENDING_TASKS - 1, QUEUED), 3, 1),
    ],
)
def test_tasks_of_the_accounts_owner_have_their_places(unfinished: list[Task], most: int, free: int) -> None:
    assert places_free(unfinished, {task.task_id for task in ours(100)}, most=most) == free


kinds = st.sampled_from([RUNNING, QUEUED, PAUSED, INACTIVE])


@given(st.lists(st.tuples(st.booleans(), kinds), max_size=120), st.integers(1, 100))
def test_never_more_than_asked_for_nor_than_an_account_has(mix: list[tuple[bool, Task]], most: int) -> None:
    tasks = [replace(kind, task_id=f"{n}") for n, (_, kind) in enumerate(mix)]
    mine = {f"{n}" for n, (is_ours, _) in enumerate(mix) if is_ours}
    free = places_free(tasks, mine, most=most)
    assert 0 <= free <= max(0, most - len(mine))
    assert free + len(tasks) <= max(PENDING_TASKS, len(tasks))
    if not mine and len(tasks) < PENDING_TASKS:
        assert free >= 1
    assert most > ACTIVE_TASKS or free + len(mine) <= max(ACTIVE_TASKS, len(mine))

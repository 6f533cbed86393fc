"""What the makers' queue writes: wishes, claims, products, failures. Each function runs inside a writer job and is idempotent.

Every change of state goes through `empiar_schema.jobs.JOB_TRANSITIONS`; a forbidden one raises `CatalogueFault`.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from empiar_schema.codes import JOB_STATE_CODES, JOB_STATES
from empiar_schema.faults import DEFECT, CatalogueFault
from empiar_schema.jobs import (
    JOBS_CLAIMABLE,
    Job,
    JobInput,
    JobState,
    NewProduct,
    Outcome,
    Wish,
    job_may_follow,
)

_S = JobState
_WANTED: Final = JOB_STATE_CODES[_S.WANTED]
_RUNNING: Final = JOB_STATE_CODES[_S.RUNNING]
_MADE: Final = JOB_STATE_CODES[_S.MADE]
_PARKED: Final = JOB_STATE_CODES[_S.PARKED]
_FAILED: Final = JOB_STATE_CODES[_S.FAILED]
#: As the partial index `job_open` has it.
_OPEN: Final = f"state <> {_MADE}"
_CLAIMABLE: Final = ", ".join(str(JOB_STATE_CODES[state]) for state in sorted(JOBS_CLAIMABLE))

#: No failed job waits longer than this for its next attempt.
LONGEST_WAIT_S: Final = 86_400

#: Why a job with older products is parked whose maker no longer works on its file.
NOT_ASKED_FOR: Final = "its maker does not work on this file any more; what it made before stays"

# --- wishes -------------------------------------------------------------------------------------------------

# An obstacle leaves alone what is made: a program that is missing for a day must not cost all that it made.
_WANT: Final = (
    f"INSERT INTO job (empiar_id, maker, file_id, state, recipe, wanted_at) VALUES (?1, ?2, ?3, {_WANTED}, ?4, ?5)"
    " ON CONFLICT (empiar_id, maker, ifnull(file_id, 0)) DO UPDATE"
    f" SET state = {_WANTED}, recipe = excluded.recipe, attempts = 0, not_before = 0, error = NULL,"
    f" wanted_at = excluded.wanted_at WHERE job.recipe <> excluded.recipe AND job.state <> {_RUNNING}"
    f" AND (?6 IS NULL OR job.state <> {_MADE})"
)
_OBSTRUCT: Final = (
    f"UPDATE job SET state = {_PARKED}, error = ?5 WHERE empiar_id = ?1 AND maker = ?2"
    f" AND ifnull(file_id, 0) = ifnull(?3, 0) AND recipe = ?4 AND state IN ({_CLAIMABLE})"
)


def want_jobs(conn: sqlite3.Connection, empiar_id: int, wishes: Sequence[Wish], *, now: int) -> int:
    """Each wish is a job; returns how many are newly wanted. A job that exists is wanted again only if its recipe changed.

    A wish with an obstacle is parked with it at once, unless an earlier recipe was made.
    """
    rows = [(empiar_id, wish.maker, wish.file_id, wish.recipe, now, wish.obstacle) for wish in wishes]
    new = conn.executemany(_WANT, rows).rowcount
    conn.executemany(
        _OBSTRUCT,
        [
            (empiar_id, wish.maker, wish.file_id, wish.recipe, wish.obstacle)
            for wish in wishes
            if wish.obstacle is not None
        ],
    )
    return max(0, new)


def known_jobs(
    conn: sqlite3.Connection, empiar_id: int, maker: str
) -> dict[int | None, tuple[str, JobState]]:
    """Recipe and state of the maker's jobs in the entry, by the file worked on (None for the whole entry)."""
    rows = conn.execute(
        "SELECT file_id, recipe, state FROM job WHERE empiar_id = ? AND maker = ?", (empiar_id, maker)
    )
    return {file_id: (recipe, JOB_STATES[state]) for file_id, recipe, state in rows}


def forget_other_jobs(
    conn: sqlite3.Connection, empiar_id: int, maker: str, *, keep: Iterable[int | None]
) -> int:
    """Of this maker's jobs that wait or failed, those on other files than `keep` are gone; returns how many.

    Where an earlier recipe made something, that stays on record, and the job is parked.
    """
    kept = {file_id or 0 for file_id in keep}
    rows = conn.execute(
        "SELECT job_id, ifnull(file_id, 0), EXISTS (SELECT 1 FROM product p WHERE p.job_id = j.job_id) FROM job j"
        f" WHERE empiar_id = ? AND maker = ? AND {_OPEN} AND state <> {_RUNNING} AND recipe <> ''",
        (empiar_id, maker),
    ).fetchall()
    others = [(job_id, made) for job_id, file_id, made in rows if file_id not in kept]
    # Without a recipe, so that it is wanted again as soon as the file is one of the maker's again.
    conn.executemany(
        f"UPDATE job SET state = {_PARKED}, recipe = '', error = ? WHERE job_id = ?",
        [(NOT_ASKED_FOR, job_id) for job_id, made in others if made],
    )
    unmade = [(job_id,) for job_id, made in others if not made]
    conn.executemany("DELETE FROM job_input WHERE job_id = ?", unmade)
    conn.executemany("DELETE FROM job WHERE job_id = ?", unmade)
    return len(unmade)


def makers_with_open_jobs(conn: sqlite3.Connection, empiar_id: int) -> set[str]:
    """The makers that have jobs in the entry which are not made."""
    rows = conn.execute(f"SELECT DISTINCT maker FROM job WHERE empiar_id = ? AND {_OPEN}", (empiar_id,))
    return {row[0] for row in rows}


def forget_makers(conn: sqlite3.Connection, empiar_id: int, *, keep: Iterable[str]) -> int:
    """Jobs that made nothing, of makers that are no longer configured, are gone; returns how many."""
    strangers = sorted(makers_with_open_jobs(conn, empiar_id) - set(keep))
    return sum(forget_other_jobs(conn, empiar_id, maker, keep=()) for maker in strangers)


def retry_jobs(
    conn: sqlite3.Connection, empiar_ids: Sequence[int] | None, *, makers: Sequence[str] | None, now: int
) -> int:
    """Failed and parked jobs of these entries and makers (of all, if None) are wanted, with a fresh budget; returns how many."""
    entries = _entries_with_open_jobs(conn) if empiar_ids is None else sorted(set(empiar_ids))
    renewed = 0
    for empiar_id in entries:
        renewed += conn.execute(
            f"UPDATE job SET state = {_WANTED}, attempts = 0, not_before = 0, error = NULL, wanted_at = ?2"
            f" WHERE empiar_id = ?1 AND {_OPEN} AND state IN ({_FAILED}, {_PARKED})"
            " AND (?3 IS NULL OR maker IN (SELECT value FROM json_each(?3)))",
            (empiar_id, now, None if makers is None else json.dumps(sorted(makers))),
        ).rowcount
    return renewed


def _entries_with_open_jobs(conn: sqlite3.Connection) -> list[int]:
    rows = conn.execute(f"SELECT DISTINCT empiar_id FROM job WHERE {_OPEN} ORDER BY empiar_id")
    return [row[0] for row in rows.fetchall()]


# --- claims -------------------------------------------------------------------------------------------------


def claim_jobs(conn: sqlite3.Connection, empiar_id: int, maker: str, *, now: int, limit: int) -> list[Job]:
    """Up to `limit` jobs of this maker, whose time has come, go from wanted or failed to running, in order of their numbers.

    What is put off for longer than any job may be was put off by a clock that was wrong: its time has come.
    """
    rows = conn.execute(
        f"SELECT job_id, file_id, recipe, attempts FROM job WHERE empiar_id = ? AND maker = ? AND {_OPEN}"
        f" AND state IN ({_CLAIMABLE}) AND (not_before <= ? OR not_before > ?) ORDER BY job_id LIMIT ?",
        (empiar_id, maker, now, now + LONGEST_WAIT_S, limit),
    ).fetchall()
    for row in rows:
        _move(conn, row[0], _S.RUNNING)
    return [Job(row[0], empiar_id, maker, row[1], row[2], row[3]) for row in rows]


def next_retry_at(conn: sqlite3.Connection, empiar_id: int, maker: str) -> int | None:
    """When the earliest failed job of this maker may be tried again; None if none is to be."""
    query = (
        f"SELECT min(not_before) FROM job WHERE empiar_id = ? AND maker = ? AND {_OPEN} AND state = {_FAILED}"
    )
    found: int | None = conn.execute(query, (empiar_id, maker)).fetchone()[0]
    return found


def next_retry_of(conn: sqlite3.Connection, empiar_id: int) -> int | None:
    """When the earliest failed job of the entry may be tried again; None if none is to be."""
    query = f"SELECT min(not_before) FROM job WHERE empiar_id = ? AND {_OPEN} AND state = {_FAILED}"
    found: int | None = conn.execute(query, (empiar_id,)).fetchone()[0]
    return found


def retries(conn: sqlite3.Connection) -> dict[int, int]:
    """Entries of which a job waits, for its first try or for another, and when the first of these may be tried."""
    query = f"SELECT empiar_id, min(not_before) FROM job WHERE {_OPEN} AND state IN ({_CLAIMABLE}) GROUP BY empiar_id"
    return {row[0]: row[1] for row in conn.execute(query)}


def state_of_job(conn: sqlite3.Connection, job_id: int) -> JobState:
    """The state of the job.

    Raises:
        CatalogueFault: there is no such job.
    """
    row = conn.execute("SELECT state FROM job WHERE job_id = ?", (job_id,)).fetchone()
    if row is None:
        raise CatalogueFault(f"there is no job {job_id}", hint=DEFECT)
    return JOB_STATES[row[0]]


def _move(conn: sqlite3.Connection, job_id: int, after: JobState) -> JobState:
    before = state_of_job(conn, job_id)
    if before == after:
        return before
    if not job_may_follow(before, after):
        raise CatalogueFault(
            f"job {job_id} is {before} and cannot become {after}",
            hint=DEFECT,
        )
    conn.execute("UPDATE job SET state = ? WHERE job_id = ?", (JOB_STATE_CODES[after], job_id))
    return before


# --- ends ---------------------------------------------------------------------------------------------------


def clear_places(conn: sqlite3.Connection, job_id: int, paths: Sequence[str]) -> None:
    """No product of this job is recorded at these paths any more, so that new bytes may take them."""
    conn.executemany("DELETE FROM product WHERE job_id = ? AND path = ?", [(job_id, path) for path in paths])


def record_made(
    conn: sqlite3.Connection,
    job: Job,
    products: Sequence[NewProduct],
    *,
    inputs: Sequence[JobInput],
    outcome: Outcome,
    now: int,
) -> None:
    """The commit point: these products, and no others of this job, are here; it is made. A job made already changes nothing.

    Raises:
        CatalogueFault: the job is not running.
    """
    if _move(conn, job.job_id, _S.MADE) is _S.MADE:
        return
    conn.execute("DELETE FROM product WHERE job_id = ?", (job.job_id,))
    conn.executemany(
        "INSERT INTO product (job_id, empiar_id, path, kind, stem, parent_file_id, bytes, sha256, made_at, details)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                job.job_id, job.empiar_id, product.path, product.kind, product.stem,
                job.file_id if product.parent_file_id is None else product.parent_file_id, product.size,
                product.sha256, now, json.dumps(dict(product.details)) if product.details else None,
            )
            for product in products
        ],
    )  # fmt: skip
    conn.execute("DELETE FROM job_input WHERE job_id = ?", (job.job_id,))
    conn.executemany(
        "INSERT INTO job_input VALUES (?, ?, ?, ?, ?)",
        [(job.job_id, n, one.role, one.file_id, one.product) for n, one in enumerate(inputs)],
    )
    _record_end(conn, job.job_id, outcome, error=None, not_before=0)


def record_failed(
    conn: sqlite3.Connection, job: Job, *, error: str, outcome: Outcome, not_before: int | None
) -> None:
    """The attempt failed: the job is tried again from `not_before` on, or is parked where that is None. Products of an earlier recipe stay.

    Raises:
        CatalogueFault: the job is made.
    """
    after = _S.PARKED if not_before is None else _S.FAILED
    if _move(conn, job.job_id, after) is after:
        return
    conn.execute("UPDATE job SET attempts = attempts + 1 WHERE job_id = ?", (job.job_id,))
    _record_end(conn, job.job_id, outcome, error=error, not_before=not_before or 0)


def _record_end(
    conn: sqlite3.Connection, job_id: int, outcome: Outcome, *, error: str | None, not_before: int
) -> None:
    conn.execute(
        "UPDATE job SET command = ?2, version = ?3, log_path = ?4, started_at = ?5, ended_at = ?6, error = ?7,"
        " not_before = ?8 WHERE job_id = ?1",
        (
            job_id, outcome.command, outcome.version, outcome.log_path, outcome.started_at, outcome.ended_at,
            error, not_before,
        ),
    )  # fmt: skip


def give_back_job(conn: sqlite3.Connection, job_id: int) -> None:
    """The claim counts as never made: the job waits for its turn. One that has ended stays as it is."""
    if state_of_job(conn, job_id) is _S.RUNNING:
        _move(conn, job_id, _S.WANTED)


def any_running(conn: sqlite3.Connection) -> bool:
    """Whether a job is running; costs no write."""
    query = f"SELECT EXISTS (SELECT 1 FROM job WHERE {_OPEN} AND state = {_RUNNING})"
    return bool(conn.execute(query).fetchone()[0])


def recover_jobs(conn: sqlite3.Connection) -> int:
    """No job is running; returns how many a process that is gone had begun."""
    query = f"SELECT job_id FROM job WHERE {_OPEN} AND state = {_RUNNING}"
    running = [row[0] for row in conn.execute(query).fetchall()]
    for job_id in running:
        give_back_job(conn, job_id)
    return len(running)


# --- products -----------------------------------------------------------------------------------------------


def products_of_job(conn: sqlite3.Connection, job_id: int) -> list[str]:
    """The paths of the job's products, below ``derived/<id>``."""
    rows = conn.execute("SELECT path FROM product WHERE job_id = ? ORDER BY product_id", (job_id,))
    return [row[0] for row in rows.fetchall()]


def owners(conn: sqlite3.Connection, empiar_id: int, paths: Iterable[str]) -> dict[str, int]:
    """Those of `paths` that are products, each with its job."""
    query = "SELECT job_id FROM product WHERE empiar_id = ? AND path = ?"
    found = ((path, conn.execute(query, (empiar_id, path)).fetchone()) for path in paths)
    return {path: row[0] for path, row in found if row is not None}


def doubt_product(conn: sqlite3.Connection, empiar_id: int, path: str) -> None:
    """The product's bytes are no longer those on record: its record is gone, and its job is wanted again."""
    for job_id in owners(conn, empiar_id, [path]).values():
        conn.execute("DELETE FROM product WHERE empiar_id = ? AND path = ?", (empiar_id, path))
        _move(conn, job_id, _S.WANTED)


def entry_of_job(conn: sqlite3.Connection, job_id: int) -> int | None:
    """The entry that the job belongs to; None if there is no such job."""
    row = conn.execute("SELECT empiar_id FROM job WHERE job_id = ?", (job_id,)).fetchone()
    return None if row is None else int(row[0])

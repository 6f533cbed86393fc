"""How far derived files are, and why one is not made: for `status` and `why`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from empiar_schema.jobs import JOB_MEANING, JobState
from empiar_schema.stems import stem_of

#: So many stuck jobs are named; the rest is counted.
NAMED_JOBS: Final = 20


@dataclass(frozen=True, slots=True)
class MakerStatus:
    """How far one maker is with one entry."""

    empiar_id: int
    maker: str
    made: int
    waiting: int
    running: int
    failed: int
    parked: int


@dataclass(frozen=True, slots=True)
class StuckJob:
    """A job that failed: what it is on (None for the whole entry), and why."""

    empiar_id: int
    path: str | None
    maker: str
    state: str
    attempts: int
    error: str
    #: ISO 8601 time of the next try; None where there is none by itself.
    next_try: str | None
    log_path: str | None


def makers_of(connection: sqlite3.Connection, ids: Sequence[int] | None) -> tuple[MakerStatus, ...]:
    """Each maker that has jobs in these entries (in all, if None)."""
    source = (
        "SELECT empiar_id, maker, sum(state = 'made'), sum(state = 'wanted'), sum(state = 'running'),"
        " sum(state = 'failed'), sum(state = 'parked') FROM jobs"
    )
    if ids is None:
        rows = connection.execute(f"{source} GROUP BY 1, 2 ORDER BY 1, 2").fetchall()
    else:
        query = f"{source} WHERE empiar_id = ? GROUP BY 1, 2 ORDER BY 2"
        rows = [row for empiar_id in ids for row in connection.execute(query, (empiar_id,))]
    return tuple(MakerStatus(*row) for row in rows)


def stuck_jobs(connection: sqlite3.Connection, makers: Sequence[MakerStatus]) -> tuple[StuckJob, ...]:
    """The first failed jobs of these makers by name, those first that need a person."""
    stuck: list[StuckJob] = []
    for state in (JobState.PARKED, JobState.FAILED):
        for one in makers:
            room = NAMED_JOBS - len(stuck)
            if room <= 0:
                return tuple(stuck)
            rows = connection.execute(
                "SELECT empiar_id, path, maker, state, attempts, error, not_before, log_path FROM jobs"
                " WHERE empiar_id = ? AND maker = ? AND state = ? ORDER BY job_id LIMIT ?",
                (one.empiar_id, one.maker, state, room),
            )
            stuck += [StuckJob(*row) for row in rows]
    return tuple(stuck)


def why_made(connection: sqlite3.Connection, empiar_id: int, file_id: int | None) -> list[tuple[str, str]]:
    """State and sentence of each job on the file (on the whole entry, if None) that is not made."""
    rows = connection.execute(
        "SELECT * FROM jobs WHERE empiar_id = ? AND file_id IS ? AND state <> 'made' ORDER BY maker",
        (empiar_id, file_id),
    )
    return [(row["state"], _sentence(row)) for row in rows]


def why_derived(connection: sqlite3.Connection, empiar_id: int, path: str) -> tuple[str, str] | None:
    """State and sentence of the derived file at `path` below ``derived/<id>``, or of the job that should make it; None if there is neither."""
    row = connection.execute(
        "SELECT d.*, j.path AS parent, j.state FROM derived d JOIN jobs j ON j.job_id = d.job_id"
        " WHERE d.empiar_id = ? AND d.path = ?",
        (empiar_id, path),
    ).fetchone()
    if row is None:
        return _why_not_yet(connection, empiar_id, path)
    of = f" of {row['parent']}" if row["parent"] else " of the entry's files"
    version = f" (version {row['version']})" if row["version"] else ""
    sentence = f"it is here, made by {row['maker']}{version}{of} at {row['made_at']}, at {row['local_path']}"
    if row["stale"]:
        sentence += "; what it was made of or with has changed since, and it is to be made again"
    return row["state"], sentence


def _why_not_yet(connection: sqlite3.Connection, empiar_id: int, path: str) -> tuple[str, str] | None:
    """What keeps the job whose product would stand at `path`: by its maker's folder, the file's folder, and the stem."""
    maker, _, rest = path.partition("/")
    directory, _, name = rest.rpartition("/")
    rows = connection.execute(
        "SELECT f.name, j.* FROM files f JOIN jobs j ON j.file_id = f.file_id"
        " WHERE f.empiar_id = ? AND f.directory = ? AND j.maker = ? AND j.state <> 'made'",
        (empiar_id, directory, maker),
    )
    found = [row for row in rows if name.startswith(stem_of(row["name"]))]
    if not found:
        return None
    nearest = max(found, key=lambda row: len(row["name"]))
    return nearest["state"], f"it is not made yet: {_sentence(nearest)}"


def _sentence(row: sqlite3.Row) -> str:
    """``what motioncor3 makes of it is parked: …``."""
    state = JobState(row["state"])
    sentence = f"what {row['maker']} makes of it is {state}: {JOB_MEANING[state]}"
    if row["error"]:
        sentence += f"; the last error was: {row['error']}"
    if row["log_path"]:
        sentence += f"; what the program said is in {row['log_path']}"
    if state is JobState.FAILED and row["not_before"]:
        sentence += f"; it is tried again from {row['not_before']} on"
    if state is JobState.PARKED:
        sentence += f"; `empiar-mirror make {row['empiar_id']} --maker {row['maker']} --retry` tries again"
    return sentence

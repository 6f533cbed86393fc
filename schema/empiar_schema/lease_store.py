"""Leases: who was given which piece of work, and whose answer counts. Each function runs inside a writer job.

A lease that has ended stays on record if its worker was lost: it says which machines lose work, and how often a job was lost.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

#: Leases that were lost stay on record for so long, seconds.
KEPT_S: Final = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Grant:
    """One piece of work, handed to one worker."""

    #: ``make``, ``verify``, ``scrub``, ``transfer``.
    work: str
    #: What it is about, for people.
    subject: str
    #: Address of the worker.
    worker: str
    #: Random: another catalogue may have given out the same number.
    token: str
    #: The job that it does; None where it only reads.
    job_id: int | None = None


def grant_lease(conn: sqlite3.Connection, grant: Grant, *, now: int) -> int:
    """The work is the worker's; returns the number of the lease, which is never given twice."""
    conn.execute("DELETE FROM lease WHERE ended_at < ?", (now - KEPT_S,))
    row = conn.execute(
        "INSERT INTO lease (token, work, job_id, subject, worker, granted_at) VALUES (?, ?, ?, ?, ?, ?)"
        " RETURNING lease_id",
        (grant.token, grant.work, grant.job_id, grant.subject, grant.worker, now),
    ).fetchone()
    return int(row[0])


def redeem_lease(conn: sqlite3.Connection, lease_id: int, token: str) -> bool:
    """Whether the answer counts that came under this lease: it was in force. It has ended with this."""
    query = "DELETE FROM lease WHERE lease_id = ? AND token = ? AND ended_at IS NULL"
    return conn.execute(query, (lease_id, token)).rowcount == 1


def withdraw_lease(conn: sqlite3.Connection, lease_id: int) -> None:
    """No answer under this lease counts any more; nobody is to blame for it."""
    conn.execute("DELETE FROM lease WHERE lease_id = ? AND ended_at IS NULL", (lease_id,))


def lose_lease(conn: sqlite3.Connection, lease_id: int, *, reason: str, now: int) -> None:
    """No answer under this lease counts any more, because its worker was lost."""
    conn.execute(
        "UPDATE lease SET ended_at = ?, lost_because = ? WHERE lease_id = ? AND ended_at IS NULL",
        (now, reason, lease_id),
    )


def losses_of_job(conn: sqlite3.Connection, job_id: int) -> int:
    """How often the job was lost with its worker since it was last asked for."""
    row = conn.execute(
        "SELECT count(*) FROM lease l JOIN job j ON j.job_id = l.job_id"
        " WHERE l.job_id = ? AND l.ended_at IS NOT NULL AND l.granted_at >= j.wanted_at",
        (job_id,),
    ).fetchone()
    return int(row[0])


def recover_leases(conn: sqlite3.Connection) -> int:
    """No lease is in force; returns how many a process that is gone had granted."""
    return conn.execute("DELETE FROM lease WHERE ended_at IS NULL").rowcount

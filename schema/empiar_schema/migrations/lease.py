"""Step m009: work that was handed to other machines."""

from __future__ import annotations

from typing import Final

STEP: Final = (
    # Work that was handed to other machines. Rows in force have no end; lost ones stay for a while.
    """
    CREATE TABLE lease (
        lease_id INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: folders are named after it
        token TEXT NOT NULL,
        work TEXT NOT NULL, job_id INTEGER, subject TEXT NOT NULL, worker TEXT NOT NULL,
        granted_at INTEGER NOT NULL,
        ended_at INTEGER, lost_because TEXT
    ) STRICT
    """,
    "CREATE INDEX lease_by_job ON lease (job_id) WHERE job_id IS NOT NULL",
    "CREATE INDEX lease_by_end ON lease (ended_at) WHERE ended_at IS NOT NULL",
)

"""Step m003: the ledger of the Globus channel."""

from __future__ import annotations

from typing import Final

STEP: Final = (
    # Under which of its known paths the archive's tree was found in a collection.
    "CREATE TABLE globus_base (collection TEXT PRIMARY KEY, path TEXT NOT NULL, found_at INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    # One task of the Globus service each. The submission id is committed before anything is submitted.
    """
    CREATE TABLE globus_bundle (
        bundle_id INTEGER PRIMARY KEY,
        state INTEGER NOT NULL DEFAULT 0,
        label TEXT NOT NULL,
        files INTEGER NOT NULL, bytes INTEGER NOT NULL,
        sync_level TEXT,          -- NULL copies everything; checksum after a failure
        planned_at INTEGER NOT NULL,
        submission_id TEXT, task_id TEXT,
        submitted_at INTEGER, progressed_at INTEGER, ended_at INTEGER,
        status TEXT, nice_status TEXT,
        bytes_transferred INTEGER NOT NULL DEFAULT 0, files_transferred INTEGER NOT NULL DEFAULT 0,
        faults INTEGER NOT NULL DEFAULT 0,
        moved_marker TEXT,        -- page of the service's list of copied files that was read last
        cancelled_because TEXT, error TEXT
    ) STRICT
    """,
    "CREATE INDEX globus_bundle_open ON globus_bundle (bundle_id) WHERE state <= 2",
    # Every file that was ever handed over and has not arrived since; `tries` counts the bundles it was in.
    """
    CREATE TABLE globus_item (
        file_id INTEGER PRIMARY KEY REFERENCES file,
        bundle_id INTEGER NOT NULL REFERENCES globus_bundle,
        state INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 1,
        delivered_at INTEGER, error TEXT
    ) STRICT
    """,
    "CREATE INDEX globus_item_by_bundle ON globus_item (bundle_id, state)",
)

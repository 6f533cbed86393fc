"""Step m007: pins, evictions, and the proof and sums of derived files."""

from __future__ import annotations

from typing import Final

STEP: Final = (
    # What eviction never touches: entries named one by one, or whatever a query returns when an eviction is decided.
    """
    CREATE TABLE pin (
        name TEXT PRIMARY KEY, sql TEXT, declared INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL,
        match_count INTEGER       -- rows of the query when it was last believed; NULL where the next result is
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE pin_entry (
        name TEXT NOT NULL REFERENCES pin, empiar_id INTEGER NOT NULL, PRIMARY KEY (name, empiar_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE eviction_run (
        run_id INTEGER PRIMARY KEY,
        decided_at INTEGER NOT NULL, ended_at INTEGER,
        reason TEXT NOT NULL,     -- the command, or the table of the configuration
        sql TEXT NOT NULL,
        https_url TEXT NOT NULL, ftp_url TEXT NOT NULL, globus_url TEXT NOT NULL -- the archive's addresses at that time
    ) STRICT
    """,
    # Every file that was ever evicted, with all by which it can be fetched again and known again. A row without an end
    # is an intent: the file may still be there.
    """
    CREATE TABLE eviction (
        eviction_id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES eviction_run,
        file_id INTEGER NOT NULL REFERENCES file, empiar_id INTEGER NOT NULL,
        bytes INTEGER NOT NULL, sha256 BLOB NOT NULL, channel TEXT,
        v_size INTEGER, v_modified_at INTEGER, v_etag TEXT,
        arrived_at INTEGER, verified_at INTEGER, listed_at INTEGER NOT NULL,
        removed_at INTEGER, recalled_at INTEGER, returned_at INTEGER, returned_sha256 BLOB,
        error TEXT                -- why the file was not removed after all
    ) STRICT
    """,
    "CREATE INDEX eviction_by_file ON eviction (file_id)",
    # Conditions appear word for word in the queries: SQLite uses a partial index only then.
    "CREATE INDEX eviction_intended ON eviction (empiar_id, file_id) WHERE removed_at IS NULL AND error IS NULL",
    # When a derived file was last read again; NULL until then. Scrubbing goes along this index, oldest proof first.
    "ALTER TABLE product ADD COLUMN verified_at INTEGER",
    "CREATE INDEX product_by_proof ON product (ifnull(verified_at, made_at), product_id)",
    # Sums of derived files, kept up by triggers: the quota asks for them often.
    """
    CREATE TABLE product_progress (
        empiar_id INTEGER PRIMARY KEY, files INTEGER NOT NULL, bytes INTEGER NOT NULL
    ) STRICT
    """,
    "INSERT INTO product_progress SELECT empiar_id, count(*), sum(bytes) FROM product GROUP BY empiar_id",
    """
    CREATE TRIGGER product_placed AFTER INSERT ON product BEGIN
        INSERT INTO product_progress VALUES (new.empiar_id, 1, new.bytes)
            ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
    END
    """,
    """
    CREATE TRIGGER product_changed AFTER UPDATE OF bytes ON product BEGIN
        UPDATE product_progress SET bytes = bytes - old.bytes + new.bytes WHERE empiar_id = new.empiar_id;
    END
    """,
    """
    CREATE TRIGGER product_removed AFTER DELETE ON product BEGIN
        UPDATE product_progress SET files = files - 1, bytes = bytes - old.bytes WHERE empiar_id = old.empiar_id;
    END
    """,
)

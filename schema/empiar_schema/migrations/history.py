"""Step m008: states of entries and files that stand no more."""

# ruff: noqa: S608
# SQL is put together from this module's own constants.

from __future__ import annotations

from typing import Final

# Stated here, too: a released step stays as it is, whatever facts an entry has later.
_PAST_FACTS: Final = (
    "title", "status", "experiment_type", "scale", "deposition_date", "release_date", "update_date",
    "obsolete_date", "dataset_size", "dataset_bytes", "doi",
)  # fmt: skip
STEP: Final = (
    # States that stand no more, each with the time until which it stood; the state that stands is in `file` and `entry`.
    """
    CREATE TABLE file_past (
        file_id INTEGER NOT NULL, until INTEGER NOT NULL,
        bytes INTEGER, bytes_exact INTEGER, modified_at INTEGER, modified_unit INTEGER,
        gone INTEGER NOT NULL,
        PRIMARY KEY (file_id, until)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE entry_past (
        empiar_id INTEGER NOT NULL, until INTEGER NOT NULL,
        title TEXT, status TEXT, experiment_type TEXT, scale TEXT,
        deposition_date TEXT, release_date TEXT, update_date TEXT, obsolete_date TEXT,
        dataset_size TEXT, dataset_bytes INTEGER, doi TEXT,
        record TEXT,              -- NULL before the metadata was read, and in what was made of `change` below
        withdrawn_at INTEGER,
        PRIMARY KEY (empiar_id, until)
    ) STRICT, WITHOUT ROWID
    """,
    # Files not gone, and their bytes, after this listing; NULL of listings before this step.
    "ALTER TABLE listing ADD COLUMN known_files INTEGER",
    "ALTER TABLE listing ADD COLUMN known_bytes INTEGER",
    # A number of this mirror's own, so that not all mirrors ask at the same time of day.
    "CREATE TABLE mirror (only INTEGER PRIMARY KEY CHECK (only = 1), seed INTEGER NOT NULL) STRICT",
    "INSERT INTO mirror VALUES (1, abs(random() % 4294967296))",
    # What happened before this step is in `change`, so the states are made of it, going back from those that stand.
    "CREATE INDEX change_by_file ON change (file_id, change_id) WHERE file_id IS NOT NULL",
    """
    INSERT INTO file_past
    SELECT f.file_id, u.until,
        CAST(ifnull((SELECT old FROM change c WHERE c.file_id = f.file_id AND c.field = 'bytes'
            AND c.changed_at >= u.until ORDER BY change_id LIMIT 1), f.bytes) AS INTEGER),
        f.bytes_exact,
        ifnull((SELECT CAST(strftime('%s', old) AS INTEGER) FROM change c WHERE c.file_id = f.file_id
            AND c.field = 'modified_at' AND c.changed_at >= u.until ORDER BY change_id LIMIT 1), f.modified_at),
        f.modified_unit,
        ifnull((SELECT kind = 'returned' FROM change c WHERE c.file_id = f.file_id
            AND c.kind IN ('removed', 'returned') AND c.changed_at >= u.until ORDER BY change_id LIMIT 1),
            EXISTS (SELECT 1 FROM file_absence a WHERE a.file_id = f.file_id AND a.gone_at IS NOT NULL))
    FROM (SELECT DISTINCT file_id, changed_at AS until FROM change
        WHERE file_id IS NOT NULL AND kind IN ('changed', 'removed', 'returned')) u
    JOIN file f ON f.file_id = u.file_id
    """,
    "DROP INDEX change_by_file",
    "INSERT INTO entry_past SELECT e.empiar_id, u.until, "
    + ", ".join(
        f"CASE WHEN u.first THEN NULL ELSE CAST(CASE WHEN x.{fact} IS NULL THEN e.{fact} ELSE"
        f" (SELECT old FROM change WHERE change_id = x.{fact}) END AS {'INTEGER' if fact == 'dataset_bytes' else 'TEXT'}) END"
        for fact in _PAST_FACTS
    )
    + """, NULL,
        (SELECT CASE kind WHEN 'withdrawn' THEN changed_at END FROM change c WHERE c.empiar_id = e.empiar_id
            AND c.file_id IS NULL AND c.kind IN ('withdrawn', 'returned') AND c.changed_at < u.until
            ORDER BY change_id DESC LIMIT 1)
    FROM (SELECT empiar_id, changed_at AS until, max(kind = 'added') AS first FROM change
        WHERE file_id IS NULL AND field IS NOT 'files' GROUP BY empiar_id, changed_at) u
    JOIN entry e ON e.empiar_id = u.empiar_id AND e.discovered_at < u.until
    JOIN (SELECT s.empiar_id, s.changed_at AS until"""
    + "".join(
        f", (SELECT min(change_id) FROM change c WHERE c.empiar_id = s.empiar_id AND c.file_id IS NULL"
        f" AND c.kind = 'changed' AND c.field = '{fact}' AND c.changed_at >= s.changed_at) AS {fact}"
        for fact in _PAST_FACTS
    )
    + """ FROM (SELECT DISTINCT empiar_id, changed_at FROM change WHERE file_id IS NULL) s) x
        ON x.empiar_id = u.empiar_id AND x.until = u.until""",
)

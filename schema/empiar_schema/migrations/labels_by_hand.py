"""Step m011: versions of labels by hand."""

from __future__ import annotations

from typing import Final

STEP: Final = (
    # What is known of the files below ``labels``, which are the record; all of it can be read from them again.
    """
    CREATE TABLE label_version (
        empiar_id INTEGER NOT NULL, path TEXT NOT NULL, version INTEGER NOT NULL,
        file_id INTEGER,          -- NULL while the catalogue lists no such file
        aside INTEGER NOT NULL, base INTEGER, author TEXT, saved_at INTEGER, note TEXT,
        kept INTEGER, rejected INTEGER, added INTEGER, diameter_px REAL,
        width INTEGER, height INTEGER, pixel_size_angstrom REAL,
        micrograph_sha256 BLOB, picture TEXT,
        bytes INTEGER, modified_ns INTEGER, sha256 BLOB,
        problem TEXT,             -- why it cannot be used
        PRIMARY KEY (empiar_id, path, version)
    ) STRICT, WITHOUT ROWID
    """,
)

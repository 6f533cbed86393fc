"""Step m002: what files are and what is made of them."""

from __future__ import annotations

from typing import Final

STEP: Final = (
    # Code of the rule that decided the role; NULL before a file has been judged with reasons.
    "ALTER TABLE file ADD COLUMN role_reason INTEGER",
    # Digest of the configured overrides that the entry's roles follow; NULL where there are none.
    "ALTER TABLE entry ADD COLUMN role_overrides TEXT",
    "ALTER TABLE image ADD COLUMN extended_header TEXT",
    # Header facts from the first bytes of one file of a family, before any of it is fetched.
    """
    CREATE TABLE probe (
        file_id INTEGER PRIMARY KEY REFERENCES file,
        empiar_id INTEGER NOT NULL,
        probed_at INTEGER NOT NULL, bytes_read INTEGER NOT NULL,
        family TEXT NOT NULL,     -- what its files share: folder and name with digits as 0
        family_files INTEGER NOT NULL, family_bytes INTEGER NOT NULL,
        listed_bytes INTEGER, listed_at INTEGER, -- of the file when it was probed; while they stand, the probe holds
        format TEXT, width INTEGER, height INTEGER, frames INTEGER, mode TEXT,
        pixel_size_angstrom REAL, extended_header TEXT, problems TEXT
    ) STRICT
    """,
    "CREATE INDEX probe_by_entry ON probe (empiar_id)",
    # Work on files that are here. `file_id` is the file worked on; NULL where the whole entry is.
    """
    CREATE TABLE job (
        job_id INTEGER PRIMARY KEY,
        empiar_id INTEGER NOT NULL, maker TEXT NOT NULL, file_id INTEGER,
        state INTEGER NOT NULL DEFAULT 0,
        recipe TEXT NOT NULL,      -- digest of all that decides the result: parents, parameters, version
        command TEXT, version TEXT,
        attempts INTEGER NOT NULL DEFAULT 0, not_before INTEGER NOT NULL DEFAULT 0,
        wanted_at INTEGER NOT NULL, started_at REAL, ended_at REAL,
        error TEXT, log_path TEXT
    ) STRICT
    """,
    "CREATE UNIQUE INDEX job_once ON job (empiar_id, maker, ifnull(file_id, 0))",
    # Conditions appear word for word in the queries: SQLite uses a partial index only then.
    "CREATE INDEX job_open ON job (empiar_id, maker, job_id) WHERE state <> 2",
    "CREATE INDEX job_by_file ON job (file_id)",
    # What a job read: deposited files by number, products by their path below derived/<empiar_id>.
    """
    CREATE TABLE job_input (
        job_id INTEGER NOT NULL REFERENCES job, position INTEGER NOT NULL,
        role TEXT NOT NULL, file_id INTEGER, product TEXT,
        PRIMARY KEY (job_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    # What jobs made, below derived/<empiar_id>/.
    """
    CREATE TABLE product (
        product_id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES job, empiar_id INTEGER NOT NULL,
        path TEXT NOT NULL,        -- stored text below derived/<empiar_id>
        kind TEXT NOT NULL,        -- micrograph, particle_coordinates, particle_stack, rendition, thumbnail, …
        stem TEXT,                 -- of the micrograph it belongs to
        parent_file_id INTEGER,    -- the deposited file it was made of; NULL where of several
        bytes INTEGER NOT NULL, sha256 BLOB NOT NULL, made_at INTEGER NOT NULL,
        details TEXT,              -- JSON object of what the maker says of it
        UNIQUE (empiar_id, path)
    ) STRICT
    """,
    "CREATE INDEX product_by_job ON product (job_id)",
    # What was asked for of an entry by name: the whole ('' as view), or what a layout view needs of it.
    """
    CREATE TABLE wish (
        empiar_id INTEGER NOT NULL, view TEXT NOT NULL, asked_at INTEGER NOT NULL,
        PRIMARY KEY (empiar_id, view)
    ) STRICT, WITHOUT ROWID
    """,
)

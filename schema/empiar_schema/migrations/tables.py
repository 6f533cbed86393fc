"""Step m001: entries, listings, records of what was asked, copies."""

from __future__ import annotations

from typing import Final

_ENTRY = (
    """
    CREATE TABLE entry (
        empiar_id INTEGER PRIMARY KEY,
        title TEXT, status TEXT, experiment_type TEXT, scale TEXT,
        deposition_date TEXT, release_date TEXT, update_date TEXT, obsolete_date TEXT,
        dataset_size TEXT, dataset_bytes INTEGER, doi TEXT,
        record TEXT,              -- the whole entry in our normal form, JSON
        record_source TEXT,
        discovered_at INTEGER NOT NULL,
        crawled_at INTEGER,       -- metadata last read
        announced_update_date TEXT, -- the latest an enumeration gave
        moved_at INTEGER,         -- when an enumeration last announced a change
        unlisted_since INTEGER,   -- first of the complete enumerations in a row that lacked it
        absent_since INTEGER, absent_at INTEGER, absent_reason TEXT, withdrawn_at INTEGER,
        current_listing INTEGER REFERENCES listing,
        inspected_listing INTEGER,   -- the one whose files were last given their roles
        file_count INTEGER NOT NULL DEFAULT 0,   -- files not gone
        file_bytes INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    """
    CREATE TABLE imageset (
        empiar_id INTEGER NOT NULL REFERENCES entry, position INTEGER NOT NULL,
        name TEXT, directory TEXT, category TEXT, header_format TEXT, data_format TEXT, voxel_type TEXT,
        image_count INTEGER, frames_per_image INTEGER, frame_range_min INTEGER, frame_range_max INTEGER,
        image_width INTEGER, image_height INTEGER, pixel_width_angstrom REAL, pixel_height_angstrom REAL,
        details TEXT, micrographs_file_pattern TEXT, picked_particles_file_pattern TEXT,
        picked_particles_directory TEXT, segmentation_count INTEGER NOT NULL,
        PRIMARY KEY (empiar_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE cross_reference (
        empiar_id INTEGER NOT NULL REFERENCES entry, kind TEXT NOT NULL, accession TEXT NOT NULL,
        PRIMARY KEY (empiar_id, kind, accession)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX cross_reference_by_accession ON cross_reference (accession, kind)",
    """
    CREATE TABLE author (
        empiar_id INTEGER NOT NULL REFERENCES entry, position INTEGER NOT NULL, name TEXT, orcid TEXT,
        PRIMARY KEY (empiar_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE citation (
        empiar_id INTEGER NOT NULL REFERENCES entry, position INTEGER NOT NULL,
        authors TEXT, title TEXT, journal TEXT, volume TEXT, issue TEXT, first_page TEXT, last_page TEXT,
        year INTEGER, doi TEXT, pubmed_id TEXT, published INTEGER, preprint INTEGER, details TEXT,
        PRIMARY KEY (empiar_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE funding (
        empiar_id INTEGER NOT NULL REFERENCES entry, position INTEGER NOT NULL,
        funding_body TEXT, code TEXT, country TEXT,
        PRIMARY KEY (empiar_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE unknown_key (
        empiar_id INTEGER NOT NULL REFERENCES entry, key_path TEXT NOT NULL, times INTEGER NOT NULL,
        PRIMARY KEY (empiar_id, key_path)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE VIRTUAL TABLE entries_fts USING fts5(
        title, details, authors, imagesets, citations, empiar_id UNINDEXED,
        tokenize = 'unicode61 remove_diacritics 2'
    )
    """,
)

_LISTING = (
    # From 0, so that the first two sources, in practice all there are, take no bytes in `file`.
    "CREATE TABLE source (source_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    """
    CREATE TABLE listing (
        listing_id INTEGER PRIMARY KEY,
        empiar_id INTEGER NOT NULL REFERENCES entry, source_id INTEGER NOT NULL REFERENCES source,
        started_at INTEGER NOT NULL, completed_at INTEGER NOT NULL,
        file_count INTEGER NOT NULL, byte_count INTEGER NOT NULL,
        added INTEGER NOT NULL, changed INTEGER NOT NULL, missing INTEGER NOT NULL,
        gone INTEGER NOT NULL, returned INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX listing_by_entry ON listing (empiar_id)",
    """
    CREATE TABLE directory (
        directory_id INTEGER PRIMARY KEY,
        empiar_id INTEGER NOT NULL REFERENCES entry,
        path TEXT NOT NULL,       -- stored text without slashes at the ends; '' is the entry's own folder
        url_path TEXT,            -- percent-encoded; NULL where it equals path
        imageset INTEGER,         -- position of the most specific image set that names it or a parent
        UNIQUE (empiar_id, path)
    ) STRICT
    """,
    # A name is stored once: the index holds 24 bits of its CRC-32 instead, and lookups compare the name too.
    # UNIQUE (directory_id, name) costs 60 bytes more a row at names of 54 bytes, WITHOUT ROWID 70.
    """
    CREATE TABLE file (
        file_id INTEGER PRIMARY KEY,
        directory_id INTEGER NOT NULL,
        name_hash INTEGER NOT NULL,
        bytes INTEGER, bytes_exact INTEGER NOT NULL,
        modified_at INTEGER, modified_unit INTEGER NOT NULL, modified_source INTEGER NOT NULL,
        first_listing INTEGER NOT NULL,
        role INTEGER, role_percent INTEGER,
        name TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX file_by_name ON file (directory_id, name_hash)",
    # The few files that the latest listing lacked; kept aside so that the many cost nothing.
    """
    CREATE TABLE file_absence (
        file_id INTEGER PRIMARY KEY REFERENCES file,
        empiar_id INTEGER NOT NULL, last_seen_at INTEGER, missing_at INTEGER NOT NULL, gone_at INTEGER
    ) STRICT
    """,
    "CREATE INDEX file_absence_by_entry ON file_absence (empiar_id)",
    # Percent-encoded names, only where they differ from the name.
    "CREATE TABLE file_url (file_id INTEGER PRIMARY KEY REFERENCES file, url_name TEXT NOT NULL) STRICT",
)

_RECORDS = (
    """
    CREATE TABLE change (
        change_id INTEGER PRIMARY KEY,
        changed_at INTEGER NOT NULL, empiar_id INTEGER NOT NULL, file_id INTEGER,
        kind TEXT NOT NULL, field TEXT, old TEXT, new TEXT
    ) STRICT
    """,
    "CREATE INDEX change_by_entry ON change (empiar_id)",
    "CREATE INDEX change_by_time ON change (changed_at)",
    """
    CREATE TABLE contradiction (
        contradiction_id INTEGER PRIMARY KEY,
        empiar_id INTEGER, path TEXT, what TEXT NOT NULL, stated TEXT, found TEXT, source TEXT NOT NULL,
        first_seen_at INTEGER NOT NULL, last_seen_at INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE UNIQUE INDEX contradiction_once
        ON contradiction (ifnull(empiar_id, 0), ifnull(path, ''), what, source)
    """,
    """
    CREATE TABLE cached_answer (
        url TEXT PRIMARY KEY, etag TEXT, last_modified TEXT, recorded_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE harvest (source TEXT PRIMARY KEY, day TEXT NOT NULL, recorded_at INTEGER NOT NULL)
    STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE subscription (
        name TEXT PRIMARY KEY, sql TEXT NOT NULL, view TEXT, priority INTEGER NOT NULL DEFAULT 0,
        budget_bytes INTEGER, channel TEXT, new_only INTEGER NOT NULL DEFAULT 0,
        paused INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL,
        entry_count INTEGER, file_count INTEGER
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE archive_address (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        https_url TEXT NOT NULL, ftp_url TEXT NOT NULL, globus_url TEXT NOT NULL, root TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE description (
        view TEXT NOT NULL, position INTEGER NOT NULL, "column" TEXT, description TEXT NOT NULL,
        PRIMARY KEY (view, position)
    ) STRICT, WITHOUT ROWID
    """,
)

_COPY = (
    """
    CREATE TABLE copy (
        file_id INTEGER PRIMARY KEY REFERENCES file,
        empiar_id INTEGER NOT NULL,
        state INTEGER NOT NULL DEFAULT 0,
        priority INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER,            -- of our copy once it is here; as listed before
        bytes_here INTEGER NOT NULL DEFAULT 0,
        bytes_credited INTEGER NOT NULL DEFAULT 0, -- most that was ever kept: growth beyond it is progress
        channel TEXT, sha256 BLOB,
        wanted_at INTEGER NOT NULL, arrived_at INTEGER, verified_at INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0, fruitless INTEGER NOT NULL DEFAULT 0,
        not_before INTEGER NOT NULL DEFAULT 0,
        error TEXT,
        v_size INTEGER, v_modified_at INTEGER, v_etag TEXT
    ) STRICT
    """,
    # Conditions below appear word for word in the queries: SQLite uses a partial index only then.
    "CREATE INDEX copy_claimable ON copy (priority DESC, empiar_id, file_id, not_before) WHERE state <= 1",
    "CREATE INDEX copy_waiting ON copy (empiar_id, not_before) WHERE state <= 1",
    "CREATE INDEX copy_begun ON copy (state) WHERE state IN (1, 2)",
    "CREATE INDEX copy_notable ON copy (empiar_id, state) WHERE state >= 4",
    """
    CREATE TABLE copy_progress (
        empiar_id INTEGER NOT NULL, state INTEGER NOT NULL,
        files INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (empiar_id, state)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TRIGGER copy_wanted AFTER INSERT ON copy BEGIN
        INSERT INTO copy_progress VALUES (new.empiar_id, new.state, 1, ifnull(new.bytes, 0))
            ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
    END
    """,
    """
    CREATE TRIGGER copy_moved AFTER UPDATE OF state, bytes ON copy
    WHEN old.state <> new.state OR old.bytes IS NOT new.bytes BEGIN
        UPDATE copy_progress SET files = files - 1, bytes = bytes - ifnull(old.bytes, 0)
            WHERE empiar_id = old.empiar_id AND state = old.state;
        INSERT INTO copy_progress VALUES (new.empiar_id, new.state, 1, ifnull(new.bytes, 0))
            ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
    END
    """,
    """
    CREATE TRIGGER copy_forgotten AFTER DELETE ON copy BEGIN
        UPDATE copy_progress SET files = files - 1, bytes = bytes - ifnull(old.bytes, 0)
            WHERE empiar_id = old.empiar_id AND state = old.state;
    END
    """,
    """
    CREATE TABLE part_block (
        file_id INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL, xxh3 BLOB NOT NULL,
        PRIMARY KEY (file_id, start)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE attempt (
        file_id INTEGER NOT NULL, started_at REAL NOT NULL, channel TEXT NOT NULL,
        start_offset INTEGER NOT NULL, ended_at REAL NOT NULL, bytes_moved INTEGER NOT NULL,
        outcome TEXT NOT NULL, error TEXT,
        PRIMARY KEY (file_id, started_at, channel, start_offset)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX attempt_by_end ON attempt (ended_at)",
    """
    CREATE TABLE image (
        file_id INTEGER PRIMARY KEY REFERENCES file,
        format TEXT NOT NULL, width INTEGER, height INTEGER, frames INTEGER, mode TEXT,
        pixel_size_angstrom REAL, problems TEXT
    ) STRICT
    """,
)

STEP: Final = _ENTRY + _LISTING + _RECORDS + _COPY

"""The tables of the catalogue, as append-only steps. Tables are private; `empiar_schema.views` is the contract.

A step is never edited once released: a new one is added. Times are whole seconds since the epoch unless said
otherwise. Widths were measured with a million rows (``benchmarks/catalogue.py``).
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants.

from __future__ import annotations

import sqlite3
from typing import Final

from empiar_schema.faults import CatalogueFault

#: Name of the migration set, and the mark by which a file is known as a catalogue (``EMPI``).
MIGRATION_SET: Final = "empiar"
APPLICATION_ID: Final = 0x454D5049

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

_CONTENT = (
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

_GLOBUS = (
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

_SUBSCRIPTIONS = (
    # Stands for the name where a subscription has many rows.
    "ALTER TABLE subscription ADD COLUMN number INTEGER",
    # 1 where the configuration file declares it: then no command changes it.
    "ALTER TABLE subscription ADD COLUMN declared INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE subscription ADD COLUMN selects TEXT",  # entries or files, as its query was last found to return
    # Rows of the query when it last ran; NULL where the next result is compared with nothing.
    "ALTER TABLE subscription ADD COLUMN match_count INTEGER",
    "ALTER TABLE subscription ADD COLUMN evaluated_at INTEGER",
    "ALTER TABLE subscription ADD COLUMN new_since INTEGER",  # of new_only: what was there by then is not new
    "ALTER TABLE subscription ADD COLUMN held_at INTEGER",
    "ALTER TABLE subscription ADD COLUMN held_reason TEXT",
    "UPDATE subscription SET number = (SELECT count(*) FROM subscription s WHERE s.name <= subscription.name)",
    "CREATE UNIQUE INDEX subscription_by_number ON subscription (number)",
    # What queries returned; `file_id` is 0 where the whole entry is meant, or what a view takes of it.
    """
    CREATE TABLE subscription_match (
        number INTEGER NOT NULL, empiar_id INTEGER NOT NULL, file_id INTEGER NOT NULL,
        matched_at INTEGER NOT NULL, gone_at INTEGER,
        wanted_at INTEGER,        -- when its files were first made wanted; NULL before
        files INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, -- of what was made wanted, or would be
        mark TEXT,                -- of what the choice of wanted files depended on: listing, roles, view
        left_out TEXT,            -- why it, or what was added to it since, is not wanted
        PRIMARY KEY (number, empiar_id, file_id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX subscription_match_by_entry ON subscription_match (empiar_id)",
)

_SCRUB = (
    # Scrubbing goes along this index, oldest proof first; the entry keeps files that came together together.
    # The condition appears word for word in the queries: SQLite uses a partial index only then.
    "CREATE INDEX copy_by_proof ON copy (verified_at, empiar_id) WHERE state IN (3, 4)",
)

#: What comes first within a queue, see `empiar_schema.queue_store`: 0 tells what images are (labels, gains, metadata),
#: 1 is small and no image, 2 is all that is large. Within one, listing order fills folder after folder.
_RANK: Final = (
    "CASE WHEN role IN (3, 4, 6, 9) THEN 0"
    " WHEN ifnull(role, 11) IN (7, 8, 10, 11) AND ifnull(bytes, 0) <= 16777216 THEN 1 ELSE 2 END"
)
#: The highest priority of those who want the files of a queue and are not paused; 0 where nobody is left.
_QUEUE_PRIORITY: Final = (
    "ifnull(nullif(max(ifnull(own_priority, -1000000), ifnull((SELECT max(s.priority) FROM json_each(queue.wanters) j"
    " JOIN subscription s ON s.number = CAST(j.key AS INTEGER) WHERE s.paused = 0), -1000000)), -1000000), 0)"
)

_ORDER = (
    "ALTER TABLE subscription ADD COLUMN quota_bytes INTEGER",
    "ALTER TABLE subscription ADD COLUMN share REAL NOT NULL DEFAULT 1",
    "ALTER TABLE subscription ADD COLUMN deadline_s INTEGER",
    # A queue is the files of one entry that the same subscriptions want, and that were asked for by name with the same priority.
    """
    CREATE TABLE queue (
        queue_id INTEGER PRIMARY KEY,
        empiar_id INTEGER NOT NULL,
        own_priority INTEGER,              -- of who asked by name; NULL where nobody did
        wanters TEXT NOT NULL DEFAULT '{}', -- JSON: number of a subscription -> when the files became wanted for it
        priority INTEGER NOT NULL DEFAULT 0, -- the highest of all who want it; kept up by triggers
        wanted_at INTEGER NOT NULL,        -- since when something of it waits
        served_at INTEGER                  -- when something of it was last claimed
    ) STRICT
    """,
    "CREATE INDEX queue_by_entry ON queue (empiar_id)",
    """
    CREATE TABLE queue_progress (
        queue_id INTEGER NOT NULL, state INTEGER NOT NULL,
        files INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (queue_id, state)
    ) STRICT, WITHOUT ROWID
    """,
    # Bytes brought for a subscription (0: for those who asked by name), decayed since `at`: the measure of fair shares.
    "CREATE TABLE order_account (account INTEGER PRIMARY KEY, spent REAL NOT NULL, at INTEGER NOT NULL) STRICT",
    # Grows with whatever may change which queue is next, by whatever process.
    "CREATE TABLE order_revision (only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL) STRICT",
    "INSERT INTO order_revision VALUES (1, 0)",
    "DROP TRIGGER copy_moved",
    "DROP INDEX copy_claimable",
    "DROP INDEX copy_waiting",
    # `priority` of a copy is written no more: it is that of its queue.
    "ALTER TABLE copy ADD COLUMN queue_id INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE copy ADD COLUMN rank INTEGER NOT NULL DEFAULT 2",
    (
        "INSERT INTO queue (empiar_id, own_priority, priority, wanted_at)"
        " SELECT empiar_id, priority, priority, min(wanted_at) FROM copy GROUP BY empiar_id, priority ORDER BY 1, 2"
    ),
    (
        f"UPDATE copy SET queue_id = (SELECT q.queue_id FROM queue q WHERE q.empiar_id = copy.empiar_id"
        f" AND q.own_priority = copy.priority), rank = (SELECT {_RANK} FROM file f WHERE f.file_id = copy.file_id)"
    ),
    # What subscriptions to whole entries want is known; those to files are asked again when they are next evaluated.
    (
        "UPDATE queue SET wanters = ifnull((SELECT json_group_object(CAST(m.number AS TEXT), m.wanted_at) FROM subscription_match m"
        " WHERE m.empiar_id = queue.empiar_id AND m.file_id = 0 AND m.wanted_at IS NOT NULL), '{}')"
    ),
    (
        "UPDATE queue SET own_priority = NULL WHERE wanters <> '{}'"
        " AND EXISTS (SELECT 1 FROM wish w WHERE w.empiar_id = queue.empiar_id)"
        " AND NOT EXISTS (SELECT 1 FROM wish w WHERE w.empiar_id = queue.empiar_id AND w.view <> '*')"
    ),
    "UPDATE subscription_match SET mark = NULL WHERE file_id > 0",
    f"UPDATE queue SET priority = {_QUEUE_PRIORITY}",
    "INSERT INTO queue_progress SELECT queue_id, state, count(*), sum(ifnull(bytes, 0)) FROM copy GROUP BY 1, 2",
    # Conditions below appear word for word in the queries: SQLite uses a partial index only then.
    "CREATE INDEX copy_claimable ON copy (queue_id, rank, file_id, not_before) WHERE state <= 1",
    "CREATE INDEX copy_waiting ON copy (empiar_id, queue_id, not_before) WHERE state <= 1",
    """
    CREATE TRIGGER copy_moved AFTER UPDATE OF state, bytes, queue_id ON copy
    WHEN old.state <> new.state OR old.bytes IS NOT new.bytes OR old.queue_id <> new.queue_id BEGIN
        UPDATE copy_progress SET files = files - 1, bytes = bytes - ifnull(old.bytes, 0)
            WHERE empiar_id = old.empiar_id AND state = old.state;
        INSERT INTO copy_progress VALUES (new.empiar_id, new.state, 1, ifnull(new.bytes, 0))
            ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
        UPDATE queue_progress SET files = files - 1, bytes = bytes - ifnull(old.bytes, 0)
            WHERE queue_id = old.queue_id AND state = old.state;
        INSERT INTO queue_progress VALUES (new.queue_id, new.state, 1, ifnull(new.bytes, 0))
            ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
    END
    """,
    """
    CREATE TRIGGER copy_queued AFTER INSERT ON copy BEGIN
        INSERT INTO queue_progress VALUES (new.queue_id, new.state, 1, ifnull(new.bytes, 0))
            ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
    END
    """,
    """
    CREATE TRIGGER copy_left_queue AFTER DELETE ON copy BEGIN
        UPDATE queue_progress SET files = files - 1, bytes = bytes - ifnull(old.bytes, 0)
            WHERE queue_id = old.queue_id AND state = old.state;
    END
    """,
    f"""
    CREATE TRIGGER file_judged AFTER UPDATE OF role ON file WHEN old.role IS NOT new.role BEGIN
        UPDATE copy SET rank = (SELECT {_RANK} FROM file f WHERE f.file_id = new.file_id)
            WHERE file_id = new.file_id AND state <= 2;
    END
    """,
    f"""
    CREATE TRIGGER queue_made AFTER INSERT ON queue BEGIN
        UPDATE queue SET priority = {_QUEUE_PRIORITY} WHERE queue_id = new.queue_id;
        UPDATE order_revision SET revision = revision + 1;
    END
    """,
    f"""
    CREATE TRIGGER queue_changed AFTER UPDATE OF own_priority, wanters, wanted_at ON queue BEGIN
        UPDATE queue SET priority = {_QUEUE_PRIORITY} WHERE queue_id = new.queue_id;
        UPDATE order_revision SET revision = revision + 1;
    END
    """,
    f"""
    CREATE TRIGGER subscription_set AFTER UPDATE OF priority, paused, quota_bytes, share, deadline_s, channel ON subscription
    WHEN old.priority <> new.priority OR old.paused <> new.paused OR old.quota_bytes IS NOT new.quota_bytes
        OR old.share <> new.share OR old.deadline_s IS NOT new.deadline_s OR old.channel IS NOT new.channel BEGIN
        UPDATE queue SET priority = {_QUEUE_PRIORITY} WHERE wanters LIKE '%"' || new.number || '":%';
        UPDATE order_revision SET revision = revision + 1;
    END
    """,
)

#: Name and statements of every step, in order.
STEPS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("m001_tables", _ENTRY + _LISTING + _RECORDS + _COPY),
    ("m002_content", _CONTENT),
    ("m003_globus", _GLOBUS),
    ("m004_subscriptions", _SUBSCRIPTIONS),
    ("m005_scrub", _SCRUB),
    ("m006_order", _ORDER),
)


def applied_steps(conn: sqlite3.Connection) -> list[str]:
    """Names of the steps that the catalogue has seen; none for an empty file."""
    found = conn.execute("SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'").fetchone()
    if not found:
        return []
    query = "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id"
    return [name for (name,) in conn.execute(query, (MIGRATION_SET,))]


def migrate(conn: sqlite3.Connection, *, steps: tuple[tuple[str, tuple[str, ...]], ...] = STEPS) -> None:
    """Every step stands in the catalogue; each pending one is applied in a transaction of its own.

    Raises:
        CatalogueFault: the catalogue has steps that this version does not know, or the file holds
            somebody else's tables.
    """
    known = [name for name, _ in steps]
    applied = applied_steps(conn)
    if unknown := [name for name in applied if name not in known]:
        raise CatalogueFault(
            f"the catalogue was written by a newer empiar-mirror (it has the step {unknown[0]})",
            hint="install that version or a later one; this one has changed nothing",
        )
    if applied == known:
        return
    # Their own table alone is what a kill in mid-creation leaves.
    others = "SELECT count(*) FROM sqlite_schema WHERE tbl_name <> '_sqlite_migrations'"
    if not applied and conn.execute(others).fetchone()[0]:
        raise CatalogueFault(
            "the file is an SQLite database but no catalogue of empiar-mirror",
            hint="point `root` at the mirror's own folder, or move that file away",
        )
    _apply(conn, steps)


def _apply(conn: sqlite3.Connection, steps: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
    # Costs 100 ms to import, and is needed once in the life of a catalogue and version.
    from sqlite_utils import Database, Migrations

    migrations = Migrations(MIGRATION_SET)

    def step(name: str, statements: tuple[str, ...]) -> None:
        @migrations(name=name)
        def run(db: Database) -> None:
            for statement in statements:
                db.execute(statement)

    for name, statements in steps:
        step(name, statements)
    migrations.apply(Database(conn))
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")

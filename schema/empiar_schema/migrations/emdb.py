"""Step m010: what EMDB says of the maps that entries name."""

from __future__ import annotations

from typing import Final

STEP: Final = (
    """
    CREATE TABLE emdb_entry (
        emdb_id TEXT PRIMARY KEY,
        asked_at INTEGER,          -- when EMDB last answered
        answered_at INTEGER,       -- when the facts below were last confirmed or recorded
        changed_at INTEGER,        -- when they last changed
        absent_since INTEGER,      -- since when EMDB serves no such entry; the facts stay
        failures INTEGER NOT NULL DEFAULT 0, failed_at INTEGER, error TEXT,
        etag TEXT, last_modified TEXT,
        status TEXT, title TEXT,
        deposition_date TEXT, release_date TEXT, update_date TEXT, obsolete_date TEXT, superseded_by TEXT,
        method TEXT, aggregation_state TEXT, resolution_angstrom REAL, resolution_method TEXT, symmetry TEXT,
        particle_count INTEGER,
        microscope TEXT, voltage_kv REAL, cs_mm REAL, detector TEXT, detector_mode TEXT,
        sample TEXT, organism TEXT,
        molecular_weight_kda REAL, molecular_weight_source TEXT, largest_chain_kda REAL,
        membrane_protein INTEGER, membrane_source TEXT, keywords TEXT,
        half_map_count INTEGER, map_pixel_angstrom REAL,
        oddities TEXT              -- JSON list of what could not be taken as it came
    ) STRICT, WITHOUT ROWID
    """,
    # Other records that an EMDB entry names: of PDB and of EMPIAR.
    """
    CREATE TABLE emdb_link (
        emdb_id TEXT NOT NULL REFERENCES emdb_entry, kind TEXT NOT NULL, accession TEXT NOT NULL,
        PRIMARY KEY (emdb_id, kind, accession)
    ) STRICT, WITHOUT ROWID
    """,
)

"""Views of what EMDB says of the maps that entries name, and of both archives together."""

# ruff: noqa: S608
# SQL is put together from this package's own constants; values are always bound.

from __future__ import annotations

from typing import Final

from empiar_schema.view_definitions.columns import Column, View, iso, same

#: Facts that `entry_science` shows as they are in `emdb_entries`.
_SCIENCE: Final = (
    (
        "method",
        "How the structure was determined, in EMDB's words: singleParticle, subtomogramAveraging, tomography, helical, electronCrystallography.",
    ),
    (
        "resolution_angstrom",
        "Å, as stated by the authors; the best where EMDB has several reconstructions. No tomogram has one.",
    ),
    (
        "symmetry",
        "Symmetry applied in that reconstruction: C1, D7, I; of a helix rise, twist and axial symmetry; or a space group.",
    ),
    ("particle_count", "Images or subtomograms used in that reconstruction."),
    (
        "molecular_weight_kda",
        "Molecular weight of the whole sample, kDa: antibodies and partners included, see molecular_weight_source.",
    ),
    (
        "largest_chain_kda",
        "The heaviest single protein or nucleic acid chain, kDa, by its sequence: a receptor rather than its complex.",
    ),
    (
        "membrane_protein",
        "1 where EMDB says that it is a membrane protein (membrane_source); null where it does not say so, which proves nothing.",
    ),
    (
        "membrane_source",
        "What says so: a GO term of a chain, EMDB's keywords, or the words in a name: keywords: membrane protein.",
    ),
    ("organism", "Organisms that the sample comes from; several are joined by semicolons."),
    ("microscope", "Microscopes, in EMDB's words; several are joined by semicolons."),
    ("voltage_kv", "Acceleration voltage, kV; null where sessions differ."),
    ("detector", "Detectors, in EMDB's words; several are joined by semicolons."),
    ("half_map_count", "Half-maps that EMDB holds; 0 where it names none."),
)

EMDB_ENTRIES: Final = View(
    "emdb_entries",
    "One row an EMDB entry that an entry of EMPIAR names (cross_references, kind EMDB) and that EMDB has been asked for. How each fact is derived: docs/emdb.md.",
    (
        *same(
            "m",
            ("emdb_id", "The map's accession, EMD-2275."),
            ("status", "REL released, OBS obsolete; others as EMDB gives them."),
            ("title", "Title."),
            ("deposition_date", "Day of deposition."),
            ("release_date", "Day of the map's release; of its header where the map has none."),
            ("update_date", "Day of the last change."),
            ("obsolete_date", "Day on which the map became obsolete; null otherwise."),
            ("superseded_by", "EMDB entries that replace it, joined by commas."),
            *_SCIENCE,
            ("aggregation_state", "particle, filament, cell, …, in EMDB's words."),
            ("resolution_method", "How the resolution was determined: FSC 0.143 CUT-OFF."),
            ("cs_mm", "Spherical aberration, nominal, mm; null where sessions differ."),
            ("detector_mode", "COUNTING, SUPER-RESOLUTION, …; several are joined by semicolons."),
            ("sample", "Name of the sample."),
            (
                "molecular_weight_source",
                "summed: weights by sequence times copies of all chains; stated: the authors' weight of the whole, where a chain lacks weight or copies.",
            ),
            ("keywords", "Keywords, as typed."),
            (
                "map_pixel_angstrom",
                "Voxel size of the map, Å; often binned, so it need not be that of the images.",
            ),
        ),
        Column(
            "pdb_ids",
            "(SELECT group_concat(l.accession, ',') FROM emdb_link l WHERE l.emdb_id = m.emdb_id AND l.kind = 'PDB')",
            "Models fitted into the map, joined by commas.",
        ),
        Column(
            "empiar_ids",
            "(SELECT group_concat(substr(l.accession, 8), ',') FROM emdb_link l WHERE l.emdb_id = m.emdb_id AND l.kind = 'EMPIAR')",
            "Entries of EMPIAR that EMDB itself names, joined by commas; most maps name none.",
        ),
        *same("m", ("oddities", "JSON list of what could not be taken as it came; null if nothing.")),
        Column("asked_at", iso("m.asked_at"), "When EMDB last answered; null before it did."),
        Column("changed_at", iso("m.changed_at"), "When these facts last changed."),
        Column(
            "absent_since",
            iso("m.absent_since"),
            "Since when EMDB serves no such entry (not released yet, or never to be); facts it gave before stay.",
        ),
        *same("m", ("error", "Why EMDB's last answer brought no facts; null if it did.")),
    ),
    "FROM emdb_entry m",
)


def _images(*categories: str) -> str:
    """Condition on image sets: their category is one of these."""
    return " OR ".join(f"s.category LIKE '{category}'" for category in categories)


_MOVIES: Final = _images("micrographs%multiframe%")
_MICROGRAPHS: Final = _images("micrographs%single frame%")
_TILTS: Final = _images("tilt series%")


def _count_of(condition: str) -> str:
    return f"(SELECT sum(s.image_count) FROM imageset s WHERE s.empiar_id = e.empiar_id AND ({condition}))"


#: The best map of an entry: one that is not obsolete, then of the finest resolution, then of the lowest accession.
_BEST: Final = (
    "(SELECT b.accession FROM cross_reference b LEFT JOIN emdb_entry n ON n.emdb_id = b.accession"
    " WHERE b.empiar_id = e.empiar_id AND b.kind = 'EMDB' ORDER BY n.emdb_id IS NULL, n.status IS 'OBS',"
    " n.resolution_angstrom IS NULL, n.resolution_angstrom, length(b.accession), b.accession LIMIT 1)"
)

ENTRY_SCIENCE: Final = View(
    "entry_science",
    "One row an entry of EMPIAR and map that it names, so that conditions on a map hold for one and the same map; an entry without maps has one row, too. For one row an entry: WHERE is_best.",
    (
        *same("e", ("empiar_id", "The entry's number."), ("title", "The entry's title.")),
        Column("emdb_id", "x.accession", "The map, EMD-2275; null where the entry names none."),
        Column("emdb_title", "m.title", "The map's title."),
        Column("emdb_status", "m.status", "The map's status: REL, OBS; null before EMDB answered."),
        Column(
            "is_best",
            f"x.accession IS {_BEST}",
            "1 for the entry's best map: not obsolete, then of the finest resolution; 1 once an entry.",
        ),
        *same("m", *_SCIENCE),
        Column(
            "has_movies",
            f"EXISTS (SELECT 1 FROM imageset s WHERE s.empiar_id = e.empiar_id AND ({_MOVIES}))",
            "1 where an image set is of the category micrographs - multiframe: raw movies.",
        ),
        Column("movie_count", _count_of(_MOVIES), "Movies, as the image sets state; null without any."),
        Column(
            "micrograph_count",
            _count_of(_MICROGRAPHS),
            "Micrographs of a single frame, as the image sets state; null without any.",
        ),
        Column(
            "tilt_series_count", _count_of(_TILTS), "Tilt series, as the image sets state; null without any."
        ),
        Column(
            "pdb_ids",
            "(SELECT group_concat(l.accession, ',') FROM emdb_link l WHERE l.emdb_id = x.accession AND l.kind = 'PDB')",
            "Models fitted into the map, joined by commas.",
        ),
        Column(
            "emdb_names_entry",
            "(SELECT max(l.accession = 'EMPIAR-' || e.empiar_id) FROM emdb_link l WHERE l.emdb_id = x.accession AND l.kind = 'EMPIAR')",
            "1 where EMDB names this entry of EMPIAR, too; 0 where it names others only; null where it names none.",
        ),
    ),
    "FROM entry e LEFT JOIN cross_reference x ON x.empiar_id = e.empiar_id AND x.kind = 'EMDB'"
    " LEFT JOIN emdb_entry m ON m.emdb_id = x.accession",
)

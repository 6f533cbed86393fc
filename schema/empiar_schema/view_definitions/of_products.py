"""Views of what is made here of deposited files: jobs, derived files, labels."""

# ruff: noqa: S608
# SQL is put together from this package's own constants; values are always bound.

from __future__ import annotations

from typing import Final

from empiar_schema.codes import JOB_STATE_CODES, words_of
from empiar_schema.jobs import JobState
from empiar_schema.view_definitions.columns import Column, View, iso, iso_ms, path_by_id, same

_UNDER_ROOT: Final = "(SELECT root FROM archive_address) || '/'"

JOBS: Final = View(
    "jobs",
    "One row a job: the work of one maker (a built-in one, or a configured hook) on one file, or on a whole entry.",
    (
        *same("j", ("job_id", "The job's number."), ("empiar_id", "The entry's number.")),
        Column("maker", "j.maker", "Who does it: the name of a hook, or jpeg, frame_average, …"),
        Column("file_id", "j.file_id", "The file that is worked on; null where the whole entry is."),
        Column("path", path_by_id("j.file_id"), "That file below the entry, as a stored text."),
        Column(
            "state",
            words_of("j.state", JOB_STATE_CODES),
            "wanted, running, made, failed (tried again by itself) or parked.",
        ),
        Column("attempts", "j.attempts", "Attempts that failed since it was last wanted."),
        Column("error", "j.error", "What went wrong last; null when all is well."),
        Column("command", "j.command", "The command of the last attempt; null for a built-in maker."),
        Column("version", "j.version", "What the program said of its version, or the product's own version."),
        Column("wanted_at", iso("j.wanted_at"), "When it was last asked for, or its recipe last changed."),
        Column("started_at", iso_ms("j.started_at"), "When the last attempt began."),
        Column("ended_at", iso_ms("j.ended_at"), "When the last attempt ended."),
        Column(
            "not_before",
            iso("nullif(j.not_before, 0)"),
            "When the next attempt may begin; null means at any time.",
        ),
        Column(
            "product_count",
            "(SELECT count(*) FROM product p WHERE p.job_id = j.job_id)",
            "Products on record.",
        ),
        Column(
            "log_path",
            f"{_UNDER_ROOT} || j.log_path",
            "What the program said in its last attempt; null if nothing was kept.",
        ),
    ),
    "FROM job j",
)

LEASES: Final = View(
    "leases",
    "One row a piece of work that another machine has in hand, or that was lost with its worker in the last 30 days.",
    (
        *same(
            "l",
            ("lease_id", "The lease's number, which is never given twice."),
            ("work", "make, verify, scrub or transfer."),
            ("job_id", "The job, where it is one of `jobs`; null where files are only read."),
            ("subject", "What it is about: a file, or the first file and how many more."),
            ("worker", "The worker's address."),
        ),
        Column("granted_at", iso("l.granted_at"), "When it was handed out."),
        Column(
            "lost_at", iso("l.ended_at"), "When it counted as lost; null while the worker has it in hand."
        ),
        Column("reason", "l.lost_because", "Why it counted as lost."),
    ),
    "FROM lease l",
)

DERIVED: Final = View(
    "derived",
    "One row a file that was made here of deposited ones, with its origin.",
    (
        *same("p", ("product_id", "The product's number."), ("empiar_id", "The entry's number.")),
        Column("path", "p.path", "Below derived/<empiar_id>, as a stored text."),
        *same(
            "p",
            ("kind", "micrograph, particle_coordinates, particle_stack, rendition, thumbnail, …"),
            (
                "stem",
                "Name without suffix of the micrograph that it belongs to; null where of the whole entry.",
            ),
        ),
        Column("maker", "j.maker", "Who made it: the name of a hook, or jpeg, frame_average, …"),
        Column(
            "parent_file_id", "p.parent_file_id", "The deposited file it was made of; null where of several."
        ),
        Column(
            "parents",
            "(SELECT json_group_array(path) FROM (SELECT ifnull('derived/' || p.empiar_id || '/' || i.product,"
            f" 'archive/' || p.empiar_id || '/' || {path_by_id('i.file_id')}) AS path"
            " FROM job_input i WHERE i.job_id = p.job_id ORDER BY i.position))",
            "The files it was made of, the main one first: a JSON list of paths below the mirror's root.",
        ),
        Column("command", "j.command", "The command that made it; null for a built-in maker."),
        Column("version", "j.version", "Version of the program, or of the product's own maker."),
        Column(
            "recipe",
            "j.recipe",
            "Digest of parents, parameters and version: the same recipe, the same product.",
        ),
        Column(
            "stale",
            f"j.state <> {JOB_STATE_CODES[JobState.MADE]}",
            "1 if its parents or its maker have changed since, and it is to be made again.",
        ),
        Column("bytes", "p.bytes", "Size in bytes."),
        Column("sha256", "lower(hex(p.sha256))", "SHA-256 of its bytes."),
        Column("made_at", iso("p.made_at"), "When it was recorded."),
        Column(
            "verified_at",
            iso("p.verified_at"),
            "When scrubbing last proved its bytes; null before the first time.",
        ),
        Column("details", "p.details", "What the maker says of it, a JSON object; null if nothing."),
        Column(
            "local_path",
            f"{_UNDER_ROOT} || 'derived/' || p.empiar_id || '/' || p.path",
            "Where it stands, as a stored text.",
        ),
        Column("job_id", "p.job_id", "The job that made it."),
    ),
    "FROM product p JOIN job j ON j.job_id = p.job_id",
)


def _said(key: str) -> str:
    return f"json_extract(p.details, '$.{key}')"


LABEL_SETS: Final = View(
    "label_sets",
    "What became of an entry's particle coordinates: one row for each making of its ground truth.",
    (
        Column("empiar_id", "p.empiar_id", "The entry's number."),
        Column(
            "maker",
            "j.maker",
            "labels, or labels_relion and its sisters for views with other names of images.",
        ),
        Column(
            "sources",
            _said("sources"),
            "The files that were read, a JSON list: path, format, kind, origin of Y (top or bottom), particles, or the problem with it; the first 20.",
        ),
        Column("source_count", _said("source_count"), "How many files were read."),
        Column("selected", _said("selected"), "True particles on micrographs that are here."),
        Column("excluded", _said("excluded"), "Rejected picks on micrographs that are here."),
        Column(
            "annotated_micrographs",
            _said("annotated"),
            "Micrographs with labels, those without particles included.",
        ),
        Column(
            "by_hand",
            _said("by_hand"),
            "Micrographs whose labels are those of a version by hand (`label_versions`).",
        ),
        Column(
            "unmatched_labels", _said("unmatched_labels"), "Names in the labels that no micrograph here has."
        ),
        Column(
            "ambiguous_labels",
            _said("ambiguous_labels"),
            "Names in the labels that several micrographs have; their labels are left out.",
        ),
        Column(
            "unmatched_micrographs",
            _said("unmatched_micrographs"),
            "Micrographs here without labels: not annotated.",
        ),
        Column("diameter_px", _said("diameter_px"), "Diameter of a particle, pixels; null if nobody says."),
        Column("diameter_source", _said("diameter_source"), "Who says it: user, labels, box."),
        Column(
            "orientation",
            _said("orientation"),
            "What contrast at the picks says of Y: agrees, mirrored, undecided; null where no image could be looked at.",
        ),
        Column(
            "orientation_score",
            _said("orientation_score"),
            "How clearly, in standard errors; positive speaks for the picks as they are.",
        ),
        Column("notes", _said("notes"), "Sentences, a JSON list."),
        Column(
            "report",
            f"{_UNDER_ROOT} || 'derived/' || p.empiar_id || '/' || p.path",
            "The whole report, with all names, as JSON.",
        ),
        Column("made_at", iso("p.made_at"), "When it was recorded."),
    ),
    "FROM product p JOIN job j ON j.job_id = p.job_id WHERE p.kind = 'label_report'",
)

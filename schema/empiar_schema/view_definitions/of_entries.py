"""Views of entries: their metadata, how far their copies are, what is subscribed to."""

# SQL is put together from this package's own constants; values are always bound.

from __future__ import annotations

from typing import Final

from empiar_schema.codes import state_list
from empiar_schema.states import FAILED, HERE, CopyState, EntryState
from empiar_schema.view_definitions.columns import Column, View, iso, same

_HERE: Final = state_list(sorted(HERE))

_FAILED: Final = state_list(sorted(FAILED))

_UNVERIFIED: Final = state_list((CopyState.UNVERIFIED,))

_EVICTED: Final = state_list((CopyState.EVICTED,))

_BEGUN: Final = state_list((CopyState.CLAIMED, CopyState.PARTIAL))

ENTRIES: Final = View(
    "entries",
    "One row an entry of EMPIAR, as the archive describes it and as it was last listed.",
    (
        *same("e", ("empiar_id", "The entry's number, 10017.")),
        Column("accession", "'EMPIAR-' || e.empiar_id", "The entry's accession, EMPIAR-10017."),
        *same(
            "e",
            ("title", "Title, as typed by the depositor, HTML entities resolved."),
            ("status", "REL released, OBS obsolete; others as the archive gives them."),
            (
                "experiment_type",
                "EMDB (single particle, tomography), FIB-SEM, MicroED, …; an open vocabulary.",
            ),
            ("scale", "molecule, virus, cell, tissue or organism; null on older entries."),
            ("deposition_date", "Day of deposition."),
            ("release_date", "Day of release."),
            ("update_date", "Day of the last change, as the entry states it."),
            ("obsolete_date", "Day on which the entry became obsolete; null otherwise."),
            ("dataset_size", "Size as stated, 305.5 GB; binary units, one decimal."),
            ("dataset_bytes", "dataset_size in bytes, right to half a tenth of its unit."),
            ("doi", "DOI of the entry."),
        ),
        Column(
            "imageset_count",
            "(SELECT count(*) FROM imageset s WHERE s.empiar_id = e.empiar_id)",
            "Image sets of the entry.",
        ),
        *same(
            "e",
            ("file_count", "Files listed and not gone; 0 before the first listing."),
            ("file_bytes", "Bytes of those files, as far as their sizes are known."),
        ),
        Column("crawled_at", iso("e.crawled_at"), "When the metadata was last read."),
        Column(
            "listed_at",
            iso("(SELECT completed_at FROM listing l WHERE l.listing_id = e.current_listing)"),
            "When the last complete file listing ended.",
        ),
        Column(
            "listing_source",
            "(SELECT s.name FROM listing l JOIN source s USING (source_id) WHERE l.listing_id = e.current_listing)",
            "Where that listing came from: ftp, https.",
        ),
        Column("record_source", "e.record_source", "Where the metadata came from: api, xml."),
        Column("discovered_at", iso("e.discovered_at"), "When this mirror first heard of the entry."),
        Column(
            "unlisted_since",
            iso("e.unlisted_since"),
            "Since when complete enumerations lack the entry; null while they name it.",
        ),
        Column(
            "withdrawn_at",
            iso("e.withdrawn_at"),
            "When a second look confirmed that the archive serves no such entry; our copies stay.",
        ),
    ),
    "FROM entry e",
)

IMAGESETS: Final = View(
    "imagesets",
    "One row an image set, as the entry states it; depositors get it wrong now and then (see contradictions).",
    same(
        "s",
        ("empiar_id", "The entry's number."),
        ("position", "Order in the entry, from 0; neither name nor directory is unique."),
        ("name", "Name, as typed by the depositor."),
        (
            "directory",
            "Folder below the entry; empty is the entry's own. It may not exist, or lie above the files.",
        ),
        ("category", "micrographs - multiframe, tilt series, …; an open vocabulary."),
        ("header_format", "Format of the header: MRC, TIFF, EER, …"),
        ("data_format", "Format of the data: MRC, TIFF, EER, …"),
        ("voxel_type", "Number type: SIGNED BYTE, 32 BIT FLOAT, …"),
        ("image_count", "Images or tilt series, as stated."),
        ("frames_per_image", "Frames of an image, as stated."),
        ("image_width", "Pixels; null where it varies or is not stated."),
        ("image_height", "Pixels; null where it varies or is not stated."),
        ("pixel_width_angstrom", "Å a pixel."),
        ("pixel_height_angstrom", "Å a pixel; may be null while the width is set."),
        ("details", "Free text."),
        ("frame_range_min", "First frame kept."),
        ("frame_range_max", "Last frame kept."),
        ("micrographs_file_pattern", "Glob of the micrographs from the entry's folder, as typed."),
        ("picked_particles_file_pattern", "Glob of the picked particles, as typed."),
        ("picked_particles_directory", "Folder of the picked particles below the entry."),
        ("segmentation_count", "Segmentations that belong to the set."),
    ),
    "FROM imageset s",
)

CROSS_REFERENCES: Final = View(
    "cross_references",
    "Other records that belong to an entry.",
    same(
        "x",
        ("empiar_id", "The entry's number."),
        ("kind", "EMDB, PDB, EMPIAR, BioStudies, IDR, DOI, PubMed or Workflow."),
        ("accession", "Accession or address of the other record: EMD-2275."),
    ),
    "FROM cross_reference x",
)

AUTHORS: Final = View(
    "authors",
    "Authors of entries. No e-mail, telephone or fax is stored.",
    same(
        "a",
        ("empiar_id", "The entry's number."),
        ("position", "Order in the entry, from 0."),
        ("name", "Surname and initials: Scheres SHW."),
        ("orcid", "ORCID, where known."),
    ),
    "FROM author a",
)

CITATIONS: Final = View(
    "citations",
    "Publications on an entry's data.",
    same(
        "c",
        ("empiar_id", "The entry's number."),
        ("position", "Order in the entry, from 0."),
        ("authors", "Names, separated by semicolons."),
        ("title", "Title."),
        ("journal", "Journal, or its abbreviation where only that is given."),
        ("volume", "Volume."),
        ("issue", "Issue."),
        ("first_page", "First page."),
        ("last_page", "Last page."),
        ("year", "Year."),
        ("doi", "DOI, without resolver."),
        ("pubmed_id", "PubMed number."),
        ("published", "1 if published, 0 if not, null if not stated."),
        ("preprint", "1 if a preprint, 0 if not, null if not stated."),
        ("details", "Free text."),
    ),
    "FROM citation c",
)

GRANTS: Final = View(
    "grants",
    "Grants that paid for an entry's data.",
    same(
        "g",
        ("empiar_id", "The entry's number."),
        ("position", "Order in the entry, from 0."),
        ("funding_body", "Who paid."),
        ("code", "Number of the grant."),
        ("country", "Country of the funding body."),
    ),
    "FROM funding g",
)

_FILES_IN: Final = "ifnull(sum(p.files) FILTER (WHERE p.state IN ({})), 0)"

_BYTES_IN: Final = "ifnull(sum(p.bytes) FILTER (WHERE p.state IN ({})), 0)"

_ENTRY_STATE: Final = f"""CASE
        WHEN ifnull(sum(p.files), 0) = 0 THEN '{EntryState.LISTED}'
        WHEN sum(p.files) = {_FILES_IN.format(_HERE)} THEN '{EntryState.COMPLETE}'
        WHEN sum(p.files) = {_FILES_IN.format(_HERE + ", " + _EVICTED)} THEN '{EntryState.EVICTED}'
        WHEN sum(p.files) = {_FILES_IN.format(", ".join((_HERE, _UNVERIFIED, _EVICTED)))} THEN '{EntryState.UNVERIFIED}'
        WHEN sum(p.files) = {_FILES_IN.format(", ".join((_HERE, _UNVERIFIED, _EVICTED, _FAILED)))} THEN '{EntryState.INCOMPLETE}'
        WHEN {_FILES_IN.format(", ".join((_HERE, _UNVERIFIED, _BEGUN)))} > 0 THEN '{EntryState.TRANSFERRING}'
        ELSE '{EntryState.WANTED}' END"""

ENTRY_PROGRESS: Final = View(
    "entry_progress",
    "How far the copies of each known entry are; kept up by every change of a copy, so it costs nothing to ask.",
    (
        Column("empiar_id", "e.empiar_id", "The entry's number."),
        Column("wanted_files", "ifnull(sum(p.files), 0)", "Files ever asked for, those here included."),
        Column("wanted_bytes", "ifnull(sum(p.bytes), 0)", "Their bytes, as far as known."),
        Column("here_files", _FILES_IN.format(_HERE), "Files here and proven."),
        Column("here_bytes", _BYTES_IN.format(_HERE), "Their bytes."),
        Column("failed_files", _FILES_IN.format(_FAILED), "Files parked, quarantined or damaged."),
        Column("failed_bytes", _BYTES_IN.format(_FAILED), "Their bytes, as far as known."),
        Column(
            "state",
            _ENTRY_STATE,
            "listed (nothing wanted), wanted, transferring, complete (all wanted is here), unverified (the rest was transferred by Globus to storage that is not visible here), incomplete (the rest failed), evicted (the rest was removed to make room).",
        ),
        Column(
            "unverified_files",
            _FILES_IN.format(_UNVERIFIED),
            "Files that Globus transferred to storage that is not visible here, and that nobody has verified.",
        ),
        Column("unverified_bytes", _BYTES_IN.format(_UNVERIFIED), "Their bytes, as far as known."),
        Column(
            "evicted_files", _FILES_IN.format(_EVICTED), "Files that were here and were removed to make room."
        ),
        Column("evicted_bytes", _BYTES_IN.format(_EVICTED), "Their bytes."),
    ),
    "FROM entry e LEFT JOIN copy_progress p ON p.empiar_id = e.empiar_id AND p.files > 0 GROUP BY e.empiar_id",
)

#: A sum over the files of a subscription.
_OF_QUEUES: Final = (
    "(SELECT {} FROM queue q JOIN queue_progress p ON p.queue_id = q.queue_id AND {}"
    " WHERE q.wanters LIKE '%\"' || s.number || '\":%')"
)

SUBSCRIPTIONS: Final = View(
    "subscriptions",
    "Standing selections.",
    (
        *same(
            "s",
            ("name", "Name of the subscription."),
            ("sql", "The query that selects; it returns empiar_id or file_id."),
            ("view", "Layout it is arranged in; null means the default."),
            ("priority", "Higher comes first."),
            ("budget_bytes", "Bytes it may cost; null means no limit."),
            ("paused", "1 if it rests: it is not evaluated, and files that only it wants wait."),
        ),
        Column("created_at", iso("s.created_at"), "When it was made."),
        *same(
            "s",
            ("entry_count", "Entries selected when it last ran."),
            ("file_count", "Files selected when it last ran."),
            ("channel", "Channel its files must use; null means as configured."),
            ("new_only", "1 if it selects only what came after it."),
            ("selects", "entries or files, as its query returns; null before it first ran."),
        ),
        Column("evaluated_at", iso("s.evaluated_at"), "When it last ran to its end."),
        Column("held_at", iso("s.held_at"), "Since when it is held; null while it is in force."),
        *same(
            "s",
            ("held_reason", "Why it is held; it rests until somebody resumes it."),
            ("declared", "1 if it stands in the configuration file."),
        ),
        Column(
            "taken_bytes",
            "(SELECT ifnull(sum(m.bytes), 0) FROM subscription_match m WHERE m.number = s.number AND m.wanted_at IS NOT NULL)",
            "Bytes that it has made wanted so far, which count against its budget.",
        ),
        Column(
            "left_out_count",
            "(SELECT count(*) FROM subscription_match m WHERE m.number = s.number AND m.gone_at IS NULL AND m.left_out = 'budget')",
            "Matches that did not fit into its budget.",
        ),
        *same(
            "s",
            ("quota_bytes", "Bytes that its files may hold here; null means no limit."),
            ("share", "Its part among subscriptions of equal priority."),
            ("deadline_s", "Seconds after which what it wants should be here; null means no deadline."),
        ),
        Column(
            "held_bytes",
            _OF_QUEUES.format("ifnull(sum(p.bytes), 0)", "p.state IN (2, 3, 4, 6, 7, 8)"),
            "Bytes of its files that are here or being fetched, which count against its quota.",
        ),
        Column(
            "waiting_files", _OF_QUEUES.format("ifnull(sum(p.files), 0)", "p.state <= 1"), "Files that wait."
        ),
        Column(
            "waiting_bytes",
            _OF_QUEUES.format("ifnull(sum(p.bytes), 0)", "p.state <= 1"),
            "Their bytes, as far as known.",
        ),
        Column(
            "due_at",
            iso(
                "(SELECT min(json_extract(q.wanters, '$.\"' || s.number || '\"')) + s.deadline_s FROM queue q"
                " JOIN queue_progress p ON p.queue_id = q.queue_id AND p.state <= 2 AND p.files > 0"
                " WHERE q.wanters LIKE '%\"' || s.number || '\":%')"
            ),
            "When its earliest deadline ends, of what is not here; null where there is none.",
        ),
    ),
    "FROM subscription s",
)

SUBSCRIPTION_MATCHES: Final = View(
    "subscription_matches",
    "One row for each entry or file that a subscription's query returned at some time.",
    (
        Column("name", "s.name", "Name of the subscription."),
        Column("empiar_id", "m.empiar_id", "The entry's number."),
        Column("file_id", "nullif(m.file_id, 0)", "The file; null where the subscription selects entries."),
        Column("matched_at", iso("m.matched_at"), "When it was first returned."),
        Column(
            "gone_at",
            iso("m.gone_at"),
            "Since when it is returned no longer; null while it is. What was wanted stays wanted.",
        ),
        Column("wanted_at", iso("m.wanted_at"), "When its files became wanted; null if they have not."),
        *same(
            "m",
            ("files", "Files that it made wanted, or would."),
            ("bytes", "Their bytes, as far as known."),
            (
                "left_out",
                "Why it, or what the archive added to it since, is not wanted: budget, older (than a subscription to what is new), unlisted; null if nothing is left out.",
            ),
        ),
    ),
    "FROM subscription_match m JOIN subscription s ON s.number = m.number",
)

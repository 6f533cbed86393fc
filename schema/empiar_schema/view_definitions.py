"""The views of the catalogue, each column with its expression and its sentence, as data.

Views use nothing but plain SQL, so that they work in any SQLite tool. Single facts from small tables are scalar
subqueries: SQLite evaluates them only for the columns that a query asks for.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from empiar_schema.codes import (
    JOB_STATE_CODES,
    ROLE_CODES,
    ROLE_REASON_CODES,
    STATE_CODES,
    UNITS_S,
    state_list,
    words_of,
)
from empiar_schema.jobs import JobState
from empiar_schema.states import FAILED, HERE, CopyState, EntryState

_HERE: Final = state_list(sorted(HERE))
_FAILED: Final = state_list(sorted(FAILED))
_BEGUN: Final = state_list((CopyState.CLAIMED, CopyState.PARTIAL))
_ON_DISK: Final = state_list((CopyState.ARRIVED, CopyState.WITHDRAWN, CopyState.DAMAGED))


class Column(NamedTuple):
    """A column of a view."""

    name: str
    expression: str
    description: str


@dataclass(frozen=True, slots=True)
class View:
    """A view: what a row is, its columns, and where they come from."""

    name: str
    description: str
    columns: tuple[Column, ...]
    source: str

    @property
    def sql(self) -> str:
        """The statement that creates it."""
        columns = ",\n    ".join(f'{column.expression} AS "{column.name}"' for column in self.columns)
        return f"CREATE VIEW {self.name} AS SELECT\n    {columns}\n{self.source}"


def _iso(expression: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%SZ', {expression}, 'unixepoch')"


def _iso_ms(expression: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {expression}, 'unixepoch')"


def _same(table: str, *described: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column(name, f"{table}.{name}", text) for name, text in described)


def _path(directory: str = "d", file: str = "f") -> str:
    return f"CASE {directory}.path WHEN '' THEN {file}.name ELSE {directory}.path || '/' || {file}.name END"


def _last(text: str) -> str:
    """What follows the last dot of `text`; all of it if there is none."""
    return f"substr({text}, length(rtrim({text}, replace({text}, '.', ''))) + 1)"


def _suffix(name: str) -> str:
    """`empiar_schema.paths.suffix_of` in SQL (letters outside ASCII keep their case).

    Nearly every suffix lies in the last 16 characters; taking names apart there costs a third.
    """
    end = f"lower(substr({name}, -16))"
    return (
        f"CASE WHEN instr(substr({end}, 2), '.') > 0 THEN {_suffix_of_lower(end)}"
        f" WHEN instr(substr({name}, 2), '.') = 0 THEN '' ELSE {_suffix_of_lower(f'lower({name})')} END"
    )


def _suffix_of_lower(text: str) -> str:
    """The suffix of a name in lower case that has a dot after its first character."""
    last = _last(text)
    stem = f"substr({text}, 1, length({text}) - length({last}) - 1)"
    inner = _last(stem)
    compressed = (
        f"(substr({text}, -3) IN ('.gz', '.xz') OR substr({text}, -4) IN ('.bz2', '.zst'))"
        f" AND instr({stem}, '.') > 0"
        f" AND length({inner}) <= 5 AND length({inner}) < length({stem}) - 1"
    )
    return (
        f"CASE WHEN substr({text}, -1) = '.' THEN '' WHEN {compressed} THEN '.' || {inner} || '.' || {last}"
        f" ELSE '.' || {last} END"
    )


def _url(base: str) -> str:
    return (
        f"(SELECT {base} FROM archive_address) || '/' || d.empiar_id || '/'"
        " || CASE d.path WHEN '' THEN '' ELSE ifnull(d.url_path, d.path) || '/' END"
        " || ifnull((SELECT url_name FROM file_url u WHERE u.file_id = f.file_id), f.name)"
    )


_LOCAL_PATH: Final = (
    f"CASE WHEN c.state IN ({_ON_DISK}) THEN (SELECT root FROM archive_address)"
    f" || '/archive/' || d.empiar_id || '/' || {_path()} END"
)
_FILE: Final = "FROM file f JOIN directory d ON d.directory_id = f.directory_id"
_UNIT: Final = "CASE f.modified_unit " + " ".join(f"WHEN {n} THEN {s}" for n, s in UNITS_S.items()) + " END"
_ROLE: Final = words_of("ifnull(f.role, 11)", ROLE_CODES)
_ROLE_REASON: Final = words_of("f.role_reason", ROLE_REASON_CODES)
_GONE: Final = "(SELECT a.gone_at FROM file_absence a WHERE a.file_id = f.file_id)"
_LISTED_AT: Final = (
    "(SELECT l.completed_at FROM entry e JOIN listing l ON l.listing_id = e.current_listing"
    " WHERE e.empiar_id = d.empiar_id)"
)
_LAST_SEEN: Final = (
    "CASE WHEN EXISTS (SELECT 1 FROM file_absence a WHERE a.file_id = f.file_id)"
    " THEN (SELECT a.last_seen_at FROM file_absence a WHERE a.file_id = f.file_id)"
    f" ELSE {_LISTED_AT} END"
)

_FILE_PLACE: Final = (
    Column("file_id", "f.file_id", "The file's number in this catalogue; stays when the file changes."),
    Column("empiar_id", "d.empiar_id", "The entry's number."),
    Column(
        "path",
        _path(),
        "Below the entry, as a stored text: bytes that are not UTF-8, control characters and ambiguous percent signs are written %XX.",
    ),
    Column(
        "directory", "d.path", "The path's folder, without slashes at the ends; empty for the entry's own."
    ),
    Column("name", "f.name", "The last component of the path."),
    Column(
        "suffix",
        _suffix("f.name"),
        "In lower case, compression included: .mrc, .tiff.bz2; empty without one.",
    ),
    Column(
        "role", _ROLE, "What the file is for: micrograph, movie, gain, …; other until it has been judged."
    ),
)

_FILE_ROLE: Final = (
    Column("role_confidence", "f.role_percent / 100.0", "How sure the role is, 0 to 1; null until judged."),
    Column(
        "role_reason",
        _ROLE_REASON,
        "The rule that decided the role, in words (docs/roles.md); override where the configuration states it.",
    ),
)

_ENTRIES = View(
    "entries",
    "One row an entry of EMPIAR, as the archive describes it and as it was last listed.",
    (
        *_same("e", ("empiar_id", "The entry's number, 10017.")),
        Column("accession", "'EMPIAR-' || e.empiar_id", "The entry's accession, EMPIAR-10017."),
        *_same(
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
        *_same(
            "e",
            ("file_count", "Files listed and not gone; 0 before the first listing."),
            ("file_bytes", "Bytes of those files, as far as their sizes are known."),
        ),
        Column("crawled_at", _iso("e.crawled_at"), "When the metadata was last read."),
        Column(
            "listed_at",
            _iso("(SELECT completed_at FROM listing l WHERE l.listing_id = e.current_listing)"),
            "When the last complete file listing ended.",
        ),
        Column(
            "listing_source",
            "(SELECT s.name FROM listing l JOIN source s USING (source_id) WHERE l.listing_id = e.current_listing)",
            "Where that listing came from: ftp, https.",
        ),
        Column("record_source", "e.record_source", "Where the metadata came from: api, xml."),
        Column("discovered_at", _iso("e.discovered_at"), "When this mirror first heard of the entry."),
        Column(
            "unlisted_since",
            _iso("e.unlisted_since"),
            "Since when complete enumerations lack the entry; null while they name it.",
        ),
        Column(
            "withdrawn_at",
            _iso("e.withdrawn_at"),
            "When a second look confirmed that the archive serves no such entry; our copies stay.",
        ),
    ),
    "FROM entry e",
)

_IMAGESETS = View(
    "imagesets",
    "One row an image set, as the entry states it; depositors get it wrong now and then (see contradictions).",
    _same(
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

_CROSS_REFERENCES = View(
    "cross_references",
    "Other records that belong to an entry.",
    _same(
        "x",
        ("empiar_id", "The entry's number."),
        ("kind", "EMDB, PDB, EMPIAR, BioStudies, IDR, DOI, PubMed or Workflow."),
        ("accession", "Accession or address of the other record: EMD-2275."),
    ),
    "FROM cross_reference x",
)

_AUTHORS = View(
    "authors",
    "Authors of entries. No e-mail, telephone or fax is stored.",
    _same(
        "a",
        ("empiar_id", "The entry's number."),
        ("position", "Order in the entry, from 0."),
        ("name", "Surname and initials: Scheres SHW."),
        ("orcid", "ORCID, where known."),
    ),
    "FROM author a",
)

_CITATIONS = View(
    "citations",
    "Publications on an entry's data.",
    _same(
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

_GRANTS = View(
    "grants",
    "Grants that paid for an entry's data.",
    _same(
        "g",
        ("empiar_id", "The entry's number."),
        ("position", "Order in the entry, from 0."),
        ("funding_body", "Who paid."),
        ("code", "Number of the grant."),
        ("country", "Country of the funding body."),
    ),
    "FROM funding g",
)

_FILES = View(
    "files",
    "One row a file that a complete listing ever named; rows are never deleted.",
    (
        *_FILE_PLACE,
        *_FILE_ROLE,
        Column(
            "bytes",
            "f.bytes",
            "Size in bytes; an estimate unless bytes_exact; null where no listing showed one.",
        ),
        Column("bytes_exact", "f.bytes_exact", "1 if the size is exact, 0 if the listing rounded it."),
        Column(
            "modified_at",
            _iso("f.modified_at"),
            "Modification time as listed; the server's zone is unknown, so it may be hours off.",
        ),
        Column("modified_unit_s", _UNIT, "Grain of modified_at, seconds: 1, 60 or 86400."),
        Column(
            "first_seen_at",
            _iso("(SELECT l.completed_at FROM listing l WHERE l.listing_id = f.first_listing)"),
            "When a complete listing first named the file.",
        ),
        Column("last_seen_at", _iso(_LAST_SEEN), "When a complete listing last named the file."),
        Column(
            "gone_at",
            _iso(_GONE),
            "When a second complete listing in a row lacked the file; null while listed.",
        ),
        Column("https_url", _url("https_url"), "Address over HTTPS, percent-encoded byte for byte."),
        Column("ftp_url", _url("ftp_url"), "Address over FTP, percent-encoded byte for byte."),
        Column(
            "globus_url",
            _url("globus_url"),
            "globus://COLLECTION/PATH in the archive's Globus collection, percent-encoded.",
        ),
    ),
    _FILE,
)

_MICROGRAPHS = View(
    "micrographs",
    "The files that are micrographs or movies, with what the image set states and what the file's header says.",
    (
        *_FILE_PLACE,
        Column("bytes", "f.bytes", "Size in bytes."),
        Column(
            "imageset_position", "s.position", "The most specific image set whose directory holds the file."
        ),
        Column("imageset_name", "s.name", "Name of that image set."),
        *_same(
            "s",
            ("category", "Category of the image set."),
            ("data_format", "Format the image set states."),
            ("voxel_type", "Number type the image set states."),
            ("frames_per_image", "Frames the image set states."),
            ("image_width", "Pixels the image set states."),
            ("image_height", "Pixels the image set states."),
            ("pixel_width_angstrom", "Å a pixel the image set states."),
            ("pixel_height_angstrom", "Å a pixel the image set states."),
        ),
        Column("header_format", "i.format", "Format found in the file; null before it is here."),
        Column("header_width", "i.width", "Pixels, from the file's header."),
        Column("header_height", "i.height", "Pixels, from the file's header."),
        Column("header_frames", "i.frames", "Frames, from the file's header."),
        Column("header_mode", "i.mode", "Number type, from the file's header."),
        Column("header_pixel_size_angstrom", "i.pixel_size_angstrom", "Å a pixel, from the file's header."),
        Column("problems", "i.problems", "Findings on the file, a JSON list; null when sound or not here."),
        Column("state", words_of("c.state", STATE_CODES), "State of our copy; null if it is not wanted."),
        Column("gone_at", _iso(_GONE), "When EMPIAR ceased to list the file; null while listed."),
        Column("local_path", _LOCAL_PATH, "Where our copy stands, as a stored text; null if it is not here."),
        *_FILE_ROLE,
    ),
    f"{_FILE}\nLEFT JOIN imageset s ON s.empiar_id = d.empiar_id AND s.position = d.imageset\n"
    "LEFT JOIN image i ON i.file_id = f.file_id\nLEFT JOIN copy c ON c.file_id = f.file_id\n"
    "WHERE f.role IN (0, 1)",
)

_COPIES = View(
    "copies",
    "One row a file that is or was wanted here, with the state of our copy.",
    (
        Column("file_id", "c.file_id", "The file's number."),
        Column("empiar_id", "c.empiar_id", "The entry's number."),
        Column("path", _path(), "Below the entry, as a stored text."),
        Column(
            "state",
            words_of("c.state", STATE_CODES),
            "wanted, claimed, partial, arrived, parked, quarantined, damaged or withdrawn.",
        ),
        Column("channel", "c.channel", "How the bytes came, or last came: https, ftp, globus."),
        Column("bytes", "c.bytes", "Size of our copy once it is here; as listed before."),
        Column("bytes_here", "c.bytes_here", "Bytes that are here and proven."),
        Column("sha256", "lower(hex(c.sha256))", "SHA-256 of the bytes at their last arrival; null before."),
        Column("arrived_at", _iso("c.arrived_at"), "When the copy became durable at its path."),
        Column("verified_at", _iso("c.verified_at"), "When its bytes were last proven."),
        Column("attempts", "c.attempts", "Attempts so far."),
        Column("error", "c.error", "What went wrong last; null when all is well."),
        Column("local_path", _LOCAL_PATH, "Where the copy stands, as a stored text; null if it is not here."),
        Column("priority", "c.priority", "Higher comes first."),
        Column("wanted_at", _iso("c.wanted_at"), "When it was first asked for."),
        Column(
            "not_before",
            _iso("nullif(c.not_before, 0)"),
            "When the next attempt may begin; null means at any time.",
        ),
    ),
    "FROM copy c JOIN file f ON f.file_id = c.file_id JOIN directory d ON d.directory_id = f.directory_id",
)

_TRANSFERS = View(
    "transfers",
    "One row an attempt at a file.",
    (
        Column("file_id", "t.file_id", "The file's number."),
        Column("channel", "t.channel", "https, ftp or globus."),
        Column("started_at", _iso_ms("t.started_at"), "When it began, to the millisecond."),
        Column("ended_at", _iso_ms("t.ended_at"), "When it ended, to the millisecond."),
        Column("start_offset", "t.start_offset", "First byte asked for."),
        Column("bytes_moved", "t.bytes_moved", "Bytes received."),
        Column("outcome", "t.outcome", "done, failed, stalled, changed, damaged or stopped."),
        Column("error", "t.error", "What went wrong; null otherwise."),
    ),
    "FROM attempt t",
)

_IMAGES = View(
    "images",
    "What the headers of the files here say.",
    _same(
        "i",
        ("file_id", "The file's number."),
        (
            "format",
            "Format found: mrc, tiff, eer, dm4; of an image in a compressed file with the compressor's suffix, mrc.gz; of other compressed content the compressor alone, gzip.",
        ),
        ("width", "Pixels."),
        ("height", "Pixels."),
        ("frames", "Frames or sections."),
        ("mode", "Number type of a pixel."),
        (
            "pixel_size_angstrom",
            "Å a pixel, as the header states it; null where it states none that makes sense.",
        ),
        ("problems", "Findings, a JSON list of codes; null when sound."),
        (
            "extended_header",
            "Type of the MRC file's extended header: FEI1, SERI, …, or untyped; null without one.",
        ),
    ),
    "FROM image i",
)

_PROBES = View(
    "probes",
    "What the first bytes of one file say of its family (files of a folder whose names differ in digits only), before any is fetched.",
    (
        Column("empiar_id", "p.empiar_id", "The entry's number."),
        Column("family", "p.family", "Folder and name that the files share, every number written 0."),
        Column("family_files", "p.family_files", "Files of the family."),
        Column("family_bytes", "p.family_bytes", "Their bytes, as listed."),
        Column("role", _ROLE, "What the files are for."),
        Column("file_id", "p.file_id", "Number of the file that was looked at."),
        Column("path", _path(), "Its path below the entry."),
        *_same(
            "p",
            ("format", "Format found, as in images; null where it is no known image."),
            ("width", "Pixels."),
            ("height", "Pixels."),
            ("frames", "Frames or sections; null where the first bytes do not tell."),
            ("mode", "Number type of a pixel."),
            ("pixel_size_angstrom", "Å a pixel, as the header states it."),
            ("extended_header", "Type of the MRC file's extended header."),
            ("problems", "Findings, a JSON list of codes; null without."),
            ("bytes_read", "Bytes that the probe cost; 0 where the file was here."),
        ),
        Column("probed_at", _iso("p.probed_at"), "When it was looked at."),
    ),
    "FROM probe p JOIN file f ON f.file_id = p.file_id JOIN directory d ON d.directory_id = f.directory_id",
)

_FILES_IN: Final = "ifnull(sum(p.files) FILTER (WHERE p.state IN ({})), 0)"
_BYTES_IN: Final = "ifnull(sum(p.bytes) FILTER (WHERE p.state IN ({})), 0)"
_ENTRY_STATE: Final = f"""CASE
        WHEN ifnull(sum(p.files), 0) = 0 THEN '{EntryState.LISTED}'
        WHEN sum(p.files) = {_FILES_IN.format(_HERE)} THEN '{EntryState.COMPLETE}'
        WHEN sum(p.files) = {_FILES_IN.format(_HERE + ", " + _FAILED)} THEN '{EntryState.INCOMPLETE}'
        WHEN {_FILES_IN.format(_HERE + ", " + _BEGUN)} > 0 THEN '{EntryState.TRANSFERRING}'
        ELSE '{EntryState.WANTED}' END"""

_ENTRY_PROGRESS = View(
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
            "listed (nothing wanted), wanted, transferring, complete (all wanted is here), incomplete (the rest failed).",
        ),
    ),
    "FROM entry e LEFT JOIN copy_progress p ON p.empiar_id = e.empiar_id AND p.files > 0 GROUP BY e.empiar_id",
)

_SUBSCRIPTIONS = View(
    "subscriptions",
    "Standing selections.",
    (
        *_same(
            "s",
            ("name", "Name of the subscription."),
            ("sql", "The query that selects; it returns empiar_id or file_id."),
            ("view", "Layout it is arranged in; null means the default."),
            ("priority", "Higher comes first."),
            ("budget_bytes", "Bytes it may cost; null means no limit."),
            ("paused", "1 if it rests."),
        ),
        Column("created_at", _iso("s.created_at"), "When it was made."),
        *_same(
            "s",
            ("entry_count", "Entries selected when it last ran."),
            ("file_count", "Files selected when it last ran."),
            ("channel", "Channel its files must use; null means as configured."),
            ("new_only", "1 if it selects only what came after it."),
        ),
    ),
    "FROM subscription s",
)

_CHANGES = View(
    "changes",
    "What changed in the archive, as noticed by this mirror. A new entry's files are one row: path null, field files, new their count.",
    (
        Column("changed_at", _iso("c.changed_at"), "When the change was noticed."),
        Column("empiar_id", "c.empiar_id", "The entry's number."),
        Column(
            "path",
            f"CASE WHEN c.file_id IS NOT NULL THEN {_path()} END",
            "The file; null for the entry itself.",
        ),
        Column("kind", "c.kind", "added, changed, removed, returned or withdrawn."),
        Column("field", "c.field", "What changed: title, bytes, imagesets[0].details; null for the whole."),
        Column("old", "c.old", "Value before."),
        Column("new", "c.new", "Value after."),
        Column("file_id", "c.file_id", "The file's number; null for the entry itself."),
    ),
    "FROM change c LEFT JOIN file f ON f.file_id = c.file_id LEFT JOIN directory d ON d.directory_id = f.directory_id",
)

_CONTRADICTIONS = View(
    "contradictions",
    "Where two sources disagree, or one says something impossible.",
    (
        *_same(
            "c",
            ("empiar_id", "The entry's number; null if it concerns none."),
            ("path", "The file; null if it concerns the entry."),
            ("what", "The fact in question."),
            ("stated", "What is stated."),
            ("found", "What was found."),
            ("source", "Who stated it."),
        ),
        Column("first_seen_at", _iso("c.first_seen_at"), "When it was first noticed."),
        Column("last_seen_at", _iso("c.last_seen_at"), "When it was last noticed."),
    ),
    "FROM contradiction c",
)

_LISTINGS = View(
    "listings",
    "Every complete file listing, and how it compared with the one before.",
    (
        Column("listing_id", "l.listing_id", "Number of the listing."),
        Column("empiar_id", "l.empiar_id", "The entry's number."),
        Column(
            "source",
            "(SELECT name FROM source s WHERE s.source_id = l.source_id)",
            "Where it came from: ftp, https.",
        ),
        Column("started_at", _iso("l.started_at"), "When reading began."),
        Column("completed_at", _iso("l.completed_at"), "When it was complete."),
        *_same(
            "l",
            ("file_count", "Files named."),
            ("byte_count", "Bytes of those files, as listed."),
            ("added", "Files not known before."),
            ("changed", "Files of another size or time."),
            ("missing", "Files lacking for the first time."),
            ("gone", "Files lacking for the second time, thus gone."),
            ("returned", "Files that were missing or gone and are back."),
        ),
    ),
    "FROM listing l",
)

_UNKNOWN_KEYS = View(
    "unknown_keys",
    "Keys in the archive's metadata that this version does not know; their values are kept.",
    (
        Column("key_path", "k.key_path", "Path of the key: imagesets[].tilt_step."),
        Column("entry_count", "count(*)", "Entries that have it."),
        Column("times", "sum(k.times)", "How often it occurs."),
        Column("example", "min(k.empiar_id)", "An entry that has it."),
    ),
    "FROM unknown_key k GROUP BY k.key_path",
)

_JOB_FILE: Final = f"(SELECT {_path()} FROM file f JOIN directory d ON d.directory_id = f.directory_id WHERE f.file_id = j.file_id)"
_UNDER_ROOT: Final = "(SELECT root FROM archive_address) || '/'"

_JOBS = View(
    "jobs",
    "One row a job: the work of one maker (a built-in one, or a configured hook) on one file, or on a whole entry.",
    (
        *_same("j", ("job_id", "The job's number."), ("empiar_id", "The entry's number.")),
        Column("maker", "j.maker", "Who does it: the name of a hook, or jpeg, frame_average, …"),
        Column("file_id", "j.file_id", "The file that is worked on; null where the whole entry is."),
        Column("path", _JOB_FILE, "That file below the entry, as a stored text."),
        Column(
            "state",
            words_of("j.state", JOB_STATE_CODES),
            "wanted, running, made, failed (tried again by itself) or parked.",
        ),
        Column("attempts", "j.attempts", "Attempts that failed since it was last wanted."),
        Column("error", "j.error", "What went wrong last; null when all is well."),
        Column("command", "j.command", "The command of the last attempt; null for a built-in maker."),
        Column("version", "j.version", "What the program said of its version, or the product's own version."),
        Column("wanted_at", _iso("j.wanted_at"), "When it was last asked for, or its recipe last changed."),
        Column("started_at", _iso_ms("j.started_at"), "When the last attempt began."),
        Column("ended_at", _iso_ms("j.ended_at"), "When the last attempt ended."),
        Column(
            "not_before",
            _iso("nullif(j.not_before, 0)"),
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

_DERIVED = View(
    "derived",
    "One row a file that was made here of deposited ones, with its origin.",
    (
        *_same("p", ("product_id", "The product's number."), ("empiar_id", "The entry's number.")),
        Column("path", "p.path", "Below derived/<empiar_id>, as a stored text."),
        *_same(
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
            f" 'archive/' || p.empiar_id || '/' || (SELECT {_path()} FROM file f JOIN directory d"
            " ON d.directory_id = f.directory_id WHERE f.file_id = i.file_id)) AS path"
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
        Column("made_at", _iso("p.made_at"), "When it was recorded."),
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


_LABEL_SETS = View(
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
        Column("made_at", _iso("p.made_at"), "When it was recorded."),
    ),
    "FROM product p JOIN job j ON j.job_id = p.job_id WHERE p.kind = 'label_report'",
)

_DESCRIPTIONS = View(
    "descriptions",
    "What every view and column means.",
    _same(
        "d",
        ("view", "Name of the view."),
        ("column", "Name of the column; null for the view itself."),
        ("position", "Order of the column in the view, from 1; 0 for the view itself."),
        ("description", "What it means."),
    ),
    "FROM description d",
)

#: All views, in the order in which documentation shows them.
VIEWS: Final = (
    _ENTRIES, _IMAGESETS, _CROSS_REFERENCES, _AUTHORS, _CITATIONS, _GRANTS, _FILES, _MICROGRAPHS, _COPIES,
    _TRANSFERS, _IMAGES, _PROBES, _ENTRY_PROGRESS, _SUBSCRIPTIONS, _CHANGES, _CONTRADICTIONS, _LISTINGS,
    _JOBS, _DERIVED, _LABEL_SETS, _UNKNOWN_KEYS, _DESCRIPTIONS,
)  # fmt: skip

#: The full-text table is used by its own name, so that MATCH works: its columns and their sentences.
FULL_TEXT: Final = (
    "entries_fts",
    "Full-text search: SELECT empiar_id FROM entries_fts WHERE entries_fts MATCH 'apoferritin'.",
    (
        ("title", "Title."),
        ("details", "Details of the image sets and citations."),
        ("authors", "Authors and investigators."),
        ("imagesets", "Names, categories and formats of the image sets."),
        ("citations", "Titles, journals and DOIs of the citations, and cross-references."),
        ("empiar_id", "The entry's number."),
    ),
)

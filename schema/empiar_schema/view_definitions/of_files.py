"""Views of files: what is listed, what is here, how it came, and what headers say."""

# ruff: noqa: S608
# SQL is put together from this package's own constants; values are always bound.

from __future__ import annotations

from typing import Final

from empiar_schema.codes import ROLE_CODES, ROLE_REASON_CODES, STATE_CODES, UNITS_S, state_list, words_of
from empiar_schema.states import CopyState
from empiar_schema.view_definitions.columns import Column, View, iso, iso_ms, path_by_id, path_of, same

_ON_DISK: Final = state_list((CopyState.ARRIVED, CopyState.WITHDRAWN, CopyState.DAMAGED))


def _last(text: str) -> str:
    """What follows the last dot of `text`; all of it if there is none."""
    return f"substr({text}, length(rtrim({text}, replace({text}, '.', ''))) + 1)"


def suffix_sql(name: str) -> str:
    """`empiar_schema.paths.suffix_of` in SQL (letters outside ASCII keep their case).

    Nearly every suffix is a dot and three or four letters, which one GLOB tells; taking names apart costs ten times that.
    """
    return (
        f"CASE WHEN {name} GLOB '?*.[^.][^.][^.]' AND lower(substr({name}, -4)) NOT IN ('.bz2', '.zst')"
        f" THEN lower(substr({name}, -4))"
        f" WHEN {name} GLOB '?*.[^.][^.][^.][^.]' THEN lower(substr({name}, -5))"
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


def url_below(base: str) -> str:
    """The file's address below `base`, percent-encoded byte for byte."""
    return (
        f"{base} || '/' || d.empiar_id || '/'"
        " || CASE d.path WHEN '' THEN '' ELSE ifnull(d.url_path, d.path) || '/' END"
        " || ifnull((SELECT url_name FROM file_url u WHERE u.file_id = f.file_id), f.name)"
    )


#: The path that is configured, unless the archive's tree was found under another one in the same collection.
_GLOBUS_BASE: Final = (
    "ifnull((SELECT rtrim('globus://' || b.collection || '/' || trim(b.path, '/'), '/')"
    " FROM archive_address a JOIN globus_base b"
    " ON substr(a.globus_url || '/', 1, length(b.collection) + 10) = 'globus://' || b.collection || '/'),"
    " (SELECT globus_url FROM archive_address))"
)

_LOCAL_PATH: Final = (
    f"CASE WHEN c.state IN ({_ON_DISK}) THEN (SELECT root FROM archive_address)"
    f" || '/archive/' || d.empiar_id || '/' || {path_of()} END"
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
        path_of(),
        "Below the entry, as a stored text: bytes that are not UTF-8, control characters and ambiguous percent signs are written %XX.",
    ),
    Column(
        "directory", "d.path", "The path's folder, without slashes at the ends; empty for the entry's own."
    ),
    Column("name", "f.name", "The last component of the path."),
    Column(
        "suffix",
        suffix_sql("f.name"),
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

FILES: Final = View(
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
            iso("f.modified_at"),
            "Modification time as listed; the server's zone is unknown, so it may be hours off.",
        ),
        Column("modified_unit_s", _UNIT, "Grain of modified_at, seconds: 1, 60 or 86400."),
        Column(
            "first_seen_at",
            iso("(SELECT l.completed_at FROM listing l WHERE l.listing_id = f.first_listing)"),
            "When a complete listing first named the file.",
        ),
        Column("last_seen_at", iso(_LAST_SEEN), "When a complete listing last named the file."),
        Column(
            "gone_at",
            iso(_GONE),
            "When a second complete listing in a row lacked the file; null while listed.",
        ),
        Column(
            "https_url",
            url_below("(SELECT https_url FROM archive_address)"),
            "Address over HTTPS, percent-encoded byte for byte.",
        ),
        Column(
            "ftp_url",
            url_below("(SELECT ftp_url FROM archive_address)"),
            "Address over FTP, percent-encoded byte for byte.",
        ),
        Column(
            "globus_url",
            url_below(_GLOBUS_BASE),
            "globus://COLLECTION/PATH in the archive's Globus collection, percent-encoded.",
        ),
    ),
    _FILE,
)

MICROGRAPHS: Final = View(
    "micrographs",
    "The files that are micrographs or movies, with what the image set states and what the file's header says.",
    (
        *_FILE_PLACE,
        Column("bytes", "f.bytes", "Size in bytes."),
        Column(
            "imageset_position", "s.position", "The most specific image set whose directory holds the file."
        ),
        Column("imageset_name", "s.name", "Name of that image set."),
        *same(
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
        Column("gone_at", iso(_GONE), "When EMPIAR ceased to list the file; null while listed."),
        Column("local_path", _LOCAL_PATH, "Where our copy stands, as a stored text; null if it is not here."),
        *_FILE_ROLE,
    ),
    f"{_FILE}\nLEFT JOIN imageset s ON s.empiar_id = d.empiar_id AND s.position = d.imageset\n"
    "LEFT JOIN image i ON i.file_id = f.file_id\nLEFT JOIN copy c ON c.file_id = f.file_id\n"
    "WHERE f.role IN (0, 1)",
)

COPIES: Final = View(
    "copies",
    "One row a file that is or was wanted here, with the state of our copy.",
    (
        Column("file_id", "c.file_id", "The file's number."),
        Column("empiar_id", "c.empiar_id", "The entry's number."),
        Column("path", path_of(), "Below the entry, as a stored text."),
        Column(
            "state",
            words_of("c.state", STATE_CODES),
            "wanted, claimed, partial, arrived, parked, quarantined, damaged, withdrawn, unverified (transferred by Globus to storage that is not visible here), or evicted (removed to make room).",
        ),
        Column("channel", "c.channel", "How the bytes came, or last came: https, ftp, globus."),
        Column("bytes", "c.bytes", "Size of our copy once it is here; as listed before."),
        Column("bytes_here", "c.bytes_here", "Bytes that are here and proven."),
        Column("sha256", "lower(hex(c.sha256))", "SHA-256 of the bytes at their last arrival; null before."),
        Column("arrived_at", iso("c.arrived_at"), "When the copy became durable at its path."),
        Column("verified_at", iso("c.verified_at"), "When its bytes were last proven."),
        Column("attempts", "c.attempts", "Attempts so far."),
        Column("error", "c.error", "What went wrong last; null when all is well."),
        Column("local_path", _LOCAL_PATH, "Where the copy stands, as a stored text; null if it is not here."),
        Column(
            "priority",
            "(SELECT q.priority FROM queue q WHERE q.queue_id = c.queue_id)",
            "The highest of all who want it; higher comes first.",
        ),
        Column("wanted_at", iso("c.wanted_at"), "When it was first asked for."),
        Column(
            "not_before",
            iso("nullif(c.not_before, 0)"),
            "When the next attempt may begin; null means at any time.",
        ),
        # Word for word the condition of the index copy_notable, which SQLite then uses.
        Column(
            "unusual",
            "c.state >= 4",
            "1 if the copy is withdrawn, parked, quarantined, damaged, unverified or evicted; WHERE unusual finds these few at once.",
        ),
    ),
    "FROM copy c JOIN file f ON f.file_id = c.file_id JOIN directory d ON d.directory_id = f.directory_id",
)

CHECKSUMS: Final = View(
    "checksums",
    "One row a file that ever arrived, with the SHA-256 of its bytes. EMPIAR publishes none.",
    (
        Column("file_id", "c.file_id", "The file's number."),
        Column("empiar_id", "c.empiar_id", "The entry's number."),
        # Looked up for the rows that are shown: finding equal files then reads one table.
        Column("path", path_by_id("c.file_id"), "Below the entry, as a stored text."),
        Column("bytes", "c.bytes", "Size in bytes."),
        Column("sha256", "lower(hex(c.sha256))", "SHA-256 of the bytes at their last arrival."),
        Column(
            "sha256_bytes",
            "c.sha256",
            "The same as its 32 bytes: comparing and grouping millions of them is quicker.",
        ),
        Column("arrived_at", iso("c.arrived_at"), "When the copy became durable at its path."),
    ),
    "FROM copy c WHERE c.sha256 IS NOT NULL",
)

TRANSFERS: Final = View(
    "transfers",
    "One row an attempt at a file.",
    (
        Column("file_id", "t.file_id", "The file's number."),
        Column("channel", "t.channel", "https, ftp or globus."),
        Column("started_at", iso_ms("t.started_at"), "When it began, to the millisecond."),
        Column("ended_at", iso_ms("t.ended_at"), "When it ended, to the millisecond."),
        Column("start_offset", "t.start_offset", "First byte asked for."),
        Column("bytes_moved", "t.bytes_moved", "Bytes received."),
        Column("outcome", "t.outcome", "done, failed, stalled, changed, damaged or stopped."),
        Column("error", "t.error", "What went wrong; null otherwise."),
        # An index knows this one: times as text have to be made of every row first.
        Column("ended_s", "t.ended_at", "When it ended, in seconds since 1970: quick for the latest."),
    ),
    "FROM attempt t",
)

IMAGES: Final = View(
    "images",
    "What the headers of the files here say.",
    same(
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

PROBES: Final = View(
    "probes",
    "What the first bytes of one file say of its family (files of a folder whose names differ in digits only), before any is fetched.",
    (
        Column("empiar_id", "p.empiar_id", "The entry's number."),
        Column("family", "p.family", "Folder and name that the files share, every number written 0."),
        Column("family_files", "p.family_files", "Files of the family."),
        Column("family_bytes", "p.family_bytes", "Their bytes, as listed."),
        Column("role", _ROLE, "What the files are for."),
        Column("file_id", "p.file_id", "Number of the file that was looked at."),
        Column("path", path_of(), "Its path below the entry."),
        *same(
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
        Column("probed_at", iso("p.probed_at"), "When it was looked at."),
    ),
    "FROM probe p JOIN file f ON f.file_id = p.file_id JOIN directory d ON d.directory_id = f.directory_id",
)

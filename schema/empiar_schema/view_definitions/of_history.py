"""Views of what the archive was like at a time, as this mirror knew it then: by a time, and all states one after the other.

A view cannot take a parameter, but SQLite's `json_each` has a hidden column for its argument: ``WHERE as_of = …`` on the view
becomes that argument, in any SQLite tool, and the rows are looked up for that one time.
"""

# ruff: noqa: S608
# SQL is put together from this package's own constants; values are always bound.

from __future__ import annotations

from typing import Final

from empiar_schema.codes import ROLE_CODES, words_of
from empiar_schema.history_store import ENTRY_FACTS
from empiar_schema.view_definitions.columns import Column, View, iso, path_of

#: The name by which a query's plan shows whether the time reached the view.
AT: Final = "as_of_time"
_THEN: Final = (
    f"CASE {AT}.type WHEN 'text' THEN CAST(strftime('%s', {AT}.atom) AS INTEGER) ELSE {AT}.atom END"
)
_AS_OF: Final = Column(
    "as_of",
    f"{AT}.json",
    "The time that is asked for: WHERE as_of = unixepoch('2026-03-01'). Without it there are no rows.",
)
_FIRST_SEEN: Final = "(SELECT l.completed_at FROM listing l WHERE l.listing_id = f.first_listing)"
_GONE_NOW: Final = (
    "EXISTS (SELECT 1 FROM file_absence a WHERE a.file_id = f.file_id AND a.gone_at IS NOT NULL)"
)
_ROLE: Final = Column(
    "role", words_of("ifnull(f.role, 11)", ROLE_CODES), "What the file is for, as it is judged today."
)
_NAME: Final = (
    Column("file_id", "f.file_id", "The file's number in this catalogue; stays when the file changes."),
    Column("empiar_id", "d.empiar_id", "The entry's number."),
    Column("path", path_of(), "Below the entry, as in files."),
    Column("directory", "d.path", "The path's folder; empty for the entry's own."),
    Column("name", "f.name", "The last component of the path."),
    _ROLE,
)
_BYTES: Final = "Size in bytes; an estimate unless bytes_exact; null where it was never shown. An estimate that was made exact while the file stood is exact."


def _past_at(table: str, key: str, of: str) -> str:
    """Joins the state that stood then and stands no more; nothing where it is the one that stands."""
    return (
        f"LEFT JOIN {table} p ON p.{key} = {of} AND p.until ="
        f" (SELECT min(until) FROM {table} q WHERE q.{key} = {of} AND q.until > {_THEN})"
    )


def _either(fact: str, now: str) -> str:
    return f"CASE WHEN p.until IS NULL THEN {now} ELSE p.{fact} END"


FILES_AS_OF: Final = View(
    "files_as_of",
    "The files of the archive at one time, as this mirror knew it then: one row a file that had been listed and was not gone. An entry that was not listed by then has no rows: its files of that time are not known.",
    (
        _AS_OF,
        *_NAME,
        Column("bytes", _either("bytes", "f.bytes"), _BYTES),
        Column("bytes_exact", _either("bytes_exact", "f.bytes_exact"), "1 if the size is exact."),
        Column(
            "modified_at",
            iso(_either("modified_at", "f.modified_at")),
            "Modification time as listed; the server's zone is unknown, so it may be hours off.",
        ),
        Column("first_seen_at", iso(_FIRST_SEEN), "When a complete listing first named the file."),
        Column(
            "changed_after",
            "p.until IS NOT NULL",
            "1 if the file has changed, gone or returned since that time.",
        ),
    ),
    f"FROM json_each AS {AT} CROSS JOIN file f JOIN directory d ON d.directory_id = f.directory_id\n"
    f"{_past_at('file_past', 'file_id', 'f.file_id')}\n"
    f"WHERE {_FIRST_SEEN} <= {_THEN} AND NOT {_either('gone', _GONE_NOW)}",
)

_VALID: Final = (
    "From when on this mirror knew it so.",
    "Until when, itself not included; null while it stands.",
)


def _valid_from(table: str, key: str, of: str, first: str, *, before: str = "") -> str:
    return f"ifnull((SELECT max(until) FROM {table} q WHERE q.{key} = {of}{before}), {first})"


_FILE_PAST_FROM: Final = _valid_from(
    "file_past", "file_id", "p.file_id", _FIRST_SEEN, before=" AND q.until < p.until"
)
_FILE_NOW_FROM: Final = _valid_from("file_past", "file_id", "f.file_id", _FIRST_SEEN)

FILES_HISTORY: Final = View(
    "files_history",
    "Every state of every file, one row each, with the time in which it stood; none for times in which the file was gone. At a time T: valid_from <= T AND (valid_to IS NULL OR valid_to > T).",
    (
        Column("valid_from", iso(_FILE_NOW_FROM), _VALID[0]),
        Column("valid_to", "NULL", _VALID[1]),
        *_NAME,
        Column("bytes", "f.bytes", _BYTES),
        Column("bytes_exact", "f.bytes_exact", "1 if the size is exact."),
        Column("modified_at", iso("f.modified_at"), "Modification time as listed."),
    ),
    f"FROM file f JOIN directory d ON d.directory_id = f.directory_id WHERE NOT {_GONE_NOW}",
    (
        (
            iso(_FILE_PAST_FROM),
            iso("p.until"),
            *(column.expression for column in _NAME),
            "p.bytes",
            "p.bytes_exact",
            iso("p.modified_at"),
        ),
        "FROM file f JOIN directory d ON d.directory_id = f.directory_id JOIN file_past p ON p.file_id = f.file_id WHERE NOT p.gone",
    ),
)

_ENTRY_TEXTS: Final = {
    "title": "Title.",
    "status": "REL released, OBS obsolete; others as the archive gives them.",
    "experiment_type": "EMDB, FIB-SEM, MicroED, …",
    "scale": "molecule, virus, cell, tissue or organism.",
    "deposition_date": "Day of deposition.",
    "release_date": "Day of release.",
    "update_date": "Day of the last change, as the entry stated it.",
    "obsolete_date": "Day on which the entry became obsolete; null otherwise.",
    "dataset_size": "Size as stated, 305.5 GB.",
    "dataset_bytes": "dataset_size in bytes, right to half a tenth of its unit.",
    "doi": "DOI of the entry.",
}
assert tuple(_ENTRY_TEXTS) == ENTRY_FACTS
_ENTRY_NAME: Final = (
    Column("empiar_id", "e.empiar_id", "The entry's number."),
    Column("accession", "'EMPIAR-' || e.empiar_id", "The entry's accession."),
)
_RECORD_TEXT: Final = (
    "The whole metadata as JSON, image sets and citations among it, in this mirror's form;"
    " null before it was read, and of states that had ended before the catalogue kept it."
)
_WITHDRAWN_TEXT: Final = "When it was confirmed that the archive serves no such entry; null while it did."
_LISTING: Final = (
    "(SELECT {} FROM listing l WHERE l.empiar_id = e.empiar_id AND l.completed_at <= "
    + _THEN
    + " ORDER BY l.completed_at DESC, l.listing_id DESC LIMIT 1)"
)


def _sum_then(what: str) -> str:
    """Over the entry's files as of then; null where it had not been listed. Listings of older versions did not keep it."""
    return (
        f"(SELECT CASE WHEN count(*) THEN {what} END FROM directory d"
        " CROSS JOIN file f ON f.directory_id = d.directory_id"
        " JOIN listing l ON l.listing_id = f.first_listing"
        f" LEFT JOIN file_past s ON s.file_id = f.file_id AND s.until = (SELECT min(until) FROM file_past q"
        f"  WHERE q.file_id = f.file_id AND q.until > {_THEN})"
        f" WHERE d.empiar_id = e.empiar_id AND l.completed_at <= {_THEN}"
        f" AND NOT CASE WHEN s.until IS NULL THEN {_GONE_NOW} ELSE s.gone END)"
    )


ENTRIES_AS_OF: Final = View(
    "entries_as_of",
    "The entries of the archive at one time, as this mirror knew it then: one row an entry that it had heard of. What it had not heard of by then is not known.",
    (
        _AS_OF,
        *_ENTRY_NAME,
        *(Column(fact, _either(fact, f"e.{fact}"), text) for fact, text in _ENTRY_TEXTS.items()),
        Column(
            "imageset_count",
            f"json_array_length({_either('record', 'e.record')}, '$.imagesets')",
            "Image sets of the entry; null where record is.",
        ),
        Column(
            "file_count",
            f"ifnull({_LISTING.format('l.known_files')}, {_sum_then('count(*)')})",
            "Files listed and not gone; null where no listing had been made, so that they are not known.",
        ),
        Column(
            "file_bytes",
            f"ifnull({_LISTING.format('l.known_bytes')},"
            f" {_sum_then('ifnull(sum(CASE WHEN s.until IS NULL THEN f.bytes ELSE s.bytes END), 0)')})",
            "Bytes of those files, as far as their sizes were known.",
        ),
        Column(
            "listed_at",
            iso(_LISTING.format("l.completed_at")),
            "When the last complete file listing had ended; null where there was none.",
        ),
        Column("discovered_at", iso("e.discovered_at"), "When this mirror first heard of the entry."),
        Column("withdrawn_at", iso(_either("withdrawn_at", "e.withdrawn_at")), _WITHDRAWN_TEXT),
        Column("changed_after", "p.until IS NOT NULL", "1 if the entry has changed since that time."),
        Column("record", _either("record", "e.record"), _RECORD_TEXT),
    ),
    f"FROM json_each AS {AT} CROSS JOIN entry e\n"
    f"{_past_at('entry_past', 'empiar_id', 'e.empiar_id')}\n"
    f"WHERE e.discovered_at <= {_THEN}",
)

ENTRIES_HISTORY: Final = View(
    "entries_history",
    "Every state of every entry's metadata, one row each, with the time in which it stood. At a time T: valid_from <= T AND (valid_to IS NULL OR valid_to > T).",
    (
        Column(
            "valid_from",
            iso(_valid_from("entry_past", "empiar_id", "e.empiar_id", "e.discovered_at")),
            _VALID[0],
        ),
        Column("valid_to", "NULL", _VALID[1]),
        *_ENTRY_NAME,
        *(Column(fact, f"e.{fact}", text) for fact, text in _ENTRY_TEXTS.items()),
        Column("withdrawn_at", iso("e.withdrawn_at"), _WITHDRAWN_TEXT),
        Column("record", "e.record", _RECORD_TEXT),
    ),
    "FROM entry e",
    (
        (
            iso(
                _valid_from(
                    "entry_past",
                    "empiar_id",
                    "p.empiar_id",
                    "e.discovered_at",
                    before=" AND q.until < p.until",
                )
            ),
            iso("p.until"),
            *(column.expression for column in _ENTRY_NAME),
            *(f"p.{fact}" for fact in _ENTRY_TEXTS),
            iso("p.withdrawn_at"),
            "p.record",
        ),
        "FROM entry e JOIN entry_past p ON p.empiar_id = e.empiar_id",
    ),
)

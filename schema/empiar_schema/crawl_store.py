"""What the crawler writes. Each function runs inside a writer job and is idempotent."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_schema.codes import ROLE_CODES, UNITS_S
from empiar_schema.differences import Json, differences
from empiar_schema.entry import Entry, ImageSet, Person, unknown_keys
from empiar_schema.enumeration import EnumeratedEntry
from empiar_schema.faults import BadAnswer
from empiar_schema.files import ListedFile
from empiar_schema.history_store import ENTRY_FACTS, keep_entry
from empiar_schema.listing_store import (
    ListingDiff,
    add_to_listing,
    assign_imagesets,
    begin_listing,
    complete_listing,
    drop_listing,
    known_exact_sizes,
)
from empiar_schema.states import Role

__all__ = [
    "CachedAnswer",
    "EnumeratedEntry",
    "EnumerationResult",
    "ListingDiff",
    "add_to_listing",
    "begin_listing",
    "cached_answer",
    "clear_contradictions",
    "complete_listing",
    "directories_of",
    "drop_listing",
    "due_entries",
    "entry_of",
    "files_of_directory",
    "imagesets_of",
    "known_exact_sizes",
    "last_harvest",
    "record_contradiction",
    "record_entry",
    "record_entry_absent",
    "record_enumeration",
    "record_harvest",
    "record_inspected",
    "record_roles",
    "remember_answer",
]

#: Time between the first look at an absent entry and the one that counts as the second, seconds.
SECOND_LOOK_S: Final = 3600
#: What was read later than now by more than this was read under a wrong clock.
CLOCK_SLACK_S: Final = 3600


@dataclass(frozen=True, slots=True)
class EnumerationResult:
    """How an enumeration compares with the catalogue."""

    new: tuple[int, ...]
    changed: tuple[int, ...]
    #: Known entries that a complete enumeration did not name. Recorded as looked-for-and-missing, never deleted.
    missing: tuple[int, ...]


# --- enumeration --------------------------------------------------------------------------------------------


def record_enumeration(
    conn: sqlite3.Connection, entries: Iterable[EnumeratedEntry], *, source: str, complete: bool, now: int
) -> EnumerationResult:
    """Every named entry has a row; entries that are new, or whose `update_date` moved on, are due for a crawl.

    `complete` means the source claims to have named all entries (a full walk, not "changed since"); only then are known entries that it lacks
    counted as missing. A complete enumeration that names none, or fewer than half of what is known, is
    recorded as a contradiction and marks nothing missing.
    """
    named = {entry.empiar_id: entry for entry in entries}
    known = {
        row[0]: (max(filter(None, row[1:3]), default=None), row[3])
        for row in conn.execute(
            "SELECT empiar_id, update_date, announced_update_date, unlisted_since IS NOT NULL"
            " OR withdrawn_at IS NOT NULL FROM entry"
        )
    }
    new, changed = [], []
    for empiar_id in sorted(named):
        entry = named[empiar_id]
        if empiar_id not in known:
            new.append(empiar_id)
        else:
            latest, was_away = known[empiar_id]
            moved = entry.update_date is not None and latest is not None and entry.update_date > latest
            if moved or was_away:
                changed.append(empiar_id)
    _record_named(conn, named, set(changed), now=now)
    missing: tuple[int, ...] = ()
    if complete:
        missing = tuple(sorted(known.keys() - named.keys()))
        if not named or len(known.keys() & named.keys()) * 2 < len(known):
            record_contradiction(
                conn, None, None, what="enumeration", stated=f"{len(named)} entries in all",
                found=f"{len(known)} entries known, {len(missing)} of them not named", source=source, now=now,
            )  # fmt: skip
            missing = ()
    conn.executemany(
        "UPDATE entry SET unlisted_since = ? WHERE empiar_id = ? AND unlisted_since IS NULL",
        [(now, empiar_id) for empiar_id in missing],
    )
    return EnumerationResult(tuple(new), tuple(changed), missing)


def _record_named(
    conn: sqlite3.Connection, named: dict[int, EnumeratedEntry], changed: set[int], *, now: int
) -> None:
    conn.executemany(
        "INSERT INTO entry (empiar_id, title, status, announced_update_date, discovered_at)"
        " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET unlisted_since = NULL,"
        " title = ifnull(title, ?2), status = ifnull(status, ?3),"
        " announced_update_date = nullif(max(ifnull(announced_update_date, ''), ifnull(?4, '')), '')",
        [(e.empiar_id, e.title, e.status, e.update_date, now) for e in named.values()],
    )
    conn.executemany(
        "UPDATE entry SET moved_at = ? WHERE empiar_id = ?", [(now, empiar_id) for empiar_id in changed]
    )


def due_entries(
    conn: sqlite3.Connection, *, now: int, interval_s: float, relist_s: float | None = None
) -> list[int]:
    """Entries whose metadata is missing, older than their last known change, or as old as `interval_s`, oldest first.

    The same of listings, which an obsolete entry may lack and for which `relist_s` counts (None: `interval_s`).

    An entry that the archive did not serve is looked for again after an hour, then every `interval_s`. What was read later than now, by
    more than clocks may differ, was read under a wrong clock and would stay fresh for ever: it is due.
    """
    rows = conn.execute(
        "SELECT e.empiar_id FROM entry e LEFT JOIN listing l ON l.listing_id = e.current_listing"
        " WHERE CASE WHEN e.absent_since IS NOT NULL"
        "  THEN e.absent_at <= ?1 - CASE WHEN e.withdrawn_at IS NULL THEN min(?2, ?3) ELSE ?2 END"
        "   OR e.moved_at > e.absent_at OR e.absent_at > ?1 + ?5"
        "  ELSE e.crawled_at IS NULL OR (l.started_at IS NULL AND e.status IS NOT 'OBS')"
        "   OR e.inspected_listing IS NOT e.current_listing"
        "   OR e.moved_at > min(e.crawled_at, l.started_at)"
        "   OR e.crawled_at <= ?1 - ?2 OR l.completed_at <= ?1 - ?4 OR max(e.crawled_at, l.started_at) > ?1 + ?5 END"
        " ORDER BY min(ifnull(e.crawled_at, -1), ifnull(l.completed_at, -1)), e.empiar_id",
        (now, interval_s, SECOND_LOOK_S, interval_s if relist_s is None else relist_s, CLOCK_SLACK_S),
    )
    return [empiar_id for (empiar_id,) in (tuple(row) for row in rows)]


# --- metadata -----------------------------------------------------------------------------------------------

_IMAGESET_FIELDS: Final = (
    "position", "name", "directory", "category", "header_format", "data_format", "voxel_type", "image_count",
    "frames_per_image", "frame_range_min", "frame_range_max", "image_width", "image_height",
    "pixel_width_angstrom", "pixel_height_angstrom", "details", "micrographs_file_pattern",
    "picked_particles_file_pattern", "picked_particles_directory",
)  # fmt: skip
_CITATION_FIELDS: Final = (
    "title", "volume", "issue", "first_page", "last_page", "year", "doi", "pubmed_id", "published",
    "preprint", "details",
)  # fmt: skip
#: Remarks on how the answer was read, not on the entry.
_NOT_FACTS: Final = {"oddities"}


def record_entry(conn: sqlite3.Connection, entry: Entry, *, source: str, now: int) -> bool:
    """The entry's metadata stands in the catalogue; returns whether anything changed.

    Every changed field of a known entry becomes a row of `changes` (kind ``changed``, field, old, new); a new
    entry one row of kind ``added``. Unknown keys are kept with the entry and counted.

    Raises:
        BadAnswer: a number is beyond 64 bits, or a text is no Unicode (lone surrogates).
    """
    try:
        return _record_entry(conn, entry, entry.model_dump_json(), source=source, now=now)
    except (OverflowError, ValueError) as error:
        raise BadAnswer(
            f"the metadata of entry {entry.empiar_id} holds an impossible value: {error}"
        ) from error


def _record_entry(conn: sqlite3.Connection, entry: Entry, record: str, *, source: str, now: int) -> bool:
    row = conn.execute(
        "SELECT record, withdrawn_at FROM entry WHERE empiar_id = ?", (entry.empiar_id,)
    ).fetchone()
    known, withdrawn_at = row or (None, None)
    if withdrawn_at is not None or record != known:
        keep_entry(conn, entry.empiar_id, now=now)
    if withdrawn_at is not None:
        _record_change(conn, entry.empiar_id, "returned", now=now)
    conn.execute(
        "INSERT INTO entry (empiar_id, discovered_at, crawled_at, record_source) VALUES (?1, ?2, ?2, ?3)"
        " ON CONFLICT DO UPDATE SET crawled_at = ?2, record_source = ?3, absent_since = NULL, absent_at = NULL,"
        " absent_reason = NULL, withdrawn_at = NULL",
        (entry.empiar_id, now, source),
    )
    if record == known:
        return withdrawn_at is not None
    changed = True
    if known is None:
        _record_change(conn, entry.empiar_id, "added", now=now)
    else:
        found = list(differences(_facts(known), _facts(record)))
        changed = bool(found) or withdrawn_at is not None
        for field, old, new in found:
            _record_change(conn, entry.empiar_id, "changed", field=field, old=old, new=new, now=now)
    _store_entry(conn, entry, record)
    return changed


def _facts(record: str) -> dict[str, Json]:
    return {key: value for key, value in json.loads(record).items() if key not in _NOT_FACTS}


def _record_change(
    conn: sqlite3.Connection,
    empiar_id: int,
    kind: str,
    *,
    now: int,
    field: str | None = None,
    old: str | None = None,
    new: str | None = None,
) -> None:
    conn.execute(
        "INSERT INTO change (changed_at, empiar_id, kind, field, old, new) VALUES (?, ?, ?, ?, ?, ?)",
        (now, empiar_id, kind, field, old, new),
    )


def _store_entry(conn: sqlite3.Connection, entry: Entry, record: str) -> None:
    empiar_id = entry.empiar_id
    conn.execute(
        f"UPDATE entry SET record = ?, {', '.join(f'{f} = ?' for f in ENTRY_FACTS)} WHERE empiar_id = ?",
        (record, *(getattr(entry, f) for f in ENTRY_FACTS), empiar_id),
    )
    for table in ("imageset", "cross_reference", "author", "citation", "funding", "unknown_key"):
        conn.execute(f"DELETE FROM {table} WHERE empiar_id = ?", (empiar_id,))
    _insert(conn, "imageset", [
        (empiar_id, *(getattr(s, f) for f in _IMAGESET_FIELDS), len(s.segmentations)) for s in entry.imagesets
    ])  # fmt: skip
    _insert(conn, "cross_reference", [(empiar_id, x.kind, x.accession) for x in entry.cross_references])
    _insert(conn, "author", [(empiar_id, n, a.name, a.orcid) for n, a in enumerate(entry.authors)])
    _insert(conn, "citation", [
        (empiar_id, n, "; ".join(a.name for a in c.authors if a.name) or None, c.title, c.journal or c.journal_abbreviation,
         *(getattr(c, f) for f in _CITATION_FIELDS[1:]))
        for n, c in enumerate(entry.citations)
    ])  # fmt: skip
    _insert(conn, "funding", [
        (empiar_id, n, g.funding_body, g.code, g.country) for n, g in enumerate(entry.grants)
    ])  # fmt: skip
    _insert(conn, "unknown_key", [(empiar_id, path, times) for path, times in unknown_keys(entry).items()])
    _store_full_text(conn, entry)
    assign_imagesets(conn, empiar_id)


def _insert(conn: sqlite3.Connection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        places = ", ".join("?" * len(rows[0]))
        conn.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({places})", rows)


def _store_full_text(conn: sqlite3.Connection, entry: Entry) -> None:
    sets, citations = entry.imagesets, entry.citations
    people = [p for p in (entry.corresponding_author, *entry.principal_investigators) if p is not None]
    texts = (
        entry.title,
        # Depositors repeat the same text in every image set.
        _joined(dict.fromkeys([s.details for s in sets] + [c.details for c in citations])),
        _joined([a.name for a in entry.authors] + [_full_name(p) for p in people]),
        _joined(
            dict.fromkeys(
                text
                for s in sets
                for text in (s.name, s.category, s.header_format, s.data_format, s.directory)
            )
        ),
        _joined(
            [text for c in citations for text in (c.title, c.journal, c.doi, c.pubmed_id)]
            + [x.accession for x in entry.cross_references]
        ),
    )
    conn.execute("DELETE FROM entries_fts WHERE rowid = ?", (entry.empiar_id,))
    conn.execute(
        "INSERT INTO entries_fts (rowid, title, details, authors, imagesets, citations, empiar_id)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?1)",
        (entry.empiar_id, *texts),
    )


def _joined(texts: Iterable[str | None]) -> str:
    return "\n".join(text for text in texts if text)


def _full_name(person: Person) -> str:
    return person.name or " ".join(filter(None, (person.first_name, person.middle_name, person.last_name)))


def entry_of(conn: sqlite3.Connection, empiar_id: int) -> Entry | None:
    """The entry as last recorded; None before its metadata was read."""
    row = conn.execute("SELECT record FROM entry WHERE empiar_id = ?", (empiar_id,)).fetchone()
    return None if row is None or row[0] is None else Entry.model_validate_json(row[0])


def imagesets_of(conn: sqlite3.Connection, empiar_id: int) -> list[ImageSet]:
    """The entry's image sets, by position; none before its metadata was read."""
    entry = entry_of(conn, empiar_id)
    return [] if entry is None else list(entry.imagesets)


def record_entry_absent(conn: sqlite3.Connection, empiar_id: int, *, reason: str, now: int) -> None:
    """The archive answered that there is no such entry. A second look, at least an hour later, records a change of kind ``withdrawn``; files and copies stay."""
    since, withdrawn_at = conn.execute(
        "INSERT INTO entry (empiar_id, discovered_at, absent_since, absent_at, absent_reason)"
        " VALUES (?1, ?2, ?2, ?2, ?3) ON CONFLICT DO UPDATE SET"
        " absent_since = ifnull(absent_since, ?2), absent_at = ?2, absent_reason = ?3"
        " RETURNING absent_since, withdrawn_at",
        (empiar_id, now, reason),
    ).fetchone()
    if withdrawn_at is None and now - since >= SECOND_LOOK_S:
        keep_entry(conn, empiar_id, now=now)
        conn.execute("UPDATE entry SET withdrawn_at = ? WHERE empiar_id = ?", (now, empiar_id))
        _record_change(conn, empiar_id, "withdrawn", new=reason, now=now)


# --- files --------------------------------------------------------------------------------------------------


def directories_of(conn: sqlite3.Connection, empiar_id: int) -> list[tuple[int, str, int]]:
    """Number, path and count of files not gone of every directory of the entry, by path."""
    rows = conn.execute(
        "SELECT d.directory_id, d.path, (SELECT count(*) FROM file f WHERE f.directory_id = d.directory_id)"
        " - (SELECT count(*) FROM file_absence a JOIN file f ON f.file_id = a.file_id"
        "    WHERE a.empiar_id = ?1 AND a.gone_at IS NOT NULL AND f.directory_id = d.directory_id)"
        " FROM directory d WHERE d.empiar_id = ?1 ORDER BY d.path",
        (empiar_id,),
    )
    return [(number, path, count) for number, path, count in rows]


def files_of_directory(
    conn: sqlite3.Connection, directory_id: int, after_file_id: int = 0, limit: int = 100_000
) -> list[tuple[int, ListedFile]]:
    """Up to `limit` files of the directory that are not gone, by number, from after `after_file_id` on."""
    rows = conn.execute(
        "SELECT f.file_id, f.name, f.bytes, f.bytes_exact, f.modified_at, f.modified_unit"
        " FROM file f LEFT JOIN file_absence a ON a.file_id = f.file_id"
        " WHERE f.directory_id = ? AND f.file_id > ? AND a.gone_at IS NULL ORDER BY f.file_id LIMIT ?",
        (directory_id, after_file_id, limit),
    )
    return [
        (file_id, ListedFile(name, size, bool(exact), modified_at, UNITS_S[unit]))
        for file_id, name, size, exact, modified_at, unit in rows
    ]


def record_roles(conn: sqlite3.Connection, rows: Sequence[tuple[int, Role, float]]) -> None:
    """These files have these roles by no rule, with this confidence from 0 to 1; a role that stands already costs no write. Judged ones: `role_store`."""
    coded = [(ROLE_CODES[role], round(confidence * 100), file_id) for file_id, role, confidence in rows]
    conn.executemany(
        "UPDATE file SET role = ?1, role_percent = ?2, role_reason = NULL WHERE file_id = ?3"
        " AND (role IS NOT ?1 OR role_percent IS NOT ?2 OR role_reason IS NOT NULL)",
        coded,
    )


def record_inspected(conn: sqlite3.Connection, empiar_id: int) -> None:
    """The entry's current listing has been judged: every file has a role. Until then the entry is due."""
    conn.execute("UPDATE entry SET inspected_listing = current_listing WHERE empiar_id = ?", (empiar_id,))


# --- contradictions -----------------------------------------------------------------------------------------


def record_contradiction(
    conn: sqlite3.Connection,
    empiar_id: int | None,
    path: str | None,
    *,
    what: str,
    stated: str | None,
    found: str | None,
    source: str,
    now: int,
) -> None:
    """Two sources disagree (or one says something impossible); known contradictions are updated, not repeated."""
    conn.execute(
        "INSERT INTO contradiction (empiar_id, path, what, stated, found, source, first_seen_at, last_seen_at)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)"
        " ON CONFLICT (ifnull(empiar_id, 0), ifnull(path, ''), what, source)"
        " DO UPDATE SET stated = ?4, found = ?5, last_seen_at = ?7",
        (empiar_id, path, what, stated, found, source, now),
    )


def clear_contradictions(conn: sqlite3.Connection, empiar_id: int, *, what: Sequence[str]) -> None:
    """Contradictions of these kinds no longer hold for the entry."""
    conn.executemany(
        "DELETE FROM contradiction WHERE ifnull(empiar_id, 0) = ? AND what = ?",
        [(empiar_id, w) for w in what],
    )


# --- what was asked before ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """Validators of an answer, for conditional requests."""

    etag: str | None
    last_modified: str | None


def cached_answer(conn: sqlite3.Connection, url: str) -> CachedAnswer | None:
    """What to send as If-None-Match / If-Modified-Since for `url`."""
    row = conn.execute("SELECT etag, last_modified FROM cached_answer WHERE url = ?", (url,)).fetchone()
    return None if row is None else CachedAnswer(*row)


def remember_answer(conn: sqlite3.Connection, url: str, answer: CachedAnswer, *, now: int) -> None:
    """Validators of the answer whose content was recorded; an answer without any is forgotten."""
    if answer.etag is None and answer.last_modified is None:
        conn.execute("DELETE FROM cached_answer WHERE url = ?", (url,))
        return
    conn.execute(
        "INSERT OR REPLACE INTO cached_answer VALUES (?, ?, ?, ?)",
        (url, answer.etag, answer.last_modified, now),
    )


def last_harvest(conn: sqlite3.Connection, source: str) -> str | None:
    """The day (``YYYY-MM-DD``) up to which `source` was harvested, or None."""
    row = conn.execute("SELECT day FROM harvest WHERE source = ?", (source,)).fetchone()
    return None if row is None else str(row[0])


def record_harvest(conn: sqlite3.Connection, source: str, *, day: str, now: int) -> None:
    """`source` was harvested completely up to `day`."""
    conn.execute("INSERT OR REPLACE INTO harvest VALUES (?, ?, ?)", (source, day, now))

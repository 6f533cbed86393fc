"""What the pages of one entry, its folders and its files say."""

# ruff: noqa: S608
# SQL is put together from our own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Final

from empiar_mirror.documents.subject import Subject, doi_url, one_line, orcid_url, pubmed_url
from empiar_schema.entry import Author, Entry

#: Rows of a list that may be long.
_ROWS: Final = 50
PICTURES: Final = 24
FILES: Final = 200


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One entry."""

    entry: sqlite3.Row
    progress: sqlite3.Row
    imagesets: tuple[sqlite3.Row, ...]
    authors: tuple[tuple[str, str | None], ...]
    citations: tuple[tuple[str, str | None, str | None], ...]
    grants: tuple[sqlite3.Row, ...]
    references: tuple[sqlite3.Row, ...]
    contradictions: tuple[sqlite3.Row, ...]
    history: tuple[sqlite3.Row, ...]
    #: Files and bytes by suffix, the largest first.
    suffixes: tuple[sqlite3.Row, ...]
    #: Why its files that failed are not here, the first of them.
    stuck: tuple[sqlite3.Row, ...]
    label_sets: tuple[sqlite3.Row, ...]
    #: What EMDB says of the maps that it names, the best map first.
    maps: tuple[sqlite3.Row, ...]
    doi: str | None
    cite: str


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of an entry."""

    path: str
    #: Folders in it: name, files and bytes in all of each.
    folders: tuple[tuple[str, int, int], ...]
    files: tuple[sqlite3.Row, ...]
    #: Files directly in it, and the pages that they fill.
    file_count: int
    page: int
    pages: int

    @property
    def above(self) -> tuple[tuple[str, str], ...]:
        """The folders on the way, this one included: name and path."""
        parts = self.path.split("/") if self.path else []
        return tuple((part, "/".join(parts[: n + 1])) for n, part in enumerate(parts))


#: The condition is that of the index contradiction_once.
_CONTRADICTIONS: Final = "SELECT path, what, stated, found, source FROM contradiction WHERE ifnull(empiar_id, 0) = :entry ORDER BY what, path LIMIT :rows"
#: The latest are found by number first: an entry can have as many changes as files.
_HISTORY: Final = (
    "SELECT c.changed_at, c.kind, c.field, c.old, c.new, c.file_id,"
    " (SELECT trim(d.path || '/' || f.name, '/') FROM file f JOIN directory d ON d.directory_id = f.directory_id"
    " WHERE f.file_id = c.file_id) AS path FROM change c WHERE c.change_id IN"
    " (SELECT change_id FROM change WHERE empiar_id = :entry ORDER BY change_id DESC LIMIT :rows) ORDER BY c.change_id DESC"
)
#: A map that EMDB was not asked for yet, or does not serve, has no facts.
_MAPS: Final = (
    "SELECT x.accession, m.* FROM cross_reference x LEFT JOIN emdb_entries m ON m.emdb_id = x.accession"
    " WHERE x.empiar_id = :entry AND x.kind = 'EMDB'"
    " ORDER BY m.status IS NULL, m.status = 'OBS', m.resolution_angstrom IS NULL, m.resolution_angstrom, x.accession LIMIT :rows"
)


def read_entry(connection: sqlite3.Connection, empiar_id: int) -> EntryPage | None:
    """The entry; None if the catalogue has none of this number."""
    entry = connection.execute("SELECT * FROM entries WHERE empiar_id = ?", (empiar_id,)).fetchone()
    if entry is None:
        return None

    def rows(sql: str) -> tuple[sqlite3.Row, ...]:
        return tuple(connection.execute(sql, {"entry": empiar_id, "rows": _ROWS}))

    authors = rows("SELECT * FROM authors WHERE empiar_id = :entry ORDER BY position LIMIT 500")
    known = Entry(
        empiar_id=empiar_id,
        title=entry["title"],
        status=entry["status"],
        release_date=entry["release_date"],
        doi=entry["doi"],
        authors=tuple(Author(name=row["name"], orcid=row["orcid"]) for row in authors),
    )
    subject = Subject(empiar_id, "", known, entry["discovered_at"], "")
    return EntryPage(
        entry=entry,
        progress=connection.execute(
            "SELECT * FROM entry_progress WHERE empiar_id = ?", (empiar_id,)
        ).fetchone(),
        imagesets=rows("SELECT * FROM imagesets WHERE empiar_id = :entry ORDER BY position LIMIT 200"),
        authors=tuple((one_line(row["name"]) or "", orcid_url(row["orcid"])) for row in authors),
        citations=tuple(
            (_citation(row), doi_url(row["doi"]), pubmed_url(row["pubmed_id"]))
            for row in rows("SELECT * FROM citations WHERE empiar_id = :entry ORDER BY position LIMIT :rows")
        ),
        grants=rows("SELECT * FROM grants WHERE empiar_id = :entry ORDER BY position LIMIT :rows"),
        references=rows(
            "SELECT * FROM cross_references WHERE empiar_id = :entry ORDER BY kind, accession LIMIT 200"
        ),
        contradictions=rows(_CONTRADICTIONS),
        history=rows(_HISTORY),
        suffixes=rows(
            "SELECT suffix, files, bytes FROM web_suffix WHERE empiar_id = :entry ORDER BY bytes DESC LIMIT 12"
        ),
        # The condition is that of the partial index copy_notable.
        stuck=rows(
            "SELECT * FROM copies WHERE file_id IN (SELECT file_id FROM copy WHERE empiar_id = :entry AND state >= 4"
            " AND state IN (5, 6, 7) LIMIT 20)"
        ),
        maps=rows(_MAPS),
        label_sets=rows("SELECT * FROM label_sets WHERE empiar_id = :entry ORDER BY maker LIMIT 10"),
        doi=doi_url(entry["doi"]),
        cite=subject.reference,
    )


def _citation(row: sqlite3.Row) -> str:
    place = " ".join(filter(None, (row["journal"], row["volume"])))
    pages = "–".join(filter(None, (row["first_page"], row["last_page"])))
    parts = (
        row["authors"],
        row["year"] and f"({row['year']})",
        row["title"],
        ", ".join(filter(None, (place, pages))),
    )
    return one_line(". ".join(str(part).rstrip(".") for part in parts if part)) or "untitled"


def read_pictures(
    connection: sqlite3.Connection, empiar_id: int, *, page: int = 1, rows: int = PICTURES
) -> tuple[int, tuple[sqlite3.Row, ...]]:
    """How many thumbnails the entry has, and this page of them."""
    summed = connection.execute("SELECT pictures FROM web_entry WHERE empiar_id = ?", (empiar_id,)).fetchone()
    found = connection.execute(
        "SELECT product_id, stem, parent_file_id, json_extract(details, '$.picks') AS picks,"
        " json_extract(details, '$.width') AS width, json_extract(details, '$.height') AS height FROM product"
        " WHERE empiar_id = ? AND kind = 'thumbnail' ORDER BY path LIMIT ? OFFSET ?",
        (empiar_id, rows, (page - 1) * rows),
    )
    return (summed[0] if summed else 0), tuple(found)


def read_folder(connection: sqlite3.Connection, empiar_id: int, path: str, *, page: int = 1) -> Folder | None:
    """One folder of the entry's listing, with a page of its files; None if the listing has no such folder."""
    prefix = f"{path}/" if path else ""
    # What is below begins with the prefix: "0" follows "/" in the order of characters, so that the index finds it.
    below = connection.execute(
        "SELECT d.path, ifnull(w.files, 0) AS files, ifnull(w.bytes, 0) AS bytes, d.directory_id, w.first, w.last FROM directory d"
        " LEFT JOIN web_folder w ON w.directory_id = d.directory_id"
        " WHERE d.empiar_id = :entry AND (d.path = :path OR d.path >= :prefix AND (:path = '' OR d.path < :end))",
        {"entry": empiar_id, "path": path, "prefix": prefix, "end": f"{path}0"},
    ).fetchall()
    if not below:
        return None
    folders: dict[str, tuple[int, int]] = {}
    own: sqlite3.Row | None = None
    own_files = 0
    for row in below:
        if row["path"] == path:
            own, own_files = row, row["files"]
            continue
        name = row["path"][len(prefix) :].partition("/")[0]
        files, size = folders.get(name, (0, 0))
        folders[name] = (files + row["files"], size + row["bytes"])
    listed: tuple[sqlite3.Row, ...] = ()
    if own is not None:
        listed = tuple(
            connection.execute(
                # Not the view `copies`: SQLite would make all of it first, because it is a join itself.
                "SELECT f.file_id, f.name, f.bytes, f.bytes_exact, f.role, f.gone_at, c.state"
                f" FROM files f LEFT JOIN copy c ON c.file_id = f.file_id WHERE f.file_id IN ({_numbers(own)}) ORDER BY f.file_id",
                {
                    "folder": own["directory_id"],
                    "first": own["first"],
                    "last": own["last"],
                    "rows": FILES,
                    "skipped": (page - 1) * FILES,
                },
            )
        )
    pages = max(1, -(-own_files // FILES))
    return Folder(
        path, tuple((n, *sums) for n, sums in sorted(folders.items())), listed, own_files, page, pages
    )


def _numbers(folder: sqlite3.Row) -> str:
    """SQL for the numbers of a page of the folder's files, in order. The index finds them in no order, and would have all of them sorted."""
    lie_together = folder["files"] and folder["last"] - folder["first"] < 2 * folder["files"]
    found = (
        "+directory_id = :folder AND file_id BETWEEN :first AND :last"
        if lie_together
        else "directory_id = :folder"
    )
    return f"SELECT file_id FROM file WHERE {found} ORDER BY file_id LIMIT :rows OFFSET :skipped"


@dataclass(frozen=True, slots=True)
class FilePage:
    """One file: what is listed, what is here, what its header says, what was made of it."""

    file: sqlite3.Row
    copy: sqlite3.Row | None
    image: sqlite3.Row | None
    problems: tuple[str, ...]
    attempts: tuple[sqlite3.Row, ...]
    products: tuple[sqlite3.Row, ...]
    contradictions: tuple[sqlite3.Row, ...]


def read_file(connection: sqlite3.Connection, file_id: int) -> FilePage | None:
    """The file; None if the catalogue has none of this number."""

    def one(sql: str) -> sqlite3.Row | None:
        found: sqlite3.Row | None = connection.execute(sql, (file_id,)).fetchone()
        return found

    file = one("SELECT * FROM files WHERE file_id = ?")
    if file is None:
        return None
    image = one("SELECT * FROM images WHERE file_id = ?")
    said = json.loads(image["problems"]) if image is not None and image["problems"] else []
    products = connection.execute(
        "SELECT * FROM derived WHERE product_id IN (SELECT product_id FROM product WHERE job_id IN"
        " (SELECT job_id FROM job WHERE file_id = ?)) ORDER BY kind = 'thumbnail' DESC, kind, path LIMIT 50",
        (file_id,),
    )
    attempts = connection.execute(
        "SELECT * FROM transfers WHERE file_id = ? ORDER BY started_at DESC LIMIT 20", (file_id,)
    )
    contradictions = connection.execute(
        "SELECT path, what, stated, found, source FROM contradiction WHERE ifnull(empiar_id, 0) = ? AND ifnull(path, '') = ? LIMIT 20",
        (file["empiar_id"], file["path"]),
    )
    return FilePage(
        file=file,
        copy=one("SELECT * FROM copies WHERE file_id = ?"),
        image=image,
        problems=tuple(str(code) for code in said),
        attempts=tuple(attempts),
        products=tuple(products),
        contradictions=tuple(contradictions),
    )


def read_matches(
    connection: sqlite3.Connection, name: str, *, page: int = 1
) -> tuple[sqlite3.Row, int, tuple[sqlite3.Row, ...]] | None:
    """A subscription, how many matches it has, and this page of them; None if there is no such subscription."""
    subscription = connection.execute("SELECT * FROM subscriptions WHERE name = ?", (name,)).fetchone()
    if subscription is None:
        return None
    count = connection.execute(
        "SELECT count(*) FROM subscription_matches WHERE name = ?", (name,)
    ).fetchone()[0]
    rows = connection.execute(
        "SELECT m.*, w.title, w.state FROM subscription_matches m LEFT JOIN web_entry w ON w.empiar_id = m.empiar_id"
        " WHERE m.name = ? ORDER BY m.gone_at IS NOT NULL, m.empiar_id, m.file_id LIMIT ? OFFSET ?",
        (name, FILES, (page - 1) * FILES),
    )
    return subscription, count, tuple(rows)

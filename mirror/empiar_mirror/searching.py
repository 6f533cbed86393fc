"""Finding entries by words: the full-text table, ranked, with the passage in which they stand."""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from empiar_mirror.search_words import Accession, Question, question

#: Marks around found words, until somebody knows how to show them; no text of the catalogue holds them.
BEGIN: Final = "\x02"
END: Final = "\x03"
#: What a word is worth in: title, details, authors, image sets, citations. The number is not searched.
_WEIGHTS: Final = "10.0, 1.0, 3.0, 5.0, 1.5, 0.0"
_SNIPPET_WORDS: Final = 16

_FACTS: Final = (
    "e.empiar_id, e.accession, e.title, e.release_date, e.dataset_size, e.dataset_bytes, e.experiment_type, e.status,"
    " (SELECT p.state FROM entry_progress p WHERE p.empiar_id = e.empiar_id)"
)
# The best are found first: passages and facts are made for those that are shown alone.
_BY_WORDS: Final = (
    f"WITH best AS MATERIALIZED (SELECT rowid AS id, bm25(entries_fts, {_WEIGHTS}) AS score FROM entries_fts"  # noqa: S608 - our own constants
    " WHERE entries_fts MATCH :match ORDER BY score, rowid DESC LIMIT :limit)"
    f" SELECT {_FACTS}, -best.score,"
    f" (SELECT snippet(entries_fts, -1, '{BEGIN}', '{END}', '…', {_SNIPPET_WORDS}) FROM entries_fts"
    " WHERE entries_fts MATCH :match AND rowid = best.id)"
    " FROM best JOIN entries e ON e.empiar_id = best.id ORDER BY best.score, e.empiar_id DESC"
)
_BY_ID: Final = f"SELECT {_FACTS} FROM entries e WHERE e.empiar_id = ?"  # noqa: S608
_REFERRING: Final = (
    "SELECT empiar_id FROM cross_references WHERE accession IN (?1, upper(?1), lower(?1)) AND kind = ?2"
)
_DOI: Final = (
    "SELECT empiar_id FROM citations WHERE lower(doi) = ?1 UNION SELECT empiar_id FROM entries WHERE lower(doi) = ?1"
    " UNION SELECT empiar_id FROM cross_references WHERE kind = 'DOI' AND lower(accession) = ?1"
)


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was found. `found_by` is ``words`` or the accession that led to it; `passage` has BEGIN and END around what was found."""

    empiar_id: int
    accession: str
    title: str | None
    release_date: str | None
    dataset_size: str | None
    dataset_bytes: int | None
    experiment_type: str | None
    status: str | None
    state: str | None
    score: float | None
    passage: str
    found_by: str


@dataclass(frozen=True, slots=True)
class Found:
    """The best hits, and how many entries there are in all; `near` are words that exist, where nothing was found."""

    hits: tuple[Hit, ...]
    total: int
    near: tuple[str, ...] = ()
    #: There was nothing in the text to look for.
    no_word: bool = False


def search(connection: sqlite3.Connection, text: str, *, limit: int) -> Found:
    """The entries that `text` finds, the best first: those that an accession names, then those that hold the words. No text is an error."""
    asked = question(text)
    named = list(_named(connection, asked))
    seen = {hit.empiar_id for hit in named}
    if asked.match is None:
        return Found((), 0, no_word=True)
    (by_words,) = connection.execute(
        "SELECT count(*) FROM entries_fts WHERE entries_fts MATCH ?", (asked.match,)
    ).fetchone()
    rows = connection.execute(_BY_WORDS, {"match": asked.match, "limit": limit + len(seen)})
    hits = named + [Hit(*[*row, "words"]) for row in rows if row[0] not in seen]
    others = _not_by_words(connection, asked, seen)
    total = by_words + others
    near = () if hits else tuple(_near(connection, text))
    return Found(tuple(hits[:limit]), total, near)


def _named(connection: sqlite3.Connection, asked: Question) -> Iterator[Hit]:
    seen: set[int] = set()
    for accession in asked.accessions:
        for empiar_id in _ids_of(connection, accession):
            if empiar_id in seen:
                continue
            seen.add(empiar_id)
            name = accession.number if accession.kind != "EMPIAR" else f"EMPIAR-{accession.number}"
            for row in connection.execute(_BY_ID, (empiar_id,)):
                yield Hit(*[*row, None, "", name])


def _ids_of(connection: sqlite3.Connection, accession: Accession) -> list[int]:
    if accession.kind == "EMPIAR":
        return [int(accession.number)]
    if accession.kind == "DOI":
        rows = connection.execute(_DOI, (accession.number,))
    else:
        rows = connection.execute(_REFERRING, (accession.number, accession.kind))
    return sorted(row[0] for row in rows)


def _not_by_words(connection: sqlite3.Connection, asked: Question, named: set[int]) -> int:
    sql = "SELECT count(*) FROM entries_fts WHERE entries_fts MATCH ? AND rowid = ?"
    return sum(connection.execute(sql, (asked.match, number)).fetchone()[0] == 0 for number in named)


def _near(connection: sqlite3.Connection, text: str) -> Iterator[str]:
    """For each word that no title holds, the one of titles that is nearest."""
    titles = " ".join(
        row[0] for row in connection.execute("SELECT title FROM entries WHERE title IS NOT NULL")
    )
    known = dict.fromkeys(re.findall(r"[^\W_]{4,}", titles.lower()))
    for word in dict.fromkeys(re.findall(r"[^\W_]{4,}", text.lower())):
        if not any(other.startswith(word) for other in known):
            yield from difflib.get_close_matches(word, known, n=1, cutoff=0.75)

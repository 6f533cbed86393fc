"""Search over entries: words, facets, order, a page at a time."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_schema.paths import parse_empiar_id

PAGE: Final = 50
#: Facets by the name in the address: heading, and the condition that holds where one is chosen.
_FACETS: Final[Mapping[str, tuple[str, str]]] = {
    "state": ("Here", "w.state"),
    "type": ("Experiment", "w.experiment_type"),
    "scale": ("Scale", "w.scale"),
    "year": ("Released", "w.year"),
    "status": ("Status", "w.status"),
    "format": ("Data format", ""),
}
_ORDERS: Final[Mapping[str, tuple[str, str]]] = {
    "": ("best match, then newest", ""),
    "newest": ("newest release", "w.release_date DESC, w.empiar_id DESC"),
    "largest": ("largest", "ifnull(w.dataset_bytes, w.file_bytes) DESC, w.empiar_id"),
    "smallest": ("smallest", "ifnull(w.dataset_bytes, w.file_bytes), w.empiar_id"),
    "id": ("accession", "w.empiar_id"),
}
_MOST_WORDS: Final = 12
_FACET_VALUES: Final = 12
#: Stands in an address for entries that do not say.
NOT_STATED: Final = "-"


@dataclass(frozen=True, slots=True)
class Question:
    """What a visitor searches for."""

    words: str = ""
    facets: tuple[tuple[str, str], ...] = ()
    order: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Question:
        """The question that an address asks; what makes no sense in it is left out."""
        page = query.get("page", "")
        order = query.get("order", "")
        return cls(
            words=query.get("q", "").strip()[:300],
            facets=tuple((name, query[name][:200]) for name in _FACETS if query.get(name)),
            order=order if order in _ORDERS else "",
            page=min(int(page), 10_000) if re.fullmatch(r"[1-9][0-9]{0,4}", page) else 1,
        )

    def address(self, **changed: object) -> dict[str, object]:
        """The address's query with some of it changed; None takes a part away, and the page begins anew."""
        return {"q": self.words, **dict(self.facets), "order": self.order, **changed}


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value by which the result can be narrowed, or no longer."""

    value: str
    label: str
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """One way to narrow the result."""

    name: str
    heading: str
    values: tuple[FacetValue, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a result."""

    question: Question
    count: int
    bytes: int
    entries: tuple[sqlite3.Row, ...]
    facets: tuple[Facet, ...]
    orders: tuple[tuple[str, str], ...] = tuple((key, label) for key, (label, _) in _ORDERS.items())

    @property
    def pages(self) -> int:
        """How many pages the result has."""
        return max(1, -(-self.count // PAGE))


def match_of(words: str) -> str | None:
    """What full-text search is asked for these words: all of them, the last as a beginning; None without any.

    Whatever stands between letters and digits separates words, as in the index, so that no text is an error.
    """
    found = re.findall(r"\w+", words)[:_MOST_WORDS]
    return " ".join(f'"{word}"' for word in found) + "*" if found else None


def entry_meant(words: str) -> int | None:
    """The entry whose accession this is; None if it is none."""
    try:
        return parse_empiar_id(words)
    except ValueError:
        return None


def search(connection: sqlite3.Connection, question: Question) -> Found:
    """The entries that the question asks for, of a snapshot with its sums.

    Raises:
        sqlite3.OperationalError: the time is over.
    """
    source, parameters = "FROM web_entry w", list[str]()
    by_rank = ""
    if (match := match_of(question.words)) is not None:
        # The words are few and the entries some thousands: the index is asked once, and all facets look at what it found.
        hits = connection.execute(
            "SELECT empiar_id FROM entries_fts WHERE entries_fts MATCH ? ORDER BY rank, empiar_id DESC",
            (match,),
        )
        source += " JOIN json_each(?) h ON h.value = w.empiar_id"
        parameters.append(json.dumps([empiar_id for (empiar_id,) in hits]))
        by_rank = "h.key, "
    order = _ORDERS[question.order][1] or f"{by_rank}w.release_date DESC, w.empiar_id DESC"
    where, values = _where(question.facets)
    count, total = connection.execute(
        f"SELECT count(*), ifnull(sum(ifnull(w.dataset_bytes, w.file_bytes)), 0) {source}{where}",
        (*parameters, *values),
    ).fetchone()
    entries = connection.execute(
        f"SELECT w.* {source}{where} ORDER BY {order} LIMIT ? OFFSET ?",
        (*parameters, *values, PAGE, (question.page - 1) * PAGE),
    ).fetchall()
    facets = tuple(_facet(connection, question, name, source, parameters) for name in _FACETS)
    return Found(question, count, total, tuple(entries), tuple(facet for facet in facets if facet.values))


def _where(chosen: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    conditions, values = [], []
    for name, value in chosen:
        column = _FACETS[name][1]
        if name == "format":
            conditions.append(
                "EXISTS (SELECT 1 FROM web_format s WHERE s.empiar_id = w.empiar_id AND s.data_format = ?)"
            )
            values.append(value)
        elif value == NOT_STATED:
            conditions.append(f"{column} IS NULL")
        else:
            conditions.append(f"{column} = ?")
            values.append(value)
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _facet(
    connection: sqlite3.Connection, question: Question, name: str, source: str, parameters: Sequence[str]
) -> Facet:
    """The values of a facet among what the rest of the question finds."""
    heading, column = _FACETS[name]
    chosen = dict(question.facets).get(name)
    where, values = _where([other for other in question.facets if other[0] != name])
    if name == "format":
        source, column = f"{source} JOIN web_format s ON s.empiar_id = w.empiar_id", "s.data_format"
    rows = connection.execute(
        f"SELECT {column}, count(*) {source}{where} GROUP BY 1"
        f" ORDER BY {'1 DESC' if name == 'year' else '2 DESC, 1'}",
        (*parameters, *values),
    ).fetchall()
    found = [
        FacetValue(row[0] or NOT_STATED, row[0] or "not stated", row[1], (row[0] or NOT_STATED) == chosen)
        for row in rows
    ]
    shown = found[:_FACET_VALUES]
    shown += [value for value in found[_FACET_VALUES:] if value.chosen]
    return Facet(name, heading, tuple(shown) if len(found) > 1 or chosen else ())

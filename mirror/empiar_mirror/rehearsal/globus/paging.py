"""Query parameters that lists have in common: pages by offset and by marker, filters, order, fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Protocol

from aiohttp import web

from empiar_mirror.rehearsal.archive import Json
from empiar_mirror.rehearsal.globus.documents import Document, bad_request

#: What decides whether a document passes one filter clause.
Clause = Callable[[Document], bool]
_LARGEST_PAGE = 1000


class _Shown(Protocol):
    def document(self) -> Document: ...


def number(request: web.Request, name: str, default: int, *, most: int) -> int:
    """A whole number of the query.

    Raises:
        ServiceError: it is none, negative, or greater than `most`.
    """
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) > most:
        raise bad_request(f"{name} must be a number of at most {most}")
    return int(text)


def offset_page(request: web.Request, kind: str, rows: Sequence[Document], *, default: int = 10) -> Document:
    """The part of `rows` that the request asks for by offset and limit."""
    limit = number(request, "limit", default, most=_LARGEST_PAGE)
    offset = number(request, "offset", 0, most=10**9)
    page: list[Json] = list(rows[offset : offset + limit])
    return {
        "DATA_TYPE": kind,
        "DATA": page,
        "length": len(page),
        "limit": limit,
        "offset": offset,
        "total": len(rows),
    }


def marker_page(request: web.Request, kind: str, rows: Sequence[_Shown], page_size: int) -> Document:
    """The part of `rows` behind the request's marker, and the marker of what follows; None with the last part."""
    marker = number(request, "marker", 0, most=10**9)
    limit = number(request, "limit", page_size, most=_LARGEST_PAGE)
    page: list[Json] = [row.document() for row in rows[marker : marker + limit]]
    after = marker + len(page)
    return {
        "DATA_TYPE": kind,
        "DATA": page,
        "marker": marker,
        "next_marker": str(after) if after < len(rows) else None,
    }


def filtered(
    request: web.Request, rows: Sequence[Document], clauses: Mapping[str, Callable[[str], Clause]]
) -> list[Document]:
    """The rows that pass every clause of every filter of the request.

    Raises:
        ServiceError: there is no such clause.
    """
    wanted: list[Clause] = []
    for text in request.query.getall("filter", []):
        for clause in filter(None, text.split("/")):
            name, colon, value = clause.partition(":")
            if not colon or name not in clauses:
                raise bad_request(f"Invalid filter clause '{clause}'")
            wanted.append(clauses[name](value))
    return [row for row in rows if all(passes(row) for passes in wanted)]


def one_of(field: str) -> Callable[[str], Clause]:
    """A clause that takes documents whose `field` is one of several words."""

    def clause(value: str) -> Clause:
        words = value.split(",")
        return lambda row: row.get(field) in words

    return clause


def like(field: str) -> Callable[[str], Clause]:
    """A clause on text: ``a,b`` is one of, ``~a*`` a pattern, ``!`` in front the opposite."""

    def clause(value: str) -> Clause:
        parts = value.split(",")
        return lambda row: any(_is_like(str(row.get(field) or ""), part) for part in parts)

    return clause


def between(field: str) -> Callable[[str], Clause]:
    """A clause on a time: ``start,end``, either of which may be empty."""

    def clause(value: str) -> Clause:
        start, _, end = value.partition(",")
        low, high = _time(start), _time(end)

        def passes(row: Document) -> bool:
            when = _time(str(row.get(field) or ""))
            return when is not None and (low is None or when >= low) and (high is None or when < high)

        return passes

    return clause


def yes_or_no(field: str) -> Callable[[str], Clause]:
    """A clause on a flag: ``1`` or ``0``."""

    def clause(value: str) -> Clause:
        if value not in ("0", "1"):
            raise bad_request(f"{field} must be 0 or 1")
        return lambda row: bool(row.get(field)) is (value == "1")

    return clause


def ordered(
    request: web.Request, rows: list[Document], fields: Sequence[str], default: str
) -> list[Document]:
    """The rows in the order that the request asks for: fields, each with or without ``ASC`` or ``DESC``.

    Raises:
        ServiceError: it asks for another field.
    """
    for part in reversed(request.query.get("orderby", default).split(",")):
        name, _, direction = part.strip().partition(" ")
        if name not in fields or direction.upper() not in ("", "ASC", "DESC"):
            raise bad_request(f"Invalid orderby '{part}'")
        rows.sort(key=lambda row: str(row.get(name) or ""), reverse=direction.upper() == "DESC")
    return rows


def only_fields(request: web.Request, row: Document) -> Document:
    """The document with the fields that the request names, or all."""
    names = request.query.get("fields")
    if names is None:
        return row
    wanted = {"DATA_TYPE", *names.split(",")}
    return {name: value for name, value in row.items() if name in wanted}


def _is_like(text: str, part: str) -> bool:
    if part.startswith("!"):
        return not _is_like(text, part[1:])
    if part.startswith("~"):
        return fnmatchcase(text.lower(), part[1:].lower())
    return text == part.removeprefix("=")


def _time(text: str) -> float | None:
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_request("times must be in ISO 8601 format") from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()

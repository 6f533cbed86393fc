"""Answers of EMPIAR's REST API and of EMDB's search over EMPIAR → entries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pydantic import JsonValue

from empiar_crawler.parse.contacts import without_addresses
from empiar_crawler.parse.fields import Fields, Oddities
from empiar_crawler.parse.record import bare_doi, entry_from_record
from empiar_schema.entry import Entry, Oddity
from empiar_schema.enumeration import EnumeratedEntry
from empiar_schema.faults import BadAnswer
from empiar_schema.paths import parse_empiar_id
from empiar_schema.vocabulary import normal_status

#: Real answers are nested eight deep.
MAX_DEPTH: Final = 100
# Strings are passed over whole (an unclosed one to the end), so that brackets inside them do not count.
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """The entries of an answer, and what in it could not be tied to an entry."""

    entries: dict[int, Entry]
    oddities: tuple[Oddity, ...]


def parse_answer(body: bytes) -> dict[int, Entry]:
    """The entries of an answer to GET or POST ``entry/``, or of a page of a search, by id; absent entries are left out.

    Raises:
        BadAnswer: as `read_answer`.
    """
    return read_answer(body).entries


def read_answer(body: bytes) -> Answer:
    """The entries of an answer: an object keyed by accession, or an array of entries; ``{}`` and ``[]`` hold none.

    A record whose key is no accession is taken by the accession or DOI it states itself, and notes the wrong key.

    Raises:
        BadAnswer: no JSON, nested too deeply, an error message in place of entries, or records of which none
            names its entry.
    """
    entries: dict[int, Entry] = {}
    oddities = Oddities()
    for record in _records(parse_json(body), oddities):
        own = Oddities()
        if record.misnamed:
            own.note("", f"the archive's answer calls this entry {record.key[:60]!r}")
        entries[record.empiar_id] = entry_from_record(record.empiar_id, record.fields, own)
    return Answer(entries, oddities.all())


def parse_search_page(body: bytes) -> list[EnumeratedEntry]:
    """What a page of a search (or any answer) says of which entries exist; an empty list ends a walk.

    Raises:
        BadAnswer: as `read_answer`.
    """
    oddities = Oddities()
    found: dict[int, EnumeratedEntry] = {}
    for record in _records(parse_json(body), oddities):
        fields = Fields(record.fields, "", oddities)
        status = fields.text("status")
        found[record.empiar_id] = EnumeratedEntry(
            record.empiar_id,
            update_date=fields.day("update_date"),
            status=None if status is None else normal_status(status),
            title=fields.plain("title"),
        )
    return list(found.values())


def parse_json(body: bytes) -> JsonValue:
    """The JSON value of `body`. NaN and infinities are null; of keys that come twice the last counts.

    Raises:
        BadAnswer: not UTF-8, not JSON, or nested deeper than `MAX_DEPTH`.
    """
    _check_depth(body)
    try:
        value: JsonValue = json.loads(
            body.decode("utf-8-sig"),
            strict=False,
            parse_constant=lambda _: None,
            parse_float=_finite,
            parse_int=_short_integer,
        )
    except UnicodeDecodeError as error:
        raise BadAnswer(f"the answer is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"the answer is not JSON: {error}; it begins with {body[:60]!r}") from error
    return value


def _check_depth(body: bytes) -> None:
    depth = 0
    for match in _BRACKETS.finditer(body):
        if match.lastindex == 1:
            depth += 1
            if depth > MAX_DEPTH:
                raise BadAnswer(f"the answer is nested more than {MAX_DEPTH} deep")
        elif match.lastindex == 2:
            depth -= 1


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if abs(number) != float("inf") else None


def _short_integer(digits: str) -> int | str:
    # Python refuses to convert more than 4,300 digits; nothing here counts beyond 19.
    return int(digits) if len(digits) < 40 else digits


@dataclass(frozen=True, slots=True)
class _Record:
    empiar_id: int
    key: str
    misnamed: bool
    fields: dict[str, JsonValue]


def _records(answer: JsonValue, oddities: Oddities) -> Iterator[_Record]:
    """The records of an answer, each with its entry's id; what names no entry is noted, and refused if nothing else is there."""
    found = misfits = 0
    for key, value in _items(answer):
        if value is None or value == {}:
            continue
        empiar_id = _own_id(key, value)
        if empiar_id is None or not isinstance(value, dict):
            misfits += 1
            oddities.note("", f"a record called {key[:60]!r} names no entry of EMPIAR")
            continue
        found += 1
        yield _Record(empiar_id, key, bool(key) and _id_of(key) != empiar_id, value)
    if misfits and not found:
        raise BadAnswer(f"the archive's answer names no entry: {_summary(answer)}")


def _items(answer: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """Pairs of key and record, for objects keyed by accession and for arrays of either shape."""
    if isinstance(answer, list):
        for item in answer:
            if isinstance(item, dict) and item and all(_id_of(key) is not None for key in item):
                yield from item.items()
            else:
                yield "", item
    elif isinstance(answer, dict):
        if isinstance(answer.get("message"), str) and not isinstance(answer.get("code"), dict | list):
            raise BadAnswer(f"the archive answered with an error: {_summary(answer)}")
        yield from answer.items()
    else:
        raise BadAnswer("the archive's answer is neither an object nor an array")


def _own_id(key: str, value: JsonValue) -> int | None:
    """The entry's id by its key, else by what the record says of itself."""
    by_key = _id_of(key)
    if by_key is not None or not isinstance(value, dict):
        return by_key
    for own_key in ("id", "accession", "entry_doi"):
        stated = value.get(own_key)
        if isinstance(stated, str | int) and not isinstance(stated, bool):
            text = bare_doi(str(stated)) or ""
            by_value = _id_of(text.removeprefix("10.6019/"))
            if by_value is not None:
                return by_value
    return None


def _id_of(text: str) -> int | None:
    try:
        return parse_empiar_id(text)
    except ValueError:
        return None


def _summary(answer: JsonValue) -> str:
    """What the answer is, in few words and without its content, which may hold persons."""
    if isinstance(answer, list):
        return f"an array of {len(answer)}"
    if not isinstance(answer, dict):
        return "no object"
    message = answer.get("message")
    if isinstance(message, str):
        return without_addresses(f"{answer.get('code', '')} {message[:200]!r}".strip())
    return without_addresses(
        "an object with the keys " + ", ".join(repr(key[:40]) for key in islice(answer, 5))
    )

"""The documents of Globus Transfer, made into our own words. Pure; a field that lacks or is of a wrong kind is a `BadAnswer`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from empiar_schema.faults import BadAnswer
from empiar_wire.globus_facts import (
    Collection,
    Identity,
    Listed,
    Moved,
    Skipped,
    Task,
    TaskEvent,
    TaskStatus,
)
from empiar_wire.globus_faults import shown

#: Larger than any file; a number beyond it is nonsense, and would not fit the catalogue.
_LARGEST: Final = 2**63 - 1
_LONGEST_DETAILS: Final = 2000


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object of the service; `asked` says in faults what it answers, such as ``list /a of collection …``."""

    asked: str
    fields: Mapping[str, object]

    @classmethod
    def of(cls, asked: str, value: object) -> Document:
        """`value` as a document.

        Raises:
            BadAnswer: it is no JSON object.
        """
        if not isinstance(value, dict):
            raise _odd(asked, f"{type(value).__name__} in place of an object")
        return cls(asked, value)

    def text(self, key: str) -> str:
        """A text that must be there."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def text_or_none(self, key: str) -> str | None:
        """A text, or None where it lacks or is null."""
        return None if self.fields.get(key) is None else self.text(key)

    def number(self, key: str) -> int:
        """A count from 0; 0 where it lacks or is null."""
        value = self.fields.get(key)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
            raise self._wrong(key, "a count")
        return value

    def flag(self, key: str) -> bool:
        """A switch; off where it lacks or is null."""
        value = self.fields.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return bool(value)

    def time(self, key: str) -> float | None:
        """Epoch seconds; None where it lacks, is null or is empty. A time without a zone is UTC."""
        value = self.text_or_none(key)
        if not value:
            return None
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise self._wrong(key, "a time") from None

    def inner(self, key: str) -> Document | None:
        """An object inside; None where it lacks or is null."""
        value = self.fields.get(key)
        return None if value is None else Document.of(self.asked, value)

    def items(self) -> Iterator[Document]:
        """The documents of a list (``DATA``)."""
        data = self.fields.get("DATA")
        if not isinstance(data, list):
            raise self._wrong("DATA", "a list")
        for item in data:
            yield Document.of(self.asked, item)

    def marker(self) -> str | None:
        """What asks for the next page; None with the last."""
        value = self.fields.get("next_marker")
        if value is None or value == "":
            return None
        if isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
        raise self._wrong("next_marker", "a marker")

    def _wrong(self, key: str, wanted: str) -> BadAnswer:
        if key not in self.fields:
            return _odd(self.asked, f"{key}, {wanted}, is lacking")
        return _odd(self.asked, f"{key} is not {wanted}")


def _odd(asked: str, how: str) -> BadAnswer:
    return BadAnswer(f"Globus gave an odd answer when asked to {asked}: {how}")


def task_of(document: Document) -> Task:
    """A task document."""
    word = document.text("status")
    try:
        status = TaskStatus(word)
    except ValueError:
        raise _odd(document.asked, f"the status {word[:40]!r} is unknown") from None
    fatal = document.inner("fatal_error")
    return Task(
        task_id=document.text("task_id"),
        status=status,
        label=document.text_or_none("label") or "",
        nice_status=document.text_or_none("nice_status"),
        is_paused=document.flag("is_paused"),
        bytes_transferred=document.number("bytes_transferred"),
        files=document.number("files"),
        files_transferred=document.number("files_transferred"),
        files_skipped=document.number("files_skipped"),
        faults=document.number("faults"),
        fatal_code=fatal.text_or_none("code") if fatal else None,
        fatal_text=fatal.text_or_none("description") if fatal else None,
        submitted_at=document.time("request_time"),
        deadline_at=document.time("deadline"),
        ended_at=document.time("completion_time"),
        kind=document.text_or_none("type") or "TRANSFER",
    )


def listed_of(document: Document) -> Listed:
    """A file document, as `ls` and `stat` give it."""
    modified_at = document.time("last_modified")
    kind = document.text("type")
    if kind == "file" and document.fields.get("size") is None:
        raise _odd(document.asked, "a file lacks its size")
    return Listed(
        name=document.text("name"),
        kind=kind,
        size=document.number("size"),
        modified_at=None if modified_at is None else math.floor(modified_at),
        link_target=document.text_or_none("link_target"),
    )


def moved_of(document: Document) -> Moved:
    """A successful transfer."""
    return Moved(document.text("source_path"), document.text("destination_path"))


def skipped_of(document: Document) -> Skipped:
    """A path that was passed over."""
    return Skipped(
        source=document.text("source_path"),
        destination=document.text_or_none("destination_path"),
        code=document.text_or_none("error_code") or "",
        details=_details(document.fields.get("error_details")),
    )


def event_of(document: Document) -> TaskEvent:
    """One line of a task's history."""
    at = document.time("time")
    if at is None:
        raise _odd(document.asked, "an event lacks its time")
    details = document.fields.get("details")
    return TaskEvent(
        at=at,
        code=document.text("code"),
        is_error=document.flag("is_error"),
        details=_details(details) or (document.text_or_none("description") or ""),
    )


def collection_of(document: Document) -> Collection:
    """What is told of a collection, as text of one line each."""
    owner = document.text_or_none("owner_string")
    return Collection(
        collection_id=document.text("id"),
        display_name=shown(
            document.text_or_none("display_name")
            or document.text_or_none("canonical_name")
            or document.text("id")
        ),
        entity_type=shown(document.text_or_none("entity_type") or ""),
        owner=None if owner is None else shown(owner),
    )


def identity_of(document: Document) -> Identity:
    """Whose account it is, from the identity provider's claims, as text of one line each."""
    username = shown(document.text_or_none("preferred_username") or document.text("sub"))
    email = document.text_or_none("email")
    return Identity(
        username=username,
        name=shown(document.text_or_none("name") or "") or username,
        identity_id=shown(document.text("sub")),
        email=None if email is None else shown(email),
    )


def _details(value: object) -> str:
    """Details are text, or JSON in text, or JSON; always cut to 2,000 characters."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    return text[:_LONGEST_DETAILS]

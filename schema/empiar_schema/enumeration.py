"""What an enumeration of the archive gives; pure, so that parsers can make it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnumeratedEntry:
    """What an enumeration says of one entry: that it exists, and when it last changed, if it says so."""

    empiar_id: int
    update_date: str | None = None
    status: str | None = None
    title: str | None = None

"""What may leave the disk, and what never does: the tables ``[pin.NAME]`` and ``[evict.NAME]``."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from empiar_schema.settings_types import Seconds, Table

#: A file counts as listed by the archive if a complete listing named it within this time, seconds.
LISTED_WITHIN_S: Final = 30 * 86_400.0


class PinSettings(Table):
    """What eviction never touches, as SQL; see docs/disk.md."""

    sql: str = Field(examples=["SELECT empiar_id FROM entries WHERE title LIKE '%ribosome%'"])
    """One SELECT that returns a column empiar_id (whole entries) or file_id (files); asked whenever something is to be evicted."""


class EvictSettings(Table):
    """What may be removed to make room, as SQL; see docs/disk.md."""

    sql: str = Field(examples=["SELECT file_id FROM copies WHERE state = 'arrived' ORDER BY arrived_at"])
    """One SELECT that returns a column empiar_id (whole entries) or file_id (files), what may go first in front (ORDER BY)."""
    automatic: bool = False
    """Whether `empiar-mirror run` does it by itself when the file system is above disk.high_watermark, down to disk.low_watermark; without it, only `empiar-mirror evict --policy NAME` does."""
    listed_within: Seconds = Field(default=LISTED_WITHIN_S, gt=0)
    """Only files that a complete listing has named within this time: what the archive offered long ago it may offer no more."""

"""The configuration of what comes next: the table ``[order]``."""

from __future__ import annotations

from pydantic import Field

from empiar_schema.settings_types import Seconds, Table


class OrderSettings(Table):
    """Which of the wanted files come next; see docs/subscriptions.md."""

    age_per_day: float = Field(default=1.0, ge=0, le=1000)
    """What waits gains so much priority with every day; 0 means that age does not matter."""
    age_most: int = Field(default=10, ge=0, le=2000)
    """No more than this is gained by waiting, so that an urgent wish goes before everything old."""
    longest_wait: Seconds = Field(default=7 * 86_400.0, gt=0)
    """What nothing was fetched of for so long gets one turn in sixteen, whatever its priority."""

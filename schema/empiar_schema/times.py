"""Times: whole seconds since the epoch in tables, UTC ISO 8601 text for people."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(epoch_s: float | None) -> str | None:
    """``1763848800`` → ``2025-11-22T22:00:00Z``; None stays None."""
    if epoch_s is None:
        return None
    return datetime.fromtimestamp(int(epoch_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch(iso_text: str) -> int:
    """The inverse of `iso`; also takes a bare date."""
    moment = datetime.fromisoformat(iso_text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())

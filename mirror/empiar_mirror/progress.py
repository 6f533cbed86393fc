"""Which events show that the mirror gets on (pure). A process that only tries, fails and tries again does not."""

from __future__ import annotations

from typing import Final

from empiar_schema import events
from empiar_schema.events import Event

#: Steps that a file takes back and forth where nothing succeeds.
_NO_PROGRESS: Final = frozenset({"claimed", "tidied"})
_PROGRESS: Final = (
    events.BytesMoved,
    events.FileArrived,
    events.EntryCrawled,
    events.ListingProgressed,
    events.ListingReplaced,
    events.JobMade,
    events.GlobusTaskSubmitted,
    events.GlobusTaskProgressed,
    events.GlobusTaskEnded,
)


def is_progress(event: Event) -> bool:
    """Whether something is further than before."""
    if isinstance(event, events.StepTaken | events.JobStepTaken):
        return event.step not in _NO_PROGRESS
    return isinstance(event, _PROGRESS)


def brings_bytes(event: Event) -> bool:
    """Whether bytes of files have come, by whatever channel."""
    return isinstance(event, events.BytesMoved | events.FileArrived | events.GlobusTaskProgressed)

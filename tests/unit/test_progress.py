"""What counts as getting on."""

from __future__ import annotations

import pytest

from empiar_mirror.progress import brings_bytes, is_progress
from empiar_schema import events
from empiar_schema.events import Event
from empiar_schema.states import Channel, CopyState

ARRIVED = events.FileArrived(7, "10017/a", Channel.HTTPS, 10, "ab" * 32, 1, ())


@pytest.mark.parametrize(
    "event",
    [
        events.BytesMoved(7, 1),
        ARRIVED,
        events.StepTaken(7, "verified"),
        events.JobStepTaken(1, "ran"),
        events.ListingProgressed(10017, 1, 5),
        events.GlobusTaskProgressed("t", "ACTIVE", None, 5, 1, 0),
    ],
    ids=lambda event: event.name,
)
def test_what_brings_something_further_is_progress(event: Event) -> None:
    assert is_progress(event)


@pytest.mark.parametrize(
    "event",
    [
        events.StepTaken(7, "claimed"),
        events.JobStepTaken(1, "claimed"),
        events.AttemptBegan(7, "10017/a", Channel.HTTPS, 10, 0),
        events.AttemptFailed(7, "10017/a", Channel.HTTPS, "HTTP 503", CopyState.WANTED),
        events.CrawlFailed(None, "api", "HTTP 503"),
        events.Paused("full", "there is space again"),
    ],
    ids=lambda event: event.name,
)
def test_trying_and_failing_is_none(event: Event) -> None:
    assert not is_progress(event)


def test_only_files_bring_bytes() -> None:
    assert brings_bytes(events.BytesMoved(7, 1))
    assert brings_bytes(ARRIVED)
    assert not brings_bytes(events.EntryCrawled(10017, changed=True))

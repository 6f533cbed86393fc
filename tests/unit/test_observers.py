"""Log and progress bars listen to the same events."""

from __future__ import annotations

import io
import json
import logging

import pytest
from rich.console import Console

from empiar_mirror.observers import LogObserver, ProgressObserver, Totals, all_of, facts_of, level_of
from empiar_schema import events
from empiar_schema.states import Channel, CopyState

ARRIVED = events.FileArrived(7, "10017/data/a.mrc", Channel.HTTPS, 2**20, "ab" * 32, 2, ("mrc.truncated",))
FAILED = events.AttemptFailed(7, "10017/data/a.mrc", Channel.FTP, "FTP 426", CopyState.PARTIAL)


def test_a_line_of_the_log_is_one_json_object_with_the_events_facts() -> None:
    stream = io.StringIO()
    LogObserver(stream, json=True)(ARRIVED)
    line = json.loads(stream.getvalue())
    assert line["event"] == "file.arrived"
    assert line["level"] == "info"
    assert line["channel"] == "https"
    assert line["size_bytes"] == 2**20
    assert line["problems"] == ["mrc.truncated"]
    assert line["timestamp"].endswith("Z")


def test_the_level_leaves_out_what_is_quieter() -> None:
    stream = io.StringIO()
    log = LogObserver(stream, json=True, level=logging.WARNING)
    log(ARRIVED)
    assert stream.getvalue() == ""
    log(FAILED)
    assert json.loads(stream.getvalue())["level"] == "warning"


def test_moved_bytes_are_never_a_line() -> None:
    stream = io.StringIO()
    LogObserver(stream, json=False, level=logging.DEBUG)(events.BytesMoved(7, 100))
    assert stream.getvalue() == ""


def test_a_log_that_cannot_be_written_does_not_stop_the_work() -> None:
    stream = io.StringIO()
    log = LogObserver(stream, json=True)
    stream.close()
    log(ARRIVED)
    assert stream.closed


def test_control_characters_in_a_name_cannot_forge_a_line() -> None:
    stream = io.StringIO()
    LogObserver(stream, json=True)(events.FileGivenUp(1, "10017/a\nb", CopyState.PARKED, "x\r\ny"))
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
    ],
)
def test_every_event_has_a_level_and_a_name_in_the_past_tense_form(kind: type[events.Event]) -> None:
    assert kind.name == "paused" or kind.name == "resumed" or kind.name.count(".") == 1
    assert kind.__doc__


def test_levels_and_facts_are_plain() -> None:
    assert level_of(FAILED) == logging.WARNING
    assert level_of(events.StepTaken(1, "linked")) == logging.DEBUG
    assert facts_of(FAILED)["next_state"] == "partial"
    assert type(facts_of(FAILED)["next_state"]) is str


def progress(*, totals: Totals | None) -> tuple[ProgressObserver, io.StringIO]:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200)
    return ProgressObserver(console, totals=lambda _: totals), screen


def test_the_bar_shows_bytes_files_and_what_was_given_up() -> None:
    observer, screen = progress(totals=Totals(10, 10 * 2**20, 4, 4 * 2**20))
    with observer:
        observer(events.AttemptBegan(7, "a", Channel.HTTPS, 2**20, 0))
        observer(events.BytesMoved(7, 2**19))
        observer(ARRIVED)
        observer(events.FileGivenUp(8, "b", CopyState.PARKED, "404"))
        observer._bars.refresh()
    text = screen.getvalue()
    assert "5 of 10 files, 5 MiB of 10 MiB, 1 given up" in text


def test_bytes_of_a_failed_attempt_are_taken_back() -> None:
    observer, screen = progress(totals=Totals(2, 2**20, 0, 0))
    with observer:
        observer(events.AttemptBegan(7, "a", Channel.HTTPS, 2**20, 2**18))
        observer(events.BytesMoved(7, 2**18))
        assert observer._bars.tasks[1].completed == 2**19
        observer(FAILED)
        assert observer._bars.tasks[1].completed == 0
    assert screen.getvalue()


def test_the_crawl_is_counted_before_anything_is_transferred() -> None:
    observer, screen = progress(totals=None)
    with observer:
        observer(events.EntryCrawled(10017, changed=True))
        observer(events.ListingProgressed(10017, 3, 1234))
        observer(events.ListingReplaced(10017, "ftp", 2000, 1, 2000, 0, 0))
        observer._bars.refresh()
    assert "1 entries, 2,000 files listed" in screen.getvalue()


def test_several_observers_hear_the_same() -> None:
    heard: list[events.Event] = []

    def listen(event: events.Event) -> None:
        heard.append(event)

    all_of([listen, listen])(FAILED)
    assert heard == [FAILED, FAILED]

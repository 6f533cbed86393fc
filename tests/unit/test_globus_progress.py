"""Log lines and progress bars of the Globus channel: every byte counts once, whether moved, delivered or arrived."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

from rich.console import Console

from empiar_mirror.app import Mirror
from empiar_mirror.cli.working import _totals
from empiar_mirror.globus.task_status import bytes_on_the_way
from empiar_mirror.observers import LogObserver, ProgressObserver, Totals, level_of
from empiar_mirror.reading import reading
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema import events, globus_endings, globus_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.states import Channel, CopyState
from globus_mirrors import globus_settings, standing_in
from globus_shown import ENTRY, NOW, SIZE, UNWANTED, make_globus_mirror

MB = 2**20
ARRIVED = events.FileArrived(7, "10017/a", Channel.GLOBUS, 3 * MB, "ab" * 32, 1, ())
PROGRESSED = events.GlobusTaskProgressed("1", "ACTIVE", "OK", 5 * MB, 1, 0)
ENDED = events.GlobusTaskEnded("1", "SUCCEEDED", 3, 0, None)


class Clock:
    """A clock that goes on by two seconds whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2
        return self.now


class Ledger:
    """What the catalogue would say."""

    def __init__(self, *, here: int = 0, moved: int = 0) -> None:
        self.here, self.moved = here, moved
        self.asked = 0

    def totals(self, with_globus: bool) -> Totals:
        self.asked += with_globus
        return Totals(10, 100 * MB, 0, self.here, self.moved if with_globus else None)


def bars(ledger: Ledger) -> ProgressObserver:
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    return ProgressObserver(console, totals=ledger.totals, clock=Clock())


def done(observer: ProgressObserver) -> float:
    return observer._bars.tasks[1].completed


# --- the log ------------------------------------------------------------------------------------------------


def test_a_task_is_told_when_it_begins_and_ends_and_its_progress_only_to_developers() -> None:
    submitted = events.GlobusTaskSubmitted("1", "empiar-mirror EMPIAR-10017", 3, 9, "https://web/1")
    assert level_of(submitted) == level_of(ENDED) == logging.INFO
    assert level_of(PROGRESSED) == logging.DEBUG
    stream = io.StringIO()
    log = LogObserver(stream, json=True)
    for event in (submitted, PROGRESSED, ENDED):
        log(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["globus.submitted", "globus.ended"]
    assert lines[0]["link"] == "https://web/1"


def test_a_task_that_did_not_bring_everything_and_a_channel_that_is_out_are_warnings() -> None:
    failed = events.GlobusTaskEnded("1", "FAILED", 1, 2, "the Globus task failed: QUOTA_EXCEEDED")
    assert level_of(failed) == level_of(events.GlobusOut("no consent", 3)) == logging.WARNING


# --- the bars -----------------------------------------------------------------------------------------------


def test_what_globus_has_moved_counts_before_anything_of_it_has_arrived() -> None:
    ledger = Ledger(here=10 * MB, moved=5 * MB)
    with bars(ledger) as observer:
        observer(PROGRESSED)
        assert done(observer) == 15 * MB
        assert "5 MiB of it by Globus and not verified yet" in observer._bars.tasks[1].fields["amount"]


def test_a_delivered_file_is_read_and_arrives_without_being_counted_again() -> None:
    ledger = Ledger(moved=5 * MB)
    with bars(ledger) as observer:
        observer(PROGRESSED)
        observer(events.AttemptBegan(7, "10017/a", Channel.GLOBUS, 3 * MB, 0))
        observer(events.BytesMoved(7, 3 * MB))
        assert done(observer) == 5 * MB
        ledger.here, ledger.moved = 3 * MB, 2 * MB  # the catalogue has it before anybody is told
        observer(PROGRESSED)
        assert done(observer) == 5 * MB
        observer(ARRIVED)
        assert done(observer) == 5 * MB
        observer(ENDED)
        assert done(observer) == 5 * MB


def test_bytes_that_come_by_other_channels_meanwhile_count_as_ever() -> None:
    ledger = Ledger(moved=5 * MB)
    with bars(ledger) as observer:
        observer(PROGRESSED)
        observer(events.AttemptBegan(8, "10017/b", Channel.HTTPS, 4 * MB, MB))
        observer(events.BytesMoved(8, MB))
        assert done(observer) == 7 * MB


def test_a_delivery_that_is_refused_is_taken_off() -> None:
    ledger = Ledger(moved=5 * MB)
    with bars(ledger) as observer:
        observer(events.AttemptBegan(7, "10017/a", Channel.GLOBUS, 3 * MB, 0))
        ledger.moved = 2 * MB
        observer(events.AttemptFailed(7, "10017/a", Channel.GLOBUS, "too short", CopyState.WANTED))
        assert done(observer) == 2 * MB


def test_the_ledger_is_asked_only_when_it_has_changed() -> None:
    ledger = Ledger()
    with bars(ledger) as observer:
        observer(events.AttemptBegan(8, "10017/b", Channel.HTTPS, 4 * MB, 0))
        for _ in range(20):
            observer(events.BytesMoved(8, 10))
    assert ledger.asked == 1


def test_the_ledger_counts_what_is_on_its_way_once(tmp_path: Path) -> None:
    """Of the running task one of three files has arrived: what it moved beyond that counts, and what others delivered."""
    make_globus_mirror(tmp_path)
    with reading(tmp_path) as connection:
        assert bytes_on_the_way(connection, None) == SIZE + 7 + SIZE
        assert bytes_on_the_way(connection, [ENTRY]) == SIZE + 7 + SIZE
        assert bytes_on_the_way(connection, [UNWANTED]) == 0
    with Catalogue.open(tmp_path / "empiar.db") as catalogue:

        def end_all(conn: object) -> None:
            for bundle in globus_store.open_bundles(conn):  # type: ignore[arg-type]  # a connection
                globus_endings.free_rest(conn, bundle.bundle_id, error="x")  # type: ignore[arg-type]
                globus_endings.end_bundle(conn, bundle.bundle_id, status="FAILED", error="x", now=NOW)  # type: ignore[arg-type]

        catalogue.write_now(end_all)
    with reading(tmp_path) as connection:
        assert bytes_on_the_way(connection, None) == 2 * SIZE, "what was delivered, and no half-moved file"


async def test_a_whole_sync_by_globus_never_shows_more_than_there_is_and_ends_with_all(
    tmp_path: Path,
) -> None:
    async with Rehearsal(globus=standing_in(tmp_path)) as rehearsal:
        settings = globus_settings(rehearsal, tmp_path)
        ids = [10101]
        console = Console(file=io.StringIO(), force_terminal=True, width=200)
        observer = ProgressObserver(
            console, totals=lambda with_globus: _totals(settings, ids, with_globus=with_globus)
        )
        shown: list[int] = []
        unproven: list[int] = []

        def listen(event: events.Event) -> None:
            if len(shown) % 3 == 0 or isinstance(event, events.AttemptBegan):
                observer._asked_at = float("-inf")
            observer(event)
            if observer._whole is not None:
                here = observer._whole.here_bytes + observer._arrived_bytes
                unproven.append(observer._globus_moved.waiting)
                shown.append(here + unproven[-1])

        with observer, Mirror.open(settings, observer=listen, create=True) as mirror:
            report = await mirror.sync(ids)
        assert report.transfer.failed == ()
        whole = _totals(settings, ids, with_globus=True)
        assert whole is not None
        assert (whole.here_bytes, whole.globus_bytes) == (whole.wanted_bytes, 0)
        # What is shown is cut at the whole; here it is what lies behind that, which must never be above it.
        assert max(shown) == shown[-1] == whole.wanted_bytes
        assert shown[0] < whole.wanted_bytes
        assert max(unproven) > 0

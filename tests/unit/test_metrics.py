"""What Prometheus reads, and what a look at catalogue and disk shows."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_mirror.metrics.figures import read_slow_figures
from empiar_mirror.metrics.instruments import PREFIX, Instruments
from empiar_mirror.metrics.monitor import OVERDUE_S, SLOW_EVERY_S, Monitor
from empiar_mirror.reading import reading
from empiar_mirror.status import SILENT_S
from empiar_schema import events
from empiar_schema.jobs import JobState
from empiar_schema.states import Channel, CopyState
from seen_mirror import Clock, Seen, seen_mirror
from small_mirror import SIZE

SHA = "ab" * 32


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    with seen_mirror(tmp_path / "mirror") as found:
        yield found


def value(instruments: Instruments, name: str, **labels: str) -> float | None:
    return instruments.registry.get_sample_value(PREFIX + name, labels)


# --- events -------------------------------------------------------------------------------------------------


def test_bytes_attempts_and_failures_are_counted_by_channel() -> None:
    instruments = Instruments()
    instruments(events.AttemptBegan(7, "10017/a", Channel.FTP, 30, 0))
    instruments(events.BytesMoved(7, 10))
    instruments(events.AttemptFailed(7, "10017/a", Channel.FTP, "no byte", CopyState.PARTIAL, "stalled"))
    instruments(events.BytesMoved(7, 5))  # by the file's other connection
    instruments(events.AttemptBegan(7, "10017/a", Channel.HTTPS, 30, 15))
    instruments(events.BytesMoved(7, 15))
    instruments(events.FileArrived(7, "10017/a", Channel.HTTPS, 30, SHA, 2, ()))
    assert value(instruments, "bytes_total", channel="ftp") == 15
    assert value(instruments, "bytes_total", channel="https") == 15
    assert value(instruments, "attempts_total", channel="ftp") == 1
    assert value(instruments, "attempt_failures_total", channel="ftp", kind="stalled") == 1
    assert value(instruments, "attempt_failures_total", channel="https", kind="failed") == 0
    assert value(instruments, "files_arrived_total", channel="https") == 1


def test_what_globus_brings_is_counted_once_and_only_what_came_since() -> None:
    instruments = Instruments()
    instruments(events.GlobusTaskProgressed("old", "ACTIVE", None, 500, 1, 0))  # an earlier process's task
    instruments(events.GlobusTaskProgressed("old", "ACTIVE", None, 600, 1, 0))
    instruments(events.GlobusTaskSubmitted("new", "label", 1, 40, ""))
    instruments(events.GlobusTaskProgressed("new", "ACTIVE", None, 40, 1, 0))
    instruments(events.GlobusTaskEnded("new", "SUCCEEDED", 1, 0, None))
    instruments(events.AttemptBegan(8, "10017/b", Channel.GLOBUS, 40, 0))
    instruments(events.BytesMoved(8, 40))  # only read: it is here already
    instruments(events.GlobusTaskEnded("old", "FAILED", 0, 1, "it was cancelled"))
    assert value(instruments, "bytes_total", channel="globus") == 140
    assert value(instruments, "globus_tasks_ended_total", end="complete") == 1
    assert value(instruments, "globus_tasks_ended_total", end="short") == 1


def test_the_last_progress_is_not_that_of_a_failure() -> None:
    times = iter([100.0, 200.0])
    instruments = Instruments(clock=lambda: next(times))
    instruments(events.AttemptFailed(7, "10017/a", Channel.FTP, "FTP 426", CopyState.PARTIAL))
    assert value(instruments, "last_progress_timestamp_seconds") == 100
    instruments(events.BytesMoved(7, 1))
    assert value(instruments, "last_progress_timestamp_seconds") == 200


def test_no_label_holds_a_path_or_an_entry() -> None:
    instruments = Instruments()
    instruments(events.AttemptBegan(7, "10017/data/a.mrc", Channel.FTP, 30, 0))
    instruments(events.FileGivenUp(7, "10017/data/a.mrc", CopyState.PARKED, "HTTP 404"))
    instruments(events.CrawlFailed(10017, "api", "HTTP 503"))
    instruments(events.JobFailed(1, "ctf", "10017/data/a.mrc", "exit 1", JobState.PARKED))
    labels = {
        (name, text)
        for family in instruments.registry.collect()
        for sample in family.samples
        for name, text in sample.labels.items()
    }
    assert {name for name, _ in labels} <= {"channel", "kind", "state", "end", "version", "python"}
    assert not [text for _, text in labels if "10017" in text or "/" in text]


# --- a look at catalogue and disk ---------------------------------------------------------------------------


async def test_a_look_shows_the_queue_the_disk_and_the_lags(seen: Seen) -> None:
    seen.clock.now += 7200
    look = await seen.monitor.refresh()
    assert look.unready == ()
    assert look.figures is not None
    for state, files in (("arrived", 2), ("damaged", 1), ("parked", 1), ("wanted", 2), ("claimed", 1)):
        assert seen.value(f"{PREFIX}queue_files", state=state) == files
    assert seen.value(f"{PREFIX}queue_bytes", state="arrived") == SIZE + 1000
    assert seen.value(f"{PREFIX}queue_files", state="quarantined") == 0
    assert seen.value(f"{PREFIX}disk_total_bytes") == look.figures.room.total
    assert seen.value(f"{PREFIX}crawl_lag_seconds") == 7200  # a listing that lacks makes an entry due
    assert seen.looks == [look]


async def test_what_costs_a_look_at_every_file_is_read_seldom_and_beside_the_rest(seen: Seen) -> None:
    seen.clock.now += 7200
    await seen.monitor.refresh()
    assert seen.value(f"{PREFIX}scrub_lag_seconds") == 0  # not looked yet
    assert await seen.monitor.refresh_slow() == SLOW_EVERY_S
    assert seen.value(f"{PREFIX}scrub_lag_seconds") == 7200
    assert seen.value(f"{PREFIX}oldest_wanted_seconds") == 7200
    assert seen.value(f"{PREFIX}jobs", state="parked") == 0


async def test_the_monitor_looks_until_it_is_cancelled_even_in_the_middle_of_a_look(seen: Seen) -> None:
    running = asyncio.create_task(seen.monitor.run())
    while not seen.looks or not seen.value(f"{PREFIX}disk_total_bytes"):
        await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()


async def test_a_look_at_millions_of_files_ends_when_it_is_cancelled(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(connection: sqlite3.Connection, *, now: float) -> None:
        begun.set()
        try:
            connection.execute(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
            ).fetchone()
        finally:
            ended.set()

    monkeypatch.setattr("empiar_mirror.metrics.monitor.read_slow_figures", endless)
    looking = asyncio.create_task(seen.monitor.refresh_slow())
    await asyncio.to_thread(begun.wait)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert looking.cancelled()
    await asyncio.to_thread(ended.wait)


async def test_a_clock_that_was_set_back_makes_no_negative_age(seen: Seen) -> None:
    with reading(seen.settings.root) as connection:
        figures = read_slow_figures(connection, now=seen.clock.now - 10**6)
    assert (figures.scrub_lag_s, figures.oldest_wanted_s) == (0, 0)


async def test_damage_asks_for_a_person_and_is_no_standstill(seen: Seen) -> None:
    look = await seen.monitor.refresh()
    assert look.health.standstill == ()
    assert "1 file is damaged" in look.health.attention[0]
    assert seen.value(f"{PREFIX}attention") == 1


async def test_half_an_hour_without_a_byte_is_a_standstill_and_bytes_end_it(seen: Seen) -> None:
    await seen.monitor.refresh()
    seen.clock.now += SILENT_S + 301
    look = await seen.monitor.refresh()
    assert "no byte has come for 30 minutes" in look.health.standstill[0]
    assert seen.value(f"{PREFIX}standstill") == 1
    seen.monitor(events.AttemptBegan(7, "10017/a", Channel.FTP, 30, 0))
    assert (await seen.monitor.refresh()).health.standstill != ()
    seen.monitor(events.BytesMoved(7, 1))
    assert (await seen.monitor.refresh()).health.standstill == ()


async def test_a_clock_that_is_set_back_does_not_excuse_a_standstill(seen: Seen) -> None:
    wall = Clock(seen.clock.now + 365 * 86_400)
    monitor = Monitor(seen.monitor.settings, seen.instruments, clock=wall, monotonic=seen.clock)
    monitor(events.BytesMoved(7, 1))
    seen.clock.now += SILENT_S + 301
    wall.now = seen.clock.now
    assert "no byte has come for 30 minutes" in (await monitor.refresh()).health.standstill[0]


async def test_a_look_that_is_long_overdue_is_a_standstill(seen: Seen) -> None:
    await seen.monitor.refresh()
    seen.clock.now += OVERDUE_S
    assert not seen.monitor.look.health.standstill
    seen.clock.now += 60
    assert "do not answer" in seen.monitor.look.health.standstill[0]
    assert seen.monitor.look.unready != ()


async def test_a_root_that_is_gone_is_not_ready(seen: Seen) -> None:
    root = seen.settings.root
    root.rename(root.with_name("elsewhere"))
    look = await seen.monitor.refresh()
    assert f"{root} is not there: is its disk mounted?" in look.unready
    root.with_name("elsewhere").rename(root)
    assert (await seen.monitor.refresh()).unready == ()


async def test_a_catalogue_that_is_none_is_not_ready(seen: Seen) -> None:
    path = seen.settings.root / "empiar.db"
    for name in (path, path.with_name("empiar.db-wal"), path.with_name("empiar.db-shm")):
        name.unlink(missing_ok=True)
    path.write_bytes(b"no database at all, but long enough to be looked at" * 50)
    look = await seen.monitor.refresh()
    assert any("no SQLite database" in sentence for sentence in look.unready)


async def test_a_folder_that_takes_no_file_is_not_ready(seen: Seen) -> None:
    staging = seen.settings.root / "staging"
    staging.rmdir()
    staging.symlink_to("/proc/self")  # a folder in which nobody may make a file, not even root
    look = await seen.monitor.refresh()
    assert f"{staging} cannot be written" in look.unready[0]


def test_the_longest_waiting_are_found_in_every_state(seen: Seen) -> None:
    """Withdrawn files are here, too; those that are damaged are not waiting for the scrub."""
    with sqlite3.connect(seen.settings.root / "empiar.db") as connection:
        connection.execute("UPDATE copy SET verified_at = verified_at - 50 WHERE state = 7")
        connection.execute("UPDATE copy SET wanted_at = wanted_at - 9 WHERE state = 5")
    connection.close()
    with reading(seen.settings.root) as reader:
        figures = read_slow_figures(reader, now=seen.clock.now)
    assert (figures.scrub_lag_s, figures.oldest_wanted_s) == (0, 0)

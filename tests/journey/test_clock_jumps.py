"""The machine's clock is wrong and is set, back or forward, while the service works: nothing waits for ever, nothing stays fresh for ever."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.asking import ask_for_whole
from empiar_mirror.daemon import Daemon
from empiar_mirror.observers import all_of
from empiar_mirror.rehearsal.archive import ArchiveFile
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.transports import receive
from empiar_schema.settings import Settings
from independent import assert_mirrored
from mirrors import opened, rows, settings_for

ID = 10190
FILES = {f"m_{n:02d}.mrc": 40_000 + n for n in range(6)}
YEAR_S = 365 * 86_400.0


class Clock:
    """The true time, and how far this clock is off."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def settings_of(rehearsal: Rehearsal, folder: Path) -> Settings:
    settings = settings_for(rehearsal, folder)
    return settings.model_copy(update={"crawl": settings.crawl.model_copy(update={"interval": 4000.0})})


@asynccontextmanager
async def at_work(settings: Settings, clock: Clock) -> AsyncIterator[Mirror]:
    with opened(settings) as mirror:
        mirror.clock = clock
        daemon = Daemon(mirror, lambda: mirror.settings, look_s=0.1, look_at_disk_s=0.1, scrub_s=0.2)
        mirror.observer = all_of([mirror.observer, daemon.observe])
        task = asyncio.create_task(daemon.run())
        try:
            yield mirror
        finally:
            daemon.stop()
            await task


async def until(moment: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not moment():
            await asyncio.sleep(0.02)


def complete(mirror: Mirror, files: int) -> bool:
    return rows(mirror, "SELECT count(*) FROM copies WHERE state = 'arrived'") == [(files,)]


def listed_in_manifest(settings: Settings) -> int:
    """Files that the entry's manifest names: the last thing that is written."""
    manifest = settings.root / "manifests" / str(ID) / "manifest-sha256.txt"
    return len(manifest.read_text().splitlines()) if manifest.exists() else 0


async def test_what_a_clock_that_was_ahead_has_put_off_is_not_put_off(tmp_path: Path) -> None:
    clock = Clock(ahead_s=10 * YEAR_S)
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        settings = settings_of(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.crawl([ID])
            await mirror.catalogue.write(functools.partial(ask_for_whole, empiar_id=ID, now=1))
            await mirror.catalogue.write(
                lambda conn: conn.execute("UPDATE copy SET not_before = ?", (int(clock()) + 300,))
            )
        clock.ahead_s = 0.0
        async with at_work(settings, clock):
            await until(lambda: listed_in_manifest(settings) == len(FILES) + 1)
        assert_mirrored(rehearsal, settings.root, ID)


async def test_a_clock_that_is_set_back_while_the_engine_waits_costs_no_years(tmp_path: Path) -> None:
    clock = Clock(ahead_s=YEAR_S)
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        settings = settings_of(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.crawl([ID])
            mirror.clock = clock
            await mirror.catalogue.write(functools.partial(ask_for_whole, empiar_id=ID, now=1))
            await mirror.catalogue.write(
                lambda conn: conn.execute("UPDATE copy SET not_before = ?", (int(clock()) + 2,))
            )
            work = asyncio.create_task(mirror.transfer_all(mirror.stopping))
            await asyncio.sleep(0)
            clock.ahead_s = 0.0
            await asyncio.wait_for(work, 90)
            assert complete(mirror, len(FILES) + 1)


async def test_what_was_read_in_the_future_is_read_again(tmp_path: Path) -> None:
    """Else an entry would stay fresh until the true time has caught up, and its changes unseen."""
    clock = Clock(ahead_s=YEAR_S)
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        settings = settings_of(rehearsal, tmp_path)
        with opened(settings) as mirror:
            mirror.clock = clock
            await mirror.sync([ID])
        rehearsal.archive.add_file(ID, b"data/new.mrc", ArchiveFile(12_345, 1_700_000_000))
        clock.ahead_s = 0.0
        async with at_work(settings, clock) as mirror:
            await until(lambda: listed_in_manifest(settings) == len(FILES) + 2)
            for view, column in (("entries", "crawled_at"), ("entries", "listed_at")):
                [(when,)] = rows(mirror, f"SELECT {column} > datetime('now', '+1 day') FROM {view}")
                assert when == 0
        assert_mirrored(rehearsal, settings.root, ID)


async def test_after_a_jump_ahead_each_entry_is_asked_for_once_and_nothing_is_fetched_again(
    tmp_path: Path,
) -> None:
    clock = Clock()
    entries = [big_entry(ID + n, {"a.mrc": 5000}) for n in range(8)]
    async with Rehearsal(entries) as rehearsal:
        settings = settings_of(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.sync([entry.empiar_id for entry in entries])
            before, moved = len(rehearsal.log), rehearsal.bytes_served()
            clock.ahead_s = YEAR_S
            mirror.clock = clock
            await mirror.crawl(None)
            await mirror.transfer_all(mirror.stopping)
            asked = [one.path for one in rehearsal.log[before:] if one.path.startswith("entry/")]
        assert sorted(asked) == sorted(f"entry/{entry.empiar_id}" for entry in entries)
        assert rehearsal.bytes_served() == moved


async def test_a_scrub_after_a_jump_ahead_and_back_proves_everything_once_and_believes_its_own_time(
    tmp_path: Path,
) -> None:
    clock = Clock(ahead_s=YEAR_S)
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        settings = settings_of(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.sync([ID])
            mirror.clock = clock
            first = await mirror.scrub(None)
            again = await mirror.scrub(None)
            clock.ahead_s = 0.0
            back = await mirror.scrub(None)
            last = await mirror.scrub(None)
        assert [report.checked for report in (first, again, back, last)] == [7, 0, 7, 0]


def test_an_attempt_during_which_the_clock_is_set_back_does_not_end_before_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from empiar_mirror.transports.base import Claim
    from empiar_schema.faults import TransientFault
    from empiar_schema.paths import RemotePath

    class NoSink:
        async def begin(self, found: object, *, start: int) -> None: ...
        async def write(self, offset: int, data: memoryview) -> None: ...

    class Times:
        monotonic = staticmethod(time.monotonic)
        readings = iter([1_000_000.0, 5_000.0])

        @classmethod
        def time(cls) -> float:
            return next(cls.readings)

    monkeypatch.setattr(receive, "time", Times)
    claim = Claim(RemotePath(ID, "data", "a.mrc"), NoSink(), start=0)
    outcome = receive.Delivery(claim).failed(TransientFault("broken off"))
    assert 1_000_000.0 <= outcome.ended_at < 1_000_060.0

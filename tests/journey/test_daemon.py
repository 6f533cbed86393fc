"""The service: it goes on by itself, and through everything that passes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import aiohttp

from empiar_mirror.rehearsal.archive import ArchiveFile
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.configuration import load
from empiar_schema.events import ConfigurationRead, Event, Paused
from empiar_schema.settings import Settings
from independent import assert_mirrored, assert_tidy
from mirrors import opened, settings_for
from services import running, until

ID = 10190
CRAWLS_OFTEN = """
[crawl]
requests_per_s = 2000
interval = "2s"
[transfer]
requests_per_s = 2000
"""
ENTRY = {f"m_{n:03d}.mrc": 40_000 + n for n in range(30)}


def quick_settings(rehearsal: Rehearsal, folder: Path, *, more: str = "") -> Settings:
    settings = settings_for(rehearsal, folder, more=more)
    crawl = settings.crawl.model_copy(update={"interval": 2.0})
    return settings.model_copy(update={"crawl": crawl})


def here(settings: Settings) -> set[str]:
    """Files in the archive folder of the entry."""
    folder = settings.root / "archive" / str(ID)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def listed_in_manifest(settings: Settings) -> int:
    """Files of the entry that its manifest names: the last thing that is written."""
    manifest = settings.root / "manifests" / str(ID) / "manifest-sha256.txt"
    return len(manifest.read_text().splitlines()) if manifest.exists() else 0


async def test_what_was_asked_for_arrives_and_so_does_what_is_listed_of_it_later(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, ENTRY)]) as rehearsal:
        settings = quick_settings(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.sync([ID])
        events: list[Event] = []
        async with running(settings, events):
            await asyncio.sleep(0.5)
            rehearsal.archive.add_file(ID, b"data/new.mrc", ArchiveFile(12_345, 1_700_000_000))
            rehearsal.archive.touch_record(ID, date.today().isoformat())  # noqa: DTZ011
            await until(lambda: "data/new.mrc" in here(settings))
            await until(lambda: any(event.name == "listing.replaced" for event in events))
            manifest = settings.root / "manifests" / str(ID) / "manifest-sha256.txt"
            await until(lambda: manifest.exists() and "new.mrc" in manifest.read_text())
        assert_mirrored(rehearsal, settings.root, ID)
        assert_tidy(settings.root)


async def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, ENTRY)]) as rehearsal:
        settings = quick_settings(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.crawl([ID])
            await mirror.catalogue.write(wanted)
        small = settings.disk.model_copy(update={"quota": 300_000})
        events: list[Event] = []
        async with running(settings.model_copy(update={"disk": small}), events) as daemon:
            await until(
                lambda: any(isinstance(event, Paused) and "watermark" in event.until for event in events)
            )
            assert 0 < len(here(settings)) < 30
            daemon.mirror.settings = settings  # as after the quota was raised and SIGHUP sent
            await until(lambda: listed_in_manifest(settings) == 31)
        assert_mirrored(rehearsal, settings.root, ID)


async def test_a_file_that_rots_is_found_and_fetched_again(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, ENTRY)]) as rehearsal:
        settings = quick_settings(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.sync([ID])
        file = settings.root / "archive" / str(ID) / "data" / "m_003.mrc"
        sound = file.read_bytes()
        file.chmod(0o644)
        file.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        often = settings.scrub.model_copy(update={"period": 0.5})
        events: list[Event] = []
        async with running(settings.model_copy(update={"scrub": often}), events):
            await until(lambda: file.exists() and file.read_bytes() == sound)
        assert list((settings.root / "quarantine" / str(ID)).glob("*.bytes"))
        assert_mirrored(rehearsal, settings.root, ID)


async def test_what_a_kill_prevented_after_an_arrival_is_made_up_for(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, ENTRY)]) as rehearsal:
        settings = quick_settings(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.sync([ID])
        (settings.root / "manifests" / str(ID) / "manifest-sha256.txt").unlink()
        async with running(settings, []):
            await until(lambda: listed_in_manifest(settings) == 31)


def wanted(conn: object) -> None:
    import sqlite3

    from empiar_mirror.asking import ask_for_whole

    assert isinstance(conn, sqlite3.Connection)
    ask_for_whole(conn, ID, now=1)


async def test_a_root_that_is_away_is_waited_for_and_nothing_is_written_in_its_place(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, ENTRY)]) as rehearsal:
        settings = quick_settings(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.crawl([ID])
        away = tmp_path / "away"
        events: list[Event] = []
        async with running(settings, events) as daemon:
            await until(lambda: any(event.name == "entry.crawled" for event in events) or bool(events))
            settings.root.rename(away)
            daemon.mirror.catalogue.write_now(wanted)  # its files are open, wherever they are
            daemon.transfers.wake()
            await until(lambda: any(isinstance(event, Paused) for event in events))
            assert not settings.root.exists()
            away.rename(settings.root)
            await until(lambda: listed_in_manifest(settings) == 31)
        assert_mirrored(rehearsal, settings.root, ID)


# --- as a process -------------------------------------------------------------------------------------------


async def command(folder: Path, *arguments: str) -> int:
    """The exit code of ``empiar-mirror``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "empiar_mirror", *arguments, cwd=folder, stderr=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait()


@asynccontextmanager
async def service(
    folder: Path, **environ: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """``empiar-mirror run``, and the lines it writes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "empiar_mirror", "run", "--log-format", "json",
        cwd=folder, env=os.environ | environ, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    lines: list[str] = []

    async def read() -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            lines.append(line.decode())

    reading = asyncio.create_task(read())
    try:
        yield process, lines
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading


#: Several services run at once in tests, and have one default address.
UNSEEN = '[daemon]\nlisten = ""\n'


async def test_a_new_entry_that_a_subscription_selects_arrives_with_no_other_action(tmp_path: Path) -> None:
    """And what is seen of it meanwhile: health, metrics, and systemd's ear."""
    ear = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard, socket.socket() as free:
        heard.bind(str(ear))
        heard.setblocking(False)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        async with Rehearsal([big_entry(ID + 1, {"a.mrc": 5000})]) as rehearsal:
            seen = f'[daemon]\nlisten = "127.0.0.1:{port}"\n'
            settings = settings_for(rehearsal, tmp_path, patient=CRAWLS_OFTEN, more=seen)
            with opened(settings) as mirror:
                await mirror.crawl(None)
            sql = f"SELECT empiar_id FROM entries WHERE empiar_id <> {ID + 1}"
            assert await command(tmp_path, "subscribe", "others", "--sql", sql) == 0
            async with service(tmp_path, NOTIFY_SOCKET=str(ear)) as (process, lines):
                await until(lambda: any("until stopped" in line for line in lines))
                rehearsal.archive.add_entry(big_entry(ID, ENTRY))
                rehearsal.archive.touch_record(ID, date.today().isoformat())  # noqa: DTZ011
                await until(lambda: listed_in_manifest(settings) == 31)
                async with aiohttp.ClientSession() as session:
                    for path, word in (("healthz", ""), ("metrics", "empiar_mirror_"), ("readyz", "")):
                        async with session.get(f"http://127.0.0.1:{port}/{path}") as answer:
                            assert word in await answer.text()
                            assert answer.status == 200 or path == "readyz"
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 30) == 130
            assert_mirrored(rehearsal, settings.root, ID)
            assert not (settings.root / "archive" / str(ID + 1)).exists()
        said = []
        with contextlib.suppress(BlockingIOError):
            while True:
                said.append(heard.recv(4096).decode())
        assert any(line.startswith("READY=1") for line in said)
        assert any("STOPPING=1" in line for line in said)


async def test_the_service_lives_through_kills_wrong_configurations_and_ends_when_it_is_told(
    tmp_path: Path,
) -> None:
    async with Rehearsal([big_entry(ID, ENTRY)]) as rehearsal:
        settings = settings_for(rehearsal, tmp_path, more=UNSEEN)
        with opened(settings) as mirror:
            await mirror.crawl([ID])
            await mirror.catalogue.write(wanted)
        file = tmp_path / "empiar-mirror.toml"
        right = file.read_text()
        for count in (3, 12):
            async with service(tmp_path) as (process, _):
                await until(lambda n=count: len(here(settings)) >= n)  # type: ignore[misc]
                process.kill()
        async with service(tmp_path) as (process, lines):
            await until(lambda: listed_in_manifest(settings) == 31)
            file.write_text(right.replace("requests_per_s", "requests_per_sec"))
            process.send_signal(signal.SIGHUP)
            await until(lambda: any('"in_force": false' in line for line in lines))
            file.write_text(right)
            process.send_signal(signal.SIGHUP)
            await until(lambda: any('"in_force": true' in line for line in lines))
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 130
        assert_mirrored(rehearsal, settings.root, ID)
        assert_tidy(settings.root)


async def test_a_second_service_on_the_same_root_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, {"a.mrc": 5000})]) as rehearsal:
        settings = settings_for(rehearsal, tmp_path, more=UNSEEN)
        with opened(settings):
            pass
        async with service(tmp_path) as (first, said):
            await until(lambda: any("until stopped" in line for line in said))
            async with service(tmp_path) as (second, lines):
                assert await second.wait() == 4
                await until(lambda: any(str(first.pid) in line for line in lines))


async def test_reading_the_configuration_anew_reaches_the_transfer_under_way(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, ENTRY)]) as rehearsal:
        settings = quick_settings(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.crawl([ID])
            await mirror.catalogue.write(wanted)
        events: list[Event] = []
        async with running(settings, events) as daemon:
            await until(lambda: len(here(settings)) > 2)
            (tmp_path / "empiar-mirror.toml").write_text(
                (tmp_path / "empiar-mirror.toml").read_text() + '\n[scrub]\nperiod = "30d"\n'
            )
            daemon.read_settings = lambda: load(tmp_path / "empiar-mirror.toml", environ={}, cwd=tmp_path)
            daemon.reload()
            assert any(isinstance(event, ConfigurationRead) and event.in_force for event in events)
            assert daemon.mirror.settings.scrub.period == 30 * 86_400
            await until(lambda: listed_in_manifest(settings) == 31)
        assert_mirrored(rehearsal, settings.root, ID)

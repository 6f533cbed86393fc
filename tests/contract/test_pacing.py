"""Servers that bear only so many connections, limits that change while streams run, and bandwidth on the line."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contract.transports_under_test import claim_of, collected, outcome_of, quick_hosts
from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.transports.https import HttpsTransport
from empiar_schema.events import BytesMoved, ConnectionsAllowed, Event, LimitsInForce
from empiar_schema.settings import Settings
from empiar_wire.throttle import Bucket, Throttle
from independent import assert_mirrored, assert_tidy, content
from mirrors import opened, rows, settings_for
from servers import nginx, vsftpd

ID = 10190
FILES = {f"m_{number:03d}.mrc": 1_500_000 + number for number in range(8)}


def tree_of(rehearsal: Rehearsal, folder: Path) -> Path:
    """The rehearsal's entry as plain files, for another server."""
    tree = folder / "tree"
    for path, file in rehearsal.archive.entries[ID].walk():
        place = tree / str(ID) / path.decode()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content(rehearsal, ID, path))
        os.utime(place, (file.mtime, file.mtime))
    return tree


def with_transfer(settings: Settings, **changed: object) -> Settings:
    """The same settings but for keys of ``[transfer]``, checked."""
    transfer = settings.transfer.model_dump() | changed
    return settings.model_copy(update={"transfer": type(settings.transfer).model_validate(transfer)})


async def mirrored_within_limits(rehearsal: Rehearsal, settings: Settings, events: list[Event]) -> None:
    """All arrives, whatever the server refuses, and what was learnt is within bounds."""
    with opened(settings, events) as mirror:
        report = await mirror.sync([ID])
        assert report.transfer.failed == ()
        assert rows(mirror, "SELECT DISTINCT state FROM copies") == [("arrived",)]
    assert_mirrored(rehearsal, settings.root, ID)
    assert_tidy(settings.root)


def fewest(events: list[Event]) -> int:
    told = [event.connections for event in events if isinstance(event, ConnectionsAllowed)]
    assert told[0] == 8, "it begins with what is configured"
    assert all(1 <= number <= 8 for number in told)
    return min(told)


async def test_a_vsftpd_that_refuses_more_than_three_connections_gets_fewer(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        with vsftpd(tree_of(rehearsal, tmp_path), max_per_ip=3, anon_max_rate=3_000_000) as served:
            settings = settings_for(rehearsal, tmp_path)
            archive = settings.archive.model_copy(update={"ftp_url": served.url})
            settings = settings.model_copy(update={"archive": archive})
            settings = with_transfer(settings, channels=("ftp",), retry_wait_s=1.0, stall_s=10.0)
            events: list[Event] = []
            await mirrored_within_limits(rehearsal, settings, events)
        assert fewest(events) <= 4
        assert any(isinstance(e, ConnectionsAllowed) and "421" in (e.reason or "") for e in events)


async def test_an_nginx_that_answers_503_to_more_than_two_connections_gets_fewer(tmp_path: Path) -> None:
    zone = "limit_conn_zone $binary_remote_addr zone=each:1m;"
    extra = "limit_conn each 2; limit_conn_status 503; limit_rate 900k;"
    async with Rehearsal([big_entry(ID, FILES)]) as rehearsal:
        with nginx(tree_of(rehearsal, tmp_path), extra=extra, http=zone) as served:
            settings = settings_for(rehearsal, tmp_path)
            archive = settings.archive.model_copy(update={"https_url": served.url})
            crawl = settings.crawl.model_copy(update={"listing": ("ftp",)})
            settings = settings.model_copy(update={"archive": archive, "crawl": crawl})
            settings = with_transfer(settings, channels=("https",), retry_wait_s=1.0, stall_s=10.0)
            events: list[Event] = []
            await mirrored_within_limits(rehearsal, settings, events)
        assert fewest(events) <= 4
        assert any(isinstance(e, ConnectionsAllowed) and "503" in (e.reason or "") for e in events)


# --- live -----------------------------------------------------------------------------------------------------

LARGE = {"large.mrc": 6_000_000}


@asynccontextmanager
async def syncing(
    rehearsal: Rehearsal, settings: Settings, events: list[Event]
) -> AsyncIterator[tuple[Mirror, asyncio.Task[object]]]:
    with opened(settings, events) as mirror:
        task: asyncio.Task[object] = asyncio.create_task(mirror.sync([ID]))
        try:
            yield mirror, task
            await asyncio.wait_for(task, 60)
            outcomes = rows(mirror, "SELECT DISTINCT outcome FROM transfers")
            assert outcomes == [("done",)], "no attempt failed"
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert_mirrored(rehearsal, settings.root, ID)


async def until(moment: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not moment():
            await asyncio.sleep(0.01)


def moved(events: list[Event]) -> int:
    return sum(event.count for event in events if isinstance(event, BytesMoved))


@pytest.mark.parametrize("channel", ["https", "ftp"])
async def test_another_bandwidth_reaches_the_stream_under_way_and_ends_none(
    tmp_path: Path, channel: str
) -> None:
    async with Rehearsal([big_entry(ID, LARGE)]) as rehearsal:
        settings = with_transfer(
            settings_for(rehearsal, tmp_path),
            channels=(channel,),
            stall_s=20.0,
            bandwidth=300_000,
            connections=1,
        )
        events: list[Event] = []
        async with syncing(rehearsal, settings, events) as (mirror, task):
            await until(lambda: moved(events) > 100_000)
            assert not task.done()
            mirror.pacing.apply(with_transfer(settings, bandwidth=None, connections=4))
        with opened(settings) as mirror:
            sql = "SELECT count(*) FROM transfers t JOIN files f USING (file_id) WHERE f.bytes > 5000000"
            assert rows(mirror, sql) == [(1 if channel == "ftp" else 3,)], (
                "no stream ended before its stretch did"
            )


async def test_a_pause_ends_the_stream_with_its_partial_kept_and_its_end_goes_on_there(
    tmp_path: Path,
) -> None:
    async with Rehearsal([big_entry(ID, LARGE)]) as rehearsal:
        settings = with_transfer(settings_for(rehearsal, tmp_path), stall_s=20.0, bandwidth=500_000)
        events: list[Event] = []
        async with syncing(rehearsal, settings, events) as (mirror, task):
            await until(lambda: moved(events) > 300_000)
            mirror.pacing.apply(with_transfer(settings, bandwidth=0))
            await until(lambda: not any(s.running for s in mirror.pacing._streams.values()))
            assert not task.done()
            told = [event for event in events if isinstance(event, LimitsInForce)]
            assert "at any time" in (told[-1].rests or "")
            mirror.pacing.apply(with_transfer(settings, bandwidth=None))
        assert moved(events) < 6_000_000 + 200_000, "little came twice"


# --- on the line ----------------------------------------------------------------------------------------------


async def test_our_own_limit_is_no_stall_and_holds(tmp_path: Path) -> None:
    (tmp_path / "10002").mkdir()
    (tmp_path / "10002" / "a.mrc").write_bytes(os.urandom(20_000))
    with nginx(tmp_path) as served:
        throttle = Throttle([Bucket(10_000.0)])
        transport = HttpsTransport(served.url, quick_hosts(), stall_s=0.3, throttle=throttle)
        try:
            began = time.monotonic()
            claim = claim_of("a.mrc")
            outcome = await outcome_of(transport, claim)
            took_s = time.monotonic() - began
        finally:
            await transport.aclose()
    assert outcome.fault is None
    assert bytes(collected(claim).data) == (tmp_path / "10002" / "a.mrc").read_bytes()
    assert took_s > 1.0, "four pieces of 4 KiB at 10 kB/s are waited for"


async def test_what_we_do_not_read_the_server_does_not_send() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        try:
            while sent < 200_000_000:
                writer.write(bytes(100_000))
                await writer.drain()
                sent += 100_000
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    throttle = Throttle([Bucket(100_000.0)])
    transport = HttpsTransport(f"http://127.0.0.1:{port}", quick_hosts(), throttle=throttle)
    claim = claim_of("a.mrc")
    fetching = asyncio.create_task(outcome_of(transport, claim))
    await until(lambda: len(collected(claim).data) > 40_000)
    assert sent < 20_000_000, "more than what the kernel holds for us is not on its way"
    fetching.cancel()
    await asyncio.wait([fetching])
    await transport.aclose()
    server.close()
    await server.wait_closed()

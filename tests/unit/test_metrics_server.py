"""`/metrics`, `/healthz` and `/readyz`, asked over real connections, by friends and others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from empiar_mirror.metrics.server import VISITORS, served
from empiar_mirror.status import SILENT_S
from empiar_schema import events
from empiar_schema.faults import ConfigFault
from empiar_schema.states import Channel
from seen_mirror import Seen, samples, seen_mirror

LOOPBACK = ("127.0.0.1", 0)


@asynccontextmanager
async def open_door(folder: Path, *, longest_visit_s: float = 10.0) -> AsyncIterator[tuple[Seen, int]]:
    with seen_mirror(folder / "mirror") as seen:
        door = served(LOOPBACK, seen.instruments.registry, seen.monitor, longest_visit_s=longest_visit_s)
        async with door as (_host, port):
            yield seen, port


async def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def say(port: int, text: bytes) -> bytes:
    """All that the server answers to `text`, until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_metrics_are_what_prometheus_parses(tmp_path: Path) -> None:
    async with open_door(tmp_path) as (seen, port):
        await seen.monitor.refresh()
        seen.instruments(events.AttemptBegan(7, "10017/a", Channel.FTP, 30, 0))
        seen.instruments(events.BytesMoved(7, 30))
        status, text = await get(port, "/metrics")
    found = samples(text)
    assert status == 200
    assert found["empiar_mirror_up", ()] == 1
    assert found["empiar_mirror_bytes_total", (("channel", "ftp"),)] == 30
    assert found["empiar_mirror_queue_files", (("state", "parked"),)] == 1


async def test_health_is_that_of_the_bytes_and_readiness_that_of_the_disk(tmp_path: Path) -> None:
    async with open_door(tmp_path) as (seen, port):
        assert (await get(port, "/readyz"))[0] == 503  # it has not looked yet
        assert (await get(port, "/healthz"))[0] == 200
        await seen.monitor.refresh()
        status, text = await get(port, "/healthz")
        assert status == 200
        assert json.loads(text)["attention"] == ["1 file is damaged: `empiar-mirror repair` fetches again"]
        assert await get(port, "/readyz") == (
            200,
            '{"ready": true, "unready": [], "looked_at": "2026-01-01T00:00:00Z"}\n',
        )
        seen.clock.now += SILENT_S + 301
        await seen.monitor.refresh()
        status, text = await get(port, "/healthz")
        assert status == 503
        assert "no byte has come for 30 minutes" in json.loads(text)["standstill"][0]
        assert (await get(port, "/readyz"))[0] == 200


async def test_a_port_that_is_taken_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    async with open_door(tmp_path) as (seen, port):
        with pytest.raises(ConfigFault, match=f"cannot listen on 127.0.0.1, port {port}") as refused:
            async with served(("127.0.0.1", port), seen.instruments.registry, seen.monitor):
                pass
        assert "daemon.listen" in refused.value.hint


@pytest.mark.parametrize("path", ["/", "/metrics/", "//healthz", "/%2e%2e/metrics", "/empiar.db"])
async def test_nothing_else_is_served(tmp_path: Path, path: str) -> None:
    async with open_door(tmp_path) as (_, port):
        answer = await say(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
async def test_nothing_can_be_changed(tmp_path: Path, method: str) -> None:
    async with open_door(tmp_path) as (_, port):
        assert (await get(port, "/metrics", method))[0] == 405
        assert (await get(port, "/healthz", "HEAD"))[0] == 200


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5_000 + b"\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n" + b"a" * 100_000,
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["tls", "version", "path", "header", "headers", "body", "chunk", "both"],
)
async def test_what_is_no_request_is_closed_and_the_next_visitor_is_served(
    tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_door(tmp_path) as (_, port):
        answer = await asyncio.wait_for(say(port, text), 20)
        assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
        assert (await get(port, "/healthz"))[0] == 200
    assert caplog.records == []


async def test_visitors_who_say_nothing_are_few_and_do_not_stay(tmp_path: Path) -> None:
    async with open_door(tmp_path, longest_visit_s=0.5) as (_, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(VISITORS + 20)]
        # All of them see their end, those beyond the limit at once.
        ends = await asyncio.gather(*(reader.read() for reader, _ in silent), return_exceptions=True)
        assert all(end == b"" or isinstance(end, ConnectionError) for end in ends)
        for _, writer in silent:
            writer.close()
        assert (await get(port, "/healthz"))[0] == 200


async def test_a_connection_serves_one_request(tmp_path: Path) -> None:
    async with open_door(tmp_path) as (_, port):
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await say(port, request * 1000)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in answer

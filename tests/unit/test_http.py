"""The HTTP client against a server on loopback that says exactly what each case needs."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from empiar_schema.faults import BadAnswer, EmpiarMirrorError, PermanentFault, Stalled, TransientFault
from empiar_wire.hosts import Hosts
from empiar_wire.http import PoliteHttp, retry_after_s

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@dataclass
class Script:
    """A server that gives its answers in order, one connection each, and keeps what it was sent. ``b""`` means silence."""

    answers: list[bytes]
    url: str = ""
    requests: list[str] = field(default_factory=list)
    naps: list[float] = field(default_factory=list)
    now: float = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer:
                writer.write(answer)
                await writer.drain()
            else:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def nap(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds + 1e-6  # a sleep is never a little too short

    def clock(self) -> float:
        """Time passes only by naps."""
        return self.now


@asynccontextmanager
async def _talk(
    *answers: bytes, stall_s: float = 5.0, tries: int = 3
) -> AsyncIterator[tuple[PoliteHttp, Script]]:
    script = Script(list(answers))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    hosts = Hosts(
        connections=2,
        requests_per_s=1e6,
        user_agent="empiar-mirror/test (+mailto:a@b.org)",
        sleep=script.nap,
        clock=script.clock,
    )
    http = PoliteHttp(hosts, stall_s=stall_s, tries=tries, sleep=script.nap, jitter=lambda: 1.0)
    try:
        yield http, script
    finally:
        await http.aclose()
        server.close()
        await server.wait_closed()


def _status(line: str, *headers: str) -> bytes:
    return "\r\n".join(
        [f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "Connection: close", "", ""]
    ).encode()


async def _fault(
    expected: type[EmpiarMirrorError], *answers: bytes, stall_s: float = 5.0
) -> EmpiarMirrorError:
    async with _talk(*answers, stall_s=stall_s, tries=1) as (http, script):
        with pytest.raises(expected) as caught:
            await http.request("GET", script.url + "/x", max_bytes=100)
        return caught.value


async def test_an_answer_comes_with_status_headers_and_body() -> None:
    async with _talk(OK) as (http, script):
        answer = await http.request("GET", script.url + "/a%20b")
    assert (answer.status, answer.body, answer.url) == (200, b"hello", script.url + "/a%20b")
    assert answer.headers["content-length"] == "5"


async def test_we_say_who_we_are_and_ask_for_plain_bytes() -> None:
    async with _talk(OK) as (http, script):
        await http.request("POST", script.url, body=b"10000-10499", headers={"Accept": "application/json"})
    head = script.requests[0].lower()
    assert head.startswith("post / http/1.1")
    assert "user-agent: empiar-mirror/test (+mailto:a@b.org)" in head
    assert "accept-encoding: identity" in head
    assert "accept: application/json" in head
    assert "content-length: 11" in head


async def test_an_encoded_path_is_sent_as_it_is() -> None:
    async with _talk(OK) as (http, script):
        await http.request("GET", script.url + "/%E0%41%2f%5B1%5D%25.mrc")
    assert script.requests[0].startswith("GET /%E0%41%2f%5B1%5D%25.mrc HTTP/1.1")


@pytest.mark.parametrize("status", ["500 X", "502 X", "503 X", "429 X", "403 X", "408 X"])
async def test_what_may_pass_is_tried_again_with_growing_waits(status: str) -> None:
    async with _talk(_status(status), _status(status), OK) as (http, script):
        assert (await http.request("GET", script.url)).body == b"hello"
    assert len(script.requests) == 3
    assert 1.0 in script.naps
    assert 2.0 in script.naps


async def test_tries_come_to_an_end() -> None:
    async with _talk(_status("500 X")) as (http, script):
        with pytest.raises(TransientFault, match="HTTP 500"):
            await http.request("GET", script.url)
    assert len(script.requests) == 3


async def test_retry_after_is_obeyed() -> None:
    async with _talk(_status("503 X", "Retry-After: 17"), OK) as (http, script):
        await http.request("GET", script.url)
    assert 17.0 in script.naps


async def test_a_long_retry_after_is_handed_to_the_caller_at_once() -> None:
    async with _talk(_status("429 X", "Retry-After: 900")) as (http, script):
        with pytest.raises(TransientFault) as caught:
            await http.request("GET", script.url)
    assert caught.value.retry_after_s == 900
    assert len(script.requests) == 1


@pytest.mark.parametrize("status", ["404 X", "410 X"])
async def test_what_is_not_there_is_absent_and_not_asked_for_again(status: str) -> None:
    async with _talk(_status(status)) as (http, script):
        with pytest.raises(PermanentFault) as caught:
            await http.request("GET", script.url)
    assert caught.value.absent
    assert len(script.requests) == 1


async def test_other_statuses_may_be_asked_for() -> None:
    async with _talk(_status("304 Not Modified")) as (http, script):
        answer = await http.request("GET", script.url, accept_statuses=frozenset({200, 304}))
    assert answer.status == 304


async def test_a_body_cut_short_is_no_answer() -> None:
    await _fault(TransientFault, b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")


async def test_a_body_larger_than_allowed_is_refused_whether_announced_or_not() -> None:
    await _fault(BadAnswer, b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101)
    await _fault(BadAnswer, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 101)


async def test_silence_ends_as_a_stall() -> None:
    await _fault(Stalled, b"", stall_s=0.05)


@pytest.mark.parametrize("nonsense", [b"220 Welcome to FTP\r\n\r\n", b"\0" * 100, b"HTTP/1.1 abc\r\n\r\n"])
async def test_what_is_not_http_is_a_bad_answer(nonsense: bytes) -> None:
    await _fault(BadAnswer, nonsense)


async def test_an_endless_head_is_a_bad_answer() -> None:
    await _fault(BadAnswer, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000)


async def test_a_closed_port_means_the_host_is_down() -> None:
    async with _talk(OK) as (_, script):
        closed = script.url
    hosts = Hosts(connections=1, requests_per_s=1e6, user_agent="x")
    http = PoliteHttp(hosts, tries=1)
    with pytest.raises(TransientFault) as caught:
        await http.request("GET", closed)
    await http.aclose()
    assert caught.value.host_down


async def test_redirects_on_the_same_host_are_followed() -> None:
    async with _talk(_status("301 X", "Location: /new/place"), OK) as (http, script):
        answer = await http.request("GET", script.url + "/old")
    assert answer.url == script.url + "/new/place"


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/x", "//evil.example/x", "http://127.0.0.1:1/", "ftp://127.0.0.1/", ""]
)
async def test_redirects_elsewhere_are_not_followed(elsewhere: str) -> None:
    fault = await _fault(BadAnswer, _status("302 X", f"Location: {elsewhere}"))
    assert "redirected" in str(fault)


async def test_redirects_in_a_circle_end() -> None:
    fault = await _fault(BadAnswer, _status("302 X", "Location: /again"))
    assert "redirects" in str(fault)


async def test_faults_name_the_address_without_its_password() -> None:
    async with _talk(_status("404 X")) as (http, script):
        with pytest.raises(PermanentFault) as caught:
            await http.request("GET", script.url.replace("//", "//user:secret@") + "/x")
    assert "secret" not in str(caught.value)
    assert "/x" in str(caught.value)


async def test_a_stream_gives_the_body_in_pieces_and_raises_where_it_breaks() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"
    received = b""
    async with _talk(_status("503 X"), cut) as (http, script):
        with pytest.raises(TransientFault):
            async with http.stream(script.url, max_bytes=1000) as pieces:
                async for piece in pieces:
                    received += piece
        assert len(script.requests) == 2
    assert received == b"hello"


async def test_no_more_requests_at_once_than_connections_are_allowed() -> None:
    async with _talk(OK) as (http, script):
        async with http.stream(script.url, max_bytes=10), http.stream(script.url, max_bytes=10):
            third = asyncio.create_task(http.request("GET", script.url))
            await asyncio.sleep(0.05)  # time enough for a third request on loopback
            assert len(script.requests) == 2
        assert (await third).body == b"hello"


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    now = time.time() // 1
    assert retry_after_s("120", now=now) == 120
    assert retry_after_s(email.utils.formatdate(now + 90, usegmt=True), now=now) == 90
    assert retry_after_s(email.utils.formatdate(now - 90, usegmt=True), now=now) == 0
    assert [retry_after_s(text, now=now) for text in (None, "soon", "", "-5", "٣")] == [None] * 5

"""The bulk HTTP client below its transport: heads, framing, buffers."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empiar_mirror.transports.answers import ContentRange, last_modified, parse_content_range, strong_etag
from empiar_mirror.transports.http1 import Http1Connection, parse_head
from empiar_mirror.transports.receive import BUFFER_BYTES, Buffers, Receiver
from empiar_schema.faults import Stalled, TransientFault

HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: "a"\r\n\r\n'


@asynccontextmanager
async def connected(
    buffers: Buffers | None = None, *, stall_s: float = 5.0
) -> AsyncIterator[tuple[Receiver, asyncio.StreamWriter]]:
    """A receiver and the other end of its connection."""
    ours, theirs = socket.socketpair()
    receiver = Receiver(buffers or Buffers(), peer="test", stall_s=stall_s)
    await asyncio.get_running_loop().create_connection(lambda: receiver, sock=ours)
    _, writer = await asyncio.open_connection(sock=theirs)
    try:
        yield receiver, writer
    finally:
        await receiver.close()
        writer.close()
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


async def body_of(connection: Http1Connection) -> bytes:
    data = b""
    while piece := await connection.piece():
        data += piece
    return data


async def send_in_pieces(writer: asyncio.StreamWriter, stream: bytes, cuts: Sequence[int]) -> None:
    """`stream` cut at the given places, with a turn of the event loop between the pieces."""
    bounds = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    for start, stop in itertools.pairwise(bounds):
        writer.write(stream[start:stop])
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 6000), max_size=6),
    last=st.one_of(st.none(), st.tuples(st.integers(0, 5000), st.integers(1, 700))),
    cuts=st.lists(st.integers(0, 40_000), max_size=12),
)
def test_answers_read_the_same_however_the_network_cuts_them(
    sizes: list[int], last: tuple[int, int] | None, cuts: list[int]
) -> None:
    """Pipelined answers of known lengths, and perhaps a chunked one at the end."""
    bodies = [random.Random(i).randbytes(size) for i, size in enumerate(sizes)]
    stream = b"".join(HEAD % len(body) + body for body in bodies)
    if last is not None:
        bodies.append(random.Random(99).randbytes(last[0]))
        stream += chunked(bodies[-1], last[1])

    async def run() -> None:
        async with connected() as (receiver, writer):
            connection = Http1Connection(receiver)
            sending = asyncio.create_task(send_in_pieces(writer, stream, cuts))
            for body in bodies:
                head = await connection.head(method="GET")
                assert head.status == 200
                assert await body_of(connection) == body
            await sending
            assert connection.answered == len(bodies)
            assert connection.idle == (last is None)

    asyncio.run(run())


async def test_a_head_may_come_byte_by_byte() -> None:
    async with connected() as (receiver, writer):
        connection = Http1Connection(receiver)
        stream = HEAD % 3 + b"abc"
        sending = asyncio.create_task(send_in_pieces(writer, stream, range(len(stream))))
        head = await connection.head(method="GET")
        assert (head.length, head.headers["etag"]) == (3, '"a"')
        assert await body_of(connection) == b"abc"
        await sending


async def test_a_slow_reader_gets_every_byte_through_two_buffers() -> None:
    """Reading pauses while both buffers are full, and what is lent is never overwritten."""
    stream = random.Random(5).randbytes(6 * BUFFER_BYTES + 12345)
    async with connected() as (receiver, writer):
        writer.write(stream)
        writer.write_eof()
        received = bytearray()
        while piece := await receiver.more(2**18):
            before = bytes(piece)
            for _ in range(20):
                await asyncio.sleep(0)
            assert piece == before
            received += piece
        assert received == stream


async def test_a_lent_buffer_is_not_given_to_others_after_a_sudden_end() -> None:
    """A cancelled write may go on reading it in its thread."""
    buffers = Buffers()
    async with connected(buffers) as (receiver, writer):
        writer.write(b"precious")
        piece = await receiver.more()
        await receiver.close()
        others = [buffers.take() for _ in range(5)]
        for other in others:
            other[:8] = b"overwrit"
        assert bytes(piece) == b"precious"


async def test_closing_twice_gives_each_buffer_back_once() -> None:
    buffers = Buffers()
    async with connected(buffers) as (receiver, _):
        await receiver.close()
        await receiver.close()
    taken = [buffers.take() for _ in range(4)]
    assert len({id(buffer.obj) for buffer in taken}) == 4


async def test_bytes_received_before_a_stall_are_handed_over_first() -> None:
    async with connected(stall_s=0.05) as (receiver, writer):
        writer.write(b"some")
        assert bytes(await receiver.more(1000)) == b"some"
        with pytest.raises(Stalled):
            await receiver.more(1000)


async def test_a_long_wait_for_our_own_disk_is_no_stall() -> None:
    async with connected(stall_s=0.2) as (receiver, writer):
        writer.write(b"first")
        await receiver.more()
        await asyncio.sleep(0.3)
        asyncio.get_running_loop().call_later(0.05, writer.write, b"second")
        assert bytes(await receiver.more()) == b"second"


async def test_drops_keep_a_connection_alive_that_is_slower_than_the_stall_time_in_all() -> None:
    async with connected(stall_s=0.5) as (receiver, writer):
        loop = asyncio.get_running_loop()
        for n in range(8):
            loop.call_later(0.1 * n, writer.write, b"x")
        received = b""
        while len(received) < 8:
            received += await receiver.more(8 - len(received))
        assert received == b"x" * 8


@pytest.mark.parametrize(
    ("raw", "method", "framing", "length", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "GET", "counted", 7, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "HEAD", "counted", 0, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n", "GET", "counted", 7, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n", "GET", "counted", 7, False),
        (
            b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\nConnection: keep-alive\r\n\r\n",
            "GET",
            "counted",
            7,
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", "counted", 0, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", "counted", 0, True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "GET", "counted", 0, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", "chunked", 0, False),
        (b"HTTP/1.1 200 OK\r\n\r\n", "GET", "until close", 0, False),
        (
            b"HTTP/1.1 200 OK\r\nUpgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\nContent-Length: 7\r\n\r\n",
            "GET",
            "counted",
            7,
            True,
        ),
    ],
)
def test_how_a_body_ends(raw: bytes, method: str, framing: str, length: int, keep_alive: bool) -> None:
    head, _ = parse_head(raw, method=method, peer="test")
    assert (head.framing, head.length, head.keep_alive) == (framing, length, keep_alive)


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_fault(raw: bytes) -> None:
    try:
        head, _ = parse_head(b"HTTP/1.1 " + raw + b"\r\n\r\n", method="GET", peer="test")
    except TransientFault:
        return
    assert 100 <= head.status <= 999
    assert head.length >= 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-9/100", ContentRange(0, 10, 100)),
        ("bytes 5-5/*", ContentRange(5, 6, None)),
        ("bytes 9-0/100", None),
        ("bytes */100", None),
        ("bytes=0-9/100", None),
        ("", None),
        ("bytes 0-9/100, bytes 0-9/100", None),
        ("bytes -1-9/100", None),
    ],
)
def test_content_ranges(text: str, expected: ContentRange | None) -> None:
    assert parse_content_range(text) == expected


@given(text=st.text(max_size=60))
def test_any_text_is_a_validator_or_none(text: str) -> None:
    headers = {"last-modified": text, "etag": text, "content-range": text}
    assert last_modified(headers) is None or isinstance(last_modified(headers), int)
    assert strong_etag(headers) in (None, text.strip())
    parse_content_range(text)


@pytest.mark.parametrize(
    ("etag", "strong"), [('"a"', '"a"'), ('W/"a"', None), ("a", None), ('"', None), ("", None), ('""', '""')]
)
def test_only_strong_etags_count(etag: str, strong: str | None) -> None:
    assert strong_etag({"etag": etag}) == strong

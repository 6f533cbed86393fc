"""A minimal HTTP/1.1 client connection for bulk bytes: pipelined requests out, bodies by count into reused buffers.

Heads and chunked bodies are parsed by httptools (llhttp, strict). A body of known length never passes through
the parser, which would copy it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import httptools
from aiohappyeyeballs import start_connection

from empiar_mirror.transports.receive import WORTH_WAKING_BYTES, Buffers, Receiver
from empiar_schema.faults import TransientFault
from empiar_wire.throttle import UNLIMITED, Throttle

#: A head longer than this is no head.
HEAD_BYTES: Final = 2**16
#: Interim answers (1xx) that one request may get.
_INTERIM_ANSWERS: Final = 10
#: Heads are looked for in slices of this size, so that little of a body is copied with them.
_SLICE_BYTES: Final = 2048

_NOTHING: Final = memoryview(b"")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads. `tls` None means plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Head:
    """The head of one final answer."""

    status: int
    #: Names in lower case; repeated ones joined by ``", "``.
    headers: Mapping[str, str]
    #: How the body ends: after `length` bytes, by its own chunk marks, or with the connection.
    framing: Literal["counted", "chunked", "until close"]
    #: Bytes of a counted body.
    length: int
    keep_alive: bool


class _Answer:
    """Collects what httptools reports of one answer."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.status = 0
        self.keep_alive = False
        self.complete = False
        self.body: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        if not self.status:
            self.status = self.parser.get_status_code()
            self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        # What follows a complete message on the same connection belongs to the next answer.
        if not self.complete:
            self.body.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


def parse_head(raw: bytes, *, method: str, peer: str) -> tuple[Head, _Answer]:
    """The head whose bytes, blank line included, are `raw`, and the parser for a chunked body.

    Raises:
        TransientFault: it is no HTTP answer, or its framing is contradictory.
    """
    answer = _Answer()
    try:
        answer.parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise TransientFault(f"{peer} answered something that is not HTTP: {str(error)[:200]}") from error
    if not answer.status:
        raise TransientFault(f"{peer} answered something that is not HTTP")
    framing, length = _framing(answer, method=method, peer=peer)
    keep_alive = answer.keep_alive and framing == "counted"
    return Head(answer.status, answer.headers, framing, length, keep_alive), answer


def _framing(
    answer: _Answer, *, method: str, peer: str
) -> tuple[Literal["counted", "chunked", "until close"], int]:
    if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
        return "counted", 0
    coding = answer.headers.get("transfer-encoding")
    if coding is not None:
        if coding.strip().lower() != "chunked":
            raise TransientFault(
                f"{peer} sends in the transfer coding {coding[:80]!r}, which nobody asked for"
            )
        return "chunked", 0
    length = answer.headers.get("content-length")
    if length is None:
        return "until close", 0
    if not (length.isascii() and length.isdigit()):
        raise TransientFault(f"{peer} stated the length {length[:80]!r}")
    return "counted", int(length)


class Http1Connection:
    """One connection; answers are read in the order of the requests, each body to its end before the next head."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.peer = receiver.peer
        self._left = _NOTHING
        self._head: Head | None = None
        self._answer: _Answer | None = None
        self._remaining = 0
        self._in_step = True
        #: Whether any byte of the answer that is being waited for has come.
        self.answer_begun = False
        #: Answers read so far, on this connection.
        self.answered = 0

    @classmethod
    async def open(
        cls, origin: Origin, buffers: Buffers, *, stall_s: float, throttle: Throttle = UNLIMITED
    ) -> Http1Connection:
        """A connection on which nothing has been sent.

        Raises:
            TransientFault: no connection within `stall_s`; `host_down` is set.
        """
        receiver = Receiver(buffers, peer=str(origin), stall_s=stall_s, throttle=throttle)
        try:
            await _connect(receiver, origin)
        except BaseException:
            await receiver.close()
            raise
        return cls(receiver)

    def send(self, request: bytes) -> None:
        """`request` is on its way."""
        self._receiver.write(request)

    @property
    def idle(self) -> bool:
        """Whether a request sent now would be the next thing to be answered."""
        return self.reusable and self._receiver.open and not self._receiver.unread and not self._left

    @property
    def reusable(self) -> bool:
        """Whether the last body was read to its end and the server keeps the connection."""
        kept = self._head is None or (self._head.keep_alive and self._remaining == 0)
        return kept and self._in_step

    @property
    def ended(self) -> bool:
        """Whether the server has closed the connection."""
        return not self._receiver.open

    @property
    def announced_end(self) -> bool:
        """Whether the last answer said that the server closes the connection after it."""
        return self._head is not None and not self._head.keep_alive

    async def head(self, *, method: str, within_s: Callable[[], float] | None = None) -> Head:
        """The head of the next final answer; interim answers are skipped. It should begin `within_s` seconds.

        Raises:
            LostPatience: it has not begun within `within_s`.
            TransientFault: the connection ended or broke, or what came is no HTTP answer.
            Stalled: no byte came for the allowed time.
        """
        self._in_step = False
        self.answer_begun = bool(self._left)
        for _ in range(_INTERIM_ANSWERS):
            head, answer = parse_head(await self._head_bytes(within_s), method=method, peer=self.peer)
            if head.status >= 200:
                self._head, self._answer, self._remaining = head, answer, head.length
                self.answered += 1
                self._in_step = True
                return head
        raise TransientFault(f"{self.peer} sends interim answers without end")

    async def _head_bytes(self, within_s: Callable[[], float] | None) -> bytes:
        raw = bytearray()
        while len(raw) < HEAD_BYTES:
            if not self._left:
                self._left = await self._receiver.more(within_s=None if raw else within_s)
                if not self._left:
                    raise TransientFault(
                        f"{self.peer} closed the connection instead of answering", crowded=True
                    )
                self.answer_begun = True
            searched = max(len(raw) - 3, 0)
            raw += self._left[:_SLICE_BYTES]
            if not raw.startswith(b"HTTP/1."[: len(raw)]):
                raise TransientFault(f"{self.peer} answered something that is not HTTP: {bytes(raw[:40])!r}")
            end = raw.find(b"\r\n\r\n", searched)
            if end >= 0:
                surplus = len(raw) - (end + 4)
                taken = min(_SLICE_BYTES, len(self._left)) - surplus
                self._left = self._left[taken:]
                return bytes(raw[: end + 4])
            self._left = self._left[_SLICE_BYTES:]
        raise TransientFault(f"{self.peer} sends a head without end")

    async def piece(self) -> memoryview:
        """The next part of the body, valid until the next call; empty at its end. It is paid for where there is a limit.

        Raises:
            TransientFault: the connection ended or broke before the body did.
            Stalled: no byte came for the allowed time.
        """
        piece = await self._piece()
        await self._receiver.pay(len(piece))
        return piece

    async def _piece(self) -> memoryview:
        assert self._head is not None
        if self._head.framing == "chunked":
            return await self._dechunked()
        if self._head.framing == "until close":
            return await self._some(WORTH_WAKING_BYTES)
        if self._remaining == 0:
            return _NOTHING
        some = await self._some(min(self._remaining, WORTH_WAKING_BYTES))
        if not some:
            raise TransientFault(
                f"{self.peer} closed the connection {self._remaining} bytes before the end of the answer"
            )
        piece = some[: self._remaining]
        self._left = some[len(piece) :]
        self._remaining -= len(piece)
        return piece

    async def _some(self, worth_waking: int) -> memoryview:
        if self._left:
            some, self._left = self._left, _NOTHING
            return some
        return await self._receiver.more(worth_waking)

    async def _dechunked(self) -> memoryview:
        answer = self._answer
        assert answer is not None
        while not answer.body and not answer.complete:
            some = await self._some(1)
            if not some:
                raise TransientFault(f"{self.peer} closed the connection before the last chunk")
            try:
                answer.parser.feed_data(some)
            except httptools.HttpParserError as error:
                if not answer.complete:
                    raise TransientFault(f"{self.peer} sends broken chunks: {str(error)[:200]}") from error
        piece = memoryview(b"".join(answer.body))
        answer.body.clear()
        return piece

    def surplus(self, *, more_expected: bool) -> bool:
        """Whether bytes follow the finished body that cannot be the beginning of the next answer; then nothing after them can be read."""
        if self._head is None or self._head.framing != "counted" or self._remaining:
            return False
        beginning = bytes(self._left[:7])
        if more_expected:
            found = not beginning.startswith(b"HTTP/1."[: len(beginning)])
        else:
            found = bool(beginning) or self._receiver.unread
        self._in_step = self._in_step and not found
        return found

    async def drain(self, *, at_most: int) -> None:
        """The rest of a body of at most so many bytes is read, so that the connection can serve on."""
        if self._head is not None and self._head.framing == "counted" and self._remaining <= at_most:
            while await self.piece():
                pass

    async def close(self) -> None:
        """The socket is closed, at once."""
        self._left = _NOTHING
        await self._receiver.close()


async def _connect(receiver: Receiver, origin: Origin) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(receiver.stall_s):
            found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
            # Not by create_connection: cancelled in the wrong moment, Python 3.11's race loses the socket that won.
            winner = await start_connection(found, happy_eyeballs_delay=0.25)
            name = None if origin.tls is None else origin.host
            await loop.create_connection(lambda: receiver, sock=winner, ssl=origin.tls, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        raise TransientFault(
            f"{origin} shows a certificate that is not to be trusted: {error.verify_message}",
            hint="check this machine's clock and certificate store, and the address in the configuration",
            host_down=True,
        ) from error
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or f"no connection in {receiver.stall_s:g} s"
        raise TransientFault(f"{origin} cannot be reached: {reason}", host_down=True) from error

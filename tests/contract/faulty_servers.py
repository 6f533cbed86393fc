"""Small servers on loopback that misbehave byte by byte, as no real server can be made to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum


class Act(Enum):
    """What a server may do instead of sending bytes."""

    HANG = "says nothing more and keeps the connection"
    CLOSE = "closes the connection"
    RESET = "resets the connection"


Script = Sequence[bytes | Act]


@dataclass(frozen=True)
class Request:
    """One HTTP request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    #: Number of the request on this server, from 0; and of its connection.
    number: int
    connection: int


@dataclass
class Faulty:
    """A running server: its address and what it was asked."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], "asyncio.Future[None]"]


async def _act(writer: asyncio.StreamWriter, script: Script) -> bool:
    """Whether the connection goes on after the script."""
    for item in script:
        if isinstance(item, bytes):
            writer.write(item)
            await writer.drain()
        elif item is Act.HANG:
            await asyncio.Event().wait()
        else:
            if item is Act.RESET:
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
    return True


@asynccontextmanager
async def _serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object],
    faulty: Faulty,
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Faulty]:
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        faulty.connections += 1
        faulty.open += 1
        faulty.most_open = max(faulty.most_open, faulty.open)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)  # type: ignore[misc]  # any coroutine function will do
        finally:
            faulty.open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    faulty.port = server.sockets[0].getsockname()[1]
    try:
        yield faulty
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()


@asynccontextmanager
async def faulty_http(
    respond: Callable[[Request], Script], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Faulty]:
    """An HTTP server that answers each request with whatever bytes and acts `respond` says."""
    faulty = Faulty()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = faulty.connections
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")
            method, target, _ = first.split(" ")
            headers = dict(line.split(": ", 1) for line in lines if line)
            request = Request(method, target, headers, len(faulty.requests), connection)
            faulty.requests.append(request)
            if not await _act(writer, respond(request)):
                return

    async with _serving(serve, faulty, tls=tls):
        yield faulty


@dataclass(frozen=True)
class FtpScript:
    """How an FTP server differs from a good one."""

    content: bytes = b"0123456789" * 100
    greeting: str = "220-Welcome\r\n220 ready"
    #: Instead of the usual reply to a command (its first word).
    replies: dict[str, str] = field(default_factory=dict)
    #: What is sent on the data connection, from the place where REST says; default: `content` from there.
    sends: Callable[[int], Script] | None = None
    done: str | None = "226 Transfer complete."
    size: int | None = None
    #: The first connection ends, without a word, at the first command after a transfer.
    leaves_after_a_file: bool = False
    #: A command that comes during a transfer ends it.
    takes_commands_for_abort: bool = False
    #: Names that RETR refuses.
    unreadable: tuple[str, ...] = ()


@asynccontextmanager
async def faulty_ftp(script: FtpScript) -> AsyncIterator[Faulty]:
    """An FTP server with one file of any name."""
    faulty = Faulty()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _FtpSession(script, reader, writer, faulty)
        try:
            await session.run()
        finally:
            await session.close()

    async with _serving(serve, faulty):
        yield faulty


class _FtpSession:
    def __init__(
        self, script: FtpScript, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faulty: Faulty
    ) -> None:
        self.script, self.reader, self.writer, self.faulty = script, reader, writer, faulty
        self.rest = 0
        self.transfers = 0
        self.listener: asyncio.Server | None = None
        self.data: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        await self.say(self.script.greeting)
        while line := await self.reader.readline():
            if self.transfers and self.script.leaves_after_a_file and self.faulty.connections == 1:
                return
            text = line.decode("latin-1").rstrip("\r\n")
            self.faulty.commands.append(text)
            verb, _, argument = text.partition(" ")
            if verb in self.script.replies:
                await self.say(self.script.replies[verb])
            elif verb == "RETR" and argument in self.script.unreadable:
                await self.say("550 Failed to open file.")
            elif verb == "RETR":
                await self.retr()
            else:
                await self.say(await self.usual(verb, argument))

    async def say(self, text: str) -> None:
        self.writer.write(text.encode("latin-1") + b"\r\n")
        await self.writer.drain()

    async def usual(self, verb: str, argument: str) -> str:
        if verb == "EPSV":
            return await self.epsv()
        if verb == "REST":
            self.rest = int(argument)
        size = len(self.script.content) if self.script.size is None else self.script.size
        return {
            "USER": "331 password",
            "PASS": "230 in",
            "CWD": "250 there",
            "SIZE": f"213 {size}",
            "MDTM": "213 20200913122640",
            "REST": "350 restarting",
        }.get(verb, "200 fine")

    async def epsv(self) -> str:
        await self.close()
        self.data = asyncio.get_running_loop().create_future()

        def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.data.set_result(writer)

        self.listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        return f"229 Entering Extended Passive Mode (|||{self.listener.sockets[0].getsockname()[1]}|)"

    async def retr(self) -> None:
        data = await self.data
        self.transfers += 1
        await self.say("150 here it comes")
        rest, self.rest = self.rest, 0
        if self.script.takes_commands_for_abort:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await self.reader.readline()
                data.close()
                await self.say("426 Transfer aborted.")
                return
        await _act(
            data, [self.script.content[rest:]] if self.script.sends is None else self.script.sends(rest)
        )
        data.close()
        if self.script.done is not None:
            await self.say(self.script.done)

    async def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
        if self.data.done():
            self.data.result().close()


@asynccontextmanager
async def counting_proxy(port: int) -> AsyncIterator[Faulty]:
    """A relay to a loopback port that counts connections; it misbehaves in nothing."""
    faulty = Faulty()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(2**16):
            writer.write(block)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(relay(reader, far_writer), relay(far_reader, writer))
        finally:
            far_writer.close()
            with contextlib.suppress(OSError):
                await far_writer.wait_closed()

    async with _serving(serve, faulty):
        yield faulty

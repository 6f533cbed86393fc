"""The FTP client against a server on loopback that misbehaves reply by reply. Good servers are in tests/contract."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from empiar_schema.faults import (
    BadAnswer,
    HostileName,
    PermanentFault,
    RangesRefused,
    Stalled,
    TransientFault,
)
from empiar_wire.ftp import FtpConnection, Reply, argument, epoch_from_mdtm, passive_port
from empiar_wire.hosts import Hosts

LISTING = b"-rw-r--r--    1 0        0               3 Nov 22 20:54 a.txt\r\n"


class Server:
    """An FTP server whose replies are a table from the first word of a command; EPSV and PASV really listen."""

    def __init__(self, replies: dict[str, bytes], data: bytes = LISTING) -> None:
        self.replies = {
            "": b"220 ready\r\n",
            "USER": b"331 password\r\n",
            "PASS": b"230 in\r\n",
            "TYPE": b"200 binary\r\n",
            "FEAT": b"211-Features:\r\n SIZE\r\n211 End\r\n",
            "CWD": b"250 there\r\n",
            "LIST": b"150 coming\r\n",
            "RETR": b"150 coming\r\n",
            "REST": b"350 from there\r\n",
            "NOOP": b"200 ok\r\n",
            "end": b"226 done\r\n",
        } | replies
        self.data = data
        self.commands: list[bytes] = []
        self._waiting: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self._passive: list[asyncio.Server] = []
        self._sessions: list[asyncio.StreamWriter] = []

    async def session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sessions.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(self.replies[""])
            while line := await reader.readline():
                self.commands.append(line.rstrip(b"\r\n"))
                await self._answer(line.split(None, 1)[0].decode().upper(), writer)
        writer.close()

    async def _answer(self, word: str, writer: asyncio.StreamWriter) -> None:
        reply = self.replies.get(word, b"500 unknown\r\n")
        if word in ("EPSV", "PASV") and word not in self.replies:
            port = await self._listen()
            text = f"229 (|||{port}|)" if word == "EPSV" else f"227 (10,34,22,86,{port // 256},{port % 256})"
            reply = text.encode() + b"\r\n"
        writer.write(reply)
        if word in ("LIST", "RETR", "MLSD") and reply.startswith(b"1"):
            data = await self._waiting.get()
            data.write(self.data)
            data.close()
            writer.write(self.replies["end"])
        if reply.startswith(b"421"):
            writer.close()

    async def _listen(self) -> int:
        async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._sessions.append(writer)
            await self._waiting.put(writer)

        self._passive.append(await asyncio.start_server(accept, "127.0.0.1", 0))
        return int(self._passive[-1].sockets[0].getsockname()[1])

    async def close(self) -> None:
        for server in self._passive:
            server.close()
        for session in self._sessions:
            session.close()
            with contextlib.suppress(ConnectionError):
                await session.wait_closed()


@asynccontextmanager
async def _connection(
    replies: dict[str, bytes], *, data: bytes = LISTING, stall_s: float = 5.0, path: str = "/base"
) -> AsyncIterator[tuple[FtpConnection, Server]]:
    server = Server(replies, data)
    listener = await asyncio.start_server(server.session, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    hosts = Hosts(connections=2, requests_per_s=1e6, user_agent="empiar-mirror/test")
    connection = FtpConnection(hosts, f"ftp://127.0.0.1:{port}{path}", stall_s=stall_s)
    try:
        yield connection, server
    finally:
        connection.close()
        listener.close()
        await server.close()


async def _list(connection: FtpConnection) -> bytes:
    return b"".join([block async for block in connection.listing()])


async def test_a_listing_is_asked_for_without_an_argument_after_cwd_by_components() -> None:
    async with _connection({}) as (connection, server):
        await connection.login()
        await connection.cwd(b"10001/data/-x y")
        assert await _list(connection) == LISTING
        assert connection.usable
    assert server.commands[3:] == [
        b"CWD /base",
        b"CWD 10001",
        b"CWD data",
        b"CWD ./-x y",
        b"FEAT",
        b"EPSV",
        b"LIST -a",
    ]


async def test_a_deeper_directory_is_reached_from_where_we_are() -> None:
    async with _connection({}) as (connection, server):
        await connection.login()
        await connection.cwd(b"1/data")
        await connection.cwd(b"1/data/sub")
        await connection.cwd(b"1/data/sub")
        await connection.cwd(b"1")
    assert server.commands[3:] == [b"CWD /base", b"CWD 1", b"CWD data", b"CWD sub", b"CWD /base", b"CWD 1"]


async def test_mlsd_is_used_where_the_server_has_it() -> None:
    replies = {"FEAT": b"211-F\r\n MLST type*;size*;\r\n211 End\r\n", "MLSD": b"150 x\r\n"}
    async with _connection(replies) as (connection, server):
        await connection.login()
        await _list(connection)
    assert server.commands[-1] == b"MLSD"


async def test_pasv_is_the_fallback_and_its_address_is_not_believed() -> None:
    async with _connection({"EPSV": b"500 no\r\n"}) as (connection, server):
        await connection.login()
        assert await _list(connection) == LISTING
        assert await _list(connection) == LISTING
    assert server.commands.count(b"EPSV") == 1


async def test_a_greeting_of_many_lines_some_like_codes_is_read() -> None:
    greeting = b"220-Welcome to ftp.ebi.ac.uk\r\n2025-01-01 news\r\n220-more\r\n 220 not yet\r\n220 \r\n"
    async with _connection({"": greeting}) as (connection, _):
        await connection.login()
        await connection.noop()
        assert connection.usable


@pytest.mark.parametrize(
    "replies", [{"": b"421 too many\r\n"}, {"PASS": b"530 maximum number of clients\r\n"}]
)
async def test_a_full_server_is_a_host_to_leave_alone(replies: dict[str, bytes]) -> None:
    async with _connection(replies) as (connection, _):
        with pytest.raises(TransientFault) as caught:
            await connection.login()
        assert caught.value.host_down
        assert not connection.usable


async def test_a_closed_port_is_a_host_that_is_down() -> None:
    async with _connection({}) as (first, _):
        await first.login()
    hosts = Hosts(connections=1, requests_per_s=1e6, user_agent="x")
    with pytest.raises(TransientFault) as caught:
        await FtpConnection(hosts, "ftp://127.0.0.1:1/").login()
    assert caught.value.host_down


async def test_a_failed_login_gives_its_place_back() -> None:
    hosts = Hosts(connections=1, requests_per_s=1e6, user_agent="x")
    for _ in range(2):
        with pytest.raises(TransientFault):
            await asyncio.wait_for(FtpConnection(hosts, "ftp://127.0.0.1:1/").login(), 5)


@pytest.mark.parametrize(
    "greeting",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 400 Bad\r\n",
        b"\xff\xfe\r\n",
        b"2" * 100_000,
        b"220-x\r\n" * 2000,
    ],
)
async def test_what_is_not_ftp_is_a_bad_answer(greeting: bytes) -> None:
    async with _connection({"": greeting}) as (connection, _):
        with pytest.raises(BadAnswer):
            await connection.login()


async def test_silence_ends_as_a_stall_and_the_connection_is_not_used_again() -> None:
    async with _connection({"NOOP": b""}, stall_s=0.05) as (connection, _):
        await connection.login()
        with pytest.raises(Stalled):
            await connection.noop()
        assert not connection.usable


@pytest.mark.parametrize(
    "end",
    [b"426 aborted\r\n", b"451 local error\r\n", b"226-Output truncated to 10000 matches\r\n226 done\r\n"],
)
async def test_a_listing_that_the_server_calls_incomplete_is_a_fault(end: bytes) -> None:
    async with _connection({"end": end}) as (connection, _):
        await connection.login()
        with pytest.raises(TransientFault):
            await _list(connection)


async def test_a_listing_without_its_closing_reply_is_a_fault() -> None:
    async with _connection({"end": b""}, stall_s=0.05) as (connection, _):
        await connection.login()
        with pytest.raises(Stalled):
            await _list(connection)


async def test_a_missing_directory_is_absent_and_leaves_the_connection_in_step() -> None:
    async with _connection({"CWD": b"550 Failed to change directory.\r\n"}) as (connection, _):
        await connection.login()
        with pytest.raises(PermanentFault) as caught:
            await connection.cwd(b"10001/data")
        assert caught.value.absent
        await connection.noop()


async def test_a_refused_file_closes_its_data_socket_and_leaves_the_connection_in_step() -> None:
    async with _connection({"RETR": b"550 no such file\r\n"}) as (connection, _):
        await connection.login()
        with pytest.raises(PermanentFault):
            await connection.open_data(b"RETR a.mrc")
        await connection.noop()
        assert connection.usable


async def test_a_refused_restart_ends_the_connection_before_wrong_bytes_come() -> None:
    async with _connection({"REST": b"502 no\r\n"}) as (connection, _):
        await connection.login()
        with pytest.raises(RangesRefused):
            await connection.open_data(b"RETR a.mrc", rest=100)
        assert not connection.usable


async def test_a_file_comes_from_the_byte_asked_for() -> None:
    async with _connection({}, data=b"bytes") as (connection, server):
        await connection.login()
        data = await connection.open_data(b"RETR a.mrc", rest=7)
        assert await asyncio.get_running_loop().sock_recv(data, 100) == b"bytes"
        assert not connection.usable
        await connection.finish()
        assert connection.usable
    assert server.commands[-3:] == [b"EPSV", b"REST 7", b"RETR a.mrc"]


async def test_no_port_in_a_passive_reply_is_a_bad_answer() -> None:
    async with _connection({"EPSV": b"229 somewhere\r\n"}) as (connection, _):
        await connection.login()
        with pytest.raises(BadAnswer):
            await connection.open_data(b"LIST")


@pytest.mark.parametrize("name", [b"a\r\nDELE b", b"a\nb", b"a\0b"])
async def test_a_name_cannot_smuggle_a_command(name: bytes) -> None:
    with pytest.raises(HostileName):
        argument(name)
    async with _connection({}) as (connection, server):
        await connection.login()
        before = len(server.commands)
        with pytest.raises(HostileName):
            await connection.cwd(b"x/" + name)
        with pytest.raises(HostileName):
            await connection.command(b"SIZE " + name)
        await connection.noop()
        assert server.commands[before:] == [b"NOOP"]


async def test_a_path_that_climbs_is_refused() -> None:
    async with _connection({}) as (connection, _):
        await connection.login()
        with pytest.raises(HostileName):
            await connection.cwd(b"10001/../../etc")


def test_names_that_servers_would_interpret_are_written_as_paths() -> None:
    names = (b"a.mrc", b"-R", b"~root", b" x", b"\xe0")
    assert [argument(name) for name in names] == [b"a.mrc", b"./-R", b"./~root", b"./ x", b"./\xe0"]


def test_passive_replies_name_a_port() -> None:
    assert passive_port(Reply(229, "Entering Extended Passive Mode (|||24513|)")) == 24513
    assert passive_port(Reply(227, "Entering Passive Mode (10,34,22,86,95,193).")) == 24513
    for text in ("", "(|||0|)", "(|||99999|)", "(1,2,3)"):
        with pytest.raises(BadAnswer):
            passive_port(Reply(229, text))


def test_mdtm_is_utc_seconds() -> None:
    assert epoch_from_mdtm("20200913122640") == 1_600_000_000
    assert epoch_from_mdtm("20200913122640.123") == 1_600_000_000
    assert [epoch_from_mdtm(text) for text in ("", "2020", "20209913122640")] == [None] * 3

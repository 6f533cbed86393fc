"""One FTP connection that survives what real FTP servers do. aioftp speaks the control connection; data sockets are our own.

Its listings and streams are not used: they lose or rename files whose names are not plain, and cost many
times the processor time. Every rule below that looks odd was seen to be needed on vsftpd, ProFTPD or Pure-FTPd.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import re
import socket
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

import aioftp

from empiar_schema.faults import (
    BadAnswer,
    HostileName,
    PermanentFault,
    RangesRefused,
    Stalled,
    TransientFault,
    fault_from_ftp_reply,
)
from empiar_wire.hosts import HostGate, Hosts, gate_name, shown_url

_CODEC = "utf-8-any-byte"
#: A reply with more lines than this is no reply.
_REPLY_LINES = 1000
_BLOCK_BYTES = 256 * 1024
_EPSV = re.compile(r"\((.)\1\1([0-9]{1,5})\1\)")
_PASV = re.compile(r"([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3})")
_SAFE_START = re.compile(rb"[A-Za-z0-9_]")


def _any_byte_codec(name: str) -> codecs.CodecInfo | None:
    if name.replace("-", "_") != _CODEC.replace("-", "_"):
        return None
    utf8 = codecs.lookup("utf-8")
    return codecs.CodecInfo(
        name=_CODEC,
        encode=lambda text, _errors="strict": utf8.encode(text, "surrogateescape"),
        decode=lambda raw, _errors="strict": utf8.decode(raw, "surrogateescape"),
    )


# aioftp takes the name of an encoding, not how to treat its errors; names on the archive may be any bytes.
codecs.register(_any_byte_codec)


class Reply(NamedTuple):
    """An FTP reply: its code, and its lines without the code."""

    code: int
    text: str


def argument(name: bytes) -> bytes:
    """`name` as the argument of a command: a path component that no server takes for an option, a home folder or a blank.

    Raises:
        HostileName: the name holds CR, LF or NUL, which no FTP command can carry.
    """
    if re.search(rb"[\r\n\0]", name):
        raise HostileName(f"FTP cannot ask for a name with a line end in it: {name[:80]!r}")
    return name if _SAFE_START.match(name) else b"./" + name


class _Control(aioftp.BaseClient):
    """aioftp's control connection with the reply rule of RFC 959: only the code and a blank end a reply of several lines.

    aioftp refuses a greeting whose inner lines begin with digits, and reads a reply that never ends for ever.
    """

    async def parse_response(self) -> tuple[aioftp.Code, list[str]]:
        code, rest = await self.parse_line()
        lines = [rest[1:]]
        if not (code.isascii() and code.isdigit() and len(code) == 3):
            raise BadAnswer(f"no FTP server: it says {(code + rest)[:100]!r}")
        while rest.startswith("-"):
            head, tail = await self.parse_line()
            if head == code and tail[:1] in ("", " "):
                rest = tail
            lines.append(tail[1:] if head == code else head + tail)
            if len(lines) > _REPLY_LINES:
                raise BadAnswer("an FTP reply of more than a thousand lines")
        return code, lines


class FtpConnection:
    """A logged-in control connection and at most one data connection beside it.

    Every wait ends after `stall_s` with `Stalled`. After a fault or a cancellation in mid-command the two sides
    may be out of step: `usable` is then False, and all that is left is `close`. Paths are bytes, below the
    path of `url`. It holds a place of its host's gate from `login` to `close`.
    """

    def __init__(self, hosts: Hosts, url: str, *, stall_s: float = 12.0) -> None:
        parts = urlsplit(url)
        self._gate: HostGate = hosts.gate(gate_name(url))
        self._host = parts.hostname or ""
        self._port = parts.port or 21
        self._base = b"/" + unquote_to_bytes(parts.path).strip(b"/")
        self._shown = shown_url(url)
        self._stall_s = stall_s
        self._contact = re.sub(r"[^!-~]", "", hosts.user_agent)[:60] or "anonymous"
        self._control = _Control(socket_timeout=stall_s, connection_timeout=stall_s, encoding=_CODEC)
        self._peer = ""
        self._holds_place = False
        self._in_step = False
        self._data: socket.socket | None = None
        self._transferring = False
        self._directory: tuple[bytes, ...] | None = None
        self._passive = b"EPSV"
        self._features: frozenset[str] | None = None

    @property
    def usable(self) -> bool:
        """Whether the next command can be sent: logged in, in step, no transfer under way."""
        return self._in_step and not self._transferring

    async def login(self) -> None:
        """Connected to one address of the host and logged in; the gate's place is held until `close`.

        Raises:
            TransientFault: no connection (`host_down`), or the server is full (421, 530): the gate knows already.
            BadAnswer: whatever answers there does not speak FTP.
        """
        await self._gate.acquire()
        self._holds_place = True
        try:
            await self._gate.request()
            await self._connect()
            reply = await self.command(b"USER anonymous", expect="23")
            if reply.code // 100 == 3:
                await self.command(b"PASS " + self._contact.encode())
            await self.command(b"TYPE I")
            self._gate.succeeded()
        except TransientFault as fault:
            if fault.host_down and self._peer:
                self._gate.crowded()
            else:
                self._gate.failed()
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    async def _connect(self) -> None:
        """The greeting is read. One address is kept: behind another one of the same name may be another machine."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM
            )
        except OSError as error:
            raise TransientFault(f"{self._shown}: {error}", host_down=True) from error
        refusal: Exception | None = None
        for address in dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found):
            try:
                await self._control.connect(address, self._port)
            except (OSError, TimeoutError) as error:
                refusal = error
            else:
                self._peer = address
                break
        else:
            why = str(refusal) or f"no answer in {self._stall_s:g} s"
            raise TransientFault(f"{self._shown}: {why}", host_down=True) from refusal
        self._in_step = True
        await self.reply("2", what="greeting")

    async def send(self, *commands: bytes) -> None:
        """The commands are on their way, in one write; each needs one `reply` (and a transfer a second one)."""
        for command in commands:
            if re.search(rb"[\r\n\0]", command):
                raise HostileName(f"FTP cannot carry a line end in a command: {command[:80]!r}")
        with self._translated(commands[0]):
            self._in_step = False
            await self._control.stream.write(b"".join(command + b"\r\n" for command in commands))

    async def reply(self, expect: str, *, what: str) -> Reply:
        """The next reply, whose code begins with one of the digits of `expect`; `what` is named in faults.

        Raises:
            TransferFault: another reply (`fault_from_ftp_reply`), or none in time.
            BadAnswer: what came is no FTP reply.
        """
        with self._translated(what.encode()):
            self._in_step = False
            self._acknowledge_at_once()
            async with asyncio.timeout(self._stall_s):
                code, lines = await self._control.parse_response()
        self._in_step = code != "421"
        reply = Reply(int(code), "\n".join(lines).strip())
        if code[0] not in expect:
            raise fault_from_ftp_reply(reply.code, reply.text, f"{self._shown}: {what}")
        return reply

    def _acknowledge_at_once(self) -> None:
        """The kernel does not hold back the next acknowledgement; Linux only, and not lasting.

        A server that sends replies of its own accord one after the other (150 and 226, or to commands in one write) and waits
        for the first one's acknowledgement would lose 40 ms each time.
        """
        quick = getattr(socket, "TCP_QUICKACK", None)
        sock = self._control.stream.writer.get_extra_info("socket")
        if quick is not None and sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.IPPROTO_TCP, quick, 1)

    async def command(self, command: bytes, *, expect: str = "2") -> Reply:
        """The reply to one command; see `reply`."""
        await self.send(command)
        return await self.reply(expect, what=_text(command))

    @contextlib.contextmanager
    def _translated(self, what: bytes | str) -> Iterator[None]:
        """What the network and the library raise inside becomes faults that name `what`."""
        shown = f"{self._shown}: {_text(what)}"
        try:
            yield
        except TimeoutError as error:
            raise Stalled(f"{shown}: nothing for {self._stall_s:g} s") from error
        except OSError as error:
            broken = isinstance(error, ConnectionError)
            raise TransientFault(
                f"{shown}: {str(error) or 'the server closed the connection'}", crowded=broken
            ) from error
        except (ValueError, aioftp.AIOFTPException) as error:
            raise BadAnswer(f"{shown}: {str(error)[:200]}") from error

    async def features(self) -> frozenset[str]:
        """First words of what FEAT lists, in upper case; empty where the server does not know FEAT."""
        if self._features is None:
            try:
                reply = await self.command(b"FEAT")
            except PermanentFault:
                self._features = frozenset()
            else:
                lines = (line.split() for line in reply.text.upper().split("\n"))
                self._features = frozenset(words[0] for words in lines if words)
        return self._features

    async def cwd(self, path: bytes) -> None:
        """The working directory is `path`, below the address of the connection; every component by a CWD of its own, all in one write.

        Raises:
            PermanentFault: there is no such directory, or it may not be read (`absent`).
            HostileName: a component is ``..`` or cannot be asked for.
        """
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise HostileName(f"a path that climbs: {path[:80]!r}")
        commands = [b"CWD " + self._base, *(b"CWD " + argument(part) for part in parts)]
        if self._directory is not None and parts[: len(self._directory)] == list(self._directory):
            commands = commands[1 + len(self._directory) :]
        self._directory = None
        if commands:
            await self.send(*commands)
        refused: PermanentFault | None = None
        for command in commands:  # each one's reply is read, or the next command would get it
            try:
                await self.reply("2", what=f"{_text(command)} (of {_text(path)})")
            except PermanentFault as fault:
                refused = refused or fault
        if refused is not None:
            raise refused
        self._directory = tuple(parts)

    async def size(self, name: bytes) -> int:
        """Size in bytes of a file of the working directory.

        Raises:
            PermanentFault: there is no such file, or it is a directory.
        """
        reply = await self.command(b"SIZE " + argument(name))
        if not re.fullmatch(r"[0-9]{1,18}", reply.text):
            raise BadAnswer(f"{self._shown}: SIZE {_text(name)}: {reply.text[:80]!r} is no size")
        return int(reply.text)

    async def mdtm(self, name: bytes) -> int | None:
        """Modification time (epoch seconds) of a file of the working directory; None where the server does not say."""
        try:
            reply = await self.command(b"MDTM " + argument(name))
        except PermanentFault:
            return None
        return epoch_from_mdtm(reply.text)

    async def noop(self) -> None:
        """The server is there and the connection is in step."""
        await self.command(b"NOOP")

    async def listing(self) -> AsyncGenerator[bytes, None]:
        """The working directory's listing as it comes, in blocks of any length: MLSD if `lists_by_facts`, else Unix ``ls -l`` lines.

        The listing is whole if the iteration ends without a fault, and only then. Neither command gets an argument:
        servers take one for an option or a pattern, and show an empty listing for one that is missing.

        Raises:
            TransientFault: the connection broke, or the server says that it left out a part.
        """
        facts = await self.lists_by_facts()
        data = await self.open_data(b"MLSD" if facts else b"LIST -a")
        loop = asyncio.get_running_loop()
        try:
            while True:
                with self._translated("LIST"):
                    async with asyncio.timeout(self._stall_s):
                        block = await loop.sock_recv(data, _BLOCK_BYTES)
                if not block:
                    break
                yield block
            done = await self.finish()
        except BaseException:
            self.close()
            raise
        if "truncated" in done.text.lower():
            raise TransientFault(f"{self._shown}: the listing is cut: {done.text[:200]}")

    async def lists_by_facts(self) -> bool:
        """Whether the server lists by MLSD, whose sizes and times are exact."""
        return not (await self.features()).isdisjoint({"MLSD", "MLST"})

    async def open_data(self, command: bytes, *, rest: int = 0) -> socket.socket:
        """A connected, non-blocking data socket on which the server has begun to answer `command` (``RETR name``), from byte `rest` on.

        The caller reads it, then calls `finish`; or `close` to leave early. When this raises, the socket is closed.

        Raises:
            RangesRefused: the server cannot start at `rest`.
            TransferFault: the server refused the command, or no data connection came about.
        """
        data = await self._connect_data()
        try:
            restart = [b"REST %d" % rest] if rest else []
            await self.send(*restart, command)
            if restart:
                await self._restarted(rest)
            await self.reply("1", what=_text(command))
        except BaseException:
            data.close()
            raise
        self._data, self._transferring = data, True
        return data

    async def _restarted(self, rest: int) -> None:
        try:
            await self.reply("3", what=f"REST {rest}")
        except PermanentFault as fault:
            self.close()  # the command after it is on its way and would send the file from its beginning
            raise RangesRefused(str(fault)) from fault

    async def _connect_data(self) -> socket.socket:
        """Connected to the port the server named and to the machine that we talk to.

        The address in a PASV reply is not read: EBI's has been a private one, and another one could be a trap.
        """
        try:
            reply = await self.command(self._passive)
        except PermanentFault:
            if self._passive == b"PASV":
                raise
            self._passive = b"PASV"
            reply = await self.command(self._passive)
        return await self._connected_to(passive_port(reply))

    async def _connected_to(self, port: int) -> socket.socket:
        """A data socket to this port of the control connection's peer."""
        family = socket.AF_INET6 if ":" in self._peer else socket.AF_INET
        data = socket.socket(family, socket.SOCK_STREAM)
        try:
            data.setblocking(False)
            with self._translated("data connection"):
                async with asyncio.timeout(self._stall_s):
                    await asyncio.get_running_loop().sock_connect(data, (self._peer, port))
        except BaseException:
            data.close()
            raise
        return data

    async def finish(self) -> Reply:
        """The server says that the transfer is complete. The data socket is closed.

        Raises:
            TransferFault: it says that it is not (426, 451), or says nothing in time.
        """
        self._drop_data()
        self._transferring = False
        return await self.reply("2", what="end of transfer")

    def _drop_data(self) -> None:
        if self._data is not None:
            self._data.close()
            self._data = None

    def close(self) -> None:
        """Both sockets are closed at once, whatever they were doing, and the gate's place is free. May be called twice."""
        self._in_step = False
        self._drop_data()
        with contextlib.suppress(ConnectionError):  # never connected
            self._control.stream.writer.transport.abort()
        if self._holds_place:
            self._holds_place = False
            self._gate.release()


def passive_port(reply: Reply) -> int:
    """The port that a reply to EPSV or PASV names.

    Raises:
        BadAnswer: it names none.
    """
    if extended := _EPSV.search(reply.text):
        port = int(extended.group(2))
    elif plain := _PASV.search(reply.text):
        port = int(plain.group(5)) * 256 + int(plain.group(6))
    else:
        port = 0
    if not 0 < port < 65536:
        raise BadAnswer(f"no port in the reply to a passive command: {reply.text[:100]!r}")
    return port


def epoch_from_mdtm(text: str) -> int | None:
    """``20200913122640`` (UTC, a fraction may follow) → epoch seconds; None where it is no such time (RFC 3659, section 2.3)."""
    match = re.fullmatch(r"([0-9]{14})(?:\.[0-9]+)?", text.strip())
    if match is None:
        return None
    try:
        moment = datetime.strptime(match.group(1), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp())


def _text(raw: bytes | str) -> str:
    """For messages only."""
    return raw if isinstance(raw, str) else raw[:200].decode("utf-8", "backslashreplace")

"""The file tree over FTP, with the words and habits of vsftpd, which EBI's replies are those of.

Written on bare asyncio: aioftp's server decodes names, lists in its own form and speaks MLSD, so a client tested
against it has not met vsftpd's traps. Names are bytes throughout.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from empiar_mirror.rehearsal.archive import ArchiveFile, Node, RehearsalArchive
from empiar_mirror.rehearsal.faults import (
    ENTITY_BOMB,
    ERROR_TEXT,
    HTML_PAGE,
    Fault,
    FaultBook,
    FaultKind,
    Span,
    Stage,
)
from empiar_mirror.rehearsal.ftp_data import DataChannel
from empiar_mirror.rehearsal.ftp_lines import list_options, ls_lines, mlsd_lines
from empiar_mirror.rehearsal.http import TREE, faulty_pieces
from empiar_mirror.rehearsal.link import Hangs, Link, listening_socket, port_of
from empiar_mirror.rehearsal.listing import as_text, distorted, find_file, find_folder
from empiar_mirror.rehearsal.served import ServedLog

_GREETING = "220-Welcome to the rehearsal of ftp.ebi.ac.uk\r\n220-\r\n220 "
_FULL = "There are too many connected users, please try later."
_WHOLE_BODIES = {
    FaultKind.ERROR_BODY: ERROR_TEXT,
    FaultKind.HTML_PAGE: HTML_PAGE,
    FaultKind.ENTITY_BOMB: ENTITY_BOMB,
}
_WAITING_KINDS = {FaultKind.STALL_AT, FaultKind.SLOW_DRIP}


@dataclass(slots=True)
class FtpServer:
    """Anonymous FTP. `mlsd` adds MLSD, which EBI's server probably lacks."""

    archive: RehearsalArchive
    book: FaultBook
    log: ServedLog
    link: Link = field(default_factory=Link)
    hangs: Hangs = field(default_factory=lambda: Hangs(0))
    mlsd: bool = False
    #: Sessions at once; more are turned away at the greeting with 421.
    max_sessions: int | None = None
    #: Seconds without a command that end a session.
    idle_s: float = 300.0
    sessions: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> int:
        """The port of the control connection; it listens when this returns."""
        self._server = await asyncio.start_server(self._accept, sock=listening_socket())
        return port_of(self._server)

    async def close(self) -> None:
        """The port and all sessions are closed."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.sessions += 1
        if not self.link.shapes:  # else the relay, which faces the client, counts
            self.log.opened("ftp", writer.get_extra_info("socket"))
        session = _Session(self, reader, writer)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError, _SessionEndError):
                await session.run()
        finally:
            self.sessions -= 1
            await session.close_data()
            writer.close()


class _SessionEndError(Exception):
    """The control connection is to be closed."""


class _Session:
    """One control connection."""

    def __init__(self, server: FtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._folder = b"/"
        self._restart = 0
        self._sent = 0
        self._begun: float | None = None
        self._data: DataChannel | None = None
        self._verbs: dict[bytes, Callable[[bytes], Awaitable[None]]] = {
            b"USER": self._user,
            b"PASS": self._pass,
            b"CWD": self._cwd,
            b"CDUP": self._cdup,
            b"PWD": self._pwd,
            b"EPSV": self._epsv,
            b"PASV": self._pasv,
            b"REST": self._rest,
            b"LIST": self._list,
            b"NLST": self._nlst,
            b"RETR": self._retr,
            b"SIZE": self._size,
            b"MDTM": self._mdtm,
            b"FEAT": self._feat,
            b"QUIT": self._quit,
        }
        if server.mlsd:
            self._verbs[b"MLSD"] = self._mlsd

    async def run(self) -> None:
        """The session from greeting to end."""
        limit = self._server.max_sessions
        full = limit is not None and self._server.sessions > limit
        if full or self._server.book.take(Stage.GREETING, "ftp", "greeting") is not None:
            self._record(b"CONNECT", "", 421)
            await self._reply(421, _FULL)
            return
        await self._send_line(_GREETING)
        while True:
            try:
                line = await asyncio.wait_for(self._reader.readline(), self._server.idle_s)
            except TimeoutError:
                await self._reply(421, "Timeout.")
                return
            except ValueError:
                await self._reply(500, "Input line too long.")
                return
            if not line.endswith(b"\n"):
                return
            verb, _, argument = line.rstrip(b"\r\n").partition(b" ")
            await self._command(verb.upper(), argument)

    async def _command(self, verb: bytes, argument: bytes) -> None:
        self._begun = self._server.log.asked("ftp") if verb in (b"RETR", b"LIST", b"MLSD", b"NLST") else None
        if verb in self._verbs:
            await self._verbs[verb](argument)
            return
        fixed = {
            b"SYST": (215, "UNIX Type: L8"),
            b"TYPE": (200, "Switching to Binary mode."),
            b"MODE": (200, "Mode set to S."),
            b"STRU": (200, "Structure set to F."),
            b"NOOP": (200, "NOOP ok."),
            b"OPTS": (200, "Always in UTF8 mode."),
            b"ABOR": (225, "No transfer to ABOR."),
            b"STOR": (550, "Permission denied."),
            b"DELE": (550, "Permission denied."),
        }
        await self._reply(*fixed.get(verb, (500, "Unknown command.")))

    async def close_data(self, *, abort: bool = False) -> None:
        """The passive port, if any, is closed."""
        data, self._data = self._data, None
        if data is not None:
            await data.close(abort=abort)

    # Logging in, and where we are

    async def _user(self, _: bytes) -> None:
        await self._reply(331, "Please specify the password.")

    async def _pass(self, _: bytes) -> None:
        if self._server.book.take(Stage.LOGIN, "ftp", "login", kinds={FaultKind.FTP_530}) is not None:
            self._record(b"PASS", "", 530)
            await self._reply(530, "Sorry, the maximum number of clients is already connected.")
            raise _SessionEndError
        await self._reply(230, "Login successful.")

    async def _feat(self, _: bytes) -> None:
        features = ["EPSV", "MDTM", "PASV", "REST STREAM", "SIZE", "TVFS", "UTF8"]
        if self._server.mlsd:
            features.append("MLST type*;size*;modify*;")
        lines = "".join(f" {feature}\r\n" for feature in features)
        await self._send_line(f"211-Features:\r\n{lines}211 End")

    async def _pwd(self, _: bytes) -> None:
        quoted = self._folder.replace(b'"', b'""')
        await self._send_line(b'257 "' + quoted + b'" is the current directory')

    async def _cwd(self, argument: bytes) -> None:
        folder = self._resolve(argument)
        if self._children(folder) is None:
            self._record(b"CWD", self._target(folder) + "/", 550)
            await self._reply(550, "Failed to change directory.")
            return
        self._folder = folder
        self._record(b"CWD", self._target(folder) + "/", 250)
        await self._reply(250, "Directory successfully changed.")

    async def _cdup(self, _: bytes) -> None:
        await self._cwd(b"..")

    async def _quit(self, _: bytes) -> None:
        await self._reply(221, "Goodbye.")
        raise _SessionEndError

    # Data connections

    async def _epsv(self, _: bytes) -> None:
        port = await self._listen()
        await self._reply(229, f"Entering Extended Passive Mode (|||{port}|)")

    async def _pasv(self, _: bytes) -> None:
        port = await self._listen()
        wrong = self._server.book.take(Stage.LOGIN, "ftp", "pasv", kinds={FaultKind.WRONG_PASV})
        address = "127,0,0,1" if wrong is None else "10,34,22,86"
        await self._reply(227, f"Entering Passive Mode ({address},{port >> 8},{port & 255}).")

    async def _listen(self) -> int:
        await self.close_data(abort=True)
        self._data = DataChannel(self._server.link)
        return await self._data.listen()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The client's data connection; None, and 425 was said, where there is none."""
        if self._data is None:
            await self._reply(425, "Use PORT or PASV first.")
            return None
        try:
            return await self._data.connection()
        except TimeoutError:
            await self.close_data(abort=True)
            await self._reply(425, "Failed to establish connection.")
            return None

    async def _rest(self, argument: bytes) -> None:
        self._restart = int(argument) if argument.isdigit() else 0
        await self._reply(350, f"Restart position accepted ({self._restart}).")

    # Listings

    async def _list(self, argument: bytes) -> None:
        options, path = list_options(argument)
        await self._listing(b"LIST", path, lambda rows: ls_lines(rows, everything=b"a" in options))

    async def _nlst(self, argument: bytes) -> None:
        _, path = list_options(argument)
        await self._listing(b"NLST", path, lambda rows: (name + b"\r\n" for name, _ in rows))

    async def _mlsd(self, argument: bytes) -> None:
        await self._listing(b"MLSD", argument, mlsd_lines)

    async def _listing(
        self, verb: bytes, argument: bytes, lines: Callable[[Iterator[tuple[bytes, Node]]], Iterator[bytes]]
    ) -> None:
        folder = self._resolve(argument) if argument else self._folder
        target = self._target(folder) + "/"
        # vsftpd answers the LIST of something that is not there with an empty listing and 226.
        children = self._children(folder) or iter(())
        fault = self._server.book.take(Stage.LISTING, "ftp", target)
        if await self._refused(verb, target, fault):
            return
        connection = await self._connected()
        if connection is None:
            return
        await self._reply(150, "Here comes the directory listing.")
        kind = fault.kind if fault is not None else None
        sent = 0
        writer = connection[1]
        for line in lines(distorted(children, fault)):
            writer.write(line)
            sent += len(line)
            if writer.transport.get_write_buffer_size() > 65536:
                await writer.drain()
        if kind is FaultKind.STALL_AT:
            await self._abandoned(connection[0])
        ended = (
            (426, "Failure writing network stream.")
            if kind is FaultKind.CUT_PAGE
            else (226, "Directory send OK.")
        )
        await self.close_data()
        self._record(verb, target, ended[0], bytes_sent=sent)
        await self._reply(*ended)

    async def _refused(self, verb: bytes, target: str, fault: Fault | None) -> bool:
        """Whether `fault` is a refusal, which then was said."""
        refusals = {
            FaultKind.FTP_425: (425, "Failed to establish connection."),
            FaultKind.FTP_450: (450, "Requested file action not taken: file busy."),
            FaultKind.FTP_550: (550, "Failed to open file."),
            FaultKind.STATUS: (450, "Requested file action not taken: file busy."),
        }
        if fault is None or fault.kind not in refusals:
            return False
        await self.close_data(abort=True)
        code, text = refusals[fault.kind]
        self._record(verb, target, code)
        await self._reply(code, text)
        return True

    # Files

    async def _size(self, argument: bytes) -> None:
        await self._fact(b"SIZE", argument, lambda file: str(file.size), "Could not get file size.")

    async def _mdtm(self, argument: bytes) -> None:
        def moment(file: ArchiveFile) -> str:
            return time.strftime("%Y%m%d%H%M%S", time.gmtime(file.mtime))

        await self._fact(b"MDTM", argument, moment, "Could not get file modification time.")

    async def _fact(
        self, verb: bytes, argument: bytes, fact: Callable[[ArchiveFile], str], failure: str
    ) -> None:
        path = self._resolve(argument)
        found = find_file(self._server.archive, self._below(path) or b"")
        fault = self._server.book.take(Stage.FACTS, "ftp", self._target(path))
        code = 450 if fault is not None else 213 if found is not None else 550
        self._record(verb, self._target(path), code)
        await self._reply(code, fact(found[2]) if found is not None and code == 213 else failure)

    async def _retr(self, argument: bytes) -> None:
        start, self._restart = self._restart, 0
        path = self._resolve(argument)
        target = self._target(path)
        found = find_file(self._server.archive, self._below(path) or b"")
        if found is None:
            await self.close_data(abort=True)
            self._record(b"RETR", target, 550)
            await self._reply(550, "Failed to open file.")
            return
        if self._server.hangs.next():
            await self._abandoned(None)
        entry, rest, file = found
        fault = self._server.book.take(Stage.FILE, "ftp", target, span=(start, file.size), ranged=start > 0)
        if await self._refused(b"RETR", target, fault):
            return
        match fault.kind if fault is not None else None:
            case FaultKind.CHANGED_FILE | FaultKind.CHANGED_SILENTLY as kind:
                silently = kind is FaultKind.CHANGED_SILENTLY
                file = self._server.archive.change_file(entry, rest, keep_mtime=silently)
            case FaultKind.REFUSE_RANGES:
                start = 0
            case FaultKind.WRONG_CONTENT_RANGE if fault is not None:
                start += int(fault.number(4096))
        await self._send_file(target, (entry, rest, file), start, fault)

    async def _send_file(
        self, target: str, found: tuple[int, bytes, ArchiveFile], start: int, fault: Fault | None
    ) -> None:
        connection = await self._connected()
        if connection is None:
            return
        entry, path, file = found
        kind = fault.kind if fault is not None else None
        stop = file.size
        if kind in (FaultKind.SHORT_BODY, FaultKind.LONG_STATED) and fault is not None:
            stop = max(start, stop - int(fault.number(1000)))
        if kind in _WHOLE_BODIES:
            file, start, stop = (
                ArchiveFile(file.size, file.mtime, body=_WHOLE_BODIES[kind]),
                0,
                len(_WHOLE_BODIES[kind]),
            )
        name = path.rpartition(b"/")[2]
        await self._send_line(
            b"150 Opening BINARY mode data connection for %s (%d bytes)." % (name, file.size)
        )
        whole = await self._pumped(connection, (entry, path, file), (start, stop), fault)
        aborted = kind is FaultKind.FTP_426 or not whole
        self._record(b"RETR", target, 426 if aborted else 226, start_offset=start, bytes_sent=self._sent)
        await self.close_data(abort=not whole)
        if kind is FaultKind.DROP_AT:
            raise _SessionEndError
        await self._reply(
            *((426, "Failure writing network stream.") if aborted else (226, "Transfer complete."))
        )

    async def _pumped(
        self,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        found: tuple[int, bytes, ArchiveFile],
        span: Span,
        fault: Fault | None,
    ) -> bool:
        """Whether everything was sent; False where the client went away. `_sent` counts the bytes."""
        self._sent = 0
        waiting = fault is not None and fault.kind in _WAITING_KINDS
        sending = asyncio.ensure_future(self._pump(connection[1], found, span, fault))
        try:
            while not sending.done():
                await asyncio.wait({sending}, timeout=0.1 if waiting else None)
                if waiting and self._gone(connection[0]):
                    return False
            return sending.result()
        finally:
            sending.cancel()

    async def _pump(
        self,
        writer: asyncio.StreamWriter,
        found: tuple[int, bytes, ArchiveFile],
        span: Span,
        fault: Fault | None,
    ) -> bool:
        with contextlib.suppress(OSError):
            async for piece in faulty_pieces(self._server.archive, *found, span, fault):
                writer.write(piece)
                await writer.drain()
                self._sent += len(piece)
            return True
        return False

    def _gone(self, data: asyncio.StreamReader | None) -> bool:
        return self._reader.at_eof() or (data is not None and data.at_eof())

    async def _abandoned(self, data: asyncio.StreamReader | None) -> None:
        """Nothing is said until the client gives up; then the session ends.

        Raises:
            _SessionEndError: always.
        """
        while not self._gone(data):  # noqa: ASYNC110 - a stream tells its end to readers only, and we must not read
            await asyncio.sleep(0.05)
        raise _SessionEndError

    # Paths and words

    def _resolve(self, argument: bytes) -> bytes:
        """The absolute path that `argument` means here."""
        parts: list[bytes] = []
        start = b"" if argument.startswith(b"/") else self._folder
        for part in (start + b"/" + argument).split(b"/"):
            if part == b"..":
                parts = parts[:-1]
            elif part not in (b"", b"."):
                parts.append(part)
        return b"/" + b"/".join(parts)

    @staticmethod
    def _below(path: bytes) -> bytes | None:
        """`path` relative to the tree of entries; None for the folders above it."""
        if path == TREE:
            return b""
        return path[len(TREE) + 1 :] if path.startswith(TREE + b"/") else None

    def _target(self, path: bytes) -> str:
        below = self._below(path)
        return as_text(path if below is None else below)

    def _children(self, folder: bytes) -> Iterator[tuple[bytes, Node]] | None:
        below = self._below(folder)
        if below is not None:
            return find_folder(self._server.archive, self._server.book, below)
        above = folder.rstrip(b"/")
        if not TREE.startswith(above + b"/"):
            return None
        return iter([(TREE[len(above) + 1 :].partition(b"/")[0], None)])

    def _record(
        self, verb: bytes, target: str, code: int, *, start_offset: int = 0, bytes_sent: int = 0
    ) -> None:
        self._server.log.add(
            "ftp",
            verb.decode(),
            target,
            status=code,
            start_offset=start_offset,
            bytes_sent=bytes_sent,
            begun=self._begun,
        )

    async def _reply(self, code: int, text: str) -> None:
        await self._send_line(f"{code} {text}")

    async def _send_line(self, line: str | bytes) -> None:
        self._writer.write((line.encode() if isinstance(line, str) else line) + b"\r\n")
        await self._writer.drain()

"""An FTP connection that asks for the next file while the current one is still coming.

A file costs two round trips (data connection, RETR) instead of five. vsftpd and ProFTPD take commands that
arrive during a transfer after it.
"""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass

from empiar_mirror.transports.patience import LostPatience
from empiar_schema.faults import PermanentFault, TransientFault
from empiar_schema.files import Validators
from empiar_wire.ftp import FtpConnection, Reply, argument, epoch_from_mdtm, passive_port


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the server says of a file, and the port on which it would send it."""

    found: Validators
    port: int


class FtpAhead(FtpConnection):
    """`prepare` one file, `retrieve` it and name the next, read the socket, `finish`, `prepare` the next."""

    #: The file about which questions are on their way.
    _asked: bytes | None = None

    @property
    def usable(self) -> bool:
        """Whether any command can be sent: in step, no transfer under way, no answer still to come."""
        return super().usable and self._asked is None

    @property
    def continues(self) -> bool:
        """Whether `prepare` can be called, for the file that was named ahead if one was."""
        return super().usable

    async def prepare(self, name: bytes) -> Prepared:
        """Size, time and data port of a file of the working directory: one round trip, or none if it was named ahead.

        Raises:
            TransferFault: there is no such file, or the server is not well.
            HostileName: FTP cannot ask for it.
        """
        if self._asked is None:
            await self.send(*self._questions(name))
            self._asked = name
        assert self._asked == name, "the file named ahead comes next"
        shown = name[:200].decode("utf-8", "backslashreplace")
        try:
            size = await self._answer(f"SIZE {shown}")
            time = await self._answer(f"MDTM {shown}")
            passive = await self._answer("passive mode")
        except BaseException:
            self.close()  # an answer is still to come, and the next command would get it
            raise
        self._asked = None
        if isinstance(size, TransientFault) or (isinstance(size, PermanentFault) and size.absent):
            raise size
        return Prepared(_validators(size, time), passive_port(await self._passive_reply(passive)))

    async def retrieve(
        self, prepared: Prepared, name: bytes, *, rest: int, ahead: bytes | None, within_s: float | None
    ) -> socket.socket:
        """A connected, non-blocking data socket on which the server sends the file from byte `rest` on.

        As `open_data`; besides, the questions about `ahead`, a file of the same directory, are on their way.

        Raises:
            LostPatience: the server has not said within `within_s` (None: the usual time) that the file comes.
            RangesRefused: the server cannot start at `rest`.
            TransferFault: the server refused the file, or no data connection came about.
        """
        data = await self._connected_to(prepared.port)
        try:
            restart = [b"REST %d" % rest] if rest else []
            questions = self._questions(ahead) if ahead is not None else ()
            await self.send(*restart, b"RETR " + argument(name), *questions)
            self._asked = ahead
            if restart:
                await self._restarted(rest)
            what = f"RETR {name[:200].decode('utf-8', 'backslashreplace')}"
            try:
                async with asyncio.timeout(within_s):
                    await self.reply("1", what=what)
            except TimeoutError as error:
                raise LostPatience(f"{what}: no answer within {within_s:.1f} s") from error
        except BaseException:
            data.close()
            raise
        self._data, self._transferring = data, True
        return data

    def _questions(self, name: bytes) -> tuple[bytes, bytes, bytes]:
        file = argument(name)
        return b"SIZE " + file, b"MDTM " + file, self._passive

    async def _answer(self, what: str) -> Reply | TransientFault | PermanentFault:
        """The next reply, or the refusal that it is; a broken connection is raised."""
        try:
            return await self.reply("2", what=what)
        except (TransientFault, PermanentFault) as fault:
            if not self.continues:
                raise
            return fault

    async def _passive_reply(self, answer: Reply | TransientFault | PermanentFault) -> Reply:
        if isinstance(answer, PermanentFault) and self._passive == b"EPSV":
            self._passive = b"PASV"
            return await self.command(self._passive)
        if not isinstance(answer, Reply):
            raise answer
        return answer


def _validators(
    size: Reply | TransientFault | PermanentFault, time: Reply | TransientFault | PermanentFault
) -> Validators:
    """What is known; a server without SIZE leaves the length to be compared with the listing's after the transfer."""
    sized = isinstance(size, Reply) and re.fullmatch(r"[0-9]{1,18}", size.text)
    return Validators(
        size=int(size.text) if isinstance(size, Reply) and sized else None,
        modified_at=epoch_from_mdtm(time.text) if isinstance(time, Reply) else None,
    )

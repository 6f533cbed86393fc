"""Bulk bytes over FTP: the control connection of `empiar_wire.ftp`, data into the same reused buffers as HTTP's."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncGenerator, Sequence
from itertools import zip_longest
from typing import Final

from empiar_mirror.transports.base import Capabilities, Claim, Outcome
from empiar_mirror.transports.ftp_ahead import FtpAhead, Prepared
from empiar_mirror.transports.patience import TRIES, LostPatience, Patience
from empiar_mirror.transports.pool import ConnectionPool
from empiar_mirror.transports.receive import WORTH_WAKING_BYTES, Buffers, Delivery, Receiver
from empiar_schema.faults import EmpiarMirrorError, Stalled, TransientFault
from empiar_schema.files import Validators
from empiar_schema.paths import RemotePath, bytes_from_text
from empiar_schema.states import Channel
from empiar_wire.hosts import Hosts, gate_name
from empiar_wire.throttle import UNLIMITED, Throttle

_LINE_END: Final = re.compile(rb"[\r\n\0]")
#: Transfers in a row that may break with questions on their way before none are sent ahead (Pure-FTPd may take them for ABOR).
_BROKEN_AHEAD: Final = 2


class FtpTransport:
    """The `ftp` channel. See `base.Transport`."""

    channel: Final = Channel.FTP
    capabilities: Final = Capabilities(resumes=True, ranges=False, batch_files=64)

    def __init__(
        self, base_url: str, hosts: Hosts, *, stall_s: float = 12.0, throttle: Throttle = UNLIMITED
    ) -> None:
        self._base_url = base_url
        self._hosts = hosts
        self.gate = hosts.gate(gate_name(base_url))
        self.stall_s = stall_s
        self.throttle = throttle
        self.buffers = Buffers()
        self.patience = Patience(stall_s)
        #: Transfers in a row that broke while questions about the next file were on their way.
        self.broken_ahead = 0
        self.pool = ConnectionPool(self._login, _closed, lambda connection: connection.usable)

    async def fetch(self, claims: Sequence[Claim]) -> AsyncGenerator[Outcome, None]:
        """One outcome per claim, in the order of the claims."""
        session = _Session(self)
        try:
            for claim, following in zip_longest(claims, claims[1:]):
                yield await session.outcome(claim, following)
        finally:
            await session.end()

    async def facts(self, remote: RemotePath) -> Validators:
        """SIZE and MDTM.

        Raises:
            TransferFault: as in `fetch`.
        """
        session = _Session(self)
        try:
            return (await session.prepared(remote)).found
        finally:
            await session.end()

    async def aclose(self) -> None:
        """All idle connections are closed; those in use close with their `fetch`."""
        await self.pool.aclose()

    async def _login(self) -> FtpAhead:
        connection = FtpAhead(self._hosts, self._base_url, stall_s=self.stall_s)
        await connection.login()
        return connection


def _ends_inside(delivery: Delivery) -> bool:
    """Whether the claim ends before the file does."""
    size = delivery.found.size if delivery.found is not None else None
    stop = delivery.claim.stop
    return stop is not None and (size is None or stop < size)


async def _closed(connection: FtpAhead) -> None:
    connection.close()
    await asyncio.sleep(0)  # the event loop closes an aborted socket in its next round


class _Session:
    """One call of `fetch`: at most one connection at a time, and what is known of the files that it serves."""

    def __init__(self, ftp: FtpTransport) -> None:
        self._ftp = ftp
        self._connection: FtpAhead | None = None
        #: Whether the connection has answered in this session; before that, an idle one may have died.
        self._answered = False
        #: What keeps us from the host as a whole; every claim left ends with it.
        self._barred: EmpiarMirrorError | None = None

    async def outcome(self, claim: Claim, following: Claim | None) -> Outcome:
        """How `claim` ended; `following` is the next one."""
        delivery = Delivery(claim)
        try:
            if self._barred is not None:
                raise self._barred
            prepared = await self.prepared(claim.remote)
            await delivery.begin(prepared.found)
            for tries in range(TRIES + 1):
                try:
                    await self._transfer(delivery, prepared, following, tries)
                    break
                except LostPatience:
                    self._ftp.patience.lost()
                    await self._close()
                    prepared = await self.prepared(claim.remote)
            return delivery.finish()
        except EmpiarMirrorError as fault:
            if self._connection is not None and not self._connection.continues:
                await self._close()
            return delivery.failed(fault)
        except BaseException:
            await self._close()
            raise

    async def prepared(self, remote: RemotePath) -> Prepared:
        """What the server says of one file, whose directory is then the working directory.

        A connection that died while idle is replaced without a word.
        """
        connection = await self._connected()
        try:
            return await self._asked(connection, remote)
        except TransientFault as fault:
            died_idle = not self._answered and not connection.continues and not isinstance(fault, Stalled)
            if not died_idle:
                raise
            await self._close()
        return await self._asked(await self._connected(fresh=True), remote)

    async def end(self) -> None:
        """The connection is idle if it is in step, else closed."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.usable:
            self._ftp.pool.put(connection)
        elif connection is not None:
            await self._ftp.pool.close(connection)

    async def _connected(self, *, fresh: bool = False) -> FtpAhead:
        if self._connection is not None and not fresh:
            return self._connection
        try:
            self._connection, self._answered = await self._ftp.pool.take(fresh=fresh), False
        except EmpiarMirrorError as fault:
            self._barred = fault
            raise
        return self._connection

    async def _asked(self, connection: FtpAhead, remote: RemotePath) -> Prepared:
        await self._ftp.gate.request()
        await connection.cwd(b"%d/%s" % (remote.empiar_id, bytes_from_text(remote.directory)))
        asked_at = time.monotonic()
        prepared = await connection.prepare(bytes_from_text(remote.name))
        self._ftp.patience.answered(time.monotonic() - asked_at)
        self._answered = True
        return prepared

    async def _transfer(
        self, delivery: Delivery, prepared: Prepared, following: Claim | None, tries: int
    ) -> None:
        connection, claim = self._connection, delivery.claim
        assert connection is not None
        if delivery.wanted == 0 and not claim.whole:
            return
        ahead = self._ahead(delivery, following)
        name = bytes_from_text(claim.remote.name)
        limit_s = self._ftp.patience.limit_s(tries)
        within_s = limit_s if limit_s < self._ftp.stall_s else None
        data = await connection.retrieve(prepared, name, rest=claim.start, ahead=ahead, within_s=within_s)
        try:
            to_the_end = await self._received(data, delivery)
            if to_the_end:
                await connection.finish()
        except TransientFault:
            if ahead is not None:
                self._ftp.broken_ahead += 1
                await self._close()  # the server may have swallowed the questions
            raise
        if ahead is not None and self._ftp.broken_ahead < _BROKEN_AHEAD:
            self._ftp.broken_ahead = 0
        if not to_the_end:
            # ABOR times out on real servers, and leaving by the data socket alone answers 426: a new connection is cheaper.
            await self._close()

    def _ahead(self, delivery: Delivery, following: Claim | None) -> bytes | None:
        """The name of the next file, if it can be asked about during the transfer of this one."""
        claim = delivery.claim
        if following is None or self._ftp.broken_ahead >= _BROKEN_AHEAD or _ends_inside(delivery):
            return None
        here = (claim.remote.empiar_id, claim.remote.directory)
        name = bytes_from_text(following.remote.name)
        same_folder = (following.remote.empiar_id, following.remote.directory) == here
        return name if same_folder and not _LINE_END.search(name) else None

    async def _received(self, data: socket.socket, delivery: Delivery) -> bool:
        """The bytes are with the sink; whether the server has ended the file, so that its last word can be read."""
        loop = asyncio.get_running_loop()
        ftp = self._ftp
        receiver = Receiver(ftp.buffers, peer=ftp.gate.host, stall_s=ftp.stall_s, throttle=ftp.throttle)
        try:
            await loop.create_connection(lambda: receiver, sock=data)
            inside = _ends_inside(delivery)
            while True:
                left = None if delivery.wanted is None else delivery.wanted - delivery.moved
                if inside and left == 0:
                    return False
                piece = await receiver.more(min(left or WORTH_WAKING_BYTES, WORTH_WAKING_BYTES))
                if not piece:
                    return True
                await receiver.pay(len(piece))
                await delivery.take(piece[:left] if inside else piece)
        finally:
            await receiver.close()

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._ftp.pool.close(connection)

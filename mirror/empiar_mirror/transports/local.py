"""The reference transport: an older copy of the archive in a folder. No connection, no politeness, the same contract."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from empiar_mirror.transports.base import Capabilities, Claim, Outcome
from empiar_mirror.transports.receive import Buffers, Delivery
from empiar_schema.faults import EmpiarMirrorError, PermanentFault, TransientFault
from empiar_schema.files import Validators
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel

_ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class LocalTransport:
    """Serves ``<folder>/<id>/<path as on EMPIAR>``; it stands in for `channel`. Symbolic links are not followed."""

    capabilities: Final = Capabilities(resumes=True, ranges=True, batch_files=64)

    def __init__(self, folder: Path, *, channel: Channel = Channel.HTTPS) -> None:
        self._folder = os.fsencode(folder)
        self.channel = channel
        self._buffers = Buffers()

    async def fetch(self, claims: Sequence[Claim]) -> AsyncGenerator[Outcome, None]:
        """One outcome per claim, in the order of the claims."""
        for claim in claims:
            delivery = Delivery(claim)
            try:
                await self._copy(delivery)
                outcome = delivery.finish()
            except EmpiarMirrorError as fault:
                outcome = delivery.failed(fault)
            yield outcome

    async def facts(self, remote: RemotePath) -> Validators:
        """Size and modification time.

        Raises:
            PermanentFault: there is no such file.
        """
        with self._opened(remote) as fd:
            return _facts(fd)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _copy(self, delivery: Delivery) -> None:
        claim = delivery.claim
        buffer = self._buffers.take()
        with self._opened(claim.remote) as fd:
            await delivery.begin(_facts(fd))
            wanted = delivery.wanted or 0
            while delivery.moved < wanted:
                part = buffer[: wanted - delivery.moved]
                try:
                    count = await asyncio.to_thread(os.preadv, fd, [part], claim.start + delivery.moved)
                except OSError as error:
                    raise TransientFault(f"{claim.remote}: {error.strerror}") from error
                if count == 0:
                    break
                await delivery.take(part[:count])
        self._buffers.give(buffer)

    @contextmanager
    def _opened(self, remote: RemotePath) -> Iterator[int]:
        path = b"%s/%d/%s" % (self._folder, remote.empiar_id, remote.raw)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except _ABSENT as error:
            raise PermanentFault(f"{remote}: no such file", absent=True) from error
        except OSError as error:
            raise PermanentFault(f"{remote}: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise PermanentFault(f"{remote}: no file", absent=True)
            yield fd
        finally:
            os.close(fd)


def _facts(fd: int) -> Validators:
    status = os.fstat(fd)
    return Validators(size=status.st_size, modified_at=int(status.st_mtime))

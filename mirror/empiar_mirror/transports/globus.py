"""The last step of the Globus channel: from the folder into which the service writes to the sinks.

The service moves the bytes for hours or days while nobody here waits for a file (`empiar_mirror.globus`). What it has
delivered is claimed, fetched, verified and recorded as every other file; that nothing is copied on the way is all that
differs.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from empiar_mirror.transports.base import AdoptingSink, Capabilities, Claim, Outcome
from empiar_mirror.transports.receive import Buffers, Delivery
from empiar_schema.faults import EmpiarMirrorError, PermanentFault, TransientFault
from empiar_schema.files import Validators
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel

_ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class GlobusTransport:
    """Serves ``<folder>/<id>/<path as on EMPIAR>``, where delivered files stand. Symbolic links are not followed.

    A sink that can adopt a file gets it as it stands, if it belongs to this user; any other gets its bytes.
    """

    capabilities: Final = Capabilities(resumes=True, ranges=True, batch_files=64)
    channel: Final = Channel.GLOBUS

    def __init__(self, folder: Path) -> None:
        self._folder = os.fsencode(folder)
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
        with self._opened(claim.remote) as fd:
            await delivery.begin(_facts(fd))
            if self._adopted(claim, fd):
                delivery.moved = delivery.wanted or 0
                return
            buffer = self._buffers.take()
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

    @staticmethod
    def _adopted(claim: Claim, fd: int) -> bool:
        # Time and mode of somebody else's file cannot be set, nor may it be linked: its bytes are copied instead.
        status = os.fstat(fd)
        ours = status.st_uid == os.geteuid() and status.st_nlink == 1
        return (
            claim.whole
            and ours
            and isinstance(claim.sink, AdoptingSink)
            and claim.sink.adopt(status.st_dev, status.st_ino)
        )

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

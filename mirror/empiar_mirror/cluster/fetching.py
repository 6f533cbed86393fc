"""A worker of a cluster fetches one whole file into the folder of its lease. It knows the archive and that folder, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_mirror.active import BrokenOff
from empiar_mirror.cluster import mailbox
from empiar_mirror.cluster.errands import NotWanted, Place
from empiar_mirror.fate import ListingDisagrees
from empiar_mirror.staging import PartFile, StretchWriter
from empiar_mirror.stretches import Stretch
from empiar_mirror.transports.base import Claim, Transport
from empiar_mirror.transports.ftp import FtpTransport
from empiar_mirror.transports.https import HttpsTransport
from empiar_schema.disk import storage_fault
from empiar_schema.faults import EmpiarMirrorError, Stalled, TransientFault
from empiar_schema.files import Validators
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel
from empiar_wire.hosts import Hosts
from empiar_wire.throttle import Bucket, Throttle

#: Name of the file in the worker's folder.
FETCHED: Final = "fetched"
#: How often the worker reads what the mirror says, and writes how far it is, seconds.
BEAT_S: Final = 0.5
#: A connection that ends early is followed by another one, if it has brought so much.
_WORTH_GOING_ON_BYTES: Final = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Access:
    """How the archive is spoken to."""

    channel: Channel
    url: str
    user_agent: str
    stall_s: float
    requests_per_s: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """What stands in the worker's folder, and why no more."""

    #: What the server said of the file; None where it said nothing.
    found: Validators | None
    #: The file's first bytes, which are flushed.
    size: int
    #: XXH3-128 digests of its whole blocks, one after the other.
    proofs: bytes
    #: Of all its bytes.
    sha256: bytes
    #: Payload bytes received, more than `size` where some came twice.
    moved: int
    #: None where the file is whole.
    fault: EmpiarMirrorError | None


@dataclass(frozen=True, slots=True)
class Fetch:
    """Brings a file whose size is `size`, if the listing is exact."""

    access: Access
    remote: RemotePath
    size: int | None
    #: In force until the mirror says otherwise; None means as fast as it goes.
    bytes_per_s: float | None
    #: The worker ends if it has heard nothing of the mirror for so long.
    silence_s: float
    #: How long it may take: its size and the archive decide.
    seconds: None = None

    def __call__(self, place: Place) -> Fetched:
        """What has come. A fault of the archive is part of it.

        Raises:
            NotWanted: the lease has ended meanwhile, or the mirror is silent.
            StorageFault: the disk refuses.
        """
        return asyncio.run(_Fetching(self, place).run())


class _Fetching:
    """One file under way: the stream, and beside it the talk with the mirror."""

    def __init__(self, fetch: Fetch, place: Place) -> None:
        self._fetch = fetch
        self._place = place
        self._bucket = Bucket(fetch.bytes_per_s)
        self._sink = _Sink(PartFile(place.folder / FETCHED), fetch)

    async def run(self) -> Fetched:
        """See `Fetch`."""
        sink = self._sink
        stream = asyncio.create_task(self._stream())
        talk = asyncio.create_task(self._talk())
        try:
            await asyncio.wait({stream, talk}, return_when=asyncio.FIRST_COMPLETED)
            fault: EmpiarMirrorError | None
            if stream.done():
                fault = stream.result()
            else:
                talk.result()
                fault = BrokenOff(f"{self._fetch.remote}: transfers rest")
        finally:
            # Nothing is written between two awaits but by the stream itself, so that it stands still when it is cancelled.
            for task in (stream, talk):
                task.cancel()
            await asyncio.gather(stream, talk, return_exceptions=True)
            sha256 = sink.closed()
        return Fetched(sink.found, sink.size, bytes(sink.proofs), sha256, sink.moved, fault)

    async def _stream(self) -> EmpiarMirrorError | None:
        """Why no more came; None if all has come."""
        fetch, sink = self._fetch, self._sink
        async with contextlib.AsyncExitStack() as stack:
            try:
                transport = _transport(fetch.access, Throttle([self._bucket]))
            except EmpiarMirrorError as fault:
                return fault
            stack.push_async_callback(transport.aclose)
            while True:
                before = sink.size
                claim = Claim(
                    fetch.remote, sink, start=sink.writer.resume_at, validators=sink.found if before else None
                )
                fault_now: EmpiarMirrorError | None = None
                async with aclosing(transport.fetch([claim])) as outcomes:
                    async for outcome in outcomes:
                        fault_now = outcome.fault
                if not _goes_on(fault_now, brought=sink.size - before):
                    return fault_now

    async def _talk(self) -> None:
        """Returns when the mirror wants the transfer to rest.

        Raises:
            NotWanted: it wants nothing any more.
        """
        lease, beat, heard_at = self._place.folder.parent, -1, time.monotonic()
        while True:
            self._place.require_wanted()
            mailbox.note_moved(self._place.folder, self._sink.moved)
            rule = mailbox.heard(lease)
            now = time.monotonic()
            if rule is not None and rule.beat != beat:
                beat, heard_at = rule.beat, now
                self._bucket.change(rule.bytes_per_s)
                if rule.rest:
                    return
            if now - heard_at > self._fetch.silence_s:
                raise NotWanted
            await asyncio.sleep(BEAT_S)


class _Sink:
    """The file in the worker's folder, as a transport sees it."""

    def __init__(self, part: PartFile, fetch: Fetch) -> None:
        self.writer = StretchWriter(part, Stretch(0, fetch.size))
        self.found: Validators | None = None
        self.proofs = bytearray()
        self.moved = 0
        self._fetch = fetch

    @property
    def size(self) -> int:
        """How many bytes stand."""
        return self.writer.stretch.position

    async def begin(self, found: Validators, *, start: int) -> None:
        """See `empiar_mirror.transports.base.Sink`."""
        if self.found is not None:
            return  # the transport has compared them
        self.found = found
        listed = self._fetch.size
        if None not in (listed, found.size) and listed != found.size:
            raise ListingDisagrees(
                f"{self._fetch.remote}: the listing says {listed} bytes, the server {found.size}"
            )
        if self.writer.stretch.stop is None:
            self.writer.stretch.stop = found.size

    async def write(self, offset: int, data: memoryview) -> None:
        """See `empiar_mirror.transports.base.Sink`. The loop is this file's alone, so it may wait for the disk."""
        self.moved += len(data)
        for block in self.writer.write(offset, data):
            self.proofs += block.xxh3

    def closed(self) -> bytes:
        """The bytes are flushed, so that other machines see them after this one has failed; returns their SHA-256.

        Raises:
            StorageFault: the disk refused.
        """
        part = self.writer.part
        try:
            os.ftruncate(part.fileno(), self.size)  # a piece that the disk refused may stand there by half
            os.fsync(part.fileno())
            return part.finish(self.size)
        except OSError as error:
            raise storage_fault(error, f"cannot flush {part.path}") from error
        finally:
            part.close()


def _goes_on(fault: EmpiarMirrorError | None, *, brought: int) -> bool:
    """Whether the next connection may follow at once: nothing says that the server has too much to do, and it has brought enough."""
    return (
        isinstance(fault, TransientFault)
        and not isinstance(fault, Stalled)
        and not fault.crowded
        and fault.retry_after_s is None
        and brought >= _WORTH_GOING_ON_BYTES
    )


def _transport(access: Access, throttle: Throttle) -> Transport:
    hosts = Hosts(connections=1, requests_per_s=access.requests_per_s, user_agent=access.user_agent)
    of_channel = HttpsTransport if access.channel is Channel.HTTPS else FtpTransport
    return of_channel(access.url, hosts=hosts, stall_s=access.stall_s, throttle=throttle)


def fetched_file(folder: Path) -> Path:
    """Where the file stands in the worker's folder, wherever that was moved."""
    return folder / FETCHED

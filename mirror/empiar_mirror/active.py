"""A file on its way: its part file, what is still missing, and what it has been through."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from empiar_mirror.fate import Decision, ListingDisagrees, Tried
from empiar_mirror.staging import PartFile, StretchWriter
from empiar_mirror.stretches import BLOCK_BYTES, Remaining, Stretch
from empiar_mirror.threads import in_thread
from empiar_schema.faults import ChangedUpstream, EmpiarMirrorError, TransientFault
from empiar_schema.files import Validators
from empiar_schema.transfer_store import Block, Work

#: Largest piece that is written at once.
PIECE_BYTES = 2**20
#: Pieces up to this size are written and hashed at once: handing them to a thread would cost more.
INLINE_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """What shall become of a file, and the fault that led to it."""

    decision: Decision
    fault: EmpiarMirrorError


@dataclass(slots=True)
class ActiveFile:
    """One claimed file in the engine."""

    work: Work
    path: Path
    tried: Tried
    remaining: Remaining
    #: Exact size once somebody who knows has said it.
    size: int | None
    size_settled: bool
    validators: Validators | None
    part: PartFile | None = None
    #: Writers of stretches that were begun in this process; they remember unproven bytes.
    writers: dict[int, StretchWriter] = field(default_factory=dict)
    #: Blocks were recorded under `validators`, so that a later process can go on.
    on_record: bool = False
    #: Fetch as one stream from the beginning: the server refused ranges.
    whole: bool = False
    #: Decided, but other connections are still busy with it; the last of them acts on it.
    verdict: Verdict | None = None
    #: A lane is about to take a stretch of it (it may have to open and prove the part file first).
    preparing: bool = False
    #: What the machine that fetched it has hashed; the bytes that stand here have to agree. None where this one fetched it.
    sha256: bytes | None = None
    #: How often the machine that was to fetch it was lost, or could not.
    losses: int = 0
    #: Whoever wants it has paused: it stops at the next boundary, and what is proven of it is kept.
    held: bool = False

    @classmethod
    def of(cls, work: Work, *, path: Path, tried: Tried) -> ActiveFile:
        """The file as the catalogue describes it. A partial without sufficient validators is not continued.

        `path` is its part file: in staging, or where Globus has delivered it.
        """
        resumable = work.validators is not None and work.validators.prove_identity
        size = work.validators.size if resumable and work.validators is not None else work.size
        exact = work.size_exact or resumable
        return cls(
            work=work,
            path=path,
            tried=tried,
            remaining=Remaining(size if exact else None),
            size=size if exact else None,
            size_settled=resumable,
            validators=work.validators if resumable else None,
            on_record=resumable,
            whole=work.delivery is not None,
        )

    @property
    def delivered(self) -> bool:
        """Whether its part file is what Globus has delivered, all of it, and not ours to write to."""
        return self.work.delivery is not None

    @property
    def untouched(self) -> bool:
        """Whether nothing of it has come, and nobody is busy with it."""
        return not (self.remaining.running or self.writers or self.on_record or self.validators)

    @property
    def file_id(self) -> int:
        """The file's id in the catalogue."""
        return self.work.file_id

    @property
    def likely_size(self) -> int:
        """Exact size, or the listing's estimate, or 0."""
        return self.size if self.size is not None else self.work.size or 0

    @property
    def keeps_partial(self) -> bool:
        """Whether what is in staging is worth keeping for a later process."""
        return self.on_record and self.validators is not None and self.validators.prove_identity

    def start_over(self, size: int | None) -> None:
        """Nothing is kept; the exact size is `size`, if it is known. Nothing of it may be running."""
        self.size = size
        self.remaining.restart(size)
        self.writers.clear()
        self.validators = None
        self.on_record = False
        self.sha256 = None
        if self.part is not None:
            self.part.restart()

    def learn_size(self, size: int | None, stretch: Stretch) -> None:
        """What the server says settles the end of a stretch whose end nobody knew."""
        if self.size is None and size is not None:
            self.size = size
        if stretch.stop is None and self.size is not None:
            stretch.stop = self.size

    def writer_of(self, stretch: Stretch) -> StretchWriter:
        """The writer of `stretch`, the same one as in an earlier attempt."""
        assert self.part is not None
        writer = self.writers.get(stretch.start)
        if writer is None or writer.stretch is not stretch:
            writer = self.writers[stretch.start] = StretchWriter(self.part, stretch)
        return writer


class BrokenOff(TransientFault):
    """We ended a stream ourselves in mid-file, because nothing may be transferred now. No fault of anybody."""


class FileSink:
    """Where a transport puts the bytes of one stretch; checks, before the first, that it is the right file.

    At most `unproven_bytes` stand in the part file beyond the last block whose proof is durable; writing waits for
    the catalogue before it goes further.
    """

    def __init__(
        self,
        active: ActiveFile,
        writer: StretchWriter,
        *,
        threads: Executor,
        log: FileLog,
        unproven_bytes: int,
        breaks_off: Callable[[], bool] = lambda: False,
    ) -> None:
        """`breaks_off` is asked between pieces whether the stream is to end."""
        self.active = active
        self.writer = writer
        self.channel = active.tried.channel
        self.position_before = writer.stretch.position
        self._threads = threads
        self._log = log
        self._unproven_bytes = unproven_bytes
        self._breaks_off = breaks_off
        self._piece_bytes = max(BLOCK_BYTES, min(PIECE_BYTES, unproven_bytes - 2 * BLOCK_BYTES))
        self._durable_to = writer.proven_to
        self._promised: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def progressed(self) -> bool:
        """Whether this attempt brought bytes that were not there."""
        return self.writer.stretch.position > self.position_before

    async def begin(self, found: Validators, *, start: int) -> None:
        """See `empiar_mirror.transports.base.Sink`."""
        active = self.active
        if active.validators is not None:
            why = active.validators.contradicts(found)
            if why is not None:
                raise ChangedUpstream(f"{active.work.remote} has changed since it was begun: {why}")
        listed = active.size
        if not active.size_settled and None not in (listed, found.size) and found.size != listed:
            raise ListingDisagrees(
                f"{active.work.remote}: the listing says {listed} bytes, the server {found.size}"
            )
        if active.validators is None:
            active.validators = found
            active.learn_size(found.size, self.writer.stretch)
            self._log.begun(active, found, start)

    def adopt(self, device: int, inode: int) -> bool:
        """See `empiar_mirror.transports.base.AdoptingSink`."""
        part, stretch = self.active.part, self.writer.stretch
        if part is None or not self.active.delivered or not part.is_file(device, inode):
            return False
        moved = (self.active.size or 0) - stretch.position
        stretch.position += moved
        self._log.moved(self.active, moved)
        return True

    async def write(self, offset: int, data: memoryview) -> None:
        """See `empiar_mirror.transports.base.Sink`."""
        for done in range(0, len(data), self._piece_bytes):
            piece = data[done : done + self._piece_bytes]
            await self._write_piece(offset + done, piece)
        if self._breaks_off() and not self.writer.stretch.complete:
            raise BrokenOff(f"{self.active.work.remote}: transfers rest")

    async def _write_piece(self, offset: int, piece: memoryview) -> None:
        while self._promised and offset + len(piece) - self._durable_to > self._unproven_bytes:
            self._durable_to, durable = self._promised.popleft()
            await durable
        before = self.writer.stretch.position
        if len(piece) <= INLINE_BYTES:
            blocks = self.writer.write(offset, piece)
        else:
            blocks = await in_thread(self._threads, self.writer.write, offset, piece)
        self._log.moved(self.active, self.writer.stretch.position - before)
        if blocks and self.active.on_record:
            end = blocks[-1].start + blocks[-1].length
            self._promised.append((end, self._log.proven(self.active, blocks)))


class FileLog(Protocol):
    """Who hears what sinks do."""

    def begun(self, active: ActiveFile, found: Validators, start: int) -> None:
        """The first byte ever of this object is about to come."""

    def moved(self, active: ActiveFile, count: int) -> None:
        """So many new bytes stand in the part file."""

    def proven(self, active: ActiveFile, blocks: list[Block]) -> asyncio.Future[None]:
        """These blocks stand in the part file; done when their proofs are durable."""


def worth_recording(size: int | None) -> bool:
    """Whether a partial of a file of this size can hold a proven block at all."""
    return size is None or size > BLOCK_BYTES

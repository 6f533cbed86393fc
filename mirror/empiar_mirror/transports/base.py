"""The contract between the engine, which decides, and the transports, which move bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from empiar_schema.faults import EmpiarMirrorError
from empiar_schema.files import Validators
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel


class Sink(Protocol):
    """Where the bytes of one claim go: a part file in staging, seen by a transport."""

    async def begin(self, found: Validators, *, start: int) -> None:
        """Called once per attempt, when the answer's head is known and before its first byte.

        Records `found` durably with the first byte ever received of this file.

        Raises:
            ChangedUpstream: `found` contradicts what was recorded then.
            StorageFault: no space can be reserved.
        """

    async def write(self, offset: int, data: memoryview) -> None:
        """`data` stands at `offset` of the part file when this returns; the buffer may then be reused.

        Called in rising order without gaps, one call at a time.

        Raises:
            ChangedUpstream: bytes below what is kept already were fetched again and differ.
            IntegrityFault: bytes beyond the size that the archive states.
            StorageFault: the disk refused.
        """


@runtime_checkable
class AdoptingSink(Sink, Protocol):
    """A sink whose part file may be the delivered file itself, so that no byte need be copied."""

    def adopt(self, device: int, inode: int) -> bool:
        """Takes all bytes of this file as written, after `begin`; False where it is not the sink's own part file."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Bytes `[start, stop)` of one remote file, wanted in `sink`. `stop` None means to the end."""

    remote: RemotePath
    sink: Sink
    start: int = 0
    stop: int | None = None
    #: What was recorded with the first byte; the transport makes its request conditional on it.
    validators: Validators | None = None

    @property
    def whole(self) -> bool:
        """Whether the claim is the entire file, so that no range has to be asked for."""
        return self.start == 0 and self.stop is None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one claim ended. No fault means: every byte asked for was handed to the sink, nothing more.

    It says nothing about the truth of the bytes.
    """

    claim: Claim
    #: Payload bytes received in this attempt, whether or not it succeeded.
    bytes_moved: int
    started_at: float
    ended_at: float
    #: What the server said of the file in this attempt, if it said anything.
    found: Validators | None = None
    fault: EmpiarMirrorError | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What differs between transports, as data."""

    #: Can begin at an offset.
    resumes: bool
    #: Can end before the end of the file without losing the connection.
    ranges: bool
    #: How many files one call of `fetch` should carry at most.
    batch_files: int


class Transport(Protocol):
    """Brings files of the archive into sinks.

    Contract, run against every implementation by ``tests/contract``:

    - `fetch` yields exactly one `Outcome` per claim, in any order, as each ends; a failed file does not end
      the others; the claims of one call share one connection, and several calls run at once;
    - bytes are handed over from `Claim.start` on, or the outcome carries a fault: `RangesRefused` where the
      server would only send the whole file, `ChangedUpstream` where it is another file by now;
    - a body shorter or longer than the server's own statement is an `IntegrityFault` or `TransientFault`,
      never a success;
    - closing the generator early closes what it has under way (callers use `contextlib.aclosing`);
    - `stall_s` without a byte ends an attempt with `Stalled`;
    - faults are `empiar_schema.faults` only; cancelling closes the connection before it goes on.
    """

    @property
    def channel(self) -> Channel:
        """Which channel this is."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def fetch(self, claims: Sequence[Claim]) -> AsyncGenerator[Outcome, None]:
        """One outcome per claim."""

    async def facts(self, remote: RemotePath) -> Validators:
        """Size and validators of one file without its bytes (HEAD; SIZE and MDTM).

        Raises:
            TransferFault: as in `fetch`.
        """

    async def aclose(self) -> None:
        """All connections are closed."""

"""Whether a whole part file may arrive: its format, and, where that is wrong, whose fault it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from empiar_imaging.formats.evidence import HARMLESS
from empiar_imaging.formats.inspect import Evidence, Inspection, inspect
from empiar_mirror.active import ActiveFile
from empiar_mirror.doubts import TIMES, Doubts
from empiar_mirror.fate import OtherThanBefore, ProvenWrong
from empiar_mirror.staging import PartFile
from empiar_mirror.threads import Together, in_thread
from empiar_mirror.transports.base import Claim, Transport
from empiar_schema.copies import Before
from empiar_schema.faults import ChangedUpstream, IntegrityFault, TransferFault, TransientFault
from empiar_schema.files import Validators
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel

#: How much of the evidence is fetched a second time; enough for any header and any error page.
SECOND_LOOK_BYTES = 256 * 1024
#: Findings that tell of a failure of the archive's servers, which may pass.
PASSING: Final = frozenset({"body.error_text"})
#: Files up to this size are looked at many to a thread.
GROUPED_BYTES = 2**20
GROUP_FILES = 32


@dataclass(slots=True)
class _Comparer:
    """A sink that keeps nothing and compares everything with the part file."""

    part: PartFile
    threads: Executor

    async def begin(self, found: Validators, *, start: int) -> None:
        """Any object will do: its bytes are what counts."""

    async def write(self, offset: int, data: memoryview) -> None:
        """The bytes are those of the part file."""
        await in_thread(self.threads, self.part.compare, offset, data)


@dataclass(frozen=True, slots=True)
class _Whole:
    """A part file whose bytes have all come."""

    part: PartFile
    name: str
    size: int


def _look(whole: _Whole) -> tuple[bytes, Inspection]:
    sha256 = whole.part.finish(whole.size)
    return sha256, inspect(whole.part.fileno(), name=whole.name, size=whole.size)


class Judge:
    """Tells damage in transit (fetch again) and failures that pass (later) from damage at the source (keep, and say so)."""

    def __init__(
        self,
        transports: Mapping[Channel, Transport],
        *,
        threads: Executor,
        doubts: Doubts,
    ) -> None:
        """`doubts` outlasts the judge."""
        self._transports = transports
        self._threads = threads
        self._doubts = doubts
        self._small = Together(threads, _look, at_most=GROUP_FILES)

    async def examine(self, active: ActiveFile, size: int) -> tuple[bytes, ImageFacts | None]:
        """The sha256 and the header facts of the whole part file, with finding codes where the source itself is damaged.

        Where the format is wrong, the bytes that show it are fetched once more, through another channel if there
        is one. The same bytes again: that is what the archive holds. Other bytes: ours were damaged on the way.

        Two kinds are not believed at once. An error text may be that of storage that fails just now, whatever the channel: it has to
        be there still after a while. And where this version was here before, other bytes than those are believed only if they come
        twice; damaged ones in place of sound ones cannot be what was deposited: they are asked for again, with growing waits, and
        kept aside in the end. The bytes that were here before are believed as they are.

        Raises:
            IntegrityFault: its length is another.
            OtherThanBefore: other bytes were here before; the file should be fetched again.
            ProvenWrong: the archive holds other bytes than those that came, or has come up with such bytes often enough.
            TransientFault: the second look got no answer, or what it saw may pass; the file should be looked at again later.
        """
        assert active.part is not None
        whole = _Whole(active.part, active.work.remote.name, size)
        if size <= GROUPED_BYTES:
            sha256, inspection = await self._small.call(whole)
        else:
            sha256, inspection = await in_thread(self._threads, _look, whole)
        if active.sha256 not in (None, sha256):
            raise IntegrityFault(
                f"{active.work.remote}: other bytes stand in staging than the worker that fetched it has received"
            )
        damage = [evidence for evidence in inspection.evidence if evidence.length]
        before = active.work.before
        if before is None or before.sha256 != sha256:
            if before is not None:
                self._compare_with(before, active, sha256, damage)
            if damage:
                await self._second_look(active, damage, size)
                self._let_pass(active, sha256, damage)
        self._doubts.forget(active.file_id)
        return sha256, inspection.facts

    def _compare_with(
        self, before: Before, active: ActiveFile, sha256: bytes, damage: Sequence[Evidence]
    ) -> None:
        """Other bytes than those that were here before: believed if they come twice and are not damaged where the others were sound."""
        here = f"the bytes that were here before (sha256 {before.sha256.hex()})"
        if damage and HARMLESS.issuperset(before.problems):
            wrong = f"{damage[0].code}: {damage[0].detail}; {here} were sound, and the listing has not changed since"
            wait_s = self._doubts.reject(active.file_id, sha256)
        elif self._doubts.came_last(active.file_id, sha256):
            return
        else:
            wrong = (
                f"{active.work.remote}: other bytes came than {here}, and the listing has not changed since"
            )
            wait_s = self._doubts.reject(active.file_id, sha256, patience=1)
        if wait_s is None:
            raise ProvenWrong(f"{wrong}; the archive has served the like {TIMES} times")
        raise OtherThanBefore(f"{wrong}: asked for again in {wait_s:.0f} s", wait_s=wait_s)

    def _let_pass(self, active: ActiveFile, sha256: bytes, damage: Sequence[Evidence]) -> None:
        """What may be a failure that passes has been there for a while."""
        passing = [evidence for evidence in damage if evidence.code in PASSING]
        if not passing:
            return
        wait_s = self._doubts.believed_in(active.file_id, sha256)
        if wait_s:
            raise TransientFault(
                f"{passing[0].code}: {passing[0].detail}; the archive says so twice, which may pass: looked at again in {wait_s:.0f} s",
                retry_after_s=wait_s,
            )

    async def _second_look(self, active: ActiveFile, damage: Sequence[Evidence], size: int) -> None:
        assert active.part is not None
        sink = _Comparer(active.part, self._threads)
        stretches = {
            (e.start, min(size, e.start + min(e.length, SECOND_LOOK_BYTES))) for e in damage if e.start < size
        }
        others = [c for c in self._transports if c is not active.tried.channel]
        last: TransferFault | None = None
        for channel in (*others, active.tried.channel):
            fault = await self._compare(self._transports[channel], active.work.remote, sink, stretches, size)
            if fault is None:
                return
            if isinstance(fault, ChangedUpstream):
                raise ProvenWrong(
                    f"{damage[0].code}: {damage[0].detail}; the archive holds other bytes: {fault}"
                )
            last = fault
        raise TransientFault(f"{damage[0].code}: {damage[0].detail}; a second look failed: {last}")

    async def _compare(
        self,
        transport: Transport,
        remote: RemotePath,
        sink: _Comparer,
        stretches: set[tuple[int, int]],
        size: int,
    ) -> TransferFault | None:
        """None if the archive holds the same bytes in all stretches."""
        claims = [
            Claim(remote, sink, start=start, stop=None if stop == size else stop)
            for start, stop in sorted(stretches)
        ]
        async with aclosing(transport.fetch(claims)) as outcomes:
            async for outcome in outcomes:
                if isinstance(outcome.fault, TransferFault):
                    return outcome.fault
                if outcome.fault is not None:
                    raise outcome.fault
        return None

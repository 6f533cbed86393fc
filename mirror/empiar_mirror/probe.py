"""A look at the first bytes of one file of each family, before any of it is fetched.

What it may cost is bounded: 64 KiB a file; up to `MOST_READS` further stretches where a list of images or a tag
lies elsewhere; and `MOST_ENTRY_BYTES` an entry, beyond which nothing further is read. What the bytes read so far do not
tell stays null.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from empiar_imaging.formats.evidence import UNKNOWN_SIZE, Inspection, Stretches
from empiar_imaging.formats.inspect import peek
from empiar_mirror.families import Family, families
from empiar_mirror.transports.base import Claim, Transport
from empiar_schema import header_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import IntegrityFault, TransferFault
from empiar_schema.files import Validators
from empiar_schema.header_store import Probe
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel

FIRST_BYTES: Final = 64 * 1024
#: Further stretches of a file, and how long each is at least; compressors give nothing before their first block is complete.
MOST_READS: Final = 12
_FURTHER_BYTES: Final = 4 * 1024
_PACKED_BYTES: Final = {".bz2": 2**20, ".zst": 2**18}
#: No single stretch is longer.
_MOST_STRETCH_BYTES: Final = 2**20
MOST_ENTRY_BYTES: Final = 16 * 2**20


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What probing brought."""

    #: Families known afterwards, and how many of them were looked at now.
    families: int = 0
    probed: int = 0
    bytes_read: int = 0
    #: Files that could not be looked at, and why.
    failed: dict[str, str] = field(default_factory=dict)

    def __add__(self, other: ProbeReport) -> ProbeReport:
        """Both together."""
        return ProbeReport(
            self.families + other.families,
            self.probed + other.probed,
            self.bytes_read + other.bytes_read,
            self.failed | other.failed,
        )


@dataclass(slots=True)
class _Collector:
    """A sink that keeps one stretch in memory."""

    start: int
    most: int
    data: bytearray = field(default_factory=bytearray)

    async def begin(self, found: Validators, *, start: int) -> None:
        """Any object will do: nothing of it is kept."""

    async def write(self, offset: int, data: memoryview) -> None:
        """The bytes are added, up to the stretch that was asked for.

        Raises:
            IntegrityFault: they are more than were asked for.
        """
        if len(self.data) + len(data) > self.most:
            raise IntegrityFault(f"more than the {self.most} bytes asked for")
        self.data += data


@dataclass(slots=True)
class _Look:
    """A family's representative, as far as it has been read."""

    family: Family
    remote: RemotePath
    data: Stretches
    reads: int = 0
    found: Inspection | None = None
    fault: TransferFault | None = None
    #: Channels that have failed it.
    tried: set[Channel] = field(default_factory=set)

    def next_stretch(self, budget: int) -> tuple[int, int] | None:
        """Start and stop of what should be read next; None where that is all, or all that may be."""
        if self.reads == 0:
            return (0, min(self.data.size, FIRST_BYTES)) if budget >= FIRST_BYTES else None
        lacking = self.found.lacking if self.found is not None else None
        if lacking is None or self.reads > MOST_READS:
            return None
        start, length = lacking
        least = _PACKED_BYTES.get(f".{self.family.suffix.rpartition('.')[2]}", _FURTHER_BYTES)
        stop = min(self.data.size, start + max(length, least))
        return (start, stop) if stop - start <= min(budget, _MOST_STRETCH_BYTES) else None


class Prober:
    """Looks at the families of entries and records what it sees."""

    def __init__(
        self,
        catalogue: Catalogue,
        transports: Mapping[Channel, Transport],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._transports = transports
        self._clock = clock

    async def probe(self, empiar_id: int) -> ProbeReport:
        """The entry's biggest families have a probe each; those that nothing has changed for are kept as they are.

        Raises:
            UnreachableFault: no channel reaches the archive.
        """
        found, known = await self._catalogue.read(functools.partial(_read, empiar_id=empiar_id))
        kept: list[Probe] = []
        looks: list[_Look] = []
        for family, here in found:
            old = known.get(family.chosen.file_id)
            if old is not None and _holds(old, family):
                kept.append(replace(old, family_files=family.files, family_bytes=family.bytes))
            elif here is not None or (family.chosen.bytes == 0 and family.chosen.bytes_exact):
                kept.append(self._probe(family, here or _empty(family), bytes_read=0))
            else:
                looks.append(_look(empiar_id, family))
        await self._look_at(looks)
        probes = kept + [self._seen(look) for look in looks if look.found is not None]
        await self._catalogue.write(
            functools.partial(header_store.record_probes, empiar_id=empiar_id, probes=probes)
        )
        return ProbeReport(
            families=len(found),
            probed=len(probes) - sum(probe.file_id in known for probe in kept),
            bytes_read=sum(look.data.held_bytes for look in looks),
            failed={str(look.remote): str(look.fault) for look in looks if look.found is None},
        )

    async def _look_at(self, looks: Sequence[_Look]) -> None:
        """Round by round, every look gets the stretch that it needs next, while the entry's budget lasts."""
        for channel, transport in self._transports.items():
            while True:
                claims = self._claims(looks, channel)
                if not claims:
                    break
                await self._fetch(transport, channel, claims)

    def _claims(self, looks: Sequence[_Look], channel: Channel) -> dict[int, tuple[_Look, Claim]]:
        budget = MOST_ENTRY_BYTES - sum(look.data.held_bytes for look in looks)
        claims: dict[int, tuple[_Look, Claim]] = {}
        for look in looks:
            stretch = None if channel in look.tried else look.next_stretch(budget)
            if stretch is not None:
                start, stop = stretch
                budget -= stop - start
                sink = _Collector(start, stop - start)
                claims[id(sink)] = (look, Claim(look.remote, sink, start=start, stop=stop))
        return claims

    async def _fetch(
        self, transport: Transport, channel: Channel, claims: dict[int, tuple[_Look, Claim]]
    ) -> None:
        async with aclosing(transport.fetch([claim for _, claim in claims.values()])) as outcomes:
            async for outcome in outcomes:
                look, _ = claims[id(outcome.claim.sink)]
                sink = outcome.claim.sink
                assert isinstance(sink, _Collector)
                if outcome.fault is None:
                    _take(look, sink, outcome.found)
                elif isinstance(outcome.fault, TransferFault):
                    look.fault = outcome.fault
                    look.tried.add(channel)
                else:
                    raise outcome.fault

    def _seen(self, look: _Look) -> Probe:
        facts = look.found.facts if look.found is not None else None
        return self._probe(look.family, facts, bytes_read=look.data.held_bytes)

    def _probe(self, family: Family, facts: ImageFacts | None, *, bytes_read: int) -> Probe:
        return Probe(
            file_id=family.chosen.file_id,
            family=family.name,
            family_files=family.files,
            family_bytes=family.bytes,
            bytes_read=bytes_read,
            probed_at=int(self._clock()),
            listed_bytes=family.chosen.bytes,
            listed_at=family.chosen.modified_at,
            facts=facts,
        )


def _look(empiar_id: int, family: Family) -> _Look:
    chosen = family.chosen
    size = chosen.bytes if chosen.bytes is not None and chosen.bytes_exact else UNKNOWN_SIZE
    return _Look(family, RemotePath(empiar_id, chosen.directory, chosen.name), Stretches(size))


def _take(look: _Look, sink: _Collector, found: Validators | None) -> None:
    if found is not None and found.size is not None:
        look.data.size = found.size
    look.data.add(sink.start, bytes(sink.data))
    look.reads += 1
    look.found = peek(look.data, name=look.family.chosen.name)


def _holds(old: Probe, family: Family) -> bool:
    chosen = family.chosen
    return (old.family, old.listed_bytes, old.listed_at) == (family.name, chosen.bytes, chosen.modified_at)


def _empty(family: Family) -> ImageFacts:
    return ImageFacts(family.suffix.lstrip("."), problems=("file.empty",))


def _read(
    conn: sqlite3.Connection, *, empiar_id: int
) -> tuple[list[tuple[Family, ImageFacts | None]], dict[int, Probe]]:
    """The families, each with the facts of its representative if that is here, and the probes of earlier."""
    found = families(header_store.roled_files(conn, empiar_id))
    known = {probe.file_id: probe for probe in header_store.probes_of(conn, empiar_id)}
    return [(family, header_store.image_of(conn, family.chosen.file_id)) for family in found], known

"""Which entries there are: several ways of asking, one answer, and where the ways disagree."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from empiar_crawler.outcome import ARCHIVE_FAULTS, reason
from empiar_schema.crawl_store import EnumeratedEntry
from empiar_schema.faults import BadAnswer, EmpiarMirrorError, TransientFault, UnreachableFault

#: Highest accession that five digits can write; EMPIAR stands at 13,000 in 2026.
HIGHEST_ID = 99_999
#: Ids named in a text for people; the rest is counted.
NAMED_IDS = 10


class EnumerationSource(Protocol):
    """One way to learn which entries the archive has."""

    @property
    def name(self) -> str:
        """What the catalogue calls it."""

    async def entries(self) -> list[EnumeratedEntry]:
        """All entries that the archive names.

        Raises:
            BadAnswer: the answers make no sense as a whole (none at all, the same page again and again).
            TransferFault, UnreachableFault: no answer.
        """


@dataclass(frozen=True, slots=True)
class Enumeration:
    """What the first source that answered sensibly says."""

    source: str
    entries: tuple[EnumeratedEntry, ...]
    #: Whether it claims to name all entries, not only those changed since a day.
    complete: bool
    #: The sources tried before it, with the reason for people.
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> frozenset[int]:
        """The accession numbers."""
        return frozenset(entry.empiar_id for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two enumerations that do not name the same entries."""

    stated: str
    found: str


async def first_sensible(sources: Sequence[EnumerationSource]) -> Enumeration:
    """The answer of the first source that gives a sensible one; the others are not asked.

    Raises:
        UnreachableFault: none could be reached.
        BadAnswer: all failed, and at least one by a senseless answer.
    """
    failed: dict[str, str] = {}
    last: EmpiarMirrorError = UnreachableFault("no enumeration is configured")
    reached = False
    for source in sources:
        try:
            entries = await source.entries()
        except ARCHIVE_FAULTS as fault:
            failed[source.name], last = reason(fault), fault
            reached = reached or not isinstance(fault, TransientFault | UnreachableFault)
        else:
            return Enumeration(source.name, tuple(entries), complete=True, failed=failed)
    told = "; ".join(f"{name}: {why}" for name, why in failed.items())
    if reached:
        raise BadAnswer(f"no enumeration of the archive answered sensibly ({told})") from last
    raise UnreachableFault(
        f"the archive's entries could not be enumerated ({told})",
        hint="check the network and the addresses in the configuration (`empiar-mirror doctor`)",
    ) from last


def merged(pages: Sequence[Sequence[EnumeratedEntry]]) -> list[EnumeratedEntry]:
    """The entries of all pages, each once, the latest `update_date` kept, in rising order; impossible ids left out."""
    found: dict[int, EnumeratedEntry] = {}
    for page in pages:
        for entry in page:
            known = found.get(entry.empiar_id)
            if entry.empiar_id <= HIGHEST_ID and (
                known is None or (entry.update_date or "") > (known.update_date or "")
            ):
                found[entry.empiar_id] = entry
    return [found[empiar_id] for empiar_id in sorted(found)]


def disagreement(winner: Enumeration, other: str, other_ids: Collection[int]) -> Disagreement | None:
    """How `other_ids` differ from the winner's, as texts with counts and the first few ids; None if they agree."""
    here, there = winner.ids, frozenset(other_ids)
    if here == there:
        return None
    return Disagreement(
        stated=f"{winner.source}: {len(here)} entries, {shortened(here - there)} only there",
        found=f"{other}: {len(there)} entries, {shortened(there - here)} only there",
    )


def shortened(ids: Collection[int]) -> str:
    """``3 (10001, 10017, 10444)``: how many, and the first few."""
    first = sorted(ids)[:NAMED_IDS]
    more = ", …" if len(ids) > len(first) else ""
    return f"{len(ids)} ({', '.join(map(str, first))}{more})" if ids else "none"

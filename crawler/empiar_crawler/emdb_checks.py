"""What is wrong for sure with a reference of EMPIAR to EMDB (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from empiar_schema.emdb import Doubt
from empiar_schema.paths import accession


def absent_doubts(emdb_id: str, empiar_ids: Sequence[int], reason: str) -> Iterator[Doubt]:
    """Entries name a map that EMDB does not serve: not released yet, or a wrong number."""
    for empiar_id in empiar_ids:
        yield Doubt(empiar_id, emdb_id, f"{reason}: not released yet, or not the number that is meant")


def reference_doubts(emdb_id: str, empiar_ids: Sequence[int], named: Sequence[int]) -> Iterator[Doubt]:
    """Entries name a map that itself names other entries, and not them. A map that names none, as most do, contradicts nobody."""
    for empiar_id in empiar_ids if named else ():
        if empiar_id not in named:
            yield Doubt(empiar_id, emdb_id, f"EMDB names {', '.join(accession(one) for one in named[:5])}")

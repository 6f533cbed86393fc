"""How often faults strike: what the books of all servers of the rehearsal archive have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

K_co = TypeVar("K_co", bound=Hashable, covariant=True)
K = TypeVar("K", bound=Hashable)


class Striking(Protocol[K_co]):
    """A fault, as far as it is counted."""

    @property
    def kind(self) -> K_co:
        """What goes wrong."""

    @property
    def times(self) -> int | None:
        """How often it strikes; None: always."""

    @property
    def after(self) -> int:
        """How many matching occasions pass well before."""


F = TypeVar("F")


@dataclass(slots=True)
class Strikes(Generic[F, K]):
    """The faults in force and how often each kind has struck."""

    faults: list[F] = field(default_factory=list)
    struck: Counter[K] = field(default_factory=Counter)
    _seen: Counter[int] = field(default_factory=Counter)

    def add(self, *faults: F) -> None:
        """`faults` are in force from now on."""
        self.faults += faults

    def clear(self) -> None:
        """Nothing misbehaves any more; what has struck stays counted."""
        self.faults.clear()
        self._seen.clear()

    def _strikes(self, fault: Striking[K]) -> bool:
        """Whether this fault, which concerns the occasion, strikes now; it is counted."""
        self._seen[id(fault)] += 1
        seen = self._seen[id(fault)] - fault.after
        if seen < 1 or (fault.times is not None and seen > fault.times):
            return False
        self.struck[fault.kind] += 1
        return True

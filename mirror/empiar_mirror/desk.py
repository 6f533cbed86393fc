"""What feeding and lanes ask of the run that they work for, and tell it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from empiar_mirror.active import ActiveFile
from empiar_mirror.transports.base import Outcome
from empiar_schema.faults import EmpiarMirrorError
from empiar_schema.states import Channel

if TYPE_CHECKING:
    from empiar_mirror.lanes import Run


class _Failed(Protocol):
    def __call__(
        self, active: ActiveFile, fault: EmpiarMirrorError, *, channel: Channel, progressed: bool
    ) -> Awaitable[None]: ...


class _Change(Protocol):
    def __call__(self, at_most_s: float | None = None) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """One run, as its parts see it."""

    #: Whether the run is at its end, so that nothing more is begun.
    over: Callable[[], bool]
    #: Whether nothing will come on the agenda any more.
    exhausted: Callable[[], bool]
    #: Whether the catalogue does not know yet what became of some files.
    leaving: Callable[[], bool]
    #: How many files are being verified or are arriving.
    completing: Callable[[], int]
    #: Comes back when something may have changed, or the time has passed.
    change: _Change
    wake: Callable[[], object]
    #: One claim has ended.
    settle: Callable[[Run, Outcome], Awaitable[None]]
    failed: _Failed
    #: All bytes of a file stand in its part file.
    complete: Callable[[ActiveFile], object]
    #: A file waits again, with what is proven of it.
    shelve: Callable[[ActiveFile], Awaitable[None]]
    #: These blocks of a file, by their starts, are not what was recorded.
    forget: Callable[[int, Sequence[int]], object]
    #: The run ends with this fault.
    end: Callable[[EmpiarMirrorError], object]

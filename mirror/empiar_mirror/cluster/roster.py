"""Which workers there are, whether they are fit and alive, and how much each has in hand: pure judgement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker as the scheduler sees it."""

    address: str
    threads: int
    #: By the scheduler's clock; only that it changes says anything here.
    last_seen: float


@dataclass(slots=True)
class _Worker:
    seen: Seen
    #: When its last sign of life was noticed, by our clock.
    lively_at: float
    #: None until it is known whether it is fit.
    fit: bool | None = None
    #: Why it is not.
    reason: str = ""


@dataclass(slots=True)
class Roster:
    """The workers of one cluster. Times are seconds of a clock that never goes back."""

    #: A worker that gives no sign of life for so long is lost.
    lease_s: float
    places: int
    #: Pieces of work that each worker has in hand, also those of the process's other dealings with the cluster, which share this.
    in_hand: Counter[str] = field(default_factory=Counter)
    _workers: dict[str, _Worker] = field(default_factory=dict)
    _in_hand: int = 0

    def looked(self, found: Iterable[Seen], now: float) -> None:
        """The scheduler was asked `now`, and knows these workers and no others."""
        before = self._workers
        self._workers = {}
        for seen in found:
            worker = before.get(seen.address)
            if worker is None:
                worker = _Worker(seen, now)
            elif seen.last_seen != worker.seen.last_seen:
                worker.lively_at = now
            worker.seen = seen
            self._workers[seen.address] = worker

    def strangers(self) -> Iterator[str]:
        """The workers of which is not known whether they are fit."""
        return (address for address, worker in self._workers.items() if worker.fit is None)

    def judged(self, address: str, reason: str | None) -> None:
        """The worker is fit, or is not for this reason. One that has gone meanwhile is forgotten."""
        if address in self._workers:
            self._workers[address].fit = reason is None
            self._workers[address].reason = reason or ""

    @property
    def known(self) -> bool:
        """Whether there are workers, and all have been judged."""
        return bool(self._workers) and not any(self.strangers())

    def choose(self, now: float, but: Collection[str] = ()) -> str | None:
        """The worker that is given the next piece of work: the one with the most room, alive, and not one of `but`; None if there is none, or no place."""
        if self._in_hand >= self.places:
            return None
        # Half a lease, so that nothing is handed to a worker that is about to count as lost.
        able = [
            (worker.seen.threads - self.in_hand[address], address)
            for address, worker in self._workers.items()
            if worker.fit and now - worker.lively_at <= self.lease_s / 2 and address not in but
        ]
        room, address = max(able, default=(0, ""))
        return address if room > 0 else None

    def took(self, address: str) -> None:
        """The worker has one more piece in hand."""
        self._in_hand += 1
        self.in_hand[address] += 1

    def gave_back(self, address: str) -> None:
        """The worker has one piece less in hand."""
        self._in_hand -= 1
        self.in_hand[address] -= 1

    def lost_because(self, address: str, now: float) -> str | None:
        """Why what the worker has in hand is lost; None while it is alive."""
        worker = self._workers.get(address)
        if worker is None:
            return "the worker is gone"
        silent = now - worker.lively_at
        return f"no sign of life for {silent:.0f} s" if silent > self.lease_s else None

    def silent(self, address: str, now: float) -> bool:
        """Whether the worker is known, and has given no sign of life for too long."""
        return address in self._workers and self.lost_because(address, now) is not None

    @property
    def lacking(self) -> str | None:
        """Why nothing can be handed out at all; None where at least one worker is fit, or may be."""
        if not self._workers:
            return "it has no worker"
        if any(worker.fit is not False for worker in self._workers.values()):
            return None
        refused = [f"{address}: {worker.reason}" for address, worker in self._workers.items()]
        return f"none of its {len(refused)} workers is fit ({refused[0]})"

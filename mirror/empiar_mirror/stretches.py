"""Which bytes of a file are still missing, and who fetches which of them (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

#: Grid of the block proofs in a part file.
BLOCK_BYTES = 256 * 1024
#: What a crash may cost at most of one open file (promise 5): bytes that stand in its part file without a durable proof.
UNPROVEN_BYTES = 4 * 2**20


@dataclass(slots=True)
class Stretch:
    """Bytes `[start, stop)` that one connection at a time brings; `position` is how far they stand in the part file.

    `stop` None means to the end of a file whose size nobody knows.
    """

    start: int
    stop: int | None
    position: int = field(default=-1)
    #: Whether the bytes just before `start` are proven, so that a little of them can be compared.
    after_proven: bool = False

    def __post_init__(self) -> None:
        if self.position < 0:
            self.position = self.start

    @property
    def complete(self) -> bool:
        """Whether all its bytes stand; never true while the size is unknown."""
        return self.stop is not None and self.position >= self.stop


def missing(size: int, proven: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The gaps `(start, stop)` of `[0, size)` that the proven `(start, length)` leave, in rising order."""
    if size == 0:
        return [(0, 0)]  # an empty file has no byte to bring, but it has to be asked for
    gaps: list[tuple[int, int]] = []
    position = 0
    for start, length in sorted(proven):
        if start > position:
            gaps.append((position, min(start, size)))
        position = max(position, start + length)
        if position >= size:
            break
    if position < size:
        gaps.append((position, size))
    return gaps


class Remaining:
    """The stretches of one file that still have to be brought, handed out to connections.

    Stretches begin on the block grid, so that every proof is of a whole block (the file's last one excepted).
    """

    def __init__(self, size: int | None, proven: Iterable[tuple[int, int]] = ()) -> None:
        self._size = size
        self._gaps: list[tuple[int, int | None]] = (
            [(0, None)] if size is None else list(missing(size, proven))
        )
        self._proven_edges = {start for start, _ in self._gaps if start > 0}
        self._interrupted: list[Stretch] = []
        self._running: list[Stretch] = []

    @property
    def nothing_left_to_take(self) -> bool:
        """Whether every missing byte is with some connection, or there."""
        return not self._gaps and not self._interrupted

    @property
    def done(self) -> bool:
        """Whether all bytes stand in the part file."""
        return self.nothing_left_to_take and not self._running

    @property
    def running(self) -> int:
        """How many stretches are with a connection now."""
        return len(self._running)

    @property
    def bytes_left(self) -> int | None:
        """Bytes not yet in the part file; None when the size is unknown."""
        if self._size is None:
            return None
        total = sum(stop - start for start, stop in self._gaps if stop is not None)
        return total + sum(
            s.stop - s.position for s in (*self._interrupted, *self._running) if s.stop is not None
        )

    def take(self, at_most: int | None) -> Stretch:
        """The next stretch, cut to about `at_most` bytes (a multiple of the block size); interrupted ones first."""
        if self._interrupted:
            stretch = self._interrupted.pop(0)
        else:
            start, stop = self._gaps.pop(0)
            if at_most is not None and stop is not None:
                cut = (start + max(at_most, BLOCK_BYTES)) // BLOCK_BYTES * BLOCK_BYTES
                if cut < stop:
                    self._gaps.insert(0, (cut, stop))
                    stop = cut
            stretch = Stretch(start, stop, after_proven=start in self._proven_edges)
        self._running.append(stretch)
        return stretch

    def give_back(self, stretch: Stretch, *, ended: bool = False) -> None:
        """The connection is through with `stretch`: complete, or to be gone on with.

        `ended` says that the remote file ended where the stretch stands, which completes one of unknown size.
        """
        self._running.remove(stretch)
        if ended or stretch.complete:
            return
        self._interrupted.append(stretch)

    def restart(self, size: int | None) -> None:
        """Everything is missing again. No stretch may be running."""
        self._size = size
        self._gaps = [(0, size)]
        self._proven_edges = set()
        self._interrupted = []

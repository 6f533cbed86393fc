"""Bytes that came whole and are not believed yet: what an archive serves while something is wrong there looks like damage at the source.

When the storage behind its servers fails, an archive may write one and the same error text into a file by every channel, so that a
second look sees what the first one saw. What tells the two apart is time: damage stays. Kept in memory: a process that begins anew asks
once more than it had to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from empiar_schema.transfer_store import LONGEST_WAIT_S
from empiar_wire.backoff import backoff_s

#: How often bytes that cannot be right are asked for before they are kept aside.
TIMES: Final = 5
#: Waits are so many times as long as those after a failed attempt: failures of storage pass in minutes.
PATIENCE: Final = 30
_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Doubt:
    sha256: bytes
    since: float
    times: int = 1


class Doubts:
    """What is doubted, by file; the oldest doubts are forgotten when there are very many."""

    def __init__(self, retry_wait_s: float, *, clock: Callable[[], float]) -> None:
        """`retry_wait_s`: the wait after a failed attempt. `clock` never goes back."""
        self._retry_wait_s = retry_wait_s
        self._clock = clock
        self._doubts: OrderedDict[int, _Doubt] = OrderedDict()

    def believed_in(self, file_id: int, sha256: bytes) -> float:
        """Seconds until these bytes may be believed if they come again; 0 where they came that long ago already."""
        doubt = self._doubts.get(file_id)
        if doubt is None or doubt.sha256 != sha256:
            doubt = self._remember(file_id, _Doubt(sha256, self._clock()))
        return max(0.0, doubt.since + self._retry_wait_s * PATIENCE - self._clock())

    def came_last(self, file_id: int, sha256: bytes) -> bool:
        """Whether these very bytes were rejected the last time."""
        doubt = self._doubts.get(file_id)
        return doubt is not None and doubt.sha256 == sha256

    def reject(self, file_id: int, sha256: bytes, *, patience: int = PATIENCE) -> float | None:
        """These bytes are not taken: seconds until the file should be asked for again; None where it was `TIMES` times."""
        doubt = self._doubts.get(file_id)
        times = 1 if doubt is None else doubt.times + 1
        self._remember(file_id, _Doubt(sha256, self._clock(), times))
        if times > TIMES:
            return None
        first_s = self._retry_wait_s * patience
        return backoff_s(times, first_s=first_s, ceiling_s=LONGEST_WAIT_S, jitter=lambda: 1.0)

    def forget(self, file_id: int) -> None:
        """The file is settled."""
        self._doubts.pop(file_id, None)

    def _remember(self, file_id: int, doubt: _Doubt) -> _Doubt:
        self._doubts[file_id] = doubt
        self._doubts.move_to_end(file_id)
        while len(self._doubts) > _REMEMBERED:
            self._doubts.popitem(last=False)
        return doubt

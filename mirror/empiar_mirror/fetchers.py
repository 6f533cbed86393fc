"""What the lanes ask of other machines that fetch whole files into the same file system."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from empiar_mirror.active import ActiveFile, FileLog
from empiar_mirror.transports.base import Outcome

if TYPE_CHECKING:
    from empiar_mirror.lanes import Run


class Fetchers(Protocol):
    """Other machines that fetch. Each file that one has in hand is a stream like any other: it takes a place of `pacing`."""

    async def run(self, wake: Callable[[], object]) -> None:
        """They are known and watched until cancelled; `wake` is called whenever one may have room.

        Raises:
            ConfigFault: they are asked for, and cannot be used as this machine is.
        """

    def fits(self, active: ActiveFile) -> bool:
        """Whether the file, of which nothing is begun, is one for them."""

    def waits_for_one(self, active: ActiveFile) -> bool:
        """Whether the file is left for them although none has room yet: it will be known in a moment whether there are any."""

    def reserve(self) -> str | None:
        """The name of one that had room until now; None where none has. Needs one `free`."""

    def free(self, worker: str) -> None:
        """It has room again."""

    async def bring(self, run: Run, worker: str, log: FileLog) -> Outcome | None:
        """How the attempt ended; what has come stands in the part file. None where it was not begun.

        Cancelled, what has come is taken over before this ends, if the machine answers soon.
        """

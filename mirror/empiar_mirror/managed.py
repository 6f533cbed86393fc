"""What the engine asks of a channel whose service moves files by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class ManagedChannel(Protocol):
    """A channel on which a service moves files by itself, many to a task, while nobody here holds a connection."""

    async def run(
        self, empiar_ids: Sequence[int] | None, *, least_priority: int, changed: Callable[[], None]
    ) -> None:
        """Hands wanted files over and follows them until cancelled; `changed` is called whenever one was delivered or given back.

        Raises:
            AccountFault: a person must act, and no other channel may bring the files.
            UnreachableFault: the service does not answer, and no other channel may bring the files.
            StorageFault: there is no room for what is to come.
        """

    @property
    def out(self) -> bool:
        """The service takes nothing in this run any more: what it should have brought comes by other channels."""

    async def planned(self) -> None:
        """What shall go by this channel is claimed for it, so that the rest may be claimed for others."""

    async def settled(self) -> bool:
        """Whether nothing of these entries is with the service, or waits for it."""

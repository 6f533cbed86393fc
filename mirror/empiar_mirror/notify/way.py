"""A way by which a message goes out, and how it fails."""

from __future__ import annotations

from typing import Protocol

from empiar_mirror.notify.gathering import Message


class NotDelivered(Exception):
    """A message did not go out. The reason holds no address and no password."""

    def __init__(self, reason: str, *, again: bool, after_s: float | None = None) -> None:
        super().__init__(reason)
        #: Whether another try may succeed.
        self.again = again
        #: The wait that the other side asked for, in seconds.
        self.after_s = after_s


class Way(Protocol):
    """One way to one somebody."""

    async def send(self, message: Message) -> None:
        """The other side has taken the message.

        Raises:
            NotDelivered: it has not.
        """

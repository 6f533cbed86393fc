"""Whether the work of a mirror is to end, and who has to be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stopping:
    """Set once, by a signal; whatever is under way is told."""

    stopped: bool = False
    _told: list[Callable[[], object]] = field(default_factory=list)

    def stop(self) -> None:
        """Everything under way has been told to end soon."""
        self.stopped = True
        for tell in self._told:
            tell()

    @contextmanager
    def telling(self, tell: Callable[[], object]) -> Iterator[None]:
        """While the body runs, `tell` is called when the work is to end."""
        self._told.append(tell)
        try:
            yield
        finally:
            self._told.remove(tell)

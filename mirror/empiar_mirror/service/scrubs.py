"""The service scrubs: what was proven longest ago is read again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from empiar_mirror.app import Mirror
from empiar_mirror.pace import until_scrub_s
from empiar_mirror.scrub import Scrubber
from empiar_mirror.service.rests import Rests
from empiar_schema.settings import Settings


@dataclass(slots=True)
class Scrubs:
    """One run of the scrubber after the other, all by the same one: it goes on in the file that closed hours interrupted."""

    mirror: Mirror
    rests: Rests
    #: So often, at most, it is looked whether a file's proof has grown old.
    every_s: float
    #: Told when something may be wanted that was not.
    wanted: Callable[[], object]
    _scrubber: Scrubber | None = None
    _made_for: object = None

    async def run(self) -> None:
        """Scrubs until the service is stopped."""
        try:
            while not self.rests.stopped.is_set():
                await self.rests.through(self._scrub)
                self.wanted()  # what was damaged is wanted again
                await self.rests.sleep(
                    until_scrub_s(self.mirror.settings.scrub.period, at_most_s=self.every_s)
                )
        finally:
            self._end()

    async def _scrub(self) -> None:
        built_in = _built_in(self.mirror.settings)
        if self._scrubber is None or self._made_for != built_in:
            self._end()
            self._scrubber = self.mirror.scrubber(self.mirror.settings.scrub)
            self._made_for = built_in
        await self._scrubber.run(
            lambda: self.rests.stopped.is_set() or _built_in(self.mirror.settings) != built_in
        )

    def _end(self) -> None:
        if self._scrubber is not None:
            self._scrubber.close()
            self._scrubber = None


def _built_in(settings: Settings) -> tuple[object, ...]:
    """What a scrubber is made for: with other settings of these, another one takes its place."""
    return settings.scrub, settings.cluster

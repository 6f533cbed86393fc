"""Subscriptions and pins of a configuration that was read anew come into force, beside whatever is under way."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from empiar_mirror.app import Mirror
from empiar_mirror.eviction.pinned import pins_declared
from empiar_mirror.service.rests import Rests
from empiar_mirror.subscriptions.declaring import declared
from empiar_schema.pin_store import declare_pins
from empiar_schema.subscription_store import declare_subscriptions


@dataclass(slots=True)
class Declarations:
    """What the configuration declares is in the catalogue, as it stands there now."""

    mirror: Mirror
    rests: Rests
    #: Told when something may be wanted that was not.
    wanted: Callable[[], object]
    _read: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """The configuration was read anew. For callbacks of the loop."""
        self._read.set()

    async def run(self) -> None:
        """Takes over what was read anew until the service is stopped; `wake` lets it end then."""
        while await self._read.wait() and not self.rests.stopped.is_set():
            self._read.clear()
            await self.rests.through(self._take_over)
            self.wanted()

    async def _take_over(self) -> None:
        settings, now = self.mirror.settings, int(self.mirror.clock())
        pins = functools.partial(declare_pins, declared=pins_declared(settings), now=now)
        await self.mirror.catalogue.write(pins)
        subscriptions = functools.partial(declare_subscriptions, declared=declared(settings), now=now)
        if changed := await self.mirror.catalogue.write(subscriptions):
            await self.mirror.evaluate_subscriptions(changed)

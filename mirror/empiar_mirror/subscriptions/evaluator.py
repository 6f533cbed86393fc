"""Subscriptions are evaluated for one mirror, and observers hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from empiar_mirror.stopping import Stopping
from empiar_mirror.subscriptions.evaluation import Evaluated, evaluate_subscriptions
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer, SubscriptionHeld, SubscriptionMatched
from empiar_schema.settings import Settings


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Evaluates the subscriptions of one mirror, in a thread."""

    settings: Settings
    catalogue: Catalogue
    observer: Observer
    clock: Callable[[], float]
    stopping: Stopping

    async def evaluate(
        self, names: Collection[str] | None = None, *, afresh: bool = False
    ) -> list[Evaluated]:
        """See `evaluate_subscriptions`; observers are told what was matched and what is held."""
        found = await asyncio.to_thread(
            evaluate_subscriptions,
            self.catalogue,
            self.settings,
            now=int(self.clock()),
            names=names,
            afresh=afresh,
            stopped=lambda: self.stopping.stopped,
        )
        for one in found:
            if one.held is not None:
                self.observer(SubscriptionHeld(one.name, one.held))
            elif one.files:
                self.observer(SubscriptionMatched(one.name, one.entries, one.files))
        return found

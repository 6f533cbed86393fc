"""The subscriptions of the configuration file are in force in the catalogue."""

from __future__ import annotations

import functools

from empiar_schema.catalogue import Catalogue
from empiar_schema.settings import Settings
from empiar_schema.subscription_store import declare_subscriptions
from empiar_schema.subscriptions import Definition


def declared(settings: Settings) -> list[Definition]:
    """What the configuration declares."""
    return [
        Definition(
            name,
            one.sql,
            one.view,
            one.priority,
            one.budget,
            one.channel,
            one.new_only,
            one.quota,
            one.share,
            None if one.deadline is None else round(one.deadline),
        )
        for name, one in sorted(settings.subscription.items())
    ]


def put_in_force(catalogue: Catalogue, settings: Settings, *, now: int) -> tuple[str, ...]:
    """The catalogue has the subscriptions of the configuration as they stand there; returns the names of those that changed."""
    job = functools.partial(declare_subscriptions, declared=declared(settings), now=now)
    return catalogue.write_now(job)

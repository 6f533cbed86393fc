"""What one subscription asked for, when somebody wants just that now."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from empiar_mirror.asking import selection_of
from empiar_mirror.reading import reading
from empiar_schema import subscription_store as store
from empiar_schema.faults import ConfigFault
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.settings import Settings
from empiar_schema.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Asked:
    """A subscription's entries, and its files of them."""

    subscription: Subscription
    ids: tuple[int, ...]
    #: None where it takes its entries whole.
    files: frozenset[int] | None


def in_force(conn: sqlite3.Connection, name: str) -> Subscription:
    """The subscription of this name, which is neither paused nor held.

    Raises:
        ConfigFault: it is, or there is none.
    """
    found = store.subscription_named(conn, name)
    hint = f"`empiar-mirror subscriptions resume {name}` puts it in force again"
    if found.held_reason is not None:
        raise ConfigFault(f"the subscription {name} is held: {found.held_reason}", hint=hint)
    if found.paused:
        raise ConfigFault(f"the subscription {name} is paused", hint=hint)
    return found


def asked_by(conn: sqlite3.Connection, name: str, settings: Settings) -> Asked:
    """What the subscription made wanted and still matches, and entries that it matches and whose files are not listed yet.

    Raises:
        ConfigFault: it is not in force, or there is none.
    """
    found = in_force(conn, name)
    ids = tuple(store.wanted_entries(conn, name))
    if found.selects == "files":
        chosen = {file for entry in ids for file in store.wanted_files_of(conn, found.number, entry)}
        return Asked(found, ids, frozenset(chosen))
    if found.definition.view is None:
        return Asked(found, ids, None)
    recipe = settings.recipe(found.definition.view)
    return Asked(found, ids, frozenset(f for entry in ids for f in _needed(conn, entry, recipe)))


def _needed(conn: sqlite3.Connection, empiar_id: int, recipe: ViewRecipe) -> list[int]:
    return [file.file_id for file in selection_of(conn, empiar_id, recipe).needed]


def any_subscription(settings: Settings) -> bool:
    """Whether there is a subscription, in the configuration or in the catalogue.

    Raises:
        CatalogueFault: there is no catalogue, or it refuses.
    """
    if settings.subscription:
        return True
    with reading(settings.root) as conn:
        return conn.execute("SELECT 1 FROM subscription LIMIT 1").fetchone() is not None

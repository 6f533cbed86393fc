"""What is asked of the archive for an entry: all of it, or what a layout view needs of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from empiar_mirror.selection import Selection, select
from empiar_mirror.view_files import selectable_files
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.settings import Settings
from empiar_schema.transfer_store import want_entry, want_files
from empiar_schema.wish_store import SUBSCRIBED, WHOLE, record_wish, wishes_of

#: Of files that a view was named for; such a sync fetches these, and no others that wait.
VIEW_PRIORITY = 1


def selection_of(conn: sqlite3.Connection, empiar_id: int, recipe: ViewRecipe) -> Selection:
    """What the view takes of the entry, by its listing."""
    return select(selectable_files(conn, empiar_id), recipe)


def ask_for_whole(conn: sqlite3.Connection, empiar_id: int, *, now: int) -> None:
    """Every listed file of the entry is wanted."""
    record_wish(conn, empiar_id, WHOLE, now=now)
    want_entry(conn, empiar_id, now=now)


def ask_for_view(conn: sqlite3.Connection, empiar_id: int, recipe: ViewRecipe, *, now: int) -> frozenset[int]:
    """What the view needs of the entry is wanted, before anything else of it; returns the files."""
    _wish(conn, empiar_id, recipe.name, now=now)
    needed = frozenset(file.file_id for file in selection_of(conn, empiar_id, recipe).needed)
    want_files(conn, sorted(needed), now=now, priority=VIEW_PRIORITY)
    return needed


def note_subscribed(conn: sqlite3.Connection, empiar_id: int, *, now: int) -> None:
    """What a subscription takes of the entry is its own wish: when that ends, nothing that is listed later is wanted by itself."""
    _wish(conn, empiar_id, SUBSCRIBED, now=now)


def _wish(conn: sqlite3.Connection, empiar_id: int, wish: str, *, now: int) -> None:
    """The wish stands with the entry; one for the whole is kept, also where it was made before wishes were recorded."""
    if WHOLE in wishes_of(conn, empiar_id):
        record_wish(conn, empiar_id, WHOLE, now=now)
    record_wish(conn, empiar_id, wish, now=now)


def ask_as_before(conn: sqlite3.Connection, empiar_id: int, settings: Settings, *, now: int) -> None:
    """What was asked for of the entry is wanted again, with files that are listed since; never more than that."""
    for recipe in _wished(conn, empiar_id, settings):
        if recipe is None:
            ask_for_whole(conn, empiar_id, now=now)
        else:
            ask_for_view(conn, empiar_id, recipe, now=now)


def files_asked_for(conn: sqlite3.Connection, empiar_id: int, settings: Settings) -> frozenset[int] | None:
    """The files that `ask_as_before` would want; None means all."""
    needed: set[int] = set()
    for recipe in _wished(conn, empiar_id, settings):
        if recipe is None:
            return None
        needed.update(file.file_id for file in selection_of(conn, empiar_id, recipe).needed)
    rows = conn.execute("SELECT file_id FROM copy WHERE empiar_id = ?", (empiar_id,))
    return frozenset(needed.union(file_id for (file_id,) in rows))


def _wished(conn: sqlite3.Connection, empiar_id: int, settings: Settings) -> Iterator[ViewRecipe | None]:
    """The views asked for, or None for the whole. A view that is declared no longer asks for nothing new."""
    for view in wishes_of(conn, empiar_id):
        if view == WHOLE:
            yield None
        elif settings.has_view(view):
            yield settings.recipe(view)

"""The files of an entry as the catalogue lists them, for views: to choose from, and to lay out."""

from __future__ import annotations

import sqlite3

from empiar_mirror.layout import FOLDERS, LaidFile
from empiar_mirror.selection import ROLES
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.listing_reads import listed_files


def laid_files(conn: sqlite3.Connection, empiar_id: int, recipe: ViewRecipe) -> list[LaidFile]:
    """The entry's files that have a place in the view, or could have one, here or not.

    A sample is drawn from what the archive lists now, which is the same on every machine. A view of all images
    keeps those that only we have.
    """
    rows = listed_files(conn, empiar_id, FOLDERS, with_gone=recipe.images is None)
    return [LaidFile(*row) for row in rows]


def selectable_files(conn: sqlite3.Connection, empiar_id: int) -> list[LaidFile]:
    """The files that the archive lists for the entry and that a view may want to have here."""
    return [LaidFile(*row) for row in listed_files(conn, empiar_id, ROLES, with_gone=False)]

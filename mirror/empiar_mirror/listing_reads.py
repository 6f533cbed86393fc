"""The files of an entry as the catalogue lists them, for views: to choose from, and to lay out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from empiar_mirror.layout import FOLDERS, LaidFile
from empiar_mirror.selection import ROLES
from empiar_schema.codes import state_list
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.states import HERE, Role

_HERE = state_list(sorted(HERE))


def laid_files(conn: sqlite3.Connection, empiar_id: int, recipe: ViewRecipe) -> list[LaidFile]:
    """The entry's files that have a place in the view, or could have one, here or not.

    A sample is drawn from what the archive lists now, which is the same on every machine. A view of all images
    keeps those that only we have.
    """
    return _files(conn, empiar_id, FOLDERS, with_gone=recipe.images is None)


def selectable_files(conn: sqlite3.Connection, empiar_id: int) -> list[LaidFile]:
    """The files that the archive lists for the entry and that a view may want to have here."""
    return _files(conn, empiar_id, ROLES, with_gone=False)


def _files(
    conn: sqlite3.Connection, empiar_id: int, roles: Collection[Role], *, with_gone: bool
) -> list[LaidFile]:
    rows = conn.execute(
        "SELECT f.file_id, f.directory, f.name, f.role, c.sha256, f.bytes,"  # noqa: S608 - our own numbers
        f" coalesce(c.state IN ({_HERE}), 0) AS here"
        " FROM files f LEFT JOIN copy c ON c.file_id = f.file_id"
        " WHERE f.empiar_id = :entry AND f.role IN (SELECT value FROM json_each(:roles))"
        f" AND (f.gone_at IS NULL OR :with_gone AND c.state IN ({_HERE}))",
        {"entry": empiar_id, "roles": json.dumps(sorted(roles)), "with_gone": with_gone},
    )
    # One text for each folder and one object for each role: an entry may have a million files.
    known_roles = {str(role): role for role in Role}
    directories: dict[str, str] = {}
    return [
        LaidFile(
            file_id,
            directories.setdefault(directory, directory),
            name,
            known_roles[role],
            sha256 if here else None,
            size,
            bool(here),
        )
        for file_id, directory, name, role, sha256, size, here in rows
    ]

"""What views take of entries, found once where several subscriptions take the same."""

from __future__ import annotations

import sqlite3
from array import array
from typing import Final, NamedTuple

from empiar_mirror.asking import selection_of
from empiar_schema.layout_views import ViewRecipe

#: Numbers of files that are kept, eight bytes each; what does not fit is found again when it is needed.
_MOST_FILES: Final = 2_000_000


class Taken(NamedTuple):
    """How many files a view takes of an entry, and their bytes as far as sizes are known."""

    files: int
    bytes: int


class Choices:
    """The files that views take of entries, by what is listed when it is first asked for."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._sums: dict[tuple[int, ViewRecipe], Taken] = {}
        self._files: dict[tuple[int, ViewRecipe], array[int]] = {}
        self._kept = 0

    def taken(self, empiar_id: int, recipe: ViewRecipe) -> Taken:
        """What the view takes of the entry, in numbers."""
        if (empiar_id, recipe) not in self._sums:
            self._find(empiar_id, recipe)
        return self._sums[empiar_id, recipe]

    def files(self, empiar_id: int, recipe: ViewRecipe) -> array[int]:
        """The files that the view takes of the entry, rising."""
        known = self._files.get((empiar_id, recipe))
        return self._find(empiar_id, recipe) if known is None else known

    def _find(self, empiar_id: int, recipe: ViewRecipe) -> array[int]:
        needed = selection_of(self._conn, empiar_id, recipe).needed
        found = array("q", sorted(file.file_id for file in needed))
        self._sums[empiar_id, recipe] = Taken(len(found), sum(file.size or 0 for file in needed))
        if self._kept + len(found) <= _MOST_FILES:
            self._files[empiar_id, recipe] = found
            self._kept += len(found)
        return found

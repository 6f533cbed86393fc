"""The views of the catalogue, each column with its expression and its sentence, as data.

Views use nothing but plain SQL, so that they work in any SQLite tool. Single facts from small tables are scalar
subqueries: SQLite evaluates them only for the columns that a query asks for.
"""

from __future__ import annotations

from typing import Final

from empiar_schema.view_definitions.columns import Column, View, same
from empiar_schema.view_definitions.of_disk import DISK_USE, EVICTIONS, PINS
from empiar_schema.view_definitions.of_emdb import EMDB_ENTRIES, ENTRY_SCIENCE
from empiar_schema.view_definitions.of_entries import (
    AUTHORS,
    CITATIONS,
    CROSS_REFERENCES,
    ENTRIES,
    ENTRY_PROGRESS,
    GRANTS,
    IMAGESETS,
    SUBSCRIPTION_MATCHES,
    SUBSCRIPTIONS,
)
from empiar_schema.view_definitions.of_files import (
    CHECKSUMS,
    COPIES,
    FILES,
    IMAGES,
    MICROGRAPHS,
    PROBES,
    TRANSFERS,
)
from empiar_schema.view_definitions.of_globus import GLOBUS_FILES, GLOBUS_TASKS
from empiar_schema.view_definitions.of_history import (
    ENTRIES_AS_OF,
    ENTRIES_HISTORY,
    FILES_AS_OF,
    FILES_HISTORY,
)
from empiar_schema.view_definitions.of_labels import LABEL_VERSIONS
from empiar_schema.view_definitions.of_listings import CHANGES, CONTRADICTIONS, LISTINGS, UNKNOWN_KEYS
from empiar_schema.view_definitions.of_products import DERIVED, JOBS, LABEL_SETS, LEASES

__all__ = ["AS_OF_VIEWS", "FULL_TEXT", "VIEWS", "Column", "View"]

DESCRIPTIONS: Final = View(
    "descriptions",
    "What every view and column means.",
    same(
        "d",
        ("view", "Name of the view."),
        ("column", "Name of the column; null for the view itself."),
        ("position", "Order of the column in the view, from 1; 0 for the view itself."),
        ("description", "What it means."),
    ),
    "FROM description d",
)

#: All views, in the order in which documentation shows them.
VIEWS: Final = (
    ENTRIES, IMAGESETS, CROSS_REFERENCES, EMDB_ENTRIES, ENTRY_SCIENCE, AUTHORS, CITATIONS, GRANTS, FILES,
    MICROGRAPHS, COPIES, CHECKSUMS, TRANSFERS, GLOBUS_TASKS, GLOBUS_FILES, IMAGES, PROBES, ENTRY_PROGRESS, SUBSCRIPTIONS,
    SUBSCRIPTION_MATCHES, PINS, EVICTIONS, DISK_USE, CHANGES, ENTRIES_AS_OF, FILES_AS_OF, ENTRIES_HISTORY,
    FILES_HISTORY, CONTRADICTIONS, LISTINGS, JOBS, LEASES, DERIVED, LABEL_SETS, LABEL_VERSIONS, UNKNOWN_KEYS, DESCRIPTIONS,
)  # fmt: skip

#: Views of one time; they need a condition on their first column, `as_of`.
AS_OF_VIEWS: Final = (ENTRIES_AS_OF, FILES_AS_OF)

#: The full-text table is used by its own name, so that MATCH works: its columns and their sentences.
FULL_TEXT: Final = (
    "entries_fts",
    "Full-text search: SELECT empiar_id FROM entries_fts WHERE entries_fts MATCH 'apoferritin'.",
    (
        ("title", "Title."),
        ("details", "Details of the image sets and citations."),
        ("authors", "Authors and investigators."),
        ("imagesets", "Names, categories and formats of the image sets."),
        ("citations", "Titles, journals and DOIs of the citations, and cross-references."),
        ("empiar_id", "The entry's number."),
    ),
)

"""Views of the Globus channel: the tasks of its service, and the files that are or were with it."""

# ruff: noqa: S608
# SQL is put together from this package's own constants; values are always bound.

from __future__ import annotations

from typing import Final

from empiar_schema.codes import words_of
from empiar_schema.globus_states import BUNDLE_CODES, ITEM_CODES, NEVER_AGAIN, ItemState
from empiar_schema.view_definitions.columns import Column, View, iso, path_of, same


def _items(state: ItemState) -> str:
    return (
        "(SELECT count(*) FROM globus_item g WHERE g.bundle_id = b.bundle_id"
        f" AND g.state = {ITEM_CODES[state]})"
    )


GLOBUS_TASKS: Final = View(
    "globus_tasks",
    "One row a bundle of files that was put together for one task of the Globus service.",
    (
        Column("bundle_id", "b.bundle_id", "Number of the bundle."),
        Column(
            "state",
            words_of("b.state", BUNDLE_CODES),
            "planned (the service knows nothing of it), submitted, abandoned (its task is to be cancelled) or ended.",
        ),
        *same(
            "b",
            ("label", "What the Globus web app calls the task."),
            ("task_id", "The service's number of the task; null before it has one."),
            ("files", "Files that were put into the bundle."),
            ("bytes", "Their bytes, as listed."),
            (
                "sync_level",
                "checksum where files that stand at the destination are compared first; else null.",
            ),
        ),
        Column("planned_at", iso("b.planned_at"), "When it was put together."),
        Column("submitted_at", iso("b.submitted_at"), "When the service took the task on."),
        Column(
            "progressed_at",
            iso("b.progressed_at"),
            "When the service last told of more bytes or files, or took the task from its queue.",
        ),
        Column("ended_at", iso("b.ended_at"), "When what became of every file was on record."),
        *same(
            "b",
            (
                "status",
                "The service's word, ACTIVE, INACTIVE, SUCCEEDED or FAILED; of a bundle that never became a task, or whose task is lost, ours: DISSOLVED, REFUSED, ABANDONED or UNKNOWN.",
            ),
            (
                "nice_status",
                "OK, Queued, or the code of the error that the service met last: FILE_NOT_FOUND, PERMISSION_DENIED, …",
            ),
            ("bytes_transferred", "Bytes that the service has moved."),
            ("files_transferred", "Files that the service has moved."),
            ("faults", "Errors that the service has met so far; it tries again by itself."),
        ),
        Column("files_under_way", _items(ItemState.UNDER_WAY), "Files that the service still has to bring."),
        Column(
            "files_delivered",
            _items(ItemState.DELIVERED),
            "Files that it has brought and that are not verified yet; those that have arrived are counted no more.",
        ),
        Column(
            "files_freed",
            _items(ItemState.FREED),
            "Files that were given back, and have neither arrived since nor gone into another bundle.",
        ),
        *same(
            "b",
            ("cancelled_because", "Why this mirror told the service to cancel the task; null otherwise."),
            ("error", "Why it did not bring everything; null when all is well."),
        ),
    ),
    "FROM globus_bundle b",
)

GLOBUS_FILES: Final = View(
    "globus_files",
    "One row a file that was ever put into a bundle for the Globus service and has not arrived since.",
    (
        Column("file_id", "g.file_id", "The file's number."),
        Column("empiar_id", "d.empiar_id", "The entry's number."),
        Column("path", path_of(), "Below the entry, as a stored text."),
        Column("bundle_id", "g.bundle_id", "The bundle that it is in, or was in last (globus_tasks)."),
        Column("task_id", "b.task_id", "That bundle's task; null before it has one."),
        Column(
            "state",
            words_of("g.state", ITEM_CODES),
            "under_way, delivered (at the destination, not verified yet) or freed (given back, to come by another channel or bundle).",
        ),
        Column(
            "tries",
            f"CASE WHEN g.tries < {NEVER_AGAIN} THEN g.tries END",
            "Bundles that it was in since it was last asked for; null where it goes by Globus no more until somebody asks again.",
        ),
        Column("delivered_at", iso("g.delivered_at"), "When the service was found to have brought it."),
        Column("error", "g.error", "Why it was given back last; null when all is well."),
    ),
    "FROM globus_item g JOIN globus_bundle b ON b.bundle_id = g.bundle_id JOIN file f ON f.file_id = g.file_id"
    " JOIN directory d ON d.directory_id = f.directory_id",
)

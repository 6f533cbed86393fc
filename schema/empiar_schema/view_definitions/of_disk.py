"""Views of the disk: what each entry takes, what is pinned, what was evicted and how it comes back."""

# SQL is put together from this package's own constants; values are always bound.

from __future__ import annotations

from typing import Final

from empiar_schema.codes import state_list
from empiar_schema.states import HERE
from empiar_schema.view_definitions.columns import Column, View, iso, path_of, same
from empiar_schema.view_definitions.of_files import url_below

_HERE: Final = state_list(sorted(HERE))

PINS: Final = View(
    "pins",
    "What eviction never touches.",
    (
        *same(
            "p",
            ("name", "Name of the pin."),
            (
                "sql",
                "The query that pins; it returns empiar_id or file_id. Null where entries are named one by one.",
            ),
        ),
        Column(
            "entries",
            "(SELECT json_group_array(e.empiar_id) FROM pin_entry e WHERE e.name = p.name)",
            "The entries named one by one, a JSON list.",
        ),
        Column("declared", "p.declared", "1 if it stands in the configuration file."),
        Column("created_at", iso("p.created_at"), "When it was made."),
        Column(
            "match_count",
            "p.match_count",
            "Rows of its query when it was last believed; a result of a tenth or less is not, and no eviction runs.",
        ),
    ),
    "FROM pin p",
)

EVICTIONS: Final = View(
    "evictions",
    "One row for each time that a file was removed to make room, with all by which it can be fetched and known again.",
    (
        *same(
            "v",
            ("eviction_id", "Number of the row."),
            ("file_id", "The file's number."),
            ("empiar_id", "The entry's number."),
        ),
        Column("path", path_of(), "Below the entry, as a stored text."),
        Column("bytes", "v.bytes", "Size of the copy that was removed."),
        Column("sha256", "lower(hex(v.sha256))", "Its SHA-256."),
        Column("channel", "v.channel", "How it had come: https, ftp, globus."),
        Column(
            "source_url",
            f"CASE v.channel WHEN 'ftp' THEN {url_below('r.ftp_url')} WHEN 'globus' THEN {url_below('r.globus_url')}"
            f" ELSE {url_below('r.https_url')} END",
            "Where it had come from.",
        ),
        Column("validator_bytes", "v.v_size", "Size that the server stated with it."),
        Column("validator_modified_at", iso("v.v_modified_at"), "Modification time that the server stated."),
        Column("validator_etag", "v.v_etag", "ETag that the server stated."),
        Column("arrived_at", iso("v.arrived_at"), "When it had arrived."),
        Column("verified_at", iso("v.verified_at"), "When its bytes were last proven."),
        Column("listed_at", iso("v.listed_at"), "When a complete listing had last named the file by then."),
        Column("decided_at", iso("r.decided_at"), "When the eviction was decided."),
        Column("reason", "r.reason", "The command, or the table of the configuration, that did it."),
        Column("sql", "r.sql", "The query that selected it."),
        Column(
            "removed_at",
            iso("v.removed_at"),
            "When the file was gone from the disk; null while it may be there.",
        ),
        Column("error", "v.error", "Why it was not removed after all; null otherwise."),
        Column("recalled_at", iso("v.recalled_at"), "When it was last asked for again; null if never."),
        Column("returned_at", iso("v.returned_at"), "When it came back; null before."),
        Column(
            "returned_same",
            "v.returned_sha256 = v.sha256",
            "1 if the same bytes came back, 0 if the archive has other bytes by now; null before.",
        ),
        Column(
            "gone_at",
            iso("(SELECT a.gone_at FROM file_absence a WHERE a.file_id = v.file_id)"),
            "When EMPIAR ceased to list the file, so that it cannot be fetched; null while listed.",
        ),
    ),
    "FROM eviction v JOIN eviction_run r ON r.run_id = v.run_id JOIN file f ON f.file_id = v.file_id"
    " JOIN directory d ON d.directory_id = f.directory_id",
)

DISK_USE: Final = View(
    "disk_use",
    "What each entry takes of the disk and of the quota, as the catalogue has it.",
    (
        Column("empiar_id", "e.empiar_id", "The entry's number."),
        Column(
            "archive_bytes",
            "(SELECT ifnull(sum(p.bytes), 0) FROM copy_progress p WHERE p.empiar_id = e.empiar_id"  # noqa: S608 - our own numbers
            f" AND p.state IN ({_HERE}))",
            "Bytes of its files here.",
        ),
        Column(
            "derived_files",
            "ifnull((SELECT d.files FROM product_progress d WHERE d.empiar_id = e.empiar_id), 0)",
            "Derived files that were made of them.",
        ),
        Column(
            "derived_bytes",
            "ifnull((SELECT d.bytes FROM product_progress d WHERE d.empiar_id = e.empiar_id), 0)",
            "Their bytes.",
        ),
    ),
    "FROM entry e",
)

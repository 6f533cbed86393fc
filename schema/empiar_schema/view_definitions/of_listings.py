"""Views of what the archive said over time: listings, changes, contradictions, keys that nobody knows."""

# SQL is put together from this package's own constants; values are always bound.

from __future__ import annotations

from typing import Final

from empiar_schema.view_definitions.columns import Column, View, iso, path_of, same

CHANGES: Final = View(
    "changes",
    "What changed in the archive, as noticed by this mirror. A new entry's files are one row: path null, field files, new their count.",
    (
        Column("changed_at", iso("c.changed_at"), "When the change was noticed."),
        Column("empiar_id", "c.empiar_id", "The entry's number."),
        Column(
            "path",
            f"CASE WHEN c.file_id IS NOT NULL THEN {path_of()} END",
            "The file; null for the entry itself.",
        ),
        Column(
            "kind",
            "c.kind",
            "added, changed, removed, returned or withdrawn; evicted, where files were removed here to make room.",
        ),
        Column(
            "field",
            "c.field",
            "What changed: title, bytes, imagesets[0].details, EMD-1234 resolution_angstrom (a fact of EMDB's); null for the whole.",
        ),
        Column("old", "c.old", "Value before."),
        Column("new", "c.new", "Value after."),
        Column("file_id", "c.file_id", "The file's number; null for the entry itself."),
        # An index knows this one: times as text have to be made of every row first.
        Column(
            "changed_s", "c.changed_at", "When it was noticed, in seconds since 1970: quick for the latest."
        ),
    ),
    "FROM change c LEFT JOIN file f ON f.file_id = c.file_id LEFT JOIN directory d ON d.directory_id = f.directory_id",
)

CONTRADICTIONS: Final = View(
    "contradictions",
    "Where two sources disagree, or one says something impossible.",
    (
        *same(
            "c",
            ("empiar_id", "The entry's number; null if it concerns none."),
            ("path", "The file; null if it concerns the entry."),
            ("what", "The fact in question."),
            ("stated", "What is stated."),
            ("found", "What was found."),
            ("source", "Who stated it."),
        ),
        Column("first_seen_at", iso("c.first_seen_at"), "When it was first noticed."),
        Column("last_seen_at", iso("c.last_seen_at"), "When it was last noticed."),
    ),
    "FROM contradiction c",
)

LISTINGS: Final = View(
    "listings",
    "Every complete file listing, and how it compared with the one before.",
    (
        Column("listing_id", "l.listing_id", "Number of the listing."),
        Column("empiar_id", "l.empiar_id", "The entry's number."),
        Column(
            "source",
            "(SELECT name FROM source s WHERE s.source_id = l.source_id)",
            "Where it came from: ftp, https.",
        ),
        Column("started_at", iso("l.started_at"), "When reading began."),
        Column("completed_at", iso("l.completed_at"), "When it was complete."),
        *same(
            "l",
            ("file_count", "Files named."),
            ("byte_count", "Bytes of those files, as listed."),
            ("added", "Files not known before."),
            ("changed", "Files of another size or time."),
            ("missing", "Files lacking for the first time."),
            ("gone", "Files lacking for the second time, thus gone."),
            ("returned", "Files that were missing or gone and are back."),
        ),
    ),
    "FROM listing l",
)

UNKNOWN_KEYS: Final = View(
    "unknown_keys",
    "Keys in the archive's metadata that this version does not know; their values are kept.",
    (
        Column("key_path", "k.key_path", "Path of the key: imagesets[].tilt_step."),
        Column("entry_count", "count(*)", "Entries that have it."),
        Column("times", "sum(k.times)", "How often it occurs."),
        Column("example", "min(k.empiar_id)", "An entry that has it."),
    ),
    "FROM unknown_key k GROUP BY k.key_path",
)

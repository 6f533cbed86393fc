"""The view of labels by hand."""

from __future__ import annotations

from typing import Final

from empiar_schema.view_definitions.columns import Column, View, iso, same

LABEL_VERSIONS: Final = View(
    "label_versions",
    "One row a version of labels by hand, as the files below labels/ say, which are the record.",
    (
        *same(
            "v",
            ("empiar_id", "The entry's number."),
            ("path", "The micrograph below the entry, as a stored text."),
            (
                "file_id",
                "The micrograph's number in `files`; null while the entry's listing has no such file.",
            ),
        ),
        Column("version_number", "v.version", "Number of the version, from 1."),
        *same(
            "v",
            ("aside", "1 if another version was saved while this one was made, so that it does not count."),
        ),
        Column(
            "is_current",
            "v.aside = 0 AND v.problem IS NULL AND NOT EXISTS (SELECT 1 FROM label_version n WHERE n.empiar_id = v.empiar_id"
            " AND n.path = v.path AND n.version > v.version AND n.aside = 0 AND n.problem IS NULL)",
            "1 if this version decides what layouts and exports say of the micrograph.",
        ),
        *same(
            "v",
            ("base", "The version that was changed; 0 for labels that nobody had changed by hand."),
            ("author", "Who saved it, as that person wrote it."),
        ),
        Column("saved_at", iso("v.saved_at"), "When it was saved."),
        *same(
            "v",
            ("kept", "Picks that are particles."),
            ("rejected", "Picks that are none."),
            ("added", "Picks that were not among the labels before."),
            ("diameter_px", "Diameter of a particle, pixels; null if the version states none."),
            ("width", "Width of the picture that was looked at, pixels."),
            ("height", "Height of that picture, pixels."),
            ("pixel_size_angstrom", "Pixel size as known when it was saved, Å."),
        ),
        Column(
            "micrograph_sha256",
            "lower(hex(v.micrograph_sha256))",
            "SHA-256 of the micrograph when it was saved.",
        ),
        *same(
            "v",
            (
                "picture",
                "What was looked at, below the mirror's root: the micrograph, or the average of the movie.",
            ),
            ("note", "What the author wrote beside it."),
            ("bytes", "Size of the version's file in bytes."),
        ),
        Column("sha256", "lower(hex(v.sha256))", "SHA-256 of the version's file."),
        *same("v", ("problem", "Why the version cannot be used; null when all is well.")),
        Column(
            "local_path",
            "(SELECT root FROM archive_address) || '/labels/' || v.empiar_id || '/' || v.path || '/'"
            " || printf('v%04d', v.version) || CASE v.aside WHEN 1 THEN '-aside' ELSE '' END || '.json'",
            "Where its file stands, as a stored text.",
        ),
    ),
    "FROM label_version v",
)

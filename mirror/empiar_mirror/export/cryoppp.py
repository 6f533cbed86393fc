"""CryoPPP's catalogue of entries: one row an entry, with its columns and its `N/A` where a list is empty.

CryoPPP makes it with a script from EMPIAR's API (EMPIAR ID, Title, EMDB, PDB, Size) and adds counts and paths by hand; here
the counts are those of the listing and the roles of its files.
"""

from __future__ import annotations

from typing import Final

from empiar_mirror.export.tables import Column, Table

NAME: Final = "cryoppp"

_COLUMNS: Final = (
    Column("EMPIAR ID", "int", "The entry's number."),
    Column("Title", "text", "Title."),
    Column("Authors", "text", "Names, joined by commas; N/A without any."),
    Column("EMDB", "text", "Accessions of maps, joined by commas; N/A without any."),
    Column("PDB", "text", "Accessions of models, joined by commas; N/A without any."),
    Column("Size", "text", "Size as stated, 305.5 GB; N/A if none is."),
    Column("Micrographs", "int", "Files that are micrographs, as listed."),
    Column("Movies", "int", "Files that are movies, as listed."),
    Column("Image Ext", "text", "The most frequent suffix of those files, *.mrc; N/A without any."),
    Column("Gain files", "int", "Files that are gain references."),
    Column("Gain Ext", "text", "Their most frequent suffix; N/A without any."),
    Column("Image width", "int", "Pixels, as the first image set that states it says."),
    Column("Image height", "int", "Pixels, the same."),
    Column("Pixel size (A)", "real", "Å a pixel, the same."),
    Column("FTP path", "text", "The entry's folder over FTP."),
    Column("HTTPS path", "text", "The entry's folder over HTTPS."),
    Column("Globus path", "text", "The entry's folder in the archive's Globus collection."),
    Column("DOI", "text", "DOI of the entry; N/A without one."),
    Column("Release date", "text", "Day of release; N/A if it is not stated."),
)

_LIST: Final = (
    "ifnull((SELECT group_concat({what}, ', ') FROM (SELECT {what} FROM {of} ORDER BY {by})), 'N/A')"
)
_REFERENCES: Final = "cross_references WHERE empiar_id = :id AND kind = '{}'"
_STATED: Final = "(SELECT {0} FROM imagesets WHERE empiar_id = :id AND {0} > 0 ORDER BY position LIMIT 1)"
_USUAL: Final = "ifnull((SELECT '*' || suffix FROM suffixes WHERE role IN ({}) AND suffix <> '' ORDER BY files DESC, suffix LIMIT 1), 'N/A')"
_COUNT: Final = "(SELECT ifnull(sum(files), 0) FROM suffixes WHERE role = '{}')"

_VALUES: Final = (
    "e.empiar_id",
    "e.title",
    _LIST.format(what="name", of="authors WHERE empiar_id = :id", by="position"),
    _LIST.format(what="accession", of=_REFERENCES.format("EMDB"), by="accession"),
    _LIST.format(what="accession", of=_REFERENCES.format("PDB"), by="accession"),
    "ifnull(e.dataset_size, 'N/A')",
    _COUNT.format("micrograph"),
    _COUNT.format("movie"),
    _USUAL.format("'micrograph', 'movie'"),
    _COUNT.format("gain"),
    _USUAL.format("'gain'"),
    _STATED.format("image_width"),
    _STATED.format("image_height"),
    _STATED.format("pixel_width_angstrom"),
    ":ftp || '/' || e.empiar_id || '/'",
    ":https || '/' || e.empiar_id || '/'",
    ":globus || '/' || e.empiar_id || '/'",
    "ifnull(e.doi, 'N/A')",
    "ifnull(e.release_date, 'N/A')",
)

TABLE: Final = Table(
    NAME,
    "One row an entry with the columns of CryoPPP's catalogue.",
    _COLUMNS,
    "WITH suffixes AS MATERIALIZED (SELECT role, suffix, count(*) AS files FROM files"  # noqa: S608 - our own constants
    " WHERE empiar_id = :id AND gone_at IS NULL AND role IN ('micrograph', 'movie', 'gain') GROUP BY role, suffix)"
    f" SELECT {', '.join(_VALUES)} FROM entries e WHERE e.empiar_id = :id",
    by_entry=True,
    large=True,
)

"""Media types of the files of cryo-EM (pure). MRC, EER and DM have none registered."""

from __future__ import annotations

from typing import Final

from empiar_schema.paths import suffix_of

ANY: Final = "application/octet-stream"
_TYPES: Final = {
    "bz2": "application/x-bzip2",
    "csv": "text/csv",
    "eer": "image/tiff",  # an EER file is a BigTIFF with a compression of its own
    "gz": "application/gzip",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "png": "image/png",
    "star": "text/plain",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "tsv": "text/tab-separated-values",
    "txt": "text/plain",
    "xml": "application/xml",
    "xz": "application/x-xz",
    "zst": "application/zstd",
}


def media_type(name: str) -> str:
    """The media type that a name's last suffix means; ``application/octet-stream`` where there is none."""
    return _TYPES.get(suffix_of(name).rpartition(".")[2], ANY)

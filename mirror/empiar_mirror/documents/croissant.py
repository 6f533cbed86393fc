"""The MLCommons Croissant 1.1 of a layout (pure): ``croissant.json``, for loaders of machine learning.

It has a fixed size: files are sets with patterns, and the list of all of them, each with its SHA-256, is
the record set `files`, read from ``data/mapping.tsv``, whose own SHA-256 stands in the document. Micrographs and their
particles are joined by the name of the file of coordinates, which ``micrographs.tsv`` gives for each micrograph: loaders
take a column of stems such as ``061`` for numbers.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator
from typing import Final

from empiar_mirror.arrange import MAPPING
from empiar_mirror.documents.media_types import media_type
from empiar_mirror.documents.placed import LayoutSummary, PlacedFile
from empiar_mirror.documents.subject import EMPIAR, FRAME, LICENSE, Subject, doi_url, one_line, orcid_url

CROISSANT: Final = "croissant.json"
MICROGRAPHS_TABLE: Final = "micrographs.tsv"
MICROGRAPHS: Final = "micrographs"
COORDINATES: Final = "ground_truth/particle_coordinates"

Json = dict[str, object]

_TERMS: Final = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
    "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
    "source", "subField", "transform",
)  # fmt: skip
#: The context that the specification gives: loaders compare it word for word.
_CONTEXT: Final[Json] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS},
}

_FILE_COLUMNS: Final = (
    ("place", "Where the file stands in the layout, as stored text (bytes that are not UTF-8 as %XX)."),
    ("path", "Path below the entry on EMPIAR; of a derived file, below the mirror's derived folder."),
    ("role", "What the file is for: micrograph, movie, gain, particle_coordinates, …"),
    ("origin", "deposited or derived."),
    ("sha256", "SHA-256 of the file."),
)
_MICROGRAPH_COLUMNS: Final = (
    ("file", "The image, below the folder of this document."),
    (
        "coordinates",
        "Name of its file of coordinates; where there is no such file, the image is not annotated.",
    ),
    ("role", "micrograph, or movie where the frames were deposited."),
    ("origin", "deposited or derived."),
    ("sha256", "SHA-256 of the image."),
)
_PICK_COLUMNS: Final = (
    ("x", "X-Coordinate", "Column of the particle's centre, pixels of the full-size micrograph."),
    (
        "y",
        "Y-Coordinate",
        "Pixels from the other edge: row = H - Y of the H rows as deposited; row = Y in a JPEG rendition.",
    ),
    ("diameter", "Diameter", "Diameter of the particle, pixels of the full-size micrograph."),
)


def micrographs_table(files: Iterable[PlacedFile]) -> Iterator[bytes]:
    """Lines of ``micrographs.tsv``; none without micrographs. Stored texts hold no tab and no line end."""
    header = "\t".join(name for name, _ in _MICROGRAPH_COLUMNS) + "\n"
    for file in files:
        if file.folder == MICROGRAPHS:
            row = (f"data/{file.place}", f"{file.stem}.csv", file.role, file.origin, file.sha256)
            yield (header + "\t".join(row) + "\n").encode("utf-8", "surrogateescape")
            header = ""


def croissant(
    subject: Subject, summary: LayoutSummary, *, mapping_sha256: str, micrographs_sha256: str | None
) -> bytes:
    """The document. `micrographs_sha256` is that of ``micrographs.tsv``; None where there is no such file."""
    document: Json = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": subject.name,
        "description": _description(subject, summary),
        "url": subject.page,
        "license": LICENSE,
        "citeAs": subject.reference,
        "datePublished": subject.published,
        "version": _version(subject),
        "publisher": {"@type": "sc:Organization", "name": "EMPIAR", "url": EMPIAR},
        "creator": [
            _present(
                {
                    "@type": "sc:Person",
                    "name": one_line(author.name) or orcid_url(author.orcid),
                    "url": orcid_url(author.orcid),
                }
            )
            for author in subject.authors
        ],
        "sameAs": _same_as(subject),
        "distribution": [*_tables(mapping_sha256, micrographs_sha256), *_file_sets(summary)],
        "recordSet": _record_sets(summary, joined=micrographs_sha256 is not None),
    }
    return (json.dumps(_present(document), ensure_ascii=False, indent=1) + "\n").encode()


def _description(subject: Subject, summary: LayoutSummary) -> str:
    text = f'Raw cryo-EM data of "{subject.title}" ({subject.accession}), {summary.files} files in the layout {subject.view}.'
    if COORDINATES in summary.folders:
        text += f" Particle coordinates: {FRAME} A micrograph without coordinates is not annotated; it may hold particles."
    return text


def _version(subject: Subject) -> str | None:
    """The day of the entry's last change as ``YYYY.M.D``, which is a semantic version and sorts by time."""
    if subject.changed is None:
        return None
    return ".".join(str(int(part)) for part in subject.changed.split("-"))


def _same_as(subject: Subject) -> list[str] | None:
    own = doi_url(subject.entry.doi if subject.entry else None)
    return [own] if own else None


def _tables(mapping_sha256: str, micrographs_sha256: str | None) -> Iterator[Json]:
    yield _table(f"data/{MAPPING}", MAPPING, "One line a file of the layout.", mapping_sha256)
    if micrographs_sha256 is not None:
        yield _table(
            MICROGRAPHS_TABLE, MICROGRAPHS_TABLE, "One line a micrograph or movie.", micrographs_sha256
        )


def _table(url: str, name: str, description: str, sha256: str) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": description,
        "contentUrl": url,
        "encodingFormat": media_type(name),
        "sha256": sha256,
    }


def _file_sets(summary: LayoutSummary) -> Iterator[Json]:
    for name in sorted(summary.folders):
        folder = summary.folders[name]
        patterns, types = _patterns(name, summary)
        yield {
            "@type": "cr:FileSet",
            "@id": _set_id(name),
            "name": name or "data",
            "description": f"{folder.files} files, {folder.bytes} bytes.",
            "encodingFormat": types,
            "includes": patterns,
        }


def _patterns(folder: str, summary: LayoutSummary) -> tuple[list[str], list[str]]:
    below = f"data/{folder}/" if folder else "data/"
    suffixes = summary.folders[folder].all_suffixes
    if suffixes is None:
        return [f"{below}*"], [media_type("")]
    return [f"{below}*{glob.escape(suffix)}" for suffix in suffixes], sorted(
        set(map(media_type, map("a".__add__, suffixes)))
    )


def _set_id(folder: str) -> str:
    return f"{folder.replace('/', '-') or 'data'}-files"


def _record_sets(summary: LayoutSummary, *, joined: bool) -> list[Json]:
    sets = [_rows("files", "All files of the layout.", MAPPING, _FILE_COLUMNS)]
    if joined:
        sets.append(
            _rows(MICROGRAPHS, "One record a micrograph or movie.", MICROGRAPHS_TABLE, _MICROGRAPH_COLUMNS)
        )
    if COORDINATES in summary.folders:
        sets.append(_picks(joined=joined))
    return sets


def _rows(name: str, description: str, table: str, columns: Iterable[tuple[str, str]]) -> Json:
    """The record set that is a table; its first column is the key."""
    fields = [
        _field(name, column, "sc:Text", text, {"fileObject": {"@id": table}, "extract": {"column": column}})
        for column, text in columns
    ]
    return _record_set(name, description, key=fields[0], fields=fields)


def _picks(*, joined: bool) -> Json:
    source: Json = {"fileSet": {"@id": _set_id(COORDINATES)}}
    name = source | {"extract": {"fileProperty": "filename"}}
    fields = [_field("picks", "coordinates", "sc:Text", "Name of the file of coordinates.", name)]
    if joined:
        fields[0]["references"] = {"field": {"@id": f"{MICROGRAPHS}/coordinates"}}
        image: Json = {"field": {"@id": f"{MICROGRAPHS}/file"}}
        fields.append(
            _field("picks", "micrograph", "sc:Text", "The image, below the folder of this document.", image)
        )
    fields += [
        _field("picks", field, "sc:Float", text, source | {"extract": {"column": column}})
        for field, column, text in _PICK_COLUMNS
    ]
    return _record_set("picks", f"One record a particle. {FRAME}", key=None, fields=fields)


def _record_set(name: str, description: str, *, key: Json | None, fields: list[Json]) -> Json:
    return _present(
        {
            "@type": "cr:RecordSet",
            "@id": name,
            "name": name,
            "description": description,
            "key": {"@id": key["@id"]} if key else None,
            "field": fields,
        }
    )


def _field(record_set: str, name: str, data_type: str, description: str, source: Json) -> Json:
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": name,
        "description": description,
        "dataType": data_type,
        "source": source,
    }


def _present(document: Json) -> Json:
    return {name: value for name, value in document.items() if value not in (None, [])}

"""The header XML of an entry (``NNNNN.xml``) → the same `Entry` as the API's.

The element tree is that of EMPIAR's XML schema of June 2020 (0.48), of which all headers seen are made, and of the
schema of 2017, whose citations have other names. Both become the API's record, by tables, and then take its way
(`empiar_crawler.parse.record`). Elements without a place in the tables become unknown keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, ParseError

import defusedxml
from defusedxml.ElementTree import fromstring
from pydantic import JsonValue

from empiar_crawler.parse.fields import Oddities
from empiar_crawler.parse.record import entry_from_record
from empiar_schema.entry import Entry
from empiar_schema.faults import BadAnswer
from empiar_schema.paths import parse_empiar_id

#: Real headers are nested six deep.
MAX_DEPTH: Final = 100


def parse_header_xml(body: bytes) -> Entry:
    """The entry that a header describes.

    Raises:
        BadAnswer: no well-formed XML, a document type or entity declaration in it (bombs, external files), nested
            deeper than `MAX_DEPTH`, or no EMPIAR header with an accession.
    """
    root = _root(body)
    if _local(root.tag) != "entry":
        raise BadAnswer(f"the header XML begins with <{_local(root.tag)[:60]}>, not with <entry>")
    code = root.attrib.get("accessionCode", "")
    try:
        empiar_id = parse_empiar_id(code)
    except ValueError as error:
        raise BadAnswer(f"the header XML has no EMPIAR accession: {code[:60]!r}") from error
    record = _record(root, _ENTRY)
    _join_size(record)
    return entry_from_record(empiar_id, record, Oddities())


def _root(body: bytes) -> Element:
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except defusedxml.DefusedXmlException as error:
        raise BadAnswer(
            "the header XML declares a document type or entities, which no header needs"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise BadAnswer(f"the header XML is not well-formed: {error}") from error
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise BadAnswer(f"the header XML is nested more than {MAX_DEPTH} deep")
        level = [child for element in level for child in element]
    return root


# --- the tables -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """How one element becomes a record of the API's shape."""

    #: Child element → key of its text.
    texts: Mapping[str, str] = field(default_factory=dict)
    #: Child element → its shape; its keys join this record.
    inline: Mapping[str, _Shape] = field(default_factory=dict)
    #: Child element that may come again → key of a list of records.
    lists: Mapping[str, tuple[str, _Shape]] = field(default_factory=dict)
    #: Attribute → key.
    attributes: Mapping[str, str] = field(default_factory=dict)
    #: Key of the element's own text, if it has one.
    own_text: str = ""
    #: Keys that the element's mere presence states.
    states: Mapping[str, JsonValue] = field(default_factory=dict)


def _wrapper(child: str, key: str, shape: _Shape) -> _Shape:
    return _Shape(lists={child: (key, shape)})


_NAME = _Shape(own_text="name")
_AUTHOR = _Shape(own_text="name", attributes={"authorORCID": "author_orcid", "order": "order"})
_PERSON = _Shape(
    texts={
        "authorORCID": "author_orcid",
        "firstName": "first_name",
        "middleName": "middle_name",
        "lastName": "last_name",
        "street": "street",
        "townOrCity": "town_or_city",
        "stateOrProvince": "state_or_province",
        "country": "country",
        "postOrZipCode": "post_or_zip",
    },
    inline={"organization": _Shape(own_text="organization", attributes={"type": "organization_type"})},
)
_CITED_TEXTS: Final = {
    "volume": "volume",
    "issue": "issue",
    "firstPage": "first_page",
    "lastPage": "last_page",
    "year": "year",
    "language": "language",
    "country": "country",
    "details": "details",
    "title": "title",
    "articleTitle": "title",
    "bookTitle": "title",
    "book": "title",
    "thesisTitle": "title",
    "bookChapterTitle": "book_chapter_title",
    "chapterTitle": "book_chapter_title",
    "journal": "journal",
    "journalAbbreviation": "journal_abbreviation",
    "publisher": "publisher",
    "publicationLocation": "publication_location",
    "publisherLocation": "publication_location",
}


def _cited(*, journal: bool) -> _Shape:
    return _Shape(
        texts=_CITED_TEXTS,
        inline={"authors": _wrapper("author", "authors", _AUTHOR)},
        lists={"author": ("authors", _AUTHOR), "editor": ("editors", _AUTHOR)},
        attributes={"published": "published", "preprint": "preprint"},
        states={"j_or_nj_citation": journal},
    )


_CITATION = _Shape(
    inline={
        "journalCitation": _cited(journal=True),
        "journalArticle": _cited(journal=True),
        "nonJournalCitation": _cited(journal=False),
        "nonJournalArticle": _cited(journal=False),
    }
)
_IMAGE_SET = _Shape(
    texts={
        "name": "name",
        "directory": "directory",
        "category": "category",
        "headerFormat": "header_format",
        "dataFormat": "data_format",
        "numImagesOrTiltSeries": "num_images_or_tilt_series",
        "framesPerImage": "frames_per_image",
        "voxelType": "voxel_type",
        "details": "details",
        "micrographsFilePattern": "micrographs_file_pattern",
        "pickedParticlesFilePattern": "picked_particles_file_pattern",
        "pickedParticlesDirectory": "picked_particles_directory",
    },
    inline={
        "frameRange": _Shape(texts={"frameRangeMin": "frame_range_min", "frameRangeMax": "frame_range_max"}),
        "dimensions": _Shape(
            texts={
                "imageWidth": "image_width",
                "pixelWidth": "pixel_width",
                "imageHeight": "image_height",
                "pixelHeight": "pixel_height",
            }
        ),
        "segmentationList": _wrapper(
            "segmentation",
            "segmentations",
            _Shape(
                texts={
                    "file": "file",
                    "description": "description",
                    "originalFiles": "original_files",
                    "originalFormat": "original_format",
                },
                attributes={"segmentationId": "id"},
            ),
        ),
    },
)
_VERSION = _Shape(
    texts={
        "versionNumber": "version_number",
        "date": "date",
        "statusCode": "status_code",
        "details": "details",
    }
)
_GRANT = _Shape(texts={"fundingBody": "funding_body", "code": "code", "country": "country"})
_ADMIN = _Shape(
    texts={
        "currentStatus": "status",
        "title": "title",
        "entryDOI": "entry_doi",
        "experimentType": "experiment_type",
        "scale": "scale",
    },
    inline={
        "keyDates": _Shape(
            texts={
                "depositionDate": "deposition_date",
                "releaseDate": "release_date",
                "obsoleteDate": "obsolete_date",
                "updateDate": "update_date",
            }
        ),
        "authorsList": _wrapper("author", "authors", _AUTHOR),
        "versionHistory": _wrapper("version", "version_history", _VERSION),
        "grantSupport": _wrapper("grantReference", "grant_references", _GRANT),
        "datasetSize": _Shape(own_text="dataset_size", attributes={"units": "dataset_size_units"}),
    },
    lists={
        "correspondingAuthor": ("corresponding_author", _PERSON),
        "principalInvestigator": ("principal_investigator", _PERSON),
    },
)
_CROSS_REFERENCES = _Shape(
    inline={
        "relatedEMDBEntries": _wrapper("emdbEntry", "cross_references", _NAME),
        "relatedPDBEntries": _wrapper("pdbEntry", "related_pdb_entries", _NAME),
        "relatedBioStudiesEntries": _wrapper("bioStudiesEntry", "biostudies_references", _NAME),
        "relatedIdrEntries": _wrapper("idrEntry", "idr_references", _NAME),
        "relatedEmpiarEntries": _wrapper("empiarEntry", "empiar_references", _NAME),
        "citationList": _wrapper("universalCitation", "citation", _CITATION),
    }
)
_ENTRY = _Shape(
    inline={"admin": _ADMIN, "crossReferences": _CROSS_REFERENCES},
    lists={"imageSet": ("imagesets", _IMAGE_SET)},
    attributes={"accessionCode": "id"},
)
_REFERENCE_KEYS: Final = {"doi": "doi", "pubmed": "pubmedid"}


# --- from elements to records ---------------------------------------------------------------------------------


def _record(element: Element, shape: _Shape) -> dict[str, JsonValue]:
    record: dict[str, JsonValue] = dict(shape.states)
    _put_own(record, element, shape)
    for child in element:
        name = _local(child.tag)
        if name in shape.texts and not len(child):
            _put(record, shape.texts[name], child.text)
        elif name in shape.inline:
            for key, value in _record(child, shape.inline[name]).items():
                _put(record, key, value)
        elif name in shape.lists:
            key, inner = shape.lists[name]
            _list_at(record, key).append(_record(child, inner))
        elif name in ("externalReferences", "externalReference"):
            kind = child.attrib.get("type", "").lower()
            _put(record, _REFERENCE_KEYS.get(kind, f"{name}_{kind}"), child.text)
        elif child.attrib.get("private") != "true":
            _put(record, name, _unknown(child))
    return record


def _put_own(record: dict[str, JsonValue], element: Element, shape: _Shape) -> None:
    for attribute, value in element.attrib.items():
        if not attribute.startswith("{"):  # xsi:schemaLocation and its kin say nothing of the entry
            _put(record, shape.attributes.get(attribute, attribute), value)
    text = (element.text or "").strip()
    if shape.own_text or text:
        _put(record, shape.own_text or "text", text)


def _put(record: dict[str, JsonValue], key: str, value: JsonValue) -> None:
    """A key that comes again keeps all its values, as a list; lists are joined."""
    before = record.get(key)
    if before is None:
        record[key] = value
    elif isinstance(value, list):
        _list_at(record, key).extend(value)
    elif value is not None:
        _list_at(record, key).append(value)


def _list_at(record: dict[str, JsonValue], key: str) -> list[JsonValue]:
    """The list at `key`, made of what stands there."""
    before = record.get(key)
    if isinstance(before, list):
        return before
    made: list[JsonValue] = [] if before is None else [before]
    record[key] = made
    return made


def _unknown(element: Element) -> JsonValue:
    """An element without a place in the tables: its text, or an object of its attributes, children and text."""
    if not len(element) and not element.attrib:
        return (element.text or "").strip()
    return _record(element, _Shape())


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _join_size(record: dict[str, JsonValue]) -> None:
    size, units = record.get("dataset_size"), record.pop("dataset_size_units", None)
    if isinstance(size, str) and isinstance(units, str):
        record["dataset_size"] = f"{size} {units}"

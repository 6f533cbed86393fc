"""One entry as the API gives it, in any of its shapes → `Entry`. The header XML takes the same way.

Shapes met in answers of 2020 to 2026: persons flat or as ``{"author": {…}}``, references as texts or as
``{"name": …}``, numbers as texts, lists missing or null.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import JsonValue

from empiar_crawler.parse.fields import MAX_INTEGER, Fields, Oddities
from empiar_schema.entry import (
    Author,
    Citation,
    CrossReference,
    Entry,
    Grant,
    ImageSet,
    Person,
    Segmentation,
    VersionEvent,
    Workflow,
)
from empiar_schema.paths import accession
from empiar_schema.sizes import parse_dataset_size
from empiar_schema.vocabulary import normal_status

#: Keys of the API that hold references, and the kind of record that they refer to.
REFERENCE_KEYS: Final[Mapping[str, str]] = {
    "cross_references": "EMDB",
    "related_pdb_entries": "PDB",
    "biostudies_references": "BioStudies",
    "idr_references": "IDR",
    "empiar_references": "EMPIAR",
}
_PATTERNS: Final = (
    ("EMDB", re.compile(r"EMD-[0-9]+", re.IGNORECASE)),
    ("EMPIAR", re.compile(r"EMPIAR-[0-9]+", re.IGNORECASE)),
    ("PDB", re.compile(r"[0-9](?=[0-9]*[A-Z])[A-Z0-9]{3}|pdb_[0-9a-z]{8}", re.IGNORECASE)),
    ("BioStudies", re.compile(r"S-[A-Z]+[0-9]+", re.IGNORECASE)),
    ("IDR", re.compile(r"idr[0-9]+", re.IGNORECASE)),
)
_DOI_PREFIX: Final = re.compile(r"(?:doi:\s*|https?://(?:dx\.)?doi\.org/)", re.IGNORECASE)


def entry_from_record(empiar_id: int, record: Mapping[str, JsonValue], oddities: Oddities) -> Entry:
    """The entry that an answer's record describes. Nothing in `record` raises: what cannot be taken becomes an oddity."""
    fields = Fields(record, "", oddities)
    citations = tuple(_citation(f) for f in fields.parts("citation"))
    workflows = tuple(_workflow(f) for f in fields.parts("workflows"))
    references = _references(fields, citations, workflows)
    size = fields.text("dataset_size")
    size_bytes = parse_dataset_size(size)
    if size is not None and (size_bytes is None or size_bytes > MAX_INTEGER):
        fields.mistaken("dataset_size", "a size such as 305.5 GB", size)
        size_bytes = None
    status = fields.text("status")
    _drop_own_accession(fields, "id", empiar_id)
    return Entry(
        empiar_id=empiar_id,
        title=fields.plain("title"),
        status=None if status is None else normal_status(status),
        experiment_type=fields.text("experiment_type"),
        scale=fields.text("scale"),
        deposition_date=fields.day("deposition_date"),
        release_date=fields.day("release_date"),
        update_date=fields.day("update_date"),
        obsolete_date=fields.day("obsolete_date"),
        dataset_size=size,
        dataset_bytes=size_bytes,
        doi=_own_doi(fields, empiar_id),
        imagesets=tuple(_image_set(n, f) for n, f in enumerate(fields.parts("imagesets"))),
        cross_references=references,
        authors=_authors(fields, "authors"),
        corresponding_author=_corresponding_author(fields, empiar_id),
        principal_investigators=_persons(fields, "principal_investigator", empiar_id),
        citations=citations,
        grants=tuple(_grant(f) for f in fields.parts("grant_references")),
        version_history=tuple(_version(f) for f in fields.parts("version_history")),
        workflows=workflows,
        workflow_file=_workflow_file(fields),
        extra=fields.rest(),
        oddities=oddities.all(),
    )


def bare_doi(text: str | None) -> str | None:
    """The DOI without ``doi:`` and without a resolver's address."""
    return None if text is None else _DOI_PREFIX.sub("", text, count=1).strip() or None


def _own_doi(fields: Fields, empiar_id: int) -> str | None:
    doi = bare_doi(fields.text("entry_doi"))
    if doi is not None and not doi.upper().endswith(f"/{accession(empiar_id)}"):
        fields.mistaken("entry_doi", f"the DOI of {accession(empiar_id)}", doi)
    return doi


def _drop_own_accession(fields: Fields, key: str, empiar_id: int) -> None:
    """The archive repeats the accession inside some objects; only another one says something."""
    stated = fields.text(key)
    if stated is not None and stated.upper() not in (accession(empiar_id), str(empiar_id)):
        fields.mistaken(key, accession(empiar_id), stated)


def _image_set(position: int, f: Fields) -> ImageSet:
    return ImageSet(
        position=position,
        name=f.plain("name"),
        directory=f.folder("directory"),
        category=f.text("category"),
        header_format=f.text("header_format"),
        data_format=f.text("data_format"),
        voxel_type=f.text("voxel_type"),
        image_count=f.count("num_images_or_tilt_series"),
        frames_per_image=f.count("frames_per_image"),
        frame_range_min=f.count("frame_range_min"),
        frame_range_max=f.count("frame_range_max"),
        image_width=f.count("image_width"),
        image_height=f.count("image_height"),
        pixel_width_angstrom=f.length("pixel_width"),
        pixel_height_angstrom=f.length("pixel_height"),
        details=f.text("details"),
        micrographs_file_pattern=f.text("micrographs_file_pattern"),
        picked_particles_file_pattern=f.text("picked_particles_file_pattern"),
        picked_particles_directory=f.folder("picked_particles_directory"),
        segmentations=tuple(_segmentation(s) for s in f.parts("segmentations")),
        extra=f.rest(),
    )


def _segmentation(f: Fields) -> Segmentation:
    return Segmentation(
        id=f.text("id"),
        file=f.text("file"),
        description=f.text("description"),
        original_files=f.texts("original_files"),
        original_format=f.text("original_format"),
        extra=f.rest(),
    )


def _persons(fields: Fields, key: str, empiar_id: int) -> tuple[Person, ...]:
    unwrapped = (f.unwrapped("author") for f in fields.parts(key, quote=False))
    return tuple(_person(f, empiar_id) for f in unwrapped if not f.empty)


def _person(f: Fields, empiar_id: int) -> Person:
    _drop_own_accession(f, "entry", empiar_id)
    return Person(
        first_name=f.personal("first_name"),
        middle_name=f.personal("middle_name"),
        last_name=f.personal("last_name"),
        name=f.personal("name"),
        orcid=f.personal("author_orcid"),
        organization=f.personal("organization"),
        town_or_city=f.personal("town_or_city"),
        state_or_province=f.personal("state_or_province"),
        country=f.personal("country"),
        extra=f.rest(),
    )


def _corresponding_author(fields: Fields, empiar_id: int) -> Person | None:
    persons = _persons(fields, "corresponding_author", empiar_id)
    if len(persons) > 1:
        fields.odd(
            "corresponding_author", f"{len(persons)} persons where one is expected; the first is taken"
        )
    return persons[0] if persons else None


def _authors(fields: Fields, key: str) -> tuple[Author, ...]:
    """Authors in their stated order; where not all state one, in the order given."""
    found = [_author(f.unwrapped("author")) for f in fields.parts(key, text_means="name")]
    stated = [order for order, _ in found if order is not None]
    if len(stated) == len(found):
        found.sort(key=lambda pair: pair[0] or 0)
    return tuple(author for _, author in found)


def _author(f: Fields) -> tuple[int | None, Author]:
    orders = [n for n in (f.count("order"), f.count("order_id")) if n is not None]
    author = Author(name=f.personal("name"), orcid=f.personal("author_orcid"), extra=f.rest())
    return (orders[0] if orders else None), author


def _citation(f: Fields) -> Citation:
    return Citation(
        authors=_authors(f, "authors"),
        editors=_authors(f, "editors"),
        title=f.plain("title"),
        journal=f.plain("journal"),
        journal_abbreviation=f.plain("journal_abbreviation"),
        volume=f.text("volume"),
        issue=f.text("issue"),
        first_page=f.text("first_page"),
        last_page=f.text("last_page"),
        year=f.count("year"),
        language=f.text("language"),
        doi=bare_doi(f.text("doi")),
        pubmed_id=f.text("pubmedid"),
        published=f.flag("published"),
        is_journal=f.flag("j_or_nj_citation"),
        preprint=f.flag("preprint"),
        details=f.personal("details"),
        book_chapter_title=f.plain("book_chapter_title"),
        publisher=f.personal("publisher"),
        publication_location=f.personal("publication_location"),
        country=f.text("country"),
        extra=f.rest(),
    )


def _grant(f: Fields) -> Grant:
    return Grant(
        funding_body=f.personal("funding_body"),
        code=f.personal("code"),
        country=f.personal("country"),
        extra=f.rest(),
    )


def _version(f: Fields) -> VersionEvent:
    status = f.text("status_code")
    return VersionEvent(
        version=f.text("version_number"),
        date=f.day("date"),
        status=None if status is None else normal_status(status),
        details=f.personal("details"),
        extra=f.rest(),
    )


def _workflow(f: Fields) -> Workflow:
    return Workflow(url=f.text("url"), type=f.text("type"), extra=f.rest())


def _workflow_file(fields: Fields) -> str | None:
    """A path as text, or inside an object under ``path`` (deposition) or ``workflow_file`` (OpenAPI of 2024)."""
    paths: list[str] = []
    for part in fields.parts("workflow_file", text_means="path"):
        paths += filter(None, (part.text("path"), part.text("workflow_file")))
        fields.put_back("workflow_file", part.rest())
    if len(paths) > 1:
        fields.odd("workflow_file", f"{len(paths)} paths where one is expected; the first is taken")
    return paths[0] if paths else None


def _references(
    fields: Fields, citations: Iterable[Citation], workflows: Iterable[Workflow]
) -> tuple[CrossReference, ...]:
    """All references in the archive's order, each once."""
    found: dict[tuple[str, str], CrossReference] = {}

    def add(kind: str, text: str | None, extra: dict[str, JsonValue] | None = None) -> None:
        if text is not None:
            found.setdefault((kind, text), CrossReference(kind=kind, accession=text, extra=extra or {}))

    for key, usual_kind in REFERENCE_KEYS.items():
        for f in fields.parts(key, text_means="name"):
            name = f.text("name")
            kind = usual_kind if name is None else kind_of(name, usual_kind)
            if name is None:
                f.odd("name", "names no record")
            add(kind, None if name is None else _spelled(kind, name), f.rest())
    for citation in citations:
        add("DOI", citation.doi)
        add("PubMed", citation.pubmed_id)
    for workflow in workflows:
        add("Workflow", workflow.url)
    return tuple(found.values())


def kind_of(name: str, usual_kind: str) -> str:
    """What kind of record an accession names: by its pattern, else the usual kind of its list."""
    return next((kind for kind, pattern in _PATTERNS if pattern.fullmatch(name)), usual_kind)


def _spelled(kind: str, name: str) -> str:
    """The one spelling of an accession: ``EMD-2275``, ``EMPIAR-10017``, ``6ABC``; others as they came."""
    if kind == "EMDB" and name.isdecimal():
        return f"EMD-{name}"
    upper = name.upper()
    return upper if upper.startswith(("EMD-", "EMPIAR-")) or (kind == "PDB" and len(name) == 4) else name

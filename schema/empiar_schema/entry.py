"""What EMPIAR says of one entry, in our normal form.

The archive says the same thing in several shapes (two generations of JSON, two of XML, numbers as text, lists of
strings or of objects). Readers (`empiar_crawler.parse`) turn them all into these models, so that two equal
models mean that nothing changed upstream. Texts that say nothing (``""``) are None. Vocabularies are open:
values are kept as the archive writes them (`empiar_schema.vocabulary` knows the usual ones).

Models survive ``Entry.model_validate_json(entry.model_dump_json())`` unchanged. Contact data of persons (e-mail,
telephone, fax, street, post code) has no field here and is taken out of unknown keys as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue

from empiar_schema.paths import accession


class Oddity(NamedTuple):
    """Something in the archive's answer that could not be taken as it was."""

    #: Where: ``imagesets[2].pixel_width``.
    path: str
    #: What, as a sentence for people.
    sentence: str


class Part(BaseModel):
    """Base of all parts of an entry: frozen, with what the archive said beyond the known keys."""

    # A catalogue outlives versions of this program: fields of a newer or older version are not an error.
    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Keys (or XML elements) this version does not know, as they came, less contact data.
    extra: dict[str, JsonValue] = {}


class CrossReference(Part):
    """Another record that belongs to the entry."""

    #: ``EMDB``, ``PDB``, ``EMPIAR``, ``BioStudies``, ``IDR``, ``DOI``, ``PubMed`` or ``Workflow``.
    kind: str
    accession: str


class Segmentation(Part):
    """A segmentation of an image set."""

    id: str | None = None
    file: str | None = None
    description: str | None = None
    original_files: tuple[str, ...] = ()
    original_format: str | None = None


class ImageSet(Part):
    """One image set. Neither its name nor its directory is unique within the entry; `position` is."""

    #: Order in the entry, from 0.
    position: int
    name: str | None = None
    #: Folder below the entry, as a stored text (`empiar_schema.paths`), without slashes at the ends: ``data/Tiff``;
    #: ``""`` is the entry's own folder. Depositors get it wrong: it may not exist, or lie above the files.
    directory: str | None = None
    category: str | None = None
    header_format: str | None = None
    data_format: str | None = None
    voxel_type: str | None = None
    #: Images or tilt series, as stated.
    image_count: int | None = None
    frames_per_image: int | None = None
    frame_range_min: int | None = None
    frame_range_max: int | None = None
    #: Pixels; None where it varies or is not stated.
    image_width: int | None = None
    image_height: int | None = None
    pixel_width_angstrom: float | None = None
    pixel_height_angstrom: float | None = None
    details: str | None = None
    #: A glob from the entry's folder, as typed by the depositor.
    micrographs_file_pattern: str | None = None
    picked_particles_file_pattern: str | None = None
    #: Like `directory`.
    picked_particles_directory: str | None = None
    segmentations: tuple[Segmentation, ...] = ()


class Author(Part):
    """An author or editor: ``Surname AB`` and, if known, the ORCID."""

    name: str | None = None
    orcid: str | None = None


class Person(Part):
    """The corresponding author or a principal investigator, without contact data."""

    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None
    #: The whole name, where the archive gives no parts.
    name: str | None = None
    orcid: str | None = None
    organization: str | None = None
    town_or_city: str | None = None
    state_or_province: str | None = None
    country: str | None = None


class Citation(Part):
    """A publication on the entry's data."""

    authors: tuple[Author, ...] = ()
    editors: tuple[Author, ...] = ()
    title: str | None = None
    journal: str | None = None
    journal_abbreviation: str | None = None
    volume: str | None = None
    issue: str | None = None
    first_page: str | None = None
    last_page: str | None = None
    year: int | None = None
    language: str | None = None
    #: Without ``doi:`` or resolver: ``10.1038/s41477-019-0429-5``.
    doi: str | None = None
    pubmed_id: str | None = None
    published: bool | None = None
    #: Whether it is a journal article (upstream ``j_or_nj_citation``).
    is_journal: bool | None = None
    preprint: bool | None = None
    details: str | None = None
    book_chapter_title: str | None = None
    publisher: str | None = None
    publication_location: str | None = None
    country: str | None = None


class Grant(Part):
    """A grant that paid for the data."""

    funding_body: str | None = None
    code: str | None = None
    country: str | None = None


class VersionEvent(Part):
    """One line of the entry's version history."""

    version: str | None = None
    date: str | None = None
    status: str | None = None
    details: str | None = None


class Workflow(Part):
    """A processing workflow kept elsewhere."""

    url: str | None = None
    #: As given; ``1`` stands for WorkflowHub.
    type: str | None = None


class Entry(Part):
    """One EMPIAR entry."""

    empiar_id: int
    title: str | None = None
    #: ``REL`` released, ``OBS`` obsolete; others as given.
    status: str | None = None
    experiment_type: str | None = None
    scale: str | None = None
    #: Days, ``YYYY-MM-DD``.
    deposition_date: str | None = None
    release_date: str | None = None
    update_date: str | None = None
    obsolete_date: str | None = None
    #: As stated, ``305.5 GB``; and in bytes, base 1024, right to half a tenth of the unit.
    dataset_size: str | None = None
    dataset_bytes: int | None = None
    #: ``10.6019/EMPIAR-10017``.
    doi: str | None = None
    imagesets: tuple[ImageSet, ...] = ()
    #: All kinds, in the archive's order, each once; DOIs and PubMed ids are those of `citations`.
    cross_references: tuple[CrossReference, ...] = ()
    authors: tuple[Author, ...] = ()
    corresponding_author: Person | None = None
    principal_investigators: tuple[Person, ...] = ()
    citations: tuple[Citation, ...] = ()
    grants: tuple[Grant, ...] = ()
    version_history: tuple[VersionEvent, ...] = ()
    workflows: tuple[Workflow, ...] = ()
    #: Path of the deposited workflow file.
    workflow_file: str | None = None
    #: What could not be taken as it came.
    oddities: tuple[Oddity, ...] = ()

    @property
    def accession(self) -> str:
        """``EMPIAR-10017``."""
        return accession(self.empiar_id)


def unknown_keys(entry: Entry) -> Counter[str]:
    """How often each unknown key came, by path in our words: ``imagesets[].tilt_step``."""
    return Counter(_unknown(entry, ""))


_NO_PARTS: Final = "extra"


def _unknown(part: Part, path: str) -> Iterator[str]:
    for key in part.extra:
        yield path + key
    for name in type(part).model_fields:
        if name == _NO_PARTS:
            continue
        value = getattr(part, name)
        if isinstance(value, Part):
            yield from _unknown(value, f"{path}{name}.")
        elif isinstance(value, tuple):
            for item in value:
                if isinstance(item, Part):
                    yield from _unknown(item, f"{path}{name}[].")

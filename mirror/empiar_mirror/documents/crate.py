"""The RO-Crate 1.2 of a layout (pure): ``ro-crate-metadata.json``, one entity a line.

Up to `LISTED_FILES` files each is an entity, with its SHA-256 and where it came from. A layout of more is described
by its folders alone, and the crate names ``data/mapping.tsv`` as the list of files: nobody's JSON-LD
library reads a document of a gigabyte. Files whose names are not UTF-8 stand in the mapping only, because an IRI is text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from empiar_mirror.arrange import MAPPING
from empiar_mirror.documents.media_types import media_type
from empiar_mirror.documents.placed import DEPOSITED, FolderSummary, LayoutSummary, PlacedFile, source_url
from empiar_mirror.documents.subject import (
    EMPIAR,
    FRAME,
    LICENSE,
    LICENSE_NAME,
    Subject,
    day,
    doi_url,
    iri,
    one_line,
    orcid_url,
    pubmed_url,
)
from empiar_schema.entry import Author, Citation
from empiar_schema.provenance_store import Arrivals, MadeFile

CRATE: Final = "ro-crate-metadata.json"
#: More files than this are described by their folders.
LISTED_FILES: Final = 2_000

_PROFILE: Final = "https://w3id.org/ro/crate/1.2"
#: The project that this software is, for ``instrument``; not a place to download from.
_TOOL: Final = "#empiar-mirror"
_TOOL_URL: Final = "https://pypi.org/project/empiar-mirror/"
_ARRIVAL: Final = "#arrival"

Entity = dict[str, object]


@dataclass(frozen=True, slots=True)
class CrateFacts:
    """All that a crate is made of."""

    subject: Subject
    summary: LayoutSummary
    mapping_bytes: int
    mapping_sha256: str
    #: The files of the layout; empty where there are more than `LISTED_FILES`.
    files: Sequence[PlacedFile]
    arrivals: Sequence[Arrivals]
    https_url: str | None
    #: What a job made, by the path below ``derived/<id>``.
    made_file: Callable[[str], MadeFile | None]


def crate(facts: CrateFacts) -> Iterator[bytes]:
    """The document in pieces."""
    before = f'{{"@context": "{_PROFILE}/context", "@graph": [\n'
    for entity in _entities(facts):
        yield (before + json.dumps(entity, ensure_ascii=False)).encode()
        before = ",\n"
    yield b"\n]}\n"


def _entities(facts: CrateFacts) -> Iterator[Entity]:
    files = [file for file in facts.files if file.utf8 is not None]
    made = {file.place: facts.made_file(file.path) for file in files if file.origin != DEPOSITED}
    actions = list(_creations(files, made))
    yield {
        "@id": CRATE,
        "@type": "CreativeWork",
        "name": f"RO-Crate metadata of {facts.subject.accession} ({facts.subject.view})",
        "description": "Metadata of this crate, after RO-Crate 1.2.",
        "about": {"@id": "./"},
        "conformsTo": {"@id": _PROFILE},
    }
    yield _root(facts, actions)
    yield from _context(facts.subject)
    yield from _persons(facts.subject)
    yield from _citations(facts.subject)
    yield _mapping_file(facts)
    for name in sorted(facts.summary.folders):
        yield _folder(name, facts.summary.folders[name], [file for file in files if file.folder == name])
    for file in files:
        yield _file(file, facts)
    yield from _arrival(facts)
    yield from actions


def _root(facts: CrateFacts, actions: Sequence[Entity]) -> Entity:
    subject = facts.subject
    mentions = [_ARRIVAL] if facts.arrivals else []
    mentions += [str(action["@id"]) for action in actions]
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "name": subject.name,
        "description": _description(facts),
        "datePublished": subject.published or "1970-01-01",
        "license": {"@id": LICENSE},
        "publisher": {"@id": EMPIAR},
        "url": subject.page,
        "hasPart": _references([f"data/{MAPPING}", *map(_folder_id, sorted(facts.summary.folders))]),
        "author": _references([_person_id(n, author) for n, author in enumerate(subject.authors)]),
        "citation": _references([identity for identity, _ in _identified_citations(subject)]),
        "mentions": _references(mentions),
        "identifier": {"@id": "#doi"} if subject.doi_url else {"@id": "#accession"},
    }
    return _present(root)


def _description(facts: CrateFacts) -> str:
    subject, summary = facts.subject, facts.summary
    text = (
        f'{summary.files} files of {subject.accession}, the raw cryo-EM data of "{subject.title}", in the layout'
        f" {subject.view}. data/{MAPPING} says of every file which of EMPIAR it is, its role, and its SHA-256."
    )
    if not facts.files:
        text += f" They are more than {LISTED_FILES}, so that the files themselves are listed there only."
    if any("particle_coordinates" in name for name in summary.folders):
        text += f" Particle coordinates: {FRAME}"
    return text


def _context(subject: Subject) -> Iterator[Entity]:
    yield {
        "@id": LICENSE,
        "@type": "CreativeWork",
        "name": LICENSE_NAME,
        "description": "All data in EMPIAR are free of copyright.",
        "url": LICENSE,
    }
    yield {
        "@id": EMPIAR,
        "@type": "Organization",
        "name": "EMPIAR, the Electron Microscopy Public Image Archive",
        "description": "The archive at EMBL-EBI that published the data.",
        "url": EMPIAR,
    }
    number = {"propertyID": "https://registry.identifiers.org/registry/empiar", "value": subject.accession}
    if subject.doi_url:
        number = {
            "propertyID": "https://registry.identifiers.org/registry/doi",
            "value": subject.doi_url.replace("https://doi.org/", "doi:"),
        }
    yield {
        "@id": "#doi" if subject.doi_url else "#accession",
        "@type": "PropertyValue",
        "name": number["value"],
        "description": "Identifier of the entry.",
        **number,
        "url": subject.doi_url or subject.page,
    }
    yield {
        "@id": _TOOL,
        "@type": "SoftwareApplication",
        "name": "empiar-mirror",
        "description": "Mirrored the entry, and made this layout and this description of it.",
        "version": subject.tool_version,
        "softwareVersion": subject.tool_version,
        "url": _TOOL_URL,
    }


def _person_id(position: int, author: Author) -> str:
    return orcid_url(author.orcid) or f"#author-{position + 1}"


def _persons(subject: Subject) -> Iterator[Entity]:
    described = set()
    for position, author in enumerate(subject.authors):
        identity = _person_id(position, author)
        if identity not in described:
            described.add(identity)
            name = one_line(author.name) or identity
            yield {"@id": identity, "@type": "Person", "name": name, "description": "Author of the entry."}


def _identified_citations(subject: Subject) -> list[tuple[str, Citation]]:
    """Citations by an absolute address each, as the specification demands: DOI, PubMed, or a part of the entry's page."""
    found: dict[str, Citation] = {}
    for number, citation in enumerate(subject.entry.citations if subject.entry else (), 1):
        address = (
            doi_url(citation.doi) or pubmed_url(citation.pubmed_id) or f"{subject.page}#citation-{number}"
        )
        found.setdefault(address, citation)
    return list(found.items())


def _citations(subject: Subject) -> Iterator[Entity]:
    for identity, citation in _identified_citations(subject):
        names = [name for author in citation.authors if (name := one_line(author.name))]
        journal = one_line(citation.journal or citation.journal_abbreviation)
        yield _present(
            {
                "@id": identity,
                "@type": "ScholarlyArticle",
                "name": one_line(citation.title) or identity,
                "description": " ".join(
                    filter(None, ("; ".join(names), journal, str(citation.year) if citation.year else None))
                )
                or "Publication on the data.",
                "datePublished": str(citation.year) if citation.year else None,
            }
        )


def _mapping_file(facts: CrateFacts) -> Entity:
    return {
        "@id": f"data/{MAPPING}",
        "@type": "File",
        "name": MAPPING,
        "description": "One line a file: its place, its path on EMPIAR, role, origin, stem, and SHA-256.",
        "contentSize": str(facts.mapping_bytes),
        "encodingFormat": media_type(MAPPING),
        "sha256": facts.mapping_sha256,
    }


def _folder_id(name: str) -> str:
    return f"data/{iri(name)}/" if name else "data/"


def _folder(name: str, summary: FolderSummary, listed: Sequence[PlacedFile]) -> Entity:
    description = f"{summary.files} files, {summary.bytes} bytes."
    if len(listed) < summary.files:
        description += f" data/{MAPPING} lists those that are not described here."
    if name.endswith("particle_coordinates"):
        description += f" {FRAME}"
    return _present(
        {
            "@id": _folder_id(name),
            "@type": "Dataset",
            "name": name or "data",
            "description": description,
            "hasPart": _references([_file_id(file) for file in listed]),
        }
    )


def _file_id(file: PlacedFile) -> str:
    return f"data/{iri(file.utf8 or '')}"


def _file(file: PlacedFile, facts: CrateFacts) -> Entity:
    deposited = file.origin == DEPOSITED
    origin = f"{file.path} of the entry, as deposited" if deposited else f"derived ({file.path})"
    return _present(
        {
            "@id": _file_id(file),
            "@type": "File",
            "name": one_line(file.name) or file.place,
            "description": f"{file.role or 'file'}: {origin}.",
            "contentSize": None if file.bytes is None else str(file.bytes),
            "encodingFormat": media_type(file.name),
            "sha256": file.sha256 or None,
            "contentUrl": source_url(file, facts.subject.empiar_id, facts.https_url),
        }
    )


def _arrival(facts: CrateFacts) -> Iterator[Entity]:
    """How the deposited files came here, as one action: those of single files stand in ``provenance.json``."""
    if not facts.arrivals:
        return
    ways = ", ".join(f"{arrival.files} over {arrival.channel}" for arrival in facts.arrivals)
    yield {
        "@id": _ARRIVAL,
        "@type": "DownloadAction",
        "name": f"Transfer of {facts.subject.accession} from EMPIAR",
        "description": f"Files of the entry that are here: {ways}. provenance.json of the mirror has each by itself.",
        "startTime": min(arrival.first_at for arrival in facts.arrivals),
        "endTime": max(arrival.last_at for arrival in facts.arrivals),
        "instrument": {"@id": _TOOL},
        "result": {"@id": "./"},
    }


def _creations(files: Sequence[PlacedFile], made: Mapping[str, MadeFile | None]) -> Iterator[Entity]:
    """An action for every job that made files of the layout, and the programs that did it."""
    places = {(file.origin == DEPOSITED, file.path): _file_id(file) for file in files}
    results: dict[str, list[str]] = {}
    jobs: dict[str, MadeFile] = {}
    for file in files:
        product = made.get(file.place)
        if product is not None:
            job = f"#made-{quote(product.maker, safe='')}-{quote(product.recipe, safe='')}"
            jobs.setdefault(job, product)
            results.setdefault(job, []).append(_file_id(file))
    for job, product in jobs.items():
        sources = _sources(product)
        yield _present(
            {
                "@id": job,
                "@type": "CreateAction",
                "name": f"{product.maker} {one_line(product.version) or ''}".strip(),
                "description": _how_made(
                    product, [path for source, path in sources if (source, path) not in places]
                ),
                "endTime": product.made_at if day(product.made_at) else None,
                "instrument": {"@id": _TOOL},
                "object": _references([places[source] for source in sources if source in places]),
                "result": _references(results[job]),
            }
        )


def _sources(product: MadeFile) -> list[tuple[bool, str]]:
    """What a product was made of: whether deposited, and the path."""
    sources = [(True, product.parent)] if product.parent else []
    for read in product.inputs:
        sources += [(True, read.path)] if read.path else []
        sources += [(False, read.product)] if read.product else []
    return list(dict.fromkeys(sources))


def _how_made(product: MadeFile, elsewhere: Sequence[str]) -> str:
    text = f"Command: {one_line(product.command)}." if product.command else "Made by a built-in maker."
    if elsewhere:
        text += f" Read files that are not in this layout: {', '.join(elsewhere)}."
    if product.input_count > len(product.inputs):
        text += f" Read {product.input_count} files in all."
    return text


def _references(identities: Sequence[str]) -> object:
    """One reference by itself, several as a list; None for none (compacted JSON-LD)."""
    unique = list(dict.fromkeys(identities))
    references = [{"@id": identity} for identity in unique]
    return references[0] if len(references) == 1 else references or None


def _present(entity: Entity) -> Entity:
    return {name: value for name, value in entity.items() if value is not None}

"""Nothing that EMPIAR says of an entry is lost on the way into our models."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from pydantic import JsonValue

from empiar_crawler.parse.api import parse_answer, parse_search_page
from empiar_crawler.parse.header_xml import parse_header_xml
from empiar_schema.entry import Entry, unknown_keys

# Deliberately not kept: how persons can be reached.
CONTACT = {"street", "post_or_zip", "telephone", "fax", "email", "postOrZipCode"}
# Ours by another name than the archive's.
RENAMED = {
    "num_images_or_tilt_series": "image_count",
    "pixel_width": "pixel_width_angstrom",
    "pixel_height": "pixel_height_angstrom",
    "entry_doi": "doi",
    "pubmedid": "pubmed_id",
    "j_or_nj_citation": "is_journal",
    "author_orcid": "orcid",
    "status_code": "status",
    "version_number": "version",
    "cross_references": "accession",
    "biostudies_references": "accession",
    "idr_references": "accession",
    "empiar_references": "accession",
    "related_pdb_entries": "accession",
}
# Ours alone: made of something else that the archive says.
DERIVED = {"empiar_id", "position", "dataset_bytes", "kind"}


def normal(value: JsonValue) -> str:
    """Texts without entities and slashes at their ends; numbers alike whether they came as numbers or as text."""
    if isinstance(value, bool):
        return str(value).lower()
    text = html.unescape(html.unescape(str(value))).strip().strip("/")
    try:
        return repr(float(text))
    except ValueError:
        return text


def leaves(value: JsonValue, key: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Every leaf with the nearest key above it; what says nothing left out."""
    if isinstance(value, dict):
        for inner, item in value.items():
            yield from leaves(item, inner)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, key)
    elif value not in (None, ""):
        yield key, value


def kept_leaves(entry: Entry) -> Counter[tuple[str, str]]:
    """The model's leaves, less those that it derived from others."""
    dumped = json.loads(entry.model_dump_json())
    dumped["cross_references"] = [
        r for r in dumped["cross_references"] if r["kind"] not in ("DOI", "PubMed", "Workflow")
    ]
    return Counter((key, normal(value)) for key, value in leaves(dumped) if key not in DERIVED)


def test_every_leaf_of_an_api_answer_is_in_the_model(api_sample: Path) -> None:
    """The other way round as well: the model holds nothing that the archive did not say."""
    raw = json.loads(api_sample.read_bytes())
    entries = parse_answer(api_sample.read_bytes())
    assert {entry.accession for entry in entries.values()} == set(raw)
    for entry in entries.values():
        stated = Counter(
            (RENAMED.get(key, key), normal(value))
            for key, value in leaves(raw[entry.accession])
            if key not in CONTACT and (key, value) != ("entry", entry.accession)
        )
        assert kept_leaves(entry) == stated


def test_an_api_answer_holds_nothing_odd_or_unknown_and_survives_as_json(api_sample: Path) -> None:
    for entry in parse_answer(api_sample.read_bytes()).values():
        assert entry.oddities == ()
        assert unknown_keys(entry) == Counter()
        assert Entry.model_validate_json(entry.model_dump_json()) == entry


def test_an_answer_enumerates_its_entries(api_sample: Path) -> None:
    entries = parse_answer(api_sample.read_bytes())
    found = parse_search_page(api_sample.read_bytes())
    assert [(e.empiar_id, e.title, e.status, e.update_date) for e in found] == [
        (e.empiar_id, e.title, e.status, e.update_date) for e in entries.values()
    ]


def test_every_text_of_a_header_is_in_the_model(xml_sample: Path) -> None:
    """Values are compared without their names, which differ between the XML and the model."""
    root = ElementTree.fromstring(xml_sample.read_bytes())
    stated: Counter[str] = Counter()
    for element in root.iter():
        name = element.tag.rpartition("}")[2]
        values = [element.text or ""] if name not in CONTACT else []
        if name == "datasetSize":
            values = [f"{element.text} {element.attrib['units']}"]
        elif name == "externalReferences":
            pass  # its type says which field the text belongs to
        else:
            # The order of authors is the model's order.
            values += [
                v for k, v in element.attrib.items() if k not in ("order", "accessionCode") and "{" not in k
            ]
        stated.update(normal(value) for value in values if value.strip())
    entry = parse_header_xml(xml_sample.read_bytes())
    kept = Counter(
        {
            value: sum(n for (key, v), n in kept_leaves(entry).items() if v == value and key != "is_journal")
            for _, value in kept_leaves(entry)
        }
    )
    assert +kept == stated


def test_the_api_and_the_header_of_one_entry_give_the_same_model(samples: Path) -> None:
    """The known differences: the header also says that it is public, and what kind of body an organization is."""
    header = parse_header_xml((samples / "xml" / "10934.xml").read_bytes())
    answer = parse_answer((samples / "api" / "derived" / "EMPIAR-10934.json").read_bytes())[10934]
    assert unknown_keys(header) == Counter(
        {
            "public": 1,
            "corresponding_author.organization_type": 1,
            "principal_investigators[].organization_type": 2,
        }
    )
    people = [header.corresponding_author, *header.principal_investigators]
    bare = [person.model_copy(update={"extra": {}}) for person in people if person is not None]
    same = {"extra": {}, "corresponding_author": bare[0], "principal_investigators": tuple(bare[1:])}
    assert header.model_copy(update=same) == answer

"""The normal form of an entry, and the archive's words."""

from collections import Counter

import pytest
from pydantic import ValidationError

import empiar_schema
from empiar_schema import vocabulary
from empiar_schema.entry import (
    Author,
    Citation,
    CrossReference,
    Entry,
    Grant,
    ImageSet,
    Oddity,
    Person,
    Segmentation,
    VersionEvent,
    Workflow,
    unknown_keys,
)


def full_entry() -> Entry:
    """An entry in which every kind of part occurs, each with an unknown key."""
    x = {"new_key": [1, 2.5, None, {"deep": "Å"}]}
    return Entry(
        empiar_id=10017,
        title="Beta-galactosidase",
        dataset_bytes=2**62,
        imagesets=(
            ImageSet(
                position=0,
                pixel_width_angstrom=1.77,
                segmentations=(Segmentation(id="1", original_files=("a", "b"), extra=x),),
                extra=x,
            ),
            ImageSet(position=1, extra=x),
        ),
        cross_references=(CrossReference(kind="EMDB", accession="EMD-2824", extra=x),),
        authors=(Author(name="Scheres SHW", extra=x),),
        corresponding_author=Person(last_name="Scheres", extra=x),
        principal_investigators=(Person(last_name="Scheres", extra=x),),
        citations=(
            Citation(year=2015, published=True, authors=(Author(name="Scheres SHW", extra=x),), extra=x),
        ),
        grants=(Grant(code="1", extra=x),),
        version_history=(VersionEvent(version="1", extra=x),),
        workflows=(Workflow(url="https://workflowhub.eu/workflows/1", type="1", extra=x),),
        extra=x,
        oddities=(Oddity("imagesets[0].directory", "should be a folder of the entry, is '../..'"),),
    )


def test_an_entry_survives_the_way_through_json_unchanged() -> None:
    entry = full_entry()
    again = Entry.model_validate_json(entry.model_dump_json())
    assert again == entry
    assert again.oddities[0].path == "imagesets[0].directory"


def test_two_entries_are_equal_only_if_nothing_differs() -> None:
    changed = full_entry().model_copy(update={"title": "Another"})
    assert full_entry() == full_entry()
    assert changed != full_entry()


def test_an_entry_of_a_newer_version_of_the_program_still_loads() -> None:
    assert Entry.model_validate_json('{"empiar_id": 1, "a_later_field": 7}') == Entry(empiar_id=1)


def test_an_entry_cannot_be_changed() -> None:
    entry = full_entry()
    with pytest.raises(ValidationError, match="frozen"):
        entry.title = "x"  # type: ignore[misc]  # the point of the test


def test_unknown_keys_are_counted_by_their_path_at_every_level() -> None:
    assert unknown_keys(full_entry()) == Counter(
        {
            "new_key": 1,
            "imagesets[].new_key": 2,
            "imagesets[].segmentations[].new_key": 1,
            "cross_references[].new_key": 1,
            "authors[].new_key": 1,
            "corresponding_author.new_key": 1,
            "principal_investigators[].new_key": 1,
            "citations[].new_key": 1,
            "citations[].authors[].new_key": 1,
            "grants[].new_key": 1,
            "version_history[].new_key": 1,
            "workflows[].new_key": 1,
        }
    )


def test_no_model_has_a_field_for_contact_data() -> None:
    fields = {name for model in (Entry, Person, Author, Citation, Grant) for name in model.model_fields}
    assert not fields & {"email", "telephone", "fax", "street", "post_or_zip"}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("REL", "REL"),
        ("rel", "REL"),
        ("OBS", "OBS"),
        ("OBSOLETE", "OBS"),
        ("Obsoleted", "OBS"),
        ("WDRN", "WDRN"),
        ("HPUB", "HPUB"),
        ("Something new", "Something new"),
    ],
)
def test_a_status_has_one_spelling_and_an_unknown_one_stays(text: str, status: str) -> None:
    assert vocabulary.normal_status(text) == status


def test_codes_have_names_and_any_other_text_is_its_own_name() -> None:
    assert vocabulary.name_of("T2", vocabulary.CATEGORIES) == "micrographs - multiframe"
    assert vocabulary.name_of("T8", vocabulary.HEADER_FORMATS) == "XML"
    assert vocabulary.name_of("T8", vocabulary.DATA_FORMATS) == "BIG DATA VIEWER HDF5"
    assert vocabulary.name_of("16 BIT FLOAT", vocabulary.VOXEL_TYPES) == "16 BIT FLOAT"
    assert vocabulary.name_of("4", vocabulary.EXPERIMENT_TYPES) == "SBF-SEM"
    assert "10" not in vocabulary.EXPERIMENT_TYPES


def test_the_public_names_of_the_package_exist_and_are_sorted_as_ruff_sorts_them() -> None:
    assert all(hasattr(empiar_schema, name) for name in empiar_schema.__all__)
    assert len(set(empiar_schema.__all__)) == len(empiar_schema.__all__)

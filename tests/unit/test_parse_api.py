"""Answers of the API, in every shape that sources know, and in shapes that nobody wants."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from empiar_crawler.parse import contacts
from empiar_crawler.parse.api import MAX_DEPTH, parse_answer, parse_search_page, read_answer
from empiar_crawler.parse.fields import MAX_ODDITIES
from empiar_schema.crawl_store import EnumeratedEntry
from empiar_schema.entry import CrossReference, Entry, unknown_keys
from empiar_schema.faults import BadAnswer


def body_of(record: object, key: str = "EMPIAR-10017") -> bytes:
    return json.dumps({key: record}).encode()


def entry_of(record: dict[str, Any]) -> Entry:
    """The one entry of an answer with this record."""
    return parse_answer(body_of(record))[10017]


def image_set_of(record: dict[str, Any]) -> tuple[Any, Entry]:
    entry = entry_of({"imagesets": [record]})
    return entry.imagesets[0], entry


# --- answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"EMPIAR-10017": null}', b'{"EMPIAR-10017": {}}', b"\xef\xbb\xbf{}"]
)
def test_an_answer_without_entries_is_empty_and_no_error(body: bytes) -> None:
    assert parse_answer(body) == {}
    assert parse_search_page(body) == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"EMPIAR-10017": {"title": "a"}, "EMPIAR-10018": {"title": "b"}}',
        b'{"10017": {"title": "a"}, "10018": {"title": "b"}}',
        b'[{"EMPIAR-10017": {"title": "a"}}, {"EMPIAR-10018": {"title": "b"}}]',
        b'[{"EMPIAR-10017": {"title": "a"}, "EMPIAR-10018": {"title": "b"}}]',
        b'[{"id": "EMPIAR-10017", "title": "a"}, {"entry_doi": "10.6019/EMPIAR-10018", "title": "b"}]',
        b'{"EMPIAR-10017": {"title": "x"}, "EMPIAR-10018": {"title": "b"}, "EMPIAR-10017": {"title": "a"}}',
    ],
)
def test_entries_come_keyed_by_accession_or_as_an_array(body: bytes) -> None:
    assert {key: entry.title for key, entry in parse_answer(body).items()} == {10017: "a", 10018: "b"}


def test_a_record_under_a_wrong_key_is_taken_by_its_own_doi_and_notes_the_key() -> None:
    answer = parse_answer(body_of({"entry_doi": "10.6019/EMPIAR-10442", "title": "a"}, key="EMPIAR-TEST"))
    assert list(answer) == [10442]
    assert "EMPIAR-TEST" in answer[10442].oddities[0].sentence


def test_a_record_that_names_no_entry_is_noted_beside_the_others() -> None:
    answer = read_answer(b'{"EMPIAR-10017": {"title": "a"}, "next": 2, "weird": {"title": "b"}}')
    assert list(answer.entries) == [10017]
    assert [oddity.sentence for oddity in answer.oddities] == [
        "a record called 'next' names no entry of EMPIAR",
        "a record called 'weird' names no entry of EMPIAR",
    ]


def test_a_doi_of_another_entry_is_kept_and_noted() -> None:
    entry = entry_of({"entry_doi": "doi:10.6019/EMPIAR-10018"})
    assert entry.empiar_id == 10017
    assert entry.doi == "10.6019/EMPIAR-10018"
    assert [oddity.path for oddity in entry.oddities] == ["entry_doi"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>502 Bad Gateway</html>", "not JSON"),
        (b'{"EMPIAR-10017": {', "not JSON"),
        (b'{"EMPIAR-10017": {}} tail', "not JSON"),
        (b"\xff\xfe\x00", "not UTF-8"),
        ('{"EMPIAR-10017": {"title": "Å"}}'.encode("latin-1"), "not UTF-8"),
        (b"null", "neither an object nor an array"),
        (b"42", "neither an object nor an array"),
        (b'"EMPIAR-10017"', "neither an object nor an array"),
        (b'{"code": 500, "message": "Too busy, ask a@b.org", "fields": "id"}', "error: 500 'Too busy, ask"),
        (b'{"message": "no"}', "error: 'no'"),
        (b'{"detail": "Not found."}', "names no entry"),
        (b"[1, 2]", "names no entry"),
        (b'{"EMPIAR-10017": "text"}', "names no entry"),
        (b"[" * 100_000, "nested"),
        (b'{"EMPIAR-1":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nested"),
        (b'"' + b'\\"' * 100_000, "not JSON"),
    ],
)
def test_what_is_no_answer_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    for parse in (parse_answer, parse_search_page):
        with pytest.raises(BadAnswer, match=reason) as refused:
            parse(body)
        assert "a@b.org" not in str(refused.value)
        assert len(str(refused.value)) < 500


def test_brackets_inside_texts_are_no_nesting() -> None:
    entry = entry_of({"title": "[{" * 1000 + '"\\'})
    assert entry.title == "[{" * 1000 + '"\\'


def test_nesting_up_to_the_bound_is_kept() -> None:
    deep: JsonValue = "x"
    for _ in range(MAX_DEPTH - 3):
        deep = [deep]
    entry = entry_of({"new": deep})
    assert entry.extra == {"new": deep}
    assert Entry.model_validate_json(entry.model_dump_json()) == entry


def test_numbers_that_no_column_holds_do_no_harm() -> None:
    body = (
        b'{"EMPIAR-10017": {"imagesets": [{"num_images_or_tilt_series": %s, "frames_per_image": NaN, "image_width": 1e999,'
        % (b"9" * 10_000)
    )
    body += b'"image_height": -Infinity, "pixel_width": 1e300, "pixel_height": 1e-300, "frame_range_min": 9223372036854775807}]}}'
    entry = parse_answer(body)[10017]
    image_set = entry.imagesets[0]
    assert image_set.image_count is image_set.frames_per_image is image_set.image_width is None
    assert image_set.image_height is image_set.pixel_width_angstrom is image_set.pixel_height_angstrom is None
    assert image_set.frame_range_min == 2**63 - 1
    assert {oddity.path for oddity in entry.oddities} == {
        f"imagesets[0].{key}" for key in ("num_images_or_tilt_series", "pixel_width", "pixel_height")
    }


# --- fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "title"),
    [
        ("Pol &amp; PCNA", "Pol & PCNA"),
        ("Pol &amp;amp; PCNA", "Pol & PCNA"),
        ("&#197; and &#xC5; and &Aring;", "Å and Å and Å"),
        ("R&D, AT&T;x, a&copy=2", "R&D, AT&T;x, a&copy=2"),
        ("<i>S. pombe</i>", "<i>S. pombe</i>"),
        ("a&#27;b and a&amp;#x1b;b", "ab and ab"),
        ("&lt;i&gt;S. pombe&lt;/i&gt;", "<i>S. pombe</i>"),
        ("  a  b ", "a  b"),
        ("", None),
        (None, None),
        (17, "17"),
    ],
)
def test_a_title_is_as_typed_but_for_entities(typed: object, title: str | None) -> None:
    entry = entry_of({"title": typed, "status": "REL"})
    assert entry.title == title
    assert entry.oddities == ()


@pytest.mark.parametrize("typed", ["a\x00b", "a\x1bb", "a\x9bb", "a\ud800b", "a&#0;b"])
def test_a_text_that_cannot_be_stored_or_shown_is_made_so_and_noted(typed: str) -> None:
    entry = entry_of({"title": typed})
    assert entry.title == "a\ufffdb"
    assert [c for c in entry.model_dump_json() if "\ud800" <= c <= "\udfff"] == []


def test_white_space_inside_details_stays() -> None:
    image_set, entry = image_set_of({"details": "Dataset: 1\n\n\tκ &amp; Å\r\n- list"})
    assert image_set.details == "Dataset: 1\n\n\tκ &amp; Å\r\n- list"
    assert entry.oddities == ()


@pytest.mark.parametrize(
    ("stated", "size"),
    [("305.5 GB", int(305.5 * 2**30)), ("1.9 TB", int(1.9 * 2**40)), ("", None), (None, None)],
)
def test_the_dataset_size_is_kept_as_stated_and_in_bytes(stated: str | None, size: int | None) -> None:
    entry = entry_of({"dataset_size": stated, "status": "REL"})
    assert entry.dataset_size == (stated or None)
    assert entry.dataset_bytes == size
    assert entry.oddities == ()


@pytest.mark.parametrize("stated", ["big", "9" * 50 + " PB", "-1 GB"])
def test_a_dataset_size_that_is_none_stays_as_stated_and_is_noted(stated: str) -> None:
    entry = entry_of({"dataset_size": stated})
    assert (entry.dataset_size, entry.dataset_bytes) == (stated, None)
    assert [oddity.path for oddity in entry.oddities] == ["dataset_size"]


def test_a_status_has_one_spelling_wherever_it_stands() -> None:
    history = [{"status_code": "Released", "version_number": 1}]
    entry = entry_of({"status": "OBSOLETE", "version_history": history})
    assert entry.status == "OBS"
    assert [(event.status, event.version) for event in entry.version_history] == [("REL", "1")]


@pytest.mark.parametrize(
    "stated", ["2020-10-23", "2020-10-23T00:00:00Z", "2020-10-23Z", "2020-10-23+01:00", " 2020-10-23 "]
)
def test_a_date_is_a_day(stated: str) -> None:
    assert entry_of({"update_date": stated}).update_date == "2020-10-23"


@pytest.mark.parametrize(
    "stated", ["2020-13-01", "23/10/2020", "2020", "0000-00-00", 20201023, ["2020-10-23"], True]
)
def test_what_is_no_date_is_none_and_noted(stated: object) -> None:
    entry = entry_of({"update_date": stated, "status": "REL"})
    assert entry.update_date is None
    assert [oddity.path for oddity in entry.oddities] == ["update_date"]
    assert entry.status == "REL"


@pytest.mark.parametrize("stated", [3838, "3838", 3838.0, "3838.0", " 3838 "])
def test_numbers_may_come_as_text_or_as_decimals(stated: object) -> None:
    image_set, entry = image_set_of({"image_width": stated, "num_images_or_tilt_series": stated})
    assert image_set.image_width == image_set.image_count == 3838
    assert entry.oddities == ()


@pytest.mark.parametrize("stated", [None, "", "variable", "Variable"])
def test_a_width_that_varies_is_none_and_not_odd(stated: object) -> None:
    image_set, entry = image_set_of({"image_width": stated, "pixel_width": stated, "name": "x"})
    assert image_set.image_width is image_set.pixel_width_angstrom is None
    assert entry.oddities == ()


@pytest.mark.parametrize(
    "stated", ["wide", "3838 x 3710", 1.5, -1, True, [3838], {"px": 3838}, "٣", "1_000", "0x10", "nan"]
)
def test_what_is_no_whole_number_is_none_and_noted_with_the_rest_kept(stated: object) -> None:
    image_set, entry = image_set_of({"image_width": stated, "image_height": "3710"})
    assert (image_set.image_width, image_set.image_height) == (None, 3710)
    assert [oddity.path for oddity in entry.oddities] == ["imagesets[0].image_width"]


@pytest.mark.parametrize(
    ("stated", "length"), [(70, 70.0), ("0.543", 0.543), (3.3702, 3.3702), ("1e1", 10.0)]
)
def test_a_pixel_size_is_in_angstrom(stated: object, length: float) -> None:
    image_set, entry = image_set_of({"pixel_width": stated, "pixel_height": None})
    assert (image_set.pixel_width_angstrom, image_set.pixel_height_angstrom) == (length, None)
    assert entry.oddities == ()


@pytest.mark.parametrize("stated", [0, -0.5, "0,543", "1.05 A", False, []])
def test_what_is_no_pixel_size_is_none(stated: object) -> None:
    image_set, entry = image_set_of({"pixel_width": stated, "name": "x"})
    assert image_set.pixel_width_angstrom is None
    assert len(entry.oddities) == (stated != [])


@pytest.mark.parametrize(
    ("stated", "directory"),
    [
        ("data", "data"),
        ("/data/CL44-1_20201106_111915", "data/CL44-1_20201106_111915"),
        ("data//Tiff/", "data/Tiff"),
        ("./data/a b [1]", "data/a b [1]"),
        ("/", ""),
        ("data/50%AB", "data/50%25AB"),
        ("data/Ångström", "data/Ångström"),
        ("", None),
    ],
)
def test_a_directory_has_the_spelling_of_listed_directories(stated: str, directory: str | None) -> None:
    image_set, entry = image_set_of({"directory": stated, "name": "x"})
    assert image_set.directory == directory
    assert entry.oddities == ()


@pytest.mark.parametrize("stated", ["..", "data/../../etc", "/../x", False, ["data"]])
def test_a_directory_outside_the_entry_or_of_a_wrong_type_is_none_and_noted(stated: object) -> None:
    image_set, entry = image_set_of({"directory": stated, "name": "x"})
    assert image_set.directory is None
    assert [oddity.path for oddity in entry.oddities] == ["imagesets[0].directory"]


def test_image_sets_keep_their_order_and_may_share_name_and_directory() -> None:
    same = {"name": "Roots", "directory": "data/MRC_Files"}
    entry = entry_of({"imagesets": [{**same, "frames_per_image": n} for n in (1061, 544, 717)]})
    assert [(s.position, s.frames_per_image) for s in entry.imagesets] == [(0, 1061), (1, 544), (2, 717)]


def test_segmentations_are_kept_whatever_their_list_of_files_looks_like() -> None:
    record = {"id": 3, "file": "a.mrc", "description": "membranes", "original_format": "MRC"}
    image_set, entry = image_set_of(
        {
            "segmentations": [
                {**record, "original_files": "a.rec"},
                {**record, "original_files": ["a.rec", "b.rec"]},
            ]
        }
    )
    assert [s.original_files for s in image_set.segmentations] == [("a.rec",), ("a.rec", "b.rec")]
    assert image_set.segmentations[0].id == "3"
    assert entry.oddities == ()


@pytest.mark.parametrize(
    ("key", "stated"),
    [
        (key, value)
        for key in ("imagesets", "citation", "grant_references", "authors", "cross_references")
        for value in (True, 1.5)
    ],
)
def test_a_list_of_a_wrong_type_is_empty_and_noted_and_the_entry_stays(key: str, stated: object) -> None:
    entry = entry_of({key: stated, "title": "a"})
    assert entry.title == "a"
    assert [oddity.path for oddity in entry.oddities] == [key]


def test_millions_of_oddities_are_counted_not_kept() -> None:
    entry = entry_of({"imagesets": [1] * 5000})
    assert len(entry.oddities) == MAX_ODDITIES + 1
    assert entry.oddities[-1].sentence == f"{5000 - MAX_ODDITIES} more oddities are not listed"


# --- references ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda name: name, lambda name: {"name": name}], ids=["texts", "objects"])
def test_references_come_as_texts_or_as_objects(wrap: Any) -> None:
    entry = entry_of(
        {
            "cross_references": [wrap("EMD-2275"), wrap("EMD-2276"), wrap("EMD-2275")],
            "related_pdb_entries": [wrap("6abc")],
            "biostudies_references": [wrap("S-BIAD123")],
            "idr_references": [wrap("idr0086")],
            "empiar_references": [wrap("EMPIAR-10018")],
            "citation": [{"doi": "https://doi.org/10.1038/x", "pubmedid": "31182845"}],
            "workflows": [{"url": "https://workflowhub.eu/workflows/1", "type": 1}],
        }
    )
    assert [(r.kind, r.accession) for r in entry.cross_references] == [
        ("EMDB", "EMD-2275"),
        ("EMDB", "EMD-2276"),
        ("PDB", "6ABC"),
        ("BioStudies", "S-BIAD123"),
        ("IDR", "idr0086"),
        ("EMPIAR", "EMPIAR-10018"),
        ("DOI", "10.1038/x"),
        ("PubMed", "31182845"),
        ("Workflow", "https://workflowhub.eu/workflows/1"),
    ]
    assert entry.oddities == ()


def test_a_reference_in_the_wrong_list_has_the_kind_of_its_pattern() -> None:
    entry = entry_of({"cross_references": ["EMPIAR-10018", "pdb_00006abc", "emd-2275", 2276, "unknown"]})
    assert [(r.kind, r.accession) for r in entry.cross_references] == [
        ("EMPIAR", "EMPIAR-10018"),
        ("PDB", "pdb_00006abc"),
        ("EMDB", "EMD-2275"),
        ("EMDB", "EMD-2276"),
        ("EMDB", "unknown"),
    ]


def test_further_keys_of_a_reference_are_kept() -> None:
    entry = entry_of({"cross_references": [{"name": "EMD-2275", "relation": "derived"}]})
    assert entry.cross_references == (
        CrossReference(kind="EMDB", accession="EMD-2275", extra={"relation": "derived"}),
    )


@pytest.mark.parametrize("value", ["wf.json", {"path": "wf.json"}, {"workflow_file": "wf.json"}])
def test_a_workflow_file_is_a_path_in_any_of_its_shapes(value: object) -> None:
    assert entry_of({"workflow_file": value}).workflow_file == "wf.json"


# --- persons ------------------------------------------------------------------------------------------------

PERSON = {
    "author_orcid": "0000-0002-7287-8459",
    "first_name": "Ada",
    "middle_name": None,
    "last_name": "Example",
    "organization": "Dept. of A &amp;amp; B (write to ada@lab.example.org)",
    "street": "SECRET street 1",
    "town_or_city": "Cambridge",
    "state_or_province": "Cambridgeshire",
    "post_or_zip": "SECRET CB2",
    "country": "United Kingdom",
    "telephone": "SECRET 1",
    "fax": "SECRET 2",
    "email": "ada [at] secret.example.org",
    "entry": "EMPIAR-10017",
}


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {"author": p}], ids=["flat", "wrapped"])
def test_persons_come_flat_or_wrapped_and_keep_no_contact_data(wrap: Any) -> None:
    entry = entry_of({"principal_investigator": [wrap(PERSON)], "corresponding_author": wrap(PERSON)})
    (investigator,) = entry.principal_investigators
    assert investigator == entry.corresponding_author
    assert investigator.last_name == "Example"
    assert investigator.organization == "Dept. of A & B (write to [address removed])"
    assert investigator.orcid == "0000-0002-7287-8459"
    assert investigator.extra == {}
    text = entry.model_dump_json()
    assert "SECRET" not in text
    assert "secret" not in text
    assert entry.oddities == ()


@pytest.mark.parametrize("value", [{}, {"author": {}}, None, "", [], [{}]])
def test_no_person_is_none(value: object) -> None:
    assert entry_of({"corresponding_author": value, "title": "a"}).corresponding_author is None


def test_a_person_given_as_text_is_noted_but_not_quoted() -> None:
    entry = entry_of(
        {"corresponding_author": "Ada Example, tel. 0123456", "principal_investigator": ["tel. 0123456"]}
    )
    assert len(entry.oddities) == 2
    assert "0123456" not in entry.model_dump_json()


@pytest.mark.parametrize(
    "authors",
    [
        [
            {"author": {"name": "Yan D", "author_orcid": "1"}},
            {"author": {"name": "Lee JY", "author_orcid": None}},
        ],
        [{"name": "Yan D", "author_orcid": "1"}, {"name": "Lee JY"}],
        [{"name": "Lee JY", "order_id": 2}, {"name": "Yan D", "author_orcid": "1", "order_id": 1}],
        [
            {"author": {"name": "Lee JY"}, "order": "1"},
            {"author": {"name": "Yan D", "author_orcid": "1"}, "order": "0"},
        ],
    ],
)
def test_authors_come_flat_or_wrapped_in_their_stated_order(authors: list[object]) -> None:
    entry = entry_of({"authors": authors, "citation": [{"authors": authors}]})
    assert [(a.name, a.orcid) for a in entry.authors] == [("Yan D", "1"), ("Lee JY", None)]
    assert entry.citations[0].authors == entry.authors
    assert unknown_keys(entry) == {}


def test_contact_data_inside_unknown_keys_is_taken_out_at_any_depth() -> None:
    entry = entry_of(
        {
            "submitter": {
                "name": "Ada",
                "contactEmail": "SECRET",
                "phones": ["SECRET"],
                "home": [{"Fax-Number": "SECRET", "postCode": "SECRET", "city": "Cambridge"}],
                "note": "ada@secret.example.org, ada (at) secret.example.org and 000001@",
            }
        }
    )
    assert entry.extra == {
        "submitter": {
            "name": "Ada",
            "home": [{"city": "Cambridge"}],
            "note": "[address removed], [address removed] and 000001@",
        }
    }


@pytest.mark.parametrize(
    "key",
    [
        "email",
        "e_mail",
        "E-Mail",
        "emailAddress",
        "telephone",
        "phone",
        "work_phone",
        "fax",
        "faxNumber",
        "street",
        "street2",
        "address",
        "post_or_zip",
        "postOrZipCode",
        "zip_code",
        "postal_code",
        "post_code",
        "POSTCODE",
        "mobile",
        "TEL",
    ],
)
def test_keys_of_contact_data_are_known_in_any_spelling(key: str) -> None:
    assert contacts.is_contact_key(key)


@pytest.mark.parametrize(
    "key",
    ["telescope", "postprocessing", "zipped_files", "name", "town_or_city", "tilt_step", "halifax", "post"],
)
def test_other_keys_are_not_taken_for_contact_data(key: str) -> None:
    assert not contacts.is_contact_key(key)


# --- searches -----------------------------------------------------------------------------------------------


def test_a_search_page_says_what_exists_and_when_it_changed() -> None:
    page = {
        "EMPIAR-10017": {
            "title": "A &amp; B",
            "status": "REL",
            "update_date": "2020-10-23",
            "imagesets": [1],
        },
        "EMPIAR-10018": {"status": "OBSOLETE", "update_date": "soon"},
    }
    assert parse_search_page(json.dumps(page).encode()) == [
        EnumeratedEntry(10017, update_date="2020-10-23", status="REL", title="A & B"),
        EnumeratedEntry(10018, update_date=None, status="OBS", title=None),
    ]


# --- any answer ---------------------------------------------------------------------------------------------

KNOWN_KEYS = [
    "title",
    "status",
    "deposition_date",
    "dataset_size",
    "experiment_type",
    "entry_doi",
    "workflow_file",
    "grant_references",
    "workflows",
    "version_history",
    "principal_investigator",
    "corresponding_author",
    "authors",
    "author",
    "cross_references",
    "citation",
    "imagesets",
    "segmentations",
    "name",
    "directory",
    "image_width",
    "pixel_width",
    "published",
    "year",
    "doi",
    "order",
    "id",
    "entry",
    "email",
    "extra",
    "path",
]
# All characters that JSON can hold, lone surrogates among them.
texts = st.text(st.characters(exclude_categories=[]), max_size=8)
keys = st.sampled_from(KNOWN_KEYS) | texts
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.sampled_from(["..", "variable", "&amp;", "2020-10-23"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(keys, values, max_size=8))
def test_any_record_becomes_an_entry_that_can_be_stored_and_loaded(record: dict[str, Any]) -> None:
    entries = parse_answer(json.dumps({"EMPIAR-10017": {**record, "scale": "cell"}}).encode())
    entry = entries[10017]
    assert entry.scale == "cell"
    text = entry.model_dump_json()
    assert Entry.model_validate_json(text) == entry
    text.encode()
    for image_set in entry.imagesets:
        assert not image_set.directory or ".." not in image_set.directory.split("/")


@settings(deadline=None)
@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_answer_or_a_bad_answer(body: bytes) -> None:
    try:
        entries = parse_answer(body)
    except BadAnswer:
        return
    assert all(entry.empiar_id == key for key, entry in entries.items())

"""Header XML, of both generations of its schema, and XML that means harm."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_crawler.parse.api import parse_answer
from empiar_crawler.parse.header_xml import MAX_DEPTH, parse_header_xml
from empiar_schema.entry import (
    Author,
    Citation,
    CrossReference,
    Entry,
    Grant,
    Person,
    VersionEvent,
    unknown_keys,
)
from empiar_schema.faults import BadAnswer

NAMESPACE = 'xmlns="http://pdbe.org/empiar"'


def header_of(
    inner: str, attributes: str = 'accessionCode="EMPIAR-10017"', namespace: str = NAMESPACE
) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><entry {namespace} {attributes}>{inner}</entry>'.encode()


IMAGE_SET = """
<imageSet><name>Movies &amp;amp; gain</name><directory>/data/movies/</directory><category>micrographs - multiframe</category>
  <headerFormat>MRC</headerFormat><dataFormat>MRC</dataFormat><numImagesOrTiltSeries>84</numImagesOrTiltSeries>
  <framesPerImage>16</framesPerImage><frameRange><frameRangeMin>1</frameRangeMin><frameRangeMax>16</frameRangeMax></frameRange>
  <voxelType>32 BIT FLOAT</voxelType>
  <dimensions><imageWidth>variable</imageWidth><pixelWidth>1.77</pixelWidth><imageHeight>4096</imageHeight>
    <pixelHeight>variable</pixelHeight></dimensions>
  <details/><segmentationList><segmentation segmentationId="1"><file>s.mrc</file><description>membranes</description>
    <originalFiles>s.rec</originalFiles><originalFormat>MRC</originalFormat></segmentation></segmentationList>
  <micrographsFilePattern>data/movies/*.mrc</micrographsFilePattern><pickedParticlesFilePattern></pickedParticlesFilePattern>
</imageSet>"""


def test_an_image_set_is_the_same_from_a_header_as_from_an_answer() -> None:
    answer = parse_answer(
        b'{"EMPIAR-10017": {"imagesets": [{"name": "Movies &amp; gain", "directory": "data/movies",'
        b' "category": "micrographs - multiframe", "header_format": "MRC", "data_format": "MRC",'
        b' "num_images_or_tilt_series": 84, "frames_per_image": 16, "frame_range_min": 1, "frame_range_max": 16,'
        b' "voxel_type": "32 BIT FLOAT", "image_width": null, "pixel_width": 1.77, "image_height": "4096",'
        b' "pixel_height": null, "details": "", "micrographs_file_pattern": "data/movies/*.mrc",'
        b' "segmentations": [{"id": 1, "file": "s.mrc", "description": "membranes", "original_files": "s.rec",'
        b' "original_format": "MRC"}]}]}}'
    )
    header = parse_header_xml(header_of(IMAGE_SET))
    assert header == answer[10017]
    assert header.imagesets[0].name == "Movies & gain"
    assert header.imagesets[0].image_width is None


ADMIN = """
<admin><currentStatus>OBS</currentStatus>
  <keyDates><depositionDate>2014-01-02</depositionDate><releaseDate>2014-02-03Z</releaseDate>
    <obsoleteDate>2020-05-06</obsoleteDate><updateDate>2020-05-06</updateDate></keyDates>
  <title>A title</title>
  <correspondingAuthor private="false"><title>Dr</title><firstName>Ada</firstName><lastName>Example</lastName>
    <organization>Lab</organization><street>SECRET</street><townOrCity>Cambridge</townOrCity><country></country>
    <postOrZipCode>SECRET</postOrZipCode><email private="true">ada@secret.example.org</email>
    <telephone private="true"><local>SECRET</local></telephone><fax><local>SECRET</local></fax></correspondingAuthor>
  <authorsList><author authorORCID="0000-0001">Example A</author><author>Other B</author></authorsList>
  <versionHistory><version><versionNumber>1</versionNumber><date>2020-05-06</date><statusCode>OBS</statusCode>
    <annotator private="true">SECRET person</annotator><details>replaced</details></version></versionHistory>
  <grantSupport><grantReference><fundingBody>MRC</fundingBody><code>U1</code><country>United Kingdom</country>
    </grantReference></grantSupport>
  <datasetSize units="GB">5.0</datasetSize><entryDOI>10.6019/EMPIAR-10017</entryDOI><experimentType>EMDB</experimentType>
</admin>"""


def test_the_administrative_part_is_read_and_no_contact_data_is_kept() -> None:
    entry = parse_header_xml(
        header_of(ADMIN, 'accessionCode="EMPIAR-10017" public="true" schemaVersion="0.48"')
    )
    assert entry == Entry(
        empiar_id=10017,
        title="A title",
        status="OBS",
        experiment_type="EMDB",
        deposition_date="2014-01-02",
        release_date="2014-02-03",
        update_date="2020-05-06",
        obsolete_date="2020-05-06",
        dataset_size="5.0 GB",
        dataset_bytes=5 * 2**30,
        doi="10.6019/EMPIAR-10017",
        authors=(Author(name="Example A", orcid="0000-0001"), Author(name="Other B")),
        corresponding_author=Person(
            first_name="Ada",
            last_name="Example",
            organization="Lab",
            town_or_city="Cambridge",
            extra={"title": "Dr", "private": "false"},
        ),
        grants=(Grant(funding_body="MRC", code="U1", country="United Kingdom"),),
        version_history=(VersionEvent(version="1", date="2020-05-06", status="OBS", details="replaced"),),
        extra={"public": "true", "schemaVersion": "0.48"},
    )
    assert "secret" not in entry.model_dump_json().lower()


CITATIONS_OF_2020 = """
<crossReferences><relatedEMDBEntries><emdbEntry>EMD-2824</emdbEntry><emdbEntry>EMD-2825</emdbEntry></relatedEMDBEntries>
  <relatedBioStudiesEntries><bioStudiesEntry>S-BIAD1</bioStudiesEntry></relatedBioStudiesEntries>
  <relatedIdrEntries><idrEntry>idr0086</idrEntry></relatedIdrEntries>
  <relatedEmpiarEntries><empiarEntry>EMPIAR-10018</empiarEntry></relatedEmpiarEntries>
  <citationList><universalCitation><journalCitation published="true" preprint="false">
      <author order="2">Other B</author><author order="1" authorORCID="0000-0001">Example A</author>
      <title>A paper</title><journal>J</journal><journalAbbreviation>J.</journalAbbreviation><country></country><issue>1</issue>
      <volume>2</volume><firstPage>3</firstPage><lastPage>4</lastPage><year>2015</year><language>English</language>
      <externalReferences type="doi">10.1038/x</externalReferences><externalReferences type="pubmed">123</externalReferences>
      <externalReferences type="issn">9</externalReferences></journalCitation></universalCitation>
    <universalCitation><nonJournalCitation published="false"><editor order="1">Editor E</editor><bookTitle>A book</bookTitle>
      <bookChapterTitle>A chapter</bookChapterTitle><publisher>P</publisher><publicationLocation>L</publicationLocation>
      </nonJournalCitation></universalCitation></citationList></crossReferences>"""

CITATIONS_OF_2017 = """
<crossReferences><relatedEMDBEntries><emdbEntry>EMD-2824</emdbEntry></relatedEMDBEntries>
  <citationList><universalCitation><journalArticle published="true"><authors><author>Example A</author><author>Other B</author></authors>
      <articleTitle>A paper</articleTitle><journal>J</journal><year>2015</year>
      <externalReference type="DOI">10.1038/x</externalReference></journalArticle></universalCitation>
    <universalCitation><nonJournalArticle><chapterTitle>A chapter</chapterTitle><book>A book</book>
      <publisherLocation>L</publisherLocation></nonJournalArticle></universalCitation></citationList></crossReferences>"""


def test_cross_references_and_citations_of_the_schema_of_2020_are_read() -> None:
    entry = parse_header_xml(header_of(CITATIONS_OF_2020))
    paper, book = entry.citations
    assert [author.name for author in paper.authors] == ["Example A", "Other B"]
    assert paper.model_copy(update={"authors": ()}) == Citation(
        title="A paper", journal="J", journal_abbreviation="J.", issue="1", volume="2", first_page="3", last_page="4",
        year=2015, language="English", doi="10.1038/x", pubmed_id="123", published=True, preprint=False,
        is_journal=True, extra={"externalReferences_issn": "9"},
    )  # fmt: skip
    assert book == Citation(
        title="A book", book_chapter_title="A chapter", publisher="P", publication_location="L", published=False,
        is_journal=False, editors=(Author(name="Editor E"),),
    )  # fmt: skip
    assert [(r.kind, r.accession) for r in entry.cross_references] == [
        ("EMDB", "EMD-2824"), ("EMDB", "EMD-2825"), ("BioStudies", "S-BIAD1"), ("IDR", "idr0086"),
        ("EMPIAR", "EMPIAR-10018"), ("DOI", "10.1038/x"), ("PubMed", "123"),
    ]  # fmt: skip
    assert entry.oddities == ()


def test_citations_of_the_schema_of_2017_are_read() -> None:
    entry = parse_header_xml(header_of(CITATIONS_OF_2017))
    paper, book = entry.citations
    assert paper == Citation(
        authors=(Author(name="Example A"), Author(name="Other B")),
        title="A paper", journal="J", year=2015, doi="10.1038/x", published=True, is_journal=True,
    )  # fmt: skip
    assert book == Citation(
        title="A book", book_chapter_title="A chapter", publication_location="L", is_journal=False
    )
    assert unknown_keys(entry) == Counter()
    assert entry.cross_references == (
        CrossReference(kind="EMDB", accession="EMD-2824"),
        CrossReference(kind="DOI", accession="10.1038/x"),
    )


@pytest.mark.parametrize(
    "namespace",
    [
        "",
        NAMESPACE,
        'xmlns="http://pdbe.org/empiar/v2"',
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:x="y"',
    ],
)
def test_any_namespace_or_none_will_do(namespace: str) -> None:
    assert parse_header_xml(header_of("<admin><title>t</title></admin>", namespace=namespace)) == Entry(
        empiar_id=10017, title="t"
    )


def test_unknown_elements_and_attributes_are_kept_and_counted() -> None:
    entry = parse_header_xml(
        header_of(
            '<admin><new a="1"><x>2</x><x>3</x></new></admin><imageSet tilt="yes"><dose>5</dose></imageSet><imageSet/>'
        )
    )
    assert entry.extra == {"new": {"a": "1", "x": ["2", "3"]}}
    assert [image_set.extra for image_set in entry.imagesets] == [{"tilt": "yes", "dose": "5"}]
    assert unknown_keys(entry) == Counter({"new": 1, "imagesets[].tilt": 1, "imagesets[].dose": 1})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not well-formed"),
        (b"<entry", "not well-formed"),
        (b"<html><body>502</body></html>", "begins with <html>"),
        (b'<?xml version="1.0" encoding="no-such-code"?><entry/>', "not well-formed"),
        (header_of("", attributes=""), "no EMPIAR accession"),
        (header_of("", attributes='accessionCode="EMD-2824"'), "no EMPIAR accession"),
        (
            b"<entry accessionCode='EMPIAR-1'>" + b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH + b"</entry>",
            "nested",
        ),
        (b"<entry>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</entry>", "nested"),
        (b'<!DOCTYPE entry SYSTEM "http://127.0.0.1:9/evil.dtd"><entry/>', "document type"),
        (
            b'<!DOCTYPE entry [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><entry><a>&b;</a></entry>',
            "document type",
        ),
        (
            b'<!DOCTYPE entry [<!ENTITY f SYSTEM "file:///etc/passwd">]><entry><title>&f;</title></entry>',
            "document type",
        ),
    ],
)
def test_what_is_no_header_or_means_harm_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadAnswer, match=reason) as refused:
        parse_header_xml(body)
    assert len(str(refused.value)) < 300


def test_values_that_cannot_be_are_noted_and_the_entry_stays() -> None:
    entry = parse_header_xml(
        header_of("<admin><title>t</title><keyDates><updateDate>soon</updateDate></keyDates></admin>"
                  "<imageSet><directory>../../etc</directory><framesPerImage>-4</framesPerImage></imageSet>")
    )  # fmt: skip
    assert entry.title == "t"
    assert (entry.imagesets[0].directory, entry.imagesets[0].frames_per_image) == (None, None)
    assert [oddity.path for oddity in entry.oddities] == [
        "update_date",
        "imagesets[0].directory",
        "imagesets[0].frames_per_image",
    ]


names = st.sampled_from(
    [
        "admin",
        "title",
        "imageSet",
        "author",
        "authorsList",
        "citationList",
        "universalCitation",
        "journalCitation",
        "x",
    ]
)
trees = st.recursive(
    st.text("ab &;2", max_size=6).map(lambda t: t.replace("&", "&amp;")),
    lambda inner: st.lists(st.tuples(names, inner).map(lambda p: f"<{p[0]}>{p[1]}</{p[0]}>"), max_size=4).map(
        "".join
    ),
    max_leaves=15,
)


@given(trees)
def test_any_tree_below_an_entry_becomes_an_entry_that_can_be_stored(inner: str) -> None:
    entry = parse_header_xml(header_of(inner))
    assert entry.empiar_id == 10017
    assert Entry.model_validate_json(entry.model_dump_json()) == entry

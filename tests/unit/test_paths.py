"""Names of files: one rule from bytes to text and back."""

import pytest

from empiar_schema.faults import HostileName
from empiar_schema.paths import (
    RemotePath,
    accession,
    bytes_from_text,
    checked_name,
    parse_empiar_id,
    suffix_of,
    text_from_bytes,
)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a.mrc", "a.mrc"),
        (b"TS_026_003_-2.0 [1].tif", "TS_026_003_-2.0 [1].tif"),
        ("Bild_Å_κ.mrc".encode(), "Bild_Å_κ.mrc"),
        (b"50%.mrc", "50%.mrc"),
        (b"50%ab.mrc", "50%ab.mrc"),
        (b"50%AB.mrc", "50%25AB.mrc"),
        (b"%25", "%2525"),
        (b"\xff\xfe.mrc", "%FF%FE.mrc"),
        (b"a\nb", "a%0Ab"),
        (b"a\x1b[31m", "a%1B[31m"),
        (b"\xc2\x85", "%C2%85"),
        (b"\xed\xa0\x80", "%ED%A0%80"),
        (b"%\xff", "%%FF"),
        (b"%4\xc3\xa4", "%4ä"),
        ("\u202egnp.mrc".encode(), "\u202egnp.mrc"),
    ],
)
def test_a_name_reads_as_it_is_but_for_bytes_that_text_cannot_hold(raw: bytes, text: str) -> None:
    assert text_from_bytes(raw) == text
    assert bytes_from_text(text) == raw


@pytest.mark.parametrize("raw", [b"", b".", b"..", b"a/b", b"/", b"a\0b", b"../x"])
def test_a_name_that_no_file_can_have_is_refused(raw: bytes) -> None:
    with pytest.raises(HostileName):
        checked_name(raw)


@pytest.mark.parametrize("raw", [b"...", b" ", b"..a", b"-rf", b"~", b"*", b"a\\b", b"x" * 5000])
def test_odd_names_that_a_file_can_have_are_taken(raw: bytes) -> None:
    assert bytes_from_text(checked_name(raw)) == raw


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "data/",
        "data//a",
        "..",
        "data/../a",
        "%2E%2E/a",
        "data/%2E",
        "a%2Fb",
        "a%00b",
        "\ud800",
    ],
)
def test_a_path_that_is_none_or_leaves_its_entry_is_refused(path: str) -> None:
    with pytest.raises(HostileName):
        RemotePath.parse(10017, path)


def test_a_path_falls_into_directory_and_name() -> None:
    path = RemotePath.parse(10017, "data/micrographs/a b.mrc")
    assert (path.directory, path.name) == ("data/micrographs", "a b.mrc")
    assert path.path == "data/micrographs/a b.mrc"
    assert str(path) == "10017/data/micrographs/a b.mrc"
    assert path.url_path == "10017/data/micrographs/a%20b.mrc"
    assert RemotePath.parse(10017, "10017.xml") == RemotePath(10017, "", "10017.xml")


def test_two_spellings_of_a_path_are_one_path() -> None:
    assert RemotePath.parse(1, "data/%41.mrc") == RemotePath.parse(1, "data/A.mrc")


def test_bytes_of_a_command_line_that_are_no_utf8_name_the_same_file_as_their_stored_text() -> None:
    assert RemotePath.parse(1, b"data/\xff.mrc".decode("utf-8", "surrogateescape")).path == "data/%FF.mrc"


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        (b"100%.mrc", "100%25.mrc"),
        (b"a?b#c.mrc", "a%3Fb%23c.mrc"),
        (b"\xff.mrc", "%FF.mrc"),
        ("Å.mrc".encode(), "%C3%85.mrc"),
        (b"z=1.4,um+[x].tif", "z%3D1.4%2Cum%2B%5Bx%5D.tif"),
    ],
)
def test_every_byte_is_exact_in_a_url(raw: bytes, url: str) -> None:
    assert RemotePath(1, "data", checked_name(raw)).url_path == f"1/data/{url}"


def test_names_beyond_the_limits_of_linux_are_known_in_bytes_not_characters() -> None:
    assert RemotePath(1, "data", "x" * 255).fits_file_system
    assert not RemotePath(1, "data", "x" * 256).fits_file_system
    assert not RemotePath(1, "data", "Å" * 128).fits_file_system
    assert RemotePath(1, "data", "%FF" * 255).fits_file_system
    assert not RemotePath(1, "/".join(["d" * 200] * 20), "a").fits_file_system


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.mrc", ".mrc"),
        ("a.MRC", ".mrc"),
        ("x_fractions.tiff.bz2", ".tiff.bz2"),
        ("a.tar.gz", ".tar.gz"),
        ("a.gz", ".gz"),
        (".gz", ""),
        (".hidden", ""),
        (".hidden.gz", ".gz"),
        ("a.", ""),
        ("README", ""),
        ("", ""),
        ("TS_026_003_-2.0.tif", ".tif"),
        ("a.mrc.tif", ".tif"),
        ("a b.long name.gz", ".gz"),
    ],
)
def test_a_suffix_is_lower_case_and_includes_compression(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix


@pytest.mark.parametrize("text", ["10017", "EMPIAR-10017", "empiar-10017", " 10017 ", "EMPIAR-010017"])
def test_an_id_is_a_number_or_an_accession(text: str) -> None:
    assert parse_empiar_id(text) == 10017
    assert accession(10017) == "EMPIAR-10017"


@pytest.mark.parametrize(
    "text", ["", "EMPIAR-", "EMD-10017", "10017/data", "0", "-1", "1" * 9, "１００１７", "EMPIAR-TEST"]
)
def test_what_is_no_id_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write 10017 or EMPIAR-10017"):
        parse_empiar_id(text)

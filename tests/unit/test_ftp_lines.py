"""Lines of LIST and MLSD, shape by shape."""

from __future__ import annotations

import pytest

from empiar_crawler.parse.ftp_lines import FtpListParser, time_from_ls
from empiar_crawler.parse.listed import Listed
from empiar_schema.faults import BadAnswer
from empiar_schema.files import DAY_S, MINUTE_S, ListedFile
from empiar_schema.times import epoch

NOW = epoch("2026-11-22T20:30")


def parse(lines: bytes, *, facts: bool = False, piece: int = 10**9) -> Listed:
    parser, whole = FtpListParser(facts=facts, now=NOW), Listed()
    for start in range(0, len(lines), piece):
        part = parser.feed(lines[start : start + piece])
        whole.files += part.files
        whole.directories += part.directories
        whole.links += part.links
        whole.refused += part.refused
    parser.close()
    return whole


def unix(name: bytes, mode: bytes = b"-rw-r--r--", date: bytes = b"Sep 13  2020") -> bytes:
    return b"%b    1 ftp      ftp      569560224 %b %b\r\n" % (mode, date, name)


def test_files_directories_and_links_are_told_apart() -> None:
    listed = parse(
        b"total 12\r\n"
        + unix(b".", b"drwxr-xr-x")
        + unix(b"..", b"drwxr-xr-x")
        + unix(b"a.mrc")
        + unix(b"TS_001.mrc", b"drwxr-sr-t")
        + unix(b"latest -> a.mrc", b"lrwxrwxrwx")
        + unix(b"pipe", b"prw-r--r--")
    )
    assert listed.files == [ListedFile("a.mrc", 569560224, True, epoch("2020-09-13"), DAY_S)]
    assert (listed.directories, listed.links, listed.refused) == (["TS_001.mrc"], ["latest"], [b"pipe"])


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        (b" leading", " leading"),
        (b"trailing ", "trailing "),
        (b"a  b", "a  b"),
        (b"Nov 22 20:29 x", "Nov 22 20:29 x"),
        (b"a -> b", "a -> b"),
        (b"\xe0\xa0", "%E0%A0"),
        (b"a\xa0", "a%A0"),
        ("à".encode(), "à"),
        (b"%41", "%2541"),
        (b"a\rb", "a%0Db"),
        (b"a\r", "a%0D"),
        (b"n" * 255, "n" * 255),
        (b"...", "..."),
    ],
)
def test_names_survive_byte_for_byte(raw: bytes, stored: str) -> None:
    assert [file.name for file in parse(unix(raw)).files] == [stored]
    facts = b"type=file;size=1; " + raw + b"\r\n"
    assert [file.name for file in parse(facts, facts=True).files] == [stored]


@pytest.mark.parametrize("raw", [b"", b"a/b", b"/etc/passwd", b"a\0b"])
def test_names_that_no_file_can_have_are_refused_and_the_others_kept(raw: bytes) -> None:
    listed = parse(unix(raw) + unix(b"good"))
    assert ([file.name for file in listed.files], listed.refused) == (["good"], [raw])


@pytest.mark.parametrize(
    "line",
    [
        b"second half of a name with a line end\r\n",
        b"-rw-r--r--    1 ftp ftp big Sep 13 2020 a\r\n",
        b"-rw-r--r--    1 ftp ftp 5 Sep 13 2020\r\n",
        b"ls: cannot open directory\r\n",
        b"08-12-20 10:00AM <DIR> windows\r\n",
    ],
)
def test_a_line_that_cannot_be_read_makes_the_listing_incomplete(line: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse(unix(b"a") + line)
    with pytest.raises(BadAnswer):
        parse(b"type=file; a\r\n" + line.replace(b"; ", b""), facts=True)


def test_a_listing_cut_within_a_line_is_not_complete() -> None:
    lines = unix(b"a.mrc") + unix(b"b.mrc")
    for cut in range(1, len(lines)):
        if lines[:cut].endswith(b"\n"):
            continue
        with pytest.raises(BadAnswer):
            parse(lines[:cut])


def test_an_endless_line_is_refused_before_it_fills_the_memory() -> None:
    parser = FtpListParser(facts=False, now=NOW)
    with pytest.raises(BadAnswer):
        for _ in range(100):
            parser.feed(b"x" * 4096)


def test_lines_may_come_in_pieces_of_any_size() -> None:
    lines = unix(b"a.mrc") + unix(b"b", b"drwxr-xr-x") + unix(b" c ")
    assert [parse(lines, piece=piece) for piece in (1, 2, 7, 50)] == [parse(lines)] * 4


@pytest.mark.parametrize("owner", [b"0        0       ", b"ftp      ftp     ", b"1000 domain-users", b"ftp"])
def test_owners_may_be_names_numbers_or_only_one(owner: bytes) -> None:
    line = b"-rw-r--r--+   1 %b 24 Sep 13  2020 a\r\n" % owner
    assert parse(line).files[0].bytes == 24


@pytest.mark.parametrize(
    ("date", "expected", "unit_s"),
    [
        (b"Nov 22 20:29", "2026-11-22T20:29", MINUTE_S),
        (b"Nov 23 10:00", "2026-11-23T10:00", MINUTE_S),  # a zone ahead of ours
        (b"Nov 24 10:00", "2025-11-24T10:00", MINUTE_S),
        (b"Dec  1 00:00", "2025-12-01T00:00", MINUTE_S),
        (b"Feb 29 12:00", "2024-02-29T12:00", MINUTE_S),
        (b"Jan  1  2020", "2020-01-01", DAY_S),
        (b"Jan 01 2020", "2020-01-01", DAY_S),
    ],
)
def test_times_without_a_year_are_the_latest_past_ones(date: bytes, expected: str, unit_s: int) -> None:
    assert time_from_ls(date, now=NOW) == (epoch(expected), unit_s)


@pytest.mark.parametrize("date", [b"Foo 12 2020", b"Feb 31 2020", b"Nov 22 25:00", b"Feb 31 10:00"])
def test_an_impossible_time_is_no_time(date: bytes) -> None:
    assert time_from_ls(date, now=NOW)[0] is None


def test_facts_are_read_in_any_order_and_case() -> None:
    listed = parse(
        b"Modify=20200913122640.5;UNIX.mode=0644;Size=42;TYPE=File; a b\r\n"
        b"type=cdir;modify=20200913122640; /x\r\n"
        b"type=pdir; ..\r\n"
        b"type=dir;sizd=4096; data\r\n"
        b"type=OS.unix=slink:/a;size=1; link\r\n"
        b"type=OS.unix=chr-1/3; null\r\n"
        b"type=file; sizeless\r\n",
        facts=True,
    )
    assert listed.files == [
        ListedFile("a b", 42, True, 1_600_000_000, 1),
        ListedFile("sizeless", None, False, None, 1),
    ]
    assert (listed.directories, listed.links, listed.refused) == (["data"], ["link"], [b"null"])

"""Directory pages of Apache and nginx, shape by shape."""

from __future__ import annotations

import pytest

from empiar_crawler.parse.autoindex import AutoindexParser, apparent_size, rounds_to, shown_size
from empiar_crawler.parse.listed import Listed
from empiar_schema.faults import BadAnswer
from empiar_schema.files import MINUTE_S, ListedFile
from empiar_schema.times import epoch

APACHE_HEAD = b"""<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">
<html>
 <head><title>Index of /empiar/world_availability/10988</title></head>
 <body>
<h1>Index of /empiar/world_availability/10988</h1>
  <table>
   <tr><th valign="top"><img src="/icons/blank.gif" alt="[ICO]"></th><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th><th><a href="?C=S;O=A">Size</a></th><th><a href="?C=D;O=A">Description</a></th></tr>
   <tr><th colspan="5"><hr></th></tr>
<tr><td valign="top"><img src="/icons/back.gif" alt="[PARENTDIR]"></td><td><a href="/empiar/world_availability/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td><td>&nbsp;</td></tr>
"""
APACHE_TAIL = b"""   <tr><th colspan="5"><hr></th></tr>
</table>
</body></html>
"""
NGINX_HEAD = b"""<html>\r
<head><title>Index of /10988/</title></head>\r
<body>\r
<h1>Index of /10988/</h1><hr><pre><a href="../">../</a>\r
"""
NGINX_TAIL = b"</pre><hr></body>\r\n</html>\r\n"


def apache_row(href: bytes, size: bytes, date: bytes = b"2025-02-07 19:49") -> bytes:
    return (
        b'<tr><td valign="top"><img src="/icons/unknown.gif" alt="[   ]"></td><td><a href="%b">shortened..&gt;</a></td>'
        b'<td align="right">%b  </td><td align="right">%b</td><td>&nbsp;</td></tr>\n' % (href, date, size)
    )


def parse(page: bytes, piece: int = 10**9) -> Listed:
    parser, whole = AutoindexParser(), Listed()
    parts = [parser.feed(page[i : i + piece]) for i in range(0, len(page), piece)]
    for part in [*parts, parser.close()]:
        whole.files += part.files
        whole.directories += part.directories
        whole.refused += part.refused
    return whole


def apache(*rows: bytes) -> Listed:
    return parse(APACHE_HEAD + b"".join(rows) + APACHE_TAIL)


def test_apache_rows_are_read_and_its_own_links_are_not() -> None:
    listed = apache(
        apache_row(b"10988.xml", b"8.8K"), apache_row(b"data/", b"  - "), apache_row(b"a.txt", b"650 ")
    )
    time = epoch("2025-02-07T19:49")
    assert listed.files == [
        ListedFile("10988.xml", 9011, False, time, MINUTE_S),
        ListedFile("a.txt", 650, True, time, MINUTE_S),
    ]
    assert listed.directories == ["data"]
    assert listed.refused == []


def test_nginx_rows_have_exact_sizes() -> None:
    page = (
        NGINX_HEAD
        + b'<a href="data/">data/</a>                         07-Feb-2025 19:49                   -\r\n'
        + b'<a href="a%20b.mrc">a b.mrc</a>                   07-Feb-2025 19:49           569560224\r\n'
        + NGINX_TAIL
    )
    listed = parse(page)
    assert listed.files == [ListedFile("a b.mrc", 569560224, True, epoch("2025-02-07T19:49"), MINUTE_S)]
    assert listed.directories == ["data"]


def test_apache_without_a_table_is_read_too() -> None:
    page = b"""<html><head><title>Index of /x</title></head><body><h1>Index of /x</h1>
<pre><img src="/icons/blank.gif" alt="Icon "> <a href="?C=N;O=D">Name</a>                    <a href="?C=M;O=A">Last modified</a>      <a href="?C=S;O=A">Size</a>  <hr><img src="/icons/back.gif" alt="[PARENTDIR]"> <a href="/">Parent Directory</a>                             -
<img src="/icons/unknown.gif" alt="[   ]"> <a href="a.mrc">a.mrc</a>                   2026-11-22 20:56  1.9K
<img src="/icons/folder.gif" alt="[DIR]"> <a href="data/">data/</a>                   2026-11-22 20:56    -
<hr></pre>
</body></html>
"""
    listed = parse(page)
    assert [(file.name, file.bytes) for file in listed.files] == [("a.mrc", 1945)]
    assert listed.directories == ["data"]


@pytest.mark.parametrize(
    ("href", "name"),
    [
        (b"%c3%a0%20b.mrc", "à b.mrc"),
        (b"%e0.mrc", "%E0.mrc"),
        (b"%2541.mrc", "%2541.mrc"),
        (b"a&amp;amp;b.mrc", "a&amp;b.mrc"),
        (b"a&#39;b.mrc", "a'b.mrc"),
        (b"./a:b.mrc", "a:b.mrc"),
        (b"a%3fb%23c.mrc", "a?b#c.mrc"),
        (b"...", "..."),
        (b"..a", "..a"),
        (b"a+b.mrc", "a+b.mrc"),
        (b"%20a%20", " a "),
        (b"%0a.mrc", "%0A.mrc"),
    ],
)
def test_names_come_from_the_link_byte_for_byte(href: bytes, name: str) -> None:
    assert [file.name for file in apache(apache_row(href, b"1 ")).files] == [name]


@pytest.mark.parametrize(
    "href", [b"%2e%2e/", b"%2E%2E", b"..%2fetc", b"a%2fb", b"a%00b", b".", b"%2e/", b"a?b", b"a#b", b""]
)
def test_names_that_no_file_can_have_are_refused_and_the_others_kept(href: bytes) -> None:
    listed = apache(apache_row(href, b"1 "), apache_row(b"good.mrc", b"1 "))
    assert [file.name for file in listed.files] == ["good.mrc"]
    assert listed.directories == []
    assert listed.refused == [href]


@pytest.mark.parametrize(
    "href", [b"/etc/passwd", b"../", b"https://elsewhere.example/a.mrc", b"mailto:a@b.org", b"?C=N"]
)
def test_links_that_lead_elsewhere_are_no_rows(href: bytes) -> None:
    assert apache(apache_row(href, b"1 ")) == Listed()


def test_a_page_may_come_in_pieces_of_any_size() -> None:
    page = APACHE_HEAD + apache_row(b"a.mrc", b"543M") + apache_row(b"b/", b"  - ") + APACHE_TAIL
    whole = parse(page)
    assert [parse(page, piece) for piece in (1, 2, 7, 64, 500)] == [whole] * 5


def test_a_page_cut_anywhere_before_its_end_is_not_complete() -> None:
    page = APACHE_HEAD + apache_row(b"a.mrc", b"543M") * 3 + APACHE_TAIL
    end = page.index(b"</body>")
    for cut in range(0, end, 13):
        with pytest.raises(BadAnswer):
            parse(page[:cut])


@pytest.mark.parametrize("page", [b"", b"<html><body>We are down for maintenance</body></html>", b'{"a": 1}'])
def test_another_page_is_not_an_empty_directory(page: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse(page)


def test_a_row_that_cannot_be_read_makes_the_listing_incomplete() -> None:
    with pytest.raises(BadAnswer):
        apache(apache_row(b"a.mrc", b"huge"))


def test_an_endless_row_is_refused_before_it_fills_the_memory() -> None:
    parser = AutoindexParser()
    parser.feed(APACHE_HEAD)
    with pytest.raises(BadAnswer):
        for _ in range(100):
            parser.feed(b"x" * 4096)


@pytest.mark.parametrize("date", [b"2025-13-07 19:49", b"2025-02-30 19:49", b"07-Foo-2025 19:49"])
def test_an_impossible_time_is_no_time(date: bytes) -> None:
    assert apache(apache_row(b"a.mrc", b"1 ", date)).files == [ListedFile("a.mrc", 1, True, None, MINUTE_S)]


def test_a_file_without_a_stated_size_has_none() -> None:
    assert apache(apache_row(b"a.mrc", b"  - ")).files[0][:3] == ("a.mrc", None, False)


@pytest.mark.parametrize(
    ("exact", "shown"),
    [
        (0, "0"), (972, "972"), (973, "1.0K"), (1024, "1.0K"), (9 * 1024 + 972, "9.9K"), (9 * 1024 + 973, "10K"),
        (972 * 1024 + 511, "972K"), (973 * 1024, "1.0M"), (569_560_224, "543M"), (871_730_744, "831M"),
        (2**30, "1.0G"), (5 * 2**40, "5.0T"),
    ],
)  # fmt: skip
def test_sizes_round_as_apache_rounds_them(exact: int, shown: str) -> None:
    assert shown_size(exact) == shown
    assert rounds_to(f" {shown} ", exact)
    assert not rounds_to(shown, exact * 2 + 1)
    assert abs(apparent_size(exact) - exact) <= max(exact * 0.06, 0)


@pytest.mark.parametrize("piece", [1, 7, 100, 10**9])
def test_a_line_end_in_a_name_makes_no_row_disappear(piece: int) -> None:
    row = apache_row(b"line%0abreak.mrc", b"12 ").replace(b"shortened..&gt;", b"line\nbreak.mrc")
    listed = parse(APACHE_HEAD + apache_row(b"a.txt", b"650 ") + row + APACHE_TAIL, piece)
    assert {(file.name, file.bytes) for file in listed.files} == {("a.txt", 650), ("line%0Abreak.mrc", 12)}


def test_a_link_that_is_no_row_makes_the_listing_incomplete_and_pictures_that_are_links_do_not() -> None:
    picture = (
        apache_row(b"a.txt", b"650 ")
        .replace(b"<img", b'<a href="a.txt"><img')
        .replace(b'"></td>', b'"></a></td>', 1)
    )
    assert [file.name for file in apache(picture).files] == ["a.txt"]
    with pytest.raises(BadAnswer, match="cannot be read"):
        apache(apache_row(b"b.txt", b"650 ").replace(b"</a>", b"<b></a>"))

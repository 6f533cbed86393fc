"""Any listing is either read exactly or refused; never garbage, never a name that leaves its folder."""

from __future__ import annotations

import html
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from empiar_crawler.parse.autoindex import AutoindexParser, apparent_size, rounds_to, shown_size
from empiar_crawler.parse.ftp_lines import FtpListParser
from empiar_crawler.parse.listed import Listed
from empiar_crawler.parse.tree_json import read_tree
from empiar_schema.faults import BadAnswer
from empiar_schema.paths import bytes_from_text

NOW = 1_795_000_000
APACHE = (b"<html><head><title>Index of /x</title></head><body><table>\n", b"</table>\n</body></html>\n")
NGINX = (b'<html>\r\n<h1>Index of /</h1><pre><a href="../">../</a>\r\n', b"</pre></body>\r\n</html>\r\n")

#: Every name that a Unix file can have.
names = (
    st.binary(min_size=1, max_size=60)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in (b".", b".."))
)
lines_names = names.map(lambda raw: raw.replace(b"\n", b"_"))
sizes = st.integers(min_value=0, max_value=10**15)
entries = st.lists(st.tuples(names, sizes, st.booleans()), max_size=20)
line_entries = st.lists(st.tuples(lines_names, sizes, st.booleans()), max_size=20)
pieces = st.integers(min_value=1, max_value=200)


def _href(name: bytes, is_directory: bool) -> bytes:
    link = html.escape(quote(name, safe="!$&'()*+,;=@~"), quote=True).encode()
    return (b"./" if b":" in name else b"") + link + (b"/" if is_directory else b"")


def _apache(name: bytes, size: int, is_directory: bool) -> bytes:
    shown = "  - " if is_directory else f"{shown_size(size):>3} "
    return (
        b'<tr><td><a href="%b">x</a></td><td align="right">2025-02-07 19:49  </td><td align="right">%b</td></tr>\n'
        % (
            _href(name, is_directory),
            shown.encode(),
        )
    )


def _nginx(name: bytes, size: int, is_directory: bool) -> bytes:
    shown = b"-" if is_directory else b"%d" % size
    return b'<a href="%b">x</a>   07-Feb-2025 19:49  %b\r\n' % (_href(name, is_directory), shown)


def _unix(name: bytes, size: int, is_directory: bool) -> bytes:
    mode = b"drwxr-xr-x" if is_directory else b"-rw-r--r--"
    return b"%b    1 0        0        %d Nov 22 20:54 %b\r\n" % (mode, size, name)


def _facts(name: bytes, size: int, is_directory: bool) -> bytes:
    kind = b"type=dir;" if is_directory else b"type=file;size=%d;" % size
    return b"%bmodify=20200913122640; %b\r\n" % (kind, name)


def _feed(parser: AutoindexParser | FtpListParser, text: bytes, piece: int) -> Listed:
    whole = Listed()
    parts = [parser.feed(text[start : start + piece]) for start in range(0, len(text), piece)]
    for part in [*parts, parser.close() or Listed()]:
        whole.files += part.files
        whole.directories += part.directories
        whole.refused += part.refused
    return whole


def _names(listed: Listed) -> list[tuple[bytes, bool]]:
    found = [(bytes_from_text(file.name), False) for file in listed.files]
    return sorted(found + [(bytes_from_text(name), True) for name in listed.directories])


def _expected(rows: list[tuple[bytes, int, bool]]) -> list[tuple[bytes, bool]]:
    return sorted((name, is_directory) for name, _, is_directory in rows)


@given(entries, pieces)
def test_apache_pages_of_any_names_are_read_exactly(rows: list[tuple[bytes, int, bool]], piece: int) -> None:
    page = APACHE[0] + b"".join(_apache(*row) for row in rows) + APACHE[1]
    listed = _feed(AutoindexParser(), page, piece)
    assert _names(listed) == _expected(rows)
    sizes_by_row = [size for _, size, is_directory in rows if not is_directory]
    assert [file.bytes for file in listed.files] == [apparent_size(size) for size in sizes_by_row]
    assert listed.refused == []


@given(entries, pieces)
def test_nginx_pages_of_any_names_are_read_exactly(rows: list[tuple[bytes, int, bool]], piece: int) -> None:
    page = NGINX[0] + b"".join(_nginx(*row) for row in rows) + NGINX[1]
    listed = _feed(AutoindexParser(), page, piece)
    assert _names(listed) == _expected(rows)
    assert [file.bytes for file in listed.files] == [
        size for _, size, is_directory in rows if not is_directory
    ]


@given(line_entries, pieces)
def test_list_lines_of_any_names_are_read_exactly(rows: list[tuple[bytes, int, bool]], piece: int) -> None:
    listed = _feed(FtpListParser(facts=False, now=NOW), b"".join(_unix(*row) for row in rows), piece)
    assert _names(listed) == _expected(rows)
    assert [file.bytes for file in listed.files] == [
        size for _, size, is_directory in rows if not is_directory
    ]


@given(line_entries, pieces)
def test_mlsd_lines_of_any_names_are_read_exactly(rows: list[tuple[bytes, int, bool]], piece: int) -> None:
    listed = _feed(FtpListParser(facts=True, now=NOW), b"".join(_facts(*row) for row in rows), piece)
    assert _names(listed) == _expected(rows)
    assert [file.bytes for file in listed.files] == [
        size for _, size, is_directory in rows if not is_directory
    ]


def _safe(listed: Listed) -> bool:
    found = [bytes_from_text(name) for name in [*(f.name for f in listed.files), *listed.directories]]
    return all(raw not in (b"", b".", b"..") and b"/" not in raw and b"\0" not in raw for raw in found)


_fragments = st.lists(
    st.sampled_from(
        [
            b'<a href="', b'">', b"</a>", b"</td><td>", b"2025-02-07 19:49", b" 543M", b"-", b"\n", b"..", b"%2e%2e/",
            b"%2f", b"%00", b"&amp;", b"&#47;", b"&#x2e;", b"./", b"-rw-r--r--    1 0 0 5 Nov 22 20:54 ", b"drwxr-xr-x 2 0 0 5 Jan 1 2020 ",
            b"type=file;size=5; ", b"\r\n", b"/etc/passwd", b"\0", b"\xff", b"Index of", b"</html>", b" -> ",
        ]
    )
    | st.binary(max_size=10),
    max_size=40,
)  # fmt: skip


@given(_fragments, pieces)
def test_no_page_or_listing_breaks_the_parsers_or_leaves_its_folder(parts: list[bytes], piece: int) -> None:
    text = b"".join(parts)
    for parser in (
        AutoindexParser(),
        FtpListParser(facts=False, now=NOW),
        FtpListParser(facts=True, now=NOW),
    ):
        try:
            listed = _feed(parser, text, piece)
        except BadAnswer:
            continue
        assert _safe(listed)


@given(sizes, sizes)
def test_a_size_rounds_to_what_is_shown_of_it_and_two_that_show_alike_are_close(a: int, b: int) -> None:
    assert rounds_to(shown_size(a), a)
    assert abs(apparent_size(a) - a) <= 0.0525 * a
    if shown_size(a) == shown_size(b):
        assert apparent_size(a) == apparent_size(b)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "name", "text", "type", "size", "children", "x"]), inner, max_size=6
        )
    ),
    max_leaves=20,
)


@given(_json)
def test_any_json_is_a_tree_or_a_bad_answer(answer: object) -> None:
    import json

    try:
        nodes = read_tree(json.dumps(answer).encode())
    except BadAnswer:
        return
    assert nodes is None or all(node.name not in ("", ".", "..") and "/" not in node.name for node in nodes)

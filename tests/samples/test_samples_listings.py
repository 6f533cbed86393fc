"""The real listings replay through every lister unchanged, and the real pages say what they show."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from empiar_crawler.parse.autoindex import AutoindexParser, middle_of, rounds_to, shown_size
from empiar_crawler.parse.ftp_lines import FtpListParser
from empiar_crawler.parse.listed import Listed
from empiar_schema.files import ListedFile
from empiar_schema.paths import bytes_from_text

APACHE = (
    "<html>\n <head><title>Index of /x</title></head>\n <body>\n  <table>\n",
    "</table>\n</body></html>\n",
)
NGINX = (
    '<html>\r\n<h1>Index of /</h1><hr><pre><a href="../">../</a>\r\n',
    "</pre><hr></body>\r\n</html>\r\n",
)

#: One directory: names of its files with sizes (None where the sample has none), names of its sub-directories.
Directory = tuple[dict[str, int | None], set[str]]


def _directories(path: Path) -> dict[str, Directory]:
    found: dict[str, Directory] = {}
    with path.open(newline="", encoding="utf-8") as text:
        for row in csv.DictReader(text):
            folder, _, name = row["path"].rpartition("/")
            size = row.get("size") or row.get("exact_size")
            found.setdefault(folder, ({}, set()))[0][name] = int(size) if size else None
            while folder:
                parent, _, child = folder.rpartition("/")
                found.setdefault(parent, ({}, set()))[1].add(child)
                folder = parent
    return found


def _apache_page(directory: Directory) -> bytes:
    row = '<tr><td valign="top"><img src="/icons/unknown.gif" alt="[   ]"></td><td><a href="{}">{}</a></td><td align="right">2022-11-17 09:00  </td><td align="right">{:>3} </td><td>&nbsp;</td></tr>\n'
    files, folders = directory
    rows = [row.format(_apache_href(n), escape(n[:20]), shown_size(s or 0)) for n, s in files.items()]
    rows += [row.format(_apache_href(n) + "/", escape(n[:20]), " -") for n in folders]
    return (APACHE[0] + "".join(rows) + APACHE[1]).encode()


def _apache_href(name: str) -> str:
    return escape(quote(name, safe="!$&'()*+,;=:@~"), quote=True)


def _nginx_page(directory: Directory) -> bytes:
    files, folders = directory
    row = '<a href="{}">{}</a>        17-Nov-2022 09:00        {:>12}\r\n'
    rows = [row.format(quote(n), escape(n[:47]), s or 0) for n, s in files.items()]
    rows += [row.format(quote(n) + "/", escape(n[:47]), "-") for n in folders]
    return (NGINX[0] + "".join(rows) + NGINX[1]).encode()


def _vsftpd_lines(directory: Directory) -> bytes:
    files, folders = directory
    rows = [f"-rw-r--r--    1 ftp      ftp      {s or 0:>10} Nov 17  2022 {n}\r\n" for n, s in files.items()]
    rows += [f"drwxr-xr-x    2 ftp      ftp            4096 Nov 17  2022 {n}\r\n" for n in folders]
    return "".join(rows).encode()


def _by_page(text: bytes) -> Listed:
    parser = AutoindexParser()
    listed = parser.feed(text)
    parser.close()
    return listed


def _by_lines(text: bytes) -> Listed:
    parser = FtpListParser(facts=False, now=1_795_000_000)
    listed = parser.feed(text)
    parser.close()
    return listed


@dataclass(frozen=True, slots=True)
class Lister:
    render: Callable[[Directory], bytes]
    parse: Callable[[bytes], Listed]
    exact: bool


LISTERS = {
    "apache": Lister(_apache_page, _by_page, exact=False),
    "nginx": Lister(_nginx_page, _by_page, exact=True),
    "vsftpd": Lister(_vsftpd_lines, _by_lines, exact=True),
}


@pytest.mark.parametrize("lister", LISTERS.values(), ids=LISTERS)
def test_every_sample_listing_replays_unchanged(samples: Path, lister: Lister) -> None:
    paths = 0
    for sample in sorted((samples / "listings").glob("[0-9]*.csv")):
        for files, folders in _directories(sample).values():
            listed = lister.parse(lister.render((files, folders)))
            assert set(listed.directories) == folders
            assert listed.refused == []
            assert {bytes_from_text(file.name).decode() for file in listed.files} == files.keys()
            for file in listed.files:
                truth = files[bytes_from_text(file.name).decode()] or 0
                assert _agrees(file, truth, exact=lister.exact), (sample.name, file, truth)
            paths += len(files)
    assert paths > 10_000


def _agrees(file: ListedFile, truth: int, *, exact: bool) -> bool:
    if exact or file.bytes_exact:
        return file.bytes == truth and file.bytes_exact
    shown = shown_size(truth)
    return rounds_to(shown, truth) and file.bytes == middle_of(shown)


def test_the_real_pages_say_what_they_show(samples: Path) -> None:
    pages = sorted((samples / "autoindex").glob("*.html"))
    assert pages
    for page in pages:
        text = page.read_bytes()
        listed = _by_page(text)
        # The oracle reads the page another way: row by row, cell by cell.
        shown: dict[str, str] = {}
        for row in text.decode().split("<tr>")[1:]:
            cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
            if len(cells) == 5 and "[PARENTDIR]" not in row:
                link = re.search(r'href="([^"]*)"', cells[1])
                assert link is not None
                shown[unquote(unescape(link.group(1)))] = cells[3].strip()
        assert shown
        folders = {name.rstrip("/") for name, size in shown.items() if size == "-"}
        assert set(listed.directories) == folders
        assert len(listed.files) == len(shown) - len(folders)
        for file in listed.files:
            size = shown[bytes_from_text(file.name).decode()]
            assert file.bytes_exact == size.isdigit()
            assert file.bytes == (int(size) if file.bytes_exact else middle_of(size))
            assert file.modified_at is not None


def test_sizes_that_the_real_server_rounded_agree_with_our_rule(samples: Path) -> None:
    with (samples / "listings" / "10318.rounded.csv").open(newline="") as text:
        pairs = [(row["listed_size"], row["exact_size"]) for row in csv.DictReader(text)]
    known = [(shown, int(exact)) for shown, exact in pairs if exact]
    assert known
    for shown, exact in [*known, ("543M", 569_560_224)]:
        assert rounds_to(shown, exact)

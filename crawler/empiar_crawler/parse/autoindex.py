"""Directory pages of Apache (table and plain) and nginx, read as they stream.

A million rows are read with one regular expression over blocks of bytes: an HTML parser costs fifty times as much.
Names come from the links, never from the texts, which the servers shorten.
"""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from urllib.parse import unquote_to_bytes

from empiar_crawler.parse.listed import Listed, plain_name
from empiar_schema.faults import BadAnswer, HostileName
from empiar_schema.files import MINUTE_S, ListedFile
from empiar_schema.paths import checked_name

#: A row longer than this is no row (a name has at most 255 bytes, three characters each in a link).
_LONGEST_ROW_BYTES = 64 * 1024

_GAP = rb"(?:</?td[^>\n]*>|[ \t])*"
_ROW = re.compile(
    rb'<a href="([^"\n]*)"[^>\n]*>[^<]*</a>'
    rb"%b([0-9A-Za-z-]{10,11} [0-9]{2}:[0-9]{2}|&nbsp;)?"
    rb"%b(?:(-|[0-9]+(?:\.[0-9]+)?[KMGTPE]?)(?=[\s<]|$))?" % (_GAP, _GAP)
)
_LINK: Final = b'<a href="'
#: A link around a picture (Apache's IconsAreLinks) says nothing that the one around the name does not.
_PICTURE = re.compile(rb'<a href="[^"\n]*"[^>\n]*><img')
_ELSEWHERE = re.compile(rb"[?/#]|\.\.(?:/|$)|[A-Za-z][A-Za-z0-9+.-]*:")
_IS_INDEX = re.compile(rb'>\s*Index of|Parent Directory|href="\.\./"', re.IGNORECASE)
_IS_END = re.compile(rb"</(?:body|html)>", re.IGNORECASE)
_MONTHS: Final = {
    name: number
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1)
}
_POWERS: Final = {unit: power for power, unit in enumerate("KMGTPE", start=1)}


class AutoindexParser:
    """Rows of one directory page: `feed` it the page in pieces of any size, then `close` it."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_index = False
        self._ended = False
        # Dates and rounded sizes repeat: a page of a million rows has a few thousand of them.
        self._times: dict[bytes, int | None] = {}
        self._sizes: dict[bytes, int | None] = {}

    def feed(self, piece: bytes) -> Listed:
        """The rows that this piece completes.

        Raises:
            BadAnswer: a row that cannot be read; the listing would not be complete.
        """
        page = self._rest + piece
        stop = page.rfind(b"\n") + 1
        last = page.rfind(_LINK, 0, stop)
        if last >= 0 and page.find(b"</a>", last, stop) < 0:
            stop = last  # a line end within a name
        self._rest = page[stop:]
        if len(self._rest) > _LONGEST_ROW_BYTES:
            raise BadAnswer("a directory page with an endless row")
        return self._read(page[:stop])

    def close(self) -> Listed:
        """The last rows.

        Raises:
            BadAnswer: the page is cut short, or is no directory page.
        """
        listed = self._read(self._rest)
        if not self._is_index:
            raise BadAnswer("the answer is no directory page", hint="is the archive's address right?")
        if not self._ended:
            raise BadAnswer("the directory page is cut short")
        return listed

    def _read(self, block: bytes) -> Listed:
        listed = Listed()
        self._is_index = self._is_index or _IS_INDEX.search(block) is not None
        self._ended = self._ended or _IS_END.search(block) is not None
        rows = _ROW.findall(block)
        unread = block.count(_LINK) - len(rows)
        if unread and unread != len(_PICTURE.findall(block)):
            raise BadAnswer("a directory page with a row that cannot be read")
        for href, date, size in rows:
            if (name := plain_name(href)) is None:
                if _ELSEWHERE.match(href):
                    continue
                try:
                    name, is_directory = _name_of(href)
                except HostileName:
                    listed.refused.append(href)
                    continue
                if is_directory:
                    listed.directories.append(name)
                    continue
            listed.files.append(ListedFile(name, *self._size(size, href), self._time(date), MINUTE_S))
        return listed

    def _time(self, date: bytes) -> int | None:
        if date not in self._times:
            self._times[date] = _time_of(date)
        return self._times[date]

    def _size(self, size: bytes, href: bytes) -> tuple[int | None, bool]:
        if size.isdigit():
            return int(size), True
        if size not in self._sizes:
            if not size:
                raise BadAnswer(f"a row of the directory page cannot be read: {href[:80]!r}")
            self._sizes[size] = None if size == b"-" else middle_of(size.decode("ascii"))
        return self._sizes[size], False


def _name_of(href: bytes) -> tuple[str, bool]:
    """The stored text of the name that a link leads to, and whether it is a directory.

    Raises:
        HostileName: no file can have the name, or the link has a query or a fragment.
    """
    if b"&" in href:
        text = html.unescape(href.decode("utf-8", "surrogateescape"))
        href = text.encode("utf-8", "surrogateescape")
    if b"?" in href or b"#" in href:
        raise HostileName("a link with a query")
    href = href.removeprefix(b"./")  # Apache's way to write a name that holds a colon
    is_directory = href.endswith(b"/")
    return checked_name(unquote_to_bytes(href[:-1] if is_directory else href)), is_directory


def _time_of(date: bytes) -> int | None:
    """``2025-02-07 19:49`` or ``07-Feb-2025 19:49``, taken as UTC (the pages name no zone); None for a blank or impossible one."""
    text = re.split(rb"[-: ]", date)
    try:
        if len(text) != 5:
            return None
        first, second, third, hour, minute = text
        if second in _MONTHS:
            day, month, year = int(first), _MONTHS[second], int(third)
        else:
            year, month, day = int(first), int(second), int(third)
        return int(datetime(year, month, day, int(hour), int(minute), tzinfo=UTC).timestamp())
    except ValueError:
        return None


def middle_of(shown: str) -> int:
    """``543M`` → bytes in the middle of what is shown so."""
    return int(Decimal(shown[:-1]) * 1024 ** _POWERS[shown[-1]])


def shown_size(exact: int) -> str:
    """A size as Apache shows it (``apr_strfsize``): plain below 973, one decimal below ten of a unit, base 1024."""
    if exact < 973:
        return str(exact)
    for unit in _POWERS:
        exact, remain = divmod(exact, 1024)
        if exact >= 973:
            continue
        if exact < 9 or (exact == 9 and remain < 973):
            tenths = (remain * 5 + 256) // 512
            whole = exact + 1 if tenths >= 10 else exact
            return f"{whole}.{tenths % 10}{unit}"
        return f"{exact + (remain >= 512)}{unit}"
    raise OverflowError("no file is as large as 973 exabytes")


def apparent_size(exact: int) -> int:
    """What `AutoindexParser` makes of Apache's text for a file of `exact` bytes."""
    shown = shown_size(exact)
    return int(shown) if shown.isdigit() else middle_of(shown)


def rounds_to(shown: str, exact: int) -> bool:
    """Whether Apache's page shows a file of `exact` bytes as `shown`."""
    return shown_size(exact) == shown.strip()

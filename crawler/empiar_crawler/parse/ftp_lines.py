"""Listings over FTP: lines of Unix ``ls -l`` (LIST) and facts (MLSD, RFC 3659), read as bytes as they stream.

Exactly one blank stands between a date and a name, so blanks at either end of a name are the name's own.
A line that cannot be read makes the listing incomplete: it may be half of a name with a line end in it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from empiar_crawler.parse.listed import Listed, stored_name
from empiar_schema.faults import BadAnswer, HostileName
from empiar_schema.files import DAY_S, MINUTE_S, ListedFile

_LONGEST_LINE_BYTES = 64 * 1024
_MONTHS: Final = {
    name: number
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1)
}
_UNIX = re.compile(
    rb"^([a-zA-Z-])[rwxsStT-]{9}[.+@]? +[0-9]+ +(?:[^ \n]+ +){1,2}([0-9]{1,18}) "
    rb"([A-Z][a-z]{2} +[0-9]{1,2} +(?:[0-9]{1,2}:[0-9]{2}|[0-9]{4})) ([^\n]*)$",
    re.MULTILINE,
)
_FACTS = re.compile(rb"^([^ \n]*;) ([^\n]*)$", re.MULTILINE)
_TOTAL = re.compile(rb"total [0-9]+")


class FtpListParser:
    """Rows of one directory: `feed` it the listing in pieces of any size, then `close` it.

    `facts` says that the lines come from MLSD; `now` (epoch seconds) is needed to guess the year that ``ls`` leaves out.
    """

    def __init__(self, *, facts: bool, now: int) -> None:
        self._facts = facts
        self._now = now
        self._rest = b""
        self._times: dict[bytes, tuple[int | None, int]] = {}

    def feed(self, piece: bytes) -> Listed:
        """The rows that this piece completes.

        Raises:
            BadAnswer: a line that cannot be read.
        """
        block, newline, self._rest = (self._rest + piece).rpartition(b"\n")
        if len(self._rest) > _LONGEST_LINE_BYTES:
            raise BadAnswer("an FTP listing with an endless line")
        listed = Listed()
        if newline:
            self._read((block + newline).replace(b"\r\n", b"\n"), listed)
        return listed

    def close(self) -> None:
        """The listing ended where a line ended.

        Raises:
            BadAnswer: it is cut within a line.
        """
        if self._rest:
            raise BadAnswer(f"an FTP listing that is cut within a line: {self._rest[:80]!r}")

    def _read(self, block: bytes, listed: Listed) -> None:
        rows = (_FACTS if self._facts else _UNIX).findall(block)
        if len(rows) != block.count(b"\n"):
            _raise_if_unread(block, _FACTS if self._facts else _UNIX)
        for row in rows:
            try:
                if self._facts:
                    _add_facts(row, listed)
                else:
                    self._add_unix(row, listed)
            except HostileName:
                listed.refused.append(row[-1])

    def _add_unix(self, row: tuple[bytes, bytes, bytes, bytes], listed: Listed) -> None:
        kind, size, date, name = row
        if kind == b"-":
            if date not in self._times:
                self._times[date] = time_from_ls(date, now=self._now)
            modified_at, unit_s = self._times[date]
            listed.files.append(ListedFile(stored_name(name), int(size), True, modified_at, unit_s))
        elif name in (b".", b".."):
            pass
        elif kind == b"d":
            listed.directories.append(stored_name(name))
        elif kind == b"l":
            listed.links.append(stored_name(name.split(b" -> ")[0]))
        else:
            listed.refused.append(name)


def _raise_if_unread(block: bytes, pattern: re.Pattern[bytes]) -> None:
    for line in block.split(b"\n"):
        if line and not pattern.match(line) and not _TOTAL.fullmatch(line):
            raise BadAnswer(f"a line of the FTP listing cannot be read: {line[:120]!r}")


def _add_facts(row: tuple[bytes, bytes], listed: Listed) -> None:
    """One line of MLSD. Facts may come in any order and case; ``cdir`` and ``pdir`` are the directory itself and its parent."""
    text, name = row
    facts = {
        key.lower(): value for key, _, value in (fact.partition(b"=") for fact in text.split(b";") if fact)
    }
    kind = facts.get(b"type", b"").lower()
    if kind == b"file":
        size = facts.get(b"size", b"")
        count = int(size) if re.fullmatch(rb"[0-9]{1,18}", size) else None
        modified_at = _time_from_fact(facts.get(b"modify", b""))
        listed.files.append(ListedFile(stored_name(name), count, count is not None, modified_at, 1))
    elif kind in (b"cdir", b"pdir"):
        pass
    elif kind == b"dir":
        if name not in (b".", b".."):
            listed.directories.append(stored_name(name))
    elif kind.startswith((b"os.unix=slink", b"os.unix=symlink")):
        listed.links.append(stored_name(name))
    else:
        listed.refused.append(name)


def _time_from_fact(value: bytes) -> int | None:
    if re.fullmatch(rb"[0-9]{14}(?:\.[0-9]+)?", value) is None:
        return None
    return _epoch(*(int(value[a:b]) for a, b in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))))


def time_from_ls(date: bytes, *, now: int) -> tuple[int | None, int]:
    """Epoch seconds and grain of ``Nov 22 20:29`` (no year: the latest one that is not in the future) or ``Jan  1  2020`` (the day only).

    The zone is unknown and taken as UTC, so "not in the future" allows a day. None where there is no such day.
    """
    month_name, day_text, last = date.split()
    month, day = _MONTHS.get(month_name, 0), int(day_text)
    if b":" not in last:
        return _epoch(int(last), month, day), DAY_S
    hour, minute = (int(part) for part in last.split(b":"))
    this_year = datetime.fromtimestamp(now, UTC).year
    for year in range(this_year + 1, this_year - 9, -1):  # 29 February comes every eight years at least
        moment = _epoch(year, month, day, hour, minute)
        if moment is not None and moment <= now + DAY_S:
            return moment, MINUTE_S
    return None, MINUTE_S


def _epoch(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int | None:
    try:
        return int(datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp())
    except ValueError:
        return None

"""Plain texts with a row a line: how they are decoded, bounded, and named when they are wrong."""

from __future__ import annotations

from collections.abc import Iterator

from empiar_schema.faults import BadLabels
from empiar_schema.paths import bytes_from_text, text_from_bytes


def text_lines(raw: bytes, what: str) -> Iterator[tuple[int, str]]:
    """Number (from 1) and stored text of each line that is not blank; a byte order mark and line ends are gone.

    Tabs within a line stay tabs, so that columns can be told apart; any other byte follows the rule of stored texts.

    Raises:
        BadLabels: the text is binary, or UTF-16.
    """
    if b"\0" in raw:
        raise BadLabels(
            f"{what} holds NUL bytes: it is binary, or text in UTF-16", hint="save it as plain text"
        )
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if line.strip():
            yield number, "\t".join(text_from_bytes(cell) for cell in line.split(b"\t"))


def name_bytes(name: str, what: str) -> bytes:
    """The bytes of a name for a format whose rows are lines and whose columns are set apart by tabs.

    Raises:
        BadLabels: a tab or line end in the name would break the row.
    """
    raw = bytes_from_text(name)
    if any(byte in raw for byte in b"\t\r\n\0"):
        raise BadLabels(
            f"{what} cannot hold a tab or line end within a name: {name[:80]!r}", hint="rename that file"
        )
    return raw

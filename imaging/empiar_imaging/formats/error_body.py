"""Error messages in the place of content: answered with HTTP 200 and often of the right length.

Both kinds were met in copies of this archive: a whole body that is an error page, and a storage layer's XML
(``ConnectionClosedException``) written into the middle of an MRC file when the connection behind the web
server broke. Float data contain ``<?xml`` by chance, so a hit counts only where the text goes on: at least
nine of ten of the 64 bytes from it must be printable.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

from empiar_imaging.formats.evidence import Evidence, FileBytes
from empiar_schema.paths import suffix_of

#: How much of a file's beginning and end is looked at on arrival.
EDGE_BYTES: Final = 64 * 1024
WINDOW_BYTES: Final = 64
PRINTABLE_SHARE: Final = 0.9
#: Suffixes whose content never begins as markup or JSON.
BINARY_SUFFIXES: Final = frozenset({
    ".mrc", ".mrcs", ".st", ".ali", ".rec", ".map", ".preali", ".tif", ".tiff", ".eer", ".gain",
    ".dm3", ".dm4", ".img", ".hed", ".spi", ".em", ".hdf", ".h5", ".jpg", ".jpeg", ".png", ".cs",
    ".npy", ".gz", ".bz2", ".zst", ".xz", ".zip", ".tar", ".tpx3", ".raw", ".dat",
})  # fmt: skip
_TABLE_SUFFIXES: Final = frozenset({".star", ".box", ".cbox", ".mdoc", ".coord"})
#: Formats that may hold well-meant XML inside (OME-TIFF's description, EER's metadata, plain archives).
_HOLDS_XML: Final = frozenset({
    ".tif", ".tiff", ".eer", ".gain", ".h5", ".hdf", ".zip", ".tar", ".png", ".jpg", ".jpeg",
    ".dm3", ".dm4", ".cs", ".raw", ".dat",
})  # fmt: skip

_TOO_MANY: Final = 16
_TEXT_BYTES: Final = 4096
_CONTEXT_BYTES: Final = 512
_MARKUP_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml|<!doctype\s+html|<html|<error>|\{\s*\")", re.IGNORECASE
)
_ERROR_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>\s*)?"
    rb"(?:<Error>\s*<(?:Code|Message)>|<(?:!doctype\s|html)[^\0]{0,400}<title>\s*(?:[45]\d\d\b|error))",
    re.IGNORECASE,
)
_STORAGE_ERROR = re.compile(rb"<\?xml[^>]{0,200}\?>\s*<Error>\s*<(?:Code|Message)>")
_ERROR_WORDS = re.compile(
    rb"<Error>|<Code>|Exception\b|NoSuchKey|AccessDenied|InternalError|SlowDown|<title>\s*[45]\d\d\b",
    re.IGNORECASE,
)
_MARKERS = re.compile(rb"<(?:\?xml|Error>)")
_PRINTABLE: Final = bytes(range(32, 127)) + b"\t\n\r"


@lru_cache(maxsize=64)
def is_binary(name: str) -> bool:
    """Whether a file of this name holds data in which text has no place."""
    suffix = suffix_of(name)
    return suffix in BINARY_SUFFIXES or f".{suffix.rpartition('.')[2]}" in BINARY_SUFFIXES


def printable_share(raw: bytes) -> float:
    """The share of printable ASCII bytes and line ends; 0 of nothing."""
    return 1 - len(raw.translate(None, _PRINTABLE)) / len(raw) if raw else 0.0


def whole_body(head: bytes, *, name: str) -> Evidence | None:
    """The finding that the file is an error message from its first byte on.

    Names of binary formats and of coordinate tables may not begin as markup or JSON at all; any other file
    (EPU's ``.dm`` is XML) must begin as a storage error or as an HTML page titled with a status of 400 or more.
    """
    strict = is_binary(name) or suffix_of(name) in _TABLE_SUFFIXES
    start = (_MARKUP_START if strict else _ERROR_START).match(head)
    if start is None or printable_share(head[:_CONTEXT_BYTES]) < PRINTABLE_SHARE:
        return None
    return _evidence(head, start.start(), 0)


class Scanner:
    """Looks for error text in a file that passes by in pieces, each byte once; `findings` grows as they come."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kept = b""
        self._offset = 0
        self._next = 0
        self.findings: list[Evidence] = []

    def feed(self, data: bytes | memoryview) -> None:
        """`data` follows what came before; the buffer may be reused afterwards."""
        self._search(self._kept + data, last=False)

    def end(self) -> None:
        """The file is over: text cut off by its end counts too."""
        self._search(self._kept, last=True)

    def _search(self, data: bytes, *, last: bool) -> None:
        # A hit near the end of a piece is judged with the next one, which brings the bytes behind it.
        decided = len(data) if last else len(data) - _TEXT_BYTES
        for at in _hits(data):
            if at >= decided or len(self.findings) >= _TOO_MANY:
                break
            if self._offset + at >= self._next and _is_error_text(data, at, name=self._name):
                found = _evidence(data, at, self._offset)
                self._next = found.start + found.length
                self.findings.append(found)
        if decided > 0:
            self._kept = b"" if last else data[decided:]
            self._offset += decided
        else:
            self._kept = data


def in_edges(data: FileBytes, *, name: str) -> tuple[Evidence, ...]:
    """Error text in the first and last 64 KiB: what an arrival can afford to look at."""
    head = data.read(0, EDGE_BYTES)
    whole = whole_body(head, name=name)
    if whole is not None:
        return (whole,)
    found = _first(head, 0, name=name)
    if not found and data.size > len(head):
        start = max(len(head), data.size - EDGE_BYTES)
        found = _first(data.read(start, EDGE_BYTES), start, name=name)
    return found


def scan(path: Path, *, name: str | None = None, piece_bytes: int = 1024 * 1024) -> tuple[Evidence, ...]:
    """Error text anywhere in the file, at most 16 findings; every byte is read.

    Raises:
        OSError: the file could not be read.
    """
    name = path.name if name is None else name
    scanner = Scanner(name)
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        whole = whole_body(os.pread(fd, EDGE_BYTES, 0), name=name)
        if whole is not None:
            return (whole,)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while piece := file.read(piece_bytes):
            scanner.feed(piece)
        # It will not be read again soon: leave the page cache to those who work.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    scanner.end()
    return tuple(scanner.findings)


def _first(data: bytes, offset: int, *, name: str) -> tuple[Evidence, ...]:
    for at in _hits(data):
        if _is_error_text(data, at, name=name):
            return (_evidence(data, at, offset),)
    return ()


def _hits(data: bytes) -> list[int]:
    # One pass for both markers: two calls of bytes.find take twice as long.
    return [match.start() for match in _MARKERS.finditer(data)]


def _is_error_text(data: bytes, at: int, *, name: str) -> bool:
    if not is_binary(name):
        # Text may quote markup, and be markup itself; a storage error begins in a way that nothing else does.
        return _STORAGE_ERROR.match(data, at) is not None
    needs_word = f".{suffix_of(name).rpartition('.')[2]}" in _HOLDS_XML
    window = data[at : at + WINDOW_BYTES]
    if printable_share(window) < PRINTABLE_SHARE:
        return False
    # Pixels of one byte can all be printable; an XML declaration without a version is not one.
    if data.startswith(b"<?xml", at) and b"version" not in window:
        return False
    return not needs_word or _ERROR_WORDS.search(data, at, at + _CONTEXT_BYTES) is not None


def _evidence(data: bytes, at: int, offset: int) -> Evidence:
    text = data[at : at + _TEXT_BYTES]
    broken = text.translate(bytes(0 if b in _PRINTABLE else 1 for b in range(256))).find(1)
    length = broken if broken >= 0 else len(text)
    shown = text[: min(length, 160)].decode("ascii", "replace")
    return Evidence(
        "body.error_text", f"at byte {offset + at}: {' '.join(shown.split())}", offset + at, max(length, 1)
    )

"""Names as the archive gives them: bytes outside, text in the catalogue, by one rule.

A Unix name is any run of bytes without ``/`` and NUL. The catalogue, JSON and a terminal hold text.
The rule, everywhere: **a stored name is the UTF-8 text of its bytes; bytes that are not valid UTF-8,
control characters, and a percent sign that stands before two upper-case hexadecimal digits are written
``%XX``.** The rule is a bijection between all names and their stored texts, so a name survives byte for
byte, and ordinary names, ``50%.mrc`` included, read as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from empiar_schema.faults import HostileName

#: Longest name and longest path, in bytes, that Linux file systems take (``NAME_MAX``, ``PATH_MAX`` less
#: room for the mirror's own root).
NAME_MAX_BYTES = 255
PATH_MAX_BYTES = 3500
#: Last suffixes that leave the one before them in force: ``.mrc.bz2``.
COMPRESSORS = frozenset({"gz", "bz2", "zst", "xz"})

_ESCAPED = re.compile(rb"%([0-9A-F]{2})")
_AMBIGUOUS_PERCENT = re.compile(r"%(?=[0-9A-F]{2})")
_NOT_PLAIN = re.compile(rb"[\x00-\x1f\x7f-\xff]|%[0-9A-F]{2}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def text_from_bytes(raw: bytes) -> str:
    """The stored text of a name or path given as bytes (``/`` stays what it is)."""
    if _NOT_PLAIN.search(raw) is None:
        return raw.decode("ascii")  # nearly all names; a listing can hold a million
    text = raw.decode("utf-8", "surrogateescape")
    text = _AMBIGUOUS_PERCENT.sub("%25", text)
    text = _CONTROL.sub(lambda m: _percent(m.group().encode()), text)
    if any("\udc80" <= c <= "\udcff" for c in text):
        text = "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in text)
    return text


def bytes_from_text(text: str) -> bytes:
    """The bytes that a stored text stands for; the inverse of `text_from_bytes`.

    Python's own stand-ins for bytes that are no UTF-8 (in command-line arguments) are taken for those bytes.

    Raises:
        HostileName: the text holds surrogates that stand for no byte, so no name on any server is meant.
    """
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise HostileName(f"no file can have this name: {text[:80]!r}") from error
    return _ESCAPED.sub(lambda m: bytes([int(m.group(1), 16)]), raw)


def _percent(raw: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in raw)


def checked_name(raw: bytes) -> str:
    """The stored text of one path component received from the network.

    Raises:
        HostileName: the name is empty, ``.``, ``..``, or holds ``/`` or NUL, so that no file of that name
            can exist or joining it would leave its folder.
    """
    if raw in (b"", b".", b"..") or b"/" in raw or b"\0" in raw:
        raise HostileName(f"the archive lists a name that no file can have: {raw[:80]!r}")
    return text_from_bytes(raw)


@dataclass(frozen=True, slots=True, order=True)
class RemotePath:
    """A file of an entry: ``10017``, ``data/micrographs``, ``a.mrc`` (stored texts, no slash at the ends).

    Build it with `parse` or from parts that went through `checked_name`; then it cannot leave its entry.
    """

    empiar_id: int
    directory: str
    name: str

    @classmethod
    def parse(cls, empiar_id: int, path: str) -> RemotePath:
        """The path of a stored text such as ``data/a.mrc``, in its one spelling (``%41`` becomes ``A``).

        Raises:
            HostileName: a component is empty, ``.``, ``..``, or decodes to ``/`` or NUL.
        """
        parts = [checked_name(bytes_from_text(part)) for part in path.split("/")]
        return cls(empiar_id, "/".join(parts[:-1]), parts[-1])

    @classmethod
    def from_bytes(cls, empiar_id: int, path: bytes) -> RemotePath:
        """The path whose bytes are these.

        Raises:
            HostileName: as in `parse`.
        """
        parts = [checked_name(part) for part in path.split(b"/")]
        return cls(empiar_id, "/".join(parts[:-1]), parts[-1])

    @property
    def path(self) -> str:
        """The stored text below the entry: ``data/micrographs/a.mrc``."""
        return f"{self.directory}/{self.name}" if self.directory else self.name

    @property
    def raw(self) -> bytes:
        """The bytes of `path`, as they stand on disk and on the servers."""
        return bytes_from_text(self.path)

    @property
    def url_path(self) -> str:
        """``10017/data/a%20b.mrc``: percent-encoded for a URL, every byte exact."""
        return f"{self.empiar_id}/{quote(self.raw, safe='/')}"

    @property
    def fits_file_system(self) -> bool:
        """False where a component or the whole is longer than Linux allows."""
        raw = self.raw
        return len(raw) <= PATH_MAX_BYTES and all(len(p) <= NAME_MAX_BYTES for p in raw.split(b"/"))

    def __str__(self) -> str:
        return f"{self.empiar_id}/{self.path}"


def suffix_of(name: str) -> str:
    """The suffix in lower case, compression included: ``.mrc``, ``.tiff.bz2``, or ``""``."""
    lower = name.lower()
    stem, dot, last = lower.rpartition(".")
    if not dot or not stem or not last:
        return ""
    if last in COMPRESSORS:
        inner, inner_dot, inner_last = stem.rpartition(".")
        if inner and inner_dot and len(inner_last) <= 5:
            return f".{inner_last}.{last}"
    return f".{last}"


_ID = re.compile(r"(?:EMPIAR-)?0*([1-9][0-9]{0,7})", re.IGNORECASE)


def parse_empiar_id(text: str) -> int:
    """``10017`` or ``EMPIAR-10017`` → 10017.

    Raises:
        ValueError: it is neither.
    """
    match = _ID.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an EMPIAR id; write 10017 or EMPIAR-10017")
    return int(match.group(1))


def accession(empiar_id: int) -> str:
    """10017 → ``EMPIAR-10017``."""
    return f"EMPIAR-{empiar_id}"

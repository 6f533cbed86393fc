"""How pages write numbers, times and addresses (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from empiar_schema.paths import bytes_from_text
from empiar_schema.sizes import format_bytes
from empiar_schema.times import iso

#: Longest stretch of a text that is shown in a list.
_SHORT: Final = 240
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))


def size(count: float | None) -> str:
    """``1.5 KiB``; a dash where nothing is known."""
    return "–" if count is None else format_bytes(count).replace(" ", "\N{NO-BREAK SPACE}")


def number(count: float | None) -> str:
    """``1,234``; a dash where nothing is known."""
    return "–" if count is None else f"{count:,}"


def rate(bytes_per_s: float | None) -> str:
    """``1.5 MiB/s``; a dash where nothing moves."""
    return f"{size(bytes_per_s)}/s" if bytes_per_s else "–"


def duration(seconds: float | None) -> str:
    """``3 d``, ``2 h``, ``5 min``, ``12 s``; a dash where nothing is known."""
    if seconds is None:
        return "–"
    for length, unit in _UNITS:
        if seconds >= 1.5 * length:
            return f"{round(seconds / length):,}\N{NO-BREAK SPACE}{unit}"
    return f"{max(0, round(seconds))}\N{NO-BREAK SPACE}s"


def moment(when: str | float | None) -> str:
    """``2026-01-01 12:00 UTC``, of epoch seconds or of ISO 8601."""
    text = when if isinstance(when, str) else iso(when)
    return "–" if not text else text[:16].replace("T", " ") + (" UTC" if len(text) > 10 else "")


def pieces(sentence: str) -> list[tuple[str, bool]]:
    """A sentence of ours in pieces, and whether each is something to type, which sentences have between backticks."""
    texts = sentence.split("`")
    if len(texts) % 2 == 0:
        return [(sentence, False)]
    return [(text, at % 2 == 1) for at, text in enumerate(texts) if text]


def share(part: float | None, whole: float | None) -> int:
    """Per cent, rounded down, so that 100 means all."""
    return 0 if not part or not whole else min(100, int(100 * part / whole))


def short(text: str | None) -> str:
    """The beginning of a text that may be very long."""
    text = text or ""
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"


def address(path: str, query: Mapping[str, object] | None = None) -> str:
    """A link of these pages: `path` as it is, what is empty in `query` left out."""
    kept = {key: value for key, value in (query or {}).items() if value not in (None, "", 0)}
    return f"{path}?{urlencode(kept, errors='replace')}" if kept else path


def part(text: str) -> str:
    """`text` as one component of a path."""
    return quote(text, safe="", errors="replace")


def archive_url(base: str, empiar_id: int) -> str:
    """The entry's page at the archive."""
    return f"{base}/EMPIAR-{int(empiar_id)}/"


def is_emdb(accession: object) -> bool:
    """Whether EMDB can have a page for this."""
    return isinstance(accession, str) and re.fullmatch(r"EMD-[0-9]{1,9}", accession) is not None


def plain_name(text: str) -> str:
    """A stored name as it stands on disk, where that can be shown."""
    try:
        return bytes_from_text(text).decode()
    except ValueError:
        return text


FILTERS: Final = {
    "size": size, "number": number, "rate": rate, "duration": duration, "moment": moment, "short": short, "part": part,
    "pieces": pieces,
}  # fmt: skip

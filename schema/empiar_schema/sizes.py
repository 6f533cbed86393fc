"""Sizes and durations as people write them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_DECIMAL: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
_BINARY: Final = {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "PIB": 2**50}
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
#: SQLite's largest integer.
_MAX_INTEGER: Final = 2**63 - 1
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def parse_size(value: object) -> object:
    """``500MB`` (decimal) or ``2TiB`` (binary) → bytes; numbers pass through.

    Raises:
        ValueError: the text is no size.
    """
    if not isinstance(value, str):
        return value
    match = _QUANTITY.fullmatch(value.strip())
    units = _DECIMAL | _BINARY
    if match is None or match.group(2).upper() not in units:
        raise ValueError(f"{value!r} is not a size; write 500MB (decimal) or 2TiB (binary)")
    return int(Decimal(match.group(1)) * units[match.group(2).upper()])


def parse_duration(value: object) -> object:
    """``90s``, ``6h``, ``7d`` → seconds; numbers pass through.

    Raises:
        ValueError: the text is no duration.
    """
    if not isinstance(value, str):
        return value
    match = _QUANTITY.fullmatch(value.strip())
    if match is None or (match.group(2) and match.group(2) not in _SECONDS):
        raise ValueError(f"{value!r} is not a duration; write 90s, 6h or 7d")
    return float(match.group(1)) * _SECONDS[match.group(2) or "s"]


def parse_dataset_size(text: str | None) -> int | None:
    """EMPIAR's ``"305.5 GB"`` → bytes, base 1024; None where the text states no size.

    The unit is binary whatever its letters say: EMPIAR-10988's files add up to 305.456 GiB, and its API
    says ``305.5 GB``. One decimal is given, so the value is right to half a tenth of its unit. More than SQLite's
    integers hold is no size.
    """
    if text is None:
        return None
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return None
    unit = match.group(2).upper() or "B"
    powers = {"B": 0, "BYTES": 0, "KB": 1, "MB": 2, "GB": 3, "TB": 4, "PB": 5}
    power = powers.get(unit.replace("IB", "B"))
    if power is None:
        return None
    size = Decimal(match.group(1)) * 1024**power
    return int(size) if size <= _MAX_INTEGER else None


def format_bytes(count: float) -> str:
    """1536 → ``1.5 KiB``; for people, binary units, three digits (four from 1000 to 1023)."""
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while len(units) > 1 and abs(count) >= 1023.5:
        count /= 1024
        units.pop(0)
    digits = f"{count:.3g}" if abs(count) < 999.5 and units[0] != "B" else f"{count:.0f}"
    return f"{digits} {units[0]}"

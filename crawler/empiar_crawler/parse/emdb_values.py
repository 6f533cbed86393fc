"""Values of EMDB's JSON, read tolerantly.

EMDB writes the XML of its entries as JSON: a number may be a text, an object with its unit, a list of one, or not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from pydantic import JsonValue

from empiar_crawler.parse.contacts import without_addresses
from empiar_crawler.parse.fields import printable, unescaped

Units = Mapping[str, float]

#: By unit, in lower case: what a value is multiplied by. An empty unit is the one that EMDB's schema prescribes.
ANGSTROM: Final[Units] = {"": 1, "å": 1, "a": 1, "angstrom": 1, "ångström": 1, "nm": 10}
KILOVOLT: Final[Units] = {"": 1, "kv": 1, "v": 0.001}
MILLIMETRE: Final[Units] = {"": 1, "mm": 1}
#: A weight without its unit is none. kDa/nm, of filaments, is a weight a length.
KILODALTON: Final[Units] = {
    "mda": 1000,
    "megadaltons": 1000,
    "kda": 1,
    "kilodaltons": 1,
    "da": 0.001,
    "daltons": 0.001,
}

#: Texts are cut here: the longest names in EMDB have some hundred characters.
MAX_TEXT: Final = 2_000
#: Sentences kept of one answer.
MAX_NOTES: Final = 20
_MEASURE: Final = re.compile(
    r"\s*(\+?(?:[0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?)\s*([^\s0-9].{0,20})?\s*"
)
_DAY: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ].*|Z)?")
_VALUE_KEYS: Final = ("valueOf_", "value", "#text")


@dataclass(slots=True)
class Notes:
    """What could not be taken as it came, a sentence each."""

    sentences: list[str] = field(default_factory=list)

    def add(self, what: str, wanted: str, value: JsonValue) -> None:
        """`value`, which should be `wanted`, is left out."""
        shown = without_addresses(printable(str(value)[:200]))[:60]
        sentence = f"{what} should be {wanted}, is {shown!r}"
        if len(self.sentences) < MAX_NOTES and sentence not in self.sentences:
            self.sentences.append(sentence)


def under(value: JsonValue, *keys: str) -> Iterator[dict[str, JsonValue]]:
    """Every object at the end of this way of keys; on each step a list stands for all that is in it."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            if keys:
                yield from under(item.get(keys[0]), *keys[1:])
            else:
                yield item


def values(value: JsonValue, *keys: str) -> Iterator[JsonValue]:
    """The same for a last key whose values need not be objects; lists are taken apart, and nulls left out."""
    for item in under(value, *keys[:-1]):
        found = item.get(keys[-1])
        yield from (one for one in (found if isinstance(found, list) else [found]) if one is not None)


def alone(value: JsonValue) -> JsonValue:
    """What stands in a list of one; anything else as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def bare(value: JsonValue) -> JsonValue:
    """The value less the list of one and the object that hold it, and its attributes."""
    value = alone(value)
    if isinstance(value, dict):
        return next((value[key] for key in _VALUE_KEYS if key in value), None)
    return value


def text_of(value: JsonValue) -> str | None:
    """A text on one line, without e-mail addresses and mark-up of entities; a number is its digits; None for anything else."""
    value = bare(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = " ".join(printable(unescaped(str(value)[: 4 * MAX_TEXT])).split())
    return without_addresses(text)[:MAX_TEXT].rstrip() or None


def texts(found: Iterable[JsonValue]) -> list[str]:
    """Each text once, in their order."""
    return list(dict.fromkeys(text for text in map(text_of, found) if text is not None))


def joined(found: Iterable[JsonValue]) -> str | None:
    """Each text once, joined by semicolons; None without any."""
    return "; ".join(texts(found))[:MAX_TEXT] or None


def day_of(value: JsonValue, what: str, notes: Notes) -> str | None:
    """A calendar day, less the time that EMDB writes behind it."""
    text = text_of(value)
    if text is None:
        return None
    match = _DAY.fullmatch(text)
    try:
        if match is not None:
            return date.fromisoformat(match[1]).isoformat()
    except ValueError:
        pass
    notes.add(what, "a day", text)
    return None


def count_of(value: JsonValue, what: str, notes: Notes) -> int | None:
    """A whole number from 1, also as text."""
    text = text_of(value)
    if text is None:
        return None
    digits = text.replace(",", "").removesuffix(".0")
    if digits.isascii() and digits.isdigit() and 0 < int(digits[:19]) < 10**15 and len(digits) < 19:
        return int(digits)
    notes.add(what, "a whole number from 1", text)
    return None


def measure_of(
    value: JsonValue, units: Units, what: str, notes: Notes, *, between: tuple[float, float]
) -> float | None:
    """A number with its unit, in the unit of factor 1; None where it has another unit or is beyond all that can be meant."""
    value = alone(value)
    stated = text_of(value.get("units")) if isinstance(value, dict) else None
    text = text_of(value)
    if text is None:
        return None
    match = _MEASURE.fullmatch(text)
    unit = (stated or (match[2] if match else None) or "").strip().lower()
    factor = units.get(unit)
    if match is not None and factor is not None:
        # Of a product in binary as many digits as anybody states.
        number = float(f"{float(match[1]) * factor:.9g}")
        if between[0] <= number <= between[1]:
            return number
    shown = f"{text} {stated}" if stated else text
    notes.add(what, f"a number from {between[0]:g} to {between[1]:g} in a unit that is known", shown)
    return None

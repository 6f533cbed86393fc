"""One JSON object, read tolerantly: each key is taken once, by type; what is left over is unknown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Final

from pydantic import JsonValue

from empiar_crawler.parse.contacts import without_addresses, without_contacts
from empiar_schema.entry import Oddity
from empiar_schema.faults import HostileName
from empiar_schema.paths import checked_name

#: SQLite's largest integer.
MAX_INTEGER: Final = 2**63 - 1
#: Lengths in ångström that can be meant at all, so that no value overflows or underflows on its way.
MIN_LENGTH: Final = Decimal("1e-6")
MAX_LENGTH: Final = Decimal("1e10")
#: Oddities kept of one answer; a hostile one could have millions.
MAX_ODDITIES: Final = 200

# Control characters could steer a terminal; lone surrogates and NUL can be stored in no database.
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# Only entities that end with a semicolon: "R&D", "AT&T" and "?a=1&copy=2" are as typed.
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_DAY: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:Z|[+-][0-9]{2}:[0-9]{2}|[T ].*)?")
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,3})?"
)
_KIND: Final = {
    str: "text",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


class Oddities:
    """What could not be taken as it came, up to a bound."""

    def __init__(self) -> None:
        self._noted: list[Oddity] = []
        self._more = 0

    def note(self, path: str, sentence: str) -> None:
        """The oddity is kept, or counted once there are `MAX_ODDITIES`."""
        if len(self._noted) < MAX_ODDITIES:
            self._noted.append(Oddity(printable(path), printable(sentence)))
        else:
            self._more += 1

    def all(self) -> tuple[Oddity, ...]:
        """All that were noted, and how many more there were."""
        more = (Oddity("", f"{self._more} more oddities are not listed"),) if self._more else ()
        return (*self._noted, *more)


def printable(text: str) -> str:
    """The text with U+FFFD in place of characters that cannot be stored or shown."""
    return _UNPRINTABLE.sub("\ufffd", text)


def unescaped(text: str) -> str:
    """The text with HTML entities resolved, doubly escaped ones too (EMPIAR-10934: ``&amp;amp;``)."""
    for _ in range(3):
        once = _ENTITY.sub(lambda match: html.unescape(match.group()), text)
        if once == text:
            break
        text = once
    return text


class Fields:
    """A JSON object at `path` of an answer.

    Every reader method returns None for what is missing, null or empty, and for a value of a wrong type, which it notes.
    """

    def __init__(self, value: Mapping[str, JsonValue], path: str, oddities: Oddities) -> None:
        self._left = dict(value)
        self.path = path
        self._oddities = oddities

    @property
    def empty(self) -> bool:
        """Whether no key says anything."""
        return all(_says_nothing(value) for value in self._left.values())

    def take(self, key: str) -> JsonValue:
        """The raw value; the key counts as known from now on."""
        return self._left.pop(key, None)

    def rest(self) -> dict[str, JsonValue]:
        """Keys that nobody took and that say something, less contact data."""
        cleaned = without_contacts(_storable(self._left))
        assert isinstance(cleaned, dict)
        return cleaned

    def odd(self, key: str, sentence: str) -> None:
        """Notes an oddity of one key."""
        self._oddities.note(f"{self.path}{key}", sentence)

    def mistaken(self, key: str, wanted: str, value: JsonValue) -> None:
        """Notes a value of the wrong type or range, naming it where it is short."""
        found = _KIND.get(type(value), "null")
        if isinstance(value, str):
            found = repr(without_addresses(value[:200])[:60])
        elif isinstance(value, int | float):
            found = str(value)[:40]
        self.odd(key, f"should be {wanted}, is {found}")

    # --- texts ----------------------------------------------------------------------------------------------

    def text(self, key: str) -> str | None:
        """A text as typed, less white space at its ends; a number is its digits."""
        value = self.take(key)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            if value not in ([], {}):
                self.mistaken(key, "text", value)
            return None
        return self._printable(key, str(value)).strip() or None

    def plain(self, key: str) -> str | None:
        """A text with HTML entities resolved."""
        text = self.text(key)
        return None if text is None else self._printable(key, unescaped(text)).strip() or None

    def personal(self, key: str) -> str | None:
        """A plain text about a person, less e-mail addresses."""
        text = self.plain(key)
        return None if text is None else without_addresses(text)

    def folder(self, key: str) -> str | None:
        """A folder below the entry as a stored text, without slashes at its ends; None if it would leave the entry."""
        text = self.text(key)
        if text is None:
            return None
        parts = [part for part in text.split("/") if part not in ("", ".")]
        try:
            return "/".join(checked_name(part.encode()) for part in parts)
        except HostileName:
            self.mistaken(key, "a folder of the entry", text)
            return None

    def day(self, key: str) -> str | None:
        """A calendar day, ``YYYY-MM-DD``; a time or zone after it is dropped."""
        text = self.text(key)
        if text is None:
            return None
        match = _DAY.fullmatch(text)
        if match is not None:
            try:
                return date.fromisoformat(match.group(1)).isoformat()
            except ValueError:
                pass
        self.mistaken(key, "a day such as 2020-10-23", text)
        return None

    # --- numbers and truth values -----------------------------------------------------------------------------

    def count(self, key: str) -> int | None:
        """A whole number from 0, also as text; ``variable`` (the XML's word) is None."""
        value = self.take(key)
        number = _number(value)
        if number is not None and number == number.to_integral_value() and 0 <= number <= MAX_INTEGER:
            return int(number)
        if not _says_nothing(value):
            self.mistaken(key, "a whole number", value)
        return None

    def length(self, key: str) -> float | None:
        """A positive number, also as text; ``variable`` is None."""
        value = self.take(key)
        number = _number(value)
        if number is not None and MIN_LENGTH <= number <= MAX_LENGTH:
            return float(number)
        if not _says_nothing(value):
            self.mistaken(key, "a positive number", value)
        return None

    def flag(self, key: str) -> bool | None:
        """A truth value, also as text or as 0 and 1."""
        value = self.take(key)
        word = str(value).strip().lower()
        if word in ("true", "1"):
            return True
        if word in ("false", "0"):
            return False
        if not _says_nothing(value):
            self.mistaken(key, "true or false", value)
        return None

    # --- parts ------------------------------------------------------------------------------------------------

    def parts(self, key: str, *, text_means: str = "", quote: bool = True) -> Iterator[Fields]:
        """Each object of a list, empty ones left out; a lone object stands for a list of one.

        Where the archive also gives texts in place of objects, `text_means` is the key that such a text would have.
        Other items are noted, and not quoted unless `quote`.
        """
        value = self.take(key)
        listed = isinstance(value, list)
        for position, item in enumerate(value if isinstance(value, list) else [value]):
            place = f"{key}[{position}]" if listed else key
            if isinstance(item, dict):
                part = item
            elif text_means and isinstance(item, str | int) and not isinstance(item, bool):
                part = {text_means: item}
            else:
                part = {}
                if not _says_nothing(item):
                    self.mistaken(place, "an object", item if quote else [item])
            if part and part != {text_means: ""}:
                yield Fields(part, f"{self.path}{place}.", self._oddities)

    def texts(self, key: str) -> tuple[str, ...]:
        """Each text of a list, or a single one."""
        texts = (part.text("text") for part in self.parts(key, text_means="text"))
        return tuple(text for text in texts if text is not None)

    def unwrapped(self, key: str) -> Fields:
        """These fields, with the keys of the object at `key` (if there is one) among them."""
        inner = self._left.get(key)
        if not isinstance(inner, dict):
            return self
        outer = {k: v for k, v in self._left.items() if k != key}
        for twice in outer.keys() & inner.keys():
            self.odd(twice, f"stands beside and inside {key!r}; the inner one is taken")
        return Fields(outer | inner, f"{self.path}{key}.", self._oddities)

    def put_back(self, key: str, value: dict[str, JsonValue]) -> None:
        """What is left of a part becomes an unknown key of this object."""
        if value:
            self._left[key] = value

    # --- cleaning -----------------------------------------------------------------------------------------------

    def _printable(self, key: str, text: str) -> str:
        cleaned = printable(text)
        if cleaned != text:
            self.odd(key, "holds characters that cannot be stored or shown; they were replaced")
        return cleaned


def _storable(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _storable(item) for key, item in value.items()}
    return value


def _number(value: JsonValue) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _says_nothing(value: JsonValue) -> bool:
    return (
        value is None
        or value in ([], {})
        or (isinstance(value, str) and value.strip().lower() in ("", "variable"))
    )

"""What must not be kept: how persons can be reached.

EMPIAR's schema makes telephone, fax and e-mail private by default since version 0.34, yet older answers hold them.
Streets and post codes are of no use to a mirror either.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from pydantic import JsonValue

_WORDS: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")
_CONTACT_WORD: Final = re.compile(
    r"(?:\w*e?mails?|\w*phones?|tel|telefax|fax|mobile|street\w*|address\w*|zip|\w*zipcode|post(?:al)?code|postal)\d*"
)
# The archive serves addresses with " [at] " in place of "@". Every repetition is bounded, so that a hostile text costs no more than its length.
_EMAIL: Final = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}\s{0,3}(?:@|\[\s?at\s?\]|\(\s?at\s?\))\s{0,3}[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
)
REMOVED: Final = "[address removed]"


def is_contact_key(key: str) -> bool:
    """Whether a key such as ``email``, ``post_or_zip``, ``faxNumber`` or ``contact_phone`` names contact data."""
    words = [word.lower() for word in _WORDS.findall(key)]
    pairs = [first + second for first, second in pairwise(words)]
    return any(_CONTACT_WORD.fullmatch(word) for word in (*words, *pairs))


def without_addresses(text: str) -> str:
    """The text with every e-mail address replaced."""
    return _EMAIL.sub(REMOVED, text)


def without_contacts(value: JsonValue) -> JsonValue:
    """The value less contact keys at any depth, and less e-mail addresses in its texts."""
    if isinstance(value, dict):
        return {
            without_addresses(key): without_contacts(item)
            for key, item in value.items()
            if not is_contact_key(key)
        }
    if isinstance(value, list):
        return [without_contacts(item) for item in value]
    return without_addresses(value) if isinstance(value, str) else value

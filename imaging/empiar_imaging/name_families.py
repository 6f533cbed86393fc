"""Families of names: files of one folder whose names differ in digits only. Pure.

Thousands of files make a few families, and what a name says is said once for its family.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from empiar_imaging import role_words as words
from empiar_schema.files import ListedFile
from empiar_schema.paths import COMPRESSORS, suffix_of
from empiar_schema.stems import stem_of

_DIGITS: Final = re.compile(r"\d+")
_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: What may stand before the suffix and belongs to it: ``x.frames.tif``, ``x.mrc.mdoc``.
_INNER: Final = frozenset({"frames", "movie", "mrc", "mrcs", "tif", "tiff", "eer", "st"})
_OTHER_IMAGES: Final = frozenset({".eer", ".st", ".ali", ".rec", ".map", ".ccp4"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What a family's name says."""

    #: Without the suffix of a compressor.
    suffix: str
    #: The stem as `role_words` compares it.
    words: str
    image: bool
    reference: bool
    gain: bool
    maybe_gain: bool


@dataclass(frozen=True, slots=True)
class Family:
    """Files of one shape, by their places in the folder."""

    shape: Shape
    members: list[int]


def families_of(files: Sequence[ListedFile]) -> list[Family]:
    """The folder's families, in the order of their first files; each file is in one."""
    members: dict[tuple[str, str], list[int]] = {}
    replace = _DIGITS.sub
    for place, file in enumerate(files):
        stem, _, last = file[0].rpartition(".")
        if not stem or last in COMPRESSORS or not last.islower():
            suffix = suffix_of(file[0])
            stem, last = file[0][: len(file[0]) - len(suffix)], suffix[1:]
            if last.isdigit():
                last = "0"
        key = (replace("0", stem), last)
        if (known := members.get(key)) is None:
            members[key] = [place]
        else:
            known.append(place)
    return [Family(_shape(stem, last), places) for (stem, last), places in members.items()]


@lru_cache(maxsize=65_536)
def _shape(stem: str, last: str) -> Shape:
    suffix = _uncompressed(f".{last}") if last else ""
    text = readable(stem)
    applied = words.NO_REFERENCE.search(text) is not None
    return Shape(
        suffix=suffix,
        words=text,
        image=is_image(suffix),
        reference=not applied and words.REFERENCE.search(text) is not None,
        gain=not applied and words.GAIN.search(text) is not None,
        maybe_gain=not applied and words.MAYBE_GAIN.search(text) is not None,
    )


def readable(text: str) -> str:
    """The text as `role_words` compares it."""
    return _DIGITS.sub("0", _CAPITAL.sub("_", text)).lower()


def base_suffix(name: str) -> str:
    """The suffix in lower case, less the suffix of a compressor: ``.tiff`` for ``a.tiff.bz2``."""
    return _uncompressed(suffix_of(name))


def common_stem(name: str) -> str:
    """The name without its suffixes: what a movie, its sum and its notes have in common. Other dots in names stay."""
    stem = stem_of(name)
    head, _, last = stem.rpartition(".")
    return head if head and last.lower() in _INNER else stem


def _uncompressed(suffix: str) -> str:
    head, dot, _ = suffix[1:].partition(".")
    return f".{head}" if dot else suffix


def is_image(suffix: str) -> bool:
    """Whether files of this suffix hold image data."""
    return suffix in words.IMAGES or suffix in _OTHER_IMAGES

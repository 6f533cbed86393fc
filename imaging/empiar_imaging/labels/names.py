"""Names by which labels and micrographs find each other. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeVar

from empiar_schema.stems import cryoppp_name, stem_of, without_uid

#: What pickers put between a micrograph's stem and the suffix of a file of its coordinates.
_PICK_WORD: Final = re.compile(
    r"_(?:(?:auto|manual|topaz|cryolo)_?)?(?:picks?|picked|coords?|false_positives)$", re.IGNORECASE
)
#: Suffixes that a micrograph's name can end with; another tail after a dot belongs to the stem.
_IMAGE_SUFFIXES: Final = frozenset(
    {"mrc", "mrcs", "tif", "tiff", "eer", "dm3", "dm4", "jpg", "jpeg", "png", "st", "hdf", "bz2", "gz", "zst"}
)

Value = TypeVar("Value")


def base_name(name: str) -> str:
    """The name without folders."""
    return name.rpartition("/")[2]


def base_stem(name: str) -> str:
    """The stem of the name without folders; dots within it stay."""
    return stem_of(base_name(name))


def micrograph_stem(name: str) -> str:
    """The stem of a micrograph's name as labels give it: Topaz and one-micrograph files give stems, whose dots are no suffixes.

    Only what is an image's suffix is taken off: ``a.b.mrc`` and ``a.b`` both have the stem ``a.b``.
    """
    base = base_name(name)
    return stem_of(base) if base.rpartition(".")[2].lower() in _IMAGE_SUFFIXES else base


def micrograph_of_file(name: str) -> str:
    """The stem of the micrograph that a file of one micrograph's coordinates is named after.

    ``a_autopick.star`` and ``a_false_positives.csv`` belong to ``a``, ``a.b.box`` to ``a.b``.
    """
    return without_pick_word(base_stem(name))


def without_pick_word(stem: str) -> str:
    """The stem without what pickers put behind it: ``a`` of ``a_autopick``; any other stem stays as it is."""
    found = _PICK_WORD.search(stem)
    return stem[: found.start()] if found and found.start() else stem


def stem_candidates(name: str, *, cryoppp: bool = False) -> tuple[str, ...]:
    """Stems that a label's micrograph name can mean, the most literal first, words such as ``_autopick`` taken off last.

    The whole name comes first because Topaz and one-micrograph files write stems, in which a dot is no suffix. With
    `cryoppp` the names that CryoPPP would make of it come last.
    """
    base = base_name(name)
    plain = without_uid(base)
    found = [base, stem_of(base), plain, stem_of(plain)]
    if cryoppp:
        found += [cryoppp_name(base), stem_of(cryoppp_name(base))]
    found.append(without_pick_word(micrograph_stem(base)))
    return tuple(dict.fromkeys(candidate for candidate in found if candidate))


def of_name(values: Mapping[str, Value], name: str) -> Value | None:
    """What `values` has for a micrograph: by its name as it stands, or by a stem that the name can mean."""
    found = values.get(name)
    if found is not None:
        return found
    return next((values[stem] for stem in stem_candidates(name) if stem in values), None)

"""Stems: what the parts of a micrograph's data are joined by in a layout. Pure.

``micrographs/s.mrc`` belongs to ``particle_coordinates/s.csv`` and ``s_particles.mrc``. cryoSPARC calls its output
``<21 digits>_<source stem>_patch_aligned_doseweighted``; CryoPPP publishes the source's stem alone.
"""

from __future__ import annotations

import re
from typing import Final

from empiar_schema.paths import COMPRESSORS

#: The suffix of cryoSPARC's Patch Motion, deleted wherever it stands in a name.
PATCH_MOTION: Final = "_patch_aligned_doseweighted"
#: cryoSPARC's UID before a name, and several, where a name went through more than once.
_UID: Final = re.compile(r"[0-9]{21}_")
_UIDS: Final = re.compile(r"(?:[0-9]{21}_)+")


def stem_of(name: str) -> str:
    """The name without its last suffix and a compressor's: ``a.frames`` of ``a.frames.tif``, ``a`` of ``a.mrc.bz2``."""
    # As `empiar_schema.paths.suffix_of` takes a name apart; called for every file of a layout.
    stem, dot, last = name.rpartition(".")
    if not (dot and stem and last):
        return name
    if last.lower() in COMPRESSORS:
        inner, _, inner_last = stem.rpartition(".")
        if inner and len(inner_last) <= 5:
            return inner
    return stem


def without_uid(name: str) -> str:
    """The name without the 21 digits that cryoSPARC puts before it; any other name stays as it is."""
    return name[22:] if _UID.match(name) else name


def cryoppp_name(name: str) -> str:
    """The name, or stem, without what cryoSPARC added; unchanged where it added nothing. Doing it twice changes nothing.

    A name of which nothing would be left before its suffix stays as it is.
    """
    if PATCH_MOTION not in name and not name[:21].isdigit():
        return name  # nearly all
    cleaned = name
    while PATCH_MOTION in cleaned:
        cleaned = cleaned.replace(PATCH_MOTION, "")
    if found := _UIDS.match(cleaned):
        cleaned = cleaned[found.end() :]
    return cleaned if stem_of(cleaned) and not cleaned.startswith(".") else name

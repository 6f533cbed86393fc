"""The archive's usual words, as data.

All vocabularies are open: a deposition chooses a code (``T2``), the archive serves the name
(``micrographs - multiframe``), and a free text may stand in its place. Source of the tables: the JSON schema of
EMPIAR's depositor (emdb-empiar/empiar-depositor, 2023) and EMPIAR's XML schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CATEGORIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "T1": "micrographs - single frame",
        "T2": "micrographs - multiframe",
        "T3": "micrographs - focal pairs - unprocessed",
        "T4": "micrographs - focal pairs - contrast inverted",
        "T5": "picked particles - single frame - unprocessed",
        "T6": "picked particles - multiframe - unprocessed",
        "T7": "picked particles - single frame - processed",
        "T8": "picked particles - multiframe - processed",
        "T9": "tilt series",
        "T10": "class averages",
        "T11": "stitched maps",
        "T12": "diffraction images",
        "T13": "reconstructed volumes",
        "T14": "subtomograms",
    }
)

HEADER_FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "T1": "MRC",
        "T2": "MRCS",
        "T3": "TIFF",
        "T4": "IMAGIC",
        "T5": "DM3",
        "T6": "DM4",
        "T7": "SPIDER",
        "T8": "XML",
        "T9": "EER",
        "T10": "PNG",
        "T11": "JPEG",
        "T12": "SMV",
        "T13": "EM",
        "T14": "TPX3",
    }
)

DATA_FORMATS: Final[Mapping[str, str]] = MappingProxyType({**HEADER_FORMATS, "T8": "BIG DATA VIEWER HDF5"})

VOXEL_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "T1": "UNSIGNED BYTE",
        "T2": "SIGNED BYTE",
        "T3": "UNSIGNED 16 BIT INTEGER",
        "T4": "SIGNED 16 BIT INTEGER",
        "T5": "UNSIGNED 32 BIT INTEGER",
        "T6": "SIGNED 32 BIT INTEGER",
        "T7": "32 BIT FLOAT",
        "T8": "BIT",
        "T9": "4 BIT INTEGER",
    }
)

#: ``EMDB`` is the normal value of single-particle and tomography entries. 10 is unused.
EXPERIMENT_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "1": "SXT",
        "2": "INSILICO",
        "3": "EMDB",
        "4": "SBF-SEM",
        "5": "FIB-SEM",
        "6": "IHM",
        "7": "CLEM",
        "8": "CLXM",
        "9": "MicroED",
        "11": "ATUM-SEM",
        "12": "Hard X-ray/X-ray microCT",
        "13": "ssET",
    }
)

#: Status codes of the XML schema. Only released and obsolete entries are known to be served.
STATUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PROC": "being processed",
        "WAIT": "waiting for release",
        "REL": "released",
        "OBS": "obsolete",
        "WDRN": "withdrawn",
        "UNARCH": "not in the archive any more",
    }
)

# The site's front end compares with OBSOLETE where the XML schema says OBS.
_STATUS_SPELLINGS: Final[Mapping[str, str]] = MappingProxyType(
    {"OBSOLETE": "OBS", "OBSOLETED": "OBS", "RELEASED": "REL", "WITHDRAWN": "WDRN"}
)


def normal_status(text: str) -> str:
    """The status code of any of its spellings; an unknown status stays as it is."""
    code = text.strip().upper()
    code = _STATUS_SPELLINGS.get(code, code)
    return code if code in STATUSES else text


def name_of(code: str, names: Mapping[str, str]) -> str:
    """The name that a deposition code stands for in one of this module's tables; any other text is a name itself."""
    return names.get(code, code)

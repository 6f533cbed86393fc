"""Words of the catalogue as small numbers: SQLite stores 0 and 1 in no bytes and other small numbers in one.

The numbers are part of the file format: they may be added to, never changed. Views show the words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from empiar_schema.files import DAY_S, MINUTE_S
from empiar_schema.jobs import JobState
from empiar_schema.role_reasons import RoleReason
from empiar_schema.states import CopyState, Role

_S = CopyState
#: In an order that makes partial indexes simple: claimable <= 1, unfinished <= 2, needing somebody >= 5.
STATE_CODES: Final[Mapping[CopyState, int]] = MappingProxyType(
    {
        _S.WANTED: 0,
        _S.PARTIAL: 1,
        _S.CLAIMED: 2,
        _S.ARRIVED: 3,
        _S.WITHDRAWN: 4,
        _S.PARKED: 5,
        _S.QUARANTINED: 6,
        _S.DAMAGED: 7,
        _S.UNVERIFIED: 8,
        _S.EVICTED: 9,
    }
)
STATES: Final[Mapping[int, CopyState]] = MappingProxyType({n: s for s, n in STATE_CODES.items()})

_J = JobState
#: Nearly all jobs are made, and the partial index of the others says ``state <> 2``.
JOB_STATE_CODES: Final[Mapping[JobState, int]] = MappingProxyType(
    {_J.WANTED: 0, _J.RUNNING: 1, _J.MADE: 2, _J.FAILED: 3, _J.PARKED: 4}
)
JOB_STATES: Final[Mapping[int, JobState]] = MappingProxyType({n: s for s, n in JOB_STATE_CODES.items()})

_R = Role
ROLE_CODES: Final[Mapping[Role, int]] = MappingProxyType(
    {
        _R.MICROGRAPH: 0,
        _R.MOVIE: 1,
        _R.TILT_SERIES: 2,
        _R.GAIN: 3,
        _R.DEFECTS: 4,
        _R.PARTICLE_STACK: 5,
        _R.PARTICLE_COORDINATES: 6,
        _R.CLASS_AVERAGE: 7,
        _R.VOLUME: 8,
        _R.METADATA: 9,
        _R.PREVIEW: 10,
        _R.OTHER: 11,
    }
)

ROLES: Final[Mapping[int, Role]] = MappingProxyType({n: r for r, n in ROLE_CODES.items()})

_W = RoleReason
ROLE_REASON_CODES: Final[Mapping[RoleReason, int]] = MappingProxyType(
    {
        _W.OVERRIDE: 0,
        _W.GAIN_NAME: 1,
        _W.GAIN_WORD: 2,
        _W.GAIN_FOLDER: 3,
        _W.DEFECTS_NAME: 4,
        _W.NAME: 5,
        _W.FOLDER: 6,
        _W.IMAGE_SET: 7,
        _W.SUFFIX: 8,
        _W.SUFFIX_ALONE: 9,
        _W.LEFTOVER: 10,
        _W.BESIDE_GAIN: 11,
        _W.LARGE: 12,
        _W.TILT_ANGLES: 13,
        _W.OTHER_FORMAT: 14,
        _W.SMALLER: 15,
        _W.SEVERAL_FRAMES: 16,
        _W.ONE_FRAME: 17,
        _W.SINGLE_AMONG_MOVIES: 18,
        _W.SUM_OF_MOVIE: 19,
        _W.ODD_FRAME: 20,
        _W.SMALL_BOXES: 21,
        _W.CUBE: 22,
        _W.MANY_SECTIONS: 23,
        _W.NOTHING_KNOWN: 24,
    }
)

#: Grain of a modification time, seconds, to its number.
UNIT_CODES: Final[Mapping[int, int]] = MappingProxyType({MINUTE_S: 0, 1: 1, DAY_S: 2})
UNITS_S: Final[Mapping[int, int]] = MappingProxyType({n: s for s, n in UNIT_CODES.items()})

W = TypeVar("W", bound=StrEnum)


def words_of(column: str, codes: Mapping[W, int]) -> str:
    """A SQL expression that gives the word for the number in `column`."""
    cases = " ".join(f"WHEN {number} THEN '{word.value}'" for word, number in codes.items())
    return f"CASE {column} {cases} END"


def state_list(states: Iterable[CopyState]) -> str:
    """``3, 4``: the numbers of `states` for an SQL ``IN``."""
    return ", ".join(str(STATE_CODES[state]) for state in states)

"""The states of a job, and the only ways from one to another, as data; what a job is, and what it made.

A *job* is the work of one *maker* (a built-in one, or a configured hook) on one file of an entry, or on the entry as a whole.
What it makes are *products*: files below ``derived/<id>/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class JobState(StrEnum):
    """How far one job is."""

    WANTED = "wanted"
    RUNNING = "running"
    MADE = "made"
    FAILED = "failed"
    PARKED = "parked"


#: Sentences for people, one a state.
JOB_MEANING: Final[Mapping[JobState, str]] = MappingProxyType(
    {
        JobState.WANTED: "waiting for its turn",
        JobState.RUNNING: "being made now",
        JobState.MADE: "made: its products are durable and recorded with their sha256",
        JobState.FAILED: "failed, and will be tried again by itself",
        JobState.PARKED: "given up until somebody asks again, or until what it is made of or with changes",
    }
)

_S = JobState
#: From each state, the states that may follow. A changed recipe makes any job that is not running wanted again.
JOB_TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = MappingProxyType(
    {
        _S.WANTED: frozenset({_S.RUNNING, _S.PARKED}),
        _S.RUNNING: frozenset({_S.MADE, _S.FAILED, _S.PARKED, _S.WANTED}),
        _S.MADE: frozenset({_S.WANTED}),
        _S.FAILED: frozenset({_S.RUNNING, _S.WANTED, _S.PARKED}),
        _S.PARKED: frozenset({_S.WANTED}),
    }
)

#: States in which a job may be begun.
JOBS_CLAIMABLE: Final = frozenset({_S.WANTED, _S.FAILED})


def job_may_follow(before: JobState, after: JobState) -> bool:
    """Whether a job may go from `before` to `after`."""
    return after in JOB_TRANSITIONS[before]


@dataclass(frozen=True, slots=True)
class Wish:
    """A job that should be done: on one file of the entry, or on the whole entry where `file_id` is None."""

    maker: str
    file_id: int | None
    #: Digest of all that decides the result (hexadecimal); another one means that the job is wanted again.
    recipe: str
    #: Why it cannot even be begun; None where it can.
    obstacle: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One claimed job."""

    job_id: int
    empiar_id: int
    maker: str
    file_id: int | None
    recipe: str
    #: Attempts that failed with this recipe so far.
    attempts: int


@dataclass(frozen=True, slots=True)
class JobInput:
    """A file that a job read: a deposited one by its number, or a product by its path below ``derived/<id>``."""

    role: str
    file_id: int | None = None
    product: str | None = None


@dataclass(frozen=True, slots=True)
class NewProduct:
    """A file that a job has just made, durable at `path`, a stored text below ``derived/<id>``; on record it is a `Product`."""

    path: str
    kind: str
    size: int
    sha256: bytes
    #: Of the micrograph that it belongs to; None where it belongs to the whole entry.
    stem: str | None = None
    #: What the maker says of it, such as the grey limits of a picture.
    details: Mapping[str, object] = field(default_factory=dict)
    #: The deposited file that it belongs to, where that is not the one the job is about.
    parent_file_id: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is recorded of a job's end beside its state. Times are seconds since the epoch."""

    started_at: float
    ended_at: float
    command: str | None = None
    version: str | None = None
    #: Stored text below the mirror's root; None where nothing was logged.
    log_path: str | None = None

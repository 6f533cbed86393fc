"""The states of a copy, and the only ways from one to another, as data."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class CopyState(StrEnum):
    """What is known of our copy of one wanted file (public contract)."""

    WANTED = "wanted"
    CLAIMED = "claimed"
    PARTIAL = "partial"
    ARRIVED = "arrived"
    PARKED = "parked"
    QUARANTINED = "quarantined"
    DAMAGED = "damaged"
    WITHDRAWN = "withdrawn"
    #: An addition to the contract's eight: only where Globus writes to storage that is not visible here.
    UNVERIFIED = "unverified"
    #: Another addition: our copy was given up for its space, by command, and can be fetched again.
    EVICTED = "evicted"


#: Sentences for people, one a state.
MEANING: Final[dict[CopyState, str]] = {
    CopyState.WANTED: "waiting for its turn",
    CopyState.CLAIMED: "being fetched now",
    CopyState.PARTIAL: "begun, part of it is kept in staging",
    CopyState.ARRIVED: "here: these bytes, with this sha256, are durable at their path",
    CopyState.PARKED: "given up until somebody asks again: a permanent failure, or all retries used",
    CopyState.QUARANTINED: "fetched, but proven wrong; the bytes and the reason are kept aside",
    CopyState.DAMAGED: "was here, but a later verify found it changed or missing",
    CopyState.UNVERIFIED: "transferred by Globus to storage that is not visible here, and not verified: `verify` does that where it is",
    CopyState.EVICTED: "was here, and was removed by `empiar-mirror evict` to make room; `empiar-mirror recall` has it fetched again",
    CopyState.WITHDRAWN: "here, though EMPIAR no longer lists it; our copy stays",
}

_S = CopyState
#: From each state, the states that may follow. Anything else is a defect of the program, not of the data.
TRANSITIONS: Final[dict[CopyState, frozenset[CopyState]]] = {
    _S.WANTED: frozenset({_S.CLAIMED, _S.PARKED, _S.ARRIVED}),
    _S.CLAIMED: frozenset({_S.PARTIAL, _S.WANTED, _S.ARRIVED, _S.PARKED, _S.QUARANTINED, _S.UNVERIFIED}),
    _S.PARTIAL: frozenset({_S.CLAIMED, _S.WANTED, _S.PARKED, _S.ARRIVED}),
    _S.ARRIVED: frozenset({_S.DAMAGED, _S.WITHDRAWN, _S.EVICTED}),
    _S.PARKED: frozenset({_S.WANTED}),
    _S.QUARANTINED: frozenset({_S.WANTED}),
    _S.DAMAGED: frozenset({_S.WANTED, _S.ARRIVED}),
    _S.WITHDRAWN: frozenset({_S.ARRIVED, _S.DAMAGED}),
    _S.UNVERIFIED: frozenset({_S.WANTED}),
    # Arrived or damaged: where an eviction was broken off before the file was removed.
    _S.EVICTED: frozenset({_S.WANTED, _S.ARRIVED, _S.DAMAGED}),
}

#: States in which verified bytes stand at the final path.
HERE: Final = frozenset({_S.ARRIVED, _S.WITHDRAWN})
#: States that a transfer worker may claim.
CLAIMABLE: Final = frozenset({_S.WANTED, _S.PARTIAL})
#: States that need a person, or a later `repair`.
FAILED: Final = frozenset({_S.PARKED, _S.QUARANTINED, _S.DAMAGED})


class EntryState(StrEnum):
    """Progress of one entry, derived from its copies."""

    LISTED = "listed"
    WANTED = "wanted"
    TRANSFERRING = "transferring"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    #: All that was asked for is here, or was transferred by Globus and waits for `verify` where its storage is.
    UNVERIFIED = "unverified"
    #: All that was asked for is here, or was evicted to make room.
    EVICTED = "evicted"


def may_follow(before: CopyState, after: CopyState) -> bool:
    """Whether a copy may go from `before` to `after`."""
    return after in TRANSITIONS[before]


class Channel(StrEnum):
    """The ways by which bytes travel."""

    HTTPS = "https"
    FTP = "ftp"
    GLOBUS = "globus"


class Role(StrEnum):
    """What a file is for (public contract)."""

    MICROGRAPH = "micrograph"
    MOVIE = "movie"
    TILT_SERIES = "tilt_series"
    GAIN = "gain"
    DEFECTS = "defects"
    PARTICLE_STACK = "particle_stack"
    PARTICLE_COORDINATES = "particle_coordinates"
    CLASS_AVERAGE = "class_average"
    VOLUME = "volume"
    METADATA = "metadata"
    PREVIEW = "preview"
    OTHER = "other"

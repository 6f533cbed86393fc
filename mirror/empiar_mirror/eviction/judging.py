"""Which files may be removed to make room, how many of them, and why the others stay. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from empiar_imaging.formats.evidence import HARMLESS
from empiar_schema.states import FAILED, CopyState

#: A pin whose query returns less than one such part of what it returned before is not believed.
SHRUNK: Final = 10


class Kept(StrEnum):
    """Why a file that the query selects stays."""

    PINNED = "pinned"
    SUBSCRIBED = "subscribed"
    NOT_HERE = "not here"
    WITHDRAWN = "withdrawn"
    UNLISTED = "unlisted"
    LISTED_LONG_AGO = "listed long ago"
    CHANGED = "changed"
    DAMAGED = "damaged"
    DAMAGED_AT_SOURCE = "damaged at the source"
    IN_USE = "in use"
    NOT_AS_RECORDED = "not as recorded"
    LINKED = "linked elsewhere"
    NOT_NEEDED = "not needed"


#: Sentences for people: what is true of such a file, and what to do.
KEPT_MEANING: Final[Mapping[Kept, str]] = MappingProxyType(
    {
        Kept.PINNED: "a pin keeps it: `empiar-mirror pins` shows which, `unpin` ends one",
        Kept.SUBSCRIBED: "a subscription in force wants it: --despite-subscriptions evicts it all the same",
        Kept.NOT_HERE: "it is not here",
        Kept.WITHDRAWN: "EMPIAR lists it no longer: it could never be fetched again",
        Kept.UNLISTED: "the latest listing lacks it: another crawl shows whether EMPIAR still has it",
        Kept.LISTED_LONG_AGO: "no complete listing is recent enough to say that EMPIAR still has it: `empiar-mirror crawl ID` lists anew",
        Kept.CHANGED: "EMPIAR lists it otherwise since it came: other bytes would come back",
        Kept.DAMAGED: "it is not proven sound: `empiar-mirror verify` and `repair` come first",
        Kept.DAMAGED_AT_SOURCE: "it was damaged when it came: nobody could tell the archive's damage from one on the way back",
        Kept.IN_USE: "a derived file of it is still to be made: `empiar-mirror make` comes first",
        Kept.NOT_AS_RECORDED: "what stands at its path is not what is on record: `empiar-mirror verify` says more",
        Kept.LINKED: "another name outside of this mirror's layouts holds its bytes: removing it would free nothing",
        Kept.NOT_NEEDED: "what goes before it frees enough",
    }
)


class Candidate(NamedTuple):
    """A file that the query selects, with all that decides whether it may go. Times are epoch seconds, sizes bytes."""

    file_id: int
    path: str
    state: CopyState
    size: int
    sha256: bytes | None
    arrived_at: int | None
    verified_at: int | None
    #: When a complete listing last named it.
    listed_at: int | None
    pinned: bool = False
    subscribed: bool = False
    #: Listed no longer, by two listings, or with its whole entry.
    withdrawn: bool = False
    #: The latest listing lacks it.
    unlisted: bool = False
    #: The archive states another size than ours, or a change since it came.
    changed: bool = False
    #: Codes of the findings with which it arrived.
    problems: tuple[str, ...] = ()
    in_use: bool = False
    #: A regular file of the recorded size stands at its path.
    as_recorded: bool = True
    #: What removing it gives back to the file system.
    frees: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What an eviction was asked for."""

    now: int
    #: Seconds.
    listed_within: float
    despite_subscriptions: bool = False
    #: Bytes to free; None for all that is selected.
    target: int | None = None


def why_kept(file: Candidate, rules: Rules) -> Kept | None:
    """Why this file stays, whatever is needed; None if it may go. A pin comes first: it is told also of what could not go anyway."""
    if file.pinned:
        return Kept.PINNED
    if file.withdrawn or file.state is CopyState.WITHDRAWN:
        return Kept.WITHDRAWN
    if file.state in FAILED or file.state is CopyState.UNVERIFIED:
        return Kept.DAMAGED
    if file.state is not CopyState.ARRIVED:
        return Kept.NOT_HERE
    if file.sha256 is None or file.verified_at is None:
        return Kept.DAMAGED
    if file.unlisted:
        return Kept.UNLISTED
    if file.changed:
        return Kept.CHANGED
    # A listing from the future is from a clock that was wrong.
    if file.listed_at is None or not 0 <= rules.now - file.listed_at <= rules.listed_within:
        return Kept.LISTED_LONG_AGO
    if not HARMLESS.issuperset(file.problems):
        return Kept.DAMAGED_AT_SOURCE
    if file.in_use:
        return Kept.IN_USE
    if file.subscribed and not rules.despite_subscriptions:
        return Kept.SUBSCRIBED
    return None if file.as_recorded else Kept.NOT_AS_RECORDED


class Chooser:
    """Takes files in the order in which they are given until enough would be free; those that free nothing do not count towards that."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.freed = 0

    @property
    def enough(self) -> bool:
        """Whether nothing more has to go."""
        return self._rules.target is not None and self.freed >= self._rules.target

    def judge(self, file: Candidate) -> Kept | None:
        """Why the file stays; None if it goes."""
        kept = why_kept(file, self._rules)
        if kept is not None or self._rules.target is None:
            self.freed += file.frees if kept is None else 0
            return kept
        if self.enough:
            return Kept.NOT_NEEDED
        if file.frees == 0 and file.size > 0:
            return Kept.LINKED
        self.freed += file.frees
        return None


def shrunk(before: int | None, now: int) -> str | None:
    """Why a pin's result of `now` rows is not believed after one of `before`; None if it is, or nothing came before."""
    if not before or now * SHRUNK > before:
        return None
    return f"its query returns {now:,}, and returned {before:,} before"

"""What a subscription is, and what is on record of its matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from empiar_schema.states import Channel

Selects = Literal["entries", "files"]
#: Why a match, or what was added to it, is not wanted: the budget, its age, or that its files are not known yet.
LeftOut = Literal["budget", "older", "unlisted"]


@dataclass(frozen=True, slots=True)
class Definition:
    """What somebody wrote."""

    name: str
    sql: str
    view: str | None = None
    #: Higher comes first.
    priority: int = 0
    budget_bytes: int | None = None
    channel: Channel | None = None
    new_only: bool = False
    #: Bytes that its files may hold here; at the quota they wait.
    quota_bytes: int | None = None
    #: Its part among subscriptions of equal priority.
    share: float = 1.0
    #: Its files should be here so long after they became wanted.
    deadline_s: int | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as the catalogue has it. Times are epoch seconds."""

    definition: Definition
    #: Stands for it in `subscription_match`.
    number: int
    created_at: int
    #: It stands in the configuration file.
    declared: bool
    paused: bool
    selects: Selects | None
    #: Rows of its query when it last ran; None where the next result is compared with nothing.
    match_count: int | None
    entry_count: int | None
    file_count: int | None
    evaluated_at: int | None
    #: Of one to what is new: what was there by then is not new; None before the archive was enumerated.
    new_since: int | None
    held_at: int | None
    held_reason: str | None

    @property
    def name(self) -> str:
        """Its name."""
        return self.definition.name


class Recorded(NamedTuple):
    """What is on record of one match. There are many: a dataclass takes three times as long to make."""

    empiar_id: int
    #: 0 where the whole entry, or what a view takes of it, is meant.
    file_id: int
    gone: bool
    wanted: bool
    files: int
    bytes: int
    mark: str | None
    left_out: LeftOut | None


@dataclass(frozen=True, slots=True)
class Interest:
    """A subscription's interest in one entry. Times are epoch seconds."""

    name: str
    paused: bool
    held_reason: str | None
    #: Matches in the entry that are wanted: one for the whole, else files.
    wanted: int
    #: Matches that did not fit into the budget, are older than the subscription, or are not listed.
    over_budget: int
    older: int
    unlisted: int
    #: It returns nothing of the entry any more.
    gone: bool
    whole: bool


@dataclass(frozen=True, slots=True)
class MatchRow:
    """A match as it is to be recorded."""

    empiar_id: int
    file_id: int
    files: int
    bytes: int
    mark: str | None
    left_out: LeftOut | None

"""What follows from a subscription's result: whether to believe it, and what of it becomes wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from empiar_schema.subscriptions import LeftOut, Recorded

#: A result that is so many times as large as the one before is not believed.
FLOOD: Final = 10


class Item(NamedTuple):
    """One entry or file that a query returned, as the catalogue knows it."""

    empiar_id: int
    #: 0 where the whole entry, or what a view takes of it, is meant.
    file_id: int
    files: int
    #: As far as sizes are known.
    bytes: int
    #: Of what its files depend on; None while they are not known.
    mark: str | None
    #: First seen after the subscription was made; matters only to one that takes nothing else.
    new: bool = True

    @property
    def key(self) -> int:
        """What the query returned."""
        return self.file_id or self.empiar_id


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about one result. Items are in the order of the query."""

    #: Their files become wanted: they are new here, or more is listed of them.
    ask: tuple[Item, ...]
    #: Nothing, or nothing more, of these becomes wanted; only where that is not on record already.
    note: tuple[tuple[Item, LeftOut | None], ...]
    #: Entry and file of what was returned before and is no longer.
    gone: tuple[tuple[int, int], ...]
    #: Everything that the budget leaves out, on record or not.
    over_budget: tuple[Item, ...]
    older: int
    unlisted: int


def hold_reason(before: int | None, now: int) -> str | None:
    """Why a result of `now` matches is not to be believed after one of `before`; None if it is, or there was none before."""
    if not before:
        return None
    if now == 0:
        return f"the query suddenly returns nothing, and returned {before:,} before"
    if now >= FLOOD * before:
        return f"the query suddenly returns {now:,}, and returned {before:,} before"
    return None


def decide(
    items: Iterable[Item],
    recorded: Mapping[int, Recorded],
    *,
    budget: int | None,
    new_only: bool,
    spent_elsewhere: int = 0,
    afresh: bool = False,
) -> Decision:
    """What of a result becomes wanted.

    What was made wanted once goes on counting against the budget, whether or not it is still returned, and what is
    wanted stays so. New matches are taken in the order of the query until the first that does not fit; none is taken
    after it. With `afresh`, also what is wanted already is asked for again.
    """
    spent = spent_elsewhere + sum(match.bytes for match in recorded.values() if match.wanted)
    ask: list[Item] = []
    note: list[tuple[Item, LeftOut | None]] = []
    over: list[Item] = []
    seen: set[int] = set()
    older = unlisted = 0
    full = False
    for item in items:
        seen.add(item.key)
        known = recorded.get(item.key)
        wanted = known is not None and known.wanted
        reason: LeftOut | None = None
        if new_only and not item.new and not wanted:
            reason = "older"
            older += 1
        elif item.mark is None:
            reason = "unlisted"
            unlisted += 1
        elif known is not None and wanted and item.mark == known.mark:
            if afresh:
                ask.append(item)
                continue
        else:
            more = item.bytes - (known.bytes if known is not None and wanted else 0)
            fits = budget is None or spent + more <= budget
            if (fits and not full) or (wanted and more <= 0):
                ask.append(item)
                spent += more
                continue
            reason, full = "budget", True
            over.append(item)
        if known is None or known.gone or known.left_out != reason or _grown(item, known):
            note.append((item, reason))
    gone = tuple(
        (match.empiar_id, match.file_id)
        for key, match in recorded.items()
        if not match.gone and key not in seen
    )
    return Decision(tuple(ask), tuple(note), gone, tuple(over), older, unlisted)


def _grown(item: Item, known: Recorded) -> bool:
    """Whether what is on record of something that was never wanted is out of date."""
    return not known.wanted and (item.files, item.bytes) != (known.files, known.bytes)

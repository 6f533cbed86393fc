"""Evaluates subscriptions: their queries run, their results are judged, and what is new becomes wanted."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from empiar_mirror.asking import ask_for_subscribed_files, ask_for_subscriber
from empiar_mirror.subscriptions.judging import Decision, Item, decide, hold_reason
from empiar_mirror.subscriptions.matching import Matches, matches_of
from empiar_mirror.subscriptions.weighing import Facts, entry_facts, items_of
from empiar_schema import queue_store
from empiar_schema import subscription_store as store
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import ConfigFault
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.queues import Wish
from empiar_schema.settings import Settings
from empiar_schema.subscriptions import Definition, MatchRow, Recorded, Subscription

#: Files that are made wanted in one transaction: more would keep the transfer from recording what arrives.
_FILES_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What one subscription's evaluation found and did."""

    name: str
    #: Why it is held since this evaluation; None if it is in force.
    held: str | None
    #: Rows of its query.
    matches: int = 0
    #: Entries of which files became wanted that were not before, and how many those were.
    entries: tuple[int, ...] = ()
    files: int = 0
    #: Matches of before that were returned no longer.
    gone: int = 0
    #: Matches that the budget left out, and their bytes.
    over_budget: int = 0
    bytes_over_budget: int = 0
    #: Matches that are older than a subscription to what is new.
    older: int = 0
    #: Matches whose files are not listed yet, or no longer.
    unlisted: int = 0


@dataclass(frozen=True, slots=True)
class Weighed:
    """A query's result with all that is known of it, and what follows; nothing is written yet."""

    matches: Matches
    items: tuple[Item, ...]
    decision: Decision
    recipe: ViewRecipe | None
    #: Matches of the other kind, from before the query was changed.
    others: tuple[Recorded, ...] = ()

    @property
    def entries(self) -> int:
        """How many entries match, or have files that do."""
        return len({item.empiar_id for item in self.items})

    @property
    def files(self) -> int:
        """How many files match, or belong to what matches."""
        return sum(item.files for item in self.items)


@dataclass(slots=True)
class _Counted:
    """What one subscription made wanted."""

    entries: dict[int, None] = field(default_factory=dict)
    files: int = 0


@dataclass(slots=True)
class _Round:
    """One evaluation of all that is due: what several subscriptions want is asked for once."""

    facts: Facts
    now: int
    afresh: bool
    #: Entries all of whose files were made wanted in this round: whoever wants them too need not look for new ones.
    whole: set[int] = field(default_factory=set)


def evaluate_subscriptions(
    catalogue: Catalogue,
    settings: Settings,
    *,
    now: int,
    names: Collection[str] | None = None,
    afresh: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Evaluated]:
    """Every subscription, or those of `names`, has been evaluated; those that are paused or held are passed over.

    New matches are wanted for the subscription; what matches no longer is recorded, and stays wanted and
    here. A query that breaks, or whose result is not to be believed, holds its subscription and changes nothing else.
    With `afresh`, what an entry or a view has to offer is wanted again also where nothing seems to have changed. Blocking.

    Raises:
        CatalogueFault: the catalogue refuses.
        StorageFault: the disk refuses.
    """
    with catalogue.reader() as conn:
        due = [
            one
            for one in store.subscriptions(conn)
            if not one.paused and one.held_at is None and (names is None or one.name in names)
        ]
        this = _Round(entry_facts(conn) if due else {}, now, afresh)
        found = []
        for subscription in due:
            if stopped():
                break
            # One connection for all: none of its statements stays open, so it does not hold the WAL.
            found.append(_evaluate(catalogue, conn, settings, subscription, this))
    return found


def weigh(
    conn: sqlite3.Connection,
    matches: Matches,
    wanted: Definition,
    settings: Settings,
    facts: Facts,
    *,
    recorded: Sequence[Recorded] = (),
    new_since: int | None,
    afresh: bool = False,
) -> Weighed:
    """What these matches of `wanted` come to; changes nothing.

    Raises:
        ConfigFault: the catalogue does not know one of them, or there is no such view.
    """
    recipe = settings.recipe(wanted.view) if wanted.view is not None else None
    files = matches.selects == "files"
    same = {(one.file_id or one.empiar_id): one for one in recorded if bool(one.file_id) is files}
    others = tuple(one for one in recorded if bool(one.file_id) is not files)
    items = items_of(conn, matches, facts, same, recipe=recipe, new_since=new_since)
    decision = decide(
        items,
        same,
        budget=wanted.budget_bytes,
        new_only=wanted.new_only,
        spent_elsewhere=sum(one.bytes for one in others if one.wanted),
        afresh=afresh,
    )
    return Weighed(matches, tuple(items), decision, recipe, others)


def _evaluate(
    catalogue: Catalogue,
    conn: sqlite3.Connection,
    settings: Settings,
    subscription: Subscription,
    this: _Round,
) -> Evaluated:
    now = this.now
    definition, number = subscription.definition, subscription.number
    try:
        matches = matches_of(catalogue.path.parent, definition.sql)
        # Counts of entries and counts of files are not compared.
        before = subscription.match_count if matches.selects == subscription.selects else None
        reason = hold_reason(before, len(matches.numbers))
        if reason is None:
            new_since = _new_since(catalogue, conn, subscription, now=now)
            weighed = weigh(
                conn,
                matches,
                definition,
                settings,
                this.facts,
                recorded=list(store.matches_on_record(conn, number)),
                new_since=new_since,
                afresh=this.afresh,
            )
    except ConfigFault as fault:
        reason = str(fault)
    if reason is not None:
        catalogue.write_now(functools.partial(store.hold_subscription, number=number, reason=reason, now=now))
        return Evaluated(definition.name, reason)
    counted = _Counted()
    for part in _parts(weighed.decision.ask):
        catalogue.write_now(functools.partial(_want, this, counted, number, weighed.recipe, part))
    catalogue.submit(
        functools.partial(_record_rest, number=number, weighed=weighed, now=now), durable=False
    ).result()
    over = weighed.decision.over_budget
    return Evaluated(
        definition.name,
        None,
        matches=len(matches.numbers),
        entries=tuple(counted.entries),
        files=counted.files,
        gone=len(weighed.decision.gone),
        over_budget=len(over),
        bytes_over_budget=sum(item.bytes for item in over),
        older=weighed.decision.older,
        unlisted=weighed.decision.unlisted,
    )


def _new_since(
    catalogue: Catalogue, conn: sqlite3.Connection, subscription: Subscription, *, now: int
) -> int | None:
    """Since when what comes is new to this subscription.

    Before the archive was enumerated for the first time, what it held all along cannot be told from what is new:
    until then nothing is new.
    """
    if not subscription.definition.new_only or subscription.new_since is not None:
        return subscription.new_since
    if store.archive_was_enumerated(conn):
        catalogue.write_now(functools.partial(store.begin_new, number=subscription.number, now=now))
    return now


def _parts(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items in their order, cut so that no part has too many files."""
    part: list[Item] = []
    files = 0
    for item in items:
        if part and files + item.files > _FILES_AT_ONCE:
            yield part
            part, files = [], 0
        part.append(item)
        files += item.files
    if part:
        yield part


def _want(
    this: _Round,
    counted: _Counted,
    number: int,
    recipe: ViewRecipe | None,
    items: Sequence[Item],
    conn: sqlite3.Connection,
) -> None:
    """The files of these matches are wanted, and that is on record with them."""
    by_entry: dict[int, list[int]] = {}
    now = this.now
    for item in items:
        by_entry.setdefault(item.empiar_id, []).append(item.file_id)
    for empiar_id, file_ids in by_entry.items():
        if file_ids != [0]:
            new = ask_for_subscribed_files(conn, empiar_id, file_ids, subscription=number, now=now)
        elif recipe is None and empiar_id in this.whole:
            queue_store.join(conn, empiar_id, Wish(subscription=number), now=now)
            continue
        else:
            new = ask_for_subscriber(conn, empiar_id, recipe, subscription=number, now=now)
            if recipe is None:
                this.whole.add(empiar_id)
        if new:
            counted.entries[empiar_id] = None
            counted.files += new
    store.record_wanted_matches(conn, number, map(_row, items), now=now)


def _row(item: Item) -> MatchRow:
    return MatchRow(item.empiar_id, item.file_id, item.files, item.bytes, item.mark, None)


def _record_rest(conn: sqlite3.Connection, *, number: int, weighed: Weighed, now: int) -> None:
    decision = weighed.decision
    others = (
        MatchRow(item.empiar_id, item.file_id, item.files, item.bytes, item.mark, reason)
        for item, reason in decision.note
    )
    store.record_other_matches(conn, number, others, now=now)
    gone = [*decision.gone, *((one.empiar_id, one.file_id) for one in weighed.others if not one.gone)]
    store.record_gone_matches(conn, number, gone, now=now)
    store.record_evaluation(
        conn,
        number,
        selects=weighed.matches.selects,
        matches=len(weighed.matches.numbers),
        entries=weighed.entries,
        files=weighed.files,
        now=now,
    )

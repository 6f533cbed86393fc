"""Evaluates subscriptions: their queries run, their results are judged, and what is new becomes wanted."""

from __future__ import annotations

import functools
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from empiar_mirror.reading import reading
from empiar_mirror.short_writes import Step, write_steps
from empiar_mirror.subscriptions.choices import Choices
from empiar_mirror.subscriptions.judging import Decision, Item, decide, hold_reason
from empiar_mirror.subscriptions.matching import Matches, matches_on
from empiar_mirror.subscriptions.wanting import FILES_AT_ONCE, Asker, Wanting
from empiar_mirror.subscriptions.weighing import Facts, entry_facts, items_of
from empiar_schema import subscription_store as store
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import ConfigFault
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.settings import Settings
from empiar_schema.subscriptions import Definition, MatchRow, Recorded, Selects, Subscription

#: Matches that wait in memory until they are written, about 200 bytes each: what several subscriptions want of an entry is asked for once.
_MATCHES_AT_ONCE: Final = 250_000


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
class _Case:
    """A subscription whose result is believed, as it waits to be written."""

    number: int
    asker: Asker
    selects: Selects
    entries: int
    files: int
    #: What of it is recorded besides what becomes wanted, and what is gone, by entry and file.
    note: tuple[MatchRow, ...]
    gone: tuple[tuple[int, int], ...]
    outcome: Evaluated

    @property
    def evaluated(self) -> Evaluated:
        """What was found and done."""
        return replace(self.outcome, entries=tuple(self.asker.entries), files=self.asker.files)


@dataclass(slots=True)
class _Round:
    """One evaluation of all that is due."""

    catalogue: Catalogue
    #: Reads what the catalogue knows of matches.
    conn: sqlite3.Connection
    #: Runs the queries. One for all of them: none of its statements stays open, so it does not hold the WAL.
    asking: sqlite3.Connection
    settings: Settings
    facts: Facts
    choices: Choices
    wanting: Wanting
    now: int
    afresh: bool
    cases: list[_Case] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """Matches that wait to be written."""
        return self.wanting.size + sum(len(case.note) + len(case.gone) for case in self.cases)


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
    with catalogue.reader() as conn, reading(settings.root) as asking:
        due = [
            one
            for one in store.subscriptions(conn)
            if not one.paused and one.held_at is None and (names is None or one.name in names)
        ]
        choices = Choices(conn)
        this = _Round(
            catalogue,
            conn,
            asking,
            settings,
            entry_facts(conn) if due else {},
            choices,
            Wanting(catalogue, conn, choices, now=now),
            now,
            afresh,
        )
        found: list[Evaluated | _Case] = []
        for subscription in due:
            if stopped():
                break
            found.append(_look(this, subscription))
            if this.waiting >= _MATCHES_AT_ONCE:
                _write(this, stopped)
        _write(this, stopped)
    return [one.evaluated if isinstance(one, _Case) else one for one in found]


def weigh(
    conn: sqlite3.Connection,
    matches: Matches,
    wanted: Definition,
    settings: Settings,
    facts: Facts,
    *,
    choices: Choices,
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
    items = items_of(conn, matches, facts, same, recipe=recipe, choices=choices, new_since=new_since)
    decision = decide(
        items,
        same,
        budget=wanted.budget_bytes,
        new_only=wanted.new_only,
        spent_elsewhere=sum(one.bytes for one in others if one.wanted),
        afresh=afresh,
    )
    return Weighed(matches, tuple(items), decision, recipe, others)


def _look(this: _Round, subscription: Subscription) -> Evaluated | _Case:
    """What the subscription comes to, to be written with others; one that is held is so at once."""
    definition, number, conn = subscription.definition, subscription.number, this.conn
    try:
        matches = matches_on(this.asking, this.settings.root, definition.sql)
        # Counts of entries and counts of files are not compared.
        before = subscription.match_count if matches.selects == subscription.selects else None
        reason = hold_reason(before, len(matches.numbers))
        if reason is None:
            weighed = weigh(
                conn,
                matches,
                definition,
                this.settings,
                this.facts,
                choices=this.choices,
                recorded=list(store.matches_on_record(conn, number)),
                new_since=_new_since(this, subscription),
                afresh=this.afresh,
            )
    except ConfigFault as fault:
        reason = str(fault)
    if reason is not None:
        job = functools.partial(store.hold_subscription, number=number, reason=reason, now=this.now)
        this.catalogue.write_now(job)
        return Evaluated(definition.name, reason)
    case = _case(definition.name, number, weighed)
    this.wanting.ask(case.asker, weighed.decision.ask)
    this.cases.append(case)
    return case


def _case(name: str, number: int, weighed: Weighed) -> _Case:
    decision, over = weighed.decision, weighed.decision.over_budget
    note = (
        MatchRow(item.empiar_id, item.file_id, item.files, item.bytes, item.mark, reason)
        for item, reason in decision.note
    )
    others = ((one.empiar_id, one.file_id) for one in weighed.others if not one.gone)
    outcome = Evaluated(
        name,
        None,
        matches=len(weighed.matches.numbers),
        gone=len(decision.gone),
        over_budget=len(over),
        bytes_over_budget=sum(item.bytes for item in over),
        older=decision.older,
        unlisted=decision.unlisted,
    )
    return _Case(
        number,
        Asker(number, weighed.recipe),
        weighed.matches.selects,
        weighed.entries,
        weighed.files,
        tuple(note),
        (*decision.gone, *others),
        outcome,
    )


def _new_since(this: _Round, subscription: Subscription) -> int | None:
    """Since when what comes is new to this subscription.

    Before the archive was enumerated for the first time, what it held all along cannot be told from what is new:
    until then nothing is new.
    """
    if not subscription.definition.new_only or subscription.new_since is not None:
        return subscription.new_since
    if store.archive_was_enumerated(this.conn):
        job = functools.partial(store.begin_new, number=subscription.number, now=this.now)
        this.catalogue.write_now(job)
    return this.now


def _write(this: _Round, stopped: Callable[[], bool]) -> None:
    """What waits is wanted and on record. Where `stopped` came first, the next evaluation does the rest."""
    cases, this.cases = this.cases, []
    if this.wanting.write(stopped):
        steps = deque(step for case in cases for step in _records(case, this.now))
        write_steps(this.catalogue, steps, stopped=stopped)


def _records(case: _Case, now: int) -> Iterator[Step]:
    number = case.number
    for start in range(0, len(case.note), FILES_AT_ONCE):
        rows = case.note[start : start + FILES_AT_ONCE]
        yield functools.partial(store.record_other_matches, number=number, rows=rows, now=now)
    for start in range(0, len(case.gone), FILES_AT_ONCE):
        keys = case.gone[start : start + FILES_AT_ONCE]
        yield functools.partial(store.record_gone_matches, number=number, keys=keys, now=now)
    yield functools.partial(
        store.record_evaluation,
        number=number,
        selects=case.selects,
        matches=case.outcome.matches,
        entries=case.entries,
        files=case.files,
        now=now,
    )

"""What subscriptions ask for becomes wanted: entry by entry, for all of them at once, in transactions that end soon."""

from __future__ import annotations

import functools
import sqlite3
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from empiar_mirror.asking import note_subscribed
from empiar_mirror.short_writes import Step, write_steps
from empiar_mirror.subscriptions.choices import Choices
from empiar_mirror.subscriptions.judging import Item
from empiar_schema import queue_store, want_store
from empiar_schema import subscription_store as store
from empiar_schema.catalogue import Catalogue
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.queues import Wish
from empiar_schema.subscriptions import MatchRow

#: Files that are made wanted, and matches that are recorded, in one transaction: more would keep the transfer from recording what arrives.
FILES_AT_ONCE: Final = 5_000


@dataclass(slots=True)
class Asker:
    """A subscription that asks, and what was made wanted because of it."""

    number: int
    #: None where it takes its entries whole, or single files.
    recipe: ViewRecipe | None
    entries: dict[int, None] = field(default_factory=dict)
    files: int = 0

    def made_wanted(self, empiar_id: int, files: int) -> None:
        """So many files of the entry were not wanted before."""
        if files:
            self.entries[empiar_id] = None
            self.files += files


@dataclass(slots=True)
class _Share:
    """Files of an entry, and who asks for just these."""

    #: None means all.
    files: array[int] | None
    askers: list[Asker] = field(default_factory=list)

    @property
    def numbers(self) -> frozenset[int]:
        return frozenset(asker.number for asker in self.askers)


class Wanting:
    """Collects what is asked for, then writes it: an entry that many want is asked for once."""

    def __init__(self, catalogue: Catalogue, conn: sqlite3.Connection, choices: Choices, *, now: int) -> None:
        """`conn` reads."""
        self._catalogue = catalogue
        self._conn = conn
        self._choices = choices
        self._now = now
        self._asks: dict[int, list[tuple[Asker, list[Item]]]] = {}
        #: Matches that wait to be written.
        self.size = 0

    def ask(self, asker: Asker, items: Sequence[Item]) -> None:
        """What the items stand for is to become wanted; of two who ask for the same, the one who comes first counts it as made wanted."""
        for item in items:
            of_entry = self._asks.setdefault(item.empiar_id, [])
            if not of_entry or of_entry[-1][0] is not asker:
                of_entry.append((asker, []))
            of_entry[-1][1].append(item)
        self.size += len(items)

    def write(self, stopped: Callable[[], bool]) -> bool:
        """All of it is wanted and on record; false if `stopped` came first, which leaves the rest to another time. Blocking.

        Raises:
            CatalogueFault: the catalogue refuses.
            StorageFault: the disk refuses.
        """
        steps: deque[Step] = deque()
        rows: dict[int, list[MatchRow]] = {}
        size = 0
        for empiar_id, asks in self._asks.items():
            for step, cost in self._steps(empiar_id, asks):
                steps.append(step)
                size += cost
                if size >= FILES_AT_ONCE:
                    if not self._do(steps, stopped):
                        return False
                    size = 0
            for asker, items in asks:
                rows.setdefault(asker.number, []).extend(map(_row, items))
                size += len(items)
            if size >= FILES_AT_ONCE:
                if not self._do(self._and_record(steps, rows), stopped):
                    return False
                size, rows = 0, {}
        done = self._do(self._and_record(steps, rows), stopped)
        self._asks, self.size = {}, 0
        return done

    def _do(self, steps: deque[Step], stopped: Callable[[], bool]) -> bool:
        # A power cut that undoes some leaves matches that are asked for at the next evaluation.
        return write_steps(self._catalogue, steps, stopped=stopped)

    def _and_record(self, steps: deque[Step], rows: dict[int, list[MatchRow]]) -> deque[Step]:
        for number, of_one in rows.items():
            for start in range(0, len(of_one), FILES_AT_ONCE):
                part = of_one[start : start + FILES_AT_ONCE]
                steps.append(
                    functools.partial(store.record_wanted_matches, number=number, rows=part, now=self._now)
                )
        return steps

    def _steps(self, empiar_id: int, asks: list[tuple[Asker, list[Item]]]) -> Iterator[tuple[Step, int]]:
        """What has to be done for the entry, and how many files each step may touch."""
        yield functools.partial(note_subscribed, empiar_id=empiar_id, now=self._now), 1
        whole, parts, files = self._shares(empiar_id, asks)
        for share in parts:
            assert share.files is not None
            first = _first(asks, share, whole)
            yield from self._want_files(empiar_id, share.numbers, share.files, first)
        if whole is not None:
            yield from self._want_whole(empiar_id, whole.numbers, files, whole.askers[0])

    def _shares(
        self, empiar_id: int, asks: list[tuple[Asker, list[Item]]]
    ) -> tuple[_Share | None, list[_Share], int]:
        """Who wants the whole, who wants which part, and how many files the whole has.

        Those who want the whole join last: then what a part adds goes to its queue at once, instead of moving there.
        """
        whole: _Share | None = None
        parts: dict[bytes, _Share] = {}
        files = 0
        for asker, items in asks:
            if items[0].file_id:
                chosen = array("q", sorted(item.file_id for item in items))
            elif asker.recipe is not None:
                chosen = self._choices.files(empiar_id, asker.recipe)
            else:
                whole = whole or _Share(None)
                whole.askers.append(asker)
                files = items[0].files
                continue
            parts.setdefault(chosen.tobytes(), _Share(chosen)).askers.append(asker)
        return whole, list(parts.values()), files

    def _want_whole(
        self, empiar_id: int, numbers: frozenset[int], files: int, first: Asker
    ) -> Iterator[tuple[Step, int]]:
        if files <= FILES_AT_ONCE:
            step = functools.partial(_want_entry, first, empiar_id=empiar_id, numbers=numbers, now=self._now)
            yield step, files
            return
        yield self._join(empiar_id, numbers, None), 1
        yield from self._in_slices(empiar_id, numbers, want_store.unasked_files(self._conn, empiar_id), first)

    def _want_files(
        self, empiar_id: int, numbers: frozenset[int], files: array[int], first: Asker
    ) -> Iterator[tuple[Step, int]]:
        if len(files) > FILES_AT_ONCE:
            # A queue that joins as a whole costs one row; slice by slice all its files would move.
            yield self._join(empiar_id, numbers, files), FILES_AT_ONCE
        yield from self._in_slices(empiar_id, numbers, files, first)

    def _join(self, empiar_id: int, numbers: frozenset[int], files: array[int] | None) -> Step:
        return functools.partial(
            queue_store.join,
            empiar_id=empiar_id,
            wish=Wish(subscriptions=numbers),
            now=self._now,
            file_ids=files,
            split=False,
        )

    def _in_slices(
        self, empiar_id: int, numbers: frozenset[int], files: array[int], first: Asker
    ) -> Iterator[tuple[Step, int]]:
        for start in range(0, len(files), FILES_AT_ONCE):
            part = files[start : start + FILES_AT_ONCE]
            step = functools.partial(
                _want_files, first, empiar_id=empiar_id, files=part, numbers=numbers, now=self._now
            )
            yield step, len(part)


def _first(asks: list[tuple[Asker, list[Item]]], share: _Share, whole: _Share | None) -> Asker:
    """Who comes first of those who want a file of this share."""
    among = [*share.askers, *(whole.askers if whole is not None else ())]
    return next(asker for asker, _ in asks if any(asker is one for one in among))


def _want_entry(
    first: Asker, conn: sqlite3.Connection, *, empiar_id: int, numbers: frozenset[int], now: int
) -> None:
    first.made_wanted(empiar_id, want_store.want_entry(conn, empiar_id, now=now, subscriptions=numbers))


def _want_files(
    first: Asker,
    conn: sqlite3.Connection,
    *,
    empiar_id: int,
    files: array[int],
    numbers: frozenset[int],
    now: int,
) -> None:
    first.made_wanted(empiar_id, want_store.want_files(conn, files, now=now, subscriptions=numbers))


def _row(item: Item) -> MatchRow:
    return MatchRow(item.empiar_id, item.file_id, item.files, item.bytes, item.mark, None)

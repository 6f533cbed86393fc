"""Whoever wants what, and whatever becomes of it: the sums of queues are what a recount from scratch gives, and each file is in the queue of those who want it."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import claims
from empiar_mirror.subscriptions.choices import Choices
from empiar_mirror.subscriptions.judging import Item
from empiar_mirror.subscriptions.wanting import Asker, Wanting
from empiar_schema import crawl_store as crawl
from empiar_schema import eviction_store as eviction
from empiar_schema import subscription_store as subscriptions
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.files import ListedFile
from empiar_schema.states import CopyState
from empiar_schema.subscriptions import Definition

IDS = (10017, 10028)
NAMES = ("a", "b", "c", "d")
OF = {empiar_id: range(1 + 4 * place, 5 + 4 * place) for place, empiar_id in enumerate(IDS)}
NUMBERS = (1, 2, 3)
entries = st.sampled_from(IDS)
chosen = st.sets(st.integers(0, 3), min_size=1)


class Queues(RuleBasedStateMachine):
    """Several ask for the same at once, as an evaluation does, or one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.catalogue = Catalogue.open(Path(self.folder.name) / "empiar.db", create=True)
        self.now = 1000
        #: Who wants each file, and with which priority it was asked for by name: what queues must come to.
        self.wanted: dict[int, set[int]] = {}
        self.by_name: dict[int, int] = {}

    def teardown(self) -> None:
        self.catalogue.close()
        self.folder.cleanup()

    @initialize()
    def listed(self) -> None:
        for empiar_id in IDS:
            begin = functools.partial(crawl.begin_listing, empiar_id=empiar_id, source="ftp", now=self.now)
            listing = self.catalogue.write_now(begin)
            batch = [ListedFile(name, 100 + ord(name), True, 0, 60) for name in NAMES]
            add = functools.partial(crawl.add_to_listing, listing=listing, directory="data", files=batch)
            self.catalogue.write_now(add)
            self.catalogue.write_now(functools.partial(crawl.complete_listing, listing=listing, now=self.now))
        for number in NUMBERS:
            made = Definition(f"s{number}", "SELECT 1 AS empiar_id", priority=number)
            self.catalogue.write_now(
                functools.partial(subscriptions.add_subscription, wanted=made, now=self.now)
            )

    @rule(
        asks=st.lists(
            st.tuples(st.sampled_from(NUMBERS), entries, st.none() | chosen), min_size=1, max_size=6
        )
    )
    def subscriptions_ask(self, asks: list[tuple[int, int, set[int] | None]]) -> None:
        self.now += 1
        kinds = {number: files is None for number, _, files in asks}
        before = set(self.wanted)
        with self.catalogue.reader() as conn:
            wanting = Wanting(self.catalogue, conn, Choices(conn), now=self.now)
            askers = {number: Asker(number, None) for number in NUMBERS}
            for number, empiar_id, files in asks:
                if kinds[number] is not (files is None):
                    continue  # one subscription selects entries, or files
                ids = list(OF[empiar_id]) if files is None else [OF[empiar_id][place] for place in files]
                items = (
                    [Item(empiar_id, 0, 4, 1, "m")]
                    if files is None
                    else [Item(empiar_id, i, 1, 1, "f") for i in ids]
                )
                wanting.ask(askers[number], items)
                for file_id in ids:
                    self.wanted.setdefault(file_id, set()).add(number)
            assert wanting.write(lambda: False)
        assert sum(asker.files for asker in askers.values()) == len(set(self.wanted) - before)

    @rule(empiar_id=entries, files=st.none() | chosen, priority=st.integers(0, 2))
    def somebody_asks_by_name(self, empiar_id: int, files: set[int] | None, priority: int) -> None:
        self.now += 1
        ids = list(OF[empiar_id]) if files is None else [OF[empiar_id][place] for place in files]
        job = functools.partial(transfer.want_files, file_ids=ids, now=self.now, priority=priority)
        if files is None:
            job = functools.partial(transfer.want_entry, empiar_id=empiar_id, now=self.now, priority=priority)
        self.catalogue.write_now(job)
        for file_id in ids:
            self.wanted.setdefault(file_id, set())
            self.by_name[file_id] = max(priority, self.by_name.get(file_id, priority))

    @rule(files=st.integers(1, 5))
    def some_are_claimed_and_arrive_or_fail(self, files: int) -> None:
        self.now += 1
        works = self.catalogue.write_now(
            lambda c: claims.claim(c, now=self.now, limit_files=files, limit_bytes=10**9)
        )
        for place, work in enumerate(works):
            match place % 3:
                case 0:
                    come = transfer.Arrival(work.file_id, 7, bytes(32), None, None)
                    job = functools.partial(transfer.record_arrivals, arrivals=[come], now=self.now)
                case 1:
                    job = functools.partial(transfer.park, file_id=work.file_id, error="no")
                case _:
                    job = functools.partial(transfer.give_back, file_ids=[work.file_id])
            self.catalogue.write_now(job)

    @rule(empiar_id=entries)
    def failed_ones_are_tried_again(self, empiar_id: int) -> None:
        self.now += 1
        parked = [CopyState.PARKED]
        self.catalogue.write_now(
            functools.partial(transfer.retry_failed, empiar_ids=[empiar_id], now=self.now, states=parked)
        )

    @rule(empiar_id=entries)
    def what_is_here_is_evicted_and_recalled(self, empiar_id: int) -> None:
        self.now += 1
        with self.catalogue.reader() as conn:
            here = [
                row[0]
                for row in conn.execute(
                    "SELECT file_id FROM copies WHERE empiar_id = ? AND state = 'arrived'", (empiar_id,)
                )
            ]
        run = functools.partial(eviction.begin_run, reason="test", sql="", now=self.now)
        run_id = self.catalogue.write_now(run)
        gone = [eviction.Chosen(file_id, bytes(32), self.now) for file_id in here]
        self.catalogue.write_now(functools.partial(eviction.intend, run_id=run_id, chosen=gone))
        with self.catalogue.reader() as conn:
            intents = eviction.intended_files(conn, empiar_id)
        removed = functools.partial(eviction.record_removed, intents=intents, now=self.now)
        self.catalogue.write_now(removed)
        recall = functools.partial(eviction.recall, empiar_ids=[empiar_id], priority=1, now=self.now)
        self.catalogue.write_now(recall)
        with self.catalogue.reader() as conn:
            evicted = conn.execute(
                "SELECT DISTINCT file_id FROM evictions JOIN copies USING (file_id) WHERE copies.empiar_id = ? AND recalled_at IS NOT NULL"
                " AND returned_at IS NULL",
                (empiar_id,),
            ).fetchall()
        for (file_id,) in evicted:
            if file_id in here:
                self.by_name[file_id] = max(1, self.by_name.get(file_id, 1))

    @invariant()
    def sums_are_those_of_a_recount(self) -> None:
        with self.catalogue.reader() as conn:
            for table, key in (("queue_progress", "queue_id"), ("copy_progress", "empiar_id")):
                summed = conn.execute(
                    f"SELECT {key}, state, files, bytes FROM {table} WHERE files <> 0 OR bytes <> 0 ORDER BY 1, 2"
                ).fetchall()
                counted = conn.execute(
                    f"SELECT {key}, state, count(*), sum(ifnull(bytes, 0)) FROM copy GROUP BY 1, 2 ORDER BY 1, 2"
                ).fetchall()
                assert [tuple(row) for row in summed] == [tuple(row) for row in counted]

    @invariant()
    def each_file_is_in_the_queue_of_those_who_want_it(self) -> None:
        with self.catalogue.reader() as conn:
            rows = conn.execute(
                "SELECT c.file_id, c.empiar_id = q.empiar_id, q.wanters, q.own_priority FROM copy c JOIN queue q USING (queue_id)"
            ).fetchall()
        assert {row[0]: {int(number) for number in json.loads(row[2])} for row in rows} == self.wanted
        assert {row[0]: row[3] for row in rows if row[3] is not None} == self.by_name
        assert all(row[1] for row in rows)


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)

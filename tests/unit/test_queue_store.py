"""Queues in the catalogue: who wants what, what that sums up to, and what an older catalogue becomes."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

import claims
from empiar_schema import crawl_store as crawl
from empiar_schema import queue_store, subscription_store
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.files import ListedFile, Validators
from empiar_schema.migrations import STEPS, migrate
from empiar_schema.queues import BY_NAME
from empiar_schema.states import Channel, Role
from empiar_schema.subscriptions import Definition
from empiar_schema.transfer_store import Arrival, Turn

ID = 10017
NOW = 1_800_000_000
T = TypeVar("T")
NAMES = ("a.mrc", "b.mrc", "c.star")


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """One entry of three files, and two subscriptions."""
    with Catalogue.open(tmp_path / "empiar.db", create=True) as opened:
        listing = opened.write_now(lambda c: crawl.begin_listing(c, ID, source="ftp", now=NOW))
        files = [ListedFile(name, 100, True, 0, 60) for name in NAMES]
        opened.write_now(lambda c: crawl.add_to_listing(c, listing, "data", files))
        opened.write_now(lambda c: crawl.complete_listing(c, listing, now=NOW))
        for name, priority in (("one", 1), ("two", 2)):
            wanted = Definition(name, "SELECT 1 AS empiar_id", priority=priority, quota_bytes=250)
            opened.write_now(functools.partial(subscription_store.add_subscription, wanted=wanted, now=NOW))
        yield opened


def asked(catalogue: Catalogue, query: Callable[[sqlite3.Connection], T]) -> T:
    with catalogue.reader() as conn:
        return query(conn)


def queues(catalogue: Catalogue) -> list[tuple[object, ...]]:
    """Priority, wanters and files of each queue in which something waits."""
    found = asked(catalogue, queue_store.waiting_queues)
    return [(one.own_priority, tuple(one.wanters), one.files) for one in found]


def want(catalogue: Catalogue, subscription: int | None = None, *file_ids: int, priority: int = 0) -> int:
    asking = () if subscription is None else (subscription,)
    if file_ids:
        job = functools.partial(
            transfer.want_files, file_ids=file_ids, now=NOW, priority=priority, subscriptions=asking
        )
        return catalogue.write_now(job)
    return catalogue.write_now(
        lambda c: transfer.want_entry(c, ID, now=NOW, priority=priority, subscriptions=asking)
    )


def priorities(catalogue: Catalogue) -> list[int]:
    return asked(
        catalogue, lambda c: [row[0] for row in c.execute("SELECT priority FROM copies ORDER BY file_id")]
    )


def test_files_that_the_same_people_want_stand_in_one_queue(catalogue: Catalogue) -> None:
    assert want(catalogue, 1) == 3
    assert queues(catalogue) == [(None, (1,), 3)]
    assert want(catalogue, 2, 1, 2) == 0
    assert queues(catalogue) == [(None, (1, 2), 2), (None, (1,), 1)]
    assert want(catalogue, None, 3, priority=7) == 0
    assert queues(catalogue) == [(7, (1,), 1), (None, (1, 2), 2)]
    assert priorities(catalogue) == [2, 2, 7]
    # Asked once more, nothing changes.
    before = asked(catalogue, queue_store.revision)
    want(catalogue, 1)
    want(catalogue, 2, 1, 2)
    assert asked(catalogue, queue_store.revision) == before


def test_priorities_follow_their_subscriptions_at_once_and_also_down(catalogue: Catalogue) -> None:
    want(catalogue, 1)
    want(catalogue, 2)
    before = asked(catalogue, queue_store.revision)
    for wanted, expected in ((9, 9), (-3, 1)):
        two = Definition("two", "", priority=wanted)
        catalogue.write_now(functools.partial(subscription_store.set_subscription, name="two", wanted=two))
        assert set(priorities(catalogue)) == {expected}
    catalogue.write_now(lambda c: subscription_store.pause_subscription(c, "one"))
    assert set(priorities(catalogue)) == {-3}
    assert asked(catalogue, queue_store.revision) > before


def test_what_a_subscription_wanted_stays_wanted_with_its_priority_when_it_is_removed(
    catalogue: Catalogue,
) -> None:
    want(catalogue, 2)
    catalogue.write_now(lambda c: subscription_store.remove_subscription(c, "two"))
    assert queues(catalogue) == [(2, (), 3)]


def test_sums_by_queue_are_those_of_the_copies(catalogue: Catalogue) -> None:
    want(catalogue, 1)
    want(catalogue, 2, 1)
    [work, _] = catalogue.write_now(lambda c: claims.claim(c, now=NOW, limit_files=2, limit_bytes=10**9))
    arrival = Arrival(work.file_id, 120, bytes(32), Channel.HTTPS, Validators(120, 1, None))
    catalogue.write_now(lambda c: transfer.record_arrivals(c, [arrival], now=NOW))
    want(catalogue, None, 2)
    summed = "SELECT queue_id, state, files, bytes FROM queue_progress WHERE files > 0 ORDER BY 1, 2"
    counted = "SELECT queue_id, state, count(*), sum(bytes) FROM copy GROUP BY 1, 2 ORDER BY 1, 2"
    with catalogue.reader() as conn:
        sums, counts = ([tuple(row) for row in conn.execute(query)] for query in (summed, counted))
    assert sums == counts
    assert asked(catalogue, lambda c: queue_store.held_bytes(c, [1, 2])) == {1: 220, 2: 120}
    # The file counts for both who wanted it, in equal parts, and half of it a day later.
    assert asked(catalogue, lambda c: queue_store.accounts(c, now=NOW)) == {1: 60.0, 2: 60.0}
    assert asked(catalogue, lambda c: queue_store.accounts(c, now=NOW + 86_400)) == {1: 30.0, 2: 30.0}
    assert BY_NAME == 0


def test_labels_come_before_images_as_soon_as_roles_are_judged(catalogue: Catalogue) -> None:
    want(catalogue, 1)
    roles = [(1, Role.MICROGRAPH, 1.0), (2, Role.MICROGRAPH, 1.0), (3, Role.PARTICLE_COORDINATES, 1.0)]
    catalogue.write_now(lambda c: crawl.record_roles(c, roles))
    works = catalogue.write_now(lambda c: claims.claim(c, now=NOW, limit_files=9, limit_bytes=10**9))
    assert [work.remote.name for work in works] == ["c.star", "a.mrc", "b.mrc"]
    catalogue.write_now(lambda c: transfer.give_back(c, [3]))
    assert queues(catalogue) == [(None, (1,), 1)]


def test_a_turn_keeps_to_the_room_below_a_quota(catalogue: Catalogue) -> None:
    want(catalogue, 1)
    taken = catalogue.write_now(lambda c: transfer.claim_from(c, Turn(1, 9, 10**9, room=250), now=NOW))
    assert (len(taken.works), taken.whole_bytes, taken.exhausted) == (2, 200, True)
    taken = catalogue.write_now(lambda c: transfer.claim_from(c, Turn(1, 9, 1, room=99), now=NOW))
    assert (taken.works, taken.exhausted) == ([], True)


def test_an_older_catalogue_gets_its_queues_and_ranks(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "empiar.db", isolation_level=None)) as conn:
        migrate(conn, steps=STEPS[:5])
        conn.execute(
            "INSERT INTO subscription (name, sql, priority, created_at, number) VALUES ('s', '', 4, 1, 1)"
        )
        conn.execute("INSERT INTO directory VALUES (1, 7, 'data', NULL, NULL), (2, 8, 'data', NULL, NULL)")
        for number, folder, role in ((1, 1, 0), (2, 1, 3), (3, 2, 0), (4, 2, 9)):
            conn.execute(
                "INSERT INTO file (file_id, directory_id, name_hash, bytes, bytes_exact, modified_unit, modified_source,"
                " first_listing, role, name) VALUES (?, ?, 0, 10, 1, 0, 0, 1, ?, 'x')",
                (number, folder, role),
            )
        conn.execute("INSERT INTO wish VALUES (7, '*', 1)")
        conn.execute(
            "INSERT INTO subscription_match (number, empiar_id, file_id, matched_at, wanted_at) VALUES (1, 7, 0, 5, 5)"
        )
        conn.execute(
            "INSERT INTO copy (file_id, empiar_id, priority, bytes, wanted_at) VALUES (1, 7, 4, 10, 5), (2, 7, 4, 10, 5),"
            " (3, 8, 0, 10, 3), (4, 8, 2, 10, 3)"
        )
        migrate(conn, steps=STEPS[:6])
        found = [
            (one.empiar_id, one.own_priority, one.wanters, one.files, one.wanted_at)
            for one in queue_store.waiting_queues(conn)
        ]
        assert found == [(7, None, {1: 5}, 2, 5), (8, 2, {}, 1, 3), (8, 0, {}, 1, 3)]
        ranks = conn.execute("SELECT file_id, rank FROM copy ORDER BY 1").fetchall()
        assert ranks == [(1, 2), (2, 0), (3, 2), (4, 0)]
        assert conn.execute("SELECT sum(files), sum(bytes) FROM queue_progress").fetchone() == (4, 40)

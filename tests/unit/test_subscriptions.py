"""What subscriptions make wanted, and what is new to them."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from empiar_mirror import asking
from empiar_mirror.subscriptions import wanting
from empiar_mirror.subscriptions.evaluation import evaluate_subscriptions
from empiar_schema import crawl_store, queue_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.faults import CatalogueFault
from empiar_schema.settings import Settings
from empiar_schema.states import Role
from small_mirror import ENTRY, NAMES, UNLISTED, UNWANTED, make_small_mirror
from subscribing import ALL, LATER, ONLY, add_entry, enumerated, evaluate, held, reasons, rows, subscribe


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_small_mirror(tmp_path)
    return tmp_path


@pytest.fixture
def catalogue(root: Path) -> Iterator[Catalogue]:
    with Catalogue.open(root / "empiar.db") as opened:
        yield opened


@pytest.fixture
def settings(root: Path) -> Settings:
    return Settings(root=root)


# --- what becomes wanted ------------------------------------------------------------------------------------


def test_new_matches_are_wanted_with_the_priority_and_what_waits_is_raised_to_it(
    catalogue: Catalogue, settings: Settings
) -> None:
    subscribe(catalogue, ALL, priority=7)
    found = evaluate(catalogue, settings)
    # Two files of the entry that nobody had asked for; those of the other one have their copies already.
    assert (found.held, found.matches, found.entries, found.files) == (None, 3, (UNWANTED,), 2)
    assert found.unlisted == 1
    assert rows(catalogue, "SELECT DISTINCT priority FROM copies WHERE state IN ('wanted', 'partial')") == [
        (7,)
    ]
    state = rows(catalogue, "SELECT entry_count, file_count, selects FROM subscriptions")
    assert state == [(3, 2 + len(NAMES) + 1, "entries")]
    again = evaluate(catalogue, settings, now=LATER + 1)
    assert (again.entries, again.files, again.gone) == ((), 0, 0)


def test_single_files_are_wanted_and_nothing_else_of_their_entry(
    catalogue: Catalogue, settings: Settings
) -> None:
    subscribe(catalogue, "SELECT file_id FROM files WHERE empiar_id = 10028 AND suffix = '.xml'")
    assert evaluate(catalogue, settings).files == 1
    assert rows(catalogue, "SELECT path FROM copies WHERE empiar_id = 10028") == [("10028.xml",)]
    # Neither does a later sync of what was asked for take it for a wish for the whole.
    catalogue.write_now(
        functools.partial(asking.ask_as_before, empiar_id=UNWANTED, settings=settings, now=LATER)
    )
    assert len(rows(catalogue, "SELECT 1 FROM copies WHERE empiar_id = 10028")) == 1


def test_an_entry_that_was_asked_for_as_a_whole_stays_so(catalogue: Catalogue, settings: Settings) -> None:
    subscribe(catalogue, "SELECT file_id FROM files WHERE empiar_id = 10017 AND suffix = '.xml'")
    evaluate(catalogue, settings)
    add_entry(catalogue, ENTRY, "later.mrc")
    catalogue.write_now(
        functools.partial(asking.ask_as_before, empiar_id=ENTRY, settings=settings, now=LATER)
    )
    assert rows(catalogue, "SELECT state FROM copies WHERE path = 'data/later.mrc'") == [("wanted",)]


def test_of_a_view_only_what_it_takes_is_wanted(catalogue: Catalogue, settings: Settings) -> None:
    add_entry(catalogue, 10030, *(f"{n:03}.mrc" for n in range(40)), "notes.txt")

    def judged(conn: sqlite3.Connection) -> None:
        found = conn.execute("SELECT file_id FROM files WHERE empiar_id = 10030 AND suffix = '.mrc'")
        crawl_store.record_roles(conn, [(row[0], Role.MICROGRAPH, 1.0) for row in found.fetchall()])

    subscribe(catalogue, "SELECT 10030 AS empiar_id", view="trial")
    waiting = evaluate(catalogue, settings)
    assert (waiting.files, waiting.unlisted) == (0, 1), "a view chooses by roles, and they were not judged"
    catalogue.write_now(judged)
    catalogue.write_now(lambda c: c.execute("UPDATE entry SET inspected_listing = current_listing"))
    images = settings.recipe("trial").images
    assert images is not None
    found = evaluate(catalogue, settings)
    assert (found.files, found.unlisted) == (images, 0)
    assert rows(catalogue, "SELECT files, left_out FROM subscription_matches") == [(images, None)]


def test_what_the_archive_adds_to_a_matching_entry_is_wanted_after_its_next_listing(
    catalogue: Catalogue, settings: Settings
) -> None:
    subscribe(catalogue, ONLY)
    assert evaluate(catalogue, settings).files == 2
    add_entry(catalogue, UNWANTED, "added.mrc")
    catalogue.write_now(lambda c: c.execute("UPDATE entry SET title = 'Part 10028'"))
    assert evaluate(catalogue, settings).files == 1


def test_a_budget_is_filled_in_the_order_of_the_query_and_says_what_it_leaves_out(
    catalogue: Catalogue, settings: Settings
) -> None:
    for number in (10031, 10032, 10033):
        add_entry(catalogue, number, "a.mrc", "b.mrc", size=50)
    sql = "SELECT empiar_id FROM entries WHERE empiar_id > 10030 ORDER BY empiar_id DESC"
    subscribe(catalogue, sql, budget_bytes=250)
    found = evaluate(catalogue, settings)
    assert found.entries == (10033, 10032)
    assert (found.over_budget, found.bytes_over_budget) == (1, 100)
    shown = rows(catalogue, "SELECT budget_bytes, taken_bytes, left_out_count FROM subscriptions")
    assert shown == [(250, 200, 1)]
    assert "its budget leaves it out" in reasons(catalogue, settings, 10031)
    assert evaluate(catalogue, settings).files == 0


def test_a_match_that_disappears_is_recorded_and_stays_wanted(
    catalogue: Catalogue, settings: Settings
) -> None:
    subscribe(catalogue, "SELECT empiar_id FROM entries WHERE title LIKE 'Beta%' OR empiar_id = 10017")
    evaluate(catalogue, settings)
    copies = rows(catalogue, "SELECT file_id, state, priority FROM copies ORDER BY 1")
    catalogue.write_now(lambda c: c.execute("UPDATE entry SET title = 'Alpha' WHERE empiar_id = 10028"))
    assert evaluate(catalogue, settings, now=LATER + 5).gone == 1
    assert rows(catalogue, "SELECT file_id, state, priority FROM copies ORDER BY 1") == copies
    gone = rows(
        catalogue,
        "SELECT gone_at IS NOT NULL, wanted_at IS NOT NULL FROM subscription_matches WHERE empiar_id = 10028",
    )
    assert gone == [(1, 1)]
    assert "no longer" in reasons(catalogue, settings, UNWANTED)
    catalogue.write_now(lambda c: c.execute("UPDATE entry SET title = 'Beta' WHERE empiar_id = 10028"))
    evaluate(catalogue, settings)
    assert rows(catalogue, "SELECT 1 FROM subscription_matches WHERE gone_at IS NOT NULL") == []


def test_what_several_want_has_the_highest_priority_of_all_and_stands_with_each(
    catalogue: Catalogue, settings: Settings
) -> None:
    subscribe(catalogue, ALL, name="low", priority=1)
    evaluate(catalogue, settings, name="low")
    subscribe(catalogue, ALL, name="high", priority=5)
    subscribe(catalogue, "SELECT file_id FROM files WHERE name = 'only.mrc'", name="higher", priority=8)
    subscribe(catalogue, ONLY, name="as_high", priority=5)
    subscribe(catalogue, "SELECT file_id FROM files WHERE name = 'only.mrc'", name="lower", priority=2)
    assert all(one.held is None for one in evaluate_subscriptions(catalogue, settings, now=LATER))
    found = "SELECT f.name, c.priority FROM copies c JOIN file f USING (file_id) WHERE c.empiar_id = 10028"
    assert dict(rows(catalogue, found)) == {"only.mrc": 8, "10028.xml": 5}  # type: ignore[arg-type]
    wanted = rows(
        catalogue,
        "SELECT name FROM subscription_matches WHERE empiar_id = 10028 AND wanted_at IS NOT NULL ORDER BY 1",
    )
    assert wanted == [("as_high",), ("high",), ("higher",), ("low",), ("lower",)]


def test_an_evaluation_that_was_broken_off_is_completed_by_the_next(
    catalogue: Catalogue, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wanting, "FILES_AT_ONCE", 1)
    for number in (10031, 10032, 10033):
        add_entry(catalogue, number, "a.mrc", "b.mrc")
    refuse = (
        "CREATE TRIGGER full BEFORE INSERT ON copy WHEN new.empiar_id = 10032"
        " BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )
    catalogue.write_now(lambda c: c.execute(refuse))
    subscribe(catalogue, "SELECT empiar_id FROM entries WHERE empiar_id > 10030 ORDER BY 1")
    with pytest.raises((sqlite3.Error, CatalogueFault)):
        evaluate(catalogue, settings)
    wanted = "SELECT DISTINCT empiar_id FROM copy WHERE empiar_id > 10030 ORDER BY 1"
    on_record = "SELECT empiar_id FROM subscription_matches WHERE wanted_at IS NOT NULL ORDER BY 1"
    assert rows(catalogue, wanted) == rows(catalogue, on_record) == [(10031,)]
    assert held(catalogue) is None
    catalogue.write_now(lambda c: c.execute("DROP TRIGGER full"))
    assert evaluate(catalogue, settings).files == 4
    assert rows(catalogue, wanted) == rows(catalogue, on_record) == [(10031,), (10032,), (10033,)]


def test_an_evaluation_that_is_stopped_says_what_it_did_and_is_completed_by_the_next(
    catalogue: Catalogue, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wanting, "FILES_AT_ONCE", 1)
    for number in (10031, 10032):
        add_entry(catalogue, number, "a.mrc", "b.mrc")
    subscribe(catalogue, "SELECT empiar_id FROM entries WHERE empiar_id > 10030 ORDER BY 1")

    def stopped() -> bool:
        return bool(rows(catalogue, "SELECT 1 FROM subscription_matches WHERE wanted_at IS NOT NULL"))

    [first] = evaluate_subscriptions(catalogue, settings, now=LATER, stopped=stopped)
    assert (first.entries, first.files) == ((10031,), 2)
    assert rows(catalogue, "SELECT evaluated_at FROM subscription") == [(None,)]
    again = evaluate(catalogue, settings)
    assert (again.entries, again.files, again.matches) == ((10032,), 2, 2)
    assert rows(catalogue, "SELECT DISTINCT empiar_id FROM copy WHERE empiar_id > 10030 ORDER BY 1") == [
        (10031,),
        (10032,),
    ]


def test_files_that_several_want_in_part_and_as_a_whole_stand_in_one_queue_for_each_set_of_them(
    catalogue: Catalogue, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entry(catalogue, 10031, *"abcd")
    some = "SELECT file_id FROM files WHERE empiar_id = 10031 AND path IN ('data/a', 'data/b')"
    subscribe(catalogue, "SELECT 10031 AS empiar_id", name="whole", priority=3)
    subscribe(catalogue, some, name="part", priority=2)
    subscribe(catalogue, "SELECT 10031 AS empiar_id", name="late", priority=1)
    found = {one.name: one.files for one in evaluate_subscriptions(catalogue, settings, now=LATER)}
    assert found == {"whole": 4, "part": 0, "late": 0}
    with catalogue.reader() as conn:
        queues = queue_store.waiting_queues(conn, empiar_ids=[10031])
    assert [(sorted(one.wanters), one.files) for one in queues] == [([1, 2, 3], 2), ([1, 3], 2)]


# --- what is new --------------------------------------------------------------------------------------------


def test_only_entries_that_were_first_seen_later_are_new(catalogue: Catalogue, settings: Settings) -> None:
    enumerated(catalogue)
    subscribe(catalogue, ALL, new_only=True)
    first = evaluate(catalogue, settings, now=LATER)
    assert (first.files, first.older) == (0, 3)
    add_entry(catalogue, 10040, "a.mrc", now=LATER + 10)
    add_entry(catalogue, UNWANTED, "added.mrc", now=LATER + 10)
    found = evaluate(catalogue, settings, now=LATER + 20)
    assert (found.entries, found.older) == ((10040,), 3)


def test_only_files_that_were_added_later_are_new(catalogue: Catalogue, settings: Settings) -> None:
    enumerated(catalogue)
    subscribe(catalogue, "SELECT file_id FROM files WHERE suffix = '.mrc'", new_only=True)
    assert evaluate(catalogue, settings, now=LATER).files == 0
    add_entry(catalogue, 10040, "new.mrc", now=LATER + 10)
    add_entry(catalogue, UNWANTED, "added.mrc", now=LATER + 10)
    # Known all along, and listed only now: that is not new in the archive.
    add_entry(catalogue, UNLISTED, "old.mrc", now=LATER + 10)
    evaluate(catalogue, settings, now=LATER + 20)
    wanted = rows(catalogue, "SELECT path FROM copies WHERE empiar_id <> 10017 ORDER BY path")
    assert wanted == [("data/added.mrc",), ("data/new.mrc",)]


def test_before_the_archive_was_enumerated_nothing_is_new(catalogue: Catalogue, settings: Settings) -> None:
    subscribe(catalogue, ALL, new_only=True)
    assert evaluate(catalogue, settings, now=LATER).files == 0
    add_entry(catalogue, 10040, "first_crawl.mrc", now=LATER + 10)
    enumerated(catalogue)
    assert evaluate(catalogue, settings, now=LATER + 20).files == 0
    add_entry(catalogue, 10041, "new.mrc", now=LATER + 30)
    assert evaluate(catalogue, settings, now=LATER + 40).entries == (10041,)

"""Subscriptions over a catalogue: what their queries may do, what becomes wanted, and what holds one."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from empiar_mirror import asking
from empiar_mirror.status import read_status
from empiar_mirror.subscriptions import wanting
from empiar_mirror.subscriptions.asked import asked_by
from empiar_mirror.subscriptions.declaring import put_in_force
from empiar_mirror.subscriptions.evaluation import Evaluated, evaluate_subscriptions
from empiar_mirror.subscriptions.matching import matches_of
from empiar_mirror.subscriptions.outlook import outlook, weighed_again, weighed_now
from empiar_mirror.why import why_entry
from empiar_schema import crawl_store
from empiar_schema import subscription_store as store
from empiar_schema.catalogue import Catalogue
from empiar_schema.configuration import load
from empiar_schema.entry import Entry
from empiar_schema.faults import CatalogueFault, ConfigFault
from empiar_schema.files import ListedFile
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from empiar_schema.settings import Settings, SubscriptionSettings
from empiar_schema.states import Role
from empiar_schema.subscriptions import Definition
from small_mirror import ENTRY, NAMES, NOW, SIZE, UNLISTED, UNWANTED, make_small_mirror

ALL = "SELECT empiar_id FROM entries"
ONLY = "SELECT empiar_id FROM entries WHERE title LIKE '%10028'"
LATER = NOW + 1000


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


def subscribe(catalogue: Catalogue, sql: str, *, name: str = "mine", at: int = NOW, **more: object) -> None:
    definition = Definition(name, sql, **more)  # type: ignore[arg-type] # keys of Definition
    catalogue.write_now(functools.partial(store.add_subscription, wanted=definition, now=at))


def evaluate(catalogue: Catalogue, settings: Settings, *, now: int = LATER, name: str = "mine") -> Evaluated:
    [found] = evaluate_subscriptions(catalogue, settings, now=now, names=[name])
    return found


def rows(catalogue: Catalogue, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    with catalogue.reader() as conn:
        return [tuple(row) for row in conn.execute(sql, parameters)]


def held(catalogue: Catalogue, name: str = "mine") -> object:
    [(reason,)] = rows(catalogue, "SELECT held_reason FROM subscriptions WHERE name = ?", name)
    return reason


def add_entry(catalogue: Catalogue, empiar_id: int, *names: str, now: int = LATER, size: int = SIZE) -> None:
    """The entry is known, and these are its files; those that were listed before stay."""

    def job(conn: sqlite3.Connection) -> None:
        entry = Entry(empiar_id=empiar_id, title=f"Part {empiar_id}", status="REL")
        crawl_store.record_entry(conn, entry, source="api", now=now)
        listing = begin_listing(conn, empiar_id, source="ftp", now=now)
        add_to_listing(conn, listing, "data", [ListedFile(name, size, True, now - 10, 1) for name in names])
        complete_listing(conn, listing, now=now)

    catalogue.write_now(job)


def enumerated(catalogue: Catalogue) -> None:
    catalogue.write_now(lambda conn: crawl_store.record_harvest(conn, "search", day="2026-01-01", now=NOW))


# --- what a query may be ------------------------------------------------------------------------------------

REFUSED = [
    ("DELETE FROM entry", "only reading"),
    ("WITH x AS (SELECT 1 AS empiar_id) DELETE FROM entry", "only reading"),
    ("INSERT INTO wish VALUES (1, '', 1) RETURNING empiar_id", "only reading"),
    ("ATTACH '/tmp/x.db' AS x", "only reading"),
    ("PRAGMA query_only = OFF", "only reading"),
    ("PRAGMA table_info('entry')", "no column empiar_id or file_id"),
    ("SELECT empiar_id FROM entries; DELETE FROM entry", "one statement"),
    ("SELECT load_extension('/tmp/x.so') AS empiar_id", "not authorized"),
    ("SELECT zeroblob(2000000000) AS empiar_id", "64 MiB"),
    ("SELECT title FROM entries", "no column empiar_id or file_id, but title"),
    ("SELECT empiar_id AS id FROM entries", "no column empiar_id or file_id, but id"),
    ("SELECT empiar_id FROM entries UNION ALL SELECT NULL", "null as empiar_id"),
    ("SELECT accession AS empiar_id FROM entries", "'EMPIAR-10017' as empiar_id"),
    ("SELECT CAST(empiar_id AS TEXT) AS empiar_id FROM entries", "no whole number"),
    ("SELECT empiar_id + 0.5 AS empiar_id FROM entries", "10017.5 as empiar_id"),
    ("SELECT x'00' AS file_id", "as file_id"),
    ("SELECT empiar_id FROM entires", "did you mean entries?"),
    ("SELECT empiar_id FROM entries WHERE empiar_id = :id", "a parameter is missing"),
    ("", "returns nothing"),
    ("nonsense", "does not work"),
    ("SELECT empiar_id FROM entries -- " + "x" * 100_000, "more than 100,000 characters"),
]


@pytest.mark.parametrize(("sql", "sentence"), REFUSED, ids=[sql[:40] for sql, _ in REFUSED])
def test_a_query_that_will_not_do_is_refused_with_a_sentence_and_changes_nothing(
    root: Path, sql: str, sentence: str
) -> None:
    before = (root / "empiar.db").read_bytes()
    with pytest.raises(ConfigFault) as caught:
        matches_of(root, sql)
    assert sentence in str(caught.value)
    assert "empiar_id or file_id" in caught.value.hint
    assert "--timeout" not in caught.value.hint
    assert (root / "empiar.db").read_bytes() == before


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS empiar_id FROM n"


def test_an_endless_query_is_ended_by_rows_or_by_time(root: Path) -> None:
    with pytest.raises(ConfigFault, match="more than 1,000 rows"):
        matches_of(root, ENDLESS, most_rows=1000)
    with pytest.raises(ConfigFault, match=r"took longer than 0\.2 s"):
        matches_of(root, ENDLESS + " WHERE x < 0", seconds=0.2)


def test_a_query_that_returns_both_columns_selects_files_each_once_in_its_order(root: Path) -> None:
    found = matches_of(root, "SELECT FILE_ID, empiar_id FROM files ORDER BY file_id DESC")
    assert found.selects == "files"
    assert list(found.numbers) == sorted(found.numbers, reverse=True)
    twice = matches_of(root, "SELECT empiar_id FROM files UNION ALL SELECT empiar_id FROM files")
    assert twice.selects == "entries"
    assert sorted(twice.numbers) == [ENTRY, UNWANTED]


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT 99999 AS empiar_id", "returns 99999 as empiar_id, and the catalogue knows no such entry"),
        ("SELECT -1 AS file_id UNION SELECT 9223372036854775807", "knows no such file"),
        (ENDLESS + " LIMIT 10", "returns 1, 2, 3 and 7 more as empiar_id"),
    ],
)
def test_only_what_the_catalogue_knows_can_be_selected(
    catalogue: Catalogue, settings: Settings, sql: str, sentence: str
) -> None:
    with catalogue.reader() as conn, pytest.raises(ConfigFault, match=sentence):
        weighed_now(conn, settings, Definition("mine", sql), now=NOW)


def test_a_view_of_single_files_is_refused_and_so_is_a_view_that_does_not_exist(
    catalogue: Catalogue, settings: Settings
) -> None:
    sql = "SELECT file_id FROM files"
    with catalogue.reader() as conn:
        with pytest.raises(ConfigFault, match="a view takes part of entries"):
            weighed_now(conn, settings, Definition("mine", sql, view="trial"), now=NOW)
        with pytest.raises(ConfigFault, match="nosuch"):
            weighed_now(conn, settings, Definition("mine", ALL, view="nosuch"), now=NOW)


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


# --- holds --------------------------------------------------------------------------------------------------


def reasons(catalogue: Catalogue, settings: Settings, empiar_id: int) -> str:
    with catalogue.reader() as conn:
        found = why_entry(conn, empiar_id, worker=None, settings=settings, now=LATER)
    return "\n".join(reason.sentence for reason in found)


def break_query(catalogue: Catalogue) -> None:
    catalogue.write_now(lambda c: c.execute("UPDATE subscription SET sql = 'SELECT empiar_id FROM gone'"))


def return_nothing(catalogue: Catalogue) -> None:
    catalogue.write_now(lambda c: c.execute("UPDATE entry SET title = 'other'"))


def return_ten_times_as_much(catalogue: Catalogue) -> None:
    for number in range(20_000, 20_009):
        add_entry(catalogue, number, "flood.mrc")
    catalogue.write_now(lambda c: c.execute("UPDATE entry SET title = 'part 10028' WHERE empiar_id >= 20000"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (break_query, "there is no view gone"),
        (return_nothing, "suddenly returns nothing, and returned 1 before"),
        (return_ten_times_as_much, "suddenly returns 10, and returned 1 before"),
    ],
)
def test_a_result_that_is_not_to_be_believed_holds_and_changes_nothing_until_somebody_resumes(
    catalogue: Catalogue, settings: Settings, change: Callable[[Catalogue], None], sentence: str
) -> None:
    subscribe(catalogue, ONLY)
    evaluate(catalogue, settings)
    change(catalogue)
    copies = rows(catalogue, "SELECT * FROM copy ORDER BY file_id")
    found = evaluate(catalogue, settings)
    assert sentence in str(found.held)
    assert sentence in str(held(catalogue))
    assert rows(catalogue, "SELECT 1 FROM subscription_matches WHERE gone_at IS NOT NULL") == []

    # It says so wherever one looks, and rests, also when the query would do again.
    assert sentence in reasons(catalogue, settings, UNWANTED)
    with catalogue.reader() as conn:
        status = read_status(conn, None, now=LATER, worker=None, globus=settings.globus)
        with pytest.raises(ConfigFault, match=sentence):
            asked_by(conn, "mine", settings)
    assert [one.name for one in status.held_subscriptions] == ["mine"]
    assert evaluate_subscriptions(catalogue, settings, now=LATER) == []
    assert rows(catalogue, "SELECT * FROM copy ORDER BY file_id") == copies

    catalogue.write_now(functools.partial(store.resume_subscription, name="mine"))
    again = evaluate(catalogue, settings)
    if change is break_query:
        assert sentence in str(again.held), "a query that is still broken holds again"
    else:
        assert again.held is None
        assert held(catalogue) is None
        assert again.files == (9 if change is return_ten_times_as_much else 0)


def test_an_id_that_the_catalogue_does_not_know_holds(catalogue: Catalogue, settings: Settings) -> None:
    subscribe(catalogue, ALL + " UNION ALL SELECT 4711")
    assert "4711" in str(evaluate(catalogue, settings).held)
    assert rows(catalogue, "SELECT 1 FROM subscription_matches") == []


def test_a_subscription_that_never_returned_anything_is_not_held_for_it(
    catalogue: Catalogue, settings: Settings
) -> None:
    subscribe(catalogue, "SELECT empiar_id FROM entries WHERE empiar_id > 19999")
    assert evaluate(catalogue, settings).held is None
    return_ten_times_as_much(catalogue)
    assert evaluate(catalogue, settings).files == 9


def test_one_that_is_held_does_not_keep_the_others(catalogue: Catalogue, settings: Settings) -> None:
    subscribe(catalogue, "SELECT empiar_id FROM gone", name="broken", priority=9)
    subscribe(catalogue, ONLY, name="sound")
    found = evaluate_subscriptions(catalogue, settings, now=LATER)
    assert [(one.name, one.held is None, one.files) for one in found] == [
        ("broken", False, 0),
        ("sound", True, 2),
    ]


def test_a_paused_one_is_not_evaluated_and_goes_on_where_it_was(
    catalogue: Catalogue, settings: Settings
) -> None:
    subscribe(catalogue, ALL)
    catalogue.write_now(functools.partial(store.pause_subscription, name="mine"))
    assert evaluate_subscriptions(catalogue, settings, now=LATER) == []
    catalogue.write_now(functools.partial(store.resume_subscription, name="mine"))
    assert evaluate(catalogue, settings).files == 2


def test_a_pause_does_not_make_a_flood_believable(catalogue: Catalogue, settings: Settings) -> None:
    subscribe(catalogue, ONLY)
    evaluate(catalogue, settings)
    catalogue.write_now(functools.partial(store.pause_subscription, name="mine"))
    return_ten_times_as_much(catalogue)
    catalogue.write_now(functools.partial(store.resume_subscription, name="mine"))
    assert "suddenly returns 10" in str(evaluate(catalogue, settings).held)


def test_what_a_removed_one_made_wanted_stays_wanted(catalogue: Catalogue, settings: Settings) -> None:
    subscribe(catalogue, ALL)
    evaluate(catalogue, settings)
    copies = rows(catalogue, "SELECT * FROM copy ORDER BY file_id")
    catalogue.write_now(functools.partial(store.remove_subscription, name="mine"))
    assert rows(catalogue, "SELECT * FROM copy ORDER BY file_id") == copies
    assert rows(catalogue, "SELECT * FROM subscription_matches") == []


# --- the configuration --------------------------------------------------------------------------------------


def declaring(settings: Settings, **tables: SubscriptionSettings) -> Settings:
    return settings.model_copy(update={"subscription": tables})


def in_force(catalogue: Catalogue) -> Sequence[tuple[object, ...]]:
    return rows(catalogue, "SELECT name, sql, declared FROM subscriptions ORDER BY name")


def test_subscriptions_of_the_file_are_in_force_as_they_stand_there(
    catalogue: Catalogue, settings: Settings
) -> None:
    subscribe(catalogue, ONLY, name="by_hand")
    first = declaring(settings, policy=SubscriptionSettings(sql=ALL), other=SubscriptionSettings(sql=ONLY))
    assert put_in_force(catalogue, first, now=NOW) == ("other", "policy")
    assert put_in_force(catalogue, first, now=NOW) == ()
    assert in_force(catalogue) == [("by_hand", ONLY, 0), ("other", ONLY, 1), ("policy", ALL, 1)]
    changed = declaring(
        settings, policy=SubscriptionSettings(sql=ONLY), by_hand=SubscriptionSettings(sql=ALL)
    )
    assert put_in_force(catalogue, changed, now=NOW) == ("by_hand", "policy", "other")
    assert in_force(catalogue) == [("by_hand", ALL, 1), ("policy", ONLY, 1)]


def test_a_changed_query_in_the_file_is_compared_with_the_one_before_and_releases_no_hold(
    catalogue: Catalogue, settings: Settings
) -> None:
    put_in_force(catalogue, declaring(settings, mine=SubscriptionSettings(sql=ALL)), now=NOW)
    evaluate(catalogue, settings)
    typo = declaring(settings, mine=SubscriptionSettings(sql=ALL + " WHERE title = 'typo'"))
    put_in_force(catalogue, typo, now=NOW)
    assert "suddenly returns nothing" in str(evaluate(catalogue, settings).held)
    put_in_force(catalogue, declaring(settings, mine=SubscriptionSettings(sql=ALL)), now=NOW)
    assert held(catalogue) is not None


def test_tables_of_the_file_are_read_with_all_their_keys_and_wrong_ones_are_named(tmp_path: Path) -> None:
    file = tmp_path / "empiar-mirror.toml"
    file.write_text(
        '[subscription.policy]\nsql = "SELECT 1 AS empiar_id"\nview = "trial"\npriority = 3\nbudget = "2TiB"\n'
        'channel = "globus"\nnew_only = true\n'
    )
    found = load(environ={}, cwd=tmp_path).subscription["policy"]
    assert (found.view, found.priority, found.budget, found.channel, found.new_only) == (
        "trial", 3, 2 * 2**40, "globus", True,
    )  # fmt: skip
    for text, sentence in (
        ("", "lacks sql"),
        ('sql = "x"\nview = "nosuch"\n', "subscription.policy.view"),
        ('sql = "x"\nbugdet = "1TB"\n', "did you mean subscription.policy.budget?"),
        ('sql = "x"\nbudget = 0\n', "budget"),
    ):
        file.write_text(f"[subscription.policy]\n{text}")
        with pytest.raises(ConfigFault, match="policy") as caught:
            load(environ={}, cwd=tmp_path)
        assert sentence in str(caught.value)


# --- the dry run --------------------------------------------------------------------------------------------


def test_a_dry_run_counts_entries_files_bytes_and_what_is_here(
    catalogue: Catalogue, settings: Settings
) -> None:
    before = rows(catalogue, "SELECT * FROM copy")
    with catalogue.reader() as conn:
        found = outlook(conn, settings, weighed_now(conn, settings, Definition("mine", ALL), now=NOW))
        single = Definition("mine", "SELECT file_id FROM files WHERE name = 'a_arrived.mrc'")
        of_files = outlook(conn, settings, weighed_now(conn, settings, single, now=NOW))
        new = outlook(
            conn, settings, weighed_now(conn, settings, Definition("mine", ALL, new_only=True), now=NOW)
        )
    assert (found.matching_entries, found.entries, found.unlisted) == (3, 2, 1)
    assert (found.files, found.bytes) == (len(NAMES) + 3, (len(NAMES) + 1) * SIZE + 2000)
    assert (found.files_here, found.bytes_here) == (2, SIZE + 1000)
    assert found.seconds == pytest.approx(found.bytes_to_move / found.throughput.typical_bytes_per_s)  # type: ignore[union-attr]
    assert (of_files.files, of_files.files_here, of_files.bytes_to_move) == (1, 1, 0)
    assert (new.files, new.older) == (0, 3)
    assert rows(catalogue, "SELECT * FROM copy") == before


def test_what_a_subscription_selects_can_be_planned_again_when_it_is_wanted_already(
    catalogue: Catalogue, settings: Settings
) -> None:
    subscribe(catalogue, ALL)
    evaluate(catalogue, settings)
    declared = declaring(settings, policy=SubscriptionSettings(sql=ONLY))
    with catalogue.reader() as conn:
        again = weighed_again(conn, settings, "mine", now=LATER)
        not_yet = weighed_again(conn, declared, "policy", now=LATER)
        with pytest.raises(ConfigFault, match="no subscription nosuch"):
            weighed_again(conn, settings, "nosuch", now=LATER)
    assert {item.empiar_id for item in again.decision.ask} == {ENTRY, UNWANTED}
    assert {item.empiar_id for item in not_yet.decision.ask} == {UNWANTED}

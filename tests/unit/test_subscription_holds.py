"""What holds a subscription, what the configuration declares, and what a dry run tells."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from empiar_mirror.status import read_status
from empiar_mirror.subscriptions.asked import asked_by
from empiar_mirror.subscriptions.declaring import put_in_force
from empiar_mirror.subscriptions.evaluation import evaluate_subscriptions
from empiar_mirror.subscriptions.outlook import outlook, weighed_again, weighed_now
from empiar_schema import subscription_store as store
from empiar_schema.catalogue import Catalogue
from empiar_schema.configuration import load
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings, SubscriptionSettings
from empiar_schema.subscriptions import Definition
from small_mirror import ENTRY, NAMES, NOW, SIZE, UNWANTED, make_small_mirror
from subscribing import ALL, LATER, ONLY, add_entry, evaluate, held, reasons, rows, subscribe


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


# --- holds --------------------------------------------------------------------------------------------------


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

"""Subscriptions against the rehearsal archive: a new entry that matches arrives with no other action."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.archive import ArchiveFile
from empiar_mirror.rehearsal.entries import big_entry, standard_entries
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema import subscription_store as store
from empiar_schema.events import Event, SubscriptionHeld, SubscriptionMatched
from empiar_schema.faults import ConfigFault
from empiar_schema.subscriptions import Definition
from empiar_schema.transfer_store import park
from independent import assert_mirrored
from mirrors import opened, rows, settings_for

FIRST, NEW = 10017, 10018
LARGE = "SELECT empiar_id FROM entries WHERE title LIKE '%large files%'"
POLICY = f'[subscription.large]\nsql = "{LARGE}"\npriority = 5\n'
SIZES = {"a.mrc": 70_000, "b.mrc": 70_000}


def archive(*ids: int) -> Rehearsal:
    """One of the standard entries, and these."""
    return Rehearsal([standard_entries()[0], *(big_entry(number, SIZES) for number in ids)])


def tomorrow(rehearsal: Rehearsal, mirror: Mirror) -> None:
    """A new entry stands in the archive, and it is a day later."""
    rehearsal.archive.add_entry(big_entry(NEW, SIZES))
    rehearsal.archive.touch_record(NEW, time.strftime("%Y-%m-%d", time.gmtime()))
    mirror.clock = lambda: time.time() + 86_400


def subscribe(mirror: Mirror, sql: str, **more: object) -> None:
    wanted = Definition("mine", sql, **more)  # type: ignore[arg-type] # keys of Definition
    mirror.catalogue.write_now(functools.partial(store.add_subscription, wanted=wanted, now=int(time.time())))


def states(mirror: Mirror) -> dict[object, object]:
    return dict(rows(mirror, "SELECT empiar_id, state FROM entry_progress"))  # type: ignore[arg-type]


async def test_a_new_entry_that_matches_is_wanted_by_a_crawl_alone_and_comes_with_the_next_sync(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    async with archive(FIRST) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path, more=POLICY), events) as mirror:
            await mirror.crawl(None)
            assert states(mirror) == {10101: "listed", FIRST: "wanted"}
            tomorrow(rehearsal, mirror)
            await mirror.crawl(None)
            assert states(mirror)[NEW] == "wanted"
            assert rows(mirror, "SELECT DISTINCT priority FROM copies") == [(5,)]
            matched = [event.entries for event in events if isinstance(event, SubscriptionMatched)]
            assert matched == [(FIRST,), (NEW,)]

            report = await mirror.sync_as_before()
            assert report.transfer.failed == ()
            assert states(mirror) == {10101: "listed", FIRST: "complete", NEW: "complete"}
            for number in (FIRST, NEW):
                assert_mirrored(rehearsal, tmp_path / "mirror", number)


async def test_files_that_a_matching_entry_gets_later_are_wanted_by_a_crawl_alone(tmp_path: Path) -> None:
    async with archive(FIRST) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path, more=POLICY)) as mirror:
            await mirror.crawl(None)
            await mirror.sync_as_before()
            rehearsal.archive.add_file(FIRST, b"data/later.mrc", ArchiveFile(70_000, 1_650_000_000))
            rehearsal.archive.touch_record(FIRST, time.strftime("%Y-%m-%d", time.gmtime()))
            mirror.clock = lambda: time.time() + 86_400
            await mirror.crawl(None)
            state = rows(mirror, "SELECT state FROM copies WHERE path = 'data/later.mrc'")
            assert state == [("wanted",)]


async def test_one_to_what_is_new_leaves_the_first_crawl_and_takes_the_next_entry(tmp_path: Path) -> None:
    async with archive(FIRST) as rehearsal:
        more = POLICY + "new_only = true\n"
        with opened(settings_for(rehearsal, tmp_path, more=more)) as mirror:
            await mirror.crawl(None)
            assert set(states(mirror).values()) == {"listed"}
            tomorrow(rehearsal, mirror)
            await mirror.crawl(None)
            assert states(mirror) == {10101: "listed", FIRST: "listed", NEW: "wanted"}


async def test_what_one_subscription_selects_is_synced_and_nothing_else_that_waits(tmp_path: Path) -> None:
    async with archive(FIRST, NEW) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.crawl(None)
            files = f"SELECT file_id FROM files WHERE empiar_id = {FIRST} AND name = 'b.mrc'"
            subscribe(mirror, files, priority=3)
            await mirror.evaluate_subscriptions()
            [(given_up,)] = rows(mirror, "SELECT file_id FROM copies")
            await mirror.catalogue.write(lambda c: park(c, int(str(given_up)), error="HTTP 404"))
            report = await mirror.sync_subscription("mine")
            assert (report.transfer.arrived, report.transfer.failed) == (1, ())
            assert rows(mirror, "SELECT path, state FROM copies") == [("data/b.mrc", "arrived")]
            # Neither does a sync of everything that was asked for bring more.
            assert (await mirror.sync_as_before()).transfer.arrived == 0
            assert (await mirror.sync_subscription("mine")).transfer.arrived == 0


async def test_a_subscription_to_a_view_fetches_what_it_takes_and_arranges_it(tmp_path: Path) -> None:
    async with archive() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.crawl(None)
            subscribe(mirror, "SELECT empiar_id FROM entries", view="trial")
            assert await mirror.evaluate_subscriptions()
            report = await mirror.sync_as_before()
            assert report.transfer.failed == ()
            images = rows(mirror, "SELECT count(*) FROM copies WHERE path LIKE '%.mrc'")
            [(listed,)] = rows(mirror, "SELECT count(*) FROM files")
            assert report.transfer.arrived < int(str(listed))
            assert images != [(0,)]
            shown = [path for path in (tmp_path / "mirror/datasets/trial/10101").rglob("*") if path.is_file()]
            assert shown


async def test_a_match_that_is_not_listed_yet_is_listed_by_the_sync(tmp_path: Path) -> None:
    async with archive(FIRST) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path, more=POLICY)) as mirror:
            await mirror.crawl(None)
            await mirror.catalogue.write(
                lambda c: (
                    c.execute("UPDATE entry SET current_listing = NULL, inspected_listing = NULL") and None
                )
            )
            await mirror.catalogue.write(lambda c: c.execute("DELETE FROM copy") and None)
            await mirror.catalogue.write(lambda c: c.execute("DELETE FROM subscription_match") and None)
            report = await mirror.sync_as_before()
            assert report.crawl is not None
            assert states(mirror) == {10101: "listed", FIRST: "complete"}


async def test_one_that_is_held_is_told_and_keeps_no_crawl(tmp_path: Path) -> None:
    events: list[Event] = []
    async with archive(FIRST) as rehearsal:
        more = POLICY.replace("entries", "entires")
        with opened(settings_for(rehearsal, tmp_path, more=more), events) as mirror:
            report = await mirror.crawl(None)
            assert report.complete
            assert [event.subscription for event in events if isinstance(event, SubscriptionHeld)] == [
                "large"
            ]
            with pytest.raises(ConfigFault, match="is held"):
                await mirror.sync_subscription("large")
            await mirror.crawl(None)
            assert len([event for event in events if isinstance(event, SubscriptionHeld)]) == 1

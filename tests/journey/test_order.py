"""What comes next, against the rehearsal archive: shares, priorities and pauses that change while the service runs."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema import subscription_store as store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Event, FileArrived, SubscriptionLate
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from empiar_schema.subscriptions import Definition
from independent import assert_mirrored, assert_tidy
from mirrors import opened, rows, settings_for
from services import running, until

T = TypeVar("T")

A, B = 10190, 10191
FILES = {f"m_{n:03d}.mrc": 1_500_000 + n for n in range(40)}
IMAGES = len(FILES)


def narrow(settings: Settings, requests_per_s: float) -> Settings:
    """One connection at a few requests a second: a transfer that lasts."""
    slow = settings.transfer.model_copy(update={"connections": 1, "requests_per_s": requests_per_s})
    return settings.model_copy(update={"transfer": slow})


def elsewhere(settings: Settings, job: Callable[[sqlite3.Connection], T]) -> T:
    """Another process changes the catalogue, as `subscriptions set` does."""
    with Catalogue.open(settings.root / "empiar.db") as catalogue:
        return catalogue.write_now(job)


def subscribed(mirror: Mirror, name: str, empiar_id: int, **more: object) -> Definition:
    wanted = Definition(name, f"SELECT empiar_id FROM entries WHERE empiar_id = {empiar_id}", **more)  # type: ignore[arg-type]
    mirror.catalogue.write_now(functools.partial(store.add_subscription, wanted=wanted, now=int(time.time())))
    return wanted


def arrived(events: list[Event]) -> list[int]:
    """Entries of the images that arrived, in their order."""
    found = (event.path for event in events if isinstance(event, FileArrived))
    return [int(path.partition("/")[0]) for path in found if path.endswith(".mrc")]


async def prepared(
    rehearsal: Rehearsal, folder: Path, *, requests_per_s: float = 40.0, **of_a: object
) -> Settings:
    """Two entries, one for each of two subscriptions."""
    settings = narrow(settings_for(rehearsal, folder), requests_per_s)
    with opened(settings) as mirror:
        await mirror.crawl(None)
        subscribed(mirror, "a", A, **of_a)
        subscribed(mirror, "b", B)
        await mirror.evaluate_subscriptions()
    return settings


def archive() -> Rehearsal:
    return Rehearsal([big_entry(A, FILES), big_entry(B, FILES)])


async def test_two_subscriptions_share_by_their_weights(tmp_path: Path) -> None:
    async with archive() as rehearsal:
        settings = await prepared(rehearsal, tmp_path, share=3.0)
        events: list[Event] = []
        with opened(settings, events) as mirror:
            await mirror.sync_as_before([A, B])
        order = arrived(events)
        assert len(order) == 2 * IMAGES
        # Before the first has all of its own, the other has about a third as much.
        last_of_a = max(place for place, number in enumerate(order) if number == A)
        of_b = order[:last_of_a].count(B)
        assert 5 <= of_b <= 25


async def test_a_raised_priority_overtakes_and_a_paused_subscription_stops_while_the_service_runs(
    tmp_path: Path,
) -> None:
    async with archive() as rehearsal:
        settings = await prepared(rehearsal, tmp_path, requests_per_s=12.0, priority=5)
        events: list[Event] = []
        async with running(settings, events):
            await until(lambda: len(arrived(events)) > 2)
            assert set(arrived(events)) == {A}
            urgent = Definition("b", "", priority=9)
            elsewhere(settings, functools.partial(store.set_subscription, name="b", wanted=urgent))
            await until(lambda: arrived(events)[-3:] == [B, B, B])
            assert arrived(events).count(A) < IMAGES

            elsewhere(settings, functools.partial(store.pause_subscription, name="b"))
            await until(lambda: arrived(events)[-3:] == [A, A, A])
            await until(lambda: arrived(events).count(A) == IMAGES)
            assert arrived(events).count(B) < IMAGES

            elsewhere(settings, functools.partial(store.resume_subscription, name="b"))
            await until(lambda: arrived(events).count(B) == IMAGES)
        for number in (A, B):
            assert_mirrored(rehearsal, settings.root, number)
        assert_tidy(settings.root)


async def test_at_its_quota_a_subscription_waits_and_goes_on_when_that_is_raised(tmp_path: Path) -> None:
    async with archive() as rehearsal:
        settings = await prepared(rehearsal, tmp_path, quota_bytes=8_000_000)
        events: list[Event] = []
        with opened(settings, events) as mirror:
            await mirror.sync_as_before([A, B])
            [(held, waiting)] = rows(
                mirror, "SELECT held_bytes, waiting_files FROM subscriptions WHERE name = 'a'"
            )
            assert isinstance(held, int)
            assert 6_000_000 < held <= 8_000_000
            assert waiting == IMAGES - arrived(events).count(A) > 0
            assert arrived(events).count(B) == IMAGES
            wider = Definition("a", "", quota_bytes=10**9)
            mirror.catalogue.write_now(functools.partial(store.set_subscription, name="a", wanted=wider))
            await mirror.sync_as_before([A, B])
            assert arrived(events).count(A) == IMAGES


async def test_a_subscriptions_channel_brings_its_files_and_only_those(tmp_path: Path) -> None:
    async with archive() as rehearsal:
        settings = await prepared(rehearsal, tmp_path, channel=Channel.FTP)
        only = settings.transfer.model_copy(
            update={"channels": (Channel.HTTPS,), "connections": 4, "requests_per_s": 2000.0}
        )
        with opened(settings.model_copy(update={"transfer": only})) as mirror:
            await mirror.sync_as_before([A, B])
            by = rows(mirror, "SELECT DISTINCT empiar_id, channel FROM copies ORDER BY 1")
            assert by == [(A, "ftp"), (B, "https")]


async def test_a_deadline_that_has_passed_is_told(tmp_path: Path) -> None:
    async with archive() as rehearsal:
        settings = await prepared(rehearsal, tmp_path, deadline_s=60)
        events: list[Event] = []
        with opened(settings, events) as mirror:
            mirror.clock = lambda: time.time() + 3600
            await mirror.sync_as_before([A, B])
        late = [event for event in events if isinstance(event, SubscriptionLate)]
        assert [event.subscription for event in late] == ["a"]
        assert arrived(events)[: IMAGES - 2].count(A) > IMAGES // 2

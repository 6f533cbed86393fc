"""Every table of the configuration is in force after SIGHUP, as the service shows by what it does then."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.daemon import Daemon
from empiar_mirror.eviction.automatic import RoomMaker
from empiar_mirror.observers import all_of
from empiar_mirror.space import DiskUse
from empiar_mirror.stopping import Stopping
from empiar_schema.events import ConfigurationRead, DerivedDamaged, Event, EvictionRefused
from empiar_schema.pin_store import pins
from empiar_schema.states import Role
from entry_here import ID, opened, put_here, rows, settings_with

#: Nobody answers there.
QUIET = """
[archive]
api_url = "http://127.0.0.1:9/api"
search_url = "http://127.0.0.1:9/search"
https_url = "http://127.0.0.1:9/"
ftp_url = "ftp://127.0.0.1:9/"
[daemon]
listen = ""
"""
COPY = "import shutil, sys; shutil.copy(*sys.argv[1:])"
HOOK = f"""
[hook.copy]
command = ["{sys.executable}", "-c", "{COPY}", "{{input}}", "{{output}}"]
outputs = [{{ path = "{{stem}}.txt", kind = "copy" }}]
"""


@dataclass(frozen=True, slots=True)
class Running:
    """The service, after it was told to read its configuration anew."""

    mirror: Mirror
    root: Path
    events: list[Event]


async def made(running: Running) -> bool:
    return rows(running.mirror, "SELECT maker, state FROM jobs") == [("copy", "made")]


async def shown(running: Running) -> bool:
    return (running.root / "datasets" / "mine" / str(ID)).is_dir()


async def pinned(running: Running) -> bool:
    return [pin.name for pin in await running.mirror.catalogue.read(pins)] == ["kept"]


async def subscribed(running: Running) -> bool:
    return rows(running.mirror, "SELECT name, entry_count FROM subscriptions") == [("all", 1)]


async def asked_to_make_room(running: Running) -> bool:
    await RoomMaker(running.mirror, lambda _: DiskUse(1000, 0)).make_room(lambda: False)
    return [e.policy for e in running.events if isinstance(e, EvictionRefused)] == ["old"]


async def cluster_known(running: Running) -> bool:
    return running.mirror._finishing.hands.settings.cluster.hands_out("make")


async def crawled_otherwise(running: Running) -> bool:
    return running.mirror._crawling.settings.crawl.quiet_hours == "08:00-18:00"


async def scrubbed_otherwise(running: Running) -> bool:
    return running.mirror.scrubber(running.mirror.settings.scrub)._settings.bytes_per_s == 10**6


async def ordered_otherwise(running: Running) -> bool:
    return running.mirror._transferring.settings.order != type(running.mirror.settings.order)()


@pytest.mark.parametrize(
    ("table", "toml", "begins_anew", "in_force"),
    [
        ("order", "[order]\nage_most = 20\n", True, ordered_otherwise),
        ("evict", '[evict.old]\nsql = "SELECT no_such_column FROM entries"\nautomatic = true\n', False, asked_to_make_room),
        ("pin", '[pin.kept]\nsql = "SELECT empiar_id FROM entries"\n', False, pinned),
        ("subscription", '[subscription.all]\nsql = "SELECT empiar_id FROM entries"\n', False, subscribed),
        ("cluster", '[cluster]\nscheduler = "tcp://127.0.0.1:9"\n', False, cluster_known),
        ("crawl", '[crawl]\nquiet_hours = "08:00-18:00"\n', False, crawled_otherwise),
        ("scrub", '[scrub]\nbytes_per_s = "1MB"\n', False, scrubbed_otherwise),
        ("hook", HOOK, False, made),
        ("view", '[view.mine]\nimages_role = "movie"\n[arrange]\nviews = ["mine"]\n', False, shown),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)  # fmt: skip
async def test_a_table_is_in_force_after_a_reload(
    tmp_path: Path,
    table: str,
    toml: str,
    begins_anew: bool,
    in_force: Callable[[Running], Awaitable[bool]],
) -> None:
    put_here(tmp_path, {"data/a.tif": (Role.MOVIE, b"movie a" * 100)})
    events: list[Event] = []
    with opened(tmp_path, QUIET, events) as mirror:
        daemon = Daemon(mirror, lambda: settings_with(tmp_path, QUIET + toml), look_s=0.1)
        mirror.observer = all_of([mirror.observer, daemon.observe])
        service = asyncio.create_task(daemon.run())
        try:
            transfer = daemon.transfers.under_way = Stopping()
            daemon.reload()
            daemon.transfers.under_way = None
            assert events.count(ConfigurationRead(True, None)) == 1
            assert transfer.stopped == begins_anew, table
            daemon.observe(DerivedDamaged(ID, "derived/x", "as if something had come"))
            async with asyncio.timeout(90):
                while not await in_force(Running(mirror, tmp_path, events)):
                    await asyncio.sleep(0.05)
        finally:
            daemon.stop()
            await service

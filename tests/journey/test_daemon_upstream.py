"""The archive changes under a service that runs: what is new comes, what went is on record and told, and ours stays."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime
from pathlib import Path

from empiar_mirror.app import Mirror
from empiar_mirror.asking import ask_for_whole
from empiar_mirror.metrics.instruments import Instruments
from empiar_mirror.metrics.monitor import Monitor
from empiar_mirror.notify.news import news
from empiar_mirror.notify.notifier import standing_of
from empiar_mirror.rehearsal.archive import ArchiveFile
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import Event
from empiar_schema.notify_settings import NoticeKind
from empiar_schema.settings import Settings
from mirrors import opened, rows, settings_for
from services import at_work
from services import until as until_within

CHANGING, OBSOLETE, WITHDRAWN = 10190, 10191, 10192
ENTRY = {"a.mrc": 40_000, "b.mrc": 40_001, "c.mrc": 40_002}
DAY_S = 86_400
until = functools.partial(until_within, task_s=90)


def quick(rehearsal: Rehearsal, folder: Path, **crawl: object) -> Settings:
    settings = settings_for(rehearsal, folder)
    often = settings.crawl.model_copy(update={"interval": 2.0, **crawl})
    return settings.model_copy(update={"crawl": often})


def kinds(mirror: Mirror, empiar_id: int) -> set[tuple[object, ...]]:
    return set(rows(mirror, "SELECT kind, path, field FROM changes WHERE empiar_id = ?", [empiar_id]))


async def test_the_service_follows_an_archive_that_changes_obsoletes_and_withdraws(tmp_path: Path) -> None:
    entries = [big_entry(i, ENTRY) for i in (CHANGING, OBSOLETE, WITHDRAWN, 10193)]
    async with Rehearsal(entries) as rehearsal:
        settings = quick(rehearsal, tmp_path)
        ahead = 0.0  # how far the mirror's clock is ahead: a second look comes an hour after the first
        with opened(settings) as mirror:
            mirror.clock = lambda: time.time() + ahead
            await mirror.sync([CHANGING, OBSOLETE, WITHDRAWN])
            monitor = Monitor(settings, Instruments())
            before = standing_of(await monitor.refresh())
            today = datetime.now(UTC).date().isoformat()
            archive = rehearsal.archive
            archive.add_file(CHANGING, b"data/new.mrc", ArchiveFile(12_345, 1_700_000_000))
            archive.change_file(CHANGING, b"data/a.mrc", size=50_000)
            archive.remove_file(CHANGING, b"data/b.mrc")
            archive.touch_record(CHANGING, today)
            archive.obsolete_entry(OBSOLETE, today)
            archive.remove_entry(WITHDRAWN)
            async with at_work(mirror):
                root = settings.root / "archive"
                await until(lambda: (root / f"{CHANGING}/data/new.mrc").exists())
                await until(lambda: ("changed", None, "status") in kinds(mirror, OBSOLETE))
                await until(lambda: bool(rows(mirror, "SELECT 1 FROM entry WHERE absent_since IS NOT NULL")))
                ahead = 2 * 3600.0
                await until(lambda: ("withdrawn", None, None) in kinds(mirror, WITHDRAWN))
                # The file that went is gone at a second listing: that of the sweep.
                mirror.settings = quick(rehearsal, tmp_path, relist=4.0)
                ahead += DAY_S
                await until(lambda: ("removed", "data/b.mrc", None) in kinds(mirror, CHANGING))
            assert ("changed", "data/a.mrc", "bytes") in kinds(mirror, CHANGING)
            found = rows(mirror, "SELECT empiar_id || '/' || path, state FROM copies")
            states = {row[0]: row[1] for row in found}
            assert states[f"{CHANGING}/data/b.mrc"] == "withdrawn"
            assert states[f"{WITHDRAWN}/data/b.mrc"] == states[f"{OBSOLETE}/data/b.mrc"] == "arrived"
            for empiar_id in (CHANGING, OBSOLETE, WITHDRAWN):
                sizes = {path.name: path.stat().st_size for path in (root / f"{empiar_id}/data").iterdir()}
                assert ENTRY.items() <= sizes.items(), "ours stay as they came"
            now = standing_of(await monitor.refresh())
        assert before is not None
        assert now is not None
        told = {n.subject: n.sentence for n in news(before, now) if n.kind is NoticeKind.UPSTREAM}
        assert told.keys() == {f"EMPIAR-{OBSOLETE}", f"EMPIAR-{WITHDRAWN}", f"EMPIAR-{CHANGING} files"}
        assert "obsolete" in told[f"EMPIAR-{OBSOLETE}"]
        assert "withdrawn" in told[f"EMPIAR-{WITHDRAWN}"]


async def test_in_quiet_hours_the_service_asks_for_nothing_and_transfers_what_is_wanted(
    tmp_path: Path,
) -> None:
    async with Rehearsal([big_entry(CHANGING, ENTRY)]) as rehearsal:
        settings = quick(rehearsal, tmp_path)
        events: list[Event] = []
        hour = datetime.now().astimezone().hour
        now_quiet = f"{hour:02d}:00-{(hour + 2) % 24:02d}:00"
        with opened(settings, events) as mirror:
            await mirror.crawl([CHANGING])
            mirror.catalogue.write_now(lambda conn: ask_for_whole(conn, CHANGING, now=1))
            mirror.settings = quick(rehearsal, tmp_path, quiet_hours=now_quiet)
            asked = sum(request.channel == "api" for request in rehearsal.log)
            async with at_work(mirror):
                await until(lambda: (settings.root / f"archive/{CHANGING}/data/c.mrc").exists())
                assert sum(request.channel == "api" for request in rehearsal.log) == asked
                mirror.settings = settings  # as after SIGHUP
                await until(lambda: sum(request.channel == "api" for request in rehearsal.log) > asked)

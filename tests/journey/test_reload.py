"""Reading the configuration anew: what changes while the service works, and what does not."""

from __future__ import annotations

from pathlib import Path

from empiar_mirror.asking import ask_for_whole
from empiar_mirror.observers import level_of
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import BytesMoved, ConfigurationRead, Event
from empiar_schema.settings import Settings
from independent import assert_mirrored
from mirrors import opened, rows, settings_for
from services import at_work, until

ID = 10190


def changed(settings: Settings, table: str, **values: object) -> Settings:
    return settings.model_copy(update={table: getattr(settings, table).model_copy(update=values)})


async def test_limits_change_and_no_stream_ends_for_it(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, {"large.mrc": 6_000_000})]) as rehearsal:
        settings = changed(settings_for(rehearsal, tmp_path), "transfer", bandwidth=300_000, stall_s=20.0)
        new = changed(changed(settings, "transfer", bandwidth=None, connections=3), "daemon", listen="")
        events: list[Event] = []
        with opened(settings, events) as mirror:
            await mirror.crawl([ID])
            mirror.catalogue.write_now(lambda conn: ask_for_whole(conn, ID, now=1))
            async with at_work(mirror, lambda: new) as daemon:
                await until(lambda: sum(e.count for e in events if isinstance(e, BytesMoved)) > 100_000)
                transfer = daemon.transfers.under_way
                daemon.reload()
                assert transfer is not None
                assert not transfer.stopped
                read = next(event for event in events if isinstance(event, ConfigurationRead))
                assert read.in_force
                assert read.reason == "daemon.listen takes effect when the service is started again"
                assert level_of(read) > level_of(ConfigurationRead(True, None))
                await until(lambda: (settings.root / f"archive/{ID}/data/large.mrc").exists())
                daemon.reload()
                assert events.count(ConfigurationRead(True, None)) == 1, "nothing is left to say"
            assert rows(mirror, "SELECT DISTINCT outcome FROM transfers") == [("done",)]
            assert not (settings.root / ".connections.json").exists()
        assert_mirrored(rehearsal, settings.root, ID)


async def test_other_channels_begin_the_transfer_anew(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, {"large.mrc": 6_000_000})]) as rehearsal:
        settings = changed(settings_for(rehearsal, tmp_path), "transfer", bandwidth=300_000, stall_s=20.0)
        new = changed(settings, "transfer", bandwidth=None, stall_s=21.0)
        events: list[Event] = []
        with opened(settings, events) as mirror:
            await mirror.crawl([ID])
            mirror.catalogue.write_now(lambda conn: ask_for_whole(conn, ID, now=1))
            async with at_work(mirror, lambda: new) as daemon:
                await until(lambda: sum(e.count for e in events if isinstance(e, BytesMoved)) > 100_000)
                transfer = daemon.transfers.under_way
                daemon.reload()
                assert transfer is not None
                assert transfer.stopped
                await until(lambda: (settings.root / f"archive/{ID}/data/large.mrc").exists())
        assert_mirrored(rehearsal, settings.root, ID)

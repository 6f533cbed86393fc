"""Eviction against the rehearsal archive: what was evicted comes back byte for byte, and not before somebody asks."""

from __future__ import annotations

import functools
import time
from pathlib import Path

from empiar_mirror.eviction.automatic import RoomMaker
from empiar_mirror.eviction.planning import Order
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_mirror.space import DiskUse
from empiar_schema.events import EntryEvicted, Event, EvictionRefused
from empiar_schema.eviction_store import recall
from independent import assert_manifest, assert_mirrored, content
from mirrors import opened, rows, settings_for

ID = 10101
CHANGED = "data/README.txt"
POLICIES = """
[evict.first]
sql = "SELECT file_id FROM files WHERE name LIKE '%.mrc' ORDER BY file_id"
automatic = true
[evict.manual]
sql = "SELECT empiar_id FROM entries"
"""


async def test_evicted_files_come_back_byte_for_byte_and_only_when_recalled(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.sync([ID])
            removed = await mirror.evict(Order("SELECT empiar_id FROM entries", "a test"))
            assert removed.done.files == removed.decision.files > 5
            left = rows(mirror, "SELECT path FROM copies WHERE state <> 'evicted'")
            assert len(left) == sum(sum(k.files for k in e.kept.values()) for e in removed.decision.entries)

            again = await mirror.sync([ID])
            assert (again.transfer.arrived, again.transfer.failed) == (0, ())
            assert again.transfer.evicted == removed.done.files
            if left:
                assert_manifest(tmp_path / "mirror", ID)

            job = functools.partial(recall, empiar_ids=[ID], now=int(time.time()))
            assert mirror.catalogue.write_now(job).files == removed.done.files
            back = await mirror.sync([ID])
            assert back.transfer.arrived == removed.done.files
            assert_mirrored(rehearsal, tmp_path / "mirror", ID)
            assert set(rows(mirror, "SELECT returned_same FROM evictions")) == {(1,)}
            assert rows(mirror, "SELECT path FROM changes WHERE field = 'sha256'") == []


async def test_other_bytes_that_come_back_are_a_finding(tmp_path: Path) -> None:
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.sync([ID])
            one = f"SELECT file_id FROM files WHERE path = '{CHANGED}'"
            assert (await mirror.evict(Order(one, "a test"))).done.files == 1
            before = content(rehearsal, ID, CHANGED.encode())
            rehearsal.archive.change_file(ID, CHANGED.encode(), body=b"x" * len(before))
            mirror.catalogue.write_now(functools.partial(recall, empiar_ids=[ID], now=int(time.time())))
            await mirror.sync([ID])
            assert (tmp_path / f"mirror/archive/{ID}/{CHANGED}").read_bytes() == b"x" * len(before)
            assert rows(mirror, "SELECT returned_same FROM evictions") == [(0,)]
            assert rows(mirror, "SELECT path FROM changes WHERE field = 'sha256'") == [(CHANGED,)]


async def test_the_service_evicts_by_itself_only_what_a_policy_allows_and_down_to_the_low_watermark(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    async with Rehearsal() as rehearsal:
        with opened(settings_for(rehearsal, tmp_path, more=POLICIES), events) as mirror:
            await mirror.sync([ID])
            full = DiskUse(total=1_000_000, free=99_000)
            room = RoomMaker(mirror, measure=lambda _: full)
            assert await room.make_room(lambda: True) == 0, "stopped before"
            room = RoomMaker(mirror, measure=lambda _: full)
            files = await room.make_room(lambda: False)
            [told] = [event for event in events if isinstance(event, EntryEvicted)]
            assert (told.files, told.reason) == (files, "[evict.first], by itself")
            assert rows(mirror, "SELECT count(*), count(DISTINCT reason) FROM evictions") == [(files, 1)]
            gone = rows(mirror, "SELECT path FROM copies WHERE state = 'evicted'")
            assert files == 1, "1,000 bytes were too many, and the first file has more"
            assert all(str(path).endswith(".mrc") for (path,) in gone)

            assert (
                await RoomMaker(mirror, measure=lambda _: DiskUse(1_000_000, 500_000)).make_room(
                    lambda: False
                )
                == 0
            )
            mirror.catalogue.write_now(
                lambda conn: conn.execute("INSERT INTO pin VALUES ('broken', 'SELECT nonsense', 0, 1, NULL)")
            )
            assert await RoomMaker(mirror, measure=lambda _: full).make_room(lambda: False) == 0
            [refused] = [event for event in events if isinstance(event, EvictionRefused)]
            assert "broken" in refused.reason
